"""Converting models: what is kept, what is refused, and that nothing half-written is left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bertwright.errors import BertwrightError, OutputError, TokenizerError, WeightsError
from bertwright.run.bundle import Bundle
from bertwright.tools.convert import ConversionReport, convert
from bertwright.weights.checkpoint_files import open_checkpoint
from bertwright.weights.hf_config import read_config
from bertwright.weights.tf.tensor_bundle import open_bundle, write_bundle
from tiny import VOCABULARY, make_tiny_bert


def model(folder: Path, suffix: str = "ForPreTraining", case: str = "Bert", **config: Any) -> Path:
    """A directory of transformers with random weights, a head and a tokenizer."""
    import transformers

    make_tiny_bert(folder)
    torch.manual_seed(1)
    settings = {**json.loads((folder / "config.json").read_text()), **config}
    settings.pop("architectures")
    theirs = getattr(transformers, case + suffix)(getattr(transformers, f"{case}Config")(**settings)).eval()
    for parameter in theirs.parameters():  # biases and norms start at 0 and 1, where mistakes do not show
        parameter.data.normal_(0, 0.3)
    theirs.save_pretrained(folder)
    return folder


def tensors(folder: Path) -> dict[str, Tensor]:
    found = open_checkpoint(folder)
    return {name: found.tensor(name) for name in found.tensors}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


@pytest.mark.parametrize(
    ("suffix", "config"),
    [
        ("Model", {}),
        ("ForMaskedLM", {}),
        ("ForPreTraining", {}),
        ("ForSequenceClassification", {"num_labels": 3, "problem_type": "single_label_classification"}),
        ("ForQuestionAnswering", {}),
    ],
)
def test_there_and_back_bit_for_bit(tmp_path: Path, suffix: str, config: dict[str, Any]) -> None:
    source = model(tmp_path / "source", suffix, **config)
    first = convert(source, tmp_path / "hf")
    assert first.architecture == f"Bert{suffix}"
    state = tensors(tmp_path / "hf")
    expected = tensors(source)
    if suffix == "Model":
        expected = {f"bert.{name}": tensor for name, tensor in expected.items()}
    assert same(state, expected)
    convert(tmp_path / "hf", tmp_path / "tf", to="tf")
    assert sorted(path.name for path in (tmp_path / "tf").iterdir()) == [
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
        "vocab.txt",
    ]
    convert(tmp_path / "tf", tmp_path / "again")
    assert (tmp_path / "hf/model.safetensors").read_bytes() == (tmp_path / "again/model.safetensors").read_bytes()
    before, after = read_config(tmp_path / "hf"), read_config(tmp_path / "again")
    for key in ("architectures", "hidden_size", "num_hidden_layers", "hidden_act", "layer_norm_eps", "model_type"):
        assert before[key] == after[key]
    assert len(after.get("id2label", ())) == (3 if "Sequence" in suffix else 0)


def test_the_tensorflow_layout_has_googles_names(tmp_path: Path) -> None:
    source = model(tmp_path / "source")
    convert(source, tmp_path / "tf", to="tf")
    found, state = open_bundle(tmp_path / "tf" / "bert_model.ckpt"), tensors(source)
    kernel = found.tensor("bert/encoder/layer_1/intermediate/dense/kernel")
    assert kernel.shape == (24, 40)
    assert torch.equal(kernel.T, state["bert.encoder.layer.1.intermediate.dense.weight"])
    assert torch.equal(found.tensor("cls/seq_relationship/output_weights"), state["cls.seq_relationship.weight"])
    assert torch.equal(found.tensor("cls/predictions/output_bias"), state["cls.predictions.bias"])
    assert "bert/embeddings/word_embeddings" in found.tensors
    config = json.loads((tmp_path / "tf" / "bert_config.json").read_text())
    assert config["hidden_size"] == 24
    assert config["do_lower_case"] is True
    assert "layer_norm_eps" not in config
    lines = (tmp_path / "tf" / "vocab.txt").read_text().splitlines()
    assert len(lines) == len(VOCABULARY)
    for i, word in enumerate(VOCABULARY):
        assert lines[i] == word or word in VOCABULARY[i + 1 :], "of two tokens that are equal the last counts"


def test_precision_is_kept(tmp_path: Path) -> None:
    source = model(tmp_path / "source")
    state = {name: tensor.to(torch.bfloat16) for name, tensor in tensors(source).items()}
    save_file(state, source / "model.safetensors", {"format": "pt"})
    convert(source, tmp_path / "tf", to="tf")
    convert(tmp_path / "tf", tmp_path / "hf")
    assert same(load_file(tmp_path / "hf" / "model.safetensors"), state)


@pytest.mark.parametrize(
    ("case", "suffix", "config"),
    [
        ("Roberta", "ForMaskedLM", {"type_vocab_size": 1, "pad_token_id": 0}),
        ("Roberta", "ForSequenceClassification", {"type_vocab_size": 1, "pad_token_id": 0}),
        ("DistilBert", "ForMaskedLM", {"dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 40}),
        ("DistilBert", "ForTokenClassification", {"dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 40}),
        ("Electra", "ForMaskedLM", {"embedding_size": 8}),
        ("Bert", "ForTokenClassification", {"id2label": {0: "O", 1: "B-x", 2: "I-x"}}),
        ("Bert", "ForMultipleChoice", {}),
        ("Bert", "ForNextSentencePrediction", {}),
        ("Electra", "ForPreTraining", {"embedding_size": 8}),
    ],
)
def test_other_families_and_heads(tmp_path: Path, case: str, suffix: str, config: dict[str, Any]) -> None:
    source = model(tmp_path / "source", suffix, case, **config, model_type=case.lower())
    done = convert(source, tmp_path / "hf")
    assert same(tensors(source), tensors(tmp_path / "hf"))
    assert done.architecture == f"{case}{suffix}"
    if suffix == "ForTokenClassification" and case == "Bert":
        assert read_config(tmp_path / "hf")["label2id"] == {"O": 0, "B-x": 1, "I-x": 2}


def test_old_pytorch_files(tmp_path: Path) -> None:
    """gamma and beta, position ids, the tied decoder once more, DataParallel's prefix: bert-base of 2019."""
    source = model(tmp_path / "source")
    state = tensors(source)
    old = {
        "module." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for name, t in state.items()
    }
    old["module.bert.embeddings.position_ids"] = torch.arange(96)
    old["module.cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"].clone()
    old["module.cls.predictions.decoder.bias"] = old["module.cls.predictions.bias"]
    (source / "model.safetensors").unlink()
    torch.save(old, source / "pytorch_model.bin")
    done = convert(source, tmp_path / "hf")
    assert same(tensors(tmp_path / "hf"), state)
    assert done.report.counts == {"loaded": 0, "renamed": 46, "randomly initialized": 0, "ignored": 3}
    summary = done.report.summary()
    assert "a buffer, not a weight" in summary
    assert "a copy of the word embedding or its bias" in summary
    assert not done.report.unknown
    assert 'prefix "module." removed, gamma changed to weight (6)' in summary
    assert not done.moves()
    del old["module.cls.predictions.bias"]
    torch.save(old, source / "pytorch_model.bin")
    convert(source, tmp_path / "bias")
    assert same(tensors(tmp_path / "bias"), state), "the bias lies beside the decoder alone"


def test_what_nobody_knows_is_told(tmp_path: Path) -> None:
    source = model(tmp_path / "source", "Model")
    state = tensors(source) | {"head.output.weight": torch.ones(2, 24), "mystery": torch.ones(3)}
    save_file(state, source / "model.safetensors")
    report = convert(source, tmp_path / "hf").report
    assert [row.source_name for row in report.unknown] == ["mystery"]
    assert "a custom head" in report.summary()


def refused(source: Path, *args: Any, **kwargs: Any) -> str:
    """What a conversion is refused with; nothing must be left of it."""
    goal = source.parent / "out"
    with pytest.raises(BertwrightError) as found:
        convert(source, goal, *args, **kwargs)
    assert not goal.exists()
    assert not list(source.parent.glob(".partial*"))
    return str(found.value)


def _changed(folder: Path, **config: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_hidden_layers": 3}, "16 of the encoder's 53 tensors missing (bert.encoder.layer.2."),
        ({"intermediate_size": 41}, "bert.encoder.layer.0.intermediate.dense.weight has shape (40, 24), but "),
        ({"model_type": "brt"}, "unknown model_type 'brt'; did you mean \"bert\"?"),
    ],
)
def test_a_config_of_another_model(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    source = model(tmp_path / "source")
    _changed(source, **config)
    assert message in refused(source)


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    source = model(tmp_path / "source", "ForSequenceClassification", num_labels=3)
    _changed(source, id2label={"0": "a", "1": "b"})
    assert "id2label names 2 labels, but the head in" in refused(source)


def test_adapters_are_refused(tmp_path: Path) -> None:
    source = model(tmp_path / "source", "Model")
    save_file(tensors(source) | {"encoder.layers.0.x.lora_a": torch.ones(2)}, source / "model.safetensors")
    assert "contains LoRA adapters" in refused(source)


def test_two_spellings_of_one_tensor(tmp_path: Path) -> None:
    source = model(tmp_path / "source")
    save_file(tensors(source) | {"module.bert.pooler.dense.bias": torch.ones(24)}, source / "model.safetensors")
    assert "both map to bert.pooler.dense.bias; remove one of them" in refused(source)


@pytest.mark.parametrize(
    ("suffix", "case", "config", "message"),
    [
        ("ForTokenClassification", "Bert", {}, "google-research/bert does not support a BertForTokenClassification"),
        ("Model", "Roberta", {"type_vocab_size": 1, "model_type": "roberta"}, "does not support a RobertaModel"),
        ("Model", "Bert", {"hidden_act": "silu"}, "does not support the activation silu"),
        (
            "ForMaskedLM",
            "Bert",
            {"tie_word_embeddings": False},
            "does not support the tensors cls.predictions.decoder.w",
        ),
    ],
)
def test_what_googles_layout_cannot_hold(
    tmp_path: Path, suffix: str, case: str, config: dict[str, Any], message: str
) -> None:
    said = refused(model(tmp_path / "source", suffix, case, **config), to="tf")
    assert said.startswith("--to tf: ")
    assert message in said


def test_a_tokenizer_that_vocab_txt_cannot_hold(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    source = model(tmp_path / "source")
    convert(source, tmp_path / "hf")
    path = tmp_path / "hf" / "tokenizer.json"
    backend = Tokenizer.from_file(str(path))
    backend.normalizer = None
    backend.save(str(path))
    assert "the tokenizer is not a BERT tokenizer, which vocab.txt requires" in refused(tmp_path / "hf", to="tf")


def test_what_is_lost_in_googles_layout_is_told(tmp_path: Path) -> None:
    source = model(tmp_path / "source", "ForSequenceClassification", id2label={0: "neg", 1: "pos"}, layer_norm_eps=1e-5)
    notes = convert(source, tmp_path / "tf", to="tf").notes
    assert any("layer_norm_eps is 1e-05, but google-research/bert always uses 1e-12" in note for note in notes)
    assert any("does not store label names (neg, pos)" in note for note in notes)
    assert read_config(tmp_path / "tf")["layer_norm_eps"] == 1e-5


def test_places_that_are_taken(tmp_path: Path) -> None:
    source = model(tmp_path / "source", "Model")
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match="full: already exists; choose a new directory"):
        convert(source, full)
    with pytest.raises(OutputError, match=r"thesis.txt: already exists"):
        convert(source, full / "thesis.txt")
    (full / "thesis.txt").unlink()
    assert convert(source, full).directory == full
    with pytest.raises(OutputError, match=r"--to: unknown format 'tff'; did you mean \"tf\"\?"):
        convert(source, tmp_path / "x", to="tff")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = model(tmp_path / "source", "Model")

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bertwright.weights.tf.checkpoint.write_bundle", full)
    assert "no space left on the device" in refused(source, to="tf")


def test_what_is_missing_beside_the_weights(tmp_path: Path) -> None:
    source = model(tmp_path / "source", "Model")
    config = source / "config.json"
    (source / "vocab.txt").unlink()
    (source / "tokenizer_config.json").unlink()
    assert "no tokenizer found" in refused(source)
    config.rename(tmp_path / "c.json")
    assert "has no config.json; write one with the sizes of the encoder and pass it as --config" in refused(source)
    assert "cannot be read" in refused(source, config=tmp_path / "nowhere.json")
    (tmp_path / "list.json").write_text("[]")
    assert "expected a JSON object, found a list" in refused(source, config=tmp_path / "list.json")
    with pytest.raises(TokenizerError):
        convert(source, tmp_path / "out", config=tmp_path / "c.json", tokenizer=source)
    other = make_tiny_bert(tmp_path / "other")
    convert(source / "model.safetensors", tmp_path / "out", config=tmp_path / "c.json", tokenizer=other)
    assert open_checkpoint(tmp_path / "out").tensors


def test_one_of_several_tensorflow_checkpoints_is_named_by_its_index(tmp_path: Path) -> None:
    convert(model(tmp_path / "source"), tmp_path / "tf", to="tf")
    write_bundle(tmp_path / "tf" / "model.ckpt-7", {"x": torch.ones(1)})
    with pytest.raises(WeightsError, match="contains 2 TensorFlow checkpoints"):
        convert(tmp_path / "tf", tmp_path / "hf")
    convert(tmp_path / "tf" / "bert_model.ckpt.index", tmp_path / "hf")
    assert same(tensors(tmp_path / "hf"), tensors(tmp_path / "source"))


def test_damage_is_noticed_and_nothing_is_written(tmp_path: Path) -> None:
    convert(model(tmp_path / "source"), tmp_path / "tf", to="tf")
    path = tmp_path / "tf" / "bert_model.ckpt.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    assert "is damaged: its checksum is" in refused(tmp_path / "tf")


def test_a_bundle(tmp_path: Path, done: ConversionReport) -> None:
    assert any("recipe.yaml and the other files of the run are not copied" in note for note in done.notes)
    assert Bundle.load(done.directory).labels == ("bad", "good")


@pytest.fixture
def done(tmp_path: Path) -> ConversionReport:
    """A bundle of a classifier, converted."""
    source = model(tmp_path / "source", "ForSequenceClassification", id2label={0: "bad", 1: "good"})
    bundle = Bundle.load(source).save(tmp_path / "bundle")
    shutil.copy(Path(__file__), bundle / "recipe.yaml")  # whatever it says
    return convert(bundle, tmp_path / "out")
