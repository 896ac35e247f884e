"""Help, version, recipes, usage errors: quick, and without torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from worlds import Call, World

from bertwright.cli import main

COMMANDS = [
    "train",
    "check",
    "evaluate",
    "predict",
    "select",
    "inspect",
    "sweep",
    "learning-curve",
    "compare",
    "convert",
]
RECIPE_COMMANDS = ["list", "show", "copy", "keys", "schema"]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), *(["recipe", n] for n in RECIPE_COMMANDS)])
def test_help_fits_80_columns_and_has_examples(call: Call, command: list[str]) -> None:
    said = call(*command, "--help")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert f"\n  bertwright {' '.join(command)}" in said.out.partition("Example")[2]
    assert "<str>" not in said.out


def test_help_of_train_lists_the_keys_people_set_with_their_defaults(call: Call) -> None:
    out = call("train", "-h").out
    assert "train.learning_rate  auto " in out
    assert "train.length         auto " in out
    assert "null" not in out


def test_help_of_a_fresh_process_imports_nothing_slow() -> None:
    slow = "torch transformers datasets pandas sklearn matplotlib numpy pydantic rich"
    code = (
        "import sys; sys.argv = ['bertwright', '--help']\n"
        "from bertwright.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([name for name in {slow.split()} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_predicting_imports_none_of_the_heavy_extras(world: World) -> None:
    code = (
        f"import sys; sys.argv = ['bertwright', 'predict', {str(world.labels)!r}, 'good', '--threads', '1']\n"
        "from bertwright.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print([n for n in ['sklearn', 'pandas', 'datasets', 'pyarrow', 'matplotlib', 'scipy'] if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_as_a_module_and_by_version() -> None:
    command = [sys.executable, "-m", "bertwright", "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.startswith("bertwright 0.")


@pytest.mark.parametrize(("argument", "shown"), [("list", "warning: old\n"), ("--debug", "UserWarning: old\n")])
def test_the_entry_point(
    argument: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bertwright", "recipe", "list", *([argument] if argument != "list" else [])])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert "sst2 " in capsys.readouterr().out
    assert shown in warnings.formatwarning(UserWarning("old"), UserWarning, "x.py", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["predict"], "Missing argument 'MODEL'"),
        (["evaluate", "x"], "Missing option '--data'"),
        (["predict", "x", "--outptu", "y"], "No such option: --outptu"),
        (["predict", "x", "y", "--precision", "int8"], "'int8' is not one of"),
    ],
)
def test_usage_errors(call: Call, arguments: list[str], message: str) -> None:
    said = call(*arguments)
    assert said.code == 2
    assert message in said.err
    assert said.out == ""


def test_recipes(call: Call, tmp_path: Path) -> None:
    listed = call("recipe", "list").out
    assert "sst2 " in listed
    assert "BERT-base on SST-2" in listed
    assert "base: bert-base-uncased" in call("recipe", "show", "sst2").out
    assert call("recipe", "show", "sst3").err == 'error: sst3: is not a shipped recipe; did you mean "sst2"?\n'

    copy = tmp_path / "my.yaml"
    assert f"train {copy} --out DIR" in call("recipe", "copy", "sst2", copy).out
    again = call("recipe", "copy", "sst2", copy)
    assert (again.code, again.err) == (2, f"error: {copy}: already exists; choose another name or remove it.\n")


def test_schema(call: Call, tmp_path: Path) -> None:
    printed = call("recipe", "schema").out
    assert json.loads(printed)["properties"]["seed"]["default"] == 42
    call("recipe", "schema", tmp_path / "s.json")
    assert (tmp_path / "s.json").read_text(encoding="utf-8") == printed


def test_keys(call: Call) -> None:
    every = call("recipe", "keys").out
    assert "train.learning_rate = auto\n    Peak learning rate" in every
    some = call("recipe", "keys", "learning").out
    blocks = some.split("\n\n") if "\n\n" in some else re.split(r"\n(?=\S)", some.rstrip("\n"))
    assert all(block in every for block in blocks)
    assert "seed" not in some
    assert "matches no key; did you mean" in call("recipe", "keys", "trian.length").err
