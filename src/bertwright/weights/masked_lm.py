"""Pre-trained masked language models with their head, for word substitution."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tokenizers
import torch

from bertwright.data.example import Span
from bertwright.errors import TokenizerError, WeightsError
from bertwright.nn.encoder import Encoder
from bertwright.nn.model import Model
from bertwright.nn.pretraining_heads import PretrainingHead
from bertwright.tokenization.batching import iterate_in_order
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.weights.checkpoint_files import open_checkpoint
from bertwright.weights.loading import head_is_trained, load_into
from bertwright.weights.pretrained import open_pretrained

MAX_TOKENS = 4096
"""Tokens per batch: the scores of its masked tokens over a vocabulary of 30,000 take 75 MB at 15 % masked."""

TOP_K = 10
"""Number of most likely words from which a substitute is drawn."""


@dataclass(frozen=True)
class MaskedLM:
    """A masked language model; open one with :func:`open_masked_lm`.

    Attributes:
        encoder: the encoder in evaluation mode.
        head: the head in evaluation mode.
        tokenizer: its tokenizer.
        mask_id: the id of the mask token.
    """

    encoder: Encoder
    head: PretrainingHead
    tokenizer: Tokenizer
    mask_id: int

    @cached_property
    def words(self) -> dict[int, str]:
        """Token id → word, for all whole words of letters in the vocabulary."""
        return _whole_words(self.tokenizer.backend)

    def substitute(
        self, texts: Sequence[str], places: Sequence[Sequence[Span]], draws: Sequence[Sequence[float]]
    ) -> list[list[str | None]]:
        """Return words that fit into texts, for :func:`bertwright.data.augment.augment`.

        All places of a text are masked at once. One of the :data:`TOP_K` most likely whole words, except the original
        word, is drawn with its probability.

        Args:
            texts: the texts.
            places: the character spans to replace in each text, in order.
            draws: a random number in [0, 1) for each place.

        Returns:
            A word for each place; None beyond the maximum length of the encoder, and in texts that contain the mask
            token.
        """
        mask = str(self.tokenizer.backend.id_to_token(self.mask_id))
        gaps = [() if mask in text else spans for text, spans in zip(texts, places, strict=True)]
        masked = [_with_gaps(text, spans, mask) for text, spans in zip(texts, gaps, strict=True)]
        substitutes: list[list[str | None]] = [[None] * len(spans) for spans in places]
        waiting = [iter(enumerate(spans)) for spans in gaps]
        for i, likely in self._likely(masked):
            for place, (start, end) in itertools.islice(
                waiting[i], 1
            ):  # none if the text itself contains the mask token
                substitutes[i][place] = _draw_word(likely, texts[i][start:end], draws[i][place])
        return substitutes

    @torch.no_grad()
    def _likely(self, texts: Sequence[str]) -> Iterator[tuple[int, list[tuple[str, float]]]]:
        """Yield, for every mask in turn, the index of its text and the most likely words with their probabilities."""
        encodings = self.tokenizer.encode(texts, max_length=self.encoder.config.max_length)
        device = self.head.bias.device
        ids = torch.tensor(list(self.words), dtype=torch.int64, device=device)
        k = min(TOP_K + 1, len(ids))  # one more, because the original word may be among them
        for batch in iterate_in_order(encodings, MAX_TOKENS) if texts else ():
            moved = batch.to(device)
            gaps = moved.ids == self.mask_id
            hidden = self.encoder(moved.ids, moved.types, moved.layout)[gaps]
            best = self.head.words(self.head.scores(hidden, moved.layout)).index_select(1, ids).softmax(1).topk(k)
            rows = np.repeat(batch.indices, encodings.lengths[batch.indices])[gaps.cpu().numpy()]
            for row, weights, chosen in zip(
                rows.tolist(), best.values.tolist(), ids[best.indices].tolist(), strict=True
            ):
                yield row, [(self.words[id_], weight) for id_, weight in zip(chosen, weights, strict=True)]


def open_masked_lm(name_or_path: str | os.PathLike[str], device: str | torch.device = "cpu") -> MaskedLM:
    """Open a pre-trained model, local or on the Hub, with its masked-LM head.

    Raises:
        HubError: the model cannot be pretrained.
        WeightsError: it has no masked-LM head, or is damaged.
        TokenizerError: its tokenizer is damaged, or has no mask token.
    """
    pretrained = open_pretrained(name_or_path)
    mask_id = pretrained.tokenizer.mask_id
    if mask_id is None:
        raise TokenizerError(f"{name_or_path}: its tokenizer has no mask token; choose another model.")
    if not pretrained.hf_config.get("tie_word_embeddings", True):
        raise WeightsError(f"{name_or_path}: its output layer is not tied to the word embedding; choose another model.")
    encoder = Encoder(pretrained.config)
    head = PretrainingHead(pretrained.config, pretrained.family.heads["masked_lm"].activation)
    report = load_into(Model(encoder, head), open_checkpoint(pretrained.directory), pretrained.family, head="masked_lm")
    if not head_is_trained(report):
        raise WeightsError(
            f"{name_or_path}: has no masked-LM head; choose a pre-trained model such as bert-base-uncased."
        )
    return MaskedLM(encoder.to(device).eval(), head.to(device).eval(), pretrained.tokenizer, mask_id)


def _with_gaps(text: str, spans: Sequence[Span], mask: str) -> str:
    for start, end in reversed(spans):
        text = text[:start] + mask + text[end:]
    return text


def _draw_word(likely: Sequence[tuple[str, float]], old: str, draw: float) -> str | None:
    """Draw a word other than the original with its probability."""
    candidates = [(word, weight) for word, weight in likely if word.casefold() != old.casefold()][:TOP_K]
    rest = draw * sum(weight for _, weight in candidates)
    for word, weight in candidates:
        rest -= weight
        if rest < 0:
            return word
    return candidates[-1][0] if candidates else None


def _whole_words(backend: tokenizers.Tokenizer) -> dict[int, str]:
    """Return the whole words of a vocabulary by id: tokens of letters that start a word, without continuations.

    Byte-level BPE marks the start of a word with Ġ and SentencePiece with ▁; WordPiece marks continuations.
    """
    vocabulary = backend.get_vocab(with_added_tokens=False)
    marks = [mark for mark in "Ġ▁" if sum(piece.startswith(mark) for piece in vocabulary) > len(vocabulary) / 10]
    begins = sorted(id_ for piece, id_ in vocabulary.items() if piece.startswith(tuple(marks or [""])))
    words = {id_: backend.decode([id_]).strip() for id_ in begins}
    return {id_: word for id_, word in words.items() if word.isalpha()}
