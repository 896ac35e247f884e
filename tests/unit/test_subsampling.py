"""Drawing training rows: shares, nesting, the same rows on every machine, after the validation split."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.data.reader import Dataset, read_dataset
from bertwright.data.settings import DataSettings
from bertwright.data.subsampling import draw_rows, order_rows
from bertwright.errors import DataError
from bertwright.run.splits import Splits, load_splits

strata = st.lists(st.sampled_from(["a", "b", "c", "dd"]), min_size=1, max_size=60)


@given(strata, st.integers(0, 2**32 - 1))
def test_every_beginning_has_the_shares_of_all(names: list[str], seed: int) -> None:
    order = order_rows(names, seed)
    assert sorted(order) == list(range(len(names)))
    assert order == order_rows(names, seed)
    shares = Counter(names)
    for n in range(1, len(names) + 1):
        counts = Counter(names[i] for i in order[:n])
        if n >= len(shares):
            assert counts.keys() == shares.keys()
            # at a common point of the way, every stratum has its share rounded up
            at = max((counts[name] - 1) / shares[name] for name in shares)
            for name in shares:
                assert counts[name] >= math.ceil(at * shares[name] - 1e-9)
                assert abs(counts[name] - n * shares[name] / len(names)) < len(shares)


def rows_of(targets: list[str]) -> Dataset:
    return read_dataset([(f"text {i}", target) for i, target in enumerate(targets)])


@pytest.mark.parametrize("stratify", [True, False])
def test_smaller_draws_are_part_of_larger_ones(stratify: bool) -> None:
    rows = rows_of(["pos"] * 30 + ["neg"] * 70)
    ids = [{row.id for row in draw_rows(rows, n, 3, stratify)} for n in (5, 20, 50, 100)]
    assert [len(each) for each in ids] == [5, 20, 50, 100]
    assert ids[0] < ids[1] < ids[2] < ids[3]
    assert {row.id for row in draw_rows(rows, 20, 4, stratify)} != ids[1]
    places = [int(row.id) for row in draw_rows(rows, 50, 3, stratify)]
    assert places == sorted(places)


def test_a_sorted_file_gives_all_labels() -> None:
    rows = rows_of(["pos"] * 60 + ["neg"] * 30 + ["rare"] * 2)
    assert Counter(draw_rows(rows, 3, 0).targets) == {"pos": 1, "neg": 1, "rare": 1}
    assert Counter(draw_rows(rows, 31, 0).targets) == {"pos": 20, "neg": 10, "rare": 1}
    assert Counter(draw_rows(rows, 2, 0).targets) == {"pos": 1, "neg": 1}


def test_all_rows_are_drawn_as_they_are() -> None:
    rows = rows_of(["pos"] * 6 + ["neg"] * 3)
    assert draw_rows(rows, 9, 0) is rows


def test_these_very_rows() -> None:
    """Fixed for ever: other rows would make old curves incomparable."""
    assert order_rows(["a", "b"] * 5, 0) == [3, 2, 7, 8, 5, 4, 9, 6, 1, 0]


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match=r"train_rows: is 9, but .* has 2 training rows after the hold-out"):
        draw_rows(rows_of(["a", "b"]), 9)


class TestSplits:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """A file that is sorted by label."""
        path = tmp_path / "sorted.csv"
        lines = [f"text {i},{'neg' if i < 40 else 'pos'}" for i in range(80)]
        path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
        return path

    def load(self, file: Path, n: int | None, seed: int = 0) -> Splits:
        return load_splits(DataSettings(train=str(file), train_rows=n), "classification", seed=seed)

    def test_validation_rows_stay_the_same(self, file: Path) -> None:
        whole, some, other = self.load(file, None), self.load(file, 10), self.load(file, 10, seed=1)
        assert [row.id for row in whole.dev["dev"].examples] == [row.id for row in some.dev["dev"].examples]
        assert other.dev["dev"].examples == some.dev["dev"].examples
        drawn = {row.id for row in some.train.examples}
        assert drawn < {row.id for row in whole.train.examples}
        assert drawn != {row.id for row in other.train.examples}
        assert len(drawn) == 10
        assert Counter(row.target for row in some.train.examples) == {"neg": 5, "pos": 5}
        assert some.available.examples == whole.train.examples
        assert whole.available is whole.train
        assert any(re.search(r"train_rows: 10 of 64 training rows are used", note) for note in some.notes)

    def test_more_than_remain(self, file: Path) -> None:
        assert len(self.load(file, 64).train.examples) == 64
        with pytest.raises(DataError, match=r"is 65, but .* has 64 training rows after the hold-out split"):
            self.load(file, 65)

    def test_dev_rows_are_added_after_the_draw(self, file: Path) -> None:
        settings = DataSettings(train=str(file), train_rows=10, train_on_dev=True)
        assert len(load_splits(settings, "classification").train.examples) == 26
