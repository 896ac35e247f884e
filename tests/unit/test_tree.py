"""YAML with lines, and key=value pairs over it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertwright.config.yaml_tree import (
    Tree,
    apply_overrides,
    dump_scalar,
    format_number,
    load_yaml,
    parse_override,
    parse_yaml,
)
from bertwright.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5), ("1E3", 1000.0), (".5", 0.5), ("1.", 1.0), ("3", 3), ("-3", -3), ("010", 10), ("true", True),
        ("False", False), ("null", None), ("~", None), ("", None), ("no", "no"), ("yes", "yes"), ("on", "on"),
        ("1:30", "1:30"), ("2024-01-31", "2024-01-31"), ("0x10", "0x10"), ("1_000", "1_000"), (".inf", ".inf"),
        ("'3'", "3"), ('"null"', "null"), ("hub:glue/sst2", "hub:glue/sst2"), ("1e5x", "1e5x"), ("=", "="),
        ("[a, 1, 2e-5]", ["a", 1, 2e-5]), ("{a: 1, 0: b}", {"a": 1, "0": "b"}),
    ],
)  # fmt: skip
def test_scalars_are_what_they_look_like(text: str, value: object) -> None:
    read = parse_yaml(f"key: {text}\n").values["key"]
    assert read == value
    assert type(read) is type(value)
    assert parse_override(f"key={text}") == (("key",), value)


def test_every_key_and_item_knows_its_line() -> None:
    tree = parse_yaml("a: 1\nb:\n  c:\n    - 1\n    - d: 2\n", "x.yaml")
    assert tree.values == {"a": 1, "b": {"c": [1, {"d": 2}]}}
    assert tree.where(("a",)) == "x.yaml:1"
    assert tree.where(("b", "c", 1, "d")) == "x.yaml:5"
    assert tree.where(("b", "c", 0, "deeper")) == "x.yaml:4"
    assert tree.where(("nowhere",)) == "x.yaml"
    assert tree.where(("nowhere",), ("a",)) == "x.yaml:1"
    assert Tree({}, "x", {("a", "b"): "a.b=1"}).where(("a",)) == "a.b=1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^x: is empty; write sections"),
        ("# only a comment\n", r"^x: is empty"),
        ("- a\n", r'^x: expected sections such as "data:" and "model:", found a list\.$'),
        ("sst2\n", r'^x: expected sections .* found the text "sst2"\.$'),
        ("a: 1\nb: [1\n", r"^x:3: not valid YAML: .*; check colons, quotes and indentation\.$"),
        ("a:\n\tb: 1\n", r"^x:2: not valid YAML: .*'\\t'"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", r"^x:4: duplicate key b\.c, first in line 3; keep one of them\.$"),
        ("a: &n [1]\nb: *n\n", r"^x:2: .*aliases \(\*name\) are not supported"),
        ("a: !!int 3\n", r"^x:1: .*tags are not supported, found tag:yaml\.org,2002:int"),
        ("a: !x 3\n", r"^x:1: .*tags are not supported, found !x"),
        ("? [a]\n: 1\n", r"^x:1: .*a key must be a scalar"),
        ("a: 1\n---\nb: 1\n", r"^x:2: .*found another document"),
        ("a: 1\nb: \x00\n", r"^x:2: not valid YAML: .*U\+0000"),
        ("[" * 5000, r"^x: is nested too deeply"),
    ],
)
def test_broken_yaml_is_one_sentence_with_its_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        parse_yaml(text, "x")
    assert "\n" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\r\nb: 2\r\n")
    assert load_yaml(good).values == {"a": "é", "b": 2}
    assert load_yaml(good).where(("b",)) == f"{good}:2"
    assert load_yaml(good, "other").name == "other"
    with pytest.raises(RecipeError, match=r"none\.yaml: no such file; check the path\.$"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match=r"is a directory; expected a YAML file\.$"):
        load_yaml(tmp_path)
    with pytest.raises(RecipeError, match=r"cannot be read \(Not a directory\); check"):
        load_yaml(good / "inside.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(RecipeError, match=r"latin\.yaml: is not UTF-8 \(byte 3\); save it as UTF-8\.$"):
        load_yaml(tmp_path / "latin.yaml")


def test_an_override_that_is_no_yaml_is_text() -> None:
    assert parse_override("data.path=[x") == (("data", "path"), "[x")
    assert parse_override("data.path=*x") == (("data", "path"), "*x")
    for mark in ("|", ">", "-", "?", ":", "#", "||", ";", "/", "&"):
        assert parse_override(f"data.label_separator={mark}") == (("data", "label_separator"), mark)
    assert parse_override("data.skip_labels=[-, 1]") == (("data", "skip_labels"), ["-", 1])
    assert parse_override("train.patience=") == (("train", "patience"), None)
    assert parse_override("a=b=c") == (("a",), "b=c")


@pytest.mark.parametrize("pair", ["seed", "=3", "train.=3", ".x=3", "a..b=1", ""])
def test_pairs_without_key_or_value_are_refused(pair: str) -> None:
    with pytest.raises(
        RecipeError, match=r"write (key|section\.name)=value, such as train\.batch_size=16\.$"
    ) as caught:
        parse_override(pair)
    assert str(caught.value).startswith(f"{pair}: ")


def test_overrides_lie_over_the_file() -> None:
    tree = parse_yaml("train: {length: 3 epochs, max_grad_norm: 1}\nlist: [0]\n", "x.yaml")
    merged = apply_overrides(tree, ["train.max_grad_norm=2", "list=[1, 2]", "new.key=a", "train.max_grad_norm=3"])
    assert merged.values == {"train": {"length": "3 epochs", "max_grad_norm": 3}, "list": [1, 2], "new": {"key": "a"}}
    assert merged.where(("train", "max_grad_norm")) == "train.max_grad_norm=3"
    assert merged.where(("list", 0)) == "list=[1, 2]"
    assert merged.where(("train", "length")) == "x.yaml:1"
    assert tree.values["train"]["max_grad_norm"] == 1, "the tree it lies over is as it was"


def test_another_kind_starts_its_section_afresh_whatever_the_order() -> None:
    tree = parse_yaml("task:\n  kind: a\n  labels: [x]\n")
    for pairs in (["task.kind=b", "task.threshold=1"], ["task.threshold=1", "task.kind=b"]):
        assert apply_overrides(tree, pairs).values == {"task": {"kind": "b", "threshold": 1}}
    assert apply_overrides(tree, ["task.kind=a"]).values == tree.values
    assert apply_overrides(parse_yaml("task: {labels: [x]}\n"), ["task.kind=a"]).values["task"]["labels"] == ["x"]


def test_a_key_inside_a_plain_value_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"^a\.b\.c=1: a\.b is not a section; set the value of a\.b itself\.$"):
        apply_overrides(parse_yaml("a: {b: [1]}\n"), ["a.b.c=1"])


@pytest.mark.parametrize(
    ("number", "text"), [(2e-5, "2e-5"), (0.1, "0.1"), (3.0, "3.0"), (1e22, "1e22"), (1.5e-10, "1.5e-10")]
)
def test_numbers_are_written_as_people_do(number: float, text: str) -> None:
    assert format_number(number) == text == dump_scalar(number)
    assert float(text) == number
