"""Which shards a corpus's files became, so that files that have not changed need not be read again.

An entry is a small file of JSON among the shards, named by the stamp of the corpus and the tokenizer. It is a short cut
only: where anything about it is not as it was, there is none.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright.cache.disk_cache import touch
from bertwright.errors import OutputError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json


@dataclass(frozen=True)
class Entry:
    """What is known of a corpus's shards.

    Attributes:
        states: of each shard the name of its file, its size and time of change when its checksum last agreed.
        report: how the corpus was read, as sentences.
    """

    states: tuple[tuple[str, int, int], ...]
    report: tuple[str, ...]


def find(folder: Path, stamp: str) -> Entry | None:
    """What is known of the corpus with that stamp, if all its shards are there as they were."""
    try:
        found: dict[str, Any] = json.loads(_read(_path(folder, stamp)))
        if found.pop("sha256") != _checksum(found):
            return None
        entry = Entry(tuple((str(name), int(size), int(time)) for name, size, time in found["shards"]), ())
        if found["stamp"] == stamp and entry.states == states_of(folder, [name for name, _, _ in entry.states]):
            touch(_path(folder, stamp))
            return Entry(entry.states, tuple(map(str, found["report"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return None


def keep(folder: Path, stamp: str, entry: Entry) -> Path:
    """Write an entry and return its file; if it cannot be written, the corpus is read again the next time."""
    path = _path(folder, stamp)
    content = {"stamp": stamp, "shards": entry.states, "report": entry.report}
    if path.is_file() or not path.exists():
        with suppress(OutputError):
            write_atomically(path, to_json(content | {"sha256": _checksum(content)}))
    return path


def states_of(folder: Path, names: list[str]) -> tuple[tuple[str, int, int], ...]:
    """The names, sizes and times of change of shards as they are now.

    Raises:
        OSError: one is not there.
    """
    stats = [(folder / name).stat() for name in names]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in zip(names, stats, strict=True))


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> str:
    if not path.is_file():  # opening a FIFO would wait for its writer
        raise FileNotFoundError(path)
    return path.read_text(encoding="utf-8")


def _path(folder: Path, stamp: str) -> Path:
    return folder / f"{hashlib.sha256(stamp.encode()).hexdigest()}.json"
