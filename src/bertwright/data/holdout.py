"""The train/validation split: holds out a share of the rows, stratified by label, the same rows on every machine."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import overload

from bertwright.data.dataset import Dataset, labels_of
from bertwright.data.example import Example, Target
from bertwright.errors import DataError


@overload
def hold_out(
    examples: Dataset, ratio: float, seed: int = 0, stratify: bool = True, groups: Sequence[str] | None = None
) -> tuple[Dataset, Dataset]: ...
@overload
def hold_out(
    examples: Sequence[Example],
    ratio: float,
    seed: int = 0,
    stratify: bool = True,
    groups: Sequence[str] | None = None,
) -> tuple[Sequence[Example], Sequence[Example]]: ...
def hold_out(
    examples: Sequence[Example],
    ratio: float,
    seed: int = 0,
    stratify: bool = True,
    groups: Sequence[str] | None = None,
) -> tuple[Sequence[Example], Sequence[Example]]:
    """Split rows into training rows and held-out rows, both in their original order.

    Args:
        examples: the rows.
        ratio: share of rows to hold out, between 0 and 1.
        seed: random seed.
        stratify: hold out the same share of each label, and at least one row of every label with two rows. A row with
            several labels or tags counts for its rarest one. Numbers and answers are not stratified.
        groups: group of each row; rows of one group are on the same side, such as questions about one text. The ratio
            then applies to groups.

    Raises:
        DataError: the ratio is not between 0 and 1, or one side would be empty.
    """
    names = assign_strata([example.target for example in examples], stratify)
    if groups is None:
        held = draw_holdout(names, ratio, seed)
    else:
        members: dict[str, list[int]] = {}
        for i, group in enumerate(groups):
            members.setdefault(group, []).append(i)
        places = list(members.values())
        if len(places) < 2:
            raise DataError(
                f"data.dev_ratio: all {len(names)} rows belong to one group, so none can be held out; set data.dev."
            )
        chosen = draw_holdout([names[rows[0]] for rows in places], ratio, seed)
        held = {i for k in chosen for i in places[k]}
    train = [i for i in range(len(examples)) if i not in held]
    if isinstance(examples, Dataset):
        return examples.take(train), examples.take(sorted(held))
    return [examples[i] for i in train], [examples[i] for i in sorted(held)]


def assign_strata(targets: Sequence[Target | None], stratify: bool = True) -> list[str]:
    """The stratum of each row: its label, or the rarest of its labels."""
    if not stratify:
        return [""] * len(targets)
    labels_by_row = [labels_of(target) for target in targets]
    counts = Counter(label for labels in labels_by_row for label in labels)
    return [min(labels, key=lambda label: (counts[label], label), default="") for labels in labels_by_row]


def draw_holdout(names: Sequence[str], ratio: float, seed: int) -> set[int]:
    """Draw the indices to hold out, given the stratum of each row.

    Raises:
        DataError: as for :func:`hold_out`.
    """
    if not 0 < ratio < 1:
        raise DataError(f"data.dev_ratio: must be between 0 and 1, found {ratio}; set data.dev_ratio=0.2, for example.")
    members: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        members.setdefault(name, []).append(i)
    # Shares are rounded down, then the largest remainders get one more row, so that the total is also right.
    counts = {name: int(len(places) * ratio) for name, places in members.items()}
    by_remainder = sorted(members, key=lambda name: (counts[name] - len(members[name]) * ratio, name))
    for name in by_remainder[: round(len(names) * ratio) - sum(counts.values())]:
        counts[name] += 1
    # random() is the only generator function of Python and numpy whose results are guaranteed not to change.
    generator = random.Random(seed)
    keys = [generator.random() for _ in names]
    held: set[int] = set()
    for name, places in members.items():
        count = min(max(counts[name], 1), len(places) - 1) if len(places) > 1 else 0
        held.update(sorted(places, key=keys.__getitem__)[:count])
    if not held:
        raise DataError(
            f"data.dev_ratio: no label has two rows, so none of {len(names)} can be held out; set data.dev."
        )
    return held
