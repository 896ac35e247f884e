"""Reading of JSON files of other programs, validated before their values are used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from bertwright.config.sections import Section, build
from bertwright.config.yaml_tree import Tree
from bertwright.errors import BertwrightError, RecipeError


class ForeignFile(Section):
    """The keys of a foreign JSON file that bertwright uses, with their types; other keys are ignored."""

    model_config = ConfigDict(extra="ignore")


def read_json_object(path: Path, error_class: type[BertwrightError]) -> dict[str, Any]:
    """Read the object in a JSON file.

    Raises:
        BertwrightError: of the given class; the file cannot be read, is not JSON, or contains no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise error_class(f"{path}: cannot be read ({error}); download or copy it again.") from error
    if not isinstance(value, dict):
        raise error_class(f"{path}: expected a JSON object, found a {type(value).__name__}; download or copy it again.")
    return value


def check_types(
    values: dict[str, Any], schema: type[ForeignFile], where: str, error_class: type[BertwrightError]
) -> None:
    """Refuse values whose type differs from that of their key in the schema.

    Raises:
        BertwrightError: of the given class; the message names the file, the key, the value and the expected type.
    """
    try:
        build(schema, Tree(values, where))
    except RecipeError as error:
        raise error_class(error.summary) from None
