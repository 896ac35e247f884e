"""Times the training steps of bertwright as a user of the library runs them."""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import inputs


class TimedSteps(NamedTuple):
    """The steps of a run after its warm-up.

    Attributes:
        seconds: their time.
        examples: their number of examples.
        tokens: their number of tokens.
        precision: "bf16" or "fp32".
        peak_megabytes: peak memory of the process during training.
    """

    seconds: float
    examples: int
    tokens: int
    precision: str
    peak_megabytes: float


class _Measured(Exception):  # noqa: N818
    """Ends a run after its last step: what follows is not measured."""


def time_steps(recipe_name: str | None, settings: list[str], warm_up: int = 0) -> TimedSteps:
    """Train by a recipe up to the last step, without the evaluation and the files that follow.

    Args:
        recipe_name: a shipped recipe; None for none.
        settings: overrides of the recipe.
        warm_up: number of steps that are not timed.
    """
    from bertwright.recipe import load_recipe
    from bertwright.run.events import TrainingStarted
    from bertwright.run.train import train
    from bertwright.training.loop import Step

    began = 0.0
    precision, last = "", 0
    steps: list[Step] = []
    result: list[TimedSteps] = []

    def listen(event: object) -> None:
        nonlocal began, precision, last
        if isinstance(event, TrainingStarted):
            gc.collect()  # an earlier run may have left cycles
            precision, last = "bf16" if ", bf16 (" in event.compute else "fp32", event.steps
            inputs.reset_peak()
            began = time.perf_counter()
        elif isinstance(event, Step):
            now = time.perf_counter()
            if event.step <= warm_up:
                began = now
            else:
                steps.append(event)
            if event.step == last:
                counts = sum(step.examples for step in steps), sum(step.tokens for step in steps)
                result.append(TimedSteps(now - began, *counts, precision, inputs.peak_megabytes()))
                raise _Measured

    with tempfile.TemporaryDirectory() as folder:
        try:
            train(load_recipe(recipe_name, settings), Path(folder, "run"), quiet=True, listeners=[listen])
        except _Measured:
            return result[0]
    raise RuntimeError("the run ended before its last step")
