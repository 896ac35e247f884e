"""Column files: a word a line with its tags beside it, an empty line after each sentence; and CoNLL-U."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from bertwright.data.table_files import Table, load_text, split_lines
from bertwright.data.word_rows import has_word_header
from bertwright.errors import DataError

LONGEST: Final = 2000
"""A file that is all one sentence of more words than this is something else than a column file."""

SUFFIXES: Final = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes", ".iobes", ".tsv", ".txt")
"""The usual suffixes of column files; any other that no table has is read as one too."""

_TABLES: Final = (".jsonl", ".ndjson", ".json", ".parquet", ".csv")

# https://universaldependencies.org/format.html; the first is not the id of a sentence but of a word.
_UNIVERSAL: Final = ("number", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_DOCUMENT: Final = "-DOCSTART-"
# "# id 5239d808-…	domain=en" before each sentence of MultiCoNER has as many columns as its words.
_COMMENT: Final = re.compile(r"#\s*(id|sent_id|text)\b")
_TAG: Final = re.compile(r"O|[BIESLU][-_].+")
_HASHTAG: Final = re.compile(r"#\S")
_LONGEST_HEADER: Final = 4096  # bytes
_BREAK: Final = "sentences are separated by an empty line"

_Lines = list[tuple[int, str]]


def holds_columns(path: Path) -> bool:
    """Whether a file of words and tags is a column file: by its name, unless a .tsv begins with a table's header."""
    return _suffix(path) not in _TABLES and not (_suffix(path) in (".tsv", ".tab") and has_word_header(_peek(path)))


def _peek(path: Path) -> str:
    """The first line of a file, in which only ASCII matters; empty if it cannot be read."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            return file.readline(_LONGEST_HEADER).removeprefix(codecs.BOM_UTF8).decode("latin-1")
    except (OSError, EOFError, zlib.error):
        return ""


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
    lines, source = _lines(path, encoding), str(path)
    if may_be_text and _suffix(path) in (".txt", "") and not _looks_like_columns(lines):
        texts = [line for _, line in lines]
        note = f"{source}: read as one text a line; name it .conll if it holds a word a line"
        return Table(source, ["text"], len(texts), lambda _: texts, lambda i: f"{source}:{i + 1}", notes=[note])
    return _table(path, lines)


def with_column(path: Path, values: Sequence[str], encoding: str = "utf-8") -> Iterator[str]:
    """The lines of a column file with one more column at the end, and all else as it was.

    Lines between sentences stay; a ``-DOCSTART-`` line with columns gets ``O``, lest it have fewer than the others, and
    one of CoNLL-U that is no word of its own ``_``.

    Args:
        path: the file.
        values: one a word, in the order of the words.
        encoding: of the file.

    Raises:
        DataError: it cannot be read, or has more or fewer words than values.
    """
    lines = _lines(path, encoding)
    universal = _suffix(path) == ".conllu"
    numbers = _parsed(path, lines).numbers
    if len(numbers) != len(values):
        raise DataError(f"{path}: has {len(numbers)} words, but there are {len(values)} values; was it changed?")
    value_of = dict(zip(numbers, values, strict=True))
    separator = "\t" if universal or "\t" in _first_word(lines) else " "
    for number, line in lines:
        value = value_of.get(number)
        if value is None and line.startswith(_DOCUMENT) and len(line.split()) > 1:
            value = "O"
        elif value is None and universal and not _blank(line) and not line.startswith("#"):
            value = "_"
        whole = line.rstrip(" \t") if separator == " " else line
        yield line if value is None else f"{whole}{separator}{value}"


def _lines(path: Path, encoding: str) -> _Lines:
    return list(enumerate(split_lines(load_text(path, encoding)), 1))


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _blank(line: str) -> bool:
    return not line.strip(" \t")


def _first_word(lines: _Lines) -> str:
    """The first line that surely has a word; one with ``#`` may be a comment, unless all begin with it."""
    filled = [line for _, line in lines if not _blank(line) and not line.startswith(_DOCUMENT)]
    return next((line for line in filled if not line.startswith("#")), next(filter(_HASHTAG.match, filled), ""))


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


class _Sentences(NamedTuple):
    """What was read of a file; sentence i is ``rows[bounds[i]:bounds[i + 1]]``.

    Attributes:
        rows: the columns of each word.
        numbers: the line of each word.
        bounds: where sentences begin, and the end of the last.
        places: of a column in a row, by its name.
        ids: of sentences, "" where one has none.
        notes: what a user should know.
    """

    rows: list[list[str]]
    numbers: list[int]
    bounds: list[int]
    places: dict[str, int]
    ids: list[str]
    notes: list[str]


def _parsed(path: Path, lines: _Lines) -> _Sentences:
    found = _universal(lines, str(path)) if _suffix(path) == ".conllu" else _plain(lines, str(path))
    if not found.rows:
        raise DataError(f"{path}: holds no sentences, only comments or empty lines; is it the right file?")
    if len(found.rows) > found.bounds[-1]:
        found.bounds.append(len(found.rows))
    return found


def _plain(lines: _Lines, source: str) -> _Sentences:
    skipped = Counter[str]()
    split = _splitter(lines)
    rows: list[list[str]] = []
    numbers: list[int] = []
    bounds = [0]
    first = _first_word(lines)
    width = len(split(first)) if first else 0
    is_comment = _comment_test(lines, split)
    for number, line in lines:
        if _blank(line) or line.startswith(_DOCUMENT):
            if len(rows) > bounds[-1]:
                bounds.append(len(rows))
            if not _blank(line):
                skipped[_DOCUMENT] += 1
            continue
        row = split(line)
        # A word may be "#" or "#text": a comment is before a sentence, and its last column, if any, is no tag.
        if line.startswith("#") and len(rows) == bounds[-1] and (len(row) != width or is_comment(line, row)):
            skipped["comment"] += 1
            continue
        if len(row) != width:
            due = f"{width} columns" if width > 1 else "1 column"
            raise DataError(f"{source}:{number}: expected {due}, found {len(row)}; {_BREAK}.")
        rows.append(row)
        numbers.append(number)
    notes = [f"{source}: {n:,} {what} lines are passed over" for what, n in skipped.items()]
    places = {str(place): place for place in range(width)}
    if width > 1:
        places |= {str(place - width): place for place in range(width)}
    return _Sentences(rows, numbers, bounds, places, [], notes)


def _comment_test(lines: _Lines, split: Callable[[str], list[str]]) -> Callable[[str, list[str]], bool]:
    """A test that tells a comment such as ``# id 5d domain=en`` from a word with as many columns.

    The last column of a word is a tag, or, of a word without tags, the word.
    """
    tags: set[str] = set()
    if any(_COMMENT.match(line) for _, line in lines):
        tags = {split(line)[-1] for _, line in lines if not _blank(line) and not line.startswith(("#", _DOCUMENT))}

    def is_comment(line: str, row: list[str]) -> bool:
        is_word = len(row) == 1 or row[-1] in tags or _TAG.fullmatch(row[-1]) is not None
        return _COMMENT.match(line) is not None and not is_word

    return is_comment


def _universal(lines: _Lines, source: str) -> _Sentences:
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
    return _Sentences(rows, numbers, bounds, places, ids, notes)


def _table(path: Path, lines: _Lines) -> Table:
    found = _parsed(path, lines)
    spans = list(pairwise(found.bounds))
    if len(spans) == 1 and len(found.rows) > LONGEST:
        raise DataError(
            f"{path}: {len(found.rows):,} lines without an empty one between them; is it a column file, a word a line? "
            "Its sentences are separated by empty lines."
        )

    def column(name: str) -> list[Any]:
        if name == "sent_id":
            return found.ids[: len(spans)]
        return [[row[found.places[name]] for row in found.rows[start:stop]] for start, stop in spans]

    return Table(
        str(path),
        [*(["sent_id"] if any(found.ids) else []), *found.places],
        len(spans),
        column,
        lambda i: f"{path}:{found.numbers[found.bounds[i]]}",
        notes=found.notes,
    )
