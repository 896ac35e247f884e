"""Encodings kept on disk by what they were made from, so that the second run on the same data starts at once.

An entry is one file in safetensors' layout named by a hash of the tokenizer, the settings and all texts; it
is memory-mapped, so processes on one machine share it. Nothing an entry says is believed before its
checksum agrees, and no trouble with the cache ever costs a run: the texts are then encoded again.

Entries lie in ``$BERTWRIGHT_CACHE/encodings``, else ``$XDG_CACHE_HOME/bertwright/encodings``, else
``~/.cache/bertwright/encodings``; with ``BERTWRIGHT_CACHE=off`` there is no cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import tokenizers
from safetensors import SafetensorError

from bertwright.errors import OutputError
from bertwright.text.encodings import Encodings
from bertwright.text.mapped import SUFFIX, make_room, map_columns, touch, write_columns
from bertwright.text.settings import TokenSettings
from bertwright.text.tokenizer import Tokenizer, check_texts
from bertwright.text.windows import encode_windows

DEFAULT = TokenSettings()

FORMAT = "2"
"""Part of every key; raise it when the layout of an entry or the meaning of an id changes."""

MIN_ROWS = 2000
"""Fewer rows than this are encoded in less time than a cache is worth (0.02 s)."""

MAX_BYTES = 5_000_000_000
"""What all entries may take together; the ones longest unused go first."""

_COLUMNS: dict[str, type[np.generic]] = {
    "ids": np.int32,
    "types": np.uint8,
    "bounds": np.int64,
    "examples": np.int64,
    "dropped": np.int32,
    "offsets": np.int32,
    "core": np.bool_,
}


def cache_folder() -> Path | None:
    """Where encodings are kept unless a caller says otherwise; None where the user wants no cache."""
    own = os.environ.get("BERTWRIGHT_CACHE", "")
    if own.lower() == "off":
        return None
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return (Path(own).expanduser() if own else shared / "bertwright") / "encodings"


def folder_beside(name: str) -> tuple[Path, object]:
    """The folder of that name beside the cache of encodings; without a cache a temporary one.

    Returns:
        The folder, and what must live as long as a temporary one is to.
    """
    folder = cache_folder()
    if folder is not None:
        return folder.with_name(name), None
    made, owner = tempfile.mkdtemp(prefix=f"bertwright-{name}-"), _Owner()
    weakref.finalize(owner, shutil.rmtree, made, ignore_errors=True)
    return Path(made), owner


class _Owner:
    """Whoever holds it keeps a temporary directory."""


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
    """Texts, or pairs of texts, as the settings say, truncated or in windows; out of the cache where it has them.

    Args:
        tokenizer: the encoder's.
        texts: the texts, or the first texts of the pairs.
        pairs: the second texts; None where there are none.
        tokens: how long sequences may be, and what becomes of longer ones.
        folder: where the cache lies; by default :func:`cache_folder`.
        on_progress: called every few thousand examples with the number of those done so far.
        on_note: called with a sentence where the cache could not be used or held something damaged.

    Raises:
        DataError: a text is not text, or a sequence cannot be made to fit.
    """
    note = on_note or (lambda text: None)
    folder = folder or cache_folder()
    check_texts(texts, pairs)

    def encode() -> Encodings:
        length = tokens.max_length
        if tokens.truncation == "windows":
            stride = tokens.stride
            return encode_windows(tokenizer, texts, pairs, max_length=length, stride=stride, on_progress=on_progress)
        return tokenizer.encode(texts, pairs, max_length=length, truncation=tokens.truncation, on_progress=on_progress)

    if folder is None or len(texts) < MIN_ROWS:
        return encode()
    path = folder / f"{_key(tokenizer, texts, pairs, tokens)}{SUFFIX}"
    found = _read(path, len(texts), note)
    if found is not None:
        if on_progress is not None:
            on_progress(len(texts))
        return found
    encodings = encode()
    try:
        _write(path, encodings)
        make_room(folder, {path}, MAX_BYTES)
    except (OutputError, OSError, SafetensorError) as error:
        note(f"the encoded texts are not cached: {error}")
        return encodings
    # the memory-mapped file in place of what is in memory
    return _read(path, len(texts), note) or encodings


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
            # With its length before every text, no two lists of texts are the same bytes.
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()


def _write(path: Path, encodings: Encodings) -> None:
    columns = {
        name: np.asarray(column, kind)
        for name, kind in _COLUMNS.items()
        if (column := getattr(encodings, name)) is not None
    }
    write_columns(path, columns)


def _read(path: Path, n_rows: int, note: Callable[[str], None]) -> Encodings | None:
    """An entry, memory-mapped; None where there is none or it is not wholly as it was written."""
    try:
        columns, _ = map_columns(path, _COLUMNS)
        if columns["examples"][-1] != n_rows - 1:
            raise ValueError("it is of other rows")
        if "offsets" in columns:
            columns["offsets"] = columns["offsets"].reshape(-1, 2)
        found = Encodings(**cast("dict[str, Any]", columns))
    except OSError as error:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            note(f"{path}: the cache entry cannot be read, the texts are encoded again ({error})")
        return None
    except (ValueError, KeyError, TypeError) as error:
        note(f"{path}: a damaged cache entry was removed, the texts are encoded again ({error})")
        with suppress(OSError):
            path.unlink()
        return None
    touch(path)
    return found
