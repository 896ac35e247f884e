"""Typed sections: settings that are validated, written as YAML and described from one definition.

A :class:`Section` holds defaults, bounds and descriptions of its settings, each written once. :func:`build` makes one
from YAML and ``key=value`` pairs, :func:`dump` writes it back, :func:`schema` and :func:`describe` tell editors and
people what there is to set.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from bertwright.config.type_descriptions import Member, either, field_members, members_of, sections, words
from bertwright.config.yaml_tree import Keys, Tree, dump_scalar, dump_yaml
from bertwright.errors import RecipeError, did_you_mean
from bertwright.files.atomic import expand_home

logger = logging.getLogger(__name__)

Location = Annotated[str, Field(min_length=1), AfterValidator(expand_home)]
"""A setting that names a file, a directory, or something on the Hub; ``~`` is the home directory."""

S = TypeVar("S", bound="Section")
_HALF_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MOST_PROBLEMS = 20  # on a screen; a list of a thousand labels without quotes has as many


class MisfitError(ValueError):
    """Raised by a validator of a section whose settings do not fit each other.

    Args:
        key: the setting that the sentence is about, such as ``train.warmup``.
        text: what is wrong with it, continuing the sentence that starts with the key.
        beside: the setting it does not fit; the message points to where that was written if ``key`` is a default.
    """

    def __init__(self, key: str, text: str, beside: str | None = None) -> None:
        super().__init__(text)
        self.keys: Keys = tuple(key.split("."))
        self.beside: Keys = tuple((beside or key).split("."))


class Section(BaseModel):
    """A frozen group of settings. Unknown settings and values of another type are errors; lists become tuples.

    Raises:
        RecipeError: from the constructor, where pydantic alone would raise its ``ValidationError``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)

    former_names: ClassVar[Mapping[str, str]] = {}
    """Former names of settings → current ones; values under a former name are accepted with a warning."""

    def __init__(self, **values: Any) -> None:
        _check_characters(Tree(values, type(self).__name__))
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise RecipeError(*_explain(type(self), error, Tree(values, type(self).__name__))) from None

    # Tells pydantic that this constructor adds nothing to validation (as its own RootModel does), so that a section
    # inside another is not built through it and errors keep the path to where they are.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, values: Any) -> Any:
        """Take lists for tuples, paths for text, an empty section for its defaults, and a kind left out likewise."""
        if not isinstance(values, Mapping):
            return values
        prepared = {cls._current_name(key, values): _frozen(value) for key, value in values.items()}
        for name, info in cls.model_fields.items():
            value = prepared.get(name)
            if value is None and name in prepared and isinstance(info.default, Section):
                del prepared[name]
            if info.discriminator and isinstance(value, Mapping) and "kind" not in value:
                prepared[name] = {"kind": info.default.kind, **value}
        return prepared

    @classmethod
    def _current_name(cls, key: str, values: Mapping[str, Any]) -> str:
        """The current name of a setting that was written under a former one; both at once stay as written."""
        current = cls.former_names.get(key, key)
        if current == key or current in values:
            return key
        logger.warning("%s: %s is now called %s.", cls.__name__, key, current)
        return current

    def replace(self, **changes: Any) -> Self:
        """The same section with these settings changed, validated again.

        Raises:
            RecipeError: a change that is not valid.
        """
        changes = {self._current_name(name, changes): value for name, value in changes.items()}
        return type(self)(**{**dict(self), **changes})


def build(section: type[S], values: Tree | Mapping[str, Any], name: str = "recipe") -> S:
    """Make a section from a tree of values.

    Args:
        section: which section.
        values: a :class:`~bertwright.config.yaml_tree.Tree`, or plain nested values.
        name: what messages start with where plain values are given.

    Raises:
        RecipeError: one sentence for each thing that is wrong, a line each, starting with its file and line or the
            ``key=value`` it comes from.
    """
    tree = values if isinstance(values, Tree) else Tree(dict(values), name)
    _check_characters(tree)
    try:
        return section.model_validate(tree.values)
    except ValidationError as error:
        meant = {
            keys: tree.typed[keys]
            for detail in error.errors(include_url=False)
            if detail["type"] == "string_type"
            and (keys := _keys(detail, tree.values)) in tree.typed
            and not isinstance(detail["input"], list | tuple)
            and not tree.typed[keys].lstrip().startswith("{")  # "a: b" may be text, {a: b} is a mapping
        }
        if not meant:
            raise RecipeError(*_explain(section, error, tree)) from None
    # A revision 1234567 or a folder 2024, typed where no quotes survive the shell, is text after all.
    changed = tree.values
    for keys, text in meant.items():
        changed = _with(changed, keys, text)
    return build(section, Tree(changed, tree.name, tree.origins, {}))


def dump(section: Section, only_differences: bool = False) -> str:
    """A section as YAML, settings in the order of their definition.

    Args:
        section: what to write.
        only_differences: leave out what is as by default (a section's kind is always written).
    """
    return dump_yaml(_plain(section, only_differences))


def schema(section: type[Section]) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a section, with defaults and descriptions, for editors."""
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **section.model_json_schema(schema_generator=_Schema),
    }
    for part in (whole, *whole.get("$defs", {}).values()):
        part["description"] = part["description"].partition("\n")[0]
    return whole


class _Schema(GenerateJsonSchema):
    """Shows a default as it is written, where pydantic would take a dataclass such as a duration apart."""

    def encode_default(self, dft: Any) -> Any:
        return str(dft) if is_dataclass(dft) else super().encode_default(dft)


class Setting(NamedTuple):
    """One line of what there is to set."""

    key: str
    type: str
    default: str
    description: str


def describe(section: type[Section]) -> list[Setting]:
    """Every setting of a section and the sections in it: its key, what it takes, its default, what it does.

    Settings that only some kinds of a section have say which.
    """
    return [
        setting._replace(description=f"{setting.description} (Kind: {', '.join(only)}.)") if only else setting
        for setting, only in _settings(section)
    ]


def _check_characters(tree: Tree) -> None:
    """Refuse half surrogates, as file names that are not UTF-8 hold them: neither pydantic nor a file can take them.

    Raises:
        RecipeError: a key or a text holds one.
    """
    waiting: list[tuple[Keys, Any]] = [((), tree.values)]
    while waiting:
        keys, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [((*keys, key), part) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [((*keys, i), part) for i, part in enumerate(value)]
        texts = (value if isinstance(value, str) else "", str(keys[-1]) if keys else "")
        for match in filter(None, map(_HALF_SURROGATE.search, texts)):
            code = f"U+{ord(match[0]):04X}"
            path = ".".join(map(str, keys))
            raise RecipeError(
                f"{tree.where(keys)}: {path} is not valid UTF-8 (it holds {code}); write other characters."
            )


def _frozen(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _with(values: Mapping[str, Any], keys: Keys, value: Any) -> dict[str, Any]:
    first, *rest = keys
    return {**values, str(first): _with(values[str(first)], tuple(rest), value) if rest else value}


def _plain(section: Section, only_differences: bool) -> dict[str, Any]:
    """Nested mappings, lists and scalars."""
    values: dict[str, Any] = {}
    written = section.model_dump(mode="json")
    fields = type(section).model_fields
    for name, info in sorted(fields.items(), key=lambda item: item[0] != "kind"):
        value = getattr(section, name)
        if only_differences and name != "kind" and value == info.get_default():
            continue
        if isinstance(value, Section):
            values[name] = _plain(value, only_differences)
        elif isinstance(value, tuple) and any(isinstance(item, Section) for item in value):
            values[name] = [_plain(item, only_differences) for item in value]
        else:
            values[name] = written[name]
    return values


def _settings(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[Setting, list[str]]]:
    """Every setting, and which kinds of the section around it have it; no kinds where it is there in any case."""
    for name, info in section.model_fields.items():
        key, members = prefix + name, field_members(info)
        kinds = sections(members)
        if len(kinds) < len(members):  # a value of its own, or null in place of the settings
            default = "" if info.is_required() else dump_scalar(_default(section, name))
            yield Setting(key, words(members), default, info.description or ""), []
        if not kinds:
            continue
        if not info.discriminator:
            yield from _settings(kinds[0], f"{key}.")
        else:
            names = [str(_kind_of(kind)) for kind in kinds]
            yield Setting(f"{key}.kind", either(names), str(_kind_of(type(info.default))), info.description or ""), []
            having: dict[Setting, list[str]] = {}
            for kind, kind_name in zip(kinds, names, strict=True):
                for setting, _ in _settings(kind, f"{key}."):
                    having.setdefault(setting, []).append(kind_name)
            for setting, only in having.items():
                if setting.key != f"{key}.kind":
                    yield setting, [] if only == names else only


def _default(section: type[BaseModel], name: str) -> Any:
    return section.model_construct().model_dump(mode="json", include={name})[name]


def _explain(section: type[Section], error: ValidationError, tree: Tree) -> list[str]:
    """One sentence for each place where something is wrong."""
    problems: dict[Keys, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        problems.setdefault(_keys(detail, tree.values), []).append(detail)
    # Of a union, each member complains; the one that got deepest is the one that was meant.
    around = {keys[:depth] for keys in problems for depth in range(len(keys))}
    deepest = [keys for keys in problems if keys not in around]
    lines = [_sentence(section, keys, problems[keys], tree) for keys in deepest[:_MOST_PROBLEMS]]
    more = len(deepest) - len(lines)
    return [*lines, f"{tree.name}: {more} more problems like these."] if more else lines


def _keys(detail: ErrorDetails, values: Any) -> Keys:
    """Where an error is, without the union members that pydantic names on the way."""
    keys: list[str | int] = []
    for number, part in enumerate(detail["loc"], start=1):
        if _holds(values, part):
            values = values[part]
        elif detail["type"] != "missing" or number < len(detail["loc"]):
            continue
        keys.append(part)
    if detail["type"] == "union_tag_invalid":
        keys.append("kind")
    cause = detail.get("ctx", {}).get("error")
    return (*keys, *cause.keys) if isinstance(cause, MisfitError) else tuple(keys)


def _holds(values: Any, key: str | int) -> bool:
    if isinstance(values, Mapping):
        return key in values
    return isinstance(values, list | tuple) and isinstance(key, int) and key < len(values)


def _sentence(section: type[Section], keys: Keys, details: list[ErrorDetails], tree: Tree) -> str:
    path, (first, *others) = ".".join(map(str, keys)), details
    members, siblings, kind, found = _resolve(section, keys, tree.values)
    where, subject = tree.where(keys), path or section.__name__
    if first["type"] == "extra_forbidden":
        return f"{where}: {path} is unknown{f' for the kind {kind}' if kind else ''}; {_hint(section, keys, siblings)}"
    if first["type"] == "missing":
        return f"{where}: {path} is missing; it must be {words(members)}."
    if first["type"] == "value_error" and not others:
        cause = first["ctx"]["error"]
        if isinstance(cause, MisfitError):
            where = tree.where(keys, (*keys[: len(keys) - len(cause.keys)], *cause.beside))
        sentence = f"{where}: {subject} {cause}"
        return sentence if sentence.endswith("?") else f"{sentence}."
    if first["loc"][-1:] == ("[key]",):
        return f"{where}: the key {keys[-1]} of {'.'.join(map(str, keys[:-1]))} must be text."
    if first["type"] == "union_tag_invalid":
        expected = either([f'"{tag}"' for tag in first["ctx"]["expected_tags"].replace("'", "").split(", ")])
    else:
        expected = words(members)
    shown = json.dumps(found, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= 80 else f"{shown[:79]}…"
    if isinstance(found, int | float) and any(kind is str for kind, _ in members):
        shown += f'; in quotes, "{dump_scalar(found)}", it is text'
    return f"{where}: {subject} must be {expected}; found {shown}."


def _resolve(section: type[Section], keys: Keys, values: Any) -> tuple[list[Member], list[str], str | None, Any]:
    """What may stand at ``keys``, the settings beside it, the kind of the section around it, and what stands there."""
    members: list[Member] = [(section, ())]
    siblings: list[str] = []
    tag: str | None = None
    for key in keys:
        tag = values.get("kind") if isinstance(values, Mapping) else None
        fitting = [one for one in sections(members) if tag is None or _kind_of(one) in (None, tag)]
        fitting = fitting or sections(members)  # the kind itself may be what is wrong
        siblings = [name for one in fitting for name in one.model_fields]
        inside = [m for one in fitting if key in one.model_fields for m in field_members(one.model_fields[str(key)])]
        for outer, _ in members:
            origin: Any = get_origin(outer)
            if origin in (tuple, dict):
                inside += members_of(get_args(outer)[-1 if origin is dict else 0])
        members = inside
        try:
            values = values[key]
        except (LookupError, TypeError):
            values = None
    return members, siblings, tag, values


def _kind_of(section: type[BaseModel]) -> Any:
    info = section.model_fields.get("kind")
    return info.default if info and not info.is_required() else None


def _hint(section: type[Section], keys: Keys, siblings: Sequence[str]) -> str:
    """What was meant by an unknown setting: one of another kind, one beside it, one elsewhere; else what there is."""
    path, word = ".".join(map(str, keys)), str(keys[-1])
    having = [kind for setting, kinds in _settings(section) if setting.key == path for kind in kinds]
    if having:
        return f"the kind {either(having)} has it."
    hint = did_you_mean(word, siblings)
    if not hint.startswith("known"):
        return hint
    leaves = {setting.key.rpartition(".")[2]: setting.key for setting, _ in _settings(section)}
    elsewhere = did_you_mean(word, leaves)
    return next((f'did you mean "{key}"?' for leaf, key in leaves.items() if f'"{leaf}"' in elsewhere), f"{hint}.")
