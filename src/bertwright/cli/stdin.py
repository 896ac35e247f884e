"""Texts from standard input, one per line."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bertwright.errors import DataError


def stdin_lines(encoding: str = "utf-8") -> Iterator[tuple[str, str]]:
    """Yield the lines of standard input as they arrive, without line ends, each with its location.

    Raises:
        DataError: a line has another encoding, or contains a NUL byte.
    """
    for number, line in enumerate(iter(sys.stdin.buffer.readline, b""), 1):
        where = f"standard input:{number}"
        try:
            text = line.decode(encoding).removeprefix("\ufeff" if number == 1 else "").rstrip("\r\n")
        except LookupError:
            raise DataError(f"{where}: unknown encoding {encoding!r}; use for example utf-8 or cp1252.") from None
        except UnicodeError as error:
            what = f"byte {error.start} is" if isinstance(error, UnicodeDecodeError) else "the line is"
            name = encoding.upper()
            raise DataError(
                f"{where}: {what} not {name}; convert the text (iconv -t utf-8), or add --encoding."
            ) from None
        if "\0" in text:
            raise DataError(f"{where}: contains a NUL byte; if the text is UTF-16, convert it (iconv -t utf-8).")
        yield where, text
