"""CRC-32C (Castagnoli), the checksum of TensorFlow files, computed with XOR in numpy.

A CRC is the remainder of the message, as a polynomial over GF(2), divided by P of degree 32. Division byte by byte is
slow in Python. But P has a multiple with four terms (below), and by squaring it
``x**(6777 * 2**k) = x**(484 * 2**k) + x**(100 * 2**k) + 1`` modulo P. Blocks of a long message are therefore folded
onto the following bytes by three XORs, until a table of 256 entries can process the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78
"""P without its highest term, bits reversed, as in RFC 3720."""

DEGREE, MIDDLE, LOW = 6777, 484, 100
"""The multiple of P: x**6777 + x**484 + x**100 + 1. Of those of four terms and degree under 9,000 (a search over all
pairs) it has the widest gap below its highest term: this many units are folded at once."""

UNITS = (64, 1)
"""Bytes per power of x**(8 * unit): long steps first, because each costs a few microseconds, then the rest."""

CHUNK = 1 << 22
"""Bytes copied at a time, so that no tensor is in memory twice."""


def crc32c(data: bytes | NDArray[np.uint8]) -> int:
    """Return the CRC-32C of bytes.

    >>> hex(crc32c(b"123456789"))  # the check value of RFC 3720's CRC
    '0xe3069283'
    """
    message = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    if len(message) <= DEGREE:
        return _remainder(message.tobytes(), 0xFFFFFFFF) ^ 0xFFFFFFFF
    # Starting from ones instead of zeros equals complementing the first 32 bits.
    message, start = message[4:], ~message[:4]
    for unit in UNITS:
        message, start = _fold(start, message, unit), message[:0]
    return _remainder(message.tobytes(), 0) ^ 0xFFFFFFFF


def mask_crc(crc: int) -> int:
    """Return a checksum as TensorFlow stores it: rotated right by 15 bits, plus a constant.

    As in LevelDB's ``util/crc32c.h``, this avoids problems with checksums of checksums.
    """
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _fold(start: NDArray[np.uint8], rest: NDArray[np.uint8], unit: int) -> NDArray[np.uint8]:
    """Return at most DEGREE units with the same remainder as start followed by rest."""
    kept = DEGREE * unit
    for at in range(0, max(len(rest), 1), CHUNK):
        block = np.concatenate([start, rest[at : at + CHUNK]])
        done = 0
        while (n := min(len(block) - done - kept, (DEGREE - MIDDLE) * unit)) > 0:
            source = block[done : done + n]
            for power in (MIDDLE, LOW, 0):
                goal = done + (DEGREE - power) * unit
                block[goal : goal + n] ^= source
            done += n
        start = block[done:]
    return start


def _byte_table() -> tuple[int, ...]:
    table: NDArray[np.uint32] = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ np.where(table & 1, np.uint32(POLYNOMIAL), np.uint32(0))
    return tuple(table.tolist())


_TABLE = _byte_table()


def _remainder(message: bytes, crc: int) -> int:
    for byte in message:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc
