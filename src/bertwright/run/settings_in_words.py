"""The main settings of a run in words, for the model card and the HTML report."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bertwright.config.yaml_tree import format_number
from bertwright.output.escaping import escape_line

_SETTINGS = (
    ("base model", "model.base", None),
    ("size", "model.preset", None),
    ("epochs or steps", "train.length", None),
    ("batch size", "train.batch_size", None),
    ("learning rate", "train.learning_rate", None),
    ("learning rate of the head", "train.head_learning_rate", None),
    ("learning rate decay per layer", "train.layer_decay", 1.0),
    ("learning rate schedule", "train.schedule", None),
    ("warm-up", "train.warmup", None),
    ("weight decay", "train.weight_decay", None),
    ("gradient clipping (max L2 norm)", "train.max_grad_norm", None),
    ("dropout", "model.dropout", None),
    ("frozen layers", "model.freeze", None),
    ("reinitialized layers", "model.reinit_layers", 0),
    ("LoRA", "model.lora", None),
    ("gradual unfreezing", "train.gradual_unfreezing", None),
    ("sampling", "train.sampling", "all"),
    ("class weights", "task.class_weights", None),
    ("focal loss gamma", "task.focal_gamma", None),
    ("label smoothing", "task.label_smoothing", 0.0),
    ("maximum sequence length", "tokens.max_length", None),
    ("truncation", "tokens.truncation", None),
    ("early stopping patience", "train.patience", None),
    ("best checkpoint by", "train.metric_for_best_model", None),
    ("trained again on training and validation rows", "train.refit", False),
)
"""Settings that the card shows: title, recipe key, and the value that has no effect."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def list_settings(
    recipe: Mapping[str, Any], seed: int | None, prose: Callable[[str], str] = str, code: Callable[[str], str] = str
) -> list[list[str]]:
    """The main settings as pairs of title and value, without settings that have no effect or are not recorded.

    Args:
        recipe: the resolved recipe as nested dictionaries.
        seed: of the run, if the recipe has none.
        prose: escapes texts.
        code: escapes and formats names.
    """
    rows = []
    for title, key, unchanged in _SETTINGS:
        section, _, name = key.partition(".")
        value = (recipe.get(section) or {}).get(name)
        if value is not None and value != unchanged:
            rows.append([title, _show_setting(name, value, prose, code)])
    if (value := recipe.get("seed", seed)) is not None:
        rows.append(["random seed", str(value)])
    return rows


def _show_setting(name: str, value: Any, prose: Callable[[str], str], code: Callable[[str], str]) -> str:
    if name == "base":
        return code(value if is_hub_name(value) else last_part(value))
    if name == "warmup" and isinstance(value, float):
        return f"{value:.3g} of the steps" if value > 1 else f"{100 * value:.3g} % of the steps"
    if name == "freeze" and isinstance(value, int):
        return f"embeddings and the first {value} layers" if value > 1 else "embeddings and the first layer"
    if name == "max_length":
        return f"{value} tokens"
    if name == "lora":
        return f"rank {value['rank']}, alpha {value['alpha']:g}"
    if name == "schedule" and not isinstance(value, str):
        return ", then ".join(f"{part['kind']} for {part['steps']}" for part in value)
    if isinstance(value, float):
        return format_number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{code(str(key))}: {_show_setting('', item, prose, code)}" for key, item in value.items())
    return prose(str(value).replace("_", " ") if name in ("truncation", "metric_for_best_model") else str(value))


def is_hub_name(base: str) -> bool:
    """Whether the name of a model is one of the Hub and no path."""
    return _HUB_NAME.fullmatch(base) is not None and not Path(base).exists()


def last_part(path: str) -> str:
    """The last part of a path, so that a document does not reveal directories of the machine."""
    if path.startswith("hub:"):
        return path
    return escape_line(re.split(r"[/\\]", path.rstrip("/\\"))[-1]) or "model"
