"""Baselines that a model must beat: the most common answer, and a linear model on TF-IDF weights."""

from __future__ import annotations

import random
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from bertwright.data.dataset import labels_of
from bertwright.data.example import Example, Target

MAX_ROWS: Final = 20_000
"""With more rows than this a sample is used: the scores change little, the time grows."""

MAX_LABELS: Final = 1_000
"""With more labels than this no linear model is fitted, because it needs one model for each label."""

_FOLDS: Final = 5


class TargetNumbers(ABC):
    """How targets become numbers, and how answers in numbers are predicted and scored. R rows, L labels."""

    is_stratified: ClassVar[bool] = False
    """Whether the folds of a cross-validation have the same share of each label."""

    @abstractmethod
    def encode(self, targets: Sequence[Target]) -> tuple[NDArray[Any], list[str]]:
        """The targets as numbers, (R,) or (R, L), and the labels."""

    @abstractmethod
    def most_common(self, gold: NDArray[Any]) -> NDArray[Any]:
        """The best answer that does not depend on the text."""

    @abstractmethod
    def make_model(self, gold: NDArray[Any]) -> Any:
        """A linear model of scikit-learn."""

    @abstractmethod
    def score(self, gold: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
        """Metrics of answers, by name."""

    def label_of(self, answer: NDArray[Any], labels: Sequence[str]) -> str | None:
        """The label of an answer, for targets that are one label."""
        return None

    def has_too_many_labels(self, n_labels: int) -> bool:
        """Whether even the most common answer takes too long."""
        return False


class ClassNumbers(TargetNumbers):
    """The number of a label, (R,)."""

    is_stratified = True

    def encode(self, targets: Sequence[Target]) -> tuple[NDArray[Any], list[str]]:
        """The position of each label among the sorted labels."""
        labels = sorted({str(target) for target in targets})
        position = {label: i for i, label in enumerate(labels)}
        return np.array([position[str(target)] for target in targets]), labels

    def most_common(self, gold: NDArray[Any]) -> NDArray[Any]:
        """The most common label."""
        return np.asarray(np.bincount(gold).argmax())

    def make_model(self, gold: NDArray[Any]) -> Any:
        """Logistic regression, one for each label if there are more than two."""
        from sklearn.multiclass import OneVsRestClassifier

        model = _logistic_regression()
        return OneVsRestClassifier(model) if len(np.unique(gold)) > 2 else model

    def score(self, gold: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
        """Accuracy and macro F1."""
        return _label_scores(gold, predicted, ("macro",))

    def label_of(self, answer: NDArray[Any], labels: Sequence[str]) -> str:
        """The label of this number."""
        return labels[int(answer)]


class LabelSetNumbers(TargetNumbers):
    """0 or 1 for each label, (R, L)."""

    def encode(self, targets: Sequence[Target]) -> tuple[NDArray[Any], list[str]]:
        """1 where a row has a label."""
        labels = sorted({label for target in targets for label in labels_of(target)})
        position = {label: i for i, label in enumerate(labels)}
        table = np.zeros((len(targets), max(len(labels), 1)), dtype=int)
        for row, target in zip(table, targets, strict=True):
            row[[position[label] for label in labels_of(target)]] = 1
        return table, labels

    def most_common(self, gold: NDArray[Any]) -> NDArray[Any]:
        """The labels that more than half of the rows have."""
        return np.asarray((gold.mean(axis=0) > 0.5).astype(int))

    def make_model(self, gold: NDArray[Any]) -> Any:
        """Logistic regression for each label."""
        from sklearn.multiclass import OneVsRestClassifier

        return OneVsRestClassifier(_logistic_regression())

    def score(self, gold: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
        """Accuracy of whole rows, micro and macro F1."""
        return _label_scores(gold, predicted, ("micro", "macro"))

    def has_too_many_labels(self, n_labels: int) -> bool:
        """Whether the table of labels would be too wide."""
        return n_labels > MAX_LABELS


class PlainNumbers(TargetNumbers):
    """The number itself, (R,)."""

    def encode(self, targets: Sequence[Target]) -> tuple[NDArray[Any], list[str]]:
        """The targets as they are."""
        return np.array(targets, dtype=float), []

    def most_common(self, gold: NDArray[Any]) -> NDArray[Any]:
        """The mean."""
        return np.asarray(gold.mean())

    def make_model(self, gold: NDArray[Any]) -> Any:
        """Ridge regression."""
        from sklearn.linear_model import Ridge

        return Ridge()

    def score(self, gold: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
        """Mean absolute error, and Pearson's correlation if both sides vary."""
        scores = {"mean_absolute_error": float(np.abs(gold - predicted).mean())}
        if gold.std() > 0 and predicted.std() > 1e-9:
            scores["pearson"] = float(np.corrcoef(gold, predicted)[0, 1])
        return scores


def score_linear(
    train: Sequence[Example], dev: Sequence[Example] | None, numbers: TargetNumbers
) -> tuple[dict[str, Any], list[str]]:
    """The scores of the most common answer and of a linear model on TF-IDF weights of words.

    They are scored on ``dev`` if it has targets, else on each fifth of ``train`` with a model of the other four.

    Returns:
        ``{"scored_on": …, "majority": {metric: value}, "tfidf": {metric: value}}``, without ``tfidf`` if there is
        nothing to learn from, empty if there are too few rows; and notes, as sentences.
    """
    notes: list[str] = []
    train, test = _sample(train, "train", notes), _sample(dev or (), "dev", notes)
    if len(train) < (2 if test else 2 * _FOLDS):
        return {}, [*notes, f"no baselines: {len(train)} rows with a target are too few"]
    n_labels = len({label for example in (*train, *test) for label in labels_of(example.target)})
    if numbers.has_too_many_labels(n_labels):
        return {}, [*notes, f"no baselines: {n_labels:,} labels, more than {MAX_LABELS:,}"]
    gold, labels = numbers.encode([example.target for example in (*train, *test) if example.target is not None])
    inputs = _tfidf_weights(train, test) if n_labels <= MAX_LABELS else None
    parts = _parts(len(train), gold, numbers) if not test else [_holdout(len(train), len(gold))]
    expected = np.concatenate([gold[held_out] for _, held_out in parts])
    common = [np.repeat(numbers.most_common(gold[fit])[None], held_out.sum(), axis=0) for fit, held_out in parts]
    scores: dict[str, Any] = {
        "scored_on": "dev" if test else f"train, {_FOLDS}-fold",
        "majority": numbers.score(expected, np.concatenate(common)),
    }
    if (label := numbers.label_of(numbers.most_common(gold[: len(train)]), labels)) is not None:
        scores["majority_label"] = label
    if n_labels > MAX_LABELS:
        notes.append(f"no TF-IDF baseline: {n_labels:,} labels, more than {MAX_LABELS:,}")
    elif inputs is None:
        notes.append("no TF-IDF baseline: the texts hold no words")
    elif all(len(np.unique(gold[fit], axis=0)) > 1 for fit, _ in parts):
        predicted = [_fit_and_predict(numbers, inputs[fit], gold[fit], inputs[held_out]) for fit, held_out in parts]
        scores["tfidf"] = numbers.score(expected, np.concatenate(predicted))
    return scores, notes


_Part = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Which rows a model is fitted on, and which it is scored on."""


def _holdout(n_train: int, n: int) -> _Part:
    rows = np.arange(n)
    return rows < n_train, rows >= n_train


def _parts(n: int, gold: NDArray[Any], numbers: TargetNumbers) -> list[_Part]:
    """The folds of a cross-validation."""
    # Shuffled, because rows may be sorted by label; each label evenly, else the most common answer of four fifths tends
    # to be the rarer one of the last.
    order = np.array(random.Random(0).sample(range(n), n))
    if numbers.is_stratified:
        order = order[np.argsort(gold[order], kind="stable")]
    fold = np.empty(n, dtype=int)
    fold[order] = np.arange(n) % _FOLDS
    return [(fold != k, fold == k) for k in range(_FOLDS)]


def _sample(examples: Sequence[Example], name: str, notes: list[str]) -> list[Example]:
    labeled = [example for example in examples if example.target is not None]
    if len(labeled) <= MAX_ROWS:
        return labeled
    notes.append(f"baselines use {MAX_ROWS:,} of the {len(labeled):,} rows of {name}, chosen at random")
    return [labeled[i] for i in sorted(random.Random(0).sample(range(len(labeled)), MAX_ROWS))]


def _tfidf_weights(train: Sequence[Example], test: Sequence[Example]) -> Any:
    """The TF-IDF weights of all rows, counted on the training rows only; None if those hold no words."""
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    def text(example: Example) -> str:
        return f"{example.text} {example.text_pair or ''}"

    # Single words: pairs too gain 0.01 accuracy on 20,000 IMDb reviews, for six times the time.
    words = TfidfVectorizer(sublinear_tf=True, min_df=2 if len(train) > 1000 else 1)
    try:
        inputs = words.fit_transform(map(text, train))
    except ValueError:  # "empty vocabulary"
        return None
    return vstack([inputs, words.transform(map(text, test))], format="csr") if test else inputs


def _logistic_regression() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(solver="liblinear")  # on sparse text faster than the default


def _fit_and_predict(numbers: TargetNumbers, inputs: Any, gold: NDArray[Any], new: Any) -> NDArray[Any]:
    model = numbers.make_model(gold)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no convergence, or a label without rows: good enough for a baseline
        return np.asarray(model.fit(inputs, gold).predict(new))


def _label_scores(gold: NDArray[Any], predicted: NDArray[Any], averages: Sequence[str]) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score

    scores = {"accuracy": float(accuracy_score(gold, predicted))}
    return scores | {
        f"f1_{average}": float(f1_score(gold, predicted, average=average, zero_division=0)) for average in averages
    }
