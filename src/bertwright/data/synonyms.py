"""A user's file of words and of what may stand in their place."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bertwright.data.table_files import load_text
from bertwright.errors import DataError

Synonyms = Mapping[str, tuple[str, ...]]
"""A word → what may stand in its place."""

WORD: Final = re.compile(r"\w+(?:['’-]\w+)*")
"""A word without the punctuation around it."""


def load_synonyms(file: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """What may replace a word, from JSON (``.json``: word → list of others) or lines of words with tabs between.

    Raises:
        DataError: the file is missing or damaged, or what it replaces is not single words.
    """
    path = Path(file)
    text = load_text(path)
    found: dict[str, tuple[str, ...]] = {}
    for where, word, others in _json(path, text) if path.suffix.lower() == ".json" else _lines(path, text):
        if not WORD.fullmatch(word):
            raise DataError(
                f'{where}: "{word}" is not a single word of letters, digits, hyphens and apostrophes; '
                "words are replaced one by one."
            )
        if not others or not all(isinstance(other, str) and other.strip() for other in others):
            raise DataError(f'{where}: "{word}" has nothing to replace it; give at least one other word.')
        found[word] = (*found.get(word, ()), *others)
    return found


def _json(path: Path, text: str) -> Iterator[tuple[str, str, Sequence[Any]]]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({error}); write {{word: [other, …]}}.") from None
    if not isinstance(values, dict) or not all(isinstance(others, list) for others in values.values()):
        raise DataError(f"{path}: is not a mapping of words to lists; write {{word: [other, …]}}.")
    for word, others in values.items():
        yield str(path), word, others


def _lines(path: Path, text: str) -> Iterator[tuple[str, str, Sequence[Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            word, *others = (cell.strip() for cell in line.split("\t"))
            yield f"{path}:{number}", word, others
