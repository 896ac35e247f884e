"""Named tensors of a checkpoint that are read on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bertwright.errors import WeightsError


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and dtype of a tensor that has not been read."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Named tensors that are read one at a time.

    Attributes:
        source: the file or directory, for messages and reports.
        tensors: shape and dtype of each tensor by name, in file order.
        read: reads one tensor; use :meth:`tensor`, which checks the name.
        ignored: name → reason, for tensors that the format or a name table declares not to be weights.
        origins: name → name in the file, if they differ.
    """

    source: str
    tensors: Mapping[str, TensorInfo]
    read: Callable[[str], Tensor]
    ignored: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        """Read one tensor as stored.

        Raises:
            WeightsError: there is no such tensor, or its bytes cannot be read.
        """
        if name not in self.tensors:
            raise WeightsError(f"{self.source}: has no tensor {name!r}; it has {join_names(self.tensors)}.")
        return self.read(name)


def from_state_dict(state: Mapping[str, Tensor], source: str) -> Checkpoint:
    """Return a checkpoint of tensors in memory, such as ``module.state_dict()``."""
    tensors = {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}
    return Checkpoint(source, tensors, lambda name: state[name])


def join_names(names: Iterable[str]) -> str:
    """Return the first three names, and the number of further names."""
    every = list(names)
    return ", ".join(every[:3]) + (f" and {len(every) - 3} more" if len(every) > 3 else "")
