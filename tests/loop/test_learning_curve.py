"""Learning curves: every kind of task, the same evaluation rows for every size, resuming, and what is refused."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_data
from bertwright.errors import OutputError, RecipeError
from bertwright.html.page import Table, render_page
from bertwright.output.terminal import render_plain
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.report import Report
from bertwright.sweep.leaderboard import TrialResult, rank_results
from bertwright.sweep.learning_curve import (
    CURVE_FILE,
    CURVE_PLOT,
    LearningCurve,
    load_curve_settings,
    measure_learning_curve,
    parse_sizes,
    plan_learning_curve,
    run_learning_curve,
)
from bertwright.sweep.learning_curve_page import build_learning_curve_page
from bertwright.sweep.search import sweep
from bertwright.sweep.settings import SweepSettings
from bertwright.sweep.trial import Emit, Event, Job, run_job

Make = Callable[..., Recipe]


class InProcess:
    """Runs trials in this process, which costs no imports; may stop before one."""

    def __init__(self, stop_before: str = "") -> None:
        self.ran: list[str] = []
        self.stop_before = stop_before

    def run(self, job: Job, tell: Emit) -> Event:
        name = Path(job.directory).name
        if name == self.stop_before:
            raise KeyboardInterrupt
        self.ran.append(name)
        return run_job(job, tell)

    def stop(self) -> None:
        """Nothing is left running."""


class Scores(InProcess):
    """Trains nothing: the score depends on the number of rows and the seed."""

    def run(self, job: Job, tell: Emit) -> Event:
        self.ran.append(Path(job.directory).name)
        path = Path(f"{job.directory}.yaml")
        path.write_text(job.recipe, encoding="utf-8")
        recipe = load_recipe(path)
        assert recipe.data.train_rows is not None
        accuracy = 0.95 - recipe.data.train_rows**-0.5 + recipe.seed / 1000
        return {"event": "done", "metrics": {"dev": {"accuracy": accuracy}}, "notes": []}


def test_all_sizes_are_evaluated_on_the_same_rows(recipe: Make, tmp_path: Path) -> None:
    runner = InProcess()
    settings = plan_learning_curve(recipe("seed=7"), [48, "12", "all"], seeds=2)
    curve = run_learning_curve(settings, tmp_path / "c", runner=runner)
    assert runner.ran == [f"000{i}" for i in range(6)]
    assert (curve.metric, curve.split) == ("accuracy", "dev")
    assert [point.rows for point in curve.points] == [12, 48, 96]
    for point in curve.points:
        reports = [Report.load(tmp_path / "c" / "trials" / result.name) for result in point.results]
        assert [report.seed for report in reports] == [7, 8]
        assert [report.data["train"]["rows"] for report in reports] == [point.rows] * 2
        assert len({report.data["dev"]["fingerprint"] for report in reports}) == 1
        assert [report.data["dev"]["rows"] for report in reports] == [24, 24]
        assert point.values == [report.metrics["dev"]["accuracy"] for report in reports]
    assert not list((tmp_path / "c").rglob("model.safetensors"))
    written = json.loads((tmp_path / "c" / CURVE_FILE).read_text(encoding="utf-8"))
    assert [point["mean"] for point in written["points"]] == [point.mean for point in curve.points]
    assert written["points"][0]["trials"][1]["seed"] == 8
    assert (written["extrapolation"] is None) == (curve.extrapolation is None)
    assert (tmp_path / "c" / CURVE_PLOT).stat().st_size > 10_000
    assert not (tmp_path / "c" / "optuna.db").exists()
    assert not (tmp_path / "c" / "best").exists()


def test_test_rows_give_the_scores_if_there_are_any(recipe: Make, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("review,sentiment\na good film,pos\na bad film,neg\nit was awful,neg\n", encoding="utf-8")
    settings = plan_learning_curve(recipe(f"data.test={test}", "train.length=1 epoch"), [16, 32], 1, keep_weights=True)
    curve = run_learning_curve(settings, tmp_path / "c", runner=InProcess())
    assert curve.split == "test"
    for point in curve.points:
        report = Report.load(tmp_path / "c" / "trials" / point.results[0].name)
        assert point.values == [report.metrics["test"]["accuracy"]]
    assert len(list((tmp_path / "c").rglob("model.safetensors"))) == 2
    assert not (tmp_path / "c" / "best").exists()


TASKS: dict[str, tuple[str, bytes, tuple[str, ...], str]] = {
    "classification": ("a.csv", tiny_data.delimited(","), (), "accuracy"),
    "multilabel": ("a.csv", tiny_data.multi_label(), ("data.text=text", "data.label=[good, long]"), "f1_micro"),
    "regression": (
        "a.csv",
        tiny_data.numbers(),
        ("data.text=a", "data.text_pair=b", "data.label=score", "task.metrics=[mse]"),
        "mse",
    ),
    "tagging": ("a.conll", tiny_data.tagged(), (), "span_f1"),
    "qa": ("a.json", tiny_data.squad(), (), "answer_f1"),
    "multiple_choice": ("a.jsonl", tiny_data.choices(), (), "accuracy"),
}


@pytest.mark.parametrize("kind", TASKS)
def test_every_kind_of_task(kind: str, tiny_bert: Path, tmp_path: Path) -> None:
    name, contents, pairs, metric = TASKS[kind]
    (tmp_path / name).write_bytes(contents)
    shared = ("train.precision=fp32", "train.threads=1", "train.length=1 epoch", "tokens.max_length=48")
    recipe = load_recipe(
        None, [f"task.kind={kind}", f"data.train={tmp_path / name}", f"model.base={tiny_bert}", *shared, *pairs]
    )
    curve = run_learning_curve(plan_learning_curve(recipe, [6, "all"], 1), tmp_path / "c", runner=InProcess())
    assert curve.metric == metric
    assert [len(point.values) for point in curve.points] == [1, 1], [point.failed for point in curve.points]
    reports = [Report.load(tmp_path / "c" / "trials" / name) for name in ("0000", "0001")]
    assert reports[0].labels == reports[1].labels
    assert reports[0].data["dev"]["fingerprint"] == reports[1].data["dev"]["fingerprint"]
    assert reports[0].data["train"]["rows"] == 6


def test_a_size_without_some_labels_has_them_in_its_model(recipe: Make, tmp_path: Path) -> None:
    labels = ["pos"] * 12 + ["neg"] * 8 + ["odd"] * 6 + ["rare"] * 4
    lines = [f"film {'very ' * (i % 5)}{label[0]},{label}" for i, label in enumerate(labels)]
    (tmp_path / "rows.csv").write_text("\n".join(["review,sentiment", *lines]) + "\n", encoding="utf-8")
    settings = plan_learning_curve(recipe(f"data.train={tmp_path / 'rows.csv'}", "train.length=1 epoch"), [2], 1)
    curve = run_learning_curve(settings, tmp_path / "c", runner=InProcess())
    assert len(curve.points[0].values) == 1, curve.points[0].failed
    assert Report.load(tmp_path / "c" / "trials" / "0000").labels == ("neg", "odd", "pos", "rare")


def test_pretraining_counts_documents(tiny_bert: Path, tmp_path: Path) -> None:
    documents = [f"the film is good . a {letter} plot was fun .\nit is not dull ." for letter in string.ascii_lowercase]
    (tmp_path / "corpus.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    pairs = ["task.kind=pretraining", f"data.train={tmp_path / 'corpus.txt'}", f"model.base={tiny_bert}"]
    shared = ["train.precision=fp32", "train.threads=1", "train.length=2 steps", "tokens.max_length=24"]
    recipe = load_recipe(None, [*pairs, *shared, "train.evaluate_every=2 steps", "task.metrics=[perplexity]"])
    curve = run_learning_curve(plan_learning_curve(recipe, [5, "all"], 1), tmp_path / "c", runner=InProcess())
    assert curve.metric == "perplexity"
    assert [len(point.values) for point in curve.points] == [1, 1], [point.failed for point in curve.points]
    data = [Report.load(tmp_path / "c" / "trials" / name).data for name in ("0000", "0001")]
    assert [each["train"]["documents"] for each in data] == [5, curve.points[1].rows]
    assert data[0]["dev"] == data[1]["dev"]
    with pytest.raises(RecipeError, match="sizes: 26 rows are more than the 21 training rows"):
        plan_learning_curve(recipe, [26])


def test_an_interrupted_curve_is_continued(recipe: Make, tmp_path: Path) -> None:
    settings = plan_learning_curve(recipe("train.length=1 epoch"), [16, 32], seeds=2)
    with pytest.raises(KeyboardInterrupt):
        run_learning_curve(settings, tmp_path / "c", runner=InProcess(stop_before="0002"))
    assert load_curve_settings(tmp_path / "c") == settings
    runner = InProcess()
    curve = run_learning_curve(load_curve_settings(tmp_path / "c"), tmp_path / "c", resume=True, runner=runner)
    assert runner.ran == ["0002", "0003"]
    assert [len(point.values) for point in curve.points] == [2, 2]
    whole = run_learning_curve(settings, tmp_path / "d", runner=InProcess())
    assert [point.values for point in whole.points] == [point.values for point in curve.points]
    with pytest.raises(RecipeError, match=r"started with other settings \(vary .*24"):
        run_learning_curve(settings.replace(vary=("data.train_rows=16,24", "seed=42,43")), tmp_path / "c", resume=True)


def test_what_cannot_be_resumed(recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="contains no learning curve to resume"):
        load_curve_settings(tmp_path)
    settings = SweepSettings(recipe=recipe("data.train_rows=20"), vary=("seed=0,1",), keep="none")
    sweep(settings, tmp_path / "s", runner=Scores())
    with pytest.raises(OutputError, match="contains a sweep, not a learning curve"):
        load_curve_settings(tmp_path / "s")


def test_the_estimate_is_printed_and_saved(recipe: Make, tmp_path: Path) -> None:
    settings = plan_learning_curve(recipe(), [6, 12, 24, 48, 96], seeds=3)
    curve = run_learning_curve(settings, tmp_path / "c", runner=Scores())
    assert curve.extrapolation is not None
    text = " ".join(render_plain(curve.renderables()).split())
    assert "accuracy on dev by number of training rows, mean ± std over 3 seeds" in text
    assert "doubling the data from 96 to 192 rows: +3.0 points of accuracy expected" in text
    assert curve.to_dict()["extrapolation"] == curve.extrapolation.to_dict()
    assert curve.extrapolation.doubled == pytest.approx(0.95 - 192**-0.5 + 0.043, abs=5e-3)
    page = (tmp_path / "c" / "report.html").read_text(encoding="utf-8")
    assert "doubling the data from 96 to 192 rows" in page
    assert page.count("<svg") == 1
    assert all(f">{name}</li>" in page for name in ("mean", f"seed {curve.points[0].results[2].seed}", "fitted law"))


def test_collapsed_and_failed_runs_are_counted() -> None:
    def result(number: int, rows: int, value: float, **more: Any) -> TrialResult:
        return TrialResult(
            number=number,
            cell=number // 2,
            settings={"data.train_rows": str(rows)},
            seed=number % 2,
            value=value,
            **more,
        )

    results = [
        result(0, 100, 0.5, collapsed="all are pos"),
        result(1, 100, 0.7),
        result(2, 1000, float("nan"), error="no memory."),
        result(3, 1000, 0.9),
    ]
    curve = LearningCurve.from_leaderboard(rank_results(results, "accuracy", "dev"))
    rows = [line.split() for line in render_plain(curve.renderables()).splitlines()]
    assert ["rows", "accuracy", "±", "std", "n", "collapsed", "failed"] in rows
    assert ["100", "0.6000", "0.1414", "2", "1"] in rows
    assert ["1,000", "0.9000", "–", "1", "1"] in rows
    assert curve.remarks()[:2] == [
        "collapsed  trial 0000 (100 rows, seed 0): all are pos; counted in the mean",
        "failed     trial 0002 (1,000 rows, seed 0): no memory.",
    ]
    assert curve.remarks()[2].startswith("estimate   no reliable estimate for twice the data: an estimate needs at")
    assert curve.to_dict()["points"][1]["std"] is None
    assert curve.to_dict()["reason"] == curve.reason
    page = build_learning_curve_page(curve, "curve")
    table = page.sections[1].blocks[1]
    assert isinstance(table, Table)
    assert [getattr(cell, "text", cell) for cell in table.rows[1]] == ["1,000", "0.9000", "–", 1, 0, 1, "0.0 s"]
    assert "fitted law" not in render_page(page)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (["ten"], 'sizes: expected numbers of rows and all, such as 100,200,all; found "ten"'),
        ([0], 'found "0"'),
        (["-5"], 'found "-5"'),
        (["1.5"], 'found "1.5"'),
        ([""], 'found ""'),
        ([10, 20, 10], "sizes: 10 rows are given twice"),
        ([96, "all"], "sizes: 96 rows are given twice"),
        ([50, 97], "sizes: 97 rows are more than the 96 training rows that remain after the hold-out split"),
        ([], "sizes: is empty"),
    ],
)
def test_sizes_that_are_refused(sizes: list[int | str], message: str, recipe: Make) -> None:
    with pytest.raises(RecipeError) as error:
        plan_learning_curve(recipe(), sizes)
    assert message in str(error.value)


def test_settings_that_are_refused(recipe: Make, tmp_path: Path) -> None:
    for pairs, message in (
        (["data.train_rows=10"], "data.train_rows: a learning curve sets it itself"),
        (["data.train_on_dev=true"], "data.train_on_dev: makes the validation metrics"),
    ):
        with pytest.raises(RecipeError, match=message):
            plan_learning_curve(recipe(*pairs))
    with pytest.raises(RecipeError, match="seeds: must be between 1 and 100, found 0"):
        plan_learning_curve(recipe(), seeds=0)
    for more in ({}, {"keep": "all", "refit": True}):
        with pytest.raises(RecipeError, match="score_test selects no model"):
            SweepSettings(recipe=recipe(), vary=("seed=0,1",), score_test=True, **more)


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (1, [1]),
        (5, [2, 3, 4, 5]),
        (96, [10, 18, 31, 55, 96]),
        (800, [50, 100, 200, 400, 800]),
        (67_349, [4200, 8400, 17000, 34000, 67349]),
    ],
)
def test_default_sizes(n: int, sizes: list[int]) -> None:
    assert parse_sizes(None, n) == sizes


def test_from_python(recipe: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In processes of their own."""
    curve = measure_learning_curve(recipe("train.length=2 steps"), tmp_path / "c", sizes=[16], seeds=1)
    assert [point.rows for point in curve.points] == [16]
    assert "curve  1 trials, scored by accuracy on dev" in capsys.readouterr().err
    again = measure_learning_curve(
        recipe("train.length=2 steps"), tmp_path / "c", sizes=[16], seeds=1, resume=True, quiet=True
    )
    assert again.to_dict() == curve.to_dict()
    assert capsys.readouterr().err == ""
