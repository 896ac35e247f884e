"""Grouped sequences: no batch splits, loses or repeats a group, whatever its size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.errors import DataError
from bertwright.nn.batch import Batch
from bertwright.tokenization.batching import iterate_batches, iterate_in_order, make_batcher
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.sampling import epoch_permutation

GROUPS = st.lists(st.lists(st.integers(2, 9), min_size=1, max_size=5), min_size=1, max_size=12)


def encodings_of(groups: list[list[int]]) -> Encodings:
    """Sequences of these lengths; the ids of a sequence are its number, and its target too."""
    lengths = np.array([length for group in groups for length in group])
    n = len(lengths)
    examples = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    ids = np.repeat(np.arange(n, dtype=np.int32), lengths)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    zeros = np.zeros(n, np.int32)
    return Encodings(ids, np.zeros(len(ids), np.uint8), bounds, examples, zeros, np.arange(n), grouped=True)


def group_sizes(batch: Batch) -> list[int]:
    assert batch.group_sizes is not None
    return batch.group_sizes.tolist()


def targets_by_group(batch: Batch) -> list[list[int]]:
    assert batch.targets is not None
    return [group.tolist() for group in batch.targets.split(group_sizes(batch))]


def groups_in(encodings: Encodings) -> list[list[int]]:
    return [np.flatnonzero(encodings.examples == example).tolist() for example in np.unique(encodings.examples)]


@given(GROUPS, st.integers(1, 6), st.integers(0, 60), st.integers(0, 3))
def test_a_step_has_whole_groups_once(groups: list[list[int]], batch_size: int, spare: int, seed: int) -> None:
    encodings = encodings_of(groups)
    max_tokens = max(sum(group) for group in groups) + spare
    make_batches = make_batcher(encodings, max_tokens, seed)
    order = epoch_permutation(len(groups), seed, 0)
    expected = groups_in(encodings)
    seen: list[list[int]] = []
    for start in range(0, len(order), batch_size):
        units = order[start : start + batch_size]
        pieces = make_batches(units, start)
        assert all(piece.layout.n_tokens <= max_tokens for piece in pieces)
        in_step = []
        for piece in pieces:
            assert piece.targets is not None
            in_step += targets_by_group(piece)
            assert piece.ids.tolist() == np.repeat(piece.targets.numpy(), piece.layout.lengths).tolist()
        assert in_step == [expected[unit] for unit in units]
        seen += in_step
    assert sorted(seen) == expected


@given(GROUPS, st.integers(0, 60))
def test_prediction_and_own_loops_keep_groups(groups: list[list[int]], max_tokens: int) -> None:
    encodings = encodings_of(groups)
    expected = groups_in(encodings)
    assert [group for batch in iterate_in_order(encodings, max_tokens) for group in targets_by_group(batch)] == expected
    build_shuffle_order = [
        group for batch in iterate_batches(encodings, batch_size=2, seed=1) for group in targets_by_group(batch)
    ]
    assert sorted(build_shuffle_order) == expected


def test_a_group_that_comes_twice_in_a_row_is_two_groups() -> None:
    encodings = encodings_of([[2, 3], [4, 5, 6]])
    (batch,) = make_batcher(encodings, 100, 0)(np.array([1, 1, 0]), 0)
    assert group_sizes(batch) == [3, 3, 2]
    assert batch.indices.tolist() == [2, 3, 4, 2, 3, 4, 0, 1]


@given(GROUPS, st.integers(1, 8))
def test_parts_and_selections_keep_groups(groups: list[list[int]], size: int) -> None:
    encodings = encodings_of(groups)
    parts = list(encodings.iterate_parts(size))
    assert all(part.grouped for part, _ in parts)
    assert [n for part, _ in parts for n in part.unit_sizes.tolist()] == [len(group) for group in groups]
    last = len(groups) - 1
    chosen = encodings.take(encodings.sequences_of(np.array([last])))
    assert chosen.grouped
    assert chosen.targets is not None
    assert chosen.targets.tolist() == groups_in(encodings)[last]


def test_frozen_vectors_keep_groups() -> None:
    encodings = encodings_of([[2, 3], [4, 5, 6]])
    cached = replace(encodings, features=np.arange(10, dtype=np.float32).reshape(5, 2))
    first, second = make_batcher(cached, 3, 0)(np.array([1, 0]), 0)  # a vector a sequence, so 3 and 2 tokens
    assert (group_sizes(first), group_sizes(second)) == ([3], [2])
    assert first.features is not None
    assert first.features.tolist() == [[4, 5], [6, 7], [8, 9]]


def test_a_group_larger_than_a_micro_batch_is_refused() -> None:
    with pytest.raises(DataError, match="max_tokens is 10, but 15 tokens of one example must stay in one batch"):
        make_batcher(encodings_of([[2, 3], [4, 5, 6]]), 10, 0)
