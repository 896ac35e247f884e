"""The saved state of a run, from which it can be resumed: one file, written atomically.

The state has no permanently frozen weights. They come from the base model again, and
:func:`fingerprint_frozen_weights` tells whether those are still the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bertwright.errors import TrainingError
from bertwright.files.atomic import atomic_file
from bertwright.files.strict_json import to_json
from bertwright.nn.model import Model
from bertwright.training.loop import Progress

STATE_FORMAT = "2"
"""Raise it when the meaning of a state changes; older ones are then refused, not misread."""


def save_state(path: Path, progress: Progress, notes: Mapping[str, Any]) -> None:
    """Write everything a resumed run needs, besides what is frozen for good.

    Args:
        path: where; what stood there is replaced in one step.
        progress: model, optimiser and step.
        notes: what else the caller wants back, as JSON.

    Raises:
        OutputError: no space, or the place cannot be written to; the former state is unharmed.
    """
    tensors = {f"model.{name}": tensor for name, tensor in progress.model.split_state_dict()[0].items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in progress.optimizer.state().items()}
    with atomic_file(path) as partial:
        metadata = {"format": STATE_FORMAT, "step": str(progress.step), "notes": to_json(notes)}
        save_file(_plain(tensors), partial, metadata)


def load_state(path: Path, progress: Progress) -> dict[str, Any]:
    """Put model, optimiser and step back as they were saved.

    Returns:
        The notes.

    Raises:
        TrainingError: the file is damaged, of another version, or of another model.
    """
    tensors, metadata = _read(path)
    if metadata.get("format") != STATE_FORMAT:
        raise TrainingError(
            f"{path}: the state has format {metadata.get('format')}, expected {STATE_FORMAT}; start a new run."
        )
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    load_parameters(progress.model, parts["model"], str(path))
    progress.optimizer.load_state(parts["optimizer"])
    progress.step = int(metadata["step"])
    notes: dict[str, Any] = json.loads(metadata["notes"])
    return notes


def save_parameters(path: Path, model: Model, frozen: bool = False) -> None:
    """Write a model's parameters and buffers under our own names.

    Args:
        path: where to.
        model: of which those that training may change are written.
        frozen: write what is frozen for good too, for a reader that has not the base model.

    Raises:
        OutputError: no space, or the place cannot be written to.
    """
    learned, kept = model.split_state_dict()
    with atomic_file(path) as partial:
        save_file(_plain(learned | kept if frozen else learned), partial, {"format": STATE_FORMAT})


def read_parameters(path: Path, model: Model) -> None:
    """Read what :func:`save_parameters` wrote into a model of the same shape.

    Raises:
        TrainingError: the file is damaged or of another model, or lacks what is not frozen in this one.
    """
    load_parameters(model, _read(path)[0], str(path))


def load_parameters(model: Model, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors into a model, strictly: all that is not frozen for good must be there.

    Raises:
        TrainingError: a tensor is missing, left over, or of another shape.
    """
    learned, kept = model.split_state_dict()
    own = learned | kept
    for name in sorted((learned.keys() - tensors.keys()) | (tensors.keys() - own.keys())):
        raise TrainingError(f"{source}: it is of another model, which has {name} where this one has not or vice versa.")
    with torch.no_grad():
        for name, tensor in tensors.items():
            if tensor.shape != own[name].shape:
                raise TrainingError(
                    f"{source}: {name} has shape {tuple(tensor.shape)}, this model's is {tuple(own[name].shape)}."
                )
            own[name].copy_(tensor)


def fingerprint_frozen_weights(model: Model) -> str:
    """A hash of what is frozen for good: equal for the same tensors under the same names. 60 ms for MiniLM."""
    digest = hashlib.sha256()
    for name, tensor in _plain(model.split_state_dict()[1]).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As files and hashes have them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path}: the saved state cannot be read ({error}); start the run anew.") from None
