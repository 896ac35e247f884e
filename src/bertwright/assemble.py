"""Putting a model together from what a recipe says of it: an encoder with its weights, and a head."""

from __future__ import annotations

import torch

from bertwright.nn.model import Model
from bertwright.nn.settings import ModelSettings
from bertwright.tasks.task import Task
from bertwright.weights.loading import LoadingReport
from bertwright.weights.pretrained import Pretrained


def assemble(
    settings: ModelSettings,
    task: Task,
    base: Pretrained,
    generator: torch.Generator | None = None,
    fresh_output: bool = False,
) -> tuple[Model, LoadingReport]:
    """The model that the settings describe, with the weights of ``base``, on the CPU; nothing is frozen yet.

    Args:
        settings: the ``model`` section of a recipe.
        task: what the head is for.
        base: where the weights come from; a head that it lacks starts fresh.
        generator: for the weights that start fresh.
        fresh_output: start the output layer fresh although ``base`` has one: it was trained for something else.

    Raises:
        WeightsError: a tensor is missing, has another shape or is damaged.
    """
    head = task.head(base.config, base.style(task.head_kind))
    return base.model(head, generator, fresh_output, task.head_kind)
