"""Advice about targets that are hard to learn: a label that outweighs the others, rare labels, large numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from bertwright.data.dataset import labels_of
from bertwright.data.example import Example

FREQUENT: Final = 0.75
"""With more than this share, the most common label hides the others."""

LARGE: Final = 10.0
"""Targets of this size are far from where an untrained head starts, which is 0."""


def describe_frequent_label(examples: Sequence[Example], unit: str, remedy: str) -> str | None:
    """What to do about a label that outweighs all others; None if there is none.

    Args:
        examples: the training rows.
        unit: what has a label, in the plural: ``rows`` or ``words``.
        remedy: settings that help.
    """
    counts = Counter(label for example in examples for label in labels_of(example.target))
    if not counts:
        return None
    label, count = counts.most_common(1)[0]
    share = count / counts.total()
    return f'"{label}" has {share:.0%} of the {unit}; {remedy}' if share >= FREQUENT else None


def describe_rare_labels(examples: Sequence[Example]) -> str | None:
    """What to do if most labels hold for few rows, so that predicting none is nearly right; None if they do not."""
    targets = [example.target for example in examples if example.target is not None]
    counts = Counter(label for target in targets for label in labels_of(target))
    if not counts:
        return None
    mean = counts.total() / len(counts) / len(targets)
    if mean > 1 - FREQUENT:
        return None
    return (
        f"labels are rare (each occurs in {mean:.0%} of the rows on average); set task.class_weights=balanced, and "
        "task.threshold=tuned for thresholds that fit"
    )


def describe_large_numbers(examples: Sequence[Example]) -> str | None:
    """What to do about numbers that are far from 0; None if they are not."""
    values = np.array([example.target for example in examples if isinstance(example.target, int | float)], np.float64)
    largest = float(np.abs(values).max(initial=0.0))
    if largest <= LARGE:
        return None
    values /= largest  # sums of the largest numbers would overflow
    mean, spread = largest * float(values.mean()), largest * float(values.std())
    if max(abs(mean), spread) <= LARGE:
        return None
    return (
        f"the targets are large (mean {mean:.4g}, standard deviation {spread:.4g}), but an untrained head predicts "
        "about 0; rescale the targets in the data, for example to mean 0 and spread 1, and the predictions back"
    )
