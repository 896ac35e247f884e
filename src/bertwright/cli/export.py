"""The command ``bertwright export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bertwright.cli.arguments import (
    AllowCode,
    Encoding,
    ExportFormat,
    ExportPrecision,
    Header,
    Label,
    ModelName,
    Text,
    TextPair,
    Threads,
)
from bertwright.cli.options import DataOptions, errors_name_options

if TYPE_CHECKING:
    from bertwright.data.dataset import Dataset
    from bertwright.run.bundle import Bundle
    from bertwright.tools.onnx_export import ExportReport

EPILOG = """\
DIR gets onnx/model.onnx, with --precision int8 also onnx/model_quantized.onnx,
config.json, the tokenizer, and export.json with inputs, outputs and parity.

The exported files are compared with the model on the dev rows of its run, or on
the rows of --data. If the scores in fp32 differ by more than 1e-4, or int8 loses
more than 0.5 points of the first metric, the exit code is 2 and nothing is
written.

Examples:
  bertwright export runs/mine models/mine
  bertwright export runs/mine models/mine --precision int8
  bertwright export runs/mine models/mine --data held_out.csv --label stars"""
"""The end of the command's help."""


@dataclass(frozen=True)
class ParityOptions:
    """The rows that exported files are compared on, and whether they may differ."""

    data: Annotated[
        str | None,
        typer.Option("--data", metavar="SOURCE", help="Rows to compare on; by default the dev rows of the run."),
    ] = None
    text: Text = None
    text_pair: TextPair = None
    label: Label = None
    encoding: Encoding = "utf-8"
    header: Header = None
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Write the files even if they differ more, or cannot be compared.")
    ] = False

    @property
    def source(self) -> DataOptions | None:
        """The rows; None for the dev rows of the run."""
        if self.data is None:
            return None
        return DataOptions(self.data, self.text, self.text_pair, self.label, self.encoding, self.header)


def export(
    model: ModelName,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty directory.")],
    *,
    format_: Annotated[ExportFormat, typer.Option("--format", help="Format of the model.")] = ExportFormat.onnx,
    precision: Annotated[
        ExportPrecision, typer.Option("--precision", help="int8 adds a quantized file.")
    ] = ExportPrecision.fp32,
    parity: ParityOptions,
    threads: Threads = None,
    allow_code: AllowCode = False,
) -> None:
    """Export a model to ONNX for ONNX Runtime, optimum and transformers.js."""
    from bertwright.cli.console import out, print_note, stderr_console
    from bertwright.output.terminal import print_line
    from bertwright.run.bundle import Bundle
    from bertwright.tools.onnx_export import export as run
    from bertwright.training.compute import choose_compute, set_threads

    compute = choose_compute("cpu", "fp32", threads)
    set_threads(compute)
    console = stderr_console()
    with errors_name_options():
        bundle = Bundle.load(model, compute=compute, allow_code=allow_code)
        rows = None if parity.source is None else _read_rows(bundle, parity.source)
        with console.status("exporting and comparing …"):
            report = run(bundle, directory, precision=precision.value, rows=rows, accept_loss=parity.accept_loss)
    for note in report.notes:
        print_note(console, note)
    for line in _lines(model, bundle, report):
        print_line(out(), line)


def _read_rows(bundle: Bundle, source: DataOptions) -> Dataset | None:
    """The rows of the first evaluation split of a source."""
    from bertwright.cli.evaluate import rows_to_evaluate
    from bertwright.corpus.corpus_split import CorpusSplit

    rows = next((rows for _, rows in rows_to_evaluate(bundle, source)), None)
    return None if isinstance(rows, CorpusSplit) else rows


def _lines(name: str, bundle: Bundle, report: ExportReport) -> list[str]:
    """Return the source, the inputs and outputs, the comparison and the written files as lines."""
    lines = [("from", f"{name}, {bundle.task.kind}")]
    for what, tensors, type_ in (("inputs", report.inputs, "int64"), ("outputs", report.outputs, "float32")):
        lines += [(what, f"{tensor}: {type_} ({', '.join(map(str, shape))})") for tensor, shape in tensors.items()]
    lines += [("parity", f"{check.precision}: {check.describe()}") for check in report.checks]
    paths = sorted(path for path in report.directory.rglob("*") if path.is_file())
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    lines.append(("wrote", f"{report.directory}, {megabytes:,.1f} MB"))
    lines.append(("wrote", ", ".join(path.relative_to(report.directory).as_posix() for path in paths)))
    return [f"{'' if i and lines[i - 1][0] == what else what:<8} {text}" for i, (what, text) in enumerate(lines)]
