"""``Batch``: the token ids, layout and targets of some sequences on one device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertwright.errors import LayoutError
from bertwright.nn.layout import Layout

FEATURES = "input_ids, attention_mask, and optionally token_type_ids and labels (or label, targets)"
"""The names that :meth:`Batch.from_features` accepts, for messages."""


@dataclass(frozen=True)
class Batch:
    """Token ids of B sequences with their layout and targets; never mutated.

    Attributes:
        ids: int64 token ids of ``layout.shape``.
        types: int64 segment ids of the same shape.
        layout: the positions of the B sequences.
        targets: what the task's loss compares scores with; None in prediction.
        indices: int64 (B,) on the CPU, indices of these sequences in the encodings.
        features: cached output of a frozen encoder, see :meth:`~bertwright.nn.model.Model.features`. The model then
            runs only its head, and there are no ids if the features are one vector per sequence. None runs the encoder.
        group_sizes: int64 (G,) on the CPU, the number of sequences in each group whose sequences are scored together,
            such as the choices of a question; None if every sequence is scored alone.
    """

    ids: Tensor
    types: Tensor
    layout: Layout
    targets: Tensor | None
    indices: NDArray[np.int64]
    features: Tensor | None = None
    group_sizes: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.layout)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        if self.ids.device == torch.device(device):
            return self
        targets, features = (None if t is None else t.to(device) for t in (self.targets, self.features))
        ids, types, layout = self.ids.to(device), self.types.to(device), self.layout.to(device)
        return Batch(ids, types, layout, targets, self.indices, features, self.group_sizes)

    @staticmethod
    def from_features(
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        targets: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        label: Tensor | None = None,
        **unknown: object,
    ) -> Batch:
        """Build a packed batch from padded features, for users with their own input pipeline.

        The contract is that of transformers: int32 or int64 (B, T) tensors; the mask is 1 at tokens and 0 at padding,
        which follows the tokens; segment ids are 0 and 1, and 0 at padding. Padding is removed before any computation.

        Args:
            input_ids: (B, T), token ids with special tokens in place; required.
            attention_mask: (B, T), 1 at tokens, 0 at padding; required.
            token_type_ids: (B, T), segment ids; None for all 0.
            targets: int32 or int64 (B,) labels, float32 (B,) values or (B, C) multi-label.
            labels: another name for ``targets``, used by transformers' collators.
            label: another name for ``targets``, used by data sets.
            unknown: features under any other name, which are refused.

        Raises:
            LayoutError: a feature is missing, has an unknown name, has not two axes, is not of integers or differs in
                shape from ``input_ids``; padding precedes a token; or targets have more than one name.
        """
        if unknown or input_ids is None or attention_mask is None:
            raise LayoutError(_wrong_names(tuple(unknown), {"input_ids": input_ids, "attention_mask": attention_mask}))
        names = {"targets": targets, "labels": labels, "label": label}
        passed = {name: tensor for name, tensor in names.items() if tensor is not None}
        if len(passed) > 1:
            raise LayoutError(f"features: {' and '.join(passed)} name the same feature; pass only one of them.")
        targets = next(iter(passed.values()), None)
        if targets is not None and targets.dtype == torch.int32:
            targets = targets.long()  # torch's losses accept only int64
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        for name, tensor in (("input_ids", input_ids), ("attention_mask", attention_mask), ("token_type_ids", types)):
            if tensor.ndim != 2 or tensor.shape != input_ids.shape:
                raise LayoutError(
                    f"features: {name} must have the shape (B, T) of input_ids, but has {tuple(tensor.shape)}."
                )
            if tensor.dtype not in (torch.int32, torch.int64):
                raise LayoutError(f"features: {name} must be int32 or int64, but is {tensor.dtype}.")
        mask = attention_mask.bool()
        lengths = mask.sum(1)
        if bool((mask != (torch.arange(mask.shape[1], device=mask.device) < lengths[:, None])).any()):
            raise LayoutError("features: attention_mask must be 1 at tokens and then 0 to the end of the row.")
        layout = Layout.packed(lengths.cpu().numpy()).to(input_ids.device)
        return Batch(input_ids[mask].long(), types[mask].long(), layout, targets, np.arange(len(lengths)))

    def to_features(self, pad_id: int = 0, width: int | None = None) -> dict[str, Tensor]:
        """Convert the batch to padded (B, T) features, the inverse of :meth:`from_features`.

        Args:
            pad_id: the token id of padding.
            width: T; None for the length of the longest sequence.
        """
        lengths = torch.from_numpy(self.layout.lengths).to(self.ids.device)
        t = int(lengths.max()) if width is None else width
        mask = torch.arange(t, device=self.ids.device) < lengths[:, None]
        real = self.layout.mask
        ids = torch.full(mask.shape, pad_id, dtype=torch.int64, device=self.ids.device)
        types = torch.zeros_like(ids)
        ids[mask], types[mask] = self.ids[real], self.types[real]
        return {"input_ids": ids, "attention_mask": mask.long(), "token_type_ids": types}


def _wrong_names(unknown: tuple[str, ...], required: Mapping[str, Tensor | None]) -> str:
    """Describe what is wrong with the names of features, and list the accepted names."""
    missing = [name for name, tensor in required.items() if tensor is None]
    faults = [f"{', '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not accepted"] if unknown else []
    faults += [f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"] if missing else []
    return f"features: {', and '.join(faults)}; pass {FEATURES}."
