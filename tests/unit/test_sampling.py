"""Which rows an epoch has: shares of labels, every row before any again, and nothing but seed and epoch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.errors import DataError
from bertwright.text.sampling import Sampling, epoch_order, epoch_rows, epoch_size, order_of, shuffled

strata = st.lists(st.sampled_from(["", "a", "b", "rare"]), min_size=2, max_size=60).filter(lambda s: len({*s}) > 1)
kinds: st.SearchStrategy[Sampling] = st.sampled_from(["all", "balanced", "sqrt", "oversample"])


@given(kinds, strata, st.integers(0, 2**32 - 1), st.integers(0, 10**6))
def test_laws(kind: Sampling, names: list[str], seed: int, epoch: int) -> None:
    sizes = Counter(names)
    rows = epoch_rows(kind, names, seed, epoch)
    assert rows.dtype == np.int64
    assert (
        len(rows)
        == epoch_size(kind, names)
        == (max(sizes.values()) * len(sizes) if kind == "oversample" else len(names))
    )
    assert np.array_equal(rows, epoch_rows(kind, names, seed, epoch))
    drawn = Counter(names[i] for i in rows)
    for name, size in sizes.items():
        exact = {
            "all": size,
            "balanced": len(names) / len(sizes),
            "sqrt": len(names) * size**0.5 / sum(n**0.5 for n in sizes.values()),
            "oversample": max(sizes.values()),
        }[kind]
        assert abs(drawn[name] - exact) < 1
        # within a label, no row comes more often than another by more than the deck an epoch begins or ends in
        times = Counter(int(i) for i in rows if names[i] == name)
        assert max(times.values(), default=0) - min([times[i] for i, n in enumerate(names) if n == name]) <= 2


@given(strata, st.integers(0, 99), st.integers(1, 6))
def test_every_row_comes_once_before_any_comes_again(names: list[str], seed: int, epochs: int) -> None:
    for kind in ("balanced", "sqrt", "oversample"):
        times = Counter(int(i) for epoch in range(epochs) for i in epoch_rows(kind, names, seed, epoch))
        for name in {*names}:
            members = [times[i] for i, other in enumerate(names) if other == name]
            assert max(members) - min(members) <= 1


def test_epochs_and_seeds_differ_and_labels_are_mixed() -> None:
    names = ["a"] * 900 + ["b"] * 100
    rows = epoch_rows("balanced", names, 0, 0)
    assert not np.array_equal(rows, epoch_rows("balanced", names, 0, 1))
    assert not np.array_equal(rows, epoch_rows("balanced", names, 1, 0))
    assert 150 < sum(names[i] == "b" for i in rows[:500]) < 350
    assert len(set(rows[rows < 900])) == 500, "of the frequent label no row twice"
    assert {int(i) for epoch in (0, 1) for i in epoch_rows("balanced", names, 0, epoch)} == set(range(1000))


def test_all_is_the_order_it_always_was() -> None:
    assert np.array_equal(epoch_rows("all", ["a"] * 50, 3, 4), epoch_order(50, 3, 4))
    assert epoch_order(5, 42, 0).tolist() == [4, 2, 3, 1, 0]
    assert epoch_rows("oversample", ["a", "a", "a", "b"], 42, 1).tolist() == [3, 1, 2, 0, 3, 3]


def test_a_label_of_one_row_among_many_takes_no_time() -> None:
    rows = epoch_rows("oversample", ["a"] * 200_000 + ["b"], 0, 5)
    assert np.count_nonzero(rows == 200_000) == 200_000


@pytest.mark.parametrize(("names", "found"), [(["", ""], 1), ([], 0)])
def test_one_label_has_nothing_to_balance(names: list[str], found: int) -> None:
    message = rf"^train\.sampling: sqrt needs rows of two labels at least, found {found}; set it to all\.$"
    for refused in (epoch_size, order_of, epoch_rows):
        rest = {epoch_size: (), order_of: (0,), epoch_rows: (0, 0)}[refused]
        with pytest.raises(DataError, match=message):
            refused("sqrt", names, *rest)


def test_orders() -> None:
    names = ["a", "a", "a", "b"]
    order = order_of("oversample", names, 42)
    assert order.size == 6
    assert np.array_equal(order.rows(1), epoch_rows("oversample", names, 42, 1))
    assert shuffled(5, 42).size == 5
    assert np.array_equal(shuffled(5, 42).rows(3), epoch_order(5, 42, 3))
