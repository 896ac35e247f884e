"""The HTML report of runs of every kind of task: content, hostile rows, failures, speed, and what a browser shows."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_same_results import COLUMNS, DATA

from bertwright.data.example import Example
from bertwright.errors import OutputError
from bertwright.html.page import render_page
from bertwright.recipe import load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.events import Note
from bertwright.run.html_report import (
    HTML_REPORT,
    EvaluatedSplit,
    ReportContents,
    build_report_page,
)
from bertwright.run.report import Report
from bertwright.run.train import train
from bertwright.tasks.classification import Classification

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)> " \' & \x1b[31m \u202e abc \u2066'
PAGES = (*DATA, "hostile")
SECTIONS = {
    "classification": {"Labels", "Confusion matrix on dev", "Reliability diagram", "ROC curve", "Highest loss on dev"},
    "multilabel": {"Labels", "Threshold curve", "Precision-recall curve", "Highest loss on dev"},
    "regression": {"Residuals", "Highest loss on dev"},
    "tagging": {"Labels", "Kinds of errors", "Highest loss on dev"},
    "qa": {"Score by question word", "Score by answer length", "Highest loss on dev"},
    "pretraining": {"Learning curves"},
    "multiple_choice": {"Reliability diagram", "Highest loss on dev"},
    "hostile": {"Labels", "Repeated texts"},
}


def hostile_rows(n: int = 24) -> list[dict[str, str]]:
    """Rows whose texts and labels try to act as HTML; texts repeat, with conflicting labels."""
    labels = ("</td><script>alert(2)</script>", f"neg {HOSTILE}")
    return [{"text": f"{HOSTILE} {['good', 'bad'][i % 2]} {i % 9}", "label": labels[i % 2]} for i in range(n)]


@pytest.fixture(scope="module")
def runs(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Train a tiny model of a kind once, and return its directory."""
    directories: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in directories:
            folder = tmp_path_factory.mktemp(kind)
            task = "classification" if kind == "hostile" else kind
            name, make_data = DATA[task]
            (folder / name).write_bytes(make_data())
            pairs = [f"model.base={tiny_bert}", f"data.train={folder / name}", f"task.kind={task}"]
            pairs += ["tokens.max_length=32", "train.batch_size=8", "train.threads=1", "train.length=4 steps"]
            pairs += ["data.dev_ratio=0.5", *COLUMNS.get(task, ())]
            data = {"train": hostile_rows(), "dev": hostile_rows()} if kind == "hostile" else None
            notes: list[Any] = []
            train(load_recipe(None, pairs), folder / "run", data=data, quiet=True, listeners=[notes.append])
            assert not [note for note in notes if isinstance(note, Note) and HTML_REPORT in note.text]
            directories[kind] = folder / "run"
        return directories[kind]

    return make


@pytest.mark.parametrize("kind", PAGES)
def test_a_report_has_the_sections_of_its_task(runs: Callable[[str], Path], kind: str) -> None:
    page = (runs(kind) / HTML_REPORT).read_text(encoding="utf-8")
    missing = {title for title in SECTIONS[kind] if title not in page}
    assert not missing
    for title in ("Summary", "Results", "Learning curves", "Data", "Settings and environment"):
        assert f">{title}</h2>" in page
    for value in Report.load(runs(kind)).metrics["dev"].values():
        assert f"{value:.4f}"[:5] in page or value != value or value > 1 or value < 0


def test_rows_cannot_act_as_html(runs: Callable[[str], Path]) -> None:
    page = (runs("hostile") / HTML_REPORT).read_text(encoding="utf-8")
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert not set(page) & set("\x1b\u202e\u2066")
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert r"\u202e" in page


def test_no_path_of_the_machine_is_in_the_report(runs: Callable[[str], Path]) -> None:
    for kind in PAGES:
        assert str(runs(kind).parent) not in (runs(kind) / HTML_REPORT).read_text(encoding="utf-8")


EXAMINED = "The model was trained on these rows"


def test_training_rows_are_examined_for_label_errors(runs: Callable[[str], Path]) -> None:
    pages = {kind: (runs(kind) / HTML_REPORT).read_text(encoding="utf-8") for kind in DATA}
    for text in (EXAMINED, "Highest loss on train"):
        assert {kind for kind, page in pages.items() if text in page} == {"classification", "multilabel", "tagging"}


def test_training_rows_are_limited_and_not_examined_in_a_cross_validation(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertwright.run.training_rows.MOST_ROWS", 5)
    monkeypatch.setattr("bertwright.run.training_rows.SHARE", 1.0)
    recipe, rows = small_recipe(tiny_bert), hostile_rows()
    train(recipe, tmp_path / "run", data={"train": rows, "dev": rows[:8]}, quiet=True)
    assert "Of 24 training rows, 5 were examined." in (tmp_path / "run" / HTML_REPORT).read_text(encoding="utf-8")
    folded = recipe.replace(data=recipe.data.replace(fold="1/2"))
    train(folded, tmp_path / "fold", data={"train": rows}, quiet=True)
    assert EXAMINED not in (tmp_path / "fold" / HTML_REPORT).read_text(encoding="utf-8")


def small_recipe(tiny_bert: Path) -> Any:
    return load_recipe(
        None, [f"model.base={tiny_bert}", "train.length=2 steps", "train.threads=1", "tokens.max_length=16"]
    )


def test_a_failure_is_reported_and_keeps_the_run(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("bertwright.run.html_report.build_report_page", fail)
    notes: list[Any] = []
    data = {"train": hostile_rows(), "dev": hostile_rows(8)}
    train(small_recipe(tiny_bert), tmp_path / "run", data=data, quiet=True, listeners=[notes.append])
    warnings = [note.text for note in notes if isinstance(note, Note) and note.warning and HTML_REPORT in note.text]
    assert warnings == [
        "report.html is not written (ZeroDivisionError: division by zero); all other results are complete."
    ]
    assert not (tmp_path / "run" / HTML_REPORT).exists()
    assert Bundle.load(tmp_path / "run").labels


def test_a_run_that_was_stopped_while_it_wrote_its_report_is_resumed(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise OutputError("stopped")

    recipe, data = small_recipe(tiny_bert), {"train": hostile_rows(), "dev": hostile_rows(8)}
    with monkeypatch.context() as patch:
        patch.setattr("bertwright.run.writing.write_bundle", stop)
        with pytest.raises(OutputError, match="stopped"):
            train(recipe, tmp_path / "run", data=data, quiet=True)
    page = tmp_path / "run" / HTML_REPORT
    page.write_text("partial")
    train(recipe, tmp_path / "run", data=data, quiet=True, resume=True)
    assert page.read_text(encoding="utf-8").endswith("</html>\n")


def test_a_report_of_a_thousand_rows_is_fast() -> None:
    labels = tuple(f"label {i}" for i in range(20))
    rng = np.random.default_rng(0)
    examples = [
        Example(str(i), "a text of some words " * 10, None, labels[i % 20], f"dev.csv:{i}") for i in range(1000)
    ]
    outputs = rng.normal(size=(1000, 20)) + 4 * np.eye(20)[np.arange(1000) % 20]
    task = Classification(labels=labels)
    result = task.evaluate(outputs, examples)
    report = Report(name="run", task="classification", labels=labels, metrics={"dev": result.metrics})
    report = report.with_evaluation("dev", result)
    events = [{"step": i, "loss": 1 / i, "learning_rate": 1e-5} for i in range(1, 5001)]
    contents = ReportContents(report, task, "base", {}, events, EvaluatedSplit("dev", examples, outputs))
    start = time.process_time()
    page = render_page(build_report_page(contents))
    assert time.process_time() - start < 1
    assert len(page) < 1_000_000
    assert "Likely label errors in dev" in page or "No label of dev is likely wrong" in page


@pytest.mark.parametrize("kind", PAGES)
def test_a_browser_shows_the_report(runs: Callable[[str], Path], browser: Any, kind: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    problems: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((runs(kind) / HTML_REPORT).as_uri())
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.querySelectorAll('svg:not([role=img][aria-label]), img:not([alt])').length") == 0
    assert page.evaluate("document.querySelectorAll('svg').length") > 0
    page.locator(".hit").first.scroll_into_view_if_needed()
    page.locator(".hit").first.hover(force=True)
    assert re.search(r"\d", page.inner_text("#tip"))
    order = "[...document.querySelectorAll('table')[0].tBodies[0].rows].map(row => row.cells[2].innerText)"
    before = page.evaluate(order)
    heading = page.locator("table").first.locator("th button").nth(2)
    if len(before) > 1:
        heading.click()
        heading.click()
        assert page.evaluate(order) == sorted(before, key=float)
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    page.close()


@pytest.mark.parametrize("kind", ["classification", "tagging", "qa", "regression", "multilabel", "multiple_choice"])
def test_predictions_are_explained(
    runs: Callable[[str], Path], tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    pytest.importorskip("captum")
    monkeypatch.setattr("bertwright.run.html_explanations.EXAMPLES_PER_ROW", 8)
    recipe = load_recipe(runs(kind) / "recipe.yaml")
    train(recipe, tmp_path / "run", quiet=True)
    page = (tmp_path / "run" / HTML_REPORT).read_text(encoding="utf-8")
    section = page.partition(">Explanations</h2>")[2].partition("</section>")[0]
    assert section.count("<tr>") == 4
    assert "<mark" in section


def test_the_report_names_the_extra_that_explanations_need(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertwright.run.html_explanations.EXAMPLES_PER_ROW", 8)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    data = {"train": hostile_rows(), "dev": hostile_rows(8)}
    train(small_recipe(tiny_bert), tmp_path / "run", data=data, quiet=True)
    page = (tmp_path / "run" / HTML_REPORT).read_text(encoding="utf-8")
    line = "Predictions are not explained: explain: captum is not installed; run `pip install"
    assert page.count(line) == 1
    assert "bertwright[explain]" in page
