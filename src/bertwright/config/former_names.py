"""Settings that were renamed: their former names are accepted, and a warning names the current ones.

Each :class:`~bertwright.config.sections.Section` lists its own renamed settings in ``former_names``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertwright.config.sections import Section
from bertwright.config.type_descriptions import field_members, section_types
from bertwright.config.yaml_tree import Keys, Tree
from bertwright.errors import RecipeError


def rename_former_keys(section: type[Section], tree: Tree) -> tuple[Tree, list[str]]:
    """Replace former names of settings by the current ones.

    Args:
        section: the section that the outermost mapping of the tree describes.
        tree: values as written.

    Returns:
        The tree under current names, and one sentence for each renamed setting, with its file and line.

    Raises:
        RecipeError: a setting is written under both names.
    """
    renamed: dict[Keys, Keys] = {}
    values = _rename(section, tree.values, (), (), renamed, tree)
    if not renamed:
        return tree, []

    def move(places: Mapping[Keys, str]) -> dict[Keys, str]:
        return {current_keys(section, keys): text for keys, text in places.items()}

    notes = [f"{tree.where(old)}: {_join_keys(old)} is now called {_join_keys(new)}." for old, new in renamed.items()]
    return Tree(values, tree.name, move(tree.origins), move(tree.typed)), notes


def current_keys(section: type[Section], keys: Keys) -> Keys:
    """The path of a setting under current names.

    >>> from bertwright.recipe import Recipe
    >>> current_keys(Recipe, ("train", "clip"))
    ('train', 'max_grad_norm')
    """
    current: list[str | int] = []
    candidates: list[type[Any]] = [section]
    for key in keys:
        name = next((c.former_names[key] for c in candidates if key in _former_names(c)), key)
        current.append(name)
        candidates = [inner for c in candidates for inner in _sections_of(c, name)]
    return tuple(current)


def _rename(
    section: type[Any], values: Mapping[str, Any], old: Keys, new: Keys, renamed: dict[Keys, Keys], tree: Tree
) -> dict[str, Any]:
    """The mapping under current names; ``renamed`` gets the former and the current path of every change."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        current = current_keys(section, (*new, key))
        if current[-1] != key:
            if current[-1] in values:
                raise RecipeError(
                    f"{tree.where((*old, key))}: {_join_keys((*old, key))} is the former name of "
                    f"{_join_keys(current)}, which is set too; remove one."
                )
            renamed[(*old, key)] = current
        inner = isinstance(value, Mapping)
        result[str(current[-1])] = _rename(section, value, (*old, key), current, renamed, tree) if inner else value
    return result


def _former_names(section: type[Any]) -> Mapping[str, str]:
    names: Mapping[str, str] = getattr(section, "former_names", {})
    return names


def _sections_of(section: type[Any], name: str | int) -> list[type[Any]]:
    info = section.model_fields.get(name)
    return [] if info is None else list(section_types(field_members(info)))


def _join_keys(keys: Keys) -> str:
    return ".".join(map(str, keys))
