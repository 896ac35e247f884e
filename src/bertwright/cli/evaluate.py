"""The implementation of ``bertwright evaluate``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

from bertwright.cli.console import RowProgress, out, print_note, report_reading, show, stderr_console
from bertwright.cli.inputs import header_of
from bertwright.cli.options import (
    ComputeOptions,
    DataOptions,
    check_html_target,
    check_json_target,
    errors_name_options,
)
from bertwright.cli.question_answering import check_official, write_official
from bertwright.cores import default_threads, describe_threads
from bertwright.corpus.corpus_split import CorpusSplit
from bertwright.data.dataset import ColumnNames
from bertwright.data.folders import list_splits
from bertwright.data.hf_datasets import list_hub_splits
from bertwright.errors import DataError, OutputError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json
from bertwright.html.page import write_page
from bertwright.output.plurals import pluralize
from bertwright.output.terminal import PlainTable, make_table, print_line
from bertwright.run.bundle import Bundle
from bertwright.run.checkpoints import list_checkpoints
from bertwright.run.html_report import EvaluatedSplit, ReportContents, build_report_page
from bertwright.run.report import Report, duration, environment
from bertwright.run.report import show as show_value
from bertwright.run.splits import SplitData
from bertwright.tasks.spec import EvaluationResult, Outputs


def evaluate(
    name: str,
    source: DataOptions,
    compute: ComputeOptions,
    json: str | None = None,
    predictions: Path | None = None,
    page: Path | None = None,
) -> None:
    """Evaluate a model on a source and print the metrics.

    Args:
        name: of the model.
        source: the data.
        compute: the device, precision and threads.
        json: the file for the metrics; ``-`` prints them.
        predictions: the folder for prediction files in the benchmark's format.
        page: the file for an HTML report.

    Raises:
        BertwrightError: an argument, the model or the data is invalid.
    """
    check_json_target(json)
    check_html_target(page)
    with errors_name_options():
        bundle = compute.open(name)
        if predictions is not None:
            check_official(bundle, predictions)
        report, first = report_on(bundle, source, compute, predictions)
    if page is not None:
        write_page(page, build_report_page(contents_of(bundle, report, first)))
    if json == "-":
        print(report.to_json(), end="")  # noqa: T201  # the requested output
        return
    console = out()
    what = report.wording.unit
    seconds, per_second = report.speed["seconds"], report.speed["examples_per_second"]
    rate = f"{seconds * per_second:,.0f} {what} in {duration(seconds)}, {per_second:,.0f} per second"
    if report.environment["device"] == "cpu":
        threads, reason = (compute.threads, "") if compute.threads is not None else default_threads()
        rate += f" with {describe_threads(threads, reason)}"
    show(console, [*report.renderables(), rate])
    if json is not None:
        print_line(console, f"metrics in {report.save(json)}")
    if page is not None:
        print_line(console, f"report {page}")


def contents_of(bundle: Bundle, report: Report, first: EvaluatedSplit | None) -> ReportContents:
    """The contents of the HTML report of an evaluation."""
    recipe = {} if bundle.recipe is None else bundle.recipe.model_dump(mode="json")
    base = (recipe.get("model") or {}).get("base") or bundle.base.source
    return ReportContents(report, bundle.task, str(base), recipe, evaluated=first)


def report_on(
    bundle: Bundle, source: DataOptions, compute: ComputeOptions, predictions: Path | None = None
) -> tuple[Report, EvaluatedSplit | None]:
    """Read, predict and evaluate every evaluation split of a source.

    Args:
        bundle: the model.
        source: the data.
        compute: the device, precision and threads.
        predictions: the folder for prediction files in the benchmark's format.

    Returns:
        The report, and the outputs for the first split.

    Raises:
        DataError: the data is invalid, or has labels that the model does not know.
    """
    machine = environment(str(bundle.compute.device), bundle.compute.precision, compute.threads)
    name = bundle.base.source
    if Path(name).is_dir():
        name = Path(name).resolve().name
    report = Report(name=name, task=bundle.task.kind, labels=bundle.labels, environment=machine)
    start, n = time.perf_counter(), 0
    first: EvaluatedSplit | None = None
    for split, rows in rows_to_evaluate(bundle, source):
        result, outputs = _evaluate_split(bundle, rows, compute, predictions)
        if first is None:
            first = EvaluatedSplit(split, rows.examples, outputs)
        report = report.with_evaluation(split, result)
        n += result.n
    seconds = time.perf_counter() - start
    speed = {"seconds": seconds, "examples_per_second": n / seconds}
    return report.model_copy(update={"speed": speed}), first


def evaluate_all(run: str, source: DataOptions, compute: ComputeOptions, json: str | None = None) -> None:
    """Evaluate all checkpoints that a run kept, and print a table with one line each.

    Raises:
        BertwrightError: an argument, a checkpoint or the data is invalid.
    """
    check_json_target(json)
    lines: list[dict[str, Any]] = []
    with errors_name_options():
        bundle = compute.open(run)
        machine, splits = bundle.compute, list(rows_to_evaluate(bundle, source))
        for checkpoint in list_checkpoints(run):
            bundle = checkpoint.open(compute=machine, allow_code=compute.allow_code)
            results = {split: _evaluate_split(bundle, rows, compute, quiet=bool(lines))[0] for split, rows in splits}
            line = {"step": checkpoint.step, "epoch": checkpoint.epoch, "best": checkpoint.best}
            metrics = {split: m.metrics for split, m in results.items()}
            lines.append({**line, "metrics": metrics, "intervals": {s: m.intervals for s, m in results.items()}})
    text = to_json({"run": run, "checkpoints": lines}, indent=2) + "\n"
    if json == "-":
        print(text, end="")  # noqa: T201  # the requested output
        return
    console = out()
    show(console, [_table_of(lines)])
    if json is not None:
        print_line(console, f"metrics in {write_atomically(json, text)}")


def _table_of(lines: Sequence[dict[str, Any]]) -> PlainTable:
    """Return a table with step, epoch and metrics of each checkpoint; the one in the model directory is marked."""
    several = len(lines[0]["metrics"]) > 1
    names = [(split, metric) for split, values in lines[0]["metrics"].items() for metric in values]
    headings = [f"{split} {metric}" if several else metric for split, metric in names]
    table = make_table("step", "epoch", *headings, "")
    for line in lines:
        epoch = "–" if isnan(line["epoch"]) else f"{line['epoch']:.2f}"
        values = [show_value(metric, line["metrics"][split][metric]) for split, metric in names]
        table.add_row(f"{line['step']:,}", epoch, *values, "* best" if line["best"] else "")
    for column in table.columns[:-1]:
        column.justify = "right"
    return table


def _check_json(json: str | None) -> None:
    if json not in (None, "-") and Path(json).is_dir():
        raise OutputError(f"{json}: is a directory; name the file that --json should write.")


def rows_to_evaluate(bundle: Bundle, source: DataOptions) -> Iterator[tuple[str, SplitData]]:
    """Read every evaluation split of a source and print what the reader inferred, skipped or ignored.

    Raises:
        DataError: the data is invalid, or has labels that the model does not know.
    """
    columns = columns_for(bundle, source)
    for split in splits_to_evaluate(source.data, bundle):
        rows = bundle.read_split(source.data, columns, split=split, encoding=source.encoding)
        report_reading(rows.report)
        yield split or rows.report.split or _stem(rows), rows


def columns_for(bundle: Bundle, source: DataOptions) -> ColumnNames | None:
    """Return the columns to read if the options name any; the others default to those used in training."""
    columns = source.columns
    if columns is None and source.header is None:
        return None
    columns = replace(columns or ColumnNames(), header=header_of(bundle, source))
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


def _evaluate_split(
    bundle: Bundle, rows: SplitData, compute: ComputeOptions, predictions: Path | None = None, quiet: bool = False
) -> tuple[EvaluationResult, Outputs]:
    if isinstance(rows, CorpusSplit):
        with RowProgress(stderr_console(), rows.n_bytes, "tokenizing") as bar:
            store = rows.store(bundle.base.tokenizer, bar.update)
        for line in () if quiet else store.describe():
            print_note(stderr_console(), line)
    n = len(rows.examples)
    with RowProgress(stderr_console(), n or None, "evaluating") as bar:
        outputs, truncated = bundle.compute_outputs(rows, bar.update)
    if truncated and not quiet:
        cut = f"{truncated:,} of {pluralize(n, 'row')} truncated to {bundle.tokens.max_length} tokens"
        print_note(stderr_console(), f"{rows.report.source}: {cut}")
    if predictions is not None:
        files = write_official(bundle.task.official_files(outputs, rows.examples), predictions)
        print_line(stderr_console(), f"{n:,} predictions: {files}")
    return bundle.task.evaluate(outputs, rows.examples, train=rows.examples), outputs


def splits_to_evaluate(source: str, bundle: Bundle) -> list[str | None]:
    """Return the splits of a folder or dataset to evaluate: validation splits, else test splits, else everything."""
    if source.startswith("hub:"):
        if not list_hub_splits(source):
            return [None]
    elif not Path(source).is_dir():
        return [None]
    layout = None if bundle.recipe is None else bundle.recipe.data.format
    try:
        splits = list_splits(source, None)
    except DataError:
        splits = list_splits(source, layout)  # an unknown folder layout is read like the training data
    for role in ("dev", "test"):
        if matches := [split for split in splits if split.startswith(role)]:
            return list(matches)
    return list(splits)


def _stem(rows: SplitData) -> str:
    return os.path.basename(rows.report.source).partition(".")[0] or "data"  # noqa: PTH119  # may be hub:…
