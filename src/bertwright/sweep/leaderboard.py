"""How the settings did: the mean and spread of each combination over its seeds and folds, the best first."""

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
from bertwright.run.plots import leaderboard as draw
from bertwright.run.report import Number, show

if TYPE_CHECKING:
    from rich.console import RenderableType

LEADERBOARD_FILE = "leaderboard.json"

LEADERBOARD_FORMAT = 1
"""Grows when a reader of older files would misread a newer one."""

MAX_ROWS_SHOWN = 30
"""With more rows than this the rest of the table stays in the file."""


class TrialResult(BaseModel):
    """One trial, and what came of it.

    Attributes:
        number: of the trial, which names its directory.
        cell: the combination of settings that it belongs to.
        settings: what was laid over the recipe.
        seed: it was trained with.
        fold: that was held out; None without cross-validation.
        value: of the chosen metric on dev; nan if it failed.
        metrics: all of dev.
        collapsed: what to know if all its predictions are the same.
        error: why it failed; None if it did not.
        seconds: it took.
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
    error: str | None = None
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """As its directory is called."""
        return f"{self.number:04d}"

    @property
    def pairs(self) -> list[str]:
        """What was laid over the recipe, as ``key=value``."""
        fold = [f"data.fold={self.fold}"] if self.fold else []
        return [*(f"{key}={value}" for key, value in self.settings.items()), f"seed={self.seed}", *fold]

    def save(self, file: Path) -> None:
        """Write the result, whole or not at all.

        Raises:
            OutputError: the place cannot be written to.
        """
        write_atomically(file, to_json(self.model_dump(), indent=2) + "\n")


@dataclass(frozen=True)
class LeaderboardRow:
    """A combination of settings and what came of its trials.

    Attributes:
        settings: what was laid over the recipe.
        results: of its trials, failed ones too.
    """

    settings: dict[str, str]
    results: tuple[TrialResult, ...]

    @property
    def values(self) -> list[float]:
        """What the trials reached, those that collapsed too; without failed ones and undefined metrics."""
        return [result.value for result in self.results if not math.isnan(result.value)]

    @property
    def mean(self) -> float:
        """Of the values; nan if there are none."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def std(self) -> float:
        """The sample's standard deviation; nan for fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    @property
    def collapsed(self) -> list[TrialResult]:
        """The trials all of whose predictions are the same."""
        return [result for result in self.results if result.collapsed]

    @property
    def failed(self) -> list[TrialResult]:
        """The trials that broke."""
        return [result for result in self.results if result.error]

    @property
    def label(self) -> str:
        """The settings in short: ``learning_rate=5e-5 batch_size=16``."""
        return format_settings(self.settings) or "as in the recipe"


@dataclass(frozen=True)
class Leaderboard:
    """How all settings did.

    Attributes:
        metric: they are ranked by.
        split: the rows it was measured on.
        rows: one a combination, the best first; of equals the one tried first.
        winner: the best trial of the best row; None if all failed.
        refitted: whether ``best`` was trained anew with the winner's settings, on train and dev.
        test: figures of ``best`` on test splits: split → metric → value.
    """

    metric: str
    split: str
    rows: tuple[LeaderboardRow, ...]
    winner: TrialResult | None = None
    refitted: bool = False
    test: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def caption(self) -> str:
        """What the numbers are."""
        seeds = len({result.seed for row in self.rows for result in row.results})
        folds = len({result.fold for row in self.rows for result in row.results})
        over = [f"{n} {what}" for n, what in ((seeds, "seeds"), (folds, "folds")) if n > 1]
        spread = f", mean ± std over {' × '.join(over)}" if over else ""
        return f"{self.metric} on {self.split}{spread}; the winner is chosen by it, so expect less on new rows"

    def renderables(self) -> list[RenderableType]:
        """The table and what is to be said of it, for a rich console of 80 columns or more."""
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
                cells += [show(self.metric, row.std), show(self.metric, self._best_of(row)), str(len(row.values))]
            counts = {"collapsed": len(row.collapsed), "failed": len(row.failed)}
            table.add_row(*cells, *(str(counts[name] or "") for name, held in odd.items() if held))
        parts: list[RenderableType] = [*map(plain_text, self.caption.split("; ")), "", table]
        if (more := len(self.rows) - MAX_ROWS_SHOWN) > 0:
            parts.append(f"… and {more:,} more in {LEADERBOARD_FILE}")
        return [*parts, "", *map(plain_text, self.remarks())]

    def remarks(self) -> list[str]:
        """Collapsed and failed trials by name, the winner, its figures on test."""
        results = sorted((result for row in self.rows for result in row.results), key=lambda result: result.number)
        lines = [f"collapsed  {_called(r)}: {r.collapsed}; counted in the mean" for r in results if r.collapsed]
        lines += [f"failed     {_called(r)}: {r.error}" for r in results if r.error]
        if self.winner is None:
            return lines
        value = show(self.metric, self.winner.value)
        lines.append(f"winner     {_called(self.winner)}: {self.metric} {value} on {self.split}")
        for split, metrics in self.test.items():
            lines.append(f"{split:<10} " + "  ".join(f"{name} {show(name, value)}" for name, value in metrics.items()))
        if self.refitted:
            lines.append(
                f"refitted   on train and dev with the winner's settings: its figures on {self.split} mean nothing"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Everything, as ``leaderboard.json`` holds it; nan is null."""
        best = None
        if self.winner is not None:
            best = {"trial": self.winner.number, "refitted": self.refitted, "test": self.test}
        whole: dict[str, Any] = to_finite(
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
        return whole

    def to_csv(self) -> str:
        """The table alone, a column for each setting."""
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
            OutputError: the place cannot be written to.
        """
        write_atomically(directory / LEADERBOARD_FILE, to_json(self.to_dict(), indent=2) + "\n")
        write_atomically(directory / "leaderboard.csv", self.to_csv())

    def draw(self, directory: Path) -> Path | None:
        """Draw leaderboard.png; None where matplotlib, an extra, is not installed or there is nothing to draw.

        Raises:
            OutputError: the place cannot be written to.
        """
        values = {row.label: row.values for row in self.rows[:MAX_ROWS_SHOWN] if row.values}
        if not values:
            return None
        try:
            return draw(values, f"{self.metric} on {self.split}", directory / "leaderboard.png")
        except MissingDependencyError:
            return None

    def _best_of(self, row: LeaderboardRow) -> float:
        return best_result(row.results, self.metric).value if row.values else math.nan

    def _figures(self, row: LeaderboardRow) -> dict[str, Any]:
        sound = [result.value for result in row.results if not result.collapsed and not math.isnan(result.value)]
        return {
            "settings": row.settings,
            "mean": row.mean,
            "std": row.std,
            "best": self._best_of(row),
            "n": len(row.values),
            "collapsed": len(row.collapsed),
            "failed": len(row.failed),
            "mean_without_collapsed": statistics.fmean(sound) if sound else math.nan,
            "seconds": sum(result.seconds for result in row.results),
        }


def rank_results(results: list[TrialResult], metric: str, split: str) -> Leaderboard:
    """The leaderboard of results."""
    cells: dict[int, list[TrialResult]] = {}
    for result in sorted(results, key=lambda result: result.number):
        cells.setdefault(result.cell, []).append(result)
    rows = [LeaderboardRow(cells[number][0].settings, tuple(cells[number])) for number in sorted(cells)]
    sign = -1 if METRICS[metric].higher_is_better else 1
    rows.sort(key=lambda row: math.inf if math.isnan(row.mean) else sign * row.mean)
    winner = best_result(rows[0].results, metric) if rows and rows[0].values else None
    return Leaderboard(metric, split, tuple(rows), winner)


def best_result(results: tuple[TrialResult, ...], metric: str) -> TrialResult:
    """The best of results, at least one of which has a value; of equals the first."""
    sign = -1 if METRICS[metric].higher_is_better else 1
    return min(results, key=lambda result: math.inf if math.isnan(result.value) else sign * result.value)


def _called(result: TrialResult) -> str:
    known = {**result.settings, "seed": result.seed} | ({"fold": result.fold} if result.fold else {})
    return f"trial {result.name} ({format_settings(known)})"


def format_settings(settings: Mapping[str, object]) -> str:
    """Settings without the sections they stand in: ``learning_rate=5e-5 batch_size=16``."""
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in settings.items())
