"""An output layer that learns standardized values and computes values in the unit of the targets.

With targets far from 0 or much larger than 1, an untrained output layer needs hundreds of steps to learn only their
mean, because AdamW moves every weight by at most the learning rate in a step. Standardizing targets is the usual remedy
(LeCun et al. 1998, "Efficient BackProp", section 4.3, for inputs). Here the layer holds mean and scale, so that scores
have the unit of the targets at any time, and saving a model folds them into weight and bias.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from bertwright.nn.linear import Linear


class ScaledLinear(Linear):
    """``y = scale * (x W' + b) + mean`` in float32, with fixed scale and mean.

    Args:
        in_features: D.
        out_features: C.

    Attributes:
        mean: float (), added to the outputs.
        scale: float (), factor of the outputs.
    """

    mean: Tensor
    scale: Tensor
    full_precision = True

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def wrap(cls, layer: Linear, mean: float, scale: float, trained: bool) -> Self:
        """Return a scaled layer with the parameters of another one.

        Args:
            layer: the other layer, whose parameters may be changed.
            mean: of the targets.
            scale: standard deviation of the targets.
            trained: whether the layer already predicts values in the unit of the targets; the scaled layer then
                computes the same function. Otherwise it keeps the parameters, so that it predicts about ``mean``.
        """
        scaled = cls(layer.in_features, layer.out_features).to(layer.weight.device)
        scaled.weight, scaled.bias = layer.weight, layer.bias
        scaled.mean.fill_(mean)
        scaled.scale.fill_(scale)
        if trained:
            with torch.no_grad():
                scaled.bias.sub_(mean).div_(scale)
                scaled.weight.div_(scale)
        return scaled.train(layer.training)

    def forward(self, x: Tensor, gelu: str | None = None) -> Tensor:
        """(…, D) → (…, C)."""
        return super().forward(x, gelu).float() * self.scale + self.mean

    def fold(self) -> Linear:
        """Return an ordinary layer that computes the same function; the parameters of this layer change."""
        layer = Linear(self.in_features, self.out_features).to(self.weight.device)
        with torch.no_grad():
            self.weight.mul_(self.scale)
            self.bias.mul_(self.scale).add_(self.mean)
        layer.weight, layer.bias, layer.full_precision = self.weight, self.bias, True
        return layer.train(self.training)


def scale_output(head: nn.Module, mean: float, scale: float, trained: bool) -> None:
    """Replace the output layer of a head by a :class:`ScaledLinear`; see :meth:`ScaledLinear.wrap`."""
    head.output = ScaledLinear.wrap(get_output(head), mean, scale, trained)


def fold_output_scale(head: nn.Module) -> None:
    """Fold mean and scale of a head's output layer into its parameters, if it is a :class:`ScaledLinear`."""
    if isinstance(output := getattr(head, "output", None), ScaledLinear):
        head.output = output.fold()


def get_output(head: nn.Module) -> Linear:
    """The output layer of a published or declared head.

    Raises:
        TypeError: the head is the user's code and has none.
    """
    output = getattr(head, "output", None)
    if not isinstance(output, Linear):
        raise TypeError(f"{type(head).__name__} has no dense output layer")
    return output
