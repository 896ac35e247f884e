"""What a run prints from Python and on the command line: by default, quietly, with and without a terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bertwright.output import progress
from bertwright.output.progress import LineSchedule, RowProgress, can_redraw
from bertwright.recipe import Recipe
from bertwright.run.bundle import Bundle
from bertwright.run.display import RunDisplay
from bertwright.run.events import TrainingStarted, Working
from bertwright.run.train import train
from bertwright.training.loop import Step
from bertwright.weights.loading import LoadingReport

ROWS = [("a good film", "pos"), ("a bad plot", "neg")] * 20


@pytest.fixture
def recipe(tiny_bert: Path) -> Recipe:
    return Recipe(
        model={"base": str(tiny_bert)},
        tokens={"max_length": 16},
        train={"length": "10 steps", "batch_size": 8, "learning_rate": 1e-2, "threads": 1, "precision": "fp32"},
    )


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE", progress.KERNEL_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)


def test_a_run_from_python_prints_and_writes_what_the_command_does(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipe, tmp_path / "run", data={"train": ROWS, "dev": ROWS[:8]})
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert any(line.startswith("device   cpu") for line in lines)
    steps = [line for line in lines if line.startswith("step ")]
    assert [line.split()[1] for line in steps] == [str(step) for step in range(1, 11)]
    pattern = r"step 5 of 10 \(50%\)  loss \d\.\d{4}  learning rate \S+  [\d,]+ examples/s  \d+ s left"
    assert re.fullmatch(pattern, steps[4])
    assert "dev · 8 examples" in said.err
    card = (tmp_path / "run" / "README.md").read_text()
    assert "![learning curve](learning_curve.png)" in card
    assert "![confusion](confusion.png)" in card
    assert lines[-1] == f"bundle {tmp_path / 'run'}, learning_curve.png, confusion.png"
    for name in ("learning_curve.png", "confusion.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")


def test_quiet_prints_nothing_and_writes_the_same_files(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[Any] = []
    bundle = train(
        recipe, tmp_path / "run", data={"train": ROWS, "dev": ROWS[:8]}, quiet=True, listeners=[heard.append]
    )
    bundle.predict(["a good film"])
    bundle.evaluate(ROWS, quiet=True)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
    assert sum(isinstance(event, Step) for event in heard) == 10
    assert (tmp_path / "run" / "learning_curve.png").exists()


def test_a_run_that_fails_gives_the_terminal_back(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = terminal()
    monkeypatch.setattr("bertwright.run.train.stderr_console", lambda: screen)

    def stop(event: object) -> None:
        if isinstance(event, Step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", data={"train": ROWS, "dev": ROWS[:8]}, listeners=[stop])
    written = screen.file.getvalue()  # type: ignore[attr-defined]
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l") >= 0, "the cursor is shown again"


def test_without_matplotlib_the_run_says_so(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    bundle = train(recipe, tmp_path / "run", data={"train": ROWS, "dev": ROWS[:8]})
    assert "warning: no plots: plots: matplotlib is not installed" in capsys.readouterr().err
    assert bundle.report is not None
    assert not list((tmp_path / "run").glob("*.png"))


@pytest.mark.parametrize(
    ("variables", "tty", "redraws"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"FORCE_COLOR": "1"}, False, False),  # GitHub Actions, GitLab
        ({"FORCE_COLOR": "1"}, True, True),
        ({"JPY_PARENT_PID": "1"}, True, False),  # `!` in a cell of a notebook
        ({"JPY_PARENT_PID": "1", "FORCE_COLOR": "1"}, True, False),
    ],
)
def test_where_a_bar_can_be_redrawn(
    variables: dict[str, str], tty: bool, redraws: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return tty

    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert can_redraw(Console(file=Stream())) is redraws


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_has_a_bar_with_ipywidgets(widgets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda name: object() if widgets and name == "ipywidgets" else None)
    monkeypatch.setenv(progress.KERNEL_VARIABLE, "1")
    assert can_redraw(Console(file=io.StringIO(), force_jupyter=True)) is widgets


def pace(total: int, seconds: list[float], done: int = 0) -> LineSchedule:
    clock = iter([0.0, *seconds])
    return LineSchedule(total, done, clock=lambda: next(clock))


def test_a_line_every_tenth_or_minute() -> None:
    fast = pace(100, [0.1] * 100)
    assert [step for step in range(1, 101) if fast.should_print(step)] == list(range(10, 101, 10))
    slow = pace(1000, [20.0 * step for step in range(1, 10)])
    assert [step for step in range(1, 10) if slow.should_print(step)] == [3, 6, 9]
    short = pace(3, [0.1] * 3)
    assert [step for step in range(1, 4) if short.should_print(step)] == [1, 2, 3]
    resumed = pace(100, [0.1] * 50, done=55)
    assert [step for step in range(56, 101) if resumed.should_print(step)] == [60, 70, 80, 90, 100]


def test_slow_work_before_training_prints_a_line_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    written = io.StringIO()
    shown = RunDisplay(Console(file=written, width=80), 16)
    for done in range(0, 200, 10):
        now = float(done)
        shown(Working("tokenising train", done, 400))
    assert written.getvalue().splitlines() == [
        "tokenising train: 60 of 400, 5 min 40 s left",
        "tokenising train: 120 of 400, 4 min 40 s left",
        "tokenising train: 180 of 400, 3 min 40 s left",
    ]


def test_rows_without_a_terminal_print_a_line_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for quiet, expected in ((False, ["predicting: 6,000 of 9,000"]), (True, [])):
        written, now = io.StringIO(), 0.0
        with RowProgress(Console(file=written, width=80), 9000, "predicting", quiet) as bar:
            for done in range(1000, 9000, 1000):
                now = done / 100
                bar.update(done)
        assert written.getvalue().splitlines() == expected


def test_many_rows_from_python_show_progress(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(recipe, tmp_path / "run", data={"train": ROWS, "dev": ROWS[:8]}, quiet=True)
    bundle = Bundle.load(tmp_path / "run")
    monkeypatch.setattr(progress, "BAR_DELAY", -1.0)
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: bundle.predict(["a film"] * 5), "predicting"),
        (lambda: bundle.evaluate(ROWS), "evaluating"),
    ]
    for call, word in calls:
        screen = terminal()
        monkeypatch.setattr("bertwright.output.progress.stderr_console", lambda screen=screen: screen)
        call()
        assert word in screen.file.getvalue()  # type: ignore[attr-defined]


def test_a_line_of_progress_is_one_line_on_a_narrow_console(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    shown = RunDisplay(Console(file=written, width=40), 16)
    loading = LoadingReport("tiny", "bert", ())
    shown(TrainingStarted(2000, 0, "cpu", loading, (10, 10), {}))
    written.truncate(0)
    written.seek(0)
    rate = shown._rate
    monkeypatch.setattr(rate, "_clock", lambda: rate._began + 100)
    shown(Step(200, 0.5, 0.25, 1.23456e-5, 1.0, examples=32, tokens=400, seconds=0.5))
    # one line, however narrow the console
    assert written.getvalue() == (
        "step 200 of 2,000 (10%)  loss 0.2500  learning rate 1.23e-5  64 examples/s  15 min 0 s left\n"
    )
