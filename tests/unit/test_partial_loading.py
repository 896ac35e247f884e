"""Named parts of a checkpoint alone, and checkpoints that lack something: what is taken, what starts fresh, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bertwright.errors import BertwrightError, RecipeError, WeightsError
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.heads import ClassificationHead
from bertwright.nn.model import Model
from bertwright.nn.settings import ModelSettings
from bertwright.recipe import Recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from bertwright.tasks.classification import Classification
from bertwright.training.model_building import build_model
from bertwright.weights.checkpoint_files import from_state_dict
from bertwright.weights.families import FAMILIES
from bertwright.weights.loading import LoadingReport, export_state, load_into
from bertwright.weights.pretrained import open_pretrained
from bertwright.weights.selection import TensorSelection

BERT = FAMILIES["bert"]
CONFIG = EncoderConfig(vocab_size=13, width=6, n_layers=2, n_heads=3, ffn_width=7, max_positions=9)


def model_of(seed: int) -> Model:
    torch.manual_seed(seed)
    return Model(Encoder(CONFIG), ClassificationHead(CONFIG.width, 2))


def state() -> dict[str, Tensor]:
    return export_state(model_of(1), BERT)


def load(tensors: dict[str, Tensor], *patterns: str, strict: bool = True) -> tuple[dict[str, Tensor], LoadingReport]:
    """What the model holds afterwards, under the checkpoint's names."""
    model = model_of(0)
    selection = TensorSelection(patterns or None, strict)
    report = load_into(model, from_state_dict(tensors, "here"), BERT, selection=selection)
    return export_state(model, BERT), report


@pytest.mark.parametrize(
    ("patterns", "start"),
    [
        (("encoder.embeddings.*",), ("bert.embeddings.",)),
        (("encoder.embeddings.*", "encoder.layers.0.*"), ("bert.embeddings.", "bert.encoder.layer.0.")),
        (("bert.encoder.layer.1.attention.*",), ("bert.encoder.layer.1.attention.",)),
        (("*.self.query.weight",), ("bert.encoder.layer.0.attention.self.query.weight", "bert.encoder.layer.1")),
        (("encoder.*",), ("bert.embeddings", "bert.encoder")),
        (("head.*",), ("bert.pooler", "classifier")),
        (("*",), ("",)),
    ],
)
def test_named_parts_alone(patterns: tuple[str, ...], start: tuple[str, ...]) -> None:
    checkpoint = state()
    found, report = load(checkpoint, *patterns)
    taken = {name for name in checkpoint if name.startswith(start)}
    if patterns == ("*.self.query.weight",):
        taken = {name for name in checkpoint if name.endswith("self.query.weight")}
    assert {row.source_name for row in report.rows if row.status == "loaded"} == taken
    for name, tensor in found.items():
        assert torch.equal(tensor, checkpoint[name]) == (name in taken or bool((tensor == checkpoint[name]).all())), (
            name
        )
    rest = {name for name in checkpoint if name not in taken}
    assert {row.source_name for row in report.rows if row.status == "ignored"} == rest
    others = [row for row in report.rows if row.status in ("randomly initialized", "ignored")]
    assert len(others) == 2 * len(rest)
    assert {row.reason for row in others} <= {"not named in model.load"}


def test_what_is_not_named_starts_as_bert_does() -> None:
    found, report = load(state(), "encoder.embeddings.*")
    assert not found["bert.encoder.layer.0.intermediate.dense.bias"].any()
    assert (found["bert.encoder.layer.0.output.LayerNorm.weight"] == 1).all()
    assert 0.01 < found["bert.encoder.layer.1.attention.self.key.weight"].std() < 0.04
    assert report.summary() == (
        "5 tensors loaded, 36 randomly initialized (encoder.layers.*, head.*: not named in model.load), "
        "36 ignored (bert.*, classifier.weight, classifier.bias: not named in model.load)"
    )


def test_a_named_part_must_be_there() -> None:
    checkpoint = state()
    del checkpoint["bert.encoder.layer.1.output.dense.weight"]
    assert load(checkpoint, "encoder.embeddings.*")[1].counts["loaded"] == 5
    with pytest.raises(WeightsError, match=r"1 tensor of the encoder missing \(bert\.encoder\.layer\.1\.output"):
        load(checkpoint, "encoder.layers.*")


def test_a_slip_of_the_pen_is_no_fresh_encoder() -> None:
    with pytest.raises(WeightsError, match=r'encoder\.embedings\.\*; did you mean "encoder\.embeddings"\?'):
        load(state(), "encoder.layers.*", "encoder.embedings.*")
    with pytest.raises(WeightsError, match=r"model\.load: no tensor of the model or the checkpoint matches xyz; known"):
        load(state(), "xyz")


def test_not_strict_says_what_it_left() -> None:
    checkpoint = state()
    del checkpoint["bert.encoder.layer.1.output.dense.weight"]
    checkpoint["bert.embeddings.word_embeddings.weight"] = torch.zeros(15, 6)
    with pytest.raises(WeightsError):
        load(checkpoint)
    found, report = load(checkpoint, strict=False)
    assert report.counts == {"loaded": 39, "renamed": 0, "randomly initialized": 2, "ignored": 1}
    reasons = {row.name: row.reason for row in report.rows if row.status == "randomly initialized"}
    assert reasons == {
        "encoder.layers.1.down.weight": "not in the checkpoint",
        "encoder.embeddings.word.weight": "shape (15, 6) in the checkpoint",
    }
    assert found["bert.embeddings.word_embeddings.weight"].std() > 0
    assert "encoder.embeddings.word.weight: shape (15, 6) in the checkpoint" in report.summary()
    assert (
        "(bert.embeddings.word_embeddings.weight: encoder.embeddings.word.weight has shape (13, 6))" in report.summary()
    )


def test_not_strict_is_not_blind() -> None:
    """Nothing of the encoder at all is another model, not a checkpoint that lacks something."""
    with pytest.raises(WeightsError, match="37 tensors of the encoder missing"):
        load({"roberta.embeddings.word_embeddings.weight": torch.zeros(13, 6)}, strict=False)
    checkpoint = state() | {"bert.embeddings.LayerNorm.weight": torch.full((6,), torch.nan)}
    with pytest.raises(WeightsError, match="NaN"):
        load(checkpoint, strict=False)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (
            {"freeze": "encoder"},
            r"model\.freeze: freezes encoder\.layers\.0\..* is randomly initialized \(not named in model\.load",
        ),
        ({"freeze": 1}, r"model\.freeze: freezes encoder\.layers\.0\."),
        ({"lora": {"rank": 2}}, r"model\.lora: freezes encoder\.layers\.0\."),
    ],
)
def test_what_starts_fresh_must_learn(tiny_bert: Path, settings: dict[str, Any], match: str) -> None:
    base, task = open_pretrained(tiny_bert), Classification(labels=("a", "b"))
    with pytest.raises(RecipeError, match=match):
        build_model(ModelSettings(load=["encoder.embeddings.*"], **settings), task, base)
    _, report = build_model(ModelSettings(load=["encoder.*"], **settings), task, base)
    assert not any(
        row.status == "randomly initialized" and row.reason == "not named in model.load"
        for row in report.rows
        if "encoder." in (row.name or "")
    )
    build_model(ModelSettings(load=["encoder.embeddings.*"], freeze="embeddings"), task, base)


def test_a_bundle_is_opened_whole_and_strictly(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    def recipe(**model: Any) -> Recipe:
        return Recipe(
            model={"base": str(tiny_bert), **model},
            data={"train": str(reviews), "text": "review", "label": "sentiment"},
            tokens={"max_length": 32},
            train={"length": "1 epoch", "threads": 1, "precision": "fp32"},
        )

    bundle = train(recipe(load=["encoder.embeddings.*"], strict=False), tmp_path / "run")
    assert bundle.recipe is not None
    assert bundle.recipe.model.load == ("encoder.embeddings.*",)
    assert bundle.report is not None
    assert bundle.report.loading["counts"]["loaded"] + bundle.report.loading["counts"]["renamed"] == 5
    again = Bundle.load(tmp_path / "run")
    for name, tensor in bundle.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    (tmp_path / "cut").mkdir()
    for path in (tmp_path / "run").iterdir():
        (tmp_path / "cut" / path.name).write_bytes(path.read_bytes())
    _without(tmp_path / "cut" / "model.safetensors", lambda name: "layer.1.output.dense.bias" in name)
    with pytest.raises(BertwrightError, match="1 tensor of the encoder missing"):
        Bundle.load(tmp_path / "cut")
    train(recipe(base=str(tmp_path / "cut"), strict=False), tmp_path / "mended")


def _without(path: Path, drop: Callable[[str], bool]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor for name, tensor in load_file(path).items() if not drop(name)}
    save_file(tensors, path, {"format": "pt"})
