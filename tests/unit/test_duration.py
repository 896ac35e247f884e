"""Lengths of training, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.config.duration import (
    AUTO_STEPS,
    AutoLength,
    Duration,
    parse_portion,
    parse_run_length,
    portion_steps,
)

durations = st.one_of(
    st.floats(min_value=0, exclude_min=True, allow_infinity=False).map(lambda amount: Duration(amount, "epochs")),
    st.integers(1, 10**12).map(lambda amount: Duration(amount, "steps")),
)


@pytest.mark.parametrize(
    ("text", "amount", "unit", "written"),
    [
        ("3 epochs", 3, "epochs", "3 epochs"),
        ("1 epoch", 1, "epochs", "1 epoch"),
        ("1 epochs", 1, "epochs", "1 epoch"),
        ("0.5 epochs", 0.5, "epochs", "0.5 epochs"),
        (" 200  steps ", 200, "steps", "200 steps"),
        ("2.0 steps", 2, "steps", "2 steps"),
    ],
)
def test_reads_and_writes(text: str, amount: float, unit: str, written: str) -> None:
    duration = Duration.parse(text)
    assert (duration.amount, duration.unit, str(duration)) == (amount, unit, written)


@given(durations)
def test_what_is_written_reads_back(duration: Duration) -> None:
    assert Duration.parse(str(duration)) == duration == parse_portion(duration)


@pytest.mark.parametrize(
    "value", ["3", 3, "three epochs", "3epochs", "-1 epochs", "3 hours", "3 epochs.", "", None, True]
)
def test_anything_else_is_refused_with_both_forms(value: object) -> None:
    with pytest.raises(ValueError, match='must be "3 epochs" or "200 steps"; found'):
        Duration.parse(value)


@pytest.mark.parametrize("text", ["0 epochs", "0 steps", "1.5 steps", "1e999 epochs"])
def test_no_length_and_parts_of_steps_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="above 0 and in whole steps"):
        Duration.parse(text)


def test_counts_steps() -> None:
    assert Duration(3, "epochs").steps(100) == 300
    assert Duration(0.25, "epochs").steps(10) == 2
    assert Duration(0.01, "epochs").steps(10) == 1
    assert Duration(7, "steps").steps(100) == 7


def test_a_portion_is_a_share_steps_or_a_duration() -> None:
    assert portion_steps(parse_portion(0.1), 300, 100) == 30
    assert portion_steps(parse_portion(0), 300, 100) == 0
    assert portion_steps(parse_portion(1), 300, 100) == 1
    assert portion_steps(parse_portion(500), 300, 100) == 500
    assert portion_steps(parse_portion("1 epoch"), 300, 100) == 100


@pytest.mark.parametrize("value", [1.0, 1.5, -0.1, -1, True, "much", "0 steps", None, float("nan")])
def test_other_portions_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"must be a share of the run such as 0\.1, steps such as 500"):
        parse_portion(value)


@pytest.mark.parametrize(
    ("per_epoch", "written"),
    [(1, "20 epochs"), (30, "20 epochs"), (40, "600 steps"), (199, "600 steps"), (201, "3 epochs")],
)
def test_the_automatic_length_depends_on_the_rows(per_epoch: int, written: str) -> None:
    assert str(AutoLength().choose(per_epoch)) == written


@given(st.integers(1, 10**6))
def test_the_automatic_length_is_between_3_and_20_epochs(per_epoch: int) -> None:
    steps = AutoLength().steps(per_epoch)
    assert 3 * per_epoch <= steps <= 20 * per_epoch
    assert steps >= AUTO_STEPS or steps == 20 * per_epoch
    assert AutoLength().steps(per_epoch + 1) >= steps


def test_the_automatic_length_reads_back() -> None:
    assert parse_run_length(str(AutoLength())) == AutoLength() == parse_run_length(AutoLength())
