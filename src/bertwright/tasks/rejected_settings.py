"""Settings outside the task section that cannot be combined with a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple


class RejectedSetting(NamedTuple):
    """A setting that cannot be combined with a task.

    Attributes:
        key: of the setting, such as ``data.skip_labels``.
        reason: what is wrong, to continue the key; may hold ``{value}``, that of the setting, and ``{kind}``, of the
            task.
        is_set: whether a value is one that cannot be combined.
    """

    key: str
    reason: str
    is_set: Callable[[Any], bool] = bool


LABEL_COLUMNS: Final = RejectedSetting(
    "data.label",
    "lists several columns, but {kind} reads one; set task.kind to multilabel",
    lambda value: isinstance(value, tuple),
)
LABEL_SEPARATOR: Final = RejectedSetting(
    "data.label_separator",
    "splits cells into several labels, but {kind} reads one; set task.kind to multilabel",
    lambda value: value is not None,
)
SKIP_LABELS: Final = RejectedSetting(
    "data.skip_labels", "cannot be used with {kind}, whose rows have no label; remove it"
)
SAMPLING: Final = RejectedSetting(
    "train.sampling",
    "is {value}, but {kind} has no labels to balance; remove it",
    lambda value: value != "all",
)
