"""Errors of predicted spans by their kind, as the categories of MUC-5 (Chinchor and Sundheim 1993, "MUC-5 Evaluation
Metrics") extended by the one for a wrong type within a wrong boundary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bertwright.metrics.spans import TaggingOutcome, WordSpan

CORRECT: Final = "correct"
WRONG_TYPE: Final = "wrong type"
WRONG_BOUNDARY: Final = "wrong boundary"
WRONG_BOTH: Final = "type and boundary"
MISSED: Final = "missed"
SPURIOUS: Final = "spurious"

ERRORS: Final = (WRONG_TYPE, WRONG_BOUNDARY, WRONG_BOTH, MISSED, SPURIOUS)
"""Kinds of errors."""


@dataclass(frozen=True, slots=True)
class SpanErrors:
    """How often each kind of error occurs.

    Every true span is correct, has one kind of error with the predicted span that it is matched with, or is missed.
    Every predicted span that is not matched is spurious.

    Attributes:
        counts: spans by kind, :data:`CORRECT` and :data:`ERRORS`.
        by_type: the same for each type; that of the predicted span for a spurious one, of the true span for others.
    """

    counts: dict[str, int]
    by_type: dict[str, dict[str, int]]


def count_span_errors(outcome: TaggingOutcome) -> SpanErrors:
    """Count the errors of all texts; each span is matched at most once, equal spans first, then equal boundaries, then
    overlapping spans of the same type, then other overlapping spans.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for gold, predicted in outcome.list_spans():
        counts.update(_match(gold, predicted))
    kinds = (CORRECT, *ERRORS)
    total = {kind: sum(n for (_, other), n in counts.items() if other == kind) for kind in kinds}
    return SpanErrors(total, {type_: {kind: counts[type_, kind] for kind in kinds} for type_ in outcome.labels})


def _match(gold: Sequence[WordSpan], predicted: Sequence[WordSpan]) -> list[tuple[str, str]]:
    """The type and the kind of every true span and of every spurious one."""
    rules: tuple[tuple[str, Callable[[WordSpan, WordSpan], bool]], ...] = (
        (WRONG_TYPE, lambda a, b: a[1:] == b[1:]),
        (WRONG_BOUNDARY, lambda a, b: a.type == b.type and _overlap(a, b)),
        (WRONG_BOTH, _overlap),
    )
    correct = set(gold) & set(predicted)
    results = [(span.type, CORRECT) for span in correct]
    missing, spurious = ([span for span in side if span not in correct] for side in (gold, predicted))
    for kind, fits in rules:
        for true in list(missing):
            match = next((span for span in spurious if fits(true, span)), None)
            if match is not None:
                missing.remove(true)
                spurious.remove(match)
                results.append((true.type, kind))
    return results + [(span.type, MISSED) for span in missing] + [(span.type, SPURIOUS) for span in spurious]


def _overlap(a: WordSpan, b: WordSpan) -> bool:
    return a.start < b.stop and b.start < a.stop
