"""Searches: the protocol of the paper, what breaks and what is stopped, and what is left at the end."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertwright.errors import MissingDependencyError, OutputError, RecipeError, TrainingError
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.checkpoints import list_checkpoints
from bertwright.run.report import Report
from bertwright.sweep import trial
from bertwright.sweep.events import SearchProgress, SearchStarted, TrialFinished, WinnerProgress
from bertwright.sweep.leaderboard import Leaderboard, TrialResult, rank_results
from bertwright.sweep.optuna_study import open_study
from bertwright.sweep.search import search, sweep
from bertwright.sweep.settings import SweepSettings
from bertwright.sweep.space import parse_space
from bertwright.sweep.subprocesses import SubprocessRunner
from bertwright.sweep.trial import Emit, Event, Job, run_job

Make = Callable[..., Recipe]


class Here:
    """Runs trials in this process, which costs no imports; may break or stop one instead."""

    def __init__(self, **acts: Callable[[], Event]) -> None:
        self.acts = acts
        self.ran: list[str] = []
        self.stopped = False

    def run(self, job: Job, tell: Emit) -> Event:
        name = Path(job.directory).name
        self.ran.append(name)
        act = self.acts.get(f"t{name}")
        return act() if act else run_job(job, tell)

    def stop(self) -> None:
        self.stopped = True


class Values(Here):
    """Trains nothing: gives each trial a value made from its recipe."""

    def __init__(self, value: Callable[[Recipe], float], **acts: Callable[[], Event]) -> None:
        super().__init__(**acts)
        self.value = value

    def run(self, job: Job, tell: Emit) -> Event:
        name = Path(job.directory).name
        self.ran.append(name)
        if act := self.acts.get(f"t{name}"):
            return act()
        (Path(job.directory).parent / f"{name}.yaml").write_text(job.recipe, encoding="utf-8")
        tell({"event": "step", "step": 1, "steps": 2})
        value = self.value(load_recipe(Path(job.directory).parent / f"{name}.yaml"))
        return {"event": "done", "metrics": {"dev": {"accuracy": value}}, "notes": []}


def settings_of(recipe: Recipe, *vary: str, **more: Any) -> SweepSettings:
    return SweepSettings(recipe=recipe, vary=vary, **more)


@pytest.fixture
def tested(tmp_path: Path, reviews: Path, recipe: Make) -> Recipe:
    test = tmp_path / "test.csv"
    test.write_text("review,sentiment\na good film,pos\na bad film,neg\nit was awful,neg\n", encoding="utf-8")
    return recipe(f"data.test={test}")


def test_the_protocol_of_the_paper(tested: Recipe, tmp_path: Path) -> None:
    out, events, runner = tmp_path / "sweep", list[Any](), Here()
    settings = settings_of(tested, "train.learning_rate=1e-2,1e-6", "seed=0..1")
    board = sweep(settings, out, runner=runner, listeners=[events.append])

    assert runner.ran == ["0000", "0001", "0002", "0003"]
    assert [row.settings for row in board.rows] == [{"train.learning_rate": rate} for rate in ("1e-2", "1e-6")]
    for row in board.rows:
        reports = [Report.load(out / "trials" / result.name) for result in row.results]
        values = [report.metrics["dev"]["accuracy"] for report in reports]
        assert row.values == values
        assert row.mean == pytest.approx(np.mean(values))
        assert row.std == pytest.approx(np.std(values, ddof=1))
        assert [report.seed for report in reports] == [0, 1]
        assert all("test" not in report.metrics for report in reports), "test rows are for the winner alone"
    winner = board.winner
    assert winner is not None
    assert winner.value == max(result.value for result in board.rows[0].results)

    best = Bundle.load(out / "best")
    report = best.report
    assert report is not None
    assert report.metrics["test"] == board.test["test"]
    assert report.metrics["dev"] == Report.load(out / "trials" / winner.name).metrics["dev"]
    assert "chosen by accuracy on dev out of 2 combinations" in report.notes[-1]
    assert best.recipe is not None
    assert (best.recipe.seed, best.recipe.train.learning_rate) == (winner.seed, 1e-2)
    assert sorted(path.parent.name for path in out.rglob("model.safetensors")) == ["best"]
    assert all((out / "trials" / name / "recipe.yaml").exists() for name in runner.ran)

    assert isinstance(events[0], SearchStarted)
    assert (events[0].trials, events[0].done, events[0].metric) == (4, 0, "accuracy")
    assert [event.result.number for event in events if isinstance(event, TrialFinished)] == [0, 1, 2, 3]
    assert any(
        isinstance(event, WinnerProgress) and event.text == "evaluating the best model on test" for event in events
    )

    written = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))
    assert written["best"] == {"trial": winner.number, "refitted": False, "test": board.test}
    assert written["rows"][0]["mean"] == board.rows[0].mean
    table = list(csv.DictReader((out / "leaderboard.csv").read_text(encoding="utf-8").splitlines()))
    found = [(row["rank"], row["train.learning_rate"], row["n"]) for row in table]
    assert found == [("1", "1e-2", "2"), ("2", "1e-6", "2")]
    assert (out / "leaderboard.png").stat().st_size > 10_000
    assert (out / "best/report.html").read_bytes() == (out / "trials" / winner.name / "report.html").read_bytes()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(f">{text}</" in page for text in ("Parallel coordinates", "0003", f"{board.rows[0].mean:.4f}"))
    assert "the winner is chosen by it" in board.caption

    again = Here()
    assert sweep(settings, out, runner=again, resume=True).to_dict() == board.to_dict()
    assert again.ran == []


def test_kept_evaluations_go_with_the_weights(recipe: Make, tmp_path: Path) -> None:
    """They are the winner's alone, as the weights are."""
    settings = settings_of(recipe("train.keep_checkpoints=all", "train.length=1 epoch"), "seed=0,1")
    sweep(settings, tmp_path / "s", runner=Here())
    assert sorted(path.parent for path in (tmp_path / "s").rglob("step-*")) == [tmp_path / "s" / "best" / "checkpoints"]
    assert [checkpoint.best for checkpoint in list_checkpoints(tmp_path / "s" / "best")] == [True]


def test_a_trial_has_the_bits_of_an_ordinary_run(recipe: Make, tmp_path: Path) -> None:
    from bertwright.run.train import train

    sweep(settings_of(recipe(), "train.batch_size=32"), tmp_path / "sweep", runner=Here())
    train(recipe("train.batch_size=32"), tmp_path / "alone")
    found = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("sweep/best", "alone")]
    assert found[0] == found[1]


def test_a_broken_trial_does_not_stop_the_rest(recipe: Make, tmp_path: Path) -> None:
    runner = Values(lambda r: r.seed / 10, t0001=lambda: {"event": "failed", "error": "a loss of nan; lower it."})
    settings = settings_of(recipe(), "seed=0..3", keep="none")
    board = sweep(settings, tmp_path / "s", runner=runner)
    row = board.rows[0]
    assert runner.ran == ["0000", "0001", "0002", "0003"]
    assert (row.values, row.mean) == ([0.0, 0.2, 0.3], pytest.approx(0.5 / 3))
    assert "failed     trial 0001 (seed=1): a loss of nan; lower it." in board.remarks()
    assert not (tmp_path / "s" / "best").exists()

    again = Values(lambda r: r.seed / 10)
    assert sweep(settings, tmp_path / "s", runner=again, resume=True).rows[0].values == [0.0, 0.1, 0.2, 0.3]
    assert again.ran == ["0001"], "what failed is tried again, what finished is not"


def test_when_all_break_the_first_says_why(recipe: Make, tmp_path: Path) -> None:
    fail = {f"t000{i}": lambda: {"event": "failed", "error": "no memory."} for i in range(2)}
    with pytest.raises(TrainingError, match=r"s: no trial has a result \(2 trials\); the first: no memory\."):
        sweep(settings_of(recipe(), "seed=0,1"), tmp_path / "s", runner=Here(**fail))
    with pytest.raises(TrainingError, match="accuracy is undefined for all"):
        sweep(settings_of(recipe(), "seed=0"), tmp_path / "t", runner=Values(lambda r: float("nan")))


def test_everything_is_checked_before_anything_is_trained(recipe: Make, tmp_path: Path) -> None:
    runner = Here()
    for vary, message in (
        (["train.learning_rate=1e-3,-1"], "train.learning_rate=-1: train.learning_rate must be a number above 0"),
        (["train.lerning_rate=1,2"], 'did you mean "learning_rate"'),
        (["tokens.max_length=16,32,9000"], "max_tokens is 8192, less than tokens.max_length 9000"),
        (["seed=0,-1"], "seed=-1: seed must be"),
    ):
        with pytest.raises(RecipeError, match=message):
            sweep(settings_of(recipe(), *vary), tmp_path / "s", runner=runner)
    with pytest.raises(RecipeError, match=r"learning_rate must be a number above 0"):
        sweep(
            settings_of(recipe(), "train.learning_rate=0:1", search="random", trials=2), tmp_path / "s", runner=runner
        )
    with pytest.raises(RecipeError, match='"acuracy" is not among the computed metrics'):
        sweep(settings_of(recipe("train.metric_for_best_model=acuracy"), "seed=0,1"), tmp_path / "s", runner=runner)
    assert runner.ran == []
    assert not (tmp_path / "s").exists()


def test_the_place_must_be_free(recipe: Make, tmp_path: Path) -> None:
    settings = settings_of(recipe(), "seed=0,1", keep="none")
    with pytest.raises(OutputError, match="contains no sweep to resume"):
        sweep(settings, tmp_path / "s", resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(OutputError, match="full: already exists and is not empty"):
        sweep(settings, tmp_path / "full")
    sweep(settings, tmp_path / "s", runner=Values(lambda r: 0.5))
    with pytest.raises(OutputError, match="already contains a sweep; add --resume"):
        sweep(settings, tmp_path / "s")
    with pytest.raises(
        RecipeError,
        match=r"other settings \(train\.max_grad_norm 1\.0 → None; vary \('seed=0,1',\) → \('seed=0,2',\)\); resume it",
    ):
        sweep(settings_of(recipe("train.max_grad_norm=null"), "seed=0,2"), tmp_path / "s", resume=True)


def test_stopped_anywhere_it_goes_on(recipe: Make, tmp_path: Path) -> None:
    """Ctrl-C in the second trial: its state is saved, and a resumed search takes up that run."""

    def stop() -> Event:
        raise KeyboardInterrupt

    settings = settings_of(recipe(), "train.batch_size=16,32", search="grid")
    first = Here(t0001=stop)
    with pytest.raises(KeyboardInterrupt):
        sweep(settings, tmp_path / "s", runner=first)
    assert first.stopped
    assert not (tmp_path / "s" / "best").exists()
    # what a run that was stopped leaves: its settled recipe, without a bundle
    begun = tmp_path / "s" / "trials" / "0001"
    begun.mkdir()
    settled = load_recipe(begun.parent / "0000" / "recipe.yaml", ["train.batch_size=32"])
    (begun / "recipe.yaml").write_text(settled.to_yaml(), encoding="utf-8")
    second = Here()
    board = sweep(settings, tmp_path / "s", runner=second, resume=True)
    assert second.ran == ["0001"]
    assert len(board.rows) == 2
    assert all(row.values for row in board.rows)
    assert (begun / "config.json").exists()


def test_a_winner_whose_weights_are_gone_is_trained_again(recipe: Make, tmp_path: Path) -> None:
    settings = settings_of(recipe(), "train.learning_rate=1e-2,1e-6")
    board = sweep(settings, tmp_path / "s", runner=Here())
    before = (tmp_path / "s" / "best" / "model.safetensors").read_bytes()
    (tmp_path / "s" / "best" / "winner.json").unlink()
    again = Here()
    assert sweep(settings, tmp_path / "s", runner=again, resume=True).to_dict() == board.to_dict()
    assert again.ran == ["0000"]
    assert (tmp_path / "s" / "best" / "model.safetensors").read_bytes() == before


def test_the_winner_may_be_trained_anew_on_train_and_dev(tested: Recipe, tmp_path: Path) -> None:
    settings = settings_of(tested, "train.learning_rate=1e-2,1e-6", folds=2, refit=True, keep="all")
    runner = Here()
    board = sweep(settings, tmp_path / "s", runner=runner)
    assert runner.ran[:4] == ["0000", "0001", "0002", "0003"]
    assert runner.ran[4].startswith("refit-000")
    assert [result.fold for result in board.rows[0].results] == ["1/2", "2/2"]
    folds = [Report.load(tmp_path / "s" / "trials" / name).data for name in ("0000", "0001")]
    assert [fold["dev"]["rows"] for fold in folds] == [60, 60]
    best = Bundle.load(tmp_path / "s" / "best")
    assert best.report is not None
    assert best.report.data["train"]["rows"] == 120
    assert len(best.report.history) == 1, "the last weights are kept, not those that dev rows prefer"
    assert "its validation metrics are not meaningful" in best.report.notes[-1]
    assert board.test.keys() == {"test"}
    assert len(list((tmp_path / "s").rglob("model.safetensors"))) == 6
    assert any(line.startswith("refitted ") for line in board.remarks())
    assert "2 folds" in board.caption


# TPE's first ten are random
@pytest.mark.parametrize(("search", "first", "trials"), [("random", 2, 4), ("tpe", 11, 13)])
def test_random_and_tpe_go_on_as_if_they_had_not_been_stopped(
    search: Any, first: int, trials: int, recipe: Make, tmp_path: Path
) -> None:
    vary = ("train.learning_rate=1e-6:1e-1:log", "train.batch_size=8..64", "train.schedule=linear,cosine")

    def goodness(r: Recipe) -> float:
        return 1 - abs(np.log10(r.train.learning_rate) + 3) / 10

    settings = settings_of(recipe(), *vary, search=search, trials=trials, keep="none")
    whole = sweep(settings, tmp_path / "whole", runner=Values(goodness))
    parts = sweep(settings.replace(trials=first), tmp_path / "parts", runner=Values(goodness))
    assert len(parts.rows) == first
    more = Values(goodness)
    parts = sweep(settings, tmp_path / "parts", runner=more, resume=True)
    assert more.ran == [f"{i:04d}" for i in range(first, trials)]
    assert [row.settings for row in parts.rows] == [row.settings for row in whole.rows]
    assert len({str(row.settings) for row in whole.rows}) == trials


def test_what_was_tried_is_not_tried_again(recipe: Make, tmp_path: Path) -> None:
    settings = settings_of(recipe(), "train.batch_size=8,16", "seed=0..1", search="random", trials=9, keep="none")
    events: list[Any] = []
    value = Values(lambda r: r.train.batch_size / 100)
    board = sweep(settings, tmp_path / "s", runner=value, listeners=[events.append])
    assert events[0].trials == 4
    assert [row.settings["train.batch_size"] for row in board.rows] == ["16", "8"]


def test_what_breaks_the_search_itself_is_raised_where_it_runs(recipe: Make, tmp_path: Path) -> None:
    def full() -> Event:
        raise OutputError("0000.log: cannot be written: no space left on the device.")

    slow = Values(lambda r: time.sleep(0.3) or 0.5, t0000=full)
    with pytest.raises(OutputError, match="no space left"):
        sweep(settings_of(recipe(), "seed=0..5", keep="none"), tmp_path / "s", runner=slow, parallel=2)
    assert slow.stopped
    assert len(slow.ran) == 2


def test_stopped_from_outside_and_without_the_metric(recipe: Make, tmp_path: Path) -> None:
    acts: dict[str, Callable[[], Event]] = {
        "t0000": lambda: {"event": "stopped"},
        "t0001": lambda: {"event": "done", "metrics": {"dev": {"mse": 1.0}}, "notes": []},
    }
    runner = Values(lambda r: 0.5, **acts)
    board = sweep(settings_of(recipe(), "seed=0..2", keep="none"), tmp_path / "s", runner=runner)
    errors = [result.error for result in board.rows[0].results]
    assert errors[0] == "the process was stopped; continue with --resume."
    assert errors[1] == "its report has no accuracy; add it to task.metrics in all trials, or rank by another metric."
    assert errors[2] is None


def test_several_at_once_share_the_threads(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr("bertwright.cores.ROOT", Path("/nonexistent"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    together, seen = [0, 0], set[Any]()

    def value(r: Recipe) -> float:
        together[0] += 1
        together[1] = max(together)
        seen.add(r.train.threads)
        time.sleep(0.7)
        together[0] -= 1
        return r.seed / 10

    events: list[Any] = []
    settings = settings_of(recipe("train.threads=null"), "seed=0..3", keep="none")
    board = sweep(settings, tmp_path / "s", runner=Values(value), parallel=3, listeners=[events.append])
    assert (together[1], seen) == (3, {2})
    assert board.rows[0].values == [0.0, 0.1, 0.2, 0.3]
    assert any(isinstance(event, SearchProgress) and event.done == 1.5 for event in events), "three trials half way"


def result(number: int, cell: int, value: float, **more: Any) -> TrialResult:
    return TrialResult(
        number=number, cell=cell, settings={"train.batch_size": str(cell)}, seed=number, value=value, **more
    )


def printed(board: Leaderboard) -> str:
    from bertwright.output.terminal import render_plain

    return render_plain(board.renderables())


def test_the_table_names_what_collapsed_and_what_failed() -> None:
    flat = '"pos" is predicted for 9 of 9 examples'
    results = [
        result(0, 8, 0.9),
        result(1, 8, 0.5, collapsed=flat),
        result(2, 16, 0.8),
        result(3, 16, float("nan"), error="no memory."),
        result(4, 32, float("nan"), error="no memory."),
    ]
    board = rank_results(results, "accuracy", "dev")
    text = printed(board)
    assert text.startswith("accuracy on dev, mean ± std over 5 seeds\nthe winner is chosen by it")
    rows = [line.split() for line in text.splitlines() if "batch_size=" in line and line.split()[0].isdigit()]
    assert rows[0] == ["1", "batch_size=16", "0.8000", "–", "0.8000", "1", "1"]
    assert rows[1] == ["2", "batch_size=8", "0.7000", "0.2828", "0.9000", "2", "1"]
    assert rows[2] == ["3", "batch_size=32", "–", "–", "–", "0", "1"]
    wrapped = text.replace("\n" + " " * len("collapsed  "), " ")
    assert f"collapsed  trial 0001 (batch_size=8 seed=1): {flat}; counted in the mean" in wrapped
    assert text.count("failed     trial") == 2
    assert board.winner == results[2]
    assert board.to_dict()["rows"][1]["mean_without_collapsed"] == 0.9
    assert board.to_dict()["rows"][2]["mean"] is None


def test_lower_is_better_for_errors_and_the_first_of_equals_wins() -> None:
    board = rank_results([result(0, 1, 0.5), result(1, 2, 0.2), result(2, 3, 0.2)], "mse", "dev")
    assert [row.settings["train.batch_size"] for row in board.rows] == ["2", "3", "1"]
    assert board.winner is not None
    assert board.winner.number == 1


def test_a_long_table_is_cut_and_fits_80_columns() -> None:
    settings = {"train.learning_rate": "1.2345678e-5", "train.batch_size": "16", "train.weight_decay": "0.01"}
    results = [
        TrialResult(
            number=2 * i + s, cell=i, settings={**settings, "seed_of": str(i)}, seed=s, value=i / 99, collapsed="x"
        )
        for i in range(40)
        for s in range(2)
    ]
    text = printed(rank_results(results, "accuracy", "dev"))
    table = text.partition("\n\n")[2].partition("\n\n")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert "… and 10 more in leaderboard.json" in text


def test_a_study_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_bytes(b"this is no database" * 100)
    space = parse_space(["a=1,2"])
    with pytest.raises(OutputError, match=r"optuna.db: cannot be read or written \(.*not a database"):  # noqa: SIM117
        with open_study(tmp_path, space, "grid", None, True, 0):
            pass


def test_without_optuna(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    sweep(settings_of(recipe(), "seed=0,1", keep="none"), tmp_path / "seeds", runner=Values(lambda r: 0.5))
    with pytest.raises(MissingDependencyError, match=r"pip install 'bertwright\[sweep\]'"):
        search(SweepSettings(recipe=recipe(), vary={"train.batch_size": [8, 16]}), tmp_path / "s")


def test_trials_in_processes_of_their_own(recipe: Make, tmp_path: Path) -> None:
    """One trial trains, one cannot: its base model is damaged."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "config.json").write_text("{}", encoding="utf-8")
    base = recipe().model.base
    settings = SweepSettings(recipe=recipe(), vary={"model.base": [str(base), str(bad)]}, keep="all")
    board = search(settings, tmp_path / "s", parallel=2)
    assert [row.settings["model.base"] for row in board.rows] == [str(base), str(bad)]
    assert board.rows[0].values
    assert board.rows[1].failed[0].error.startswith(f"{bad}")  # type: ignore[union-attr]
    assert [path.name for path in (tmp_path / "s" / "trials").glob("*.log")] == ["0001.log"]


def test_a_trial_whose_process_is_killed_and_one_whose_parent_is(recipe: Make, tmp_path: Path) -> None:
    long = recipe("train.length=100000 steps", "train.evaluate_every=100000 steps", "train.save_every=100000 steps")
    (tmp_path / "trials").mkdir()
    children, events = SubprocessRunner(), list[Event]()

    def kill(event: Event) -> None:
        events.append(event)
        if event["step"] > 0:
            next(iter(children._running)).send_signal(signal.SIGKILL)

    last = children.run(Job(str(tmp_path / "trials" / "0000"), long.to_yaml()), kill)
    assert last["event"] == "failed"
    assert "its process was ended by SIGKILL, as when memory runs out; see " in last["error"]
    assert events[-1]["steps"] == 100000

    def stop(event: Event) -> None:
        if event["step"] > 0:
            children.stop()

    job = Job(str(tmp_path / "trials" / "0001"), long.to_yaml())
    assert children.run(job, stop) == {"event": "stopped"}
    assert (Path(job.directory) / "checkpoint" / "state.safetensors").exists(), "its state was saved"
    assert children.run(job, stop) == {"event": "stopped"}, "none is begun any more"


def test_what_is_printed_in_a_trial_is_no_event(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Output of C libraries and of child processes, without a line end and at import time, leaves events whole."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('bertwright.sweep.trial' in word for word in sys.orig_argv):\n"
        "    os.write(1, b'from C, no line end')\n"
        "    print('from Python')\n"
        "    os.system('printf from-a-child')\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "trials").mkdir()
    job = Job(str(tmp_path / "trials" / "0000"), recipe("train.length=2 steps").to_yaml())
    last = SubprocessRunner().run(job, lambda event: None)
    assert last["event"] == "done", last
    bad = Job(str(tmp_path / "trials" / "0001"), "seed: [1")
    assert SubprocessRunner().run(bad, lambda event: None)["event"] == "failed"
    log = (tmp_path / "trials" / "0001.log").read_text()
    assert all(text in log for text in ("from C, no line end", "from Python", "from-a-child"))


def test_what_a_process_reads_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_stop_with_parent", lambda: None)
    job = Job(str(tmp_path / "x"), "seed: [1")
    monkeypatch.setattr(sys, "stdin", io.StringIO(trial.serialize_job(job)))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    channel = io.StringIO()
    trial.main(channel)
    said = json.loads(channel.getvalue())
    assert said["event"] == "failed"
    assert said["error"].startswith("recipe:1: not valid YAML")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "out of memory; lower train.max_tokens"),
        (RuntimeError("CUDA out of memory. Tried"), "out of memory; lower train.max_tokens"),
        (ZeroDivisionError("by 0\nmore"), "unexpected ZeroDivisionError: by 0."),
        (RecipeError("a: wrong.", "b: wrong."), "a: wrong.; b: wrong."),
    ],
)
def test_any_error_is_a_sentence(error: Exception, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(trial, "train", broken)
    said = run_job(Job(str(tmp_path / "x"), Recipe().to_yaml()), lambda event: None)
    assert said["event"] == "failed"
    assert said["error"].startswith(told)


def test_a_resumed_trial_waits_for_its_former_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def locked(directory: Path) -> None:
        tries.append(directory)
        if len(tries) < 3:
            raise OutputError("another process is writing")

    monkeypatch.setattr(trial, "check_unlocked", locked)
    monkeypatch.setattr(trial.time, "sleep", lambda seconds: None)
    trial._await_release(tmp_path)
    assert len(tries) == 3
    monkeypatch.setattr(trial, "LOCK_TIMEOUT_SECONDS", -1.0)
    tries.clear()
    with pytest.raises(OutputError, match="another process"):
        trial._await_release(tmp_path)
