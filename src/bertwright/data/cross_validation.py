"""Cross-validation: divides the training rows into folds of equal size, each of which is held out once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from bertwright.data.dataset import Dataset
from bertwright.data.holdout import assign_strata
from bertwright.errors import DataError
from bertwright.output.plurals import pluralize


def parse_fold(text: str) -> tuple[int, int]:
    """Parse the number of the held-out fold and the number of folds.

    >>> parse_fold("2/5")
    (2, 5)

    Raises:
        ValueError: the text is not k/K with 1 ≤ k ≤ K and at least two folds.
    """
    part, slash, parts = text.partition("/")
    if slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts) >= 2:
        return int(part), int(parts)
    raise ValueError(f'must be k/K, such as "2/5" for the second of five folds; found "{text}"')


def hold_out_fold(
    rows: Dataset, fold: str, seed: int = 0, stratify: bool = True, groups: Sequence[str] | None = None
) -> tuple[Dataset, Dataset]:
    """Split rows into those outside a fold and those inside it, both in their original order.

    Args:
        rows: the rows.
        fold: as for :func:`parse_fold`; the folds of one seed are disjoint and cover all rows.
        seed: random seed.
        stratify: give every fold the same share of each label, see :func:`~bertwright.data.holdout.assign_strata`.
        groups: group of each row; rows of one group are in the same fold, such as questions about one text.

    Raises:
        DataError: there are fewer rows, or groups, than folds.
    """
    part, parts = parse_fold(fold)
    places = _assign_folds(assign_strata(rows.targets, stratify), parts, seed, groups)
    inside = [i for i, place in enumerate(places) if place == part - 1]
    outside = [i for i, place in enumerate(places) if place != part - 1]
    return rows.take(outside), rows.take(inside)


def _assign_folds(names: Sequence[str], parts: int, seed: int, groups: Sequence[str] | None) -> list[int]:
    """Assign each row to a fold, given its stratum: each group goes to the fold with the fewest rows of its stratum."""
    members: dict[str, list[int]] = {}
    for i in range(len(names)):
        members.setdefault(str(i) if groups is None else groups[i], []).append(i)
    if len(members) < parts:
        units_name = pluralize(len(members), "row" if groups is None else "group")
        raise DataError(f"data.fold: {units_name} cannot fill {parts} folds; use fewer folds.")
    generator = random.Random(seed)  # only random() is guaranteed not to change between Python versions
    units = sorted((names[places[0]], generator.random(), places) for places in members.values())
    sizes, of_stratum = [0] * parts, [Counter[str]() for _ in range(parts)]
    fold_of = [0] * len(names)
    for name, _, places in units:
        fold = min(range(parts), key=lambda k: (of_stratum[k][name], sizes[k], k))
        sizes[fold] += len(places)
        of_stratum[fold][name] += len(places)
        for i in places:
            fold_of[i] = fold
    return fold_of
