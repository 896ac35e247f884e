"""ONNX graphs of models, written by torch's exporter, and their quantization to int8.

The exporter records the encoder and the head on padded rows (:meth:`~bertwright.nn.layout.Layout.from_mask`), so an
exported model computes what :class:`~bertwright.nn.model.Model` computes. Graphs have standard operators only, which
every runtime knows; ONNX Runtime fuses them when it opens a graph.

Shapes: B examples, K choices, T padded length, C classes.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bertwright.errors import BundleError, MissingDependencyError
from bertwright.nn.batch import Batch
from bertwright.nn.ensemble import AnyModel, Ensemble
from bertwright.nn.heads import Head
from bertwright.nn.layout import Layout
from bertwright.nn.lora import adapter_parameters, merge_adapters
from bertwright.nn.model import Model
from bertwright.tasks.spec import Task

OPSET = 18
"""Version of ONNX's operators: old enough for the runtimes in use, new enough for torch's exporter."""

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""The inputs of a graph, int64 (B, T), or (B, K, T) for choices; models without segments lack the last one."""

MAX_BYTES = 2_000_000_000
"""Maximum size of the weights; one ONNX file holds at most 2 GB."""

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_EXPORTER_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


def check_packages(what: str) -> None:
    """Check that the packages of the extra ``onnx`` are installed.

    Args:
        what: the option or command that needs them, for the message.

    Raises:
        MissingDependencyError: one of them is missing.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingDependencyError(
            f"{what}: {', '.join(missing)} {verb} not installed; run `pip install 'bertwright[onnx]'`."
        )


def input_names(model: AnyModel) -> tuple[str, ...]:
    """The inputs of a model's graph; segment ids only if the encoder distinguishes them."""
    return INPUTS if (_models_of(model)[0].encoder.config.n_types or 0) > 1 else INPUTS[:2]


def check_exportable(model: AnyModel, task: Task, source: str) -> None:
    """Check that a graph can compute the scores of a model.

    Raises:
        BundleError: it cannot.
    """
    models = _models_of(model)
    if not task.is_exportable:
        raise BundleError(
            f"{source}: a pre-trained model predicts only tokens with targets, which an ONNX graph does not have; "
            "fine-tune it first, or use the engine torch."
        )
    if len(models) > 1 and task.scores_choices:
        raise BundleError(
            f"{source}: an ensemble for {task.kind} cannot be one ONNX graph, because questions differ in their number "
            "of choices; export one of its members."
        )
    if len(models) > 1 and any(isinstance(each.head, Head) and each.head.decodes_sequences for each in models):
        raise BundleError(
            f"{source}: an ensemble of models with a CRF cannot be one ONNX graph, because probabilities of tags "
            "depend on which tokens begin a word; export one of its members, or average their weights (soup)."
        )
    n_bytes = 4 * sum(parameter.numel() for parameter in model.parameters())
    if n_bytes > MAX_BYTES:
        raise BundleError(
            f"{source}: its weights have {n_bytes / 1e9:.1f} GB, but an ONNX file holds at most {MAX_BYTES / 1e9:.0f} "
            "GB; use the engine torch."
        )


class _Graph(nn.Module):
    """What the exporter records: inputs of :data:`INPUTS` to the tensors that the task names.

    Args:
        model: in evaluation mode, on the CPU.
        task: of the model.
    """

    def __init__(self, model: AnyModel, task: Task) -> None:
        super().__init__()
        self.model = model
        self._task = task

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """(B, T) → scores (B, C) or (B, T, C), or (B, T) for each of several outputs; (B, K, T) → (B, K)."""
        mask = attention_mask.flatten(0, -2).bool()
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        layout = Layout.from_mask(mask)
        batch = Batch(input_ids.flatten(), types.flatten(), layout, None, np.zeros(0, np.int64))
        scores: Tensor = self.model(batch)
        if self._task.scores_tokens:
            scores = scores.view(*mask.shape, -1)
        if self._task.scores_choices:
            return scores.view(*input_ids.shape[:2])
        return scores if len(self._task.graph_outputs) == 1 else scores.unbind(-1)


def export_graph(model: AnyModel, task: Task, source: str) -> bytes:
    """Export a model to an ONNX graph in fp32.

    Args:
        model: is not changed; LoRA adapters are merged into their weights in the graph.
        task: of the model.
        source: of the model, for messages.

    Raises:
        BundleError: the model cannot be exported, such as one whose own head the exporter does not understand.
        MissingDependencyError: a package of the extra ``onnx`` is missing.
    """
    check_packages("ONNX")
    check_exportable(model, task, source)
    names, sizes = input_names(model), {"batch_size": 2, "sequence_length": 8}
    if task.scores_choices:
        sizes = {"batch_size": 2, "num_choices": 3, "sequence_length": 8}
    shape, dims = tuple(sizes.values()), {axis: torch.export.Dim(name) for axis, name in enumerate(sizes)}
    examples = tuple(torch.ones(shape, dtype=torch.int64) for _ in names)  # one tensor would make them one input
    with torch.no_grad(), _silence_exporter(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        try:
            recorded = torch.export.export(
                _Graph(_merge_adapters(model), task).eval(),
                examples,
                dynamic_shapes=tuple(dims for _ in names),
                strict=False,
            )
            program = torch.onnx.export(
                recorded,
                input_names=list(names),
                output_names=list(task.graph_outputs),
                dynamic_shapes=tuple(dims for _ in names),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            if program is None:
                raise RuntimeError("the exporter returned no graph")
            program.save(path, external_data=False)
        except Exception as error:
            cause = str(_root_cause(error)).strip().partition("\n")[0]
            raise BundleError(
                f"{source}: cannot be exported to ONNX ({cause or type(error).__name__}); a custom head may read "
                "layout.starts and layout.mask, but no lengths; change the head, or use the engine torch."
            ) from error
        return path.read_bytes()


def _models_of(model: AnyModel) -> tuple[Model, ...]:
    return model.models if isinstance(model, Ensemble) else (model,)


def _merge_adapters(model: AnyModel) -> AnyModel:
    """The model, or a copy with merged adapters if it has any."""
    if not any(True for _ in adapter_parameters(model)):
        return model
    merged = deepcopy(model)
    for each in _models_of(merged):
        merge_adapters(each.encoder)
    return merged


def _root_cause(error: BaseException) -> BaseException:
    """The first error of a chain: the exporter wraps it into its own, with pages of advice."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """Hide the warnings of the exporter and of onnxscript, which concern their own code."""
    loggers = [logging.getLogger(name) for name in _EXPORTER_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
