"""``bertwright evaluate``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

from bertwright.cli.console import RowsBar, err, note, out, report_reading, show
from bertwright.cli.inputs import header_of
from bertwright.cli.options import ComputeOptions, DataOptions, in_options
from bertwright.cli.question_answering import check_official, write_official
from bertwright.cores import default_threads, describe_threads
from bertwright.corpus.lazy_dataset import CorpusRows
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.folders import splits_of
from bertwright.data.hf_datasets import list_hub_splits
from bertwright.errors import DataError, OutputError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json
from bertwright.output.terminal import PlainTable, make_table, print_line
from bertwright.run.bundle import Bundle
from bertwright.run.checkpoints import evaluate_checkpoints
from bertwright.run.report import Report, duration, environment
from bertwright.run.report import show as show_value
from bertwright.tasks.spec import EvaluationResult


def evaluate(
    name: str, reading: DataOptions, computing: ComputeOptions, json: str | None = None, predictions: Path | None = None
) -> None:
    """Measure a bundle on a source and show the figures; write its predictions if a benchmark has files for them.

    Raises:
        BertwrightError: whatever is wrong, in one sentence.
    """
    _check_json(json)
    with in_options():
        bundle = computing.open(name)
        if predictions is not None:
            check_official(bundle, predictions)
        report = report_on(bundle, reading, computing, predictions)
    if json == "-":
        print(report.to_json(), end="")  # noqa: T201  # it is what was asked for
        return
    console = out()
    what = report.wording.unit
    seconds, a_second = report.speed["seconds"], report.speed["examples_per_second"]
    rate = f"{seconds * a_second:,.0f} {what} in {duration(seconds)}, {a_second:,.0f} a second"
    if report.environment["device"] == "cpu":
        threads, reason = (computing.threads, "") if computing.threads is not None else default_threads()
        rate += f" with {describe_threads(threads, reason)}"
    show(console, [*report.renderables(), rate])
    if json is not None:
        print_line(console, f"figures in {report.save(json)}")


def report_on(
    bundle: Bundle, reading: DataOptions, computing: ComputeOptions, predictions: Path | None = None
) -> Report:
    """Read, predict and measure every split that a source has to evaluate on.

    Args:
        bundle: what is measured.
        reading: on what.
        computing: with what.
        predictions: the folder of the benchmark's own files of predictions.

    Raises:
        DataError: the rows are not as they should be, or have labels that the model does not know.
    """
    machine = environment(str(bundle.compute.device), bundle.compute.precision, computing.threads)
    source = bundle.base.source
    name = Path(source).resolve().name if Path(source).is_dir() else source
    report = Report(name=name, task=bundle.task.kind, labels=bundle.labels, environment=machine)
    began, n = time.perf_counter(), 0
    for split, rows in rows_to_evaluate(bundle, reading):
        measured = _measured(bundle, rows, computing, predictions)
        report = report.with_measured(split, measured)
        n += measured.n
    seconds = time.perf_counter() - began
    return report.model_copy(update={"speed": {"seconds": seconds, "examples_per_second": n / seconds}})


def evaluate_all(run: str, reading: DataOptions, computing: ComputeOptions, json: str | None = None) -> None:
    """Measure all the weights that a run kept of its evaluations, and show them in a table, a line each.

    Raises:
        BertwrightError: whatever is wrong, in one sentence.
    """
    _check_json(json)
    lines: list[dict[str, Any]] = []
    with in_options():
        bundle = computing.open(run)
        compute, splits = bundle.compute, list(rows_to_evaluate(bundle, reading))
        for checkpoint in evaluate_checkpoints(run):
            bundle = checkpoint.open(compute=compute, allow_code=computing.allow_code)
            measured = {split: _measured(bundle, rows, computing, told=bool(lines)) for split, rows in splits}
            line = {"step": checkpoint.step, "epoch": checkpoint.epoch, "best": checkpoint.best}
            metrics = {split: m.metrics for split, m in measured.items()}
            lines.append({**line, "metrics": metrics, "intervals": {s: m.intervals for s, m in measured.items()}})
    text = to_json({"run": run, "checkpoints": lines}, indent=2) + "\n"
    if json == "-":
        print(text, end="")  # noqa: T201  # it is what was asked for
        return
    console = out()
    show(console, [_table_of(lines)])
    if json is not None:
        print_line(console, f"figures in {write_atomically(json, text)}")


def _table_of(lines: Sequence[dict[str, Any]]) -> PlainTable:
    """Step, epoch and metrics of each; the weights that the bundle has are marked."""
    several = len(lines[0]["metrics"]) > 1
    names = [(split, metric) for split, values in lines[0]["metrics"].items() for metric in values]
    headings = [f"{split} {metric}" if several else metric for split, metric in names]
    table = make_table("step", "epoch", *headings, "")
    for line in lines:
        epoch = "–" if isnan(line["epoch"]) else f"{line['epoch']:.2f}"
        values = [show_value(metric, line["metrics"][split][metric]) for split, metric in names]
        table.add_row(f"{line['step']:,}", epoch, *values, "* the bundle's" if line["best"] else "")
    for column in table.columns[:-1]:
        column.justify = "right"
    return table


def _check_json(json: str | None) -> None:
    if json not in (None, "-") and Path(json).is_dir():
        raise OutputError(f"{json}: is a directory; name the file that --json should write.")


def rows_to_evaluate(bundle: Bundle, reading: DataOptions) -> Iterator[tuple[str, Dataset]]:
    """The rows of every split that a source has to evaluate on, by its name; says what was noticed in reading them.

    Raises:
        DataError: the rows are not as they should be, or have labels that the model does not know.
    """
    columns = columns_for(bundle, reading)
    for split in splits_to_evaluate(reading.source, bundle):
        rows = bundle.read(reading.source, columns, split=split, encoding=reading.encoding)
        report_reading(rows)
        yield split or rows.report.split or _stem(rows), rows


def columns_for(bundle: Bundle, reading: DataOptions) -> ColumnNames | None:
    """The columns to read, where any is named; those that are not are as in training."""
    columns = reading.columns
    if columns is None and reading.header is None:
        return None
    columns = replace(columns or ColumnNames(), header=header_of(bundle, reading))
    if bundle.recipe is None:
        return columns
    trained = bundle.recipe.data.columns
    return replace(
        trained,
        text=columns.text or trained.text,
        text_pair=columns.text_pair or trained.text_pair,
        label=columns.label or trained.label,
        id=columns.id,
        header=columns.header,
    )


def _measured(
    bundle: Bundle, rows: Dataset, computing: ComputeOptions, predictions: Path | None = None, told: bool = False
) -> EvaluationResult:
    if isinstance(rows, CorpusRows):
        with RowsBar(err(), rows.n_bytes, "tokenising") as bar:
            store = rows.store(bundle.base.tokenizer, bar.at)
        for line in () if told else store.describe():
            note(err(), line)
    with RowsBar(err(), len(rows) or None, "evaluating") as bar:
        outputs, truncated = bundle.compute_outputs(rows, bar.at)
    if truncated and not told:
        cut = f"{truncated:,} of {len(rows):,} rows are truncated to {bundle.tokens.max_length} tokens"
        note(err(), f"{rows.report.source}: {cut}")
    if predictions is not None:
        written = write_official(bundle.task.official_files(outputs, rows), predictions)
        print_line(err(), f"{len(rows):,} predictions: {written}")
    return bundle.task.measure(outputs, rows, learned=rows)


def splits_to_evaluate(source: str, bundle: Bundle) -> list[str | None]:
    """The splits of a folder or data set to evaluate on: its dev splits, else its test splits; else all of it."""
    if source.startswith("hub:"):
        if not list_hub_splits(source):
            return [None]
    elif not Path(source).is_dir():
        return [None]
    layout = None if bundle.recipe is None else bundle.recipe.data.format
    try:
        there = splits_of(source, None)
    except DataError:
        there = splits_of(source, layout)  # a folder by another name, in the layout the model was trained on
    for role in ("dev", "test"):
        if found := [split for split in there if split.startswith(role)]:
            return list(found)
    return list(there)


def _stem(rows: Dataset) -> str:
    return os.path.basename(rows.report.source).partition(".")[0] or "data"  # noqa: PTH119  # it may be hub:…
