"""``bertwright sweep``, and ``train`` with several seeds, as one types them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from worlds import SMALL, Call, World

from bertwright.cli import sweep as sweeping
from bertwright.run.bundle import Bundle
from bertwright.sweep.display import SweepDisplay
from bertwright.sweep.events import SearchProgress, SearchStarted, TrialFinished, WinnerProgress
from bertwright.sweep.leaderboard import TrialResult
from bertwright.sweep.search import sweep as real_sweep
from bertwright.sweep.trial import Emit, Event, Job, run_job


class Here:
    """Runs trials in this process, which costs no imports."""

    def run(self, job: Job, tell: Emit) -> Event:
        return run_job(job, tell)

    def stop(self) -> None:
        """Nothing is left running."""


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "run", lambda *args, **more: real_sweep(*args, runner=Here(), **more))


@pytest.fixture
def base(world: World) -> tuple[Any, ...]:
    return (
        "--model",
        world.base,
        "--data",
        world.folder / "reviews.csv",
        "--text",
        "review",
        "--label",
        "sentiment",
        *SMALL,
    )


def test_a_sweep_shows_a_line_a_trial_and_a_table(base: tuple[Any, ...], call: Call, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    said = call("sweep", *base, "train.learning_rate=1e-2,1e-6", "seed=0..1", "train.length=1 epoch", "--out", out)
    assert said.code == 0, said.err
    lines = said.err.splitlines()
    assert lines[0] == "sweep  4 trials, ranked by accuracy on dev"
    assert [line.split("  ")[0] for line in lines[1:5]] == ["0000", "0001", "0002", "0003"]
    assert "  learning_rate=1e-2 seed=1  accuracy " in lines[2]
    assert "accuracy on dev, mean ± std over 2 seeds\nthe winner is chosen by it" in said.out
    assert "learning_rate=1e-6" in said.out
    assert f"table  {out}/leaderboard.csv, leaderboard.json, leaderboard.png\nbest   {out}/best\n" in said.out
    assert max(map(len, said.out.partition("\n\n")[2].partition("\n\n")[0].splitlines())) <= 80
    assert call("predict", out / "best", "a great film").code == 0

    again = call("sweep", "--resume", "--out", out)
    assert again.code == 0
    assert "4 trials, 4 already finished" in again.err
    assert again.out == said.out
    assert call("sweep", "--resume", "--out", out, "--search", "tpe", "--trials", 3).err.startswith(
        f"error: {out / 'sweep.yaml'}: the sweep was started with other settings (search 'grid' → 'tpe')"
    )


def test_train_takes_several_seeds(base: tuple[Any, ...], call: Call, tmp_path: Path) -> None:
    out = tmp_path / "seeds"
    said = call("train", *base, "seed=0..1", "train.length=1 epoch", "--out", out)
    assert said.code == 0, said.err
    assert "as in the recipe" in said.out
    table = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))
    assert [trial["seed"] for trial in table["rows"][0]["trials"]] == [0, 1]
    best = Bundle.load(out / "best").report
    assert best is not None
    assert best.seed in (0, 1)
    assert not (out / "optuna.db").exists(), "nothing is to be chosen but the best"
    assert "2 already finished" in call("train", "--resume", "--out", out).err

    for words, message in (
        (("seed=0..1", "train.batch_size=8,16"), "train.batch_size=8,16: train accepts several values only for seed"),
        (("seed=0..1", "--tensorboard"), "train: --tensorboard supports a single run; remove it, or use one seed."),
    ):
        refused = call("train", *base, *words, "--out", tmp_path / "no")
        assert (refused.code, message in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.batch_size=16"], "sweep: no setting varies; give one several values"),
        (
            ["train.batch_size=8,16", "--search", "random"],
            "sweep: --trials is missing; set the number of combinations for random",
        ),
        (["train.batch_size=8,16", "--trials", "3"], "sweep: --trials cannot be combined with a grid"),
        (["train.batch_size=8,16", "--refit", "--keep", "none"], "sweep: --refit needs the weights of a model"),
        (["train.batch_size=8,-1"], "train.batch_size=-1: train.batch_size must be"),
        (["train.batch_sise=8,16"], 'did you mean "batch_size"'),
        (["seed=0,1", "--folds", "500"], "96 rows cannot fill 500 folds; use fewer folds."),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(
    words: list[str], message: str, base: tuple[Any, ...], call: Call, tmp_path: Path
) -> None:
    said = call("sweep", *base, *words, "--out", tmp_path / "sweep")
    assert said.code == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


def test_without_a_place(base: tuple[Any, ...], call: Call, tmp_path: Path) -> None:
    assert "sweep: --out is missing; add --out DIR" in call("sweep", *base, "seed=0,1").err
    assert "contains no sweep to resume" in call("sweep", "--resume", "--out", tmp_path).err


@pytest.mark.parametrize("begun", [True, False])
def test_ctrl_c_says_how_to_go_on(
    begun: bool, base: tuple[Any, ...], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "my sweep"

    def stopped(*_: Any, **__: Any) -> None:
        if begun:
            out.mkdir()
            (out / "sweep.yaml").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeping, "run", stopped)
    said = call("sweep", *base, "seed=0,1", "--out", out)
    assert said.code == 130
    expected = f"stopped; continue with `bertwright sweep --resume --out '{out}'`" if begun else "nothing was written"
    assert expected in said.err


def tried(number: int, **more: Any) -> TrialFinished:
    result = TrialResult(number=number, cell=number, settings={"train.batch_size": "8"}, seed=1, **more)
    return TrialFinished(result, number == 0)


def test_the_display_tells_what_is_left() -> None:
    clock, text = [0.0], io.StringIO()
    now: Callable[[], float] = lambda: clock[0]  # noqa: E731
    display = SweepDisplay(Console(file=text, width=100, force_terminal=True, color_system=None), clock=now)
    display(SearchStarted(5, 1, "accuracy", "dev"))
    assert display.left(1) == ""
    clock[0] = 30.0
    display(tried(0, value=0.75, seconds=29.6, fold="1/3"))
    display(tried(1, value=0.5, collapsed="all are pos", seconds=1.0))
    display(tried(2, error="no memory."))
    display(SearchProgress(4.5))
    assert display.left(4.0) == "10.0 s left"
    display(WinnerProgress("evaluating the best model on test"))
    display.close()
    shown = text.getvalue()
    assert "sweep  5 trials, 1 already finished, ranked by accuracy on dev" in shown
    assert "0000  batch_size=8 seed=1 fold=1/3  accuracy 0.7500  29.6 s  * best" in shown
    assert "0001  batch_size=8 seed=1  accuracy 0.5000  1.0 s  collapsed\n" in shown
    assert "0002  batch_size=8 seed=1  failed: no memory." in shown
    assert "evaluating the best model on test" in shown
