"""Encoded texts from the disk cache, so that the second run on the same data starts at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import tokenizers

from bertwright.cache.column_file import Columns
from bertwright.cache.disk_cache import Cache
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer, check_texts
from bertwright.tokenization.windows import encode_windows

DEFAULT = TokenSettings()

FORMAT = "2"
"""Part of every key; raise it when the layout of an entry or the meaning of an id changes."""

MIN_ROWS = 2000
"""Fewer rows are encoded in less time (0.02 s) than a cache entry is worth."""

_TYPES: dict[str, type[np.generic]] = {
    "ids": np.int32,
    "types": np.uint8,
    "bounds": np.int64,
    "examples": np.int64,
    "dropped": np.int32,
    "offsets": np.int32,
    "core": np.bool_,
}


def cached_encode(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    tokens: TokenSettings = DEFAULT,
    *,
    folder: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Encodings:
    """Texts, or pairs of texts, as tokens, truncated or in windows; from the cache if it has them.

    Args:
        tokenizer: the encoder's.
        texts: the texts, or the first texts of the pairs.
        pairs: the second texts; None if there are none.
        tokens: maximum length, and what happens to longer sequences.
        folder: of the cache; None for the default.
        on_progress: called every few thousand examples with the number of those done so far.
        on_note: called with a sentence if the cache cannot be used or an entry is damaged.

    Raises:
        DataError: a text is not text, or a sequence cannot be made to fit.
    """
    check_texts(texts, pairs)

    def encode() -> Encodings:
        length = tokens.max_length
        if tokens.truncation == "windows":
            stride = tokens.stride
            return encode_windows(tokenizer, texts, pairs, max_length=length, stride=stride, on_progress=on_progress)
        return tokenizer.encode(texts, pairs, max_length=length, truncation=tokens.truncation, on_progress=on_progress)

    if len(texts) < MIN_ROWS:
        return encode()
    cache = Cache("encodings", on_note, folder)
    if cache.folder is None:
        return encode()
    key = _key(tokenizer, texts, pairs, tokens)
    entry = cache.load(key, _TYPES)
    if entry is not None:
        try:
            encodings = _from_columns(entry[0], len(texts))
        except (ValueError, KeyError, TypeError) as error:
            cache.discard(key, str(error))
        else:
            if on_progress is not None:
                on_progress(len(texts))
            return encodings
    encodings = encode()
    columns = {name: column for name in _TYPES if (column := getattr(encodings, name)) is not None}
    saved = cache.save(key, _TYPES, columns)
    cache.make_room({cache.path(key)})
    # the memory-mapped entry replaces what is in memory
    return encodings if saved is None else _from_columns(saved, len(texts))


def _key(tokenizer: Tokenizer, texts: Sequence[str], pairs: Sequence[str] | None, tokens: TokenSettings) -> str:
    """A hash of everything that the ids depend on."""
    settings = [
        FORMAT,
        tokenizers.__version__,
        tokenizer.fingerprint,
        tokens.model_dump(mode="json"),
        len(texts),
        pairs is None,
    ]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for side in (texts, () if pairs is None else pairs):
        for text in side:
            data = text.encode("utf-8", "surrogatepass")
            # With the length before every text, different lists of texts are different bytes.
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()


def _from_columns(columns: Columns, n_rows: int) -> Encodings:
    if columns["examples"][-1] != n_rows - 1:
        raise ValueError("the entry of other rows")
    if "offsets" in columns:
        columns["offsets"] = columns["offsets"].reshape(-1, 2)
    return Encodings(**cast("dict[str, Any]", columns))
