"""Rows that a person should look at: those with the highest loss, and those whose label is likely wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bertwright.data.dataset import labels_of
from bertwright.data.example import Answer, Example
from bertwright.data.words import words_of

if TYPE_CHECKING:
    from bertwright.tasks.spec import Outputs, Prediction, Task

MOST_ROWS: Final = 50
"""Rows of a list."""

_PATH: Final = re.compile(r".*[/\\]")

MOST_TEXT: Final = 2000
"""Characters of a text that are shown."""


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """A row with what the model predicts for it.

    Attributes:
        number: its position in its split, from 0.
        place: its position in its source, such as ``dev.csv:12``, without folders.
        text: the text, at most :data:`MOST_TEXT` characters.
        text_pair: the second text; None if there is none.
        target: the label, or what else the data gives, as text.
        prediction: the prediction as text.
        probability: of the prediction, 0 to 1; None for tasks without.
        loss: of the row: negative log-likelihood, or the squared error of a number; None if it is unknown.
    """

    number: int
    place: str
    text: str
    text_pair: str | None
    target: str
    prediction: str
    probability: float | None = None
    loss: float | None = None


def find_hard_rows(
    task: Task, outputs: Outputs, examples: Sequence[Example], most: int = MOST_ROWS
) -> tuple[ReviewRow, ...]:
    """Return the rows with the highest loss, highest first; none if the task defines no loss of a row.

    Raises:
        DataError: the examples have no targets.
    """
    losses = task.row_losses(outputs, examples)
    return () if losses is None else _review(task, outputs, examples, np.argsort(-losses, kind="stable")[:most], losses)


def find_suspect_rows(
    task: Task, outputs: Outputs, examples: Sequence[Example], most: int = MOST_ROWS
) -> tuple[tuple[ReviewRow, ...], int | None]:
    """Return the rows whose label is likely wrong, most likely first, and how many there are; None for tasks that do
    not find them.

    Raises:
        DataError: the examples have no targets.
    """
    if not task.finds_label_errors:
        return (), None
    suspects = task.suspect_labels(outputs, examples)
    return _review(task, outputs, examples, suspects[:most], task.row_losses(outputs, examples)), len(suspects)


def _review(
    task: Task,
    outputs: Outputs,
    examples: Sequence[Example],
    numbers: NDArray[np.intp],
    losses: NDArray[Any] | None,
) -> tuple[ReviewRow, ...]:
    rows = [examples[i] for i in numbers.tolist()]
    part = outputs[numbers] if isinstance(outputs, np.ndarray) else [outputs[i] for i in numbers.tolist()]
    results = []
    for i, example, prediction in zip(numbers.tolist(), rows, task.decode(part, rows), strict=True):
        described = task.describe_error(example, prediction)
        results.append(
            ReviewRow(
                i,
                _PATH.sub("", example.where) or example.id,
                shorten_text(example.text),
                None if example.text_pair is None else shorten_text(example.text_pair),
                *described,
                None if losses is None else float(losses[i]),
            )
        )
    return tuple(results)


def show_target(example: Example) -> str:
    """Return the target of a row as text: its label, labels, tags, answers or number."""
    target = example.target
    if example.choices is not None and isinstance(target, str):
        return example.choices[int(target)]
    if isinstance(target, tuple):
        answers = dict.fromkeys(element.text for element in target if isinstance(element, Answer))
        return " / ".join(answers) or join_words(element for element in target if isinstance(element, str))
    return f"{target:.4f}" if isinstance(target, float) else str(target)


def show_prediction(prediction: Prediction) -> str:
    """Return a prediction as text, without probabilities."""
    if prediction.value is not None:
        return f"{prediction.value:.4f}"
    if isinstance(prediction.label, str):
        return prediction.label
    return prediction.answer or join_words(prediction.tags or prediction.label or ())


def show_differing(
    example: Example, predictions: Sequence[Prediction], show: Callable[[Prediction], str] = show_prediction
) -> list[str]:
    """Return the target and the predictions of several models as texts; of tags only those that differ, with words."""
    tags = [prediction.tags for prediction in predictions]
    if None in tags:
        return [show_target(example), *map(show, predictions)]
    sides = [labels_of(example.target), *(side or () for side in tags)]
    differing = [i for i, of_word in enumerate(zip(*tags, strict=True)) if len(set(of_word)) > 1]
    words = [example.text[slice(*span)] for span in words_of(example)]
    return [join_words(f"{words[i]}/{side[i]}" for i in differing) for side in sides]


def join_words(words: Iterable[str]) -> str:
    """Words with spaces between, or a dash if there are none."""
    return " ".join(words) or "–"


def shorten_text(text: str) -> str:
    """The first :data:`MOST_TEXT` characters of a text."""
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"
