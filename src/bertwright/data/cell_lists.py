"""Lists in table cells: JSON, Python literals, the output of numpy and pandas, and delimited lists."""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from bertwright.errors import DataError

SEPARATORS: Final = {",": "a comma", "|": "a vertical bar", ";": "a semicolon", "\t": "a tab", "\n": "a line break"}
"""Separators of the labels in a delimited list, and their names; a blank must be set explicitly."""

_BRACKETS: Final = {"[": "]", "(": ")", "{": "}"}
_NO_LIST: Final = "is neither JSON nor a Python list"
_CONSTANTS: Final = {"null": None, "None": None, "nan": None, "NaN": None, "true": True, "false": False}
# Calls around a list or an item in the output of libraries: numpy 2 prints np.str_('a').
_WRAPPERS: Final = re.compile(r"(?:array|tensor|list|tuple|set|frozenset|Index|str_|bool_|u?int\d+|float\d+)$")
_CALL: Final = re.compile(r"(?:(?:np|numpy|torch|pd)\.)?(?:array|tensor|set|frozenset|Index)\(")
_LITERALS: Final = (tokenize.STRING, tokenize.NUMBER)


def parse_list(value: Any, separator: str | None = None) -> list[Any]:
    """Parse a list, an array, or a list written in a cell.

    Supported are JSON, Python lists, tuples and sets, the output of numpy, pandas and torch (``['a' 'b']``,
    ``array(['a'], dtype=object)``, ``[np.str_('a')]``), and delimited texts.

    >>> parse_list("['a' 'b']"), parse_list("a, b"), parse_list("a;b", ";")
    (['a', 'b'], ['a', ' b'], ['a', 'b'])

    Args:
        value: the value of a cell.
        separator: separator of a delimited text; None is a comma.

    Raises:
        ValueError: a text begins like a list but is not a list, or numpy shortened it.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if not isinstance(value, str):
        return [value]
    text = value.strip()
    if is_bracketed(text):
        items = _parse_brackets(text)
        if items is not None:
            return items
        if text.startswith("["):
            if not text.endswith("]"):
                raise ValueError('begins with "[" but does not end with "]"')
            text = text[1:-1]
            if re.search(r"[\[\]{}'\"]", text):
                raise ValueError(_NO_LIST)
    return [part for part in text.split(separator or ",") if part.strip()]


def is_bracketed(text: str) -> bool:
    """Whether a text begins like a written list, tuple, set or array."""
    if text.startswith(("(", "{")):
        return text.endswith(_BRACKETS[text[0]])  # otherwise a text that begins with a parenthesis
    return text.startswith("[") or (_CALL.match(text) is not None and text.endswith(")"))


def parse_records(value: Any) -> list[Any]:
    """Parse a list of objects, also one written in a cell, or the dict of lists that ``datasets`` makes of one.

    >>> parse_records({"text": ["a", "b"], "start": [0, 5]})
    [{'text': 'a', 'start': 0}, {'text': 'b', 'start': 5}]

    Raises:
        TypeError: the value is neither.
        ValueError: the lists differ in length, or a text begins like a list but is not a list.
    """
    if isinstance(value, str) and is_bracketed(text := value.strip()):
        value = _parse_literal(text)
    if isinstance(value, dict):
        columns = {name: parse_list(items) for name, items in value.items()}
        if len(set(map(len, columns.values()))) > 1:
            sizes = ", ".join(f"{name} {len(items)}" for name, items in columns.items())
            raise ValueError(f"lists differ in length ({sizes})")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if isinstance(value, str) or not hasattr(value, "__len__"):
        raise TypeError(f"expected a list of objects, found {value!r:.60} ({type(value).__name__})")
    return list(value)


def infer_separator(source: str, name: str, cells: Sequence[Any]) -> str | None:
    """Infer the separator of the labels in a column of delimited lists; None if no cell has several labels.

    Raises:
        DataError: cells contain several of the usual separators, or labels seem to be joined by blanks.
    """
    texts = [cell for cell in cells if isinstance(cell, str) and not is_bracketed(cell.strip())]
    used = [separator for separator in SEPARATORS if any(separator in text.strip() for text in texts)]
    if len(used) > 1:
        raise DataError(
            f'{source}: cells of the label column "{name}" contain {" and ".join(SEPARATORS[each] for each in used)}; '
            "set data.label_separator to the separator of labels."
        )
    if not used and (example := find_blank_joined_cell(texts)) is not None:
        raise DataError(
            f'{source}: the label column "{name}" seems to contain labels joined by blanks, such as "{example}"; set '
            "'data.label_separator=\" \"' to split them, or 'data.label_separator=\",\"' if this is one label."
        )
    return used[0] if used else None


def find_blank_joined_cell(texts: Iterable[str]) -> str | None:
    """Find a cell whose words all occur in other cells, alone or in other combinations; None if there is none."""
    cells = {" ".join(text.split()) for text in texts}
    occurrences = Counter(word for cell in cells for word in set(cell.split()))
    joined = [cell for cell in cells if " " in cell]
    if not joined or any(occurrences[word] < 2 for cell in joined for word in cell.split()):
        return None
    alone = {word for cell in joined for word in cell.split()} & cells
    return min(joined) if alone else None


def has_indicator_vectors(lists: Sequence[Sequence[Any] | None]) -> bool:
    """Whether lists are 0/1 vectors of one length, one number per label, instead of lists of labels."""
    vectors = [items for items in lists if items is not None]
    width = len(vectors[0]) if vectors else 0
    if width < 2 or any(len(items) != width for items in vectors):
        return False
    if not all(str(item) in ("0", "1", "0.0", "1.0") for items in vectors for item in items):
        return False
    return any(len(set(map(float, items))) < width for items in vectors)  # labels in a list are not repeated


def _parse_brackets(text: str) -> list[Any] | None:
    """The items of a written list; None if the brackets belong to the text."""
    try:
        value = _parse_literal(text)
    except _NotALiteralError:
        return None
    if isinstance(value, dict):
        raise ValueError("is a mapping; write a list of labels, or one 0/1 column per label")
    return value if isinstance(value, list) else None


def _parse_literal(text: str) -> Any:
    """Parse JSON, a Python literal or the output of numpy; sets and tuples become lists.

    Raises:
        ValueError: the text is none of these, or was shortened with ``...``.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        node = ast.parse(_insert_commas(text), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError, tokenize.TokenError):
        raise _NotALiteralError(_NO_LIST) from None
    return _to_value(node)


class _NotALiteralError(ValueError):
    """A text in brackets that is not a literal and may be ordinary text."""


def _insert_commas(text: str) -> str:
    """Insert commas between items that numpy prints without: ``['a' 'b']``, ``[1 2]``, ``[{…} {…}]``."""
    tokens = [
        token
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    ]
    parts = []
    for i, token in enumerate(tokens):
        parts.append(token.string)
        following = tokens[i + 1] if i + 1 < len(tokens) else None
        ends = token.type in _LITERALS or token.string in ("]", "}", ")", "None", "True", "False", "nan", "...")
        if following is None or not ends:
            continue
        signed = following.string == "-" and token.end != following.start
        if following.type in (*_LITERALS, tokenize.NAME) or following.string in (*_BRACKETS, "...") or signed:
            parts.append(",")
    return " ".join(parts)


def _to_value(node: ast.expr) -> Any:
    """The value of a literal's syntax tree; nothing is executed."""
    match node:
        case ast.Constant(value=value) if value is ...:
            raise ValueError('was shortened by numpy with "..."; write the complete list')
        case ast.Constant(value=str() | int() | float() | bool() | None as value):
            return None if isinstance(value, float) and math.isnan(value) else value
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [_to_value(item) for item in items]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_to_value(key): _to_value(value) for key, value in zip(keys, values, strict=True) if key}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Name(id=name):
            return _CONSTANTS.get(name, name)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[item, *_]) if _WRAPPERS.match(name):
            return _to_value(item)
    raise _NotALiteralError(_NO_LIST)
