"""LevelDB's table format, which TensorFlow uses for the index of a checkpoint: sorted keys and values in blocks.

In a block, each key except at restart points stores only its difference from the previous key. A table consists of
blocks, a block that indexes them, and a footer of 48 bytes. See LevelDB's doc/table_format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from bertwright.errors import WeightsError
from bertwright.weights.tf.crc32c import crc32c, mask_crc

MAGIC = 0xDB4775248B80FB57
"""The last eight bytes of a table."""

_FOOTER = 48
_TRAILER = 5  # the kind of compression, and the checksum of block and kind
_BLOCK = 256 * 1024
"""Bytes after which TensorFlow starts another block."""
_RESTART = 16
"""Distance between keys that are stored in full."""
_COMPRESSIONS = {1: "snappy", 2: "zstd"}


class ByteReader:
    """A reader of bytes in the encodings of LevelDB and protocol buffers.

    Raises:
        ValueError: by every method, if the bytes end too early.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def varint(self) -> int:
        """Read a non-negative integer, seven bits per byte, lowest first."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number of more than 64 bits")

    def take(self, n: int) -> bytes:
        """Read the next n bytes."""
        if self._at + n > len(self._data):
            raise ValueError("it ends too early")
        self._at += n
        return self._data[self._at - n : self._at]


def encode_varint(value: int) -> bytes:
    """Encode a non-negative integer for :meth:`ByteReader.varint`."""
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def read_table(data: bytes, where: str) -> dict[bytes, bytes]:
    """Return all keys and values of a table in order; every checksum is verified.

    Raises:
        WeightsError: the table is truncated, damaged, compressed, or of another format.
    """
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise WeightsError(
            f"{where}: is truncated or not the index of a TensorFlow checkpoint: its {len(data):,} bytes do not end "
            "with a table footer; download or copy it again."
        )
    try:
        footer = ByteReader(data[-_FOOTER:])
        _block(data, footer.varint(), footer.varint(), where)  # the meta index, which is empty
        index = _block(data, footer.varint(), footer.varint(), where)
        entries: dict[bytes, bytes] = {}
        for _, handle in _entries(index):
            at = ByteReader(handle)
            entries.update(_entries(_block(data, at.varint(), at.varint(), where)))
    except ValueError as error:
        raise WeightsError(f"{where}: is damaged ({error}); download or copy it again.") from error
    return entries


def _block(data: bytes, offset: int, size: int, where: str) -> bytes:
    """Return the contents of a block at the position and size of a handle."""
    end = offset + size + _TRAILER
    if end > len(data) - _FOOTER:
        raise ValueError(f"a block should end at byte {end:,}, but there are {len(data):,}")
    kind, stored = struct.unpack("<BI", data[end - _TRAILER : end])
    if (computed := mask_crc(crc32c(data[offset : end - 4]))) != stored:
        raise ValueError(f"the checksum of the block at byte {offset:,} is {computed:#010x}, not {stored:#010x}")
    if kind:
        raise WeightsError(
            f"{where}: its blocks are compressed ({_COMPRESSIONS.get(kind, f'kind {kind}')}), which TensorFlow's own "
            "checkpoints never are; save the checkpoint again without compression."
        )
    return data[offset : offset + size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block."""
    n_restarts = struct.unpack("<I", ByteReader(block[-4:]).take(4))[0]
    if 4 * (n_restarts + 1) > len(block):
        raise ValueError(f"a block of {len(block):,} bytes should have {n_restarts:,} restart points")
    rest = ByteReader(block[: len(block) - 4 * (n_restarts + 1)])
    key = b""
    while rest:
        shared, own, size = rest.varint(), rest.varint(), rest.varint()
        if shared > len(key):
            raise ValueError("a key continues one that is shorter")
        key = key[:shared] + rest.take(own)
        yield key, rest.take(size)


def write_table(entries: Mapping[bytes, bytes]) -> bytes:
    """Return a table of keys and values, byte for byte as TensorFlow writes it."""
    table = bytearray()

    def add(pairs: list[tuple[bytes, bytes]], restart: int) -> bytes:
        """Append a block; its handle."""
        body = _encode_block(pairs, restart) + b"\0"
        handle = encode_varint(len(table)) + encode_varint(len(body) - 1)
        table.extend(body + struct.pack("<I", mask_crc(crc32c(body))))
        return handle

    handles = []
    blocks = list(_blocks(sorted(entries.items())))
    for number, pairs in enumerate(blocks):
        last = pairs[-1][0]
        limit = _successor(last) if number + 1 == len(blocks) else _separator(last, blocks[number + 1][0][0])
        handles.append((limit, add(pairs, _RESTART)))
    footer = add([], _RESTART) + add(handles, 1)
    return bytes(table) + footer.ljust(_FOOTER - 8, b"\0") + struct.pack("<Q", MAGIC)


def _blocks(pairs: list[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield the pairs of each block, which is full when it reaches :data:`_BLOCK` bytes."""
    block: list[tuple[bytes, bytes]] = []
    uncompressed = 0  # size with full keys; only blocks that may be full are encoded to measure them
    for pair in pairs:
        block.append(pair)
        uncompressed += len(pair[0]) + len(pair[1]) + 16
        if uncompressed >= _BLOCK and len(_encode_block(block, _RESTART)) >= _BLOCK:
            yield block
            block, uncompressed = [], 0
    if block:
        yield block


def _encode_block(pairs: list[tuple[bytes, bytes]], restart: int) -> bytes:
    body, restarts, before = bytearray(), [0], b""
    for number, (key, value) in enumerate(pairs):
        shared = 0
        if number % restart:
            shared = next((i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), len(before))
        elif number:
            restarts.append(len(body))
        body += (
            encode_varint(shared) + encode_varint(len(key) - shared) + encode_varint(len(value)) + key[shared:] + value
        )
        before = key
    return bytes(body) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def _separator(last: bytes, following: bytes) -> bytes:
    """Return a short key between the last key of a block and the first of the next (FindShortestSeparator)."""
    same = next((i for i, (a, b) in enumerate(zip(last, following, strict=False)) if a != b), None)
    if same is not None and last[same] + 1 < following[same]:
        return last[:same] + bytes([last[same] + 1])
    return last


def _successor(last: bytes) -> bytes:
    """Return a short key that is not below any key of the table (FindShortSuccessor)."""
    first = next((i for i, byte in enumerate(last) if byte != 0xFF), None)
    return last if first is None else last[:first] + bytes([last[first] + 1])
