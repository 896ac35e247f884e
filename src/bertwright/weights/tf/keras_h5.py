"""Keras weights (``tf_model.h5`` of transformers' TensorFlow classes), read without TensorFlow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bertwright.errors import MissingDependencyError, WeightsError
from bertwright.weights.tensors import Checkpoint, TensorInfo

FILE_NAME = "tf_model.h5"
"""The file name in transformers."""

_DTYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64, "int32": torch.int32}
_LEAVES = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}


def open_h5(path: Path) -> Checkpoint:
    """Open a ``tf_model.h5`` under the names of the PyTorch classes; kernels are transposed when they are read.

    Raises:
        MissingDependencyError: h5py is not installed.
        WeightsError: the file is damaged, truncated or of another format.
    """
    h5py = _h5py()
    places: dict[str, str] = {}
    tensors: dict[str, TensorInfo] = {}
    try:
        with h5py.File(path, "r") as file:
            for layer, group in file.items():
                for attribute in group.attrs.get("weight_names", ()):
                    saved = attribute.decode() if isinstance(attribute, bytes) else str(attribute)
                    data = group[saved]
                    name = torch_name(saved)
                    if name in places:
                        raise WeightsError(
                            f"{path}: {places[name]} and {layer}/{saved} both map to {name}; save it again."
                        )
                    if data.dtype.name not in _DTYPES:
                        raise WeightsError(f"{path}: {layer}/{saved} is of type {data.dtype}; save it in float32.")
                    shape = data.shape[::-1] if _is_kernel(saved) else data.shape
                    places[name] = f"{layer}/{saved}"
                    tensors[name] = TensorInfo(tuple(shape), _DTYPES[data.dtype.name])
    except (OSError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"{path}: is damaged, truncated or not saved by Keras ({error}); download or copy it again."
        ) from error
    if not tensors:
        raise WeightsError(f"{path}: contains no Keras weights; save the model with save_pretrained.")

    def read(name: str) -> Tensor:
        try:
            with h5py.File(path, "r") as file:
                tensor = torch.from_numpy(file[places[name]][()].copy())
        except OSError as error:
            raise WeightsError(f"{path}: {places[name]} cannot be read ({error}); copy the file again.") from error
        return tensor.T if _is_kernel(places[name]) else tensor

    return Checkpoint(str(path), tensors, read, origins=places)


def torch_name(saved: str) -> str:
    """Return the PyTorch name of a weight of a TensorFlow class of transformers.

    In these names ``a___b`` means b, ``_._`` a dot, the first word is the model, and ``:0`` marks a variable.

    >>> torch_name("tf_bert_model/bert/encoder/layer_._0/output/LayerNorm/gamma:0")
    'bert.encoder.layer.0.output.LayerNorm.weight'
    >>> torch_name("tf_bert_for_pre_training/nsp___cls/seq_relationship/kernel:0")
    'cls.seq_relationship.weight'
    """
    name = saved.removesuffix(":0").replace("_._", "/")
    words = [word.rpartition("___")[2] for word in name.split("/") if word]
    *modules, leaf = words[1:] if len(words) > 1 else words
    return ".".join([*modules, _LEAVES.get(leaf, leaf)])


def _is_kernel(saved: str) -> bool:
    return re.search(r"/kernel(:\d+)?$", saved) is not None


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(
            f"{FILE_NAME}: h5py is not installed; run `pip install 'bertwright[h5]'`."
        ) from error
    return h5py
