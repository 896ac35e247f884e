"""Cleaning texts before they are tokenised: a recorded part of the recipe, the same at training and at prediction.

The steps that are switched on run in one fixed order: mojibake, html, characters that nobody sees (``whitespace``),
unicode, lower, urls, runs of white space (``whitespace``). Invisible characters go before Unicode forms are composed,
as they may stand between a letter and its accent; letters are lowered before URLs become a word, which so stays as it
was written; white space comes last because the other steps leave some behind. Applying all this a second time changes
nothing, except for ``html`` (``&amp;lt;`` is the text ``&lt;``), ``mojibake`` and capitals in the word for URLs.
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
from bertwright.data.squad import NOWHERE
from bertwright.errors import MissingDependencyError

# Not html.parser: what it makes of unclosed tags differs between patch releases of Python, and a bundle must read a
# text as its training did. As in browsers, an unclosed script or comment lasts to the end of the text.
_MARKUP: Final = re.compile(
    r"""<(?P<unseen>script|style)\b[^<>]*>.*?(?:</(?P=unseen)\s*>|\Z)
    |<!--.*?(?:-->|\Z)
    |<[!?][a-z][^<>]*>
    |</?(?P<tag>[a-z][a-z0-9:-]*)(?:[^<>"']|"[^"]*"|'[^']*')*+>""",
    re.ASCII | re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# "phrasing" elements of the HTML standard, which stand within a word or line; the others end one
_INLINE: Final = re.compile(
    "a|abbr|b|bdi|bdo|big|cite|code|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|su[bp]|tt|u|var|wbr",
    re.IGNORECASE,
)
# Neither quotes, angle brackets nor CJK punctuation belong to a URL; what ends a sentence or bracket does not end one.
_URL: Final = re.compile(
    r"""(?<![a-z0-9_])(?:https?://|ftp://|www\.)[^\s<>"\u3000-\u303f\uff00-\uffef]*"""
    r"""[^\s<>"\u3000-\u303f\uff00-\uffef'.,;:!?)\]}]""",
    re.IGNORECASE,
)

_REMEMBERED: Final = 1024  # contexts of question answering come several times, near each other

Clean = Callable[[str], str]


class Normalise(Section):
    """How texts are cleaned; by default they stay as they are.

    >>> Normalise(html=True, urls="[URL]").normalise("Tom &amp; <b>Al</b>: see https://x.org/a.")
    'Tom & Al: see [URL].'
    """

    former_names: ClassVar[Mapping[str, str]] = {"lower": "lowercase"}

    mojibake: bool = Field(
        default=False, description="Repair text decoded with the wrong encoding, such as cafÃ©; needs ftfy."
    )
    html: bool = Field(
        default=False, description="Strip tags, comments, scripts and styles, and resolve entities such as &amp;."
    )
    unicode: Literal["NFC", "NFKC"] | None = Field(
        default=None, description="The Unicode form: NFC composes accents, NFKC also undoes ligatures and widths."
    )
    lowercase: bool = Field(default=False, description="Write all in lower case.")
    urls: Literal["keep", "remove"] | Annotated[str, Field(min_length=1)] = Field(
        default="keep", description="What becomes of URLs: keep, remove, or the word that takes their place."
    )
    whitespace: bool = Field(
        default=False, description="Make runs of white space one space; drop control and zero-width characters."
    )

    @property
    def active(self) -> bool:
        """Whether any step is switched on."""
        return self != Normalise()

    def normalise(self, text: str) -> str:
        """One text, cleaned.

        Raises:
            MissingDependencyError: ``mojibake`` is on and ftfy is not installed.
        """
        if self.mojibake and not text.isascii():
            text = _repaired(text)
        if self.html:
            text = html.unescape(_MARKUP.sub(_stripped, text))
        if self.whitespace:
            text = _visible(text)
        if self.unicode:
            text = unicodedata.normalize(self.unicode, text)
        if self.lowercase:
            text = text.lower()
            if self.unicode:  # some letters are composed in lower case only, such as ǰ
                text = unicodedata.normalize(self.unicode, text)
        if self.urls != "keep":
            word = "" if self.urls == "remove" else self.urls
            text = _URL.sub(lambda found: word, text)
        if self.whitespace:
            text = " ".join(text.split())
        return text

    def normalise_example(self, example: Example) -> Example:
        """An example with its texts cleaned and its words and answers where they then stand.

        Words are cleaned one by one and remain as many: one that would become empty stays as it was. An answer is
        cleaned like its context and looked for in it, at the place nearest to where it was; its start is ``NOWHERE``
        where it is not there, or was not where its start said.
        """
        return _cleaned(example, self.normalise)

    def apply(self, rows: Dataset) -> Dataset:
        """The rows with their texts cleaned; their report says how many changed.

        The report's fingerprint stays that of the rows as they were read: the recipe says what was done to them.
        """
        if not self.active:
            return rows
        clean = lru_cache(_REMEMBERED)(self.normalise)
        cleaned = [_cleaned(example, clean) for example in rows]
        both = list(zip(rows, cleaned, strict=True))
        pairs = [pair for old, new in both for pair in zip(_texts(old), _texts(new), strict=True)]
        changed = sum(before != after for before, after in pairs)
        notes = [f"{rows.report.source}: {changed:,} of {len(pairs):,} texts changed by data.normalize"]
        if emptied := sum(bool(before) and not after for before, after in pairs):
            notes.append(f"{rows.report.source}: {emptied:,} texts are empty after data.normalize")
        answers = [pair for old, new in both for pair in zip(_answers(old), _answers(new), strict=True)]
        if lost := sum(before.start != NOWHERE and after.start == NOWHERE for before, after in answers):
            notes.append(f"{rows.report.source}: {lost:,} answers do not stand in their text after data.normalize")
        return Dataset(cleaned, replace(rows.report, notes=(*rows.report.notes, *notes)), rows.labels)


def _cleaned(example: Example, clean: Clean) -> Example:
    if example.words is not None:
        text, words = _clean_words(example.text, example.words, clean)
        return replace(example, text=text, words=words)
    context = example.text_pair
    cleaned = replace(
        example,
        text=clean(example.text),
        text_pair=None if context is None else clean(context),
        choices=None if example.choices is None else tuple(map(clean, example.choices)),
    )
    if context is None or cleaned.text_pair is None or not _answers(example):
        return cleaned
    return replace(cleaned, target=tuple(_found(a, context, cleaned.text_pair, clean) for a in _answers(example)))


def _clean_words(text: str, words: tuple[Span, ...], clean: Clean) -> tuple[str, tuple[Span, ...]]:
    """A text whose words are cleaned one by one, and where they stand in it; what is between them stays."""
    pieces: list[str] = []
    spans: list[Span] = []
    length = end = 0
    for start, stop in words:
        gap, word = text[end:start], clean(text[start:stop]) or text[start:stop]
        pieces += [gap, word]
        spans.append((length + len(gap), length + len(gap) + len(word)))
        length, end = spans[-1][1], stop
    return "".join([*pieces, text[end:]]), tuple(spans)


def _found(answer: Answer, before: str, after: str, clean: Clean) -> Answer:
    """An answer that stood in one text, cleaned, where it stands in the cleaned text."""
    text = clean(answer.text)
    if not text or answer.start == NOWHERE or not before.startswith(answer.text, answer.start):
        return Answer(text, NOWHERE)
    # counted from the end: a text cut off before the answer would lose the space it ends with
    near = len(after) - len(clean(before[answer.start :]))
    places = [found.start() for found in re.finditer(f"(?={re.escape(text)})", after)]
    return Answer(text, min(places, key=lambda place: abs(place - near), default=NOWHERE))


def _answers(example: Example) -> list[Answer]:
    target = example.target
    return [item for item in target if isinstance(item, Answer)] if isinstance(target, tuple) else []


def _texts(example: Example) -> list[str]:
    pair = () if example.text_pair is None else (example.text_pair,)
    return [example.text, *pair, *(example.choices or ())]


def _stripped(markup: re.Match[str]) -> str:
    """What stands in place of markup: a space where a browser would end a word, nothing within one."""
    tag = markup["tag"] or ""
    return " " if markup["unseen"] or (tag and not _INLINE.fullmatch(tag)) else ""


def _visible(text: str) -> str:
    """A text without control and format characters (categories Cc and Cf), which BERT's own tokenizer drops too."""
    if text.isprintable():
        return text
    return "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))


def _repaired(text: str) -> str:
    try:
        from ftfy import fix_encoding
    except ImportError as error:
        raise MissingDependencyError(
            "data.normalize.mojibake: ftfy is not installed; run `pip install 'bertwright[text]'`."
        ) from error
    # ftfy.fix_text would also change quotes, ligatures, line breaks and entities, which have settings of their own
    return fix_encoding(text)
