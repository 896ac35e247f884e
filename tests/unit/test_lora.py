"""Adapters of low rank: what they compute, what trains, what is saved, merged and not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bertwright import Bundle, Recipe, fine_tune
from bertwright.errors import RecipeError
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear
from bertwright.nn.lora import LoraLinear, adapter_parameters, add_adapters, merge_adapters
from bertwright.nn.settings import LoraSettings, ModelSettings
from bertwright.recipe import load_recipe
from bertwright.run.plan import make_optimizer
from bertwright.tasks.classification import Classification
from bertwright.tokenization.sampling import build_shuffle_order
from bertwright.training.loop import Plan, Progress, fit
from bertwright.training.model_building import build_model
from bertwright.training.settings import TrainSettings
from bertwright.weights.pretrained import open_pretrained

transformers = pytest.importorskip("transformers")

CONFIG = EncoderConfig(40, 12, 2, 2, 20, 32, dropout=0.0, attention_dropout=0.0)
TEXTS = ["a good film", "the plot was bad", "dull", "not fun at all"]


@pytest.mark.parametrize("targets", [("query", "value"), ("key",), ("query", "key", "value", "output"), ("output",)])
def test_adapters_begin_as_nothing_and_add_their_product(targets: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    encoder = Encoder(CONFIG)
    ids, layout = torch.arange(1, 8), Layout.packed([3, 4])
    inputs = (ids, torch.zeros_like(ids), layout)
    before = encoder(*inputs)
    weights = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    add_adapters(encoder, LoraSettings(rank=2, alpha=6.0, target_modules=targets), torch.Generator().manual_seed(1))
    torch.testing.assert_close(encoder(*inputs), before)
    for parameter in adapter_parameters(encoder):
        parameter.data.normal_(0.0, 0.5)
    expected = Encoder(CONFIG)
    expected.load_state_dict(weights)
    slices = {"query": slice(0, 12), "key": slice(12, 24), "value": slice(24, 36)}
    for mine, plain in zip(encoder.layers, expected.layers, strict=True):
        chosen = [name for name in ("query", "key", "value") if name in targets]
        for i, name in enumerate(chosen):
            qkv = mine.attention.qkv
            plain.attention.qkv.weight.data[slices[name]] += 3.0 * qkv.lora_b[i] @ qkv.lora_a[i]
        if "output" in targets:
            out = mine.attention.output
            plain.attention.output.weight.data += 3.0 * out.lora_b[0] @ out.lora_a[0]
    found = encoder(*inputs)
    assert not torch.allclose(found, before, atol=1e-2)
    torch.testing.assert_close(found, expected(*inputs), rtol=1e-4, atol=1e-5)
    merge_adapters(encoder)
    assert not list(adapter_parameters(encoder))
    assert type(encoder.layers[0].attention.qkv) is Linear
    torch.testing.assert_close(encoder(*inputs), expected(*inputs), rtol=1e-4, atol=1e-5)
    assert encoder.state_dict().keys() == weights.keys()


def test_gradients_are_those_of_the_product() -> None:
    torch.manual_seed(0)
    layer = LoraLinear(torch.nn.Linear(5, 9), (0, 2), 3, LoraSettings(rank=2, alpha=2.0))
    layer.lora_b.data.normal_()
    x = torch.randn(7, 5, requires_grad=True)
    y = layer(x)
    whole = layer.weight.detach() + torch.cat(
        [layer.lora_b[0] @ layer.lora_a[0], torch.zeros(3, 5), layer.lora_b[1] @ layer.lora_a[1]]
    )
    by_hand = x @ whole.t() + layer.bias.detach()
    torch.testing.assert_close(y, by_hand)
    g = torch.randn_like(y)
    of = (x, layer.lora_a, layer.lora_b)
    for mine, other in zip(torch.autograd.grad(y, of, g), torch.autograd.grad(by_hand, of, g), strict=True):
        torch.testing.assert_close(mine, other)


def test_the_dropout_of_adapters_leaves_the_weight_alone() -> None:
    layer = LoraLinear(torch.nn.Linear(8, 4), (0,), 1, LoraSettings(rank=2, dropout=0.5)).train()
    x = torch.randn(5, 8)
    plain = torch.nn.functional.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), plain)
    layer.lora_b.data.normal_()
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


def test_adapters_and_the_head_alone_train(tiny_bert: Path) -> None:
    base, task = open_pretrained(tiny_bert), Classification(labels=("a", "b"))
    settings = ModelSettings(lora=LoraSettings(rank=2))
    model, report = build_model(settings, task, base, torch.Generator().manual_seed(0))
    model.freeze("nothing").train()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.rpartition(".")[2] for name in trained if name.startswith("encoder.")} == {"lora_a", "lora_b"}
    assert {"head.dense.weight", "head.output.bias"} <= trained
    assert not model.encoder.embeddings.dropout.training  # nothing in there trains
    assert model.encoder.layers[0].dropout.training
    fresh = {row.name: row.reason for row in report.rows if row.status == "randomly initialized"}
    assert fresh["encoder.layers.1.attention.qkv.lora_a"] == "not in the checkpoint; set by its constructor"
    examples = Bundle(model, task, base, Recipe().tokens).read([("good film", "a"), ("bad plot", "b")] * 4)
    encodings = task.encode(examples, base.tokenizer)
    progress = Progress(model, make_optimizer(model, TrainSettings(learning_rate=1e-2, layer_decay=0.9)))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    list(fit(progress, task.loss, encodings, Plan(3, build_shuffle_order(8, 0), 4, 1000, 0, lambda step: 1.0)))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != (name in trained), name
    assert {name.partition(".")[2] for name in progress.optimizer.state()} == trained


def run(base: Path, reviews: Path, out: Path, **lora: Any) -> Bundle:
    recipe = Recipe(
        model={"base": str(base), "lora": {"rank": 2, "target_modules": ["query", "value", "output"], **lora}},
        data={"train": str(reviews)},
        tokens={"max_length": 32},
        train={"length": "8 steps", "precision": "fp32", "learning_rate": 2e-2},
    )
    return fine_tune(recipe, out)


def scores(bundle: Bundle) -> Any:
    return bundle.scores(bundle.encode(bundle.read(TEXTS, labelled=False)))


def test_merged_and_not_a_bundle_predicts_the_same(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    transformers.logging.set_verbosity_error()
    merged = run(tiny_bert, reviews, tmp_path / "merged")
    apart = run(tiny_bert, reviews, tmp_path / "apart", merge=False)
    assert not list(adapter_parameters(merged.model.encoder))
    assert len(list(adapter_parameters(apart.model.encoder))) == 8
    np.testing.assert_allclose(scores(merged), scores(apart), rtol=1e-3, atol=1e-5)
    for name, bundle in (("merged", merged), ("apart", apart)):
        again = Bundle.load(tmp_path / name)
        np.testing.assert_array_equal(scores(again), scores(bundle))
        again.save(tmp_path / f"{name}-copy")
        np.testing.assert_array_equal(scores(Bundle.load(tmp_path / f"{name}-copy")), scores(bundle))

    # merged, transformers sees nothing special; apart, nothing says that it would give our scores
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    features = transformers.AutoTokenizer.from_pretrained(tmp_path / "merged")(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        np.testing.assert_allclose(model(**features).logits, scores(merged), rtol=1e-4, atol=1e-5)
    assert transformers.AutoConfig.from_pretrained(tmp_path / "apart").architectures is None
    assert "encoder without the LoRA adapters" in (tmp_path / "apart" / "README.md").read_text(encoding="utf-8")

    # what was learnt differs from the checkpoint in the adapted projections alone
    base, task = open_pretrained(tiny_bert), merged.task
    plain, _ = build_model(ModelSettings(), task, base)
    changed = {
        name
        for (name, p), q in zip(merged.model.encoder.named_parameters(), plain.encoder.parameters(), strict=True)
        if not torch.equal(p, q)
    }
    assert changed == {f"layers.{i}.attention.{part}.weight" for i in (0, 1) for part in ("qkv", "output")}
    q, k, v = (
        (a - b).abs().max()
        for a, b in zip(
            merged.model.encoder.layers[0].attention.qkv.weight.chunk(3),
            plain.encoder.layers[0].attention.qkv.weight.chunk(3),
            strict=True,
        )
    )
    assert k == 0
    assert min(q, v) > 0


def test_adapters_apart_can_be_built_on(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    apart = run(tiny_bert, reviews, tmp_path / "apart", merge=False)
    base = open_pretrained(tmp_path / "apart")
    lora = LoraSettings(rank=2, target_modules=("query", "value", "output"))
    model, report = build_model(ModelSettings(lora=lora), apart.task, base)
    assert report.counts["randomly initialized"] == 0
    ours = next(adapter_parameters(model.encoder))
    assert torch.equal(ours, next(adapter_parameters(apart.model.encoder)))
    # other labels: the output starts fresh though the adapters are there
    _, report = build_model(ModelSettings(lora=lora), apart.task, base, reinitialize_output=True)
    assert {row.name for row in report.rows if row.status == "randomly initialized"} == {
        "head.output.weight",
        "head.output.bias",
    }
    _, report = build_model(ModelSettings(), apart.task, base)
    reasons = {row.reason for row in report.rows if "lora" in (row.source_name or "")}
    assert reasons == {"a LoRA adapter that this model does not have; merge adapters before saving"}


def test_settings_that_do_not_fit_adapters() -> None:
    def refused(*pairs: str) -> str:
        with pytest.raises(RecipeError) as caught:
            load_recipe(None, ["model.lora.rank=4", *pairs])
        return str(caught.value)

    assert "model.freeze cannot be combined with model.lora, which freezes the whole encoder" in refused(
        "model.freeze=2"
    )
    assert "model.reinit_layers cannot be combined with model.lora" in refused("model.reinit_layers=2")
    assert "train.gradual_unfreezing has no layers to unfreeze, because model.lora keeps" in refused(
        'train.gradual_unfreezing="1 epoch"'
    )
    assert "model.lora.target_modules must be a list of" in refused("model.lora.target_modules=[]")
    assert 'did you mean "rank"?' in refused("model.lora.rnak=4")
    assert load_recipe(None, ["model.lora.rank=4"]).model.lora == LoraSettings(rank=4)
