"""Corpora as token ids on disk: made once, on all cores, and memory-mapped from then on.

A store is a sequence of shards, each the tokens of about 16 million characters of text. A shard is an entry of the
disk cache (:mod:`bertwright.cache.disk_cache`), named by a hash of the tokenizer and the text. A stopped build
continues from the existing shards, and after text is added to a corpus only the new text is tokenized. The checksum of
every shard is compared when a store is opened, which takes a hundredth of the time of tokenizing. The text is read
again only if the corpus's files or the shards have changed (:mod:`bertwright.corpus.shard_index`).

Without a cache, or where it cannot be written, shards are in a temporary directory that is removed with the store.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray

from bertwright.cache.column_file import Columns
from bertwright.cache.disk_cache import SUFFIX, Cache
from bertwright.cores import usable_cores
from bertwright.corpus import shard_index as store_index
from bertwright.corpus.corpus_files import Tally
from bertwright.corpus.documents import Corpus, Document
from bertwright.errors import DataError
from bertwright.tokenization.plain_text import PlainTextEncoder
from bertwright.tokenization.tokenizer import Tokenizer

FORMAT: Final = "1"
"""Part of every name; raise it when the layout of a shard or the meaning of an id changes."""

SHARD: Final = 16_000_000
"""Characters of text of a shard, up to the end of a document."""

BATCH: Final = 1_000_000
"""Characters that are tokenised at a time: what the library makes of them may take 60 times as much memory."""

PROGRESS_SECONDS: Final = 1.0
"""How often progress is reported while checksums are compared."""


@dataclass(frozen=True)
class Shard:
    """A part of a store: the tokens of some documents.

    Attributes:
        ids: uint16 (vocabularies of up to 65,536) or int32 (n,), the tokens of all documents, one after the other;
            after each document's last one the tokenizer's separator.
        sentences: int64 (s + 1,), sentence i is ``ids[sentences[i]:sentences[i + 1]]``; a document's last one has the
            separator.
        documents: int64 (d + 1,), document i has the sentences ``documents[i]`` to before ``documents[i + 1]``.
        n_unknown: how many of the tokens are the unknown one.
        n_empty: how many sentences were left out because no token stands for them.
    """

    ids: NDArray[Any]
    sentences: NDArray[np.int64]
    documents: NDArray[np.int64]
    n_unknown: int = 0
    n_empty: int = 0

    def part(self, start: int, stop: int, unknown: int | None) -> Shard:
        """The documents from ``start`` to before ``stop``; the ids are a view."""
        first, last = self.documents[start], self.documents[stop]
        begin, end = self.sentences[first], self.sentences[last]
        ids = self.ids[begin:end]
        n_unknown = 0 if unknown is None else int(np.count_nonzero(ids == unknown))
        return Shard(ids, self.sentences[first : last + 1] - begin, self.documents[start : stop + 1] - first, n_unknown)


@dataclass(frozen=True)
class Store:
    """The tokens of a corpus; make one with :func:`build_store`.

    Attributes:
        shards: its parts, in the order of the corpus.
        fingerprint: a hash of the texts, the tokenizer and the settings (sha256, hexadecimal).
        unknown: the id of the unknown token; None where the tokenizer has none.
        n_empty: how many sentences of the corpus were left out because no token stands for them.
        report: how the corpus was read, as sentences.
    """

    shards: tuple[Shard, ...]
    fingerprint: str
    unknown: int | None = None
    n_empty: int = 0
    report: tuple[str, ...] = ()
    _cache: object = field(default=None, repr=False, compare=False)  # its temporary directory lives as long as this

    @cached_property
    def n_documents(self) -> int:
        """The number of documents."""
        return sum(len(shard.documents) - 1 for shard in self.shards)

    @cached_property
    def n_sentences(self) -> int:
        """The number of sentences."""
        return sum(len(shard.sentences) - 1 for shard in self.shards)

    @cached_property
    def n_tokens(self) -> int:
        """The number of tokens, the separator after each document included."""
        return sum(len(shard.ids) for shard in self.shards)

    @cached_property
    def n_unknown(self) -> int:
        """How many tokens stand for something the vocabulary cannot spell."""
        return sum(shard.n_unknown for shard in self.shards)

    def lines(self) -> list[str]:
        """What it holds, and how the corpus was read, as sentences."""
        counts = f"{self.n_documents:,} documents, {self.n_sentences:,} sentences, {self.n_tokens:,} tokens"
        lines = [f"{counts} in {len(self.shards):,} {'shard' if len(self.shards) == 1 else 'shards'}"]
        if self.n_unknown:
            lines.append(f"unknown tokens: {self.n_unknown:,} ({self.n_unknown / self.n_tokens:.2%})")
        if self.n_empty:
            lines.append(f"sentences left out, as no token stands for them: {self.n_empty:,}")
        return [*lines, *self.report]

    def held_out(self, share: float) -> tuple[Store, Store]:
        """All but the last documents, and these: that share of them, but of a few a fifth, up to ten. Views, no copies.

        Raises:
            DataError: there is one document only.
        """
        if self.n_documents < 2:
            raise DataError("corpus: holds one document, of which none can be held out; name texts for dev.")
        n = min(max(round(share * self.n_documents), min(self.n_documents // 5, 10), 1), self.n_documents - 1)
        bounds = [0, *accumulate(len(shard.documents) - 1 for shard in self.shards)]
        cut = self.n_documents - n
        at = next(i for i, end in enumerate(bounds[1:]) if end >= cut)
        shard, inside = self.shards[at], cut - bounds[at]
        kept = [*self.shards[:at], shard.part(0, inside, self.unknown)]
        held = [shard.part(inside, len(shard.documents) - 1, self.unknown), *self.shards[at + 1 :]]
        return self._of(kept, f"first {cut}"), self._of([part for part in held if len(part.ids)], f"last {n}")

    def _of(self, shards: Iterable[Shard], what: str) -> Store:
        fingerprint = hashlib.sha256(f"{self.fingerprint} {what}".encode()).hexdigest()
        return replace(self, shards=tuple(shards), fingerprint=fingerprint)


def build_store(
    corpus: Corpus,
    tokenizer: Tokenizer,
    *,
    folder: Path | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Store:
    """Tokenise a corpus, or take up what is there of it. What special tokens are called, in a text, is plain text.

    Args:
        corpus: the texts.
        tokenizer: of the encoder that is to read them.
        folder: of the cache; None for the default.
        on_progress: called about every million characters with the bytes done and the bytes in all, of the corpus's
            files; of other corpora with characters, and None.
        on_note: called with a sentence if the cache cannot be used or a shard is damaged.

    Raises:
        DataError: a file of the corpus is not as it should be, or it holds nothing that tokens stand for.
        TokenizerError: the tokenizer fails.
    """
    cache = Cache("store", on_note, folder)
    build = _Build(tokenizer, cache)
    stamp = build.stamp(corpus) if cache.folder is not None else None
    entry = store_index.find(cache.folder, stamp) if cache.folder is not None and stamp else None
    if entry is not None and (store := build.open_indexed(entry, corpus.n_bytes, on_progress)) is not None:
        return store
    tally, shards, keys = Tally(), list[Shard](), list[str]()
    for part in build.shards(corpus.documents(tally), tally, corpus.n_bytes, on_progress):
        keys.append(part.key)
        shards.append(part.shard)
    if not any(len(shard.ids) for shard in shards):
        raise DataError(f"{corpus.source}: holds no text that tokens stand for; is it the right one?")
    report = tuple(tally.lines(corpus.source))
    paths = [cache.path(key) for key in keys]
    if cache.folder is not None and stamp and stamp == build.stamp(corpus):  # the files did not change meanwhile
        with suppress(OSError):  # a shard could not be written there
            entry = store_index.Entry(store_index.states_of(cache.folder, [path.name for path in paths]), report)
            paths.append(store_index.keep(cache.folder, stamp, entry))
    cache.make_room(set(paths))
    return build.store(shards, keys, report)


class _Done(NamedTuple):
    """A complete shard and its key."""

    key: str
    shard: Shard


@dataclass
class _Pending:
    """A shard whose text has been read: what it is made from, or the shard itself if the cache had it."""

    key: str
    sentences: list[str]
    counts: list[int]  # of sentences, by document
    bytes_read: int
    shard: Shard | None = None
    tokens: list[Future[tuple[NDArray[Any], NDArray[np.int64]]]] = field(default_factory=list)


class _Build:
    """Makes shards: reads ahead in this thread, while two others tokenise and turn into arrays, in turn."""

    def __init__(self, tokenizer: Tokenizer, cache: Cache) -> None:
        self._tokenizer, self._cache = tokenizer, cache
        self._plain = PlainTextEncoder(tokenizer)
        self._types: dict[str, type[np.generic]] = {
            "ids": self._plain.id_dtype,
            "sentences": np.int64,
            "documents": np.int64,
        }
        self._seed = json.dumps([FORMAT, tokenizers.__version__, tokenizer.fingerprint]).encode()

    def stamp(self, corpus: Corpus) -> str | None:
        """What tells without reading that the shards are the same; None where nothing does."""
        stamp = corpus.stamp()
        return None if stamp is None else f"{self._seed.decode()} {stamp}"

    def open_indexed(
        self, entry: store_index.Entry, n_bytes: int | None, on_progress: Callable[[int, int | None], None] | None
    ) -> Store | None:
        """The store of an index entry, with all checksums compared; None if a shard is damaged."""
        keys = [name.removesuffix(SUFFIX) for name, _, _ in entry.states]
        shards, reported_at = list[Shard](), time.monotonic()
        with ThreadPoolExecutor(usable_cores()) as pool:  # hashing releases Python's lock
            for shard in pool.map(self._load, keys):
                if shard is None:
                    return None
                shards.append(shard)
                if on_progress is not None and time.monotonic() - reported_at > PROGRESS_SECONDS:
                    reported_at = time.monotonic()
                    on_progress((n_bytes or 0) * len(shards) // len(keys), n_bytes)
        if on_progress is not None:
            on_progress(n_bytes or 0, n_bytes)
        return self.store(shards, keys, entry.report)

    def store(self, shards: list[Shard], keys: list[str], report: tuple[str, ...]) -> Store:
        """The store of these shards."""
        fingerprint = hashlib.sha256("\n".join(key + SUFFIX for key in keys).encode()).hexdigest()
        n_empty = sum(shard.n_empty for shard in shards)
        filled = tuple(shard for shard in shards if len(shard.ids))
        return Store(filled, fingerprint, self._tokenizer.unk_id, n_empty, report, self._cache)

    def shards(
        self,
        documents: Iterator[Document],
        tally: Tally,
        n_bytes: int | None,
        on_progress: Callable[[int, int | None], None] | None,
    ) -> Iterator[_Done]:
        """All shards in order."""
        done = 0

        def finished(part: _Pending) -> _Done:
            nonlocal done
            begun, n = done, max(len(part.tokens), 1)
            for i, tokens in enumerate(part.tokens, 1):
                tokens.result()
                if on_progress is not None:
                    on_progress(begun + (part.bytes_read - begun) * i // n, n_bytes)
            done = part.bytes_read
            if part.shard is None:
                part.shard = self._write(part)
            elif on_progress is not None:
                on_progress(done, n_bytes)
            return _Done(part.key, part.shard)

        # Two threads: one's ids are turned into arrays while the library, on all cores, is at work for the other.
        pool = ThreadPoolExecutor(2)
        try:
            waiting: deque[_Pending] = deque()
            for part in self._parts(documents, tally):
                part.shard = self._load(part.key)
                if part.shard is None:
                    batches = _batches(part.sentences)
                    part.tokens = [pool.submit(self._plain.encode, batch) for batch in batches]
                part.sentences = []
                waiting.append(part)
                if len(waiting) > 1:
                    yield finished(waiting.popleft())
            yield from map(finished, waiting)
        finally:
            pool.shutdown(cancel_futures=True)

    def _parts(self, documents: Iterator[Document], tally: Tally) -> Iterator[_Pending]:
        """The text of one shard after the other."""
        part: list[tuple[str, ...]] = []
        size = 0
        for document in documents:
            part.append(document.sentences)
            size += sum(map(len, document.sentences))
            if size >= SHARD:
                yield self._pending(part, tally)
                part, size = [], 0
        if part:
            yield self._pending(part, tally)

    def _pending(self, part: Sequence[tuple[str, ...]], tally: Tally) -> _Pending:
        sentences, counts = list(chain.from_iterable(part)), list(map(len, part))
        if self._plain.sentence_prefix:
            first = set(accumulate(counts, initial=0))
            sentences = [text if i in first else self._plain.sentence_prefix + text for i, text in enumerate(sentences)]
        digest = hashlib.sha256(self._seed)
        # With all lengths before the texts, no two lists of documents are the same bytes.
        for numbers in ([len(counts)], counts, list(map(len, sentences))):
            digest.update(np.array(numbers, np.int64).data)
        digest.update("".join(sentences).encode())
        return _Pending(digest.hexdigest(), sentences, counts, tally.bytes_read)

    def _write(self, part: _Pending) -> Shard:
        """Put a shard together and on disk, and map it."""
        tokens = [future.result() for future in part.tokens]
        ids: NDArray[Any] = np.concatenate([ids for ids, _ in tokens])
        lengths = np.concatenate([lengths for _, lengths in tokens])
        document = np.repeat(np.arange(len(part.counts)), part.counts)[lengths > 0]
        n_empty = int(np.count_nonzero(lengths == 0))
        lengths = lengths[lengths > 0]
        last = np.flatnonzero(np.diff(document, append=-1))  # the last sentence of each document that has any
        ids = np.insert(ids, np.cumsum(lengths)[last], self._tokenizer.sep_id)
        lengths[last] += 1
        columns = {
            "ids": ids,
            "sentences": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            "documents": np.concatenate([[0], last + 1]).astype(np.int64),
        }
        unknown = self._tokenizer.unk_id
        n_unknown = 0 if unknown is None else int(np.count_nonzero(ids == unknown))
        facts = {"n_unknown": str(n_unknown), "n_empty": str(n_empty)}
        return _shard(*self._cache.put(part.key, self._types, lambda: (columns, facts)))

    def _load(self, key: str) -> Shard | None:
        """A shard from the cache; None if it has none with the right checksum."""
        entry = self._cache.load(key, self._types)
        return None if entry is None else _shard(*entry)


def _shard(columns: Columns, facts: Mapping[str, str]) -> Shard:
    return Shard(**columns, n_unknown=int(facts["n_unknown"]), n_empty=int(facts["n_empty"]))


def _batches(sentences: list[str]) -> Iterator[list[str]]:
    """Sentences in lots of about a million characters."""
    start = size = 0
    for i, sentence in enumerate(sentences, 1):
        size += len(sentence)
        if size >= BATCH or i == len(sentences):
            yield sentences[start:i]
            start, size = i, 0
