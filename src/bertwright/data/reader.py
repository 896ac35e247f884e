"""Read rows from anything: a file, a folder, a Hub data set, or lists, data frames and data sets in memory."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertwright.data.cell_values import shortened
from bertwright.data.choice_rows import build_choices
from bertwright.data.column_inference import build
from bertwright.data.conll import holds_columns, read_conll
from bertwright.data.dataset import GUESS, ColumnNames, Dataset, Kind, ReadReport
from bertwright.data.folders import class_folders, detect_layout, inside, is_saved_dataset
from bertwright.data.glue import read_glue
from bertwright.data.hf_datasets import is_datasets, read_datasets, read_hub
from bertwright.data.in_memory import in_memory
from bertwright.data.split_names import name_splits, parse_split_name
from bertwright.data.squad import build_answers, read_squad
from bertwright.data.table_files import Table, read_table
from bertwright.data.tagged_rows import build_tagged
from bertwright.data.word_rows import group_words
from bertwright.errors import DataError, did_you_mean
from bertwright.files.atomic import expand_home

__all__ = ["ColumnNames", "Dataset", "Kind", "ReadReport", "is_local", "read_by_column", "read_dataset"]


def read_dataset(
    source: Any,
    columns: ColumnNames = GUESS,
    *,
    kind: Kind = "classification",
    encoding: str = "utf-8",
    need_target: bool = False,
    layout: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    may_lack_label: bool = False,
) -> Dataset:
    """Read the rows of a source, in its order.

    Args:
        source: a path to a CSV, TSV, JSON-lines, JSON, Parquet or text file (the text kinds also ``.gz``), or to
            a folder: GLUE, aclImdb, one subfolder of ``.txt`` files a class, ``train.*``/``dev.*``/``test.*`` files,
            a saved ``datasets`` folder; ``hub:NAME[/CONFIG][:SPLIT]``; a list of texts, of (text, label) or
            (text, text_pair, label) tuples, of dicts or of examples; a pandas DataFrame or Series; a
            ``datasets.Dataset`` or ``DatasetDict``. With ``ColumnNames(label=())`` tuples hold texts alone.
        columns: which columns hold what; what is left out is guessed and reported.
        kind: what kind of target the label column holds. Labels are strings: whole numbers become "1", whether
            the source has 1, "1" or 1.0. ``tagging`` also reads column files and CoNLL-U, whose columns are named
            by number ("-1" is the last), lists of words with lists of tags, and texts with labelled spans; ``qa``
            SQuAD's JSON, and the columns of the question (text), its context (text_pair) and the answers (label).
        encoding: of text files.
        need_target: whether a row without a target, or a source without a label column, is an error.
        layout: the layout of a file or folder where name and contents do not show it: a GLUE task (``sst2``,
            ``mnli``, …) or ``aclimdb``. Folders in a known layout, and files in them, are recognised if no
            text or label column is named.
        split: ``train``, ``dev`` or ``test`` of a source that holds several (MNLI: also ``dev_mismatched``).
        limit: read only the first N rows; None reads all.
        may_lack_label: read the rows without targets if the label column that ``columns`` names is absent.

    Raises:
        DataError: the source is missing, damaged or empty, or a row is not as it should be; with file and line.
        HubError: a Hub data set cannot be brought.
        MissingDependencyError: a Hub data set is named and ``datasets`` is not installed.
    """
    if isinstance(source, Dataset):
        return source if limit is None else source[:limit]
    if isinstance(source, (str, os.PathLike)):
        source = expand_home(source)
    if is_local(source):
        path = Path(source)
        if (
            layout is None
            and columns.text is None
            and not columns.label
            and kind not in ("tagging", "qa", "multiple_choice")
        ):
            layout = detect_layout(path)
        if layout is not None and layout != "aclimdb":
            rows = read_glue(path, layout, split, encoding=encoding, need_target=need_target, kind=kind, limit=limit)
            return _without_targets(rows) if columns.label == () else rows
    return _read_table(source, columns, kind, encoding, split, layout, limit, need_target, may_lack_label)


def _read_table(
    source: Any,
    columns: ColumnNames,
    kind: Kind,
    encoding: str,
    split: str | None,
    layout: str | None,
    limit: int | None,
    need_target: bool,
    may_lack_label: bool,
) -> Dataset:
    """The rows of a source's columns; reads on while skipped rows leave fewer than the limit."""
    n = limit
    while True:
        table, used, split = _open(source, columns, kind, encoding, split, None if n is None else n + 1)
        label = (used.label,) if isinstance(used.label, str) else used.label or ()
        if may_lack_label and label and not set(label) & set(table.names):
            used = replace(used, label=())
        rows = _build_first(table, used, kind, need_target, limit)
        if limit is None or n is None or len(rows) >= limit or table.n_rows <= n:
            return replace(rows, report=replace(rows.report, layout=layout, split=split))
        n *= 2  # rows were skipped: read on


def read_by_column(
    source: Any,
    split_column: str,
    columns: ColumnNames = GUESS,
    *,
    kind: Kind = "classification",
    encoding: str = "utf-8",
    limit: int | None = None,
) -> dict[str, Dataset]:
    """Read the rows of a source, split by a column that says ``train``, ``dev`` (``validation``) or ``test``.

    Columns are inferred from the training rows. Only test rows may lack targets.

    Args:
        source: as :func:`read_dataset` takes it, without splits of its own.
        split_column: the column with the name of each row's split.
        columns: which columns hold what; those left out are inferred.
        kind: what kind of target the label column holds.
        encoding: of text files.
        limit: read only the first N training rows; None reads all.

    Raises:
        DataError: as :func:`read_dataset`; there is no such column, or a value in it names no split.
    """
    if isinstance(source, (str, os.PathLike)):
        source = expand_home(source)
    table, columns, _ = _open(source, columns, kind, encoding, None)
    if split_column not in table.names:
        hint = did_you_mean(split_column, table.names)
        raise DataError(f'{table.source}: data.split_column names "{split_column}", which is no column; {hint}')
    places: dict[str, list[int]] = {}
    for i, value in enumerate(table.column(split_column)):
        split = parse_split_name(value) if isinstance(value, str) else None
        if split is None:
            raise DataError(
                f'{table.where(i)}: the split column "{split_column}" is {shortened(value)}; expected train, '
                "validation (or dev) or test in every row."
            )
        places.setdefault(split, []).append(i)
    if "train" not in places:
        raise DataError(f'{table.source}: the split column "{split_column}" has no train rows; mark some as train.')
    table, rows = table.without(split_column), {}
    for split in sorted(places, key=list(name_splits(places)).index):
        needed = not split.startswith("test")
        part = table.select(places[split])
        read_rows = _build_first(part, columns, kind, needed, limit if split == "train" else None)
        columns = replace(read_rows.report.columns, id=columns.id) if split == "train" else columns
        rows[split] = replace(read_rows, report=replace(read_rows.report, split=split))
        table = replace(table, skipped={}, notes=[], warnings=[])  # reported with train
    return rows


def is_local(source: Any) -> bool:
    """Whether a source is a path rather than a Hub name or rows in memory."""
    return isinstance(source, os.PathLike) or (isinstance(source, str) and not source.startswith("hub:"))


def _open(
    source: Any, columns: ColumnNames, kind: Kind, encoding: str, split: str | None, limit: int | None = None
) -> tuple[Table, ColumnNames, str | None]:
    """The table of a source in no known layout, the columns to use, and the split that was read.

    With a limit a CSV file is read no further than these rows.
    """
    if is_local(source):
        table, columns, split = _of_path(Path(source), columns, kind, encoding, split, limit)
    elif isinstance(source, str):
        table, split = read_hub(source, split)
    elif is_datasets(source):
        table, split = read_datasets(source, type(source).__name__, split)
    else:
        table, columns = in_memory(source, columns, kind)
        split = None
    return (group_words(table, columns) if kind == "tagging" else table), columns, split


def _build_first(table: Table, columns: ColumnNames, kind: Kind, need_target: bool, limit: int | None) -> Dataset:
    """The first ``limit`` rows of a table as examples, not counting skipped rows."""
    n = table.n_rows if limit is None else min(limit, table.n_rows)
    while True:
        part = table if n == table.n_rows else table.select(range(n))
        if kind == "tagging":
            rows = build_tagged(part, columns, need_target)
        elif kind == "qa":
            rows = build_answers(part, columns, need_target)
        elif kind == "multiple_choice":
            rows = build_choices(part, columns, need_target)
        else:
            rows = build(part, columns, kind, need_target)
        if limit is None or n == table.n_rows:
            return rows if limit is None else rows[:limit]
        if len(rows) >= limit:
            note = f"{table.source}: only the first {limit:,} rows are read (data.limit)"
            return replace(rows[:limit], report=replace(rows.report, n_rows=limit, notes=(*rows.report.notes, note)))
        n = min(2 * n, table.n_rows)


def _of_path(
    path: Path, columns: ColumnNames, kind: Kind, encoding: str, split: str | None, limit: int | None
) -> tuple[Table, ColumnNames, str | None]:
    if not path.is_dir():
        return _of_file(path, columns, kind, encoding, limit), columns, None
    if is_saved_dataset(path):
        table, split = read_hub(f"hub:{path}", split)
        return table, columns, split
    found = inside(path, split)
    if found.is_dir():
        label = columns.label if columns.label == () else "label"
        return class_folders(found, encoding), ColumnNames("text", None, label, "id"), split
    return _of_file(found, columns, kind, encoding, limit), columns, split


def _of_file(path: Path, columns: ColumnNames, kind: Kind, encoding: str, limit: int | None) -> Table:
    if kind == "tagging" and holds_columns(path):
        return read_conll(path, encoding, may_be_text=columns.label == () and columns.text is None)
    if kind == "qa":
        return read_squad(path, encoding, columns.header)
    # of tagging, several rows may be one sentence
    return read_table(path, encoding, columns.header, None if kind == "tagging" else limit)


def _without_targets(rows: Dataset) -> Dataset:
    return replace(rows, examples=[replace(example, target=None) for example in rows])
