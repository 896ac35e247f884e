"""What any model must beat: the commonest answer, and a linear model on TF-IDF weights."""

from __future__ import annotations

import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bertwright.data.dataset import Kind, labels_of
from bertwright.data.example import Example
from bertwright.metrics.evaluation import compute_metrics
from bertwright.metrics.spans import TaggingOutcome, detect_scheme

MAX_ROWS: Final = 20_000
"""More rows than this are sampled: the scores move little, the time grows."""

MAX_LABELS: Final = 1_000
"""With more labels than this no linear model is fitted: it is one model for each label."""

_FOLDS: Final = 5


def baselines(train: Sequence[Example], dev: Sequence[Example] | None, kind: Kind) -> tuple[dict[str, Any], list[str]]:
    """The scores of the commonest answer and of a linear model, and what should be said about them.

    Scored on ``dev`` where it has targets, else on each fifth of ``train`` with a model of the other four. The
    linear model is logistic regression (one for each label in multi-label, ridge regression for numbers) on
    TF-IDF weights of words. Tags are scored on ``dev`` alone: the commonest tag for all words, and for each word the
    tag it has most often in ``train``. For questions there is no baseline.

    Returns:
        ``{"scored_on": …, "majority": {metric: value}, "tfidf": {metric: value}}``, without ``tfidf`` where there
        is nothing to learn from (``word_tag`` in its place for tags), empty where there are too few rows; and notes,
        as sentences.
    """
    if kind == "qa":
        return {}, []
    if kind == "tagging":
        return _tag_baselines(train, dev or ()), []
    notes: list[str] = []
    train, held = _sample(train, "train", notes), _sample(dev or (), "dev", notes)
    if len(train) < (2 if held else 2 * _FOLDS):
        return {}, [*notes, f"no baselines: {len(train)} rows with a target are too few"]
    n_labels = len({label for example in (*train, *held) for label in labels_of(example.target)})
    if n_labels > MAX_LABELS and kind == "multilabel":
        return {}, [*notes, f"no baselines: {n_labels:,} labels, more than {MAX_LABELS:,}"]
    truth, labels = _numbers([*train, *held], kind)
    inputs = _weights(train, held) if n_labels <= MAX_LABELS else None
    places = np.arange(len(truth))
    if held:
        parts = [(places < len(train), places >= len(train))]
    else:
        # Drawn, since rows may be sorted by label; each label spread evenly, else the commonest answer of four
        # fifths tends to be the rarer one of the last.
        order = np.array(random.Random(0).sample(range(len(truth)), len(truth)))
        if kind == "classification":
            order = order[np.argsort(truth[order], kind="stable")]
        fold = np.empty(len(truth), dtype=int)
        fold[order] = places % _FOLDS
        parts = [(fold != k, fold == k) for k in range(_FOLDS)]
    expected = np.concatenate([truth[test] for _, test in parts])
    common = [np.repeat(_commonest(truth[fit], kind)[None], test.sum(), axis=0) for fit, test in parts]
    scores: dict[str, Any] = {
        "scored_on": "dev" if held else f"train, {_FOLDS}-fold",
        "majority": _scores(expected, np.concatenate(common), kind),
    }
    if kind == "classification":
        scores["majority_label"] = labels[int(_commonest(truth[: len(train)], kind))]
    if n_labels > MAX_LABELS:
        notes.append(f"no TF-IDF baseline: {n_labels:,} labels, more than {MAX_LABELS:,}")
    elif inputs is None:
        notes.append("no TF-IDF baseline: the texts hold no words")
    elif all(len(np.unique(truth[fit], axis=0)) > 1 for fit, _ in parts):
        found = np.concatenate([_fit_predict(inputs[fit], truth[fit], inputs[test], kind) for fit, test in parts])
        scores["tfidf"] = _scores(expected, found, kind)
    return scores, notes


def _sample(examples: Sequence[Example], name: str, notes: list[str]) -> list[Example]:
    kept = [example for example in examples if example.target is not None]
    if len(kept) <= MAX_ROWS:
        return kept
    notes.append(f"baselines use {MAX_ROWS:,} of the {len(kept):,} rows of {name}, drawn at random")
    return [kept[i] for i in sorted(random.Random(0).sample(range(len(kept)), MAX_ROWS))]


def _numbers(examples: Sequence[Example], kind: Kind) -> tuple[NDArray[Any], list[str]]:
    """Targets as numbers: class (n,), 0/1 (n, labels) or value (n,); and the labels."""
    targets: list[Any] = [example.target for example in examples]
    if kind == "regression":
        return np.array(targets, dtype=float), []
    labels = sorted(set(targets) if kind == "classification" else {label for target in targets for label in target})
    place = {label: i for i, label in enumerate(labels)}
    if kind == "classification":
        return np.array([place[target] for target in targets]), labels
    table = np.zeros((len(targets), max(len(labels), 1)), dtype=int)
    for row, target in zip(table, targets, strict=True):
        row[[place[label] for label in target]] = 1
    return table, labels


def _weights(train: Sequence[Example], held: Sequence[Example]) -> Any:
    """The TF-IDF weights of all rows, counted on the training rows alone; None where those hold no words."""
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
    return vstack([inputs, words.transform(map(text, held))], format="csr") if held else inputs


def _commonest(truth: NDArray[Any], kind: Kind) -> NDArray[Any]:
    """The answer to give without looking: the commonest class, each label's commoner value, or the mean."""
    if kind == "regression":
        return np.asarray(truth.mean())
    if kind == "multilabel":
        return np.asarray((truth.mean(axis=0) > 0.5).astype(int))
    return np.asarray(np.bincount(truth).argmax())


def _fit_predict(inputs: Any, truth: NDArray[Any], new: Any, kind: Kind) -> NDArray[Any]:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    model: Any = Ridge()
    if kind != "regression":
        model = LogisticRegression(solver="liblinear")  # on sparse text faster than the default
        if kind == "multilabel" or len(np.unique(truth)) > 2:
            model = OneVsRestClassifier(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged, or a label that no row has: good enough for a baseline
        return np.asarray(model.fit(inputs, truth).predict(new))


def _scores(expected: NDArray[Any], found: NDArray[Any], kind: Kind) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score

    if kind == "regression":
        scores = {"mean_absolute_error": float(np.abs(expected - found).mean())}
        if expected.std() > 0 and found.std() > 1e-9:
            scores["pearson"] = float(np.corrcoef(expected, found)[0, 1])
        return scores
    scores = {"accuracy": float(accuracy_score(expected, found))}
    averages = ("macro",) if kind == "classification" else ("micro", "macro")
    for average in averages:
        scores[f"f1_{average}"] = float(f1_score(expected, found, average=average, zero_division=0))
    return scores


def _tag_baselines(train: Sequence[Example], dev: Sequence[Example]) -> dict[str, Any]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        for word, tag in zip(_words(example), labels_of(example.target), strict=False):
            counts[word][tag] += 1
    held = [example for example in dev if example.target is not None]
    if not counts or not held:
        return {}
    known = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    common = Counter(tag for example in train for tag in labels_of(example.target)).most_common(1)[0][0]
    truth = [labels_of(example.target) for example in held]
    found = {
        "majority": [[common] * len(tags) for tags in truth],
        "word_tag": [[known.get(word, common) for word in _words(example)] for example in held],
    }
    scheme = detect_scheme([*(labels_of(example.target) for example in train), *truth])
    names = ["token_accuracy"] if scheme == "none" else ["token_accuracy", "span_f1"]
    scores = {name: compute_metrics(names, TaggingOutcome(truth, tags, scheme)) for name, tags in found.items()}
    return {"scored_on": "dev", **scores}


def _words(example: Example) -> list[str]:
    return [example.text[start:end] for start, end in example.words or ()]
