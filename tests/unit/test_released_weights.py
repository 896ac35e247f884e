"""Weights that are in memory once in prediction: released when they are packed, restored when anything reads them."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bertwright.nn.linear import Linear, release_packed_weights
from bertwright.nn.packed_linear import can_pack

pytestmark = pytest.mark.skipif(
    not can_pack(torch.zeros(1), torch.float32), reason="this processor or build of torch packs no fp32 weights"
)


def make_layer(width: int = 24, n_outputs: int = 40) -> tuple[Linear, Tensor]:
    """A layer that has predicted and released its weight, and a copy of the weight."""
    torch.manual_seed(0)
    layer = Linear(width, n_outputs).eval()
    weight = layer.weight.detach().clone()
    release_packed_weights(layer)
    predict(layer)
    return layer, weight


def predict(layer: Linear, n: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        return layer(torch.randn(n, layer.in_features, generator=generator)).clone()


def is_released(layer: Linear) -> bool:
    return layer._packed is not None and layer._packed.sources is None


@pytest.mark.parametrize("size", [(24, 40), (7, 3), (384, 1152), (1, 1)])
def test_the_restored_weight_has_the_same_bits(size: tuple[int, int]) -> None:
    layer, weight = make_layer(*size)
    assert is_released(layer)
    bias = layer._packed.bias if layer._packed is not None else None
    assert torch.equal(layer.weight, weight)
    assert not is_released(layer)
    assert layer.weight.requires_grad
    assert not layer.weight.is_inference()
    assert bias is not None
    assert torch.equal(layer.bias, bias)
    assert layer.weight.shape == weight.shape
    predict(layer)
    assert is_released(layer)


def test_predictions_are_those_of_a_layer_that_keeps_its_weight() -> None:
    layer, weight = make_layer()
    keeps = Linear(24, 40).eval()
    with torch.no_grad():
        keeps.weight.copy_(weight)
        keeps.bias.copy_(layer.bias)
    for n in (1, 5, 16):
        assert torch.equal(predict(layer, n), predict(keeps, n))
    assert is_released(layer)
    assert not is_released(keeps)


READERS: dict[str, Callable[[Linear], Tensor]] = {
    "attribute": lambda layer: layer.weight,
    "state_dict": lambda layer: layer.state_dict()["weight"],
    "parameters": lambda layer: next(layer.parameters()),
    "named_parameters": lambda layer: dict(layer.named_parameters())["weight"],
    "deepcopy": lambda layer: copy.deepcopy(layer).weight,
    "copy": lambda layer: copy.copy(layer).weight,
    "dictionary": lambda layer: layer._parameters["weight"],
    "get": lambda layer: layer._parameters.get("weight"),
    "values": lambda layer: next(iter(layer._parameters.values())),
    "copied dictionary": lambda layer: layer._parameters.copy()["weight"],
    "get_parameter": lambda layer: layer.get_parameter("weight"),
    "train": lambda layer: layer.train().weight,
    "double": lambda layer: layer.double().float().weight,
}


@pytest.mark.parametrize("reader", READERS)
def test_every_access_restores_the_weight(reader: str) -> None:
    layer, weight = make_layer()
    assert is_released(layer)
    assert torch.equal(READERS[reader](layer), weight)
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    assert list(layer._parameters) == ["weight", "bias"]


def test_a_changed_weight_is_packed_again() -> None:
    layer, weight = make_layer()
    before = predict(layer)
    layer.load_state_dict({"weight": 2 * weight, "bias": torch.zeros(40)})
    after = predict(layer)
    assert is_released(layer)
    assert not torch.allclose(before, after)
    layer.bias = torch.nn.Parameter(torch.ones(40))
    assert torch.allclose(predict(layer), after + 1, atol=1e-5)
    with torch.no_grad():
        layer.weight.zero_()
    assert torch.equal(predict(layer), torch.ones(5, 40))


def test_a_weight_that_other_code_holds_is_the_same_object_forever() -> None:
    torch.manual_seed(0)
    layer = Linear(24, 40).eval()
    release_packed_weights(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    predict(layer)
    assert not is_released(layer)
    assert layer.weight is optimizer.param_groups[0]["params"][0]
    layer(torch.ones(2, 24)).sum().backward()
    before = predict(layer)
    optimizer.step()
    assert not torch.allclose(before, predict(layer))


def test_a_layer_trains_after_it_has_predicted() -> None:
    layer, weight = make_layer()
    layer.train()
    loss = layer(torch.ones(2, 24)).sum()
    loss.backward()
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight, weight)
    layer.eval()
    predict(layer)
    gc.collect()
    assert layer.weight.grad is not None


def test_threads_may_predict_and_read_at_the_same_time() -> None:
    layer, weight = make_layer(64, 64)
    expected = predict(layer)
    wrong: list[str] = []

    def read() -> None:
        for _ in range(200):
            if not torch.equal(layer.weight, weight):
                wrong.append("weight")

    def run() -> None:
        for _ in range(200):
            if not torch.equal(predict(layer), expected):
                wrong.append("prediction")

    threads = [Thread(target=target) for target in (read, run, run, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_bundle_releases_its_weights_and_saves_the_same_file(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    from bertwright import Bundle, Recipe, fine_tune

    recipe = Recipe(
        model={"base": str(tiny_bert)},
        data={"train": str(reviews)},
        tokens={"max_length": 32},
        train={"length": "2 steps", "threads": 1, "precision": "fp32"},
    )
    fine_tune(recipe, tmp_path / "run")
    bundle = Bundle.load(tmp_path / "run")
    first = bundle.predict("a great film")
    layers = [module for module in bundle.model.modules() if isinstance(module, Linear)]
    assert layers
    assert all(is_released(layer) for layer in layers)
    bundle.save(tmp_path / "copy")
    saved, original = (load_file(tmp_path / name / "model.safetensors") for name in ("copy", "run"))
    assert saved.keys() == original.keys()
    assert all(torch.equal(saved[name], original[name]) for name in original)
    assert bundle.predict("a great film") == first
    assert all(is_released(layer) for layer in layers)
