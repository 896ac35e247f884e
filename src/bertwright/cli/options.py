"""What the options of a command amount to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bertwright.errors import BertwrightError, RecipeError

if TYPE_CHECKING:
    from bertwright.data.dataset import ColumnNames
    from bertwright.recipe import Recipe
    from bertwright.run.bundle import Bundle

OPTIONS = {
    "data.text_pair": "--text-pair",
    "data.text": "--text",
    "data.label": "--label",
    "data.header=false": "--no-header",
    "data.encoding": "--encoding",
    "train.device": "--device",
    "train.threads": "--threads",
}
"""The options of commands that have no recipe, by the key they stand for."""


@dataclass(frozen=True)
class RecipeOptions:
    """Options that are mere spellings of settings."""

    model: str | None = None
    data: str | None = None
    dev: str | None = None
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    task: str | None = None

    def pairs(self) -> list[str]:
        """The settings as ``key=value``."""
        from bertwright.config.yaml_tree import dump_scalar

        whole = self.data is not None and not self.data.startswith("hub:") and Path(self.data).is_dir()
        label: str | list[str] | None = self.label
        if self.label is not None and "," in self.label:
            label = [name.strip() for name in self.label.split(",")]
        values = {
            "model.base": self.model,
            "data.path" if whole else "data.train": self.data,
            "data.dev": self.dev,
            "data.text": self.text,
            "data.text_pair": self.text_pair,
            "data.label": label,
            "task.kind": None if self.task is None else str(self.task),
        }
        return [f"{key}={dump_scalar(value)}" for key, value in values.items() if value is not None]


def recipe_of(words: Sequence[str], spellings: RecipeOptions) -> Recipe:
    """The recipe that a command's words and options say.

    Raises:
        RecipeError: two recipes are named, or one sentence for each thing that is wrong in it.
    """
    from bertwright.recipe import load_recipe

    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise RecipeError(
            f"{names[1]}: a second recipe beside {names[0]}; name one, and settings as key=value such as "
            "train.batch_size=16."
        )
    settings = [word for word in words if "=" in word]
    return load_recipe(names[0] if names else None, [*spellings.pairs(), *settings])


@dataclass(frozen=True)
class DataOptions:
    """Which rows to read, and how.

    Attributes:
        source: a file, a folder, ``hub:…``, or ``-`` for standard input.
        text: the column of the text; None for the one the model was trained on, or a guess.
        text_pair: the column of the second text.
        label: the column of the label; several 0/1 columns with commas between them.
        encoding: of text files.
        header: whether the first line of a delimited file names its columns; None for what it was in training.
    """

    source: str
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    encoding: str = "utf-8"
    header: bool | None = None

    @property
    def columns(self) -> ColumnNames | None:
        """The columns named; None if none is."""
        from bertwright.data.dataset import ColumnNames

        label = tuple(self.label.split(",")) if self.label and "," in self.label else self.label
        named = ColumnNames(self.text, self.text_pair, label)
        return None if named == ColumnNames() else named


@dataclass(frozen=True)
class ComputeOptions:
    """What to compute with."""

    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    allow_code: bool = False

    def open(self, name: str) -> Bundle:
        """The bundle of that name, on the device.

        Raises:
            BertwrightError: it is none, or the machine has no such device.
        """
        from bertwright.run.bundle import Bundle
        from bertwright.training.compute import choose_compute, set_threads

        compute = choose_compute(self.device, self.precision, self.threads)
        set_threads(compute)
        return Bundle.load(name, compute=compute, allow_code=self.allow_code)


@dataclass(frozen=True)
class OutputOptions:
    """Where predictions go.

    Attributes:
        output: a file, ``-`` for standard output, None for a table to look at.
        format: csv, tsv, jsonl or parquet; None for what the file's name says.
        overwrite: whether a file that exists is replaced.
        submission: the folder of GLUE's submission files, instead.
    """

    output: str | None = None
    format: str | None = None
    overwrite: bool = False
    submission: Path | None = None


@contextmanager
def in_options() -> Iterator[None]:
    """Let errors name a command's options where they would name a recipe's keys.

    Raises:
        BertwrightError: the same, reworded.
    """
    try:
        yield
    except BertwrightError as error:
        raise type(error)(*map(reworded, error.sentences)) from error


def reworded(text: str) -> str:
    """A message with options for keys.

    >>> reworded("text: inferred to be review (data.text=… overrides it)")
    'text: inferred to be review (--text … overrides it)'
    """
    for key, option in OPTIONS.items():
        text = text.replace(f"{key}=", f"{option} ").replace(key, option)
    return text
