"""The saved training state from which a run is resumed: one file, written atomically.

The state has no permanently frozen weights. They are loaded from the base model, and
:func:`fingerprint_frozen_weights` shows whether they are unchanged.
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
"""Version of the format; a state of another version is refused."""


def save_state(path: Path, progress: Progress, notes: Mapping[str, Any]) -> None:
    """Save everything that a resumed run needs, except permanently frozen weights.

    Args:
        path: of the file; an existing file is replaced atomically.
        progress: model, optimizer and step.
        notes: other values of the caller, saved as JSON.

    Raises:
        OutputError: the file cannot be written, for example because the disk is full; an existing state is unchanged.
    """
    tensors = {f"model.{name}": tensor for name, tensor in progress.model.split_state_dict()[0].items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in progress.optimizer.state().items()}
    if progress.average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in progress.average.state().items()}
    with atomic_file(path) as partial:
        metadata = {"format": STATE_FORMAT, "step": str(progress.step), "notes": to_json(notes)}
        save_file(_plain(tensors), partial, metadata)


def load_state(path: Path, progress: Progress) -> dict[str, Any]:
    """Restore model, optimizer and step from a saved state.

    Returns:
        The notes.

    Raises:
        TrainingError: the file is damaged, or belongs to another version or another model.
    """
    tensors, metadata = _read(path)
    if metadata.get("format") != STATE_FORMAT:
        raise TrainingError(
            f"{path}: the state has format {metadata.get('format')}, expected {STATE_FORMAT}; start a new run."
        )
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "average": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    load_parameters(progress.model, parts["model"], str(path))
    progress.optimizer.load_state(parts["optimizer"])
    if progress.average is not None:
        progress.average.load_state(parts["average"])
    progress.step = int(metadata["step"])
    notes: dict[str, Any] = json.loads(metadata["notes"])
    return notes


def save_parameters(path: Path, model: Model, frozen: bool = False) -> None:
    """Save the parameters and buffers of a model under the names of this package.

    Args:
        path: of the file.
        model: whose trainable parameters and buffers are saved.
        frozen: also save permanently frozen ones, for readers without the base model.

    Raises:
        OutputError: the file cannot be written, for example because the disk is full.
    """
    learned, kept = model.split_state_dict()
    with atomic_file(path) as partial:
        save_file(_plain(learned | kept if frozen else learned), partial, {"format": STATE_FORMAT})


def read_parameters(path: Path, model: Model) -> None:
    """Load parameters that :func:`save_parameters` wrote into a model of the same structure.

    Raises:
        TrainingError: the file is damaged, belongs to another model, or lacks a trainable parameter.
    """
    load_parameters(model, _read(path)[0], str(path))


def load_parameters(model: Model, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors into a model; every tensor that is not permanently frozen is required.

    Raises:
        TrainingError: a tensor is missing, unexpected, or has another shape.
    """
    learned, kept = model.split_state_dict()
    own = learned | kept
    for name in sorted((learned.keys() - tensors.keys()) | (tensors.keys() - own.keys())):
        raise TrainingError(f"{source}: belongs to another model; only one of them has {name}.")
    with torch.no_grad():
        for name, tensor in tensors.items():
            if tensor.shape != own[name].shape:
                raise TrainingError(
                    f"{source}: {name} has shape {tuple(tensor.shape)}; expected {tuple(own[name].shape)}."
                )
            own[name].copy_(tensor)


def fingerprint_frozen_weights(model: Model) -> str:
    """Hash of the permanently frozen weights: equal for equal tensors with equal names. It takes 60 ms for MiniLM."""
    digest = hashlib.sha256()
    for name, tensor in _plain(model.split_state_dict()[1]).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU, for files and hashes."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path}: the saved state cannot be read ({error}); start a new run.") from None
