"""Recipes converted from the configuration of another program, with the status of every key."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bertwright.config.sections import build
from bertwright.config.yaml_tree import Keys, Tree, dump_scalar, dump_yaml
from bertwright.errors import RecipeError
from bertwright.recipe import Recipe

if TYPE_CHECKING:
    from rich.table import Table

Status = Literal["mapped", "not applicable", "unusual", "unsupported", "unknown"]
"""The statuses of keys, as :class:`ImportFinding` defines them."""

WITHOUT_EQUIVALENT: tuple[Status, ...] = ("unsupported", "unknown")
"""The statuses of keys without an equivalent in bertwright: results may differ."""

LINE_WIDTH = 116
"""Maximum length of a comment line in a recipe, in characters."""


@dataclass(frozen=True)
class SourceSetting:
    """One key of a configuration.

    Attributes:
        path: its path in the file, such as ``trainer.init.seed``.
        section: its section, independent of the file format.
        name: its name in that section.
        value: its value.
        where: file and line.
    """

    path: str
    section: str
    name: str
    value: Any
    where: str

    def integer(self) -> int:
        """Return the value as a whole number.

        Raises:
            RecipeError: the value is not a whole number.
        """
        if type(self.value) is float and self.value.is_integer():
            return int(self.value)
        if type(self.value) is not int:
            raise self.make_error("a whole number")
        return self.value

    def number(self) -> float:
        """Return the value as a number.

        Raises:
            RecipeError: the value is not a number.
        """
        if type(self.value) not in (int, float):
            raise self.make_error("a number")
        return float(self.value)

    def text(self) -> str:
        """Return the value as text.

        Raises:
            RecipeError: the value is not text.
        """
        if not isinstance(self.value, str):
            raise self.make_error("text")
        return self.value

    def boolean(self) -> bool:
        """Return the value as a boolean; the words of YAML 1.1, such as ``yes``, are accepted.

        Raises:
            RecipeError: the value is not a boolean.
        """
        words = {"yes": True, "on": True, "no": False, "off": False}
        value = words.get(self.value.lower()) if isinstance(self.value, str) else self.value
        if not isinstance(value, bool):
            raise self.make_error("true or false")
        return value

    def make_error(self, expected: str) -> RecipeError:
        """Return the error that the value has another type."""
        return RecipeError(f"{self.where}: {self.path} must be {expected}; found {format_value(self.value)}.")


@dataclass(frozen=True)
class ImportFinding:
    """The status of a key.

    Attributes:
        key: its path in the file; ``name.*`` for all keys of a section, in brackets if the file does not contain it.
        status: mapped: converted to a setting; not applicable: no effect in bertwright; unusual: mapped or changed on
            purpose, check the value; unsupported: no equivalent; unknown: the importer does not know the key.
        text: the setting, or the reason.
    """

    key: str
    status: Status
    text: str


@dataclass
class RecipeDraft:
    """The settings and findings of an unfinished recipe.

    Attributes:
        name: the name of the imported file.
        values: settings by section and name.
        comments: the source of each setting, by its key.
        origins: the file and line of the source, by the path of the setting.
        findings: the status of the keys that were read.
    """

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    origins: dict[Keys, str] = field(default_factory=dict)
    findings: list[ImportFinding] = field(default_factory=list)

    def set(self, key: str, value: Any, comment: str = "", where: str = "") -> str:
        """Set a setting; return ``key = value``."""
        *sections, name = key.split(".")
        target = self.values
        for section in sections:
            target = target.setdefault(section, {})
        target[name] = value
        if comment:
            self.comments[key] = comment
        if where:
            self.origins[tuple(key.split("."))] = where
        return f"{key} = {format_value(value)}"

    def map(self, entry: SourceSetting, key: str, value: Any, note: str = "", status: Status = "mapped") -> None:
        """Map a key to a setting."""
        text = self.set(key, value, entry.path, entry.where)
        self.report(entry.path, status, f"{text}: {note}" if note else text)

    def report(self, key: str, status: Status, text: str) -> None:
        """Record the status of a key."""
        self.findings.append(ImportFinding(key, status, text))

    def build(self, origin: str) -> ImportedRecipe:
        """Validate the settings and return the recipe; the caller sorts the findings.

        Raises:
            RecipeError: settings contradict each other, or a value is out of range.
        """
        recipe = build(Recipe, Tree(self.values, self.name, self.origins))
        return ImportedRecipe(self.name, origin, self.values, self.comments, recipe, tuple(self.findings))


@dataclass(frozen=True)
class ImportedRecipe:
    """A recipe converted from the configuration of another program.

    Attributes:
        source: the name of the file.
        origin: a description of its format.
        values: the settings that differ from bertwright's defaults, or that the file sets.
        comments: the source of each setting, by its key.
        recipe: the validated recipe.
        findings: the status of every key.
    """

    source: str
    origin: str
    values: Mapping[str, Any]
    comments: Mapping[str, str]
    recipe: Recipe
    findings: tuple[ImportFinding, ...]

    @property
    def unsupported(self) -> tuple[ImportFinding, ...]:
        """The keys without an equivalent in bertwright, and the unknown keys."""
        return tuple(finding for finding in self.findings if finding.status in WITHOUT_EQUIVALENT)

    def to_yaml(self) -> str:
        """Return the recipe as YAML with the origin of each setting as a comment.

        Keys to check are listed at the top.
        """
        name = Path(self.source).name
        lines = [f"# {name}, {self.origin}, as a recipe; comments name the source of each setting."]
        for finding in self.findings:
            if finding.status not in ("unusual", *WITHOUT_EQUIVALENT):
                continue
            text = f"{finding.key} – {finding.status}: {finding.text}"
            lines += textwrap.wrap(
                text, LINE_WIDTH, initial_indent="# * ", subsequent_indent="#   ", break_long_words=False
            )
        for section in Recipe.model_fields:
            if section not in self.values:
                continue
            value = self.values[section]
            if not isinstance(value, dict):
                lines += self._comment_lines(section, dump_yaml({section: value}).splitlines())
                continue
            lines.append(f"{section}:")
            for name, inner in value.items():
                block = [f"  {line}" for line in dump_yaml({name: inner}).splitlines()]
                lines += self._comment_lines(f"{section}.{name}", block)
        return "\n".join(lines) + "\n"

    def _comment_lines(self, key: str, block: list[str]) -> list[str]:
        comment = self.comments.get(key)
        return block if comment is None else [f"{block[0]}  # {comment}", *block[1:]]

    def table(self) -> Table:
        """Return a table of every key and its status, for a rich console."""
        from bertwright.output.terminal import make_table

        table = make_table("key", "status", "bertwright")
        table.columns[0].overflow = table.columns[2].overflow = "fold"
        table.columns[1].no_wrap = True
        styles = {"unusual": "yellow", "unsupported": "yellow", "unknown": "bold yellow", "not applicable": "dim"}
        for finding in self.findings:
            table.add_row(finding.key, finding.status, finding.text, style=styles.get(finding.status))
        return table


def format_value(value: Any) -> str:
    """Format a value on one line, shortened to 80 characters."""
    text = dump_scalar(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
