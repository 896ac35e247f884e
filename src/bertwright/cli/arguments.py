"""The arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class TaskKind(StrEnum):
    """Task types."""

    classification = "classification"
    multilabel = "multilabel"
    regression = "regression"
    tagging = "tagging"
    qa = "qa"
    multiple_choice = "multiple_choice"


class SearchMethod(StrEnum):
    """Search algorithms of a sweep."""

    grid = "grid"
    random = "random"
    tpe = "tpe"


class WeightsToKeep(StrEnum):
    """Trials of a sweep whose weights stay on disk."""

    best = "best"
    all = "all"
    none = "none"


class SelectionStrategy(StrEnum):
    """Strategies of choosing rows to label."""

    diverse = "diverse"
    uncertainty = "uncertainty"
    random = "random"


class EnsembleForm(StrEnum):
    """How the models of several seeds are combined."""

    auto = "auto"
    average = "average"
    soup = "soup"


class Precision(StrEnum):
    """Floating-point formats for evaluation and prediction."""

    fp32 = "fp32"
    bf16 = "bf16"


class EngineKind(StrEnum):
    """Engines of evaluation and prediction; the names of :data:`bertwright.engines.engine.EngineName`."""

    torch = "torch"
    onnx = "onnx"
    onnx_int8 = "onnx-int8"


class ExportFormat(StrEnum):
    """Formats of exported models."""

    onnx = "onnx"


class ExportPrecision(StrEnum):
    """Precisions of exported weights."""

    fp32 = "fp32"
    int8 = "int8"


class PredictionFormat(StrEnum):
    """File formats of predictions."""

    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    parquet = "parquet"
    conll = "conll"
    json = "json"


class ExplanationFormat(StrEnum):
    """Formats of explanations."""

    text = "text"
    html = "html"
    json = "json"


class InputFormat(StrEnum):
    """File formats of rows to predict."""

    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    parquet = "parquet"


RecipeWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RECIPE|KEY=VALUE",
        help="Name of a shipped recipe or a YAML file, then settings that override it.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Pre-trained encoder: a Hub name or a model directory.")
]
TrainingData = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="SOURCE", help="Training data: a file, a folder with all splits, or hub:NAME[/CONFIG]."
    ),
]
Dev = Annotated[
    str | None,
    typer.Option("--dev", metavar="FILE", help="Validation data; by default a part of --data is held out."),
]
Text = Annotated[str | None, typer.Option("--text", metavar="COL", help="Column with the text.")]
TextPair = Annotated[
    str | None, typer.Option("--text-pair", metavar="COL", help="Column with the second text of a pair.")
]
Label = Annotated[
    str | None,
    typer.Option("--label", metavar="COL[,COL...]", help="Column with the label, or several 0/1 columns."),
]
Task = Annotated[TaskKind | None, typer.Option("--task", help="Task type (default: classification).")]
RunDirectory = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Output directory; it must be new or empty.")
]
Ensemble = Annotated[bool, typer.Option("--ensemble", help="Combine the models of all seeds into one, DIR/ensemble.")]
FormOfEnsemble = Annotated[
    EnsembleForm | None,
    typer.Option(
        "--ensemble-form",
        help="Implies --ensemble: average the predictions, or the weights (soup). auto, the default: soup if it is as "
        "good on the validation data.",
    ),
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Allow a custom head (module:name) to be imported and run.")
]
EvaluationData = Annotated[
    str,
    typer.Option("--data", metavar="SOURCE", help="Labeled data: a file, a folder or hub:NAME[/CONFIG][:SPLIT]."),
]
ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A run directory, or a fine-tuned HF directory or Hub model."),
]
ServedModels = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Run directories, or fine-tuned HF directories or Hub models. NAME=MODEL sets the name in URLs, by "
        "default the last part of the directory.",
        show_default=False,
    ),
]
Question = Annotated[str | None, typer.Option("--question", metavar="TEXT", help="A question to answer.")]
Context = Annotated[str | None, typer.Option("--context", metavar="TEXT", help="The text that contains the answer.")]
ContextFile = Annotated[Path | None, typer.Option("--context-file", metavar="FILE", help="A file with the context.")]
JsonFile = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the metrics to a JSON file; - for standard output."),
]
Encoding = Annotated[str, typer.Option("--encoding", metavar="NAME", help="Character encoding of text files.")]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first line of a .csv or .tsv file holds column names; by default as in training.",
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, mps, cuda or cuda:1.")]
ComputePrecision = Annotated[
    Precision, typer.Option("--precision", help="bf16 is faster on hardware that supports it.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads; by default all usable cores.")
]

Engine = Annotated[
    EngineKind,
    typer.Option("--engine", help="onnx and onnx-int8 (less exact) run an exported model in ONNX Runtime on the CPU."),
]


def choose_ensemble(requested: bool, form: EnsembleForm | None) -> str | None:
    """Return the form of the ensemble that ``--ensemble`` and ``--ensemble-form`` request; None for no ensemble."""
    if form is not None:
        return str(form)
    return str(EnsembleForm.auto) if requested else None


Host = Annotated[
    str,
    typer.Option("--host", metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all interfaces."),
]
Port = Annotated[
    int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port to listen on; 0 for any free port.")
]
MaxBody = Annotated[int, typer.Option("--max-body", metavar="BYTES", min=1, help="Size of a request body.")]
MaxInputs = Annotated[int, typer.Option("--max-inputs", metavar="N", min=1, help="Inputs in one request.")]
MaxQueue = Annotated[
    int, typer.Option("--max-queue", metavar="N", min=1, help="Inputs that wait per model; more are answered with 503.")
]
MaxBatchTokens = Annotated[
    int, typer.Option("--max-batch-tokens", metavar="N", min=1, help="Tokens that are predicted together.")
]
MaxWait = Annotated[
    float,
    typer.Option("--max-wait", metavar="MS", min=0, help="Milliseconds that a batch waits for more inputs under load."),
]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="Time for the predictions of a request.")
]
LogRequests = Annotated[
    bool, typer.Option("--log-requests/--no-log-requests", help="Log every request, without its texts.")
]
