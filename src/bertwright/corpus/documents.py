"""Texts to pre-train on as a stream of documents, each a row of sentences: may be larger than memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from bertwright.corpus.corpus_files import Reader, Tally, of_datasets, of_path, of_tables
from bertwright.corpus.sentence_splitting import split_sentences
from bertwright.data.dataset import GUESS, ColumnNames
from bertwright.data.folders import corpus_part, is_saved_dataset
from bertwright.data.hf_datasets import is_datasets, one_split, stream_hub
from bertwright.data.in_memory import table_in_memory
from bertwright.data.normalize import Normalise
from bertwright.data.targets.rows import CLASS
from bertwright.errors import DataError
from bertwright.files.atomic import expand_home

SentenceMode = Literal["split", "lines"]
"""Whether lines are cut into sentences, or are sentences."""

AS_IS = Normalise()

READING = "1"
"""Part of every corpus's stamp; raise it when the same files give other documents."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text that hangs together.

    Attributes:
        sentences: at least one, in order, none of them blank.
        where: where it begins, for messages: ``wiki.txt:812``.
    """

    sentences: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class Corpus:
    """Documents to pre-train on; open one with :func:`open_corpus`. Reading it twice gives the same twice.

    Attributes:
        source: as the user named it.
        n_bytes: of its files, as they lie on disk; None where there are none.
        sentences: whether lines are cut into sentences.
        normalise: how every line is cleaned before.
        limit: how many documents are read; None for all.
        files: the files that are read, in order; none of a data set or texts in memory.
        notes: what was decided when it was opened, as sentences.
        settings: everything else that the documents depend on.
    """

    source: str
    n_bytes: int | None
    sentences: SentenceMode = "split"
    normalise: Normalise = AS_IS
    limit: int | None = None
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    settings: tuple[object, ...] = ()
    reader: Reader = field(repr=False, kw_only=True)

    def stamp(self) -> str | None:
        """What tells without reading that the documents are the same: the files' names, sizes and times of change.

        None where there are no files.
        """
        if not self.files:
            return None
        states = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        settings = (READING, self.source, self.sentences, self.normalise, self.limit, *self.settings)
        return ascii((settings, states))

    def documents(self, tally: Tally | None = None) -> Iterator[Document]:
        """The documents one by one; what is met is counted in ``tally``, if one is given.

        Raises:
            DataError: a file is not as it should be, with file and line; or there is no document.
        """
        tally = Tally() if tally is None else tally
        for note in self.notes:
            tally.note(note)
        for document in islice(self._read(tally), self.limit):
            tally.documents += 1
            tally.sentences += len(document.sentences)
            if self.n_bytes is None:
                tally.bytes_read += sum(map(len, document.sentences))
            yield document
        if not tally.documents:
            raise DataError(f"{self.source}: holds no text; is it the right one?")

    def _read(self, tally: Tally) -> Iterator[Document]:
        for where, paragraphs in self.reader(tally):
            lines = map(self.normalise.normalise, paragraphs) if self.normalise.active else paragraphs
            if self.sentences == "split":
                found = tuple(sentence for line in lines for sentence in split_sentences(line))
            else:
                found = tuple(stripped for line in lines if (stripped := line.strip()))
            if found:
                yield Document(found, where)
            else:
                tally.skipped["nothing left after cleaning"] += 1


def open_corpus(
    source: Any,
    columns: ColumnNames = GUESS,
    *,
    encoding: str = "utf-8",
    sentences: SentenceMode = "split",
    normalise: Normalise = AS_IS,
    split: str | None = None,
    limit: int | None = None,
) -> Corpus:
    """Texts to pre-train on, from files or from memory.

    Args:
        source: a file of plain text or a table, also gzipped; a folder, read with all below it; ``hub:NAME[/CONFIG]
            [:SPLIT]``; a list of texts, each a document, a DataFrame or a ``datasets`` object; or a corpus. Text and
            JSON-lines and Parquet files and data sets are read piece by piece, other tables whole.
        columns: the column of the text where there are several; guessed by name if not given.
        encoding: of the files.
        sentences: "split" cuts every line into sentences, "lines" takes each for one.
        normalise: how every line is cleaned before that.
        split: of a data set, or of a folder with a file for each.
        limit: read so many documents only.

    Raises:
        DataError: it is missing, empty, damaged, or has no column of text; with file and line.
        HubError: a data set cannot be brought.
        MissingDependencyError: a data set is named and ``datasets`` is not installed.
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
        reader = of_datasets(stream_hub(source, split), name, columns)
    elif isinstance(source, (str, os.PathLike)) and path.is_dir() and is_saved_dataset(path):
        reader = of_datasets(stream_hub(f"hub:{name}", split), name, columns)
    elif isinstance(source, (str, os.PathLike)):
        reader, files, notes = of_path(corpus_part(path, split) if path.is_dir() else path, columns, encoding)
    elif is_datasets(source):
        reader = of_datasets(one_split(source, name, split)[0], name, columns)
    else:
        table, columns = table_in_memory(source, columns, CLASS)
        reader = of_tables(lambda: iter([table]), columns)
    n_bytes = sum(file.stat().st_size for file in files) if files else None
    corpus = Corpus(name, n_bytes, sentences, normalise, limit, files, tuple(notes), (columns, encoding), reader=reader)
    next(corpus.documents())  # whatever is wrong with the first document is told now
    return corpus
