"""The types of settings in words a user understands: "a whole number of at least 1", '"linear" or "cosine"'."""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo

from bertwright.config.yaml_tree import dump_scalar

Member = tuple[Any, tuple[Any, ...]]
"""A type that is no union, and the bounds and notes it is annotated with."""

_WORDS = {
    str: ("text", "texts"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false each"),
    NoneType: ("null", "nulls"),
}
_BOUNDS = {Ge: "of at least", Gt: "above", Le: "of at most", Lt: "below"}


def members_of(annotation: Any, notes: Sequence[Any] = ()) -> list[Member]:
    """The types that an annotation allows, unions taken apart."""
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        notes = [*notes, *(note for item in more for note in getattr(item, "metadata", [item]))]
        return members_of(annotation, notes)
    whole = any(isinstance(note, WithJsonSchema) for note in notes)  # a type with words of its own
    if get_origin(annotation) in (Union, UnionType) and not whole:
        return [member for part in get_args(annotation) for member in members_of(part, notes)]
    return [(annotation, tuple(notes))]


def field_members(info: FieldInfo) -> list[Member]:
    """The types that a setting allows."""
    return members_of(info.annotation, info.metadata)


def sections(members: Sequence[Member]) -> list[type[BaseModel]]:
    """Those of the types that hold settings of their own."""
    return [kind for kind, _ in members if _is_section(kind)]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def words(members: Sequence[Member], plural: bool = False) -> str:
    """What may be written for a setting of these types, to be read after "must be".

    A type annotated with a JSON schema is described by that schema's description.
    """
    found: list[str] = []
    for kind, notes in members:
        origin: Any = get_origin(kind)
        parts = get_args(kind)
        schemas = [note.json_schema or {} for note in notes if isinstance(note, WithJsonSchema)]
        if schemas:
            found.append(schemas[0]["description"])
        elif origin is Literal:
            found += [f'"{part}"' for part in parts]
        elif origin is tuple:
            count = "" if parts[-1] is ... else f"{len(parts)} "
            found.append(f"a list of {count}{words(members_of(parts[0]), plural=True)}")
        elif origin is dict:
            found.append(f"a mapping of {words(members_of(parts[0]))} to {words(members_of(parts[1]))}")
        elif _is_section(kind):
            found.append("{" + ", ".join(kind.model_fields) + "}" if plural else "a section of settings")
        else:
            bounds = [
                f"{_BOUNDS[type(n)]} {dump_scalar(getattr(n, type(n).__name__.lower()))}"
                for n in notes
                if type(n) in _BOUNDS and kind in (int, float)
            ]
            full = kind is str and not plural and any(isinstance(note, MinLen) for note in notes)
            found.append("non-empty " * full + " ".join([_WORDS[kind][plural], " and ".join(bounds)]).strip())
    return either(found)


def either(found: Sequence[str]) -> str:
    """``a, b or c``, each once; there must be one at least."""
    *most, last = dict.fromkeys(found)
    return " or ".join([", ".join(most), last] if most else [last])
