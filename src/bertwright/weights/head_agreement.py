"""Consistency of ``config.json`` with the head of a checkpoint."""

from __future__ import annotations

from bertwright.errors import WeightsError
from bertwright.output.plurals import pluralize
from bertwright.weights.families import HeadOutputs, PublishedHead
from bertwright.weights.hf_config import PROBLEM_TYPES
from bertwright.weights.pretrained import Pretrained

_SINGLE, _MULTI, _REGRESSION = PROBLEM_TYPES


def check_head_agreement(base: Pretrained, head_kind: str | None) -> None:
    """Refuse a fine-tuned model whose ``config.json`` contradicts itself or the shape of its head.

    transformers takes the number of outputs from ``id2label``, else ``num_labels``, else 2.

    Args:
        base: the model.
        head_kind: the kind of its published head; None for a custom head, whose outputs are not checked.

    Raises:
        WeightsError: with both values and the file.
    """
    where = f"{base.directory}/config.json"
    labels, declared = base.labels, base.hf_config.get("num_labels")
    problem = base.hf_config.get("problem_type")
    if problem is not None and problem not in PROBLEM_TYPES:
        raise WeightsError(f"{where}: problem_type is {problem!r}; expected {', '.join(PROBLEM_TYPES)} or null.")
    if labels is not None and declared is not None and declared != len(labels):
        raise WeightsError(
            f"{where}: num_labels is {declared}, but id2label has {pluralize(len(labels), 'label')}; correct one."
        )
    n_labels = len(labels) if labels is not None else declared
    head = None if head_kind is None else base.family.heads.get(head_kind)
    if head is None or head.outputs is None:
        return
    _check_outputs(base, head, head.outputs, n_labels, where)
    if head.outputs.has_problem_type and n_labels is not None:
        _check_problem(problem, n_labels, where)


def _check_outputs(
    base: Pretrained, head: PublishedHead, outputs: HeadOutputs, n_labels: int | None, where: str
) -> None:
    """Compare the number of labels with the rows of the output layer."""
    name = f"{head.names['head.output']}.weight"
    info = base.checkpoint.tensors.get(name)
    if info is None or not info.shape:
        return  # loading reports an untrained head
    rows, tensor = info.shape[0], f"{name} in {base.checkpoint.source}"
    if outputs.number is not None:
        if rows != outputs.number:
            raise WeightsError(
                f"{tensor}: has {pluralize(rows, 'row')}, but {outputs.description}; "
                "set architectures in config.json to the class that the head belongs to."
            )
        return
    if n_labels is None and rows != 2:
        raise WeightsError(
            f"{where}: names no labels, which means 2, but {tensor} has {pluralize(rows, 'row')}; add id2label."
        )
    if n_labels is not None and n_labels != rows:
        has_names = base.labels is not None
        named = f"id2label has {pluralize(n_labels, 'label')}" if has_names else f"num_labels is {n_labels}"
        raise WeightsError(
            f"{where}: {named}, but {tensor} has {pluralize(rows, 'row')}; use the config.json of the weights."
        )


def _check_problem(problem: str | None, n_labels: int, where: str) -> None:
    """Compare ``problem_type`` with the number of outputs."""
    if problem == _SINGLE and n_labels == 1:
        raise WeightsError(
            f"{where}: problem_type is {_SINGLE} with 1 label, whose probability is always 1; set problem_type to "
            f"{_REGRESSION} if the output is a number, or to {_MULTI} if the label is present or absent."
        )
    if problem == _REGRESSION and n_labels > 1:
        raise WeightsError(
            f"{where}: problem_type is {_REGRESSION} with {n_labels} labels, but bertwright predicts one number; set "
            f"problem_type to {_SINGLE} or {_MULTI} if these are labels."
        )
