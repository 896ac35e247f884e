"""Texts that several rows have: duplicates, conflicting labels, and data leakage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bertwright.data.example import Example
from bertwright.data.targets.spec import TargetSpec


@dataclass(frozen=True, slots=True)
class RepeatedText:
    """Rows with the same text.

    Attributes:
        problem: ``leakage`` if train and dev have it, ``conflict`` if its targets differ within a split, else
            ``duplicate``.
        rows: the name of the split and the example of each row.
    """

    problem: Literal["leakage", "conflict", "duplicate"]
    rows: tuple[tuple[str, Example], ...]


def group_by_text(rows: Iterable[Example], target: TargetSpec) -> dict[Hashable, dict[Any, list[Example]]]:
    """Text → what distinguishes its targets → the rows that have both."""
    groups: defaultdict[Hashable, dict[Any, list[Example]]] = defaultdict(dict)
    for example in rows:
        key = target.conflict_key(example.target)
        groups[target.text_key(example)].setdefault(key, []).append(example)
    return groups


def is_conflict(by_target: dict[Any, list[Example]]) -> bool:
    """Whether rows with one text have different targets."""
    return len(by_target.keys() - {None}) > 1


def find_leaked(train: Iterable[Example], dev: Iterable[Example], target: TargetSpec) -> list[Example]:
    """The dev rows that have in common with train what they should not."""
    in_train = set(map(target.leakage_key, train))
    return [example for example in dev if target.leakage_key(example) in in_train]


def find_repeated_texts(train: Sequence[Example], dev: Sequence[Example], target: TargetSpec) -> list[RepeatedText]:
    """The texts that several rows have: first leakage, then conflicting labels, then duplicates.

    Args:
        train: the rows to train on.
        dev: the rows to evaluate on.
        target: what the task reads.
    """
    leaked: dict[Hashable, list[tuple[str, Example]]] = {}
    for example in find_leaked(train, dev, target):
        leaked.setdefault(target.leakage_key(example), []).append(("dev", example))
    for example in train if leaked else ():
        if (rows := leaked.get(target.leakage_key(example))) is not None:
            rows.append(("train", example))
    repeats = [RepeatedText("leakage", tuple(rows)) for rows in leaked.values()]
    for name, split in (("train", train), ("dev", dev)):
        for by_target in group_by_text(split, target).values():
            rows = [(name, example) for group in by_target.values() for example in group]
            if len(rows) > 1:
                repeats.append(RepeatedText("conflict" if is_conflict(by_target) else "duplicate", tuple(rows)))
    return sorted(repeats, key=lambda repeat: ("leakage", "conflict", "duplicate").index(repeat.problem))
