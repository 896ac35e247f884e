"""What reports, model cards and messages call the parts of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TaskWording:
    """The words for one task.

    Attributes:
        summary: what a model of this task does, to continue "This model …"; ``{n}`` is the number of labels.
        hub_task: the type and the name of the task on the Hub.
        baseline: the baseline of an evaluation, to continue "better than …".
        baseline_column: the heading of the baseline in tables.
        outputs: what a model without labels predicts.
        unit: what the task is evaluated on, in the plural.
        count_key: the key in ``report.json`` under which these are counted.
        trained: how a model of this task is made, to continue "It was … from".
    """

    summary: str
    hub_task: tuple[str, str] = ("text-classification", "Text Classification")
    baseline: str = "the majority-class baseline"
    baseline_column: str = "majority"
    outputs: str = "a number"
    unit: str = "examples"
    count_key: Literal["rows", "sequences"] = "rows"
    trained: str = "fine-tuned"
