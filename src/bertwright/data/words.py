"""Word splitting of raw text, with the position of each word, for tagging."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from itertools import groupby
from typing import Final

from bertwright.data.example import Example, Span

# Chinese characters, each a separate word, as in BERT's tokenizers; includes two high planes that contain no other
# characters.
_HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"

# {w} is a letter, digit, underscore or what belongs to one (an accent, a vowel sign, a joiner), {l} a letter.
_PATTERN: Final = r"""
      (?: https?:// | www\. ) \S* [\w/]                     # a URL, but not the full stop after it
    | [\w.+-]{{1,64}} @ [\w-]+ (?: \.[\w-]+ )+              # an email address; length by RFC 5321
    | (?: {l}\. )+ {l}\.? (?!{w}) (?: -{w}+ )*              # U.S., U.S, e.g., U.S.-based
    | [A-Z]\. (?= \s+ [A-Z] )                               # the initial in George W. Bush
    | {w}+ (?:
          (?:                                               # characters that join two words into one:
            [-\u2010\u2011]                                 #   well-known, 7-6, 1996-08-22
          | ['\u2019] (?! [sS] (?!{w}) )                    #   don't, O'Neill; but not the 's of Peter's
          | (?<=\d) [.,:/] (?=\d)                           #   3,500.5, 10:30, 1/2
          | (?<=[a-z]) \. (?=[a-z])                         #   amazon.com
          | &                                               #   AT&T
          ) {w}+
      )*
    | ['\u2019] [sS] (?!{w})                                # 's
    | \.{{2,}} | -{{2,}} | `` | ''                          # ..., --, and quotation marks of the Penn Treebank
    | \S [{marks}]*                                         # any other character, with its combining marks
"""


def split_words(text: str) -> tuple[Span, ...]:
    """Split a text into words and punctuation marks, similar to the Penn Treebank and CoNLL-2003.

    Every character except white space belongs to exactly one word. Numbers, dates, abbreviations such as U.S. and
    hyphenated words are single words; ``'s`` is a separate word. Every Chinese character is a word; other scripts
    without
    spaces (Thai, Japanese kana) are not split.

    >>> text = "Peter's U.S.-based firm paid $3,500.5, didn't it?"
    >>> " ".join(text[start:end] for start, end in split_words(text))
    "Peter 's U.S.-based firm paid $ 3,500.5 , didn't it ?"
    """
    return tuple(match.span() for match in _word_pattern().finditer(text))


@cache
def _word_pattern() -> re.Pattern[str]:
    marks = _combining_marks()
    word = rf"(?: (?![{_HAN}]) [\w{marks}] )"
    return re.compile(_PATTERN.format(w=word, l=rf"(?: (?![{_HAN}]) [^\W\d_] )", marks=marks), re.VERBOSE)


def _combining_marks() -> str:
    """The characters that belong to the preceding one (combining marks, joiners), as ranges of a regular expression.

    Python's ``\\w`` excludes them and therefore ends inside words in Hindi, Arabic or Vietnamese.
    """
    last = 0x20000, 0xE0000  # the planes in between contain only Chinese characters
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
