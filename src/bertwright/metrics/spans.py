"""Labelled spans of words: how tags write them, and how well predicted ones are.

A tag is ``O`` or a letter and a type, as ``B-PER``. The schemes are those of Tjong Kim Sang and Veenstra 1999,
"Representing Text Chunks". Letters below: B tagged texts, N words of all of them with one more after each text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bertwright.errors import DataError
from bertwright.metrics.label_counts import LabelOccurrences
from bertwright.metrics.outcome import CLASSIFICATION, TAGGING, Outcome

Scheme = Literal["BIO", "IOB1", "BIOES", "none"]
"""How tags write spans.

BIO: B begins a span, I goes on. IOB1: I begins one too, B only where a span of the same type ends just before.
BIOES: E ends a span, S is a whole one (L and U are read as these). none: plain tags such as parts of speech, each word
a span of its own.
"""

OUTSIDE, BEGIN, INSIDE, END, SINGLE = range(5)
_LETTERS = {"O": OUTSIDE, "B": BEGIN, "I": INSIDE, "E": END, "L": END, "S": SINGLE, "U": SINGLE}

UNTYPED = "_"
"""The type of a bare ``B`` or ``I``, as seqeval calls it."""

Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]


class WordSpan(NamedTuple):
    """A type and the words from ``start`` up to, not including, ``stop``."""

    type: str
    start: int
    stop: int


def split_tag(tag: str, scheme: Scheme = "BIO") -> tuple[int, str]:
    """What the letter of a tag says (`OUTSIDE` … `SINGLE`) and its type.

    Raises:
        DataError: the tag is none of the scheme's.
    """
    if scheme == "none":
        return SINGLE, tag
    letter, dash, type_ = tag.partition("-")
    if letter not in _LETTERS or (letter == "O" and dash):
        raise DataError(
            f'tags: "{tag}" does not belong to {scheme}; write O, or {_letters_of(scheme)} and a type as in "B-PER", '
            "or set the scheme to none for plain tags."
        )
    return _LETTERS[letter], type_ or UNTYPED


def detect_scheme(tag_sequences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme that tags are written in; BIO where nothing speaks against it.

    IOB1 is told by an I that begins a span, if every B stands where IOB1 needs one.
    """
    sequences = list(tag_sequences)
    tag_set = set(chain.from_iterable(sequences))
    if not all(tag == "O" or tag.partition("-")[0] in _LETTERS.keys() - {"O"} for tag in tag_set):
        return "none"
    if any(split_tag(tag)[0] in (END, SINGLE) for tag in tag_set):
        return "BIOES"
    words = _Words(sequences, "BIO")
    goes_on = words.follows_same & (words.letter_before != OUTSIDE)
    begins_by_i = ((words.letter == INSIDE) & ~goes_on).any()
    return "IOB1" if begins_by_i and goes_on[words.letter == BEGIN].all() else "BIO"


# How tools and people write B-PER otherwise: B_PER, B:PER, b-PER, PER-B; other hyphens and dashes included.
_JOINTS = r"[-_:./| \u2010-\u2015\u2212]"
_LETTER_FIRST = re.compile(rf"([BIESLUbieslu]){_JOINTS}(.+)")
_LETTER_LAST = re.compile(rf"(.+){_JOINTS}([BIESLU])")
_OUTSIDE_LIKE = {"o": "O", "0": "O", "OUT": "O", "out": "O", "-": "O", "_": "O"}


def correct_tag(tag: str) -> str | None:
    """How a scheme would write a tag that is in none, such as ``B-PER`` for ``B_PER`` and ``PER-B``; None if unclear.

    >>> correct_tag("B_PER"), correct_tag("PER-B"), correct_tag("b-per"), correct_tag("NN")
    ('B-PER', 'B-PER', 'B-per', None)
    """
    if tag in _OUTSIDE_LIKE:
        return _OUTSIDE_LIKE[tag]
    if match := _LETTER_FIRST.fullmatch(tag):
        return f"{match[1].upper()}-{match[2]}"
    match = _LETTER_LAST.fullmatch(tag)
    return f"{match[2]}-{match[1]}" if match else None


def find_odd_tags(tags: Iterable[str]) -> list[str]:
    """The tags in no scheme, if others, or these once they are corrected, write spans; else none.

    >>> find_odd_tags(["O", "B-LOC", "B_PER"]), find_odd_tags(["NN", "DT", "O"])
    (['B_PER'], [])
    """
    names = set(tags)
    odd = {name for name in names if name != "O" and name.partition("-")[0] not in _LETTERS.keys() - {"O"}}
    corrected = {correct_tag(name) or name for name in odd}
    writes_spans = any(re.match("[BI]-.", name) for name in names)
    # Parts of speech may look like B_PER by chance, but not beside a tag for "outside".
    writes_spans |= any(re.match("B-.", name) for name in corrected) and "O" in names | corrected
    return sorted(odd) if writes_spans else []


def spans_from_tags(tags: Sequence[str], scheme: Scheme, strict: bool = False) -> list[WordSpan]:
    """The spans that a text's tags write, in order.

    Args:
        tags: one a word.
        scheme: they are written in.
        strict: take only what the scheme allows: seqeval's ``mode="strict"`` with IOB2, IOB1 or IOBES. Else make the
            best of any sequence, as conlleval and seqeval do unasked; the scheme then matters only if it is none.

    Raises:
        DataError: a tag that is none of the scheme's.
    """
    words = _Words([tags], scheme)
    found = words.spans(strict)
    return [
        WordSpan(words.types[kind], start, stop) for start, stop, kind in zip(*(a.tolist() for a in found), strict=True)
    ]


def tags_from_spans(spans: Iterable[tuple[str, int, int]], n: int, scheme: Scheme) -> list[str]:
    """The tags of a text of n words with these spans.

    Raises:
        DataError: spans that overlap or do not lie in the text.
    """
    written = ["O"] * n
    end, type_before = 0, None
    for type_, start, stop in sorted(spans, key=lambda span: span[1:]):
        if not end <= start < stop <= n:
            raise DataError(
                f"tags: the span {type_} of words {start}…{stop - 1} does not fit after word {end - 1} in a text of "
                f"{n}; give spans of at least one word that do not overlap."
            )
        letters = ["I"] * (stop - start)
        if scheme != "IOB1" or (type_ == type_before and start == end):
            letters[0] = "B"
        if scheme == "BIOES":
            letters[-1] = "S" if len(letters) == 1 else "E"
        written[start:stop] = [type_ if scheme == "none" else f"{letter}-{type_}" for letter in letters]
        end, type_before = stop, type_
    return written


def convert_scheme(written: Sequence[str], old: Scheme, new: Scheme) -> list[str]:
    """A text's tags in another scheme."""
    return tags_from_spans(spans_from_tags(written, old), len(written), new)


@dataclass(frozen=True)
class TaggingOutcome:
    """The tags that were predicted for B texts, beside the true ones.

    Attributes:
        gold: for each text a tag a word.
        predicted: the same shape.
        scheme: both are written in.

    Raises:
        DataError: there is nothing, lengths differ, or a tag is none of the scheme's.
    """

    gold: Sequence[Sequence[str]] = field(repr=False)
    predicted: Sequence[Sequence[str]] = field(repr=False)
    scheme: Scheme = "BIO"

    kind: ClassVar[Literal["tagging"]] = TAGGING

    def __post_init__(self) -> None:
        if not self.gold:
            raise DataError("evaluation: there are no examples; give data that holds at least one row.")
        if len(self.gold) != len(self.predicted):
            raise DataError(
                f"evaluation: {len(self.gold)} texts have true tags, {len(self.predicted)} predicted ones; "
                "predict every text once."
            )
        for i, (gold, predicted) in enumerate(zip(self.gold, self.predicted, strict=True)):
            if len(gold) != len(predicted):
                raise DataError(
                    f"evaluation: text {i + 1} has {len(gold)} true and {len(predicted)} predicted tags; "
                    "give one of each a word."
                )
        _ = self._words  # reads every tag

    def __len__(self) -> int:
        return len(self.gold)

    @cached_property
    def _words(self) -> _Words:
        """The true tags of all texts and then the predicted ones."""
        return _Words([*self.gold, *self.predicted], self.scheme)

    @property
    def labels(self) -> tuple[str, ...]:
        """The types of spans, sorted."""
        return self._words.types

    def count_labels(self) -> LabelOccurrences:
        """How often a span of each type was predicted, true and both, by text; the units are words."""
        return self._tally(strict=False)

    def count_strict_labels(self) -> LabelOccurrences:
        """The same of the spans that the scheme strictly allows.

        Raises:
            DataError: a tag that the scheme strictly does not have.
        """
        return self._tally(strict=True)

    def _tally(self, strict: bool) -> LabelOccurrences:
        words, rows = self._words, len(self)
        half = len(words.letter) // 2
        starts, stops, kinds = words.spans(strict)
        is_gold = starts < half
        # A flat position begins at most one span of each side, so that looking up its end finds the same span.
        at, until = np.where(is_gold, starts, starts - half), np.where(is_gold, stops, stops - half)
        end, kind = np.zeros(half, np.intp), np.zeros(half, np.intp)
        end[at[is_gold]], kind[at[is_gold]] = until[is_gold], kinds[is_gold]
        right = ~is_gold & (end[at] == until) & (kind[at] == kinds)
        text = words.text[at]
        hits, predicted, gold = ((text[which], kinds[which]) for which in (right, ~is_gold, is_gold))
        same = (words.tag[:half] == words.tag[half:]) & (words.tag[:half] >= 0)
        exact = np.bincount(words.text[:half], same, minlength=rows).astype(np.float64)
        units = np.array([len(text) for text in self.gold], np.float64)
        return LabelOccurrences(
            np.arange(rows), np.ones(rows, np.intp), hits, predicted, gold, exact, units, len(self.labels)
        )

    def words(self) -> Outcome:
        """Each word with its tag as a class of its own, for the table per tag and the matrix of tags."""
        words = self._words
        half = len(words.letter) // 2
        gold, predicted = words.tag[:half], words.tag[half:]
        order = np.argsort(words.tags)
        number = np.argsort(order)
        there = gold >= 0
        return Outcome(
            CLASSIFICATION, number[gold[there]], number[predicted[there]], tuple(words.tags[i] for i in order)
        )

    def concatenate(self, other: TaggingOutcome) -> TaggingOutcome:
        """The texts of this and then those of another system on the same examples, (2B).

        Raises:
            DataError: the other is about other texts or another scheme.
        """
        if self.scheme != other.scheme or list(map(tuple, self.gold)) != list(map(tuple, other.gold)):
            raise DataError(
                f"comparison: the two do not have the same true tags ({len(self)} texts in {self.scheme}, {len(other)} "
                f"in {other.scheme}); evaluate both on the same rows in the same order."
            )
        return TaggingOutcome([*self.gold, *other.gold], [*self.predicted, *other.predicted], self.scheme)


class _Words:
    """Tagged texts as flat arrays (N,), each text followed by one more place that is outside every span.

    Attributes:
        tags: the different tags, as first met.
        types: the different types of spans, sorted.
        tag: number of each word's tag, -1 after a text.
        text: number of its text.
        letter: of its tag.
        kind: number of its type, -1 outside.
    """

    def __init__(self, sequences: Sequence[Sequence[str]], scheme: Scheme) -> None:
        self.scheme: Scheme = scheme
        self.tags = list(dict.fromkeys(chain.from_iterable(sequences)))
        number: dict[str | None, int] = {None: -1} | {tag: i for i, tag in enumerate(self.tags)}
        after = (None,)
        self.tag = np.array(
            [number[tag] for tag in chain.from_iterable((*text, *after) for text in sequences)], np.intp
        )
        self.text = np.repeat(np.arange(len(sequences)), [len(text) + 1 for text in sequences])
        read = [split_tag(tag, scheme) for tag in self.tags] + [(OUTSIDE, "")]  # the last is tag -1
        self.types = tuple(sorted({type_ for letter, type_ in read if letter != OUTSIDE}))
        kinds = {type_: i for i, type_ in enumerate(self.types)}
        self.letter = np.array([letter for letter, _ in read], np.int8)[self.tag]
        self.kind = np.array([kinds[type_] if letter != OUTSIDE else -1 for letter, type_ in read], np.intp)[self.tag]

    @property
    def letter_before(self) -> NDArray[np.int8]:
        return np.concatenate((np.zeros(1, np.int8), self.letter[:-1]))

    @property
    def follows_same(self) -> Bools:
        """Whether the word before has the same type, (N,)."""
        return np.concatenate((np.zeros(1, bool), self.kind[1:] == self.kind[:-1]))

    def spans(self, strict: bool) -> tuple[Ints, Ints, Ints]:
        """Where spans begin, the place after each, and their types' numbers."""
        begins, goes_on = self._strict() if strict and self.scheme != "none" else self._lenient()
        starts = np.flatnonzero(begins)
        breaks = np.flatnonzero(~goes_on)
        stops = breaks[np.searchsorted(breaks, starts, side="right")] if len(starts) else starts
        if strict and self.scheme == "BIOES":
            whole = np.isin(self.letter[stops - 1], (END, SINGLE))
        elif strict and self.scheme == "IOB1":  # seqeval knows no end of a B before a B of another type
            whole = ~((self.letter[stops - 1] == BEGIN) & (self.letter[stops] == BEGIN) & ~self.follows_same[stops])
        else:
            whole = np.ones(len(starts), bool)
        return starts[whole], stops[whole], self.kind[starts[whole]]

    def _lenient(self) -> tuple[Bools, Bools]:
        """What begins and what continues a span by the rules of conlleval, which read any sequence."""
        letter, before = self.letter, self.letter_before
        goes_on = np.isin(letter, (INSIDE, END)) & np.isin(before, (BEGIN, INSIDE)) & self.follows_same
        return (letter != OUTSIDE) & ~goes_on, goes_on

    def _strict(self) -> tuple[Bools, Bools]:
        """The same by the patterns of the scheme, as seqeval has them."""
        letter, before, same = self.letter, self.letter_before, self.follows_same
        for tag in self.tags:
            if tag[0] not in "O" + _letters_of(self.scheme):
                raise DataError(
                    f'tags: "{tag}" is not strictly {self.scheme}, which has O and {_letters_of(self.scheme)}; '
                    "leave out strict, or set the scheme that the tags are written in."
                )
        goes_on = np.isin(letter, (INSIDE, END)) & np.isin(before, (BEGIN, INSIDE)) & same
        if self.scheme != "IOB1":
            return np.isin(letter, (BEGIN, SINGLE)), goes_on
        by_b = (letter == BEGIN) & np.isin(before, (BEGIN, INSIDE)) & same
        after_b = (before == BEGIN) & ~(same & np.concatenate((np.zeros(1, bool), by_b[:-1])))
        by_i = (letter == INSIDE) & ((before == OUTSIDE) | ((before == INSIDE) & ~same) | after_b)
        return by_b | by_i, goes_on & ~by_i


def _letters_of(scheme: Scheme) -> str:
    return "B, I, E, S, L, U" if scheme == "BIOES" else "B, I"
