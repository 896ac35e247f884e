"""An exponential moving average of the weights during training, which evaluations and the bundle use.

The average is less noisy than the weights of a single step, so results depend less on order and dropout (Polyak and
Juditsky 1992; Izmailov et al. 2018, arXiv 1803.05407, average over the end of training).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bertwright.errors import TrainingError


class WeightAverage:
    """The average of a model's trainable parameters, updated after every step.

    Args:
        model: its parameters with ``requires_grad`` are averaged.
        steps: over how many steps: the weight of a step falls by a factor of e within this number of steps. The first
            steps are averaged equally, so that the initial weights do not dominate.
    """

    def __init__(self, model: nn.Module, steps: float) -> None:
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._means = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._steps = max(1.0, steps)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Include the current weights.

        Args:
            step: number of steps so far, at least 1.
        """
        share = max(1.0 / self._steps, 1.0 / step)
        torch._foreach_lerp_(list(self._means.values()), list(self._parameters.values()), min(1.0, share))

    @contextmanager
    def apply(self) -> Iterator[None]:
        """The model has the average weights inside the context, and afterwards those of training again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            current = parameter.detach().clone()
            parameter.copy_(self._means[name])
            self._means[name] = current

    def state(self) -> dict[str, Tensor]:
        """The average by parameter name."""
        return dict(self._means)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state that :meth:`state` returned.

        Raises:
            TrainingError: the state belongs to other parameters.
        """
        if state.keys() != self._means.keys():
            raise TrainingError("the saved training state does not fit: it averages other weights.")
        for name, tensor in state.items():
            self._means[name].copy_(tensor)
