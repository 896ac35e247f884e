"""Plots: learning curve and confusion matrix of a run, leaderboard of a search, scores over the number of rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertwright.errors import BertwrightError, DataError, MissingDependencyError
from bertwright.files.atomic import atomic_file
from bertwright.output.escaping import escape_line, escape_plot_text
from bertwright.output.palette import BLUE, CURVE_COLORS, VERMILION
from bertwright.run.curves import Curves, LearningCurves, collect_curves, highest_shown, is_number
from bertwright.run.event_log import read_events
from bertwright.run.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = tuple(zip(CURVE_COLORS, "os^Dv", strict=True))
"""Color and marker of each curve of a panel; the markers distinguish curves without colors."""

WIDE_RANGE = 20.0
"""The axis is logarithmic if the largest value is more than this multiple of the smallest."""

DPI = 150

MOST_EXPLAINED, MOST_NUMBERED = 8, 30
"""Maximum number of labels for which cells show counts and shares, and counts only; above, they show colors."""

LARGEST = 24.0
"""Maximum side of a confusion matrix in inches: 3,600 pixels."""


LEARNING_CURVE, CONFUSION = "learning_curve.png", "confusion.png"
"""The plots in a run directory; the second one only for tasks with one label per row."""


def draw_pictures(directory: Path, report: Report) -> list[str]:
    """Write the learning curve and the confusion matrix of the first dev split to the run directory.

    Returns:
        Messages about plots that could not be drawn; they do not stop the run.
    """
    try:
        learning_curve(
            read_events(directory),
            directory / LEARNING_CURVE,
            title=f"{report.name}: {report.task}",
            chosen_step=report.best.get("step"),
            baseline={f"{split} {name}": v for split, by in report.baseline.items() for name, v in by.items()},
        )
        for split, matrix in list(report.confusion.items())[:1]:
            confusion(matrix, report.labels, directory / CONFUSION, split)
    except BertwrightError as error:
        return [f"no plots: {error}" if isinstance(error, MissingDependencyError) else str(error)]
    return []


def pictures_of(directory: Path) -> list[str]:
    """The file names of the plots in a run directory."""
    return [name for name in (LEARNING_CURVE, CONFUSION) if (directory / name).is_file()]


def learning_curve(
    events: Iterable[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    title: str = "",
    chosen_step: int | None = None,
    baseline: Mapping[str, float] | None = None,
) -> Path:
    """Draw the losses, the metrics and the learning rate over the steps of a run.

    Metrics for which lower is better have a separate panel.

    Args:
        events: records of a run, see :func:`~bertwright.run.curves.collect_curves`.
        path: of the plot; its suffix sets the format (.png, .svg, .pdf).
        title: above the panels.
        chosen_step: step of the evaluation with the best weights; marked in every panel.
        baseline: values of the majority-class baseline by the names of the curves, such as ``dev accuracy``.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        DataError: there are no values to plot.
        OutputError: the file cannot be written.
    """
    curves = collect_curves(events)
    if curves.losses is None and not curves.metrics:
        raise DataError(f"{os.fspath(path)}: no values to plot; train at least one step first.")
    with_losses, with_rates = curves.losses is not None, curves.rates is not None
    heights = [2.4] * with_losses + [2.4] * len(curves.metrics) + [1.1] * with_rates
    figure = _figure(7.5, 1.3 + sum(heights), "constrained")
    axes: list[Axes] = list(figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    left = iter(axes)
    if with_losses:
        _draw_loss(next(left), curves)
    for label, group in curves.metrics.items():
        _draw_metrics(next(left), label if len(curves.metrics) > 1 else "evaluation", group, baseline or {})
    if curves.rates is not None:
        axis = next(left)
        axis.plot(*curves.rates, color="0.35", linewidth=1.5)
        axis.set_ylabel("learning rate")
        axis.set_ylim(bottom=0)
        axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        if chosen_step is not None:
            axis.axvline(chosen_step, color="0.3", linestyle=":", linewidth=1.5)
    chosen = "" if chosen_step is None else f"chosen weights: step {chosen_step:,} (dotted line)"
    figure.suptitle("\n".join(filter(None, (_shorten(title, 80), chosen))), fontsize=11)
    _label_steps(axes[-1], curves.epochs_per_step)
    figure.align_ylabels(axes)
    return _save(figure, path)


def confusion(matrix: ArrayLike, labels: Sequence[str], path: str | os.PathLike[str], split: str = "") -> Path:
    """Draw a confusion matrix: rows are true labels, columns predicted ones, colors shares of each row.

    Args:
        matrix: counts, (C, C).
        labels: C names.
        path: of the plot.
        split: what was evaluated; in the title, with the number of examples.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        DataError: the matrix is not square with a row per label.
        OutputError: the file cannot be written.
    """
    counts = np.asarray(matrix)
    n = len(labels)
    if counts.shape != (n, n) or not n:
        raise DataError(
            f"{os.fspath(path)}: the matrix must have shape {(n, n)}, one row per label; found {counts.shape}."
        )
    totals = counts.sum(1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    names = [_shorten(label) for label in labels]
    numbered, explained = n <= MOST_NUMBERED, n <= MOST_EXPLAINED
    cell = 1.0 if explained else 0.5 if numbered else max(0.16, 14 / n)
    side = max(3.0, min(cell * n, LARGEST))
    # The matrix fills the figure; saving it extends the figure by the space for names and color bar.
    figure = _figure(side, side)
    axis = figure.add_axes((0, 0, 1, 1))
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
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
            color = "white" if shares[row, column] > 0.6 else "0.15"
            axis.text(column, row, shown, ha="center", va="center", color=color, fontsize=size if explained else 8)
    examples = f"{int(counts.sum()):,} examples"
    axis.set_title(f"{_shorten(split)}: {examples}" if split else examples, fontsize=12, pad=10)
    if n > 2:  # with two labels, the cells show all shares
        bar = figure.colorbar(image, cax=figure.add_axes((1 + 0.15 / side, 0, 0.2 / side, 1)), format="{x:.0%}")
        bar.set_label("share of the true label")
        bar.outline.set_color("0.7")
    return _save(figure, path)


def leaderboard(rows: Mapping[str, Sequence[float]], metric: str, path: str | os.PathLike[str]) -> Path:
    """Draw the results of settings, one row each from top to bottom: a dot per trial, the mean and ± std.

    Args:
        rows: the values of the trials by the name of their settings; at least one each.
        metric: name of the metric.
        path: of the plot.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        DataError: there are no values to plot.
        OutputError: the file cannot be written.
    """
    if not rows:
        raise DataError(f"{os.fspath(path)}: no values to plot; finish at least one trial first.")
    figure = _figure(8.0, 1.2 + 0.34 * len(rows), "constrained")
    axis = figure.add_subplot()
    for place, values in enumerate(rows.values()):
        mean = float(np.mean(values))
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        axis.plot(values, [place] * len(values), "o", color=BLUE, alpha=0.35, markersize=5, markeredgewidth=0)
        axis.errorbar(mean, place, xerr=spread, color=VERMILION, fmt="D", markersize=6, capsize=3, linewidth=1.5)
    axis.set_yticks(range(len(rows)), [_shorten(name, 60) for name in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel(f"{metric}: mean ± std, one dot per trial")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    return _save(figure, path)


def learning_curve_over_rows(
    scores: Mapping[int, Sequence[float]],
    metric: str,
    path: str | os.PathLike[str],
    *,
    fit: Callable[[Sequence[float]], NDArray[np.float64]] | None = None,
    interval: tuple[float, float] | None = None,
) -> Path:
    """Draw the scores over the number of training rows: a dot per run, the mean ± std, the fit and its extrapolation.

    Args:
        scores: the score of each run by number of training rows; at least one each.
        metric: name of the metric and the split.
        path: of the plot.
        fit: numbers of rows → scores of the fitted law; drawn up to twice the largest number of rows.
        interval: 95 % interval of the score with twice the rows.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        DataError: there are no values to plot.
        OutputError: the file cannot be written.
    """
    if not scores:
        raise DataError(f"{os.fspath(path)}: no values to plot; finish at least one run first.")
    sizes = sorted(scores)
    figure = _figure(7.5, 4.4, "constrained")
    axis = figure.add_subplot()
    runs = [(size, value) for size in sizes for value in scores[size]]
    axis.plot(*zip(*runs, strict=True), "o", color=BLUE, alpha=0.35, markersize=5, markeredgewidth=0, label="run")
    means = [float(np.mean(scores[size])) for size in sizes]
    spreads = [float(np.std(scores[size], ddof=1)) if len(scores[size]) > 1 else 0.0 for size in sizes]
    axis.errorbar(sizes, means, spreads, color=BLUE, fmt="o", markersize=6, capsize=4, label="mean ± std")
    ticks = list(sizes)
    if fit is not None:
        most = sizes[-1]
        inside, beyond = np.geomspace(sizes[0], most, 100).tolist(), np.geomspace(most, 2 * most, 30).tolist()
        axis.plot(inside, fit(inside), color=VERMILION, linewidth=2, label="fitted power law")
        axis.plot(beyond, fit(beyond), color=VERMILION, linewidth=2, linestyle="--", label="extrapolation")
        ticks.append(2 * most)
        if interval is not None:
            at = float(fit([2 * most])[0])
            reach = [[max(0.0, at - interval[0])], [max(0.0, interval[1] - at)]]
            axis.errorbar(
                [2 * most], [at], reach, color=VERMILION, fmt="D", markersize=6, capsize=4, label="95 % interval"
            )
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], rotation=45 if len(ticks) > 8 else 0)
    axis.set_xticks([], minor=True)
    axis.set_xlabel("training rows (logarithmic scale)")
    axis.set_ylabel(_shorten(metric, 60))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.margins(y=0.1)
    _legend_above(axis)
    return _save(figure, path)


def _draw_loss(axis: Axes, curves: LearningCurves) -> None:
    assert curves.losses is not None
    assert curves.smooth is not None
    name = "training loss" if curves.validation else ""
    label = f"{name}, each step" if name else "each step"
    axis.plot(*curves.losses, color=BLUE, alpha=0.25, linewidth=0.8, label=label)
    axis.plot(*curves.smooth, color=BLUE, linewidth=2, label=f"{name}, smoothed" if name else "smoothed")
    for (split, (at, values)), (color, marker) in zip(curves.validation.items(), STYLES[::2], strict=False):
        label = f"validation loss, {split}" if split else "validation loss"
        axis.plot(at, values, color=color, marker=marker, markersize=5, linewidth=1.5, label=label)
    axis.set_ylabel("loss" if curves.validation else "training loss")
    axis.set_ylim(min(0.0, float(curves.losses[1].min())), highest_shown(curves) or None)
    _legend_above(axis)


def _draw_metrics(axis: Axes, label: str, curves: Curves, baseline: Mapping[str, float]) -> None:
    for (name, (steps, values)), (color, marker) in zip(curves.items(), STYLES, strict=False):
        axis.plot(steps, values, color=color, marker=marker, markersize=5, linewidth=1.5, label=_shorten(name))
        if is_number(baseline.get(name)):
            axis.axhline(baseline[name], color=color, linestyle="--", linewidth=1, alpha=0.8)
    if any(is_number(baseline.get(name)) for name in curves):
        axis.plot([], [], color="0.4", linestyle="--", linewidth=1, label="majority baseline")
    values = np.concatenate([values for _, values in curves.values()])
    if values.min() > 0 and values.max() > WIDE_RANGE * values.min():
        axis.set_yscale("log")
    axis.set_ylabel(label)
    axis.margins(y=0.15)
    _legend_above(axis)


def _label_steps(axis: Axes, epochs_per_step: float | None) -> None:
    """Label the axis with steps, and with epochs below them if they are known."""
    axis.set_xlabel("step")
    axis.set_xlim(left=0)
    if epochs_per_step is not None:
        per_step = epochs_per_step

        def to_epochs(step: ArrayLike) -> NDArray[np.float64]:
            return np.asarray(step, np.float64) * per_step

        def to_steps(epoch: ArrayLike) -> NDArray[np.float64]:
            return np.asarray(epoch, np.float64) / per_step

        below = axis.secondary_xaxis("bottom", functions=(to_epochs, to_steps))
        below.set_xlabel("epoch")
        below.spines["bottom"].set(color="0.6", position=("outward", 38))


def _legend_above(axis: Axes) -> None:
    """Put the legend above the axes, where it hides no line: up to five columns and 90 characters."""
    longest = max((len(label) for label in axis.get_legend_handles_labels()[1]), default=0)
    columns = max(1, min(5, 90 // (longest + 6)))
    axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)


def _shorten(label: str, most: int = 28) -> str:
    line = escape_line(label)
    return escape_plot_text(line if len(line) <= most else f"{line[: most - 1]}…")


def _figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """A figure without pyplot, which would keep global state and require a display."""
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
