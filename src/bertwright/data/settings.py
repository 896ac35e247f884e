"""The ``data`` section of a recipe: where rows come from, and how they are read, split and cleaned."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from bertwright.config.sections import Location, MisfitError, Section
from bertwright.data.augment import Augment
from bertwright.data.cross_validation import parse_fold
from bertwright.data.dataset import ColumnNames
from bertwright.data.normalize import Normalise

LayoutName = Literal["sst2", "cola", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli", "ax", "aclimdb"]
Name = Annotated[str, Field(min_length=1)]


class DataSettings(Section):
    """Where the rows are and which of their columns mean what."""

    former_names: ClassVar[Mapping[str, str]] = {"layout": "format", "normalise": "normalize"}

    path: Location | None = Field(
        default=None,
        description="A folder that holds all splits (GLUE's, aclImdb's, or train, dev and test files), or "
        "hub:NAME[/CONFIG].",
    )
    train: Location | None = Field(
        default=None, description="Training rows: a file, a folder or hub:NAME[/CONFIG][:SPLIT]."
    )
    dev: Location | None = Field(
        default=None, description="Rows to evaluate on during training, given like data.train."
    )
    test: Location | None = Field(
        default=None, description="Rows to evaluate on once, at the end, given like data.train."
    )
    split_column: Name | None = Field(
        default=None,
        description="The column of data.train that says which split a row is in: train, validation (or dev), test.",
    )
    format: LayoutName | None = Field(
        default=None, description="The published layout of the files; null: recognised, else plain columns."
    )
    text: Name | None = Field(
        default=None,
        description="The column of the text, of the words (by number in column files, 0 the first) or of the question; "
        "null: guessed by its name, and reported.",
    )
    text_pair: Name | None = Field(
        default=None,
        description="The column of the second text of a pair, or of a question's context; null: guessed where text is.",
    )
    label: Name | Annotated[tuple[Name, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="The column of the label, or a list of 0/1 columns, one a label; of the tags (by number in column "
        "files, -1 the last) or of the answers; null: guessed, and reported.",
    )
    id: Name | None = Field(
        default=None, description="The column that identifies a row; null: guessed, else rows are numbered from 0."
    )
    header: bool = Field(
        default=True,
        description="Whether the first line of a .csv or .tsv file names its columns; false: they are numbered from 0.",
    )
    label_separator: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description='For multilabel: what separates the labels in a cell, such as "|"; null: inferred and reported.',
    )
    skip_labels: tuple[Name, ...] = Field(
        default=(), description='Labels that mean "no label", such as [-, "-1"]; their rows are skipped and counted.'
    )
    choices: Name | Annotated[tuple[Name, ...], Field(min_length=2)] | None = Field(
        default=None,
        description="For multiple choice: the column that holds lists of choices, or a list of columns with one choice "
        "each; null: inferred by name (choices, options, ending0 …, A …) and reported.",
    )
    first_choice: Literal[0, 1] | None = Field(
        default=None,
        description="For multiple choice: the number of the first choice in labels that are positions; null: 0, or 1 "
        "where only that fits all labels.",
    )
    encoding: str = Field(default="utf-8", description="How the files' text is encoded.")
    sentences: Literal["split", "lines"] = Field(
        default="split", description="Of a corpus: cut lines into sentences, or take each line for one."
    )
    limit: int | None = Field(default=None, ge=1, description="Read only the first N training rows, or documents.")
    dev_ratio: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the training rows kept for dev if none is given."
    )
    stratify: bool = Field(default=True, description="Keep each label's share the same on both sides of that split.")
    split_seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of that split, apart from the run's.")
    fold: str | None = Field(
        default=None,
        description='For cross-validation: take this part of the training rows as dev, such as "2/5"; named dev rows '
        "are not used.",
    )
    train_on_dev: bool = Field(
        default=False,
        description="Train on the dev rows too, once the settings are chosen; figures on dev then say nothing.",
    )
    normalize: Normalise = Field(
        default=Normalise(), description="How texts are cleaned, at training and again at prediction."
    )
    augment: Augment = Field(default=Augment(), description="Changed copies of training rows.")

    @field_validator("text", "text_pair", "label", "id", "choices", mode="before")
    @classmethod
    def _number_of_a_column(cls, column: Any) -> Any:
        if isinstance(column, list | tuple):
            return tuple(str(name) if type(name) is int else name for name in column)
        return str(column) if type(column) is int else column

    @field_validator("skip_labels", mode="before")
    @classmethod
    def _labels_are_strings(cls, labels: Any) -> Any:
        labels = labels if isinstance(labels, list | tuple) else (labels,)
        return tuple(str(label) if type(label) in (int, bool) else label for label in labels)

    @property
    def columns(self) -> ColumnNames:
        """The columns that are named, and how their labels are written."""
        return ColumnNames(
            self.text,
            self.text_pair,
            self.label,
            self.id,
            self.header,
            self.label_separator,
            self.skip_labels,
            self.choices,
            self.first_choice,
        )

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            codecs.lookup(encoding)
        except (LookupError, ValueError):
            raise ValueError(f'must be an encoding such as utf-8 or latin-1; found "{encoding}"') from None
        return encoding

    @field_validator("fold")
    @classmethod
    def _known_fold(cls, fold: str | None) -> str | None:
        if fold is not None:
            parse_fold(fold)
        return fold

    @model_validator(mode="after")
    def _fold_is_held_out(self) -> Self:
        if self.fold is not None and self.train_on_dev:
            raise MisfitError("train_on_dev", "has no place beside a fold, which is held out; leave one of them out")
        return self

    @model_validator(mode="after")
    def _one_source_is_split(self) -> Self:
        for key in ("path", "dev", "test", "format"):
            if self.split_column is not None and getattr(self, key) is not None:
                text = f"cannot be combined with data.{key}: it splits the rows of data.train; remove one"
                raise MisfitError("split_column", text, beside=key)
        return self

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        labels = self.label if isinstance(self.label, tuple) else (self.label,)
        taken: set[str] = set()
        choices = self.choices if isinstance(self.choices, tuple) else (self.choices,)
        columns = [("split_column", self.split_column), ("text", self.text), ("text_pair", self.text_pair)]
        for key, column in [
            *columns,
            *(("label", each) for each in labels),
            *(("choices", each) for each in choices),
        ]:
            if column in taken:
                raise MisfitError(key, f'names the column "{column}", which is taken already; each column has one use')
            taken |= {column} if column else set()
        if self.text_pair and not self.text and not self.format:
            raise MisfitError("text_pair", f'is "{self.text_pair}", but no first text is named; set data.text too')
        return self
