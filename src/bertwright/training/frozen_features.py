"""Cached features of a frozen encoder, from which a head trains without running the encoder in every epoch.

The features are the same in every epoch, because a frozen encoder has no dropout. They are entries of the disk cache,
named by a hash of weights, head, sequences and precision. An entry is used only if its checksum is correct and a few
sequences, computed again, give the same features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bertwright.cache.disk_cache import Cache
from bertwright.nn.heads import Head
from bertwright.nn.model import Model
from bertwright.tokenization.batching import collate, iterate_in_order
from bertwright.tokenization.encodings import Encodings
from bertwright.training.compute import ComputeConfig
from bertwright.training.scoring import CPU, TOKENS

FEATURES_FORMAT = "1"
"""Part of every key; increase it when the computation of the encoder changes."""

PROBES = 8
"""Number of sequences that are computed again to verify a cached entry."""

_TYPES = {"features": np.float32}


def is_frozen(model: Model) -> bool:
    """Whether no parameter of the encoder trains, so that its output never changes."""
    return not any(parameter.requires_grad for parameter in model.encoder.parameters())


def add_features(
    model: Model,
    encodings: Encodings,
    *,
    compute: ComputeConfig = CPU,
    folder: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Encodings:
    """Add the features of a frozen encoder to encodings, from the disk cache if it has them.

    Args:
        model: its encoder is frozen; the model is left in evaluation mode.
        encodings: B sequences of N tokens.
        compute: device of the model, and precision of the encoder.
        folder: of the cache; None for the default.
        on_progress: called with the number of sequences done so far.
        on_note: called with a sentence if the cache cannot be used or an entry is damaged. If nothing can be stored,
            the encodings are returned unchanged.
    """
    cache = Cache("features", on_note, folder)
    if cache.folder is None:
        if on_note is not None and cache.is_off:
            on_note("features of the frozen encoder are not stored, as BERTWRIGHT_CACHE is off: it runs in every epoch")
        return encodings
    model.eval()
    key = _key(model, encodings, compute)
    probe = np.unique(np.linspace(0, len(encodings) - 1, PROBES).astype(np.int64))
    expected = _features(model, encodings, probe, compute)
    per_sequence = len(expected) == len(probe)
    shape = (len(encodings) if per_sequence else len(encodings.ids), *expected.shape[1:])
    features = _load(cache, key, shape)
    if features is not None and not np.allclose(
        encodings.gather(features, probe), expected, atol=3e-2 if compute.bf16 else 1e-4
    ):
        cache.discard(key, "not the output of this encoder")
        features = None
    if features is None:
        pieces = _compute(model, encodings, compute, on_progress)
        saved = cache.save(key, _TYPES, {"features": pieces}, n_bytes=4 * int(np.prod(shape)))
        if saved is None:
            return encodings
        cache.evict({cache.path(key)})
        features = saved["features"].reshape(shape)
    elif on_progress is not None:
        on_progress(len(encodings))
    return replace(encodings, features=features)


def _load(cache: Cache, key: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    entry = cache.load(key, _TYPES)
    if entry is None:
        return None
    try:
        return entry[0]["features"].reshape(shape)
    except (KeyError, ValueError) as error:
        cache.discard(key, str(error))
        return None


def _features(
    model: Model, encodings: Encodings, rows: NDArray[np.int64], compute: ComputeConfig
) -> NDArray[np.float32]:
    with torch.inference_mode(), compute.autocast():
        features: NDArray[np.float32] = (
            model.features(collate(encodings, rows).to(compute.device)).float().cpu().numpy()
        )
    return features


def _key(model: Model, encodings: Encodings, compute: ComputeConfig) -> str:
    """Hash everything that the features depend on."""
    head = model.head
    reads = (
        [type(head).__module__, type(head).__qualname__, head.reads, head.feature_key] if isinstance(head, Head) else []
    )
    settings = [
        FEATURES_FORMAT,
        torch.__version__,
        compute.device.type,
        compute.bf16,
        repr(model.encoder.config),
        reads,
    ]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for name, tensor in model.encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    for column in (encodings.ids, encodings.types, encodings.bounds):
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def _compute(
    model: Model,
    encodings: Encodings,
    compute: ComputeConfig,
    on_progress: Callable[[int], None] | None,
) -> Iterator[NDArray[np.float32]]:
    """Compute the features of all sequences, batch by batch."""
    done = 0
    if on_progress is not None:
        on_progress(done)
    for batch in iterate_in_order(encodings, TOKENS):
        with torch.inference_mode(), compute.autocast():
            features = model.features(batch.to(compute.device)).float().cpu().contiguous().numpy()
        yield features
        done += len(batch)
        if on_progress is not None:
            on_progress(done)
