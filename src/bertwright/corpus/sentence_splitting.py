"""Rule-based sentence splitting, fast enough to run together with a tokenizer.

A sentence ends at ``.``, ``!``, ``?`` or ``…``, including closing quotes and brackets, if white space follows and then,
after an optional opening quote or bracket, a capital, a digit or a letter without case (or WikiText's ``<unk>``). It
does not end after an initial (*J. Smith*, *U.S.*), an abbreviation before a name or a number (*Dr. Smith*, *No. 5*) or
the number of a list item (*1. The first*). Chinese and Japanese marks always end a sentence. In doubt the text is not
split: in pre-training, a long sentence does less harm than half a sentence.
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
"""Abbreviations that never end a sentence."""

BEFORE_NUMBERS: Final = frozenset(_NUMBERED.split())
"""Abbreviations that do not end a sentence if a number follows; most are also words."""


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences without surrounding white space; text that is all white space has none.

    >>> split_sentences('Dr. J. Smith left at 5 p.m. in May. "Why?" No. 5 knew (see p. 9).')
    ['Dr. J. Smith left at 5 p.m. in May.', '"Why?"', 'No. 5 knew (see p. 9).']
    """
    sentences, start = [], 0
    for end in _END.finditer(text):
        if end["mark"] and not _is_sentence_end(text, start, end):
            continue
        sentences.append(text[start : end.end()].strip())
        start = end.end()
    if rest := text[start:].strip():
        sentences.append(rest)
    return sentences


def _is_sentence_end(text: str, start: int, end: re.Match[str]) -> bool:
    """Whether a mark, white space and the start of a word end the sentence that began at ``start``."""
    first = end["first"]
    if first.islower() and first != "<unk>":
        return False
    if end["mark"] != ".":
        return True
    position = end.start()
    word = text[max(text.rfind(" ", start, position) + 1, start) : position].lstrip("\"'“‘«([")
    if not word:
        return True
    if word[-1].isalpha():
        if len(word) == 1 or word[-2] in ".-":
            return False
        lower = word.lower()
        return lower not in BEFORE_NAMES and not (first.isdigit() and lower in BEFORE_NUMBERS)
    return not (word.isdigit() and len(word) < 4 and not text[start:position].strip().removesuffix(word))
