"""Data augmentation: adds changed copies of training rows, with the label of the original row.

Words are separated by white space, so languages without spaces do not benefit. All methods with a rate are applied to
each copy, in the order of the settings. Random word dropout and swaps: Wei & Zou 2019 ("EDA"); words of a masked
language model: Kobayashi 2018, Wu et al. 2018. A copy depends only on the seed, the row's id and the copy's number,
not on other rows.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import Field, model_validator

from bertwright.config.sections import InvalidSettingError, Location, Section
from bertwright.data.dataset import Dataset, labels_of
from bertwright.data.example import Answer, Example, Span
from bertwright.data.tagged_rows import OUTSIDE
from bertwright.data.text_files import load_text
from bertwright.errors import DataError, RecipeError
from bertwright.output.plurals import pluralize

Substitute = Callable[[Sequence[str], Sequence[Sequence[Span]], Sequence[Sequence[float]]], list[list[str | None]]]
"""Function of texts, the positions in each text that need a word, and for each position a number from 0 to 1 that
selects
among the candidates; returns the words, None for no change."""

Synonyms = Mapping[str, tuple[str, ...]]
"""Word → its synonyms."""

WORD: Final = re.compile(r"\w+(?:['’-]\w+)*")
"""A word without surrounding punctuation."""

_CHUNK: Final = 256  # rows to copy at a time: a few thousand words per batch of the masked language model
_PAST_TENSE: Final = {
    "word_dropout": "dropped",
    "swap": "swapped",
    "synonyms": "replaced by synonyms",
    "masked_lm": "replaced by the masked language model",
}

Rate = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(min_length=1)]


class AugmentationSettings(Section):
    """How training rows are copied and changed; by default they are not."""

    copies: int = Field(default=1, ge=0, description="Augmented copies per training row, if a method below has a rate.")
    word_dropout: Rate = Field(default=0.0, description="Share of words to remove; for tagging, of words tagged O.")
    swap: Rate = Field(
        default=0.0, description="Share of words to swap with the next word; for tagging, if their tags are equal."
    )
    synonyms: Rate = Field(default=0.0, description="Share of the words in synonym_file to replace by a synonym.")
    synonym_file: Location | None = Field(
        default=None,
        description="Synonyms: lines word<TAB>synonym<TAB>…, or JSON {word: [synonym]}.",
    )
    masked_lm: Rate = Field(
        default=0.0,
        description="Share of words to replace by predictions of masked_lm_model; for tagging, of words tagged O.",
    )
    masked_lm_model: Location | None = Field(
        default=None, description="Masked language model: a directory or a Hub name."
    )

    @property
    def is_active(self) -> bool:
        """Whether any row is added."""
        return bool(self.copies and (self.word_dropout or self.swap or self.synonyms or self.masked_lm))

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        for rate, source in (("synonyms", "synonym_file"), ("masked_lm", "masked_lm_model")):
            if getattr(self, rate) and not getattr(self, source):
                raise InvalidSettingError(
                    rate, f"is {getattr(self, rate)}, but data.augment.{source} is not set; set it too"
                )
        if self.copies > 1 and not self.is_active:
            raise InvalidSettingError(
                "copies", f"is {self.copies}, but no method has a rate; set one, such as word_dropout"
            )
        return self


@dataclass(frozen=True)
class AugmentationReport:
    """The result of augmentation.

    Attributes:
        rows: number of rows before augmentation.
        added: number of added rows.
        dismissed: number of discarded copies, which had no changes or were equal to another copy.
        words: number of changed words in the added rows, by method.
    """

    rows: int
    added: int = 0
    dismissed: int = 0
    words: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        changes = ", ".join(f"{pluralize(count, 'word')} {_PAST_TENSE[method]}" for method, count in self.words.items())
        return (
            f"added {pluralize(self.added, 'augmented copy', 'augmented copies')} of "
            f"{pluralize(self.rows, 'training row')} ({changes or 'no words changed'}); discarded "
            f"{pluralize(self.dismissed, 'copy', 'copies')} without changes or equal to another copy"
        )


def augment(
    rows: Dataset, settings: AugmentationSettings, seed: int, substitute: Substitute | None = None
) -> tuple[Dataset, AugmentationReport]:
    """Return the rows, followed by changed copies of each with the same target and the id ``<id>#1`` and so on.

    The words of a changed text are joined by spaces. For tagging, words keep their tags and entities stay intact: only
    words
    outside entities are removed, swapped or replaced, and no two entities become adjacent.

    Args:
        rows: training rows only; rows for evaluation must not be augmented.
        settings: how rows are changed.
        seed: random seed.
        substitute: finds words for masked positions, for ``settings.masked_lm``; see
            :meth:`bertwright.weights.masked_lm.MaskedLM.substitute`.

    Returns:
        The rows, with a line in their report, and the result of augmentation.

    Raises:
        RecipeError: the rows are questions with answers, whose offsets would change, or ``substitute`` is missing.
        DataError: the file of synonyms is damaged.
    """
    if not settings.is_active:
        return rows, AugmentationReport(len(rows))
    if any(isinstance(item, Answer) for target in rows.targets if isinstance(target, tuple) for item in target):
        raise RecipeError(
            "data.augment: does not support question answering, because answer offsets would change; remove it."
        )
    if settings.masked_lm and substitute is None:
        raise RecipeError("data.augment.masked_lm: needs a masked language model; pass its method as substitute=….")
    synonyms = load_synonyms(settings.synonym_file) if settings.synonyms and settings.synonym_file else {}
    entities = any(OUTSIDE in labels_of(row.target) for row in rows if row.words is not None)
    maker = _CopyMaker(settings, seed, synonyms, substitute, entities)

    used_ids = {row.id for row in rows}
    added: list[Example] = []
    words: Counter[str] = Counter()
    for start in range(0, len(rows), _CHUNK):
        for copy in maker.copies(rows.examples[start : start + _CHUNK]):
            name = copy.example.id
            while name in used_ids:  # a source may already have a row 7#1
                name += "#"
            used_ids.add(name)
            added.append(replace(copy.example, id=name))
            words += copy.changed
    dismissed = len(rows) * settings.copies - len(added)
    report = AugmentationReport(
        len(rows), len(added), dismissed, {key: words[key] for key in _PAST_TENSE if words[key]}
    )
    notes = (*rows.report.notes, f"{rows.report.source}: {report}")
    return Dataset([*rows, *added], replace(rows.report, notes=notes), rows.labels), report


class _Word(NamedTuple):
    text: str
    tag: str | None = None


@dataclass
class _Copy:
    """A copy that is being built.

    Attributes:
        example: the original until :meth:`finish`, then the copy.
        number: the number of the copy of this row.
        sides: the words of each of its texts.
        draw: the copy's random number generator.
        changed: number of changed words, by method.
    """

    example: Example
    number: int
    sides: list[list[_Word]]
    draw: Callable[[], float]
    changed: Counter[str] = field(default_factory=Counter)

    def finish(self) -> None:
        """Build the example from the words; a text with unchanged words stays unchanged."""
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
class _CopyMaker:
    """Makes copies; ``entities`` means that tags mark entities, so that only words outside entities may change."""

    settings: AugmentationSettings
    seed: int
    synonyms: Synonyms
    substitute: Substitute | None
    entities: bool

    def copies(self, rows: Sequence[Example]) -> Iterator[_Copy]:
        """All copies of some rows, except copies without changes or equal to another copy of the row."""
        copies = [self._make(row, number) for row in rows for number in range(1, self.settings.copies + 1)]
        if self.substitute is not None and self.settings.masked_lm:
            self._mask(copies, self.substitute)
        seen: dict[str, set[tuple[str, ...]]] = {row.id: {tuple(_texts(row))} for row in rows}
        for copy in copies:
            seen_texts = seen[copy.example.id]
            copy.finish()
            if (texts := tuple(_texts(copy.example))) not in seen_texts:
                seen_texts.add(texts)
                yield copy

    def _make(self, row: Example, number: int) -> _Copy:
        # One generator per copy, so that the order of rows and other rows do not matter. Seeding with text uses
        # SHA-512, and random() is the only method guaranteed not to change.
        draw = random.Random(f"{self.seed} {number} {row.id!a}").random
        copy = _Copy(row, number, _sides(row), draw)
        for method, change in (
            ("word_dropout", self._drop),
            ("swap", self._swap),
            ("synonyms", self._replace_synonyms),
        ):
            if rate := getattr(self.settings, method):
                for side, words in enumerate(copy.sides):
                    copy.sides[side], count = change(words, rate, draw)
                    copy.changed[method] += count
        return copy

    def _is_free(self, word: _Word) -> bool:
        return not self.entities or word.tag == OUTSIDE

    def _drop(self, words: list[_Word], rate: float, draw: Callable[[], float]) -> tuple[list[_Word], int]:
        remaining: list[_Word] = []
        for i, word in enumerate(words):
            separates = i + 1 < len(words) and remaining and not self._is_free(remaining[-1])
            separates = separates and not self._is_free(words[i + 1])
            if not self._is_free(word) or draw() >= rate or separates:
                remaining.append(word)
        if not remaining and words:  # keep at least one word
            remaining = [words[int(draw() * len(words))]]
        return remaining, len(words) - len(remaining)

    def _swap(self, words: list[_Word], rate: float, draw: Callable[[], float]) -> tuple[list[_Word], int]:
        words, i, count = words.copy(), 0, 0
        while i + 1 < len(words):
            if draw() < rate and words[i].tag == words[i + 1].tag and words[i] != words[i + 1]:
                words[i], words[i + 1] = words[i + 1], words[i]
                count += 2
                i += 1  # so that no word moves twice
            i += 1
        return words, count

    def _replace_synonyms(self, words: list[_Word], rate: float, draw: Callable[[], float]) -> tuple[list[_Word], int]:
        words, count = words.copy(), 0
        for i, (text, tag) in enumerate(words):
            if (core := WORD.search(text)) is None:
                continue
            synonyms = self.synonyms.get(core[0]) or self.synonyms.get(core[0].lower()) or ()
            if tag is not None:  # a tag belongs to one word
                synonyms = tuple(synonym for synonym in synonyms if not re.search(r"\s", synonym))
            if synonyms and draw() < rate:
                words[i] = _Word(_replace_core(text, core.span(), synonyms[int(draw() * len(synonyms))]), tag)
                count += words[i].text != text
        return words, count

    def _mask(self, copies: Sequence[_Copy], substitute: Substitute) -> None:
        """Request words for the masked positions of many copies at once."""
        rate = self.settings.masked_lm
        requests: list[tuple[_Copy, list[_Word], list[int]]] = []
        texts: list[str] = []
        places: list[list[Span]] = []
        for copy in copies:
            for words in copy.sides:
                chosen, spans = [], []
                for i, (start, _) in enumerate(_spans(words)):
                    core = WORD.search(words[i].text)
                    # a single word may be a sentence in a language without spaces, and has no context
                    if core and core[0].isalpha() and len(words) > 1 and self._is_free(words[i]) and copy.draw() < rate:
                        chosen.append(i)
                        spans.append((start + core.start(), start + core.end()))
                if chosen:
                    requests.append((copy, words, chosen))
                    texts.append(" ".join(word.text for word in words))
                    places.append(spans)
        if not texts:
            return
        draws = [[copy.draw() for _ in chosen] for copy, _, chosen in requests]
        for (copy, words, chosen), substitutes in zip(requests, substitute(texts, places, draws), strict=True):
            for i, new_word in zip(chosen, substitutes, strict=True):
                core = WORD.search(words[i].text)
                if new_word is not None and core is not None:
                    text = _replace_core(words[i].text, core.span(), new_word)
                    copy.changed["masked_lm"] += text != words[i].text
                    words[i] = words[i]._replace(text=text)


def _texts(example: Example) -> list[str]:
    """The texts that may change; of a multiple choice the context, because another question may have another answer."""
    if example.text_pair is None or example.choices is not None:
        return [example.text]
    return [example.text, example.text_pair]


def _sides(example: Example) -> list[list[_Word]]:
    """The words of each text, for tagging with their tags."""
    if example.words is None:
        return [[_Word(text) for text in side.split()] for side in _texts(example)]
    tags = labels_of(example.target) or (None,) * len(example.words)
    return [[_Word(example.text[a:b], tag) for (a, b), tag in zip(example.words, tags, strict=True)]]


def _spans(words: Sequence[_Word]) -> Iterator[Span]:
    """The positions of words that are joined by spaces."""
    start = 0
    for word in words:
        yield start, start + len(word.text)
        start += len(word.text) + 1


def _replace_core(text: str, core: Span, new: str) -> str:
    """Replace the core of a word and keep its punctuation and capitals."""
    old = text[core[0] : core[1]]
    if old.isupper() and len(old) > 1:
        new = new.upper()
    elif old[0].isupper():
        new = new[0].upper() + new[1:]
    return text[: core[0]] + new + text[core[1] :]


def load_synonyms(file: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Load synonyms from JSON (``.json``: word → list of synonyms) or from lines of tab-separated words.

    Raises:
        DataError: the file is missing or damaged, or an entry is not a single word.
    """
    path = Path(file)
    text = load_text(path)
    synonyms: dict[str, tuple[str, ...]] = {}
    parse = _parse_json if path.suffix.lower() == ".json" else _parse_lines
    for where, word, others in parse(path, text):
        if not WORD.fullmatch(word):
            raise DataError(
                f'{where}: "{word}" is not a single word of letters, digits, hyphens and apostrophes; '
                "use single words only."
            )
        if not others or not all(isinstance(other, str) and other.strip() for other in others):
            raise DataError(f'{where}: "{word}" has no synonym; add at least one word.')
        synonyms[word] = (*synonyms.get(word, ()), *others)
    return synonyms


def _parse_json(path: Path, text: str) -> Iterator[tuple[str, str, Sequence[Any]]]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({error}); write {{word: [synonym, …]}}.") from None
    if not isinstance(values, dict) or not all(isinstance(others, list) for others in values.values()):
        raise DataError(f"{path}: is not a mapping of words to lists; write {{word: [synonym, …]}}.")
    for word, others in values.items():
        yield str(path), word, others


def _parse_lines(path: Path, text: str) -> Iterator[tuple[str, str, Sequence[Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            word, *others = (cell.strip() for cell in line.split("\t"))
            yield f"{path}:{number}", word, others
