"""The tables of names and the two directions of config.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.errors import WeightsError
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.heads import ClassificationHead
from bertwright.nn.model import Model
from bertwright.weights.families import FAMILIES, Family
from bertwright.weights.hf_config import (
    ACTIVATION_NAMES,
    build_hf_config,
    find_family,
    parse_encoder_config,
    parse_labels,
    read_config,
)

BERT = FAMILIES["bert"]
SIZES = {
    "vocab_size": 11,
    "hidden_size": 6,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 7,
    "max_position_embeddings": 9,
}
DISTIL_SIZES = {"vocab_size": 11, "dim": 6, "n_layers": 2, "n_heads": 3, "hidden_dim": 7, "max_position_embeddings": 9}


def _sizes(family: Family) -> dict[str, Any]:
    extra = {"embedding_size": 4} if family.model_type == "electra" else {}
    return (DISTIL_SIZES if family.model_type == "distilbert" else SIZES) | extra


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_names_are_a_bijection(family: Family) -> None:
    config = parse_encoder_config(family, _sizes(family))
    model = Model(Encoder(config), ClassificationHead(config.width, 2))
    theirs = [part for name, _ in model.named_parameters() for part in family.hf_names(name)]
    assert len(theirs) == len(set(theirs))
    assert all(family.hf_names(name) for name, _ in model.named_parameters())
    qkv = sum(name.split(".")[-2] == "qkv" for name, _ in model.named_parameters())
    assert len(theirs) == len(list(model.named_parameters())) + 2 * qkv


def test_names_by_hand() -> None:
    assert BERT.hf_names("encoder.layers.10.attention.qkv.bias") == tuple(
        f"bert.encoder.layer.10.attention.self.{part}.bias" for part in ("query", "key", "value")
    )
    assert BERT.hf_names("head.dense.weight") == ("bert.pooler.dense.weight",)
    assert FAMILIES["camembert"].hf_names("head.output.bias") == ("classifier.out_proj.bias",)
    assert FAMILIES["distilbert"].hf_names("encoder.layers.0.down.weight") == (
        "distilbert.transformer.layer.0.ffn.lin2.weight",
    )
    assert FAMILIES["distilbert"].hf_names("encoder.embeddings.segment.weight") == ()
    assert BERT.hf_names("head.0.weight") == ()
    assert BERT.hf_names("head.output.weight", head=None) == ()


def test_config_defaults_are_transformers() -> None:
    assert parse_encoder_config(BERT, SIZES) == EncoderConfig(11, 6, 2, 3, 7, 9)
    assert parse_encoder_config(FAMILIES["roberta"], SIZES) == EncoderConfig(
        11, 6, 2, 3, 7, 9, position_offset=2, pad_id=1
    )
    assert parse_encoder_config(FAMILIES["distilbert"], DISTIL_SIZES) == EncoderConfig(
        11, 6, 2, 3, 7, 9, n_types=0, dropout_after_attention=False
    )
    assert parse_encoder_config(FAMILIES["electra"], SIZES | {"embedding_size": 4}).embedding_width == 4
    assert parse_encoder_config(FAMILIES["electra"], SIZES | {"embedding_size": 6}).embedding_width is None


def test_position_offset_follows_the_padding_id() -> None:
    config = parse_encoder_config(FAMILIES["xlm-roberta"], SIZES | {"pad_token_id": 3})
    assert (config.position_offset, config.pad_id, config.max_length) == (4, 3, 5)


def test_no_padding_token_stays_none() -> None:
    config = parse_encoder_config(BERT, SIZES | {"pad_token_id": None})
    assert config.pad_id == 0
    written = build_hf_config(BERT, config, id2label={0: "a"}, problem_type="regression", base={"pad_token_id": None})
    assert written["pad_token_id"] is None


@given(
    st.sampled_from(sorted(FAMILIES)),
    st.builds(
        EncoderConfig,
        vocab_size=st.integers(1, 99),
        width=st.just(12),
        n_layers=st.integers(0, 5),
        n_heads=st.sampled_from([1, 2, 3]),
        ffn_width=st.integers(1, 50),
        max_positions=st.integers(1, 50),
        activation=st.sampled_from(sorted(set(ACTIVATION_NAMES.values()))),
        dropout=st.floats(0, 1),
        attention_dropout=st.floats(0, 1),
        embedding_width=st.sampled_from([None, 5]),
        pad_id=st.integers(0, 5),
    ),
)
def test_config_there_and_back(name: str, config: EncoderConfig) -> None:
    family = FAMILIES[name]
    if family.position_after_pad:
        config = replace(config, position_offset=config.pad_id + 1)
    if name != "electra":
        config = replace(config, embedding_width=None)
    if name == "distilbert":
        config = replace(config, n_types=0, dropout_after_attention=False)
    written = build_hf_config(family, config, id2label={0: "no", 1: "yes"}, problem_type="single_label_classification")
    assert parse_encoder_config(family, json.loads(json.dumps(written))) == config
    assert find_family(written) is family
    assert parse_labels(json.loads(json.dumps(written))) == ("no", "yes")


def test_written_config_keeps_what_is_inherited_and_nothing_else() -> None:
    base = SIZES | {
        "model_type": "bert",
        "architectures": ["BertForMaskedLM"],
        "torch_dtype": "float16",
        "dtype": "float16",
        "id2label": {"0": "x", "1": "y", "2": "z"},
        "num_labels": 3,
        "auto_map": {"AutoModel": "code.Model"},
        "classifier_dropout": 0.3,
        "hidden_act": "gelu_pytorch_tanh",
        "sep_token_id": 4,
    }
    written = build_hf_config(
        BERT, parse_encoder_config(BERT, base), id2label={0: "n", 1: "p"}, problem_type="regression", base=base
    )
    assert written["architectures"] == ["BertForSequenceClassification"]
    assert (written["id2label"], written["label2id"]) == ({"0": "n", "1": "p"}, {"n": 0, "p": 1})
    assert (written["classifier_dropout"], written["sep_token_id"]) == (0.3, 4)
    assert written["hidden_act"] == "gelu_pytorch_tanh", "the base model's own spelling"
    assert not {"torch_dtype", "dtype", "num_labels", "auto_map"} & set(written)
    assert base["id2label"] == {"0": "x", "1": "y", "2": "z"}, "the base was not changed"
    with pytest.raises(WeightsError, match="problem_type: unknown value 'regresion'; did you mean \"regression\""):
        build_hf_config(BERT, parse_encoder_config(BERT, base), id2label={0: "n"}, problem_type="regresion")


@pytest.mark.parametrize(
    ("family", "config", "rate"),
    [
        ("bert", {"classifier_dropout": 0.3, "hidden_dropout_prob": 0.2}, 0.3),
        ("bert", {"classifier_dropout": None, "hidden_dropout_prob": 0.2}, 0.2),
        ("electra", {"classifier_dropout": 0.0}, 0.0),
        ("roberta", {}, 0.1),
        ("distilbert", {}, 0.2),
        ("distilbert", {"seq_classif_dropout": 0.4, "dropout": 0.9}, 0.4),
    ],
)
def test_dropout_of_the_head(family: str, config: dict[str, Any], rate: float) -> None:
    assert FAMILIES[family].head_dropout(config) == rate


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"model_type": "xlm-roberta"}, "xlm-roberta"),
        ({"architectures": ["RobertaForMaskedLM"]}, "roberta"),
        ({"architectures": ["XLMRobertaModel"]}, "xlm-roberta"),
        ({"architectures": ["Other", "BertForPreTraining"]}, "bert"),
    ],
)
def test_family_of(config: dict[str, Any], name: str) -> None:
    assert find_family(config).model_type == name


def test_unknown_families() -> None:
    with pytest.raises(WeightsError, match=r"x/config.json: unknown model_type 'robeta'; did you mean \"roberta\""):
        find_family({"model_type": "robeta"}, "x/config.json")
    with pytest.raises(WeightsError, match="unknown model_type 'albert'; supported: bert, camembert"):
        find_family({"model_type": "albert"})
    with pytest.raises(WeightsError, match="unknown model_type 'modernbert'"):
        find_family({"model_type": "modernbert"})
    families = "bert, camembert, data2vec-text, distilbert, electra, roberta"
    with pytest.raises(WeightsError, match=rf"lacks model_type; .*known: {families}"):
        find_family({"architectures": ["BertnessModel"]})
    with pytest.raises(WeightsError, match=r"unknown model_type \"\['bert'\]\""):
        find_family({"model_type": ["bert"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key', but only absolute"),
        ({"is_decoder": True}, "is_decoder is True, but only encoders"),
        ({"pruned_heads": {"0": [1]}}, "pruned attention heads"),
        ({"quantization_config": {"bits": 8}}, "quantized weights"),
        ({"hidden_act": "gleu"}, "unknown hidden_act 'gleu'; did you mean \"gelu\""),
        ({"hidden_act": ["gelu"]}, "unknown hidden_act "),
        ({"vocab_size": None}, "lacks vocab_size, which bert needs"),
        ({"hidden_size": "6"}, "hidden_size must be an integer of at least 0, but is '6'"),
        ({"num_hidden_layers": 1.5}, "num_hidden_layers must be an integer"),
        ({"hidden_dropout_prob": -0.1}, "hidden_dropout_prob must be a number of at least 0"),
        ({"num_attention_heads": 4}, r"width must be a multiple of n_heads \(4\)"),
        ({"num_attention_heads": 0}, "num_attention_heads must be at least 1"),
        ({"hidden_size": True}, "hidden_size must be an integer"),
    ],
)
def test_configs_that_are_not_known(change: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError, match=rf"^here: .*{message}"):
        parse_encoder_config(BERT, SIZES | change, "here")


def test_labels() -> None:
    assert parse_labels({}) is None
    assert (
        parse_labels({"id2label": {"1": "b", "0": "a", "10": "k"} | {str(i): str(i) for i in range(2, 10)}})[-1] == "k"
    )
    with pytest.raises(WeightsError, match=r"without gaps, but has \[0, 2\]"):
        parse_labels({"id2label": {"0": "a", "2": "b"}})
    for wrong in (["a"], {"x": "a"}):
        with pytest.raises(WeightsError, match="id2label must map integers to names"):
            parse_labels({"id2label": wrong})


def test_read_config(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no config.json; pass a model directory"):
        read_config(tmp_path)
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "bert"}')
    assert read_config(tmp_path) == {"model_type": "bert"}
    path.write_text("[]")
    with pytest.raises(WeightsError, match="expected a JSON object, found a list"):
        read_config(tmp_path)
    for damaged in (b'{"model', b"\xff\xfe", b""):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"config.json: cannot be read"):
            read_config(tmp_path)
