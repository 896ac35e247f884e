"""Learning curves: the score by number of training rows, as a search over ``data.train_rows`` and seeds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertwright.data.dataset import Dataset
from bertwright.errors import DataError, MissingDependencyError, OutputError, RecipeError
from bertwright.files.atomic import expand_home, write_atomically
from bertwright.files.strict_json import to_finite, to_json
from bertwright.html.page import write_page
from bertwright.metrics import METRICS
from bertwright.output.notebook import render_html
from bertwright.output.plurals import pluralize
from bertwright.output.progress import stderr_console
from bertwright.output.terminal import print_parts
from bertwright.recipe import Recipe
from bertwright.run.plots import learning_curve_over_rows
from bertwright.run.report import show
from bertwright.run.resolve import open_base_model
from bertwright.run.splits import load_splits
from bertwright.sweep.context import Listener
from bertwright.sweep.display import SweepDisplay
from bertwright.sweep.extrapolation import Extrapolation, extrapolate
from bertwright.sweep.leaderboard import Leaderboard, LeaderboardRow
from bertwright.sweep.learning_curve_page import build_learning_curve_page
from bertwright.sweep.optuna_study import FixedCombinations
from bertwright.sweep.search import sweep
from bertwright.sweep.settings import SWEEP_FILE, SweepSettings, load_sweep_settings
from bertwright.sweep.space import parse_space, to_pairs
from bertwright.sweep.subprocesses import TrialRunner
from bertwright.sweep.sweep_page import PAGE_FILE

if TYPE_CHECKING:
    from rich.console import RenderableType

TRAIN_ROWS = "data.train_rows"

CURVE_FILE, CURVE_PLOT = "learning_curve.json", "learning_curve_over_rows.png"

CURVE_FORMAT = 1
"""Increases when readers of older files would misread a newer one."""

DEFAULT_SEEDS, MAX_SEEDS = 3, 100

N_DEFAULT_SIZES, DEFAULT_SPAN, SMALLEST_DEFAULT = 5, 16, 10
"""Sizes without ``--sizes``: how many, the largest divided by the smallest, and a lower bound of the smallest."""


@dataclass(frozen=True)
class CurvePoint(LeaderboardRow):
    """A number of training rows and the results of its runs."""

    @property
    def rows(self) -> int:
        """The number of training rows."""
        return int(self.settings[TRAIN_ROWS])


@dataclass(frozen=True)
class LearningCurve:
    """The score by number of training rows.

    Attributes:
        metric: name of the metric.
        split: the split that all runs are evaluated on.
        points: one per number of training rows, smallest first.
        extrapolation: the estimate for twice the rows; None if there is no reliable one.
        reason: why there is no estimate; empty if there is one.
    """

    metric: str
    split: str
    points: tuple[CurvePoint, ...]
    extrapolation: Extrapolation | None = None
    reason: str = ""

    @classmethod
    def from_leaderboard(cls, board: Leaderboard) -> LearningCurve:
        """Order the results by number of training rows, and extrapolate them."""
        points = sorted((CurvePoint(row.settings, row.results) for row in board.rows), key=lambda point: point.rows)
        try:
            estimate = extrapolate({point.rows: point.values for point in points}, board.metric)
        except DataError as error:
            return cls(board.metric, board.split, tuple(points), reason=str(error))
        return cls(board.metric, board.split, tuple(points), estimate)

    def _repr_html_(self) -> str:
        """The tables and lines in a notebook."""
        return render_html(self.renderables())

    def renderables(self) -> list[RenderableType]:
        """Return the table, failed and collapsed runs, and the estimate, for a rich console of at least 80 columns."""
        from bertwright.output.terminal import make_table, plain_text

        counts = {
            "collapsed": [len(point.collapsed) for point in self.points],
            "failed": [len(point.failed) for point in self.points],
        }
        counts = {name: numbers for name, numbers in counts.items() if any(numbers)}
        table = make_table()
        for name in ("rows", self.metric, "± std", "n", *counts):
            table.add_column(name, justify="right", no_wrap=True)
        for i, point in enumerate(self.points):
            scores = (show(self.metric, point.mean), show(self.metric, point.std))
            table.add_row(
                f"{point.rows:,}", *scores, str(len(point.values)), *(str(n[i] or "") for n in counts.values())
            )
        seeds = len({result.seed for point in self.points for result in point.results})
        spread = f"mean ± std over {pluralize(seeds, 'seed')}"
        caption = f"{self.metric} on {self.split} by number of training rows, {spread}"
        return [plain_text(caption), "", table, "", *map(plain_text, self.remarks())]

    def remarks(self) -> list[str]:
        """Return failed and collapsed runs, and the estimate or why there is none, in sentences."""
        lines = []
        for point in self.points:
            for result in point.results:
                name = f"trial {result.name} ({point.rows:,} rows, seed {result.seed})"
                lines += [f"collapsed  {name}: {result.collapsed}; counted in the mean"] if result.collapsed else []
                lines += [f"failed     {name}: {result.error}"] if result.error else []
        if self.extrapolation is None:
            return [*lines, f"estimate   no reliable estimate for twice the data: {self.reason}"]
        return [*lines, f"estimate   {self.extrapolation.describe()}"]

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of ``learning_curve.json``; nan is null."""
        points = [
            {
                "rows": point.rows,
                "mean": point.mean,
                "std": point.std,
                "n": len(point.values),
                "collapsed": len(point.collapsed),
                "failed": len(point.failed),
                "trials": [result.model_dump(exclude={"settings", "cell", "fold"}) for result in point.results],
            }
            for point in self.points
        ]
        contents: dict[str, Any] = to_finite(
            {
                "format": CURVE_FORMAT,
                "metric": self.metric,
                "split": self.split,
                "higher_is_better": METRICS[self.metric].higher_is_better,
                "points": points,
                "extrapolation": None if self.extrapolation is None else self.extrapolation.to_dict(),
                "reason": self.reason,
            }
        )
        return contents

    def save(self, directory: Path) -> None:
        """Write ``learning_curve.json``, and the picture if matplotlib is installed.

        Raises:
            OutputError: a file cannot be written.
        """
        write_atomically(directory / CURVE_FILE, to_json(self.to_dict(), indent=2) + "\n")
        scores = {point.rows: point.values for point in self.points if point.values}
        fit = self.extrapolation
        try:
            learning_curve_over_rows(
                scores,
                f"{self.metric} on {self.split}",
                directory / CURVE_PLOT,
                fit=None if fit is None else fit.scores,
                interval=None if fit is None else fit.score_interval,
            )
        except MissingDependencyError:
            return


def measure_learning_curve(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    sizes: Sequence[int | str] | None = None,
    seeds: int = DEFAULT_SEEDS,
    parallel: int = 1,
    keep_weights: bool = False,
    resume: bool = False,
    quiet: bool = False,
    allow_code: bool = False,
    listeners: Iterable[Listener] = (),
) -> LearningCurve:
    """Train on several numbers of rows with several seeds, and estimate the effect of twice the data.

    All runs are evaluated on the same rows: the test rows if there are any, otherwise the validation rows, which are
    held out before training rows are drawn. Progress and the table are printed on standard error, or below the cell of
    a notebook.

    Args:
        recipe: the settings that all runs share; it names the data, because every run is a process.
        out: the directory of the curve; created if needed.
        sizes: numbers of training rows; ``"all"`` means all of them. None: about five, up to all rows.
        seeds: the number of seeds for each size, from the recipe's seed on.
        parallel: the number of runs at the same time, each in a process with its share of the CPU threads.
        keep_weights: whether to keep the weights of every run.
        resume: continue the curve in ``out``; finished runs are kept and failed ones repeated.
        quiet: print nothing; ``listeners`` still receive every event.
        allow_code: whether a custom head ``module:name`` may be imported and called.
        listeners: called with the events of :mod:`bertwright.sweep.events`.

    Raises:
        BertwrightError: the settings, the data or the model are invalid, or all runs failed.
        KeyboardInterrupt: Ctrl-C; running trials saved a checkpoint, and ``resume`` continues them.
    """
    settings = plan_learning_curve(recipe, sizes, seeds, keep_weights)
    if quiet:
        return run_learning_curve(
            settings, out, parallel=parallel, resume=resume, allow_code=allow_code, listeners=listeners
        )
    console = stderr_console()
    with SweepDisplay(console, ranks=False) as display:
        receivers: list[Listener] = [*listeners, display]
        curve = run_learning_curve(
            settings, out, parallel=parallel, resume=resume, allow_code=allow_code, listeners=receivers
        )
    print_parts(console, ["", *curve.renderables()])
    return curve


def plan_learning_curve(
    recipe: Recipe, sizes: Sequence[int | str] | None = None, seeds: int = DEFAULT_SEEDS, keep_weights: bool = False
) -> SweepSettings:
    """Read the data and return the search over ``data.train_rows`` and seeds.

    Raises:
        BertwrightError: the recipe or the data is invalid, or a size or the number of seeds is.
    """
    if recipe.data.train_rows is not None:
        raise RecipeError("data.train_rows: a learning curve sets it itself; remove it, and give the sizes.")
    if recipe.data.train_on_dev:
        raise RecipeError("data.train_on_dev: makes the validation metrics of a learning curve meaningless; remove it.")
    if not 1 <= seeds <= MAX_SEEDS:
        raise RecipeError(f"seeds: must be between 1 and {MAX_SEEDS}, found {seeds}.")
    rows = parse_sizes(sizes, _count_training_rows(recipe))
    vary = tuple(to_pairs({TRAIN_ROWS: rows, "seed": range(recipe.seed, recipe.seed + seeds)}))
    return SweepSettings(recipe=recipe, vary=vary, keep="all" if keep_weights else "none", score_test=True)


def _count_training_rows(recipe: Recipe) -> int:
    """The number of training rows after the hold-out split; of documents, for a corpus."""
    train = load_splits(recipe.data, recipe.task.target_spec, seed=recipe.seed).train
    if isinstance(train, Dataset):
        return len(train)
    return train.store(open_base_model(recipe).tokenizer).n_documents


def run_learning_curve(
    settings: SweepSettings,
    out: str | os.PathLike[str],
    *,
    parallel: int = 1,
    resume: bool = False,
    allow_code: bool = False,
    listeners: Iterable[Listener] = (),
    runner: TrialRunner | None = None,
) -> LearningCurve:
    """Run a planned learning curve and print nothing; ``runner`` runs the trials, by default in processes.

    Raises:
        BertwrightError, KeyboardInterrupt: as for :func:`measure_learning_curve`.
    """
    board = sweep(
        settings,
        out,
        parallel=parallel,
        resume=resume,
        allow_code=allow_code,
        listeners=listeners,
        runner=runner,
        study=FixedCombinations(parse_space(settings.vary).grid()),
    )
    curve = LearningCurve.from_leaderboard(board)
    directory = Path(expand_home(out))
    curve.save(directory)
    write_page(directory / PAGE_FILE, build_learning_curve_page(curve, directory.resolve().name))
    return curve


def load_curve_settings(directory: Path) -> SweepSettings:
    """Load the settings of the learning curve in a directory.

    Raises:
        OutputError: there is none.
    """
    if not (directory / SWEEP_FILE).exists():
        raise OutputError(f"{directory}: contains no learning curve to resume; start one without --resume.")
    settings = load_sweep_settings(directory)
    if not settings.score_test or not settings.vary or not settings.vary[0].startswith(f"{TRAIN_ROWS}="):
        raise OutputError(f"{directory}: contains a sweep, not a learning curve; resume it with `bertwright sweep`.")
    return settings


def parse_sizes(sizes: Sequence[int | str] | None, n_rows: int) -> list[int]:
    """Convert sizes to numbers of rows in ascending order; None gives about five on a logarithmic scale.

    >>> parse_sizes(["100", 200, "all"], 800), parse_sizes(None, 800)
    ([100, 200, 800], [50, 100, 200, 400, 800])

    Args:
        sizes: whole numbers, also as text, and ``all``.
        n_rows: the number of training rows.

    Raises:
        RecipeError: a size is no number of rows, is repeated, or is larger than the data.
    """
    if sizes is None:
        return _choose_sizes(n_rows)
    rows: list[int] = []
    for size in sizes:
        text = str(size).strip()
        if text != "all" and not (text.isascii() and text.isdecimal() and int(text) > 0):
            raise RecipeError(f'sizes: expected numbers of rows and all, such as 100,200,all; found "{text}".')
        n = n_rows if text == "all" else int(text)
        if n > n_rows:
            raise RecipeError(
                f"sizes: {n:,} rows are more than the {pluralize(n_rows, 'training row')} that remain after the "
                "hold-out split; use smaller sizes, or all."
            )
        if n in rows:
            raise RecipeError(f"sizes: {n:,} rows are given twice; remove one of them.")
        rows.append(n)
    if not rows:
        raise RecipeError("sizes: is empty; give numbers of rows, such as 100,200,all.")
    return sorted(rows)


def _choose_sizes(n_rows: int) -> list[int]:
    """About five sizes on a logarithmic scale, rounded to two digits, up to all rows."""
    smallest = max(n_rows / DEFAULT_SPAN, min(SMALLEST_DEFAULT, n_rows / 2))
    sizes = np.geomspace(smallest, n_rows, N_DEFAULT_SIZES).tolist()[:-1]
    rounded = {max(1, int(float(f"{size:.1e}"))) for size in sizes}
    return sorted({*(size for size in rounded if size < n_rows), n_rows})
