"""Focal loss beside its definition, and beside cross-entropy where gamma is next to nothing."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from bertwright.errors import RecipeError
from bertwright.recipe import load_recipe
from bertwright.tasks.losses import focal_binary_cross_entropy, focal_cross_entropy


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


def test_exclusive_labels(scores: torch.Tensor) -> None:
    targets, weight = torch.tensor([0, 1, 2, 2, 1, 0, 2]), torch.tensor([0.5, 2.0, 1.5], dtype=torch.float64)
    p = scores.softmax(-1)[torch.arange(7), targets]
    expected = (weight[targets] * (1 - p) ** 2 * -p.log()).sum()
    found = focal_cross_entropy(scores, targets, 2.0, weight)
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad(loss, scores, retain_graph=True)[0] for loss in (found, expected))
    torch.testing.assert_close(ours, theirs)
    plain = F.cross_entropy(scores, targets, reduction="sum", weight=weight)
    torch.testing.assert_close(focal_cross_entropy(scores, targets, 1e-9, weight), plain)


def test_labels_that_each_hold_or_not(scores: torch.Tensor) -> None:
    targets = (torch.rand(7, 3, generator=torch.Generator().manual_seed(1)) < 0.4).double()
    weight = torch.tensor([0.5, 2.0, 1.5], dtype=torch.float64)
    p = scores.sigmoid()
    held, not_held = weight * (1 - p) ** 1.5 * -p.log(), p**1.5 * -(1 - p).log()
    expected = (targets * held + (1 - targets) * not_held).sum()
    found = focal_binary_cross_entropy(scores, targets, 1.5, weight)
    torch.testing.assert_close(found, expected)
    plain = F.binary_cross_entropy_with_logits(scores, targets, pos_weight=weight, reduction="sum")
    torch.testing.assert_close(focal_binary_cross_entropy(scores, targets, 1e-9, weight), plain)


def test_what_is_certain_gives_no_nan() -> None:
    scores = torch.tensor([[80.0, -80.0]], requires_grad=True)
    for loss in (
        focal_cross_entropy(scores, torch.tensor([0]), 0.5),
        focal_binary_cross_entropy(scores, torch.tensor([[1.0, 0.0]]), 0.5),
    ):
        (gradient,) = torch.autograd.grad(loss, scores)
        assert gradient.isfinite().all()
        assert float(loss.detach()) == pytest.approx(0, abs=1e-6)


def test_only_one_of_two_losses() -> None:
    with pytest.raises(RecipeError, match="focal_gamma cannot be combined with label_smoothing"):
        load_recipe(None, ["task.focal_gamma=2", "task.label_smoothing=0.1"])
