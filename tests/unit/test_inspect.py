"""The layer table: every parameter once, frozen ones told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertwright import Recipe, fine_tune, summarize

transformers = pytest.importorskip("transformers")


def test_an_encoder_alone(tiny_bert: Path) -> None:
    summary = summarize(tiny_bert)
    model = transformers.AutoModel.from_pretrained(tiny_bert)
    assert summary.total == summary.trainable == sum(p.numel() for p in model.parameters())
    assert not summary.trained
    assert summary.rows[-1].name == "head.dense", "the pooler came with it, an output layer did not"
    assert [row.name for row in summary.rows[4:6]] == ["layers.0", "layers.1"]
    text = summary.to_text()
    assert "untrained; fine-tune the model before predicting" in text
    assert "bert, 2 layers, 3 heads, width 24" in text
    assert "WordPiece" in text
    assert max(map(len, text.splitlines()[1:])) <= 80


def test_a_bundle(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        model={"base": str(tiny_bert), "freeze": 1},
        data={"train": str(reviews)},
        tokens={"max_length": 32},
        train={"length": "1 epoch", "precision": "fp32"},
    )
    bundle = fine_tune(recipe, tmp_path / "run")
    summary = summarize(tmp_path / "run")
    assert summary.trained
    assert summary.total == sum(p.numel() for p in bundle.model.parameters())
    assert summary.trainable == sum(p.numel() for p in bundle.model.parameters() if p.requires_grad)
    frozen = {row.name for row in summary.rows if not row.trainable}
    assert frozen == {*(f"embeddings.{name}" for name in ("word", "position", "segment", "norm")), "layers.0"}
    facts = dict(summary.facts)
    assert facts["freeze"] == "1"
    assert facts["predicts"] == "classification, 2 labels: neg, pos"
    assert facts["trained"].startswith("1 epoch on 96 rows of ")
    assert facts["dev"].startswith("accuracy 0.")
    assert " … " in facts["dev"]


def test_a_model_of_another_kind(tiny_bert: Path, tmp_path: Path) -> None:
    config = transformers.BertConfig.from_pretrained(tiny_bert, id2label={i: f"L{i}" for i in range(3)})
    transformers.BertForNextSentencePrediction(config).save_pretrained(tmp_path)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_bert / name).read_bytes())
    summary = summarize(tmp_path)
    assert not summary.trained
    assert all(not row.name.startswith("head.output") for row in summary.rows)


def test_families_with_other_parts(tiny_bert: Path, tmp_path: Path) -> None:
    sizes = {"vocab_size": 74, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3}
    config = transformers.ElectraConfig(**sizes, embedding_size=12, intermediate_size=30, max_position_embeddings=40)
    transformers.ElectraForSequenceClassification(config).save_pretrained(tmp_path)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_bert / name).read_bytes())
    rows = {row.name: row for row in summarize(tmp_path).rows}
    assert rows["embeddings.project"].output == "N × 24"
    assert rows["embeddings.word"].output == "N × 12"
    assert rows["head.output"].output == "B × 2"


def test_layers_without_parameters_are_shown(tiny_bert: Path, tmp_path: Path) -> None:
    config = transformers.BertConfig.from_pretrained(tiny_bert)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_bert / name).read_bytes())
    summary = summarize(tmp_path)
    shown = [(row.name, row.what, row.output) for row in summary.layers]
    assert ("embeddings.dropout", "dropout 0.1", "N × 24") in shown
    assert shown[-4:] == [
        ("head.dense", "dense 24 → 24", "B × 24"),
        ("head.activation", "tanh", "B × 24"),
        ("head.dropout", "dropout 0.1", "B × 24"),
        ("head.output", "dense 24 → 2", "B × 2"),
    ]
    assert all(row.parameters for row in summary.rows)
    assert summary.total == sum(row.parameters for row in summary.layers)
    text = summary.to_text()
    assert "feed-forward network with gelu; dropout 0.1 on attention" in " ".join(text.split())
    assert max(map(len, text.splitlines()[1:])) <= 80
