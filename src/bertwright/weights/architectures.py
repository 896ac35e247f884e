"""The class in transformers that opens a checkpoint, inferred from the heads in it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from bertwright.weights.families import Family, PublishedHead

_NOT_TRAINED_HERE = {"electra": ("discriminator_predictions.dense", "discriminator_predictions.dense_prediction")}
"""Modules of heads that no task uses; conversion keeps them."""

_FIRST = ("qa", "classification", "multiple_choice", "tagging", "pretraining", "masked_lm")
"""Kinds of head in the order in which a checkpoint with several is called after one: what was learned last first."""


def head_modules(family: Family) -> frozenset[str]:
    """Return the modules of all published heads of a family under its names; the pooler is one of them."""
    published = frozenset(module for head in family.heads.values() for module in head.names.values())
    return published | {f"{family.prefix}.pooler.dense", *_NOT_TRAINED_HERE.get(family.model_type, ())}


def infer_architecture(family: Family, names: Iterable[str], declared: Sequence[str] = ()) -> str:
    """Return the class that opens a checkpoint with its head.

    Args:
        family: the family whose names the checkpoint has.
        names: the names of its tensors, with the family's prefix.
        declared: the architectures in its ``config.json``. The first one whose head is present is taken, because
            several heads have the same names (sequence and token classification), or else one with an unknown head.

    >>> from bertwright.weights.families import FAMILIES
    >>> infer_architecture(FAMILIES["distilbert"], ["distilbert.embeddings.LayerNorm.bias", "qa_outputs.bias"])
    'DistilBertForQuestionAnswering'
    """
    modules = {name.rpartition(".")[0] for name in names}
    present = {
        kind: family.class_name + head.architecture for kind, head in family.heads.items() if _is_present(head, modules)
    }
    known = {family.class_name + head.architecture for head in family.heads.values()}
    unknown = [name for name in declared if name.startswith(f"{family.class_name}For") and name not in known]
    named = [name for name in declared if name in present.values()] or unknown
    return next(iter([*named, *(present[kind] for kind in _FIRST if kind in present)]), f"{family.class_name}Model")


def find_published_head(family: Family, architecture: str) -> PublishedHead | None:
    """Return the published head of a transformers class; None if it has none, or an unknown one."""
    return next((head for head in family.heads.values() if architecture == family.class_name + head.architecture), None)


def _is_present(head: PublishedHead, modules: Container[str]) -> bool:
    # Pre-training heads may come without the pooler; heads that score with it, as their dense layer, need it.
    return all(theirs in modules for ours, theirs in head.names.items() if ours != "head.pooler")
