"""Attention in blocks of rows, with and without gradients."""

from __future__ import annotations

import pytest
import torch

from bertwright.nn import attention
from bertwright.nn.layout import Layout

LENGTHS = (7, 130, 1, 64, 23, 200, 128, 256)
HEADS, WIDTH = 4, 32


@pytest.mark.parametrize("block", [1, 20_000])
@pytest.mark.parametrize("fused_width", [1, 1 << 20])
@pytest.mark.parametrize("bf16", [False, True])
def test_attention_in_blocks_is_attention(
    monkeypatch: pytest.MonkeyPatch, block: int, fused_width: int, bf16: bool
) -> None:
    torch.manual_seed(0)
    layout = Layout.packed(LENGTHS)
    qkv = torch.randn(sum(LENGTHS), 3 * WIDTH, dtype=torch.bfloat16 if bf16 else torch.float32)
    exact = attention.attend(qkv.clone().requires_grad_(), layout, HEADS).detach()
    monkeypatch.setattr(attention, "BLOCK", block)
    monkeypatch.setattr(attention, "FUSED_WIDTH", fused_width)
    with torch.no_grad():
        context = attention.attend(qkv, layout, HEADS)
    tolerance = 2e-2 if bf16 else 1e-6
    torch.testing.assert_close(context, exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_in_blocks_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """Dropout draws the same random numbers for every block size."""
    torch.manual_seed(0)
    layout = Layout.packed(LENGTHS)
    qkv = torch.randn(sum(LENGTHS), 3 * WIDTH).to(dtype)
    results = []
    for block in (1, 100_000, 1 << 40):
        monkeypatch.setattr(attention, "BLOCK", block)
        torch.manual_seed(1)
        x = qkv.clone().requires_grad_()
        context = attention.attend(x, layout, HEADS, 0.1)
        context.square().sum().backward()
        results.append((context.detach(), x.grad))
    for context, gradient in results[1:]:
        assert torch.equal(context, results[0][0])
        assert torch.equal(gradient, results[0][1])
