"""What sits on the encoder: modules from hidden vectors to scores.

Any ``nn.Module`` with ``forward(hidden, layout) -> scores`` is a head. One that is a :class:`Head` also says what it
reads of the encoder, so that no more than that is computed, and once only where the encoder is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from bertwright.nn.batch import Batch
from bertwright.nn.dropout import Dropout
from bertwright.nn.encoder import ACTIVATIONS, Encoder
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear

Reads = Literal["first_tokens", "asked_tokens", "last_layer", "all_layers"]


@dataclass(frozen=True, slots=True)
class HeadStyle:
    """How a family published its standard head for a task.

    Attributes:
        activation: of the classification head, a name in :data:`~bertwright.nn.encoder.ACTIVATIONS`.
        dropout: the rate before the output layer.
        dropout_before: whether the classification head's input is dropped out too.
        pooler: whether there is a pre-trained pooler for the first token.
    """

    activation: str = "tanh"
    dropout: float = 0.1
    dropout_before: bool = False
    pooler: bool = False


def first_tokens(hidden: Tensor, layout: Layout) -> Tensor:
    """Each sequence's first hidden vector, the one of [CLS]: (N, D) or (B, T, D) → (B, D)."""
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, layout.starts)


def real_tokens(hidden: Tensor, layout: Layout) -> Tensor:
    """The hidden vectors of all tokens but padding, sequence after sequence: (N, D) or (B, T, D) → (N, D)."""
    return hidden if layout.is_packed else hidden[layout.mask]


class Head(nn.Module):
    """A head in two steps: features, which nothing is learnt for, then scores.

    Attributes:
        reads: what ``hidden`` is: "first_tokens", each sequence's first hidden vector of the last layer, and a layout
            of those alone; "asked_tokens", those at the places that ``asked`` names; "last_layer", all its hidden
            vectors; "all_layers", those of the embeddings and of every layer, stacked along a new first axis.
        published: whether it is the family's standard head, whose tensors have names in checkpoints.
    """

    reads: Reads = "last_layer"
    published: bool = False

    @property
    def reading(self) -> str:
        """The settings on which the features depend, in words: equal ones give equal features."""
        return ""

    def features(self, hidden: Tensor, layout: Layout) -> Tensor:
        """What the head makes of hidden vectors without parameters and without chance: (B, …) or (N, …).

        With a frozen encoder it is the same in every epoch, so it is computed once and stored.
        """
        raise NotImplementedError

    def asked(self, batch: Batch) -> Tensor:
        """int64 (M,): places in the flattened token axis, for a head that reads "asked_tokens"."""
        raise NotImplementedError

    def attach(self, encoder: Encoder) -> None:
        """Take what the head shares with the encoder that it sits on; nothing for most."""

    @property
    def unused(self) -> tuple[nn.Module, ...]:
        """Modules that are there only to be handed on as they came; they do not train."""
        return ()

    @property
    def ties_words(self) -> bool:
        """Whether it shares the word embedding, so that every row of that gets a gradient in every step."""
        return False

    def scores(self, features: Tensor, layout: Layout) -> Tensor:
        """Scores of every sequence (B, C) or token (N, C)."""
        raise NotImplementedError

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        """Hidden vectors → scores."""
        return self.scores(self.features(hidden, layout), layout)

    def loss(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> tuple[Tensor, float] | None:
        """The summed loss and what it is the sum of, where the head has one in place of the task's; else None."""
        return None

    def penalty(self) -> Tensor | float:
        """What the head adds to the mean loss, whatever the data."""
        return 0.0

    def predicted(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> Tensor:
        """The scores to predict from, of the same shape, where they are not those to learn from."""
        return scores


class ClassificationHead(Head):
    """The standard head of sequences: [CLS], a dense layer, its activation, dropout, a dense layer to the outputs.

    For BERT the first dense layer is the pooler, which comes pre-trained (Devlin et al. 2018, section 3.2); RoBERTa,
    DistilBERT and ELECTRA have one that starts fresh, and RoBERTa and ELECTRA also drop out before it.

    Args:
        width: D.
        n_outputs: scores a sequence.
        style: the family's.
    """

    reads: Reads = "first_tokens"
    published = True

    def __init__(self, width: int, n_outputs: int, style: HeadStyle | None = None) -> None:
        super().__init__()
        style = style or HeadStyle()
        self.before = Dropout(style.dropout if style.dropout_before else 0.0)
        self.dense = Linear(width, width)
        self.activation = ACTIVATIONS[style.activation]
        self.dropout = Dropout(style.dropout)
        self.output = Linear(width, n_outputs)

    def features(self, hidden: Tensor, layout: Layout) -> Tensor:
        """(N, D) or (B, T, D) → (B, D), the first tokens'."""
        return first_tokens(hidden, layout)

    def pooled(self, features: Tensor) -> Tensor:
        """The pooled output, (B, D): for BERT what transformers calls ``pooler_output``."""
        return self.activation(self.dense(self.before(features)))

    def scores(self, features: Tensor, layout: Layout) -> Tensor:
        """(B, D) → (B, n_outputs)."""
        scores: Tensor = self.output(self.dropout(self.pooled(features)))
        return scores


class TokenHead(Head):
    """The standard head of single tokens, for tags and for the ends of answers: dropout and a dense layer.

    Args:
        width: D.
        n_outputs: scores a token.
        style: the family's; only its dropout counts.
    """

    published = True

    def __init__(self, width: int, n_outputs: int, style: HeadStyle | None = None) -> None:
        super().__init__()
        self.dropout = Dropout((style or HeadStyle()).dropout)
        self.output = Linear(width, n_outputs)

    def features(self, hidden: Tensor, layout: Layout) -> Tensor:
        """(N, D) or (B, T, D) → (N, D) without padding."""
        return real_tokens(hidden, layout)

    def scores(self, features: Tensor, layout: Layout) -> Tensor:
        """(N, D) → (N, n_outputs)."""
        scores: Tensor = self.output(self.dropout(features))
        return scores
