"""Pictures: how a run learned and what it confuses, and how different settings did."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertwright.errors import BertwrightError, DataError, MissingDependencyError
from bertwright.escaping import escape_line, escape_plot_text
from bertwright.files import atomic_file
from bertwright.journal import read_events
from bertwright.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008, "Color Universal Design": told apart with any kind of colour blindness.
BLUE, ORANGE, GREEN, PURPLE, VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00"

SMOOTHING_STEPS = 50
"""The loss is averaged over about a fiftieth of the run: the noise of single batches goes, the shape stays."""

DPI = 150

MOST_EXPLAINED, MOST_NUMBERED = 8, 30
"""Up to so many labels the cells of a confusion matrix hold counts and shares; counts; above that, colour alone."""

LARGEST = 24.0
"""Inches a side of a confusion matrix at most: 3,600 pixels."""


LEARNING_CURVE, CONFUSION = "learning_curve.png", "confusion.png"
"""The pictures in the directory of a run; the second one only for tasks with one label a row."""


def draw_pictures(directory: Path, report: Report) -> list[str]:
    """Draw how a run learned and, for its first dev split, which labels it confuses, into the run's directory.

    Returns:
        What went wrong: a run does not fail because a picture cannot be drawn.
    """
    try:
        learning_curve(read_events(directory), directory / LEARNING_CURVE)
        for matrix in list(report.confusion.values())[:1]:
            confusion(matrix, report.labels, directory / CONFUSION)
    except BertwrightError as error:
        return [f"no pictures: {error}" if isinstance(error, MissingDependencyError) else str(error)]
    return []


def pictures_of(directory: Path) -> list[str]:
    """The names of the pictures in a run's directory."""
    return [name for name in (LEARNING_CURVE, CONFUSION) if (directory / name).is_file()]


def learning_curve(events: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Draw training loss, learning rate and the metrics of each evaluation over the steps of a run.

    Args:
        events: records of a run (``events.jsonl`` or ``history``) in any order. One with a ``step`` and a
            ``loss`` is a training step, its ``learning_rate`` is drawn where it has one; one with a
            ``step`` and ``metrics`` (name → value, or split → name → value) is an evaluation. Others are skipped.
        path: of the picture; its suffix says the format (.png, .svg, .pdf).

    Raises:
        MissingDependencyError: matplotlib is not installed.
        DataError: there is nothing to draw.
        OutputError: the file cannot be written.
    """
    records = [event for event in events if event.get("step") is not None]
    losses = [event for event in records if _is_number(event.get("loss")) and "metrics" not in event]
    curves = _metric_curves(records)
    if not losses and not curves:
        raise DataError(f"{os.fspath(path)}: there is nothing to draw; train at least one step first.")
    rates = [event for event in losses if _is_number(event.get("learning_rate"))]
    figure = _figure(7.5, 1.0 + 2.4 * (bool(losses) + bool(curves)) + 1.1 * bool(rates), "constrained")
    heights = [2.4] * bool(losses) + [2.4] * bool(curves) + [1.1] * bool(rates)
    axes: list[Axes] = list(figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    left = iter(axes)
    if losses:
        _draw_loss(next(left), *_columns(losses, "loss"))
    if curves:
        _draw_metrics(next(left), curves)
    if rates:
        axis = next(left)
        axis.plot(*_columns(rates, "learning_rate"), color="0.35", linewidth=1.5)
        axis.set_ylabel("learning rate")
        axis.set_ylim(bottom=0)
        axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    axes[-1].set_xlabel("step")
    axes[-1].set_xlim(left=0)
    figure.align_ylabels(axes)
    return _save(figure, path)


def confusion(matrix: ArrayLike, labels: Sequence[str], path: str | os.PathLike[str]) -> Path:
    """Draw a confusion matrix: rows are true labels, columns predicted ones, colours shares of each row.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        DataError: the matrix is not square with a row per label.
        OutputError: the file cannot be written.
    """
    counts = np.asarray(matrix)
    n = len(labels)
    if counts.shape != (n, n) or not n:
        raise DataError(
            f"{os.fspath(path)}: the matrix must be of shape {(n, n)}, but is {counts.shape}; give a row per label."
        )
    totals = counts.sum(1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    names = [_shortened(label) for label in labels]
    numbered, explained = n <= MOST_NUMBERED, n <= MOST_EXPLAINED
    cell = 1.0 if explained else 0.5 if numbered else max(0.16, 14 / n)
    side = max(3.0, min(cell * n, LARGEST))
    # The matrix fills the figure, names and bar lie outside it: saving it grows the picture by what they need.
    figure = _figure(side, side)
    axis = figure.add_axes((0, 0, 1, 1))
    # The square root of the share is drawn, or confusions of a few per cent, which matter most, would look like none.
    image = axis.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    size = min(11.0, max(4.0, 50 * side / n))
    angle = 0 if max(map(len, names)) <= 9 * cell else 45 if numbered else 90
    axis.set_xticks(range(n), names, rotation=angle, ha="right" if angle else "center", fontsize=size)
    for name in axis.get_xticklabels() if angle else ():
        name.set(rotation_mode="anchor", va="top" if angle == 45 else "center")
    axis.set_yticks(range(n), names, fontsize=size)
    axis.tick_params(length=0, pad=4)
    axis.set_xlabel("predicted", fontsize=12)
    axis.set_ylabel("true", fontsize=12)
    axis.spines[:].set_color("0.7")
    if numbered:
        for row, column in np.ndindex(n, n):
            shown = f"{counts[row, column]:,}" + (f"\n{shares[row, column]:.1%}" if explained else "")
            colour = "white" if shares[row, column] > 0.3 else "0.15"
            axis.text(column, row, shown, ha="center", va="center", color=colour, fontsize=size if explained else 8)
    bar = figure.colorbar(image, cax=figure.add_axes((1 + 0.15 / side, 0, 0.2 / side, 1)))
    marks = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)
    bar.set_ticks([math.sqrt(share) for share in marks], labels=[f"{share:.0%}" for share in marks])
    bar.set_label("share of the true label")
    bar.outline.set_color("0.7")
    return _save(figure, path)


def leaderboard(rows: Mapping[str, Sequence[float]], metric: str, path: str | os.PathLike[str]) -> Path:
    """Draw how settings did: a row each, in the order given from above, with a dot a trial, the mean and ± std.

    Args:
        rows: the values of the trials by the name of their settings; at least one each.
        metric: what the values are.
        path: of the picture.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        DataError: there is nothing to draw.
        OutputError: the file cannot be written.
    """
    if not rows:
        raise DataError(f"{os.fspath(path)}: there is nothing to draw; finish at least one trial first.")
    figure = _figure(8.0, 1.2 + 0.34 * len(rows), "constrained")
    axis = figure.add_subplot()
    for place, values in enumerate(rows.values()):
        mean = float(np.mean(values))
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        axis.plot(values, [place] * len(values), "o", color=BLUE, alpha=0.35, markersize=5, markeredgewidth=0)
        axis.errorbar(mean, place, xerr=spread, color=VERMILION, fmt="D", markersize=6, capsize=3, linewidth=1.5)
    axis.set_yticks(range(len(rows)), [_shortened(name, 60) for name in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel(f"{metric}: mean ± std, a dot each trial")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    return _save(figure, path)


def _draw_loss(axis: Axes, steps: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
    smooth = _smoothed(losses, max(1, round(len(losses) / SMOOTHING_STEPS)))
    axis.plot(steps, losses, color=BLUE, alpha=0.25, linewidth=0.8, label="each step")
    axis.plot(steps, smooth, color=BLUE, linewidth=2, label="smoothed")
    axis.set_ylabel("training loss")
    # One wild batch must not flatten the rest of the curve.
    axis.set_ylim(0, 1.05 * max(float(np.quantile(losses, 0.995)), float(smooth.max())) or None)
    _legend_above(axis)


def _draw_metrics(axis: Axes, curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> None:
    styles = zip((VERMILION, BLUE, GREEN, PURPLE, ORANGE), "os^Dv", strict=True)
    for (name, (steps, values)), (colour, marker) in zip(curves.items(), styles, strict=False):
        axis.plot(steps, values, color=colour, marker=marker, markersize=5, linewidth=1.5, label=_shortened(name))
    axis.set_ylabel("evaluation")
    axis.margins(y=0.15)
    _legend_above(axis)


def _legend_above(axis: Axes) -> None:
    """A legend over the axes, where it hides no line: up to five entries side by side, as far as 90 characters go."""
    longest = max((len(label) for label in axis.get_legend_handles_labels()[1]), default=0)
    columns = max(1, min(5, 90 // (longest + 6)))
    axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)


def _metric_curves(
    records: Iterable[Mapping[str, Any]],
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Name → (steps, values) of the first five metrics: more lines than colours would be told apart by nobody."""
    points: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        metrics = record.get("metrics")
        if not isinstance(metrics, Mapping):
            continue
        for name, value in metrics.items():
            flat = {f"{name} {key}": v for key, v in value.items()} if isinstance(value, Mapping) else {name: value}
            for key, number in flat.items():
                if _is_number(number):
                    points.setdefault(key, []).append((record["step"], number))
    chosen = list(points.items())[:5]
    return {name: _sorted(np.array(pairs, np.float64)) for name, pairs in chosen}


def _columns(records: Iterable[Mapping[str, Any]], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return _sorted(np.array([(record["step"], record[key]) for record in records], np.float64))


def _sorted(pairs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values in the order of the steps; of a step that a resumed run repeats, the last value."""
    latest = dict(zip(pairs[:, 0].tolist(), pairs[:, 1].tolist(), strict=True))
    steps = sorted(latest)
    return np.array(steps), np.array([latest[step] for step in steps])


def _smoothed(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The mean of each value and its neighbours within ``width``; at the ends, of those there are."""
    sums = np.concatenate(([0.0], values.cumsum()))
    here = np.arange(len(values))
    low, high = np.maximum(here - width, 0), np.minimum(here + width + 1, len(values))
    smooth: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return smooth


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _shortened(label: str, most: int = 28) -> str:
    line = escape_line(label)
    return escape_plot_text(line if len(line) <= most else f"{line[: most - 1]}…")


def _figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """A figure without pyplot, which would keep global state and ask for a display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "plots: matplotlib is not installed; run `pip install 'bertwright[plots]'`."
        ) from error
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    with atomic_file(path) as partial:
        figure.savefig(partial, dpi=DPI, bbox_inches="tight", pad_inches=0.15)
    return Path(path)
