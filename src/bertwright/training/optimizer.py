"""AdamW for BERT: bias correction, no weight decay on biases and LayerNorm, gradient clipping by the global L2 norm.

Without bias correction, fine-tuning on small data sets fails at random (Mosbach et al. 2020, arXiv 2006.04884;
Zhang et al. 2020, arXiv 2006.05987); google-research/bert had none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bertwright.errors import DivergenceError, TrainingError
from bertwright.nn.heads import Head
from bertwright.nn.model import Model


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies to a parameter: to matrices, not to biases and LayerNorm, which have one axis."""
    return parameter.ndim > 1


def layer_rates(n_layers: int, decay: float = 1.0, head: float = 1.0) -> Callable[[str], float]:
    """Layer-wise learning rate decay: a function from the name of a parameter to its factor of the learning rate.

    The top layer has factor 1, each layer below ``decay`` times that of the layer above it, and the embeddings have the
    smallest factor (Howard and Ruder 2018; Sun et al. 2019, arXiv 1905.05583, who find 0.95 best for BERT).

    Args:
        n_layers: number of layers of the encoder.
        decay: factor from layer to layer.
        head: factor of the head, including the pooler.

    >>> [round(layer_rates(2, 0.5, 10.0)(f"{name}.weight"), 3) for name in ("encoder.layers.0.up", "head.output")]
    [0.5, 10.0]
    """

    def rate(name: str) -> float:
        if name.startswith("head."):
            return head
        layer = re.match(r"encoder\.layers\.(\d+)\.", name)
        return decay ** (n_layers - 1 - int(layer[1]) if layer else n_layers)

    return rate


class Optimizer:
    """Fused AdamW over a model's trainable parameters.

    The word embedding has most parameters of a small model, but a step uses only a few hundred of its rows. Its
    gradient is one dense buffer of which only these rows are written, included in the norm and zeroed; all rows if the
    head uses the embedding as output layer. AdamW updates all rows, as momentum and weight decay require. Results equal
    those of clip_grad_norm_ and torch.optim.AdamW.

    Args:
        model: its parameters with ``requires_grad`` are trained. Gradual unfreezing may freeze some of them again;
            they have no running means until their first gradient.
        learning_rate: peak learning rate; each step gets a factor of it.
        weight_decay: of parameters for which :func:`decays` is true.
        clip: maximum L2 norm of all gradients (gradient clipping); 0 disables it.
        betas: decay rates of the two running means.
        eps: added to the root of the second mean.
        rates: name of a parameter → its factor of the learning rate; None for 1 everywhere.

    Attributes:
        groups: (weight decay, factor of the learning rate) → the parameters of this group.

    Raises:
        TrainingError: no parameter is trainable.
    """

    def __init__(
        self,
        model: Model,
        learning_rate: float,
        weight_decay: float = 0.01,
        clip: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        rates: Callable[[str], float] | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.clip = clip
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not trained:
            raise TrainingError("model.freeze: all parameters are frozen; freeze fewer of them.")
        self.names = list(trained)
        word = model.encoder.embeddings.word
        self._word = word if word.weight.requires_grad else None
        self._tied = isinstance(model.head, Head) and model.head.ties_word_embedding
        self._others = [p for p in trained.values() if self._word is None or p is not self._word.weight]
        self.groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, p in trained.items():
            share = 1.0 if rates is None else rates(name)
            self.groups.setdefault((weight_decay if decays(name, p) else 0.0, share), []).append(p)
        # Call the kernel directly: the overhead of torch.optim.AdamW exceeds the update of a small head.
        self._adamw = partial(
            torch._fused_adamw_, beta1=betas[0], beta2=betas[1], eps=eps, amsgrad=False, maximize=False, found_inf=None
        )
        self._means: dict[nn.Parameter, _Means] = {}
        self._by_name = trained
        self.zero()

    def zero(self) -> None:
        """Clear all gradients; also call it when the set of trainable parameters changes."""
        self.release()
        if (word := self._training_word) is not None:
            word.sparse = True
            word.weight.grad = torch.zeros_like(word.weight)

    def step(self, factor: float, count: float | Tensor, ids: Iterable[Tensor]) -> float:
        """Update the parameters from gradients of the summed loss, and clear the gradients.

        Args:
            factor: of the peak learning rate.
            count: divisor of the summed loss, over all micro-batches of the step.
            ids: token ids of the micro-batches: the rows of the word embedding with a gradient.

        Returns:
            The norm of the gradient before clipping.

        Raises:
            DivergenceError: the gradient is not finite; the parameters are unchanged.
        """
        word = self._training_word
        sparse = word is not None and not self._tied
        touched = torch.cat([i.flatten() for i in ids]).unique() if sparse else None
        grads = [p.grad for p in self._others if p.grad is not None]
        if word is not None:
            grads.append(_grad(word.weight) if touched is None else _grad(word.weight).index_select(0, touched))
        # what clip_grad_norm_ computes
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))) / float(count)
        if not norm < float("inf"):
            raise DivergenceError(
                "the gradient is not a finite number", "lower train.learning_rate, or train with train.precision=fp32"
            )
        scale = float(count) * (max(1.0, (norm + 1e-6) / self.clip) if self.clip else 1.0)
        self._update(self.learning_rate * factor, torch.tensor(scale, device=grads[0].device))
        for parameter in self._others:
            parameter.grad = None
        if word is not None:
            gradient = _grad(word.weight)
            _ = gradient.zero_() if touched is None else gradient.index_fill_(0, touched, 0.0)
        return norm

    @torch.no_grad()
    def _update(self, learning_rate: float, scale: Tensor) -> None:
        """AdamW's step with gradients divided by ``scale``."""
        for (decay, share), parameters in self.groups.items():
            learning = [(p, p.grad) for p in parameters if p.grad is not None]
            if not learning:
                continue
            means = [self._means.get(p) or self._means.setdefault(p, _Means.of(p)) for p, _ in learning]
            steps = [m.step for m in means]
            torch._foreach_add_(steps, 1)
            self._adamw(
                [p for p, _ in learning],
                [grad for _, grad in learning],
                [m.exp_avg for m in means],
                [m.exp_avg_sq for m in means],
                [],
                steps,
                lr=learning_rate * share,
                weight_decay=decay,
                # dividing inside the fused kernel saves a pass over all gradients; torch's GradScaler does it this way
                grad_scale=scale,
            )

    def release(self) -> None:
        """Restore dense gradients and clear all of them."""
        for parameter in self._by_name.values():
            parameter.grad = None
        if self._word is not None:
            self._word.sparse = False

    @property
    def _training_word(self) -> nn.Embedding | None:
        word = self._word
        return word if word is not None and word.weight.requires_grad else None

    def state(self) -> dict[str, Tensor]:
        """The running means and step counts, by parameter name and kind."""
        return {
            f"{kind}.{name}": tensor
            for name, parameter in self._by_name.items()
            for kind, tensor in (self._means[parameter]._asdict() if parameter in self._means else {}).items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state that :meth:`state` returned.

        Raises:
            TrainingError: the state belongs to other parameters.
        """
        if others := {key.partition(".")[2] for key in state} - self._by_name.keys():
            raise TrainingError(f"the saved training state does not fit: it has an entry for {min(others)}.")
        for name, parameter in self._by_name.items():
            tensors = [state[key] for kind in _Means._fields if (key := f"{kind}.{name}") in state]
            if not tensors:
                continue  # no gradient so far: not unfrozen yet, or not used by the head
            if len(tensors) != len(_Means._fields) or tensors[1].shape != parameter.shape:
                raise TrainingError(f"the saved training state does not fit: it has no usable entry for {name}.")
            self._means[parameter] = _Means(*(tensor.clone().to(parameter.device) for tensor in tensors))


class _Means(NamedTuple):
    """The state of AdamW for a parameter: number of steps, running means of the gradient and of its square."""

    step: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor

    @classmethod
    def of(cls, parameter: Tensor) -> _Means:
        """The state before the first step."""
        return cls(torch.zeros((), device=parameter.device), torch.zeros_like(parameter), torch.zeros_like(parameter))


def _grad(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise TrainingError("the word embedding has lost its gradient; call Optimizer.zero() before backward.")
    return parameter.grad
