"""``Corpus``: pre-training texts as a stream of documents, each a list of sentences; may be larger than memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from bertwright.corpus.corpus_files import CorpusStatistics, DocumentReader, dataset_reader, path_reader, table_reader
from bertwright.corpus.sentence_splitting import split_sentences
from bertwright.data.dataset import INFER_COLUMNS, ColumnNames
from bertwright.data.folders import find_corpus_split, is_saved_dataset
from bertwright.data.hf_datasets import is_datasets, select_split, stream_hub
from bertwright.data.in_memory import table_in_memory
from bertwright.data.normalize import NormalizationSettings
from bertwright.data.targets.rows import CLASS
from bertwright.errors import DataError
from bertwright.files.atomic import expand_home

SentenceMode = Literal["split", "lines"]
"""Whether lines are split into sentences, or each line is a sentence."""

NO_CHANGES = NormalizationSettings()

READER_VERSION = "1"
"""Part of every file stamp; increase it when the same files give different documents."""


@dataclass(frozen=True, slots=True)
class Document:
    """A coherent text.

    Attributes:
        sentences: at least one sentence, in order, none of them blank.
        where: where the document begins, for messages: ``wiki.txt:812``.
    """

    sentences: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class Corpus:
    """Documents for pre-training; create it with :func:`open_corpus`. Every iteration reads the same documents again.

    Attributes:
        source: the source, as the user named it.
        n_bytes: size of its files on disk; None without files.
        sentences: whether lines are split into sentences.
        normalize: normalization of every line before that.
        limit: maximum number of documents; None for all.
        files: the files to read, in order; empty for data sets and texts in memory.
        notes: sentences about choices made when the corpus was opened.
        settings: all other settings that the documents depend on.
    """

    source: str
    n_bytes: int | None
    sentences: SentenceMode = "split"
    normalize: NormalizationSettings = NO_CHANGES
    limit: int | None = None
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    settings: tuple[object, ...] = ()
    reader: DocumentReader = field(repr=False, kw_only=True)

    def file_stamp(self) -> str | None:
        """A text that identifies the documents without reading them: names, sizes and modification times of the files.

        None without files.
        """
        if not self.files:
            return None
        states = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        settings = (READER_VERSION, self.source, self.sentences, self.normalize, self.limit, *self.settings)
        return ascii((settings, states))

    def documents(self, statistics: CorpusStatistics | None = None) -> Iterator[Document]:
        """Iterate over the documents; count what is read in ``statistics``, if given.

        Raises:
            DataError: a file is damaged (the message has file and line), or there is no document.
        """
        statistics = CorpusStatistics() if statistics is None else statistics
        for note in self.notes:
            statistics.add_note(note)
        for document in islice(self._read(statistics), self.limit):
            statistics.documents += 1
            statistics.sentences += len(document.sentences)
            if self.n_bytes is None:
                statistics.bytes_read += sum(map(len, document.sentences))
            yield document
        if not statistics.documents:
            raise DataError(f"{self.source}: has no text; check that it is the right file or data set.")

    def _read(self, statistics: CorpusStatistics) -> Iterator[Document]:
        for where, paragraphs in self.reader(statistics):
            lines = map(self.normalize.normalize, paragraphs) if self.normalize.is_active else paragraphs
            if self.sentences == "split":
                sentences = tuple(sentence for line in lines for sentence in split_sentences(line))
            else:
                sentences = tuple(stripped for line in lines if (stripped := line.strip()))
            if sentences:
                yield Document(sentences, where)
            else:
                statistics.skipped["empty after normalization"] += 1


def open_corpus(
    source: Any,
    columns: ColumnNames = INFER_COLUMNS,
    *,
    encoding: str = "utf-8",
    sentences: SentenceMode = "split",
    normalize: NormalizationSettings = NO_CHANGES,
    split: str | None = None,
    limit: int | None = None,
) -> Corpus:
    """Open texts for pre-training, from files or from memory.

    Args:
        source: a plain text file or a table, optionally gzipped; a folder, read recursively;
            ``hub:NAME[/CONFIG][:SPLIT]``;
            a list of texts, one document each, a DataFrame or a ``datasets`` object; or a corpus. Text, JSON Lines and
            Parquet files and data sets are streamed, other tables are read into memory.
        columns: the text column, if there are several; inferred from the names by default.
        encoding: the encoding of the files.
        sentences: "split" splits every line into sentences, "lines" takes each line as a sentence.
        normalize: normalization of every line before that.
        split: the split of a data set, or of a folder with one file per split.
        limit: maximum number of documents.

    Raises:
        DataError: the source is missing, empty or damaged, or has no text column; the message has file and line.
        HubError: a data set cannot be downloaded.
        MissingDependencyError: the source is a data set and ``datasets`` is not installed.
    """
    if isinstance(source, Corpus):
        return source
    files: tuple[Path, ...] = ()
    notes: list[str] = []
    if isinstance(source, (str, os.PathLike)):
        source = expand_home(source)
    name = source if isinstance(source, str) else type(source).__name__
    path = Path(name)
    if isinstance(source, str) and source.startswith("hub:"):
        reader = dataset_reader(stream_hub(source, split), name, columns)
    elif isinstance(source, (str, os.PathLike)) and path.is_dir() and is_saved_dataset(path):
        reader = dataset_reader(stream_hub(f"hub:{name}", split), name, columns)
    elif isinstance(source, (str, os.PathLike)):
        reader, files, notes = path_reader(find_corpus_split(path, split) if path.is_dir() else path, columns, encoding)
    elif is_datasets(source):
        reader = dataset_reader(select_split(source, name, split)[0], name, columns)
    else:
        table, columns = table_in_memory(source, columns, CLASS)
        reader = table_reader(lambda: iter([table]), columns)
    n_bytes = sum(file.stat().st_size for file in files) if files else None
    corpus = Corpus(name, n_bytes, sentences, normalize, limit, files, tuple(notes), (columns, encoding), reader=reader)
    next(corpus.documents())  # report an error in the first document now
    return corpus
