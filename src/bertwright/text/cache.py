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
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from bertwright.errors import OutputError
from bertwright.files import STALE_SECONDS, atomic_file
from bertwright.text.encodings import Encodings
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
    path = folder / f"{_key(tokenizer, texts, pairs, tokens)}.safetensors"
    found = _read(path, len(texts), note)
    if found is not None:
        if on_progress is not None:
            on_progress(len(texts))
        return found
    encodings = encode()
    try:
        _write(path, encodings)
        _make_room(folder, path)
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
        name: np.ascontiguousarray(column, kind).ravel()
        for name, kind in _COLUMNS.items()
        if (column := getattr(encodings, name)) is not None
    }
    with atomic_file(path) as partial:
        save_file(columns, partial, metadata={"sha256": _checksum(columns)})


def _read(path: Path, n_rows: int, note: Callable[[str], None]) -> Encodings | None:
    """An entry, memory-mapped; None where there is none or it is not wholly as it was written."""
    try:
        # Copy on write: the arrays may be written to (torch warns of ones that may not), the file stays.
        raw = np.memmap(path, np.uint8, mode="c").view(np.ndarray)
        start = 8 + int.from_bytes(raw[:8].tobytes(), "little")
        header = json.loads(raw[8:start].tobytes())
        columns = {name: _column(raw[start:], header[name], _COLUMNS[name]) for name in header if name in _COLUMNS}
        if _checksum(columns) != header["__metadata__"]["sha256"] or columns["examples"][-1] != n_rows - 1:
            raise ValueError("its checksum does not agree")
        if "offsets" in columns:
            columns["offsets"] = columns["offsets"].reshape(-1, 2)
        found = Encodings(**columns)
    except OSError as error:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            note(f"{path}: the cache entry cannot be read, the texts are encoded again ({error})")
        return None
    except (ValueError, KeyError, TypeError) as error:
        note(f"{path}: a damaged cache entry was removed, the texts are encoded again ({error})")
        with suppress(OSError):
            path.unlink()
        return None
    with suppress(OSError):  # a cache that may only be read is still of use
        os.utime(path)
    return found


def _column(data: NDArray[np.uint8], entry: dict[str, Any], kind: type[np.generic]) -> NDArray[Any]:
    begin, end = entry["data_offsets"]
    return data[begin:end].view(kind)


def _checksum(columns: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(columns):
        digest.update(columns[name].data)
    return digest.hexdigest()


def _make_room(folder: Path, newest: Path) -> None:
    """Remove the entries longest unused until all take no more than MAX_BYTES, and what killed writers left."""
    entries = []
    for entry in folder.glob("*.safetensors"):
        with suppress(FileNotFoundError):  # another process may be making room too
            stat = entry.stat()
            if not entry.name.startswith("."):
                entries.append((entry != newest, stat.st_mtime, stat.st_size, entry))
            elif time.time() - stat.st_mtime > STALE_SECONDS:
                entry.unlink()
    taken = 0
    for _, _, size, entry in sorted(entries, key=lambda item: (item[0], -item[1])):
        taken += size
        if taken > MAX_BYTES:
            entry.unlink(missing_ok=True)
