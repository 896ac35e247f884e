"""Delimited text as records of cells: separators, Excel's ``sep=`` line, and quoting."""

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

SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""The separators that can be inferred, in the order of preference, with their names for messages."""

# Longer than any text a csv.reader will meet, yet within a C long on every platform.
_FIELD_LIMIT: Final = 2**31 - 1
_SAMPLE: Final = 1 << 16  # characters from which the separator is inferred
_DIRECTIVE: Final = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)
_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')
_NO_QUOTING: Final = ".tsv has no quoting, so a text may hold no tab or line break: save such texts as .csv"


@dataclass
class Records:
    """The records of a delimited file; the first is the header, if it has one.

    Attributes:
        cells: the cells of each record; none for a blank line.
        lines: the line on which each record begins, counted from 1.
        notes: what was inferred, without the name of the file.
        long_remedy: what to do about a record with too many cells.
        short_remedy: what to do about a record with too few.
    """

    cells: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    long_remedy: str = "quote fields that hold the separator"
    short_remedy: str = "an empty field needs its separator too, and a text with a line break needs quotes"


def parse_csv(text: str | Iterable[str], source: str, has_header: bool = True, limit: int | None = None) -> Records:
    """The records of a CSV file: quoted fields; commas or another separator that fits every record.

    Args:
        text: of the file, whole or in blocks of any size, which are then not held in memory.
        source: what messages call it.
        has_header: whether the first record names the columns.
        limit: how many records to read at most, without the header and blank lines; None reads all.

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
        how = "as the header shows" if has_header else "as the first lines show"
    else:
        next(lines)
        how = f'as the line "sep={separator}" says'
    notes = []
    if separator != "," or skipped_lines:
        shown = SEPARATORS.get(separator, f'"{separator}"')
        notes.append(f"columns are separated by {shown}, {how}")
    spaced = has_header and _has_spaced_header(sample, separator, skipped_lines)
    if spaced:
        notes.append("spaces after the separators are ignored, in the header and in the rows")
    try:
        with _unlimited_fields():
            records = _read(lines, separator, spaced, skipped_lines, None if limit is None else limit + has_header)
    except _QuotingError as error:
        raise DataError(f'{source}:{error}; inside a quoted field write each quote twice ("").') from None
    records.notes = notes
    return records


def split_blocks(blocks: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in blocks, with their ends: a line feed, a carriage return, or both."""
    rest = ""
    for block in blocks:
        lines = io.StringIO(rest + block, newline="").readlines()
        # the last line may go on in the next block, and a line feed may follow its carriage return
        rest = lines.pop() if lines and not lines[-1].endswith("\n") else ""
        yield from lines
    if rest:
        yield rest


def parse_tsv(lines: Sequence[str], source: str) -> Records:
    """The records of a TSV file. It has no quoting (IANA text/tab-separated-values), unless Excel wrote it.

    With csv's default quoting, GLUE files lose rows. Quotes are therefore removed only if the whole file is correctly
    quoted, and a quoted header, doubled quotes, or quoted tabs and line breaks prove that this is no coincidence.

    Raises:
        DataError: it begins with a ``sep=`` line and its quoting is broken.
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
        [f"{n:,} lines look quoted, but .tsv has no quoting: quotes are part of the text"]
        if n > len(lines) / 20
        else []
    )
    short_remedy = f"an empty field needs its tab too; {_NO_QUOTING}"
    return Records(cells, list(range(start + 1, len(lines) + 1)), notes, _NO_QUOTING, short_remedy)


def parse_directive(line: str) -> str | None:
    """The separator that Excel's first line ``sep=;`` names; None if the line is something else."""
    match = _DIRECTIVE.fullmatch(line)
    return match[1] if match else None


def infer_separator(sample: str) -> str:
    """The separator of a file that begins with ``sample``.

    It is the first of ``SEPARATORS`` that cuts every record into the same number of cells, and more than one; if none
    does, the first that the header holds.

    >>> infer_separator("text;label\\none, two;a\\n"), infer_separator("a|b\\n1|2\\n")
    (';', '|')
    """
    width = {mark: consistent_width(sample, mark) for mark in SEPARATORS}
    header = sample.partition("\n")[0]
    return next((mark for mark in SEPARATORS if width[mark] > 1), None) or next(
        (mark for mark in SEPARATORS if mark in header), ","
    )


def consistent_width(sample: str, separator: str) -> int:
    """Into how many cells a separator cuts every record of a sample; 0 if the records differ, or the quoting breaks."""
    whole = sample if len(sample) < _SAMPLE else sample[: sample.rfind("\n") + 1]
    widths = set()
    try:
        with _unlimited_fields():
            for record in csv.reader(io.StringIO(whole, newline=""), delimiter=separator, strict=True):
                widths.add(len(record))
    except csv.Error as error:
        if len(sample) < _SAMPLE or "unexpected end" not in str(error):  # else the sample ends inside a quoted field
            return 0
    widths.discard(0)
    return widths.pop() if len(widths) == 1 else 0


def _has_spaced_header(text: str, separator: str, skipped_lines: int) -> bool:
    """Whether the header has a space after each of its separators, as in ``text, label``."""
    header = [*text[:_SAMPLE].split("\n", skipped_lines + 1), ""][skipped_lines]
    _, *names = header.split(separator)
    return separator != " " and bool(names) and all(name.startswith(" ") for name in names)


class _QuotingError(Exception):
    """A record with broken quoting; the text is its line and what is wrong."""


def _read(lines: Iterable[str], separator: str, spaced: bool, skipped_lines: int, most: int | None = None) -> Records:
    """The records of quoted lines; at most ``limit`` that are not blank."""
    records, line, n = Records(), skipped_lines, 0
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=spaced, strict=True)
    try:
        for record in reader:
            records.cells.append(record)
            records.lines.append(line + 1)
            line = reader.line_num + skipped_lines
            n += bool(record)
            if n == most:
                break
    except csv.Error as error:
        never = "unexpected end" in str(error)
        what = "a quote that opens in this row is never closed" if never else f"broken quoting ({error})"
        raise _QuotingError(f"{line + 1}: {what}") from None
    return records


def _read_quoted(lines: Sequence[str], cells: list[list[str]], start: int) -> Records | None:
    """The records of a TSV file that was written with quotes; None if quotes are part of its texts."""
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
    if len({len(record) for record in cells if record}) == 1:  # the lines are records without quoting, too
        has_quoted_header = all(cell.startswith('"') for cell in next(filter(None, cells)))
        is_escaped = all(map(_QUOTED.fullmatch, starting)) and any('""' in cell[1:-1] for cell in starting)
        spanning = sum(any("\n" in cell for cell in record) for record in filled)
        if not (has_quoted_header or is_escaped or 2 * spanning >= len(filled)):
            return None
    n = sum('"' in line for line in lines)
    records.notes = [f"{n:,} lines look quoted, as Excel writes them: quotes around cells are removed"]
    return records


@contextmanager
def _unlimited_fields() -> Iterator[None]:
    """Let csv read cells of any length."""
    limit = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
