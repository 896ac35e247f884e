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
from bertwright.nn.head_outputs import MaskedLMOutput
from bertwright.nn.heads import Head, Reads
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear

PREDICT_ONLY = -1
"""Target of a masked token whose true word is unknown, for filling gaps."""

BEST = 10
"""Number of most probable words that are predicted for a token without a known word."""

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
    def decode(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> MaskedLMOutput:
        """Return loss and correctness for tokens whose true word is known, and the top words for the others.

        Args:
            scores: from :meth:`scores`.
            targets: int64 (N,), word ids; :data:`PREDICT_ONLY` where the true word is unknown.
            layout: the positions of the sequences.
        """
        pooled, x, true_words, is_random_next = self._split(scores, targets, layout)
        chunks = zip(x.split(TOKENS_PER_CHUNK), true_words.split(TOKENS_PER_CHUNK), strict=True)
        parts = [_decode_words(self.words(chunk).float(), words) for chunk, words in chunks]
        losses, is_correct, top_ids, top_probabilities = (torch.cat(column) for column in zip(*parts, strict=True))
        sentences = scores.new_zeros(0, 2) if self.next is None else self.next(pooled)
        sentence_losses, is_sentence_correct = _judge(sentences.float(), is_random_next)
        probabilities = (sentences.float() - sentences.float().logsumexp(1, keepdim=True)).exp()
        tensors = (losses, is_correct, top_ids, top_probabilities, sentence_losses, is_sentence_correct, probabilities)
        return MaskedLMOutput(*(tensor.cpu().numpy() for tensor in tensors))

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


def _judge(scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """(M, V) → negative log-likelihood of the true class (M,), 0 where it is unknown; whether it has the top score."""
    likelihood = scores.gather(1, truth.clamp(min=0)[:, None])[:, 0]
    loss = (scores.logsumexp(1) - likelihood).where(truth >= 0, 0.0)
    return loss, scores.argmax(1) == truth


def _decode_words(scores: Tensor, true_words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(M, V) → loss and correctness (M,), ids and probabilities of the top words (M, K) where the word is unknown."""
    loss, is_correct = _judge(scores, true_words)
    top_ids = true_words.new_zeros(len(scores), BEST)
    probabilities = scores.new_zeros(len(scores), BEST)
    unknown = true_words == PREDICT_ONLY
    if bool(unknown.any()):
        k = min(BEST, scores.shape[1])
        best = scores[unknown].topk(k)
        top_ids[unknown, :k] = best.indices
        probabilities[unknown, :k] = (best.values - scores.logsumexp(1)[unknown, None]).exp()
    return loss, is_correct, top_ids, probabilities
