"""Which rows an epoch has: shares of labels, every row before any again, and nothing but seed and epoch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.errors import DataError
from bertwright.tokenization.sampling import (
    Permutation,
    Sampling,
    build_sampling_order,
    build_shuffle_order,
    draw_epoch,
    epoch_permutation,
    epoch_size,
)

strata = st.lists(st.sampled_from(["", "a", "b", "rare"]), min_size=2, max_size=60).filter(lambda s: len({*s}) > 1)
kinds: st.SearchStrategy[Sampling] = st.sampled_from(["all", "balanced", "sqrt", "oversample"])


@given(kinds, strata, st.integers(0, 2**32 - 1), st.integers(0, 10**6))
def test_laws(kind: Sampling, names: list[str], seed: int, epoch: int) -> None:
    sizes = Counter(names)
    rows = draw_epoch(kind, names, seed, epoch)
    assert rows.dtype == np.int64
    assert (
        len(rows)
        == epoch_size(kind, names)
        == (max(sizes.values()) * len(sizes) if kind == "oversample" else len(names))
    )
    assert np.array_equal(rows, draw_epoch(kind, names, seed, epoch))
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
        times = Counter(int(i) for epoch in range(epochs) for i in draw_epoch(kind, names, seed, epoch))
        for name in {*names}:
            members = [times[i] for i, other in enumerate(names) if other == name]
            assert max(members) - min(members) <= 1


def test_epochs_and_seeds_differ_and_labels_are_mixed() -> None:
    names = ["a"] * 900 + ["b"] * 100
    rows = draw_epoch("balanced", names, 0, 0)
    assert not np.array_equal(rows, draw_epoch("balanced", names, 0, 1))
    assert not np.array_equal(rows, draw_epoch("balanced", names, 1, 0))
    assert 150 < sum(names[i] == "b" for i in rows[:500]) < 350
    assert len(set(rows[rows < 900])) == 500, "of the frequent label no row twice"
    assert {int(i) for epoch in (0, 1) for i in draw_epoch("balanced", names, 0, epoch)} == set(range(1000))


def test_all_is_the_order_it_always_was() -> None:
    assert np.array_equal(draw_epoch("all", ["a"] * 50, 3, 4), epoch_permutation(50, 3, 4))
    assert epoch_permutation(5, 42, 0).tolist() == [4, 2, 3, 1, 0]
    assert draw_epoch("oversample", ["a", "a", "a", "b"], 42, 1).tolist() == [3, 1, 2, 0, 3, 3]


def test_a_label_of_one_row_among_many_takes_no_time() -> None:
    rows = draw_epoch("oversample", ["a"] * 200_000 + ["b"], 0, 5)
    assert np.count_nonzero(rows == 200_000) == 200_000


@pytest.mark.parametrize(("names", "found"), [(["", ""], 1), ([], 0)])
def test_one_label_has_nothing_to_balance(names: list[str], found: int) -> None:
    message = rf"^train\.sampling: sqrt needs at least 2 labels, but the rows have {found}; set train\.sampling=all\.$"
    for refused in (epoch_size, build_sampling_order, draw_epoch):
        rest = {epoch_size: (), build_sampling_order: (0,), draw_epoch: (0, 0)}[refused]
        with pytest.raises(DataError, match=message):
            refused("sqrt", names, *rest)


def test_orders() -> None:
    names = ["a", "a", "a", "b"]
    order = build_sampling_order("oversample", names, 42)
    assert order.size == 6
    assert np.array_equal(order.indices(1), draw_epoch("oversample", names, 42, 1))
    assert build_shuffle_order(5, 42).size == 5
    assert np.array_equal(build_shuffle_order(5, 42).indices(3), epoch_permutation(5, 42, 3))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 4096, 65_537])
def test_a_permutation_is_one(n: int) -> None:
    whole = Permutation(n, seed=3, epoch=1)[0:n]
    assert whole.dtype == np.int64
    assert np.array_equal(np.sort(whole), np.arange(n))
    for start, stop in ((0, 1), (n // 3, n // 2 + 1), (n - 1, n + 10), (n, n + 5)):
        assert np.array_equal(Permutation(n, seed=3, epoch=1)[start:stop], whole[start:stop])


@given(st.integers(1, 300), st.integers(0, 2**32 - 1), st.integers(0, 10**6), st.integers(1, 64))
def test_the_slices_of_a_permutation_put_together_are_it(n: int, seed: int, epoch: int, size: int) -> None:
    order = Permutation(n, seed, epoch)
    assert sorted(i for start in range(0, n, size) for i in order[start : start + size].tolist()) == list(range(n))


def test_permutations_differ_by_epoch_and_seed() -> None:
    first = Permutation(1000, 0, 0)[0:1000]
    for other in (Permutation(1000, 0, 1), Permutation(1000, 1, 0), Permutation(1000, 1, 1)):
        assert np.count_nonzero(other[0:1000] == first) < 8, "about one stands where it stood"
    assert np.count_nonzero(first == np.arange(1000)) < 8


@pytest.mark.parametrize("n", [5, 17])
def test_permutations_are_about_uniform(n: int) -> None:
    """Which number comes first, and which comes after it, by chi-squared."""
    found = np.array([Permutation(n, seed, epoch)[0:n] for seed in range(30) for epoch in range(30)])
    for counts in (
        *(np.bincount(found[:, place], minlength=n) for place in (0, n // 2, n - 1)),
        np.bincount((found[:, 1] - found[:, 0]) % n, minlength=n)[1:],
    ):
        expected = len(found) / len(counts)
        # the mean of chi-squared is its degrees of freedom, its standard deviation the root of twice that
        assert ((counts - expected) ** 2 / expected).sum() < len(counts) + 5 * np.sqrt(2 * len(counts))


def test_neighbours_of_a_large_permutation_are_unrelated() -> None:
    found = Permutation(10**10, seed=0, epoch=0)[9_999_999_000:10_000_000_000]
    assert len(set(found.tolist())) == 1000
    assert found.min() >= 0
    assert found.max() < 10**10
    assert abs(found.mean() / 10**10 - 0.5) < 5 * 12**-0.5 / 1000**0.5
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.15
    assert np.array_equal(np.sort(np.bincount(found % 2)) > 400, [True, True])
