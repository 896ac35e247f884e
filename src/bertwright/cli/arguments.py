"""The arguments and options that commands share: what each is called, takes and says of itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class TaskKind(StrEnum):
    """Kinds of task."""

    classification = "classification"
    multilabel = "multilabel"
    regression = "regression"
    tagging = "tagging"
    qa = "qa"
    multiple_choice = "multiple_choice"


class SearchMethod(StrEnum):
    """How settings to try are chosen."""

    grid = "grid"
    random = "random"
    tpe = "tpe"


class WeightsToKeep(StrEnum):
    """Whose weights a sweep keeps."""

    best = "best"
    all = "all"
    none = "none"


class Precision(StrEnum):
    """Arithmetic of prediction."""

    fp32 = "fp32"
    bf16 = "bf16"


class PredictionFormat(StrEnum):
    """Formats that predictions are written in."""

    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    parquet = "parquet"
    conll = "conll"
    json = "json"


RecipeWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RECIPE|KEY=VALUE",
        help="A shipped recipe's name or a YAML file, and settings laid over it.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Encoder to start from: Hub name or directory.")
]
Data = Annotated[
    str | None, typer.Option("--data", metavar="FILE", help="Training rows, or a folder that holds all splits.")
]
Dev = Annotated[
    str | None, typer.Option("--dev", metavar="FILE", help="Rows to evaluate on; else a part of --data is held out.")
]
Text = Annotated[str | None, typer.Option("--text", metavar="COL", help="Column of the text.")]
TextPair = Annotated[str | None, typer.Option("--text-pair", metavar="COL", help="Column of the second text.")]
Label = Annotated[
    str | None, typer.Option("--label", metavar="COL[,COL...]", help="Column of the label, or several 0/1 columns.")
]
Task = Annotated[TaskKind | None, typer.Option("--task", help="What is predicted.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Let a head that is code, module:name, be imported and run.")
]
Source = Annotated[str, typer.Option("--data", metavar="SOURCE", help="A file, a folder or hub:NAME[/CONFIG][:SPLIT].")]
BundleName = Annotated[
    str,
    typer.Argument(metavar="BUNDLE", help="A run's directory, or any fine-tuned classifier: HF directory or Hub name."),
]
Encoding = Annotated[str, typer.Option("--encoding", metavar="NAME", help="How the file's text is encoded.")]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first line of a .csv or .tsv file names its columns; else as in training.",
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, mps, cuda or cuda:1.")]
Arithmetic = Annotated[Precision, typer.Option("--precision", help="bf16 is faster where the hardware has it.")]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads; default: all usable cores.")
]
