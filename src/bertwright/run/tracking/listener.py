"""Experiment trackers as listeners of a run: events become values, and a failing tracker never stops the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertwright.errors import MissingDependencyError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json
from bertwright.run.directory import saved_recipe
from bertwright.run.events import (
    EvaluationFinished,
    Event,
    Listener,
    Note,
    TrainingFinished,
    TrainingStarted,
    emit,
)
from bertwright.run.report import Report
from bertwright.run.tracking.spec import (
    Outcome,
    TrackedResults,
    TrackedRun,
    Tracker,
    collect_results,
    flatten_recipe,
)
from bertwright.training.loop import Step

IDENTITIES = "trackers.json"
"""The file in a run directory with which a resumed run continues the runs of its trackers."""

Notify = Callable[[str, bool], None]
"""Receives a sentence, and whether it is a warning."""


def make_tracker(name: str, setting: str = "train.track") -> Tracker:
    """Make the tracker of a name.

    Args:
        name: of the tracker, a value of ``train.track``.
        setting: for the message of the error.

    Raises:
        MissingDependencyError: its package is not installed.
    """
    # each tracker imports a large package
    try:
        if name == "mlflow":
            from bertwright.run.tracking.mlflow_tracker import MlflowTracker

            return MlflowTracker()
        if name == "wandb":
            from bertwright.run.tracking.wandb_tracker import WandbTracker

            return WandbTracker()
        from bertwright.run.tracking.tensorboard_tracker import TensorBoardTracker

        return TensorBoardTracker()
    except ImportError as error:
        raise MissingDependencyError(
            f"{setting}: {name} is not installed; run `pip install 'bertwright[{name}]'`."
        ) from error


def check_trackers(names: Iterable[str]) -> None:
    """Check that the packages of trackers are installed.

    Raises:
        MissingDependencyError: one is not.
    """
    for name in names:
        make_tracker(name)


class SafeTracker:
    """A tracker whose first failure ends the recording with a warning.

    Args:
        name: of the tracker.
        tracker: receives the calls.
        notify: receives the place of the records and the warning.
    """

    def __init__(self, name: str, tracker: Tracker, notify: Notify) -> None:
        self.name = name
        self._tracker = tracker
        self._notify = notify
        self._is_recording = False
        self._has_failed = False

    def start(self, run: TrackedRun) -> None:
        """Start to record, and save what a resumed run needs."""
        if self._has_failed:
            return
        with self._survive_errors():
            place = self._tracker.start(run)
            self._notify(f"{self.name}: {place}", False)
            self._is_recording = True
            if self._tracker.identity:
                identities = {**read_identities(run.directory), self.name: dict(self._tracker.identity)}
                write_atomically(run.directory / IDENTITIES, to_json(identities, indent=2) + "\n")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record values at a training step."""
        if self._is_recording:
            with self._survive_errors():
                self._tracker.log(values, step)

    def flush(self) -> None:
        """Write buffered values."""
        if self._is_recording:
            with self._survive_errors():
                self._tracker.flush()

    def finish(self, results: TrackedResults) -> None:
        """Record the results."""
        if self._is_recording:
            with self._survive_errors():
                self._tracker.finish(results)

    def close(self, outcome: Outcome) -> None:
        """End the recording."""
        if self._is_recording:
            with self._survive_errors():
                self._tracker.close(outcome)
            self._is_recording = False

    @contextmanager
    def _survive_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # packages and servers of others: any error ends the recording only
            self._is_recording, self._has_failed = False, True
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            self._notify(f"{self.name}: recording failed ({reason}); the run continues without it", True)


class TrackingListener:
    """Translates the events of one run for a tracker.

    Args:
        tracker: receives the values.
        directory: of the run.
        group: directory of the search that the run belongs to; None for a single run.
    """

    def __init__(self, tracker: SafeTracker, directory: Path, group: Path | None = None) -> None:
        self._tracker = tracker
        self._directory = directory
        self._group = group

    def __call__(self, event: Event) -> None:
        """Record one event."""
        if isinstance(event, TrainingStarted):
            self._tracker.start(self._describe_run(event.step))
        elif isinstance(event, Step):
            self._tracker.log(step_values(event), event.step)
        elif isinstance(event, EvaluationFinished):
            self._tracker.log(evaluation_values(event), event.step)
            self._tracker.flush()
        elif isinstance(event, TrainingFinished):
            self._finish(event.report)

    def _describe_run(self, step: int) -> TrackedRun:
        name, group, tracker = self._directory.resolve().name, self._group, self._tracker.name
        return TrackedRun(
            name=name if group is None else f"{group.resolve().name}/{name}",
            directory=self._directory,
            parameters=flatten_recipe(saved_recipe(self._directory)),
            step=step,
            identity=read_identities(self._directory).get(tracker, {}),
            group=group,
            group_identity={} if group is None else read_identities(group).get(tracker, {}),
        )

    def _finish(self, report: Report) -> None:
        # a search keeps the weights of its best run only
        results = collect_results(report, self._directory, with_bundle=self._group is None)
        self._tracker.log(results.values, results.step)
        self._tracker.finish(results)


def step_values(event: Step) -> dict[str, float]:
    """The values of a training step."""
    return {
        "train/loss": event.loss,
        "train/learning_rate": event.learning_rate,
        "train/gradient_norm": event.gradient_norm,
        "train/examples_per_second": event.examples / max(event.seconds, 1e-9),
    }


def evaluation_values(event: EvaluationFinished) -> dict[str, float]:
    """The metrics and the validation loss of each split."""
    metrics = {f"{split}/{name}": value for split, by_name in event.metrics.items() for name, value in by_name.items()}
    return metrics | {f"{split}/loss": loss for split, loss in event.validation_loss.items()}


def read_identities(directory: Path) -> dict[str, dict[str, str]]:
    """The identities of the trackers' runs; empty if there are none or the file is damaged."""
    try:
        values: Any = json.loads((directory / IDENTITIES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) and all(isinstance(each, dict) for each in values.values()) else {}


@contextmanager
def track_run(
    names: Iterable[str],
    directory: Path,
    group: Path | None = None,
    listeners: Sequence[Listener] = (),
    setting: str = "train.track",
) -> Iterator[tuple[TrackingListener, ...]]:
    """Record a run with trackers while the block runs.

    Args:
        names: of the trackers.
        directory: of the run.
        group: directory of the search that the run belongs to; None for a single run.
        listeners: receive notes and warnings of the trackers.
        setting: that names the trackers, for error messages.

    Returns:
        A listener for each tracker.

    Raises:
        MissingDependencyError: a package is not installed.
    """

    def notify(text: str, warning: bool) -> None:
        emit(listeners, Note(text, warning))

    trackers = [SafeTracker(name, make_tracker(name, setting), notify) for name in dict.fromkeys(names)]
    with close_at_the_end(trackers):
        yield tuple(TrackingListener(tracker, directory, group) for tracker in trackers)


@contextmanager
def close_at_the_end(trackers: Sequence[SafeTracker]) -> Iterator[None]:
    """Close trackers with the outcome of the block."""
    outcome: Outcome = "failed"
    try:
        yield
        outcome = "finished"
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    finally:
        for tracker in trackers:
            tracker.close(outcome)
