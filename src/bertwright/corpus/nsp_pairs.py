"""Pairs of text segments to tell apart: whether the second one follows the first (Devlin et al. 2018, section 3.1).

Made as google-research/bert's create_pretraining_data.py makes them: sentences of a document are gathered up to the
length wanted, cut in two at random, and half of the time the second part is taken from another document instead;
what it replaces is used for the next pair. Now and then a document's pairs are made shorter. Too long pairs lose tokens
at either end of either part. Only the positions of the tokens are stored, in an entry of the disk cache.
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
from bertwright.corpus.token_store import Store
from bertwright.errors import DataError

FORMAT = "3"
"""Part of every key; raise it when pairs are made in another way."""

LONGEST = 512
"""Sentences of another document that are looked at for one segment."""

FOLLOWS, OTHER = 0, 1
"""Targets, as transformers numbers them."""

COLUMNS = ("first_shard", "first_start", "first_stop", "second_shard", "second_start", "second_stop", "target")
"""Of the table of pairs: where two segments stand, each by its shard and its tokens there, and the target."""

_WRITTEN = 65_536  # pairs written at a time

Table = NDArray[np.int64]


@dataclass(frozen=True)
class PairSettings:
    """How pairs are made.

    Attributes:
        kind: ``nsp``: the second segment follows, or comes from another document; ``sop``: the second segment follows,
            or the two have changed places (Lan et al. 2019, ALBERT, arXiv 1909.11942).
        length: tokens a pair at most, its three special ones included.
        short: the share of documents whose pairs are made shorter, of any length.
        passes: how often the corpus is gone through, each time with other pairs.
        seed: other ones give other pairs.
    """

    kind: Literal["nsp", "sop"] = "nsp"
    length: int = 128
    short: float = 0.1
    passes: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Pairs:
    """Pairs of segments of a stored corpus.

    Attributes:
        table: int32 (P, 7), memory-mapped, with :data:`COLUMNS`.
    """

    table: NDArray[np.int32]
    _cache: object = field(default=None, repr=False)  # its temporary directory lives as long as this does

    def __len__(self) -> int:
        return len(self.table)


def make_pairs(store: Store, settings: PairSettings, on_note: Callable[[str], None] | None = None) -> Pairs:
    """The pairs of a corpus, from the disk cache if it has them.

    Args:
        store: the corpus.
        settings: how pairs are made.
        on_note: called with a sentence if the cache cannot be used or an entry is damaged.

    Raises:
        DataError: the corpus has too few documents or sentences for pairs.
    """
    if settings.kind == "nsp" and store.n_documents < 2:
        raise DataError(
            "task.sentence_objective: nsp needs sentences from other documents, but the corpus has a single document; "
            "separate documents with an empty line, or set task.sentence_objective to none."
        )
    if not any((np.diff(shard.documents) > 1).any() for shard in store.shards):
        raise DataError(
            "task.sentence_objective: no document of the corpus has two sentences, so there are no pairs; set it to "
            "none, or data.sentences to split."
        )
    cache = Cache("pairs", on_note)
    key = hashlib.sha256(json.dumps([FORMAT, store.fingerprint, asdict(settings)]).encode()).hexdigest()
    columns, _ = cache.get(key, {"pairs": np.int32}, lambda: ({"pairs": _in_pieces(_pairs(store, settings))}, {}))
    cache.make_room({cache.path(key)})
    return Pairs(columns["pairs"].reshape(-1, len(COLUMNS)), cache)


def _in_pieces(pairs: Iterator[tuple[int, ...]]) -> Iterator[NDArray[np.int32]]:
    while some := list(itertools.islice(pairs, _WRITTEN)):
        yield np.array(some, np.int32)


def _pairs(store: Store, settings: PairSettings) -> Iterator[tuple[int, ...]]:
    places = _Places(store)
    for pass_ in range(settings.passes):
        # its random() alone: what else it offers may change from one Python to the next
        draw = random.Random(f"{settings.seed}/{pass_}").random
        for shard in range(len(store.shards)):
            for document, lengths in enumerate(places.documents(shard)):
                yield from _of_document(places, shard, document, lengths, settings, draw)


class _Places:
    """Where the sentences of every document stand, without the [SEP] that closes it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.before = np.cumsum([0, *(len(shard.documents) - 1 for shard in store.shards)]).tolist()

    def documents(self, shard: int) -> Iterator[list[tuple[int, int]]]:
        one = self.store.shards[shard]
        bounds = one.sentences.tolist()
        documents = one.documents.tolist()
        for first, last in itertools.pairwise(documents):
            found = list(zip(bounds[first:last], bounds[first + 1 : last + 1], strict=True))
            found[-1] = (found[-1][0], found[-1][1] - 1)
            yield found

    def elsewhere(self, shard: int, document: int, draw: Callable[[], float]) -> tuple[int, list[tuple[int, int]]]:
        """The sentences of another document from one at random on, and its shard."""
        own = self.before[shard] + document
        other = int(draw() * (self.before[-1] - 1))
        other += other >= own
        there = bisect_right(self.before, other) - 1
        one = self.store.shards[there]
        first, last = (int(n) for n in one.documents[other - self.before[there] :][:2])
        start = first + int(draw() * (last - first))
        # no pair takes more sentences than this, were each of them but a token
        bounds = one.sentences[start : min(last, start + LONGEST) + 1].tolist()
        found = list(itertools.pairwise(bounds))
        if start + len(found) == last:
            found[-1] = (found[-1][0], found[-1][1] - 1)
        return there, found


def _of_document(
    places: _Places,
    shard: int,
    document: int,
    sentences: list[tuple[int, int]],
    settings: PairSettings,
    draw: Callable[[], float],
) -> Iterator[tuple[int, ...]]:
    room = settings.length - 3
    goal = 2 + int(draw() * (room - 1)) if draw() < settings.short else room
    begin = i = gathered = 0
    while i < len(sentences):
        gathered += sentences[i][1] - sentences[i][0]
        i += 1
        lone = settings.kind == "sop" and i == begin + 1  # one sentence has no order
        if (gathered < goal or lone) and i < len(sentences):
            continue
        chunk = sentences[begin:i]
        cut = 1 + int(draw() * (len(chunk) - 1)) if len(chunk) > 1 else 1
        first = (chunk[0][0], chunk[cut - 1][1])
        target, there = FOLLOWS, shard
        if settings.kind == "nsp" and (len(chunk) == 1 or draw() < 0.5):
            target = OTHER
            there, others = places.elsewhere(shard, document, draw)
            left, stop = goal - (first[1] - first[0]), others[0][0]
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
            first, second = _truncated(first, second, room, draw)
            if settings.kind == "sop" and draw() < 0.5:
                first, second, target = second, first, OTHER
            yield (shard, *first, there, *second, target)
        begin, gathered = i, 0


def _truncated(
    first: tuple[int, int], second: tuple[int, int], room: int, draw: Callable[[], float]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The longer of the two loses a token at either end until both fit."""
    parts = [list(first), list(second)]
    while (sizes := [stop - start for start, stop in parts]) and sum(sizes) > room:
        longer = parts[0] if sizes[0] > sizes[1] else parts[1]
        if draw() < 0.5:
            longer[0] += 1
        else:
            longer[1] -= 1
    return (parts[0][0], parts[0][1]), (parts[1][0], parts[1][1])
