"""Splits of a corpus, which are tokenized to a token store and not kept as examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from bertwright.corpus.documents import Corpus, open_corpus
from bertwright.corpus.token_store import TokenStore, build_store
from bertwright.data.dataset import ColumnNames, ReadReport
from bertwright.data.example import Example
from bertwright.data.settings import DataSettings
from bertwright.errors import DataError
from bertwright.tokenization.tokenizer import Tokenizer

Progress = Callable[[int, int | None], None]


@dataclass
class _Source:
    """A corpus and its token stores by tokenizer; each is built once for all splits of the corpus."""

    corpus: Corpus
    stores: dict[str, TokenStore] = field(default_factory=dict)


@dataclass(frozen=True)
class CorpusSplit:
    """A split of a corpus: all of it, its training part, or the documents held out at its end.

    Pre-training uses it instead of a :class:`~bertwright.data.dataset.Dataset`. It has no examples.

    Attributes:
        source: the corpus.
        report: how it is read.
        share: share of the documents that is held out; 0 if the split is the whole corpus.
        held_out: whether this is the part that is held out.
        trains: whether the split is for training.
        first: use only the first N documents of the split; None: all.
        seed: of the sentence pairs to train on; pairs to evaluate on are the same in every run, so that runs compare.
    """

    source: _Source
    report: ReadReport
    share: float = 0.0
    held_out: bool = False
    trains: bool = False
    seed: int = 0
    first: int | None = None

    @classmethod
    def of(cls, corpus: Corpus, columns: ColumnNames, trains: bool = False, seed: int = 0) -> Self:
        """The whole corpus."""
        report = ReadReport(corpus.source, 0, columns=columns)
        return cls(_Source(corpus), report, trains=trains, seed=seed)

    @property
    def examples(self) -> tuple[Example, ...]:
        """None: documents are tokenized as they are read, and not kept."""
        return ()

    @property
    def labels(self) -> None:
        """None: a corpus has no labels."""
        return

    def split(self, share: float) -> tuple[Self, Self]:
        """Split into a training part and the last documents, which are held out."""
        return replace(self, share=share), replace(self, share=share, held_out=True, trains=False)

    def take_first(self, n: int) -> Self:
        """The first N documents of the split."""
        return replace(self, first=n)

    def store(self, tokenizer: Tokenizer, on_progress: Progress | None = None, on_note: Any = None) -> TokenStore:
        """Return the tokens of the split; the first call tokenizes the corpus, unless the disk cache has it.

        Raises:
            DataError: the corpus cannot be read, or has too few documents.
        """
        key = tokenizer.fingerprint
        if key not in self.source.stores:
            corpus = self.source.corpus
            self.source.stores[key] = build_store(corpus, tokenizer, on_progress=on_progress, on_note=on_note)
        store = self.source.stores[key]
        try:
            part = store.split_off(self.share)[self.held_out] if self.share else store
            return part if self.first is None else part.take_first(self.first)
        except DataError as error:
            raise DataError(f"{self.report.source}: {str(error).partition(': ')[2]}") from None

    @property
    def n_bytes(self) -> int | None:
        """Size of the corpus files in bytes; None for texts in memory."""
        return self.source.corpus.n_bytes


def open_corpus_split(
    source: Any,
    settings: DataSettings,
    columns: ColumnNames | None = None,
    split: str | None = None,
    trains: bool = False,
    seed: int = 0,
) -> CorpusSplit:
    """Open a corpus by the ``data`` section of a recipe.

    Args:
        source: a file, a folder, ``hub:…``, texts in memory, or a corpus split that is open already.
        settings: of the recipe.
        columns: the column of the text; None for the settings'.
        split: name of the split in a data set or a folder.
        trains: whether the split is for training; ``data.limit`` applies to training only.
        seed: of the sentence pairs to train on.

    Raises:
        DataError: the corpus is missing or cannot be read.
    """
    if isinstance(source, CorpusSplit):
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
    return CorpusSplit.of(corpus, columns, trains, seed)
