"""Layers, dropout, freezing and batches, each on its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bertwright.errors import LayoutError, RecipeError, WeightsError
from bertwright.nn.batch import Batch
from bertwright.nn.dropout import Dropout, draw_keep_mask, dropout
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.heads import ClassificationHead
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear
from bertwright.nn.model import Model

CONFIG = EncoderConfig(40, 16, 2, 2, 24, 32)


def model() -> Model:
    torch.manual_seed(0)
    return Model(Encoder(CONFIG), ClassificationHead(16, 3))


def batch(*lengths: int) -> Batch:
    n = sum(lengths)
    ids = torch.arange(n) % 39 + 1
    return Batch(ids, torch.zeros_like(ids), Layout.packed(lengths), None, np.arange(len(lengths)))


@pytest.mark.parametrize("p", [0.1, 0.15, 0.5])
def test_dropout_drops_the_stated_share_and_keeps_the_expectation(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 1003)
    y = dropout(x, p, training=True)
    # six standard errors of a share of a million
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=6 * (p * (1 - p) / x.numel()) ** 0.5)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.01)
    assert torch.equal(dropout(x, p, training=False), x)
    assert torch.equal(dropout(x, 0.0, training=True), x)


def test_dropout_masks_are_independent_of_their_neighbours() -> None:
    torch.manual_seed(1)
    mask, gain = draw_keep_mask(torch.Size([1 << 20]), 0.3, torch.device("cpu"))
    assert gain == pytest.approx(1 / 0.7, rel=1e-4)
    assert mask.unique().tolist() == [-1, 0]
    kept = mask.float() - mask.float().mean()
    for lag in (1, 2, 3, 4, 8, 64):
        assert abs(float((kept[lag:] * kept[:-lag]).mean())) < 6 * 0.21 / 1024


def test_dropout_has_the_gradient_of_its_mask() -> None:
    x = torch.randn(50, 7, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), y.detach())
    assert "p=0.4" in repr(Dropout(0.4))


def test_linear_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = Linear(7, 5), nn.Linear(7, 5)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 3, 7, requires_grad=True)
    z = x.detach().clone().requires_grad_()
    ours(x).square().sum().backward()
    theirs(z).square().sum().backward()
    torch.testing.assert_close(x.grad, z.grad)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
        assert a.grad is not None
        assert a.grad.is_contiguous()


def test_linear_under_autocast_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = Linear(64, 48), nn.Linear(64, 48)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(32, 64)
    with torch.autocast("cpu", torch.bfloat16):
        a, b = ours(x), theirs(x)
    assert a.dtype == b.dtype == torch.bfloat16
    torch.testing.assert_close(a, b)
    a.float().square().sum().backward()
    b.float().square().sum().backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert one.grad is not None
        assert one.grad.dtype == torch.float32
        torch.testing.assert_close(one.grad, other.grad, rtol=2e-2, atol=2e-2)


def test_bf16_attention_is_near_fp32() -> None:
    net = model().eval()
    exact = net(batch(5, 20, 3))
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(batch(5, 20, 3))
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("what", "frozen"),
    [
        ("nothing", ()),
        ("embeddings", ("encoder.embeddings.",)),
        (1, ("encoder.embeddings.", "encoder.layers.0.")),
        (2, ("encoder.embeddings.", "encoder.layers.")),
        ("encoder", ("encoder.",)),
    ],
)
def test_frozen_parts_get_no_gradient_and_no_dropout(what: str | int, frozen: tuple[str, ...]) -> None:
    net = model().freeze(what).train()
    net(batch(5, 9)).sum().backward()
    for name, parameter in net.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name
    for name, module in net.named_modules():
        if isinstance(module, Dropout):
            assert module.training != f"{name}.".startswith(frozen), name
    # thawed again, everything trains
    assert all(p.requires_grad for p in net.freeze("nothing").parameters())


@pytest.mark.parametrize("what", ["all", -1, 3, "layers"])
def test_what_cannot_be_frozen_is_refused(what: str | int) -> None:
    with pytest.raises(RecipeError, match=r"model\.freeze: must be .* from 0 to 2, but is"):
        model().freeze(what)


def test_sequences_past_the_positions_are_refused() -> None:
    with pytest.raises(
        LayoutError, match=r"has 33 tokens, but the encoder accepts at most 32; lower tokens\.max_length"
    ):
        model()(batch(3, 33))


def test_ids_of_another_shape_are_refused() -> None:
    with pytest.raises(LayoutError, match="must have the layout's shape"):
        Encoder(CONFIG)(torch.ones(3, dtype=torch.long), torch.ones(3, dtype=torch.long), Layout.packed([4]))


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"width must be a multiple of n_heads \(3\), but is 16"):
        EncoderConfig(40, 16, 2, 3, 24, 32)
    with pytest.raises(WeightsError, match="activation must be one of"):
        EncoderConfig(40, 16, 2, 2, 24, 32, activation="sine")


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (torch.ones(3, dtype=torch.long), torch.ones(3, dtype=torch.long), "must have the shape"),
        (torch.ones(2, 3), torch.ones(2, 3, dtype=torch.long), "must be int32 or int64"),
        (torch.ones(1, 3, dtype=torch.long), torch.tensor([[0, 1, 1]]), "must be 1 at tokens and then 0"),
        (torch.ones(1, 3, dtype=torch.long), torch.tensor([[1, 0, 1]]), "must be 1 at tokens and then 0"),
    ],
)
def test_features_against_the_contract_are_refused(ids: torch.Tensor, mask: torch.Tensor, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        Batch.from_features(ids, mask)


def test_batches_move_whole() -> None:
    moved = batch(3, 4).to("meta")
    assert moved.ids.device.type == moved.layout.positions.device.type == "meta"
    assert all(rows.bias.device.type == "meta" for rows in moved.layout.attention_rows)
    assert len(moved) == 2
    same = batch(3)
    assert same.to("cpu") is same
    padded = Layout.padded([2, 3], 3)
    assert padded.to("meta").positions.device.type == "meta"
    assert padded.mask.tolist() == [[True, True, False], [True, True, True]]
    assert batch(2, 3).layout.mask.all()


def test_a_layout_made_while_predicting_serves_training() -> None:
    with torch.inference_mode():
        made = Layout.of_single_tokens(5)
    assert Layout.of_single_tokens(5) is made
    weight = torch.ones(5, 2, requires_grad=True)
    (2 * weight[made.starts]).sum().backward()  # an inference tensor could not be saved for backward
    assert weight.grad is not None
    assert weight.grad.sum() == 20


@pytest.mark.parametrize("name", ["targets", "labels", "label"])
def test_labels_under_each_name_and_of_both_integer_types(name: str) -> None:
    ids, mask = torch.ones(2, 3, dtype=torch.int32), torch.ones(2, 3, dtype=torch.int32)
    for dtype in (torch.int32, torch.int64):
        features = Batch.from_features(ids, mask, **{name: torch.tensor([1, 0], dtype=dtype)})
        assert features.targets is not None
        loss = nn.functional.cross_entropy(model().eval()(features), features.targets)
        assert bool(loss.isfinite())
    with pytest.raises(LayoutError, match="labels and label name the same feature; pass only one of them"):
        Batch.from_features(ids, mask, labels=torch.ones(2), label=torch.ones(2))


IDS = torch.ones(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"input_ids": IDS, "attention_mask": IDS, "label_ids": IDS[0]}, "label_ids is not accepted; pass input_ids,"),
        ({"input_ids": IDS, "input_mask": IDS}, "input_mask is not accepted, and attention_mask is missing; pass"),
        ({"ids": IDS, "mask": IDS}, "ids, mask are not accepted, and input_ids and attention_mask are missing"),
        ({"attention_mask": IDS}, "input_ids is missing; pass .* token_type_ids and labels"),
        ({}, "input_ids and attention_mask are missing"),
    ],
)
def test_features_under_other_names_are_refused(features: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        Batch.from_features(**features)
