"""``Ensemble``: several models whose predictions are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from bertwright.nn.batch import Batch
from bertwright.nn.head_outputs import HeadOutput
from bertwright.nn.heads import to_scores
from bertwright.nn.model import Model

Average = Callable[[Sequence[Tensor], Batch], Tensor]
"""Scores of each member (B, C) or (N, C), and their batch → scores of the same shape."""


class Ensemble(nn.Module):
    """Several models of one task that predict as one.

    An ensemble of one member computes exactly what the member computes.

    Args:
        members: one or more models.
        average: combines their scores.
    """

    def __init__(self, members: Iterable[Model], average: Average) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.average = average
        self.pads = all(member.pads for member in self.models)

    @property
    def models(self) -> tuple[Model, ...]:
        """The members."""
        return tuple(member for member in self.members if isinstance(member, Model))

    def forward(self, batch: Batch) -> Tensor:
        """Compute the averaged scores of every sequence (B, C) or token (N, C)."""
        if len(self.models) == 1:
            return self.models[0].forward(batch)
        scores = [member.independent_scores(member.forward(batch), batch).float() for member in self.models]
        return self.average(scores, batch)

    def differentiable_scores(self, batch: Batch) -> Tensor:
        """Compute averaged scores of single sequences or tokens that have a gradient."""
        if len(self.models) == 1:
            return self.models[0].differentiable_scores(batch)
        return self.average([member.differentiable_scores(batch).float() for member in self.models], batch)

    def decode(self, scores: Tensor, batch: Batch) -> HeadOutput:
        """Convert the scores of a batch to what predictions are computed from."""
        return self.models[0].decode(scores, batch) if len(self.models) == 1 else to_scores(scores)


AnyModel = Model | Ensemble
"""What evaluation and prediction run."""
