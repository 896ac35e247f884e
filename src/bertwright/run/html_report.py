"""The HTML report of a run, ``report.html``: one file to read in a browser, on paper or as an attachment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertwright.data.example import Example
from bertwright.html.evaluation_charts import draw_charts
from bertwright.html.page import BulletList, Facts, Page, Section, write_page
from bertwright.run.data_preparation import NOT_CHECKED, DataChecks
from bertwright.run.html_explanations import ExplainedRows, explanation_blocks
from bertwright.run.html_results import (
    data_table,
    has_baseline,
    label_blocks,
    learning_charts,
    metrics_table,
    result_tiles,
)
from bertwright.run.html_rows import repeat_tables, review_blocks
from bertwright.run.plots import pictures_of
from bertwright.run.report import Report, duration
from bertwright.run.settings_in_words import is_hub_name, last_part, list_settings
from bertwright.run.training_rows import ScoredRows
from bertwright.tasks.spec import Outputs, Task

HTML_REPORT = "report.html"
"""The file in a run directory."""

NOTHING_EXPLAINED = ExplainedRows()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluatedSplit:
    """The rows of a split with the outputs of the model.

    Attributes:
        name: of the split.
        examples: with targets; empty for a corpus.
        outputs: of each example.
    """

    name: str
    examples: Sequence[Example]
    outputs: Outputs


@dataclass(frozen=True)
class ReportContents:
    """What an HTML report shows.

    Attributes:
        report: metrics, tables, speed, data and environment.
        task: of the model, with what was tuned.
        base: name or path of the base model.
        recipe: the resolved recipe as nested dictionaries; empty if it is unknown.
        events: of the run, see :func:`~bertwright.run.event_log.read_events`; empty for an evaluation.
        evaluated: the first split that was evaluated; None if it has no rows.
        checks: results of the data checks.
        train: training rows with outputs, to find likely label errors; None for none.
        explained: rows with attributions of their words.
    """

    report: Report
    task: Task
    base: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    events: Iterable[Mapping[str, Any]] = ()
    evaluated: EvaluatedSplit | None = None
    checks: DataChecks = NOT_CHECKED
    train: ScoredRows | None = None
    explained: ExplainedRows = NOTHING_EXPLAINED


def describe_files(directory: Path) -> list[str]:
    """Lines that name the files of a finished run that a person opens."""
    report = [f"report {directory / HTML_REPORT}"] if (directory / HTML_REPORT).is_file() else []
    return [*report, f"bundle {', '.join([str(directory), *pictures_of(directory)])}"]


def write_html_report(directory: Path, collect_contents: Callable[[], ReportContents]) -> list[str]:
    """Write ``report.html`` to a run directory.

    Args:
        directory: of the run.
        collect_contents: computes what the report shows.

    Returns:
        Messages about a report that could not be written; they do not stop the run.
    """
    try:
        write_page(directory / HTML_REPORT, build_report_page(collect_contents()))
    except Exception as error:  # the model is trained: an error of its report must not lose it
        logger.debug("no HTML report", exc_info=True)
        return [f"{HTML_REPORT} is not written ({type(error).__name__}: {error}); all other results are complete."]
    return []


def build_report_page(contents: ReportContents) -> Page:
    """Build the page of a report; it has the sections that its task and its data have content for."""
    report, task = contents.report, contents.task
    summary = task.wording.summary.format(n=len(report.labels))
    sections = [
        Section("Summary", [*result_tiles(report), Facts(dict(_facts(contents))), *_notes(report)]),
        Section("Results", metrics_table(report), _interval_note(report)),
        Section("Learning curves", learning_charts(report, contents.events)),
        Section("Labels", label_blocks(report)),
        *_analyses(contents),
        Section("Data", [*data_table(report), *_findings(contents), *repeat_tables(contents.checks.repeats)]),
        Section("Settings and environment", list(_settings(contents))),
    ]
    version = report.environment.get("bertwright")
    return Page(
        last_part(report.name or "model"),
        sections,
        f"This model {summary}.",
        f"Written by bertwright {version}." if version else "Written by bertwright.",
    )


def _facts(contents: ReportContents) -> Iterator[tuple[str, str]]:
    report = contents.report
    yield "task", report.task.replace("_", " ")
    yield "base model", contents.base if is_hub_name(contents.base) else last_part(contents.base)
    for split, data in report.data.items():
        count = data.get("rows", data.get("sequences"))
        if count is not None:
            yield f"{split} {report.wording.count_key}", f"{count:,}"
    if "step" in report.best:
        epoch = report.best.get("epoch")
        yield "selected checkpoint", f"step {report.best['step']:,}" + ("" if epoch is None else f", epoch {epoch:.4g}")
    if "train_seconds" in report.speed:
        yield "training time", duration(report.speed["train_seconds"])
        if (rate := report.speed.get("train_examples_per_second")) is not None:
            yield "training speed", f"{rate:,.0f} examples/s"
    if report.seed is not None:
        yield "random seed", str(report.seed)


def _notes(report: Report) -> list[BulletList]:
    return [BulletList([_shorten_paths(note, report) for note in report.notes])] if report.notes else []


def _shorten_paths(text: str, report: Report) -> str:
    """A text in which the sources of the data have their last part only."""
    for data in report.data.values():
        if source := str(data.get("source") or ""):
            text = text.replace(source, last_part(source))
    return text


def _interval_note(report: Report) -> str:
    if not report.intervals:
        return ""
    text = (
        "Intervals are 95 % bootstrap intervals over the examples; they do not include the variance between random "
        "seeds."
    )
    return f"{text} The baseline is {report.wording.baseline}." if has_baseline(report) else text


def _analyses(contents: ReportContents) -> list[Section]:
    """Charts of the evaluation, and rows to review."""
    task, evaluated, train = contents.task, contents.evaluated, contents.train
    if evaluated is None or not len(evaluated.examples):
        return []
    split, outputs, examples = evaluated.name, evaluated.outputs, evaluated.examples
    return [
        Section(
            "Error analysis", draw_charts(task.make_charts(outputs, examples)), f"On {len(examples):,} rows of {split}."
        ),
        Section(
            "Rows to review",
            [
                *review_blocks(task, split, outputs, examples),
                *([] if train is None else review_blocks(task, "train", train.outputs, train.examples, train.note)),
            ],
            "A high loss marks a row that is hard, ambiguous or labeled wrongly. Likely label errors are found by "
            "confident learning, which is reliable for rows that the model was not trained on.",
        ),
        Section(
            "Explanations",
            explanation_blocks(contents.explained),
            "Half of these rows have the highest loss, the others are evenly spaced. Integrated gradients attribute "
            "the score of a prediction to the words of its text.",
        ),
    ]


def _findings(contents: ReportContents) -> list[BulletList]:
    findings = [_shorten_paths(str(finding), contents.report) for finding in contents.checks.findings]
    return [BulletList(findings)] if findings else []


def _settings(contents: ReportContents) -> Iterator[Facts]:
    settings = list_settings(contents.recipe, contents.report.seed)
    if settings:
        yield Facts({setting[0]: setting[1] for setting in settings})
    machine = contents.report.environment
    names = ("device", "gpu", "precision", "cpu", "cores", "threads", "python", "torch", "tokenizers", "bertwright")
    facts = {name: str(machine[name]) for name in names if machine.get(name) is not None}
    if facts:
        yield Facts(facts)
