"""Column files: one word per line with its tags, an empty line after each sentence (CoNLL, BIO); and CoNLL-U."""

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

from bertwright.data.table_files import Table
from bertwright.data.text_files import format_suffix, load_text, split_lines
from bertwright.data.word_rows import has_word_header
from bertwright.errors import DataError
from bertwright.output.plurals import pluralize

MAX_WORDS: Final = 2000
"""A file with a single sentence of more words than this is not a column file."""

SUFFIXES: Final = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes", ".iobes", ".tsv", ".txt")
"""The usual suffixes of column files; other suffixes that no table format has are also read as column files."""

_TABLES: Final = (".jsonl", ".ndjson", ".json", ".parquet", ".csv")

# https://universaldependencies.org/format.html; the first column is the number of the word in its sentence.
_UNIVERSAL: Final = ("number", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_DOCUMENT: Final = "-DOCSTART-"
# "# id 5239d808-…	domain=en" before each sentence of MultiCoNER has as many columns as its words.
_COMMENT: Final = re.compile(r"#\s*(id|sent_id|text)\b")
_TAG: Final = re.compile(r"O|[BIESLU][-_].+")
_HASHTAG: Final = re.compile(r"#\S")
_MAX_HEADER_BYTES: Final = 4096
_BREAK: Final = "sentences are separated by an empty line"

_Lines = list[tuple[int, str]]


def is_column_file_format(path: Path) -> bool:
    """Whether a file of words and tags is a column file: decided by its suffix, and for .tsv also by its first line."""
    return format_suffix(path) not in _TABLES and not (
        format_suffix(path) in (".tsv", ".tab") and has_word_header(_read_first_line(path))
    )


def _read_first_line(path: Path) -> str:
    """The first line of a file, decoded as Latin-1; empty if the file cannot be read."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            return file.readline(_MAX_HEADER_BYTES).removeprefix(codecs.BOM_UTF8).decode("latin-1")
    except (OSError, EOFError, zlib.error):
        return ""


def read_conll(path: Path, encoding: str = "utf-8", may_be_text: bool = False) -> Table:
    """Read the sentences of a column file as the rows of a table whose cells are lists, one value per word.

    Columns are named by their number, from 0 or from the end ("-1"); those of CoNLL-U also ``form``, ``upos``,
    ``xpos``, ``deprel`` and so on, with ``sent_id`` for the id of the sentence. Columns are separated by tabs if the
    first line has one, else by spaces; words then contain no spaces.

    Args:
        path: the file; ``.conllu`` is CoNLL-U. Files with the suffix ``.gz`` are decompressed.
        encoding: the encoding of the file.
        may_be_text: whether a ``.txt`` file may be plain text with one row per line. It is plain text unless its lines
            have the same number of columns, with empty lines between sentences. The table then has one column,
            ``text``.

    Raises:
        DataError: the file is missing, damaged or in another encoding, has no sentences, or its lines differ in the
            number of columns.
    """
    lines, source = _lines(path, encoding), str(path)
    if may_be_text and format_suffix(path) in (".txt", "") and not _looks_like_columns(lines):
        texts = [line for _, line in lines]
        note = f"{source}: read as one text per line; rename it to .conll if it has one word per line"
        return Table(source, ["text"], len(texts), lambda _: texts, lambda i: f"{source}:{i + 1}", notes=[note])
    return _table(path, lines)


def append_column(path: Path, values: Sequence[str], encoding: str = "utf-8") -> Iterator[str]:
    """Iterate over the lines of a column file with one more column at the end; everything else is unchanged.

    Lines between sentences are kept. A ``-DOCSTART-`` line with columns gets ``O``, and a line of CoNLL-U that is not a
    word gets ``_``, so that all lines have the same number of columns.

    Args:
        path: the file.
        values: one value per word, in the order of the words.
        encoding: the encoding of the file.

    Raises:
        DataError: the file cannot be read, or the number of words differs from the number of values.
    """
    lines = _lines(path, encoding)
    universal = format_suffix(path) == ".conllu"
    numbers = _parse(path, lines).numbers
    if len(numbers) != len(values):
        raise DataError(
            f"{path}: has {pluralize(len(numbers), 'word')} but got {pluralize(len(values), 'value')}; check "
            "whether the file has changed."
        )
    value_of = dict(zip(numbers, values, strict=True))
    separator = "\t" if universal or "\t" in _first_word(lines) else " "
    for number, line in lines:
        value = value_of.get(number)
        if value is None and line.startswith(_DOCUMENT) and len(line.split()) > 1:
            value = "O"
        elif value is None and universal and not _blank(line) and not line.startswith("#"):
            value = "_"
        cells = line.rstrip(" \t") if separator == " " else line
        yield line if value is None else f"{cells}{separator}{value}"


def _lines(path: Path, encoding: str) -> _Lines:
    return list(enumerate(split_lines(load_text(path, encoding)), 1))


def _blank(line: str) -> bool:
    return not line.strip(" \t")


def _first_word(lines: _Lines) -> str:
    """The first line with a word; lines with ``#`` may be comments, unless all lines begin with it."""
    filled = [line for _, line in lines if not _blank(line) and not line.startswith(_DOCUMENT)]
    return next((line for line in filled if not line.startswith("#")), next(filter(_HASHTAG.match, filled), ""))


def _splitter(lines: _Lines) -> Callable[[str], list[str]]:
    """The function that splits a line into cells; never at other Unicode white space, which words may contain."""
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
    """The contents of a file; sentence i is ``rows[bounds[i]:bounds[i + 1]]``.

    Attributes:
        rows: the columns of each word.
        numbers: the line number of each word.
        bounds: the first word of each sentence, and the end of the last sentence.
        places: column name → index in a row.
        ids: the ids of the sentences, "" without an id.
        notes: sentences for the user.
    """

    rows: list[list[str]]
    numbers: list[int]
    bounds: list[int]
    places: dict[str, int]
    ids: list[str]
    notes: list[str]


def _parse(path: Path, lines: _Lines) -> _Sentences:
    parse = _parse_conllu if format_suffix(path) == ".conllu" else _parse_plain
    sentences = parse(lines, str(path))
    if not sentences.rows:
        raise DataError(f"{path}: has no sentences, only comments or empty lines; check that it is the right file.")
    if len(sentences.rows) > sentences.bounds[-1]:
        sentences.bounds.append(len(sentences.rows))
    return sentences


def _parse_plain(lines: _Lines, source: str) -> _Sentences:
    skipped = Counter[str]()
    split = _splitter(lines)
    rows: list[list[str]] = []
    numbers: list[int] = []
    bounds = [0]
    first = _first_word(lines)
    width = len(split(first)) if first else 0
    is_comment = _make_comment_test(lines, split)
    for number, line in lines:
        if _blank(line) or line.startswith(_DOCUMENT):
            if len(rows) > bounds[-1]:
                bounds.append(len(rows))
            if not _blank(line):
                skipped[_DOCUMENT] += 1
            continue
        row = split(line)
        # A word may be "#" or "#text": a comment precedes a sentence, and its last column, if any, is not a tag.
        if line.startswith("#") and len(rows) == bounds[-1] and (len(row) != width or is_comment(line, row)):
            skipped["comment"] += 1
            continue
        if len(row) != width:
            expected = pluralize(width, "column")
            raise DataError(f"{source}:{number}: expected {expected}, found {len(row)}; {_BREAK}.")
        rows.append(row)
        numbers.append(number)
    notes = [f"{source}: skipped {pluralize(n, f'{kind} line')}" for kind, n in skipped.items()]
    places = {str(place): place for place in range(width)}
    if width > 1:
        places |= {str(place - width): place for place in range(width)}
    return _Sentences(rows, numbers, bounds, places, [], notes)


def _make_comment_test(lines: _Lines, split: Callable[[str], list[str]]) -> Callable[[str, list[str]], bool]:
    """Return a function that distinguishes a comment such as ``# id 5d domain=en`` from a word with as many columns.

    The last column of a word is a tag or, in a file without tags, the word.
    """
    tags: set[str] = set()
    if any(_COMMENT.match(line) for _, line in lines):
        tags = {split(line)[-1] for _, line in lines if not _blank(line) and not line.startswith(("#", _DOCUMENT))}

    def is_comment(line: str, row: list[str]) -> bool:
        is_word = len(row) == 1 or row[-1] in tags or _TAG.fullmatch(row[-1]) is not None
        return _COMMENT.match(line) is not None and not is_word

    return is_comment


def _parse_conllu(lines: _Lines, source: str) -> _Sentences:
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
            expected = f"expected {len(_UNIVERSAL)} columns separated by tabs, found {len(row)}"
            raise DataError(f"{source}:{number}: {expected}; {_BREAK}.")
        ranges += "-" in row[0]
        empty += "." in row[0]
        if row[0].isdecimal():
            rows.append(row)
            numbers.append(number)
        elif "-" not in row[0] and "." not in row[0]:
            raise DataError(f'{source}:{number}: expected a word number, found "{row[0]}"; check that it is CoNLL-U.')
    notes = []
    if ranges:
        notes.append(f"{source}: {pluralize(ranges, 'multiword token')} (lines such as 1-2) read as separate words")
    if empty:
        notes.append(f"{source}: skipped {pluralize(empty, 'empty node')} (lines such as 1.1)")
    places = {name: place for place, name in enumerate(_UNIVERSAL)} | {str(i): i for i in range(len(_UNIVERSAL))}
    return _Sentences(rows, numbers, bounds, places, ids, notes)


def _table(path: Path, lines: _Lines) -> Table:
    sentences = _parse(path, lines)
    spans = list(pairwise(sentences.bounds))
    if len(spans) == 1 and len(sentences.rows) > MAX_WORDS:
        raise DataError(
            f"{path}: {len(sentences.rows):,} lines without an empty line; check that it is a column file, with one "
            "word per line and an empty line after each sentence."
        )

    def column(name: str) -> list[Any]:
        if name == "sent_id":
            return sentences.ids[: len(spans)]
        return [[row[sentences.places[name]] for row in sentences.rows[start:stop]] for start, stop in spans]

    return Table(
        str(path),
        [*(["sent_id"] if any(sentences.ids) else []), *sentences.places],
        len(spans),
        column,
        lambda i: f"{path}:{sentences.numbers[sentences.bounds[i]]}",
        notes=sentences.notes,
    )
