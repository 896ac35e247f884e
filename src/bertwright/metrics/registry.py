"""The table of metrics: name, applicable tasks, range and direction of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bertwright.errors import RecipeError, did_you_mean
from bertwright.metrics import formulas as scores
from bertwright.metrics import pretraining as guessed
from bertwright.metrics import squad
from bertwright.metrics.label_counts import Counts, Floats, LabelOccurrences
from bertwright.metrics.outcome import (
    CLASSIFICATION,
    MULTILABEL,
    MULTIPLE_CHOICE,
    PRETRAINING,
    QA,
    REGRESSION,
    TAGGING,
    Outcome,
    OutcomeKind,
)
from bertwright.metrics.spans import TaggingOutcome

DEFAULT_METRICS: dict[OutcomeKind, tuple[str, ...]] = {
    CLASSIFICATION: ("accuracy", "f1_macro", "matthews"),
    MULTILABEL: ("f1_micro", "f1_macro", "roc_auc", "average_precision"),
    REGRESSION: ("pearson", "spearman", "mse"),
    TAGGING: ("span_f1", "span_precision", "span_recall", "token_accuracy"),
    QA: ("answer_f1", "exact_match"),
    PRETRAINING: ("mlm_loss", "perplexity", "mlm_accuracy"),
    MULTIPLE_CHOICE: ("accuracy",),
}
"""Default metrics per kind of task, unless the recipe or benchmark names others; the first selects the best model."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    It is computed either from counts (``count_labels`` and ``from_counts``) or from rows (``from_rows``).

    Attributes:
        name: the name in recipes.
        needs: its input: predicted labels, probabilities of labels, regression values, spans of words, answers to
            questions, or masked tokens (words).
        kinds: the kinds of task it applies to.
        count_labels: outcome to the occurrences of labels.
        from_counts: counts to (R,).
        from_rows: (outcome, row weights (R, B)) to (R,).
        binary: whether it needs exactly two labels and scores the second, as in GLUE.
        higher_is_better: False for errors and losses.
        range: the minimum and the maximum.
        undefined: the condition under which the value is nan.
    """

    name: str
    needs: Literal["labels", "probabilities", "values", "spans", "answers", "words"]
    kinds: tuple[OutcomeKind, ...]
    count_labels: Callable[[Any], LabelOccurrences] | None = None
    from_counts: Callable[[Counts], Floats] | None = None
    from_rows: Callable[[Any, Floats], Floats] | None = None
    binary: bool = False
    higher_is_better: bool = True
    range: tuple[float, float] = (0.0, 1.0)
    undefined: str = ""

    def improves(self, value: float, best: float | None) -> bool:
        """Whether a value is better than the best so far; nan is never better, any other value is better than nan."""
        if np.isnan(value):
            return False
        if best is None or np.isnan(best):
            return True
        return value > best if self.higher_is_better else value < best


def _of_labels() -> Iterator[Metric]:
    one: tuple[OutcomeKind, ...] = (CLASSIFICATION,)
    many: tuple[OutcomeKind, ...] = (CLASSIFICATION, MULTILABEL)
    yield Metric("accuracy", "labels", (*many, MULTIPLE_CHOICE), Outcome.count_labels, scores.accuracy)
    yield Metric("matthews", "labels", one, Outcome.count_labels, scores.matthews, range=(-1.0, 1.0))
    for name, score in _THREE.items():
        yield Metric(name, "labels", one, Outcome.count_labels, scores.positive_label_score(score), binary=True)
        yield Metric(f"{name}_macro", "labels", many, Outcome.count_labels, scores.macro_average(score))
        yield Metric(f"{name}_micro", "labels", many, Outcome.count_labels, scores.micro_average(score))
    yield Metric("cohen_kappa", "labels", one, Outcome.count_labels, scores.cohen_kappa, range=(-1.0, 1.0))
    undefined = "no label has both positive and negative rows"
    yield Metric("roc_auc", "probabilities", many, from_rows=scores.roc_auc, undefined=undefined)
    undefined = "no label has positive rows"
    yield Metric("average_precision", "probabilities", many, from_rows=scores.average_precision, undefined=undefined)
    yield _error("log_loss", "probabilities", (*many, MULTIPLE_CHOICE), scores.log_loss)
    yield replace(_error("ece", "probabilities", (*one, MULTIPLE_CHOICE), scores.ece), range=(0.0, 1.0))


def _of_values() -> Iterator[Metric]:
    for name, score in (("pearson", scores.pearson), ("spearman", scores.spearman)):
        same = "all gold values or all predictions are equal"
        yield Metric(name, "values", (REGRESSION,), from_rows=score, range=(-1.0, 1.0), undefined=same)
    yield _error("mse", "values", (REGRESSION,), scores.mse)
    yield _error("mae", "values", (REGRESSION,), scores.mae)


def _of_spans() -> Iterator[Metric]:
    for name, score in _THREE.items():
        yield Metric(f"span_{name}", "spans", (TAGGING,), TaggingOutcome.count_labels, scores.micro_average(score))
        yield Metric(
            f"span_{name}_macro", "spans", (TAGGING,), TaggingOutcome.count_labels, scores.macro_average(score)
        )
        yield Metric(
            f"span_{name}_strict", "spans", (TAGGING,), TaggingOutcome.count_strict_labels, scores.micro_average(score)
        )
    yield Metric("token_accuracy", "spans", (TAGGING,), TaggingOutcome.count_labels, scores.accuracy)


def _of_answers() -> Iterator[Metric]:
    def metric(name: str, score: squad.Score, undefined: str = "") -> Metric:
        return Metric(name, "answers", (QA,), from_rows=score, range=(0.0, 100.0), undefined=undefined)

    yield metric("exact_match", squad.overall_score("exact"))
    yield metric("answer_f1", squad.overall_score("f1"))
    yield metric("has_answer_exact_match", squad.subset_score("exact", True), "no question has an answer")
    yield metric("has_answer_f1", squad.subset_score("f1", True), "no question has an answer")
    yield metric("no_answer_accuracy", squad.subset_score("exact", False), "every question has an answer")
    yield metric("best_exact_match", squad.best_score("exact"))
    yield metric("best_answer_f1", squad.best_score("f1"))


def _of_words() -> Iterator[Metric]:
    def metric(name: str, score: guessed.Score, undefined: str = "", higher: bool = True, **rest: Any) -> Metric:
        return Metric(
            name, "words", (PRETRAINING,), from_rows=score, higher_is_better=higher, undefined=undefined, **rest
        )

    alone = "there is no sentence objective"
    inf = float("inf")
    yield metric("mlm_loss", guessed.column_ratio("word_loss", "words"), higher=False, range=(0.0, inf))
    yield metric("perplexity", guessed.perplexity, higher=False, range=(1.0, inf))
    yield metric("mlm_accuracy", guessed.column_ratio("words_right", "words"))
    yield metric("nsp_loss", guessed.column_ratio("sentence_loss", "sentences"), alone, higher=False, range=(0.0, inf))
    yield metric("nsp_accuracy", guessed.column_ratio("sentences_right", "sentences"), alone)


def _error(
    name: str, needs: Literal["probabilities", "values"], kinds: tuple[OutcomeKind, ...], score: _Rows
) -> Metric:
    return Metric(name, needs, kinds, from_rows=score, higher_is_better=False, range=(0.0, float("inf")))


_Rows = Callable[[Outcome, Floats], Floats]
_THREE = {"f1": scores.f1, "precision": scores.precision, "recall": scores.recall}

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*_of_labels(), *_of_values(), *_of_spans(), *_of_answers(), *_of_words())
}
"""All metrics by name."""


def list_metrics(kind: OutcomeKind, n_labels: int | None = None) -> tuple[str, ...]:
    """Return the metrics that apply to a kind of task with this number of labels (None: not known yet)."""
    return tuple(
        name
        for name, metric in METRICS.items()
        if kind in metric.kinds and not (metric.binary and n_labels not in (None, 2))
    )


def check_metrics(names: Iterable[str], kind: OutcomeKind, n_labels: int | None = None) -> tuple[str, ...]:
    """Return the names as a tuple without repetitions.

    Raises:
        RecipeError: a metric is unknown or does not apply to the task.
    """
    chosen = tuple(dict.fromkeys(names))
    fit = list_metrics(kind, n_labels)
    for name in chosen:
        if name not in METRICS:
            raise RecipeError(f'metrics: unknown metric "{name}"; {did_you_mean(name, fit)}.')
        if name not in fit:
            reason = (
                f"needs exactly two labels, not {n_labels}"
                if kind in METRICS[name].kinds
                else f"does not apply to {kind}"
            )
            raise RecipeError(f'metrics: "{name}" {reason}; available: {", ".join(fit)}.')
    return chosen
