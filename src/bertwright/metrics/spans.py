"""Labeled spans of words: conversion from and to tags, and counts of correct spans.

A tag is ``O``, or a letter and a type such as ``B-PER``. The schemes are those of Tjong Kim Sang and Veenstra 1999,
"Representing Text Chunks". Letters: B tagged texts, N words of all texts with one extra position after each text.
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
from bertwright.output.plurals import pluralize

Scheme = Literal["BIO", "IOB1", "BIOES", "none"]
"""Tagging schemes.

BIO: B starts a span, I continues it. IOB1: I also starts a span; B only separates spans of the same type.
BIOES: E ends a span, S is a span of one word (L and U are accepted). none: plain tags such as parts of speech, where
each word is a span.
"""

OUTSIDE, BEGIN, INSIDE, END, SINGLE = range(5)
_LETTERS = {"O": OUTSIDE, "B": BEGIN, "I": INSIDE, "E": END, "L": END, "S": SINGLE, "U": SINGLE}

UNTYPED = "_"
"""The type of a bare ``B`` or ``I``, as in seqeval."""

Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]


class WordSpan(NamedTuple):
    """A type and the words from ``start`` up to, but not including, ``stop``."""

    type: str
    start: int
    stop: int


def split_tag(tag: str, scheme: Scheme = "BIO") -> tuple[int, str]:
    """Split a tag into the meaning of its letter (`OUTSIDE` … `SINGLE`) and its type.

    Raises:
        DataError: the tag does not belong to the scheme.
    """
    if scheme == "none":
        return SINGLE, tag
    letter, dash, type_ = tag.partition("-")
    if letter not in _LETTERS or (letter == "O" and dash):
        raise DataError(
            f'tags: "{tag}" is not valid in {scheme}; use O, or {_letters_of(scheme)} and a type as in "B-PER", '
            "or set the scheme to none for plain tags."
        )
    return _LETTERS[letter], type_ or UNTYPED


def detect_scheme(tag_sequences: Iterable[Sequence[str]]) -> Scheme:
    """Infer the tagging scheme; BIO unless the tags contradict it.

    The scheme is IOB1 if an I starts a span, and every B is where IOB1 needs one.
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


# Nonstandard forms of B-PER: B_PER, B:PER, b-PER, PER-B, also with other hyphens and dashes.
_JOINTS = r"[-_:./| \u2010-\u2015\u2212]"
_LETTER_FIRST = re.compile(rf"([BIESLUbieslu]){_JOINTS}(.+)")
_LETTER_LAST = re.compile(rf"(.+){_JOINTS}([BIESLU])")
_OUTSIDE_LIKE = {"o": "O", "0": "O", "OUT": "O", "out": "O", "-": "O", "_": "O"}


def correct_tag(tag: str) -> str | None:
    """Return the standard form of a nonstandard tag, such as ``B-PER`` for ``B_PER`` or ``PER-B``; None if unclear.

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
    """Return the nonstandard tags, if the other tags, or these after correction, form spans.

    >>> find_odd_tags(["O", "B-LOC", "B_PER"]), find_odd_tags(["NN", "DT", "O"])
    (['B_PER'], [])
    """
    names = set(tags)
    odd = {name for name in names if name != "O" and name.partition("-")[0] not in _LETTERS.keys() - {"O"}}
    corrected = {correct_tag(name) or name for name in odd}
    writes_spans = any(re.match("[BI]-.", name) for name in names)
    # Parts of speech may look like B_PER by chance, but not together with a tag for "outside".
    writes_spans |= any(re.match("B-.", name) for name in corrected) and "O" in names | corrected
    return sorted(odd) if writes_spans else []


def spans_from_tags(tags: Sequence[str], scheme: Scheme, strict: bool = False) -> list[WordSpan]:
    """Return the spans that a text's tags describe, in order.

    Args:
        tags: one per word.
        scheme: the tagging scheme.
        strict: accept only spans that the scheme allows, as seqeval does with ``mode="strict"`` and IOB2, IOB1 or
            IOBES. Otherwise interpret any sequence, as conlleval and seqeval do by default; the scheme then matters
            only if it is none.

    Raises:
        DataError: a tag does not belong to the scheme.
    """
    words = _Words([tags], scheme)
    arrays = words.spans(strict)
    return [
        WordSpan(words.types[kind], start, stop)
        for start, stop, kind in zip(*(array.tolist() for array in arrays), strict=True)
    ]


def tags_from_spans(spans: Iterable[tuple[str, int, int]], n: int, scheme: Scheme) -> list[str]:
    """Return the tags of a text of n words with these spans.

    Raises:
        DataError: spans overlap or are outside the text.
    """
    written = ["O"] * n
    end, type_before = 0, None
    for type_, start, stop in sorted(spans, key=lambda span: span[1:]):
        if not end <= start < stop <= n:
            raise DataError(
                f"tags: span {type_} of words {start}…{stop - 1} overlaps the previous span or exceeds the text of {n} "
                "words; give non-empty spans that do not overlap."
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
    """Convert the tags of a text to another scheme."""
    return tags_from_spans(spans_from_tags(written, old), len(written), new)


@dataclass(frozen=True)
class TaggingOutcome:
    """Predicted and gold tags of B texts.

    Attributes:
        gold: for each text, one tag per word.
        predicted: the same shape.
        scheme: the tagging scheme of both.

    Raises:
        DataError: there are no texts, lengths differ, or a tag does not belong to the scheme.
    """

    gold: Sequence[Sequence[str]] = field(repr=False)
    predicted: Sequence[Sequence[str]] = field(repr=False)
    scheme: Scheme = "BIO"

    kind: ClassVar[Literal["tagging"]] = TAGGING

    def __post_init__(self) -> None:
        if not self.gold:
            raise DataError("evaluation: there are no examples; give data with at least one row.")
        if len(self.gold) != len(self.predicted):
            raise DataError(
                f"evaluation: gold tags for {pluralize(len(self.gold), 'text')}, but predictions for "
                f"{len(self.predicted)}; predict every text once."
            )
        for i, (gold, predicted) in enumerate(zip(self.gold, self.predicted, strict=True)):
            if len(gold) != len(predicted):
                raise DataError(
                    f"evaluation: text {i + 1} has {len(gold)} gold and {len(predicted)} predicted tags; "
                    "give one of each per word."
                )
        _ = self._words  # reads every tag

    def __len__(self) -> int:
        return len(self.gold)

    @cached_property
    def _words(self) -> _Words:
        """The gold tags of all texts, followed by the predicted ones."""
        return _Words([*self.gold, *self.predicted], self.scheme)

    @property
    def labels(self) -> tuple[str, ...]:
        """The span types, sorted."""
        return self._words.types

    def count_labels(self) -> LabelOccurrences:
        """Count how often a span of each type was predicted, true and both, per text; the units are words."""
        return self._count(strict=False)

    def count_strict_labels(self) -> LabelOccurrences:
        """Count only the spans that the scheme strictly allows.

        Raises:
            DataError: a tag is not strictly part of the scheme.
        """
        return self._count(strict=True)

    def _count(self, strict: bool) -> LabelOccurrences:
        words, rows = self._words, len(self)
        half = len(words.letter) // 2
        starts, stops, kinds = words.spans(strict)
        is_gold = starts < half
        # At most one span of each side starts at a position, so the end identifies the span.
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

    def list_spans(self) -> list[tuple[list[WordSpan], list[WordSpan]]]:
        """Return the true and the predicted spans of each text, in order of their starts."""
        words, rows = self._words, len(self)
        half = len(words.letter) // 2
        starts, stops, kinds = words.spans(strict=False)
        first_of_text = np.searchsorted(words.text[:half], np.arange(rows))
        spans: list[tuple[list[WordSpan], list[WordSpan]]] = [([], []) for _ in range(rows)]
        side = starts // half
        text = words.text[starts - side * half]
        offset = side * half + first_of_text[text]
        columns = (side, text, kinds, starts - offset, stops - offset)
        for which, row, kind, start, stop in zip(*(column.tolist() for column in columns), strict=True):
            spans[row][which].append(WordSpan(self.labels[kind], start, stop))
        return spans

    def words(self) -> Outcome:
        """Return each word with its tag as a class, for the per-tag table and the confusion matrix."""
        words = self._words
        half = len(words.letter) // 2
        gold, predicted = words.tag[:half], words.tag[half:]
        order = np.argsort(words.tags)
        number = np.argsort(order)
        is_word = gold >= 0
        return Outcome(
            CLASSIFICATION, number[gold[is_word]], number[predicted[is_word]], tuple(words.tags[i] for i in order)
        )

    def concatenate(self, other: TaggingOutcome) -> TaggingOutcome:
        """Append the texts of another system for the same examples, (2B).

        Raises:
            DataError: the other outcome has other texts or another scheme.
        """
        if self.scheme != other.scheme or list(map(tuple, self.gold)) != list(map(tuple, other.gold)):
            raise DataError(
                f"comparison: the gold tags differ ({len(self)} texts in {self.scheme}, {len(other)} in {other.scheme}"
                "); evaluate both systems on the same rows in the same order."
            )
        return TaggingOutcome([*self.gold, *other.gold], [*self.predicted, *other.predicted], self.scheme)


class _Words:
    """Tagged texts as flat arrays (N,), with one position outside every span after each text.

    Attributes:
        tags: the distinct tags in order of first occurrence.
        types: the distinct span types, sorted.
        tag: the index of each word's tag, -1 after a text.
        text: the index of its text.
        letter: the letter of its tag.
        kind: the index of its type, -1 outside spans.
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
        """Whether the previous word has the same type, (N,)."""
        return np.concatenate((np.zeros(1, bool), self.kind[1:] == self.kind[:-1]))

    def spans(self, strict: bool) -> tuple[Ints, Ints, Ints]:
        """Return the start of each span, the position after its end, and the index of its type."""
        begins, goes_on = self._strict() if strict and self.scheme != "none" else self._lenient()
        starts = np.flatnonzero(begins)
        breaks = np.flatnonzero(~goes_on)
        stops = breaks[np.searchsorted(breaks, starts, side="right")] if len(starts) else starts
        if strict and self.scheme == "BIOES":
            complete = np.isin(self.letter[stops - 1], (END, SINGLE))
        elif strict and self.scheme == "IOB1":  # seqeval does not end a span between a B and a B of another type
            complete = ~((self.letter[stops - 1] == BEGIN) & (self.letter[stops] == BEGIN) & ~self.follows_same[stops])
        else:
            complete = np.ones(len(starts), bool)
        return starts[complete], stops[complete], self.kind[starts[complete]]

    def _lenient(self) -> tuple[Bools, Bools]:
        """Return where spans start and continue by the rules of conlleval, which accept any sequence."""
        letter, before = self.letter, self.letter_before
        goes_on = np.isin(letter, (INSIDE, END)) & np.isin(before, (BEGIN, INSIDE)) & self.follows_same
        return (letter != OUTSIDE) & ~goes_on, goes_on

    def _strict(self) -> tuple[Bools, Bools]:
        """Return where spans start and continue by the patterns of the scheme, as seqeval does."""
        letter, before, same = self.letter, self.letter_before, self.follows_same
        for tag in self.tags:
            if tag[0] not in "O" + _letters_of(self.scheme):
                raise DataError(
                    f'tags: "{tag}" is not a strict {self.scheme} tag (O and {_letters_of(self.scheme)}); '
                    "do not use strict, or set the scheme of the tags."
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
