"""Export of fine-tuned models to ONNX, in the layout that optimum, transformers.js and text-embeddings-inference open.

Every exported file is compared with the model on labeled rows before anything is written.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bertwright.corpus.corpus_split import CorpusSplit
from bertwright.data.dataset import Dataset
from bertwright.data.example import Example
from bertwright.engines.engine import GraphPrecision, make_graph
from bertwright.engines.onnx_graph import check_exportable, check_packages
from bertwright.engines.onnx_model import OnnxEnsemble, OnnxModel, OnnxSession, Shape
from bertwright.errors import BertwrightError, BundleError, DataError, OutputError
from bertwright.files.atomic import atomic_directory, expand_home
from bertwright.files.strict_json import to_json
from bertwright.metrics.registry import METRICS
from bertwright.nn.crf import CrfHead
from bertwright.nn.ensemble import AnyModel, Ensemble
from bertwright.nn.head_outputs import concatenate
from bertwright.run.bundle import CONFIG, Bundle
from bertwright.run.splits import load_splits
from bertwright.tasks.spec import Outputs, has_targets
from bertwright.tokenization.batching import iterate_in_order
from bertwright.training.model_building import head_kind
from bertwright.training.scoring import POOL, TOKENS
from bertwright.weights.hf_config import build_hf_config

FILES = {"fp32": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}
"""The file of each precision, as optimum and transformers.js name it."""

ONNX_REPORT, CRF = "export.json", "crf.json"

MAX_DIFFERENCE = 1e-4
"""Maximum difference between the scores of torch and of ONNX Runtime in fp32, relative to scores above 1."""

MAX_POINTS = 0.5
"""Maximum loss of the metric in int8, in points of 100, or in percent for a metric without a maximum."""

MAX_ROWS = 1000
"""Number of rows that are compared; from more, as many are taken at equal distances."""


@dataclass(frozen=True)
class ParityCheck:
    """The comparison of an exported file with the model.

    Attributes:
        precision: fp32 or int8.
        rows: number of rows compared.
        difference: the largest difference between two scores, relative to scores above 1.
        metric: the name of the metric; None for rows without labels.
        torch: its value for the model.
        onnx: its value for the file.
        points: how much worse the file is, in points of 100 or in percent; negative if it is better.
    """

    precision: GraphPrecision
    rows: int
    difference: float
    metric: str | None = None
    torch: float = math.nan
    onnx: float = math.nan
    points: float = 0.0

    @property
    def is_within_limit(self) -> bool:
        """Whether the difference is within the limit of the precision."""
        return self.difference <= MAX_DIFFERENCE if self.precision == "fp32" else self.points <= MAX_POINTS

    def describe(self) -> str:
        """The result in one line."""
        text = f"scores differ by at most {self.difference:.1e} on {self.rows:,} rows"
        if self.precision == "fp32":
            text += f" (limit {MAX_DIFFERENCE:.0e})"
        if self.metric is None:
            return text
        digits = 2 if METRICS[self.metric].range[1] == 100 else 4
        text += f"; {self.metric} {self.onnx:.{digits}f}, torch {self.torch:.{digits}f}"
        return text if self.precision == "fp32" else f"{text} (limit: {MAX_POINTS} points less)"


@dataclass(frozen=True)
class ExportReport:
    """The result of an export.

    Attributes:
        directory: the exported model.
        inputs: name of each input of the graph → its shape; all are int64.
        outputs: name of each output → its shape; all are float32.
        checks: the comparison of each file with the model; empty if the user accepted an export without one.
        notes: what the user should know of the export.
    """

    directory: Path
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    checks: tuple[ParityCheck, ...]
    notes: tuple[str, ...] = ()


def export(
    bundle: Bundle,
    directory: str | os.PathLike[str],
    *,
    precision: GraphPrecision = "fp32",
    rows: Dataset | None = None,
    accept_loss: bool = False,
) -> ExportReport:
    """Export a model to ONNX, after comparing its scores with those of the model.

    Args:
        bundle: the model, in the engine torch on a CPU.
        directory: new or empty.
        precision: ``fp32``, or ``int8`` for both files.
        rows: to compare on; None for the dev rows of the run.
        accept_loss: write the files also if they differ more than allowed, or no rows can be read.

    Raises:
        OutputError: the directory is not empty, or cannot be written to.
        BundleError: the model cannot be exported, or differs too much after export.
        DataError: there are no rows to compare on.
        MissingDependencyError: a package of the extra ``onnx`` is missing.
    """
    check_packages("export")
    _check_target(directory)
    if bundle.engine != "torch" or bundle.compute.device.type != "cpu":
        raise BundleError(f"{bundle.base.source}: open it with the engine torch on the device cpu to export it.")
    source = bundle.base.source
    check_exportable(bundle.model, bundle.task, source)
    notes = list(_describe_notes(bundle))
    examples = list[Example]()
    try:
        examples = _select_rows(rows if rows is not None else read_dev_rows(bundle), precision)
    except BertwrightError as error:
        if not accept_loss:
            raise
        notes.append(f"the files are not compared with the model: {error}")
    if rows is None and precision == "int8" and bundle.recipe is not None and bundle.recipe.train.refit is True:
        notes.append(
            "the model was trained on its dev rows, too (train.refit), so int8 may lose more on new rows; compare on "
            "others with --data"
        )
    precisions: tuple[GraphPrecision, ...] = ("fp32",) if precision == "fp32" else ("fp32", "int8")
    graphs = {each: make_graph(bundle.model, bundle.task, each, source) for each in precisions}
    checks = tuple(compare_graphs(bundle, graphs, examples)) if examples else ()
    failed = [check for check in checks if not check.is_within_limit]
    if failed and not accept_loss:
        raise BundleError(
            f"{source}: the export in {failed[0].precision} differs too much: {failed[0].describe()}; compare on more "
            "rows with --data, choose another precision, or accept the loss with --accept-loss."
        )
    session = OnnxSession(graphs["fp32"], bundle.task, bundle.compute.threads)
    report = ExportReport(Path(expand_home(directory)), session.inputs, session.outputs, checks, tuple(notes))
    with atomic_directory(directory) as partial:
        _write(partial, bundle, graphs, report)
    return report


def _check_target(directory: str | os.PathLike[str]) -> None:
    target = Path(expand_home(directory))
    if target.is_dir() and any(target.iterdir()):
        raise OutputError(f"{directory}: already exists and is not empty; choose another directory, or remove it.")
    if target.exists() and not target.is_dir():
        raise OutputError(f"{directory}: is a file; expected a new directory.")


def read_dev_rows(bundle: Bundle) -> Dataset:
    """Read the first dev split of a run again.

    Raises:
        DataError: the model has no recipe, or the data of its run cannot be read.
    """
    advice = "give labeled rows with --data FILE"
    if bundle.recipe is None:
        raise DataError(f"{bundle.base.source}: has no recipe that names its dev rows; {advice}.")
    try:
        splits = load_splits(bundle.recipe.data, bundle.task.target_spec, seed=bundle.recipe.seed)
    except BertwrightError as error:
        reason = error.summary.removesuffix(".")
        raise DataError(f"{bundle.base.source}: its dev rows cannot be read ({reason}); {advice}.") from None
    for split in splits.dev.values():
        if not isinstance(split, CorpusSplit):
            return split
    raise DataError(f"{bundle.base.source}: its run has no dev rows; {advice}.")


def _select_rows(rows: Dataset, precision: GraphPrecision) -> list[Example]:
    if not len(rows):
        raise DataError(f"{rows.report.source}: has no rows; give labeled rows with --data FILE.")
    examples = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_ROWS)).astype(int))]
    if precision == "int8" and not has_targets(examples):
        raise DataError(f"{rows.report.source}: has no labels, which the comparison in int8 needs; give labeled rows.")
    return examples


def compare_graphs(
    bundle: Bundle, graphs: dict[GraphPrecision, bytes], examples: Sequence[Example]
) -> Iterator[ParityCheck]:
    """Compare the scores and the first metric of exported graphs with those of the model."""
    scores, outputs = _predict(bundle, bundle.model, examples)
    metrics = bundle.task.evaluate(outputs, examples).metrics if has_targets(examples) else {}
    metric = next((name for name, value in metrics.items() if not math.isnan(value)), None)
    for precision, graph in graphs.items():
        session = OnnxSession(graph, bundle.task, bundle.compute.threads)
        model = (
            OnnxEnsemble(bundle.model, session)
            if isinstance(bundle.model, Ensemble)
            else OnnxModel(bundle.single_model, session)
        )
        theirs, outputs = _predict(bundle, model, examples)
        difference = float((np.abs(theirs - scores) / np.maximum(1, np.abs(scores))).max())
        if metric is None:
            yield ParityCheck(precision, len(examples), difference)
            continue
        value = bundle.task.evaluate(outputs, examples).metrics[metric]
        points = _lost_points(metric, metrics[metric], value)
        yield ParityCheck(precision, len(examples), difference, metric, metrics[metric], value, points)


def _predict(bundle: Bundle, model: AnyModel, examples: Sequence[Example]) -> tuple[NDArray[np.float32], Outputs]:
    """The scores before the head decodes them, and the outputs of the task."""
    encodings, scores, decoded = bundle.encode(examples), [], []
    with torch.inference_mode():
        for batch in iterate_in_order(encodings, POOL if model.pads else TOKENS, not model.pads):
            scores.append(model(batch))
            decoded.append(model.decode(scores[-1], batch))
    return torch.cat(scores).numpy(), bundle.task.outputs(concatenate(decoded), encodings, examples)


def _lost_points(metric: str, torch_value: float, onnx_value: float) -> float:
    """How much worse the second value is, in points of 100; for metrics without a maximum, in percent of the first."""
    definition = METRICS[metric]
    change = torch_value - onnx_value if definition.higher_is_better else onnx_value - torch_value
    top = definition.range[1] if math.isfinite(definition.range[1]) else abs(torch_value)
    return math.inf if math.isnan(change) else 100 * change / (top or 1.0)


def _describe_notes(bundle: Bundle) -> Iterator[str]:
    if isinstance(bundle.model, Ensemble) and len(bundle.members) > 1:
        yield f"the graph averages {len(bundle.members)} models, so it takes as long as all of them"
    elif isinstance(bundle.model, Ensemble) or not isinstance(bundle.single_model.head, CrfHead):
        return
    else:
        yield f"logits are the scores before the CRF; {CRF} has its transitions for the best sequence of tags (Viterbi)"


def _write(directory: Path, bundle: Bundle, graphs: dict[GraphPrecision, bytes], report: ExportReport) -> None:
    """Write the graphs, the tokenizer and the configurations to an empty directory."""
    base, task = bundle.base, bundle.task
    model = bundle.members[0].single_model if bundle.members else bundle.single_model
    (directory / "onnx").mkdir()
    for precision, graph in graphs.items():
        (directory / FILES[precision]).write_bytes(graph)
    base.tokenizer.save(directory, max_length=bundle.tokens.max_length)
    kind = head_kind(task, model.head) or (task.published_head if task.published_head in base.family.heads else None)
    names = task.output_names
    config = build_hf_config(
        base.family,
        base.config,
        head=kind,
        id2label=None if names is None else dict(enumerate(names)),
        problem_type=task.problem_type,
        base=base.hf_config,
    )
    if isinstance(model.head, CrfHead):
        _write_json(
            directory / CRF, {name: getattr(model.head, name).tolist() for name in ("start", "end", "transitions")}
        )
    contents: dict[str, Any] = {
        "inputs": report.inputs,
        "outputs": report.outputs,
        "max_length": bundle.tokens.max_length,
        "truncation": bundle.tokens.truncation,
        "task": task.model_dump(mode="json"),
        "parity": [asdict(check) for check in report.checks],
    }
    _write_json(directory / ONNX_REPORT, contents)
    _write_json(directory / CONFIG, config)


def _write_json(path: Path, values: Any) -> None:
    path.write_text(to_json(values, indent=2) + "\n", encoding="utf-8")
