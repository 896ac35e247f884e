"""The leaderboard: mean and standard deviation of each combination over seeds and folds, best first."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from bertwright.errors import MissingDependencyError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_finite, to_json
from bertwright.metrics import METRICS
from bertwright.output.notebook import render_html
from bertwright.run.plots import leaderboard as draw
from bertwright.run.report import Number, show
from bertwright.sweep.ensemble_comparison import EnsembleComparison

if TYPE_CHECKING:
    from rich.console import RenderableType

LEADERBOARD_FILE = "leaderboard.json"

LEADERBOARD_FORMAT = 1
"""Increases when readers of older files would misread a newer one."""

MAX_ROWS_SHOWN = 30
"""Further rows are only in the file."""


class TrialResult(BaseModel):
    """A trial and its result.

    Attributes:
        number: the trial number, which names its directory.
        cell: the index of its combination of settings.
        settings: the settings that override the recipe.
        seed: its random seed.
        fold: the held-out fold; None without cross-validation.
        value: the ranking metric on the validation data; nan if the trial failed.
        metrics: all metrics on the validation data.
        collapsed: a description if all its predictions are equal.
        restarted: whether its first attempt collapsed and it was restarted.
        error: the error if it failed.
        seconds: its duration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    cell: int
    settings: dict[str, str]
    seed: int
    fold: str | None = None
    value: Number = math.nan
    metrics: dict[str, Number] = {}
    collapsed: str | None = None
    restarted: bool = False
    error: str | None = None
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.number:04d}"

    @property
    def pairs(self) -> list[str]:
        """The overriding settings as ``key=value``."""
        fold = [f"data.fold={self.fold}"] if self.fold else []
        return [*(f"{key}={value}" for key, value in self.settings.items()), f"seed={self.seed}", *fold]

    def save(self, file: Path) -> None:
        """Write the result atomically.

        Raises:
            OutputError: the file cannot be written.
        """
        write_atomically(file, to_json(self.model_dump(), indent=2) + "\n")


@dataclass(frozen=True)
class LeaderboardRow:
    """A combination of settings and the results of its trials.

    Attributes:
        settings: the settings that override the recipe.
        results: the results of its trials, including failed ones.
    """

    settings: dict[str, str]
    results: tuple[TrialResult, ...]

    @property
    def values(self) -> list[float]:
        """The metric of each trial, including collapsed trials; without failed trials and undefined metrics."""
        return [result.value for result in self.results if not math.isnan(result.value)]

    @property
    def mean(self) -> float:
        """The mean of the values; nan if there are none."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def std(self) -> float:
        """The sample standard deviation; nan for fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    @property
    def collapsed(self) -> list[TrialResult]:
        """The trials whose predictions are all equal."""
        return [result for result in self.results if result.collapsed]

    @property
    def failed(self) -> list[TrialResult]:
        """The trials that failed."""
        return [result for result in self.results if result.error]

    @property
    def label(self) -> str:
        """The settings in short: ``learning_rate=5e-5 batch_size=16``."""
        return format_settings(self.settings) or "as in the recipe"


@dataclass(frozen=True)
class Leaderboard:
    """The results of all combinations.

    Attributes:
        metric: the ranking metric.
        split: the split that it is evaluated on.
        rows: one row per combination, best first; ties keep the order of the trials.
        winner: the best trial of the best row; None if all failed.
        refitted: whether ``best`` was retrained with the best settings on training and validation data.
        test: metrics of ``best`` on test splits: split → metric → value.
        ensemble: the ensemble of the best row and its evaluation; None without one.
    """

    metric: str
    split: str
    rows: tuple[LeaderboardRow, ...]
    winner: TrialResult | None = None
    refitted: bool = False
    test: dict[str, dict[str, float]] = field(default_factory=dict)
    ensemble: EnsembleComparison | None = None

    @property
    def caption(self) -> str:
        """The description of the values."""
        seeds = len({result.seed for row in self.rows for result in row.results})
        folds = len({result.fold for row in self.rows for result in row.results})
        over = [f"{n} {what}" for n, what in ((seeds, "seeds"), (folds, "folds")) if n > 1]
        spread = f", mean ± std over {' × '.join(over)}" if over else ""
        return f"{self.metric} on {self.split}{spread}; the winner is chosen by it, so expect less on new rows"

    def _repr_html_(self) -> str:
        """The tables and lines in a notebook."""
        return render_html(self.renderables())

    def renderables(self) -> list[RenderableType]:
        """Return the table and remarks for a rich console of at least 80 columns."""
        from bertwright.output.terminal import make_table, plain_text

        several = any(len(row.results) > 1 for row in self.rows)
        odd = {"collapsed": any(row.collapsed for row in self.rows), "failed": any(row.failed for row in self.rows)}
        table = make_table()
        table.add_column("", justify="right", no_wrap=True)
        table.add_column("settings", overflow="fold")
        for name in (
            self.metric,
            *(("± std", "best", "n") if several else ()),
            *(n for n, held in odd.items() if held),
        ):
            table.add_column(name, justify="right", no_wrap=True)
        for rank, row in enumerate(self.rows[:MAX_ROWS_SHOWN], start=1):
            cells = [str(rank), row.label, show(self.metric, row.mean)]
            if several:
                cells += [show(self.metric, row.std), show(self.metric, self.best_of(row)), str(len(row.values))]
            counts = {"collapsed": len(row.collapsed), "failed": len(row.failed)}
            table.add_row(*cells, *(str(counts[name] or "") for name, held in odd.items() if held))
        parts: list[RenderableType] = [*map(plain_text, self.caption.split("; ")), "", table]
        if (more := len(self.rows) - MAX_ROWS_SHOWN) > 0:
            parts.append(f"… and {more:,} more in {LEADERBOARD_FILE}")
        parts += ["", *map(plain_text, self.remarks())]
        return parts if self.ensemble is None else [*parts, "", *self.ensemble.renderables()]

    def remarks(self) -> list[str]:
        """Return collapsed and failed trials, the winner, and its test metrics."""
        results = sorted((result for row in self.rows for result in row.results), key=lambda result: result.number)
        lines = [f"collapsed  {_describe_trial(r)}: {r.collapsed}; counted in the mean" for r in results if r.collapsed]
        lines += [f"restarted  {_describe_trial(r)}: its first attempt collapsed" for r in results if r.restarted]
        lines += [f"failed     {_describe_trial(r)}: {r.error}" for r in results if r.error]
        if self.winner is None:
            return lines
        value = show(self.metric, self.winner.value)
        lines.append(f"winner     {_describe_trial(self.winner)}: {self.metric} {value} on {self.split}")
        for split, metrics in self.test.items():
            lines.append(f"{split:<10} " + "  ".join(f"{name} {show(name, value)}" for name, value in metrics.items()))
        if self.refitted:
            lines.append(
                f"refitted   on train and dev with the winner's settings: its metrics on {self.split} are not "
                "meaningful"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of ``leaderboard.json``; nan is null."""
        best = None
        if self.winner is not None:
            best = {"trial": self.winner.number, "refitted": self.refitted, "test": self.test}
        contents: dict[str, Any] = to_finite(
            {
                "format": LEADERBOARD_FORMAT,
                "metric": self.metric,
                "split": self.split,
                "higher_is_better": METRICS[self.metric].higher_is_better,
                "caption": self.caption,
                "best": best,
                "rows": [
                    {
                        "rank": rank,
                        **self._figures(row),
                        "trials": [result.model_dump(exclude={"settings", "cell"}) for result in row.results],
                    }
                    for rank, row in enumerate(self.rows, start=1)
                ],
            }
        )
        return contents

    def to_csv(self) -> str:
        """Return the table with one column per setting."""
        written = io.StringIO()
        figures = [{**row.settings, **self._figures(row)} for row in self.rows]
        columns = [key for key in (figures[0] if figures else ()) if key != "settings"]
        writer = csv.DictWriter(written, ["rank", *columns], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(to_finite({"rank": rank, **values}) for rank, values in enumerate(figures, start=1))
        return written.getvalue()

    def save(self, directory: Path) -> None:
        """Write leaderboard.json and leaderboard.csv.

        Raises:
            OutputError: a file cannot be written.
        """
        write_atomically(directory / LEADERBOARD_FILE, to_json(self.to_dict(), indent=2) + "\n")
        write_atomically(directory / "leaderboard.csv", self.to_csv())

    def draw(self, directory: Path) -> Path | None:
        """Draw leaderboard.png; None if matplotlib is not installed or there is nothing to draw.

        Raises:
            OutputError: the file cannot be written.
        """
        values = {row.label: row.values for row in self.rows[:MAX_ROWS_SHOWN] if row.values}
        if not values:
            return None
        try:
            return draw(values, f"{self.metric} on {self.split}", directory / "leaderboard.png")
        except MissingDependencyError:
            return None

    def best_of(self, row: LeaderboardRow) -> float:
        """The best value of a row; nan if it has none."""
        return best_result(row.results, self.metric).value if row.values else math.nan

    def _figures(self, row: LeaderboardRow) -> dict[str, Any]:
        sound = [result.value for result in row.results if not result.collapsed and not math.isnan(result.value)]
        return {
            "settings": row.settings,
            "mean": row.mean,
            "std": row.std,
            "best": self.best_of(row),
            "n": len(row.values),
            "collapsed": len(row.collapsed),
            "restarted": sum(result.restarted for result in row.results),
            "failed": len(row.failed),
            "mean_without_collapsed": statistics.fmean(sound) if sound else math.nan,
            "seconds": sum(result.seconds for result in row.results),
        }


def rank_results(results: list[TrialResult], metric: str, split: str) -> Leaderboard:
    """Rank results into a leaderboard."""
    cells: dict[int, list[TrialResult]] = {}
    for result in sorted(results, key=lambda result: result.number):
        cells.setdefault(result.cell, []).append(result)
    rows = [LeaderboardRow(cells[number][0].settings, tuple(cells[number])) for number in sorted(cells)]
    sign = -1 if METRICS[metric].higher_is_better else 1
    rows.sort(key=lambda row: math.inf if math.isnan(row.mean) else sign * row.mean)
    winner = best_result(rows[0].results, metric) if rows and rows[0].values else None
    return Leaderboard(metric, split, tuple(rows), winner)


def best_result(results: tuple[TrialResult, ...], metric: str) -> TrialResult:
    """Return the best of results with at least one value; the first of equal ones."""
    sign = -1 if METRICS[metric].higher_is_better else 1
    return min(results, key=lambda result: math.inf if math.isnan(result.value) else sign * result.value)


def _describe_trial(result: TrialResult) -> str:
    settings = {**result.settings, "seed": result.seed} | ({"fold": result.fold} if result.fold else {})
    return f"trial {result.name} ({format_settings(settings)})"


def format_settings(settings: Mapping[str, object]) -> str:
    """Format settings without their sections: ``learning_rate=5e-5 batch_size=16``."""
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in settings.items())
