"""Training settings that are ``auto``: learning rate and batch size follow from the model and the training rows."""

from __future__ import annotations

from bertwright.config.yaml_tree import format_number
from bertwright.nn.settings import ModelSettings
from bertwright.recipe import Recipe
from bertwright.training.settings import TrainSettings, highest_rate

BASE_RATE, BASE_WIDTH = 2e-5, 768
"""The learning rate of Mosbach et al. 2020 (arXiv 2006.04884) and of Devlin et al. 2018, and the width of BERT-base."""

LOWEST_RATE, HIGHEST_RATE = 1e-5, 1e-4
"""Limits of the learning rate of an encoder.

Turc et al. 2019 (arXiv 1908.08962) fine-tune encoders of width 128 to 768 with 3e-5 to 3e-4.
"""

HEAD_RATE = 1e-3
"""For a head on a frozen encoder."""

LORA_RATE = 3e-4
"""For LoRA adapters; Hu et al. 2021 (arXiv 2106.09685, table 9) use 2e-4 to 5e-4 for RoBERTa."""

SMALL_BATCH, BATCH = 16, 32
"""The batch sizes of Devlin et al. 2018."""

FEW_ROWS = 2000
"""Up to this number of training rows, batches are small, and held-out rows are missed (``train.refit``)."""


def choose_auto_settings(recipe: Recipe, n_rows: int, width: int) -> Recipe:
    """Replace ``auto`` of ``train.learning_rate`` and ``train.batch_size`` by numbers.

    Args:
        recipe: of the run.
        n_rows: number of training rows; 0 if it is unknown, as for a corpus.
        width: D, of the encoder.
    """
    settings = recipe.train
    if settings.learning_rate == "auto":
        settings = settings.replace(learning_rate=choose_learning_rate(settings, recipe.model, width))
    if settings.batch_size == "auto":
        settings = settings.replace(batch_size=SMALL_BATCH if 0 < n_rows <= FEW_ROWS else BATCH)
    return recipe.replace(train=settings)


def choose_learning_rate(settings: TrainSettings, model: ModelSettings, width: int) -> float:
    """The learning rate for what trains, with two significant digits."""
    if not isinstance(settings.schedule, str):
        return highest_rate(settings.schedule)
    if model.lora is not None:
        return LORA_RATE
    if model.freeze == "encoder":
        return HEAD_RATE
    rate = min(max(BASE_RATE * BASE_WIDTH / width, LOWEST_RATE), HIGHEST_RATE)
    return float(f"{rate:.1e}")


def describe_auto_settings(before: Recipe, after: Recipe) -> str:
    """What was chosen, as ``key=value`` pairs; empty if nothing was ``auto``."""
    chosen = {
        key: getattr(after.train, key)
        for key in ("learning_rate", "batch_size")
        if getattr(before.train, key) == "auto"
    }
    return ", ".join(f"train.{key}={format_number(value)}" for key, value in chosen.items())
