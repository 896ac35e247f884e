"""``TokenStore``: a corpus as token ids on disk, built once on all cores and memory-mapped afterwards.

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
from bertwright.corpus import shard_index
from bertwright.corpus.corpus_files import CorpusStatistics
from bertwright.corpus.documents import Corpus, Document
from bertwright.errors import DataError
from bertwright.output.plurals import pluralize
from bertwright.tokenization.plain_text import PlainTextEncoder
from bertwright.tokenization.tokenizer import Tokenizer

STORE_FORMAT: Final = "1"
"""Part of every cache key; increase it when the layout of a shard or the meaning of an id changes."""

SHARD_CHARACTERS: Final = 16_000_000
"""Characters of text per shard; a shard ends at the end of a document."""

BATCH_CHARACTERS: Final = 1_000_000
"""Characters to tokenize at a time; the library's result may need 60 times as much memory."""

PROGRESS_SECONDS: Final = 1.0
"""Interval of progress reports while checksums are compared, in seconds."""


@dataclass(frozen=True)
class Shard:
    """A part of a store: the tokens of some documents.

    Attributes:
        ids: uint16 (vocabularies of up to 65,536) or int32 (n,), the tokens of all documents, concatenated; the
            tokenizer's
            separator follows each document.
        sentences: int64 (s + 1,), sentence i is ``ids[sentences[i]:sentences[i + 1]]``; the last sentence of a document
            includes the separator.
        documents: int64 (d + 1,), document i has the sentences ``documents[i]`` to ``documents[i + 1] - 1``.
        n_unknown: number of unknown tokens.
        n_empty: number of sentences skipped because they have no tokens.
    """

    ids: NDArray[Any]
    sentences: NDArray[np.int64]
    documents: NDArray[np.int64]
    n_unknown: int = 0
    n_empty: int = 0

    def slice_documents(self, start: int, stop: int, unknown_id: int | None) -> Shard:
        """The documents from ``start`` to ``stop - 1``; the ids are a view."""
        first, last = self.documents[start], self.documents[stop]
        begin, end = self.sentences[first], self.sentences[last]
        ids = self.ids[begin:end]
        n_unknown = 0 if unknown_id is None else int(np.count_nonzero(ids == unknown_id))
        return Shard(ids, self.sentences[first : last + 1] - begin, self.documents[start : stop + 1] - first, n_unknown)


@dataclass(frozen=True)
class TokenStore:
    """The tokens of a corpus; create it with :func:`build_store`.

    Attributes:
        shards: its parts, in the order of the corpus.
        fingerprint: hash of the texts, the tokenizer and the settings (sha256, hexadecimal).
        unknown_id: id of the unknown token; None if the tokenizer has none.
        n_empty: number of sentences of the corpus skipped because they have no tokens.
        report: how the corpus was read, as sentences.
    """

    shards: tuple[Shard, ...]
    fingerprint: str
    unknown_id: int | None = None
    n_empty: int = 0
    report: tuple[str, ...] = ()
    _cache: object = field(default=None, repr=False, compare=False)  # keeps the temporary directory of the cache

    @cached_property
    def n_documents(self) -> int:
        """Number of documents."""
        return sum(len(shard.documents) - 1 for shard in self.shards)

    @cached_property
    def n_sentences(self) -> int:
        """Number of sentences."""
        return sum(len(shard.sentences) - 1 for shard in self.shards)

    @cached_property
    def n_tokens(self) -> int:
        """Number of tokens, including the separator after each document."""
        return sum(len(shard.ids) for shard in self.shards)

    @cached_property
    def n_unknown(self) -> int:
        """Number of unknown tokens."""
        return sum(shard.n_unknown for shard in self.shards)

    def describe(self) -> list[str]:
        """Describe the contents, and how the corpus was read, in sentences."""
        nouns = {"document": self.n_documents, "sentence": self.n_sentences, "token": self.n_tokens}
        counts = [pluralize(n, noun) for noun, n in nouns.items()]
        lines = [f"{', '.join(counts)} in {pluralize(len(self.shards), 'shard')}"]
        if self.n_unknown:
            lines.append(f"unknown tokens: {self.n_unknown:,} ({self.n_unknown / self.n_tokens:.2%})")
        if self.n_empty:
            lines.append(f"skipped {pluralize(self.n_empty, 'sentence')} without any token")
        return [*lines, *self.report]

    def split_off(self, share: float) -> tuple[TokenStore, TokenStore]:
        """Split off this share of the documents, from the end, but at least a fifth up to ten. Both parts are views.

        Raises:
            DataError: the store has only one document.
        """
        if self.n_documents < 2:
            raise DataError("corpus: has only one document; add documents or set data.dev.")
        n = min(max(round(share * self.n_documents), min(self.n_documents // 5, 10), 1), self.n_documents - 1)
        return self._split_at(self.n_documents - n)

    def take_first(self, n: int) -> TokenStore:
        """The first ``n`` documents, as a view.

        Raises:
            DataError: there are fewer documents.
        """
        if n > self.n_documents:
            has = pluralize(self.n_documents, "training document")
            raise DataError(f"corpus: has {has}, fewer than data.train_rows={n}; lower it.")
        return self if n == self.n_documents else self._split_at(n)[0]

    def _split_at(self, cut: int) -> tuple[TokenStore, TokenStore]:
        """The documents before and from ``cut`` on."""
        bounds = [0, *accumulate(len(shard.documents) - 1 for shard in self.shards)]
        last = next(i for i, end in enumerate(bounds[1:]) if end >= cut)
        shard, inside = self.shards[last], cut - bounds[last]
        first_part = [*self.shards[:last], shard.slice_documents(0, inside, self.unknown_id)]
        last_part = [shard.slice_documents(inside, len(shard.documents) - 1, self.unknown_id), *self.shards[last + 1 :]]
        filled = [shard for shard in last_part if len(shard.ids)]
        return self._with_shards(first_part, f"first {cut}"), self._with_shards(
            filled, f"last {self.n_documents - cut}"
        )

    def _with_shards(self, shards: Iterable[Shard], part: str) -> TokenStore:
        fingerprint = hashlib.sha256(f"{self.fingerprint} {part}".encode()).hexdigest()
        return replace(self, shards=tuple(shards), fingerprint=fingerprint)


def build_store(
    corpus: Corpus,
    tokenizer: Tokenizer,
    *,
    folder: Path | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> TokenStore:
    """Tokenize a corpus, or load the existing shards. Names of special tokens in a text are plain text.

    Args:
        corpus: the texts.
        tokenizer: the tokenizer of the encoder.
        folder: directory of the cache; None for the default.
        on_progress: called about every million characters with the bytes done and the total bytes of the corpus's
            files;
            for a corpus without files with characters and None.
        on_note: called with a sentence if the cache cannot be used or a shard is damaged.

    Raises:
        DataError: a file of the corpus is damaged, or no text can be tokenized.
        TokenizerError: the tokenizer fails.
    """
    cache = Cache("store", on_note, folder)
    build = _Builder(tokenizer, cache)
    file_stamp = build.file_stamp(corpus) if cache.folder is not None else None
    entry = shard_index.load_entry(cache.folder, file_stamp) if cache.folder is not None and file_stamp else None
    if entry is not None and (store := build.load_indexed(entry, corpus.n_bytes, on_progress)) is not None:
        return store
    statistics, shards, keys = CorpusStatistics(), list[Shard](), list[str]()
    for pending in build.shards(corpus.documents(statistics), statistics, corpus.n_bytes, on_progress):
        keys.append(pending.key)
        shards.append(pending.shard)
    if not any(len(shard.ids) for shard in shards):
        raise DataError(f"{corpus.source}: has no text that can be tokenized; check the corpus and the tokenizer.")
    report = tuple(statistics.describe(corpus.source))
    paths = [cache.path(key) for key in keys]
    if (
        cache.folder is not None and file_stamp and file_stamp == build.file_stamp(corpus)
    ):  # the files have not changed meanwhile
        with suppress(OSError):  # a shard could not be written
            entry = shard_index.IndexEntry(
                shard_index.read_file_states(cache.folder, [path.name for path in paths]), report
            )
            paths.append(shard_index.save_entry(cache.folder, file_stamp, entry))
    cache.evict(set(paths))
    return build.store(shards, keys, report)


class _FinishedShard(NamedTuple):
    """A complete shard and its key."""

    key: str
    shard: Shard


@dataclass
class _PendingShard:
    """A shard whose text has been read: the text being tokenized, or the shard itself if the cache had it."""

    key: str
    sentences: list[str]
    counts: list[int]  # of sentences, by document
    bytes_read: int
    shard: Shard | None = None
    tokens: list[Future[tuple[NDArray[Any], NDArray[np.int64]]]] = field(default_factory=list)


class _Builder:
    """Builds shards: this thread reads ahead, and two others alternately tokenize and build arrays."""

    def __init__(self, tokenizer: Tokenizer, cache: Cache) -> None:
        self._tokenizer, self._cache = tokenizer, cache
        self._plain = PlainTextEncoder(tokenizer)
        self._types: dict[str, type[np.generic]] = {
            "ids": self._plain.id_dtype,
            "sentences": np.int64,
            "documents": np.int64,
        }
        self._seed = json.dumps([STORE_FORMAT, tokenizers.__version__, tokenizer.fingerprint]).encode()

    def file_stamp(self, corpus: Corpus) -> str | None:
        """A text that identifies the shards without reading the corpus; None if the corpus has no files."""
        file_stamp = corpus.file_stamp()
        return None if file_stamp is None else f"{self._seed.decode()} {file_stamp}"

    def load_indexed(
        self, entry: shard_index.IndexEntry, n_bytes: int | None, on_progress: Callable[[int, int | None], None] | None
    ) -> TokenStore | None:
        """Load the store of an index entry and compare all checksums; None if a shard is damaged."""
        keys = [name.removesuffix(SUFFIX) for name, _, _ in entry.states]
        shards, reported_at = list[Shard](), time.monotonic()
        with ThreadPoolExecutor(usable_cores()) as pool:  # hashing releases the GIL
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

    def store(self, shards: list[Shard], keys: list[str], report: tuple[str, ...]) -> TokenStore:
        """Build the store from its shards."""
        fingerprint = hashlib.sha256("\n".join(key + SUFFIX for key in keys).encode()).hexdigest()
        n_empty = sum(shard.n_empty for shard in shards)
        filled = tuple(shard for shard in shards if len(shard.ids))
        return TokenStore(filled, fingerprint, self._tokenizer.unk_id, n_empty, report, self._cache)

    def shards(
        self,
        documents: Iterator[Document],
        statistics: CorpusStatistics,
        n_bytes: int | None,
        on_progress: Callable[[int, int | None], None] | None,
    ) -> Iterator[_FinishedShard]:
        """Build all shards in order."""
        done = 0

        def finish(pending: _PendingShard) -> _FinishedShard:
            nonlocal done
            done_before, n = done, max(len(pending.tokens), 1)
            for i, tokens in enumerate(pending.tokens, 1):
                tokens.result()
                if on_progress is not None:
                    on_progress(done_before + (pending.bytes_read - done_before) * i // n, n_bytes)
            done = pending.bytes_read
            if pending.shard is None:
                pending.shard = self._write(pending)
            elif on_progress is not None:
                on_progress(done, n_bytes)
            return _FinishedShard(pending.key, pending.shard)

        # Two threads: one builds arrays from its ids while the library tokenizes for the other on all cores.
        pool = ThreadPoolExecutor(2)
        try:
            waiting: deque[_PendingShard] = deque()
            for pending in self._parts(documents, statistics):
                pending.shard = self._load(pending.key)
                if pending.shard is None:
                    batches = _batches(pending.sentences)
                    pending.tokens = [pool.submit(self._plain.encode, batch) for batch in batches]
                pending.sentences = []
                waiting.append(pending)
                if len(waiting) > 1:
                    yield finish(waiting.popleft())
            yield from map(finish, waiting)
        finally:
            pool.shutdown(cancel_futures=True)

    def _parts(self, documents: Iterator[Document], statistics: CorpusStatistics) -> Iterator[_PendingShard]:
        """Read the text of one shard after the other."""
        pending: list[tuple[str, ...]] = []
        size = 0
        for document in documents:
            pending.append(document.sentences)
            size += sum(map(len, document.sentences))
            if size >= SHARD_CHARACTERS:
                yield self._pending(pending, statistics)
                pending, size = [], 0
        if pending:
            yield self._pending(pending, statistics)

    def _pending(self, pending: Sequence[tuple[str, ...]], statistics: CorpusStatistics) -> _PendingShard:
        sentences, counts = list(chain.from_iterable(pending)), list(map(len, pending))
        if self._plain.sentence_prefix:
            first = set(accumulate(counts, initial=0))
            sentences = [text if i in first else self._plain.sentence_prefix + text for i, text in enumerate(sentences)]
        digest = hashlib.sha256(self._seed)
        # With all lengths before the texts, different lists of documents give different bytes.
        for numbers in ([len(counts)], counts, list(map(len, sentences))):
            digest.update(np.array(numbers, np.int64).data)
        digest.update("".join(sentences).encode())
        return _PendingShard(digest.hexdigest(), sentences, counts, statistics.bytes_read)

    def _write(self, pending: _PendingShard) -> Shard:
        """Assemble a shard, write it to the cache and memory-map it."""
        tokens = [future.result() for future in pending.tokens]
        ids: NDArray[Any] = np.concatenate([ids for ids, _ in tokens])
        lengths = np.concatenate([lengths for _, lengths in tokens])
        document = np.repeat(np.arange(len(pending.counts)), pending.counts)[lengths > 0]
        n_empty = int(np.count_nonzero(lengths == 0))
        lengths = lengths[lengths > 0]
        last = np.flatnonzero(np.diff(document, append=-1))  # the last sentence of each document
        ids = np.insert(ids, np.cumsum(lengths)[last], self._tokenizer.sep_id)
        lengths[last] += 1
        columns = {
            "ids": ids,
            "sentences": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            "documents": np.concatenate([[0], last + 1]).astype(np.int64),
        }
        unknown_id = self._tokenizer.unk_id
        n_unknown = 0 if unknown_id is None else int(np.count_nonzero(ids == unknown_id))
        facts = {"n_unknown": str(n_unknown), "n_empty": str(n_empty)}
        return _shard(*self._cache.put(pending.key, self._types, lambda: (columns, facts)))

    def _load(self, key: str) -> Shard | None:
        """Load a shard from the cache; None if there is none with a matching checksum."""
        entry = self._cache.load(key, self._types)
        return None if entry is None else _shard(*entry)


def _shard(columns: Columns, facts: Mapping[str, str]) -> Shard:
    return Shard(**columns, n_unknown=int(facts["n_unknown"]), n_empty=int(facts["n_empty"]))


def _batches(sentences: list[str]) -> Iterator[list[str]]:
    """Group sentences into batches of about a million characters."""
    start = size = 0
    for i, sentence in enumerate(sentences, 1):
        size += len(sentence)
        if size >= BATCH_CHARACTERS or i == len(sentences):
            yield sentences[start:i]
            start, size = i, 0
