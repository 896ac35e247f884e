"""Standard input, a text a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bertwright.errors import DataError


def stdin_lines(encoding: str = "utf-8") -> Iterator[tuple[str, str]]:
    """The lines of standard input as they come, without their ends, each with where it stands.

    Raises:
        DataError: one is not in the encoding, or is no text.
    """
    for number, line in enumerate(iter(sys.stdin.buffer.readline, b""), 1):
        where = f"standard input:{number}"
        try:
            text = line.decode(encoding).removeprefix("\ufeff" if number == 1 else "").rstrip("\r\n")
        except LookupError:
            raise DataError(f"{where}: there is no encoding {encoding!r}; common ones are utf-8 and cp1252.") from None
        except UnicodeError as error:
            at = f"byte {error.start} is" if isinstance(error, UnicodeDecodeError) else "it is"
            shown = encoding.upper()
            raise DataError(
                f"{where}: {at} not {shown}; convert the text (iconv -t utf-8), or add --encoding."
            ) from None
        if "\0" in text:
            raise DataError(
                f"{where}: holds a NUL byte, which no text does; is it UTF-16? Convert it (iconv -t utf-8)."
            )
        yield where, text
