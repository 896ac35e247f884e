"""A frozen encoder runs once: what it gives the head is stored, and the head trains from that.

The vectors are the same in every epoch, because a frozen encoder has no dropout. They are kept on disk by what they
were made from (weights, head, sequences, precision), memory-mapped, so a second run on the same data starts at once.
Nothing stored is believed before some of it, computed anew, agrees.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bertwright.errors import OutputError
from bertwright.evaluate import TOKENS
from bertwright.files import atomic_file
from bertwright.nn.heads import Head
from bertwright.nn.model import Model
from bertwright.text.batches import collate, in_order
from bertwright.text.cache import cache_folder
from bertwright.text.encodings import Encodings
from bertwright.train.loop import precision_context

FORMAT = "1"
"""Part of every key; raise it when what the encoder computes changes."""

MAX_BYTES = 20_000_000_000
"""What all entries may take together; the ones longest unused go first."""

SPARE_BYTES = 1_000_000_000
"""Disk space that is left to others."""

PROBES = 8
"""Sequences computed anew to see that an entry is what it should be."""


def is_frozen(model: Model) -> bool:
    """Whether nothing of the encoder trains, so that its output never changes."""
    return not any(parameter.requires_grad for parameter in model.encoder.parameters())


def with_features(
    model: Model,
    encodings: Encodings,
    *,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    folder: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Encodings:
    """The sequences with what the frozen encoder of a model makes of them, computed once or found on disk.

    Args:
        model: whose encoder is frozen; is left in evaluation mode.
        encodings: B sequences of N tokens.
        device: where the model is.
        bf16: whether the encoder's matrix products run in bf16.
        folder: where entries lie; None for ``features`` beside the cache of encodings.
        on_progress: called with the number of sequences done so far.
        on_note: called with a sentence where nothing can be stored; the encodings then come back as they were.
    """
    note = on_note or (lambda text: None)
    place = folder or _folder()
    if place is None:
        note("features of the frozen encoder are not stored, as BERTWRIGHT_CACHE is off: it runs in every epoch")
        return encodings
    model.eval()
    path = place / f"{_key(model, encodings, device, bf16)}.npy"
    probe = np.unique(np.linspace(0, len(encodings) - 1, PROBES).astype(np.int64))
    expected = _features(model, encodings, probe, device, bf16)
    per_sequence = len(expected) == len(probe)
    shape = (len(encodings) if per_sequence else len(encodings.ids), *expected.shape[1:])
    found = _read(path, shape)
    if found is not None and not np.allclose(encodings.of(found, probe), expected, atol=3e-2 if bf16 else 1e-4):
        note(f"{path}: the stored features are not those of this encoder and were removed")
        path.unlink(missing_ok=True)
        found = None
    if found is None:
        try:
            _check_space(place, 4 * int(np.prod(shape)))
            _write(path, model, encodings, shape, device, bf16, on_progress)
            _make_room(place, path)
        except (OutputError, OSError) as error:
            note(f"features of the frozen encoder are not stored, so it runs in every epoch: {error}")
            return encodings
        found = _read(path, shape)
    elif on_progress is not None:
        on_progress(len(encodings))
    return replace(encodings, features=found)


def _folder() -> Path | None:
    beside = cache_folder()
    return None if beside is None else beside.parent / "features"


def _features(
    model: Model, encodings: Encodings, rows: NDArray[np.int64], device: torch.device | str, bf16: bool
) -> NDArray[np.float32]:
    with torch.inference_mode(), precision_context(torch.device(device), bf16):
        features: NDArray[np.float32] = model.features(collate(encodings, rows).to(device)).float().cpu().numpy()
    return features


def _key(model: Model, encodings: Encodings, device: torch.device | str, bf16: bool) -> str:
    """A hash of everything that the features depend on."""
    head = model.head
    reads = [type(head).__module__, type(head).__qualname__, head.reads, head.reading] if isinstance(head, Head) else []
    settings = [FORMAT, torch.__version__, torch.device(device).type, bf16, repr(model.encoder.config), reads]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for name, tensor in model.encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    for column in (encodings.ids, encodings.types, encodings.bounds):
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """An entry, memory-mapped; None where there is none of this shape."""
    try:
        # Copy on write: torch warns of arrays that may not be written to
        found: NDArray[Any] = np.load(path, mmap_mode="c").view(np.ndarray)
    except (OSError, ValueError, EOFError):
        return None
    if found.shape != shape or found.dtype != np.float32:
        return None
    with suppress(OSError):
        os.utime(path)
    return found


def _write(
    path: Path,
    model: Model,
    encodings: Encodings,
    shape: tuple[int, ...],
    device: torch.device | str,
    bf16: bool,
    on_progress: Callable[[int], None] | None,
) -> None:
    # written and not mapped: a full disk is then an error that can be told, not the end of the process
    with atomic_file(path) as partial, partial.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        done = 0
        if on_progress is not None:
            on_progress(done)
        with torch.inference_mode(), precision_context(torch.device(device), bf16):
            for batch in in_order(encodings, TOKENS):
                file.write(model.features(batch.to(device)).float().cpu().contiguous().numpy().data)
                done += len(batch)
                if on_progress is not None:
                    on_progress(done)


def _check_space(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > min(free - SPARE_BYTES, MAX_BYTES):
        raise OSError(f"they take {needed / 1e9:,.1f} GB and {folder} has room for {free / 1e9:,.1f} GB")


def _make_room(folder: Path, newest: Path) -> None:
    """Remove the entries longest unused until all take no more than MAX_BYTES."""
    entries = []
    for entry in folder.glob("[!.]*.npy"):
        with suppress(FileNotFoundError):  # another process may be making room too
            stat = entry.stat()
            entries.append((entry != newest, -stat.st_mtime, stat.st_size, entry))
    taken = 0
    for _, _, size, entry in sorted(entries):
        taken += size
        if taken > MAX_BYTES:
            entry.unlink(missing_ok=True)
