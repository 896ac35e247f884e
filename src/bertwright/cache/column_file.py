"""Columns of numbers in one memory-mapped file, with a checksum in its header.

The layout is that of safetensors, so other programs read it too, and processes on one machine share the mapped pages.
Unlike the safetensors library, a writer need not have a column in memory: it may come in pieces.
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
"""The type of each column's numbers, by name."""

HEADER_BYTES = 4096
"""Size of the header, with the eight bytes of its length; it is written last, when sizes and checksum are known."""

MAX_HEADER_BYTES = 1_000_000
"""A longer header is damage."""

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
    """Write columns, completely or not at all.

    Args:
        path: the file.
        types: the type of each column's numbers.
        columns: arrays, or pieces of an array in order.
        facts: stored in the header and covered by the checksum.

    Raises:
        OutputError, OSError: the file cannot be written; a former one stays.
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
    """The columns of a file, memory-mapped, and the facts about them.

    Args:
        path: the file.
        types: the type of each column's numbers; other columns are ignored.
        check: whether to read everything once and compare the checksum.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: the file is not as it was written.
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
    """The bytes of a file, copy on write: torch warns of arrays that are read-only, and the file must not change."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would wait for its writer
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
