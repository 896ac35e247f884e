"""What a run remembers of its evaluations."""

from __future__ import annotations

import json
import math

import pytest

from bertwright.run.history import History
from bertwright.training.loop import Evaluate


@pytest.mark.parametrize(
    ("values", "kept", "waited"),
    [
        ([0.5, 0.7, 0.6], [True, True, False], 1),
        ([0.5, 0.5], [True, True], 1),
        ([math.nan, math.nan, math.nan], [True, True, True], 2),
        ([math.nan, -0.2, math.nan], [True, True, False], 1),
    ],
)
def test_which_weights_are_kept(values: list[float], kept: list[bool], waited: int) -> None:
    history = History()
    for step, value in enumerate(values, 1):
        assert history.add_evaluation(Evaluate(step, step / 4), {"pearson": value}, "pearson") is kept[step - 1]
    assert history.best["step"] == max(step for step, yes in enumerate(kept, 1) if yes)
    assert history.evaluations_without_improvement == waited
    again = History.from_dict(json.loads(json.dumps(history.to_dict())))
    assert again.best["step"] == history.best["step"]
    assert again.steps == {*range(1, len(values) + 1)}
