"""Sentence pairs for next-sentence prediction (NSP; Devlin et al. 2018, section 3.1) and sentence-order prediction.

Pairs are built as in google-research/bert's create_pretraining_data.py. Sentences of a document are collected up to the
target length and split at random. For half of the pairs, the second part comes from another document; the replaced
sentences are used for the next pair. Some documents get shorter pairs. Pairs that are too long lose tokens at either
end of the longer part. Only the positions of the tokens are stored, in an entry of the disk cache.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bertwright.cache.disk_cache import Cache
from bertwright.corpus.token_store import TokenStore
from bertwright.errors import DataError

PAIRS_FORMAT = "3"
"""Part of every cache key; increase it when pairs are built differently."""

MAX_RANDOM_SENTENCES = 512
"""Maximum number of sentences of another document to consider for one segment."""

IS_NEXT, NOT_NEXT = 0, 1
"""Targets, numbered as in transformers."""

PAIR_COLUMNS = ("first_shard", "first_start", "first_stop", "second_shard", "second_start", "second_stop", "target")
"""Columns of the table of pairs: the shard and the token range of each of the two segments, and the target."""

_PAIRS_PER_WRITE = 65_536  # pairs written at a time


@dataclass(frozen=True)
class PairSettings:
    """How pairs are built.

    Attributes:
        objective: ``nsp``: the second segment follows, or comes from another document; ``sop``: the second segment
            follows, or the two are swapped (Lan et al. 2019, ALBERT, arXiv 1909.11942).
        length: maximum length of a pair in tokens, including its three special tokens.
        short_sequence_probability: share of documents whose pairs get a random shorter length.
        dupe_factor: number of passes through the corpus, each with different pairs.
        seed: random seed.
    """

    objective: Literal["nsp", "sop"] = "nsp"
    length: int = 128
    short_sequence_probability: float = 0.1
    dupe_factor: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Pairs:
    """Pairs of segments of a token store.

    Attributes:
        table: int32 (P, 7), memory-mapped, with the columns :data:`PAIR_COLUMNS`.
    """

    table: NDArray[np.int32]
    _cache: object = field(default=None, repr=False)  # keeps the temporary directory of the cache

    def __len__(self) -> int:
        return len(self.table)


def build_pairs(store: TokenStore, settings: PairSettings, on_note: Callable[[str], None] | None = None) -> Pairs:
    """Build the pairs of a corpus, or load them from the disk cache.

    Args:
        store: the corpus.
        settings: how pairs are built.
        on_note: called with a sentence if the cache cannot be used or an entry is damaged.

    Raises:
        DataError: the corpus has too few documents or sentences for pairs.
    """
    if settings.objective == "nsp" and store.n_documents < 2:
        raise DataError(
            "task.sentence_objective: nsp needs sentences from other documents, but the corpus has only one "
            "document; put an empty line between documents, or set task.sentence_objective=none."
        )
    if not any((np.diff(shard.documents) > 1).any() for shard in store.shards):
        raise DataError(
            "task.sentence_objective: no document of the corpus has two sentences to build a pair from; set "
            "task.sentence_objective=none or data.sentences=split."
        )
    cache = Cache("pairs", on_note)
    key = hashlib.sha256(json.dumps([PAIRS_FORMAT, store.fingerprint, asdict(settings)]).encode()).hexdigest()
    columns, _ = cache.get(
        key, {"pairs": np.int32}, lambda: ({"pairs": _batch_rows(_iterate_pairs(store, settings))}, {})
    )
    cache.evict({cache.path(key)})
    return Pairs(columns["pairs"].reshape(-1, len(PAIR_COLUMNS)), cache)


def _batch_rows(pairs: Iterator[tuple[int, ...]]) -> Iterator[NDArray[np.int32]]:
    while batch := list(itertools.islice(pairs, _PAIRS_PER_WRITE)):
        yield np.array(batch, np.int32)


def _iterate_pairs(store: TokenStore, settings: PairSettings) -> Iterator[tuple[int, ...]]:
    index = _SentenceIndex(store)
    for pass_ in range(settings.dupe_factor):
        # use only random(): the results of other methods may change between Python versions
        draw = random.Random(f"{settings.seed}/{pass_}").random
        for shard in range(len(store.shards)):
            for document, lengths in enumerate(index.documents(shard)):
                yield from _document_pairs(index, shard, document, lengths, settings, draw)


class _SentenceIndex:
    """The token ranges of the sentences of every document, without the [SEP] that ends the document."""

    def __init__(self, store: TokenStore) -> None:
        self.store = store
        self.before = np.cumsum([0, *(len(shard.documents) - 1 for shard in store.shards)]).tolist()

    def documents(self, shard: int) -> Iterator[list[tuple[int, int]]]:
        store_shard = self.store.shards[shard]
        bounds = store_shard.sentences.tolist()
        documents = store_shard.documents.tolist()
        for first, last in itertools.pairwise(documents):
            sentences = list(zip(bounds[first:last], bounds[first + 1 : last + 1], strict=True))
            sentences[-1] = (sentences[-1][0], sentences[-1][1] - 1)
            yield sentences

    def draw_other_document(
        self, shard: int, document: int, draw: Callable[[], float]
    ) -> tuple[int, list[tuple[int, int]]]:
        """Draw another document and a sentence in it; return its shard and the sentences from there on."""
        own = self.before[shard] + document
        other = int(draw() * (self.before[-1] - 1))
        other += other >= own
        second_shard = bisect_right(self.before, other) - 1
        store_shard = self.store.shards[second_shard]
        first, last = (int(n) for n in store_shard.documents[other - self.before[second_shard] :][:2])
        start = first + int(draw() * (last - first))
        # a pair cannot contain more sentences than this, even if each has only one token
        bounds = store_shard.sentences[start : min(last, start + MAX_RANDOM_SENTENCES) + 1].tolist()
        sentences = list(itertools.pairwise(bounds))
        if start + len(sentences) == last:
            sentences[-1] = (sentences[-1][0], sentences[-1][1] - 1)
        return second_shard, sentences


def _document_pairs(
    index: _SentenceIndex,
    shard: int,
    document: int,
    sentences: list[tuple[int, int]],
    settings: PairSettings,
    draw: Callable[[], float],
) -> Iterator[tuple[int, ...]]:
    room = settings.length - 3
    target_length = 2 + int(draw() * (room - 1)) if draw() < settings.short_sequence_probability else room
    chunk_start = i = n_tokens = 0
    while i < len(sentences):
        n_tokens += sentences[i][1] - sentences[i][0]
        i += 1
        lone = settings.objective == "sop" and i == chunk_start + 1  # the order of one sentence is undefined
        if (n_tokens < target_length or lone) and i < len(sentences):
            continue
        chunk = sentences[chunk_start:i]
        cut = 1 + int(draw() * (len(chunk) - 1)) if len(chunk) > 1 else 1
        first = (chunk[0][0], chunk[cut - 1][1])
        target, second_shard = IS_NEXT, shard
        if settings.objective == "nsp" and (len(chunk) == 1 or draw() < 0.5):
            target = NOT_NEXT
            second_shard, others = index.draw_other_document(shard, document, draw)
            left, stop = target_length - (first[1] - first[0]), others[0][0]
            for start, end in others:
                stop = end
                left -= end - start
                if left <= 0:
                    break
            second = (others[0][0], stop)
            i -= len(chunk) - cut
        elif len(chunk) > 1:
            second = (chunk[cut][0], chunk[-1][1])
        else:
            second = (0, 0)
        if first[1] > first[0] and second[1] > second[0]:
            first, second = _truncate(first, second, room, draw)
            if settings.objective == "sop" and draw() < 0.5:
                first, second, target = second, first, NOT_NEXT
            yield (shard, *first, second_shard, *second, target)
        chunk_start, n_tokens = i, 0


def _truncate(
    first: tuple[int, int], second: tuple[int, int], room: int, draw: Callable[[], float]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Remove tokens from either end of the longer segment until both fit."""
    parts = [list(first), list(second)]
    while (sizes := [stop - start for start, stop in parts]) and sum(sizes) > room:
        longer = parts[0] if sizes[0] > sizes[1] else parts[1]
        if draw() < 0.5:
            longer[0] += 1
        else:
            longer[1] -= 1
    return (parts[0][0], parts[0][1]), (parts[1][0], parts[1][1])
