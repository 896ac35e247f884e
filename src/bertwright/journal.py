"""``events.jsonl``: what happened in a run, one JSON object a line, readable while it goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bertwright.errors import OutputError
from bertwright.files import write_atomically

FILE = "events.jsonl"


class Journal:
    """Appends events to a run's ``events.jsonl``.

    Args:
        directory: of the run.
        step: where the run stands: events of later steps, which it is about to make again, are removed.

    Raises:
        OutputError: the file cannot be written to.
    """

    def __init__(self, directory: Path, step: int = 0) -> None:
        self.path = directory / FILE
        kept = [json.dumps(event) + "\n" for event in read_events(directory) if event.get("step", 0) <= step]
        write_atomically(self.path, "".join(kept if step else []))
        self._file = self.path.open("a", encoding="utf-8")

    def write(self, event: Any) -> None:
        """Append one event: a dataclass, named after its class.

        Raises:
            OutputError: there is no space.
        """
        try:
            self._file.write(json.dumps({"event": type(event).__name__.lower(), **vars(event)}) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({os.strerror(error.errno or 0)}); make room.") from None

    def close(self) -> None:
        """Close the file; events are on it already."""
        self._file.close()


def read_events(directory: Path) -> Iterator[dict[str, Any]]:
    """The events of a run; a last line that a kill cut short is passed over."""
    path = directory / FILE
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event
