"""The heads that BERT is pre-trained with: which word stands at a masked place, and which sentence comes next."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertwright.errors import LayoutError
from bertwright.nn.batch import Batch
from bertwright.nn.decoder import ROWS, decoded_loss
from bertwright.nn.encoder import ACTIVATIONS, Encoder, EncoderConfig
from bertwright.nn.heads import Head, Reads
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear

IGNORE = -100
"""The target of a token that nothing is asked of, as in :mod:`bertwright.tokenization.encodings`."""

FILL = -1
"""The target of a gap that is to be filled, of which nobody knows what belongs there."""

BEST = 10
"""Of so many of the likeliest words the ids and probabilities are given for a gap that is to be filled."""

LOSS, RIGHT, FIRST = 0, 1, 2
"""Columns of what is predicted: the negative log-likelihood, whether the likeliest was right, then ids and shares."""

WIDTH = FIRST + 2 * BEST

_NO_TARGETS = "pre-training: the batch has no targets, so nothing is asked of it; encode texts as the task does."


class LanguageHead(Head):
    """Masked words by the word embedding once more, and the next sentence by the pooler (Devlin et al. 2018, 3.1).

    Only the tokens of which something is asked are looked at: those whose target is not :data:`IGNORE`, and, where
    the next sentence is guessed, the first token of every sequence, whose target says whether it does come next (0)
    or not (1), transformers' numbers.

    Args:
        config: of the encoder.
        activation: between the dense layer and its LayerNorm, a name in :data:`~bertwright.nn.encoder.ACTIVATIONS`.
        pooler: whether there is a pooler; without ``next_sentence`` it is kept as it is for whoever fine-tunes.
        next_sentence: whether the next sentence is guessed.
    """

    reads: Reads = "asked_tokens"
    published = True

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
        """Share the word embedding of the encoder that the head sits on."""
        # in a tuple torch does not see it: its weights are the encoder's, and counted there
        self._tied = (encoder.embeddings.word,)

    @property
    def unused(self) -> tuple[nn.Module, ...]:
        """The pooler, where no next sentence is guessed."""
        return () if self.pooler is None or self.next is not None else (self.pooler,)

    @property
    def ties_words(self) -> bool:
        """That every row of the word embedding gets a gradient in every step."""
        return True

    def asked(self, batch: Batch) -> Tensor:
        """int64 (M,): where the tokens stand that something is asked of, first tokens first if sentences are guessed.

        Raises:
            LayoutError: the batch has no targets.
        """
        if batch.targets is None:
            raise LayoutError(_NO_TARGETS)
        asked = batch.targets != IGNORE
        if self.next is not None:
            asked = asked.index_fill(0, self._starts(batch.layout), False)
        places = asked.nonzero()[:, 0]
        if not batch.layout.is_packed:
            places = batch.layout.mask.flatten().nonzero()[:, 0][places]
        return places if self.next is None else torch.cat([batch.layout.starts, places])

    def features(self, hidden: Tensor, layout: Layout) -> Tensor:
        """(M, D) → (M, D)."""
        return hidden

    def scores(self, features: Tensor, layout: Layout) -> Tensor:
        """(M, D) → what output layers multiply: B pooled vectors if sentences are guessed, then one a masked word."""
        n = 0 if self.next is None else len(layout)
        words: Tensor = self.norm(self.activation(self.dense(features[n:])))
        if not n or self.pooler is None:
            return words
        return torch.cat([torch.tanh(self.pooler(features[:n])), words])

    def words(self, x: Tensor) -> Tensor:
        """What :meth:`scores` gave of masked words (M, E) → scores over the vocabulary (M, V)."""
        return F.linear(x, self._tied[0].weight, self.bias)

    def loss(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> tuple[Tensor, float] | None:
        """The loss summed over masked words, and how many; the guess of a sentence counts once for each of them.

        So both losses weigh alike, as published, and any split of a batch gives the same gradient.
        """
        pooled, x, right, follows = self._apart(scores, targets, layout)
        word = self._tied[0]
        # where the embedding's own gradient is sparse, the optimizer keeps a dense buffer for it
        total = decoded_loss(x, word.weight, self.bias, right, word.weight.grad if word.sparse else None)
        if self.next is not None and targets is not None:
            masked = (targets != IGNORE).index_fill(0, self._starts(layout), False).float()
            lengths = torch.as_tensor(layout.lengths, device=masked.device)
            weights = torch.segment_reduce(masked, "sum", lengths=lengths)
            total = total + (F.cross_entropy(self.next(pooled).float(), follows, reduction="none") * weights).sum()
        return total, float(len(right))

    @torch.no_grad()
    def predicted(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> Tensor:
        """(N, 2 + 2 K), of every token: loss, whether the likeliest was right, ids of the K likeliest, their shares.

        Zeros where nothing is asked, and for the likeliest of tokens that are known. Of a first token the sentences
        0 and 1 in place of words.
        """
        pooled, x, right, follows = self._apart(scores, targets, layout)
        found = scores.new_zeros(layout.n_tokens, WIDTH, dtype=torch.float32)
        places = torch.zeros(layout.n_tokens, dtype=torch.bool) if targets is None else targets != IGNORE
        starts = self._starts(layout)
        if self.next is not None:
            places = places.index_fill(0, starts, False)
            found[starts] = _judged(self.next(pooled).float(), follows, known=False)
        parts = [
            _judged(self.words(piece).float(), of) for piece, of in zip(x.split(ROWS), right.split(ROWS), strict=True)
        ]
        if len(x):
            found[places] = torch.cat(parts)
        return found

    def _apart(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pooled vectors, those of words, the right words, and whether sentences follow."""
        if targets is None:
            raise LayoutError(_NO_TARGETS)
        if self.next is None:
            return scores[:0], scores, targets[targets != IGNORE], targets[:0]
        starts, n = self._starts(layout), len(layout)
        words = targets.index_fill(0, starts, IGNORE)
        return scores[:n], scores[n:], words[words != IGNORE], targets[starts]

    def _starts(self, layout: Layout) -> Tensor:
        """Where sequences begin among the tokens without padding, as targets are kept."""
        if layout.is_packed:
            return layout.starts
        lengths = torch.as_tensor(layout.lengths, device=layout.starts.device)
        return lengths.cumsum(0) - lengths


def _judged(scores: Tensor, right: Tensor, known: bool = True) -> Tensor:
    """(M, V) → (M, 2 + 2 K); the likeliest only of gaps to be filled, or of all if nothing is ``known``."""
    found = scores.new_zeros(len(scores), WIDTH)
    log_norm = scores.logsumexp(1)
    place = right.clamp(min=0)[:, None]
    found[:, LOSS] = (log_norm - scores.gather(1, place)[:, 0]).where(right >= 0, 0.0)
    found[:, RIGHT] = (scores.argmax(1) == right).float()
    asked = torch.ones_like(right, dtype=torch.bool) if not known else right == FILL
    if bool(asked.any()):
        k = min(BEST, scores.shape[1])
        best = scores[asked].topk(k)
        found[asked, FIRST : FIRST + k] = best.indices.float()
        found[asked, FIRST + BEST : FIRST + BEST + k] = (best.values - log_norm[asked, None]).exp()
    return found
