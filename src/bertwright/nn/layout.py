"""Where sequences lie in the token axis, so that nothing else has to know about padding.

Letters used in shapes throughout the package: B sequences, N tokens, T padded width, D width, H heads.

A packed batch is one flat run of N real tokens, sequence after sequence, and every dense layer works
on just those::

    ids        a a a a b b b c c c c c          (N,) = 4 + 3 + 5
    positions  0 1 2 3 0 1 2 0 1 2 3 4

Attention needs rows of equal width, so a layout also says how sequences share rows::

    row 0      a a a a b b b .                   slots of one row attend only within their own sequence;
    row 1      c c c c c . . .                   a dot is an empty slot, never seen by a dense layer

The idea of one small type that carries the lengths and validates itself is that of fairseq2's
``BatchLayout``; sharing rows between sequences goes back to Krell et al. 2021 (arXiv 2107.02027).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertwright.errors import LayoutError

ROW = 64
"""Narrowest attention row, in tokens: below it the matrix products are too small to run at speed."""


@dataclass(frozen=True)
class Rows:
    """Attention rows of one width: R of them, W slots each.

    Attributes:
        width: W, slots in a row.
        bias: (R, 1, W, W), -inf where a slot must not look at another (another sequence or an empty slot), else 0.
    """

    width: int
    bias: Tensor

    @property
    def n_slots(self) -> int:
        """R * W."""
        return self.bias.shape[0] * self.width


@dataclass(frozen=True)
class Layout:
    """Where B sequences lie: packed end to end in N slots, or padded to (B, T).

    Attributes:
        lengths: int64 (B,) on the host, the number of tokens of each sequence.
        shape: the shape of the token axis or axes: (N,) packed, (B, T) padded.
        starts: int64 (B,), index of each sequence's first token in the flattened token axis.
        positions: int64 of ``shape``, each token's place in its own sequence, from 0.
        rows: how sequences share attention rows, by width.
        source: int64 (S,), the token in each of the slots of all ``rows``, one after the other (token 0 in an empty
            slot); None when the slots are the token axis itself.
        slot: int64 (N,), the other way round: each token's slot.
    """

    lengths: NDArray[np.int64]
    shape: tuple[int, ...]
    starts: Tensor
    positions: Tensor
    rows: tuple[Rows, ...]
    source: Tensor | None
    slot: Tensor | None

    @property
    def is_packed(self) -> bool:
        """Whether no slot of the token axis is padding."""
        return len(self.shape) == 1

    @property
    def n_tokens(self) -> int:
        """How many real tokens there are, padding not counted."""
        return int(self.lengths.sum())

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def mask(self) -> Tensor:
        """Bool of ``shape``, true at real tokens."""
        if self.is_packed:
            return torch.ones(self.shape, dtype=torch.bool, device=self.positions.device)
        lengths = torch.from_numpy(self.lengths).to(self.positions.device)
        return self.positions < lengths[:, None]

    @staticmethod
    def packed(lengths: Sequence[int] | NDArray[np.int64], row: int = ROW, attended: bool = True) -> Layout:
        """Sequences end to end, without padding.

        Args:
            lengths: tokens of each sequence, all at least 1.
            row: narrowest attention row. Sequences longer than it get rows of twice, four times … the width.
            attended: False leaves the attention rows out, where only a head will read the sequences.

        Raises:
            LayoutError: no sequence, or an empty one.
        """
        sizes = _checked(lengths)
        ends = np.cumsum(sizes)
        starts = ends - sizes
        n = int(ends[-1])
        positions = np.arange(n) - np.repeat(starts, sizes)
        if not attended:
            return Layout(sizes, (n,), torch.from_numpy(starts), torch.from_numpy(positions), (), None, None)
        slot = np.empty(n, dtype=np.int64)
        rows: list[Rows] = []
        sources: list[NDArray[np.int64]] = []
        base = 0
        # Each sequence goes to the narrowest width that holds it: attention costs tokens x width,
        # so one long document must not widen the rows of a hundred short ones.
        steps = np.ceil(np.log2(np.maximum(sizes, row) / row)).astype(np.int64)
        for step in np.unique(steps):
            members = np.flatnonzero(steps == step)
            # the widest row need not be a power of two; a multiple of 8 keeps the matrix kernels happy
            width = min(row << int(step), max(row, -(-int(sizes[members].max()) // 8) * 8))
            group, source = _share_rows(sizes, starts, members, width)
            real = np.flatnonzero(source >= 0)
            slot[source[real]] = base + real
            base += len(source)
            rows.append(group)
            sources.append(np.maximum(source, 0))
        return Layout(
            sizes,
            (n,),
            torch.from_numpy(starts),
            torch.from_numpy(positions),
            tuple(rows),
            torch.from_numpy(np.concatenate(sources)),
            torch.from_numpy(slot),
        )

    @staticmethod
    def padded(lengths: Sequence[int] | NDArray[np.int64], width: int) -> Layout:
        """Every sequence at the start of a row of its own, filled up with padding to ``width``.

        Raises:
            LayoutError: no sequence, an empty one, or one longer than ``width``.
        """
        sizes = _checked(lengths)
        if int(sizes.max()) > width:
            raise LayoutError(f"layout: width must be at least the longest sequence, {sizes.max()}, but is {width}.")
        b = len(sizes)
        positions = torch.arange(width).expand(b, width)
        real = positions < torch.from_numpy(sizes)[:, None]
        # A padding slot may look at padding (its output is never read): a row of all -inf would be NaN.
        blocked = real[:, None, :, None] != real[:, None, None, :]
        rows = (Rows(width, _bias(blocked)),)
        return Layout(sizes, (b, width), torch.arange(b) * width, positions.contiguous(), rows, None, None)

    def firsts(self) -> Layout:
        """The layout of every sequence's first token alone, as :meth:`~bertwright.nn.encoder.Encoder.first_tokens`."""
        return Layout.of_single_tokens(len(self)).to(self.positions.device)

    @staticmethod
    @lru_cache(maxsize=8)
    def of_single_tokens(b: int) -> Layout:
        """Sequences of one token each, that no attention will run over; made once, as every step asks for it."""
        with torch.inference_mode(mode=False):  # whoever asks first may be predicting, and the next one train
            starts, positions = torch.arange(b), torch.zeros(b, dtype=torch.int64)
        return Layout(np.ones(b, np.int64), (b,), starts, positions, (), None, None)

    def to(self, device: torch.device | str) -> Layout:
        """The same layout with its tensors on ``device``."""
        if self.positions.device == torch.device(device):
            return self
        rows = tuple(Rows(r.width, r.bias.to(device)) for r in self.rows)
        source = None if self.source is None else self.source.to(device)
        slot = None if self.slot is None else self.slot.to(device)
        return Layout(self.lengths, self.shape, self.starts.to(device), self.positions.to(device), rows, source, slot)


def _checked(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    sizes = np.asarray(lengths, dtype=np.int64)
    if sizes.ndim != 1 or len(sizes) == 0:
        raise LayoutError(f"layout: lengths must be a list of at least one number, but has shape {sizes.shape}.")
    if int(sizes.min()) < 1:
        raise LayoutError(f"layout: every sequence must have at least 1 token, but sequence {sizes.argmin()} has none.")
    return sizes


def _share_rows(
    sizes: NDArray[np.int64], starts: NDArray[np.int64], members: NDArray[np.int64], width: int
) -> tuple[Rows, NDArray[np.int64]]:
    """Put sequences into rows, longest first, each into the fullest row that still has room for it.

    Best-fit decreasing (Johnson 1974; for transformers' batches Krell et al. 2021).

    Returns:
        the rows, and int64 (R * W,) the token in each slot, -1 in an empty one.
    """
    rows_by_room: list[list[int]] = [[] for _ in range(width + 1)]
    placed: list[tuple[int, int]] = []  # (sequence, its first slot)
    n_rows = 0
    for i in members[np.argsort(-sizes[members], kind="stable")].tolist():
        size = int(sizes[i])
        room = next((r for r in range(size, width + 1) if rows_by_room[r]), None)
        if room is None:
            row, room = n_rows, width
            n_rows += 1
        else:
            row = rows_by_room[room].pop()
        placed.append((i, row * width + width - room))
        rows_by_room[room - size].append(row)
    source = np.full(n_rows * width, -1, dtype=np.int64)
    owner = np.full(n_rows * width, -1, dtype=np.int64)
    for i, at in placed:
        size = int(sizes[i])
        source[at : at + size] = np.arange(starts[i], starts[i] + size)
        owner[at : at + size] = i
    by_row = torch.from_numpy(owner.reshape(n_rows, 1, width))
    return Rows(width, _bias(by_row[..., :, None] != by_row[..., None, :])), source


def _bias(blocked: Tensor) -> Tensor:
    """-inf where true, else 0."""
    return torch.zeros(blocked.shape).masked_fill_(blocked, float("-inf"))
