"""Parsing of delimited text (CSV, TSV) into records: separators, Excel's ``sep=`` line, and quoting."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final

from bertwright.errors import DataError
from bertwright.output.plurals import pluralize

SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""Separators that can be inferred, in order of preference, with their names for messages."""

# Longer than any field, yet within a C long on every platform.
_FIELD_LIMIT: Final = 2**31 - 1
_SAMPLE: Final = 1 << 16  # characters from which the separator is inferred
_DIRECTIVE: Final = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)
_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')
_NO_QUOTING: Final = ".tsv has no quoting, so texts must not contain tabs or line breaks; save such texts as .csv"


@dataclass
class Records:
    """The records of a delimited file; the first one is the header, if the file has one.

    Attributes:
        cells: the cells of each record; empty for a blank line.
        lines: the line on which each record begins, from 1.
        notes: inferences, without the name of the file.
        long_remedy: what to do about a record with too many cells.
        short_remedy: what to do about a record with too few cells.
    """

    cells: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    long_remedy: str = "quote fields that contain the separator"
    short_remedy: str = "write the separator of empty fields, and quote fields with line breaks"


def parse_csv(text: str | Iterable[str], source: str, has_header: bool = True, limit: int | None = None) -> Records:
    """Parse a CSV file: quoted fields; commas or another separator that fits every record.

    Args:
        text: the text of the file, or an iterable of blocks of any size, which are streamed.
        source: the name of the file in messages.
        has_header: whether the first record contains the column names.
        limit: maximum number of records, without the header and blank lines; None reads all.

    Raises:
        DataError: the quoting is broken.
    """
    blocks = iter([text] if isinstance(text, str) else text)
    sample = ""
    while len(sample) < _SAMPLE and (block := next(blocks, None)) is not None:
        sample += block
    lines = split_blocks(chain([sample], blocks))
    separator = parse_directive(io.StringIO(sample, newline="").readline())
    skipped_lines = 0 if separator is None else 1
    if separator is None:
        separator = infer_separator(sample[:_SAMPLE])
        reason = "inferred from the header" if has_header else "inferred from the first lines"
    else:
        next(lines)
        reason = f'set by the line "sep={separator}"'
    notes = []
    if separator != "," or skipped_lines:
        separator_name = SEPARATORS.get(separator, f'"{separator}"')
        notes.append(f"columns are separated by {separator_name} ({reason})")
    spaced = has_header and _has_spaced_header(sample, separator, skipped_lines)
    if spaced:
        notes.append("ignores spaces after separators, in the header and in the rows")
    try:
        with _unlimited_fields():
            records = _read(lines, separator, spaced, skipped_lines, None if limit is None else limit + has_header)
    except _QuotingError as error:
        raise DataError(f'{source}:{error}; inside a quoted field write each quote twice ("").') from None
    records.notes = notes
    return records


def split_blocks(blocks: Iterable[str]) -> Iterator[str]:
    """Split blocks of text into lines with their ends: a line feed, a carriage return, or both."""
    rest = ""
    for block in blocks:
        lines = io.StringIO(rest + block, newline="").readlines()
        # the last line may continue in the next block, and a line feed may follow its carriage return
        rest = lines.pop() if lines and not lines[-1].endswith("\n") else ""
        yield from lines
    if rest:
        yield rest


def parse_tsv(lines: Sequence[str], source: str) -> Records:
    """Parse a TSV file. It has no quoting (IANA text/tab-separated-values), unless Excel wrote it.

    With csv's default quoting, GLUE files lose rows. Quotes are therefore removed only if the entire file is correctly
    quoted, and a quoted header, doubled quotes, or quoted tabs and line breaks prove that this is no coincidence.

    Raises:
        DataError: the file begins with a ``sep=`` line and its quoting is broken.
    """
    directive = parse_directive(lines[0]) if lines else None
    if directive not in (None, "\t"):
        return parse_csv("\n".join(lines), source)
    start = 0 if directive is None else 1
    cells = [line.split("\t") if line else [] for line in islice(lines, start, None)]
    if (quoted := _read_quoted(lines, cells, start)) is not None:
        return quoted
    n = sum('""' in line and line.count('"') % 2 == 0 for line in lines)
    notes = (
        [f"{pluralize(n, 'line')} with quotes; .tsv has no quoting, so quotes are part of the text"]
        if n > len(lines) / 20
        else []
    )
    short_remedy = f"write the tab of empty fields; {_NO_QUOTING}"
    return Records(cells, list(range(start + 1, len(lines) + 1)), notes, _NO_QUOTING, short_remedy)


def parse_directive(line: str) -> str | None:
    """The separator in Excel's first line ``sep=;``; None if the line is not a directive."""
    match = _DIRECTIVE.fullmatch(line)
    return match[1] if match else None


def infer_separator(sample: str) -> str:
    """Infer the separator of a file that begins with ``sample``.

    It is the first of ``SEPARATORS`` that splits every record into the same number of cells, at least two; otherwise
    the
    first one in the header.

    >>> infer_separator("text;label\\none, two;a\\n"), infer_separator("a|b\\n1|2\\n")
    (';', '|')
    """
    width = {mark: consistent_width(sample, mark) for mark in SEPARATORS}
    header = sample.partition("\n")[0]
    return next((mark for mark in SEPARATORS if width[mark] > 1), None) or next(
        (mark for mark in SEPARATORS if mark in header), ","
    )


def consistent_width(sample: str, separator: str) -> int:
    """Number of cells into which a separator splits every record of a sample; 0 if records differ or the quoting is
    broken.
    """
    complete = sample if len(sample) < _SAMPLE else sample[: sample.rfind("\n") + 1]
    widths = set()
    try:
        with _unlimited_fields():
            for record in csv.reader(io.StringIO(complete, newline=""), delimiter=separator, strict=True):
                widths.add(len(record))
    except csv.Error as error:
        if len(sample) < _SAMPLE or "unexpected end" not in str(
            error
        ):  # otherwise the sample ends inside a quoted field
            return 0
    widths.discard(0)
    return widths.pop() if len(widths) == 1 else 0


def _has_spaced_header(text: str, separator: str, skipped_lines: int) -> bool:
    """Whether every separator in the header is followed by a space, as in ``text, label``."""
    header = [*text[:_SAMPLE].split("\n", skipped_lines + 1), ""][skipped_lines]
    _, *names = header.split(separator)
    return separator != " " and bool(names) and all(name.startswith(" ") for name in names)


class _QuotingError(Exception):
    """A record with broken quoting; the text is its line and the problem."""


def _read(lines: Iterable[str], separator: str, spaced: bool, skipped_lines: int, limit: int | None = None) -> Records:
    """Parse quoted lines into at most ``limit`` records that are not blank."""
    records, line, n = Records(), skipped_lines, 0
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=spaced, strict=True)
    try:
        for record in reader:
            records.cells.append(record)
            records.lines.append(line + 1)
            line = reader.line_num + skipped_lines
            n += bool(record)
            if n == limit:
                break
    except csv.Error as error:
        unclosed = "unexpected end" in str(error)
        problem = "a quote in this row is never closed" if unclosed else f"broken quoting ({error})"
        raise _QuotingError(f"{line + 1}: {problem}") from None
    return records


def _read_quoted(lines: Sequence[str], cells: list[list[str]], start: int) -> Records | None:
    """Parse a TSV file that was written with quotes; None if quotes are part of its texts."""
    starting = [cell for record in cells for cell in record if cell.startswith('"')]
    if not starting:
        return None
    try:
        with _unlimited_fields():
            records = _read((f"{line}\n" for line in islice(lines, start, None)), "\t", False, start)
    except _QuotingError:
        return None
    filled = [record for record in records.cells if record]
    if len({len(record) for record in filled}) != 1:
        return None
    if len({len(record) for record in cells if record}) == 1:  # the lines are also valid records without quoting
        has_quoted_header = all(cell.startswith('"') for cell in next(filter(None, cells)))
        is_escaped = all(map(_QUOTED.fullmatch, starting)) and any('""' in cell[1:-1] for cell in starting)
        spanning = sum(any("\n" in cell for cell in record) for record in filled)
        if not (has_quoted_header or is_escaped or 2 * spanning >= len(filled)):
            return None
    n = sum('"' in line for line in lines)
    records.notes = [f"removes the quotes around cells in {pluralize(n, 'line')}, as Excel writes them"]
    return records


@contextmanager
def _unlimited_fields() -> Iterator[None]:
    """Allow csv to read cells of any length."""
    limit = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
