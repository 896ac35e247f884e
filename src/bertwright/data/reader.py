"""Read rows from a file, a folder, a Hub data set, or from lists, data frames and data sets in memory."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertwright.data.cell_values import shorten
from bertwright.data.dataset import INFER_COLUMNS, ColumnNames, Dataset, ReadReport
from bertwright.data.folders import detect_layout, find_split, is_saved_dataset, read_class_folders
from bertwright.data.glue import read_glue
from bertwright.data.hf_datasets import is_datasets, read_datasets, read_hub
from bertwright.data.in_memory import table_in_memory
from bertwright.data.split_names import name_splits, parse_split_name
from bertwright.data.table_files import Table
from bertwright.data.targets.lookup import Kind, target_spec
from bertwright.data.targets.spec import TargetSpec
from bertwright.errors import DataError, did_you_mean
from bertwright.files.atomic import expand_home

__all__ = ["ColumnNames", "Dataset", "Kind", "ReadReport", "is_local", "read_by_column", "read_dataset"]


def read_dataset(
    source: Any,
    columns: ColumnNames = INFER_COLUMNS,
    *,
    kind: Kind | TargetSpec = "classification",
    encoding: str = "utf-8",
    need_target: bool = False,
    layout: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    may_lack_label: bool = False,
) -> Dataset:
    """Read the rows of a source, in its order.

    Args:
        source: a path to a CSV, TSV, JSON-lines, JSON, Parquet or text file (text formats also ``.gz``), or to
            a folder: GLUE, aclImdb, one subfolder of ``.txt`` files per class, ``train.*``/``dev.*``/``test.*`` files,
            a saved ``datasets`` folder; ``hub:NAME[/CONFIG][:SPLIT]``; a list of texts, of (text, label) or
            (text, text_pair, label) tuples, of dicts or of examples; a pandas DataFrame or Series; a
            ``datasets.Dataset`` or ``DatasetDict``. With ``ColumnNames(label=())`` tuples hold texts only.
        columns: which columns hold what; the others are inferred and reported.
        kind: the kind of target that the label column holds, by name or as a specification. Labels are strings: whole
            numbers become "1", whether the source has 1, "1" or 1.0. ``tagging`` also reads column files and CoNLL-U,
            whose columns are named by number ("-1" is the last), lists of words with lists of tags, and texts with
            labeled spans; ``qa`` reads SQuAD's JSON, and columns of questions (text), contexts (text_pair) and answers
            (label).
        encoding: of text files.
        need_target: whether a row without a target, or a source without a label column, is an error.
        layout: the published layout of a file or folder if its name and contents do not show it: a GLUE task
            (``sst2``, ``mnli``, …) or ``aclimdb``. Folders in a published layout, and files in them, are recognized if
            no text or label column is named.
        split: ``train``, ``dev`` or ``test`` of a source that holds several (MNLI: also ``dev_mismatched``).
        limit: read only the first N rows; None reads all.
        may_lack_label: read rows without targets if the label column that ``columns`` names is missing.

    Raises:
        DataError: the source is missing, damaged or empty, or a row is invalid; the message names file and line.
        HubError: a Hub data set cannot be loaded.
        MissingDependencyError: a Hub data set is named and ``datasets`` is not installed.
    """
    if isinstance(source, Dataset):
        return source if limit is None else source[:limit]
    target = target_spec(kind)
    if isinstance(source, (str, os.PathLike)):
        source = expand_home(source)
    if is_local(source):
        path = Path(source)
        if target.has_published_layouts and layout is None and columns.text is None and not columns.label:
            layout = detect_layout(path)
        if layout is not None and layout != "aclimdb":
            expected = None if target.is_corpus else target.name
            rows = read_glue(
                path, layout, split, encoding=encoding, need_target=need_target, kind=expected, limit=limit
            )
            return _without_targets(rows) if columns.label == () else rows
    return _read_table(source, columns, target, encoding, split, layout, limit, need_target, may_lack_label)


def _read_table(
    source: Any,
    columns: ColumnNames,
    target: TargetSpec,
    encoding: str,
    split: str | None,
    layout: str | None,
    limit: int | None,
    need_target: bool,
    may_lack_label: bool,
) -> Dataset:
    """Read the rows of a table; if rows are skipped, read more until there are as many as the limit."""
    n = limit
    while True:
        table, used, split = _open(source, columns, target, encoding, split, None if n is None else n + 1)
        label = (used.label,) if isinstance(used.label, str) else used.label or ()
        if may_lack_label and label and not set(label) & set(table.names):
            used = replace(used, label=())
        rows = _build_rows(table, used, target, need_target, limit)
        if limit is None or n is None or len(rows) >= limit or table.n_rows <= n:
            return replace(rows, report=replace(rows.report, layout=layout, split=split))
        n *= 2  # rows were skipped: read more


def read_by_column(
    source: Any,
    split_column: str,
    columns: ColumnNames = INFER_COLUMNS,
    *,
    kind: Kind | TargetSpec = "classification",
    encoding: str = "utf-8",
    limit: int | None = None,
) -> dict[str, Dataset]:
    """Read the rows of a source and split them by a column with ``train``, ``dev`` (``validation``) or ``test``.

    Columns are inferred from the training rows. Only test rows may lack targets.

    Args:
        source: as for :func:`read_dataset`, but without splits.
        split_column: the column with the name of each row's split.
        columns: which columns hold what; the others are inferred.
        kind: the kind of target that the label column holds.
        encoding: of text files.
        limit: read only the first N training rows; None reads all.

    Raises:
        DataError: as :func:`read_dataset`; there is no such column, or a value in it names no split.
    """
    if isinstance(source, (str, os.PathLike)):
        source = expand_home(source)
    target = target_spec(kind)
    table, columns, _ = _open(source, columns, target, encoding, None)
    if split_column not in table.names:
        hint = did_you_mean(split_column, table.names)
        raise DataError(f'{table.source}: data.split_column names "{split_column}", which is no column; {hint}')
    places: dict[str, list[int]] = {}
    for i, value in enumerate(table.column(split_column)):
        split = parse_split_name(value) if isinstance(value, str) else None
        if split is None:
            raise DataError(
                f'{table.where(i)}: the split column "{split_column}" is {shorten(value)}; expected train, '
                "validation (or dev) or test in every row."
            )
        places.setdefault(split, []).append(i)
    if "train" not in places:
        raise DataError(f'{table.source}: the split column "{split_column}" has no train rows; mark some as train.')
    table, rows = table.without(split_column), {}
    for split in sorted(places, key=list(name_splits(places)).index):
        needed = not split.startswith("test")
        part = table.select(places[split])
        read_rows = _build_rows(part, columns, target, needed, limit if split == "train" else None)
        columns = replace(read_rows.report.columns, id=columns.id) if split == "train" else columns
        rows[split] = replace(read_rows, report=replace(read_rows.report, split=split))
        table = replace(table, skipped={}, notes=[], warnings=[])  # reported with train
    return rows


def is_local(source: Any) -> bool:
    """Whether a source is a path rather than a Hub name or rows in memory."""
    return isinstance(source, os.PathLike) or (isinstance(source, str) and not source.startswith("hub:"))


def _open(
    source: Any, columns: ColumnNames, target: TargetSpec, encoding: str, split: str | None, limit: int | None = None
) -> tuple[Table, ColumnNames, str | None]:
    """Open a source that has no published layout: its table, the columns to use, and the split that was read.

    With a limit, no more than these rows of a CSV file are read.
    """
    if is_local(source):
        table, columns, split = _open_path(Path(source), columns, target, encoding, split, limit)
    elif isinstance(source, str):
        table, split = read_hub(source, split)
    elif is_datasets(source):
        table, split = read_datasets(source, type(source).__name__, split)
    else:
        table, columns = table_in_memory(source, columns, target)
        split = None
    return target.group_rows(table, columns), columns, split


def _build_rows(
    table: Table, columns: ColumnNames, target: TargetSpec, need_target: bool, limit: int | None
) -> Dataset:
    """The first ``limit`` rows of a table as examples, not counting skipped rows."""
    n = table.n_rows if limit is None else min(limit, table.n_rows)
    while True:
        part = table if n == table.n_rows else table.select(range(n))
        rows = target.build_dataset(part, columns, need_target)
        if limit is None or n == table.n_rows:
            return rows if limit is None else rows[:limit]
        if len(rows) >= limit:
            note = f"{table.source}: only the first {limit:,} rows are read (data.limit)"
            return replace(rows[:limit], report=replace(rows.report, n_rows=limit, notes=(*rows.report.notes, note)))
        n = min(2 * n, table.n_rows)


def _open_path(
    path: Path, columns: ColumnNames, target: TargetSpec, encoding: str, split: str | None, limit: int | None
) -> tuple[Table, ColumnNames, str | None]:
    if not path.is_dir():
        return target.read_file(path, encoding, columns, limit), columns, None
    if is_saved_dataset(path):
        table, split = read_hub(f"hub:{path}", split)
        return table, columns, split
    file = find_split(path, split)
    if file.is_dir():
        label = columns.label if columns.label == () else "label"
        return read_class_folders(file, encoding), ColumnNames("text", None, label, "id"), split
    return target.read_file(file, encoding, columns, limit), columns, split


def _without_targets(rows: Dataset) -> Dataset:
    return replace(rows, examples=[replace(example, target=None) for example in rows])
