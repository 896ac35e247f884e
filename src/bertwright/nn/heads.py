"""Heads: modules that map hidden vectors to scores.

Any ``nn.Module`` with ``forward(hidden, layout) -> scores`` is a head. A :class:`Head` also declares what it reads from
the encoder, so that the encoder computes only that, and only once if it is frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bertwright.nn.batch import Batch
from bertwright.nn.dropout import Dropout
from bertwright.nn.encoder import ACTIVATIONS, Encoder
from bertwright.nn.head_outputs import HeadOutput, Scores
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear

Reads = Literal["first_tokens", "selected_tokens", "last_layer", "all_layers"]


@dataclass(frozen=True, slots=True)
class HeadStyle:
    """The standard head of a family for a task, as published.

    Attributes:
        activation: activation of the classification head, a name in :data:`~bertwright.nn.encoder.ACTIVATIONS`.
        dropout: dropout rate before the output layer.
        dropout_before: whether dropout also applies to the input of the classification head.
        pooler: whether the family has a pre-trained pooler for the first token.
    """

    activation: str = "tanh"
    dropout: float = 0.1
    dropout_before: bool = False
    pooler: bool = False


def first_tokens(hidden: Tensor, layout: Layout) -> Tensor:
    """Select the hidden vector of each sequence's first token, [CLS]: (N, D) or (B, T, D) → (B, D)."""
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, layout.starts)


def real_tokens(hidden: Tensor, layout: Layout) -> Tensor:
    """Remove padding: (N, D) or (B, T, D) → (N, D)."""
    return hidden if layout.is_packed else hidden[layout.mask]


def mean_pooling(hidden: Tensor, layout: Layout) -> Tensor:
    """Average each sequence's hidden vectors, special tokens included: (N, D) or (B, T, D) → (B, D).

    As Reimers and Gurevych 2019.
    """
    return _reduce_tokens(hidden, layout, "mean")


def max_pooling(hidden: Tensor, layout: Layout) -> Tensor:
    """Take each dimension's maximum over the tokens of a sequence: (N, D) or (B, T, D) → (B, D)."""
    return _reduce_tokens(hidden, layout, "max")


def _reduce_tokens(hidden: Tensor, layout: Layout, reduce: str) -> Tensor:
    if (mask := layout.row_mask) is not None:
        rows = hidden.view(*mask.shape, -1)
        if reduce == "max":
            return torch.where(mask[..., None], rows, torch.finfo(rows.dtype).min).amax(1)
        return (rows * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    flat = real_tokens(hidden, layout).float()  # a 16-bit sum over 512 tokens would lose digits
    lengths = torch.from_numpy(layout.lengths).to(flat.device)
    return torch.segment_reduce(flat, reduce, lengths=lengths)


Pooling = Callable[[Tensor, Layout], Tensor]
"""(N, D) or (B, T, D) → (B, D)."""

POOLINGS: dict[str, Pooling] = {
    "first": first_tokens,
    "pooler": first_tokens,
    "mean": mean_pooling,
    "max": max_pooling,
}
"""Pooling functions by their names in a recipe; the head applies the dense layer of ``pooler`` itself."""


def to_scores(scores: Tensor) -> Scores:
    """Convert a tensor of scores to float32 on the host."""
    array: Scores = scores.detach().float().cpu().numpy()
    return array


class Head(nn.Module):
    """A head in two steps: features, which have no parameters, then scores.

    Attributes:
        reads: what ``hidden`` contains. "first_tokens": the last layer's hidden vector of each sequence's first token,
            with a layout of only those. "selected_tokens": the last layer's hidden vectors of the tokens that
            ``select_tokens`` returns. "last_layer": all hidden vectors of the last layer. "all_layers": those of the
            embeddings and of every layer, stacked along a new first axis (L + 1).
        is_standard: whether it is the family's standard head, whose tensors have names in checkpoints.
        decodes_sequences: whether :meth:`decode` depends on several tokens at once, so that the scores of a token do
            not determine its tag.
    """

    reads: Reads = "last_layer"
    is_standard: bool = False
    decodes_sequences: bool = False

    @property
    def feature_key(self) -> str:
        """A text that identifies the settings the features depend on; equal keys mean equal features."""
        return ""

    def features(self, hidden: Tensor, layout: Layout) -> Tensor:
        """Compute features from hidden vectors, without parameters or randomness: (B, …) or (N, …).

        With a frozen encoder the features are the same in every epoch, so they are computed once and cached.
        """
        raise NotImplementedError

    def select_tokens(self, batch: Batch) -> Tensor:
        """Return int64 (M,), token indices in the flattened token axis, for a head that reads "selected_tokens"."""
        raise NotImplementedError

    def attach(self, encoder: Encoder) -> None:
        """Take over modules that the head shares with the encoder, such as the word embedding; by default none."""

    @property
    def unused_modules(self) -> tuple[nn.Module, ...]:
        """Modules that do not train and are kept only so that they are saved with the model."""
        return ()

    @property
    def ties_word_embedding(self) -> bool:
        """Whether the head shares the word embedding, every row of which then gets a gradient in every step."""
        return False

    def scores(self, features: Tensor, layout: Layout) -> Tensor:
        """Compute the scores of every sequence (B, C) or token (N, C)."""
        raise NotImplementedError

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        """Hidden vectors → scores (B, C) or (N, C)."""
        return self.scores(self.features(hidden, layout), layout)

    def loss(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> tuple[Tensor, float] | None:
        """Compute (summed loss, count) if the head replaces the task's loss; else None."""
        return None

    def penalty(self) -> Tensor | float:
        """A term that is added to the mean loss, such as L2 regularization; it does not depend on the data."""
        return 0.0

    def decode(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> HeadOutput:
        """Convert scores to what predictions and metrics are computed from; by default the scores in float32.

        Args:
            scores: from :meth:`scores`.
            targets: of the batch; a head that reads only some tokens finds them by their targets.
            layout: the positions of the sequences.
        """
        return to_scores(scores)

    def independent_scores(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> Tensor:
        """Convert scores so that each sequence or token can be predicted alone; by default the scores themselves.

        A head that decodes whole sequences of tags returns the log probabilities of each tag. Arguments are those of
        :meth:`decode`.
        """
        return scores

    def differentiable_scores(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> Tensor:
        """Convert scores to scores of single sequences or tokens that have a gradient; by default unchanged.

        Arguments are those of :meth:`decode`.
        """
        return scores


class ClassificationHead(Head):
    """The standard head of sequence tasks: [CLS], dense layer, activation, dropout, dense output layer.

    For BERT the first dense layer is the pre-trained pooler (Devlin et al. 2018, section 3.2). For RoBERTa, DistilBERT
    and ELECTRA it is randomly initialized; RoBERTa and ELECTRA also apply dropout before it.

    Args:
        width: D.
        n_outputs: C, scores per sequence.
        style: the standard head of the family.
    """

    reads: Reads = "first_tokens"
    is_standard = True

    def __init__(self, width: int, n_outputs: int, style: HeadStyle | None = None) -> None:
        super().__init__()
        style = style or HeadStyle()
        self.input_dropout = Dropout(style.dropout if style.dropout_before else 0.0)
        self.dense = Linear(width, width)
        self.activation = ACTIVATIONS[style.activation]
        self.dropout = Dropout(style.dropout)
        self.output = Linear(width, n_outputs)

    def features(self, hidden: Tensor, layout: Layout) -> Tensor:
        """(N, D) or (B, T, D) → (B, D), the hidden vectors of the first tokens."""
        return first_tokens(hidden, layout)

    def pool(self, features: Tensor) -> Tensor:
        """(B, D) → (B, D), the pooled output; for BERT what transformers calls ``pooler_output``."""
        return self.activation(self.dense(self.input_dropout(features)))

    def scores(self, features: Tensor, layout: Layout) -> Tensor:
        """(B, D) → (B, C)."""
        scores: Tensor = self.output(self.dropout(self.pool(features)))
        return scores


class TokenHead(Head):
    """The standard head of token tasks (tagging, answer spans): dropout and a dense output layer.

    Args:
        width: D.
        n_outputs: C, scores per token.
        style: the standard head of the family; only its dropout is used.
    """

    is_standard = True

    def __init__(self, width: int, n_outputs: int, style: HeadStyle | None = None) -> None:
        super().__init__()
        self.dropout = Dropout((style or HeadStyle()).dropout)
        self.output = Linear(width, n_outputs)

    def features(self, hidden: Tensor, layout: Layout) -> Tensor:
        """(N, D) or (B, T, D) → (N, D) without padding."""
        return real_tokens(hidden, layout)

    def scores(self, features: Tensor, layout: Layout) -> Tensor:
        """(N, D) → (N, C)."""
        scores: Tensor = self.output(self.dropout(features))
        return scores
