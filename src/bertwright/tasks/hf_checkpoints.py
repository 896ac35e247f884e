"""Tasks of models that were fine-tuned elsewhere, inferred from their ``config.json``."""

from __future__ import annotations

from bertwright.errors import BundleError, WeightsError
from bertwright.tasks.classification import Classification, MultiLabel
from bertwright.tasks.multiple_choice import MultipleChoice
from bertwright.tasks.pretraining import Pretraining
from bertwright.tasks.qa import USUAL_LENGTH, QuestionAnswering
from bertwright.tasks.regression import Regression
from bertwright.tasks.spec import Task, generic_label_names
from bertwright.tasks.tagging import Tagging
from bertwright.tokenization.settings import TokenSettings
from bertwright.weights.head_agreement import check_head_agreement
from bertwright.weights.pretrained import Pretrained

LONGEST = {QuestionAnswering.head_kind: USUAL_LENGTH}
"""Maximum sequence length of models that were fine-tuned elsewhere, by kind of head; 512, as BERT was pre-trained, for
all others."""


def tokens_of(base: Pretrained) -> TokenSettings:
    """The settings of tokenization for a model that was fine-tuned elsewhere."""
    return TokenSettings(max_length=min(LONGEST.get(head_kind_of(base) or "", 512), base.config.max_length))


def head_kind_of(base: Pretrained) -> str | None:
    """The kind of task that a model's published head is for, by its architecture; None for a bare or unknown one."""
    for architecture in base.hf_config.get("architectures") or ():
        for kind, head in base.family.heads.items():
            if architecture.endswith(head.architecture):
                return kind
    return None


def open_task(base: Pretrained, trained: Task | None) -> Task:
    """The task of a model that predicts: the one in its recipe, else the one that ``config.json`` describes.

    Args:
        base: the model.
        trained: the task of its recipe, if it has one.

    Raises:
        BundleError: it is a model of another kind.
        WeightsError: ``config.json`` contradicts itself or the head of the weights.
    """
    task = task_of(base) if trained is None else trained
    check_head_agreement(base, task.published_head)
    if trained is not None:
        _check_recipe(base, trained)
    return task


def _check_recipe(base: Pretrained, trained: Task) -> None:
    """Compare ``config.json`` with the task of the recipe next to it; transformers reads one, bertwright the other.

    Raises:
        WeightsError: they disagree.
    """
    where, problem = f"{base.directory}/config.json", base.hf_config.get("problem_type")
    expected = trained.problem_type
    if problem is not None and expected is not None and problem != expected:
        raise WeightsError(
            f"{where}: problem_type is {problem}, but task.kind in recipe.yaml is {trained.kind}; restore the "
            "changed file."
        )


def task_of(base: Pretrained) -> Task:
    """The task of a model that was fine-tuned elsewhere, from its ``config.json``.

    Raises:
        BundleError: it is a model of another kind.
    """
    kind = head_kind_of(base)
    for architecture in base.hf_config.get("architectures") or ():
        # other heads may have the same names and shapes; they would load without meaning
        if "For" in architecture and kind is None:
            raise BundleError(f"{base.source}: is a {architecture}, which is none of the tasks known here.")
    if kind == QuestionAnswering.head_kind:
        return QuestionAnswering()
    if kind == MultipleChoice.head_kind:
        return MultipleChoice()
    if kind in (Pretraining.head_kind, "pretraining"):
        return Pretraining(sentence_objective="none" if kind == Pretraining.head_kind else "nsp")
    labels = base.labels
    n = len(labels) if labels else int(base.hf_config.get("num_labels", 2))
    names = labels or generic_label_names(n)
    if kind == Tagging.head_kind:
        return Tagging(labels=names)
    problem = base.hf_config.get("problem_type") or (Regression if n == 1 else Classification).problem_type
    if problem == Regression.problem_type:
        return Regression()
    return MultiLabel(labels=names) if problem == MultiLabel.problem_type else Classification(labels=names)
