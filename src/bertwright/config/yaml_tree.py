"""Trees of values with their origins: YAML with the line of every key, and ``key=value`` overrides.

Scalars are parsed by the core schema of YAML 1.2, not by PyYAML's YAML 1.1, where ``2e-5`` is text, ``no`` is false,
``010`` is 8 and ``1:30`` is 90, which is not what authors of recipes intend.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bertwright.errors import RecipeError
from bertwright.files.atomic import expand_home

Keys = tuple[str | int, ...]
"""The path of a value in a tree: ``("train", "schedule", 0, "start")``."""

# The first pattern that matches a plain scalar determines its type; others are text. The number of digits is bounded
# because Python refuses to parse an int of more than 4,300 digits.
_SCALARS: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(r"~|null|Null|NULL|"), lambda text: None),
    (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text.lower() == "true"),
    (re.compile(r"[-+]?[0-9]{1,300}"), int),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
)

_LONE_MARKS = ("|", ">", "-", "?", ":", "#")

_MAX_NODES = 20_000
"""Maximum number of keys and values of a file with expanded aliases; the largest published files have a few hundred."""


@dataclass(frozen=True)
class Tree:
    """Nested mappings, lists and scalars, with the origin of each value.

    Attributes:
        values: the outermost mapping.
        name: the file, or another source of the values; messages start with it.
        origins: the place where a key was written: ``sst2.yaml:7`` or the pair ``seed=1`` as typed.
        typed: the right-hand side of each ``key=value`` as typed, for settings that turn out to be text.
    """

    values: dict[str, Any]
    name: str = "recipe"
    origins: Mapping[Keys, str] = field(default_factory=dict)
    typed: Mapping[Keys, str] = field(default_factory=dict)

    def where(self, *places: Keys) -> str:
        """The origin of the first of these places that was written; otherwise that of a value in or around the first
        place.
        """
        inside = (keys for keys in self.origins if keys[: len(places[0])] == places[0])
        around = (places[0][:n] for n in range(len(places[0]), 0, -1))
        written = (keys for keys in (*places, *inside, *around) if keys in self.origins)
        return self.origins.get(next(written, ()), self.name)


def load_yaml(path: str | os.PathLike[str], name: str | None = None, aliases: bool = False) -> Tree:
    """Read a YAML file; messages refer to it as ``name``, by default its path.

    Raises:
        RecipeError: the file is missing, unreadable, not UTF-8, empty, or not a YAML mapping.
    """
    try:
        text = Path(expand_home(path)).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file; check the path.") from None
    except IsADirectoryError:
        raise RecipeError(f"{path}: is a directory; expected a YAML file.") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions.") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8.") from None
    return parse_yaml(text, name or str(path), aliases)


def parse_yaml(text: str, name: str = "recipe", aliases: bool = False) -> Tree:
    """Parse YAML text whose outermost level is a mapping.

    Args:
        text: the YAML.
        name: the name of the text in messages.
        aliases: whether to allow anchors (``&name``) and aliases (``*name``), which files of other programs use.

    Raises:
        RecipeError: the YAML is invalid, a key is duplicated, or the text contains an alias, a tag, or no mapping.
    """
    origins: dict[Keys, str] = {}
    try:
        node = yaml.compose(text, Loader=_AliasLoader if aliases else _Loader)
        if node is None:
            raise RecipeError(f"{name}: is empty; write sections such as data and model, each with its settings.")
        if not isinstance(node, yaml.MappingNode):
            raise RecipeError(f'{name}: expected sections such as "data:" and "model:", found {_describe_node(node)}.')
        if aliases:
            _check_size(node, name)
        values = _read(node, (), name, origins)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise RecipeError(f"{where}: not valid YAML: {problem}; check colons, quotes and indentation.") from None
    except yaml.reader.ReaderError as error:
        where = f"{name}:{text.count(chr(10), 0, error.position) + 1}"
        raise RecipeError(f"{where}: not valid YAML: {error.reason} (U+{error.character:04X}); remove it.") from None
    except RecursionError:
        raise RecipeError(f"{name}: is nested too deeply for a recipe; check brackets.") from None
    return Tree(values, name, origins)


def parse_override(pair: str) -> tuple[Keys, Any]:
    """Parse one ``key=value``; the value is written as in YAML.

    >>> parse_override("train.learning_rate=5e-5")
    (('train', 'learning_rate'), 5e-05)

    A value that is not valid YAML (``data.path=[x``) is text. A single mark that would begin a block, a list, a mapping
    or a
    comment in YAML is also text (``data.label_separator=|``).

    Raises:
        RecipeError: there is no ``=``, or no valid key before it.
    """
    key, equals, text = pair.partition("=")
    if not equals:
        raise RecipeError(f"{pair}: is not a setting; write key=value, such as train.batch_size=16.")
    keys = tuple(part.strip() for part in key.split("."))
    if not all(keys):
        raise RecipeError(f'{pair}: "{key}" is not a key; write section.name=value, such as train.batch_size=16.')
    if text.strip() in _LONE_MARKS:
        return keys, text.strip()
    try:
        node = yaml.compose(text, Loader=_Loader)
        return keys, None if node is None else _read(node, keys, pair, {})
    except (yaml.YAMLError, RecursionError):
        return keys, text


def apply_overrides(tree: Tree, overrides: Iterable[str]) -> Tree:
    """Apply ``key=value`` overrides to a tree; of two for one key, the later one applies.

    A different ``kind`` resets its section, because the settings of one kind have no meaning for another:
    ``task.kind=regression`` removes the labels of a classification task.

    Raises:
        RecipeError: :func:`parse_override` refuses a pair, or a key is inside a value that is not a section.
    """
    values = copy.deepcopy(tree.values)
    origins, typed = dict(tree.origins), dict(tree.typed)

    def forget(keys: Keys) -> None:
        for mapping in (origins, typed):
            for stale in [other for other in mapping if other[: len(keys)] == keys]:
                del mapping[stale]

    # Apply kinds first, so that the order of `task.threshold=0.3 task.kind=multilabel` does not matter.
    pairs = [(*parse_override(pair), pair) for pair in overrides]
    for keys, value, pair in sorted(pairs, key=lambda item: item[0][-1] != "kind"):
        section = values
        for depth, key in enumerate(keys[:-1], start=1):
            if section.get(str(key)) is None:
                section[str(key)] = {}
            section = section[str(key)]
            if not isinstance(section, dict):
                outer = ".".join(map(str, keys[:depth]))
                raise RecipeError(f"{pair}: {outer} is not a section; set the value of {outer} itself.")
        if keys[-1] == "kind" and section.get("kind", value) != value:
            section.clear()
            forget(keys[:-1])
        forget(keys)
        section[str(keys[-1])] = value
        origins[keys] = pair
        typed[keys] = pair.partition("=")[2]
    return Tree(values, tree.name, origins, typed)


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Write nested mappings, lists and scalars as YAML that :func:`parse_yaml` reads back unchanged.

    Keys keep their order; a list of scalars takes one line.
    """
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def dump_scalar(value: Any) -> str:
    """Write one value on one line, as in a YAML file or a ``key=value``."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


class _AliasLoader(yaml.BaseLoader):
    """Composes nodes only."""


class _Loader(_AliasLoader):
    """Composes nodes only; refuses aliases, which make the size and depth of a file unbounded."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not supported; write the value again", mark
            )
        return super().compose_node(parent, index)


def _check_size(node: yaml.Node, name: str) -> None:
    """Refuse a file that its aliases make too large; aliases may be nested and recursive."""
    waiting, n = [node], 0
    while waiting:
        node, n = waiting.pop(), n + 1
        if n > _MAX_NODES:
            raise RecipeError(f"{name}: aliases (*name) expand to more than {_MAX_NODES:,} values; write values out.")
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _read(node: yaml.Node, keys: Keys, name: str, origins: dict[Keys, str]) -> Any:
    """Convert a node to plain values; record the line of every key and list item."""
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rpartition(":")[2] not in ("map", "seq", "str"):
        raise yaml.MarkedYAMLError(problem=f"tags are not supported, found {node.tag}", problem_mark=node.start_mark)
    if isinstance(node, yaml.ScalarNode):
        if node.style is not None:  # quoted scalars and blocks are always text
            return node.value
        return next((read(node.value) for pattern, read in _SCALARS if pattern.fullmatch(node.value)), node.value)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            origins[(*keys, index)] = f"{name}:{item.start_mark.line + 1}"
        return [_read(item, (*keys, index), name, origins) for index, item in enumerate(node.value)]
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be a scalar", problem_mark=key_node.start_mark)
        path = (*keys, key_node.value)  # a key is always text: labels may be called 0, yes or null
        if key_node.value in values:
            first = origins[path].rpartition(":")[2]
            dotted = ".".join(map(str, path))
            raise RecipeError(f"{name}:{line}: duplicate key {dotted}, first in line {first}; keep one of them.")
        origins[path] = f"{name}:{line}"
        values[key_node.value] = _read(value_node, path, name, origins)
    return values


def _describe_node(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else f'the text "{node.value[:60]}"'


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would parse as another type; writes 2e-5 in the usual form."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_float(dumper: _Dumper, value: float) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", format_number(value))


def _represent_str(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # PyYAML would write these rare line breaks unescaped between single quotes, and read them back as spaces.
    style = '"' if re.search("[\x85\u2028\u2029]", value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


def _represent_list(dumper: _Dumper, value: list[Any]) -> yaml.SequenceNode:
    flow = all(not isinstance(item, dict | list) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flow)


def format_number(value: float) -> str:
    """Write a finite number exactly, in its usual form: ``2e-5``, ``0.1``, ``3.0``."""
    return re.sub(r"e([-+])0*", lambda match: "e" + match[1].strip("+"), repr(value))


_Dumper.add_representer(str, _represent_str)
_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(rf"(?:{_SCALARS[-1][0].pattern})\Z"), list("-+.0123456789")
)
