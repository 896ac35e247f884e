"""Descriptions of setting types for users: "a whole number of at least 1", '"linear" or "cosine"'."""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo

from bertwright.config.yaml_tree import dump_scalar

Member = tuple[Any, tuple[Any, ...]]
"""A type that is not a union, with the bounds and notes of its annotation."""

_WORDS = {
    str: ("text", "texts"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false each"),
    NoneType: ("null", "nulls"),
}
_BOUNDS = {Ge: "of at least", Gt: "above", Le: "of at most", Lt: "below"}


def members_of(annotation: Any, notes: Sequence[Any] = ()) -> list[Member]:
    """The types that an annotation allows; unions are expanded."""
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        notes = [*notes, *(note for item in more for note in getattr(item, "metadata", [item]))]
        return members_of(annotation, notes)
    has_description = any(isinstance(note, WithJsonSchema) for note in notes)
    if get_origin(annotation) in (Union, UnionType) and not has_description:
        return [member for part in get_args(annotation) for member in members_of(part, notes)]
    return [(annotation, tuple(notes))]


def field_members(info: FieldInfo) -> list[Member]:
    """The types that a setting allows."""
    return members_of(info.annotation, info.metadata)


def section_types(members: Sequence[Member]) -> list[type[BaseModel]]:
    """The types that are sections of settings."""
    return [kind for kind, _ in members if _is_section(kind)]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def describe_types(members: Sequence[Member], plural: bool = False) -> str:
    """Describe the values that a setting of these types accepts, to be read after "must be".

    A type annotated with a JSON schema is described by the description in that schema.
    """
    alternatives: list[str] = []
    for kind, notes in members:
        origin: Any = get_origin(kind)
        parts = get_args(kind)
        schemas = [note.json_schema or {} for note in notes if isinstance(note, WithJsonSchema)]
        if schemas:
            alternatives.append(schemas[0]["description"])
        elif origin is Literal:
            alternatives += [f'"{part}"' for part in parts]
        elif origin is tuple:
            count = "" if parts[-1] is ... else f"{len(parts)} "
            alternatives.append(f"a list of {count}{describe_types(members_of(parts[0]), plural=True)}")
        elif origin is dict:
            alternatives.append(
                f"a mapping of {describe_types(members_of(parts[0]))} to {describe_types(members_of(parts[1]))}"
            )
        elif _is_section(kind):
            alternatives.append("{" + ", ".join(kind.model_fields) + "}" if plural else "a section of settings")
        else:
            bounds = [
                f"{_BOUNDS[type(n)]} {dump_scalar(getattr(n, type(n).__name__.lower()))}"
                for n in notes
                if type(n) in _BOUNDS and kind in (int, float)
            ]
            full = kind is str and not plural and any(isinstance(note, MinLen) for note in notes)
            alternatives.append("non-empty " * full + " ".join([_WORDS[kind][plural], " and ".join(bounds)]).strip())
    return join_alternatives(alternatives)


def join_alternatives(alternatives: Sequence[str]) -> str:
    """Join distinct alternatives as ``a, b or c``; there must be at least one."""
    *most, last = dict.fromkeys(alternatives)
    return " or ".join([", ".join(most), last] if most else [last])
