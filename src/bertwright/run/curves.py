"""The curves of a run from its event log: losses, metrics and learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertwright.metrics import METRICS

SMOOTHING_STEPS = 50
"""The loss is averaged over about a fiftieth of the run, to remove the noise of single batches."""

MOST_CURVES = 5
"""Curves of a panel; more could not be distinguished by color."""

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps and values."""

Curves = Mapping[str, Curve]
"""Name → steps and values."""


@dataclass(frozen=True)
class LearningCurves:
    """What a run recorded, in the order of the steps.

    Attributes:
        losses: of each training step; None if none was recorded.
        smooth: the same steps with the mean of neighboring losses.
        validation: loss by split; the name is empty if there is one split without a name.
        metrics: by direction ("higher is better", "lower is better") and name; no empty groups.
        rates: learning rates; None if none was recorded.
        epochs_per_step: None if epochs are unknown.
    """

    losses: Curve | None
    smooth: Curve | None
    validation: Curves
    metrics: Mapping[str, Curves]
    rates: Curve | None
    epochs_per_step: float | None


def collect_curves(events: Iterable[Mapping[str, Any]]) -> LearningCurves:
    """Collect the curves of a run.

    Args:
        events: records of a run (``events.jsonl`` or ``history``) in any order. One with a ``step`` and a ``loss`` is a
            training step, with an optional ``learning_rate``; one with a ``step`` and ``metrics`` (name → value, or
            split → name → value) is an evaluation with an optional ``validation_loss`` (a value, or split → value).
            Others are ignored.
    """
    records = [event for event in events if event.get("step") is not None]
    steps = [event for event in records if is_number(event.get("loss")) and "metrics" not in event]
    rates = [event for event in steps if is_number(event.get("learning_rate"))]
    losses = _columns(steps, "loss") if steps else None
    return LearningCurves(
        losses,
        None if losses is None else (losses[0], smooth(losses[1])),
        _select_curves(records, "validation_loss"),
        _by_direction(_select_curves(records, "metrics")),
        _columns(rates, "learning_rate") if rates else None,
        _epochs_per_step(records),
    )


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each value and its neighbors; at the ends, of the available ones."""
    width = max(1, round(len(values) / SMOOTHING_STEPS))
    sums = np.concatenate(([0.0], values.cumsum()))
    positions = np.arange(len(values))
    low, high = np.maximum(positions - width, 0), np.minimum(positions + width + 1, len(values))
    means: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return means


def highest_shown(curves: LearningCurves) -> float:
    """The upper end of an axis of losses: a single outlier batch must not flatten the rest of the curve."""
    ends = [float(values.max()) for _, values in curves.validation.values()]
    if curves.losses is not None and curves.smooth is not None:
        ends += [float(np.quantile(curves.losses[1], 0.995)), float(curves.smooth[1].max())]
    return 1.05 * max(ends)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def _by_direction(curves: Curves) -> dict[str, Curves]:
    """Group the curves by whether higher or lower values of their metric are better."""
    groups: dict[str, dict[str, Curve]] = {"higher is better": {}, "lower is better": {}}
    for name, curve in curves.items():
        metric = METRICS.get(name.rpartition(" ")[2])
        groups["higher is better" if metric is None or metric.higher_is_better else "lower is better"][name] = curve
    return {direction: group for direction, group in groups.items() if group}


def _select_curves(records: Iterable[Mapping[str, Any]], key: str) -> dict[str, Curve]:
    """Name → (steps, values) of the first curves.

    Args:
        records: of a run.
        key: of the values to draw: name → value, split → name → value, or a value.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        values = record.get(key)
        named = values if isinstance(values, Mapping) else {"": values}
        for name, value in named.items():
            flat = {f"{name} {inner}": v for inner, v in value.items()} if isinstance(value, Mapping) else {name: value}
            for curve, number in flat.items():
                if number is not None and is_number(number):
                    points.setdefault(curve, []).append((record["step"], number))
    chosen = list(points.items())[:MOST_CURVES]
    return {name: _sort_by_step(np.array(pairs, np.float64)) for name, pairs in chosen}


def _columns(records: Iterable[Mapping[str, Any]], key: str) -> Curve:
    return _sort_by_step(np.array([(record["step"], record[key]) for record in records], np.float64))


def _sort_by_step(pairs: NDArray[np.float64]) -> Curve:
    """Steps and values in the order of the steps; for a step that a resumed run repeats, the last value."""
    latest = dict(zip(pairs[:, 0].tolist(), pairs[:, 1].tolist(), strict=True))
    steps = sorted(latest)
    return np.array(steps), np.array([latest[step] for step in steps])


def _epochs_per_step(records: Sequence[Mapping[str, Any]]) -> float | None:
    rates = [r["epoch"] / r["step"] for r in records if r["step"] and is_number(r.get("epoch")) and r["epoch"] > 0]
    return float(np.median(rates)) if rates else None
