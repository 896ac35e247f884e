"""The kinds of targets by name."""

from __future__ import annotations

from typing import Final, Literal

from bertwright.data.targets.answers import ANSWERS
from bertwright.data.targets.choices import CHOICES
from bertwright.data.targets.rows import CLASS, LABEL_SET, NUMBER
from bertwright.data.targets.spec import TargetSpec
from bertwright.data.targets.tags import TAGS
from bertwright.data.targets.texts import TEXTS
from bertwright.errors import DataError, did_you_mean

Kind = Literal["classification", "multilabel", "regression", "tagging", "qa", "multiple_choice", "pretraining"]
"""The names of the kinds of targets: a label, any number of labels, a number, a tag per word, answers, a choice, or
none."""

_SPECS: Final[tuple[TargetSpec, ...]] = (CLASS, LABEL_SET, NUMBER, TAGS, ANSWERS, CHOICES, TEXTS)


def target_spec(kind: str | TargetSpec) -> TargetSpec:
    """The specification of a kind of target, by its name.

    >>> target_spec("tagging").reads_windows
    True

    Raises:
        DataError: there is no kind of this name.
    """
    if isinstance(kind, TargetSpec):
        return kind
    specs = {spec.name: spec for spec in _SPECS}
    if kind not in specs:
        raise DataError(f'kind: there is no kind of target "{kind}"; {did_you_mean(kind, specs)}')
    return specs[kind]
