"""What a search tells those who listen."""

from __future__ import annotations

from dataclasses import dataclass

from bertwright.sweep.leaderboard import Result


@dataclass(frozen=True)
class Begun:
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
class Advanced:
    """Trials are so far: ``done`` of all, in trials and fractions of those that run."""

    done: float


@dataclass(frozen=True)
class Tried:
    """A trial has ended.

    Attributes:
        result: what came of it.
        best: whether its combination leads now.
    """

    result: Result
    best: bool


@dataclass(frozen=True)
class Crowning:
    """All trials have ended; the winner is made ready, in words."""

    text: str
