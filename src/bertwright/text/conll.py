"""Column files: a word a line with its tags beside it, an empty line after each sentence; and CoNLL-U."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from bertwright.errors import DataError
from bertwright.text.tables import Table, load_text, split_lines

SUFFIXES: Final = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes", ".iobes", ".tsv", ".txt")
"""The usual suffixes of column files; any other that no table has is read as one too."""

_TABLES: Final = (".jsonl", ".ndjson", ".json", ".parquet", ".csv")

# https://universaldependencies.org/format.html; the first is not the id of a sentence but of a word.
_UNIVERSAL: Final = ("number", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_DOCUMENT: Final = "-DOCSTART-"
# "# id 5239d808-…	domain=en" before each sentence of MultiCoNER has as many columns as its words.
_COMMENT: Final = re.compile(r"#\s*(id|sent_id|text)\b")
_BREAK: Final = "sentences are separated by an empty line"

_Lines = list[tuple[int, str]]


def holds_columns(path: Path) -> bool:
    """Whether a file of words and tags is a column file, by its name: whatever is no table of another kind."""
    return _suffix(path) not in _TABLES


def read_conll(path: Path, encoding: str = "utf-8", may_be_text: bool = False) -> Table:
    """The sentences of a column file as the rows of a table, whose cells are lists, one value a word.

    Columns are named by their number, from 0 or from the end ("-1"); those of CoNLL-U also ``form``, ``upos``,
    ``xpos``, ``deprel`` and so on, with ``sent_id`` for the id of the sentence. They are separated by tabs, if the
    first line has one, or else by spaces, of which a word then holds none.

    Args:
        path: the file; ``.conllu`` is CoNLL-U. With ``.gz`` at the end it is unzipped.
        encoding: of the file.
        may_be_text: whether a ``.txt`` may be plain text, a row a line, which it is unless its lines have equally many
            columns with empty lines between. The table then has one column, ``text``.

    Raises:
        DataError: the file is missing, damaged or in another encoding, has no sentences, or a line has more or fewer
            columns than the others.
    """
    text, source = load_text(path, encoding), str(path)
    lines = list(enumerate(split_lines(text), 1))
    if _suffix(path) == ".conllu":
        return _universal(lines, source)
    if may_be_text and _suffix(path) in (".txt", "") and not _looks_like_columns(lines):
        texts = [line for _, line in lines]
        note = f"{source}: read as one text a line; name it .conll if it holds a word a line"
        return Table(source, ["text"], len(texts), lambda _: texts, lambda i: f"{source}:{i + 1}", notes=[note])
    return _plain(lines, source)


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _blank(line: str) -> bool:
    return not line.strip(" \t")


def _first_word(lines: _Lines) -> str:
    """The first line that surely has a word; one with ``#`` may be a comment."""
    return next((line for _, line in lines if not _blank(line) and not line.startswith(("#", _DOCUMENT))), "")


def _splitter(lines: _Lines) -> Callable[[str], list[str]]:
    """How the lines are split. Never at the other white space of Unicode, which words hold."""
    if "\t" in _first_word(lines):
        return lambda line: [cell.strip(" ") for cell in line.split("\t")]
    return lambda line: re.split("[ \t]+", line.strip(" \t"))


def _looks_like_columns(lines: _Lines) -> bool:
    if any(line.startswith(_DOCUMENT) for _, line in lines):
        return True
    split = _splitter(lines)
    widths = {0 if _blank(line) else len(split(line)) for _, line in lines}
    return len(widths) == 2 and 0 in widths


def _plain(lines: _Lines, source: str) -> Table:
    split = _splitter(lines)
    rows: list[list[str]] = []
    numbers: list[int] = []
    bounds = [0]
    skipped: dict[str, int] = {}
    first = _first_word(lines)
    width = len(split(first)) if first else 0
    for number, line in lines:
        if _blank(line) or line.startswith(_DOCUMENT):
            if len(rows) > bounds[-1]:
                bounds.append(len(rows))
            if not _blank(line):
                skipped[f"{_DOCUMENT} line"] = skipped.get(f"{_DOCUMENT} line", 0) + 1
            continue
        row = split(line)
        # A word may be "#", so a comment is known by standing before a sentence and having other columns than words.
        if line.startswith("#") and len(rows) == bounds[-1] and (len(row) != width or _COMMENT.match(line)):
            skipped["comment line"] = skipped.get("comment line", 0) + 1
            continue
        if len(row) != width:
            due = f"{width} columns" if width > 1 else "1 column"
            raise DataError(f"{source}:{number}: expected {due}, found {len(row)}; {_BREAK}.")
        rows.append(row)
        numbers.append(number)
    places = {str(place): place for place in range(width)}
    if width > 1:
        places |= {str(place - width): place for place in range(width)}
    return _table(rows, numbers, bounds, places, source, skipped=skipped)


def _universal(lines: _Lines, source: str) -> Table:
    rows: list[list[str]] = []
    numbers: list[int] = []
    bounds, ids = [0], [""]
    ranges = empty = 0
    for number, line in lines:
        if _blank(line):
            if len(rows) > bounds[-1]:
                bounds.append(len(rows))
                ids.append("")
            continue
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip() == "sent_id":
                ids[-1] = value.strip()
            continue
        row = line.split("\t")
        if len(row) != len(_UNIVERSAL):
            what = f"expected {len(_UNIVERSAL)} columns with tabs between, found {len(row)}"
            raise DataError(f"{source}:{number}: {what}; {_BREAK}.")
        ranges += "-" in row[0]
        empty += "." in row[0]
        if row[0].isdecimal():
            rows.append(row)
            numbers.append(number)
        elif "-" not in row[0] and "." not in row[0]:
            raise DataError(f'{source}:{number}: expected the number of a word, found "{row[0]}"; is it CoNLL-U?')
    notes = []
    if ranges:
        notes.append(f"{source}: {ranges:,} words written in parts (lines such as 1-2) are read as those parts")
    if empty:
        notes.append(f"{source}: {empty:,} empty nodes (lines such as 1.1) are passed over")
    places = {name: place for place, name in enumerate(_UNIVERSAL)} | {str(i): i for i in range(len(_UNIVERSAL))}
    return _table(rows, numbers, bounds, places, source, ids=ids if any(ids) else None, notes=notes)


def _table(
    rows: Sequence[Sequence[str]],
    numbers: Sequence[int],
    bounds: list[int],
    places: dict[str, int],
    source: str,
    *,
    ids: Sequence[str] | None = None,
    skipped: dict[str, int] | None = None,
    notes: list[str] | None = None,
) -> Table:
    """The table of sentences: sentence i is ``rows[bounds[i]:bounds[i + 1]]``."""
    if len(rows) > bounds[-1]:
        bounds.append(len(rows))
    if not rows:
        raise DataError(f"{source}: holds no sentences, only comments or empty lines; is it the right file?")
    spans = list(pairwise(bounds))

    def column(name: str) -> list[Any]:
        if name == "sent_id":
            return list(ids or ())[: len(spans)]
        return [[row[places[name]] for row in rows[start:stop]] for start, stop in spans]

    names = [*(["sent_id"] if ids else []), *places]
    return Table(
        source,
        names,
        len(spans),
        column,
        lambda i: f"{source}:{numbers[bounds[i]]}",
        skipped=skipped or {},
        notes=notes or [],
    )
