"""Comparison of the sizes in ``config.json`` with the weights, before a module of these sizes is built."""

from __future__ import annotations

import re

from bertwright.errors import WeightsError
from bertwright.nn.encoder import EncoderConfig
from bertwright.output.plurals import pluralize
from bertwright.weights.families import Family
from bertwright.weights.tensors import Checkpoint

_AXES = {
    "vocab_size": ("embeddings.word", 0),
    "embedding_width": ("embeddings.word", 1),
    "max_positions": ("embeddings.position", 0),
    "n_types": ("embeddings.segment", 0),
    "width": ("layers.{n}.attention_norm", 0),
    "ffn_width": ("layers.{n}.up", 0),
}
"""Field of :class:`EncoderConfig` → module whose weight has that size, and the axis."""

_MARGIN = 2
"""Sizes up to this factor above the weights are left to loading, which compares every tensor."""

_PARTIAL_MARGIN = 16
"""The factor if part of the encoder may be randomly initialized."""

_MOST_LAYERS = 100
"""Maximum number of layers if no tensor name contains a layer."""

_MOST = 2**24
"""Maximum of other sizes if no tensor has that size."""


def check_sizes(config: EncoderConfig, family: Family, checkpoint: Checkpoint, where: str, partial: bool) -> None:
    """Refuse an encoder that is larger than its weights, or that cannot be built.

    Args:
        config: the sizes.
        family: the family whose names the weights have.
        checkpoint: the weights; only names and shapes are read.
        where: the file with the sizes.
        partial: whether part of the encoder may be randomly initialized.

    Raises:
        WeightsError: with the size in the file and that of the weights.
    """
    for field in ("vocab_size", "width", "ffn_width", "max_positions"):
        if getattr(config, field) < 1:
            raise WeightsError(f"{where}: {family.keys[field]} must be at least 1, but is 0.")
    if config.max_length < 1:
        raise WeightsError(
            f"{where}: {family.keys['max_positions']} must be above {config.position_offset}, the position of the "
            f"first token, but is {config.max_positions}."
        )
    if config.pad_id >= config.vocab_size:
        raise WeightsError(
            f"{where}: {family.keys['pad_id']} must be below vocab_size {config.vocab_size}, but is {config.pad_id}."
        )
    layers = {int(match[1]) for name in checkpoint.tensors if (match := re.search(r"(?:^|\.)layer\.(\d+)\.", name))}
    most = (len(layers) * (_PARTIAL_MARGIN if partial else 1)) or _MOST_LAYERS
    if config.n_layers > most:
        _refuse(
            family, "n_layers", config.n_layers, where, f"{checkpoint.source} has {pluralize(len(layers), 'layer')}"
        )
    for field, (module, axis) in _AXES.items():
        if field not in family.keys or (size := getattr(config, field)) is None:
            continue
        name, actual = _size_in(checkpoint, family, module, axis)
        if size > (actual * (_PARTIAL_MARGIN if partial else _MARGIN) or _MOST):
            shown = f"has {actual} in {name}" if name else "has no tensor of that size"
            _refuse(family, field, size, where, f"{checkpoint.source} {shown}")


def _size_in(checkpoint: Checkpoint, family: Family, module: str, axis: int) -> tuple[str, int]:
    """Return the tensor of a module, with any prefix, and its size; ("", 0) if there is none."""
    theirs = family.names.get(module)
    for name, info in checkpoint.tensors.items() if isinstance(theirs, str) else ():
        bare = re.sub(r"(?<=layer\.)\d+(?=\.)", "{n}", name)
        if (bare == f"{theirs}.weight" or bare.endswith(f".{theirs}.weight")) and len(info.shape) > axis:
            return name, info.shape[axis]
    return "", 0


def _refuse(family: Family, field: str, size: int, where: str, actual: str) -> None:
    raise WeightsError(
        f"{where}: {family.keys[field]} is {size}, but {actual}; use the config.json that belongs to the weights."
    )
