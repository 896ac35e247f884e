"""Cross-validation: the training rows in parts of equal size, each of which is held out once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from bertwright.data.dataset import Dataset
from bertwright.data.holdout import strata
from bertwright.errors import DataError


def parse_fold(text: str) -> tuple[int, int]:
    """Read which part of how many is held out.

    >>> parse_fold("2/5")
    (2, 5)

    Raises:
        ValueError: anything else than k/K with 1 ≤ k ≤ K and at least two parts.
    """
    part, slash, parts = text.partition("/")
    if slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts) >= 2:
        return int(part), int(parts)
    raise ValueError(f'must be a part of several, such as "2/5" for the second of five; found "{text}"')


def hold_out_fold(
    rows: Dataset, fold: str, seed: int = 0, stratify: bool = True, groups: Sequence[str] | None = None
) -> tuple[Dataset, Dataset]:
    """The rows outside a fold and those inside it, both in their order.

    Args:
        rows: what to split.
        fold: as :func:`parse_fold` reads it; the folds of one seed do not overlap and together are all rows.
        seed: another seed makes other folds.
        stratify: give every fold the same share of each label, as :func:`~bertwright.data.holdout.strata` names it.
        groups: a name for each row; rows of one name are in one fold, such as the questions on one text.

    Raises:
        DataError: there are fewer rows, or groups, than folds.
    """
    part, parts = parse_fold(fold)
    places = _folds(strata(rows.targets, stratify), parts, seed, groups)
    inside = [i for i, place in enumerate(places) if place == part - 1]
    outside = [i for i, place in enumerate(places) if place != part - 1]
    return rows.take(outside), rows.take(inside)


def _folds(names: Sequence[str], parts: int, seed: int, groups: Sequence[str] | None) -> list[int]:
    """The fold of each row, given its stratum: each next group goes where its stratum is rarest."""
    members: dict[str, list[int]] = {}
    for i in range(len(names)):
        members.setdefault(str(i) if groups is None else groups[i], []).append(i)
    if len(members) < parts:
        what = "rows" if groups is None else "groups of rows"
        raise DataError(f"folds: {len(members)} {what} cannot be put into {parts} folds; take fewer folds.")
    generator = random.Random(seed)  # of random() alone is it promised that it never changes
    units = sorted((names[places[0]], generator.random(), places) for places in members.values())
    sizes, of_stratum = [0] * parts, [Counter[str]() for _ in range(parts)]
    fold_of = [0] * len(names)
    for name, _, places in units:
        here = min(range(parts), key=lambda k: (of_stratum[k][name], sizes[k], k))
        sizes[here] += len(places)
        of_stratum[here][name] += len(places)
        for i in places:
            fold_of[i] = here
    return fold_of
