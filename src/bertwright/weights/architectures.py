"""The class in transformers that opens a checkpoint, inferred from the heads in it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from bertwright.weights.families import Family, PublishedHead

_NOT_TRAINED_HERE = {"electra": ("discriminator_predictions.dense", "discriminator_predictions.dense_prediction")}
"""Modules of heads that no task uses; conversion keeps them."""

_FIRST = ("qa", "classification", "multiple_choice", "tagging", "pretraining", "masked_lm")
"""Kinds of head in the order in which a checkpoint with several is called after one: what was learned last first."""


def head_modules(family: Family) -> frozenset[str]:
    """The modules of all published heads of a family, in its names; the pooler is one of them."""
    published = frozenset(module for head in family.heads.values() for module in head.names.values())
    return published | {f"{family.prefix}.pooler.dense", *_NOT_TRAINED_HERE.get(family.model_type, ())}


def infer_architecture(family: Family, names: Iterable[str], said: Sequence[str] = ()) -> str:
    """The class that opens a checkpoint with its head.

    Args:
        family: whose names it has.
        names: its tensors, with the family's prefix.
        said: the architectures that its ``config.json`` names; the first whose head is there is taken, as several
            have the same names (a classifier of texts and one of tokens), or one with a head that is not known here.

    >>> from bertwright.weights.families import FAMILIES
    >>> architecture_of(FAMILIES["distilbert"], ["distilbert.embeddings.LayerNorm.bias", "qa_outputs.bias"])
    'DistilBertForQuestionAnswering'
    """
    modules = {name.rpartition(".")[0] for name in names}
    whole = {
        kind: family.class_name + head.architecture for kind, head in family.heads.items() if _is_there(head, modules)
    }
    known = {family.class_name + head.architecture for head in family.heads.values()}
    other = [one for one in said if one.startswith(f"{family.class_name}For") and one not in known]
    named = [one for one in said if one in whole.values()] or other
    return next(iter([*named, *(whole[kind] for kind in _FIRST if kind in whole)]), f"{family.class_name}Model")


def find_published_head(family: Family, architecture: str) -> PublishedHead | None:
    """The published head of one of transformers' classes; None if it has none, or one that is not known."""
    return next((head for head in family.heads.values() if architecture == family.class_name + head.architecture), None)


def _is_there(head: PublishedHead, modules: Container[str]) -> bool:
    # Pre-training heads may come without the pooler; heads that score with it, as their dense layer, need it.
    return all(theirs in modules for ours, theirs in head.names.items() if ours != "head.pooler")
