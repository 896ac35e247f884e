"""Text normalization before tokenization, stored in the recipe and applied equally in training and prediction.

The active steps run in a fixed order: mojibake, html, invisible characters (``whitespace``), unicode, lowercase, urls,
runs of white space (``whitespace``). Invisible characters are removed before Unicode composition, because they may
separate a letter from its accent. Texts are lower-cased before URLs are replaced, so the replacement is unchanged.
White space is last because other steps leave some. A second application changes nothing, except for ``html``
(``&amp;lt;`` is the text ``&lt;``), ``mojibake`` and capitals in the replacement of URLs.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from bertwright.config.sections import Section
from bertwright.data.dataset import Dataset
from bertwright.data.example import Answer, Example, Span
from bertwright.data.squad import NOT_IN_CONTEXT
from bertwright.errors import MissingDependencyError
from bertwright.output.plurals import pluralize

# Not html.parser, which treats unclosed tags differently in different Python releases: prediction must normalize a
# text as training did. As in browsers, an unclosed script or comment extends to the end of the text.
_MARKUP: Final = re.compile(
    r"""<(?P<unseen>script|style)\b[^<>]*>.*?(?:</(?P=unseen)\s*>|\Z)
    |<!--.*?(?:-->|\Z)
    |<[!?][a-z][^<>]*>
    |</?(?P<tag>[a-z][a-z0-9:-]*)(?:[^<>"']|"[^"]*"|'[^']*')*+>""",
    re.ASCII | re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# "phrasing" elements of the HTML standard, which may occur inside a word or line; other elements end a word
_INLINE: Final = re.compile(
    "a|abbr|b|bdi|bdo|big|cite|code|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|su[bp]|tt|u|var|wbr",
    re.IGNORECASE,
)
# Quotes, angle brackets and CJK punctuation are not part of a URL; a URL does not end with . , ; : ! ? or a bracket.
_URL: Final = re.compile(
    r"""(?<![a-z0-9_])(?:https?://|ftp://|www\.)[^\s<>"\u3000-\u303f\uff00-\uffef]*"""
    r"""[^\s<>"\u3000-\u303f\uff00-\uffef'.,;:!?)\]}]""",
    re.IGNORECASE,
)

_CACHED_TEXTS: Final = 1024  # contexts of question answering recur, close to each other

Clean = Callable[[str], str]


class NormalizationSettings(Section):
    """How texts are normalized; by default they are unchanged.

    >>> NormalizationSettings(html=True, urls="[URL]").normalize("Tom &amp; <b>Al</b>: see https://x.org/a.")
    'Tom & Al: see [URL].'
    """

    former_names: ClassVar[Mapping[str, str]] = {"lower": "lowercase"}

    mojibake: bool = Field(
        default=False, description="Repair text decoded with the wrong encoding, such as cafÃ©; needs ftfy."
    )
    html: bool = Field(
        default=False, description="Remove HTML tags, comments, scripts and styles, and decode entities such as &amp;."
    )
    unicode: Literal["NFC", "NFKC"] | None = Field(
        default=None,
        description="Unicode normalization form: NFC composes accents, NFKC also replaces ligatures and widths.",
    )
    lowercase: bool = Field(default=False, description="Lower-case texts.")
    urls: Literal["keep", "remove"] | Annotated[str, Field(min_length=1)] = Field(
        default="keep", description="URLs: keep, remove, or a word that replaces them."
    )
    whitespace: bool = Field(
        default=False, description="Collapse white space to single spaces; remove control and zero-width characters."
    )

    @property
    def is_active(self) -> bool:
        """Whether any step is active."""
        return self != NormalizationSettings()

    def normalize(self, text: str) -> str:
        """Normalize one text.

        Raises:
            MissingDependencyError: ``mojibake`` is on and ftfy is not installed.
        """
        if self.mojibake and not text.isascii():
            text = _repair(text)
        if self.html:
            text = html.unescape(_MARKUP.sub(_replace_markup, text))
        if self.whitespace:
            text = _remove_invisible(text)
        if self.unicode:
            text = unicodedata.normalize(self.unicode, text)
        if self.lowercase:
            text = text.lower()
            if self.unicode:  # some letters, such as ǰ, have a composed form only in lower case
                text = unicodedata.normalize(self.unicode, text)
        if self.urls != "keep":
            word = "" if self.urls == "remove" else self.urls
            text = _URL.sub(lambda match: word, text)
        if self.whitespace:
            text = " ".join(text.split())
        return text

    def normalize_example(self, example: Example) -> Example:
        """Normalize the texts of an example, and move its words and answers to their new positions.

        Words are normalized one by one; a word that would become empty is unchanged, so their number is unchanged. An
        answer
        is normalized like its context and located in it, nearest to its old position. Its start is ``NOT_IN_CONTEXT``
        if it is
        not found, or if its old start was wrong.
        """
        return _normalize(example, self.normalize)

    def apply(self, rows: Dataset) -> Dataset:
        """Normalize the texts of all rows; the report counts the changes.

        The report's fingerprint stays that of the original rows; the recipe records the normalization.
        """
        if not self.is_active:
            return rows
        normalizer = Normalizer(self)
        normalized = [normalizer.normalize(example) for example in rows]
        notes = (*rows.report.notes, *normalizer.notes(rows.report.source))
        return Dataset(normalized, replace(rows.report, notes=notes), rows.labels)


class Normalizer:
    """Normalizes examples and counts what it changed.

    Args:
        settings: the steps.
    """

    def __init__(self, settings: NormalizationSettings) -> None:
        self._is_active = settings.is_active
        self._clean = lru_cache(_CACHED_TEXTS)(settings.normalize)
        self._n_texts = self._n_changed = self._n_emptied = self._n_lost = 0

    def normalize(self, example: Example) -> Example:
        """Normalize the texts of an example."""
        if not self._is_active:
            return example
        normalized = _normalize(example, self._clean)
        for before, after in zip(_texts(example), _texts(normalized), strict=True):
            self._n_texts += 1
            self._n_changed += before != after
            self._n_emptied += bool(before) and not after
        for old, new in zip(_answers(example), _answers(normalized), strict=True):
            self._n_lost += old.start != NOT_IN_CONTEXT and new.start == NOT_IN_CONTEXT
        return normalized

    def notes(self, source: str) -> list[str]:
        """What was changed in the examples of a source."""
        if not self._is_active:
            return []
        notes = [f"{source}: data.normalize changed {self._n_changed:,} of {pluralize(self._n_texts, 'text')}"]
        if self._n_emptied:
            notes.append(f"{source}: {pluralize(self._n_emptied, 'empty text')} after data.normalize")
        if self._n_lost:
            notes.append(f"{source}: {pluralize(self._n_lost, 'answer')} not found in the context after data.normalize")
        return notes


def _normalize(example: Example, clean: Clean) -> Example:
    if example.words is not None:
        text, words = _normalize_words(example.text, example.words, clean)
        return replace(example, text=text, words=words)
    context = example.text_pair
    normalized = replace(
        example,
        text=clean(example.text),
        text_pair=None if context is None else clean(context),
        choices=None if example.choices is None else tuple(map(clean, example.choices)),
    )
    answers = _answers(example)
    if context is None or normalized.text_pair is None or not answers:
        return normalized
    target = tuple(_relocate(answer, context, normalized.text_pair, clean) for answer in answers)
    return replace(normalized, target=target)


def _normalize_words(text: str, words: tuple[Span, ...], clean: Clean) -> tuple[str, tuple[Span, ...]]:
    """Normalize the words of a text one by one, and return their new positions; text between words is unchanged."""
    pieces: list[str] = []
    spans: list[Span] = []
    length = end = 0
    for start, stop in words:
        gap, word = text[end:start], clean(text[start:stop]) or text[start:stop]
        pieces += [gap, word]
        spans.append((length + len(gap), length + len(gap) + len(word)))
        length, end = spans[-1][1], stop
    return "".join([*pieces, text[end:]]), tuple(spans)


def _relocate(answer: Answer, before: str, after: str, clean: Clean) -> Answer:
    """Normalize an answer and locate it in the normalized context."""
    text = clean(answer.text)
    if not text or answer.start == NOT_IN_CONTEXT or not before.startswith(answer.text, answer.start):
        return Answer(text, NOT_IN_CONTEXT)
    # counted from the end, because normalizing the text before the answer would remove the space at its end
    expected = len(after) - len(clean(before[answer.start :]))
    places = [match.start() for match in re.finditer(f"(?={re.escape(text)})", after)]
    return Answer(text, min(places, key=lambda place: abs(place - expected), default=NOT_IN_CONTEXT))


def _answers(example: Example) -> list[Answer]:
    target = example.target
    return [item for item in target if isinstance(item, Answer)] if isinstance(target, tuple) else []


def _texts(example: Example) -> list[str]:
    pair = () if example.text_pair is None else (example.text_pair,)
    return [example.text, *pair, *(example.choices or ())]


def _replace_markup(markup: re.Match[str]) -> str:
    """The replacement of markup: a space where a browser would end a word, nothing inside a word."""
    tag = markup["tag"] or ""
    return " " if markup["unseen"] or (tag and not _INLINE.fullmatch(tag)) else ""


def _remove_invisible(text: str) -> str:
    """Remove control and format characters (categories Cc and Cf), which BERT's own tokenizer also removes."""
    if text.isprintable():
        return text
    return "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))


def _repair(text: str) -> str:
    try:
        from ftfy import fix_encoding
    except ImportError as error:
        raise MissingDependencyError(
            "data.normalize.mojibake: ftfy is not installed; run `pip install 'bertwright[text]'`."
        ) from error
    # ftfy.fix_text would also change quotes, ligatures, line breaks and entities, which have separate settings
    return fix_encoding(text)
