"""The only JSON writer: all JSON that bertwright writes can be read by any parser (RFC 8259)."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(value: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    """Write a value as JSON; NaN and infinity, which JSON does not support, become null.

    Args:
        value: nested dicts, lists and scalars; arrays and tensors become lists, other objects become text.
        indent: spaces per level; None writes one line.
        ascii_only: escape all non-ASCII characters.

    >>> to_json({"loss": float("nan"), "label": "schön"})
    '{"loss": null, "label": "schön"}'
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False, default=_to_plain)
    except ValueError:  # traversing the value costs time, so only a value that needs it is converted
        finite = to_finite(value)
        text = json.dumps(finite, indent=indent, ensure_ascii=ascii_only, allow_nan=False, default=_to_plain)
    if ascii_only or text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot represent
        return to_json(value, indent, ascii_only=True)
    return text


def to_finite(value: Any) -> Any:
    """Replace NaN and infinity by None, also in nested values."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: to_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_finite(item) for item in value]
    return to_finite(value.tolist()) if hasattr(value, "tolist") else value


def _to_plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
