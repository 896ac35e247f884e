"""``bertwright convert``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bertwright.tools.convert import ConversionReport

EPILOG = """\
SRC is any directory that opens as a model (transformers', a bundle, Google's
TensorFlow files, tf_model.h5), a Hub name, or one file of weights. DST holds
all that is known of it: encoder, pooler and heads.

Examples:
  bertwright convert uncased_L-12_H-768_A-12 models/bert
  bertwright convert models/bert models/bert-tf --to tf
  bertwright convert mine.pt models/mine --names names.yaml \\
      --config config.json --tokenizer models/bert
  bertwright convert checkpoint.pt models/cs --names cerebras \\
      --config config.json --tokenizer models/bert"""
"""What its help ends with."""


class TargetFormat(StrEnum):
    """What can be written."""

    hf = "hf"
    tf = "tf"


def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A model's directory, or a file of weights.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="A directory that does not exist yet.")],
    to: Annotated[
        TargetFormat, typer.Option("--to", help="transformers' directory, or google-research/bert's.")
    ] = TargetFormat.hf,
    names: Annotated[
        str | None,
        typer.Option("--names", metavar="TABLE", help="How SRC calls its tensors: a YAML file, or cerebras."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Its config.json, if none lies beside the weights.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="DIR", help="Its tokenizer, if none lies beside the weights.")
    ] = None,
) -> None:
    """Write a model from elsewhere as a directory of transformers."""
    from bertwright.cli.console import err, note, out
    from bertwright.output.terminal import print_line
    from bertwright.tools.convert import convert as run

    console = err()
    with console.status("reading, checking and writing …"):
        converted = run(source, destination, to=str(to), names=names, config=config, tokenizer=tokenizer)
    for text in converted.notes:
        note(console, text)
    for line in _lines(converted):
        print_line(out(), line)


def _lines(converted: ConversionReport) -> list[str]:
    """Where from, which model, what became of its tensors, which names changed, where to."""
    report = converted.report
    told = [("from", report.source), ("model", f"{converted.title}: {converted.architecture}")]
    told += [("weights", line) for line in report.summary().splitlines()]
    moves = converted.moves()
    width = max((len(theirs) for theirs, *_ in moves), default=0)
    for theirs, ours, shape, n in moves:
        size = " × ".join(map(str, shape)) + (f", in {n} layers" if n > 1 else "")
        told.append(("names", f"{theirs:<{width}}  {ours}  ({size})"))
    written = sorted(converted.directory.iterdir())
    megabytes = sum(path.stat().st_size for path in written) / 1e6
    told.append(("wrote", f"{converted.directory}, {converted.n_parameters:,} parameters, {megabytes:,.1f} MB"))
    told.append(("wrote", ", ".join(path.name for path in written)))
    return [f"{'' if i and told[i - 1][0] == name else name:<8} {text}" for i, (name, text) in enumerate(told)]
