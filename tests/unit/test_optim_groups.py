"""What trains, and how fast: freezing, gradual unfreezing, rates by layer, top layers that start anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bertwright import Recipe, fine_tune
from bertwright.errors import RecipeError, TrainingError
from bertwright.nn.batch import Batch
from bertwright.nn.custom_heads import DeclaredHead
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.head_settings import HeadSettings
from bertwright.nn.heads import ClassificationHead, HeadStyle
from bertwright.nn.lora import add_adapters
from bertwright.nn.model import Model
from bertwright.nn.settings import LoraSettings, ModelSettings
from bertwright.run.bundle import Bundle
from bertwright.run.plan import describe_unfreezing, make_optimizer
from bertwright.tasks.classification import Classification
from bertwright.tasks.spec import Loss
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.sampling import build_shuffle_order
from bertwright.training.loop import Plan, Progress, Step, fit
from bertwright.training.model_building import build_model
from bertwright.training.optimizer import Optimizer, layer_rates
from bertwright.training.schedule import make_warmup_schedule
from bertwright.training.settings import TrainSettings
from bertwright.training.state import load_state, save_state
from bertwright.weights.pretrained import open_pretrained

CONFIG = EncoderConfig(60, 16, 3, 2, 24, 40)
LAYERS = 3


def data(n: int = 24) -> Encodings:
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 20, n)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(1, 60, bounds[-1]).astype(np.int32)
    return Encodings(
        ids, np.zeros(len(ids), np.uint8), bounds, np.arange(n), np.zeros(n, np.int32), rng.integers(0, 3, n)
    )


def model() -> Model:
    torch.manual_seed(0)
    return Model(Encoder(CONFIG), ClassificationHead(16, 3, HeadStyle()))


def loss(scores: Tensor, batch: Batch) -> Loss:
    assert batch.targets is not None
    return Loss(F.cross_entropy(scores, batch.targets, reduction="sum"), float(len(batch)))


def plan(steps: int, unfreeze_every: int = 0) -> Plan:
    schedule = make_warmup_schedule("linear", 20, 2)
    return Plan(steps, build_shuffle_order(24, 0), 8, 10_000, 0, schedule, unfreeze_every=unfreeze_every)


def part(name: str) -> str:
    """Where a parameter is: head, layers.2, …, embeddings."""
    if name.startswith("encoder.layers."):
        return ".".join(name.split(".")[1:3])
    return "head" if name.startswith("head.") else "embeddings"


def training(net: Model) -> set[str]:
    return {part(name) for name, parameter in net.named_parameters() if parameter.requires_grad}


def test_layers_join_from_the_top_and_hold_no_state_before() -> None:
    net = model()
    progress = Progress(net, Optimizer(net, 1e-3))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    seen = []
    for event in fit(progress, loss, data(), plan(11, unfreeze_every=2)):
        if not isinstance(event, Step):
            continue
        seen.append(training(net))
        held = {name.partition(".")[2] for name in progress.optimizer.state()}
        for name, parameter in net.named_parameters():
            assert (name in held) == parameter.requires_grad, name
            if not parameter.requires_grad:
                assert torch.equal(parameter, before[name]), name
                assert parameter.grad is None
        for i, layer in enumerate(net.encoder.layers):
            assert layer.dropout.training == (f"layers.{i}" in seen[-1])
        assert net.encoder.embeddings.dropout.training == ("embeddings" in seen[-1])
    head, top, middle, low = {"head"}, {"layers.2"}, {"layers.1"}, {"layers.0"}
    stages = [head, head | top, head | top | middle, head | top | middle | low]
    expected = [stage for stage in stages for _ in range(2)] + [stages[-1] | {"embeddings"}] * 3
    assert seen == expected
    word = net.encoder.embeddings.word
    assert word.sparse
    assert not torch.equal(word.weight, before["encoder.embeddings.word.weight"])


def test_what_is_frozen_for_good_never_joins() -> None:
    net = model().freeze(1)
    list(fit(Progress(net, Optimizer(net, 1e-3)), loss, data(), plan(9, unfreeze_every=1)))
    assert training(net) == {"head", "layers.1", "layers.2"}
    net.train_top_layers(0).freeze("nothing")
    assert training(net) == {"head"}
    net.train_top_layers(9)
    assert training(net) == {"head", "layers.0", "layers.1", "layers.2", "embeddings"}


def normalised() -> Model:
    """With running statistics that a state must hold."""
    torch.manual_seed(0)
    head = HeadSettings(pooling="mean", layers=[{"dropout": 0.2}, {"dense": 9}, "batch_norm", "relu"])
    return Model(Encoder(CONFIG), DeclaredHead(head, CONFIG, 3, generator=torch.Generator().manual_seed(0)))


def adapted() -> Model:
    net = model()
    add_adapters(net.encoder, LoraSettings(rank=2, dropout=0.1), torch.Generator().manual_seed(0))
    return net.freeze("nothing")


@pytest.mark.parametrize(
    ("model", "stop"), [(model, 1), (model, 3), (model, 4), (model, 9), (normalised, 5), (adapted, 5)]
)
def test_a_stopped_run_goes_on_bit_for_bit(model: Callable[[], Model], stop: int, tmp_path: Path) -> None:
    def progress() -> Progress:
        net = model()
        return Progress(net, Optimizer(net, 1e-3, clip=0.5, rates=layer_rates(LAYERS, 0.8, 3.0)))

    whole = progress()
    steps = [e for e in fit(whole, loss, data(), plan(11, 2)) if isinstance(e, Step)]
    first, second = progress(), progress()
    list(fit(first, loss, data(), plan(stop, 2)))
    save_state(tmp_path / "state", first, {})
    load_state(tmp_path / "state", second)
    rest = [e for e in fit(second, loss, data(), plan(11, 2)) if isinstance(e, Step)]
    assert [e.loss for e in rest] == [e.loss for e in steps[stop:]]
    for name, tensor in second.model.state_dict().items():
        assert torch.equal(whole.model.state_dict()[name], tensor), name
    assert whole.optimizer.state().keys() == second.optimizer.state().keys()


def test_a_state_of_other_parameters_is_refused() -> None:
    everything = Optimizer(model(), 1e-3)
    net = model()
    list(fit(Progress(net, trained := Optimizer(net, 1e-3)), loss, data(), plan(1)))
    head = Optimizer(model().freeze("encoder"), 1e-3)
    with pytest.raises(TrainingError, match=r"it has an entry for encoder\.embeddings\.norm\.bias"):
        head.load_state(trained.state())
    state = trained.state()
    del state["exp_avg.head.output.bias"]
    with pytest.raises(TrainingError, match=r"it has no usable entry for head\.output\.bias"):
        everything.load_state(state)


def test_every_parameter_has_the_rate_of_its_place() -> None:
    settings = TrainSettings(learning_rate=1e-3, layer_decay=0.5, head_learning_rate=1e-2, weight_decay=0.1)
    optimizer = make_optimizer(net := model(), settings)
    names = {id(p): name for name, p in net.named_parameters()}
    found = {names[id(p)]: group for group, parameters in optimizer.groups.items() for p in parameters}
    assert found.keys() == dict(net.named_parameters()).keys()
    for name, (decay, share) in found.items():
        shares = {"head": 10.0, "layers.2": 1.0, "layers.1": 0.5, "layers.0": 0.25, "embeddings": 0.125}
        assert share == pytest.approx(shares[part(name)]), name
        assert decay == (0.1 if dict(net.named_parameters())[name].ndim > 1 else 0.0), name


def test_without_rates_there_are_as_many_groups_as_ever() -> None:
    assert len(make_optimizer(model(), TrainSettings(learning_rate=2e-5)).groups) == 2
    decayed = make_optimizer(model(), TrainSettings(learning_rate=2e-5, layer_decay=0.9))
    assert len(decayed.groups) == 2 * (LAYERS + 1)


def test_what_a_run_is_told_of_unfreezing() -> None:
    assert describe_unfreezing(plan(9), LAYERS) == []
    assert describe_unfreezing(plan(9, 2), LAYERS) == [
        (
            "train.gradual_unfreezing: one more layer is trained every 2 steps; all layers are trained from step 9 on",
            False,
        )
    ]
    assert describe_unfreezing(plan(8, 2), LAYERS) == [
        (
            "train.gradual_unfreezing: one more layer is trained every 2 steps, so the embeddings stay frozen in a "
            "run of 8 steps",
            True,
        )
    ]
    assert describe_unfreezing(plan(6, 2), LAYERS) == [
        (
            "train.gradual_unfreezing: one more layer is trained every 2 steps, so only the top 2 of 3 layers are "
            "trained in a run of 6 steps",
            True,
        )
    ]


def refused(**sections: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        Recipe(**sections)
    return str(caught.value)


def test_settings_that_do_not_fit_each_other() -> None:
    assert "train.gradual_unfreezing has no layers to unfreeze, because model.freeze keeps" in refused(
        train={"gradual_unfreezing": "1 epoch"}, model={"freeze": "encoder"}
    )
    assert "train.layer_decay must be a number above 0 and of at most 1" in refused(train={"layer_decay": 1.5})


def test_top_layers_and_the_pooler_start_anew_seeded_and_told(tiny_bert: Path) -> None:
    base, task = open_pretrained(tiny_bert), Classification(labels=("a", "b"))
    plain, _ = build_model(ModelSettings(), task, base, torch.Generator().manual_seed(1))
    found, report = build_model(ModelSettings(reinit_layers=1), task, base, torch.Generator().manual_seed(1))
    again, _ = build_model(ModelSettings(reinit_layers=1), task, base, torch.Generator().manual_seed(1))
    fresh = {row.name for row in report.rows if row.status == "randomly initialized"}
    weights = zip(found.named_parameters(), plain.parameters(), again.parameters(), strict=True)
    for (name, p), before, same in weights:
        assert torch.equal(p, same), name
        anew = name.startswith(("encoder.layers.1.", "head."))
        assert (name in fresh) == anew, name
        if not anew:
            assert torch.equal(p, before), name
        elif name.endswith("qkv.weight") or name == "head.dense.weight":
            assert not torch.equal(p, before), name
            assert float(p.detach().std()) == pytest.approx(0.05, rel=0.1)  # initializer_range
    reasons = {row.reason for row in report.rows if row.status == "ignored" and "layer.1" in (row.source_name or "")}
    assert reasons == {"model.reinit_layers=1"}
    for settings, expected in (
        ({"reinit_layers": 3}, r"model\.reinit_layers: is 3, but the encoder has 2 layers; lower it\."),
        ({"reinit_layers": 2, "freeze": 1}, r"is 2, but the encoder has 2 layers, 1 of them frozen; lower it\."),
        ({"reinit_layers": 1, "freeze": "encoder"}, "2 layers, 2 of them frozen"),
    ):
        with pytest.raises(RecipeError, match=expected):
            build_model(ModelSettings(**settings), task, base)


def test_a_bundle_does_not_start_anew_when_it_is_opened(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        model={"base": str(tiny_bert), "reinit_layers": 1},
        data={"train": str(reviews)},
        tokens={"max_length": 32},
        train={"length": "5 steps", "precision": "fp32", "gradual_unfreezing": "1 step", "layer_decay": 0.9},
    )
    bundle = fine_tune(recipe, tmp_path / "run")
    again = Bundle.load(tmp_path / "run")
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, bundle.model.state_dict()[name]), name
    assert again.recipe is not None
    assert again.recipe.model.reinit_layers == 1
