"""Checks of label names: placeholders, spelling variants of one label, joined labels and encoded lists."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

_MISSING: Final = ("?", "??", "n/a", "#n/a", "nan", "<na>", "null", "<null>", "none", "<none>")
_PLACEHOLDERS: Final = frozenset(
    (*_MISSING, "-", "--", "---", "???", "na", "nil", "undefined", "missing", "unlabeled", "unlabelled", "tbd", "todo")
)
"""What tools and annotators write for "no label", in lower case."""

_PLACEHOLDER_TAGS: Final = frozenset((*_MISSING, "_"))
"""Placeholders among tags, where punctuation marks are common labels."""

_PLACEHOLDER_NUMBERS: Final = (-1.0, -9.0, -99.0, -100.0, -999.0, -9999.0)
_LIST_SEPARATORS: Final = ("|", ";", "\t", "\n")
_OTHER_SEPARATORS: Final = (",", "/", "+", "&", ":", "#", " ")
"""Separators that single labels contain too, such as "very good"."""

_WRITTEN_LIST: Final = re.compile(
    r"\[.*\]|\{.*\}|\(.*[,'\"].*\)|(?:np\.)?(?:array|tensor|set|frozenset|Index|Series)\(.*\)", re.DOTALL
)


def find_placeholders(labels: Iterable[str], *, tags: bool = False) -> list[str]:
    """Find labels that usually mean "no label": ``-``, ``?``, ``N/A``, a single negative number next to 0…k.

    >>> find_placeholders(["0", "1", "2", "-1"]), find_placeholders(["-1", "1"]), find_placeholders(["pos", "N/A"])
    (['-1'], [], ['N/A'])

    Args:
        labels: all labels of the data.
        tags: whether they are tags of words.
    """
    names = sorted(set(labels))
    placeholders = [name for name in names if name.casefold() in (_PLACEHOLDER_TAGS if tags else _PLACEHOLDERS)]
    others = [name for name in names if name not in placeholders]
    if all(re.fullmatch(r"-?\d+", name) for name in others):
        negative = [name for name in others if name.startswith("-")]
        # A scale such as -2 … 2 has several negative numbers, and the labels -1 and 1 have no 0.
        if len(negative) == 1 and "0" in others and len(others) > 2:
            placeholders += negative
    return placeholders


def find_placeholder_number(targets: Iterable[float]) -> float | None:
    """Find the number that usually means "no target": -1, -99, … if no other target is negative."""
    negative = {target for target in targets if target < 0}
    return next((number for number in _PLACEHOLDER_NUMBERS if negative == {number}), None)


def group_spellings(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """Group labels that differ only in case, white space, invisible characters or Unicode form.

    >>> group_spellings(["TRUE", "true", "false", "very  good", "very good"])
    [('TRUE', 'true'), ('very  good', 'very good')]
    """
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for label in sorted(set(labels)):
        spellings[spelling_key(label)].append(label)
    return [tuple(group) for group in spellings.values() if len(group) > 1]


def spelling_key(label: str) -> str:
    """What is the same for all spellings of a label.

    >>> spelling_key(" Pos\u200b ") == spelling_key("pos")
    True
    """
    folded = unicodedata.normalize("NFKC", label).casefold()
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc"))


def find_written_lists(labels: Iterable[str]) -> list[str]:
    """Find labels that are lists in brackets: ``['a', 'b']``, ``['a' 'b']``, ``{a,b}``."""
    return sorted(label for label in set(labels) if _WRITTEN_LIST.fullmatch(label))


def find_vectors(labels: Iterable[str]) -> list[str]:
    """Return the labels if all are 0/1 vectors of one length (``1 0 1``, ``101``); else none.

    >>> find_vectors(["1 0", "0 1", "1 1"]), find_vectors(["0", "1"]), find_vectors(["10", "11", "12"])
    (['0 1', '1 0', '1 1'], [], [])
    """
    names = sorted(set(labels))
    vectors = len(names) > 1 and all(re.fullmatch(r"[01](?:[ ,;|/-]?[01])+", name) for name in names)
    return names if vectors and len(set(map(len, names))) == 1 else []


def find_joined(labels: Iterable[str]) -> tuple[str, list[str]] | None:
    """Find labels that consist of other labels, and their separator; None if there are none.

    >>> find_joined(["food", "staff", "price", "food/staff"])
    ('/', ['food/staff'])
    """
    names = set(labels)
    for separator in (*_LIST_SEPARATORS, *_OTHER_SEPARATORS):
        parts_of = {name: [part.strip() for part in name.split(separator)] for name in names if separator in name}
        if separator in _LIST_SEPARATORS:
            occurrences = Counter(part for name in names for part in set(parts_of.get(name, [name])))
            joined = [name for name, parts in parts_of.items() if all(occurrences[part] > 1 for part in parts)]
        else:
            joined = [name for name, parts in parts_of.items() if all(part in names for part in parts)]
        if joined:
            return separator, sorted(joined)
    return None


def quote_label(label: str) -> str:
    """A label in quotation marks, with escapes for invisible characters.

    >>> print(quote_label("neg\u200b"), quote_label("neg"))
    "neg\\u200b" "neg"
    """
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in label)
    return f'"{escaped}"'
