"""Evaluation and prediction: run a model over all sequences of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertwright.data.example import Example
from bertwright.errors import DivergenceError
from bertwright.nn.batch import Batch
from bertwright.nn.ensemble import AnyModel
from bertwright.nn.head_outputs import HeadOutput, Scores, concatenate, is_finite
from bertwright.nn.heads import mean_pooling
from bertwright.nn.model import Model
from bertwright.tasks.spec import Loss, Outputs, Task, as_scores
from bertwright.tokenization.batching import iterate_in_order
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.training_data import TrainingData
from bertwright.training.compute import ComputeConfig, raise_allocator_thresholds

CPU = ComputeConfig()
"""The default: the CPU in fp32."""

TOKENS = 2048
"""Tokens per batch in prediction: enough to use all cores, few enough for the caches of a CPU."""

POOL = 1 << 17
"""Tokens per batch for a model that sorts the sequences by length and pads them itself."""

SEQUENCES = 1024
"""Number of sequences whose scores are in memory at once."""


class ValidationLoss:
    """Adds up the training objective over the batches of an evaluation.

    Args:
        loss_of: scores and batch → summed loss, as training minimizes it.
    """

    def __init__(self, loss_of: Callable[[Tensor, Batch], Loss]) -> None:
        self._loss_of = loss_of
        self._total = self._count = 0.0

    def add(self, scores: Tensor, batch: Batch) -> None:
        """Add the loss of one batch."""
        loss = self._loss_of(scores, batch)
        self._total += float(loss.total)
        self._count += float(loss.count)

    @property
    def mean(self) -> float:
        """The mean loss; nan where no example has a target."""
        return self._total / self._count if self._count else math.nan


def decode_sequences(
    model: AnyModel,
    encodings: Encodings,
    *,
    compute: ComputeConfig = CPU,
    max_tokens: int = TOKENS,
    on_progress: Callable[[int], None] | None = None,
    loss: ValidationLoss | None = None,
) -> HeadOutput:
    """Run a model over all sequences and decode its scores, in order.

    Args:
        model: is left in evaluation mode.
        encodings: B sequences.
        compute: device of the model, and precision; in fp32 the scores are those of transformers.
        max_tokens: maximum tokens per batch; a model that pads sequences takes :data:`POOL`.
        on_progress: called with the number of sequences done so far.
        loss: gets the loss of every batch.

    Returns:
        For most heads the scores, float32 (B, C) of sequences or (N, C) of tokens.

    Raises:
        DivergenceError: a number is not finite.
    """
    device = compute.device
    raise_allocator_thresholds()
    if model.training:  # setting the mode of every module takes 0.15 ms
        model.eval()
    parts: list[HeadOutput] = []
    done = 0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=compute.bf16):
        for batch in iterate_in_order(encodings, POOL if model.pads else max_tokens, not model.pads):
            batch = batch.to(device)
            scores = model(batch)
            if loss is not None:
                loss.add(scores, batch)
            part = model.decode(scores, batch)
            if not is_finite(part):
                raise DivergenceError(
                    "evaluation: the model's scores are not finite numbers", "its training diverged, or it is damaged"
                )
            parts.append(part)
            done += len(batch)
            if on_progress is not None:
                on_progress(done)
    return concatenate(parts)


def compute_scores(model: AnyModel, encodings: Encodings, *, compute: ComputeConfig = CPU) -> Scores:
    """The head's scores of all sequences, in order: float32 (B, C) of sequences or (N, C) of tokens.

    Raises:
        DivergenceError: a score is not finite.
        RecipeError: the head decodes its scores itself, as a CRF does.
    """
    return as_scores(decode_sequences(model, encodings, compute=compute))


def compute_embeddings(model: Model, encodings: Encodings, *, compute: ComputeConfig = CPU) -> NDArray[np.float32]:
    """Average the last layer's hidden vectors over the tokens of each example, float32 (B, D) of B examples.

    The embedding of an example with several sequences is the mean of theirs (Reimers and Gurevych 2019 for one).

    Args:
        model: is left in evaluation mode; only its encoder is used.
        encodings: the sequences of the examples.
        compute: device of the model, and precision.
    """
    model.eval()
    parts = []
    with torch.inference_mode(), compute.autocast():
        for batch in iterate_in_order(encodings, TOKENS):
            batch = batch.to(compute.device)
            hidden = model.encoder(batch.ids, batch.types, batch.layout)
            parts.append(mean_pooling(hidden, batch.layout).cpu().numpy())
    starts = np.flatnonzero(np.diff(encodings.examples, prepend=-1))
    counts = np.diff(starts, append=len(encodings))
    return np.divide(np.add.reduceat(np.concatenate(parts), starts), counts[:, None], dtype=np.float32)


def compute_outputs(
    model: AnyModel,
    task: Task,
    data: TrainingData,
    examples: Sequence[Example],
    *,
    compute: ComputeConfig = CPU,
    max_tokens: int = TOKENS,
    on_progress: Callable[[int], None] | None = None,
    loss: ValidationLoss | None = None,
) -> Outputs:
    """Compute the outputs of a task for every example; memory holds the scores of some sequences at a time.

    Args:
        model: is left in evaluation mode.
        task: combines the scores of each example.
        data: of the examples.
        examples: in their order.
        compute: device of the model, and precision.
        max_tokens: maximum tokens per batch.
        on_progress: called with the number of examples done so far.
        loss: gets the loss of every batch.

    Raises:
        DivergenceError: a score is not finite.
    """
    parts = []
    for part, which in data.iterate_parts(SEQUENCES):
        decoded = decode_sequences(model, part, compute=compute, max_tokens=max_tokens, loss=loss)
        parts.append(task.outputs(decoded, part, examples[which]))
        if on_progress is not None:
            on_progress(which.stop)
    return concatenate_outputs(parts)


def concatenate_outputs(parts: Sequence[Outputs]) -> Outputs:
    """Join the outputs of consecutive examples."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [entry for part in parts for entry in part]
