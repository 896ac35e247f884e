"""The implementation of ``bertwright select``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, cast

from bertwright.cli.arguments import SelectionStrategy
from bertwright.cli.console import RowProgress, print_note, report_remarks, stderr_console
from bertwright.cli.inputs import Input, open_input
from bertwright.cli.options import ComputeOptions, InputOptions, OutputOptions, errors_name_options
from bertwright.cli.prediction_files import choose_format, join_columns, uncertainty_columns, write
from bertwright.data.table_files import ABSENT
from bertwright.output.plurals import pluralize
from bertwright.output.terminal import print_line
from bertwright.tools.row_selection import RowSelector, SelectedRow, Selection, Strategy
from bertwright.training.compute import release_free_memory


def select(
    name: str,
    n: int,
    inputs: Sequence[InputOptions],
    destination: OutputOptions,
    computing: ComputeOptions,
    strategy: SelectionStrategy,
    seed: int,
) -> None:
    """Choose rows to label from unlabeled files, and write them.

    Raises:
        BertwrightError: an option, an input or the model is invalid, or too few rows can be chosen.
    """
    with errors_name_options(), ExitStack() as stack:
        bundle = computing.open(name)
        first = inputs[0]
        format_ = choose_format(destination, f"input.{first.format}" if first.format else first.data, None)
        selector = RowSelector(bundle, n, cast("Strategy", str(strategy)), seed)
        added = _build_added_columns([])
        sources = [open_input(bundle, reading, added, format_, stack) for reading in inputs]
        for source in sources:
            _add_rows(selector, source)
        selection = selector.choose()
        write(_to_columns(selection.rows, format_), destination.output or "-", format_)
    for note in _describe(selection):
        print_note(stderr_console(), note)
    if destination.output not in (None, "-"):
        counts = f"{len(selection.rows):,} of {pluralize(selection.n_rows, 'row')}"
        print_line(stderr_console(), f"{counts} in {destination.output}")


def _add_rows(selector: RowSelector, source: Input) -> None:
    """Add the rows of an input, part by part, with a bar where it takes long."""
    n = 0
    with RowProgress(stderr_console(), source.total, "selecting") as bar:

        def update(done: int) -> None:
            bar.update(n + done)

        for part in source.parts:
            selector.add(part.examples, part.columns, update)
            n += len(part.examples)
            release_free_memory()
    report_remarks([] if source.report is None else source.report().remarks())


def _to_columns(rows: Sequence[SelectedRow], format_: str) -> dict[str, Sequence[Any]]:
    """The columns of the input, in the order of their first row, and those that are added."""
    names = dict.fromkeys(name for row in rows for name in row.columns)
    columns = {name: [row.columns.get(name, ABSENT) for row in rows] for name in names}
    return join_columns(columns, _build_added_columns(rows), format_)


def _build_added_columns(rows: Sequence[SelectedRow]) -> dict[str, list[Any]]:
    values = uncertainty_columns([(row.entropy, row.margin) for row in rows])
    return {"source": [row.example.where for row in rows], **values}


def _describe(selection: Selection) -> list[str]:
    """What was skipped, as sentences."""
    notes = list(selection.notes)
    if selection.n_labeled:
        notes.append(f"{pluralize(selection.n_labeled, 'row')} skipped: in the data of the run")
    if selection.n_duplicates:
        notes.append(f"{pluralize(selection.n_duplicates, 'row')} skipped: duplicates of other candidates")
    return notes
