"""TensorFlow's tensor bundles: an index of names and data files, read and written without TensorFlow.

``bert_model.ckpt.index`` is a table (:mod:`bertwright.weights.tf.sstable`) of names and positions, with a header under
the empty name. The values are in ``bert_model.ckpt.data-00000-of-00001`` and so on, in memory layout. See
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
from bertwright.output.plurals import pluralize
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
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


@dataclass(frozen=True, slots=True)
class _Entry:
    """The position and type of a tensor: a BundleEntryProto."""

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    checksum: int = 0
    partitioned: bool = False


def open_bundle(prefix: Path) -> Checkpoint:
    """Open a checkpoint by its file name prefix, such as ``bert_model.ckpt``, under its own names.

    The index is verified immediately, each tensor when it is read; a tensor is a slice of the memory-mapped file.

    Raises:
        WeightsError: a file is missing, truncated, damaged or of another format.
    """
    index = prefix.with_name(prefix.name + INDEX)
    try:
        table = read_table(index.read_bytes(), str(index))
    except OSError as error:
        raise WeightsError(f"{index}: cannot be read ({error.strerror}); check the path and its permissions.") from None
    if _OBJECT_GRAPH in table:
        raise WeightsError(
            f"{index}: is an object-based checkpoint of TensorFlow 2, whose tensors are named by Python attributes; "
            "save it as a name-based checkpoint (tf.compat.v1.train.Saver)."
        )
    try:
        n_shards = _header(table.pop(b"", b""), index)
        entries = {name.decode(): _entry(value) for name, value in table.items()}
    except ValueError as error:
        raise WeightsError(f"{index}: is damaged ({error}); download or copy it again.") from error
    shards = [prefix.with_name(f"{prefix.name}.data-{i:05}-of-{n_shards:05}") for i in range(n_shards)]
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise WeightsError(
            f"{index}: {len(missing)} of {pluralize(n_shards, 'data file')} missing ({join_names(missing)}); "
            "copy or download them into the same directory."
        )
    sizes = [shard.stat().st_size for shard in shards]
    for name, entry in entries.items():
        _check(name, entry, index, shards, sizes)

    @cache
    def mapped(shard: int) -> NDArray[np.uint8]:
        # Copy on write, because torch requires writable memory; it is never written.
        return np.memmap(shards[shard], np.uint8, "c")

    def read(name: str) -> Tensor:
        entry = entries[name]
        dtype = _DTYPES[entry.dtype]
        if not entry.size:
            return torch.empty(entry.shape, dtype=dtype)
        data = mapped(entry.shard)[entry.offset : entry.offset + entry.size]
        if (checksum := mask_crc(crc32c(data))) != entry.checksum:
            raise WeightsError(
                f"{shards[entry.shard]}: {name} is damaged: its checksum is {checksum:#010x}, but {index.name} has "
                f"{entry.checksum:#010x}; download or copy both again."
            )
        return torch.from_numpy(data).view(dtype).reshape(entry.shape)

    tensors = {name: TensorInfo(entry.shape, _DTYPES[entry.dtype]) for name, entry in entries.items()}
    return Checkpoint(str(index), tensors, read)


def write_bundle(prefix: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as TensorFlow does, into one data file and, last, the index.

    Args:
        prefix: the file name prefix, such as ``DIR/bert_model.ckpt``.
        tensors: the tensors by name; views are copied one tensor at a time.
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
    """Refuse a tensor that cannot be read: partitioned, of another type, or outside its file."""
    if entry.partitioned:
        raise WeightsError(f"{index}: {name} is partitioned, which bertwright does not support; save it unpartitioned.")
    if entry.dtype not in _DTYPES:
        raise WeightsError(
            f"{index}: {name} has TensorFlow type {entry.dtype}, which is not a weight type; save only the model."
        )
    if prod(entry.shape) * _DTYPES[entry.dtype].itemsize != entry.size or entry.shard >= len(shards):
        raise WeightsError(
            f"{index}: is damaged ({name} of shape {entry.shape} takes {entry.size:,} bytes of data file "
            f"{entry.shard}, of {len(shards)}); download or copy it again."
        )
    if entry.offset + entry.size > sizes[entry.shard]:
        raise WeightsError(
            f"{shards[entry.shard]}: is truncated: it has {sizes[entry.shard]:,} bytes, but {name} ends at byte "
            f"{entry.offset + entry.size:,}; download or copy it again."
        )


def _header(message: bytes, index: Path) -> int:
    """Return the number of data files in a BundleHeaderProto."""
    header = dict(_fields(message))
    if header.get(2):
        raise WeightsError(f"{index}: has big-endian byte order, which bertwright does not support.")
    n_shards = header.get(1, 0)
    if not isinstance(n_shards, int) or not n_shards:
        raise ValueError("its header lacks the number of data files")
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
    """Yield the numbers and values of the fields of a protocol buffer."""
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
    """Encode one field; proto3 omits fields with the value 0."""
    if isinstance(value, bytes):
        return encode_varint(number << 3 | _BYTES) + encode_varint(len(value)) + value
    return encode_varint(number << 3 | _VARINT) + encode_varint(value) if value else b""
