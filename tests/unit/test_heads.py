"""Heads of one's own: what they are declared as, what they compute, what a mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bertwright import Bundle, Recipe, fine_tune
from bertwright.config.sections import build, dump
from bertwright.config.yaml_tree import parse_yaml
from bertwright.errors import BertwrightError, RecipeError
from bertwright.nn.custom_heads import BatchNorm, DeclaredHead, check_head, load_custom_head
from bertwright.nn.encoder import EncoderConfig
from bertwright.nn.head_settings import HeadLayer, HeadSettings
from bertwright.nn.heads import ClassificationHead, Head, first_tokens
from bertwright.nn.layout import Layout
from bertwright.nn.settings import ModelSettings
from bertwright.recipe import load_recipe
from bertwright.tasks.classification import Classification
from bertwright.tokenization.batching import collate
from bertwright.training.model_building import build_model, make_loss_function
from bertwright.weights.pretrained import open_pretrained
from tiny import make_tiny_bert

CONFIG = EncoderConfig(40, 16, 3, 2, 24, 32)
LENGTHS = [3, 1, 4]

EXAMPLE = """
head:
  pooling: mean
  from_layers: weighted
  layers:
  - dropout: 0.15
  - dense: 12
  - batch_norm
  - relu
  output_l2: 0.01
"""


def declared(**settings: Any) -> HeadSettings:
    return HeadSettings(**settings)


def refused(*pairs: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(None, pairs)
    return str(caught.value)


def test_a_declaration_is_read_and_written_back() -> None:
    settings = build(ModelSettings, parse_yaml(EXAMPLE))
    assert isinstance(settings.head, HeadSettings)
    assert settings.head.layers == (
        HeadLayer("dropout", 0.15),
        HeadLayer("dense", 12),
        HeadLayer("batch_norm"),
        HeadLayer("relu"),
    )
    assert dump(settings, only_differences=True) == EXAMPLE.lstrip()
    assert build(ModelSettings, parse_yaml(dump(settings))) == settings
    typed = load_recipe(None, ["model.head.layers=[{dense: 8}, tanh]", "model.head.pooling=max"])
    assert typed.model.head == declared(layers=[{"dense": 8}, "tanh"], pooling="max")
    assert load_recipe(None, ["model.head=mine.heads:Wide"]).model.head == "mine.heads:Wide"


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("batchnorm", 'is an unknown layer: "batchnorm"; did you mean "batch_norm"?'),
        ("{denes: 8}", 'is an unknown layer: {"denes": 8}; did you mean "dense"?'),
        ("dense", 'must be {dense: WIDTH} with an integer of at least 1; found "dense".'),
        ("{dense: 0.5}", "must be {dense: WIDTH} with an integer of at least 1; found "),
        ("{dropout: 1}", "must be {dropout: RATE} with a rate from 0 to below 1; found "),
        ("{relu: 3}", "must be the word relu alone; found "),
        ("{dense: 8, dropout: 0.1}", "is an unknown layer"),
        ("7", "is an unknown layer: 7; known: batch_norm, "),
    ],
)
def test_a_layer_that_is_none(layer: str, expected: str) -> None:
    assert f"model.head.layers.0 {expected}" in refused(f"model.head.layers=[{layer}]")


def test_other_mistakes_in_a_head() -> None:
    assert refused("model.head.pooling=avg").endswith('must be "first", "pooler", "mean", "max" or null; found "avg".')
    assert refused("model.head.poolin=max").endswith('model.head.poolin is unknown; did you mean "pooling"?')
    assert refused("model.head=mine").endswith('must be a section of settings, "module:name" or null; found "mine".')
    assert "from_layers must be last with pooling: pooler, which" in refused(
        "model.head.pooling=pooler", "model.head.from_layers=4"
    )
    with pytest.raises(RecipeError, match=r"from_layers: is 4, but the encoder has only 3 layers; lower it\."):
        DeclaredHead(declared(from_layers=4), CONFIG, 2)


def hidden(layers: int | None = None) -> tuple[Tensor, Layout]:
    shape = (sum(LENGTHS), 16) if layers is None else (layers, sum(LENGTHS), 16)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)), Layout.packed(LENGTHS)


@pytest.mark.parametrize("pooling", ["first", "mean", "max"])
@pytest.mark.parametrize("from_layers", ["last", 2, "weighted"])
def test_features_hold_no_parameters_and_no_chance(pooling: str, from_layers: Any) -> None:
    head = DeclaredHead(declared(pooling=pooling, from_layers=from_layers), CONFIG, 2).train()
    states, layout = hidden(None if from_layers == "last" else 4)
    if head.reads == "first_tokens":
        states, layout = first_tokens(states, layout), layout.first_tokens_only()
    features = head.features(states, layout)
    assert features.shape == ((3, 4, 16) if from_layers == "weighted" else (3, 16))
    assert not features.requires_grad
    assert torch.equal(features, head.features(states, layout))
    readings = {
        DeclaredHead(declared(pooling=p, from_layers=f), CONFIG, 2).feature_key
        for p in ("first", "mean", "max")
        for f in ("last", 2, "weighted")
    }
    assert len(readings) == 9


def test_weights_of_layers_are_learnt_and_start_as_their_mean() -> None:
    head = DeclaredHead(declared(from_layers="weighted", pooling="mean", layers=()), CONFIG, 2)
    states, layout = hidden(4)
    pooled = torch.stack([torch.stack([s.mean(0) for s in state.split(LENGTHS)]) for state in states]).mean(0)
    torch.testing.assert_close(head(states, layout), head.output(pooled))
    head(states, layout).sum().backward()
    assert head.mix is not None
    assert head.mix.grad is not None
    assert head.mix.grad.abs().min() > 0


def test_layers_come_in_their_order_and_fresh_weights_are_seeded() -> None:
    words = [{"dense": 5}, "layer_norm", "gelu", "sigmoid", {"dropout": 0.2}, {"dense": 7}, "silu"]
    head = DeclaredHead(declared(layers=words), CONFIG, 3, generator=torch.Generator().manual_seed(5))
    names = [type(layer).__name__ for layer in head.layers]
    assert names == ["Linear", "LayerNorm", "GELU", "Sigmoid", "Dropout", "Linear", "SiLU"]
    assert head.output.weight.shape == (3, 7)
    again = DeclaredHead(declared(layers=words), CONFIG, 3, generator=torch.Generator().manual_seed(5))
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), again.parameters(), strict=True))
    limit = (6 / (16 + 5)) ** 0.5  # Glorot's
    assert 0.8 * limit < float(head.layers[0].weight.detach().abs().max()) <= limit  # type: ignore[union-attr,operator]


def test_layers_that_are_left_out_are_the_published_dropout(tiny_bert: Path) -> None:
    base = open_pretrained(tiny_bert)
    task = Classification(labels=("a", "b"))
    model, _ = build_model(ModelSettings(head=declared(pooling="mean")), task, base)
    assert [(type(m).__name__, m.p) for m in model.head.layers] == [("Dropout", 0.1)]  # type: ignore[union-attr]
    model, _ = build_model(ModelSettings(head=declared(pooling="mean", layers=())), task, base)
    assert len(model.head.layers) == 0  # type: ignore[arg-type]


def test_a_single_row_is_normalised_by_the_running_statistics() -> None:
    norm = BatchNorm(4).train()
    norm(torch.randn(9, 4) * 3 + 1)
    state = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    assert int(state["num_batches_tracked"]) == 1
    row = torch.randn(1, 4)
    found = norm(row)
    torch.testing.assert_close(found, norm.eval()(row))
    assert all(torch.equal(tensor, state[name]) for name, tensor in norm.state_dict().items())
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm1d(4).train()(row)


def test_l2_is_added_to_the_mean_loss_however_a_batch_is_split(tiny_bert: Path) -> None:
    task = Classification(labels=("a", "b"))
    base = open_pretrained(tiny_bert)
    model, _ = build_model(ModelSettings(head=declared(layers=(), output_l2=0.5)), task, base)
    rows = [("good film", "a"), ("bad plot", "b"), ("it was dull", "b")]
    examples = Bundle(model, task, base, Recipe().tokens).read(rows)
    encodings = task.encode(examples, base.tokenizer)
    loss_of = make_loss_function(task, model.eval().head)
    batches = [collate(encodings, np.array(piece)) for piece in ([0, 1, 2], [0], [1, 2])]
    losses = [loss_of(model(batch), batch) for batch in batches]
    plain = task.loss(model(batches[0]), batches[0])
    squares = float(model.head.output.weight.detach().square().sum())  # type: ignore[union-attr,operator]
    whole = float(losses[0].total.detach()) / 3
    assert whole == pytest.approx(float(plain.total.detach()) / 3 + 0.5 * squares, rel=1e-5)
    assert float((losses[1].total + losses[2].total).detach()) / 3 == pytest.approx(whole, rel=1e-5)
    scores = torch.randn(3, 2)
    for head in (nn.Linear(2, 2), ClassificationHead(24, 2)):
        assert make_loss_function(task, head)(scores, batches[0]).total == task.loss(scores, batches[0]).total


RECIPE = {
    "tokens": {"max_length": 32},
    "train": {"length": "4 steps", "precision": "fp32", "learning_rate": 1e-3, "batch_size": 11},
}
LAYERS = [{"dropout": 0.15}, {"dense": 12}, "batch_norm", "relu"]
TEXTS = ["a good film", "the plot was bad", "dull", "not fun at all"]


def run(
    base: Path, reviews: Path, out: Path, head: Any = None, module: nn.Module | None = None, **model: Any
) -> Bundle:
    settings = {"base": str(base), "head": head, **model}
    recipe = Recipe(model=settings, data={"train": str(reviews)}, **RECIPE)
    return fine_tune(recipe, out, head=module, allow_code=isinstance(head, str))


def scores(bundle: Bundle) -> Any:
    return bundle.scores(bundle.encode(bundle.read(TEXTS, labelled=False)))


@pytest.mark.parametrize("pooling", ["mean", "pooler"])
def test_a_declared_head_reloads_without_any_code(pooling: str, tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    bundle = run(tiny_bert, reviews, tmp_path / "run", {"pooling": pooling, "layers": LAYERS}, freeze="encoder")
    norm = bundle.model.head.layers[2]  # type: ignore[index,union-attr]
    assert int(norm.num_batches_tracked) > 0
    assert norm.num_batches_tracked.dtype == torch.int64
    again = Bundle.load(tmp_path / "run")
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, bundle.model.state_dict()[name]), name
    np.testing.assert_array_equal(scores(again), scores(bundle))
    again.save(tmp_path / "copy")
    np.testing.assert_array_equal(scores(Bundle.load(tmp_path / "copy")), scores(bundle))


def test_the_pooler_comes_from_the_checkpoint_and_trains(tiny_bert: Path) -> None:
    base, task = open_pretrained(tiny_bert), Classification(labels=("a", "b"))
    model, report = build_model(ModelSettings(head=declared(pooling="pooler")), task, base)
    sources = {row.name: (row.source_name, row.status) for row in report.rows}
    assert sources["head.pooler.weight"] == ("pooler.dense.weight", "renamed")
    assert sources["head.output.weight"] == (None, "randomly initialized")
    model.freeze("encoder")
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        *("head.pooler.weight", "head.pooler.bias", "head.output.weight", "head.output.bias")
    }


def test_what_a_task_or_a_family_has_not(tiny_bert: Path) -> None:
    from dataclasses import replace

    from bertwright.weights.families import FAMILIES

    base, task = open_pretrained(tiny_bert), Classification(labels=("a", "b"))
    electra = replace(base, family=FAMILIES["electra"])
    with pytest.raises(RecipeError, match=r"pooling: is pooler, but electra was pre-trained without one; use first\."):
        build_model(ModelSettings(head=declared(pooling="pooler")), task, electra)


def test_a_head_of_another_make_starts_fresh_as_a_whole(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    first = run(tiny_bert, reviews, tmp_path / "one", {"layers": LAYERS})
    task = first.task
    base = open_pretrained(tmp_path / "one")
    # the same declaration goes on from its weights
    model, report = build_model(ModelSettings(head=declared(layers=LAYERS)), task, base)
    assert torch.equal(model.head.layers[1].weight, first.model.head.layers[1].weight)  # type: ignore[index,union-attr]
    assert report.counts["randomly initialized"] == 0
    # another one takes nothing, though layers.1 is of the same shape
    _, report = build_model(ModelSettings(head=declared(layers=[*LAYERS[:2], "tanh", {"dense": 6}])), task, base)
    heads = {row.name: row.status for row in report.rows if (row.name or "").startswith("head.")}
    assert set(heads.values()) == {"randomly initialized"}
    assert {row.source_name for row in report.rows if row.reason == "a head with another architecture"} >= {
        *("head.layers.1.weight", "head.output.weight")
    }
    # as does the published head
    _, report = build_model(ModelSettings(), task, base)
    reasons = {row.reason for row in report.rows if (row.source_name or "").startswith("head.")}
    assert reasons == {"head of another task"}
    # with other labels only the output starts fresh
    _, report = build_model(ModelSettings(head=declared(layers=LAYERS)), Classification(labels=("x", "y", "z")), base)
    fresh = {row.name for row in report.rows if row.status == "randomly initialized"}
    assert fresh == {"head.output.weight", "head.output.bias"}


class Wide(nn.Module):
    """A head as users write it: it knows nothing of features."""

    def __init__(self, config: EncoderConfig, n_outputs: int) -> None:
        super().__init__()
        self.inner = nn.Linear(config.width, 30)
        self.norm = nn.BatchNorm1d(30)
        self.output = nn.Linear(30, n_outputs)

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        scores: Tensor = self.output(self.norm(self.inner(first_tokens(hidden, layout))).relu())
        return scores


SOURCE = """
import torch
from bertwright.nn.heads import first_tokens

class Mine(torch.nn.Module):
    def __init__(self, config, n_outputs):
        super().__init__()
        self.output = torch.nn.Linear(config.width, n_outputs)

    def forward(self, hidden, layout):
        return self.output(first_tokens(hidden, layout).sin())

def wrong(config, n_outputs):
    return 3

class Tall(Mine):
    def forward(self, hidden, layout):
        return self.output(hidden)

class Words(Mine):
    def forward(self, hidden, layout):
        return "high"
"""


def test_a_head_by_name_is_imported_from_where_the_user_is(
    tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_heads_a.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    bundle = run(tiny_bert, reviews, tmp_path / "run", "my_heads_a:Mine")
    assert type(bundle.model.head).__name__ == "Mine"
    np.testing.assert_array_equal(scores(Bundle.load(tmp_path / "run", allow_code=True)), scores(bundle))
    assert (
        "Loading needs the module `my_heads_a`, which defines its head" in (tmp_path / "run" / "README.md").read_text()
    )
    base = open_pretrained(tiny_bert)
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    weights = [
        model.head.output.weight  # type: ignore[union-attr]
        for seed in seeds
        for model, _ in [build_model(ModelSettings(head="my_heads_a:Mine"), bundle.task, base, seed, allow_code=True)]
    ]
    assert torch.equal(weights[0], weights[1])  # type: ignore[arg-type]
    assert not torch.equal(weights[0], weights[2])  # type: ignore[arg-type]


def test_without_its_module_a_head_by_name_says_so(
    tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_heads_b.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    run(tiny_bert, reviews, tmp_path / "run", "my_heads_b:Mine")
    monkeypatch.chdir("/")
    monkeypatch.delitem(__import__("sys").modules, "my_heads_b")
    with pytest.raises(BertwrightError, match=r"my_heads_b:Mine needs the module my_heads_b, which cannot be imported"):
        Bundle.load(tmp_path / "run", allow_code=True)


def test_heads_by_name_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_heads_c.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="the module my_heads_c has no Main; name a class or function in it"):
        load_custom_head("my_heads_c:Main", CONFIG, 2)
    with pytest.raises(RecipeError, match=r"my_heads_c:wrong returned a int; expected a torch\.nn\.Module"):
        load_custom_head("my_heads_c:wrong", CONFIG, 2)
    with pytest.raises(RecipeError, match=r"Tall returned scores of shape \(5, 2\) for 2 texts of 5 tokens in total"):
        check_head(load_custom_head("my_heads_c:Tall", CONFIG, 2), CONFIG, 2, tokens=False)
    with pytest.raises(RecipeError, match=r"Words returned scores as a str .* expected shape \(2, 2\)"):
        check_head(load_custom_head("my_heads_c:Words", CONFIG, 2), CONFIG, 2, tokens=False)
    check_head(load_custom_head("my_heads_c:Tall", CONFIG, 2), CONFIG, 2, tokens=True)
    check_head(DeclaredHead(declared(from_layers=2), CONFIG, 2), CONFIG, 2, tokens=False)
    with pytest.raises(RecipeError, match=r"model\.head: the caller returned a dict; expected a torch\.nn\.Module"):
        check_head({}, CONFIG, 2, tokens=False)  # type: ignore[arg-type]
    tied = Wide(CONFIG, 30)
    tied.output = nn.Linear(30, 30)
    tied.twin = nn.Linear(30, 30)
    tied.twin.weight = tied.output.weight
    with pytest.raises(RecipeError, match=r"output\.weight and twin\.weight of Wide share one tensor; untie them"):
        check_head(tied, CONFIG, 30, tokens=False)


def test_a_head_from_python_is_given_again(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    config = open_pretrained(tiny_bert).config
    bundle = run(tiny_bert, reviews, tmp_path / "run", module=Wide(config, 2))
    assert bundle.recipe is not None
    assert bundle.recipe.model.head == "given"
    with pytest.raises(BertwrightError, match=r"its head was passed from Python; pass the module again as head=MODULE"):
        Bundle.load(tmp_path / "run")
    again = Bundle.load(tmp_path / "run", head=Wide(config, 2))
    np.testing.assert_array_equal(scores(again), scores(bundle))
    with pytest.raises(RecipeError, match="the recipe names a head, and another one was passed"):
        run(tiny_bert, reviews, tmp_path / "two", {"pooling": "max"}, module=Wide(config, 2))


class Counting(Head):
    """A head in two steps, of the user's own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output = nn.Linear(width, 2)

    def features(self, hidden: Tensor, layout: Layout) -> Tensor:
        return first_tokens(hidden, layout).sign()

    def scores(self, features: Tensor, layout: Layout) -> Tensor:
        scores: Tensor = self.output(features)
        return scores


def test_a_head_of_ones_own_in_two_steps_is_fed_stored_features(
    tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTWRIGHT_CACHE", str(tmp_path / "cache"))
    bundle = run(tiny_bert, reviews, tmp_path / "run", module=Counting(24), freeze="encoder")
    again = Bundle.load(tmp_path / "run", head=Counting(24))
    np.testing.assert_array_equal(scores(again), scores(bundle))


def test_largest_values_of_the_mean_of_two_layers(reviews: Path, tmp_path: Path) -> None:
    base = make_tiny_bert(tmp_path / "base", num_hidden_layers=3)
    bundle = run(base, reviews, tmp_path / "run", {"from_layers": 2, "pooling": "max", "layers": ["layer_norm"]})
    assert scores(bundle).shape == (4, 2)
