"""Hold out a share of the rows: the same rows on every machine, each label with its share on both sides."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import overload

from bertwright.data.dataset import Dataset, labels_of
from bertwright.data.example import Example, Target
from bertwright.errors import DataError


@overload
def split(
    examples: Dataset, ratio: float, seed: int = 0, stratify: bool = True, groups: Sequence[str] | None = None
) -> tuple[Dataset, Dataset]: ...
@overload
def split(
    examples: Sequence[Example],
    ratio: float,
    seed: int = 0,
    stratify: bool = True,
    groups: Sequence[str] | None = None,
) -> tuple[Sequence[Example], Sequence[Example]]: ...
def split(
    examples: Sequence[Example],
    ratio: float,
    seed: int = 0,
    stratify: bool = True,
    groups: Sequence[str] | None = None,
) -> tuple[Sequence[Example], Sequence[Example]]:
    """Rows to train on and rows held out, both in their order.

    Args:
        examples: what to split.
        ratio: the share to hold out, between 0 and 1.
        seed: another seed holds out other rows.
        stratify: hold out the same share of each label, and at least one row of every label that has two. With
            several labels or tags a row counts for its rarest one. Numbers and answers are not stratified.
        groups: a name for each row; rows of one name are on one side, such as the questions on one text. The ratio
            is then that of the groups.

    Raises:
        DataError: the ratio is not between 0 and 1, or one side would be empty.
    """
    names = strata([example.target for example in examples], stratify)
    if groups is None:
        held = held_out(names, ratio, seed)
    else:
        members: dict[str, list[int]] = {}
        for i, group in enumerate(groups):
            members.setdefault(group, []).append(i)
        places = list(members.values())
        if len(places) < 2:
            raise DataError(f"split: all {len(names)} rows are of one group, so none can be held out; name a dev file.")
        held = {i for k in held_out([names[rows[0]] for rows in places], ratio, seed) for i in places[k]}
    train = [i for i in range(len(examples)) if i not in held]
    if isinstance(examples, Dataset):
        return examples.take(train), examples.take(sorted(held))
    return [examples[i] for i in train], [examples[i] for i in sorted(held)]


def strata(targets: Sequence[Target | None], stratify: bool = True) -> list[str]:
    """The stratum of each row: its label, or the rarest of its labels."""
    if not stratify:
        return [""] * len(targets)
    held = [labels_of(target) for target in targets]
    counts = Counter(label for labels in held for label in labels)
    return [min(labels, key=lambda label: (counts[label], label), default="") for labels in held]


def held_out(names: Sequence[str], ratio: float, seed: int) -> set[int]:
    """The places to hold out, given the stratum of each.

    Raises:
        DataError: as ``split`` says.
    """
    if not 0 < ratio < 1:
        raise DataError(
            f"split: the share to hold out must lie between 0 and 1, found {ratio}; say data.dev_ratio=0.2."
        )
    members: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        members.setdefault(name, []).append(i)
    # Shares are rounded down, then the largest remainders get one row more, so that the total is right too.
    counts = {name: int(len(places) * ratio) for name, places in members.items()}
    by_remainder = sorted(members, key=lambda name: (counts[name] - len(members[name]) * ratio, name))
    for name in by_remainder[: round(len(names) * ratio) - sum(counts.values())]:
        counts[name] += 1
    # random() alone, of all that Python's and numpy's generators give, is promised never to change.
    generator = random.Random(seed)
    keys = [generator.random() for _ in names]
    held: set[int] = set()
    for name, places in members.items():
        count = min(max(counts[name], 1), len(places) - 1) if len(places) > 1 else 0
        held.update(sorted(places, key=keys.__getitem__)[:count])
    if not held:
        raise DataError(
            f"split: no label has two rows, so of {len(names)} rows none can be held out; name a dev file (data.dev=…)."
        )
    return held
