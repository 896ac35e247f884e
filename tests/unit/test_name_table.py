"""Tables of names: rules with layers, splits, transposition, reasons; strict in both directions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from bertwright.errors import RecipeError, WeightsError
from bertwright.tools.convert import convert
from bertwright.weights.checkpoint_files import from_state_dict, open_checkpoint
from bertwright.weights.name_table import (
    NameTable,
    check_all_named,
    list_shipped_tables,
    load_name_table,
    translate_names,
)

OWN = """\
prefixes: ["net.", ""]
names:
  bert.embeddings.word_embeddings.weight: emb.words
  bert.embeddings.position_embeddings.weight: emb.places
  bert.embeddings.token_type_embeddings.weight: emb.kinds
  bert.embeddings.LayerNorm: emb.norm
  bert.encoder.layer.{n}.attention.self.query.weight,
  bert.encoder.layer.{n}.attention.self.key.weight,
  bert.encoder.layer.{n}.attention.self.value.weight: blocks.{n}.in_proj_weight
  bert.encoder.layer.{n}.attention.self.query.bias,
  bert.encoder.layer.{n}.attention.self.key.bias,
  bert.encoder.layer.{n}.attention.self.value.bias: blocks.{n}.in_proj_bias
  bert.encoder.layer.{n}.attention.output.dense: blocks.{n}.out_proj
  bert.encoder.layer.{n}.attention.output.LayerNorm: blocks.{n}.norm1
  bert.encoder.layer.{n}.intermediate.dense.weight: blocks.{n}.w1
  bert.encoder.layer.{n}.intermediate.dense.bias: blocks.{n}.b1
  bert.encoder.layer.{n}.output.dense.weight: blocks.{n}.w2
  bert.encoder.layer.{n}.output.dense.bias: blocks.{n}.b2
  bert.encoder.layer.{n}.output.LayerNorm: blocks.{n}.norm2
transpose: ["*.w[12]"]
ignore:
  "*.position_ids": a buffer
"""
# YAML has no keys over several lines but in quotes
OWN = OWN.replace(",\n  bert", ", bert")


def own_state(folder: Path) -> dict[str, Tensor]:
    """The tensors of a BERT's directory under names of one's own: fused projections, (inputs, outputs) matrices."""
    checkpoint = open_checkpoint(folder)
    state = {name: checkpoint.tensor(name) for name in checkpoint.tensors}
    state = {name.removeprefix("bert."): tensor for name, tensor in state.items() if "pooler" not in name}
    found = {
        "net.emb.words": state["embeddings.word_embeddings.weight"],
        "net.emb.places": state["embeddings.position_embeddings.weight"],
        "net.emb.kinds": state["embeddings.token_type_embeddings.weight"],
        "net.emb.norm.weight": state["embeddings.LayerNorm.weight"],
        "net.emb.norm.bias": state["embeddings.LayerNorm.bias"],
        "net.position_ids": torch.arange(4),
    }
    for n in range(2):
        layer = f"encoder.layer.{n}."
        for leaf in ("weight", "bias"):
            parts = [state[f"{layer}attention.self.{part}.{leaf}"] for part in ("query", "key", "value")]
            found[f"net.blocks.{n}.in_proj_{leaf}"] = torch.cat(parts)
            found[f"net.blocks.{n}.out_proj.{leaf}"] = state[f"{layer}attention.output.dense.{leaf}"]
            found[f"net.blocks.{n}.norm1.{leaf}"] = state[f"{layer}attention.output.LayerNorm.{leaf}"]
            found[f"net.blocks.{n}.norm2.{leaf}"] = state[f"{layer}output.LayerNorm.{leaf}"]
        found[f"net.blocks.{n}.w1"] = state[f"{layer}intermediate.dense.weight"].T.contiguous()
        found[f"net.blocks.{n}.b1"] = state[f"{layer}intermediate.dense.bias"]
        found[f"net.blocks.{n}.w2"] = state[f"{layer}output.dense.weight"].T.contiguous()
        found[f"net.blocks.{n}.b2"] = state[f"{layer}output.dense.bias"]
    return found


@pytest.fixture
def own(tiny_bert: Path, tmp_path: Path) -> Path:
    """A directory with mine.safetensors, names.yaml, config.json."""
    save_file(own_state(tiny_bert), tmp_path / "mine.safetensors")
    (tmp_path / "names.yaml").write_text(OWN)
    (tmp_path / "config.json").write_text((tiny_bert / "config.json").read_text())
    return tmp_path


def _convert(own: Path, tiny_bert: Path, file: str = "mine.safetensors") -> Path:
    convert(own / file, own / "out", names=own / "names.yaml", tokenizer=tiny_bert)
    return own / "out"


def test_names_of_ones_own_give_the_same_tensors(own: Path, tiny_bert: Path) -> None:
    found, expected = open_checkpoint(_convert(own, tiny_bert)), open_checkpoint(tiny_bert)
    names = {name for name in expected.tensors if "pooler" not in name}
    assert set(found.tensors) == {f"bert.{name.removeprefix('bert.')}" for name in names}
    for name in names:
        assert torch.equal(found.tensor(f"bert.{name.removeprefix('bert.')}"), expected.tensor(name)), name


def test_a_file_of_torch_with_any_suffix(own: Path, tiny_bert: Path) -> None:
    torch.save(own_state(tiny_bert), own / "mine.pt")
    assert open_checkpoint(_convert(own, tiny_bert, "mine.pt")).tensors


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "blocks.{n}.norm2",
            "blocks.{n}.nrom2",
            r"names.yaml neither names nor ignores 4 of its 30 tensors \(net.blocks.0.norm2.bias, .* and 1 more\); "
            r'did you mean "blocks.0.nrom2.weight"\?',
        ),
        ('"*.position_ids": a buffer', '"*.x": no', r"ignores 1 of its 30 tensors \(net.position_ids\); "),
        (
            "  bert.encoder.layer.{n}.output.dense.bias: blocks.{n}.b2\n",
            "  head.{n}.bias: blocks.{n}.b2\n",
            r"2 of the encoder's 37 tensors missing \(bert.encoder.layer.0.output.dense.bias, .*"
            "the name table has no entry for bert.encoder.layer.0.output.dense.bias",
        ),
        ("emb.kinds", "emb.places", r"neither names nor ignores 1 of its 30 tensors \(net.emb.kinds\)"),
        (
            'transpose: ["*.w[12]"]',
            "transpose: []",
            r"net.blocks.0.w1 has shape \(24, 40\), but bert.encoder.layer.0.i",
        ),
        (
            "output.dense.bias: blocks.{n}.b2",
            "intermediate.dense.bias: blocks.{n}.b2",
            r"names.yaml:14: duplicate key names.*, first in line 12",
        ),
        (
            "blocks.{n}.b1",
            "blocks.b1",
            r"names.yaml:12: bert.encoder.layer.\{n\}.intermediate.dense.bias: blocks.b1 has",
        ),
        ("prefixes", "prefix", r'names.yaml:1: prefix is unknown; did you mean "prefixes"\?'),
        ("emb.words", "7", r"names.yaml:3: .* must be text; found 7"),
    ],
)
def test_a_wrong_table_is_told(own: Path, tiny_bert: Path, old: str, new: str, message: str) -> None:
    text = (own / "names.yaml").read_text()
    assert old in text
    (own / "names.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises((WeightsError, RecipeError), match=message):
        _convert(own, tiny_bert)
    assert not (own / "out").exists()


def test_a_tensor_that_the_file_lacks(own: Path, tiny_bert: Path) -> None:
    state = own_state(tiny_bert)
    state["net.blocks.1.bias2"] = state.pop("net.blocks.1.b2")
    save_file(state, own / "mine.safetensors")
    (own / "names.yaml").write_text(OWN + '  "*.bias2": by mistake\n')
    with pytest.raises(
        WeightsError,
        match=r"1 of the encoder's 37 tensors missing \(bert.encoder.layer.1.output.dense.bias\); "
        r"the name table maps it to blocks.1.b2; did you mean",
    ):
        _convert(own, tiny_bert)


def test_rows_that_do_not_split(own: Path, tiny_bert: Path) -> None:
    state = own_state(tiny_bert)
    state["net.blocks.0.in_proj_bias"] = torch.ones(70)
    save_file(state, own / "mine.safetensors")
    with pytest.raises(
        WeightsError, match=r"in_proj_bias has 70 rows, which cannot be split into 3 equal parts \(bert.encoder"
    ):
        _convert(own, tiny_bert)


def test_two_of_one_name(own: Path, tiny_bert: Path) -> None:
    save_file(own_state(tiny_bert) | {"emb.words": torch.ones(2)}, own / "mine.safetensors")
    with pytest.raises(
        WeightsError, match=r"the table maps both emb.words and .*emb.words to bert.embeddings.word_embeddings.weight"
    ):
        _convert(own, tiny_bert)


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    assert list_shipped_tables() == ("cerebras", "tensorflow")
    with pytest.raises(RecipeError, match=r'cerebra: is neither a file nor a .* did you mean "cerebras"\?'):
        load_name_table("cerebra")
    with pytest.raises(RecipeError, match=r"names\.yaml: no such file; check the path"):
        load_name_table(tmp_path / "names.yaml")


@pytest.mark.parametrize("name", ["cerebras", "tensorflow"])
def test_shipped_tables_are_two_way(name: str) -> None:
    table = load_name_table(name)
    for rule in table.rules:
        example = rule.example()
        (ours,) = [one for one in table.hf_names(example) if rule.file_name_of(one[0]) == example] or [()]
        assert ours, rule
        assert table.file_name(ours[0]) == example


@given(st.integers(0, 10**6))
def test_layers_keep_their_numbers(n: int) -> None:
    table = NameTable(names={"a.{n}.b": "x_{n}/y", "c.{n}.{n}": "z{n}{n}"})
    assert table.hf_names(f"x_{n}/y.bias") == [(f"a.{n}.b.bias",)]
    assert table.file_name(f"a.{n}.b.weight") == f"x_{n}/y.weight"
    assert table.hf_names(f"z{n}{n}.bias") == [(f"c.{n}.{n}.bias",)]
    assert table.hf_names(f"z{n}{n + 1}x.bias") == []


def test_a_checkpoint_translated_by_hand() -> None:
    table = NameTable(
        names={"p.weight, q.weight": "pq", "r": "s"}, transpose=("pq",), ignore={"*/adam": "optimizer state"}
    )
    state = {"pq": torch.arange(12.0).reshape(3, 4), "s.bias": torch.ones(1), "pq/adam": torch.ones(1)}
    found = translate_names(from_state_dict(state, "memory"), table)
    assert found.tensors["q.weight"].shape == (2, 3)
    assert found.tensor("q.weight").tolist() == [[2, 6, 10], [3, 7, 11]]
    assert found.tensor("r.bias").tolist() == [1]
    assert found.ignored == {"pq/adam": "optimizer state"}
    assert found.origins["q.weight"] == "pq"
    check_all_named(found, table, "it")


# --- Cerebras


def cerebras_state(state: dict[str, Tensor], prefix: str, bert: str) -> dict[str, Tensor]:
    """A state dict of transformers' BERT under the names of the Model Zoo, spelled out by hand (FIELD.md, 4.6)."""
    found = {}
    for name, tensor in state.items():
        for old, new in (
            ("bert.embeddings.LayerNorm", f"{bert}embed_ln_f"),
            ("bert.embeddings.token_type_embeddings", f"{bert}embedding_layer.segment_embeddings"),
            ("bert.embeddings", f"{bert}embedding_layer"),
            ("bert.encoder.layer", f"{bert}transformer_encoder.layers"),
            ("attention.self.query", "self_attn.proj_q_dense_layer"),
            ("attention.self.key", "self_attn.proj_k_dense_layer"),
            ("attention.self.value", "self_attn.proj_v_dense_layer"),
            ("attention.output.dense", "self_attn.proj_output_dense_layer"),
            ("attention.output.LayerNorm", "norm1"),
            ("intermediate.dense", "ffn.ffn.0.linear_layer"),
            ("output.dense", "ffn.ffn.1.linear_layer"),
            ("output.LayerNorm", "norm2"),
            ("bert.pooler.dense", f"{bert}pooler.pooler.ffn.0.linear_layer"),
            ("cls.predictions.transform.dense", "bert_mlm_head.mlm_transform.ffn.ffn.0.linear_layer"),
            ("cls.predictions.transform.LayerNorm", "bert_mlm_head.mlm_transform.ln"),
            ("cls.predictions.bias", "bert_mlm_head.classifier.ffn.0.linear_layer.bias"),
            ("cls.seq_relationship", "bert_cls_head.classifier.ffn.0.linear_layer"),
            ("qa_outputs", "classifier"),
        ):
            name = name.replace(old, new)
        found[prefix + name] = tensor.clone()
    return found


@pytest.mark.parametrize("prefix", ["model.", ""])
@pytest.mark.parametrize(
    ("suffix", "bert"),
    [
        ("ForPreTraining", "bert_encoder."),
        ("ForSequenceClassification", "bert."),
        ("ForTokenClassification", "bert."),
        ("ForQuestionAnswering", "bert."),
        ("Model", ""),
    ],
)
def test_cerebras_checkpoints(tiny_bert: Path, tmp_path: Path, suffix: str, bert: str, prefix: str) -> None:
    import transformers

    torch.manual_seed(2)
    config = transformers.BertConfig(**json.loads((tiny_bert / "config.json").read_text()), num_labels=2)
    config.architectures = [f"Bert{suffix}"]
    theirs = getattr(transformers, f"Bert{suffix}")(config).eval()
    for parameter in theirs.parameters():
        parameter.data.normal_(0, 0.3)
    state = {
        name: tensor for name, tensor in theirs.state_dict().items() if "decoder" not in name and "_ids" not in name
    }
    named = cerebras_state(
        {("bert." if suffix == "Model" else "") + name: t for name, t in state.items()}, prefix, bert
    )
    if suffix == "ForPreTraining":  # the output layer is saved with them
        words = f"{prefix}bert_mlm_head.classifier.ffn.0.linear_layer.weight"
        named[words] = state["bert.embeddings.word_embeddings.weight"].clone()
    torch.save(named, tmp_path / "checkpoint.pt")
    config.to_json_file(tmp_path / "c.json")
    done = convert(
        tmp_path / "checkpoint.pt", tmp_path / "out", names="cerebras", config=tmp_path / "c.json", tokenizer=tiny_bert
    )
    assert done.architecture == f"Bert{suffix}"
    assert done.report.counts["ignored"] == (suffix == "ForPreTraining")
    opened, info = getattr(transformers, f"Bert{suffix}").from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    assert all(torch.equal(tensor, state[name]) for name, tensor in opened.state_dict().items() if name in state)
    ids = torch.tensor([[2, 7, 9, 30, 3]])
    with torch.no_grad():
        for mine, other in zip(opened.eval()(ids).to_tuple(), theirs(ids).to_tuple(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_an_output_layer_of_its_own_is_not_lost(tiny_bert: Path, tmp_path: Path) -> None:
    import transformers

    config = transformers.BertConfig.from_pretrained(tiny_bert)
    state = transformers.BertForPreTraining(config).state_dict()
    state = cerebras_state(
        {name: tensor for name, tensor in state.items() if "decoder" not in name}, "", "bert_encoder."
    )
    output = "bert_mlm_head.classifier.ffn.0.linear_layer.weight"
    torch.save(state | {output: torch.ones(config.vocab_size, 24)}, tmp_path / "x.pt")
    config.to_json_file(tmp_path / "config.json")
    with pytest.raises(
        WeightsError, match=rf"{output} differs from the word embedding.*set tie_word_embeddings to false"
    ):
        convert(tmp_path / "x.pt", tmp_path / "out", names="cerebras", tokenizer=tiny_bert)
    config.tie_word_embeddings = False
    config.to_json_file(tmp_path / "config.json")
    convert(tmp_path / "x.pt", tmp_path / "out", names="cerebras", tokenizer=tiny_bert)
    assert open_checkpoint(tmp_path / "out").tensor("cls.predictions.decoder.weight").sum() == config.vocab_size * 24
