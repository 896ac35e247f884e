"""Texts cut into sentences by a few rules, fast enough to stand beside a tokenizer.

A sentence ends at ``.``, ``!``, ``?`` or ``…``, with the quotes and brackets that close after it, where white space
follows and then a capital, a digit or a letter without case (or WikiText's ``<unk>``), maybe behind an opening quote or
bracket. Not after an initial (*J. Smith*, *U.S.*), nor an abbreviation that a name or a number follows (*Dr. Smith*,
*No. 5*), nor after the number of an item (*1. The first*). Chinese and Japanese marks end a sentence by themselves. In
doubt nothing is cut: a sentence too long does less harm in pre-training than half a one.
"""

from __future__ import annotations

import re
from typing import Final

_OPEN: Final = r"""["'“‘«(\[]*"""
_END: Final = re.compile(
    rf"""(?P<mark>[.!?…]+)["'”’»)\]]*\s+(?={_OPEN}(?P<first>\w|<unk>))"""  # sentence. Next
    r"""|[。！？]+[”’」』）]*\s*(?=\S)""",
)

_TITLES: Final = "mr mrs ms mx dr prof rev fr hon st sr jr gen col maj capt cpt lt cmdr sgt cpl pvt adm gov pres"
_OTHERS: Final = "sen sens rep reps messrs mme mlle vs cf viz al approx ca dept est mt ft ave blvd"
_MONTHS: Final = "jan feb apr aug sep sept oct nov dec"
_NUMBERED: Final = "no nos nr vol vols fig figs eq eqs ch sec p pp art para pt ref refs jun jul"

BEFORE_NAMES: Final = frozenset(f"{_TITLES} {_OTHERS} {_MONTHS}".split())
"""Abbreviations that do not end a sentence."""

BEFORE_NUMBERS: Final = frozenset(_NUMBERED.split())
"""Abbreviations that do not end a sentence where a number follows: most are words, too."""


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without white space around them; none of white space alone.

    >>> split_sentences('Dr. J. Smith left at 5 p.m. in May. "Why?" No. 5 knew (see p. 9).')
    ['Dr. J. Smith left at 5 p.m. in May.', '"Why?"', 'No. 5 knew (see p. 9).']
    """
    found, start = [], 0
    for end in _END.finditer(text):
        if end["mark"] and not _ends(text, start, end):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    if rest := text[start:].strip():
        found.append(rest)
    return found


def _ends(text: str, start: int, end: re.Match[str]) -> bool:
    """Whether a mark, white space and the start of a word end the sentence that began at ``start``."""
    first = end["first"]
    if first.islower() and first != "<unk>":
        return False
    if end["mark"] != ".":
        return True
    at = end.start()
    word = text[max(text.rfind(" ", start, at) + 1, start) : at].lstrip("\"'“‘«([")
    if not word:
        return True
    if word[-1].isalpha():
        if len(word) == 1 or word[-2] in ".-":
            return False
        lower = word.lower()
        return lower not in BEFORE_NAMES and not (first.isdigit() and lower in BEFORE_NUMBERS)
    return not (word.isdigit() and len(word) < 4 and not text[start:at].strip().removesuffix(word))
