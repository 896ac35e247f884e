"""Events of a search."""

from __future__ import annotations

from dataclasses import dataclass

from bertwright.sweep.leaderboard import TrialResult


@dataclass(frozen=True)
class SearchStarted:
    """The search starts or resumes.

    Attributes:
        trials: the maximum number of trials.
        done: the number of trials that were finished before.
        metric: the ranking metric.
        split: the split that it is evaluated on.
        remarks: notes about the data, and whether each is a warning.
    """

    trials: int
    done: int
    metric: str
    split: str
    remarks: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True)
class SearchProgress:
    """Progress: ``done`` counts finished trials and fractions of running ones."""

    done: float


@dataclass(frozen=True)
class TrialFinished:
    """A trial ended.

    Attributes:
        result: its result.
        best: whether its combination is the best so far.
    """

    result: TrialResult
    best: bool


@dataclass(frozen=True)
class WinnerProgress:
    """All trials ended; the text describes the current step of preparing the best model."""

    text: str
