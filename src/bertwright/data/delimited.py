"""Parsing of delimited text (CSV, TSV) into records: separators, Excel's ``sep=`` line, and quoting."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
    """Parse a CSV file into one part; see :func:`iterate_csv`.

    Args:
        text: the text of the file, or an iterable of blocks of any size.
        source: the name of the file in messages.
        has_header: whether the first record contains the column names.
        limit: maximum number of records, without the header and blank lines; None reads all.

    Raises:
        DataError: the quoting is broken.
    """
    return next(iterate_csv([text] if isinstance(text, str) else text, source, has_header, limit))


def iterate_csv(
    blocks: Iterable[str], source: str, has_header: bool = True, limit: int | None = None, size: int | None = None
) -> Iterator[Records]:
    """Parse a CSV file in parts: quoted fields; commas or another separator that fits every record.

    The first part has the notes. The last one may be empty.

    Args:
        blocks: the text of the file in blocks of any size, which are streamed.
        source: the name of the file in messages.
        has_header: whether the first record contains the column names.
        limit: maximum number of records, without the header and blank lines; None reads all.
        size: number of rows of each part: records without the header and blank lines; None: all are one part.

    Raises:
        DataError: the quoting is broken.
    """
    blocks = iter(blocks)
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
    for records in _read(lines, separator, spaced, skipped_lines, source, has_header, limit, size):
        records.notes, notes = notes, []
        yield records


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


@dataclass(frozen=True)
class TsvFormat:
    """How to parse a TSV file.

    Attributes:
        separator: the separator that a first line ``sep=`` sets; None without such a line.
        is_quoted: whether quotes surround cells, as Excel writes them; otherwise they are part of the texts.
        notes: what was inferred, without the name of the file.
    """

    separator: str | None = None
    is_quoted: bool = False
    notes: tuple[str, ...] = ()


def detect_tsv_format(lines: Iterable[str], is_complete: bool = True) -> TsvFormat:
    """Detect whether a TSV file is quoted. It has no quoting (IANA text/tab-separated-values), unless Excel wrote it.

    With csv's default quoting, GLUE files lose rows. Quotes are therefore removed only if the entire file is correctly
    quoted, and a quoted header, doubled quotes, or quoted tabs and line breaks prove that this is no coincidence.

    Args:
        lines: the lines of the file, without their ends.
        is_complete: whether the last line ends the file; otherwise it may be inside a quoted cell.
    """
    lines = iter(lines)
    statistics, first = _TsvStatistics(), next(lines, "")
    separator = parse_directive(first)
    if separator not in (None, "\t"):
        return TsvFormat(separator)
    is_quoted = False
    for line in lines if separator else chain([first], lines):
        if line.startswith('"') or '\t"' in line:
            is_quoted = _is_quoted(statistics.observe(chain([line], lines)), statistics, is_complete)
            break
        statistics.add(line)
    if is_quoted:
        note = f"removes the quotes around cells in {pluralize(statistics.n_quotes, 'line')}, as Excel writes them"
        return TsvFormat(separator, True, (note,))
    n = statistics.n_doubled
    note = f"{pluralize(n, 'line')} with quotes; .tsv has no quoting, so quotes are part of the text"
    return TsvFormat(separator, False, (note,) if n > statistics.n_lines / 20 else ())


def parse_tsv(lines: Sequence[str], source: str, has_header: bool = True) -> Records:
    """Parse a TSV file into one part; see :func:`iterate_tsv`.

    Raises:
        DataError: the file begins with a ``sep=`` line and its quoting is broken.
    """
    return next(iterate_tsv(lines, detect_tsv_format(lines), source, has_header))


def iterate_tsv(
    lines: Iterable[str], tsv_format: TsvFormat, source: str, has_header: bool = True, size: int | None = None
) -> Iterator[Records]:
    """Parse a TSV file in parts; the first part has the notes.

    Args:
        lines: the lines of the file, without their ends.
        tsv_format: how to parse it.
        source: the name of the file in messages.
        has_header: whether the first record contains the column names.
        size: number of rows of each part: records without the header and blank lines; None: all are one part.

    Raises:
        DataError: the quoting is broken.
    """
    separator, start = tsv_format.separator, int(tsv_format.separator is not None)
    if separator not in (None, "\t"):
        yield from iterate_csv((f"{line}\n" for line in lines), source, has_header, size=size)
        return
    rows = islice(lines, start, None)
    if tsv_format.is_quoted:
        parts = _read((f"{line}\n" for line in rows), "\t", False, start, source, has_header, size=size)
    else:
        parts = _split_cells(rows, start, has_header, size)
    notes = list(tsv_format.notes)
    for records in parts:
        records.notes, notes = notes, []
        yield records


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


def _read(
    lines: Iterable[str],
    separator: str,
    spaced: bool,
    skipped_lines: int,
    source: str,
    has_header: bool,
    limit: int | None = None,
    size: int | None = None,
) -> Iterator[Records]:
    """Parse quoted lines into parts of ``size`` rows, at most ``limit`` in total."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=spaced, strict=True)
    line, n, is_finished = skipped_lines, -int(has_header), False
    end = size
    while not is_finished:
        records, is_finished = Records(), True
        try:
            with _unlimited_fields():  # not while the caller runs: the limit is that of the process
                for record in reader:
                    records.cells.append(record)
                    records.lines.append(line + 1)
                    line = reader.line_num + skipped_lines
                    n += bool(record)
                    if n == limit:
                        break
                    if n == end:
                        is_finished, end = False, end + (size or 0)
                        break
        except csv.Error as error:
            unclosed = "unexpected end" in str(error)
            problem = "a quote in this row is never closed" if unclosed else f"broken quoting ({error})"
            remedy = 'inside a quoted field write each quote twice ("")'
            raise DataError(f"{source}:{line + 1}: {problem}; {remedy}.") from None
        yield records


def _split_cells(lines: Iterable[str], skipped_lines: int, has_header: bool, size: int | None) -> Iterator[Records]:
    """Split lines without quoting at tabs, into parts of ``size`` rows."""
    n, end = -int(has_header), size
    records = Records([], [], [], _NO_QUOTING, f"write the tab of empty fields; {_NO_QUOTING}")
    for number, text in enumerate(lines, skipped_lines + 1):
        records.cells.append(text.split("\t") if text else [])
        records.lines.append(number)
        n += bool(text)
        if n == end:
            yield records
            records, end = replace(records, cells=[], lines=[]), end + (size or 0)
    yield records


class _TsvStatistics:
    """What the lines of a TSV file show about its quotes.

    Attributes:
        n_lines: number of lines.
        n_filled: number of lines that are not blank.
        n_quotes: number of lines with quotes.
        n_doubled: number of lines that look as if their quotes were escaped.
        widths: numbers of cells of the lines, without quoting.
        has_quoted_header: whether all cells of the first line begin with a quote.
        has_quoted_cells: whether every cell that begins with a quote is correctly quoted.
        has_escapes: whether a cell that begins with a quote has doubled quotes inside.
        has_carriage_return: whether a line has a carriage return inside, which only quoted cells may have.
    """

    def __init__(self) -> None:
        self.n_lines = self.n_filled = self.n_quotes = self.n_doubled = 0
        self.widths: set[int] = set()
        self.has_quoted_cells = True
        self.has_quoted_header = self.has_escapes = self.has_carriage_return = False

    def add(self, line: str) -> None:
        """Add a line, without its end."""
        self.n_lines += 1
        if line:
            self.n_filled += 1
            self.widths.add(line.count("\t") + 1)
        self.has_carriage_return |= "\r" in line
        if '"' not in line:
            return
        self.n_quotes += 1
        self.n_doubled += '""' in line and line.count('"') % 2 == 0
        cells = line.split("\t")
        starting = [cell for cell in cells if cell.startswith('"')]
        if self.n_filled == 1:
            self.has_quoted_header = len(starting) == len(cells)
        self.has_quoted_cells &= all(map(_QUOTED.fullmatch, starting))
        self.has_escapes |= any('""' in cell[1:-1] for cell in starting)

    def observe(self, lines: Iterable[str]) -> Iterator[str]:
        """Add lines while they are read."""
        for line in lines:
            self.add(line)
            yield line


def _is_quoted(lines: Iterator[str], statistics: _TsvStatistics, is_complete: bool) -> bool:
    """Whether quotes surround the cells of a TSV file, rather than being part of its texts.

    Args:
        lines: from the first one with a cell that begins with a quote; reading them adds them to ``statistics``.
        statistics: of the lines before.
        is_complete: whether the last line ends the file.
    """
    widths, n_filled, n_spanning = set(statistics.widths), statistics.n_filled, 0
    is_broken = statistics.has_carriage_return
    try:
        with _unlimited_fields():
            for record in csv.reader((f"{line}\n" for line in lines), delimiter="\t", strict=True):
                if record:
                    widths.add(len(record))
                    n_filled += 1
                    n_spanning += any("\n" in cell for cell in record)
    except csv.Error as error:
        is_broken |= is_complete or "unexpected end" not in str(error)
    for _ in lines:  # the statistics are those of all lines
        pass
    if is_broken or len(widths) != 1:
        return False
    if len(statistics.widths) != 1:
        return True
    # the lines are also valid records without quoting
    is_escaped = statistics.has_quoted_cells and statistics.has_escapes
    return statistics.has_quoted_header or is_escaped or 2 * n_spanning >= n_filled


@contextmanager
def _unlimited_fields() -> Iterator[None]:
    """Allow csv to read cells of any length."""
    limit = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
