"""Read rows from anything: a file, a folder, a Hub data set, or lists, data frames and data sets in memory."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertwright.text.columns import build
from bertwright.text.conll import holds_columns, read_conll
from bertwright.text.folders import class_folders, detect_layout, inside, is_saved_dataset
from bertwright.text.glue import read_glue
from bertwright.text.hubdata import read_datasets, read_hub
from bertwright.text.memory import in_memory
from bertwright.text.rows import GUESS, Columns, Kind, ReadReport, Rows
from bertwright.text.squad import build_answers, read_squad
from bertwright.text.tables import Table, read_table
from bertwright.text.tagged import build_tagged

__all__ = ["Columns", "Kind", "ReadReport", "Rows", "read"]


def read(
    source: Any,
    columns: Columns = GUESS,
    *,
    kind: Kind = "classification",
    encoding: str = "utf-8",
    need_target: bool = False,
    layout: str | None = None,
    split: str | None = None,
) -> Rows:
    """Read the rows of a source, in its order.

    Args:
        source: a path to a CSV, TSV, JSON-lines, JSON, Parquet or text file (the text kinds also ``.gz``), or to
            a folder: GLUE, aclImdb, one subfolder of ``.txt`` files a class, ``train.*``/``dev.*``/``test.*`` files,
            a saved ``datasets`` folder; ``hub:NAME[/CONFIG][:SPLIT]``; a list of texts, of (text, label) or
            (text, text_pair, label) tuples, of dicts or of examples; a pandas DataFrame or Series; a
            ``datasets.Dataset`` or ``DatasetDict``. With ``Columns(label=())`` tuples hold texts alone.
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

    Raises:
        DataError: the source is missing, damaged or empty, or a row is not as it should be; with file and line.
        HubError: a Hub data set cannot be brought.
        MissingDependencyError: a Hub data set is named and ``datasets`` is not installed.
    """
    if isinstance(source, Rows):
        return source
    if isinstance(source, str) and source.startswith("hub:"):
        table, split = read_hub(source, split)
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if layout is None and columns.text is None and not columns.label and kind not in ("tagging", "qa"):
            layout = detect_layout(path)
        if layout is not None and layout != "aclimdb":
            rows = read_glue(path, layout, split, encoding=encoding, need_target=need_target, kind=kind)
            return _without_targets(rows) if columns.label == () else rows
        table, columns, split = _of_path(path, columns, kind, encoding, split)
    elif type(source).__module__.partition(".")[0] == "datasets":
        table, split = read_datasets(source, type(source).__name__, split)
    else:
        table, columns = in_memory(source, columns, kind)
        split = None
    if kind == "tagging":
        rows = build_tagged(table, columns, need_target)
    elif kind == "qa":
        rows = build_answers(table, columns, need_target)
    else:
        rows = build(table, columns, kind, need_target)
    return replace(rows, report=replace(rows.report, layout=layout, split=split))


def _of_path(
    path: Path, columns: Columns, kind: Kind, encoding: str, split: str | None
) -> tuple[Table, Columns, str | None]:
    if not path.is_dir():
        return _of_file(path, columns, kind, encoding), columns, None
    if is_saved_dataset(path):
        table, split = read_hub(f"hub:{path}", split)
        return table, columns, split
    found = inside(path, split)
    if found.is_dir():
        label = columns.label if columns.label == () else "label"
        return class_folders(found, encoding), Columns("text", None, label, "id"), split
    return _of_file(found, columns, kind, encoding), columns, split


def _of_file(path: Path, columns: Columns, kind: Kind, encoding: str) -> Table:
    if kind == "tagging" and holds_columns(path):
        return read_conll(path, encoding, may_be_text=columns.label == () and columns.text is None)
    return read_squad(path, encoding) if kind == "qa" else read_table(path, encoding)


def _without_targets(rows: Rows) -> Rows:
    return replace(rows, examples=[replace(example, target=None) for example in rows])
