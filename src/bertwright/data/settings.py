"""Settings of the data (``data``): sources, columns, splits, normalization and augmentation."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from bertwright.config.sections import InvalidSettingError, Location, Section
from bertwright.data.augment import AugmentationSettings
from bertwright.data.cross_validation import parse_fold
from bertwright.data.dataset import ColumnNames
from bertwright.data.normalize import NormalizationSettings

LayoutName = Literal["sst2", "cola", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli", "ax", "aclimdb"]
Name = Annotated[str, Field(min_length=1)]


class DataSettings(Section):
    """The data: where rows are, and which columns have which role."""

    former_names: ClassVar[Mapping[str, str]] = {"layout": "format", "normalise": "normalize"}

    path: Location | None = Field(
        default=None,
        description="Folder with all splits (GLUE, aclImdb, or train, dev and test files), or hub:NAME[/CONFIG].",
    )
    train: Location | None = Field(
        default=None, description="Training rows: a file, a folder or hub:NAME[/CONFIG][:SPLIT]."
    )
    dev: Location | None = Field(
        default=None, description="Validation rows for evaluation during training; values as for data.train."
    )
    test: Location | None = Field(
        default=None, description="Test rows for one evaluation after training; values as for data.train."
    )
    split_column: Name | None = Field(
        default=None,
        description="Column of data.train with the split of each row: train, validation (or dev), test.",
    )
    format: LayoutName | None = Field(
        default=None, description="Published format of the files; null: detect it, otherwise read plain columns."
    )
    text: Name | None = Field(
        default=None,
        description="Column of the text, of the words (in column files a number, from 0) or of the question; null: "
        "infer it from the name and report it.",
    )
    text_pair: Name | None = Field(
        default=None,
        description="Column of the second text of a pair, or of a question's context; null: infer it with text.",
    )
    label: Name | Annotated[tuple[Name, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Column of the label, or a list of 0/1 columns, one per label; column of the tags (in column files "
        "a number, -1 for the last) or of the answers; null: infer it and report it.",
    )
    id: Name | None = Field(
        default=None, description="Column that identifies a row; null: infer it, otherwise number the rows from 0."
    )
    header: bool = Field(
        default=True,
        description="Whether the first line of a .csv or .tsv file is a header; false: columns are numbered from 0.",
    )
    label_separator: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description='Multilabel: separator of the labels in a cell, such as "|"; null: infer it and report it.',
    )
    skip_labels: tuple[Name, ...] = Field(
        default=(),
        description='Labels that mean "no label", such as [-, "-1"]; rows with them are skipped and counted.',
    )
    choices: Name | Annotated[tuple[Name, ...], Field(min_length=2)] | None = Field(
        default=None,
        description="Multiple choice: column of lists of choices, or a list of columns with one choice each; null: "
        "infer them from names (choices, options, ending0 …, A …) and report it.",
    )
    first_choice: Literal[0, 1] | None = Field(
        default=None,
        description="Multiple choice: number of the first choice in labels that are positions; null: 0, or 1 if only "
        "that fits all labels.",
    )
    encoding: str = Field(default="utf-8", description="Text encoding of the files.")
    sentences: Literal["split", "lines"] = Field(
        default="split", description="Pre-training: split lines into sentences, or take each line as a sentence."
    )
    limit: int | None = Field(
        default=None, ge=1, description="Use only the first N training rows (documents, for a corpus)."
    )
    train_rows: int | None = Field(
        default=None,
        ge=1,
        description="Train on N rows drawn at random after the validation split, stratified if data.stratify is set; "
        "they depend on seed, and a smaller N gives a subset. For a corpus: the first N documents.",
    )
    dev_ratio: float = Field(
        default=0.2, gt=0, lt=1, description="Share of training rows for the validation split if data.dev is not set."
    )
    stratify: bool = Field(default=True, description="Stratify the validation split by label.")
    split_seed: int = Field(
        default=0, ge=0, lt=2**32, description="Random seed of the validation split; independent of seed."
    )
    fold: str | None = Field(
        default=None,
        description='Cross-validation: use this fold of the training rows for validation, such as "2/5"; data.dev is '
        "ignored.",
    )
    train_on_dev: bool = Field(
        default=False,
        description="Also train on the validation rows once settings are chosen; their metrics are then meaningless.",
    )
    normalize: NormalizationSettings = Field(
        default=NormalizationSettings(), description="Text normalization, in training and prediction."
    )
    augment: AugmentationSettings = Field(
        default=AugmentationSettings(), description="Data augmentation of training rows."
    )

    @field_validator("text", "text_pair", "label", "id", "choices", mode="before")
    @classmethod
    def _convert_column_numbers(cls, column: Any) -> Any:
        if isinstance(column, list | tuple):
            return tuple(str(name) if type(name) is int else name for name in column)
        return str(column) if type(column) is int else column

    @field_validator("skip_labels", mode="before")
    @classmethod
    def _convert_labels(cls, labels: Any) -> Any:
        labels = labels if isinstance(labels, list | tuple) else (labels,)
        return tuple(str(label) if type(label) in (int, bool) else label for label in labels)

    @property
    def columns(self) -> ColumnNames:
        """The named columns, and how their labels are written."""
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
    def _check_encoding(cls, encoding: str) -> str:
        try:
            codecs.lookup(encoding)
        except (LookupError, ValueError):
            raise ValueError(f'must be an encoding such as utf-8 or latin-1; found "{encoding}"') from None
        return encoding

    @field_validator("fold")
    @classmethod
    def _check_fold(cls, fold: str | None) -> str | None:
        if fold is not None:
            parse_fold(fold)
        return fold

    @model_validator(mode="after")
    def _check_train_on_dev(self) -> Self:
        if self.fold is not None and self.train_on_dev:
            raise InvalidSettingError("train_on_dev", "cannot be combined with data.fold; remove one of them")
        return self

    @model_validator(mode="after")
    def _check_split_column(self) -> Self:
        for key in ("path", "dev", "test", "format"):
            if self.split_column is not None and getattr(self, key) is not None:
                text = f"cannot be combined with data.{key}: it splits the rows of data.train; remove one"
                raise InvalidSettingError("split_column", text, related=key)
        return self

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        labels = self.label if isinstance(self.label, tuple) else (self.label,)
        used: set[str] = set()
        choices = self.choices if isinstance(self.choices, tuple) else (self.choices,)
        columns = [("split_column", self.split_column), ("text", self.text), ("text_pair", self.text_pair)]
        for key, column in [
            *columns,
            *(("label", each) for each in labels),
            *(("choices", each) for each in choices),
        ]:
            if column in used:
                raise InvalidSettingError(
                    key, f'uses column "{column}", which another setting uses; name another column'
                )
            used |= {column} if column else set()
        if self.text_pair and not self.text and not self.format:
            raise InvalidSettingError(
                "text_pair", f'is "{self.text_pair}", but no first text is named; set data.text too'
            )
        return self
