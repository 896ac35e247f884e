"""``Explanation``: the attributions of the tokens and words of a text, and how accurate they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from bertwright.data.example import Span
from bertwright.output.escaping import escape_lines
from bertwright.output.palette import BLUE, VERMILION
from bertwright.tasks.explained_outputs import NO_ANSWER, THE_VALUE
from bertwright.tasks.spec import Prediction, round_prediction


@dataclass(frozen=True, slots=True)
class ExplainedText:
    """A text of the explained example.

    Attributes:
        name: what the task calls it, such as ``text`` or ``question``.
        text: the text; character offsets refer to it.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class TokenAttribution:
    """The attribution of one token.

    Attributes:
        token: its spelling in the vocabulary, such as ``##ing``.
        text: index of its text in :attr:`Explanation.texts`.
        start: its first character in the text.
        end: the character after its last.
        attribution: how much it raises the score, compared with the baseline token; negative if it lowers the score.
    """

    token: str
    text: int
    start: int
    end: int
    attribution: float


@dataclass(frozen=True, slots=True)
class WordAttribution:
    """The attribution of one word: the sum of those of its tokens.

    Attributes:
        word: its characters.
        text: index of its text in :attr:`Explanation.texts`.
        start: its first character in the text.
        end: the character after its last.
        attribution: how much it raises the score.
    """

    word: str
    text: int
    start: int
    end: int
    attribution: float


@dataclass(frozen=True)
class Explanation:
    """Attributions of a prediction by integrated gradients.

    The attributions of all tokens sum up to ``score - baseline_score + convergence_delta``. Special tokens such as
    [CLS] are the same in the baseline, so they have none.

    Attributes:
        texts: the texts of the example.
        target: what is explained: a label, a tag, an answer, or ``the value``.
        quantity: the kind of score, such as ``log odds``.
        score: of the target.
        baseline_score: of the target if every token is replaced by the baseline token.
        baseline: the baseline token, such as ``[MASK]``.
        convergence_delta: the sum of the attributions minus the difference of both scores; 0 for an exact integral.
        n_steps: number of gradients that were computed.
        is_accurate: whether the error of the integral is below 0.1 % of the sum of the absolute attributions.
        tokens: in the order of the texts.
        words: in the order of the texts, without words that have no token.
        prediction: of the model for the example.
        word: for tagging, the characters of the word whose tag is explained.
        notes: sentences that a reader should know, such as one about truncated tokens.
    """

    texts: tuple[ExplainedText, ...]
    target: str
    quantity: str
    score: float
    baseline_score: float
    baseline: str
    convergence_delta: float
    n_steps: int
    is_accurate: bool
    tokens: tuple[TokenAttribution, ...]
    words: tuple[WordAttribution, ...]
    prediction: Prediction
    word: Span | None = None
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """The sum of all attributions."""
        return sum(token.attribution for token in self.tokens)

    @property
    def scale(self) -> float:
        """The largest absolute attribution of a word, to which colors are scaled; 1 if all are 0."""
        return max((abs(word.attribution) for word in self.words), default=0.0) or 1.0

    def describe_target(self) -> str:
        """The target in quotation marks, and the word whose tag it is."""
        quoted = self.target if self.target in (NO_ANSWER, THE_VALUE) else f'"{self.target}"'
        if self.word is None:
            return quoted
        start, end = self.word
        return f'{quoted} for "{self.texts[0].text[start:end]}"'

    def pieces(self, text: int) -> list[tuple[str, float]]:
        """One of the texts in pieces, words and what is between them, each with a weight from -1 to 1.

        The weight is the attribution as a share of :attr:`scale`; 0 between words and for words without attribution.
        """
        full_text, scale = self.texts[text].text, self.scale
        pieces, done = list[tuple[str, float]](), 0
        for word in self.words:
            if word.text == text:
                pieces += [(full_text[done : word.start], 0.0)] if word.start > done else []
                pieces.append((full_text[word.start : word.end], word.attribution / scale))
                done = word.end
        return [*pieces, (full_text[done:], 0.0)] if done < len(full_text) else pieces

    def _repr_html_(self) -> str:
        """The highlighted texts in a notebook: blue words raise the score, orange words lower it."""
        lines = [f"{escape(self.quantity)} of {escape(self.describe_target())}: {self.score:.4g}"]
        for i in range(len(self.texts)):
            lines.append("".join(_highlight(text, weight) for text, weight in self.pieces(i)))
        return "".join(f'<p style="white-space:pre-wrap">{line}</p>' for line in lines)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON values; numbers have six significant digits."""
        numbers = {"score": self.score, "baseline_score": self.baseline_score, "total": self.total}
        return {
            "target": self.target,
            "quantity": self.quantity,
            "word": None if self.word is None else list(self.word),
            **{name: round_prediction(value) for name, value in numbers.items()},
            "convergence_delta": round_prediction(self.convergence_delta),
            "is_accurate": self.is_accurate,
            "steps": self.n_steps,
            "baseline": self.baseline,
            "texts": [{"name": each.name, "text": each.text} for each in self.texts],
            "tokens": [_to_dict(each, token=each.token) for each in self.tokens],
            "words": [_to_dict(each, word=each.word) for each in self.words],
            "notes": list(self.notes),
        }


def _to_dict(piece: TokenAttribution | WordAttribution, **spelling: str) -> dict[str, Any]:
    place = {"text": piece.text, "start": piece.start, "end": piece.end}
    return {**spelling, **place, "attribution": round_prediction(piece.attribution)}


def merge_tokens(
    tokens: Sequence[TokenAttribution], texts: Sequence[ExplainedText], words: Sequence[Sequence[Span]]
) -> tuple[WordAttribution, ...]:
    """Add up the attributions of the tokens of each word.

    A token that begins in no word counts as part of the word before it in the same text, or as a separate word.

    Args:
        tokens: in the order of the texts.
        texts: the texts of the example.
        words: the characters of the words of each text, in order.
    """
    merged: list[WordAttribution] = []
    owners: list[int | None] = []
    for token in tokens:
        owner = next((i for i, (a, b) in enumerate(words[token.text]) if a <= token.start < b), None)
        start, end, attribution = token.start, token.end, token.attribution
        if merged and merged[-1].text == token.text and owner in (None, owners[-1]):
            last = merged.pop()
            owner = owners.pop()
            start, end, attribution = last.start, max(end, last.end), attribution + last.attribution
        elif owner is not None:
            start, end = words[token.text][owner][0], max(end, words[token.text][owner][1])
        merged.append(WordAttribution(texts[token.text].text[start:end], token.text, start, end, attribution))
        owners.append(owner)
    return tuple(merged)


def _highlight(text: str, weight: float) -> str:
    """HTML of a piece of a text, with a background that is more opaque for a larger weight, -1 to 1."""
    shown = escape(escape_lines(text))
    if not weight:
        return shown
    color = f"{BLUE if weight > 0 else VERMILION}{round(200 * abs(weight)):02x}"
    return f'<span style="background:{color}" title="{weight:+.2f}">{shown}</span>'
