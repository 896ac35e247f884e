"""The weights that a run keeps of its evaluations: which, that they are those, and what `evaluate` makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from bertwright import Checkpoint, list_checkpoints
from bertwright.cli.app import app
from bertwright.errors import BertwrightError, BundleError, RecipeError
from bertwright.recipe import Recipe
from bertwright.run.bundle import Bundle
from bertwright.run.report import Report
from bertwright.run.train import train

Make = Callable[..., Recipe]


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="bertwright")


@pytest.fixture
def run(recipe: Make, tmp_path: Path) -> Path:
    """Three evaluations, of which all are kept."""
    train(recipe("train.length=3 epochs", "train.keep_checkpoints=all"), tmp_path / "run")
    return tmp_path / "run"


def test_each_is_what_was_evaluated(run: Path) -> None:
    assert names(run) == ["step-000006.safetensors", "step-000012.safetensors", "step-000018.safetensors"]
    report = Report.load(run)
    found = list_checkpoints(run)
    assert [(checkpoint.step, checkpoint.epoch) for checkpoint in found] == [(6, 1.0), (12, 2.0), (18, 3.0)]
    assert [checkpoint.best for checkpoint in found] == [checkpoint.step == report.best["step"] for checkpoint in found]
    assert sum(checkpoint.best for checkpoint in found) == 1
    bundle = Bundle.load(run)
    dev = bundle.recipe and bundle.recipe.data.train  # the dev rows were held out of it
    states = [checkpoint.open().model.state_dict() for checkpoint in found]
    for state, checkpoint in zip(states, found, strict=True):
        same = all(torch.equal(tensor, state[name]) for name, tensor in bundle.model.state_dict().items())
        assert same == checkpoint.best
    assert found[0].open().evaluate(Path(str(dev))).metrics != found[2].open().evaluate(Path(str(dev))).metrics


@pytest.mark.parametrize(("keep", "left"), [("0", []), ("1", [18]), ("2", [12, 18]), ("9", [6, 12, 18])])
def test_the_latest_stay(recipe: Make, tmp_path: Path, keep: str, left: list[int]) -> None:
    train(recipe("train.length=3 epochs", f"train.keep_checkpoints={keep}"), tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    assert folder.exists() == bool(left)
    if left:
        assert names(tmp_path / "run") == [f"step-{step:06d}.safetensors" for step in left]


def test_a_command_measures_them_all(run: Path, reviews: Path, tmp_path: Path) -> None:
    said = call("evaluate", run, "--data", reviews, "--all-checkpoints", "--json", tmp_path / "all.json")
    assert said.exit_code == 0, said.stderr
    figures = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert [line["step"] for line in figures["checkpoints"]] == [6, 12, 18]
    for line, checkpoint in zip(figures["checkpoints"], list_checkpoints(run), strict=True):
        measured = checkpoint.open().evaluate(reviews)
        assert line["metrics"] == {"reviews": pytest.approx(measured.metrics)}
        assert line["best"] == checkpoint.best
        assert line["epoch"] == checkpoint.epoch
        assert len(line["intervals"]["reviews"]["accuracy"]) == 2
    rows = [line.split() for line in said.stdout.splitlines() if line.strip()[:1].isdigit()]
    assert [row[:2] for row in rows] == [["6", "1.00"], ["12", "2.00"], ["18", "3.00"]]
    assert [float(row[2]) for row in rows] == pytest.approx(
        [line["metrics"]["reviews"]["accuracy"] for line in figures["checkpoints"]], abs=1e-4
    )
    assert [row[-2:] == ["*", "best"] for row in rows] == [line["best"] for line in figures["checkpoints"]]
    piped = call("evaluate", run, "--data", reviews, "--all-checkpoints", "--json", "-")
    assert json.loads(piped.stdout) == figures


def test_adapters_are_there_again(recipe: Make, tmp_path: Path, reviews: Path) -> None:
    train(recipe("model.lora={rank: 2}", "train.keep_checkpoints=all"), tmp_path / "run")
    bundle = Bundle.load(tmp_path / "run")
    found = {checkpoint.best: checkpoint.open() for checkpoint in list_checkpoints(tmp_path / "run")}
    for metric, value in bundle.evaluate(reviews).metrics.items():
        assert found[True].evaluate(reviews).metrics[metric] == pytest.approx(value, abs=1e-5)


def test_none_kept_none_found(recipe: Make, tmp_path: Path, reviews: Path) -> None:
    train(recipe("train.length=1 epoch"), tmp_path / "run")
    with pytest.raises(
        BundleError, match=r"checkpoints: contains no checkpoints; train with train\.keep_checkpoints=all"
    ):
        list_checkpoints(tmp_path / "run")
    said = call("evaluate", tmp_path / "run", "--data", reviews, "--all-checkpoints")
    assert (said.exit_code, said.stderr.count("\n")) == (2, 1)


def test_damage_and_misuse_are_told(run: Path, reviews: Path, tmp_path: Path) -> None:
    wrong = run / "checkpoints" / "step-000006.safetensors"
    wrong.write_bytes(wrong.read_bytes()[:100])
    with pytest.raises(BertwrightError, match=r"step-000006\.safetensors: the saved state cannot be read"):
        Checkpoint(run, wrong, 6, 1.0, False).open()
    said = call("evaluate", run, "--data", reviews, "--all-checkpoints", "--predictions", tmp_path)
    assert (said.exit_code, "cannot be combined" in said.stderr) == (2, True)


@pytest.mark.parametrize("value", ["-1", "some", "1.5"])
def test_what_keep_takes(recipe: Make, value: str) -> None:
    with pytest.raises(RecipeError, match=r'train\.keep_checkpoints must be a whole number of at least 0 or "all"'):
        recipe(f"train.keep_checkpoints={value}")
