"""Explain a prediction: the attribution of every token by integrated gradients over the word embeddings.

The baseline replaces every token of the texts by [MASK], which stands for an unknown word in pre-training, so the model
has seen such inputs. [CLS] and [SEP] stay. The score of the baseline is therefore what the model predicts without
information about the words, as Sundararajan et al. 2017 (section 3) demand. Vocabularies without [MASK] have [PAD]
instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bertwright.attributions.explanation import ExplainedText, Explanation, TokenAttribution, merge_tokens
from bertwright.attributions.integrated_gradients import Integral, integrate
from bertwright.data.example import Example, Span
from bertwright.data.normalize import NormalizationSettings
from bertwright.data.words import split_words, words_of
from bertwright.errors import DataError, DivergenceError
from bertwright.nn.ensemble import AnyModel, Ensemble
from bertwright.nn.model import Model
from bertwright.tasks.explained_outputs import ExplainedOutput, ExplanationRequest
from bertwright.tasks.spec import Task
from bertwright.tokenization.batching import collate
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.token_places import SPECIAL, locate_tokens
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.training.compute import ComputeConfig
from bertwright.training.scoring import CPU, compute_outputs

MAX_TOKENS = 2048
"""Tokens whose gradients are computed at a time."""

PREDICTED = ExplanationRequest()
"""Explain what the model predicts."""


class _Places(NamedTuple):
    """For N tokens: the index of their text, SPECIAL if they belong to none, and their characters (N, 2)."""

    texts: NDArray[np.int64]
    offsets: NDArray[np.int64]


def explain(
    model: AnyModel,
    task: Task,
    tokenizer: Tokenizer,
    tokens: TokenSettings,
    example: Example,
    request: ExplanationRequest = PREDICTED,
    normalization: NormalizationSettings | None = None,
    compute: ComputeConfig = CPU,
) -> Explanation:
    """Explain the prediction for one example; gradients are computed in fp32.

    Args:
        model: is not changed, and may predict in other threads at the same time. Its engine is not used.
        task: of the model.
        tokenizer: of the encoder.
        tokens: maximum length and truncation of texts.
        example: the row.
        request: the target to explain.
        normalization: of the texts in training; None for none.
        compute: device of the model.

    Raises:
        DataError: the text has no tokens, or there is no such target.
        MissingDependencyError: captum is not installed.
        RecipeError: the head has no gradient.
        DivergenceError: a gradient is not a finite number.
    """
    if task.target_spec.is_corpus:
        raise DataError("explain: the model is pre-trained, so there is no prediction to explain; fine-tune it first.")
    notes = []
    if normalization is not None and (normalized := normalization.normalize_example(example)) != example:
        notes.append("data.normalize changed the text; character offsets refer to the normalized text")
        example = normalized
    model = _share_parameters(model)
    encodings = task.encode([example], tokenizer, tokens)
    texts, places = _locate(task, tokenizer, tokens, example, encodings)
    prediction = task.decode(compute_outputs(model, task, encodings, [example], compute=compute), [example])[0]
    explained = task.output_to_explain(request, prediction, encodings, example)
    sequences, places = encodings.take(explained.sequences), _take(places, encodings, explained.sequences)
    baseline_id = tokenizer.special_ids["mask" if tokenizer.mask_id is not None else "pad"]
    baseline_ids = np.where(places.texts == SPECIAL, sequences.ids, baseline_id)
    integral = _integrate(model, sequences, baseline_ids, explained, compute, request.n_steps)
    attributions = _add_up(tokenizer, sequences, places, integral)
    return Explanation(
        texts,
        explained.target,
        explained.quantity,
        integral.score,
        integral.baseline_score,
        _spell(tokenizer, baseline_id),
        integral.convergence_delta,
        integral.n_steps,
        integral.is_accurate,
        attributions,
        merge_tokens(attributions, texts, _words_of(example, texts)),
        prediction,
        explained.word,
        (*notes, *explained.notes, *_notes(encodings, integral)),
    )


def _locate(
    task: Task, tokenizer: Tokenizer, tokens: TokenSettings, example: Example, encodings: Encodings
) -> tuple[tuple[ExplainedText, ...], _Places]:
    """The texts of an example, and the places of all its tokens in them.

    All sequences of an example have the same first text, and every sequence has another second text.

    Raises:
        DataError: the texts have no tokens.
    """
    pairs = task.target_spec.sequence_texts(example)
    first, second = task.input_names
    start = len(example.text) - len(example.text.lstrip()) if task.strips_first_text else 0
    texts = [ExplainedText(first, example.text)]
    places = []
    for i, (text, pair) in enumerate(pairs):
        located = locate_tokens(tokenizer, text[start:], pair, task.adapt_tokens(tokens))
        offsets = located.offsets.astype(np.int64) + np.where(located.texts == 0, start, 0)[:, None]
        places.append(_Places(np.where(located.texts == 1, len(texts), located.texts), offsets))
        if pair is not None:
            texts.append(ExplainedText(second if len(pairs) == 1 else f"{second} {i}", pair))
    joined = _Places(*(np.concatenate(columns) for columns in zip(*places, strict=True)))
    if len(joined.texts) != len(encodings.ids):
        raise DataError(f"explain: {len(joined.texts)} tokens have places, but {len(encodings.ids)} are encoded.")
    if not (joined.texts != SPECIAL).any():
        raise DataError("text: has no tokens, so there is nothing to explain; give a text with at least one word.")
    return tuple(texts), joined


def _take(places: _Places, encodings: Encodings, sequences: NDArray[np.int64]) -> _Places:
    """The places of the tokens of some sequences."""
    is_used = np.isin(np.repeat(np.arange(len(encodings)), encodings.lengths), sequences)
    return _Places(places.texts[is_used], places.offsets[is_used])


class _WordVectors(nn.Module):
    """Replaces the word embedding of an encoder and returns vectors that were set before."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = torch.empty(0)

    def forward(self, ids: Tensor) -> Tensor:
        return self.vectors


def _members_of(model: AnyModel) -> tuple[Model, ...]:
    return model.models if isinstance(model, Ensemble) else (model,)


def _share_parameters(model: AnyModel) -> AnyModel:
    """Copy the modules of a model, which share their parameters, without the engine that computes its predictions.

    Replacing the embedding in the model itself, or asking its parameters for no gradient, would disturb predictions and
    training in other threads.
    """
    shared: dict[int, Tensor] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    shared |= {id(buffer): buffer for buffer in model.buffers()}
    copies = [Model(*deepcopy((member.encoder, member.head), shared)) for member in _members_of(model)]
    return (Ensemble(copies, model.average) if isinstance(model, Ensemble) else copies[0]).eval()


def _integrate(
    model: AnyModel,
    sequences: Encodings,
    baseline_ids: NDArray[np.int64],
    explained: ExplainedOutput,
    compute: ComputeConfig,
    n_steps: int | None,
) -> Integral:
    """Integrate the gradient of the explained number from the baseline to the sequences."""
    members = _members_of(model)
    words = [member.encoder.embeddings.word for member in members]
    stand_ins = [_WordVectors() for _ in words]
    for member, stand_in in zip(members, stand_ins, strict=True):
        member.encoder.embeddings.register_module("word", stand_in)
    rows = np.arange(len(sequences))

    def score_of(*vectors: Tensor) -> Tensor:
        k = len(vectors[0])
        for stand_in, each in zip(stand_ins, vectors, strict=True):
            stand_in.vectors = each.flatten(0, 1)
        scores = model.differentiable_scores(collate(sequences, np.tile(rows, k)).to(compute.device))
        return explained.compute(scores.float().view(k, -1, scores.shape[-1]))

    # the caller may be in inference mode, whose tensors cannot have gradients
    with torch.inference_mode(mode=False), torch.enable_grad():
        ids, baseline = (
            torch.from_numpy(each.astype(np.int64)).to(compute.device) for each in (sequences.ids, baseline_ids)
        )
        inputs, baselines = (tuple(word(which) for word in words) for which in (ids, baseline))
        integral = integrate(score_of, inputs, baselines, max(1, MAX_TOKENS // len(ids)), n_steps)
    if not bool(torch.isfinite(integral.attributions).all()):
        raise DivergenceError(
            "explain: the model's gradients are not finite numbers", "its training diverged, or it is damaged"
        )
    return integral


def _add_up(
    tokenizer: Tokenizer, sequences: Encodings, places: _Places, integral: Integral
) -> tuple[TokenAttribution, ...]:
    """The attributions in the order of the texts; those of a token in several sequences are added up."""
    totals: dict[tuple[int, int, int, int], float] = {}
    for position, (text, (start, end), value) in enumerate(
        zip(places.texts.tolist(), places.offsets.tolist(), integral.attributions.tolist(), strict=True)
    ):
        if text != SPECIAL:
            key = (text, start, end, int(sequences.ids[position]))
            totals[key] = totals.get(key, 0.0) + value
    return tuple(
        TokenAttribution(_spell(tokenizer, id_), text, start, end, value)
        for (text, start, end, id_), value in sorted(totals.items(), key=lambda item: item[0][:3])
    )


def _spell(tokenizer: Tokenizer, id_: int) -> str:
    return tokenizer.backend.id_to_token(id_) or ""


def _words_of(example: Example, texts: Sequence[ExplainedText]) -> list[Sequence[Span]]:
    return [words_of(example), *(split_words(each.text) for each in texts[1:])]


def _notes(encodings: Encodings, integral: Integral) -> list[str]:
    notes = []
    if dropped := int(encodings.dropped.sum()):
        notes.append(f"{dropped:,} tokens are truncated, so the model does not see them and they have no attribution")
    if not integral.is_accurate:
        notes.append(
            f"the attributions are inaccurate: they differ from the integral by up to {integral.error:.3g} in total; "
            "use more steps"
        )
    return notes
