"""Files as text: decoded strictly, also gzipped, and split into lines.

Every kind of damage is an error that names the file, the line and the remedy.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bertwright.errors import DataError, did_you_mean

_BLOCK = 1 << 20  # bytes of a file to decode at a time

_MAGIC = {
    b"\x1f\x8b": "gzip; add the suffix .gz",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"PAR1": "Parquet; use the suffix .parquet",
    b"%PDF": "a PDF; extract its text first",
    b"\xff\xfe": "UTF-16; set data.encoding=utf-16",
    b"\xfe\xff": "UTF-16; set data.encoding=utf-16",
}


def format_suffix(path: Path) -> str:
    """The suffix that determines the format of a file, in lower case and without ``.gz``.

    >>> format_suffix(Path("rows.CSV.gz"))
    '.csv'
    """
    return Path(path.name.lower().removesuffix(".gz")).suffix


def check_file(path: Path) -> None:
    """Check that a path is a file.

    Raises:
        DataError: the path is a directory or does not exist; the message lists files in the directory.
    """
    if path.is_dir():
        names = ", ".join(sorted(item.name for item in path.iterdir())[:8])
        raise DataError(f"{path}: is a directory; expected a file, such as one of its files ({names or 'none'}).")
    if not path.exists():
        folder = path.parent
        if not folder.is_dir():
            raise DataError(f"{path}: no such file, and no folder {folder}; check the path.")
        names_in_folder = [item.name for item in folder.iterdir() if item.is_file() and not item.name.startswith(".")]
        hint = did_you_mean(path.name, names_in_folder) if names_in_folder else "the folder has no files."
        raise DataError(f"{path}: no such file; {hint}")


def load_text(path: Path, encoding: str = "utf-8", may_be_empty: bool = False) -> str:
    """Read the text of a file: decompressed if its suffix is ``.gz``, decoded strictly, without a byte-order mark.

    Raises:
        DataError: the file is missing, empty, truncated or in another encoding.
    """
    text = "".join(text_blocks(path, encoding))
    if not may_be_empty and not text.strip():
        raise is_empty(str(path))
    return text


def is_empty(source: str) -> DataError:
    """The error of a file that contains nothing, or white space only."""
    return DataError(f"{source}: is empty; check that it is the right file.")


def text_blocks(path: Path, encoding: str = "utf-8", on_bytes: Callable[[int], None] | None = None) -> Iterator[str]:
    """Read the text of a file in blocks: decompressed if its suffix is ``.gz``, decoded strictly, without a byte-order
    mark.

    ``on_bytes`` is called before every block with the bytes of the file read so far.

    Raises:
        DataError: the file is missing, truncated, in another encoding, or not text.
    """
    check_file(path)
    try:
        with path.open("rb") as raw, gzip.open(raw) if path.suffix.lower() == ".gz" else raw as file:
            for text in decode_blocks(lambda: file.read(_BLOCK), str(path), encoding):
                if on_bytes is not None:
                    on_bytes(raw.tell())
                yield text
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is a damaged gzip file ({error}); download or copy it again.") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the file and its permissions."
        ) from None


def decode_blocks(read: Callable[[], bytes], source: str, encoding: str = "utf-8") -> Iterator[str]:
    """Decode blocks of bytes strictly, without a byte-order mark; the last block may be empty.

    Args:
        read: returns the next block of any size; no bytes at the end.
        source: the name of the file in messages.
        encoding: the encoding of the file.

    Raises:
        DataError: the bytes are in another encoding, or not text.
    """
    try:
        decoder = codecs.getincrementaldecoder(encoding)("strict")
    except LookupError:
        raise DataError(
            f"{source}: unknown encoding {encoding!r}; use utf-8, utf-16, cp1252 or latin-1, for example."
        ) from None
    head, offset, line, data = b"", 0, 1, b"-"
    while data:
        data = read()
        head = head or data[:8]
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeError as error:
            raise DataError(_wrong_encoding(source, encoding, head, error, offset + len(data), line)) from None
        text = text if offset else text.removeprefix("\ufeff")
        if "\0" in text:
            line += text.count("\n", 0, text.index("\0"))
            problem = "contains a NUL byte, so it is not text; check whether it is damaged, or UTF-16"
            raise DataError(f"{source}:{line}: {problem}.")
        offset += len(data)
        line += text.count("\n")
        yield text


def _wrong_encoding(source: str, encoding: str, head: bytes, error: UnicodeError, read: int, line: int) -> str:
    """Describe why a file that begins with ``head`` cannot be decoded, after ``read`` bytes, on line ``line``."""
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return f"{source}: is not {encoding} text but {what}."
    if not isinstance(error, UnicodeDecodeError):
        return f"{source}: is not {encoding} text ({error}); save it as UTF-8."
    other = "cp1252" if encoding.lower().replace("-", "") == "utf8" else "utf-8"
    offset = read - len(error.object) + error.start  # the object ends at the current position
    line += error.object.count(b"\n", 0, error.start)
    return (
        f"{source}:{line}: byte {error.object[error.start]:#04x} at offset {offset} is not {encoding}; "
        f"save the file as UTF-8, or set its encoding (data.encoding={other})."
    )


def split_lines(text: str) -> list[str]:
    """Split a text into lines without their ends; only line feeds (optionally after a carriage return) end a line.

    ``str.splitlines`` also splits at characters inside texts, such as U+2028 and U+0085. In a text without line feeds,
    carriage returns end the lines, as Excel for Mac writes them.
    """
    lines = text.split("\n" if "\n" in text else "\r")
    if "\r" in text:
        lines = [line.removesuffix("\r") for line in lines]
    if not lines[-1]:
        lines.pop()
    return lines


def iterate_lines(blocks: Iterable[str], has_line_feeds: bool) -> Iterator[str]:
    """Split blocks of text into the lines that :func:`split_lines` returns.

    Args:
        blocks: the text in blocks of any size.
        has_line_feeds: whether the text has line feeds; otherwise carriage returns end the lines.
    """
    end = "\n" if has_line_feeds else "\r"
    rest: list[str] = []
    for block in blocks:
        head, is_split, tail = block.partition(end)
        rest.append(head)
        if is_split:
            lines = tail.split(end)
            yield "".join(rest).removesuffix("\r")
            rest = [lines.pop()]
            yield from (line.removesuffix("\r") for line in lines)
    if last := "".join(rest).removesuffix("\r"):
        yield last
