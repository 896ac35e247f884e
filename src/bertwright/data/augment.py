"""More training rows from few: changed copies of each, with the label of the row they were made from.

Words are what stands between white space, so languages written without it gain nothing here. All methods that have a
rate are applied to each copy, in the order of the settings. Random word dropout and swaps: Wei & Zou 2019 ("EDA");
words of a masked language model: Kobayashi 2018, Wu et al. 2018. What a copy looks like is a function of the seed, the
row's id and the copy's number, whatever rows stand around it.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import Field, model_validator

from bertwright.config.sections import Location, MisfitError, Section
from bertwright.data.dataset import Dataset, labels_of
from bertwright.data.example import Answer, Example, Span
from bertwright.data.synonyms import WORD, Synonyms, load_synonyms
from bertwright.data.tagged_rows import OUTSIDE
from bertwright.errors import RecipeError

Substitute = Callable[[Sequence[str], Sequence[Sequence[Span]], Sequence[Sequence[float]]], list[list[str | None]]]
"""Texts, the places of each where a word is wanted, and for each place a number from 0 to 1 that chooses among what
fits there → the words, None where nothing is to be changed."""

_CHUNK: Final = 256  # rows whose copies are in the making at a time: a few thousand words for a masked LM to batch
_DONE: Final = {
    "word_dropout": "dropped",
    "swap": "swapped",
    "synonyms": "replaced by synonyms",
    "masked_lm": "replaced by the masked language model",
}

Rate = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(min_length=1)]


class Augment(Section):
    """How training rows are copied and changed; by default they are not."""

    copies: int = Field(
        default=1, ge=0, description="Changed copies made of every training row, once a method below has a rate."
    )
    word_dropout: Rate = Field(default=0.0, description="Share of words left out; in tagging, of words tagged O.")
    swap: Rate = Field(
        default=0.0, description="Share of words that change places with the next; in tagging, if their tags are equal."
    )
    synonyms: Rate = Field(default=0.0, description="Share of the words in synonym_file that are replaced.")
    synonym_file: Location | None = Field(
        default=None,
        description="Words and what may replace them: a line word<TAB>other<TAB>…, or JSON {word: [other]}.",
    )
    masked_lm: Rate = Field(
        default=0.0,
        description="Share of words replaced by what masked_lm_model finds likely; in tagging, of words tagged O.",
    )
    masked_lm_model: Location | None = Field(
        default=None, description="A masked language model: a directory or a name on the Hub."
    )

    @property
    def active(self) -> bool:
        """Whether any row is added."""
        return bool(self.copies and (self.word_dropout or self.swap or self.synonyms or self.masked_lm))

    @model_validator(mode="after")
    def _sources_are_named(self) -> Self:
        for rate, source in (("synonyms", "synonym_file"), ("masked_lm", "masked_lm_model")):
            if getattr(self, rate) and not getattr(self, source):
                raise MisfitError(rate, f"is {getattr(self, rate)}, but data.augment.{source} is not set; set it too")
        if self.copies > 1 and not self.active:
            raise MisfitError("copies", f"is {self.copies}, but no method has a rate; set one, such as word_dropout")
        return self


@dataclass(frozen=True)
class AugmentReport:
    """What augmentation did.

    Attributes:
        rows: how many rows there were.
        added: how many were added.
        dismissed: how many copies were not, because nothing in them had changed or they repeated another.
        words: how many words of the added rows were changed, by method.
    """

    rows: int
    added: int = 0
    dismissed: int = 0
    words: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        changes = ", ".join(f"{count:,} words {_DONE[method]}" for method, count in self.words.items())
        return (
            f"{self.added:,} changed copies added to {self.rows:,} training rows ({changes or 'no words changed'}); "
            f"{self.dismissed:,} copies left out, as they changed nothing or repeated another"
        )


def augment(
    rows: Dataset, settings: Augment, seed: int, substitute: Substitute | None = None
) -> tuple[Dataset, AugmentReport]:
    """The rows, and after them changed copies of each with its target, called ``<id>#1`` and so on.

    Words of a changed text stand one space apart. In tagging a word keeps its tag, and what one tag covers stays so:
    words are left out, swapped and replaced as the settings say, and no two entities come to touch.

    Args:
        rows: training rows, and nothing else: rows to measure on must stay as they are.
        settings: how they are changed.
        seed: another seed makes other copies.
        substitute: finds words for masked places, for ``settings.masked_lm``; see
            :meth:`bertwright.weights.masked_lm.MaskedLM.substitute`.

    Returns:
        The rows, with a line in their report, and what was done.

    Raises:
        RecipeError: the rows are questions with answers, whose places would move, or ``substitute`` is lacking.
        DataError: the file of synonyms is not as it should be.
    """
    if not settings.active:
        return rows, AugmentReport(len(rows))
    if any(isinstance(item, Answer) for target in rows.targets if isinstance(target, tuple) for item in target):
        raise RecipeError(
            "data.augment: answers would no longer stand where they say; question answering has no use "
            "for it, remove it."
        )
    if settings.masked_lm and substitute is None:
        raise RecipeError("data.augment.masked_lm: a masked language model is wanted; pass its substitute=….")
    synonyms = load_synonyms(settings.synonym_file) if settings.synonyms and settings.synonym_file else {}
    entities = any(OUTSIDE in labels_of(row.target) for row in rows if row.words is not None)
    maker = _Maker(settings, seed, synonyms, substitute, entities)

    taken = {row.id for row in rows}
    added: list[Example] = []
    words: Counter[str] = Counter()
    for start in range(0, len(rows), _CHUNK):
        for copy in maker.copies(rows.examples[start : start + _CHUNK]):
            name = copy.example.id
            while name in taken:  # a source may have a row 7#1 already
                name += "#"
            taken.add(name)
            added.append(replace(copy.example, id=name))
            words += copy.changed
    dismissed = len(rows) * settings.copies - len(added)
    report = AugmentReport(len(rows), len(added), dismissed, {key: words[key] for key in _DONE if words[key]})
    notes = (*rows.report.notes, f"{rows.report.source}: {report}")
    return Dataset([*rows, *added], replace(rows.report, notes=notes), rows.labels), report


class _Word(NamedTuple):
    text: str
    tag: str | None = None


@dataclass
class _Copy:
    """A copy in the making.

    Attributes:
        example: the source until :meth:`finish`, then the copy.
        number: which copy of the source.
        sides: the words of each of its texts.
        draw: the copy's own random numbers.
        changed: how many words were changed, by method.
    """

    example: Example
    number: int
    sides: list[list[_Word]]
    draw: Callable[[], float]
    changed: Counter[str] = field(default_factory=Counter)

    def finish(self) -> None:
        """Make the example of the words; a text whose words are as they were stays as it was."""
        old = self.example
        texts = [
            text if words == before else " ".join(word.text for word in words)
            for text, words, before in zip(_texts(old), self.sides, _sides(old), strict=True)
        ]
        new = replace(
            old, id=f"{old.id}#{self.number}", text=texts[0], text_pair=texts[1] if len(texts) > 1 else old.text_pair
        )
        if old.words is not None and texts != _texts(old):
            tags = tuple(word.tag for word in self.sides[0] if word.tag is not None)
            new = replace(new, words=tuple(_spans(self.sides[0])), target=tags if old.target is not None else None)
        self.example = new


@dataclass(frozen=True)
class _Maker:
    """Makes copies; ``entities`` says that tags mark spans, so that only words outside of them are free to change."""

    settings: Augment
    seed: int
    synonyms: Synonyms
    substitute: Substitute | None
    entities: bool

    def copies(self, rows: Sequence[Example]) -> Iterator[_Copy]:
        """All copies of some rows but those that changed nothing or repeat another of the row."""
        made = [self._make(row, number) for row in rows for number in range(1, self.settings.copies + 1)]
        if self.substitute is not None and self.settings.masked_lm:
            self._mask(made, self.substitute)
        seen: dict[str, set[tuple[str, ...]]] = {row.id: {tuple(_texts(row))} for row in rows}
        for copy in made:
            known = seen[copy.example.id]
            copy.finish()
            if (texts := tuple(_texts(copy.example))) not in known:
                known.add(texts)
                yield copy

    def _make(self, row: Example, number: int) -> _Copy:
        # A generator a copy, so that neither order nor other rows matter. Seeding by text goes through SHA-512, and
        # random() is the one method that is promised never to change.
        draw = random.Random(f"{self.seed} {number} {row.id!a}").random
        copy = _Copy(row, number, _sides(row), draw)
        for method, change in (("word_dropout", self._drop), ("swap", self._swap), ("synonyms", self._replace)):
            if rate := getattr(self.settings, method):
                for side, words in enumerate(copy.sides):
                    copy.sides[side], count = change(words, rate, draw)
                    copy.changed[method] += count
        return copy

    def _free(self, word: _Word) -> bool:
        return not self.entities or word.tag == OUTSIDE

    def _drop(self, words: list[_Word], rate: float, draw: Callable[[], float]) -> tuple[list[_Word], int]:
        kept: list[_Word] = []
        for i, word in enumerate(words):
            apart = i + 1 < len(words) and kept and not self._free(kept[-1]) and not self._free(words[i + 1])
            if not self._free(word) or draw() >= rate or apart:
                kept.append(word)
        if not kept and words:  # something has to carry the label
            kept = [words[int(draw() * len(words))]]
        return kept, len(words) - len(kept)

    def _swap(self, words: list[_Word], rate: float, draw: Callable[[], float]) -> tuple[list[_Word], int]:
        words, i, count = words.copy(), 0, 0
        while i + 1 < len(words):
            if draw() < rate and words[i].tag == words[i + 1].tag and words[i] != words[i + 1]:
                words[i], words[i + 1] = words[i + 1], words[i]
                count += 2
                i += 1  # so that no word wanders
            i += 1
        return words, count

    def _replace(self, words: list[_Word], rate: float, draw: Callable[[], float]) -> tuple[list[_Word], int]:
        words, count = words.copy(), 0
        for i, (text, tag) in enumerate(words):
            if (core := WORD.search(text)) is None:
                continue
            others = self.synonyms.get(core[0]) or self.synonyms.get(core[0].lower()) or ()
            if tag is not None:  # one tag, one word
                others = tuple(other for other in others if not re.search(r"\s", other))
            if others and draw() < rate:
                words[i] = _Word(_with_core(text, core.span(), others[int(draw() * len(others))]), tag)
                count += words[i].text != text
        return words, count

    def _mask(self, copies: Sequence[_Copy], substitute: Substitute) -> None:
        """Ask for words in the masked places of many copies at once."""
        rate = self.settings.masked_lm
        wanted: list[tuple[_Copy, list[_Word], list[int]]] = []
        texts: list[str] = []
        places: list[list[Span]] = []
        for copy in copies:
            for words in copy.sides:
                chosen, spans = [], []
                for i, (start, _) in enumerate(_spans(words)):
                    core = WORD.search(words[i].text)
                    # a lone word may be a whole sentence in a language without spaces, and there is nothing to go by
                    if core and core[0].isalpha() and len(words) > 1 and self._free(words[i]) and copy.draw() < rate:
                        chosen.append(i)
                        spans.append((start + core.start(), start + core.end()))
                if chosen:
                    wanted.append((copy, words, chosen))
                    texts.append(" ".join(word.text for word in words))
                    places.append(spans)
        if not texts:
            return
        draws = [[copy.draw() for _ in chosen] for copy, _, chosen in wanted]
        for (copy, words, chosen), found in zip(wanted, substitute(texts, places, draws), strict=True):
            for i, other in zip(chosen, found, strict=True):
                core = WORD.search(words[i].text)
                if other is not None and core is not None:
                    text = _with_core(words[i].text, core.span(), other)
                    copy.changed["masked_lm"] += text != words[i].text
                    words[i] = words[i]._replace(text=text)


def _texts(example: Example) -> list[str]:
    """The texts that may change; of a multiple choice the context, because another question may have another answer."""
    if example.text_pair is None or example.choices is not None:
        return [example.text]
    return [example.text, example.text_pair]


def _sides(example: Example) -> list[list[_Word]]:
    """The words of each text, in tagging with their tags."""
    if example.words is None:
        return [[_Word(text) for text in side.split()] for side in _texts(example)]
    tags = labels_of(example.target) or (None,) * len(example.words)
    return [[_Word(example.text[a:b], tag) for (a, b), tag in zip(example.words, tags, strict=True)]]


def _spans(words: Sequence[_Word]) -> Iterator[Span]:
    """Where words stand that are put one space apart."""
    start = 0
    for word in words:
        yield start, start + len(word.text)
        start += len(word.text) + 1


def _with_core(text: str, core: Span, other: str) -> str:
    """A word whose core is replaced by another, with its punctuation and its capitals."""
    old = text[core[0] : core[1]]
    if old.isupper() and len(old) > 1:
        other = other.upper()
    elif old[0].isupper():
        other = other[0].upper() + other[1:]
    return text[: core[0]] + other + text[core[1] :]
