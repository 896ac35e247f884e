"""Prediction with packed weights in oneDNN, and fp32 training in oneDNN, compared with torch's public functions."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bertwright.nn import linear, packed_linear
from bertwright.nn.batch import Batch
from bertwright.nn.dropout import Dropout
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.heads import ClassificationHead, TokenHead
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear
from bertwright.nn.lora import add_adapters
from bertwright.nn.model import Model
from bertwright.nn.packed_linear import PackedLinear, has_onednn, multiply, round_rows, trains_in_onednn
from bertwright.nn.settings import LoraSettings
from bertwright.training.optimizer import Optimizer

CONFIG = EncoderConfig(60, 32, 3, 4, 48, 300)
LENGTHS = (7, 130, 1, 64, 23, 200)

onednn = pytest.mark.skipif(not packed_linear.predicts_in_onednn(), reason="torch has no oneDNN for this processor")


def model(seed: int = 0, head: type[ClassificationHead | TokenHead] = ClassificationHead) -> Model:
    torch.manual_seed(seed)
    net = Model(Encoder(CONFIG), head(32, 3))
    with torch.no_grad():
        for parameter in net.parameters():  # large, so that a mistake shows in the scores
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return net.eval()


def batch(*lengths: int) -> Batch:
    n = sum(lengths)
    ids = torch.arange(n) % 59 + 1
    return Batch(ids, torch.zeros_like(ids), Layout.packed(lengths), torch.arange(len(lengths)) % 3, np.arange(n))


def predict(net: Model, rows: Batch) -> torch.Tensor:
    with torch.inference_mode():
        return net(rows)


def layers(net: Model) -> Iterator[Linear]:
    return (module for module in net.modules() if isinstance(module, Linear))


def test_this_torch_has_the_private_operators() -> None:
    """Fails when a release of torch renames them: prediction would still work, but slower."""
    if torch.backends.mkldnn.is_available():
        assert has_onednn()


@onednn
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gelu", [None, "none", "tanh"])
@pytest.mark.parametrize("n", [1, 5, 64])
def test_packed_products_are_torchs(dtype: torch.dtype, gelu: str | None, n: int) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(n, 24).to(dtype), torch.randn(40, 24), torch.randn(40)
    expected = F.linear(x, weight.to(dtype), bias.to(dtype)).float()
    if gelu is not None:
        expected = F.gelu(expected, approximate=gelu)
    y = PackedLinear.pack(weight, bias, dtype)(x, gelu)
    assert y.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)
    if dtype == torch.float32 and gelu is None:
        torch.testing.assert_close(multiply(x, weight, bias), expected)


@onednn
@pytest.mark.parametrize("head", [ClassificationHead, TokenHead])
@pytest.mark.parametrize("lengths", [LENGTHS, (5,), (64,), (299, 3), (1, 1)])
def test_scores_are_those_of_the_path_with_gradients(
    head: type[ClassificationHead | TokenHead], lengths: tuple[int, ...]
) -> None:
    net = model(head=head)
    rows = batch(*lengths)
    exact = net(rows).detach()
    assert all(layer._packed is None for layer in layers(net))
    torch.testing.assert_close(predict(net, rows), exact, rtol=1e-5, atol=1e-6)
    assert all(layer._packed is not None for layer in layers(net))


def test_scores_without_onednn_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net, rows = model(), batch(*LENGTHS)
    with_onednn = predict(net, rows)
    monkeypatch.setattr(packed_linear, "has_onednn", lambda: False)
    fallback = model()
    torch.testing.assert_close(predict(fallback, rows), with_onednn, rtol=1e-5, atol=1e-6)
    assert all(layer._packed is None for layer in layers(fallback))


def test_a_model_in_double_precision_predicts() -> None:
    net, rows = model(), batch(*LENGTHS)
    torch.testing.assert_close(predict(model().double(), rows).float(), predict(net, rows), rtol=1e-5, atol=1e-6)


def load_other_weights(net: Model) -> None:
    net.load_state_dict(model(seed=1).state_dict())


def scale_in_place(net: Model) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)


def replace_weights(net: Model) -> None:
    for layer in layers(net):
        layer.weight = torch.nn.Parameter(layer.weight.detach() * 1.1)


def replace_biases(net: Model) -> None:
    for layer in layers(net):
        layer.bias = torch.nn.Parameter(layer.bias.detach() + 0.3)


def swap_data(net: Model) -> None:
    for layer in layers(net):
        layer.weight.data = layer.weight.data * 1.1


def optimize(net: Model) -> None:
    rows = batch(*LENGTHS)
    optimizer = Optimizer(net, 1e-2)
    F.cross_entropy(net(rows), rows.targets).backward()
    optimizer.step(1.0, 1, [rows.ids])


@pytest.mark.parametrize(
    "change", [load_other_weights, scale_in_place, replace_weights, replace_biases, swap_data, optimize]
)
def test_changed_weights_are_packed_again(change: Callable[[Model], None]) -> None:
    net, rows = model(), batch(*LENGTHS)
    before = predict(net, rows)
    change(net)
    after = predict(net, rows)
    torch.testing.assert_close(after, net(rows).detach(), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(after, before, atol=1e-3)


@onednn
def test_training_mode_frees_packed_weights_and_copies_have_none() -> None:
    net, rows = model(), batch(*LENGTHS)
    expected = predict(net, rows)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert all(layer._packed is None for layer in layers(other))
        assert torch.equal(predict(other, rows), expected)
    net.train()
    assert all(layer._packed is None for layer in layers(net))


def test_both_precisions_alternate() -> None:
    net, rows = model(), batch(*LENGTHS)
    exact = predict(net, rows)
    with torch.autocast("cpu", torch.bfloat16):
        rough = predict(net, rows)
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1)
    assert torch.equal(predict(net, rows), exact)


def test_adapters_predict_what_they_train_with() -> None:
    net, rows = model(), batch(*LENGTHS)
    add_adapters(net.encoder, LoraSettings(rank=2))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "lora_b" in name:
                parameter.normal_()
    torch.testing.assert_close(predict(net, rows), net(rows).detach(), rtol=1e-5, atol=1e-5)


def train(steps: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    net, losses = model(), []
    for module in net.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    optimizer = Optimizer(net, 1e-3)
    for step in range(steps):
        rows = batch(7 + step % 5, 30, 1 + step % 3)
        loss = F.cross_entropy(net.train()(rows), rows.targets)
        loss.backward()
        optimizer.step(1.0, 1, [rows.ids])
        losses.append(float(loss.detach()))
    return losses, net.state_dict()


@onednn
def test_fifty_steps_in_onednn_are_those_in_torchs_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "trains_in_onednn", lambda: False)
    losses, weights = train(50)
    monkeypatch.setattr(linear, "trains_in_onednn", lambda: True)
    monkeypatch.setattr(torch, "addmm", lambda *_: pytest.fail("a product ran in torch's default library"))
    losses_in_onednn, weights_in_onednn = train(50)
    assert losses_in_onednn == pytest.approx(losses, rel=1e-4)
    for name, weight in weights.items():
        # AdamW scales rounding errors up where the gradient is 0, as that of a bias of keys
        if not name.endswith("qkv.bias"):
            torch.testing.assert_close(weights_in_onednn[name], weight, rtol=1e-3, atol=1e-4)


@onednn
@pytest.mark.parametrize(
    ("vendor", "family", "expected"),
    [("AuthenticAMD", "26", True), ("AuthenticAMD", "25", False), ("GenuineIntel", "26", False), ("", "?", False)],
)
def test_the_processor_decides_where_training_multiplies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str, family: str, expected: bool
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\n\n", encoding="utf-8")
    monkeypatch.setattr(packed_linear, "_CPU_INFO", info)
    monkeypatch.setattr(packed_linear.platform, "machine", lambda: "x86_64")
    assert trains_in_onednn.__wrapped__() is expected
    monkeypatch.setattr(packed_linear, "_CPU_INFO", tmp_path / "missing")
    assert trains_in_onednn.__wrapped__() is False


def test_other_processors_predict_in_torchs_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear.platform, "machine", lambda: "aarch64")
    net = model()
    predict(net, batch(*LENGTHS))
    assert all(layer._packed is None for layer in layers(net))


@pytest.mark.parametrize("n", [1, 8, 9, 255, 1000, 2047, 5000])
def test_rounding_adds_few_rows(n: int) -> None:
    assert n <= round_rows(n) <= max(n + 7, 1.04 * n)
    assert round_rows(round_rows(n)) == round_rows(n)
