"""The two formats of Cerebras Model Zoo's parameter files, converted to one list of keys.

Files of 1.9 and 2.0 have the sections train_input, eval_input, model, optimizer and runconfig. In files of 2.10, all
keys are below ``trainer``: ``init``, ``fit``, ``validate``, ``validate_all``. They get the section and name of 1.9.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bertwright.config.yaml_tree import Keys, Tree
from bertwright.errors import RecipeError
from bertwright.importers.imported_recipe import SourceSetting

SECTIONS = ("train_input", "eval_input", "predict_input", "model", "optimizer", "runconfig")
REPEATED = "repeated"
"""The section of keys that repeat the dev rows."""
BACKEND = "backend"
OTHER = "other"
"""The section of keys at unexpected places."""

FLAT = "a Model Zoo file with sections (1.9, 2.0)"
TRAINER = "a Model Zoo file with a trainer (2.10)"

# Keys of the trainer format that belong to another section than their part: (part, key) → (section, name).
_MOVED = {
    ("precision", "enabled"): ("model", "mixed_precision"),
    ("precision", "fp16_type"): ("model", "fp16_type"),
    ("loop", "grad_accum_steps"): ("optimizer", "grad_accum_steps"),
    ("checkpoint", "steps"): ("runconfig", "checkpoint_steps"),
}
_PARTS = {
    "backend": BACKEND,
    "model": "model",
    "precision": "optimizer",
    "loop": "runconfig",
    "checkpoint": "runconfig",
    "logging": "runconfig",
}


def list_settings(tree: Tree) -> tuple[str, list[SourceSetting]]:
    """Return the format of a file, and its keys in file order.

    Raises:
        RecipeError: the file is no Model Zoo file.
    """
    if "trainer" in tree.values:
        return TRAINER, list(_trainer(tree))
    if not set(SECTIONS) & set(tree.values):
        is_recipe = bool({"task", "data", "tokens", "train"} & set(tree.values))
        sections = ", ".join(list(tree.values)[:8])
        remedy = "it is already a recipe; use it with `bertwright train`" if is_recipe else "it is no Model Zoo file"
        raise RecipeError(
            f"{tree.name}: expected the sections {', '.join(SECTIONS)}, or trainer; found {sections}; {remedy}."
        )
    return FLAT, list(_flat(tree))


def _flat(tree: Tree) -> Iterator[SourceSetting]:
    for section, values in tree.values.items():
        if section in SECTIONS:
            yield from _section(tree, (section,), section)
        elif isinstance(values, Mapping) and values:
            for name, value in values.items():
                yield _entry(tree, (section, name), OTHER, section, value)
        else:
            yield _entry(tree, (section,), OTHER, section, values)


def _trainer(tree: Tree) -> Iterator[SourceSetting]:
    trainer = tree.values["trainer"]
    if isinstance(trainer, list):
        raise RecipeError(
            f"{tree.where(('trainer',))}: lists several trainers; write each to its own file and import that."
        )
    for key in tree.values:
        if key != "trainer":
            yield _entry(tree, (key,), OTHER, key, tree.values[key])
    for part, values in _mapping(tree, ("trainer",), trainer).items():
        keys: Keys = ("trainer", part)
        if part == "init":
            yield from _init(tree, _mapping(tree, keys, values))
        elif part == "fit":
            yield from _fit(tree, _mapping(tree, keys, values))
        elif part in ("validate", "validate_all"):
            for name, value in _mapping(tree, keys, values).items():
                yield _entry(tree, (*keys, name), REPEATED, name, value)
        else:
            yield _entry(tree, keys, OTHER, part, values)


def _init(tree: Tree, init: Mapping[str, Any]) -> Iterator[SourceSetting]:
    for part, values in init.items():
        keys: Keys = ("trainer", "init", part)
        if part in ("seed", "model_dir"):
            yield _entry(tree, keys, "runconfig", part, values)
        elif part == "optimizer":
            yield from _optimizer(tree, keys, values)
        elif part == "schedulers":
            yield _entry(tree, keys, "optimizer", "schedulers", values)
        elif part in _PARTS:
            for entry in _section(tree, keys, _PARTS[part]):
                section, name = _MOVED.get((part, entry.name), (entry.section, entry.name))
                yield SourceSetting(entry.path, section, name, entry.value, entry.where)
        else:
            yield _entry(tree, keys, "init", part, values)


def _optimizer(tree: Tree, keys: Keys, values: Any) -> Iterator[SourceSetting]:
    """Yield ``AdamW: {eps: …}`` as ``optimizer_type: AdamW, eps: …``."""
    for name, inner in _mapping(tree, keys, values).items():
        yield _entry(tree, (*keys, name), "optimizer", "optimizer_type", name)
        if inner:
            yield from _section(tree, (*keys, name), "optimizer")


def _fit(tree: Tree, fit: Mapping[str, Any]) -> Iterator[SourceSetting]:
    for part, values in fit.items():
        keys: Keys = ("trainer", "fit", part)
        if part == "train_dataloader":
            yield from _section(tree, keys, "train_input")
        elif part == "val_dataloader" and isinstance(values, list):
            for number, loader in enumerate(values):
                if number:
                    yield _entry(tree, (*keys, number), REPEATED, part, loader)
                else:
                    yield from _section(tree, (*keys, number), "eval_input")
        elif part == "val_dataloader":
            yield from _section(tree, keys, "eval_input")
        elif part == "ckpt_path":
            yield _entry(tree, keys, "runconfig", "checkpoint_path", values)
        else:
            yield _entry(tree, keys, OTHER, part, values)


def _section(tree: Tree, keys: Keys, section: str) -> Iterator[SourceSetting]:
    values: Any = tree.values
    for key in keys:
        values = values[key]
    if values is None:
        yield _entry(tree, keys, OTHER, "", None)
        return
    for name, value in _mapping(tree, keys, values).items():
        yield _entry(tree, (*keys, name), section, name, value)


def _mapping(tree: Tree, keys: Keys, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise RecipeError(f"{tree.where(keys)}: {'.'.join(map(str, keys))} must be a mapping of keys.")
    return values


def _entry(tree: Tree, keys: Keys, section: str, name: str, value: Any) -> SourceSetting:
    return SourceSetting(".".join(map(str, keys)), section, name, value, tree.where(keys))
