"""The events of a run, and the functions that pass them to listeners."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bertwright.run.report import Report
from bertwright.training.loop import Step
from bertwright.weights.loading import LoadingReport


@dataclass(frozen=True)
class Note:
    """A sentence for the user, before or during the run; a warning if something may be wrong."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Working:
    """Progress of slow work outside the training steps; ``total`` is None if the amount of work is unknown."""

    what: str
    done: int
    total: int | None


@dataclass(frozen=True)
class TrainingStarted:
    """Data and model are ready; training starts.

    Attributes:
        steps: of the whole run.
        step: the step after which training starts; above 0 for a resumed run.
        compute: device, precision and threads, as text.
        loading: the source of every weight.
        trainable: number of trainable parameters, and of all parameters.
        data: rows, tokens and truncated rows by split.
    """

    steps: int
    step: int
    compute: str
    loading: LoadingReport
    trainable: tuple[int, int]
    data: dict[str, dict[str, str | int]]


@dataclass(frozen=True)
class EvaluationFinished:
    """The model was evaluated on the dev splits.

    Attributes:
        step: number of training steps so far.
        epoch: number of epochs so far.
        metrics: by split and name.
        best: whether these are the best weights so far.
        seconds: duration of the evaluation.
        train_loss: mean loss of the training steps since the previous evaluation; None if there were none.
        validation_loss: mean loss by split, of the same objective, without dropout.
    """

    step: int
    epoch: float
    metrics: dict[str, dict[str, float]]
    best: bool
    seconds: float
    train_loss: float | None = None
    validation_loss: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointSaved:
    """The state that a resumed run starts from was saved."""

    step: int


@dataclass(frozen=True)
class TrainingFinished:
    """The bundle was written."""

    report: Report
    directory: Path


Event = Note | Working | TrainingStarted | Step | EvaluationFinished | CheckpointSaved | TrainingFinished
"""Every event of a run, in the order in which they occur first."""

Listener = Callable[[Event], None]
"""Called with every event of a run."""


def emit(listeners: Iterable[Listener], event: Event) -> None:
    """Call every listener with an event."""
    for listener in listeners:
        listener(event)


def make_progress_reporter(listeners: Iterable[Listener], what: str, total: int) -> Callable[[int], None]:
    """Return a function that emits how many units of a piece of work are done."""
    return lambda done: emit(listeners, Working(what, done, total))
