"""The implementation of ``bertwright convert``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bertwright.tools.convert import ConversionReport

EPILOG = """\
SRC is a model directory (transformers, a run, Google's TensorFlow checkpoints,
tf_model.h5), a Hub name or a file of weights. DST gets the encoder, the pooler
and all heads that bertwright knows.

Examples:
  bertwright convert uncased_L-12_H-768_A-12 models/bert
  bertwright convert models/bert models/bert-tf --to tf
  bertwright convert mine.pt models/mine --names names.yaml \\
      --config config.json --tokenizer models/bert
  bertwright convert checkpoint.pt models/cs --names cerebras \\
      --config config.json --tokenizer models/bert"""
"""The end of the command's help."""


class TargetFormat(StrEnum):
    """Formats that models can be converted to."""

    hf = "hf"
    tf = "tf"


def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A model directory, a Hub name or a file of weights.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="A new directory.")],
    to: Annotated[
        TargetFormat, typer.Option("--to", help="hf: a transformers directory; tf: google-research/bert.")
    ] = TargetFormat.hf,
    names: Annotated[
        str | None,
        typer.Option("--names", metavar="TABLE", help="Tensor names of SRC: a YAML file, or cerebras."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The config.json, unless it is next to the weights.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="DIR", help="The tokenizer, unless it is next to the weights.")
    ] = None,
) -> None:
    """Convert a model to a transformers directory or a TensorFlow checkpoint."""
    from bertwright.cli.console import out, print_note, stderr_console
    from bertwright.output.terminal import print_line
    from bertwright.tools.convert import convert as run

    console = stderr_console()
    with console.status("reading, checking and writing …"):
        conversion = run(source, destination, to=str(to), names=names, config=config, tokenizer=tokenizer)
    for text in conversion.notes:
        print_note(console, text)
    for line in _lines(conversion):
        print_line(out(), line)


def _lines(conversion: ConversionReport) -> list[str]:
    """Return the source, the model, the loading report, the renamed tensors and the written files as lines."""
    report = conversion.report
    lines = [("from", report.source), ("model", f"{conversion.title}: {conversion.architecture}")]
    lines += [("weights", line) for line in report.summary().splitlines()]
    moves = conversion.moves()
    width = max((len(source_name) for source_name, *_ in moves), default=0)
    for source_name, hf_name, shape, n in moves:
        size = " × ".join(map(str, shape)) + (f", {n} layers" if n > 1 else "")
        lines.append(("names", f"{source_name:<{width}}  {hf_name}  ({size})"))
    files = sorted(conversion.directory.iterdir())
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    lines.append(("wrote", f"{conversion.directory}, {conversion.n_parameters:,} parameters, {megabytes:,.1f} MB"))
    lines.append(("wrote", ", ".join(path.name for path in files)))
    return [f"{'' if i and lines[i - 1][0] == name else name:<8} {text}" for i, (name, text) in enumerate(lines)]
