"""The interface of tokenized data that a model can be trained and evaluated on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bertwright.data.dataset import ReadReport
from bertwright.data.example import Example
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.sampling import EpochOrder, Indices, Sampling


class TrainingData(Protocol):
    """Sequences of token ids for training and evaluation.

    :class:`~bertwright.tokenization.encodings.Encodings` holds the sequences of labeled examples, and the features of
    a frozen encoder if those are cached. :class:`~bertwright.corpus.sequences.MaskedCorpus` and
    :class:`~bertwright.corpus.sequences.PhasedCorpus` compute the sequences of a corpus when a step needs them.
    """

    def __len__(self) -> int:
        """Number of sequences."""
        ...

    def draw(self, units: Indices, step: int, seed: int) -> tuple[Encodings, Indices]:
        """Draw the units that one training step uses; return encodings and the indices of their units, in order.

        Args:
            units: units from :meth:`epoch_order`.
            step: the step of the run; dynamic masks depend on it.
            seed: random seed of the run.
        """
        ...

    def epoch_order(
        self, sampling: Sampling, strata: Sequence[str], seed: int, batch_size: int, steps: int
    ) -> EpochOrder:
        """The units that each epoch trains on, in order.

        Args:
            sampling: how often the units of each label occur.
            strata: the label of every example; empty if ``sampling`` is ``all``.
            seed: random seed of the run.
            batch_size: units per step.
            steps: steps of the run.

        Raises:
            DataError: there is only one label to balance.
        """
        ...

    def iterate_parts(self, size: int) -> Iterator[tuple[Encodings, slice]]:
        """All sequences for evaluation, in parts of about ``size``, and the examples of each part."""
        ...

    def with_known_targets(self) -> Self:
        """The sequences that have at least one known target."""
        ...

    def as_encodings(self) -> Encodings | None:
        """The sequences if they are the same in every epoch; None if their masks change."""
        ...

    @property
    def phase_shares(self) -> tuple[float, ...]:
        """The share of the steps of each phase, a part of the run with sequences of one length; they add up to 1."""
        ...

    def fingerprint(self, examples: Sequence[Example]) -> str:
        """A hash of the training data; ``examples`` are the encoded examples."""
        ...

    def summarize(self, report: ReadReport, n_examples: int) -> dict[str, str | int]:
        """Counts for the report of a run, by name; ``report`` describes how the examples were read."""
        ...

    def row_lengths(self, n: int) -> NDArray[np.int64] | None:
        """Tokens of the longest sequence of each of the first n examples before truncation; None if not known."""
        ...
