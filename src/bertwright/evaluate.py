"""Running a model over a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from bertwright.errors import TrainingError
from bertwright.nn.model import Model
from bertwright.tasks.task import Outputs, Scores, Task
from bertwright.text.batches import in_order
from bertwright.text.encodings import Encodings
from bertwright.text.example import Example
from bertwright.text.instances import FromCorpus

TOKENS = 4096
"""Tokens a batch at prediction: enough to fill any CPU, few enough to stay in its caches."""


SEQUENCES = 1024
"""Sequences whose scores are in memory at once."""


def score(
    model: Model,
    encodings: Encodings,
    *,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    max_tokens: int = TOKENS,
    on_progress: Callable[[int], None] | None = None,
) -> Scores:
    """The head's scores of every sequence, in their order.

    Args:
        model: is left in evaluation mode.
        encodings: B sequences.
        device: where the model is.
        bf16: whether matrix products run in bf16; fp32 gives the figures that transformers gives.
        max_tokens: tokens a batch.
        on_progress: called with the number of sequences done so far.

    Returns:
        float32 (B, C), or (N, C) where the head scores tokens.

    Raises:
        TrainingError: a score is not finite.
    """
    place = torch.device(device)
    model.eval()
    parts: list[Scores] = []
    done = 0
    with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, enabled=bf16):
        for batch in in_order(encodings, max_tokens):
            part: Scores = model(batch.to(place)).float().cpu().numpy()
            if not np.isfinite(part).all():
                raise TrainingError(
                    "evaluation: the model's scores are not finite numbers; its training diverged, or it is damaged."
                )
            parts.append(part)
            done += len(batch)
            if on_progress is not None:
                on_progress(done)
    return np.concatenate(parts)


def outputs(
    model: Model,
    task: Task,
    encodings: Encodings | FromCorpus,
    examples: Sequence[Example],
    *,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    max_tokens: int = TOKENS,
    on_progress: Callable[[int], None] | None = None,
) -> Outputs:
    """What the model says of every example, some sequences at a time, so that no scores of tokens pile up.

    Args:
        model: is left in evaluation mode.
        task: puts scores together.
        encodings: of the examples.
        examples: in their order.
        device: where the model is.
        bf16: whether matrix products run in bf16.
        max_tokens: tokens a batch.
        on_progress: called with the number of examples done so far.

    Raises:
        TrainingError: a score is not finite.
    """
    parts = []
    for part, which in encodings.in_parts(SEQUENCES):
        scores = score(model, part, device=device, bf16=bf16, max_tokens=max_tokens)
        parts.append(task.outputs(scores, part, examples[which]))
        if on_progress is not None:
            on_progress(which.stop)
    return joined(parts)


def joined(parts: Sequence[Outputs]) -> Outputs:
    """Outputs of some examples after those of others."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [entry for part in parts for entry in part]
