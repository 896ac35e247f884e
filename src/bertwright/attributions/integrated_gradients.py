"""Integrated gradients with as many steps as the accuracy needs.

The attribution of an input is its distance from the baseline times the mean gradient on the straight line between both
(Sundararajan et al. 2017, arXiv 1703.01365). By the axiom of completeness the attributions sum up to the difference of
the scores at both ends. This holds for every segment of the line, so the error of each segment is known: the segments
with the largest errors are divided until the sum of their errors is small. In BERT models almost all of the error is
in a short segment near the baseline, where a fixed number of equal steps would be wasted on the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from bertwright.errors import MissingDependencyError, RecipeError

if TYPE_CHECKING:
    from captum.attr import IntegratedGradients

TOLERANCE = 0.001
"""Maximum error, as a share of the sum of the attributions' absolute values."""

ROUNDING = 1e-5
"""Smallest error that float32 can reach, as a share of the larger absolute score."""

POINTS = 4
"""Gradients in a segment, at the points of Gauss and Legendre."""

FIRST_EDGES = (0.0, 0.125, 0.25, 0.5, 1.0)
"""The edges of the first segments, from the baseline (0) to the input (1)."""

MAX_STEPS = 1000
"""Number of gradients after which no segment is divided any more."""

Inputs = tuple[Tensor, ...]
"""An input as tensors (N, E), one for each model of an ensemble."""

ScoreFunction = Callable[..., Tensor]
"""K copies of the input, one argument (K, N, E) for each of its tensors → scores (K,)."""


@dataclass(frozen=True)
class Integral:
    """Attributions of the N tokens of an input.

    Attributes:
        attributions: float64 (N,) on the CPU, each a sum over the dimensions of the embedding.
        score: of the input.
        baseline_score: of the baseline.
        error: the sum of the absolute errors of all segments; at least ``convergence_delta`` in absolute value.
        tolerance: the error that was aimed at.
        n_steps: number of gradients.
    """

    attributions: Tensor
    score: float
    baseline_score: float
    error: float
    tolerance: float
    n_steps: int

    @property
    def convergence_delta(self) -> float:
        """The sum of the attributions minus the difference of both scores."""
        return float(self.attributions.sum()) - (self.score - self.baseline_score)

    @property
    def is_accurate(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance


class _Segment(NamedTuple):
    """A part of the line, with the attributions on it, (N,), and their sum minus the difference of the scores."""

    start: float
    end: float
    attributions: Tensor
    error: float


def integrate(
    score_of: ScoreFunction, inputs: Inputs, baselines: Inputs, max_copies: int, n_steps: int | None = None
) -> Integral:
    """Compute integrated gradients from a baseline to an input.

    Args:
        score_of: the score to explain.
        inputs: the embeddings of N tokens.
        baselines: the embeddings of the baseline, of the same shapes.
        max_copies: the number of copies of the input that are computed at a time.
        n_steps: number of gradients on the line; None for as many as :data:`TOLERANCE` needs, up to :data:`MAX_STEPS`.

    Raises:
        MissingDependencyError: captum is not installed.
        RecipeError: the score has no gradient.
    """
    line = _Line(score_of, inputs, baselines, max_copies)
    if n_steps is not None:
        return line.summarize([line.measure(0.0, 1.0, n_steps)], n_steps)
    segments = line.measure_all(FIRST_EDGES[:-1], FIRST_EDGES[1:])
    done = POINTS * len(segments)
    while not (integral := line.summarize(segments, done)).is_accurate and done < MAX_STEPS:
        limit = integral.tolerance / len(segments)
        coarse = [segment for segment in segments if abs(segment.error) > limit]
        middles = [(segment.start + segment.end) / 2 for segment in coarse]
        starts = [edge for segment, middle in zip(coarse, middles, strict=True) for edge in (segment.start, middle)]
        ends = [edge for segment, middle in zip(coarse, middles, strict=True) for edge in (middle, segment.end)]
        segments = [s for s in segments if abs(s.error) <= limit] + line.measure_all(starts, ends)
        done += POINTS * len(starts)
    return integral


class _Line:
    """The straight line from the baseline (0) to the input (1)."""

    def __init__(self, score_of: ScoreFunction, inputs: Inputs, baselines: Inputs, max_copies: int) -> None:
        self._method = _open_captum(score_of)
        self._score_of = score_of
        self._inputs, self._baselines = inputs, baselines
        self._max_copies = max(1, max_copies)
        self._scores: dict[float, float] = {}
        self._compute_scores((0.0, 1.0))

    def measure_all(self, starts: Sequence[float], ends: Sequence[float]) -> list[_Segment]:
        """Compute the attributions on some segments, several at a time, with :data:`POINTS` gradients each."""
        self._compute_scores((*starts, *ends))
        n = max(1, self._max_copies // POINTS)
        segments: list[_Segment] = []
        for i in range(0, len(starts), n):
            segments += self._attribute(starts[i : i + n], ends[i : i + n], POINTS)
        return segments

    def measure(self, start: float, end: float, n_steps: int) -> _Segment:
        """Compute the attributions on one segment with some number of gradients."""
        return self._attribute([start], [end], n_steps)[0]

    def summarize(self, segments: Sequence[_Segment], n_steps: int) -> Integral:
        """Add up the attributions and errors of segments that cover the line."""
        attributions = torch.stack([segment.attributions for segment in segments]).sum(0)
        score, baseline_score = self._scores[1.0], self._scores[0.0]
        tolerance = max(
            TOLERANCE * float(attributions.abs().sum()), ROUNDING * max(abs(score), abs(baseline_score), ROUNDING)
        )
        error = sum(abs(segment.error) for segment in segments)
        return Integral(attributions, score, baseline_score, error, tolerance, n_steps)

    def _attribute(self, starts: Sequence[float], ends: Sequence[float], n_steps: int) -> list[_Segment]:
        try:
            parts = self._method.attribute(
                self._points(ends),
                self._points(starts),
                n_steps=n_steps,
                internal_batch_size=max(self._max_copies, len(starts)),
            )
        except RuntimeError as error:  # a custom head may detach the hidden vectors, or compute with NumPy
            if "does not require grad" in str(error) or "to not have been used in the graph" in str(error):
                raise RecipeError(
                    "explain: the score has no gradient with respect to the word embeddings, because the head detaches "
                    "its input; use a head without detach() and numpy()."
                ) from error
            raise
        by_token = torch.stack([part.detach().double().sum(-1).cpu() for part in parts]).sum(0)
        return [
            _Segment(start, end, row, float(row.sum()) - (self._scores[end] - self._scores[start]))
            for start, end, row in zip(starts, ends, by_token, strict=True)
        ]

    def _compute_scores(self, positions: Sequence[float]) -> None:
        new = sorted({*positions} - self._scores.keys())
        for i in range(0, len(new), self._max_copies):
            part = new[i : i + self._max_copies]
            scores = self._score_of(*self._points(part)).detach().double()
            self._scores |= dict(zip(part, scores.tolist(), strict=True))

    def _points(self, positions: Sequence[float]) -> Inputs:
        """The points at K positions of the line, tensors (K, N, E)."""
        return tuple(
            torch.stack([baseline + position * (x - baseline) for position in positions])
            for x, baseline in zip(self._inputs, self._baselines, strict=True)
        )


def _open_captum(score_of: ScoreFunction) -> IntegratedGradients:
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise MissingDependencyError(
            "explain: captum is not installed; run `pip install 'bertwright[explain]'`."
        ) from error
    return IntegratedGradients(score_of)
