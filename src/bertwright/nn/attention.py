"""Self-attention over sequences that share rows.

Two small batched matrix products and a softmax a row width. torch's fused CPU attention is faster forward
but several times slower backward at BERT's widths (DESIGN.md, measurements), and nested tensors do not run there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from bertwright.nn.dropout import keep, keep_mask
from bertwright.nn.layout import Layout, Rows
from bertwright.nn.linear import Linear


class _Attend(torch.autograd.Function):
    """softmax(q k' / sqrt(d)) v in rows, with its gradient written out: no mask, copy or cast is kept twice."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rows: Rows, n_heads: int, p: float) -> Tensor:
        q, k, v = _split(qkv, rows.width, n_heads)
        scale = 1.0 / math.sqrt(q.shape[-1])
        probabilities = _softmax(torch.bmm(q, k.transpose(1, 2)), rows, n_heads, scale)
        weights = probabilities
        mask: Tensor | None = None
        gain = 1.0
        if p > 0.0:
            mask, gain = keep_mask(probabilities.shape, p, qkv.device)
            weights = keep(probabilities, mask)
        context = torch.bmm(weights, v)
        if mask is not None:
            context.mul_(gain)  # here and not on the weights: it is smaller
        ctx.save_for_backward(q, k, v, probabilities, mask)
        ctx.info = (scale, gain, n_heads, rows.width)
        return _merge(context, rows.width, n_heads)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        q, k, v, probabilities, mask = ctx.saved_tensors
        scale, gain, n_heads, width = ctx.info
        (g,) = _heads(grads[0][:, None], width, n_heads)
        weights = probabilities
        if mask is not None:
            g, weights = g * gain, keep(probabilities, mask)
        d_v = torch.bmm(weights.transpose(1, 2), g)
        d_weights = torch.bmm(g, v.transpose(1, 2))
        if mask is not None:
            d_weights = keep(d_weights, mask)
        d_scores = torch._softmax_backward_data(d_weights, probabilities, -1, probabilities.dtype).mul_(scale)
        d_q = torch.bmm(d_scores, k)
        d_k = torch.bmm(d_scores.transpose(1, 2), q)
        d_qkv = torch.stack([_merge(d, width, n_heads) for d in (d_q, d_k, d_v)], dim=1)
        return d_qkv.flatten(1), None, None, None


def _heads(x: Tensor, width: int, n_heads: int) -> tuple[Tensor, ...]:
    """(R * W, parts, D) → parts of (R * H, W, D / H)."""
    n_rows, parts = x.shape[0] // width, x.shape[1]
    by_head = x.view(n_rows, width, parts, n_heads, -1).permute(2, 0, 3, 1, 4).contiguous()
    return by_head.view(parts, n_rows * n_heads, width, -1).unbind(0)


def _split(qkv: Tensor, width: int, n_heads: int) -> tuple[Tensor, ...]:
    return _heads(qkv.view(qkv.shape[0], 3, -1), width, n_heads)


def _merge(x: Tensor, width: int, n_heads: int) -> Tensor:
    """(R * H, W, D / H) → (R * W, D)."""
    n_rows = x.shape[0] // n_heads
    return x.view(n_rows, n_heads, width, -1).transpose(1, 2).reshape(n_rows * width, -1)


def _softmax(scores: Tensor, rows: Rows, n_heads: int, scale: float) -> Tensor:
    by_row = scores.view(-1, n_heads, rows.width, rows.width)
    # adding -inf is vectorised, masked_fill is not
    return torch.add(rows.bias.to(scores.dtype), by_row, alpha=scale).softmax(-1).view_as(scores)


class _Regroup(torch.autograd.Function):
    """Rows of ``x`` in another order. Every row has one place there, so the gradient is a gather too, not a sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0].index_select(0, ctx.saved_tensors[0]), None, None


def attend(qkv: Tensor, layout: Layout, n_heads: int, p: float = 0.0) -> Tensor:
    """Let every token look at the tokens of its own sequence.

    Args:
        qkv: (N, 3 D), queries, keys and values side by side, each as H heads.
        layout: where the sequences lie; its flattened token axis has N slots.
        n_heads: H, a divisor of D.
        p: dropout rate on the attention weights, as in BERT; 0 when not training.

    Returns:
        (N, D), the heads' contexts side by side.
    """
    if layout.source is None or layout.slot is None:
        (rows,) = layout.rows
        context: Tensor = _Attend.apply(qkv, rows, n_heads, p)  # type: ignore[no-untyped-call]
        return context
    slots: Tensor = _Regroup.apply(qkv, layout.source, layout.slot)  # type: ignore[no-untyped-call]
    parts = slots.split([rows.n_slots for rows in layout.rows])
    contexts = [
        _Attend.apply(part, rows, n_heads, p)  # type: ignore[no-untyped-call]
        for part, rows in zip(parts, layout.rows, strict=True)
    ]
    together = contexts[0] if len(contexts) == 1 else torch.cat(contexts)
    # Backward, empty slots receive token 0's gradient; they attend only to each other, so it ends there.
    regrouped: Tensor = _Regroup.apply(together, layout.slot, layout.source)  # type: ignore[no-untyped-call]
    return regrouped


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values (Vaswani et al. 2017)."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = dropout
        self.qkv = Linear(width, 3 * width)
        self.output = Linear(width, width)

    def forward(self, x: Tensor, layout: Layout, only: Tensor | None = None) -> Tensor:
        """(N, D) → (N, D), or of the tokens ``only``; before dropout and residual."""
        p = self.dropout if self.training else 0.0
        context = attend(self.qkv(x), layout, self.n_heads, p)
        mixed: Tensor = self.output(context if only is None else context.index_select(0, only))
        return mixed
