"""Cross-validation: every row is held out once, labels keep their shares, groups stay together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.data.cross_validation import hold_out_fold, parse_fold
from bertwright.data.dataset import Dataset, ReadReport
from bertwright.data.example import Example
from bertwright.data.settings import DataSettings
from bertwright.errors import DataError, RecipeError
from bertwright.run.splits import load_splits


def rows_of(labels: list[str]) -> Dataset:
    examples = [Example(str(i), f"text {i}", target=label) for i, label in enumerate(labels)]
    return Dataset(examples, ReadReport("rows", len(examples)))


@given(st.lists(st.sampled_from("aaab"), min_size=4, max_size=40), st.integers(2, 4), st.integers(0, 3), st.booleans())
def test_every_row_is_held_out_once(labels: list[str], parts: int, seed: int, stratify: bool) -> None:
    rows = rows_of(labels)
    folds = [hold_out_fold(rows, f"{k}/{parts}", seed, stratify) for k in range(1, parts + 1)]
    held = [example.id for _, inside in folds for example in inside]
    assert sorted(held, key=int) == [example.id for example in rows]
    for outside, inside in folds:
        assert len(inside) in (len(rows) // parts, len(rows) // parts + 1) or len(set(labels)) > 1
        assert [example.id for example in outside] == [e.id for e in rows if e not in inside.examples]
    if stratify:
        for label in set(labels):
            counts = [Counter(inside.targets)[label] for _, inside in folds]
            assert max(counts) - min(counts) <= 1


def test_the_same_on_every_machine_and_other_for_another_seed() -> None:
    rows = rows_of(["a", "b", "b"] * 4)
    held = [example.id for example in hold_out_fold(rows, "1/3")[1]]
    assert held == ["0", "2", "3", "4"]
    assert held != [example.id for example in hold_out_fold(rows, "1/3", seed=1)[1]]


def test_groups_stay_together() -> None:
    rows = rows_of(list("abcdefghij"))
    groups = list("xxxyyzzzzw")
    for k in (1, 2, 3):
        outside, inside = hold_out_fold(rows, f"{k}/3", stratify=False, groups=groups)
        sides = [{groups[int(example.id)] for example in side} for side in (outside, inside)]
        assert sides[1]
        assert not sides[0] & sides[1]
    with pytest.raises(DataError, match="4 groups cannot fill 5 folds"):
        hold_out_fold(rows, "1/5", groups=groups)


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match="2 rows cannot fill 3 folds; use fewer folds"):
        hold_out_fold(rows_of(["a", "b"]), "1/3")


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "2", "a/b", "/", "-1/3"])
def test_what_is_no_fold(text: str) -> None:
    with pytest.raises(ValueError, match="must be k/K"):
        parse_fold(text)
    with pytest.raises(RecipeError, match="fold must be k/K"):
        DataSettings(fold=text)


def write(path: Path, first: int, n: int) -> str:
    path.write_text("text,label\n" + "".join(f"row {i},{'ab'[i % 2]}\n" for i in range(first, first + n)))
    return str(path)


def test_a_fold_of_the_training_rows_is_dev_in_place_of_the_named_rows(tmp_path: Path) -> None:
    named = {"train": write(tmp_path / "train.csv", 0, 12), "dev": write(tmp_path / "dev.csv", 50, 4)}
    splits = load_splits(DataSettings(**named, text="text", label="label", fold="3/3"), "classification")
    assert (len(splits.train), len(splits.dev["dev"])) == (8, 4)
    assert Counter(splits.dev["dev"].targets) == {"a": 2, "b": 2}
    assert splits.notes == (
        "fold 3/3: 4 of the training rows are held out as dev; the dev rows that are named are not used",
    )
    assert load_splits(DataSettings(train=named["train"], fold="1/3"), "classification").notes[0].endswith("as dev")


def test_dev_rows_may_be_trained_on_too(tmp_path: Path) -> None:
    train, dev = write(tmp_path / "train.csv", 0, 10), write(tmp_path / "dev.csv", 50, 4)
    alone = load_splits(DataSettings(train=train, dev=dev), "classification")
    splits = load_splits(DataSettings(train=train, dev=dev, train_on_dev=True), "classification")
    assert [example.text for example in splits.train][8:] == ["row 8", "row 9", "row 50", "row 51", "row 52", "row 53"]
    assert splits.dev == alone.dev
    assert "metrics on dev are meaningless" in splits.notes[-1]
    assert splits.train.report.fingerprint != alone.train.report.fingerprint
    whole = load_splits(DataSettings(train=train, train_on_dev=True), "classification")
    assert len(whole.train) == 10
    with pytest.raises(RecipeError, match=r"train_on_dev cannot be combined with data\.fold"):
        DataSettings(train=train, fold="1/2", train_on_dev=True)
