"""Index of the shards of a corpus: maps the stamp of unchanged files to shards, so that they need not be read again.

An entry is a small JSON file in the directory of the shards, named by a hash of the stamp of the corpus and the
tokenizer. It is only a shortcut: if anything has changed, the entry is ignored.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright.cache.disk_cache import record_use
from bertwright.errors import OutputError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json


@dataclass(frozen=True)
class IndexEntry:
    """The shards of a corpus.

    Attributes:
        states: file name, size and modification time of each shard when its checksum last matched.
        report: how the corpus was read, as sentences.
    """

    states: tuple[tuple[str, int, int], ...]
    report: tuple[str, ...]


def load_entry(folder: Path, file_stamp: str) -> IndexEntry | None:
    """Load the entry of this stamp; None if there is none or a shard is missing or has changed."""
    try:
        content: dict[str, Any] = json.loads(_read(_path(folder, file_stamp)))
        if content.pop("sha256") != _checksum(content):
            return None
        entry = IndexEntry(tuple((str(name), int(size), int(time)) for name, size, time in content["shards"]), ())
        states = read_file_states(folder, [name for name, _, _ in entry.states])
        if content["stamp"] == file_stamp and entry.states == states:
            record_use(_path(folder, file_stamp))
            return IndexEntry(entry.states, tuple(map(str, content["report"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return None


def save_entry(folder: Path, file_stamp: str, entry: IndexEntry) -> Path:
    """Write an entry and return its path; if writing fails, the corpus is read again the next time."""
    path = _path(folder, file_stamp)
    content = {"stamp": file_stamp, "shards": entry.states, "report": entry.report}
    if path.is_file() or not path.exists():
        with suppress(OutputError):
            write_atomically(path, to_json(content | {"sha256": _checksum(content)}))
    return path


def read_file_states(folder: Path, names: list[str]) -> tuple[tuple[str, int, int], ...]:
    """Read the current names, sizes and modification times of shards.

    Raises:
        OSError: a shard does not exist.
    """
    stats = [(folder / name).stat() for name in names]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in zip(names, stats, strict=True))


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> str:
    if not path.is_file():  # opening a FIFO would block until a writer opens it
        raise FileNotFoundError(path)
    return path.read_text(encoding="utf-8")


def _path(folder: Path, file_stamp: str) -> Path:
    return folder / f"{hashlib.sha256(file_stamp.encode()).hexdigest()}.json"
