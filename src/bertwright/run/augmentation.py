"""Data augmentation of the training rows of a run."""

from __future__ import annotations

from dataclasses import replace

import torch

from bertwright.corpus.corpus_split import CorpusSplit
from bertwright.data.augment import augment
from bertwright.errors import RecipeError
from bertwright.recipe import Recipe
from bertwright.run.splits import Splits
from bertwright.weights.masked_lm import open_masked_lm


def add_augmented_copies(recipe: Recipe, splits: Splits, device: torch.device) -> tuple[Splits, str]:
    """Add augmented copies of training rows; return the splits and a description. Dev and test stay unchanged.

    Raises:
        RecipeError: the settings do not fit the task.
        DataError: the file of synonyms is invalid.
        HubError, WeightsError, TokenizerError: the masked language model is missing or damaged.
    """
    settings, train = recipe.data.augment, splits.train
    if isinstance(train, CorpusSplit):
        raise RecipeError("data.augment: a corpus has no rows to augment; remove it.")
    model = None
    if settings.masked_lm and settings.masked_lm_model:
        model = open_masked_lm(settings.masked_lm_model, device)
    rows, report = augment(train, settings, recipe.seed, None if model is None else model.substitute)
    return replace(splits, train=rows), str(report)
