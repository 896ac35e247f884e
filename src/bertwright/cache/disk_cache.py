"""The disk cache of computed data, so that a second run on the same data starts immediately.

Encoded texts, features of frozen encoders, sentence pairs and tokens of corpora are entries of one cache. An entry is a
file in the safetensors format, named by a hash of everything it depends on, with a checksum that is compared before
use. Entries are memory-mapped, so processes on one machine share them.

Problems with the cache never stop a run or change a result. A damaged entry is removed and computed again; if the cache
is not writable, the run continues without it. Both are reported in a note.

Each kind of entry has a directory in ``$BERTWRIGHT_CACHE``, else ``$XDG_CACHE_HOME/bertwright``, else
``~/.cache/bertwright``. ``BERTWRIGHT_CACHE=off`` disables the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bertwright.cache.column_file import Column, Columns, ColumnTypes, map_columns, write_columns
from bertwright.errors import OutputError
from bertwright.files.atomic import STALE_SECONDS, is_partial

SUFFIX = ".safetensors"

SPARE_BYTES = 1_000_000_000
"""Disk space that large entries leave free for other programs, in bytes."""

_ENTRY = re.compile(r"[0-9a-f]{64}\.(safetensors|json|npy|bin)")
"""File names of entries; ``json`` is the index of the token store, ``npy`` and ``bin`` are from former versions."""

ColumnChunks = Mapping[str, Column | Iterable[Column]]


@dataclass(frozen=True)
class EntryKind:
    """A kind of cache entry.

    Attributes:
        what: the content, as the subject of a sentence.
        max_bytes: maximum size of all entries; the least recently used are removed first.
        consequence: what a run does if it cannot write an entry.
    """

    what: str
    max_bytes: int
    consequence: str = ""


KINDS = {
    "encodings": EntryKind("the encoded texts", 5_000_000_000),
    "features": EntryKind("the features of the frozen encoder", 20_000_000_000, ", so it runs in every epoch"),
    "graphs": EntryKind("the exported ONNX graphs", 10_000_000_000),
    "pairs": EntryKind("the sentence pairs", 20_000_000_000),
    "store": EntryKind("the tokens of the corpus", 100_000_000_000),
}
"""The kinds of entries, by the name of their directory."""


def cache_directory(kind: str) -> Path | None:
    """The directory of a kind of entry; None if the user disabled the cache.

    Raises:
        OutputError: the user has no home directory, as in some containers.
    """
    root = os.environ.get("BERTWRIGHT_CACHE", "")
    if root.lower() == "off":
        return None
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return (Path(root).expanduser() if root else Path(shared).expanduser() / "bertwright") / kind
    except RuntimeError:
        raise OutputError(
            f"{root or shared}: the user has no home directory; set BERTWRIGHT_CACHE to a directory."
        ) from None


class Cache:
    """The entries of one kind. No method raises an error because of the cache.

    A cache removes its temporary directory when it is garbage collected, so keep it as long as columns from :meth:`get`
    are
    needed.

    Attributes:
        folder: the directory of the entries; None without a cache.
        is_off: whether the user disabled the cache.
    """

    def __init__(self, kind: str, on_note: Callable[[str], None] | None = None, folder: Path | None = None) -> None:
        self._name, self._kind = kind, KINDS[kind]
        self._on_note = on_note
        self._notes: set[str] = set()
        self._writable = True
        self.is_off = False
        self.folder = folder
        if folder is None:
            try:
                self.folder = cache_directory(kind)
                self.is_off = self.folder is None
            except OutputError as error:
                self._note_unsaved(error)

    def path(self, key: str) -> Path:
        """The file of an entry."""
        return (self.folder or Path()) / f"{key}{SUFFIX}"

    def load(self, key: str, types: ColumnTypes) -> tuple[Columns, dict[str, str]] | None:
        """Load the columns and the metadata of an entry; None if there is none with a matching checksum."""
        if self.folder is None:
            return None
        path = self.path(key)
        try:
            columns, facts = map_columns(path, types)
            if facts.get("key", key) != key:
                raise ValueError("the entry has another key")
            del columns
            columns, facts = map_columns(path, types, check=False)  # releases the pages that the check has read
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._note(f"{path}: the cache entry cannot be read; {self._kind.what} are computed again ({error})")
            return None
        except ValueError as error:
            self.discard(key, str(error))
            return None
        record_use(path)
        return columns, facts

    def save(
        self,
        key: str,
        types: ColumnTypes,
        columns: ColumnChunks,
        facts: Mapping[str, str] | None = None,
        n_bytes: int | None = None,
    ) -> Columns | None:
        """Write an entry.

        Args:
            key: hash (SHA-256, hexadecimal) of everything that the entry depends on.
            types: the type of each column.
            columns: arrays, or iterables of consecutive parts of an array.
            facts: metadata of the columns.
            n_bytes: the size of a large entry that must leave free space on the disk.

        Returns:
            The columns, memory-mapped; None if the entry could not be written.
        """
        if self.folder is None:
            return None
        try:
            if n_bytes is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._check_space(self.folder, n_bytes)
            saved = _write(self.path(key), types, columns, {**(facts or {}), "key": key})
        except (OutputError, OSError) as error:
            self._note_unsaved(error)
            self._writable = False
            return None
        return saved

    def get(
        self,
        key: str,
        types: ColumnTypes,
        make: Callable[[], tuple[ColumnChunks, Mapping[str, str]]],
    ) -> tuple[Columns, Mapping[str, str]]:
        """Load the columns and the metadata of an entry, or compute them.

        Entries that cannot be written to the cache are written to a temporary directory, or else kept in memory.
        """
        return self.load(key, types) or self.put(key, types, make)

    def put(
        self,
        key: str,
        types: ColumnTypes,
        make: Callable[[], tuple[ColumnChunks, Mapping[str, str]]],
    ) -> tuple[Columns, Mapping[str, str]]:
        """Compute an entry that does not exist; see :meth:`get`."""
        columns, facts = make()
        if self._writable and (saved := self.save(key, types, columns, facts)) is not None:
            return saved, facts
        columns, facts = make()  # iterators can be read only once
        if self._scratch is not None:
            with suppress(OutputError, OSError):
                mapped = _write(self._scratch / f"{key}{SUFFIX}", types, columns, facts)
                if mapped is not None:
                    return mapped, facts
            columns, facts = make()
        return {name: _in_memory(column, types[name]) for name, column in columns.items()}, facts

    def discard(self, key: str, reason: str) -> None:
        """Remove a damaged entry and report it."""
        path = self.path(key)
        self._note(f"{path}: removed a damaged cache entry; {self._kind.what} are computed again ({reason})")
        with suppress(OSError):
            path.unlink()

    def evict(self, keep: Collection[Path]) -> None:
        """Remove the least recently used entries beyond the size limit, and stale partial files.

        Args:
            keep: entries that are never removed.
        """
        if self.folder is None:
            return
        entries = []
        with suppress(OSError):
            for entry in self.folder.iterdir():
                with suppress(OSError):  # another process may evict entries at the same time
                    state = entry.stat()
                    if _ENTRY.fullmatch(entry.name):
                        used = max(state.st_atime, state.st_mtime)
                        entries.append((entry not in keep, -used, state.st_size, entry))
                    elif is_partial(entry) and time.time() - state.st_mtime > STALE_SECONDS:
                        entry.unlink()
        total = 0
        for removable, _, size, entry in sorted(entries):
            total += size
            if removable and total > self._kind.max_bytes:
                with suppress(OSError):
                    entry.unlink(missing_ok=True)

    @cached_property
    def _scratch(self) -> Path | None:
        """A temporary directory that is removed with this object; None if none can be created."""
        try:
            folder = tempfile.mkdtemp(prefix=f"bertwright-{self._name}-")
        except OSError:
            return None
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def _check_space(self, folder: Path, n_bytes: int) -> None:
        free = shutil.disk_usage(folder).free
        if n_bytes > min(free - SPARE_BYTES, self._kind.max_bytes):
            raise OSError(f"they need {n_bytes / 1e9:,.1f} GB, but {folder} has {free / 1e9:,.1f} GB of free space")

    def _note_unsaved(self, error: Exception) -> None:
        self._note(f"{self._kind.what} are not cached{self._kind.consequence}: {error}")

    def _note(self, text: str) -> None:
        if self._on_note is not None and text not in self._notes:
            self._on_note(text)
        self._notes.add(text)


def record_use(path: Path) -> None:
    """Record that a file was used, for :meth:`Cache.evict`; its modification time is unchanged."""
    with suppress(OSError):  # read-only files can also be used
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _write(path: Path, types: ColumnTypes, columns: ColumnChunks, facts: Mapping[str, str]) -> Columns | None:
    """Write columns to a file and memory-map them; None if another process has already removed the file."""
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise OutputError(f"{path}: is not a regular file; move it away.")
    write_columns(path, types, columns, facts)
    try:
        return map_columns(path, types, check=False)[0]
    except FileNotFoundError:
        return None


def _in_memory(column: Column | Iterable[Column], type_: type[np.generic]) -> Column:
    if isinstance(column, np.ndarray):
        return column.astype(type_, copy=False).ravel()
    return np.concatenate([np.empty(0, type_), *(piece.ravel() for piece in column)], dtype=type_)
