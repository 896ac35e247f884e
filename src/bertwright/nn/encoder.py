"""The BERT encoder: embeddings and a stack of post-norm transformer layers (Devlin et al. 2018).

One implementation for the whole family. BERT, MiniLM, RoBERTa, XLM-R, CamemBERT, DistilBERT and ELECTRA differ in
sizes, in where positions start, in whether there are segment embeddings and in a projection behind the embeddings:
all of that is :class:`EncoderConfig`. Dropout sits where BERT has it: on the embeddings, on the attention weights
and on the output of each sub-layer before the residual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertwright.errors import LayoutError, WeightsError
from bertwright.nn.attention import Attention
from bertwright.nn.dropout import Dropout
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}
"""Activation functions by their name in configurations."""


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of an encoder, in the same words for every family.

    Attributes:
        vocab_size: rows of the word embedding.
        width: D, the size of a hidden vector.
        n_layers: how many transformer layers.
        n_heads: H, attention heads a layer; divides ``width``.
        ffn_width: size of the feed-forward layer's middle.
        max_positions: rows of the position embedding.
        position_offset: the row of a sequence's first token: 0, for RoBERTa pad_id + 1.
        n_types: segment kinds; 0 where the family has no segment embedding (DistilBERT).
        activation: of the feed-forward layer, a name in :data:`ACTIVATIONS`.
        norm_eps: LayerNorm's epsilon, 1e-12 in BERT.
        dropout: rate on embeddings and sub-layer outputs.
        attention_dropout: rate on attention weights.
        embedding_width: size of the embeddings where it differs from ``width`` (ELECTRA); None for ``width``.
        pad_id: the id of the padding token, whose embedding is not trained.
        initializer_range: standard deviation of fresh weights.
        dropout_after_attention: whether attention's output is dropped out; DistilBERT's is not.
    """

    vocab_size: int
    width: int
    n_layers: int
    n_heads: int
    ffn_width: int
    max_positions: int
    position_offset: int = 0
    n_types: int = 2
    activation: str = "gelu"
    norm_eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    embedding_width: int | None = None
    pad_id: int = 0
    initializer_range: float = 0.02
    dropout_after_attention: bool = True

    def __post_init__(self) -> None:
        if self.width % self.n_heads:
            raise WeightsError(f"encoder: width must be a multiple of n_heads {self.n_heads}, but is {self.width}.")
        if self.activation not in ACTIVATIONS:
            raise WeightsError(f"encoder: activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}.")

    @property
    def max_length(self) -> int:
        """The longest sequence the position embedding holds, in tokens."""
        return self.max_positions - self.position_offset


class Embeddings(nn.Module):
    """Word, position and segment embeddings, summed, normalised and dropped out."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size = config.embedding_width or config.width
        self.offset = config.position_offset
        self.word = nn.Embedding(config.vocab_size, size, padding_idx=config.pad_id)
        self.position = nn.Embedding(config.max_positions, size)
        self.segment = nn.Embedding(config.n_types, size) if config.n_types else None
        self.norm = nn.LayerNorm(size, eps=config.norm_eps)
        self.dropout = Dropout(config.dropout)
        self.project = Linear(size, config.width) if size != config.width else None

    def forward(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """Three int64 tensors of one shape → hidden vectors of that shape + (D,)."""
        x: Tensor = self.word(ids) + self.position(positions + self.offset if self.offset else positions)
        if self.segment is not None:
            x = x + self.segment(types)
        x = self.dropout(self.norm(x))
        return x if self.project is None else self.project(x)


class Layer(nn.Module):
    """One transformer layer: attention, feed-forward, each with dropout, residual and LayerNorm after it."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        d = config.width
        self.attention = Attention(d, config.n_heads, config.attention_dropout)
        self.attention_norm = nn.LayerNorm(d, eps=config.norm_eps)
        self.up = Linear(d, config.ffn_width)
        self.down = Linear(config.ffn_width, d)
        self.output_norm = nn.LayerNorm(d, eps=config.norm_eps)
        self.attention_dropout = Dropout(config.dropout if config.dropout_after_attention else 0.0)
        self.dropout = Dropout(config.dropout)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor, layout: Layout, only: Tensor | None = None) -> Tensor:
        """(N, D) → (N, D), or of the tokens ``only``, int64 (B,): (B, D)."""
        mixed = self.attention_dropout(self.attention(x, layout, only))
        x = self.attention_norm((x if only is None else x.index_select(0, only)) + mixed)
        normed: Tensor = self.output_norm(x + self.dropout(self.down(self.activation(self.up(x)))))
        return normed


class Encoder(nn.Module):
    """Token ids in, one hidden vector a token out; the only thing that pre-trained weights go into."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))

    def forward(self, ids: Tensor, types: Tensor, layout: Layout) -> Tensor:
        """Hidden vectors of the last layer.

        Args:
            ids: int64 token ids of ``layout.shape``.
            types: int64 segment ids of the same shape.
            layout: where the sequences lie.

        Returns:
            ``layout.shape`` + (D,); at padding slots meaningless.

        Raises:
            LayoutError: ids of another shape than the layout, or a sequence longer than the position embedding.
        """
        return self.hidden_states(ids, types, layout)[-1]

    def first_tokens(self, ids: Tensor, types: Tensor, layout: Layout) -> Tensor:
        """(B, D): of every sequence the last hidden vector of its first token, [CLS].

        The same as picking them from :meth:`forward`, but the last layer computes no others.
        """
        return self.tokens(ids, types, layout, layout.starts)

    def tokens(self, ids: Tensor, types: Tensor, layout: Layout, only: Tensor) -> Tensor:
        """(M, D): the last hidden vectors of some tokens, and as :meth:`first_tokens` of no others.

        Args:
            ids: as for :meth:`forward`.
            types: likewise.
            layout: likewise.
            only: int64 (M,), their places in the flattened token axis.
        """
        hidden = self._states(ids, types, layout, only)[-1]
        return hidden if self.layers else hidden.index_select(0, only)

    def hidden_states(self, ids: Tensor, types: Tensor, layout: Layout) -> list[Tensor]:
        """The embeddings' output and every layer's, first to last; otherwise as :meth:`forward`."""
        return [state.view(*layout.shape, -1) for state in self._states(ids, types, layout, None)]

    def _states(self, ids: Tensor, types: Tensor, layout: Layout, only: Tensor | None) -> list[Tensor]:
        """(N, D) after the embeddings and every layer; after the last one of the tokens ``only``, if given."""
        if tuple(ids.shape) != layout.shape:
            raise LayoutError(f"encoder: ids must have the layout's shape {layout.shape}, but have {tuple(ids.shape)}.")
        longest = int(layout.lengths.max())
        if longest > self.config.max_length:
            raise LayoutError(
                f"encoder: a sequence must have at most {self.config.max_length} tokens, but one has {longest}; "
                "lower tokens.max_length."
            )
        x = self.embeddings(ids.flatten(), types.flatten(), layout.positions.flatten())
        states = [x]
        for i, layer in enumerate(self.layers, start=1):
            x = layer(x, layout, only if i == len(self.layers) else None)
            states.append(x)
        return states
