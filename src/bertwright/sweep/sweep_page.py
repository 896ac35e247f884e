"""The HTML page of a search, ``report.html``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from bertwright.html.axes import Axis
from bertwright.html.categories import Bar, bar_chart
from bertwright.html.charts import Point, scatter_chart
from bertwright.html.page import Block, BulletList, Cell, CellValue, Facts, Page, Row, Section, Table, Tile, Tiles
from bertwright.html.parallel_coordinates import MOST_AXES, Coordinate, draw_parallel_coordinates
from bertwright.metrics import METRICS
from bertwright.output.plurals import pluralize
from bertwright.run.report import duration, environment, show
from bertwright.sweep.leaderboard import Leaderboard, LeaderboardRow, TrialResult

PAGE_FILE: Final = "report.html"
"""The file in the directory of a search."""

MOST_BARS: Final = 30
"""Configurations that are drawn; the table has all."""

MOST_VISIBLE: Final = 30
"""Rows of a table that are visible before a click."""


def build_sweep_page(board: Leaderboard, name: str) -> Page:
    """Build the page of a search.

    Args:
        board: the results.
        name: of the search.
    """
    lower = "" if METRICS[board.metric].higher_is_better else " Lower is better."
    return Page(
        name,
        [
            Section("Summary", list(_summary(board))),
            Section("Configurations", list(_configurations(board)), f"{_capitalize(board.caption)}.{lower}"),
            Section("Parallel coordinates", list(_coordinates(board)), "Each line is a configuration."),
            Section("Seeds and folds", list(_spread(board))),
            Section("Ensemble", list(_ensemble(board))),
            Section("Trials", [_trials(board)], "The report of each trial is trials/NUMBER/report.html."),
        ],
        f"Hyperparameter search by {board.metric} on {board.split}.",
        f"Written by bertwright {environment()['bertwright']}.",
    )


def _results(board: Leaderboard) -> list[TrialResult]:
    return sorted((result for row in board.rows for result in row.results), key=lambda result: result.number)


def _summary(board: Leaderboard) -> Iterator[Block]:
    results = _results(board)
    tiles = []
    if board.winner is not None:
        best = board.rows[0]
        spread = f"± {show(board.metric, best.std)} over {len(best.values)} runs" if len(best.values) > 1 else ""
        mean = show(board.metric, best.mean)
        tiles.append(Tile(f"{board.metric} on {board.split} · best configuration", mean, spread))
        value = show(board.metric, board.winner.value)
        tiles.append(Tile(f"{board.metric} on {board.split} · best trial", value, f"trial {board.winner.name}"))
    for split, metrics in board.test.items():
        tiles += [Tile(f"{metric} on {split}", show(metric, value)) for metric, value in list(metrics.items())[:1]]
    if tiles:
        yield Tiles(tiles)
    facts = {
        "configurations": f"{len(board.rows):,}",
        "trials": f"{len(results):,}",
        "seeds": ", ".join(map(str, dict.fromkeys(result.seed for result in results))),
        "time of all trials": duration(sum(result.seconds for result in results)),
    }
    if board.winner is not None:
        facts["best settings"] = board.rows[0].label
    yield Facts(facts)
    if remarks := board.remarks():
        yield list_remarks(remarks)


def list_remarks(lines: Sequence[str]) -> BulletList:
    """Lines that begin with a keyword, as sentences: ``failed: trial 0004 …``."""
    return BulletList([": ".join(" ".join(part.split()) for part in line.split(maxsplit=1)) for line in lines])


def _configurations(board: Leaderboard) -> Iterator[Block]:
    shown = [row for row in board.rows if row.values][:MOST_BARS]
    several = any(len(row.values) > 1 for row in shown)
    if shown:
        bars = [
            Bar(
                _short_name(rank, row),
                row.mean,
                None if math.isnan(row.std) else row.mean - row.std,
                None if math.isnan(row.std) else row.mean + row.std,
                f"{row.label}, {pluralize(len(row.values), 'trial')}",
            )
            for rank, row in enumerate(shown, 1)
        ]
        title = f"{board.metric}: mean ± standard deviation" if several else board.metric
        note = f"Names are the rank and the settings in the order of the table.{_describe_hidden(board, len(shown))}"
        yield Row([bar_chart(title, bars, _axis(board.metric), as_dots=True, note=note)])
    yield _leaderboard_table(board)


def _short_name(rank: int, row: LeaderboardRow) -> str:
    """Rank and values, in the order of the columns of the table."""
    return f"{rank}: {', '.join(row.settings.values()) or row.label}"


def _leaderboard_table(board: Leaderboard) -> Table:
    keys = _keys(board)
    columns = ["rank", *map(_last_part, keys), "mean", "± std", "best", "n"]
    rows: list[list[CellValue]] = []
    for rank, row in enumerate(board.rows, 1):
        best = board.best_of(row)
        cells: list[CellValue] = [rank, *(_setting(row.settings.get(key, "")) for key in keys)]
        cells += [Cell(show(board.metric, value), value) for value in (row.mean, row.std, best)]
        rows.append([*cells, len(row.values), len(row.collapsed), len(row.failed), _seconds(row.results)])
    return Table([*columns, "collapsed", "failed", "time"], rows, "Leaderboard", most_visible=MOST_VISIBLE)


def _seconds(results: tuple[TrialResult, ...]) -> Cell:
    seconds = sum(result.seconds for result in results)
    return Cell(duration(seconds), seconds)


def _setting(text: str) -> CellValue:
    """A value of a setting, sorted as a number if it is one."""
    number = _to_number(text)
    return text if number is None else Cell(text, number)


def _to_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _coordinates(board: Leaderboard) -> Iterator[Block]:
    rows = [row for row in board.rows if row.values]
    keys = [key for key in (rows[0].settings if rows else ()) if len({row.settings.get(key) for row in rows}) > 1]
    if not keys:
        return
    coordinates = [_coordinate(rows, key) for key in keys[: MOST_AXES - 1]]
    means = tuple(row.mean for row in rows)
    coordinates.append(Coordinate(board.metric, tuple(show(board.metric, mean) for mean in means), means))
    names = [f"{row.label}: {board.metric} {show(board.metric, row.mean)}" for row in rows]
    hidden = len(keys) - len(coordinates) + 1
    note = f"{pluralize(hidden, 'setting')} with several values not shown." if hidden else ""
    yield draw_parallel_coordinates("Settings and metric", coordinates, names, 0, note)


def _coordinate(rows: list[LeaderboardRow], key: str) -> Coordinate:
    texts = [row.settings.get(key, "") for row in rows]
    numbers = [number for text in texts if (number := _to_number(text)) is not None]
    return Coordinate(_last_part(key), tuple(texts), tuple(numbers) if len(numbers) == len(texts) else None)


def _spread(board: Leaderboard) -> Iterator[Block]:
    """The value of every trial, if configurations have several."""
    rows = [row for row in board.rows if len(row.values) > 1][:MOST_BARS]
    if not rows:
        return
    points = [
        Point(rank, result.value, f"{row.label}, {_origin(result)}", 1)
        for rank, row in enumerate(rows, 1)
        for result in row.results
        if not math.isnan(result.value)
    ]
    deviations = [row.std for row in rows]
    note = (
        "Each point is a trial; configurations are in the order of the table. The standard deviation within a "
        f"configuration is {show(board.metric, sum(deviations) / len(deviations))} on average: smaller differences "
        "between configurations can be due to the seed."
    )
    yield Row([scatter_chart("Value of each trial", points, Axis("rank"), _axis(board.metric), note=note)])
    origins = list(dict.fromkeys(_origin(result) for row in rows for result in row.results))
    values: list[list[CellValue]] = []
    for row in rows:
        by_origin = {_origin(result): result.value for result in row.results}
        cells = [by_origin.get(origin, math.nan) for origin in origins]
        values.append([row.label, *(Cell(show(board.metric, value), value) for value in cells)])
    yield Table(["configuration", *origins], values, f"{board.metric} of each trial", most_visible=MOST_VISIBLE)


def _origin(result: TrialResult) -> str:
    fold = f", fold {result.fold}" if result.fold else ""
    return f"seed {result.seed}{fold}"


def _ensemble(board: Leaderboard) -> Iterator[Block]:
    if board.ensemble is None:
        return
    ensemble, metric = board.ensemble, board.ensemble.metric
    split = ensemble.split
    models = [*ensemble.singles, *ensemble.candidates]
    bars = [Bar(model.name, model.metrics[split][metric], *model.intervals[split][metric]) for model in models]
    title = f"{metric} on {split}"
    yield Row([bar_chart(title, bars, _axis(metric), as_dots=True, note="Lines are 95 % bootstrap intervals.")])
    yield BulletList([f"The ensemble is of the form {ensemble.form}: {ensemble.reason}"])


def _trials(board: Leaderboard) -> Table:
    keys = _keys(board)
    rows: list[list[CellValue]] = []
    for result in _results(board):
        status = "failed" if result.error else "collapsed" if result.collapsed else "finished"
        rows.append(
            [
                result.name,
                *(_setting(result.settings.get(key, "")) for key in keys),
                result.seed,
                *([result.fold] if result.fold else []),
                Cell(show(board.metric, result.value), result.value),
                Cell(status, css="" if status == "finished" else "bad"),
                Cell(duration(result.seconds), result.seconds),
            ]
        )
    fold = ["fold"] if any(result.fold for result in _results(board)) else []
    columns = ["trial", *map(_last_part, keys), "seed", *fold, board.metric, "status", "time"]
    return Table(columns, rows, most_visible=MOST_VISIBLE)


def _keys(board: Leaderboard) -> list[str]:
    """The settings that vary."""
    return list(board.rows[0].settings) if board.rows else []


def _last_part(key: str) -> str:
    """The name of a setting without its section."""
    return key.rpartition(".")[2]


def _axis(metric: str) -> Axis:
    return Axis(metric, show=lambda value: show(metric, value))


def _describe_hidden(board: Leaderboard, n: int) -> str:
    return f" The best {n:,} of {len(board.rows):,} configurations are shown." if n < len(board.rows) else ""


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]
