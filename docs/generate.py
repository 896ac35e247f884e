"""Bring the generated parts of the documentation up to date: ``python docs/generate.py``.

A generated part is what a page has between ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``. It comes from
the definitions that the program itself uses, and tests/unit/test_docs.py fails where it is stale.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from bertwright.cli.app import app
from bertwright.config.sections import Setting, list_settings
from bertwright.recipe import Recipe, list_shipped_recipes, load_recipe

DOCS = Path(__file__).parent
PART = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end of \2 -->)", re.DOTALL)
SECTIONS = {
    "": "Top level",
    "task": "Task",
    "data": "Data",
    "data.augment": "Data augmentation",
    "model": "Model",
    "model.lora": "LoRA",
    "model.head": "Custom heads",
    "tokens": "Tokens",
    "train": "Training",
}
NAMES = r"(?<![\w./-])(?:--[a-z][a-z-]*|(?:task|data|model|tokens|train)\.[a-z_.]*[a-z_](?:=[\w.-]*\w)?)"
"""Settings and options as they occur in a text."""
NORMALIZE, CONTINUED = "Text normalization", "Continued pre-training"


def settings_reference() -> str:
    """Every setting, a table for each section."""
    settings = list_settings(Recipe)
    sections: dict[str, list[Setting]] = {}
    for setting in settings:
        sections.setdefault(_section_of(setting.key), []).append(setting)
    top = sections.pop("")
    parts = [_settings_table("Top level", "", top)]
    continued = next(name for name in sections if f"{name}.train" in sections)
    mirrored = {key: rows for key, rows in sections.items() if key.startswith(f"{continued}.")}
    for name, rows in sections.items():
        if name == continued:
            parts.append(_settings_table(CONTINUED, name, [*rows, *_differences(continued, mirrored, settings)]))
            parts.append(
                f"`{continued}.task`, `{continued}.tokens` and `{continued}.train` take the settings of `task`"
                " (pre-training), `tokens` and `train`, with the same defaults.\n"
            )
        elif name not in mirrored:
            parts.append(_settings_table(SECTIONS.get(name, NORMALIZE), name, rows))
    return "\n".join(parts)


def _section_of(key: str) -> str:
    """The section that a setting is listed in; a section that may be null is listed as a setting of its own."""
    names = {setting.key for setting in list_settings(Recipe)}
    return key if any(name.startswith(f"{key}.") for name in names) else key.rpartition(".")[0]


def _differences(continued: str, mirrored: dict[str, list[Setting]], settings: list[Setting]) -> Iterator[Setting]:
    """Settings of continued pre-training that differ from those they mirror."""
    ordinary = {setting.key: setting for setting in settings}
    for setting in (setting for rows in mirrored.values() for setting in rows):
        same = ordinary.get(setting.key.removeprefix(f"{continued}."))
        if not setting.key.endswith(".task.kind") and (
            same is None or (same.type, same.default) != (setting.type, setting.default)
        ):
            yield setting


def _settings_table(title: str, section: str, settings: list[Setting]) -> str:
    heading = f"## {title}\n\n" + (f"Section `{section}`.\n\n" if section else "")
    rows = []
    for setting in settings:
        default = f"`{setting.default}`" if setting.default not in ("", "''") else ""
        rows.append((f"`{setting.key}`", escape(setting.type), default, escape(setting.description)))
    return heading + table(("Setting", "Value", "Default", "Description"), rows)


def commands_reference() -> str:
    """Every command: what it does, its arguments, options and examples."""
    return "\n".join(_command(path, command) for path, command in commands())


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its name, such as ``recipe list``."""

    def walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for name, sub in command.commands.items():
                yield from walk(f"{path} {name}".strip(), sub)
        else:
            yield path, command

    return walk("", typer.main.get_command(app))


def _command(path: str, command: Any) -> str:
    context = command.make_context(f"bertwright {path}", [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## bertwright {path}\n", escape(paragraphs(command.help or "")) + "\n"]
    parts.append(f"```text\nbertwright {path} {usage}\n```\n")
    arguments, options = [], []
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is None or param.name == "help":
            continue
        name = re.sub(r" <[a-z\[\] ]+>$", "", record[0])
        row = (f"`{name}`".replace("|", r"\|"), escape(record[1]))
        (arguments if param.param_type_name == "argument" else options).append(row)
    if arguments:
        parts.append(table(("Argument", "Description"), arguments))
    if options:
        parts.append(table(("Option", "Description"), options))
    prose, examples = _epilog(command.epilog or "")
    if prose:
        parts.append(escape(prose) + "\n")
    if examples:
        parts.append(f"```bash\n{examples}```\n")
    return "\n".join(parts)


def _epilog(epilog: str) -> tuple[str, str]:
    """The prose of an epilog, without the list of settings, and its examples."""
    prose, _, examples = re.sub(r"^Examples?:$", "\0", epilog, flags=re.MULTILINE).partition("\0")
    kept = [part for part in prose.strip().split("\n\n") if "{keys}" not in part]
    if "{keys}" in epilog:
        kept.append("[All settings](settings.md).")
    code = "".join(f"{line.removeprefix('  ')}\n" for line in examples.strip("\n").splitlines())
    return paragraphs("\n\n".join(kept)), code


def recipes_table() -> str:
    """The shipped recipes, with what each trains."""
    rows = []
    for name in list_shipped_recipes():
        recipe = load_recipe(name)
        base = recipe.model.base or (f"none (preset `{recipe.model.preset}`)" if recipe.model.preset else "your choice")
        rows.append((f"`{name}`", escape(recipe.description), f"`{recipe.task.kind}`", base))
    return table(("Recipe", "Description", "Task", "Base model"), rows)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escape(text: str) -> str:
    """Text as Markdown, with settings and options as code; code in backticks and links are kept."""
    text = re.sub(r"`[^`]*`|" + NAMES, lambda name: name[0] if name[0][0] == "`" else f"`{name[0]}`", text)
    kept = re.split(r"(`[^`]+`|\[[^\]]+\]\([^)]+\))", text)
    return "".join(part if i % 2 else re.sub(r"([\\|\[\]<*])", r"\\\1", part) for i, part in enumerate(kept))


def paragraphs(text: str) -> str:
    """Text with each paragraph on one line."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings_reference,
    "commands": commands_reference,
    "recipes": recipes_table,
}


def refreshed(text: str) -> str:
    """A page with its generated parts as they must be."""
    return PART.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}{part[4]}", text)


if __name__ == "__main__":
    for page in sorted(DOCS.rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = refreshed(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{page.relative_to(DOCS.parent)}: refreshed\n")
