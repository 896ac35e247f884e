"""``bertwright learning-curve`` as one types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from worlds import SMALL, Call, World

from bertwright.cli import learning_curve as command
from bertwright.sweep.learning_curve import run_learning_curve
from bertwright.sweep.trial import Emit, Event, Job, run_job


class InProcess:
    """Runs trials in this process, which costs no imports."""

    def run(self, job: Job, tell: Emit) -> Event:
        return run_job(job, tell)

    def stop(self) -> None:
        """Nothing is left running."""


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "run", lambda *args, **more: run_learning_curve(*args, runner=InProcess(), **more))


@pytest.fixture
def base(world: World, tmp_path: Path) -> tuple[Any, ...]:
    """The arguments of a curve on a file that is sorted by label."""
    lines = (world.folder / "reviews.csv").read_text(encoding="utf-8").splitlines()
    file = tmp_path / "sorted.csv"
    file.write_text("\n".join([lines[0], *sorted(lines[1:], key=lambda line: line[-3:])]) + "\n", encoding="utf-8")
    columns = ("--text", "review", "--label", "sentiment")
    return "--model", world.base, "--data", file, *columns, *SMALL, "train.learning_rate=1e-2", "train.length=4 epochs"


def test_a_curve_on_a_sorted_file(base: tuple[Any, ...], call: Call, tmp_path: Path) -> None:
    out = tmp_path / "curve"
    said = call("learning-curve", *base, "--sizes", "all,10,30", "--seeds", 2, "--out", out)
    assert said.code == 0, said.err
    lines = said.err.splitlines()
    assert lines[0] == "curve  6 trials, scored by accuracy on dev"
    assert lines[1].startswith("0000  train_rows=10 seed=42  accuracy ")
    assert not any("best" in line for line in lines)
    assert "accuracy on dev by number of training rows, mean ± std over 2 seeds" in said.out
    table = [line.split() for line in said.out.splitlines() if line.strip() and line.split()[0] in ("10", "30", "77")]
    assert [(row[0], row[3]) for row in table] == [("10", "2"), ("30", "2"), ("77", "2")]
    assert "\nestimate   " in said.out
    assert f"files      {out}/learning_curve.json, learning_curve_over_rows.png\n" in said.out
    written = json.loads((out / "learning_curve.json").read_text(encoding="utf-8"))
    assert [f"{point['mean']:.4f}" for point in written["points"]] == [row[1] for row in table]
    report = json.loads((out / "trials" / "0000" / "report.json").read_text(encoding="utf-8"))
    assert report["labels"] == ["neg", "pos"]
    assert not [note for note in report["notes"] if "every row has the label" in note]

    again = call("learning-curve", "--resume", "--out", out)
    assert again.code == 0, again.err
    assert "6 trials, 6 already finished" in again.err
    assert again.out == said.out
    assert "keep: all" not in (out / "sweep.yaml").read_text(encoding="utf-8")
    assert call("learning-curve", "--resume", "--keep-weights", "--out", out).code == 0
    assert "keep: all" in (out / "sweep.yaml").read_text(encoding="utf-8")
    other = call("learning-curve", *base, "--sizes", "10,30", "--seeds", 2, "--resume", "--out", out)
    assert (other.code, "the sweep was started with other settings (vary " in other.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sizes", "10,ten"], '--sizes: expected numbers of rows and all, such as 100,200,all; found "ten".'),
        (["--sizes", "0"], 'found "0"'),
        (["--sizes", "10,10"], "--sizes: 10 rows are given twice; remove one of them."),
        (["--sizes", "77,all"], "--sizes: 77 rows are given twice"),
        (["--sizes", "78"], "--sizes: 78 rows are more than the 77 training rows that remain after the hold-out split"),
        (["seed=0..2"], "seed=0..2: learning-curve varies only the number of rows and the seed; use --sizes"),
        (["data.train_rows=5"], "data.train_rows: a learning curve sets it itself"),
        (["train.batch_sise=8"], 'did you mean "batch_size"'),
    ],
)
def test_what_is_wrong_is_reported_before_anything_is_written(
    words: list[str], message: str, base: tuple[Any, ...], call: Call, tmp_path: Path
) -> None:
    said = call("learning-curve", *base, *words, "--out", tmp_path / "curve")
    assert said.code == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "curve").exists()


def test_directories_that_are_refused(base: tuple[Any, ...], call: Call, tmp_path: Path) -> None:
    assert "learning-curve: --out is missing; add --out DIR." in call("learning-curve", *base).err
    refused = call("learning-curve", "--resume", "--out", tmp_path)
    assert (refused.code, "contains no learning curve to resume" in refused.err) == (2, True)
    full = call("learning-curve", *base, "--sizes", "10", "--out", tmp_path)
    assert (full.code, "already exists and is not empty" in full.err) == (2, True)
    assert call("learning-curve", *base, "--seeds", 0, "--out", tmp_path / "c").code == 2


def test_ctrl_c_prints_how_to_continue(
    base: tuple[Any, ...], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "my curve"

    def stop(*_: Any, **__: Any) -> None:
        out.mkdir()
        (out / "sweep.yaml").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", stop)
    said = call("learning-curve", *base, "--sizes", "10", "--out", out)
    assert said.code == 130
    assert f"stopped; continue with `bertwright learning-curve --resume --out '{out}'`" in said.err
