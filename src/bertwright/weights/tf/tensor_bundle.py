"""TensorFlow's tensor bundles, read and written without it: an index of names, and files that hold the values.

``bert_model.ckpt.index`` is a table (:mod:`bertwright.weights.tf.sstable`) from names to places, with a header under
the empty name; the values lie in ``bert_model.ckpt.data-00000-of-00001`` and so on, as they are in memory. See
tensorflow/core/protobuf/tensor_bundle.proto for the two messages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertwright.errors import WeightsError
from bertwright.weights.tensors import Checkpoint, TensorInfo, join_names
from bertwright.weights.tf.crc32c import crc32c, mask_crc
from bertwright.weights.tf.sstable import ByteReader, encode_varint, read_table, write_table

INDEX = ".index"
"""What follows the prefix of a checkpoint in the name of its index."""

_DTYPES = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    4: torch.uint8,
    5: torch.int16,
    6: torch.int8,
    9: torch.int64,
    10: torch.bool,
    14: torch.bfloat16,
    19: torch.float16,
}
"""The numbers of tensorflow/core/framework/types.proto."""
_CODES = {dtype: code for code, dtype in _DTYPES.items()}

_OBJECT_GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # how a field of a message is written


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a tensor lies: a BundleEntryProto."""

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    checksum: int = 0
    partitioned: bool = False


def open_bundle(prefix: Path) -> Checkpoint:
    """Open the checkpoint whose files begin with a prefix, such as ``bert_model.ckpt``, under its own names.

    The index is verified at once, each tensor when it is read; it is then a slice of the mapped file.

    Raises:
        WeightsError: a file is missing, cut short, damaged or of another kind.
    """
    index = prefix.with_name(prefix.name + INDEX)
    try:
        table = read_table(index.read_bytes(), str(index))
    except OSError as error:
        raise WeightsError(f"{index}: cannot be read ({error.strerror}); check the path and its permissions.") from None
    if _OBJECT_GRAPH in table:
        raise WeightsError(
            f"{index}: is an object-based checkpoint of TensorFlow 2, whose tensors are named by their place in Python "
            "objects; save it as a name-based one (tf.compat.v1.train.Saver)."
        )
    try:
        n_shards = _header(table.pop(b"", b""), index)
        entries = {name.decode(): _entry(value) for name, value in table.items()}
    except ValueError as error:
        raise WeightsError(f"{index}: is damaged ({error}); download or copy it again.") from error
    shards = [prefix.with_name(f"{prefix.name}.data-{i:05}-of-{n_shards:05}") for i in range(n_shards)]
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise WeightsError(
            f"{index}: {len(missing)} of its {n_shards} data files are missing ({join_names(missing)}); "
            "copy or download them into the same directory."
        )
    sizes = [shard.stat().st_size for shard in shards]
    for name, entry in entries.items():
        _check(name, entry, index, shards, sizes)

    @cache
    def mapped(shard: int) -> NDArray[np.uint8]:
        # Copy on write: torch wants memory that may be written to, and nobody writes to it.
        return np.memmap(shards[shard], np.uint8, "c")

    def read(name: str) -> Tensor:
        entry = entries[name]
        dtype = _DTYPES[entry.dtype]
        if not entry.size:
            return torch.empty(entry.shape, dtype=dtype)
        data = mapped(entry.shard)[entry.offset : entry.offset + entry.size]
        if (found := mask_crc(crc32c(data))) != entry.checksum:
            raise WeightsError(
                f"{shards[entry.shard]}: {name} is damaged: its checksum is {found:#010x}, but {index.name} has "
                f"{entry.checksum:#010x}; download or copy both again."
            )
        return torch.from_numpy(data).view(dtype).reshape(entry.shape)

    tensors = {name: TensorInfo(entry.shape, _DTYPES[entry.dtype]) for name, entry in entries.items()}
    return Checkpoint(str(index), tensors, read)


def write_bundle(prefix: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as TensorFlow does, into one data file; the index comes last.

    Args:
        prefix: what the names of both files begin with, such as ``DIR/bert_model.ckpt``.
        tensors: by name; views need no memory of their own, one tensor at a time is laid out in order.
    """
    table = {b"": _field(1, 1) + _field(3, _field(1, 1))}  # one data file, version 1 of the format
    offset = 0
    with prefix.with_name(f"{prefix.name}.data-00000-of-00001").open("wb") as file:
        for name in sorted(tensors):
            tensor = tensors[name].detach().to("cpu")
            data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
            file.write(data.data)
            shape = b"".join(_field(2, _field(1, size)) for size in tensor.shape)
            value = _field(1, _CODES[tensor.dtype]) + _field(2, shape) + _field(4, offset) + _field(5, len(data))
            table[name.encode()] = value + encode_varint(6 << 3 | _FIXED32) + struct.pack("<I", mask_crc(crc32c(data)))
            offset += len(data)
    prefix.with_name(prefix.name + INDEX).write_bytes(write_table(table))


def _check(name: str, entry: _Entry, index: Path, shards: list[Path], sizes: list[int]) -> None:
    """Refuse what cannot be read: a piece of a variable, another type, a place that is not there."""
    if entry.partitioned:
        raise WeightsError(f"{index}: {name} lies in partitions, which are not put together here; save it whole.")
    if entry.dtype not in _DTYPES:
        raise WeightsError(
            f"{index}: {name} is of TensorFlow's type {entry.dtype}, which holds no weights; save the model alone."
        )
    if prod(entry.shape) * _DTYPES[entry.dtype].itemsize != entry.size or entry.shard >= len(shards):
        raise WeightsError(
            f"{index}: is damaged ({name} of shape {entry.shape} takes {entry.size:,} bytes of data file "
            f"{entry.shard}, of {len(shards)}); download or copy it again."
        )
    if entry.offset + entry.size > sizes[entry.shard]:
        raise WeightsError(
            f"{shards[entry.shard]}: is cut short: it has {sizes[entry.shard]:,} bytes, but {name} ends at byte "
            f"{entry.offset + entry.size:,}; download or copy it again."
        )


def _header(message: bytes, index: Path) -> int:
    """The number of data files that a BundleHeaderProto tells."""
    header = dict(_fields(message))
    if header.get(2):
        raise WeightsError(f"{index}: was written by a big-endian machine, whose byte order is not read here.")
    n_shards = header.get(1, 0)
    if not isinstance(n_shards, int) or not n_shards:
        raise ValueError("it has no header that tells the number of data files")
    return n_shards


def _entry(message: bytes) -> _Entry:
    fields = list(_fields(message))
    of = {number: value for number, value in fields if isinstance(value, int)}
    shape = next((value for number, value in fields if number == 2 and isinstance(value, bytes)), b"")
    sizes = [dict(_fields(dim)).get(1, 0) for number, dim in _fields(shape) if number == 2 and isinstance(dim, bytes)]
    return _Entry(
        dtype=of.get(1, 0),
        shape=tuple(size for size in sizes if isinstance(size, int)),
        shard=of.get(3, 0),
        offset=of.get(4, 0),
        size=of.get(5, 0),
        checksum=of.get(6, 0),
        partitioned=any(number == 7 for number, _ in fields),
    )


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The numbers and values of a protocol buffer's fields."""
    rest = ByteReader(message)
    while rest:
        number, kind = divmod(rest.varint(), 8)
        if kind == _VARINT:
            yield number, rest.varint()
        elif kind == _BYTES:
            yield number, rest.take(rest.varint())
        elif kind in (_FIXED64, _FIXED32):
            yield number, int.from_bytes(rest.take(8 if kind == _FIXED64 else 4), "little")
        else:
            raise ValueError(f"field {number} of a message is of unknown kind {kind}")


def _field(number: int, value: int | bytes) -> bytes:
    """One field; a number that is 0 is not written, which is how protocol buffers of version 3 say it."""
    if isinstance(value, bytes):
        return encode_varint(number << 3 | _BYTES) + encode_varint(len(value)) + value
    return encode_varint(number << 3 | _VARINT) + encode_varint(value) if value else b""
