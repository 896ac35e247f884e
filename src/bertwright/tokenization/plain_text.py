"""Running text as ids: what stands in it is text, whatever it spells, and sentences follow one another.

BERT's WordPiece looks at one word at a time, and words come again and again: what is between two spaces is split by the
library once, and looked up from then on. That gives the same ids for half the work.
"""

from __future__ import annotations

from array import array
from itertools import chain
from typing import Any, Final

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import models, normalizers, pre_tokenizers

from bertwright.errors import TokenizerError
from bertwright.tokenization.threads import pool
from bertwright.tokenization.tokenizer import Tokenizer

REMEMBERED: Final = 400_000
"""Words whose ids are kept, 0.1 GB of them; the frequent ones are met early."""

LONGEST: Final = 32
"""Characters of a word that is worth keeping."""


class PlainText:
    """Splits sentences of running text.

    Attributes:
        kind: the type that holds an id: uint16 if all are less than 65,536, else int32.
        space: what goes before a sentence that follows another one. Byte-level tokenizers write the space before a
            word into its token, others see none.
    """

    kind: type[np.uint16] | type[np.int32]
    space: str

    def __init__(self, tokenizer: Tokenizer) -> None:
        """With a copy of the tokenizer: that "[SEP]" in a text is no separator is a setting of the whole of it.

        Raises:
            TokenizerError: it cannot split a text.
        """
        self._backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
        self._backend.encode_special_tokens = True
        largest = max(self._backend.get_vocab(with_added_tokens=True).values())
        self.kind = np.uint16 if largest < 1 << 16 else np.int32
        alone, spaced = self._rows(["a", " a"])
        self.space = " " if alone != spaced else ""
        self._by_words = _looks_at_words_alone(self._backend)
        self._known: dict[str, bytes] = {}

    def ids(self, sentences: list[str]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The ids of all sentences, one after the other, and the number of each one's.

        Raises:
            TokenizerError: one cannot be split.
        """
        if self._by_words:
            return self._ids_of_words([sentence.split(" ") for sentence in sentences])
        rows = self._rows(sentences)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(chain.from_iterable(rows), self.kind, int(lengths.sum())), lengths

    def _ids_of_words(self, sentences: list[list[str]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        words = list(chain.from_iterable(sentences))
        found = list(map(self._known.get, words))
        if None in found:
            new = list(dict.fromkeys([word for word, ids in zip(words, found, strict=True) if ids is None]))
            code = "H" if self.kind is np.uint16 else "i"
            made = {word: array(code, row).tobytes() for word, row in zip(new, self._rows(new), strict=True)}
            found = [made[word] if ids is None else ids for word, ids in zip(words, found, strict=True)]
            if len(self._known) < REMEMBERED:
                self._known |= {word: ids for word, ids in made.items() if len(word) <= LONGEST}
        ids = np.frombuffer(b"".join(found), self.kind)  # type: ignore[arg-type]  # none of them is None any more
        sizes = np.fromiter(map(len, found), np.int64, len(found)) // ids.itemsize  # type: ignore[arg-type]
        counts = np.fromiter(map(len, sentences), np.int64, len(sentences))
        return ids, np.add.reduceat(sizes, np.cumsum(counts) - counts)

    def _rows(self, texts: list[str]) -> list[list[int]]:
        pool.start()
        try:
            encoded = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:  # the library raises bare Exceptions
            raise TokenizerError(f"tokenizer: it cannot split a text: {error}; is it damaged?") from error
        return [one.ids for one in encoded]


def _looks_at_words_alone(backend: tokenizers.Tokenizer) -> bool:
    """Whether no token depends on anything beyond the next spaces.

    BERT's normalizer goes character by character (no accent passes a space), its splitter cuts at white space and
    punctuation. Tokens that were added to a vocabulary are looked for before, and may hold spaces.
    """
    return (
        isinstance(backend.model, models.WordPiece)
        and isinstance(backend.normalizer, normalizers.BertNormalizer)
        and isinstance(backend.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and all(token.special for token in backend.get_added_tokens_decoder().values())
    )
