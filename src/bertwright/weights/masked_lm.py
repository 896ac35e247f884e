"""A masked language model with the head it was pre-trained with: what words fit into a gap."""

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
"""Tokens a batch: the scores of its masked tokens over a vocabulary of 30,000 take some 75 MB at 15 % masked."""

TOP_K = 10
"""Out of how many of the likeliest words one is drawn."""


@dataclass(frozen=True)
class MaskedLM:
    """A masked language model; open one with :func:`open_masked_lm`.

    Attributes:
        encoder: in evaluation mode.
        head: likewise.
        tokenizer: the one they were trained with.
        mask_id: the id of its mask.
    """

    encoder: Encoder
    head: PretrainingHead
    tokenizer: Tokenizer
    mask_id: int

    @cached_property
    def words(self) -> dict[int, str]:
        """The ids of the vocabulary that are whole words of letters, and the words."""
        return _whole_words(self.tokenizer.backend)

    def substitute(
        self, texts: Sequence[str], places: Sequence[Sequence[Span]], draws: Sequence[Sequence[float]]
    ) -> list[list[str | None]]:
        """Words that fit into texts, for :func:`bertwright.data.augment.augment`.

        All places of a text are masked at once. Of the :data:`TOP_K` likeliest whole words but the one that stood
        there, one is drawn, each as often as it is likely.

        Args:
            texts: the texts.
            places: the characters of each that a word is wanted for, in order.
            draws: for each place a number of at least 0 and below 1, which decides.

        Returns:
            A word for each place; None past the length that the encoder reads, and in texts that spell out a mask.
        """
        mask = str(self.tokenizer.backend.id_to_token(self.mask_id))
        gaps = [() if mask in text else spans for text, spans in zip(texts, places, strict=True)]
        masked = [_with_gaps(text, spans, mask) for text, spans in zip(texts, gaps, strict=True)]
        found: list[list[str | None]] = [[None] * len(spans) for spans in places]
        waiting = [iter(enumerate(spans)) for spans in gaps]
        for i, likely in self._likely(masked):
            for place, (start, end) in itertools.islice(waiting[i], 1):  # none where the text itself spells a mask
                found[i][place] = _drawn(likely, texts[i][start:end], draws[i][place])
        return found

    @torch.no_grad()
    def _likely(self, texts: Sequence[str]) -> Iterator[tuple[int, list[tuple[str, float]]]]:
        """For every mask in turn the number of its text and the likeliest words with their probabilities."""
        encodings = self.tokenizer.encode(texts, max_length=self.encoder.config.max_length)
        device = self.head.bias.device
        ids = torch.tensor(list(self.words), dtype=torch.int64, device=device)
        k = min(TOP_K + 1, len(ids))  # one more, lest the word that stood there be among them
        for batch in iterate_in_order(encodings, MAX_TOKENS) if texts else ():
            here = batch.to(device)
            gaps = here.ids == self.mask_id
            hidden = self.encoder(here.ids, here.types, here.layout)[gaps]
            best = self.head.words(self.head.scores(hidden, here.layout)).index_select(1, ids).softmax(1).topk(k)
            rows = np.repeat(batch.indices, encodings.lengths[batch.indices])[gaps.cpu().numpy()]
            for row, weights, chosen in zip(
                rows.tolist(), best.values.tolist(), ids[best.indices].tolist(), strict=True
            ):
                yield row, [(self.words[id_], weight) for id_, weight in zip(chosen, weights, strict=True)]


def open_masked_lm(name_or_path: str | os.PathLike[str], device: str | torch.device = "cpu") -> MaskedLM:
    """Open a model as it was pre-trained, here or on the Hub, with its head.

    Raises:
        HubError: it is neither here nor there.
        WeightsError: it has no masked-LM head, or is damaged.
        TokenizerError: its tokenizer is, or has no mask.
    """
    found = open_pretrained(name_or_path)
    mask_id = found.tokenizer.mask_id
    if mask_id is None:
        raise TokenizerError(f"{name_or_path}: its tokenizer has no mask, so there are no gaps to fill; name another.")
    if not found.hf_config.get("tie_word_embeddings", True):
        raise WeightsError(f"{name_or_path}: its output layer is not the word embedding; name a model where it is.")
    encoder = Encoder(found.config)
    head = PretrainingHead(found.config, found.family.heads["masked_lm"].activation)
    report = load_into(Model(encoder, head), open_checkpoint(found.directory), found.family, head="masked_lm")
    if not head_is_trained(report):
        raise WeightsError(
            f"{name_or_path}: holds no masked-LM head; name a model as it was pre-trained, such as bert-base-uncased."
        )
    return MaskedLM(encoder.to(device).eval(), head.to(device).eval(), found.tokenizer, mask_id)


def _with_gaps(text: str, spans: Sequence[Span], mask: str) -> str:
    for start, end in reversed(spans):
        text = text[:start] + mask + text[end:]
    return text


def _drawn(likely: Sequence[tuple[str, float]], old: str, draw: float) -> str | None:
    """One of the words, each as often as it is likely, but the one that was there."""
    fitting = [(word, weight) for word, weight in likely if word.casefold() != old.casefold()][:TOP_K]
    rest = draw * sum(weight for _, weight in fitting)
    for word, weight in fitting:
        rest -= weight
        if rest < 0:
            return word
    return fitting[-1][0] if fitting else None


def _whole_words(backend: tokenizers.Tokenizer) -> dict[int, str]:
    """The words of a vocabulary by their ids: its pieces of letters that begin a word, inner pieces left out.

    Byte-level BPE marks beginnings with Ġ, SentencePiece with ▁, on most of their pieces; WordPiece marks the others.
    """
    vocabulary = backend.get_vocab(with_added_tokens=False)
    marks = [mark for mark in "Ġ▁" if sum(piece.startswith(mark) for piece in vocabulary) > len(vocabulary) / 10]
    begins = sorted(id_ for piece, id_ in vocabulary.items() if piece.startswith(tuple(marks or [""])))
    words = {id_: backend.decode([id_]).strip() for id_ in begins}
    return {id_: word for id_, word in words.items() if word.isalpha()}
