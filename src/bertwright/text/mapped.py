"""Columns of numbers as one memory-mapped file, named by what it was made from and believed by its checksum.

The layout is safetensors', so other programs read it too; the checksum stands in the header. Processes on one machine
share what is mapped. What kind of numbers a column holds is the reader's to know.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from bertwright.files import STALE_SECONDS, atomic_file

if sys.platform != "win32":
    import resource

SUFFIX = ".safetensors"

Columns = dict[str, NDArray[Any]]


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]], facts: Mapping[str, str] | None = None) -> None:
    """Write columns, whole or not at all, with some facts about them.

    Raises:
        OutputError, OSError, SafetensorError: it cannot be written; what stood there before is unharmed.
    """
    flat = {name: np.ascontiguousarray(column).ravel() for name, column in columns.items()}
    with atomic_file(path) as partial:
        save_file(flat, partial, metadata={**(facts or {}), "sha256": _checksum(flat, facts or {})})


def map_columns(
    path: Path, kinds: Mapping[str, type[np.generic]], *, check: bool = True
) -> tuple[Columns, dict[str, str]]:
    """The columns in a file, those of ``kinds`` that it has, and the facts about them.

    Args:
        path: the file.
        kinds: the type of each column's numbers, by name.
        check: whether all is read once to see that the checksum agrees.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is not wholly as it was written.
    """
    raw = _map(path)
    try:
        start = 8 + int.from_bytes(raw[:8].tobytes(), "little")
        header = json.loads(raw[8:start].tobytes())
        facts = dict(header["__metadata__"])
        written = facts.pop("sha256")
        found = {name: _column(raw[start:], header[name], kinds[name]) for name in header if name in kinds}
        if check and _checksum(found, facts) != written:
            raise ValueError("its checksum does not agree")
    except (KeyError, TypeError) as error:
        raise ValueError(f"it has no header of ours: {error}") from None
    return found, facts


def touch(path: Path) -> None:
    """Note that a file was used, for :func:`make_room`; the time of its last change stays."""
    with suppress(OSError):  # what may only be read is still of use
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def make_room(folder: Path, keep: Collection[Path], max_bytes: int) -> None:
    """Remove the files longest unused until all take no more than so many bytes, and what killed writers left.

    Those in ``keep`` stay, whatever they take.
    """
    entries = []
    for entry in folder.glob(f"*{SUFFIX}"):
        with suppress(FileNotFoundError):  # another process may be making room too
            stat = entry.stat()
            if not entry.name.startswith("."):
                entries.append((entry not in keep, -max(stat.st_atime, stat.st_mtime), stat.st_size, entry))
            elif time.time() - stat.st_mtime > STALE_SECONDS:
                entry.unlink()
    taken = 0
    for droppable, _, size, entry in sorted(entries):
        taken += size
        if droppable and taken > max_bytes:
            entry.unlink(missing_ok=True)


def _map(path: Path) -> NDArray[np.uint8]:
    """A file's bytes, copy on write: arrays may be written to (torch warns of ones that may not), the file stays."""
    try:
        return np.memmap(path, np.uint8, mode="c").view(np.ndarray)
    except OSError as error:
        if error.errno != errno.EMFILE or sys.platform == "win32":
            raise
    # Python keeps a descriptor for every mapping, and the usual limit of 1024 is a soft one.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return np.memmap(path, np.uint8, mode="c").view(np.ndarray)


def _column(data: NDArray[np.uint8], entry: dict[str, Any], kind: type[np.generic]) -> NDArray[Any]:
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(data):
        raise ValueError("it is not whole")
    return data[begin:end].view(kind)


def _checksum(columns: Mapping[str, NDArray[Any]], facts: Mapping[str, str]) -> str:
    digest = hashlib.sha256(ascii(sorted(facts.items())).encode() if facts else b"")
    for name in sorted(columns):
        digest.update(columns[name].data)
    return digest.hexdigest()
