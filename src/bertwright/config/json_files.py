"""JSON files that other programs wrote, validated before anything uses their values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from bertwright.config.sections import Section, build
from bertwright.config.yaml_tree import Tree
from bertwright.errors import BertwrightError, RecipeError


class ForeignFile(Section):
    """The keys of a foreign JSON file that bertwright uses, with their types; other keys may hold anything."""

    model_config = ConfigDict(extra="ignore")


def read_json_object(path: Path, error_class: type[BertwrightError]) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        BertwrightError: of the given class; the file cannot be read, is not JSON, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise error_class(f"{path}: cannot be read ({error}); download or copy it again.") from error
    if not isinstance(value, dict):
        raise error_class(f"{path}: must be a JSON object, but is a {type(value).__name__}; download or copy it again.")
    return value


def check_types(
    values: dict[str, Any], schema: type[ForeignFile], where: str, error_class: type[BertwrightError]
) -> None:
    """Refuse values whose type is not the one that the schema gives their key.

    Raises:
        BertwrightError: of the given class; it names the file, the key, the value and what is expected.
    """
    try:
        build(schema, Tree(values, where))
    except RecipeError as error:
        raise error_class(error.summary) from None
