"""Models whose scores ONNX Runtime computes: they take the batches of the other models, and pad them.

Padding costs time, so sequences are sorted by length, and each padded batch has sequences of similar length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertwright.nn.batch import Batch
from bertwright.nn.ensemble import Ensemble
from bertwright.nn.model import Model
from bertwright.tasks.spec import Task
from bertwright.tokenization.encodings import expand_ranges

PADDED_TOKENS = 1024
"""Maximum tokens of a padded batch, except for a single sequence: enough to use all cores, few enough for the caches of
a CPU."""

Shape = tuple[str | int, ...]
"""The sizes of a tensor; a text names one that varies."""


class OnnxSession:
    """A graph that is open in ONNX Runtime, with the inputs and outputs of a task.

    Args:
        graph: the contents of an ONNX file.
        task: of the model.
        threads: CPU threads.

    Attributes:
        inputs: name of each input → its shape.
        outputs: name of each output → its shape.
    """

    def __init__(self, graph: bytes, task: Task, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors; warnings concern fusions that do not apply
        self._session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.inputs: dict[str, Shape] = {each.name: tuple(each.shape) for each in self._session.get_inputs()}
        self.outputs: dict[str, Shape] = {each.name: tuple(each.shape) for each in self._session.get_outputs()}
        self._scores_tokens, self._scores_choices = task.scores_tokens, task.scores_choices

    def scores(self, batch: Batch) -> Tensor:
        """The scores of every sequence (B, C) or token (N, C) of a packed batch on the CPU, in float32."""
        ids, types, lengths = batch.ids.numpy(), batch.types.numpy(), batch.layout.lengths
        if len(lengths) == 1:
            return torch.from_numpy(self._run(ids[None], np.ones_like(ids)[None], types[None])).flatten(
                0, int(self._scores_tokens)
            )
        starts, parts = batch.layout.starts.numpy(), []
        order = np.argsort(lengths, kind="stable")
        places = []
        for rows in _split(order, lengths[order]):
            tokens = expand_ranges(starts[rows], lengths[rows])
            mask = np.arange(lengths[rows[-1]]) < lengths[rows][:, None]
            padded = np.zeros((2, *mask.shape), np.int64)
            padded[0][mask], padded[1][mask] = ids[tokens], types[tokens]
            scores = self._run(padded[0], mask.astype(np.int64), padded[1])
            parts.append(scores[mask] if self._scores_tokens else scores)
            places.append(tokens if self._scores_tokens else rows)
        joined, index = np.concatenate(parts), np.concatenate(places)
        ordered = np.empty_like(joined)
        ordered[index] = joined
        return torch.from_numpy(ordered)

    def _run(self, ids: NDArray[np.int64], mask: NDArray[np.int64], types: NDArray[np.int64]) -> NDArray[np.float32]:
        """Three arrays (B, T) → scores (B, C) or (B, T, C)."""
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        if self._scores_choices:  # each sequence as the only choice of an example
            values = {name: value[:, None] for name, value in values.items()}
        outputs = self._session.run(None, {name: values[name] for name in self.inputs})
        scores: NDArray[np.float32] = outputs[0] if len(outputs) == 1 else np.stack(outputs, -1)
        return scores


def _split(order: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split sequences in ascending order of length into batches of at most :data:`PADDED_TOKENS` with padding."""
    cuts, begin = list[int](), 0
    for i, length in enumerate(lengths.tolist()):
        if i > begin and (i + 1 - begin) * length > PADDED_TOKENS:
            cuts.append(i)
            begin = i
    return np.split(order, cuts)


class OnnxModel(Model):
    """A model whose scores ONNX Runtime computes; everything else is that of the model it was exported from.

    Args:
        model: the exported model.
        session: its graph.
    """

    pads = True

    def __init__(self, model: Model, session: OnnxSession) -> None:
        super().__init__(model.encoder, model.head)
        self._session = session
        self.eval()

    def forward(self, batch: Batch) -> Tensor:
        """Compute the scores of every sequence (B, C) or token (N, C)."""
        return self._session.scores(batch)


class OnnxEnsemble(Ensemble):
    """An ensemble in one graph, which averages the predictions of its members.

    Args:
        ensemble: the exported ensemble.
        session: its graph.
    """

    pads = True

    def __init__(self, ensemble: Ensemble, session: OnnxSession) -> None:
        super().__init__(ensemble.models, ensemble.average)
        self._session = session
        self.eval()

    def forward(self, batch: Batch) -> Tensor:
        """Compute the averaged scores of every sequence (B, C) or token (N, C)."""
        return self._session.scores(batch)
