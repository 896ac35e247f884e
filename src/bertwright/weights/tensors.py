"""The nouns of a checkpoint: named tensors that are read one at a time, wherever they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bertwright.errors import WeightsError


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and type of a tensor that has not been read."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Named tensors that are read one at a time.

    Attributes:
        source: the file or directory they lie in, for messages and reports.
        tensors: shape and type of each, by name, in the file's order.
        read: reads one tensor; use :meth:`tensor`, which checks the name.
        ignored: why a tensor is no weight, by its name, where the format or a name table says so.
        origins: what the file calls each tensor, where the names here are not the file's own.
    """

    source: str
    tensors: Mapping[str, TensorInfo]
    read: Callable[[str], Tensor]
    ignored: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        """Read one tensor, as it was stored.

        Raises:
            WeightsError: there is no such tensor, or its bytes cannot be read.
        """
        if name not in self.tensors:
            raise WeightsError(f"{self.source}: holds no tensor {name!r}; it holds {join_names(self.tensors)}.")
        return self.read(name)


def from_state_dict(state: Mapping[str, Tensor], source: str) -> Checkpoint:
    """A checkpoint of tensors that are already in memory, such as ``module.state_dict()``."""
    tensors = {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}
    return Checkpoint(source, tensors, lambda name: state[name])


def join_names(names: Iterable[str]) -> str:
    """The first three of some names, and how many more there are."""
    every = list(names)
    return ", ".join(every[:3]) + (f" and {len(every) - 3} more" if len(every) > 3 else "")
