"""Uncertainty of predicted distributions: entropy and margin, as compared by Settles 2009 (section 3.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def compute_entropy(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Entropy of distributions over C outcomes, in nats (Shannon 1948): (…, C) → (…).

    It is 0 if one outcome is certain, and ln C if all are equally likely.
    """
    return np.asarray(_information(probabilities).sum(-1))


def compute_binary_entropy(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Entropy of outcomes that happen with these probabilities or not, in nats: any shape → the same shape."""
    return _information(probabilities) + _information(1.0 - np.asarray(probabilities, np.float64))


def compute_margin(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Difference between the two highest probabilities (Scheffer et al. 2001): (…, C) → (…), C at least 1.

    A single outcome has margin 1 if it is certain.
    """
    values = np.asarray(probabilities, np.float64)
    if values.shape[-1] == 1:
        return values[..., 0]
    highest = np.partition(values, -2, axis=-1)
    return np.asarray(highest[..., -1] - highest[..., -2])


def _information(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """-p ln p of each probability; 0 where it is 0."""
    p = np.asarray(probabilities, np.float64)
    return p * -np.log(np.where(p > 0, p, 1.0)) + 0.0  # no -0.0
