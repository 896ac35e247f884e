"""The one JSON writer: every file and line that bertwright writes is JSON that any parser reads (RFC 8259)."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(value: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    """A value as JSON; NaN and infinity, which JSON lacks, become null.

    Args:
        value: nested dicts, lists and scalars; arrays and tensors become lists, anything else its text.
        indent: spaces per level; None writes one line.
        ascii_only: escape every character beyond ASCII.

    >>> to_json({"loss": float("nan"), "label": "schön"})
    '{"loss": null, "label": "schön"}'
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False, default=_to_plain)
    except ValueError:  # a walk over the whole value costs time, so only a value that needs it gets one
        finite = to_finite(value)
        text = json.dumps(finite, indent=indent, ensure_ascii=ascii_only, allow_nan=False, default=_to_plain)
    if ascii_only or text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot hold
        return to_json(value, indent, ascii_only=True)
    return text


def to_finite(value: Any) -> Any:
    """The value with None for NaN and infinity, in nested values too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: to_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_finite(item) for item in value]
    return to_finite(value.tolist()) if hasattr(value, "tolist") else value


def _to_plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
