"""``Layout``: which tokens belong to which sequence, so that only attention and pooling need to know about padding.

A packed batch is one flat axis of N real tokens, sequence after sequence. Dense layers process exactly those tokens::

    ids        a a a a b b b c c c c c          (N,) = 4 + 3 + 5
    positions  0 1 2 3 0 1 2 0 1 2 3 4

Attention needs rows of equal width, so a layout also assigns sequences to shared rows::

    row 0      a a a a b b b .                   slots of a row attend only within their own sequence;
    row 1      c c c c c . . .                   a dot is an empty slot, which dense layers never process

A small type that carries the lengths and validates itself follows fairseq2's ``BatchLayout``; sharing rows between
sequences follows Krell et al. 2021 (arXiv 2107.02027). Shape letters: :mod:`bertwright.nn`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bertwright.errors import LayoutError

MIN_ROW_WIDTH = 64
"""Width of the narrowest attention rows, in tokens; below it the matrix products are too small to run fast."""


@dataclass(frozen=True)
class AttentionRows:
    """Attention rows of one width: R of them, W slots each.

    Attributes:
        width: W, slots in a row.
        bias: (R, 1, W, W), -inf where a slot must not attend to another (another sequence or an empty slot), else 0.
    """

    width: int
    bias: Tensor

    @property
    def n_slots(self) -> int:
        """R * W, the number of slots."""
        return self.bias.shape[0] * self.width

    def split(self, n_rows: int) -> list[AttentionRows]:
        """Consecutive pieces of at most ``n_rows`` rows."""
        if len(self.bias) <= n_rows:
            return [self]
        return [AttentionRows(self.width, bias) for bias in self.bias.split(n_rows)]


@dataclass(frozen=True)
class Layout:
    """Positions of B sequences: packed end to end in N slots, or padded to (B, T).

    Attributes:
        lengths: int64 (B,) on the CPU, the number of tokens of each sequence.
        shape: the shape of the token axis or axes: (N,) packed, (B, T) padded.
        starts: int64 (B,), index of each sequence's first token in the flattened token axis.
        positions: int64 of ``shape``, index of each token in its own sequence, from 0.
        attention_rows: the rows that sequences share, grouped by width.
        source: int64 (S,), index of the token in each slot of all ``attention_rows``, concatenated (token 0 in an
            empty slot); None when the slots are the token axis itself.
        slot: int64 (N,), the inverse of ``source``: the slot of each token.
        row_mask: bool (B, T), true at tokens, in a layout of :meth:`from_mask`; None in all others.
    """

    lengths: NDArray[np.int64]
    shape: tuple[int, ...]
    starts: Tensor
    positions: Tensor
    attention_rows: tuple[AttentionRows, ...]
    source: Tensor | None
    slot: Tensor | None
    row_mask: Tensor | None = None

    @property
    def is_packed(self) -> bool:
        """Whether no slot of the token axis is padding."""
        return len(self.shape) == 1

    @property
    def n_tokens(self) -> int:
        """Number of tokens, without padding."""
        return int(self.lengths.sum())

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def mask(self) -> Tensor:
        """Bool of ``shape``, true at tokens, false at padding."""
        if self.row_mask is not None:
            return self.row_mask.flatten()
        if self.is_packed:
            return torch.ones(self.shape, dtype=torch.bool, device=self.positions.device)
        lengths = torch.from_numpy(self.lengths).to(self.positions.device)
        return self.positions < lengths[:, None]

    @staticmethod
    def packed(
        lengths: Sequence[int] | NDArray[np.int64], min_width: int = MIN_ROW_WIDTH, needs_attention: bool = True
    ) -> Layout:
        """Place sequences end to end, without padding.

        Args:
            lengths: (B,), tokens of each sequence, all at least 1.
            min_width: width of the narrowest attention rows. Longer sequences get rows of 2, 4, 8 … times the width.
            needs_attention: False omits the attention rows, for a batch that only a head reads.

        Raises:
            LayoutError: there is no sequence, or one is empty.
        """
        sizes = _check_lengths(lengths)
        ends = np.cumsum(sizes)
        starts = ends - sizes
        n = int(ends[-1])
        positions = np.arange(n) - np.repeat(starts, sizes)
        if not needs_attention:
            return Layout(sizes, (n,), torch.from_numpy(starts), torch.from_numpy(positions), (), None, None)
        if len(sizes) == 1 and n < min_width:  # the token axis is the only row, so no token moves
            row = AttentionRows(n, torch.zeros(1, 1, n, n))
            return Layout(sizes, (n,), torch.from_numpy(starts), torch.from_numpy(positions), (row,), None, None)
        slot = np.empty(n, dtype=np.int64)
        rows: list[AttentionRows] = []
        sources: list[NDArray[np.int64]] = []
        base = 0
        # Each sequence goes to the narrowest width that holds it: attention costs tokens x width,
        # so one long document must not widen the rows of a hundred short ones.
        steps = np.ceil(np.log2(np.maximum(sizes, min_width) / min_width)).astype(np.int64)
        for step in np.unique(steps):
            members = np.flatnonzero(steps == step)
            # the widest row need not be a power of two; a multiple of 8 keeps the matrix kernels fast
            width = min(min_width << int(step), max(min_width, -(-int(sizes[members].max()) // 8) * 8))
            group, source = _pack_rows(sizes, starts, members, width)
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
        """Put each sequence at the start of a separate row and pad the row to ``width`` (T).

        Raises:
            LayoutError: there is no sequence, or one is empty or longer than ``width``.
        """
        sizes = _check_lengths(lengths)
        if int(sizes.max()) > width:
            raise LayoutError(
                f"layout: the longest sequence has {sizes.max()} tokens, but width is {width}; raise width."
            )
        b = len(sizes)
        positions = torch.arange(width).expand(b, width)
        real = positions < torch.from_numpy(sizes)[:, None]
        # A padding slot attends to padding (its output is never read): a row of -inf only would give NaN.
        blocked = real[:, None, :, None] != real[:, None, None, :]
        rows = (AttentionRows(width, _attention_bias(blocked)),)
        return Layout(sizes, (b, width), torch.arange(b) * width, positions.contiguous(), rows, None, None)

    @staticmethod
    def from_mask(mask: Tensor) -> Layout:
        """Describe rows of equal width by tensors alone, for programs that record what modules compute.

        The token axis has N = B * T slots, padding included, which no token attends to. Their hidden vectors have no
        meaning. ``lengths`` is None, because a recorded graph has no fixed lengths.

        Args:
            mask: bool (B, T), true at the tokens, which come first in every row.
        """
        b, t = mask.shape
        starts = torch.arange(b, device=mask.device) * t
        positions = torch.arange(t, device=mask.device).expand(b, t).reshape(-1)
        return Layout(cast("NDArray[np.int64]", None), (b * t,), starts, positions, (), None, None, mask)

    def with_spare_tokens(self, n: int) -> Layout:
        """Append tokens that belong to no sequence to a packed layout, up to N in all; without gradients only.

        No other token attends to them, and their hidden vectors have no meaning. They receive the context of another
        token, so gradients would be wrong.
        """
        spare = (0, n - self.shape[0])
        slot = None if self.slot is None else F.pad(self.slot, spare)
        return replace(self, shape=(n,), positions=F.pad(self.positions, spare), slot=slot)

    def first_tokens_only(self) -> Layout:
        """The layout of the first token of every sequence, for :meth:`~bertwright.nn.encoder.Encoder.first_tokens`."""
        if self.row_mask is not None:
            return Layout.from_mask(self.row_mask[:, :1])
        return Layout.of_single_tokens(len(self)).to(self.positions.device)

    @staticmethod
    @lru_cache(maxsize=8)
    def of_single_tokens(b: int) -> Layout:
        """B sequences of one token each, without attention rows; cached because every step needs it."""
        with torch.inference_mode(mode=False):  # the cached tensors may be made in prediction and used in training
            starts, positions = torch.arange(b), torch.zeros(b, dtype=torch.int64)
        return Layout(np.ones(b, np.int64), (b,), starts, positions, (), None, None)

    def to(self, device: torch.device | str) -> Layout:
        """The same layout with its tensors on ``device``."""
        if self.positions.device == torch.device(device):
            return self
        rows = tuple(AttentionRows(r.width, r.bias.to(device)) for r in self.attention_rows)
        source = None if self.source is None else self.source.to(device)
        slot = None if self.slot is None else self.slot.to(device)
        return Layout(self.lengths, self.shape, self.starts.to(device), self.positions.to(device), rows, source, slot)


def _check_lengths(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    sizes = np.asarray(lengths, dtype=np.int64)
    if sizes.ndim != 1 or len(sizes) == 0:
        raise LayoutError(f"layout: lengths must be a non-empty list of integers, but has shape {sizes.shape}.")
    if int(sizes.min()) < 1:
        raise LayoutError(f"layout: sequence {sizes.argmin()} is empty; every sequence needs at least 1 token.")
    return sizes


def _pack_rows(
    sizes: NDArray[np.int64], starts: NDArray[np.int64], members: NDArray[np.int64], width: int
) -> tuple[AttentionRows, NDArray[np.int64]]:
    """Assign sequences to rows, longest first, each to the fullest row with enough room for it.

    Best-fit decreasing (Johnson 1974; for batches of transformers Krell et al. 2021).

    Returns:
        The rows, and int64 (R * W,): the token in each slot, -1 in an empty one.
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
    for i, first_slot in placed:
        size = int(sizes[i])
        source[first_slot : first_slot + size] = np.arange(starts[i], starts[i] + size)
        owner[first_slot : first_slot + size] = i
    by_row = torch.from_numpy(owner.reshape(n_rows, 1, width))
    return AttentionRows(width, _attention_bias(by_row[..., :, None] != by_row[..., None, :])), source


def _attention_bias(blocked: Tensor) -> Tensor:
    """-inf where ``blocked`` is true, else 0."""
    return torch.zeros(blocked.shape).masked_fill_(blocked, float("-inf"))
