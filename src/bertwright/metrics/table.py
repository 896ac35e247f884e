"""The table of metrics: what each is called, what it fits, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bertwright.errors import RecipeError, did_you_mean
from bertwright.metrics import scores
from bertwright.metrics.outcome import CLASSIFICATION, MULTILABEL, REGRESSION, Counts, Floats, Kind, Outcome

DEFAULT_METRICS: dict[Kind, tuple[str, ...]] = {
    CLASSIFICATION: ("accuracy", "f1_macro", "matthews"),
    MULTILABEL: ("f1_micro", "f1_macro", "roc_auc", "average_precision"),
    REGRESSION: ("pearson", "spearman", "mse"),
}
"""What is measured where neither the recipe nor the benchmark says; the first one chooses the best checkpoint."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One way to say how good predictions are.

    Attributes:
        name: as it is written in a recipe.
        needs: what it looks at: predicted "labels", "probabilities" of labels, or "values" of a regression.
        kinds: the kinds of task it fits.
        from_counts: for "labels": counts to (R,).
        from_rows: for the others: (outcome, row weights (R, B)) to (R,).
        binary: it is about the second of exactly two labels, as in GLUE.
        higher_is_better: False for errors and losses.
        range: the least and the greatest possible value.
        undefined: when the value is nan.
    """

    name: str
    needs: Literal["labels", "probabilities", "values"]
    kinds: tuple[Kind, ...]
    from_counts: Callable[[Counts], Floats] | None = None
    from_rows: Callable[[Outcome, Floats], Floats] | None = None
    binary: bool = False
    higher_is_better: bool = True
    range: tuple[float, float] = (0.0, 1.0)
    undefined: str = ""

    def improves(self, value: float, best: float | None) -> bool:
        """Whether a value beats the best one so far; nan beats nothing, and anything else beats nan."""
        if np.isnan(value):
            return False
        if best is None or np.isnan(best):
            return True
        return value > best if self.higher_is_better else value < best


def _table() -> dict[str, Metric]:
    labels: tuple[Kind, ...] = (CLASSIFICATION, MULTILABEL)
    one, many, value = (CLASSIFICATION,), labels, (REGRESSION,)
    inf = float("inf")
    same = "all gold values or all predictions are the same"
    rows = [
        Metric("accuracy", "labels", many, scores.accuracy),
        Metric("matthews", "labels", one, scores.matthews, range=(-1.0, 1.0)),
        *(
            metric
            for name, score in (("f1", scores.f1), ("precision", scores.precision), ("recall", scores.recall))
            for metric in (
                Metric(name, "labels", one, scores.of_second(score), binary=True),
                Metric(f"{name}_macro", "labels", many, scores.macro(score)),
                Metric(f"{name}_micro", "labels", many, scores.micro(score)),
            )
        ),
        Metric("roc_auc", "probabilities", many, None, scores.roc_auc, undefined="no label is both true and untrue"),
        Metric(
            "average_precision",
            "probabilities",
            many,
            None,
            scores.average_precision,
            undefined="no label is ever true",
        ),
        Metric("log_loss", "probabilities", many, None, scores.log_loss, higher_is_better=False, range=(0.0, inf)),
        Metric("ece", "probabilities", one, None, scores.ece, higher_is_better=False),
        Metric("pearson", "values", value, None, scores.pearson, range=(-1.0, 1.0), undefined=same),
        Metric("spearman", "values", value, None, scores.spearman, range=(-1.0, 1.0), undefined=same),
        Metric("mse", "values", value, None, scores.mse, higher_is_better=False, range=(0.0, inf)),
        Metric("mae", "values", value, None, scores.mae, higher_is_better=False, range=(0.0, inf)),
    ]
    return {metric.name: metric for metric in rows}


METRICS: dict[str, Metric] = _table()
"""Every metric by name."""


def fitting(kind: Kind, n_labels: int | None = None) -> tuple[str, ...]:
    """The names of the metrics that fit a kind of task with so many labels (None: not known yet)."""
    return tuple(
        name
        for name, metric in METRICS.items()
        if kind in metric.kinds and not (metric.binary and n_labels not in (None, 2))
    )


def check_metrics(names: Iterable[str], kind: Kind, n_labels: int | None = None) -> tuple[str, ...]:
    """The names as a tuple, if each is known and fits the task; a repeated name counts once.

    Raises:
        RecipeError: a name that is unknown or does not fit.
    """
    chosen = tuple(dict.fromkeys(names))
    fit = fitting(kind, n_labels)
    for name in chosen:
        if name not in METRICS:
            raise RecipeError(f'metrics: there is no metric "{name}"; {did_you_mean(name, METRICS)}.')
        if name not in fit:
            reason = (
                f"needs exactly two labels, not {n_labels}" if kind in METRICS[name].kinds else f"does not fit {kind}"
            )
            raise RecipeError(f'metrics: "{name}" {reason}; those that fit: {", ".join(fit)}.')
    return chosen
