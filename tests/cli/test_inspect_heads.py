"""``bertwright inspect`` of heads of one's own, adapters and frozen encoders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from worlds import Call

from bertwright import Bundle, Recipe, fine_tune, load_recipe, open_pretrained, summarize
from bertwright.nn.heads import first_tokens
from bertwright.nn.layout import Layout
from bertwright.nn.settings import ModelSettings
from bertwright.tasks.classification import Classification
from bertwright.training.model_building import build_model
from tiny import VOCABULARY

transformers = pytest.importorskip("transformers")

TINY_RUN: dict[str, Any] = {
    "tokens": {"max_length": 32},
    "train": {"length": "2 steps", "precision": "fp32"},
}


def run(base: Path, reviews: Path, out: Path, module: nn.Module | None = None, **model: Any) -> Bundle:
    recipe = Recipe(model={"base": str(base), **model}, data={"train": str(reviews)}, **TINY_RUN)
    return fine_tune(recipe, out, head=module)


def squeezed(text: str) -> str:
    return re.sub(r" +", " ", text)


def test_a_declared_head_layer_by_layer(tiny_bert: Path, reviews: Path, tmp_path: Path, call: Call) -> None:
    layers = [{"dropout": 0.1}, {"dense": 10}, "batch_norm", "relu", "layer_norm"]
    head = {"pooling": "mean", "from_layers": "weighted", "layers": layers}
    bundle = run(tiny_bert, reviews, tmp_path / "run", head=head, freeze="encoder")
    said = call("inspect", tmp_path / "run")
    assert said.code == 0
    text = squeezed(said.out)
    for line in (
        "head.layers.1 dense 24 → 10 B × 10 250 yes",
        "head.layers.2 BatchNorm B × 10 40 yes",
        "head.layers.4 LayerNorm B × 10 20 yes",
        "head.output dense 10 → 2 B × 2 22 yes",
        "head.mix weights, 3 3 yes",
        "20 of these are BatchNorm statistics, which PyTorch counts as buffers",
        "head declared: pooling mean, from all layers, weighted",
        "freeze encoder",
    ):
        assert line in text, text
    summary = summarize(tmp_path / "run")
    parameters = list(bundle.model.parameters())
    assert summary.total == sum(p.numel() for p in parameters) + 20
    assert summary.trainable == sum(p.numel() for p in parameters if p.requires_grad) == 250 + 20 + 20 + 22 + 3
    assert max(map(len, said.out.splitlines()[1:])) <= 80


def test_adapters_beside_the_weights_and_in_them(tiny_bert: Path, reviews: Path, tmp_path: Path, call: Call) -> None:
    run(tiny_bert, reviews, tmp_path / "apart", lora={"rank": 2, "merge": False})
    text = squeezed(call("inspect", tmp_path / "apart").out)
    assert "layers.1 attention, FFN 40, adapters" in text
    assert re.search(r"layers\.1 .* partly", text)
    assert re.search(r"embeddings\.word .* no\b", text)
    assert "lora rank 2, alpha 16, on query, value; separate from the weights" in text
    run(tiny_bert, reviews, tmp_path / "merged", lora={"rank": 2}, reinit_layers=0)
    text = squeezed(call("inspect", tmp_path / "merged").out)
    assert "FFN 40, adapters" not in text
    assert "lora rank 2, alpha 16, on query, value; merged into the weights" in text


class Given(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(24, 2)

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        scores: Tensor = self.linear(first_tokens(hidden, layout))
        return scores


def test_a_head_from_python_is_said_and_not_shown(tiny_bert: Path, reviews: Path, tmp_path: Path, call: Call) -> None:
    run(tiny_bert, reviews, tmp_path / "run", module=Given(), reinit_layers=1)
    said = call("inspect", tmp_path / "run")
    assert said.code == 0
    text = squeezed(said.out)
    assert "head given from Python, not shown" in text
    assert "reinit the top 1 layer randomly initialized" in text
    assert "head.output" not in text
    said = call("predict", tmp_path / "run", "a text")
    assert said.code != 0
    assert "its head was passed from Python; pass the module again as head=MODULE" in said.err


@pytest.mark.slow
def test_the_counts_of_a_frozen_distilbert_are_keras(tmp_path: Path, call: Call) -> None:
    """The shipped recipe's head on an encoder of DistilBERT's size with random weights."""
    base = tmp_path / "distilbert"
    with torch.device("meta"):
        model = transformers.DistilBertModel(transformers.DistilBertConfig())
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.zero_()
    model.save_pretrained(base)
    (base / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (base / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    recipe = load_recipe("distilbert_frozen_head", [f"model.base={base}"])
    opened = open_pretrained(base)
    built, _ = build_model(recipe.model, recipe.task, opened, torch.Generator().manual_seed(0))
    Bundle(built, recipe.task, opened, recipe.tokens, recipe).save(tmp_path / "bundle")

    text = squeezed(call("inspect", tmp_path / "bundle").out)
    assert "total 67,551,746" in text
    assert "trainable 1,185,794" in text
    assert "frozen 66,365,952" in text
    assert "3,072 of these are BatchNorm statistics, which PyTorch counts as buffers" in text

    standard, _ = build_model(ModelSettings(), Classification(labels=("a", "b")), opened)
    assert sum(p.numel() for p in standard.parameters()) == 66_955_010
    assert sum(p.numel() for p in standard.encoder.parameters()) == 66_362_880
