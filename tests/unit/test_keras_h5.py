"""transformers' TensorFlow weights, tf_model.h5, in the layout Keras gives them, without TensorFlow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from bertwright.errors import MissingDependencyError, WeightsError
from bertwright.run.bundle import Bundle
from bertwright.weights.checkpoint_files import open_checkpoint
from bertwright.weights.pretrained import open_pretrained
from bertwright.weights.tf.keras_h5 import open_h5, torch_name
from tiny import TINY, VOCABULARY

h5py = pytest.importorskip("h5py")

SIZES = {key: value for key, value in TINY.items() if key != "initializer_range"}
DISTILBERT = {
    "vocab_size": len(VOCABULARY), "dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 40,
    "max_position_embeddings": 96,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "BertForPreTraining": SIZES,
    "BertForSequenceClassification": SIZES | {"num_labels": 3},
    "BertModel": SIZES,
    "RobertaForSequenceClassification": SIZES | {"type_vocab_size": 1, "pad_token_id": 0},
    "RobertaForMaskedLM": SIZES | {"type_vocab_size": 1, "pad_token_id": 0},
    "DistilBertForSequenceClassification": DISTILBERT,
    "DistilBertForMaskedLM": DISTILBERT,
}


def keras_names(key: str, model: str) -> tuple[str, str]:
    """The group and the variable that transformers' TensorFlow class gives a tensor of its PyTorch class."""
    words = key.replace(".layer.", ".layer|").split(".")
    if words[0] == "cls":
        words[0] = "nsp___cls" if words[1] == "seq_relationship" else "mlm___cls"
    module, leaf = words[-2], words[-1]
    norm = module.lower().endswith(("layernorm", "layer_norm"))
    if module in ("position_embeddings", "token_type_embeddings"):
        words[-1] = "embeddings"
    elif module == "word_embeddings":
        words[-1] = "weight"
    elif leaf == "weight":
        words[-1] = "gamma" if norm else "kernel"
    elif norm:
        words[-1] = "beta"
    return words[0], f"{model}/{'/'.join(words)}:0".replace("|", "_._")


def write_h5(path: Path, state: dict[str, torch.Tensor], model: str) -> None:
    """Weights as ``save_weights`` of Keras lays them out: a group for each layer, its variables named in attributes."""
    names: dict[str, list[str]] = {}
    with h5py.File(path, "w") as file:
        for key, tensor in state.items():
            group, name = keras_names(key, model)
            names.setdefault(group, []).append(name)
            value = tensor.numpy().T if name.endswith("/kernel:0") else tensor.numpy()
            file.require_group(group).create_dataset(name, data=np.ascontiguousarray(value))
        for group, saved in names.items():
            file[group].attrs["weight_names"] = [name.encode() for name in saved]
        file.create_group("dropout_37").attrs["weight_names"] = np.zeros(0)
        file.attrs["layer_names"] = [name.encode() for name in (*names, "dropout_37")]
        file.attrs["backend"] = b"tensorflow"


def saved(folder: Path, case: str) -> Any:
    """A directory with config.json, a tokenizer and tf_model.h5, of a model with random weights; the model."""
    torch.manual_seed(3)
    family = case.partition("For")[0].removesuffix("Model")
    config = getattr(transformers, f"{family}Config")(**CASES[case])
    theirs = getattr(transformers, case)(config).eval()
    for parameter in theirs.parameters():  # biases and norms start at 0 and 1, where mistakes do not show
        parameter.data.normal_(0, 0.3)
    folder.mkdir()
    config.architectures = [case]
    config.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    prefix = "" if "For" in case else "bert."
    state = {prefix + key: t for key, t in theirs.state_dict().items() if "_ids" not in key and "decoder" not in key}
    if "MaskedLM" in case:
        state.pop("vocab_projector.weight", None)
    write_h5(folder / "tf_model.h5", state, f"tf_{case}")
    return theirs, state


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_is_found_under_its_name(tmp_path: Path, case: str) -> None:
    _, state = saved(tmp_path / "m", case)
    found = open_checkpoint(tmp_path / "m")
    assert set(found.tensors) == set(state)
    for name, tensor in state.items():
        assert found.tensors[name].shape == tuple(tensor.shape), name
        assert torch.equal(found.tensor(name), tensor), name
    assert found.source.endswith("tf_model.h5")


@pytest.mark.parametrize("case", [case for case in CASES if "Classification" in case])
def test_fine_tuned_models_predict(tmp_path: Path, case: str) -> None:
    theirs, _ = saved(tmp_path / "m", case)
    bundle = Bundle.load(tmp_path / "m")
    encodings = bundle.base.tokenizer.encode(["a great film ."], max_length=20)
    with torch.no_grad():
        expected = theirs(torch.tensor(encodings.ids).long()[None]).logits
    torch.testing.assert_close(torch.as_tensor(bundle.scores(encodings)), expected, rtol=1e-5, atol=1e-5)


def test_names_by_hand() -> None:
    for name, expected in (
        ("bert/encoder/layer_._0/attention/self/query/kernel:0", "bert.encoder.layer.0.attention.self.query.weight"),
        ("mlm___cls/predictions/bias:0", "cls.predictions.bias"),
        ("distilbert/transformer/layer_._5/sa_layer_norm/beta:0", "distilbert.transformer.layer.5.sa_layer_norm.bias"),
        ("lm_head/layer_norm/gamma:0", "lm_head.layer_norm.weight"),
        ("bert/embeddings/word_embeddings/weight:0", "bert.embeddings.word_embeddings.weight"),
        ("bert/embeddings/position_embeddings/embeddings:0", "bert.embeddings.position_embeddings.weight"),
    ):
        assert torch_name(f"tf_some_model/{name}") == expected
    assert torch_name("kernel:0") == "weight"


def test_half_precision(tmp_path: Path) -> None:
    write_h5(tmp_path / "tf_model.h5", {"bert.pooler.dense.weight": torch.ones(2, 3).half()}, "tf_bert_model")
    found = open_h5(tmp_path / "tf_model.h5")
    assert found.tensor("bert.pooler.dense.weight").dtype == torch.float16


def test_damage(tmp_path: Path) -> None:
    path = tmp_path / "tf_model.h5"
    write_h5(path, {"bert.pooler.dense.weight": torch.randn(300, 300)}, "tf_bert_model")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"tf_model.h5: is damaged, truncated or not saved by Keras \(.*truncated"):
        open_h5(path)
    path.write_bytes(b"x" * 5000)
    with pytest.raises(WeightsError, match="is damaged, truncated or not saved by Keras"):
        open_h5(path)
    with h5py.File(path, "w") as file:
        file.create_group("bert")
    with pytest.raises(WeightsError, match="contains no Keras weights"):
        open_h5(path)


def test_values_that_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "tf_model.h5"
    write_h5(path, {"bert.a.bias": torch.ones(2, dtype=torch.int16)}, "tf_bert_model")
    with pytest.raises(WeightsError, match=r"bert/tf_bert_model/bert/a/bias:0 is of type int16; save it in float32"):
        open_h5(path)
    write_h5(path, {"other___cls.a.bias": torch.ones(2), "cls.a.bias": torch.ones(2)}, "tf_bert_model")
    with pytest.raises(WeightsError, match=r"a/bias:0 both map to cls.a.bias"):
        open_h5(path)


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "tf_model.h5"
    write_h5(path, {"bert.a.bias": torch.ones(2)}, "tf_bert_model")
    found = open_h5(path)
    path.unlink()
    with pytest.raises(WeightsError, match=r"bert/tf_bert_model/bert/a/bias:0 cannot be read"):
        found.tensor("bert.a.bias")


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "m", "BertModel")
    monkeypatch.setitem(sys.modules, "h5py", None)
    for open_model in (open_checkpoint, open_pretrained):
        with pytest.raises(
            MissingDependencyError, match=r"tf_model.h5: h5py is not installed; run `pip install 'bertwrigh"
        ):
            open_model(tmp_path / "m")
