"""Losses that count what is still got wrong for more than what is known already.

Focal loss (Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv 1708.02002): the cross-entropy of an
example is multiplied by (1 - p) ** gamma, p being the probability of what is true. With gamma 0 it is cross-entropy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def focal_cross_entropy(scores: Tensor, targets: Tensor, gamma: float, weight: Tensor | None = None) -> Tensor:
    """The summed focal loss of exclusive labels.

    Args:
        scores: (B, C).
        targets: int64 (B,).
        gamma: how little what is known counts; the paper's best is 2.
        weight: of each label (C,), the paper's alpha.
    """
    losses = functional.cross_entropy(scores, targets, reduction="none")
    losses = _unsure(losses, gamma) * losses
    return (losses if weight is None else losses * weight[targets]).sum()


def focal_binary_cross_entropy(scores: Tensor, targets: Tensor, gamma: float, weight: Tensor | None = None) -> Tensor:
    """The summed focal loss of labels that each hold or not.

    Args:
        scores: (B, L).
        targets: 0 or 1, float (B, L).
        gamma: how little what is known counts.
        weight: of each label where it holds (L,).
    """
    losses = functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    losses = _unsure(losses, gamma) * losses
    return (losses if weight is None else losses * (1.0 + (weight - 1.0) * targets)).sum()


def _unsure(losses: Tensor, gamma: float) -> Tensor:
    """(1 - p) ** gamma, p from the loss -log p itself: one softmax, and the gradient flows through both factors."""
    # a power below 1 has no slope at 0
    return (-torch.expm1(-losses)).clamp_min(torch.finfo(losses.dtype).tiny).pow(gamma)
