"""The report of a run: metrics, tables, speed, data and environment; saved as ``report.json``, printed as tables."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from bertwright.errors import BundleError
from bertwright.files.atomic import expand_home, write_atomically
from bertwright.files.strict_json import to_json
from bertwright.metrics import METRICS
from bertwright.recipe import Recipe, task_types
from bertwright.tasks.wording import TaskWording

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from bertwright.tasks.spec import EvaluationResult

FILE_NAME = "report.json"

FORMAT = 1
"""Version of the format; it increases when programs for earlier versions would misread the file."""

MOST_LABELS_SHOWN = 20
"""With more labels than this, the table per label is only in the file."""

MOST_OF_LABEL = 30
"""Maximum width of a label in the table per label, so that the numbers fit into 80 columns."""

Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A number that may be nan, which JSON writes as null."""

Values = dict[str, dict[str, Number]]
"""split → metric → value; nan where the metric is undefined."""


class Evaluation(BaseModel):
    """The metrics of one evaluation during training."""

    model_config = ConfigDict(frozen=True, extra="allow")

    step: int
    epoch: float | None = None
    metrics: dict[str, Number] = {}

    @property
    def losses(self) -> tuple[float | None, float | None]:
        """Training loss since the previous evaluation, and validation loss; None in reports of earlier versions."""
        extra = self.model_extra or {}
        return extra.get("train_loss"), extra.get("validation_loss")


def _check_counts(data: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for split, values in data.items():
        for key in DATA_WORDS:
            if not isinstance(values.get(key, 0), Real | None):
                raise ValueError(f"{key} of {split} must be a number; found {values[key]!r}")
    return data


class Report(BaseModel):
    """The report of a run. Keys of the dictionaries named "split" are dev, test, dev_mismatched and so on.

    Attributes:
        format: of the file.
        name: of the run.
        task: the kind of task.
        labels: in the order of the rows and columns of ``confusion``.
        seed: random seed of the run.
        metrics: split → metric → value; nan where undefined.
        intervals: split → metric → (low, high), 95 % bootstrap.
        baseline: split → metric → the value reached by the majority-class baseline.
        per_class: split → label → precision, recall, f1, support, predicted.
        confusion: split → counts, with true labels as rows and predicted labels as columns; for up to 200 labels.
        confused: split → for more labels, the most confused pairs: true label, predicted label, count.
        best: evaluation of the selected checkpoint: step, epoch, metric, value.
        history: one entry per evaluation: step, epoch, metrics, training loss since the previous one, validation loss.
        speed: train_examples_per_second, train_seconds, useful_gflops, …
        data: split → rows, truncated_rows, tokens, skipped_rows, fingerprint.
        environment: see :func:`environment`.
        loading: source of every weight.
        notes: notes and warnings for the user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=FORMAT, le=FORMAT)
    name: str = ""
    task: str = ""
    labels: tuple[str, ...] = ()
    seed: int | None = None
    metrics: Values = {}
    intervals: dict[str, dict[str, tuple[Number, Number]]] = {}
    baseline: Values = {}
    per_class: dict[str, dict[str, dict[str, float]]] = {}
    confusion: dict[str, list[list[int]]] = {}
    confused: dict[str, list[tuple[str, str, int]]] = {}
    best: dict[str, Any] = {}
    history: list[Evaluation] = []
    speed: dict[str, float] = {}
    data: Annotated[dict[str, dict[str, Any]], AfterValidator(_check_counts)] = {}
    environment: dict[str, Any] = {}
    loading: dict[str, Any] = {}
    notes: list[str] = []

    @model_serializer(mode="wrap")
    def _omit_empty(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit an empty ``confused``, so that earlier versions can read the report."""
        values: dict[str, Any] = write(self)
        return values if self.confused else {key: value for key, value in values.items() if key != "confused"}

    @property
    def wording(self) -> TaskWording:
        """The words for the parts of the task; those of classification if the task is unknown."""
        return task_types().get(self.task, type(Recipe().task)).wording

    def with_evaluation(self, split: str, measured: EvaluationResult) -> Report:
        """This report with what was measured on one more split."""
        new: dict[str, Any] = {
            "metrics": measured.metrics,
            "intervals": measured.intervals,
            "baseline": measured.baseline,
            "per_class": measured.per_class,
            "confusion": measured.confusion,
            "confused": measured.confused,
            "data": {self.wording.count_key: measured.n} | self.data.get(split, {}),
        }
        merged = {key: {**getattr(self, key), split: value} for key, value in new.items() if value}
        notes = [*self.notes, f"{split}: {measured.collapsed}."] if measured.collapsed else self.notes
        labels = self.labels or tuple(measured.per_class)
        return self.model_copy(update={**merged, "labels": labels, "notes": notes})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``report.json`` atomically, to a directory or as the named file.

        Raises:
            OutputError: the file cannot be written.
        """
        return write_atomically(_file(path), self.to_json())

    def to_json(self) -> str:
        """The report as JSON; nan becomes null."""
        return to_json(self.model_dump(), indent=2) + "\n"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """Read a report from its file or from a run directory.

        Raises:
            BundleError: the file is missing, damaged, or of a newer version.
        """
        file = _file(path)
        remedy = "run `bertwright evaluate` to write a new one"
        try:
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            raise BundleError(f"{file}: no such report; name the directory of a finished run.") from None
        except OSError as error:
            raise BundleError(f"{file}: cannot be read ({error.strerror}); check its permissions.") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            keys = ".".join(str(key) for key in first["loc"])
            if keys == "format":
                raise BundleError(
                    f"{file}: has format {first['input']}, newer than {FORMAT}; update bertwright."
                ) from None
            where = f"{keys}: " if keys else ""
            raise BundleError(f"{file}: damaged ({where}{first['msg']}); {remedy}.") from None

    def _repr_html_(self) -> str:
        """The tables and lines in a notebook."""
        from bertwright.output.notebook import render_html

        return render_html(self.renderables())

    def renderables(self) -> list[RenderableType]:
        """Tables and lines for a rich console: metrics with the baseline, labels, speed, data, notes."""
        from bertwright.output.terminal import plain_text

        parts: list[RenderableType] = []
        for split, metrics in self.metrics.items():
            parts += [plain_text(self._title(split), "bold"), self._metrics_table(split)]
            parts += [
                plain_text(f"{name} is undefined: {METRICS[name].undefined}", "dim")
                for name, value in metrics.items()
                if math.isnan(value) and name in METRICS
            ]
            parts.append("")
            if 0 < len(self.per_class.get(split, {})) <= MOST_LABELS_SHOWN:
                parts += [self._labels_table(split), ""]
        parts += map(plain_text, (*self._facts(), *self.notes))
        return parts

    def to_text(self, width: int = 80) -> str:
        """The report as plain text that is ``width`` columns wide."""
        from bertwright.output.terminal import render_plain

        return render_plain(self.renderables(), width)

    def losses(self) -> tuple[float, float] | None:
        """Training and validation loss of the selected checkpoint; None if one is unknown."""
        for entry in self.history:
            training, validation = entry.losses
            if entry.step == self.best.get("step") and training is not None and validation is not None:
                return training, validation
        return None

    def _title(self, split: str) -> str:
        data = self.data.get(split, {})
        for key, what in (("rows", "examples"), ("sequences", "sequences")):
            if key in data:
                return f"{split} · {data[key]:,} {what}"
        return split

    def _metrics_table(self, split: str) -> Table:
        baseline = self.baseline.get(split, {})
        table = _table("metric", "value", "95 % interval", *([self.wording.baseline_column] if baseline else []))
        for name, value in self.metrics[split].items():
            low, high = self.intervals.get(split, {}).get(name, (math.nan, math.nan))
            interval = "–" if math.isnan(low) else f"{show(name, low)} … {show(name, high)}"
            row = [name, show(name, value), interval]
            table.add_row(*row, *([show(name, baseline.get(name, math.nan))] if baseline else []))
        return table

    def _labels_table(self, split: str) -> Table:
        from bertwright.output.terminal import plain_text

        table = _table("label", "precision", "recall", "f1", "true", "predicted")
        for label, row in self.per_class[split].items():
            scores = [f"{row[key]:.3f}" for key in ("precision", "recall", "f1")]
            name = plain_text(label)
            name.truncate(MOST_OF_LABEL, overflow="ellipsis")  # leave space for the numbers
            table.add_row(name, *scores, f"{row['support']:,.0f}", f"{row['predicted']:,.0f}")
        return table

    def _facts(self) -> list[str]:
        lines = []
        if self.best:
            metric = self.best.get("metric")
            value = f" ({metric} {show(metric, self.best.get('value'))})" if metric else ""
            lines.append(f"best   step {self.best.get('step', '?')}{value}")
        if (losses := self.losses()) is not None:
            lines.append(f"loss   train {show_loss(losses[0])}, validation {show_loss(losses[1])}")
        if "train_seconds" in self.speed:
            rate = [f"{self.speed[key]:,.0f} {unit}" for key, unit in _RATES.items() if key in self.speed]
            lines.append(" · ".join(["speed  " + duration(self.speed["train_seconds"]) + " of training", *rate]))
        for split, data in self.data.items():
            parts = [f"{data[key]:,} {words}" for key, words in DATA_WORDS.items() if data.get(key)]
            lines.append(f"data   {split}: " + (", ".join(parts) or "no rows"))
        return lines


_RATES = {"train_examples_per_second": "examples/s", "useful_gflops": "useful GFLOP/s"}
DATA_WORDS = {
    "rows": "rows",
    "windows": "windows",
    "choices": "choices",
    "documents": "documents",
    "sequences": "sequences",
    "tokens": "tokens",
    "truncated_rows": "truncated",
    "skipped_rows": "skipped",
}
"""Headings of the facts about the data of a split, by the key in :attr:`Report.data`."""


def training_speed(examples: int, tokens: int, seconds: float, parameters: int) -> dict[str, float]:
    """The speed of a training run, for :attr:`Report.speed`.

    ``useful_gflops`` counts 6 operations per real token and parameter that a token is multiplied with (no
    embeddings): 2 forward, 4 backward (Kaplan et al. 2020, section 2.1). Padding and attention scores do not count.
    """
    seconds = max(seconds, 1e-9)
    rates = {
        "train_seconds": seconds,
        "train_examples_per_second": examples / seconds,
        "train_tokens_per_second": tokens / seconds,
    }
    # with cached features of a frozen encoder, no token is multiplied
    return rates | {"useful_gflops": 6e-9 * parameters * tokens / seconds} if parameters else rates


def environment(device: str = "cpu", precision: str = "fp32", threads: int | None = None) -> dict[str, Any]:
    """What results depend on: versions, machine, device, precision, threads. Does not import torch."""
    torch = sys.modules.get("torch")
    if threads is None and torch is not None:
        threads = torch.get_num_threads()
    versions: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "device": device,
        "precision": precision,
    }
    if device.startswith("cuda") and torch is not None:
        versions["gpu"] = torch.cuda.get_device_name(device)
    return versions | {name: _version(name) for name in ("bertwright", "torch", "tokenizers", "safetensors", "numpy")}


def show(metric: str, value: float | None) -> str:
    """Format a metric: four decimals, two for ranges up to 100, a dash if it is undefined."""
    if value is None or math.isnan(value):
        return "–"
    top = METRICS[metric].range[1] if metric in METRICS else 1.0
    return f"{value:.{4 if top <= 1 else 2}f}" if math.isfinite(top) else f"{value:#.4g}".removesuffix(".")


def show_signed(metric: str, value: float) -> str:
    """Format a difference of a metric, with its sign."""
    shown = show(metric, value)
    return f"+{shown}" if value > 0 else shown


def show_loss(value: float) -> str:
    """Format a loss: four decimals, or four digits for large values."""
    return f"{value:.4f}" if abs(value) < 10_000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Format seconds.

    >>> duration(411.3)
    '6 min 51 s'
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _table(*columns: str) -> Table:
    from bertwright.output.terminal import make_table

    table = make_table()
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", overflow="ellipsis", no_wrap=True)
    return table


def _file(path: str | os.PathLike[str]) -> Path:
    file = Path(expand_home(path))
    return file / FILE_NAME if file.is_dir() else file


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    """The name of the processor from the system; Python's platform module does not have it on Linux and macOS."""
    try:
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, subprocess.SubprocessError):
        pass
    return platform.processor() or platform.machine()
