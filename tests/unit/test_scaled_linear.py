"""Output layers that learn standardized values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bertwright.nn.linear import Linear
from bertwright.nn.scaled_linear import ScaledLinear, fold_output_scale, get_output, scale_output
from bertwright.tasks.regression import Regression, TargetScale

means = st.floats(-1e4, 1e4)
scales = st.floats(1e-3, 1e4)


def make_layer() -> Linear:
    torch.manual_seed(0)
    return Linear(6, 1)


@settings(max_examples=30, deadline=None)
@given(mean=means, scale=scales)
def test_an_untrained_layer_predicts_in_the_unit_of_the_targets(mean: float, scale: float) -> None:
    x, layer = torch.randn(5, 6), make_layer()
    standardized = layer(x).detach()
    scaled = ScaledLinear.wrap(layer, mean, scale, trained=False)
    torch.testing.assert_close(scaled(x), standardized * scale + mean)


@settings(max_examples=30, deadline=None)
@given(mean=means, scale=scales)
def test_a_trained_layer_keeps_its_function(mean: float, scale: float) -> None:
    x, layer = torch.randn(5, 6), make_layer()
    before = layer(x).detach()
    scaled = ScaledLinear.wrap(layer, mean, scale, trained=True)
    tolerance = 1e-5 * (abs(mean) + scale + 1)
    torch.testing.assert_close(scaled(x), before, rtol=1e-5, atol=tolerance)


@settings(max_examples=30, deadline=None)
@given(mean=means, scale=scales)
def test_folding_keeps_the_function(mean: float, scale: float) -> None:
    x = torch.randn(5, 6)
    scaled = ScaledLinear.wrap(make_layer(), mean, scale, trained=False)
    before = scaled(x).detach()
    folded = scaled.fold()
    assert type(folded) is Linear
    torch.testing.assert_close(folded(x), before, rtol=1e-5, atol=1e-5 * (abs(mean) + scale))


def test_gradients_are_those_of_standardized_targets() -> None:
    x, targets = torch.randn(8, 6), torch.randn(8) * 50 + 2000
    plain = make_layer()
    loss = (plain(x)[:, 0] - (targets - 2000) / 50).square().sum()
    loss.backward()
    scaled = ScaledLinear.wrap(make_layer(), 2000.0, 50.0, trained=False)
    ((scaled(x)[:, 0] - targets) / 50).square().sum().backward()
    assert plain.weight.grad is not None
    torch.testing.assert_close(scaled.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scaled.bias.grad, plain.bias.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_large_values_are_exact_in_bf16(training: bool) -> None:
    x = torch.randn(5, 6, requires_grad=training)
    scaled = ScaledLinear.wrap(make_layer(), 2000.0, 1.0, trained=False)
    folded = ScaledLinear.wrap(make_layer(), 2000.0, 1.0, trained=False).fold()
    exact = scaled(x)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.set_grad_enabled(training):
        for layer in (scaled, folded):
            scores = layer(x.bfloat16())
            assert scores.dtype == torch.float32
            assert (scores - exact).abs().max() < 0.05  # bf16 near 2,000 has steps of 8


def test_heads_without_a_dense_output_layer() -> None:
    head = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="Sequential has no dense output layer"):
        get_output(head)
    fold_output_scale(head)  # nothing to fold


def test_a_head_gets_and_loses_its_scale() -> None:
    head = nn.Module()
    head.output = make_layer()
    scale_output(head, 3.0, 2.0, trained=False)
    assert set(get_output(head).state_dict()) == {"weight", "bias", "mean", "scale"}
    fold_output_scale(head)
    assert set(get_output(head).state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize(
    ("values", "mean", "deviation"),
    [
        ([1.0, 3.0], 2.0, 1.0),
        ([5.0, 5.0], 5.0, 1.0),
        ([], 0.0, 1.0),
        ([0.0], 0.0, 1.0),
        ([-1e300, 1e300], 0.0, 3.4028234663852886e38),
    ],
)
def test_mean_and_standard_deviation(values: list[float], mean: float, deviation: float) -> None:
    assert TargetScale.of(values) == TargetScale(mean=mean, deviation=deviation)


def test_the_scale_is_that_of_the_training_rows_unless_the_recipe_sets_it() -> None:
    from bertwright.data.example import Example

    rows = [Example(id=str(i), text="a", target=float(value)) for i, value in enumerate((10, 20))]
    assert Regression().infer_from_data(rows).output_scale == (15.0, 5.0)
    own = TargetScale(mean=0.0, deviation=100.0)
    assert Regression(target_scale=own).infer_from_data(rows).output_scale == (0.0, 100.0)
    assert Regression(standardize=False).infer_from_data(rows).output_scale is None
