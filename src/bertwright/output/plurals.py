"""``pluralize``: a number with its noun in the singular or plural."""

from __future__ import annotations


def pluralize(n: int, noun: str, plural: str | None = None) -> str:
    """Format a number with its noun; ``plural`` is needed only if it is not the noun with an s.

    >>> pluralize(1, "step"), pluralize(2000, "step"), pluralize(2, "entry", "entries")
    ('1 step', '2,000 steps', '2 entries')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
