"""The runs of a search as a group: one parent run, in trackers that have parent runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bertwright.recipe import Recipe
from bertwright.run.bundle_files import list_bundle_files
from bertwright.run.tracking.listener import IDENTITIES, SafeTracker, close_at_the_end, make_tracker, read_identities
from bertwright.run.tracking.spec import TrackedResults, TrackedRun, flatten_recipe

logger = logging.getLogger(__name__)

TABLES = (".csv", ".json", ".html")


@contextmanager
def track_group(names: Iterable[str], directory: Path, recipe: Recipe, best: str) -> Iterator[None]:
    """Record the parent run of a group while its runs are trained.

    The parent run has the settings that all runs share and, at the end, the tables, pages and pictures of the group and
    the files of its best model.

    Args:
        names: of the trackers.
        directory: of the group; it contains the run directories.
        recipe: with the settings that all runs share.
        best: the folder of the best model in ``directory``.

    Raises:
        MissingDependencyError: a package is not installed.
    """

    def warn(text: str, warning: bool) -> None:
        if warning:
            logger.warning("%s", text)

    by_name = {name: make_tracker(name) for name in names}
    trackers = [SafeTracker(name, each, warn) for name, each in by_name.items() if each.has_parent_runs]
    with close_at_the_end(trackers):
        for tracker in trackers:
            identity = read_identities(directory).get(tracker.name, {})
            name, parameters = directory.resolve().name, flatten_recipe(recipe)
            tracker.start(TrackedRun(name, directory, parameters, identity=identity))
        yield
        model, files = directory / best, sorted(path for path in directory.iterdir() if path.name != IDENTITIES)
        results = TrackedResults(
            pictures=[path for path in files if path.suffix == ".png"],
            files=[path for path in files if path.suffix in TABLES],
            bundle=list_bundle_files(model) if model.is_dir() else (),
        )
        for tracker in trackers:
            tracker.finish(results)
