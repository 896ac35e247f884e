"""Random, stratified and nested subsets of the training rows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from bertwright.data.dataset import Dataset
from bertwright.data.holdout import assign_strata
from bertwright.errors import DataError
from bertwright.output.plurals import pluralize


def draw_rows(rows: Dataset, n: int, seed: int = 0, stratify: bool = True) -> Dataset:
    """Draw rows at random; the result has them in their original order.

    With the same seed, the rows of a smaller number are a subset of those of a larger one.

    Args:
        rows: the training rows.
        n: the number of rows to draw.
        seed: random seed.
        stratify: draw the same share of each label, and at least one row of every label if ``n`` allows it, see
            :func:`~bertwright.data.holdout.assign_strata`.

    Raises:
        DataError: there are fewer rows.
    """
    if n > len(rows):
        raise DataError(
            f"data.train_rows: is {n:,}, but {rows.report.source} has {pluralize(len(rows), 'training row')} after the "
            f"hold-out split; set it to at most {len(rows):,}."
        )
    if n == len(rows):
        return rows
    order = order_rows(assign_strata(rows.targets, stratify), seed)
    return rows.take(sorted(order[:n]))


def order_rows(strata: Sequence[str], seed: int) -> list[int]:
    """Return a random order of which every beginning has the share of each stratum, up to one row.

    Row k of the n rows of a stratum, in random order, is at k / n of the way. Every stratum starts at 0, the most
    frequent one first.
    """
    generator = random.Random(seed)  # only random() is guaranteed not to change between Python versions
    keys = [generator.random() for _ in strata]
    sizes, numbers = Counter(strata), Counter[str]()
    places: list[tuple[float, int, float, int]] = []
    for i in sorted(range(len(strata)), key=keys.__getitem__):
        name = strata[i]
        at = numbers[name] / sizes[name]
        numbers[name] += 1
        places.append((at, 0 if at else -sizes[name], keys[i], i))
    return [place[-1] for place in sorted(places)]
