"""The status of every key of another program's configuration, and the recipe made from them."""

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

Status = Literal["mapped", "irrelevant here", "odd", "not here", "unknown"]

RESULT_CHANGING: tuple[Status, ...] = ("not here", "unknown")
"""The statuses of keys without an equivalent: results may differ."""

LINE_WIDTH = 116
"""Columns of a comment in a recipe."""


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

    def whole(self) -> int:
        """The value as a whole number.

        Raises:
            RecipeError: it is none.
        """
        if type(self.value) is float and self.value.is_integer():
            return int(self.value)
        if type(self.value) is not int:
            raise self.wrong("a whole number")
        return self.value

    def number(self) -> float:
        """The value as a number.

        Raises:
            RecipeError: it is none.
        """
        if type(self.value) not in (int, float):
            raise self.wrong("a number")
        return float(self.value)

    def text(self) -> str:
        """The value as text.

        Raises:
            RecipeError: it is none.
        """
        if not isinstance(self.value, str):
            raise self.wrong("text")
        return self.value

    def flag(self) -> bool:
        """The value as true or false, also in the words of YAML 1.1.

        Raises:
            RecipeError: it is neither.
        """
        words = {"yes": True, "on": True, "no": False, "off": False}
        value = words.get(self.value.lower()) if isinstance(self.value, str) else self.value
        if not isinstance(value, bool):
            raise self.wrong("true or false")
        return value

    def wrong(self, expected: str) -> RecipeError:
        """The error that the value is something else."""
        return RecipeError(f"{self.where}: {self.path} must be {expected}; found {format_value(self.value)}.")


@dataclass(frozen=True)
class ImportFinding:
    """The status of a key.

    Attributes:
        key: its path in the file; ``name.*`` for all keys of a section, in brackets if the file does not contain it.
        status: mapped to settings; irrelevant here; odd: mapped, or changed on purpose, so check it; not here: known,
            but without an equivalent; unknown.
        text: the setting, or the reason.
    """

    key: str
    status: Status
    text: str


@dataclass
class RecipeDraft:
    """A recipe in the making.

    Attributes:
        name: of the file that is read.
        values: settings by section and name.
        comments: where a setting comes from, by its key.
        origins: file and line of what a setting comes from.
        findings: so far.
    """

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    origins: dict[Keys, str] = field(default_factory=dict)
    findings: list[ImportFinding] = field(default_factory=list)

    def set(self, key: str, value: Any, comment: str = "", where: str = "") -> str:
        """Set a setting; return ``key = value``."""
        *sections, name = key.split(".")
        place = self.values
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
        if comment:
            self.comments[key] = comment
        if where:
            self.origins[tuple(key.split("."))] = where
        return f"{key} = {format_value(value)}"

    def map(self, entry: SourceSetting, key: str, value: Any, note: str = "", status: Status = "mapped") -> None:
        """Map a key to a setting."""
        text = self.set(key, value, entry.path, entry.where)
        self.say(entry.path, status, f"{text}: {note}" if note else text)

    def say(self, key: str, status: Status, text: str) -> None:
        """Record the status of a key."""
        self.findings.append(ImportFinding(key, status, text))

    def finished(self, origin: str) -> ImportedRecipe:
        """The recipe with everything found; findings in the order of the file are the caller's to give.

        Raises:
            RecipeError: the settings do not fit each other, or a value is out of bounds.
        """
        recipe = build(Recipe, Tree(self.values, self.name, self.origins))
        return ImportedRecipe(self.name, origin, self.values, self.comments, recipe, tuple(self.findings))


@dataclass(frozen=True)
class ImportedRecipe:
    """A recipe made of another program's configuration.

    Attributes:
        source: the file.
        origin: what kind of file it is, in words.
        values: the settings that were given a value; all others are as by default.
        comments: where each comes from, by its key.
        recipe: the same, validated.
        findings: what became of every key.
    """

    source: str
    origin: str
    values: Mapping[str, Any]
    comments: Mapping[str, str]
    recipe: Recipe
    findings: tuple[ImportFinding, ...]

    @property
    def changing(self) -> tuple[ImportFinding, ...]:
        """The keys without an equivalent here, and unknown ones."""
        return tuple(finding for finding in self.findings if finding.status in RESULT_CHANGING)

    def to_yaml(self) -> str:
        """Return the recipe as YAML with the origin of each setting as a comment.

        Keys to check are listed at the top.
        """
        name = Path(self.source).name
        lines = [f"# {name}, {self.origin}, as a recipe; comments name the source of each setting."]
        told = [finding for finding in self.findings if finding.status in ("odd", *RESULT_CHANGING)]
        for finding in told:
            text = f"{finding.key} – {finding.status}: {finding.text}"
            lines += textwrap.wrap(
                text, LINE_WIDTH, initial_indent="# * ", subsequent_indent="#   ", break_long_words=False
            )
        for section in Recipe.model_fields:
            if section not in self.values:
                continue
            value = self.values[section]
            if not isinstance(value, dict):
                lines += self._commented(section, dump_yaml({section: value}).splitlines())
                continue
            lines.append(f"{section}:")
            for name, inner in value.items():
                block = [f"  {line}" for line in dump_yaml({name: inner}).splitlines()]
                lines += self._commented(f"{section}.{name}", block)
        return "\n".join(lines) + "\n"

    def _commented(self, key: str, block: list[str]) -> list[str]:
        comment = self.comments.get(key)
        return block if comment is None else [f"{block[0]}  # {comment}", *block[1:]]

    def table(self) -> Table:
        """Every key and what became of it, for a rich console."""
        from bertwright.output.terminal import make_table

        table = make_table("key", "", "here")
        table.columns[0].overflow = table.columns[2].overflow = "fold"
        table.columns[1].no_wrap = True
        styles = {"odd": "yellow", "not here": "yellow", "unknown": "bold yellow", "irrelevant here": "dim"}
        for finding in self.findings:
            table.add_row(finding.key, finding.status, finding.text, style=styles.get(finding.status))
        return table


def format_value(value: Any) -> str:
    """Format a value on one line, shortened to 80 characters."""
    text = dump_scalar(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
