"""Removing paths of this machine from the files of a run before they are published."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from bertwright.recipe import Recipe
from bertwright.run.directory import change_paths
from bertwright.run.event_log import starting_directory
from bertwright.run.settings_in_words import is_hub_name

_MODEL_SETTINGS = ("base", "tokenizer")


class LocalPaths:
    """The paths of this machine that the files of a run may contain.

    Paths in the recipe are shortened to their last part. The directories of the run and of the user are removed from
    longer paths.

    Args:
        recipe: of the run.
        directory: of the run.
    """

    def __init__(self, recipe: Recipe, directory: Path) -> None:
        start = starting_directory(directory)
        paths: list[str] = []

        def collect(path: str) -> str:
            if not path.startswith("hub:"):
                paths.append(path)
            return path

        change_paths(recipe, collect)
        model_names = {getattr(recipe.model, name) for name in _MODEL_SETTINGS}
        self._paths = {
            path: _last_part(path)
            for path in paths
            if not (path in model_names and is_hub_name(path) and not _exists(path, start))
        }
        absolute = {str(Path(path).resolve()): name for path, name in self._paths.items()}
        self._paths = absolute | self._paths
        folders = [start, Path.cwd(), Path.home(), directory.resolve().parent]
        prefixes = {f"{folder}/": "" for folder in folders if folder is not None and len(folder.parts) > 1}
        self._pattern = _compile([*self._paths, *prefixes])
        self._html_pattern = _compile(escape(text) for text in (*self._paths, *prefixes))
        self._replacements = self._paths | prefixes

    def remove(self, text: str) -> str:
        """The text without paths of this machine."""
        return self._pattern.sub(lambda match: self._replacements[match[0]], text)

    def remove_from_html(self, text: str) -> str:
        """The HTML page without paths of this machine."""
        escaped = {escape(path): escape(name) for path, name in self._replacements.items()}
        return self.remove(self._html_pattern.sub(lambda match: escaped[match[0]], text))

    def remove_from_values(self, value: Any) -> Any:
        """Nested lists and dictionaries without paths of this machine; keys stay."""
        if isinstance(value, str):
            return self.remove(value)
        if isinstance(value, dict):
            return {key: self.remove_from_values(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.remove_from_values(each) for each in value]
        return value

    def remove_from_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with the last part of each local path."""
        return change_paths(recipe, lambda path: self._paths.get(path, path))


def _compile(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern for any of the texts, the longest first, that does not match inside of longer names."""
    ordered = sorted(set(texts), key=len, reverse=True)
    parts = (re.escape(text) + ("" if text.endswith("/") else r"(?!\w)") for text in ordered)
    return re.compile(rf"(?<![\w.-])(?<!\w/)(?:{'|'.join(parts) or '(?!)'})")


def _exists(path: str, start: Path | None) -> bool:
    return any((folder / path).exists() for folder in (Path(), start) if folder is not None)


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or "data"
