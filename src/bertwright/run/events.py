"""What a run tells those who listen, besides the steps of the loop itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bertwright.run.report import Report
from bertwright.weights.loading import LoadingReport


@dataclass(frozen=True)
class Note:
    """Something the user should know before or during the run."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Working:
    """Progress of a slow step before training starts; ``total`` is None where the amount of work is unknown."""

    what: str
    done: int
    total: int | None


@dataclass(frozen=True)
class TrainingStarted:
    """Everything is read, checked and loaded; training begins.

    Attributes:
        steps: of the whole run.
        step: where it begins, above 0 for a resumed one.
        machine: device, precision and threads, in words.
        loading: where every weight came from.
        trainable: how many parameters train, of how many.
        data: rows, tokens, truncated rows of every split.
    """

    steps: int
    step: int
    compute: str
    loading: LoadingReport
    trainable: tuple[int, int]
    data: dict[str, dict[str, object]]


@dataclass(frozen=True)
class EvaluationFinished:
    """The dev rows were evaluated.

    Attributes:
        step: after which.
        epoch: how far through the data.
        metrics: by split and name.
        best: whether these are the best weights so far.
        seconds: it took.
        train_loss: mean loss of the training steps since the evaluation before; None where there was no step.
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
    """What a resumed run starts from was written."""

    step: int


@dataclass(frozen=True)
class TrainingFinished:
    """The bundle is written."""

    report: Report
    directory: Path
