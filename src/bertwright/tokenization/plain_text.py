"""``PlainTextEncoder``: encodes corpus sentences as token ids, with a cache of word ids.

Text in a corpus is never a special token, even if it looks like one, and sentences follow one another. BERT's WordPiece
splits one word at a time and words recur, so the library splits each distinct word between two spaces once, and its ids
are looked up afterwards. The ids are the same at half the cost.
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

MAX_CACHED_WORDS: Final = 400_000
"""Maximum number of words whose ids are cached, 0.1 GB; frequent words occur early."""

MAX_CACHED_WORD_LENGTH: Final = 32
"""Maximum length of a cached word, in characters."""


class PlainTextEncoder:
    """Encodes the sentences of running text.

    Attributes:
        id_dtype: the type of an id: uint16 if all ids are less than 65,536, else int32.
        sentence_prefix: text to put before a sentence that follows another one: a space for byte-level tokenizers,
            which make it part of the next token; empty for others.
    """

    id_dtype: type[np.uint16] | type[np.int32]
    sentence_prefix: str

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Copy the tokenizer and switch off the recognition of special tokens such as "[SEP]" in the copy.

        Raises:
            TokenizerError: the tokenizer cannot split a text.
        """
        self._backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
        self._backend.encode_special_tokens = True
        largest = max(self._backend.get_vocab(with_added_tokens=True).values())
        self.id_dtype = np.uint16 if largest < 1 << 16 else np.int32
        plain, spaced = self._encode_batch(["a", " a"])
        self.sentence_prefix = " " if plain != spaced else ""
        self._splits_at_spaces = _splits_at_spaces(self._backend)
        self._cache: dict[str, bytes] = {}

    def encode(self, sentences: list[str]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the concatenated ids of all sentences, and the number of ids of each sentence.

        Raises:
            TokenizerError: a sentence cannot be split.
        """
        if self._splits_at_spaces:
            return self._encode_words([sentence.split(" ") for sentence in sentences])
        rows = self._encode_batch(sentences)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(chain.from_iterable(rows), self.id_dtype, int(lengths.sum())), lengths

    def _encode_words(self, sentences: list[list[str]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        words = list(chain.from_iterable(sentences))
        ids_of_words = list(map(self._cache.get, words))
        if None in ids_of_words:
            pairs = zip(words, ids_of_words, strict=True)
            new = list(dict.fromkeys([word for word, ids in pairs if ids is None]))
            code = "H" if self.id_dtype is np.uint16 else "i"
            rows = zip(new, self._encode_batch(new), strict=True)
            new_ids = {word: array(code, row).tobytes() for word, row in rows}
            pairs = zip(words, ids_of_words, strict=True)
            ids_of_words = [new_ids[word] if ids is None else ids for word, ids in pairs]
            if len(self._cache) < MAX_CACHED_WORDS:
                self._cache |= {word: ids for word, ids in new_ids.items() if len(word) <= MAX_CACHED_WORD_LENGTH}
        all_ids = np.frombuffer(b"".join(ids_of_words), self.id_dtype)  # type: ignore[arg-type]  # no None is left
        sizes = np.fromiter(map(len, ids_of_words), np.int64, len(words)) // all_ids.itemsize  # type: ignore[arg-type]
        counts = np.fromiter(map(len, sentences), np.int64, len(sentences))
        return all_ids, np.add.reduceat(sizes, np.cumsum(counts) - counts)

    def _encode_batch(self, texts: list[str]) -> list[list[int]]:
        pool.start()
        try:
            encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:  # the library raises bare Exceptions
            raise TokenizerError(
                f"tokenizer: cannot split a text: {error}; check whether its files are damaged."
            ) from error
        return [encoding.ids for encoding in encodings]


def _splits_at_spaces(backend: tokenizers.Tokenizer) -> bool:
    """Whether the tokens of a word never depend on text beyond the adjacent spaces.

    BERT's normalizer works on single characters (no accent crosses a space), its pre-tokenizer splits at white space
    and punctuation. Added tokens are matched before that and may contain spaces.
    """
    return (
        isinstance(backend.model, models.WordPiece)
        and isinstance(backend.normalizer, normalizers.BertNormalizer)
        and isinstance(backend.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and all(token.special for token in backend.get_added_tokens_decoder().values())
    )
