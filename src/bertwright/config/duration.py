"""Lengths of training: epochs, optimizer steps, a time budget, or a share of the run."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

_DURATION = r"([0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?) +(epoch|step)s?"
_TIME = r"([0-9]+(?:\.[0-9]+)?) +(minute|hour)s?"
_FORMS = '"3 epochs" or "200 steps"'
_PORTION_FORMS = 'a share of the run such as 0.1, steps such as 500, "500 steps" or "1 epoch"'


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of training, such as ``3 epochs``, ``0.5 epochs`` or ``200 steps``.

    Attributes:
        amount: more than 0; an integer for steps.
        unit: the unit; a step is one update of the parameters.

    Raises:
        ValueError: the amount is not positive and finite, or not a whole number of steps.
    """

    amount: float
    unit: Literal["epochs", "steps"]

    def __post_init__(self) -> None:
        if not (0 < self.amount < math.inf and (self.unit == "epochs" or self.amount == int(self.amount))):
            raise ValueError(f'must be {_FORMS}, above 0 and in whole steps; found "{self}"')

    @classmethod
    def parse(cls, value: Any) -> Duration:
        """Parse ``3 epochs`` or ``200 steps``.

        Raises:
            ValueError: any other text, an amount of 0 or less, or a fraction of a step.
        """
        if isinstance(value, Duration):
            return value
        match = re.fullmatch(_DURATION, value.strip()) if isinstance(value, str) else None
        if not match:
            raise ValueError(f"must be {_FORMS}; found {_quote(value)}")
        return cls(float(match[1]), "epochs" if match[2] == "epoch" else "steps")

    def __str__(self) -> str:
        amount = str(int(self.amount)) if float(self.amount).is_integer() else repr(self.amount)
        return f"{amount} {self.unit[:-1] if self.amount == 1 else self.unit}"

    def steps(self, steps_per_epoch: int) -> int:
        """The length in optimizer steps, at least one; a fraction of an epoch is rounded to the nearest step."""
        return max(1, round(self.amount * (steps_per_epoch if self.unit == "epochs" else 1)))


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """The maximum duration of a run, such as ``2 hours`` or ``30 minutes``; the steps follow from the measured speed.

    Attributes:
        amount: more than 0.
        unit: the unit of time.

    Raises:
        ValueError: the amount is not positive and finite.
    """

    amount: float
    unit: Literal["minutes", "hours"]

    def __post_init__(self) -> None:
        if not 0 < self.amount < math.inf:
            raise ValueError(f'must be {_FORMS} or "2 hours", above 0; found "{self}"')

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit[:-1] if self.amount == 1 else self.unit}"

    @property
    def seconds(self) -> float:
        """The budget in seconds."""
        return self.amount * (3600 if self.unit == "hours" else 60)

    def steps(self, steps_per_epoch: int) -> int:
        """A placeholder of one epoch, because the number of steps is unknown until the speed is measured."""
        return max(1, steps_per_epoch)


AUTO_STEPS, LEAST_EPOCHS, MOST_EPOCHS = 600, 3, 20
"""An automatic length has this many steps, but between 3 and 20 epochs.

With fewer updates, fine-tuning on a few hundred rows ends before it has converged, and results depend on the seed
(Mosbach et al. 2020, arXiv 2006.04884, who train for 20 epochs; Zhang et al. 2020, arXiv 2006.05987).
"""


@dataclass(frozen=True, slots=True)
class AutoLength:
    """A length that depends on the number of training rows."""

    def __str__(self) -> str:
        return "auto"

    def choose(self, steps_per_epoch: int) -> Duration:
        """The length for a data set, in epochs where one of the limits applies."""
        if steps_per_epoch * LEAST_EPOCHS >= AUTO_STEPS:
            return Duration(LEAST_EPOCHS, "epochs")
        if steps_per_epoch * MOST_EPOCHS <= AUTO_STEPS:
            return Duration(MOST_EPOCHS, "epochs")
        return Duration(AUTO_STEPS, "steps")

    def steps(self, steps_per_epoch: int) -> int:
        """The length in optimizer steps."""
        return self.choose(steps_per_epoch).steps(steps_per_epoch)


def parse_run_length(value: Any) -> Duration | TimeBudget | AutoLength:
    """Parse the length of a run: auto, epochs, steps, minutes or hours.

    >>> str(parse_run_length("2 hours")), str(parse_run_length("3 epochs"))
    ('2 hours', '3 epochs')

    Raises:
        ValueError: any other text, or an amount of 0 or less.
    """
    if isinstance(value, TimeBudget | AutoLength):
        return value
    if value == "auto":
        return AutoLength()
    match = re.fullmatch(_TIME, value.strip()) if isinstance(value, str) else None
    if match:
        return TimeBudget(float(match[1]), "hours" if match[2] == "hour" else "minutes")
    return Duration.parse(value)


def parse_portion(value: Any) -> float | Duration:
    """Parse a part of a run: a number below 1 is a share of the run, an integer counts steps, text is a duration.

    Raises:
        ValueError: any other value.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 <= value < 1:
            return float(value)
        if isinstance(value, int) and value >= 1:
            return Duration(value, "steps")
    elif isinstance(value, Duration | str):
        try:
            return Duration.parse(value)
        except ValueError:
            pass
    raise ValueError(f"must be {_PORTION_FORMS}; found {_quote(value)}")


def portion_steps(portion: float | Duration, total_steps: int, steps_per_epoch: int) -> int:
    """Convert a part of a run to optimizer steps; a share is rounded to the nearest step and may be 0."""
    return portion.steps(steps_per_epoch) if isinstance(portion, Duration) else round(portion * total_steps)


def _quote(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _serialize(portion: float | Duration) -> float | str:
    return str(portion) if isinstance(portion, Duration) else portion


Length = Annotated[
    Duration,
    PlainValidator(Duration.parse),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION}$", "description": _FORMS}),
]
"""A setting that holds a :class:`Duration`."""

RunLength = Annotated[
    Duration | TimeBudget | AutoLength,
    PlainValidator(parse_run_length),
    PlainSerializer(str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^(auto|{_DURATION}|{_TIME})$",
            "description": f'{_FORMS}, a time such as "2 hours", or auto',
        }
    ),
]
"""A setting that holds a :class:`Duration`, a :class:`TimeBudget` or an :class:`AutoLength`."""

Portion = Annotated[
    float | Duration,
    PlainValidator(parse_portion),
    PlainSerializer(_serialize),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": f"^{_DURATION}$"},
            ],
            "description": _PORTION_FORMS,
        }
    ),
]
"""A setting that holds a share of a run (a float below 1) or a :class:`Duration`."""
