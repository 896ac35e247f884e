"""The BERT encoder: embeddings and a stack of post-norm transformer layers (Devlin et al. 2018).

All families share one implementation. BERT, MiniLM, RoBERTa, XLM-R, CamemBERT, DistilBERT and ELECTRA differ in their
sizes, in the first position, in the presence of segment embeddings and in a projection after the embeddings;
:class:`EncoderConfig` describes all of these. Dropout is applied where BERT applies it: to the embeddings, to the
attention weights and to the output of each sub-layer before the residual.
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
from bertwright.nn.packed_linear import round_rows


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}
"""Activation functions by their names in configurations."""

_GELU = {"gelu": "none", "gelu_tanh": "tanh"}
"""Activations that the dense layer applies itself → torch's name of the approximation."""


@dataclass(frozen=True)
class EncoderConfig:
    """The architecture of an encoder, with the same field names for every family.

    Attributes:
        vocab_size: V, rows of the word embedding.
        width: D, the size of a hidden vector.
        n_layers: L, the number of transformer layers.
        n_heads: H, attention heads per layer; divides ``width``.
        ffn_width: width of the feed-forward layer.
        max_positions: rows of the position embedding.
        position_offset: row of a sequence's first token: 0, for RoBERTa pad_id + 1.
        n_types: number of segment ids; 0 if the family has no segment embedding (DistilBERT).
        activation: activation of the feed-forward layer, a name in :data:`ACTIVATIONS`.
        norm_eps: epsilon of LayerNorm, 1e-12 in BERT.
        dropout: dropout rate on embeddings and sub-layer outputs.
        attention_dropout: dropout rate on attention weights.
        embedding_width: E, the width of the embeddings if it differs from ``width`` (ELECTRA); None for ``width``.
        pad_id: id of the padding token, whose embedding is not trained.
        initializer_range: standard deviation of randomly initialized weights.
        dropout_after_attention: whether dropout applies to the output of attention; False for DistilBERT.
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
            raise WeightsError(f"encoder: width must be a multiple of n_heads ({self.n_heads}), but is {self.width}.")
        if self.activation not in ACTIVATIONS:
            raise WeightsError(f"encoder: activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}.")

    @property
    def max_length(self) -> int:
        """Maximum sequence length that the position embedding allows, in tokens."""
        return self.max_positions - self.position_offset


class Embeddings(nn.Module):
    """Sum of word, position and segment embeddings, followed by LayerNorm and dropout."""

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
        """Three int64 tensors of one shape, (N,), → hidden vectors of that shape + (D,)."""
        x: Tensor = self.word(ids) + self.position(positions + self.offset if self.offset else positions)
        if self.segment is not None:
            x = x + self.segment(types)
        x = self.dropout(self.norm(x))
        return x if self.project is None else self.project(x)


class TransformerLayer(nn.Module):
    """One transformer layer: attention and feed-forward, each followed by dropout, residual and LayerNorm."""

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
        self.gelu = _GELU.get(config.activation)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor, layout: Layout, selected: Tensor | None = None) -> Tensor:
        """(N, D) → (N, D), or (M, D) for the tokens ``selected``, int64 (M,)."""
        mixed = self.attention_dropout(self.attention(x, layout, selected))
        x = self.attention_norm((x if selected is None else x.index_select(0, selected)) + mixed)
        middle = self.up(x, self.gelu) if self.gelu is not None else self.activation(self.up(x))
        normed: Tensor = self.output_norm(x + self.dropout(self.down(middle)))
        return normed


class Encoder(nn.Module):
    """Maps token ids to one hidden vector per token; the module that pre-trained weights are loaded into."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.n_layers))

    def forward(self, ids: Tensor, types: Tensor, layout: Layout) -> Tensor:
        """Compute the hidden vectors of the last layer.

        Args:
            ids: int64 token ids of ``layout.shape``.
            types: int64 segment ids of the same shape.
            layout: the positions of the sequences.

        Returns:
            ``layout.shape`` + (D,): (N, D) packed, (B, T, D) padded; undefined at padding.

        Raises:
            LayoutError: ids and layout differ in shape, or a sequence is longer than the position embedding.
        """
        return self.hidden_states(ids, types, layout)[-1]

    def first_tokens(self, ids: Tensor, types: Tensor, layout: Layout) -> Tensor:
        """Compute (B, D): the last layer's hidden vector of each sequence's first token, [CLS].

        The result equals picking them from :meth:`forward`, but the last layer computes no other vector.
        """
        return self.tokens(ids, types, layout, layout.starts)

    def tokens(self, ids: Tensor, types: Tensor, layout: Layout, selected: Tensor) -> Tensor:
        """Compute (M, D): the last layer's hidden vectors of selected tokens only.

        Args:
            ids: as for :meth:`forward`.
            types: as for :meth:`forward`.
            layout: as for :meth:`forward`.
            selected: int64 (M,), indices of the tokens in the flattened token axis.
        """
        hidden = self._states(ids, types, layout, selected)[-1]
        return hidden if self.layers else hidden.index_select(0, selected)

    def hidden_states(self, ids: Tensor, types: Tensor, layout: Layout) -> list[Tensor]:
        """The output of the embeddings and of every layer: L + 1 tensors shaped as the result of :meth:`forward`."""
        return [state.view(*layout.shape, -1) for state in self._states(ids, types, layout, None)]

    def _states(self, ids: Tensor, types: Tensor, layout: Layout, selected: Tensor | None) -> list[Tensor]:
        """(N, D) after the embeddings and every layer; after the last layer only (M, D) if tokens are ``selected``."""
        if tuple(ids.shape) != layout.shape:
            raise LayoutError(f"encoder: ids must have the layout's shape {layout.shape}, but have {tuple(ids.shape)}.")
        longest = 0 if layout.row_mask is not None else int(layout.lengths.max())
        if longest > self.config.max_length:
            raise LayoutError(
                f"encoder: a sequence has {longest} tokens, but the encoder accepts at most {self.config.max_length}; "
                "lower tokens.max_length."
            )
        ids, types = ids.flatten(), types.flatten()
        n, m = ids.shape[0], 0 if selected is None else selected.shape[0]  # len() of a recorded tensor is a constant
        if layout.slot is not None and ids.device.type == "cpu" and not torch.is_grad_enabled():
            spare = (0, round_rows(n) - n)
            ids, types, layout = F.pad(ids, spare), F.pad(types, spare), layout.with_spare_tokens(round_rows(n))
            selected = None if selected is None else F.pad(selected, (0, round_rows(m) - m))
        x = self.embeddings(ids, types, layout.positions.flatten())
        states = [x[:n]]
        for i, layer in enumerate(self.layers, start=1):
            is_last = i == len(self.layers)
            x = layer(x, layout, selected if is_last else None)
            states.append(x[: m if is_last and selected is not None else n])
        return states
