"""Groups of options that several commands share, and the recipe, columns and model that they select."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bertwright.cli.arguments import (
    AllowCode,
    ComputePrecision,
    Dev,
    Device,
    Encoding,
    Engine,
    EngineKind,
    EvaluationData,
    Header,
    Host,
    Label,
    LogRequests,
    MaxBatchTokens,
    MaxBody,
    MaxInputs,
    MaxQueue,
    MaxWait,
    Model,
    Port,
    Precision,
    Task,
    Text,
    TextPair,
    Threads,
    Timeout,
    TrainingData,
)
from bertwright.errors import BertwrightError, OutputError, RecipeError
from bertwright.serving.settings import ServingSettings

if TYPE_CHECKING:
    from bertwright.data.dataset import ColumnNames
    from bertwright.recipe import Recipe
    from bertwright.run.bundle import Bundle

OPTION_OF_KEY = {
    "data.text_pair": "--text-pair",
    "data.text": "--text",
    "data.label": "--label",
    "data.header=false": "--no-header",
    "data.encoding": "--encoding",
    "train.device": "--device",
    "train.threads": "--threads",
}
"""Recipe key → the option with the same meaning in commands that take no recipe."""


@dataclass(frozen=True)
class RecipeOptions:
    """Options that are shortcuts for recipe settings."""

    model: Model = None
    data: TrainingData = None
    dev: Dev = None
    text: Text = None
    text_pair: TextPair = None
    label: Label = None
    task: Task = None

    def pairs(self) -> list[str]:
        """Return the settings as ``key=value``."""
        from bertwright.config.yaml_tree import dump_scalar

        is_folder = self.data is not None and not self.data.startswith("hub:") and Path(self.data).is_dir()
        label: str | list[str] | None = self.label
        if self.label is not None and "," in self.label:
            label = [name.strip() for name in self.label.split(",")]
        values = {
            "model.base": self.model,
            "data.path" if is_folder else "data.train": self.data,
            "data.dev": self.dev,
            "data.text": self.text,
            "data.text_pair": self.text_pair,
            "data.label": label,
            "task.kind": None if self.task is None else str(self.task),
        }
        return [f"{key}={dump_scalar(value)}" for key, value in values.items() if value is not None]


def load_command_recipe(words: Sequence[str], options: RecipeOptions) -> Recipe:
    """Load the recipe that the arguments and options of a command describe.

    Raises:
        RecipeError: the arguments name two recipes, or the recipe has errors (one sentence for each).
    """
    from bertwright.recipe import load_recipe

    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise RecipeError(
            f"{names[1]}: the command already has the recipe {names[0]}; give one recipe, and settings as key=value, "
            "for example train.batch_size=16."
        )
    settings = [word for word in words if "=" in word]
    return load_recipe(names[0] if names else None, [*options.pairs(), *settings])


@dataclass(frozen=True)
class DataOptions:
    """The data to read, its columns and its file format.

    Attributes:
        data: a file, a folder, ``hub:…``, or ``-`` for standard input.
        text: the column of the text; None: the column that the model was trained on, or an inferred one.
        text_pair: the column of the second text.
        label: the column of the label; several 0/1 columns are separated by commas.
        encoding: the character encoding of text files.
        header: whether the first line of a delimited file holds column names; None: as in training.
    """

    data: EvaluationData
    text: Text = None
    text_pair: TextPair = None
    label: Label = None
    encoding: Encoding = "utf-8"
    header: Header = None

    @property
    def columns(self) -> ColumnNames | None:
        """The columns that the options name; None if they name none."""
        from bertwright.data.dataset import ColumnNames

        label = tuple(self.label.split(",")) if self.label and "," in self.label else self.label
        names = ColumnNames(self.text, self.text_pair, label)
        return None if names == ColumnNames() else names


@dataclass(frozen=True)
class InputOptions(DataOptions):
    """The rows to predict.

    Attributes:
        format: csv, tsv, jsonl or parquet; None: the suffix decides, and standard input has one text per line.
    """

    format: str | None = None


@dataclass(frozen=True)
class ComputeOptions:
    """The device, precision, threads and engine of evaluation and prediction."""

    device: Device = "auto"
    precision: ComputePrecision = Precision.fp32
    threads: Threads = None
    engine: Engine = EngineKind.torch
    allow_code: AllowCode = False

    def open(self, name: str) -> Bundle:
        """Load a model onto the device.

        Raises:
            BertwrightError: the name is not a model, or the machine has no such device.
        """
        from bertwright.output.progress import print_note, stderr_console
        from bertwright.run.bundle import Bundle
        from bertwright.training.compute import choose_compute, set_threads

        device = "cpu" if self.device == "auto" and self.engine != EngineKind.torch else self.device
        compute = choose_compute(device, self.precision, self.threads)
        set_threads(compute)
        return Bundle.load(
            name,
            compute=compute,
            allow_code=self.allow_code,
            engine=self.engine.value,
            on_note=partial(print_note, stderr_console()),
        )


@dataclass(frozen=True)
class OutputOptions:
    """Where predictions are written.

    Attributes:
        output: a file, ``-`` for standard output, None for a table on the terminal.
        format: csv, tsv, jsonl, parquet, conll or json; None: the suffix of the file decides.
        overwrite: whether an existing file is replaced.
        submission: the folder for GLUE submission files, instead of ``output``.
        uncertainty: whether entropy and margin of each prediction are added.
    """

    output: str | None = None
    format: str | None = None
    overwrite: bool = False
    submission: Path | None = None
    uncertainty: bool = False


@dataclass(frozen=True)
class ServerOptions:
    """The address and the limits of a server."""

    port: Port = 8000
    host: Host = "127.0.0.1"
    max_body: MaxBody = ServingSettings.max_body_bytes
    max_inputs: MaxInputs = ServingSettings.max_inputs
    max_queue: MaxQueue = ServingSettings.max_queue
    max_batch_tokens: MaxBatchTokens = ServingSettings.max_batch_tokens
    max_wait: MaxWait = ServingSettings.max_wait_ms
    timeout: Timeout = ServingSettings.timeout_seconds
    log_requests: LogRequests = True

    @property
    def settings(self) -> ServingSettings:
        """The limits and the batching.

        Raises:
            BertwrightError: the limits exclude each other.
        """
        return ServingSettings(
            max_body_bytes=self.max_body,
            max_inputs=self.max_inputs,
            max_queue=self.max_queue,
            timeout_seconds=self.timeout,
            max_batch_tokens=self.max_batch_tokens,
            max_wait_ms=self.max_wait,
        )


@contextmanager
def errors_name_options() -> Iterator[None]:
    """Replace recipe keys in error messages by the options of commands that take no recipe.

    Raises:
        BertwrightError: the original error with the new text.
    """
    try:
        yield
    except BertwrightError as error:
        raise type(error)(*map(name_options, error.sentences)) from error


def name_options(text: str) -> str:
    """Replace recipe keys in a message by options.

    >>> name_options("text: inferred to be review (data.text=… overrides it)")
    'text: inferred to be review (--text … overrides it)'
    """
    for key, option in OPTION_OF_KEY.items():
        text = text.replace(f"{key}=", f"{option} ").replace(key, option)
    return text


def check_html_target(file: Path | None) -> None:
    """Check that the value of ``--html`` is the name of a file.

    Raises:
        OutputError: it is a directory or ``-``.
    """
    if file is not None and (file.is_dir() or str(file) == "-"):
        raise OutputError(f"{file}: is {'a directory' if file.is_dir() else 'no file'}; give --html a file name.")


def check_json_target(file: str | None) -> None:
    """Check that the value of ``--json`` is not a directory.

    Raises:
        OutputError: it is a directory.
    """
    if file not in (None, "-") and Path(file).is_dir():
        raise OutputError(f"{file}: is a directory; give --json a file name.")
