"""Offsets, flags and labels from numpy and pandas mean what Python's own do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bertwright.data.cell_values import whole_number
from bertwright.data.example import Answer, Example
from bertwright.data.reader import read_dataset
from bertwright.errors import DataError

INTEGERS = [int, np.int64, np.int32, np.uint8, np.float64, np.array]


@pytest.mark.parametrize("integer", INTEGERS)
def test_answers(integer: Callable[[int], Any]) -> None:
    for answers in (
        [{"text": "Oslo", "answer_start": integer(3)}],
        [("Oslo", integer(3))],
        {"text": ["Oslo"], "answer_start": [integer(3)]},
        {"text": np.array(["Oslo"]), "answer_start": np.array([3])},
    ):
        rows = read_dataset([("Where?", "In Oslo.", answers)], kind="qa")
        assert rows[0].target == (Answer("Oslo", 3),)
        assert (
            rows.report.fingerprint
            == read_dataset([("Where?", "In Oslo.", [("Oslo", 3)])], kind="qa").report.fingerprint
        )
        assert rows.report.notes == ()


def test_an_offset_that_pandas_takes_for_missing() -> None:
    frame = pd.DataFrame({"question": ["Where?"], "context": ["In Oslo."]})
    frame["answers"] = [[{"text": "Oslo", "answer_start": np.nan}]]
    assert read_dataset(frame, kind="qa")[0].target == (Answer("Oslo", 3),)


@pytest.mark.parametrize("flag", [False, np.False_])
def test_is_impossible(flag: Any) -> None:
    row = {"question": "Where?", "context": "In Oslo.", "answers": [("Oslo", 3)], "is_impossible": flag}
    assert read_dataset([row], kind="qa")[0].target == (Answer("Oslo", 3),)


@pytest.mark.parametrize("integer", INTEGERS)
def test_spans(integer: Callable[[int], Any]) -> None:
    for span in (
        {"start": integer(3), "end": integer(7), "label": "LOC"},
        (integer(3), integer(7), "LOC"),
    ):
        rows = read_dataset([{"text": "In Oslo now", "spans": [span]}], kind="tagging")
        assert rows[0].target == ("O", "B-LOC", "O")


def test_words_of_examples() -> None:
    words = tuple(map(tuple, np.array([[0, 2], [3, 7]])))
    rows = read_dataset([Example("0", "In Oslo", None, ("O", "B-LOC"), "", words)], kind="tagging")
    assert repr(rows[0].words) == "((0, 2), (3, 7))"


@pytest.mark.parametrize("value", [2.5, "3", None, float("nan"), [3]])
def test_what_is_no_offset(value: Any) -> None:
    assert whole_number(value) is None
    with pytest.raises(DataError, match="expected a span"):
        read_dataset([{"text": "In Oslo", "spans": [{"start": 0, "end": value, "label": "X"}]}], kind="tagging")


@pytest.mark.parametrize("value", [2.5, "3", [3]])
def test_what_is_no_start_of_an_answer(value: Any) -> None:
    with pytest.raises(DataError, match="expected an answer"):
        read_dataset([("Where?", "In Oslo.", [{"text": "Oslo", "answer_start": value}])], kind="qa")
