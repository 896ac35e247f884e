"""The tables of names and config.json against transformers: in, out and in again, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bertwright.nn.batch import Batch
from bertwright.nn.encoder import Encoder
from bertwright.nn.heads import ClassificationHead, HeadStyle
from bertwright.nn.model import Model
from bertwright.weights.checkpoint_files import open_checkpoint
from bertwright.weights.families import Family
from bertwright.weights.hf_config import build_hf_config, find_family, parse_encoder_config, parse_labels, read_config
from bertwright.weights.loading import LoadingReport, export_state, head_is_trained, load_into

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 53,
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 21,
}
CASES: dict[str, dict[str, Any]] = {
    "Bert": SIZES | {"classifier_dropout": 0.3},
    "Roberta": SIZES | {"type_vocab_size": 1, "layer_norm_eps": 1e-5},
    "XLMRoberta": SIZES | {"type_vocab_size": 1, "pad_token_id": 3},
    "Camembert": SIZES | {"type_vocab_size": 1, "hidden_act": "gelu_new"},
    "Data2VecText": SIZES | {"type_vocab_size": 1},
    "DistilBert": {
        "vocab_size": 53,
        "dim": 12,
        "n_layers": 3,
        "n_heads": 3,
        "hidden_dim": 17,
        "max_position_embeddings": 21,
        "sinusoidal_pos_embds": True,
    },
    "Electra": SIZES | {"embedding_size": 8, "hidden_act": "silu"},
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _theirs(case: str, suffix: str = "ForSequenceClassification") -> Any:
    torch.manual_seed(len(case))
    config = getattr(transformers, f"{case}Config")(**CASES[case], num_labels=3)
    model = getattr(transformers, case + suffix)(config).eval()
    for parameter in model.parameters():  # biases and norms start at 0 and 1, where mistakes do not show
        parameter.data.normal_(0, 0.2)
    return model


def _ours(folder: Path, n_outputs: int = 3) -> tuple[Model, Family, dict[str, Any], LoadingReport]:
    config = read_config(folder)
    family = find_family(config)
    shape = parse_encoder_config(family, config)
    head = family.heads["classification"]
    rate = family.head_dropout(config)
    model = Model(
        Encoder(shape),
        ClassificationHead(shape.width, n_outputs, HeadStyle(head.activation, rate, head.dropout_before)),
    )
    return model.eval(), family, config, load_into(model, open_checkpoint(folder), family)


def _export(folder: Path, model: Model, family: Family, config: dict[str, Any]) -> None:
    folder.mkdir()
    save_file(export_state(model, family), folder / "model.safetensors", metadata={"format": "pt"})
    labels = dict(enumerate(("bad", "middling", "good")))
    problem = "single_label_classification"
    written = build_hf_config(family, model.encoder.config, id2label=labels, problem_type=problem, base=config)
    (folder / "config.json").write_text(json.dumps(written))


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _reopened(folder: Path) -> Any:
    """Our export as transformers opens it, which has to be without a remark."""
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


@pytest.mark.parametrize("case", CASES)
def test_in_and_out_and_in_again(case: str, tmp_path: Path) -> None:
    theirs = _theirs(case)
    theirs.save_pretrained(tmp_path / "theirs")
    model, family, config, report = _ours(tmp_path / "theirs")
    state = theirs.state_dict()
    assert report.counts == {"loaded": len(state), "renamed": 0, "randomly initialized": 0, "ignored": 0}
    assert head_is_trained(report)
    assert _equal(export_state(model, family), state), "the same names, the same bits"

    _export(tmp_path / "ours", model, family, config)
    again = _reopened(tmp_path / "ours")
    assert type(again) is type(theirs)
    assert _equal(again.state_dict(), state)
    assert again.config.id2label == {0: "bad", 1: "middling", 2: "good"}
    assert again.config.problem_type == "single_label_classification"
    assert again.dtype == torch.float32
    changed = {"id2label", "label2id", "problem_type", "_name_or_path", "architectures", "dtype"}
    before, after = theirs.config.to_dict(), again.config.to_dict()
    assert {k: v for k, v in before.items() if k not in changed} == {k: v for k, v in after.items() if k not in changed}

    reread, *_ = _ours(tmp_path / "ours")
    assert _equal(export_state(reread, family), state)
    assert parse_labels(read_config(tmp_path / "ours")) == ("bad", "middling", "good")


@pytest.mark.parametrize("case", CASES)
def test_same_scores_after_export(case: str, tmp_path: Path) -> None:
    theirs = _theirs(case)
    theirs.save_pretrained(tmp_path / "theirs")
    model, family, config, _ = _ours(tmp_path / "theirs")
    _export(tmp_path / "ours", model, family, config)
    again = _reopened(tmp_path / "ours")
    pad = model.encoder.config.pad_id
    lengths = torch.tensor([7, 1, 11])
    mask = (torch.arange(11) < lengths[:, None]).long()
    ids = torch.randint(5, 53, (3, 11), generator=torch.Generator().manual_seed(0)) * mask + pad * (1 - mask)
    types = (torch.arange(11) >= 4).long() * mask * (model.encoder.config.n_types > 1)
    known = {} if case == "DistilBert" else {"token_type_ids": types}
    with torch.no_grad():
        expected = again(input_ids=ids, attention_mask=mask, **known).logits
        assert torch.equal(expected, theirs(input_ids=ids, attention_mask=mask, **known).logits)
        torch.testing.assert_close(model(Batch.from_features(ids, mask, types)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_without_head_and_prefix(case: str, tmp_path: Path) -> None:
    theirs = _theirs(case, "Model")
    theirs.save_pretrained(tmp_path)
    model, family, _, report = _ours(tmp_path)
    poolers = 2 * ("pooler.dense.weight" in theirs.state_dict())
    fresh = {"head.output.weight", "head.output.bias"}
    if case != "Bert":
        fresh |= {"head.dense.weight", "head.dense.bias"}
    assert {row.name for row in report.rows if row.status == "randomly initialized"} == fresh
    assert report.counts["ignored"] == (0 if case == "Bert" else poolers)
    assert not report.unknown
    assert not head_is_trained(report)
    exported = export_state(model, family)
    for name, tensor in theirs.state_dict().items():
        if case == "Bert" or "pooler" not in name:
            assert torch.equal(exported[f"{family.prefix}.{name}"], tensor), name


@pytest.mark.parametrize(
    ("case", "suffix", "left_out"),
    [
        ("Bert", "ForPreTraining", {"cls.predictions", "cls.seq_relationship"}),
        ("Bert", "ForQuestionAnswering", {"qa_outputs"}),
        ("Roberta", "ForMaskedLM", {"lm_head"}),
        ("Roberta", "ForTokenClassification", {"classifier"}),
        ("XLMRoberta", "ForMaskedLM", {"lm_head"}),
        ("Camembert", "ForMaskedLM", {"lm_head"}),
        ("DistilBert", "ForMaskedLM", {"vocab_transform", "vocab_layer_norm", "vocab_projector"}),
        ("Electra", "ForPreTraining", {"discriminator_predictions"}),
        ("Electra", "ForMaskedLM", {"generator_predictions", "generator_lm_head"}),
    ],
)
def test_other_heads_are_left_out_for_a_known_reason(
    case: str, suffix: str, left_out: set[str], tmp_path: Path
) -> None:
    theirs = _theirs(case, suffix)
    save_file({k: v.clone() for k, v in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    theirs.config.save_pretrained(tmp_path)
    *_, report = _ours(tmp_path)
    names = [row.source_name for row in report.rows if row.status == "ignored"]
    assert names
    assert all(str(name).startswith(tuple(left_out)) for name in names)
    assert not report.unknown
    assert sum(report.counts.values()) - report.counts["randomly initialized"] == len(theirs.state_dict())
    assert not head_is_trained(report)


@pytest.mark.parametrize("kind", ["sharded", "bin", "sharded bin", "float16"])
def test_other_files(kind: str, tmp_path: Path) -> None:
    theirs = _theirs("Bert")
    state = theirs.state_dict()
    if kind == "sharded":
        theirs.save_pretrained(tmp_path, max_shard_size="4KB")
        assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    elif kind == "float16":
        theirs.half().save_pretrained(tmp_path)
        state = {name: tensor.float() for name, tensor in theirs.state_dict().items()}
    else:
        theirs.config.save_pretrained(tmp_path)
        parts = [dict(list(state.items())[:9]), dict(list(state.items())[9:])] if kind == "sharded bin" else [state]
        names = (
            [f"pytorch_model-0000{i + 1}-of-00002.bin" for i in range(2)] if len(parts) > 1 else ["pytorch_model.bin"]
        )
        for part, name in zip(parts, names, strict=True):
            torch.save(part, tmp_path / name)
        if len(parts) > 1:
            weight_map = {key: name for part, name in zip(parts, names, strict=True) for key in part}
            (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    model, family, config, report = _ours(tmp_path)
    assert report.counts["loaded"] == len(state)
    assert _equal(export_state(model, family), state)
    if kind == "float16":
        assert "converted from float16" in report.summary()
        _export(tmp_path / "ours", model, family, config)
        assert _reopened(tmp_path / "ours").dtype == torch.float32


@pytest.mark.real
def test_minilm(minilm: Path, tmp_path: Path) -> None:
    """A really pre-trained file: no prefix, a pooler, and the buffer of 2020."""
    model, family, config, report = _ours(minilm)
    assert report.counts == {"loaded": 0, "renamed": 103, "randomly initialized": 2, "ignored": 1}
    assert report.summary() == (
        "103 tensors loaded, 2 randomly initialized (head.output.weight, head.output.bias), "
        "1 ignored (embeddings.position_ids: position indices, not a weight)\n"
        '103 tensors renamed: prefix "bert." added'
    )
    _export(tmp_path / "ours", model, family, config)
    again = _reopened(tmp_path / "ours")
    ids = torch.tensor([[101, 2023, 3185, 2001, 2307, 102]])
    with torch.no_grad():
        expected = again(input_ids=ids).logits
        torch.testing.assert_close(
            model(Batch.from_features(ids, torch.ones_like(ids))), expected, rtol=1e-5, atol=1e-6
        )
