"""Columns of numbers in one memory-mapped file with a checksum in its header.

The format is that of safetensors, so other programs can read it, and processes on one machine share the mapped pages.
Unlike with the safetensors library, a writer can stream a column in parts.
"""

from __future__ import annotations

import errno
import hashlib
import json
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.files.atomic import atomic_file

if sys.platform != "win32":
    import resource

Column = NDArray[Any]
Columns = dict[str, Column]
ColumnTypes = Mapping[str, type[np.generic]]
"""Column name → the type of its numbers."""

HEADER_BYTES = 4096
"""Size of the header, including the eight bytes of its length; it is written last, with sizes and checksum."""

MAX_HEADER_BYTES = 1_000_000
"""Maximum size of a valid header."""

_DTYPES = {
    np.bool_: "BOOL",
    np.uint8: "U8",
    np.uint16: "U16",
    np.int32: "I32",
    np.int64: "I64",
    np.float32: "F32",
}
"""Names of types in a safetensors header."""


def write_columns(
    path: Path, types: ColumnTypes, columns: Mapping[str, Column | Iterable[Column]], facts: Mapping[str, str]
) -> None:
    """Write columns atomically.

    Args:
        path: the file.
        types: the type of each column.
        columns: arrays, or iterables of consecutive parts of an array.
        facts: metadata, stored in the header and covered by the checksum.

    Raises:
        OutputError, OSError: the file cannot be written; an existing file is unchanged.
    """
    with atomic_file(path) as partial:
        header: dict[str, Any] = {}
        with partial.open("wb") as file:
            file.write(bytes(HEADER_BYTES))
            end = 0
            # safetensors' order, which aligns every column
            for name in sorted(columns, key=lambda name: (-np.dtype(types[name]).itemsize, name)):
                column, begin = columns[name], end
                for piece in [column] if isinstance(column, np.ndarray) else column:
                    end += file.write(np.ascontiguousarray(piece, types[name]).data)
                size = (end - begin) // np.dtype(types[name]).itemsize
                header[name] = {"dtype": _DTYPES[types[name]], "shape": [size], "data_offsets": [begin, end]}
        raw = _map(partial)[HEADER_BYTES:]
        checksum = _checksum({name: _view(raw, header[name], types[name]) for name in header}, facts)
        text = json.dumps({"__metadata__": {**facts, "sha256": checksum}, **header}, separators=(",", ":")).encode()
        with partial.open("r+b") as file:
            file.write((HEADER_BYTES - 8).to_bytes(8, "little") + text.ljust(HEADER_BYTES - 8))


def map_columns(path: Path, types: ColumnTypes, *, check: bool = True) -> tuple[Columns, dict[str, str]]:
    """Memory-map the columns of a file; also return the metadata.

    Args:
        path: the file.
        types: the type of each column; other columns are ignored.
        check: whether to read the file once and compare the checksum.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: the file is damaged.
    """
    raw = _map(path)
    try:
        start = 8 + int.from_bytes(raw[:8].tobytes(), "little")
        if start > MAX_HEADER_BYTES:
            raise ValueError("no header")
        header = json.loads(raw[8:start].tobytes())
        facts = dict(header["__metadata__"])
        checksum = facts.pop("sha256")
        columns = {name: _view(raw[start:], header[name], types[name]) for name in header if name in types}
        if check and _checksum(columns, facts) != checksum:
            raise ValueError("wrong checksum")
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no valid header: {error}") from None
    return columns, facts


def _map(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, copy-on-write: torch warns about read-only arrays, and the file must not change."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would block until a writer opens it
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    try:
        return np.memmap(path, np.uint8, mode="c").view(np.ndarray)
    except OSError as error:
        if error.errno != errno.EMFILE or sys.platform == "win32":
            raise
    # Python keeps a descriptor for every mapping, and the usual limit of 1,024 is a soft one.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return np.memmap(path, np.uint8, mode="c").view(np.ndarray)


def _view(data: NDArray[np.uint8], entry: dict[str, Any], type_: type[np.generic]) -> Column:
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(data):
        raise ValueError("incomplete")
    return data[begin:end].view(type_)


def _checksum(columns: Mapping[str, Column], facts: Mapping[str, str]) -> str:
    digest = hashlib.sha256(ascii(sorted(facts.items())).encode() if facts else b"")
    for name in sorted(columns):
        digest.update(columns[name].data)
    return digest.hexdigest()
