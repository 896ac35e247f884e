"""The average of the weights during training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bertwright.errors import TrainingError
from bertwright.training.averaging import WeightAverage


def test_the_first_steps_are_averaged_equally_and_later_ones_exponentially() -> None:
    layer = nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer, 4)
    expected = 0.0
    for step in range(1, 9):
        with torch.no_grad():
            layer.weight.fill_(float(step))
        average.update(step)
        expected += (step - expected) / min(step, 4)
    with average.apply():
        assert layer.weight.item() == pytest.approx(expected)
    assert layer.weight.item() == 8.0


def test_the_weights_return_after_an_error() -> None:
    layer = nn.Linear(2, 2)
    average = WeightAverage(layer, 10)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1)
    with pytest.raises(ZeroDivisionError), average.apply():
        assert 1 / int(not torch.equal(layer.weight, before))
    assert torch.equal(layer.weight, before + 1)


def test_frozen_parameters_are_not_averaged() -> None:
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert list(WeightAverage(layer, 2).state()) == ["weight"]


def test_a_state_of_other_parameters_is_refused() -> None:
    with pytest.raises(TrainingError, match="averages other weights"):
        WeightAverage(nn.Linear(2, 2), 2).load_state({"weight": torch.zeros(2, 2)})
