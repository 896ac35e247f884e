"""Names of splits in files, folders, data sets and split columns: train, dev and test with their variants."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

SPELLINGS: Final = {
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test",),
}
"""Names of each split, in lower case, in order of precedence."""

_ROLES: Final = {spelling: role for role, spellings in SPELLINGS.items() for spelling in spellings}
# A benchmark may have several dev and test splits, such as MNLI's validation_matched; there is one train split.
_PARTS: Final = re.compile(r"(dev|validation|valid|val|test)([_-]\w+)")


def parse_split_name(name: str) -> str | None:
    """bertwright's name for a split; None if the name is not a split's.

    >>> parse_split_name("Validation"), parse_split_name("validation_mismatched"), parse_split_name("unsupervised")
    ('dev', 'dev_mismatched', None)
    """
    name = name.strip().lower()
    parts = _PARTS.fullmatch(name)
    return _ROLES[parts[1]] + parts[2].replace("-", "_") if parts else _ROLES.get(name)


def name_splits(names: Iterable[str]) -> dict[str, str]:
    """Find the splits among some names: bertwright's name → the original name, in the order train, dev, test."""
    spellings = list(_ROLES)
    parsed = [(parse_split_name(name), name) for name in names]

    def rank(item: tuple[str, str]) -> tuple[int, int]:
        split, name = item
        role = split.partition("_")[0]
        spelling = name.strip().lower()
        return list(SPELLINGS).index(role), spellings.index(spelling) if spelling in spellings else len(spellings)

    splits: dict[str, str] = {}
    for split, name in sorted(((split, name) for split, name in parsed if split), key=rank):
        splits.setdefault(split, name)
    return splits
