"""The learning rate over a run, as a factor of its peak (or listed outright, segment by segment)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]
"""Step, counted from 0 → factor of the peak learning rate."""


def _linear(progress: float) -> float:
    return 1.0 - progress


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _constant(progress: float) -> float:
    return 1.0


SHAPES: dict[str, Callable[[float], float]] = {"linear": _linear, "cosine": _cosine, "constant": _constant}
"""From 1 at progress 0 to the end of the run at progress 1."""


def warm_up_then(shape: str, total: int, warmup: int) -> Schedule:
    """Linear from 0 to 1 over ``warmup`` steps, then ``shape`` over the rest (BERT's own: 10 %, then linear to 0).

    The first step's rate is not zero, so that no step is computed in vain: step s of the warm-up gets (s + 1) / warmup.
    """
    curve = SHAPES[shape]

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return curve((step - warmup) / max(1, total - warmup))

    return factor


def between(shape: str, start: float, end: float, steps: int, step: int) -> float:
    """A value going from ``start`` to ``end`` in ``steps`` steps along ``shape``; ``constant`` stays at ``start``."""
    if shape == "constant":
        return start
    return end + (start - end) * SHAPES[shape](min(1.0, step / max(1, steps)))


def segments(parts: Sequence[tuple[str, int, float, float]], peak: float) -> Schedule:
    """Listed segments, one after the other: (shape, steps, rate at the start, rate at the end).

    After the last one, its end holds. Factors are relative to ``peak``, so that group-wise rates scale along.
    """

    def factor(step: int) -> float:
        rate = 0.0
        for shape, steps, start, end in parts:
            if step < steps:
                return between(shape, start, end, steps, step) / peak
            step -= steps
            rate = start if shape == "constant" else end
        return rate / peak

    return factor
