"""Learning rate schedules as factors of the peak learning rate."""

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
"""Shape → the factor at a progress from 0 (after warm-up) to 1 (end of the run)."""


def make_warmup_schedule(shape: str, total: int, warmup: int) -> Schedule:
    """Linear warm-up from 0 to 1 over ``warmup`` steps, then ``shape`` over the rest (BERT: 10 %, then linear to 0).

    Step s of the warm-up has the factor (s + 1) / warmup, so that the first step changes the weights.
    """
    curve = SHAPES[shape]

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return curve((step - warmup) / max(1, total - warmup))

    return factor


def interpolate(shape: str, start: float, end: float, steps: int, step: int) -> float:
    """The value at ``step`` between ``start`` and ``end`` after ``steps`` steps; ``constant`` stays at ``start``."""
    if shape == "constant":
        return start
    return end + (start - end) * SHAPES[shape](min(1.0, step / max(1, steps)))


def make_segment_schedule(parts: Sequence[tuple[str, int, float, float]], peak: float) -> Schedule:
    """A schedule of consecutive segments: (shape, steps, rate at the start, rate at the end).

    The last rate stays constant afterwards. Factors are relative to ``peak``, so that group-wise rates scale too.
    """

    def factor(step: int) -> float:
        rate = 0.0
        for shape, steps, start, end in parts:
            if step < steps:
                return interpolate(shape, start, end, steps, step) / peak
            step -= steps
            rate = start if shape == "constant" else end
        return rate / peak

    return factor
