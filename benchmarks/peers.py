"""The peers of prediction.py: transformers and ONNX Runtime, each as fast as a careful user would make it.

Both tokenize with the tokenizers library directly, sort sequences by length, pad each batch to its longest sequence
with numpy, and turn scores into answers with numpy. Only the model differs.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from workloads import HEADS, STRIDE, Workload

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
"""Inputs (B, T) → scores (B, C), or (B, T, C) or two of (B, T)."""

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
N_BEST, LONGEST_ANSWER = 20, 30
"""Of run_qa.py: the start and end positions that are combined, and the most tokens of an answer."""


class SortedBatches:
    """Predictions in batches of similar length.

    Args:
        workload: task and maximum length.
        tokenizer: of the tokenizers library.
        run: the model.
        batch: number of sequences in a batch.
    """

    def __init__(self, workload: Workload, tokenizer: Any, run: Run, batch: int) -> None:
        self._kind, self._run, self._batch, self._tokenizer = workload.kind, run, batch, tokenizer
        tokenizer.no_padding()
        if self._kind == "qa":
            tokenizer.enable_truncation(workload.max_length, stride=STRIDE, strategy="only_second")
        else:
            tokenizer.enable_truncation(workload.max_length)

    def predict(self, rows: Sequence[Any]) -> list[Any]:
        """The answers of rows: (label, probability), the tags of the words, or (score, text)."""
        sequences, owners = self._encode(rows)
        scores = self._compute(sequences)
        if self._kind == "classification":
            exponentials = np.exp(np.stack(scores) - np.max(scores, axis=1, keepdims=True))
            probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
            labels = probabilities.argmax(axis=1)
            return list(zip(labels.tolist(), probabilities.max(axis=1).tolist(), strict=True))
        if self._kind == "tagging":
            return [_tags(sequence, tokens) for sequence, tokens in zip(sequences, scores, strict=True)]
        answers: list[tuple[float, str]] = [(-np.inf, "")] * len(rows)
        for sequence, tokens, owner in zip(sequences, scores, owners, strict=True):
            score, start, end = _best_span(sequence, tokens)
            if score > answers[owner][0]:
                answers[owner] = score, rows[owner][1][start:end]
        return answers

    def scores(self, rows: Sequence[Any]) -> np.ndarray:
        """The scores of all sequences (B, C), or of all their tokens (N, C)."""
        scores = self._compute(self._encode(rows)[0])
        return np.stack(scores) if self._kind == "classification" else np.concatenate(scores)

    def _encode(self, rows: Sequence[Any]) -> tuple[list[Any], list[int]]:
        """Sequences, and the number of the row that each belongs to."""
        if self._kind != "qa":
            encode = self._tokenizer.encode_batch_fast
            return encode(list(rows), is_pretokenized=self._kind == "tagging"), list(range(len(rows)))
        encoded = self._tokenizer.encode_batch([tuple(row) for row in rows])
        pairs = [(window, i) for i, first in enumerate(encoded) for window in (first, *first.overflowing)]
        return [window for window, _ in pairs], [i for _, i in pairs]

    def _compute(self, sequences: list[Any]) -> list[np.ndarray]:
        """The scores of each sequence: (C,), or (T, C) without padding."""
        ids = [sequence.ids for sequence in sequences]
        lengths = np.array([len(each) for each in ids])
        order = np.argsort(lengths, kind="stable")
        scores: list[Any] = [None] * len(ids)
        for begin in range(0, len(order), self._batch):
            chosen = order[begin : begin + self._batch]
            shape = (len(chosen), int(lengths[chosen[-1]]))
            batch = {name: np.zeros(shape, np.int64) for name in INPUTS}
            for row, i in enumerate(chosen):
                batch["input_ids"][row, : lengths[i]] = ids[i]
                batch["attention_mask"][row, : lengths[i]] = 1
                if self._kind == "qa":
                    batch["token_type_ids"][row, : lengths[i]] = sequences[i].type_ids
            outputs = self._run(batch)
            joined = outputs[0] if len(outputs) == 1 else np.stack(outputs, axis=-1)
            for row, i in enumerate(chosen):
                scores[i] = joined[row] if joined.ndim == 2 else joined[row, : lengths[i]]
        return scores


def _tags(sequence: Any, scores: np.ndarray) -> list[int]:
    """The tag of the first token of every word."""
    best, previous, tags = scores.argmax(axis=1).tolist(), None, []
    for tag, word in zip(best, sequence.word_ids, strict=True):
        if word is not None and word != previous:
            tags.append(tag)
        previous = word
    return tags


def _best_span(window: Any, scores: np.ndarray) -> tuple[float, int, int]:
    """Score, first and last character of the best answer in a window, as run_qa.py finds it."""
    context = np.flatnonzero(np.array(window.type_ids, bool) & ~np.array(window.special_tokens_mask, bool))
    starts, ends = (context[np.argsort(scores[context, i])[-N_BEST:]] for i in (0, 1))
    sums = scores[starts, 0][:, None] + scores[ends, 1][None]
    lengths = ends[None] - starts[:, None]
    sums[(lengths < 0) | (lengths >= LONGEST_ANSWER)] = -np.inf
    start, end = np.unravel_index(int(sums.argmax()), sums.shape)
    offsets = window.offsets
    return float(sums[start, end]), offsets[starts[start]][0], offsets[ends[end]][1]


def open_transformers(workload: Workload, model: Path, name: str, batch: int) -> SortedBatches:
    """transformers in hand-sorted batches: in fp32, in bf16 with autocast, or with weights in bf16."""
    import torch
    import transformers

    dtype = torch.bfloat16 if name == "transformers-bf16-weights" else torch.float32
    network = getattr(transformers, f"AutoModelFor{HEADS[workload.kind]}").from_pretrained(model, dtype=dtype).eval()

    def run(batch: dict[str, np.ndarray]) -> list[np.ndarray]:
        enabled = name == "transformers-bf16"
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            outputs = network(**{key: torch.from_numpy(value) for key, value in batch.items()})
        scores = [outputs.start_logits, outputs.end_logits] if workload.kind == "qa" else [outputs.logits]
        return [each.float().numpy() for each in scores]

    return SortedBatches(workload, transformers.AutoTokenizer.from_pretrained(model).backend_tokenizer, run, batch)


class Pipeline:
    """The pipeline of transformers, which pads batches in the order of the rows.

    Args:
        workload: task and maximum length; there is no pipeline for question answering.
        model: the directory.
        batch: number of sequences in a batch.
    """

    def __init__(self, workload: Workload, model: Path, batch: int) -> None:
        from transformers import pipeline

        task = {"classification": "text-classification", "tagging": "token-classification"}[workload.kind]
        self._pipeline = pipeline(task, model=str(model), batch_size=batch)
        self._is_tagging = workload.kind == "tagging"
        self._truncation = {} if self._is_tagging else {"truncation": True, "max_length": workload.max_length}

    def predict(self, rows: Sequence[Any]) -> list[Any]:
        """The answers of rows."""
        texts = [" ".join(row) for row in rows] if self._is_tagging else list(rows)
        answers: list[Any] = self._pipeline(texts, **self._truncation)
        return answers

    def scores(self, rows: Sequence[Any]) -> np.ndarray | None:
        """The scores of texts (B, C); None for tagging, whose pipeline does not return scores of all tokens."""
        if self._is_tagging:
            return None
        answers = self._pipeline(list(rows), top_k=None, function_to_apply="none", **self._truncation)
        ids = self._pipeline.model.config.label2id
        ordered = [sorted(answer, key=lambda each: ids[each["label"]]) for answer in answers]
        return np.array([[each["score"] for each in answer] for answer in ordered], np.float32)


def open_onnx(workload: Workload, model: Path, name: str, batch: int, threads: int) -> SortedBatches:
    """ONNX Runtime with its highest level of optimization, on a model of :func:`export_onnx`."""
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(batch: dict[str, np.ndarray]) -> list[np.ndarray]:
        outputs: list[np.ndarray] = session.run(None, {name: batch[name] for name in names})
        return outputs

    return SortedBatches(workload, Tokenizer.from_file(str(model / "tokenizer.json")), run, batch)


def export_onnx(workload: Workload, model: Path) -> None:
    """Write ``onnx-fp32.onnx`` and ``onnx-int8.onnx`` next to a model, without the warnings of the exporter.

    The graph is optimized by onnxruntime.transformers, which fuses attention, GELU and LayerNorm; weights are then
    quantized dynamically.
    """
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(action="ignore"):
        _export(workload, model)
    logging.disable(logging.NOTSET)


def _export(workload: Workload, model: Path) -> None:
    import torch
    import transformers
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model

    class Scores(torch.nn.Module):
        """Takes the inputs in a fixed order, and returns tensors only."""

        def __init__(self) -> None:
            super().__init__()
            head = getattr(transformers, f"AutoModelFor{HEADS[workload.kind]}")
            self.network = head.from_pretrained(model, attn_implementation="eager", dtype=torch.float32).eval()

        def forward(self, ids: Any, mask: Any, types: Any) -> tuple[Any, ...]:
            outputs = self.network(input_ids=ids, attention_mask=mask, token_type_ids=types)
            return tuple(outputs[name] for name in names)

    names = ["start_logits", "end_logits"] if workload.kind == "qa" else ["logits"]
    scores = Scores()
    example = torch.ones(2, 8, dtype=torch.long)
    axes = {name: {0: "batch", 1: "length"} for name in INPUTS}
    axes |= {name: {0: "batch"} if workload.kind == "classification" else axes["input_ids"] for name in names}
    plain, fp32, int8 = (str(model / f"onnx-{kind}.onnx") for kind in ("plain", "fp32", "int8"))
    torch.onnx.export(
        scores,
        (example, example, torch.zeros_like(example)),
        plain,
        input_names=list(INPUTS),
        output_names=names,
        dynamic_axes=axes,
        dynamo=False,  # optimize_model finds the attention only in this exporter's graphs
    )
    config = scores.network.config
    heads, width = config.num_attention_heads, config.hidden_size
    optimize_model(plain, "bert", heads, width, opt_level=1).save_model_to_file(fp32)
    # shape inference does not know the fused operators; their outputs are float
    extra = {"DefaultTensorType": TensorProto.FLOAT}
    quantize_dynamic(fp32, int8, weight_type=QuantType.QInt8, extra_options=extra)
