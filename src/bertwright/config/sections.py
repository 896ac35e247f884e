"""Typed sections: settings that are validated, written as YAML and documented from one definition.

A :class:`Section` defines the defaults, bounds and descriptions of its settings. :func:`build` makes a section from
YAML
and ``key=value`` pairs, :func:`dump` writes it as YAML, :func:`make_schema` and :func:`list_settings` describe it for
editors and users.
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

from bertwright.config.type_descriptions import (
    Member,
    describe_types,
    field_members,
    join_alternatives,
    members_of,
    section_types,
)
from bertwright.config.yaml_tree import Keys, Tree, dump_scalar, dump_yaml
from bertwright.errors import RecipeError, did_you_mean
from bertwright.files.atomic import expand_home

logger = logging.getLogger(__name__)

Location = Annotated[str, Field(min_length=1), AfterValidator(expand_home)]
"""A setting that names a file, a directory, or a Hub repository; ``~`` is the home directory."""

S = TypeVar("S", bound="Section")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MAX_PROBLEMS = 20  # a list of a thousand labels without quotes has a thousand problems


class InvalidSettingError(ValueError):
    """Raised by a validator of a section for a setting that is invalid alone or together with others.

    Args:
        key: the setting that the message is about, such as ``train.warmup``.
        text: the problem, continuing the sentence that starts with the key.
        related: a setting that conflicts with it; the message gives its position if ``key`` has its default.
    """

    def __init__(self, key: str, text: str, related: str | None = None) -> None:
        super().__init__(text)
        self.keys: Keys = tuple(key.split("."))
        self.related: Keys = tuple((related or key).split("."))


class Section(BaseModel):
    """A frozen group of settings. Unknown settings and values of another type are errors; lists become tuples.

    Raises:
        RecipeError: from the constructor, instead of pydantic's ``ValidationError``.
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

    # Informs pydantic that this constructor adds no validation (as in its own RootModel). Nested sections are then not
    # built through it, and errors keep their full path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, values: Any) -> Any:
        """Convert lists to tuples, paths to text, and an empty section to its defaults; add a missing kind."""
        if not isinstance(values, Mapping):
            return values
        prepared = {cls._current_name(key, values): _freeze(value) for key, value in values.items()}
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
        """Return the section with these settings changed, validated again.

        Raises:
            RecipeError: a change is invalid.
        """
        changes = {self._current_name(name, changes): value for name, value in changes.items()}
        return type(self)(**{**dict(self), **changes})


def build(section: type[S], values: Tree | Mapping[str, Any], name: str = "recipe") -> S:
    """Build a section from a tree of values.

    Args:
        section: the type of the section.
        values: a :class:`~bertwright.config.yaml_tree.Tree`, or plain nested values.
        name: the start of messages about plain values.

    Raises:
        RecipeError: one sentence for each problem, starting with its file and line or its ``key=value``.
    """
    tree = values if isinstance(values, Tree) else Tree(dict(values), name)
    _check_characters(tree)
    try:
        return section.model_validate(tree.values)
    except ValidationError as error:
        as_text = {
            keys: tree.typed[keys]
            for detail in error.errors(include_url=False)
            if detail["type"] == "string_type"
            and (keys := _keys(detail, tree.values)) in tree.typed
            and not isinstance(detail["input"], list | tuple)
            and not tree.typed[keys].lstrip().startswith("{")  # "a: b" may be text, {a: b} is a mapping
        }
        if not as_text:
            raise RecipeError(*_explain(section, error, tree)) from None
    # A revision 1234567 or a folder 2024 is text, although the shell removes quotes around it.
    changed = tree.values
    for keys, text in as_text.items():
        changed = _with(changed, keys, text)
    return build(section, Tree(changed, tree.name, tree.origins, {}))


def dump(section: Section, only_differences: bool = False) -> str:
    """Write a section as YAML, settings in the order of their definition.

    Args:
        section: the section.
        only_differences: omit settings with default values (the kind of a section is always written).
    """
    return dump_yaml(_to_plain(section, only_differences))


def make_schema(section: type[Section]) -> dict[str, Any]:
    """Make the JSON schema (draft 2020-12) of a section, with defaults and descriptions, for editors."""
    complete = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **section.model_json_schema(schema_generator=_Schema),
    }
    for part in (complete, *complete.get("$defs", {}).values()):
        part["description"] = part["description"].partition("\n")[0]
    return complete


class _Schema(GenerateJsonSchema):
    """Writes defaults in their YAML form, where pydantic would expand dataclasses such as durations."""

    def encode_default(self, dft: Any) -> Any:
        return str(dft) if is_dataclass(dft) else super().encode_default(dft)


class Setting(NamedTuple):
    """One row of the table of settings."""

    key: str
    type: str
    default: str
    description: str


def list_settings(section: type[Section]) -> list[Setting]:
    """List every setting of a section and its subsections: key, accepted values, default, description.

    The description of a setting that only some kinds of a section have names these kinds.
    """
    return [
        setting._replace(description=f"{setting.description} (Kind: {', '.join(only)}.)") if only else setting
        for setting, only in _settings(section)
    ]


def _check_characters(tree: Tree) -> None:
    """Refuse lone surrogates, as in file names that are not UTF-8; neither pydantic nor files accept them.

    Raises:
        RecipeError: a key or a text contains one.
    """
    waiting: list[tuple[Keys, Any]] = [((), tree.values)]
    while waiting:
        keys, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [((*keys, key), part) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [((*keys, i), part) for i, part in enumerate(value)]
        texts = (value if isinstance(value, str) else "", str(keys[-1]) if keys else "")
        for match in filter(None, map(_SURROGATE.search, texts)):
            code = f"U+{ord(match[0]):04X}"
            path = ".".join(map(str, keys))
            raise RecipeError(
                f"{tree.where(keys)}: {path} is not valid UTF-8 (it contains {code}); use other characters."
            )


def _freeze(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    if isinstance(value, dict):
        return {key: _freeze(item) for key, item in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _with(values: Mapping[str, Any], keys: Keys, value: Any) -> dict[str, Any]:
    first, *rest = keys
    return {**values, str(first): _with(values[str(first)], tuple(rest), value) if rest else value}


def _to_plain(section: Section, only_differences: bool) -> dict[str, Any]:
    """Convert a section to nested mappings, lists and scalars."""
    values: dict[str, Any] = {}
    serialized = section.model_dump(mode="json")
    fields = type(section).model_fields
    for name, info in sorted(fields.items(), key=lambda item: item[0] != "kind"):
        value = getattr(section, name)
        if only_differences and name != "kind" and value == info.get_default():
            continue
        if isinstance(value, Section):
            values[name] = _to_plain(value, only_differences)
        elif isinstance(value, tuple) and any(isinstance(item, Section) for item in value):
            values[name] = [_to_plain(item, only_differences) for item in value]
        else:
            values[name] = serialized[name]
    return values


def _settings(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[Setting, list[str]]]:
    """Every setting, with the kinds of the surrounding section that have it; no kinds if all have it."""
    for name, info in section.model_fields.items():
        key, members = prefix + name, field_members(info)
        kinds = section_types(members)
        if len(kinds) < len(members):  # a scalar value, or null, is allowed instead of the settings
            default = "" if info.is_required() else dump_scalar(_default(section, name))
            yield Setting(key, describe_types(members), default, info.description or ""), []
        if not kinds:
            continue
        if not info.discriminator:
            yield from _settings(kinds[0], f"{key}.")
        else:
            names = [str(_kind_of(kind)) for kind in kinds]
            yield (
                Setting(
                    f"{key}.kind", join_alternatives(names), str(_kind_of(type(info.default))), info.description or ""
                ),
                [],
            )
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
    """One sentence for each place with a problem."""
    problems: dict[Keys, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        problems.setdefault(_keys(detail, tree.values), []).append(detail)
    # Every member of a union reports errors; the deepest error belongs to the intended member.
    around = {keys[:depth] for keys in problems for depth in range(len(keys))}
    deepest = [keys for keys in problems if keys not in around]
    lines = [_sentence(section, keys, problems[keys], tree) for keys in deepest[:_MAX_PROBLEMS]]
    more = len(deepest) - len(lines)
    return [*lines, f"{tree.name}: {more} more problems like these."] if more else lines


def _keys(detail: ErrorDetails, values: Any) -> Keys:
    """The path of an error, without the union members that pydantic inserts."""
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
    return (*keys, *cause.keys) if isinstance(cause, InvalidSettingError) else tuple(keys)


def _holds(values: Any, key: str | int) -> bool:
    if isinstance(values, Mapping):
        return key in values
    return isinstance(values, list | tuple) and isinstance(key, int) and key < len(values)


def _sentence(section: type[Section], keys: Keys, details: list[ErrorDetails], tree: Tree) -> str:
    path, (first, *others) = ".".join(map(str, keys)), details
    members, siblings, kind, value = _resolve(section, keys, tree.values)
    where, subject = tree.where(keys), path or section.__name__
    if first["type"] == "extra_forbidden":
        return f"{where}: {path} is unknown{f' for the kind {kind}' if kind else ''}; {_hint(section, keys, siblings)}"
    if first["type"] == "missing":
        return f"{where}: {path} is missing; it must be {describe_types(members)}."
    if first["type"] == "value_error" and not others:
        cause = first["ctx"]["error"]
        if isinstance(cause, InvalidSettingError):
            where = tree.where(keys, (*keys[: len(keys) - len(cause.keys)], *cause.related))
        sentence = f"{where}: {subject} {cause}"
        return sentence if sentence.endswith("?") else f"{sentence}."
    if first["loc"][-1:] == ("[key]",):
        return f"{where}: the key {keys[-1]} of {'.'.join(map(str, keys[:-1]))} must be text."
    if first["type"] == "union_tag_invalid":
        expected = join_alternatives([f'"{tag}"' for tag in first["ctx"]["expected_tags"].replace("'", "").split(", ")])
    else:
        expected = describe_types(members)
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = text if len(text) <= 80 else f"{text[:79]}…"
    if isinstance(value, int | float) and any(kind is str for kind, _ in members):
        text += f'; write "{dump_scalar(value)}" for text'
    return f"{where}: {subject} must be {expected}; found {text}."


def _resolve(section: type[Section], keys: Keys, values: Any) -> tuple[list[Member], list[str], str | None, Any]:
    """The types allowed at ``keys``, the sibling settings, the kind of the surrounding section, and the value."""
    members: list[Member] = [(section, ())]
    siblings: list[str] = []
    tag: str | None = None
    for key in keys:
        tag = values.get("kind") if isinstance(values, Mapping) else None
        fitting = [type_ for type_ in section_types(members) if tag is None or _kind_of(type_) in (None, tag)]
        fitting = fitting or section_types(members)  # the kind itself may be wrong
        siblings = [name for type_ in fitting for name in type_.model_fields]
        infos = [type_.model_fields[str(key)] for type_ in fitting if key in type_.model_fields]
        inside = [member for info in infos for member in field_members(info)]
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
    """Suggest a setting for an unknown one: of another kind, a sibling, or elsewhere; otherwise list the siblings."""
    path, word = ".".join(map(str, keys)), str(keys[-1])
    having = [kind for setting, kinds in _settings(section) if setting.key == path for kind in kinds]
    if having:
        return f"it is available only for the kind {join_alternatives(having)}."
    hint = did_you_mean(word, siblings)
    if not hint.startswith("known"):
        return hint
    leaves = {setting.key.rpartition(".")[2]: setting.key for setting, _ in _settings(section)}
    elsewhere = did_you_mean(word, leaves)
    return next((f'did you mean "{key}"?' for leaf, key in leaves.items() if f'"{leaf}"' in elsewhere), f"{hint}.")
