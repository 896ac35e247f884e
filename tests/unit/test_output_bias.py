"""The initial bias of an untrained output layer: the constant prediction with the lowest loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from bertwright.data.example import Example
from bertwright.tasks.classification import Classification, MultiLabel
from bertwright.tasks.labels import UNSEEN
from bertwright.tasks.qa import QuestionAnswering
from bertwright.tasks.tagging import Tagging


def examples(targets: Sequence[Any]) -> list[Example]:
    return [Example(id=str(i), text="a b", target=target) for i, target in enumerate(targets)]


def test_the_bias_gives_the_label_frequencies() -> None:
    rows = examples(["a"] * 30 + ["b"] * 10)
    bias = Classification().infer_from_data(rows).initial_output_bias(rows)
    probabilities = torch.from_numpy(bias).softmax(0).numpy()
    assert probabilities == pytest.approx([30.5 / 41, 10.5 / 41])
    assert bias.mean() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weights", [{"a": 1.0, "b": 5.0}, {"a": 0.2, "b": 1.0}])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_other_constant_has_a_lower_loss(weights: dict[str, float], smoothing: float) -> None:
    counts = {"a": 3000, "b": 1000}
    rows = examples([name for name, count in counts.items() for _ in range(count)])
    given = None if smoothing else weights  # torch spreads the smoothing by class weights
    task = Classification(class_weights=given, label_smoothing=smoothing).infer_from_data(rows)
    bias = torch.from_numpy(task.initial_output_bias(rows)).double().requires_grad_()
    targets = torch.tensor([task.label_names.index(str(row.target)) for row in rows])
    weight = None if given is None else torch.tensor(list(weights.values()), dtype=torch.float64)
    functional.cross_entropy(bias.expand(len(rows), -1), targets, weight=weight, label_smoothing=smoothing).backward()
    assert bias.grad is not None
    assert bias.grad.abs().max() < 1e-3


def test_balanced_class_weights_need_no_bias() -> None:
    rows = examples(["a"] * 900 + ["b"] * 100)
    task = Classification(class_weights="balanced").infer_from_data(rows)
    assert task.initial_output_bias(rows) == pytest.approx([0, 0], abs=0.01)


def test_a_label_without_rows_is_rare_but_possible() -> None:
    rows = examples(["a"] * 99 + ["b"])
    bias = Classification(labels=("a", "b", "c")).infer_from_data(rows).initial_output_bias(rows)
    assert np.isfinite(bias).all()
    assert bias[2] < bias[1] < bias[0]


def test_multi_label_logits() -> None:
    rows = examples([("a",), (), ("a", "b"), ()])
    bias = MultiLabel(labels=("a", "b")).infer_from_data(rows).initial_output_bias(rows)
    assert bias == pytest.approx(np.log([2.5 / 2.5, (1 + UNSEEN) / (3 + UNSEEN)]))


def test_tags_are_counted_by_word() -> None:
    rows = examples([("O", "O"), ("O", "B-X")])
    task = Tagging().infer_from_data(rows)
    bias = dict(zip(task.label_names, task.initial_output_bias(rows), strict=True))
    assert bias["O"] > bias["B-X"] > bias["I-X"]


def test_answer_positions_have_no_frequencies() -> None:
    assert QuestionAnswering().initial_output_bias([]) is None
