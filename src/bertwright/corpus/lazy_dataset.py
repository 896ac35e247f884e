"""A corpus in the place of rows: a run has train, dev and test of it as of any other data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from bertwright.corpus.documents import Corpus, open_corpus
from bertwright.corpus.token_store import TokenStore, build_store
from bertwright.data.dataset import ColumnNames, Dataset, ReadReport
from bertwright.data.settings import DataSettings
from bertwright.errors import DataError
from bertwright.tokenization.tokenizer import Tokenizer

Progress = Callable[[int, int | None], None]


@dataclass
class _Source:
    """A corpus and its store, which is built once though two splits come of it."""

    corpus: Corpus
    built: dict[str, TokenStore] = field(default_factory=dict)


@dataclass(frozen=True)
class CorpusRows(Dataset):
    """A corpus, or the part of one that is not held out, or the part that is. It has no rows: examples are not kept.

    Attributes:
        source: the corpus.
        share: of its documents that is held out; 0 for all of it in one.
        held_out: whether this is the part held out.
        trains: whether it is trained on, and not measured on.
        seed: of the sentence pairs to train on; pairs to evaluate on are the same in every run, so that runs compare.
    """

    source: _Source = field(kw_only=True)
    share: float = 0.0
    held_out: bool = False
    trains: bool = False
    seed: int = 0

    @classmethod
    def of(cls, corpus: Corpus, columns: ColumnNames, trains: bool = False, seed: int = 0) -> CorpusRows:
        """The whole of a corpus."""
        report = ReadReport(corpus.source, 0, columns=columns)
        return cls((), report, source=_Source(corpus), trains=trains, seed=seed)

    def in_two(self, share: float) -> tuple[CorpusRows, CorpusRows]:
        """All but the last documents, and these: that share of them."""
        return replace(self, share=share), replace(self, share=share, held_out=True, trains=False)

    def store(self, tokenizer: Tokenizer, on_progress: Progress | None = None, on_note: Any = None) -> TokenStore:
        """Its tokens; made at the first call, or found on disk.

        Raises:
            DataError: it cannot be read, or has too few documents for some to be held out.
        """
        key = tokenizer.fingerprint
        if key not in self.source.built:
            corpus = self.source.corpus
            self.source.built[key] = build_store(corpus, tokenizer, on_progress=on_progress, on_note=on_note)
        store = self.source.built[key]
        if not self.share:
            return store
        try:
            return store.split_off(self.share)[self.held_out]
        except DataError as error:
            raise DataError(f"{self.report.source}: {str(error).partition(': ')[2]}") from None

    def lines(self) -> list[str]:
        """Nothing: what a corpus holds is known once it is stored, and said then."""
        return []

    @property
    def n_bytes(self) -> int | None:
        """Of its files; None where there are none."""
        return self.source.corpus.n_bytes


def corpus_of(
    source: Any,
    settings: DataSettings,
    columns: ColumnNames | None = None,
    split: str | None = None,
    trains: bool = False,
    seed: int = 0,
) -> CorpusRows:
    """A corpus as the ``data`` section of a recipe says.

    Args:
        source: a file, a folder, ``hub:…`` or texts in memory.
        settings: how it is read.
        columns: the column of the text; None for the settings'.
        split: of a data set or a folder.
        trains: whether it is trained on; ``data.limit`` then holds for it.
        seed: of the sentence pairs to train on.

    Raises:
        DataError: it is missing or cannot be read.
    """
    if isinstance(source, CorpusRows):
        return source if source.seed == seed else replace(source, seed=seed)
    columns = columns or ColumnNames(settings.text, header=settings.header)
    corpus = open_corpus(
        source,
        columns,
        encoding=settings.encoding,
        sentences=settings.sentences,
        normalize=settings.normalize,
        split=split,
        limit=settings.limit if trains else None,
    )
    return CorpusRows.of(corpus, columns, trains, seed)
