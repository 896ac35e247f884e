"""Running text as ids: what stands in it is text, whatever it spells, and sentences follow one another."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from bertwright.errors import TokenizerError
from bertwright.text.tokenizer import Tokenizer


class PlainText:
    """Splits sentences of running text, as fast as the library does.

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

    def ids(self, sentences: list[str]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The ids of all sentences, one after the other, and the number of each one's.

        Raises:
            TokenizerError: one cannot be split.
        """
        rows = self._rows(sentences)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(chain.from_iterable(rows), self.kind, int(lengths.sum())), lengths

    def _rows(self, sentences: list[str]) -> list[list[int]]:
        try:
            encoded = self._backend.encode_batch_fast(sentences, add_special_tokens=False)
        except Exception as error:  # the library raises bare Exceptions
            raise TokenizerError(f"tokenizer: it cannot split a text: {error}; is it damaged?") from error
        return [one.ids for one in encoded]
