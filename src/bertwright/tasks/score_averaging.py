"""Averages of the predictions of several models, as scores. M models, N tokens, S segments, C classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence


def log_mean_softmax(scores: Sequence[Tensor]) -> Tensor:
    """Return the log of the mean of M probability distributions over the classes: M × (…, C) → (…, C)."""
    return _log_mean([each.log_softmax(-1) for each in scores])


def logit_mean_sigmoid(scores: Sequence[Tensor]) -> Tensor:
    """Return the logit of the mean of M probabilities of each label: M × (…, C) → (…, C)."""
    true = _log_mean([functional.logsigmoid(each) for each in scores])
    return true - _log_mean([functional.logsigmoid(-each) for each in scores])


def log_mean_segment_softmax(scores: Sequence[Tensor], lengths: Sequence[int]) -> Tensor:
    """Return the log of the mean of M probability distributions over the members of each segment.

    Args:
        scores: M × (N, C), segment after segment; the columns are independent.
        lengths: of the S segments.

    Returns:
        (N, C).
    """
    return _log_mean([_segment_log_softmax(each, lengths) for each in scores])


def log_mean_row_softmax(scores: Sequence[Tensor], mask: Tensor) -> Tensor:
    """:func:`log_mean_segment_softmax` of padded rows: M × (B * T, C) and bool (B, T), true at tokens → (B * T, C)."""
    lowest = torch.finfo(scores[0].dtype).min
    rows = [each.view(*mask.shape, -1).masked_fill(~mask[..., None], lowest).log_softmax(1) for each in scores]
    return _log_mean([each.flatten(0, 1) for each in rows])


def _segment_log_softmax(scores: Tensor, lengths: Sequence[int]) -> Tensor:
    # -inf has no share in the softmax, so padding has no effect
    padded = pad_sequence(list(scores.split(list(lengths))), batch_first=True, padding_value=-math.inf)
    place = torch.arange(padded.shape[1], device=scores.device)
    return padded.log_softmax(1)[place < torch.tensor(lengths, device=scores.device)[:, None]]


def _log_mean(log_probabilities: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(log_probabilities)).logsumexp(0) - math.log(len(log_probabilities))
