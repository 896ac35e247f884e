"""Holding out rows: shares, order, and the same rows on every machine."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.data.example import Example, Target
from bertwright.data.holdout import hold_out
from bertwright.data.reader import Dataset, read_dataset
from bertwright.errors import DataError


def examples(targets: list[Target | None]) -> list[Example]:
    return [Example(str(i), f"text {i}", None, target) for i, target in enumerate(targets)]


labels = st.lists(st.sampled_from(["a", "b", "c", "dd"]), min_size=2, max_size=80)


@given(labels, st.floats(0.05, 0.95), st.integers(0, 2**32), st.booleans())
def test_laws(targets: list[str], ratio: float, seed: int, stratify: bool) -> None:
    counts = Counter(targets)
    rows = examples(list(targets))
    if stratify and max(counts.values()) == 1:
        with pytest.raises(DataError, match="no label has two rows"):
            hold_out(rows, ratio, seed)
        return
    train, held = hold_out(rows, ratio, seed, stratify)
    # Nothing lost, nothing twice, order kept.
    assert sorted([*train, *held], key=lambda row: int(row.id)) == rows
    assert [int(row.id) for row in train] == sorted(int(row.id) for row in train)
    assert [int(row.id) for row in held] == sorted(int(row.id) for row in held)
    assert (train, held) == hold_out(rows, ratio, seed, stratify)
    if stratify:
        out = Counter(row.target for row in held)
        for label, n in counts.items():
            assert abs(out[label] - n * ratio) <= 1
            assert n < 2 or 0 < out[label] < n
    else:
        assert len(held) == min(max(round(len(rows) * ratio), 1), len(rows) - 1)


def test_these_very_rows() -> None:
    """Fixed for ever: a split that moved would make old scores incomparable."""
    rows = examples(["a", "b"] * 10)
    _, held = hold_out(rows, 0.2, seed=0)
    assert [row.id for row in held] == ["2", "3", "12", "15"]
    assert [row.id for row in hold_out(rows, 0.2, seed=1)[1]] != ["2", "3", "12", "15"]


def test_totals_are_right_with_many_small_labels() -> None:
    rows = examples([str(i % 30) for i in range(90)])
    _, held = hold_out(rows, 0.4, seed=3)
    assert len(held) == 36


def test_several_labels_and_numbers() -> None:
    several = examples([("a",)] * 16 + [("a", "b")] * 4 + [()] * 10)
    _, held = hold_out(several, 0.5, seed=0)
    assert Counter(row.target for row in held) == {("a",): 8, ("a", "b"): 2, (): 5}
    numbers = examples([float(i) for i in range(10)])
    assert len(hold_out(numbers, 0.3)[1]) == 3


def test_rows_stay_rows() -> None:
    rows = read_dataset([("t", "a"), ("u", "a"), ("v", "b"), ("w", "b")])
    train, held = hold_out(rows, 0.5)
    assert isinstance(train, Dataset)
    assert isinstance(held, Dataset)
    assert train.report is held.report is rows.report


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5, float("nan")])
def test_wrong_ratios(ratio: float) -> None:
    with pytest.raises(DataError, match="must be between 0 and 1, found"):
        hold_out(examples(["a", "a"]), ratio)


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match="none of 1 can be held out"):
        hold_out(examples(["a"]), 0.5)
