"""``~`` is the home directory in settings, in arguments and options, and in Python."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from worlds import Call

from bertwright import Bundle, Recipe, fine_tune, read_dataset
from bertwright.cli.app import app
from bertwright.cli.command import NOT_PATHS
from bertwright.config.sections import list_settings
from bertwright.files.atomic import expand_home, write_atomically
from bertwright.recipe import load_recipe
from bertwright.run.report import Report

TINY = ("tokens.max_length=16", "train.length=2 steps", "train.batch_size=8")


@pytest.fixture
def home(tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(tiny_bert, home / "tiny")
    lines = [f"a {('good', 'bad')[i % 2]} film {i},{'ab'[i % 2]}" for i in range(20)]
    (home / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return home


@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        ("~", "/h"),
        ("~/runs", "/h/runs"),
        ("hub:~/saved:train", "hub:/h/saved:train"),
        ("hub:a/b", "hub:a/b"),
        ("runs/~", "runs/~"),
        ("~nobody-by-that-name/x", "~nobody-by-that-name/x"),
    ],
)
def test_expansion(path: str, expanded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert expand_home(path) == expanded


def test_every_setting_that_names_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    keys = [
        *("data.path", "data.train", "data.dev", "data.test", "data.augment.synonym_file"),
        *(
            "data.augment.masked_lm_model",
            "model.base",
            "model.tokenizer",
            "continued_pretraining.corpus",
            "continued_pretraining.general",
        ),
    ]
    assert set(keys) <= {setting.key for setting in list_settings(Recipe)}
    for key in keys:
        pairs = [f"{key}=~/x"]
        if key == "model.tokenizer":
            pairs.append("model.preset=mini")
        value: Any = load_recipe(None, pairs)
        for part in key.split("."):
            value = getattr(value, part)
        assert value == "/h/x", key


def test_every_argument_and_option_that_is_no_text(call: Call, home: Path) -> None:
    """Whatever is opened or written, nothing called ~ is looked for or made."""

    def commands(command: Any, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
        if not hasattr(command, "commands"):
            return [(words, command)]
        return [pair for name, sub in command.commands.items() for pair in commands(sub, (*words, name))]

    checked = 0
    for _, command in commands(get_command(app)):
        context = command.make_context("x", [], resilient_parsing=True)
        for param in command.get_params(context):
            multiple = param.nargs == -1 or param.multiple
            context.params[param.name] = ["~/x"] if multiple else "~/x"
        command._expand_home(context)
        for param in command.get_params(context):
            values = context.params[param.name]
            expected = "~/x" if param.metavar in NOT_PATHS else f"{home}/x"
            assert values == ([expected] if isinstance(values, list) else expected), param.name
            checked += 1
    assert checked > 50


def test_on_the_command_line(call: Call, home: Path) -> None:
    said = call("train", "--model=~/tiny", "--data=~/rows.csv", "--out=~/runs/a", *TINY)
    assert said.code == 0, said.err
    assert (home / "runs" / "a" / "config.json").exists()
    said = call("train", "model.base=~/tiny", "data.train=~/rows.csv", "data.dev=~/rows.csv", "--out=~/runs/b", *TINY)
    assert said.code == 0, said.err
    assert call("evaluate", "~/runs/a", "--data=~/rows.csv", "--json=~/scores.json").code == 0
    assert (home / "scores.json").exists()
    assert call("predict", "~/runs/a", "--input=~/rows.csv", "--output=~/answers.csv").code == 0
    assert (home / "answers.csv").exists()
    assert "~/a text" in call("predict", "~/runs/a", "~/a text").out
    assert call("inspect", "~/runs/a").code == 0
    assert call("compare", "~/runs/a", "~/runs/b", "--data=~/rows.csv").code == 0
    assert call("recipe", "copy", "sst2", "~/mine.yaml").code == 0
    assert (home / "mine.yaml").exists()
    assert list(Path().iterdir()) == []


def test_in_python(home: Path) -> None:
    recipe = Recipe(model={"base": "~/tiny"}, data={"train": "~/rows.csv"}, train={"length": "2 steps"})
    recipe = recipe.replace(tokens=recipe.tokens.replace(max_length=16))
    fine_tune(recipe, "~/runs/c", data={"dev": Path("~/rows.csv")})
    assert Bundle.load("~/runs/c").report == Report.load(Path("~/runs/c"))
    assert len(read_dataset("~/rows.csv")) == len(read_dataset(Path("~/rows.csv"))) == 20
    assert write_atomically("~/note.txt", "x") == home / "note.txt"
    assert list(Path().iterdir()) == []
