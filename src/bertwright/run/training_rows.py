"""Predictions for training rows after training, to find likely label errors among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bertwright.corpus.corpus_split import CorpusSplit
from bertwright.data.example import Example
from bertwright.run.events import Listener, make_progress_reporter
from bertwright.run.fitting import FittedRun
from bertwright.tasks.spec import Outputs
from bertwright.training.scoring import compute_outputs

MOST_ROWS: Final = 5000
"""Training rows that are scored."""

SHARE: Final = 0.3
"""At most this many rows are scored for each example of a training step: about a tenth of the time of training, because
a step takes three times as long as a prediction."""


@dataclass(frozen=True)
class ScoredRows:
    """Training rows with the outputs of the trained model.

    The model has seen their labels, so it agrees with wrong ones more often than a model that has not.

    Attributes:
        examples: the rows, in their order.
        outputs: of each row.
        n_available: the number of training rows, without augmented copies.
    """

    examples: Sequence[Example]
    outputs: Outputs
    n_available: int

    @property
    def note(self) -> str:
        """How to read what is found among them."""
        n = len(self.examples)
        some = "" if n == self.n_available else f" Of {self.n_available:,} training rows, {n:,} were examined."
        return (
            "The model was trained on these rows, so its probabilities are overconfident and it agrees with many wrong "
            "labels; look at the rows with the highest loss too. Cross-validation (sweep --folds) finds more, in the "
            f"report of each fold.{some}"
        )


def score_training_rows(fitted: FittedRun, listeners: tuple[Listener, ...] = ()) -> ScoredRows | None:
    """Compute the outputs of training rows, evenly spaced if they are too many.

    None for a corpus, for tasks that do not find label errors, and in a cross-validation, in which the report of each
    fold examines rows that its model was not trained on.

    Raises:
        DivergenceError: a score is not finite.
    """
    run = fitted.run
    task, train = run.recipe.task, run.splits.train
    if isinstance(train, CorpusSplit) or not task.finds_label_errors or run.recipe.data.fold is not None:
        return None
    by_place: dict[str, int] = {}
    for position, example in enumerate(train.examples):  # augmented copies follow the row whose place they have
        by_place.setdefault(example.where or example.id, position)
    rows = np.array(list(by_place.values()))
    n = min(len(rows), MOST_ROWS, int(SHARE * fitted.history.examples))
    if not n:
        return None
    positions = rows[np.unique(np.linspace(0, len(rows) - 1, n).round().astype(int))]
    cached = run.tokenized["train"].as_encodings()
    if cached is not None and cached.features is not None:  # the frozen encoder does not run again
        positions = np.intersect1d(positions, cached.examples)
        part = cached.take(np.flatnonzero(np.isin(cached.examples, positions)))
        encodings = replace(part, examples=np.searchsorted(positions, part.examples))
        chosen = [train.examples[i] for i in positions.tolist()]
    else:
        chosen = [train.examples[i] for i in positions.tolist()]
        encodings = task.encode(chosen, run.base.tokenizer, run.recipe.tokens)
    report_progress = make_progress_reporter(listeners, "predicting training rows", len(chosen))
    compute = run.compute.in_fp32()
    outputs = compute_outputs(run.built.model, task, encodings, chosen, compute=compute, on_progress=report_progress)
    return ScoredRows(chosen, outputs, len(rows))
