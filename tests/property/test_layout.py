"""Layouts: packing loses and repeats nothing; packed = padded = one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.errors import LayoutError
from bertwright.nn.attention import attend
from bertwright.nn.batch import Batch
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.layout import Layout

lengths_of = st.lists(st.integers(1, 300), min_size=1, max_size=20)


def slots_of(layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """``source`` and ``slot``; a layout without them has one row, the token axis."""
    if layout.source is None or layout.slot is None:
        assert [rows.n_slots for rows in layout.attention_rows] == [layout.n_tokens]
        return torch.arange(layout.n_tokens), torch.arange(layout.n_tokens)
    return layout.source, layout.slot


@given(lengths_of, st.sampled_from([8, 64, 128]))
def test_every_token_has_one_slot_and_sees_just_its_own_sequence(lengths: list[int], row: int) -> None:
    layout = Layout.packed(lengths, row)
    n = sum(lengths)
    assert layout.shape == (n,)
    assert layout.n_tokens == n
    source, slot = slots_of(layout)
    assert torch.equal(source[slot], torch.arange(n))  # a bijection onto the used slots
    sequence = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    assert torch.equal(layout.positions, torch.cat([torch.arange(size) for size in lengths]))
    assert torch.equal(layout.starts, torch.tensor(np.cumsum([0, *lengths[:-1]])))
    used = torch.zeros(len(source), dtype=torch.bool)
    used[slot] = True
    base = 0
    for rows in layout.attention_rows:
        owner = torch.where(used, sequence[source], -1)[base : base + rows.n_slots].view(-1, 1, rows.width)
        assert torch.equal(rows.bias == 0, owner[..., :, None] == owner[..., None, :])
        assert bool(((rows.bias == 0) | (rows.bias == float("-inf"))).all())
        base += rows.n_slots
    assert base == len(source)


@given(lengths_of)
def test_rows_are_well_filled(lengths: list[int]) -> None:
    """A width is at most twice what its sequences need, and of its rows at most one is less than half full."""
    layout = Layout.packed(lengths)
    _, slot = slots_of(layout)
    base = 0
    for rows in layout.attention_rows:
        filled = torch.bincount((slot[(slot >= base) & (slot < base + rows.n_slots)] - base) // rows.width)
        assert len(filled) == rows.n_slots // rows.width
        assert int((filled <= rows.width // 2).sum()) <= 1
        base += rows.n_slots


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=7), st.integers(0, 2**31))
def test_packed_is_padded_is_one_at_a_time(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    encoder = Encoder(EncoderConfig(50, 16, 2, 2, 24, 90)).eval()
    width = max(lengths)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, 50, mask.shape) * mask
    types = torch.randint(0, 2, mask.shape) * mask
    batch = Batch.from_features(ids, mask.long(), types)
    with torch.no_grad():
        packed = encoder(batch.ids, batch.types, batch.layout)
        padded = encoder(ids, types, Layout.padded(lengths, width))
        singles = [encoder(ids[i, :size], types[i, :size], Layout.packed([size])) for i, size in enumerate(lengths)]
    torch.testing.assert_close(packed, padded[mask], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(packed, torch.cat(singles), rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(lengths_of)
def test_features_there_and_back(lengths: list[int]) -> None:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, 99, mask.shape) * mask
    types = torch.randint(0, 2, mask.shape) * mask
    features = Batch.from_features(ids.int(), mask.int(), types.int()).to_features()
    assert torch.equal(features["input_ids"], ids)
    assert torch.equal(features["attention_mask"], mask.long())
    assert torch.equal(features["token_type_ids"], types)


def test_attention_gradients_are_right() -> None:
    """Against numerical differentiation, over rows of two widths."""
    torch.manual_seed(0)
    layout = Layout.packed([3, 9, 2, 5], min_width=8)
    assert [rows.width for rows in layout.attention_rows] == [8, 16]
    qkv = torch.randn(19, 3 * 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: attend(x, layout, 2), (qkv,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Layout.packed([]), "must be a non-empty list of integers"),
        (lambda: Layout.packed([3, 0]), "sequence 1 is empty"),
        (lambda: Layout.padded([3, 9], 8), "the longest sequence has 9 tokens, but width is 8"),
    ],
)
def test_impossible_layouts_are_refused(make: object, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        make()  # type: ignore[operator]
