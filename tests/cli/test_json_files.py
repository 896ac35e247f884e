"""Every JSON file that commands write can be read by any parser, also where metrics are undefined."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from worlds import SMALL, Call, World

from bertwright.cli import sweep as sweeping
from bertwright.sweep.search import sweep as real_sweep
from bertwright.sweep.trial import Emit, Event, Job, run_job

UNDEFINED = "task.metrics=[pearson, mse]"


class ThisProcess:
    """Runs the trials of a sweep in this process, which needs no new imports."""

    def run(self, job: Job, tell: Emit) -> Event:
        return run_job(job, tell)

    def stop(self) -> None:
        """Nothing is left running."""


def refuse(constant: str) -> float:
    pytest.fail(f"{constant} is not JSON")


def parse(text: str) -> Any:
    return json.loads(text, parse_constant=refuse)


def count_nulls(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(count_nulls, value.values()))
    return sum(map(count_nulls, value)) if isinstance(value, list) else value is None


@pytest.fixture
def options(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Regression with dev rows that all have the same target, so that correlations are undefined."""
    monkeypatch.setattr(sweeping, "run", lambda *args, **more: real_sweep(*args, runner=ThisProcess(), **more))
    train, dev = tmp_path / "train.csv", tmp_path / "dev.csv"
    train.write_text("text,score\n" + "".join(f"a film {i},{i / 9}\n" for i in range(24)))
    dev.write_text("text,score\n" + "".join(f"a plot {i},1.5\n" for i in range(6)))
    data = ("--model", str(world.base), "--data", str(train), "--dev", str(dev), "--text", "text", "--label", "score")
    return (*data, "--task", "regression", *SMALL, UNDEFINED, "train.length=2 epochs")


def test_files_of_runs_evaluations_comparisons_and_sweeps(options: tuple[str, ...], call: Call, tmp_path: Path) -> None:
    first, second, dev = tmp_path / "first", tmp_path / "second", tmp_path / "dev.csv"
    commands: list[tuple[Any, ...]] = [
        ("train", *options, "--out", first, "train.keep_checkpoints=all"),
        ("train", *options, "--out", second, "seed=7", "train.schedule=constant"),
        ("evaluate", first, "--data", dev, "--json", tmp_path / "evaluation.json"),
        ("evaluate", first, "--data", dev, "--all-checkpoints", "--json", tmp_path / "checkpoints.json"),
        ("compare", first, second, "--data", dev, "--json", tmp_path / "comparison.json"),
        ("predict", first, "--input", dev, "--output", tmp_path / "predictions.jsonl"),
        ("sweep", *options, "train.metric_for_best_model=mse", "seed=1,2", "--out", tmp_path / "sweep"),
    ]
    for command in commands:
        result = call(*command)
        assert result.code == 0, (command[0], result.err)
    files = [
        path for path in tmp_path.rglob("*") if path.suffix in (".json", ".jsonl") and "sweep.yaml" not in path.name
    ]
    names = {path.name for path in files}
    assert {"report.json", "events.jsonl", "config.json", "evaluation.json", "comparison.json"} <= names
    undefined = set()
    for path in files:
        text = path.read_text(encoding="utf-8")
        values = [parse(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [parse(text)]
        if count_nulls(values):
            undefined.add(path.name)
    written = {"report.json", "events.jsonl", "evaluation.json", "checkpoints.json", "comparison.json"}
    assert written <= undefined, "the correlation is undefined, so these files must have a null"
    with safe_open(second / "checkpoint" / "state.safetensors", framework="pt") as state:
        notes = parse(state.metadata()["notes"])
    assert notes["history"]["evaluations"]
    for printed in ("evaluate", "compare"):
        models = (first, second) if printed == "compare" else (first,)
        assert count_nulls(parse(call(printed, *models, "--data", dev, "--json", "-").out))


def test_undefined_metrics_are_nan_again_when_read(options: tuple[str, ...], call: Call, tmp_path: Path) -> None:
    from bertwright import Report

    assert call("train", *options, "--out", tmp_path / "run").code == 0
    report = Report.load(tmp_path / "run")
    assert math.isnan(report.metrics["dev"]["pearson"])
    assert report.metrics["dev"]["mse"] > 0
