"""The pre-training head: masked language modeling and next-sentence prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertwright.errors import LayoutError
from bertwright.nn import IGNORE_INDEX
from bertwright.nn.batch import Batch
from bertwright.nn.decoder import TOKENS_PER_CHUNK, vocabulary_cross_entropy
from bertwright.nn.encoder import ACTIVATIONS, Encoder, EncoderConfig
from bertwright.nn.heads import Head, Reads
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear

PREDICT_ONLY = -1
"""Target of a masked token whose true word is unknown, for filling gaps."""

BEST = 10
"""Number of most probable words that are predicted for a token without a known word."""

LOSS, CORRECT, FIRST = 0, 1, 2
"""Columns of a prediction: negative log-likelihood, whether the top word is correct; word ids, probabilities."""

WIDTH = FIRST + 2 * BEST

_NO_TARGETS = "pre-training: the batch has no targets; encode its texts with the pretraining task."


class PretrainingHead(Head):
    """Masked words from the word embedding, next sentence from the pooler (Devlin et al. 2018, section 3.1).

    Only tokens with a target are processed: those whose target is not :data:`~bertwright.nn.IGNORE_INDEX`. With
    ``next_sentence``, also the first token of every sequence; its target is 0 if the second text is the next sentence
    and 1 if not, as in transformers.

    Args:
        config: the configuration of the encoder.
        activation: activation after the dense layer, a name in :data:`~bertwright.nn.encoder.ACTIVATIONS`.
        pooler: whether to keep a pooler; without ``next_sentence`` it does not train and is saved for fine-tuning.
        next_sentence: whether to predict the next sentence.
    """

    reads: Reads = "selected_tokens"
    is_standard = True

    def __init__(
        self, config: EncoderConfig, activation: str = "", pooler: bool = False, next_sentence: bool = False
    ) -> None:
        super().__init__()
        size = config.embedding_width or config.width
        self.pooler = Linear(config.width, config.width) if pooler or next_sentence else None
        self.next = Linear(config.width, 2) if next_sentence else None
        self.dense = Linear(config.width, size)
        self.activation = ACTIVATIONS[activation or config.activation]
        self.norm = nn.LayerNorm(size, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self._tied: tuple[nn.Embedding, ...] = ()

    def attach(self, encoder: Encoder) -> None:
        """Share the word embedding of the encoder."""
        # a tuple hides the module from torch: its weights belong to the encoder and are counted there
        self._tied = (encoder.embeddings.word,)

    @property
    def unused_modules(self) -> tuple[nn.Module, ...]:
        """The pooler, if it does not predict the next sentence."""
        return () if self.pooler is None or self.next is not None else (self.pooler,)

    @property
    def ties_word_embedding(self) -> bool:
        """True: every row of the word embedding gets a gradient in every step."""
        return True

    def select_tokens(self, batch: Batch) -> Tensor:
        """Return int64 (M,): indices of the tokens with targets, after the B first tokens with ``next_sentence``.

        Raises:
            LayoutError: the batch has no targets.
        """
        if batch.targets is None:
            raise LayoutError(_NO_TARGETS)
        selected = batch.targets != IGNORE_INDEX
        if self.next is not None:
            selected = selected.index_fill(0, self._starts(batch.layout), False)
        places = selected.nonzero()[:, 0]
        if not batch.layout.is_packed:
            places = batch.layout.mask.flatten().nonzero()[:, 0][places]
        return places if self.next is None else torch.cat([batch.layout.starts, places])

    def features(self, hidden: Tensor, layout: Layout) -> Tensor:
        """(M, D) → (M, D)."""
        return hidden

    def scores(self, features: Tensor, layout: Layout) -> Tensor:
        """(M, D) → (M, E), inputs of the output layer; with ``next_sentence`` the first B are pooled vectors (B, D)."""
        n = 0 if self.next is None else len(layout)
        words: Tensor = self.norm(self.activation(self.dense(features[n:])))
        if not n or self.pooler is None:
            return words
        return torch.cat([torch.tanh(self.pooler(features[:n])), words])

    def words(self, x: Tensor) -> Tensor:
        """Masked words' rows of :meth:`scores`, (M, E) → scores over the vocabulary (M, V)."""
        return F.linear(x, self._tied[0].weight, self.bias)

    def loss(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> tuple[Tensor, float] | None:
        """Sum the loss over masked words, and count them; the loss of a sentence pair is weighted by its masked words.

        Both losses then have equal weight, as published, and any split of a batch gives the same gradient.
        """
        pooled, x, true_words, is_random_next = self._split(scores, targets, layout)
        word = self._tied[0]
        # where the embedding's own gradient is sparse, the optimizer keeps a dense buffer for it
        gradient = word.weight.grad if word.sparse else None
        total = vocabulary_cross_entropy(x, word.weight, self.bias, true_words, gradient)
        if self.next is not None and targets is not None:
            masked = (targets != IGNORE_INDEX).index_fill(0, self._starts(layout), False).float()
            lengths = torch.as_tensor(layout.lengths, device=masked.device)
            weights = torch.segment_reduce(masked, "sum", lengths=lengths)
            pair_loss = F.cross_entropy(self.next(pooled).float(), is_random_next, reduction="none")
            total = total + (pair_loss * weights).sum()
        return total, float(len(true_words))

    @torch.no_grad()
    def predicted(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> Tensor:
        """(N, 2 + 2 K) per token: loss, whether the top word is correct, ids of the K top words, their probabilities.

        Zeros for tokens without a target; the top words are zeros where the true word is known. First tokens have the
        classes 0 and 1 of next-sentence prediction instead of words.
        """
        pooled, x, true_words, is_random_next = self._split(scores, targets, layout)
        predictions = scores.new_zeros(layout.n_tokens, WIDTH, dtype=torch.float32)
        places = torch.zeros(layout.n_tokens, dtype=torch.bool) if targets is None else targets != IGNORE_INDEX
        starts = self._starts(layout)
        if self.next is not None:
            places = places.index_fill(0, starts, False)
            predictions[starts] = _to_columns(self.next(pooled).float(), is_random_next, always_top=True)
        parts = [
            _to_columns(self.words(chunk).float(), chunk_words)
            for chunk, chunk_words in zip(x.split(TOKENS_PER_CHUNK), true_words.split(TOKENS_PER_CHUNK), strict=True)
        ]
        if len(x):
            predictions[places] = torch.cat(parts)
        return predictions

    def _split(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Split scores into pooled vectors and masked words; split targets into true words and sentence targets."""
        if targets is None:
            raise LayoutError(_NO_TARGETS)
        if self.next is None:
            return scores[:0], scores, targets[targets != IGNORE_INDEX], targets[:0]
        starts, n = self._starts(layout), len(layout)
        words = targets.index_fill(0, starts, IGNORE_INDEX)
        return scores[:n], scores[n:], words[words != IGNORE_INDEX], targets[starts]

    def _starts(self, layout: Layout) -> Tensor:
        """Indices of the first tokens among the tokens without padding, the order of targets."""
        if layout.is_packed:
            return layout.starts
        lengths = torch.as_tensor(layout.lengths, device=layout.starts.device)
        return lengths.cumsum(0) - lengths


def _to_columns(scores: Tensor, true_words: Tensor, always_top: bool = False) -> Tensor:
    """(M, V) → (M, 2 + 2 K); top words only where the true word is unknown, or everywhere with ``always_top``."""
    columns = scores.new_zeros(len(scores), WIDTH)
    log_norm = scores.logsumexp(1)
    place = true_words.clamp(min=0)[:, None]
    columns[:, LOSS] = (log_norm - scores.gather(1, place)[:, 0]).where(true_words >= 0, 0.0)
    columns[:, CORRECT] = (scores.argmax(1) == true_words).float()
    selected = torch.ones_like(true_words, dtype=torch.bool) if always_top else true_words == PREDICT_ONLY
    if bool(selected.any()):
        k = min(BEST, scores.shape[1])
        best = scores[selected].topk(k)
        columns[selected, FIRST : FIRST + k] = best.indices.float()
        columns[selected, FIRST + BEST : FIRST + BEST + k] = (best.values - log_norm[selected, None]).exp()
    return columns
