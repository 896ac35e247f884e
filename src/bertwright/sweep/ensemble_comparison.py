"""How an ensemble compares with the single models that it was made of: ``comparison.json`` and tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bertwright.metrics import METRICS, AnyOutcome, MetricComparison, compute_metrics
from bertwright.run.ensemble import EnsembleForm
from bertwright.run.report import Number, Values, show, show_signed
from bertwright.tasks.spec import EvaluationResult

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bertwright.output.terminal import PlainTable

COMPARISON_FILE = "comparison.json"

COMPARISON_FORMAT = 1
"""Version of the format; it increases when programs for earlier versions would misread the file."""

SOUP_TOLERANCE = 0.005
"""How much worse than the averaged predictions a soup may be, as a share of the largest value of the metric.

A soup predicts at the cost of one model, and half a point is less than the interval of any validation split under
10,000 rows.
"""

LOSS_TOLERANCE = 0.05
"""How much larger than that of the averaged predictions the loss of a soup may be, as a share.

The mean of output layers that started from different random values is much smaller than each, so the labels of a soup
may be right while its probabilities are not.
"""

LOSSES = ("log_loss", "mse")
"""The metrics that measure probabilities and values, for the kinds of task that have them."""

EnsembleChoice = Literal["auto", "soup", "average"]


class ScoredModel(BaseModel):
    """One of the compared models.

    Attributes:
        name: ``seed 3``, ``soup`` or ``average``.
        metrics: split → metric → value.
        intervals: split → metric → 95 % bootstrap interval.
        losses: split → the metric of :data:`LOSSES` that the task has → value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    metrics: Values
    intervals: dict[str, dict[str, tuple[Number, Number]]]
    losses: Values = {}

    @classmethod
    def from_results(
        cls, name: str, results: Mapping[str, EvaluationResult], outcomes: Mapping[str, AnyOutcome]
    ) -> ScoredModel:
        """The metrics, intervals and losses of a model on several splits."""
        return cls(
            name=name,
            metrics={split: result.metrics for split, result in results.items()},
            intervals={split: result.intervals for split, result in results.items()},
            losses={
                split: compute_metrics([each for each in LOSSES if outcome.kind in METRICS[each].kinds], outcome)
                for split, outcome in outcomes.items()
            },
        )


class PairedDifference(BaseModel):
    """The ensemble minus the best single model on the same rows.

    Attributes:
        difference: of the metric.
        interval: 95 %, by the paired bootstrap.
        p: two-sided p-value of approximate randomization.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    difference: Number
    interval: tuple[Number, Number]
    p: Number

    @classmethod
    def from_comparison(cls, comparison: MetricComparison) -> PairedDifference:
        """The parts of a paired test that are shown."""
        return cls(difference=comparison.difference, interval=comparison.interval, p=comparison.p_permutation)


class EnsembleComparison(BaseModel):
    """The evaluation of an ensemble and of its members.

    Attributes:
        format: of the file.
        requested: the form that was asked for.
        form: the form that was built.
        reason: why it has this form.
        metric: the metric that decides.
        split: the validation split that decides.
        trials: the numbers of the members' trials.
        excluded: what is known of trials that are no members.
        singles: the members.
        candidates: the soup, unless it is impossible, and the averaged predictions.
        best: the name of the best member on the validation split.
        differences: split → metric → the ensemble minus the best member.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=COMPARISON_FORMAT, ge=1, le=COMPARISON_FORMAT)
    requested: EnsembleChoice
    form: EnsembleForm
    reason: str
    metric: str
    split: str
    trials: tuple[int, ...]
    excluded: tuple[str, ...] = ()
    singles: tuple[ScoredModel, ...]
    candidates: tuple[ScoredModel, ...]
    best: str
    differences: dict[str, dict[str, PairedDifference]]

    def renderables(self) -> list[RenderableType]:
        """Return a table for each split and lines on the choice, for a rich console of at least 80 columns."""
        from bertwright.output.terminal import plain_text

        parts: list[RenderableType] = []
        for split in self.singles[0].metrics:
            parts += [plain_text(f"ensemble on {split}", "bold"), self._table(split), ""]
        lines = [f"excluded   {text}" for text in self.excluded]
        lines.append(f"ensemble   {self.form}: {self.reason}")
        for split, differences in self.differences.items():
            test = differences[self.metric]
            shown = [show_signed(self.metric, value) for value in (test.difference, *test.interval)]
            lines.append(
                f"{split:<10} {self.form} minus {self.best}, the best on {self.split}: {self.metric} {shown[0]} "
                f"({shown[1]} … {shown[2]}), p {test.p:.3f}"
            )
        return [*parts, *map(plain_text, lines)]

    def _table(self, split: str) -> PlainTable:
        from bertwright.output.terminal import make_table

        losses = [name for name in self.singles[0].losses.get(split, {}) if name != self.metric]
        others = [name for name in self.singles[0].metrics[split] if name not in (self.metric, *losses)]
        others = [*others[: 2 - len(losses)], *losses]
        table = make_table("model", self.metric, "95 % interval", *others)
        for column in table.columns[1:]:
            column.justify = "right"
        for model in self.singles:
            table.add_row(model.name, *_cells(model, split, self.metric, others))
        for name, summarize in ((f"mean of {len(self.singles)} seeds", statistics.fmean), ("± std", statistics.stdev)):
            values = {
                metric: summarize([_all_values(model, split)[metric] for model in self.singles])
                for metric in (self.metric, *others)
            }
            table.add_row(
                name, show(self.metric, values[self.metric]), "", *(show(metric, values[metric]) for metric in others)
            )
        for model in self.candidates:
            mark = " *" if model.name == self.form else ""
            table.add_row(f"{model.name}{mark}", *_cells(model, split, self.metric, others))
        return table


def choose_form(
    requested: EnsembleChoice, metric: str, split: str, soup: ScoredModel | None, average: ScoredModel
) -> tuple[EnsembleForm, str]:
    """Choose the form of an ensemble, and explain it.

    Args:
        requested: the form, or ``auto``: the soup if it is at most :data:`SOUP_TOLERANCE` worse, and its loss at most
            :data:`LOSS_TOLERANCE` larger.
        metric: the metric that decides.
        split: the validation split.
        soup: the model with the mean weights; None if there is none.
        average: the averaged predictions.
    """
    if requested != "auto":
        return requested, "as requested"
    if soup is None:
        return "average", "the weights of the members have no mean"
    values = soup.metrics[split][metric], average.metrics[split][metric]
    shown = " and ".join(show(metric, value) for value in values)
    loss = (values[1] - values[0]) * (1 if METRICS[metric].higher_is_better else -1)
    top = METRICS[metric].range[1]
    for name, soup_loss in soup.losses.get(split, {}).items():
        average_loss = average.losses[split][name]
        if soup_loss > average_loss * (1 + LOSS_TOLERANCE):
            both = f"{show(name, soup_loss)} and {show(name, average_loss)}"
            return "average", f"the soup is worse on {split} ({name} of soup and average: {both})"
    if loss <= SOUP_TOLERANCE * (top if math.isfinite(top) else abs(values[1])):
        return "soup", f"as good as the averaged predictions on {split} ({metric} {shown}), at the cost of one model"
    return "average", f"the soup is worse on {split} ({metric} of soup and average: {shown})"


def load_comparison(directory: Path) -> EnsembleComparison | None:
    """Load the comparison in the directory of an ensemble; None if there is none, or it is damaged."""
    try:
        return EnsembleComparison.model_validate_json((directory / COMPARISON_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def _cells(model: ScoredModel, split: str, metric: str, others: list[str]) -> list[str]:
    low, high = model.intervals[split][metric]
    values = _all_values(model, split)
    return [
        show(metric, values[metric]),
        f"{show(metric, low)} … {show(metric, high)}",
        *(show(name, values[name]) for name in others),
    ]


def _all_values(model: ScoredModel, split: str) -> dict[str, float]:
    return model.losses.get(split, {}) | model.metrics[split]
