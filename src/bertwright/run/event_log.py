"""``events.jsonl``: the events of a run, one JSON object per line, readable while the run continues."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bertwright.errors import OutputError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json
from bertwright.output.plurals import pluralize
from bertwright.run.report import Number

FILE = "events.jsonl"

logger = logging.getLogger(__name__)

Count = Annotated[int, Field(ge=0)]

_LOGGED_AS = {"EvaluationFinished": "evaluated", "CheckpointSaved": "saved"}
"""Names of events in the file, where they differ from the lower-case class name."""


class LoggedEvent(BaseModel):
    """One line of ``events.jsonl``, checked; other keys are kept unchanged.

    Attributes:
        event: kind of event: ``run`` (the first line), ``step``, ``evaluated``, ``saved``.
        time: time of writing, ISO 8601 in UTC; None in files of older versions.
        step: number of training steps so far.
        epoch: number of epochs so far.
        loss: of a step.
        learning_rate: of a step.
        metrics: of an evaluation, by split.
        train_loss: mean over the training steps since the previous evaluation.
        validation_loss: of an evaluation, by split.
        best: whether an evaluation was the best so far.
        run: name of the run.
        recipe: SHA-256 of the recipe that the run started with.
        steps: number of steps of the whole run.
        directory: working directory in which the run was started; base of the relative paths in its recipe.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    event: str
    time: str | None = None
    step: Count = 0
    epoch: Number = math.nan
    loss: Number = math.nan
    learning_rate: Number = math.nan
    metrics: dict[str, dict[str, Number]] = {}
    train_loss: Number = math.nan
    validation_loss: dict[str, Number] = {}
    best: bool = False
    run: str = ""
    recipe: str = ""
    steps: Count = 0
    directory: str = ""


class EventLog:
    """Appends events to a run's ``events.jsonl``.

    Args:
        directory: of the run.
        recipe: fingerprint of the run's recipe.
        steps: of the whole run.
        step: current step of the run; later events are removed, because the run repeats them.

    Raises:
        OutputError: the file cannot be written to.
    """

    def __init__(self, directory: Path, recipe: str, steps: int, step: int = 0) -> None:
        self.path = directory / FILE
        earlier = [event for event in read_events(directory) if event.get("step", 0) <= step] if step else []
        header = {"event": "run", "time": _now(), "run": directory.resolve().name, "recipe": recipe, "steps": steps}
        header["directory"] = str(Path.cwd())
        if earlier and earlier[0]["event"] == "run":  # keep the start of the run; its length may have changed
            header |= {key: earlier[0][key] for key in ("time", "directory") if key in earlier[0]}
        events = [header, *(event for event in earlier if event["event"] != "run")]
        write_atomically(self.path, "".join(map(_to_line, events)))
        self._file = self.path.open("a", encoding="utf-8")

    def write(self, event: Any) -> None:
        """Append one event, a dataclass.

        Raises:
            OutputError: the file cannot be written, for example because the disk is full.
        """
        try:
            name = type(event).__name__
            line = {"event": _LOGGED_AS.get(name, name.lower()), "time": _now(), **vars(event)}
            self._file.write(_to_line(line))
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written ({os.strerror(error.errno or 0)}); free some disk space."
            ) from None

    def close(self) -> None:
        """Close the file; every event is already on disk."""
        self._file.close()


def read_events(directory: Path) -> Iterator[dict[str, Any]]:
    """The events of a run, each with the keys of its line.

    An incomplete last line is ignored, because a killed process may leave one. Other invalid lines are ignored with a
    warning.
    """
    path = directory / FILE
    if not path.is_file():
        return
    # a label may contain any line separator of Unicode; only "\n" ends an event
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    damaged: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield LoggedEvent.model_validate_json(line).model_dump(exclude_unset=True)
        except ValidationError:
            if number < len(lines):  # a complete line ends with "\n", so another one follows it
                damaged.append(number)
    if damaged:
        logger.warning(
            "%s:%d: not an event of a run; %s ignored.", path, damaged[0], pluralize(len(damaged), "such line")
        )


def starting_directory(directory: Path) -> Path | None:
    """The working directory in which a run was started; None if its ``events.jsonl`` does not have it."""
    header = next(read_events(directory), {})
    return Path(header["directory"]) if header.get("directory") else None


def _to_line(event: dict[str, Any]) -> str:
    # in ASCII, no label contains a character that other programs read as the end of a line
    return to_json(event, ascii_only=True) + "\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
