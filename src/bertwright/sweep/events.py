"""What a search tells those who listen."""

from __future__ import annotations

from dataclasses import dataclass

from bertwright.sweep.leaderboard import TrialResult


@dataclass(frozen=True)
class SearchStarted:
    """The search begins, or goes on.

    Attributes:
        trials: how many there are at most.
        done: how many of them were finished before.
        metric: the settings are ranked by, of which split.
        remarks: how the rows were read, as sentences, and whether they are warnings.
    """

    trials: int
    done: int
    metric: str
    split: str
    remarks: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True)
class SearchProgress:
    """Trials are so far: ``done`` of all, in trials and fractions of those that run."""

    done: float


@dataclass(frozen=True)
class TrialFinished:
    """A trial has ended.

    Attributes:
        result: what came of it.
        best: whether its combination leads now.
    """

    result: TrialResult
    best: bool


@dataclass(frozen=True)
class WinnerProgress:
    """All trials have ended; the winner is made ready, in words."""

    text: str
