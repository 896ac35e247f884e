"""From a sequence's hidden vectors to one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bertwright.nn.heads import first_tokens, real_tokens
from bertwright.nn.layout import Layout

Pooling = Callable[[Tensor, Layout], Tensor]
"""(N, D) or (B, T, D) → (B, D)."""


def mean(hidden: Tensor, layout: Layout) -> Tensor:
    """The mean over a sequence's tokens, special ones included (Reimers and Gurevych 2019): (B, D)."""
    return _reduced(hidden, layout, "mean")


def largest(hidden: Tensor, layout: Layout) -> Tensor:
    """The largest value over a sequence's tokens in each dimension: (B, D)."""
    return _reduced(hidden, layout, "max")


POOLINGS: dict[str, Pooling] = {"first": first_tokens, "pooler": first_tokens, "mean": mean, "max": largest}
"""By their names in a recipe; the dense layer of the pooler follows in the head."""


def _reduced(hidden: Tensor, layout: Layout, how: str) -> Tensor:
    flat = real_tokens(hidden, layout).float()  # a sum over 512 tokens in 16 bits would lose digits
    lengths = torch.from_numpy(layout.lengths).to(flat.device)
    return torch.segment_reduce(flat, how, lengths=lengths)
