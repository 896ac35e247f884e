"""Self-attention over sequences that share rows.

Attention runs as two small batched matrix products and a softmax for each row width. torch's fused CPU attention has a
faster forward pass but a backward pass several times slower at BERT's widths (docs/background/log.md), and nested
tensors are not supported there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertwright.nn.dropout import apply_keep_mask, draw_keep_mask
from bertwright.nn.layout import AttentionRows, Layout
from bertwright.nn.linear import Linear

BLOCK = 1_000_000
"""Maximum number of attention weights that are computed at a time, except for a single row: larger blocks leave the
caches of a CPU (docs/background/log.md, 2026-11-29)."""

FUSED_WIDTH = 128
"""Row width from which torch's fused attention is faster without gradients in fp32 (docs/background/log.md)."""


class _Attend(torch.autograd.Function):
    """softmax(q k' / sqrt(d)) v in rows, with a hand-written gradient that keeps no mask, copy or cast twice."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rows: AttentionRows, n_heads: int, p: float) -> Tensor:
        q, k, v = _split_qkv(qkv, rows.width, n_heads)
        scale = 1.0 / math.sqrt(q.shape[-1])
        probabilities = _softmax(torch.bmm(q, k.transpose(1, 2)), rows, n_heads, scale)
        weights = probabilities
        mask: Tensor | None = None
        gain = 1.0
        if p > 0.0:
            mask, gain = draw_keep_mask(probabilities.shape, p, qkv.device)
            weights = apply_keep_mask(probabilities, mask)
        context = torch.bmm(weights, v)
        if mask is not None:
            context.mul_(gain)  # scales the context, which is smaller than the weights
        ctx.save_for_backward(q, k, v, probabilities, mask)
        ctx.info = (scale, gain, n_heads, rows.width)
        return _join_heads(context, rows.width, n_heads)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        q, k, v, probabilities, mask = ctx.saved_tensors
        scale, gain, n_heads, width = ctx.info
        (g,) = _split_heads(grads[0][:, None], width, n_heads)
        weights = probabilities
        if mask is not None:
            g, weights = g * gain, apply_keep_mask(probabilities, mask)
        d_v = torch.bmm(weights.transpose(1, 2), g)
        d_weights = torch.bmm(g, v.transpose(1, 2))
        if mask is not None:
            d_weights = apply_keep_mask(d_weights, mask)
        d_scores = torch._softmax_backward_data(d_weights, probabilities, -1, probabilities.dtype).mul_(scale)
        d_q = torch.bmm(d_scores, k)
        d_k = torch.bmm(d_scores.transpose(1, 2), q)
        d_qkv = torch.stack([_join_heads(d, width, n_heads) for d in (d_q, d_k, d_v)], dim=1)
        return d_qkv.flatten(1), None, None, None


def _split_heads(x: Tensor, width: int, n_heads: int) -> tuple[Tensor, ...]:
    """(R * W, parts, D) → ``parts`` tensors (R * H, W, D / H)."""
    n_rows, parts = x.shape[0] // width, x.shape[1]
    by_head = x.view(n_rows, width, parts, n_heads, -1).permute(2, 0, 3, 1, 4).contiguous()
    return by_head.view(parts, n_rows * n_heads, width, -1).unbind(0)


def _split_qkv(qkv: Tensor, width: int, n_heads: int) -> tuple[Tensor, ...]:
    return _split_heads(qkv.view(qkv.shape[0], 3, -1), width, n_heads)


def _join_heads(x: Tensor, width: int, n_heads: int) -> Tensor:
    """(R * H, W, D / H) → (R * W, D)."""
    n_rows = x.shape[0] // n_heads
    return x.view(n_rows, n_heads, width, -1).transpose(1, 2).reshape(n_rows * width, -1)


def _softmax(scores: Tensor, rows: AttentionRows, n_heads: int, scale: float) -> Tensor:
    by_row = scores.view(-1, n_heads, rows.width, rows.width)
    # adding -inf is vectorized, masked_fill is not
    return torch.add(rows.bias.to(scores.dtype), by_row, alpha=scale).softmax(-1).view_as(scores)


class _Reorder(torch.autograd.Function):
    """Permute the rows of ``x``. Every row occurs once in the output, so the gradient is a gather, not a sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0].index_select(0, ctx.saved_tensors[0]), None, None


def attend(qkv: Tensor, layout: Layout, n_heads: int, p: float = 0.0) -> Tensor:
    """Compute self-attention within each sequence.

    Args:
        qkv: (N, 3 D), queries, keys and values concatenated, each with H heads.
        layout: the positions of the sequences; its flattened token axis has N slots.
        n_heads: H, a divisor of D.
        p: dropout rate on the attention weights, as in BERT; 0 when not training.

    Returns:
        (N, D), the contexts of the heads concatenated.
    """
    if layout.row_mask is not None:
        return _attend_in_rows(qkv, layout.row_mask, n_heads)
    if not torch.is_grad_enabled() and p == 0.0:
        return _attend_without_gradient(qkv, layout, n_heads)
    if layout.source is None or layout.slot is None:
        (rows,) = layout.attention_rows
        context: Tensor = _Attend.apply(qkv, rows, n_heads, p)  # type: ignore[no-untyped-call]
        return context
    slots: Tensor = _Reorder.apply(qkv, layout.source, layout.slot)  # type: ignore[no-untyped-call]
    blocks = _split_into_blocks(layout, n_heads)
    parts = slots.split([rows.n_slots for rows in blocks])
    contexts = [
        _Attend.apply(part, rows, n_heads, p)  # type: ignore[no-untyped-call]
        for part, rows in zip(parts, blocks, strict=True)
    ]
    joined = contexts[0] if len(contexts) == 1 else torch.cat(contexts)
    # In backward, empty slots receive token 0's gradient; they attend only to each other, so it ends there.
    regrouped: Tensor = _Reorder.apply(joined, layout.slot, layout.source)  # type: ignore[no-untyped-call]
    return regrouped


def _split_into_blocks(layout: Layout, n_heads: int) -> list[AttentionRows]:
    """The attention rows in blocks of at most :data:`BLOCK` weights; on an accelerator, one block per width."""
    if layout.positions.device.type != "cpu":
        return list(layout.attention_rows)
    rows_per_block = [max(1, BLOCK // (n_heads * rows.width**2)) for rows in layout.attention_rows]
    return [block for rows, n in zip(layout.attention_rows, rows_per_block, strict=True) for block in rows.split(n)]


def _attend_without_gradient(qkv: Tensor, layout: Layout, n_heads: int) -> Tensor:
    """:func:`attend` for prediction: keeps nothing for a backward pass, and needs less memory."""
    slots = qkv if layout.source is None else qkv.index_select(0, layout.source)
    heads = slots.view(len(slots), 3, n_heads, -1)
    context = heads.new_empty(len(slots), n_heads, heads.shape[-1])
    begin = 0
    for rows in _split_into_blocks(layout, n_heads):
        is_fused = rows.width >= FUSED_WIDTH and qkv.dtype == torch.float32
        attend_block = _attend_block_fused if is_fused else _attend_block
        block = slice(begin, begin + rows.n_slots)
        q, k, v = heads[block].view(-1, rows.width, 3, n_heads, heads.shape[-1]).permute(2, 0, 3, 1, 4).unbind(0)
        by_head = context[block].view(-1, rows.width, n_heads, heads.shape[-1]).transpose(1, 2)
        by_head.copy_(attend_block(q, k, v, rows.bias.to(q.dtype)))
        begin = block.stop
    flat = context.flatten(1)
    return flat if layout.slot is None else flat.index_select(0, layout.slot)


def _attend_block(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention of some rows: queries, keys and values (R, H, W, D / H) and bias (R, 1, W, W) → (R, H, W, D / H)."""
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))
    scores = torch.bmm(q, k.transpose(1, 2)).view(len(bias), -1, *bias.shape[2:])
    weights = torch.add(bias, scores, alpha=1.0 / math.sqrt(q.shape[-1]), out=scores).softmax(-1)
    return torch.bmm(weights.flatten(0, 1), v).view(len(bias), -1, *v.shape[1:])


def _attend_block_fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """The same as :func:`_attend_block` with torch's fused attention."""
    return F.scaled_dot_product_attention(q, k, v, bias)


def _attend_in_rows(qkv: Tensor, mask: Tensor, n_heads: int) -> Tensor:
    """:func:`attend` for a layout of :meth:`~bertwright.nn.layout.Layout.from_mask`, in operators that exporters know.

    Args:
        qkv: (B * T, 3 D).
        mask: bool (B, T), true at tokens.
        n_heads: H.
    """
    q, k, v = qkv.view(*mask.shape, 3, n_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    bias = torch.where(mask, 0.0, torch.finfo(qkv.dtype).min)[:, None, None]
    weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + bias).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(qkv.shape[0], -1)


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values (Vaswani et al. 2017)."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = dropout
        self.qkv = Linear(width, 3 * width)
        self.output = Linear(width, width)

    def forward(self, x: Tensor, layout: Layout, selected: Tensor | None = None) -> Tensor:
        """(N, D) → (N, D), or (M, D) for the tokens ``selected``, int64 (M,); without dropout and residual."""
        p = self.dropout if self.training else 0.0
        context = attend(self.qkv(x), layout, self.n_heads, p)
        mixed: Tensor = self.output(context if selected is None else context.index_select(0, selected))
        return mixed
