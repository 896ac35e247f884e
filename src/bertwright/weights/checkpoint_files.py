"""Checkpoint files of all formats, as tensors by name that are read on demand; no code of a file is executed."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bertwright.errors import WeightsError
from bertwright.output.plurals import pluralize
from bertwright.weights.tensors import Checkpoint, TensorInfo, from_state_dict, join_names
from bertwright.weights.tf.checkpoint import PREFIX, find_prefix, open_tensorflow
from bertwright.weights.tf.keras_h5 import FILE_NAME as H5
from bertwright.weights.tf.keras_h5 import open_h5
from bertwright.weights.tf.tensor_bundle import INDEX

__all__ = ["WEIGHT_FILES", "Checkpoint", "TensorInfo", "from_state_dict", "open_checkpoint", "open_file"]

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The files that can hold the weights of an HF directory, preferred ones first."""

_FOREIGN = {
    "adapter_model.*": "an adapter without its base model; merge it first",
    "flax_model.msgpack": "Flax weights",
    "*.gguf": "quantized weights",
    "*.onnx": "an exported model",
}
_LFS_POINTER = b"version https://git-lfs"
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Dtype names of safetensors → torch dtypes."""


def open_checkpoint(directory: Path) -> Checkpoint:
    """Open the weights of a model directory under transformers' names.

    The order of preference is safetensors, ``pytorch_model.bin``, ``tf_model.h5``, TensorFlow checkpoint, and single
    files before shards. Pickled files are read with ``weights_only``, so they cannot execute code.

    Raises:
        WeightsError: there are no weights, or a file is damaged, truncated, missing or of another format.
    """
    if not directory.is_dir():
        what = "is a file; pass its directory" if directory.is_file() else "does not exist; check the path"
        raise WeightsError(f"{directory}: {what}.")
    for name in WEIGHT_FILES:
        if (directory / name).is_file():
            return open_file(directory / name)
    if (directory / H5).is_file():
        return open_file(directory / H5)
    if (prefix := find_prefix(directory)) is not None:
        return open_file(prefix.with_name(prefix.name + INDEX))
    expected = " or ".join((*WEIGHT_FILES, H5, f"{PREFIX}{INDEX}"))
    raise WeightsError(f"{directory}: holds no weights{_describe_other_files(directory)}; expected {expected}.")


def open_file(path: Path) -> Checkpoint:
    """Open a file of weights by its suffix; files with an unknown suffix are read as torch files.

    ``.index`` is a TensorFlow checkpoint, ``.json`` an index of shards.

    Raises:
        WeightsError: the file is damaged, truncated or of another format.
    """
    _refuse_pointer(path)
    if path.suffix == INDEX:
        return open_tensorflow(path.with_suffix(""))
    if path.suffix == ".h5":
        return open_h5(path)
    if path.suffix == ".json":
        return _open_sharded(path)
    return _open_safetensors(path) if path.suffix == ".safetensors" else _open_pickle(path)


_MAX_MAPPED = 1 << 25
"""Bytes of a memory-mapped file that are read before it is mapped again: pages that were read count as memory of the
process, so a model would need twice its size."""


def _open_safetensors(path: Path) -> Checkpoint:
    with _explain_damage(path):
        file: Any = safe_open(str(path), framework="pt")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        kinds = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    for name, (_, kind) in kinds.items():
        if kind not in _DTYPES:
            raise WeightsError(f"{path}: {name} is of type {kind}; save the model in float32, float16 or bfloat16.")

    n_mapped = 0

    def read(name: str) -> Tensor:
        nonlocal file, n_mapped
        with _explain_damage(path):
            if n_mapped > _MAX_MAPPED:
                file, n_mapped = safe_open(str(path), framework="pt"), 0
            tensor: Tensor = file.get_tensor(name)
        n_mapped += tensor.nbytes
        return tensor

    return Checkpoint(
        str(path), {name: TensorInfo(shape, _DTYPES[kind]) for name, (shape, kind) in kinds.items()}, read
    )


def _open_pickle(path: Path) -> Checkpoint:
    # Only the zip format (torch 1.6 and later) can be memory-mapped; older files are read into memory.
    with _explain_damage(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol")  # torch reads these files nevertheless
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"{path}: holds a {type(state).__name__}, not tensors by name; save model.state_dict().")
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise WeightsError(
                f"{path}: {name!r} is a {type(tensor).__name__}, not a tensor; save model.state_dict() alone."
            )
    return from_state_dict(state, str(path))


def _open_sharded(index: Path) -> Checkpoint:
    """Open the shards of an index as one checkpoint."""
    try:
        shard_of = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
        names = {str(Path(shard).name) for shard in shard_of.values()}
        if indexes := sorted(name for name in names if name.endswith(".json")):
            raise ValueError(f"it names {indexes[0]} as a shard")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{index}: is not an index of shards ({error}); download it again.") from error
    if missing := sorted(name for name in names if not (index.parent / name).is_file()):
        raise WeightsError(
            f"{index}: {len(missing)} of {pluralize(len(names), 'shard')} missing ({join_names(missing)}); "
            "copy or download them into the same directory."
        )
    shards = {name: open_file(index.parent / name) for name in sorted(names)}
    shard_of_tensor = {name: shards[shard] for shard in shards for name in shards[shard].tensors}
    for name, shard in shard_of.items():
        shard_of_tensor[name] = shards[Path(shard).name]
        if name not in shard_of_tensor[name].tensors:
            raise WeightsError(
                f"{shard_of_tensor[name].source}: lacks {name}, which {index.name} lists in it; download both again."
            )
    tensors = {name: shard.tensors[name] for name, shard in shard_of_tensor.items()}
    return Checkpoint(str(index), tensors, lambda name: shard_of_tensor[name].read(name))


def _refuse_pointer(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from error
    if start == _LFS_POINTER:
        raise WeightsError(f"{path}: is a Git LFS pointer, not the weights; run `git lfs pull` in its directory.")
    if not start:
        raise WeightsError(f"{path}: is empty; download it again.")


@contextmanager
def _explain_damage(path: Path) -> Iterator[None]:
    """Turn what the readers say about a broken file into a sentence for the user."""
    try:
        yield
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: is damaged or truncated ({_first_line(error)}); download or copy it again."
        ) from error
    except Exception as error:  # a damaged pickle may raise any exception
        if isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower():
            raise WeightsError(
                f"{path}: contains Python objects other than tensors, which bertwright does not load; "
                "save only model.state_dict(), preferably as model.safetensors."
            ) from error
        raise WeightsError(
            f"{path}: is damaged, truncated or not a torch file ({_first_line(error)}); download or copy it again."
        ) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0].partition(". ")[0]
    return text[:120] or type(error).__name__


def _describe_other_files(directory: Path) -> str:
    for pattern, what in _FOREIGN.items():
        if paths := sorted(directory.glob(pattern)):
            return f" that bertwright can open, only {paths[0].name} ({what})"
    return ""
