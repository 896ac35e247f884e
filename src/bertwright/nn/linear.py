"""A dense layer that computes its weight gradient in the memory order of the weight.

torch's backward pass computes the transposed gradient, then transposes it and converts it from bf16 with a strided
copy. On a CPU that copy takes several times as long as the matrix product (docs/background/log.md, 2026-11-21). This
layer swaps the factors instead. Its parameters, names and results equal those of ``torch.nn.Linear``.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertwright.nn.packed_linear import (
    PackedLinear,
    can_pack,
    multiply,
    round_rows,
    trains_in_onednn,
)


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        # torch multiplies bf16 in oneDNN anyway
        in_onednn = dtype == torch.float32 and trains_in_onednn()
        ctx.info = (x.dtype, weight.dtype, in_onednn)
        n = x.shape[0]
        x, weight = _pad_rows(x, dtype, in_onednn), weight.to(dtype)
        ctx.save_for_backward(x, weight)
        if in_onednn:
            return _first(multiply(x, weight, bias), n)
        return _first(torch.addmm(bias.to(dtype), x, weight.t()), n)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        x_dtype, weight_dtype, in_onednn = ctx.info
        g = _pad_rows(grads[0], weight.dtype, in_onednn)
        need_x, need_weight, need_bias, _ = ctx.needs_input_grad
        d_x = d_weight = None
        if need_x:
            d_x = _first(multiply(g, weight.t()) if in_onednn else g @ weight, grads[0].shape[0]).to(x_dtype)
        if need_weight:
            d_weight = (multiply(g.t(), x.t()) if in_onednn else g.t() @ x).to(weight_dtype)
        d_bias = g.sum(0).to(weight_dtype) if need_bias else None
        return d_x, d_weight, d_bias, None


def _pad_rows(x: Tensor, dtype: torch.dtype, in_onednn: bool) -> Tensor:
    """Convert ``x`` to ``dtype``, and append zero rows up to :func:`round_rows` for a product in oneDNN."""
    n = x.shape[0]
    size = round_rows(n)
    if size == n or (dtype == torch.float32 and not in_onednn):
        return x.to(dtype)
    padded = x.new_empty(size, x.shape[1], dtype=dtype)
    padded[:n] = x
    padded[n:] = 0
    return padded


def _first(x: Tensor, n: int) -> Tensor:
    """The first n rows; returns ``x`` itself if it has n rows, because slicing costs as much as a small product."""
    return x if x.shape[0] == n else x[:n]


class Linear(nn.Linear):
    """``y = x W' + b`` for x (…, D), in the autocast precision inside an autocast region.

    Without gradients on a CPU, the layer keeps a copy of its weight in oneDNN's memory format. Changed parameters
    are packed again. Training mode and a call with gradients free the copy.
    """

    _packed: PackedLinear | None = None
    full_precision: bool = False
    """Whether the layer computes in float32 also inside an autocast region."""

    def forward(self, x: Tensor, gelu: str | None = None) -> Tensor:
        """(…, in_features) → (…, out_features).

        Args:
            x: the input.
            gelu: applies GELU to the output, with this approximation: ``none`` or ``tanh``. Without gradients, oneDNN
                does that before it writes the product to memory.
        """
        if self.full_precision and torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return Linear.forward(self, x.float(), gelu)
        if x.device.type != "cpu":
            y = F.linear(x, self.weight, self.bias)
        else:
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
            rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
            if torch.is_grad_enabled():
                if self._packed is not None:  # fused optimizers do not count their changes
                    self._packed = None
                y = _Dense.apply(rows, self.weight, self.bias, dtype)  # type: ignore[no-untyped-call]
            elif (packed := self._pack(dtype)) is not None:
                y, gelu = packed(rows.to(dtype), gelu), None
            else:
                y = F.linear(rows, self.weight, self.bias)
            y = y if x.ndim == 2 else y.view(*x.shape[:-1], -1)
        return y if gelu is None else F.gelu(y, approximate=gelu)

    def _pack(self, dtype: torch.dtype) -> PackedLinear | None:
        """The parameters in oneDNN's format; None if oneDNN does not run this product."""
        if not can_pack(self.weight, dtype):
            return None
        if self._packed is None or not self._packed.fits(self.weight, self.bias, dtype):
            self._packed = PackedLinear.pack(self.weight, self.bias, dtype)
        return self._packed

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; training mode also frees the packed copy of the weight."""
        if mode:
            self._packed = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, object]:
        """The attributes to copy or pickle; oneDNN's tensors can be neither."""
        return {**self.__dict__, "_packed": None}
