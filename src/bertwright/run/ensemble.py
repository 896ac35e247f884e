"""Ensembles: several fine-tuned models as one bundle, by averaging their predictions or their weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from bertwright.errors import BundleError
from bertwright.nn.lora import adapter_parameters
from bertwright.nn.model import Model
from bertwright.run.bundle import Bundle
from bertwright.run.ensemble_members import check_members, make_untuned_task
from bertwright.run.report import Report

EnsembleForm = Literal["average", "soup"]


def make_ensemble(bundles: Iterable[Bundle], form: EnsembleForm = "average", report: Report | None = None) -> Bundle:
    """Combine several fine-tuned models into one.

    ``average``: the members predict, and their predictions are averaged. For classification, tagging, multiple choice
    and question answering these are the probabilities of labels, tags, choices, and of the first and the last token of
    an answer; for multi-label classification the probability of each label; for regression the values. Prediction
    costs as much as that of all members together. An ensemble of one member predicts exactly what the member does.

    ``soup``: a single model with the mean of all weights (Wortsman et al. 2022, "Model soups"). Prediction costs as
    much as that of one model, but the mean of weights can be worse than every member: evaluate it.

    Settings that were tuned on validation rows, such as thresholds, and differ between the members have their untuned
    value in the ensemble.

    >>> bundles = [Bundle.load(f"runs/seed{seed}") for seed in range(5)]  # doctest: +SKIP
    >>> make_ensemble(bundles).save("runs/ensemble")  # doctest: +SKIP

    Args:
        bundles: one or more models with the same task, labels, tokenizer and token settings; they are not changed.
        form: ``average`` or ``soup``.
        report: of the ensemble, if it was evaluated.

    Raises:
        BundleError: the models cannot be combined; the message names the first difference.
    """
    members = tuple(bundles)
    if form == "average":
        return Bundle.average(members, report=report)
    if form != "soup":
        raise BundleError(f'ensemble: unknown form "{form}"; expected average or soup.')
    check_members(members, "soup")
    first = members[0]
    task = make_untuned_task(members)
    recipe = None if first.recipe is None else first.recipe.replace(task=task)
    return replace(first, model=average_weights(members), task=task, recipe=recipe, report=report)


def average_weights(members: Sequence[Bundle]) -> Model:
    """Return a model with the mean of the weights of several; the mean is computed in float64.

    Raises:
        BundleError: the models have different shapes, or adapters that are not merged into their weights.
    """
    first = members[0]
    models = [member.single_model for member in members]
    for member, model in zip(members, models, strict=True):
        if member.engine != "torch":
            raise BundleError(
                f"soup: {member.base.source} runs in the engine {member.engine}; open it with the engine torch."
            )
        if any(True for _ in adapter_parameters(model.encoder)):
            raise BundleError(
                f"{member.base.source}: has adapters, whose product is not the product of their means; train with "
                "model.lora.merge=true, or average the predictions."
            )
    states = [model.state_dict() for model in models]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    for member, other in zip(members, shapes, strict=True):
        if other != shapes[0]:
            raise BundleError(
                f"{member.base.source}: its weights have other names or shapes than those of {first.base.source}, so "
                "they have no mean; average the predictions."
            )
    soup = deepcopy(models[0])
    soup.load_state_dict({name: _mean([state[name] for state in states]) for name in states[0]})
    return soup.eval()


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """The mean of weights; counters, such as those of BatchNorm, are those of the first model."""
    if not tensors[0].is_floating_point():
        return tensors[0]
    # one at a time, so that memory holds a single tensor in float64, on the CPU, because some devices lack it
    total = torch.zeros(tensors[0].shape, dtype=torch.float64)
    for tensor in tensors:
        total += tensor.cpu()
    return (total / len(tensors)).to(tensors[0].dtype)
