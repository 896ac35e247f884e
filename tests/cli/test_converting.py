"""`bertwright convert` as a user runs it: files from elsewhere in, a directory that trains and predicts out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from worlds import Call, World

from bertwright.run.bundle import Bundle
from bertwright.weights.checkpoint_files import open_checkpoint
from bertwright.weights.tf.tensor_bundle import open_bundle, write_bundle


def test_there_and_back(tiny_bert: Path, call: Call, tmp_path: Path) -> None:
    said = call("convert", tiny_bert, tmp_path / "tf", "--to", "tf")
    assert said.code == 0, said.err
    assert said.out.splitlines()[:3] == [
        f"from     {tiny_bert}/model.safetensors",
        "model    bert, 2 layers, 3 heads, width 24: BertModel",
        "weights  39 tensors loaded",
    ]
    assert "bert_config.json, bert_model.ckpt.data-00000-of-00001, bert_model.ckpt.index, vocab.txt\n" in said.out

    said = call("convert", tmp_path / "tf", tmp_path / "hf")
    assert said.code == 0, said.err
    lines = [line.split() for line in said.out.splitlines()]
    kernel = "bert/encoder/layer_{n}/attention/self/query/kernel"
    assert [
        kernel,
        "bert.encoder.layer.{n}.attention.self.query.weight",
        "(24",
        "×",
        "24,",
        "2",
        "layers)",
    ] in lines
    assert "39 tensors renamed: different name in the file\n" in said.out
    assert "39 tensors loaded\n" in said.out
    found, before = open_checkpoint(tmp_path / "hf"), open_checkpoint(tiny_bert)
    for name in before.tensors:
        assert torch.equal(found.tensor(f"bert.{name}"), before.tensor(name))


def test_a_bundle_becomes_a_tensorflow_classifier_that_predicts_the_same(
    world: World, call: Call, tmp_path: Path
) -> None:
    said = call("convert", world.labels, tmp_path / "tf", "--to", "tf")
    assert said.code == 0, said.err
    assert "note: the format does not store label names (neg, pos)" in said.err
    assert "note: recipe.yaml and the other files of the run are not copied from" in said.err.replace("\n", " ")
    assert call("predict", tmp_path / "tf", "good film").code == 0
    texts = ["good film", "awful plot", "the film was dull"]
    mine, other = Bundle.load(world.labels), Bundle.load(tmp_path / "tf")
    assert other.labels == ("LABEL_0", "LABEL_1")
    for one, two in zip(mine.predict(texts), other.predict(texts), strict=True):
        assert one.label is not None
        assert two.label == f"LABEL_{mine.labels.index(one.label)}"


def test_a_tensorflow_directory_trains(tiny_bert: Path, world: World, call: Call, tmp_path: Path) -> None:
    assert call("convert", tiny_bert, tmp_path / "tf", "--to", "tf").code == 0
    said = call(
        *("train", "--model", tmp_path / "tf", "--data", world.folder / "reviews.csv", "--text", "review"),
        *("--label", "sentiment", "--out", tmp_path / "run", "train.length=1 steps", "tokens.max_length=24"),
    )
    assert said.code == 0, said.err
    assert "39 tensors loaded, 2 randomly initialized (head.output" in said.out + said.err
    assert Bundle.load(tmp_path / "run").labels == ("neg", "pos")


def test_names_of_ones_own(tiny_bert: Path, call: Call, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_bert)
    torch.save({name.replace(".", "/"): checkpoint.tensor(name) for name in checkpoint.tensors}, tmp_path / "my.pt")
    names = sorted(
        {name.replace(".layer.0.", ".layer.{n}.").replace(".layer.1.", ".layer.{n}.") for name in checkpoint.tensors}
    )
    table = tmp_path / "names.yaml"
    table.write_text("names:\n" + "".join(f"  bert.{name}: {name.replace('.', '/')}\n" for name in names))
    command = ("convert", tmp_path / "my.pt", tmp_path / "out", "--names", table, "--config", tiny_bert / "config.json")
    said = call(*command)
    assert said.code == 2
    assert "no tokenizer found" in said.err
    said = call(*command, "--tokenizer", tiny_bert)
    assert said.code == 0, said.err
    assert "encoder/layer/{n}/output/dense/weight" in said.out
    said = call(*command, "--tokenizer", tiny_bert)
    assert (said.code, said.err) == (2, f"error: {tmp_path / 'out'}: already exists; choose a new directory.\n")
    table.write_text(table.read_text().replace("pooler/dense/bias", "poler/dense/bias"))
    said = call(*("convert", tmp_path / "my.pt", tmp_path / "two"), *command[3:], "--tokenizer", tiny_bert)
    assert said.code == 2
    assert said.err == (
        f"error: {tmp_path / 'my.pt'}: {table} neither names nor ignores 1 of its 39 tensors (pooler/dense/bias); "
        'did you mean "poler/dense/bias"?\n'
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("flip", "is damaged: its checksum is 0x"),
        ("cut", "is truncated: it has 40,000 bytes, but "),
        ("index", "is damaged (the checksum of the block at byte 0 is 0x"),
        ("gone", "1 of 1 data file missing (bert_model.ckpt.data-00000-of-00001)"),
        ("config", "bert_config.json: cannot be read ("),
        ("vocabulary", "no tokenizer found"),
    ],
)
def test_damage_is_one_sentence(tiny_bert: Path, call: Call, tmp_path: Path, damage: str, message: str) -> None:
    folder = tmp_path / "tf"
    assert call("convert", tiny_bert, folder, "--to", "tf").code == 0
    data, index = folder / "bert_model.ckpt.data-00000-of-00001", folder / "bert_model.ckpt.index"
    if damage in ("flip", "index"):
        path = data if damage == "flip" else index
        content = bytearray(path.read_bytes())
        content[100] ^= 16
        path.write_bytes(content)
    elif damage == "cut":
        data.write_bytes(data.read_bytes()[:40_000])
    elif damage == "config":
        (folder / "bert_config.json").write_text("{")
    else:
        (data if damage == "gone" else folder / "vocab.txt").unlink()
    said = call("convert", folder, tmp_path / "out")
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) == 1
    assert message in said.err
    assert not (tmp_path / "out").exists()


def test_fine_tuned_with_slots(tiny_bert: Path, call: Call, tmp_path: Path) -> None:
    assert call("convert", tiny_bert, tmp_path / "tf", "--to", "tf").code == 0
    whole = open_bundle(tmp_path / "tf" / "bert_model.ckpt")
    state = {name: whole.tensor(name) for name in whole.tensors}
    state |= {"output_weights": torch.randn(3, 24), "output_bias": torch.zeros(3)}
    slots = {f"{name}/adam_{slot}": tensor for name, tensor in state.items() for slot in "mv"}
    run = tmp_path / "run"
    run.mkdir()
    write_bundle(run / "model.ckpt-345", {**state, **slots, "global_step": torch.tensor(345)})
    for name in ("bert_config.json", "vocab.txt"):
        shutil.copy(tmp_path / "tf" / name, run)
    said = call("convert", run, tmp_path / "out")
    assert said.code == 0, said.err
    assert "41 tensors loaded, 83 ignored (" in said.out
    assert ": optimizer state)" in said.out
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"]["2"] == "LABEL_2"
    assert call("predict", tmp_path / "out", "good").out.startswith("LABEL_")


@pytest.mark.real
def test_a_pretrained_model_there_and_back(minilm: Path, call: Call, tmp_path: Path) -> None:
    assert call("convert", minilm, tmp_path / "tf", "--to", "tf").code == 0
    said = call("convert", tmp_path / "tf", tmp_path / "hf")
    assert said.code == 0, said.err
    found, before = open_checkpoint(tmp_path / "hf"), open_checkpoint(minilm)
    names = [name for name in before.tensors if "position_ids" not in name]
    assert len(names) == 103
    for name in names:
        assert torch.equal(found.tensor(f"bert.{name}"), before.tensor(name))
