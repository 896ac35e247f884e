"""A dense layer whose weight gradient comes out in the weight's own memory order.

torch's backward of a dense layer computes the transposed gradient and leaves it to a strided copy to turn it round
and widen it from bf16; on a CPU that copy costs several times the matrix product (docs/background/log.md, 2026-11-21).
Here the product is written the other way about. Parameters, names and results are those of ``torch.nn.Linear``.
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
        x, weight = _padded(x, dtype), weight.to(dtype)
        ctx.save_for_backward(x, weight)
        return _first(torch.addmm(bias.to(dtype), x, weight.t()), n)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        x_dtype, weight_dtype = ctx.dtypes
        g = _padded(grads[0], weight.dtype)
        need_x, need_weight, need_bias, _ = ctx.needs_input_grad
        d_x = _first(g @ weight, grads[0].shape[0]).to(x_dtype) if need_x else None
        d_weight = (g.t() @ x).to(weight_dtype) if need_weight else None
        d_bias = g.sum(0).to(weight_dtype) if need_bias else None
        return d_x, d_weight, d_bias, None


def _padded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x`` in this precision; in bf16 with rows of zeros, at most 7 or 3 %, up to a size that recurs (32 an octave).

    oneDNN compiles a kernel for every new shape and keeps it, up to 1024 of them. With as many shapes as there are
    batches that costs time in every step and hundreds of megabytes (docs/background/log.md, 2026-11-21).
    """
    n = x.shape[0]
    step = 1 << max(3, n.bit_length() - 6)
    size = -(-n // step) * step
    if size == n or dtype == torch.float32:  # fp32 goes to MKL, which compiles nothing
        return x.to(dtype)
    padded = x.new_empty(size, x.shape[1], dtype=dtype)
    padded[:n] = x
    padded[n:] = 0
    return padded


def _first(x: Tensor, n: int) -> Tensor:
    """The first n rows; a tensor that has no more is not cut, for that takes as long as a small product."""
    return x if x.shape[0] == n else x[:n]


class Linear(nn.Linear):
    """``y = x W' + b`` for x (…, D); in the precision of the autocast region, if there is one."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) → (…, out_features)."""
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return F.linear(x, self.weight, self.bias)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
        y: Tensor = _Dense.apply(rows, self.weight, self.bias, dtype)  # type: ignore[no-untyped-call]
        return y if x.ndim == 2 else y.view(*x.shape[:-1], -1)
