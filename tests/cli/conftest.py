"""Runs of a tiny model, one for each kind of task, and a way to call the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner
from worlds import SMALL, Call, Said, World, write_files

from bertwright.cli.app import app


@pytest.fixture(scope="session")
def call() -> Call:
    """Run a command in this process: ``call("predict", bundle, "a text", stdin="")``."""

    def run(*arguments: object, stdin: str | bytes = "") -> Said:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, prog_name="bertwright")
        return Said(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def world(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory, call: Call) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_files(folder)

    def train(name: str, *options: str) -> Path:
        shared = ("--model", tiny_bert, "--data", folder / f"{name}.csv", "--out", folder / name, *SMALL)
        said = call("train", *shared, *options)
        assert said.code == 0, said.err
        return folder / name

    return World(
        folder,
        tiny_bert,
        train(
            "reviews", "--text", "review", "--label", "sentiment", "train.learning_rate=1e-2", "train.length=8 epochs"
        ),
        train("pairs", "--text", "a", "--text-pair", "b", "--label", "score", "--task", "regression"),
        train("multi", "--label", "good,long", "--task", "multilabel", "train.length=1 epoch"),
    )
