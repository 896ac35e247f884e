"""Encoding of texts with a disk cache: a second run on the same data does not tokenize again."""

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

ENCODINGS_FORMAT = "3"
"""Part of every cache key; increase it when the layout of an entry or the meaning of an id changes."""

MIN_ROWS = 2000
"""Minimum number of rows to cache; fewer are encoded faster (0.02 s) than a cache entry is read."""

_TYPES: dict[str, type[np.generic]] = {
    "ids": np.int32,
    "types": np.uint8,
    "bounds": np.int64,
    "examples": np.int64,
    "dropped": np.int32,
    "offsets": np.int32,
    "max_context": np.bool_,
}


def encode_with_cache(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    tokens: TokenSettings = DEFAULT,
    *,
    folder: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Encodings:
    """Encode texts, or pairs of texts, truncated or as windows; use the disk cache if possible.

    Args:
        tokenizer: the tokenizer of the encoder.
        texts: the texts, or the first texts of the pairs.
        pairs: the second texts; None if there are none.
        tokens: maximum length, and how longer sequences are truncated.
        folder: directory of the cache; None for the default.
        on_progress: called every few thousand examples with the number of encoded examples.
        on_note: called with a sentence if the cache cannot be used or an entry is damaged.

    Raises:
        DataError: a text is not a string, or a sequence cannot be truncated to the maximum length.
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
    key = _cache_key(tokenizer, texts, pairs, tokens)
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
    cache.evict({cache.path(key)})
    # the memory-mapped entry replaces the arrays in memory
    return encodings if saved is None else _from_columns(saved, len(texts))


def _cache_key(tokenizer: Tokenizer, texts: Sequence[str], pairs: Sequence[str] | None, tokens: TokenSettings) -> str:
    """Hash everything that the ids depend on."""
    settings = [
        ENCODINGS_FORMAT,
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
            # With the length before each text, different lists of texts give different bytes.
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()


def _from_columns(columns: Columns, n_rows: int) -> Encodings:
    if columns["examples"][-1] != n_rows - 1:
        raise ValueError("the entry belongs to other rows")
    if "offsets" in columns:
        columns["offsets"] = columns["offsets"].reshape(-1, 2)
    return Encodings(**cast("dict[str, Any]", columns))
