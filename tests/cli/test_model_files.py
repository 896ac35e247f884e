"""Model files with values of a wrong type or size: one sentence with file, key, value and what is expected; exit 2."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bertwright.cli.app import app
from bertwright.errors import BundleError, TokenizerError, WeightsError
from bertwright.run.report import Report
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.weights.checkpoint_files import open_checkpoint
from tiny import make_tiny_bert

CONFIG, TOKENIZER = "config.json", "tokenizer_config.json"
SPECIAL, ADDED = "special_tokens_map.json", "added_tokens.json"


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[str, dict[str, Any]], str]:
    """Inspect a tiny BERT one of whose JSON files has other values; the one error line."""

    def inspect(file: str, changes: dict[str, Any]) -> str:
        folder = make_tiny_bert(tmp_path / "model")
        path = folder / file
        values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(json.dumps(values | changes), encoding="utf-8")
        result = CliRunner().invoke(app, ["inspect", str(folder)], prog_name="bertwright")
        assert result.exit_code == 2, result.output
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"error: {path}: "), line
        return line

    return inspect


@pytest.mark.parametrize(
    ("file", "key", "value", "expected"),
    [
        (CONFIG, "architectures", 7, "must be a list of texts or null; found 7."),
        (CONFIG, "architectures", [None], "architectures.0 must be text; found null."),
        (CONFIG, "architectures", "BertModel", "must be a list of texts"),
        (CONFIG, "model_type", ["bert"], 'must be text or null; found ["bert"].'),
        (CONFIG, "id2label", ["a", "b"], "must be a mapping of text to text, a whole number or a number or null"),
        (CONFIG, "id2label", {"0": None}, "id2label.0 must be text, a whole number or a number; found null."),
        (CONFIG, "id2label", {"0": "\ud800"}, "is not valid UTF-8 (it contains U+D800)"),
        (CONFIG, "num_labels", 2**31, "must be a whole number of at least 1 and of at most 1000000"),
        (CONFIG, "num_labels", True, "must be a whole number"),
        (CONFIG, "problem_type", 1, "must be text or null; found 1;"),
        (CONFIG, "tie_word_embeddings", "yes", "must be true or false or null"),
        (CONFIG, "classifier_dropout", [0.1], "must be a number of at least 0 and of at most 1 or null"),
        (CONFIG, "classifier_dropout", float("nan"), "must be a number"),
        (CONFIG, "hidden_size", 2**31, "must be at most 2147483647, but is 2147483648"),
        (CONFIG, "vocab_size", 2**70, "must be at most 2147483647"),
        (CONFIG, "layer_norm_eps", 1e308, "must be at most 1.0, but is 1e+308"),
        (CONFIG, "hidden_dropout_prob", float("inf"), "must be at most 1.0, but is inf"),
        (CONFIG, "pad_token_id", 93, "must be below vocab_size"),
        (CONFIG, "vocab_size", 0, "must be at least 1, but is 0."),
        (TOKENIZER, "do_lower_case", "true", 'must be true or false or null; found "true".'),
        (TOKENIZER, "strip_accents", 0.5, "must be true or false or null; found 0.5."),
        (TOKENIZER, "tokenizer_class", [], "must be text or null; found []."),
        (TOKENIZER, "model_input_names", "input_ids", 'must be a list of texts or null; found "input_ids".'),
        (TOKENIZER, "cls_token", ["[CLS]"], "must be text, an object whose content is text or null"),
        (TOKENIZER, "sep_token", {"text": "x"}, "sep_token.content is missing; it must be text."),
        (TOKENIZER, "pad_token", "\udfff", "is not valid UTF-8 (it contains U+DFFF)"),
        (TOKENIZER, "added_tokens_decoder", {"x": {"content": "a"}}, "found the id 'x'"),
        (TOKENIZER, "added_tokens_decoder", {"3": "a"}, "must be an object whose content is text"),
        (TOKENIZER, "added_tokens_decoder", {"3": {"content": 4}}, "added_tokens_decoder.3.content must be text"),
        (SPECIAL, "mask_token", 103, "must be text, an object whose content is text or null; found 103;"),
        (ADDED, "<x>", "93", 'must be a whole number of at least 0; found "93".'),
    ],
)
def test_a_wrong_value(
    file: str, key: str, value: Any, expected: str, refused: Callable[[str, dict[str, Any]], str]
) -> None:
    line = refused(file, {key: value})
    assert key in line
    assert expected in line


def test_several_wrong_values_are_one_sentence(refused: Callable[[str, dict[str, Any]], str]) -> None:
    assert "(1 more in this file)" in refused(CONFIG, {"problem_type": 1, "architectures": 2})


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "3", '{"a": ' + "9" * 5000 + "}", "\0", ""])
@pytest.mark.parametrize("file", [CONFIG, TOKENIZER, SPECIAL, ADDED])
def test_not_an_object(file: str, text: str, tmp_path: Path) -> None:
    folder = make_tiny_bert(tmp_path / "model")
    (folder / file).write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["inspect", str(folder)], prog_name="bertwright")
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert f"error: {folder / file}: " in line


def test_a_tokenizer_file_on_which_the_library_panics(tmp_path: Path) -> None:
    folder = make_tiny_bert(tmp_path / "model")
    Tokenizer.load(folder).save(folder)
    values = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    values["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    (folder / "tokenizer.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"tokenizer.json: cannot be read \("):
        Tokenizer.load(folder)


def test_an_index_of_shards_that_names_itself(tmp_path: Path) -> None:
    folder = make_tiny_bert(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    name = "model.safetensors.index.json"
    (folder / name).write_text(json.dumps({"weight_map": {"a": name}}), encoding="utf-8")
    with pytest.raises(WeightsError, match=f"is not an index of shards .it names {name} as a shard"):
        open_checkpoint(folder)


def test_a_count_in_a_report_that_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"data": {"train": {"rows": "many"}}}', encoding="utf-8")
    with pytest.raises(BundleError, match=r"damaged \(data: .*rows of train must be a number; found 'many'"):
        Report.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "weights"),
    [
        ("num_hidden_layers", 100_000, "has 2 layers"),
        ("num_hidden_layers", 3, "has 2 layers"),
        ("hidden_size", 3 * 2**20, "has 24 in encoder.layer.0.attention.output.LayerNorm.weight"),
        ("vocab_size", 2**31 - 1, "has 74 in embeddings.word_embeddings.weight"),
        ("intermediate_size", 10**9, "has 40 in encoder.layer.0.intermediate.dense.weight"),
        ("max_position_embeddings", 10**9, "has 96 in embeddings.position_embeddings.weight"),
        ("type_vocab_size", 10**9, "has 2 in embeddings.token_type_embeddings.weight"),
    ],
)
def test_sizes_that_the_weights_lack_are_refused_before_a_module_is_built(
    key: str, value: int, weights: str, refused: Callable[[str, dict[str, Any]], str]
) -> None:
    start = time.monotonic()
    line = refused(CONFIG, {key: value})
    assert f"{key} is {value}, but " in line
    assert weights in line
    assert line.endswith("use the config.json that belongs to the weights.")
    assert time.monotonic() - start < 20


def test_layers_that_start_fresh_are_allowed_within_reason(tmp_path: Path, reviews: Path) -> None:
    folder = make_tiny_bert(tmp_path / "model")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    for layers, code in ((4, 0), (100_000, 2)):
        (folder / CONFIG).write_text(json.dumps(config | {"num_hidden_layers": layers}), encoding="utf-8")
        command = [
            "check",
            "--model",
            str(folder),
            "--data",
            str(reviews),
            "model.strict=false",
            "tokens.max_length=32",
        ]
        result = CliRunner().invoke(app, command, prog_name="bertwright")
        assert result.exit_code == code, result.output
