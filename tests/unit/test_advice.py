"""What a run advises: the cause of a collapse, targets that are too large, and overfitting."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bertwright.data.example import Example
from bertwright.data.targets.balance import describe_large_numbers
from bertwright.data.targets.lookup import Kind
from bertwright.errors import DivergenceError
from bertwright.recipe import task_types
from bertwright.run.collapse_advice import (
    LossTrend,
    advise_on_collapse,
    advise_on_divergence,
    describe_overfitting,
)
from bertwright.run.history import History
from bertwright.tasks.classification import Classification
from bertwright.tasks.regression import Regression
from bertwright.tasks.spec import Task
from bertwright.training.loop import Evaluate, Step
from bertwright.training.settings import TrainSettings


def trend(losses: list[float], rate: float) -> LossTrend:
    found = LossTrend()
    for i, loss in enumerate(losses, 1):
        found.add(Step(i, i / 10, loss, rate, 1.0, examples=8, tokens=80, seconds=0.1))
    return found


def make_task(kind: Kind) -> Task:
    """A task of this kind; regression without standardization."""
    return Regression(standardize=False) if kind == "regression" else task_types()[kind]()


def rows(*targets: Any) -> list[Example]:
    return [Example(str(i), "a text", target=target) for i, target in enumerate(targets)]


EVEN = rows(*["pos", "neg"] * 20)
RARE = rows(*["ham"] * 37, *["spam"] * 3)
FLAT = [0.7, 0.68, 0.69, 0.71, 0.7] * 6
FALLING = [0.7 - 0.01 * i for i in range(30)]
JUMPED = [*FALLING, *[0.72] * 20]
EXPLODED = [0.7, 0.69, *[9.0] * 5, *[0.7] * 30]


@pytest.mark.parametrize(
    ("losses", "rate", "train", "trains_encoder", "expected"),
    [
        (FLAT, 1e-8, EVEN, True, "raise train.learning_rate (now 1e-8; 2e-5 is usual) or train longer"),
        (FLAT, 1e-8, RARE, True, "raise train.learning_rate"),  # nothing is learned, whatever the labels
        (FLAT, 2e-5, EVEN, False, "raise train.learning_rate (now 2e-5; 0.001 is usual)"),
        (FLAT, 2e-5, EVEN, True, "train longer, or try another seed or train.learning_rate"),
        (FLAT, 1e-3, EVEN, True, "lower train.learning_rate (now 0.001; 2e-5 is usual)"),
        (FLAT, 1e-3, EVEN, False, "train longer, or try another seed"),
        (FALLING, 2e-5, EVEN, True, "the loss is falling (0.69 at the start"),
        (FALLING, 2e-5, RARE, True, '"ham" has 92% of the rows; set task.class_weights=balanced'),
        (JUMPED, 5e-5, EVEN, True, "lower train.learning_rate (now 5e-5) or lengthen train.warmup"),
        (JUMPED, 5e-5, RARE, True, "lower train.learning_rate (now 5e-5)"),
        (EXPLODED, 1e-2, EVEN, True, "lower train.learning_rate (now 0.01)"),
    ],
)
def test_advice_follows_the_cause(
    losses: list[float], rate: float, train: list[Example], trains_encoder: bool, expected: str
) -> None:
    settings = TrainSettings(learning_rate=rate)
    said = advise_on_collapse(Classification(), settings, trend(losses, rate), train, trains_encoder)
    assert expected in said
    others = {"raise train.learning_rate", "lower train.learning_rate", "task.class_weights"}
    assert not any(other in said for other in others if other not in expected)


def test_a_rate_that_is_still_warming_up_is_not_to_be_raised() -> None:
    settings = TrainSettings(learning_rate=2e-5, warmup="10000 steps")
    said = advise_on_collapse(Classification(), settings, trend(FLAT, 1e-7), EVEN, True)
    assert "has been at most 1e-7 so far; shorten train.warmup or train longer" in said


def test_a_head_with_its_own_rate_is_not_at_a_tiny_one() -> None:
    settings = TrainSettings(learning_rate=1e-6, head_learning_rate=1e-3)
    assert "raise" not in advise_on_collapse(Classification(), settings, trend(FLAT, 1e-6), EVEN, False)


@pytest.mark.parametrize(
    ("kind", "train", "expected"),
    [
        ("multilabel", rows(*[()] * 18, ("a",), ("b",)), "task.threshold=tuned"),
        ("multilabel", rows(*[("a", "b"), ("a",)] * 10), "the loss is falling"),
        ("tagging", rows(*[("O", "O", "O", "O", "B-PER")] * 10), '"O" has 80% of the words; set task.class_weights'),
        ("tagging", rows(*[("O", "B-PER")] * 10), "the loss is falling"),
        ("qa", rows(*[()] * 10), "the loss is falling"),
    ],
)
def test_rare_labels_of_other_tasks(kind: Kind, train: list[Example], expected: str) -> None:
    assert expected in advise_on_collapse(
        make_task(kind), TrainSettings(learning_rate=2e-5), trend(FALLING, 2e-5), train, True
    )


@pytest.mark.parametrize(
    ("values", "large"),
    [([1e6, 2e6, 3e6], True), ([-500.0, 500.0], True), ([1000.0, 1000.5], True), ([0.0, 5.0, 2.5], False), ([], False)],
)
def test_large_targets(values: list[float], large: bool) -> None:
    text = describe_large_numbers(rows(*values))
    assert (text is not None) is large
    if text is not None:
        assert "rescale the targets" in text
        said = advise_on_collapse(
            Regression(standardize=False),
            TrainSettings(learning_rate=2e-5),
            trend([v**2 for v in values] * 5, 2e-5),
            rows(*values),
            True,
        )
        assert said == text
        assert "learning_rate" not in said


def test_standardized_targets_cannot_be_too_large() -> None:
    assert Regression().describe_large_targets(rows(1e6, 2e6)) is None
    assert Regression(standardize=False).describe_large_targets(rows(1e6, 2e6)) is not None


def test_targets_whose_sum_overflows_are_large() -> None:
    text = describe_large_numbers(rows(1.5e308, 1.5e308, -1.5e308))
    assert text is not None
    assert "mean 5e+307" in text
    assert "inf" not in text


def test_divergence_is_put_down_to_large_targets_of_a_regression_only() -> None:
    def fail(kind: Kind, *values: float) -> str:
        with pytest.raises(DivergenceError) as caught, advise_on_divergence(make_task(kind), rows(*values)):
            raise DivergenceError("step 3: the loss is inf", "lower train.learning_rate (now 0.1)")
        return str(caught.value)

    assert fail("regression", 1e30, -2e30).startswith("step 3: the loss is inf; the targets are large (mean -5e+29")
    assert "learning_rate" not in fail("regression", 1e30, -2e30)
    plain = "step 3: the loss is inf; lower train.learning_rate (now 0.1)."
    assert fail("regression", 0.5, 1.5) == plain
    assert fail("classification", 1e30, -2e30) == plain


def evaluations(*losses: tuple[float | None, float | None]) -> list[dict[str, Any]]:
    return [{"step": 10 * i, "train_loss": t, "validation_loss": v} for i, (t, v) in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("losses", "noted_at"),
    [
        ([(0.6, 0.6), (0.4, 0.5), (0.2, 0.7), (0.1, 0.9)], [3]),  # once
        ([(0.6, 0.6), (0.4, 0.5), (0.2, 0.505)], []),  # noise
        ([(0.6, 0.6), (0.7, 0.9)], []),  # both rise: that is no overfitting
        ([(0.6, 0.6), (0.4, 0.7), (0.3, 0.5), (0.2, 0.8)], [2]),
        ([(None, 0.6), (0.4, None), (0.3, float("nan")), (0.2, 0.8)], []),
        ([(0.0, 0.5), (0.0, 0.9)], []),
    ],
)
def test_overfitting_is_reported_once(losses: list[tuple[float | None, float | None]], noted_at: list[int]) -> None:
    entries = evaluations(*losses)
    ends = [end for end in range(1, len(entries) + 1) if describe_overfitting(entries[:end]) is not None]
    assert ends == noted_at
    if ends:
        text = describe_overfitting(entries[: ends[0]]) or ""
        assert "the validation loss rises (" in text
        assert "while the training loss falls" in text
        assert text.endswith("; the run keeps the weights of the best evaluation")
        assert describe_overfitting(entries[: ends[0]], refits=True) == text.rpartition("; ")[0]


def test_the_history_keeps_losses_across_a_stop() -> None:
    history = History()
    for i, loss in enumerate((0.8, 0.6, 0.4), 1):
        history.add_step(Step(i, i / 3, loss, 1e-5, 1.0, examples=8, tokens=80, seconds=0.1))
        if i == 2:
            history.add_evaluation(Evaluate(2, 2 / 3), {"accuracy": 0.5}, "accuracy", 0.65)
    again = History.from_dict(json.loads(json.dumps(history.to_dict())))
    assert again == history
    assert again.train_loss == 0.4
    entry = again.evaluations[0]
    assert (entry["train_loss"], entry["validation_loss"]) == (pytest.approx(0.7), 0.65)
