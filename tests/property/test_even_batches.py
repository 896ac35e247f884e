"""Batches of prediction: every unit once, few pieces of about equal size, and few different sizes over a long file."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.nn.packed_linear import round_rows
from bertwright.tokenization.batching import split_evenly, split_micro_batches
from bertwright.training.scoring import SEQUENCES, TOKENS


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 80))
def test_every_unit_once_in_the_fewest_pieces(lengths: list[int], max_tokens: int) -> None:
    sizes = np.array(lengths, np.int64)
    budget = max(max_tokens, max(lengths))
    pieces = split_evenly(sizes, max_tokens)
    assert np.concatenate(pieces).tolist() == list(range(len(sizes)))
    assert max(int(sizes[piece].sum()) for piece in pieces) <= budget
    assert len(pieces) == len(split_micro_batches(np.arange(len(sizes)), sizes, budget))
    assert all(len(piece) for piece in pieces)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(9, 30))
def test_the_largest_piece_is_the_smallest_possible(lengths: list[int], max_tokens: int) -> None:
    sizes = np.array(lengths, np.int64)
    pieces = split_evenly(sizes, max_tokens)
    cuts = itertools.combinations(range(1, len(sizes)), len(pieces) - 1)
    best = min(max(int(piece.sum()) for piece in np.split(sizes, cut)) for cut in cuts)
    assert max(int(sizes[piece].sum()) for piece in pieces) == best


@pytest.mark.parametrize(("longest", "most"), [(22, 10), (60, 16), (512, 60)])
def test_a_long_file_has_few_numbers_of_tokens(longest: int, most: int) -> None:
    """oneDNN keeps a kernel for each number, which made memory grow with the rows of a file."""
    rng = np.random.default_rng(0)
    evenly, filled = set[int](), set[int]()
    for _ in range(300):
        sizes = rng.integers(5, longest, SEQUENCES)
        first_fit = split_micro_batches(np.arange(SEQUENCES), sizes, TOKENS)
        for pieces, numbers in ((split_evenly(sizes, TOKENS), evenly), (first_fit, filled)):
            numbers |= {round_rows(int(sizes[piece].sum())) for piece in pieces}
    assert len(evenly) < most < len(filled)
