"""What sits on the encoder: modules from hidden vectors to scores."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bertwright.nn.dropout import Dropout
from bertwright.nn.encoder import ACTIVATIONS
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear


@dataclass(frozen=True, slots=True)
class HeadStyle:
    """How a family published its classification head; see :class:`ClassificationHead`."""

    activation: str = "tanh"
    dropout: float = 0.1
    dropout_before: bool = False


def first_tokens(hidden: Tensor, layout: Layout) -> Tensor:
    """Each sequence's first hidden vector, the one of [CLS]: (N, D) or (B, T, D) → (B, D)."""
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, layout.starts)


class ClassificationHead(nn.Module):
    """The standard head: [CLS], a dense layer, its activation, dropout, and a dense layer to the outputs.

    For BERT the first dense layer is the pooler, which comes pre-trained (Devlin et al. 2018, section 3.2); RoBERTa,
    DistilBERT and ELECTRA have one that starts fresh, and RoBERTa and ELECTRA also drop out before it.

    Args:
        width: D.
        n_outputs: scores a sequence.
        activation: a name in :data:`~bertwright.nn.encoder.ACTIVATIONS`.
        dropout: rate before the output layer, and before the first one if ``dropout_before``.
        dropout_before: whether the first dense layer's input is dropped out too.
    """

    reads_first_tokens = True
    """It looks at no other hidden vectors, so the encoder's last layer need not compute them."""

    def __init__(
        self, width: int, n_outputs: int, activation: str = "tanh", dropout: float = 0.1, dropout_before: bool = False
    ) -> None:
        super().__init__()
        self.before = Dropout(dropout if dropout_before else 0.0)
        self.dense = Linear(width, width)
        self.activation = ACTIVATIONS[activation]
        self.dropout = Dropout(dropout)
        self.output = Linear(width, n_outputs)

    def pooled(self, hidden: Tensor, layout: Layout) -> Tensor:
        """The pooled output, (B, D): for BERT what transformers calls ``pooler_output``."""
        return self.activation(self.dense(self.before(first_tokens(hidden, layout))))

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        """(N, D) or (B, T, D) → scores (B, n_outputs)."""
        scores: Tensor = self.output(self.dropout(self.pooled(hidden, layout)))
        return scores
