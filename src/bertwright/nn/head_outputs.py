"""Results of heads: what predictions and metrics are computed from, as NumPy arrays on the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import cast

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
"""Scores (logits) of sequences (B, C) or tokens (N, C)."""


@dataclass(frozen=True)
class TagOutput:
    """Tags of N tokens, from a head that decodes whole sequences of tags.

    Attributes:
        tags: int64 (N,), the tag of every token.
        confidences: float32 (N,), the probability of that tag.
        entropies: float32 (N,), the entropy of the token's distribution of tags, in nats.
        margins: float32 (N,), the difference between its two highest probabilities.
    """

    tags: NDArray[np.int64]
    confidences: NDArray[np.float32]
    entropies: NDArray[np.float32]
    margins: NDArray[np.float32]


@dataclass(frozen=True)
class MaskedLMOutput:
    """Predictions of a pre-training head for M tokens with a target, in their order, and for B sequences.

    Attributes:
        losses: float32 (M,), negative log-likelihood of the true word; 0 where it is unknown.
        is_correct: bool (M,), whether the most probable word is the true one.
        top_ids: int64 (M, K), ids of the most probable words where the true word is unknown; 0 elsewhere.
        top_probabilities: float32 (M, K), their probabilities.
        sentence_losses: float32 (B,), negative log-likelihood of the true order of sentences; empty without
            sentence objective.
        is_sentence_correct: bool (B,), whether the more probable order is the true one.
        sentence_probabilities: float32 (B, 2), the probabilities of classes 0 and 1 of the sentence objective.
    """

    losses: NDArray[np.float32]
    is_correct: NDArray[np.bool_]
    top_ids: NDArray[np.int64]
    top_probabilities: NDArray[np.float32]
    sentence_losses: NDArray[np.float32]
    is_sentence_correct: NDArray[np.bool_]
    sentence_probabilities: NDArray[np.float32]


HeadOutput = Scores | TagOutput | MaskedLMOutput
"""What :meth:`Head.decode <bertwright.nn.heads.Head.decode>` returns."""


def concatenate(parts: Sequence[HeadOutput]) -> HeadOutput:
    """Join the outputs of several batches of one head, in their order."""
    first = parts[0]
    if isinstance(first, np.ndarray):
        return np.concatenate(cast("Sequence[Scores]", parts))
    columns = zip(*(arrays_of(part) for part in parts), strict=True)
    return type(first)(*map(np.concatenate, columns))


def arrays_of(output: HeadOutput) -> Iterator[NDArray[np.generic]]:
    """The arrays of an output."""
    if isinstance(output, np.ndarray):
        yield output
    else:
        yield from (getattr(output, field.name) for field in fields(output))


def is_finite(output: HeadOutput) -> bool:
    """Whether all numbers of an output are finite."""
    return all(bool(np.isfinite(array).all()) for array in arrays_of(output) if array.dtype.kind == "f")
