"""A dense layer that computes its weight gradient in the memory order of the weight.

torch's backward pass computes the transposed gradient, then transposes it and converts it from bf16 with a strided
copy. On a CPU that copy takes several times as long as the matrix product (docs/background/log.md, 2026-11-21). This
layer swaps the factors instead. Its parameters, names and results equal those of ``torch.nn.Linear``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.dtypes, n = (x.dtype, weight.dtype), x.shape[0]
        x, weight = _pad_rows(x, dtype), weight.to(dtype)
        ctx.save_for_backward(x, weight)
        return _first(torch.addmm(bias.to(dtype), x, weight.t()), n)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        x_dtype, weight_dtype = ctx.dtypes
        g = _pad_rows(grads[0], weight.dtype)
        need_x, need_weight, need_bias, _ = ctx.needs_input_grad
        d_x = _first(g @ weight, grads[0].shape[0]).to(x_dtype) if need_x else None
        d_weight = (g.t() @ x).to(weight_dtype) if need_weight else None
        d_bias = g.sum(0).to(weight_dtype) if need_bias else None
        return d_x, d_weight, d_bias, None


def _pad_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert ``x`` to ``dtype``; in bf16 also append at most 7 zero rows or 3 %, to limit the number of shapes.

    oneDNN compiles and caches a kernel for every new shape, up to 1024 of them. One shape per batch would cost time in
    every step and hundreds of megabytes (docs/background/log.md, 2026-11-21). Padding leaves 32 sizes per octave.
    """
    n = x.shape[0]
    step = 1 << max(3, n.bit_length() - 6)
    size = -(-n // step) * step
    if size == n or dtype == torch.float32:  # fp32 runs in MKL, which does not compile kernels per shape
        return x.to(dtype)
    padded = x.new_empty(size, x.shape[1], dtype=dtype)
    padded[:n] = x
    padded[n:] = 0
    return padded


def _first(x: Tensor, n: int) -> Tensor:
    """The first n rows; returns ``x`` itself if it has n rows, because slicing costs as much as a small product."""
    return x if x.shape[0] == n else x[:n]


class Linear(nn.Linear):
    """``y = x W' + b`` for x (…, D), in the autocast precision inside an autocast region."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) → (…, out_features)."""
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return F.linear(x, self.weight, self.bias)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
        y: Tensor = _Dense.apply(rows, self.weight, self.bias, dtype)  # type: ignore[no-untyped-call]
        return y if x.ndim == 2 else y.view(*x.shape[:-1], -1)
