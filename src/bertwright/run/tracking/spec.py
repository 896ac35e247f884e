"""What an experiment tracker is, and what it receives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from bertwright.recipe import Recipe
from bertwright.run.bundle_files import PAGE, list_bundle_files
from bertwright.run.plots import pictures_of
from bertwright.run.report import Report

Outcome = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True)
class TrackedRun:
    """A run at its start.

    Attributes:
        name: shown by the tracker.
        directory: of the run.
        parameters: the resolved recipe: setting, such as ``train.batch_size`` → value, a scalar or JSON.
        step: the step after which training starts; above 0 for a resumed run.
        identity: what :attr:`Tracker.identity` was when the run was started; empty for a new run.
        group: directory of the search that the run belongs to; None for a single run.
        group_identity: the tracker's identity of the parent run of the group; empty if it has none.
    """

    name: str
    directory: Path
    parameters: Mapping[str, str | int | float | bool | None]
    step: int = 0
    identity: Mapping[str, str] = field(default_factory=dict)
    group: Path | None = None
    group_identity: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackedResults:
    """The results of a run.

    Attributes:
        step: that the values belong to.
        values: name → value, such as ``final/dev/accuracy``.
        tables: name → rows with equal keys.
        pictures: image files.
        page: the HTML report, if there is one.
        bundle: the files of the model directory.
        files: other files.
    """

    step: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    pictures: Sequence[Path] = ()
    page: Path | None = None
    bundle: Sequence[Path] = ()
    files: Sequence[Path] = ()


class Tracker(Protocol):
    """Records one run. Every method may raise any exception; the run then continues without the tracker."""

    has_parent_runs: bool
    """Whether the runs of a search belong to a parent run, which is recorded, too."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What a resumed run needs to continue the tracker's run."""

    def start(self, run: TrackedRun) -> str:
        """Start to record, or continue; return the place of the records, as the end of a sentence.

        A run that starts again with another random seed calls this a second time.
        """

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record values at a training step."""

    def flush(self) -> None:
        """Write buffered values."""

    def finish(self, results: TrackedResults) -> None:
        """Record the results."""

    def close(self, outcome: Outcome) -> None:
        """End the recording; called once after ``start``."""


def flatten_recipe(recipe: Recipe) -> dict[str, str | int | float | bool | None]:
    """The settings of a recipe by their dotted names; lists are written as JSON."""
    return dict(_flatten("", recipe.model_dump(mode="json")))


def _flatten(name: str, value: Any) -> Iterator[tuple[str, str | int | float | bool | None]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, dict | list):
        yield name, json.dumps(value, ensure_ascii=False)
    else:
        yield name, value


def collect_results(report: Report, directory: Path, with_bundle: bool) -> TrackedResults:
    """The results of a finished run.

    Args:
        report: of the run.
        directory: of the run.
        with_bundle: whether the files of the model belong to the results.
    """
    values = {
        f"final/{split}/{name}": value for split, by_name in report.metrics.items() for name, value in by_name.items()
    }
    tables = {
        f"per_label_{split}": [{"label": label, **row} for label, row in labels.items()]
        for split, labels in report.per_class.items()
    }
    page = directory / PAGE
    return TrackedResults(
        step=int(report.best.get("step", 0)),
        values=values,
        tables=tables,
        pictures=tuple(directory / name for name in pictures_of(directory)),
        page=page if page.is_file() else None,
        bundle=tuple(list_bundle_files(directory)) if with_bundle else (),
    )
