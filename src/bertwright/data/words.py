"""The words of a raw text, with the places where they stand: for tagging texts that nobody has split."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from itertools import groupby
from typing import Final

from bertwright.data.example import Example, Span

# Chinese characters, each a word of its own, as tokenizers of BERT's kind split them; the two high planes that hold
# nothing else are taken whole.
_HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"

# {w} is a letter, digit, underscore or what belongs to one (an accent, a vowel sign, a joiner), {l} a letter.
_PATTERN: Final = r"""
      (?: https?:// | www\. ) \S* [\w/]                     # a web address, but not the full stop after it
    | [\w.+-]{{1,64}} @ [\w-]+ (?: \.[\w-]+ )+              # a mail address; of so many characters, by RFC 5321
    | (?: {l}\. )+ {l}\.? (?!{w}) (?: -{w}+ )*              # U.S., U.S, e.g., U.S.-based
    | [A-Z]\. (?= \s+ [A-Z] )                               # the initial in George W. Bush
    | {w}+ (?:
          (?:                                               # what joins two words into one:
            [-\u2010\u2011]                                 #   well-known, 7-6, 1996-08-22
          | ['\u2019] (?! [sS] (?!{w}) )                    #   don't, O'Neill; but not the 's of Peter's
          | (?<=\d) [.,:/] (?=\d)                           #   3,500.5, 10:30, 1/2
          | (?<=[a-z]) \. (?=[a-z])                         #   amazon.com
          | &                                               #   AT&T
          ) {w}+
      )*
    | ['\u2019] [sS] (?!{w})                                # 's
    | \.{{2,}} | -{{2,}} | `` | ''                          # ..., --, and quotation marks of the Penn Treebank
    | \S [{marks}]*                                         # any other character, with the marks that belong to it
"""


def split_words(text: str) -> tuple[Span, ...]:
    """The words and punctuation marks of a text, roughly as the Penn Treebank and CoNLL-2003 split them.

    Every character but white space belongs to exactly one word. Numbers, dates, abbreviations such as U.S. and
    hyphenated words stay whole, ``'s`` is a word of its own. Chinese characters are words of their own; scripts that
    write words together otherwise (Thai, Japanese kana) are not taken apart.

    >>> text = "Peter's U.S.-based firm paid $3,500.5, didn't it?"
    >>> " ".join(text[start:end] for start, end in split_words(text))
    "Peter 's U.S.-based firm paid $ 3,500.5 , didn't it ?"
    """
    return tuple(found.span() for found in _compiled().finditer(text))


@cache
def _compiled() -> re.Pattern[str]:
    marks = _marks()
    word = rf"(?: (?![{_HAN}]) [\w{marks}] )"
    return re.compile(_PATTERN.format(w=word, l=rf"(?: (?![{_HAN}]) [^\W\d_] )", marks=marks), re.VERBOSE)


def _marks() -> str:
    """The characters that belong to the one before (combining marks, joiners), as ranges for a regular expression.

    Python's ``\\w`` has none of them, so that it ends in the middle of words in Hindi, Arabic or Vietnamese.
    """
    last = 0x20000, 0xE0000  # the planes between hold Chinese characters and nothing
    codes = [*range(last[0]), *range(last[1], min(last[1] + 0x200, sys.maxunicode))]
    marks = [code for code in codes if unicodedata.category(chr(code)) in ("Mn", "Mc", "Me", "Cf")]
    ranges = []
    for _, run in groupby(enumerate(marks), lambda pair: pair[1] - pair[0]):
        members = [code for _, code in run]
        ranges.append(f"{chr(members[0])}-{chr(members[-1])}")
    return "".join(ranges)


def words_of(example: Example) -> tuple[Span, ...]:
    """The places of the words of an example; those of a raw text are found by :func:`split_words`."""
    return split_words(example.text) if example.words is None else example.words
