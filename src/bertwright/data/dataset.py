"""Data sets: the rows of a source as examples, and a report of how they were read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, overload

from bertwright.data.example import Answer, Example, Target


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """Which columns of a source hold what; None means: infer from usual names, and report it.

    Attributes:
        text: the text, or the first text of a pair.
        text_pair: the second text of a pair. Never inferred if ``text`` is given.
        label: the column of the target; for multi-label several 0/1 columns, or one that holds lists.
            An empty tuple means: read no target.
        id: the identifiers of the rows.
        header: whether the first line of a delimited file names its columns; if not, they are numbered from 0.
        label_separator: what separates the labels of a delimited list; None infers it.
        skip_labels: values of the label column that mean "no label"; their rows are skipped and counted.
        choices: the column of lists of choices, or the columns of one choice each, for multiple choice.
        first_choice: the number that labels give the first choice, 0 or 1; None infers it.
    """

    text: str | None = None
    text_pair: str | None = None
    label: str | tuple[str, ...] | None = None
    id: str | None = None
    header: bool = True
    label_separator: str | None = None
    skip_labels: tuple[str, ...] = ()
    choices: str | tuple[str, ...] | None = None
    first_choice: int | None = None


INFER_COLUMNS: Final = ColumnNames()
"""No column is named: all are inferred."""


@dataclass(frozen=True)
class ReadReport:
    """How a source was read; reports everything that was skipped, inferred or changed.

    Attributes:
        source: the source as the user named it.
        n_rows: how many rows became examples.
        skipped: how many rows did not, by reason.
        columns: the columns used, including inferred ones; None for those that do not exist.
        inferred: the fields of ``columns`` that were inferred.
        notes: other information for the user, as sentences.
        warnings: signs that the source may not have been read as intended, as sentences.
        fingerprint: SHA-256 (hexadecimal) of ids, texts and targets of all rows read, so equal rows
            have equal fingerprints whichever format they came in.
        layout: the published layout of the source, such as ``sst2``.
        split: the split of the layout or data set.
    """

    source: str
    n_rows: int
    skipped: Mapping[str, int] = field(default_factory=dict)
    columns: ColumnNames = INFER_COLUMNS
    inferred: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    layout: str | None = None
    split: str | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, ready for JSON."""
        return asdict(self)

    def inferences(self) -> list[str]:
        """The columns that were inferred, as sentences; without those whose names are the usual ones."""
        sentences = []
        for name in self.inferred:
            columns = getattr(self.columns, name)
            shown = columns if isinstance(columns, str) else ", ".join(columns)
            if shown.strip().lower() != name:
                sentences.append(f"{name}: inferred to be {shown} (data.{name}=… overrides it)")
        return sentences

    def remarks(self) -> list[tuple[str, bool]]:
        """Information besides the row count: sentences, and whether they are warnings."""
        skipped = [f"{count:,} rows skipped: {reason}" for reason, count in self.skipped.items()]
        notes = [(text, False) for text in (*skipped, *self.inferences(), *self.notes)]
        return [*notes, *((text, True) for text in self.warnings)]

    def lines(self) -> list[str]:
        """The report as sentences, the row count first."""
        return [f"{self.source}: {self.n_rows:,} rows", *(text for text, _ in self.remarks())]


@dataclass(frozen=True)
class Dataset(Sequence[Example]):
    """The examples of one source, in its order, with the report of how they were read.

    Attributes:
        examples: one per row; a slice of a Dataset is a Dataset with the same report.
        report: how the source was read.
        labels: the labels in the order the source itself declares (published order of a benchmark,
            class names of a Hub data set, 0/1 columns in file order); None where it declares none.
    """

    examples: Sequence[Example]
    report: ReadReport
    labels: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Example | Dataset:
        if isinstance(index, slice):
            return Dataset(self.examples[index], self.report, self.labels)
        return self.examples[index]

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def take(self, indexes: Iterable[int]) -> Dataset:
        """The rows at these places, in this order, under the same report."""
        return Dataset([self.examples[i] for i in indexes], self.report, self.labels)

    def lines(self) -> list[str]:
        """How they were read, as sentences."""
        return self.report.lines()

    @property
    def targets(self) -> list[Target | None]:
        """The target of each row."""
        return [example.target for example in self.examples]

    def label_names(self) -> tuple[str, ...]:
        """The labels of a classification or multi-label source, or the tags: as it declares them, else sorted.

        Labels that are all whole numbers are sorted as numbers, so "10" comes after "9".
        """
        if self.labels is not None:
            return self.labels
        labels = {label for target in set(self.targets) for label in labels_of(target)}
        numeric = all(label.removeprefix("-").isdecimal() for label in labels)
        return tuple(sorted(labels, key=lambda label: (int(label), label)) if numeric else sorted(labels))


def labels_of(target: Target | None) -> tuple[str, ...]:
    """The labels or tags that a target holds: one, several, or none, as of a number or of answers.

    >>> labels_of("positive"), labels_of(("O", "B-PER")), labels_of(2.5)
    (('positive',), ('O', 'B-PER'), ())
    """
    if isinstance(target, str):
        return (target,)
    return tuple(item for item in target if isinstance(item, str)) if isinstance(target, tuple) else ()


def answers_of(target: Target | None) -> tuple[Answer, ...]:
    """The answers that a target holds; none of any other kind of target."""
    return tuple(item for item in target if isinstance(item, Answer)) if isinstance(target, tuple) else ()


def fingerprint(examples: Iterable[Example]) -> str:
    """SHA-256 over ids, texts and targets; the same on any platform and Python version.

    ``ascii`` and not ``repr``: which characters ``repr`` escapes changes with the Unicode tables of Python.
    """
    digest = hashlib.sha256()
    for example in examples:
        more = tuple(extra for extra in (example.words, example.choices) if extra is not None)
        digest.update(ascii((example.id, example.text, example.text_pair, example.target, *more)).encode())
    return digest.hexdigest()
