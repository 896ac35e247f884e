"""Findings of the data checks, and how their messages count rows and name places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from bertwright.data.dataset import Dataset
from bertwright.data.example import Example

Level = Literal["error", "warning", "note"]
"""An error stops a run; a warning casts doubt on its results; a note is for information."""

SHOWN: Final = 3
"""Places or names that a message lists."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding about the data.

    Attributes:
        level: how serious it is.
        code: what it is about, one word for scripts, such as ``empty_text``.
        message: a sentence with the counts.
        count: how many rows (or labels) it concerns.
        where: the places of the first of them.
    """

    level: Level
    code: str
    message: str
    count: int = 0
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.where) else ""
        places = f" ({', '.join(_shorten_places(self.where))}{more})" if self.where else ""
        return f"{self.level}: {self.message}{places}"


def name_splits(train: Dataset, dev: Dataset | None) -> list[tuple[str, Dataset]]:
    """The data sets that exist, with the names that messages give them."""
    return [("train", train)] if dev is None else [("train", train), ("dev", dev)]


def places_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """The places of the first few examples."""
    return tuple(example.where or example.id for example, _ in zip(examples, range(SHOWN), strict=False))


def count_rows(n: int) -> str:
    """A number of rows in words: ``1 row``, ``2,000 rows``."""
    return f"{n:,} row" if n == 1 else f"{n:,} rows"


def list_names(names: Sequence[str]) -> str:
    """The first few names, separated by commas."""
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _shorten_places(places: Sequence[str]) -> list[str]:
    """Places for a message; those in the file of the first one show the line only: ``train.csv:4``, ``9``."""
    file = places[0].rpartition(":")[0] + ":"
    return [places[0], *(place.removeprefix(file) if file != ":" else place for place in places[1:])]
