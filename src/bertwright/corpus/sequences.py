"""Training sequences of a corpus in a token store, computed when a step needs them."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bertwright.corpus.masking import Masker
from bertwright.corpus.nsp_pairs import Pairs
from bertwright.corpus.token_store import TokenStore
from bertwright.data.dataset import ReadReport
from bertwright.data.example import Example
from bertwright.nn import IGNORE_INDEX
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.sampling import EpochOrder, Indices, Permutation, Sampling
from bertwright.tokenization.tokenizer import Tokenizer

EVALUATION = 2**63
"""The step of the masks in evaluation, which no training run reaches."""


class UnmaskedSequences(Protocol):
    """Sequences of a corpus before masking."""

    @property
    def store(self) -> TokenStore:
        """The tokens of the sequences."""
        ...

    def __len__(self) -> int: ...

    def encode(self, rows: Indices) -> Encodings:
        """Some of the sequences, in this order; only first tokens can have a target."""
        ...


@dataclass(frozen=True)
class PackedSequences:
    """Sequences of full length: [CLS], the next tokens of the corpus, [SEP]; another [SEP] follows each document.

    As RoBERTa's FULL-SENTENCES (Liu et al. 2019, arXiv 1907.11692, section 4.2), but split at tokens. The number of a
    sequence determines its tokens, so no list of them is stored.

    Attributes:
        store: the corpus.
        tokenizer: the tokenizer of the model, for its special tokens.
        length: tokens per sequence, including special tokens; the last sequence of a shard may be shorter.
    """

    store: TokenStore
    tokenizer: Tokenizer
    length: int

    @cached_property
    def _first_numbers(self) -> NDArray[np.int64]:
        room = self.length - 2
        # the separator at the end of a shard is not a sequence, because every sequence ends with a separator
        return np.cumsum([0, *(-(-max(len(shard.ids) - 1, 0) // room) for shard in self.store.shards)])

    def __len__(self) -> int:
        return int(self._first_numbers[-1])

    def encode(self, rows: Indices) -> Encodings:
        """Some of the sequences, in this order."""
        room = self.length - 2
        shards = np.searchsorted(self._first_numbers, rows, side="right") - 1
        starts = (rows - self._first_numbers[shards]) * room
        parts = [
            self.store.shards[shard].ids[start : start + room]
            for shard, start in zip(shards.tolist(), starts.tolist(), strict=True)
        ]
        lengths = np.array([len(part) + 2 for part in parts], np.int64)
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        ids = np.full(bounds[-1], self.tokenizer.sep_id, np.int32)
        ids[bounds[:-1]] = self.tokenizer.cls_id
        for part, start in zip(parts, (bounds[:-1] + 1).tolist(), strict=True):
            ids[start : start + len(part)] = part
        n = len(rows)
        return Encodings(ids, np.zeros(len(ids), np.uint8), bounds, np.arange(n), np.zeros(n, np.int32))


@dataclass(frozen=True)
class PairedSequences:
    """Sequences [CLS] A [SEP] B [SEP], with the target of next-sentence prediction at [CLS].

    Attributes:
        store: the corpus.
        pairs: the pairs of segments.
        tokenizer: the tokenizer of the model, for its special tokens.
    """

    store: TokenStore
    pairs: Pairs
    tokenizer: Tokenizer

    def __len__(self) -> int:
        return len(self.pairs)

    def encode(self, rows: Indices) -> Encodings:
        """Some of the pairs, in this order."""
        table = self.pairs.table[rows].astype(np.int64)
        lengths = table[:, 2] - table[:, 1] + table[:, 5] - table[:, 4] + 3
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        ids = np.full(bounds[-1], self.tokenizer.sep_id, np.int32)
        types = np.zeros(len(ids), np.uint8)
        targets = np.full(len(ids), IGNORE_INDEX, np.int64)
        ids[bounds[:-1]], targets[bounds[:-1]] = self.tokenizer.cls_id, table[:, 6]
        shards = self.store.shards
        for begin, end, pair in zip(bounds[:-1].tolist(), bounds[1:].tolist(), table.tolist(), strict=True):
            first, second = (shards[s].ids[start:stop] for s, start, stop in (pair[:3], pair[3:6]))
            middle = begin + 1 + len(first)
            ids[begin + 1 : middle] = first
            ids[middle + 1 : end - 1] = second
            types[middle + 1 : end] = 1
        n = len(rows)
        return Encodings(ids, types, bounds, np.arange(n), np.zeros(n, np.int32), targets)


class CorpusData(ABC):
    """The common part of :class:`TrainingData` from a corpus."""

    @property
    @abstractmethod
    def store(self) -> TokenStore:
        """The tokens of the sequences."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of sequences."""

    def with_known_targets(self) -> Self:
        """Itself: every sequence has masked tokens to predict."""
        return self

    def as_encodings(self) -> None:
        """None: masks differ from step to step."""
        return

    def row_lengths(self, n: int) -> None:
        """None: a corpus has no rows."""
        return

    def fingerprint(self, examples: Sequence[Example]) -> str:
        """The hash of the token store."""
        return self.store.fingerprint

    def summarize(self, report: ReadReport, n_examples: int) -> dict[str, str | int]:
        """Counts of sequences, documents, sentences and tokens for the report of a run."""
        return {
            "source": report.source,
            "sequences": len(self),
            "documents": self.store.n_documents,
            "sentences": self.store.n_sentences,
            "tokens": self.store.n_tokens,
            "unknown_tokens": self.store.n_unknown,
            "fingerprint": self.store.fingerprint,
        }


@dataclass(frozen=True)
class MaskedCorpus(CorpusData):
    """The sequences of a corpus with masked tokens.

    Attributes:
        unmasked: the sequences before masking.
        masker: chooses and replaces tokens.
        dynamic: whether the masks of a sequence change in every epoch.
    """

    unmasked: UnmaskedSequences
    masker: Masker
    dynamic: bool = True

    @property
    def store(self) -> TokenStore:
        """The tokens of the sequences."""
        return self.unmasked.store

    def __len__(self) -> int:
        return len(self.unmasked)

    def draw(self, units: Indices, step: int, seed: int = 0) -> tuple[Encodings, Indices]:
        """Some sequences with the masks of this step."""
        encodings = self.masker.mask(self.unmasked.encode(units), units, step if self.dynamic else 0, seed)
        return encodings, np.arange(len(units))

    def iterate_parts(self, size: int) -> Iterator[tuple[Encodings, slice]]:
        """All sequences in parts, with masks that are the same in every run, and the range of each part."""
        for start in range(0, len(self), size):
            rows = np.arange(start, min(start + size, len(self)))
            yield self.masker.mask(self.unmasked.encode(rows), rows, EVALUATION), slice(start, start + len(rows))

    def epoch_order(
        self, sampling: Sampling, strata: Sequence[str], seed: int, batch_size: int, steps: int
    ) -> EpochOrder:
        """Every sequence once per epoch, shuffled; a corpus has no labels to balance."""
        return EpochOrder(len(self), lambda epoch: Permutation(len(self), seed, epoch))

    @property
    def phase_shares(self) -> tuple[float, ...]:
        """One phase."""
        return (1.0,)


@dataclass(frozen=True)
class PhasedCorpus(CorpusData):
    """A corpus in phases with sequences of different lengths (Devlin et al. 2018, appendix A.2).

    An epoch is one pass over the sequences of the first phase.

    Attributes:
        phases: the share of the steps, and the sequences, of each phase.
    """

    phases: tuple[tuple[float, MaskedCorpus], ...]

    @property
    def store(self) -> TokenStore:
        """The tokens of the sequences."""
        return self.phases[0][1].store

    def __len__(self) -> int:
        return len(self.phases[0][1])

    @cached_property
    def _first_numbers(self) -> list[int]:
        return list(itertools.accumulate((len(corpus) for _, corpus in self.phases), initial=0))

    def draw(self, units: Indices, step: int, seed: int = 0) -> tuple[Encodings, Indices]:
        """Some sequences of one phase with the masks of this step; sequences are numbered phase after phase."""
        phase = int(np.searchsorted(self._first_numbers, units[0], side="right")) - 1
        return self.phases[phase][1].draw(units - self._first_numbers[phase], step, seed)

    def iterate_parts(self, size: int) -> Iterator[tuple[Encodings, slice]]:
        """The sequences of the last phase, whose length is that of later use."""
        return self.phases[-1][1].iterate_parts(size)

    def epoch_order(
        self, sampling: Sampling, strata: Sequence[str], seed: int, batch_size: int, steps: int
    ) -> EpochOrder:
        """Assign steps to phases by their shares; a corpus has no labels to balance."""
        ends = np.rint(np.cumsum([share for share, _ in self.phases]) * steps).astype(np.int64)
        return EpochOrder(len(self), lambda epoch: _PhasedUnits(self, seed, epoch, batch_size, ends))

    @property
    def phase_shares(self) -> tuple[float, ...]:
        """The share of the steps of each phase."""
        return tuple(share for share, _ in self.phases)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The number of the first sequence, and the number of sequences, of each phase."""
        return [(start, len(corpus)) for start, (_, corpus) in zip(self._first_numbers, self.phases, strict=False)]


@dataclass(frozen=True)
class _PhasedUnits:
    """The sequences of an epoch, computed for the slice of a step."""

    phased: PhasedCorpus
    seed: int
    epoch: int
    batch_size: int
    ends: NDArray[np.int64]

    def __getitem__(self, index: slice) -> Indices:
        per_epoch = -(-len(self.phased) // self.batch_size)
        step = self.epoch * per_epoch + index.start // self.batch_size
        phase = min(int(np.searchsorted(self.ends, step, side="right")), len(self.ends) - 1)
        offset, n = self.phased.sizes[phase]
        first = (step - (int(self.ends[phase - 1]) if phase else 0)) * self.batch_size
        numbers = range(first, first + self.batch_size)
        parts = [
            Permutation(n, self.seed, pass_)[max(first - pass_ * n, 0) : min(numbers.stop - pass_ * n, n)]
            for pass_ in range(first // n, (numbers.stop - 1) // n + 1)
        ]
        return np.concatenate(parts) + offset
