"""Tagging: a tag for every word of a text, such as its part of speech or its entity type.

The tag of a word is learned and predicted at its first token, as Devlin et al. 2018 (section 5.3) do. Long texts run in
overlapping windows, and each word is tagged where its first token has the most context, so that none is dropped.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bertwright.data.dataset import labels_of
from bertwright.data.example import Example, Span
from bertwright.data.targets.spec import TargetSpec
from bertwright.data.targets.tags import TAGS
from bertwright.data.words import words_of
from bertwright.errors import DataError
from bertwright.metrics import (
    CLASSIFICATION,
    DEFAULT_METRICS,
    TAGGING,
    Outcome,
    OutcomeKind,
    Scheme,
    TaggingOutcome,
    bootstrap_intervals,
    check_metrics,
    compute_metrics,
    confusion_matrix,
    describe_collapse,
    per_class_metrics,
)
from bertwright.metrics.charts import Chart
from bertwright.metrics.label_errors import find_word_errors
from bertwright.metrics.spans import UNTYPED, detect_scheme, spans_from_tags, split_tag
from bertwright.metrics.uncertainty import compute_entropy, compute_margin
from bertwright.nn import IGNORE_INDEX
from bertwright.nn.head_outputs import HeadOutput, TagOutput
from bertwright.tasks.evaluation_charts import chart_confusions, chart_length, chart_span_errors
from bertwright.tasks.explained_outputs import (
    LOG_ODDS,
    ExplainedOutput,
    ExplanationRequest,
    compute_log_odds,
    describe_window,
    find_label,
)
from bertwright.tasks.formats.spec import PredictionFormat
from bertwright.tasks.formats.tags import TagFormat
from bertwright.tasks.labels import Labelled, log_loss, softmax
from bertwright.tasks.rejected_settings import LABEL_COLUMNS, LABEL_SEPARATOR, SKIP_LABELS, RejectedSetting
from bertwright.tasks.review import join_words
from bertwright.tasks.schemas.spec import ServiceSchema
from bertwright.tasks.schemas.words import WordsSchema
from bertwright.tasks.spec import (
    DEFAULT_TOKENS,
    EvaluationResult,
    Loss,
    Outputs,
    PredictedSpan,
    Prediction,
    as_scores,
    has_targets,
    round_prediction,
    targets_of,
)
from bertwright.tasks.usage_scripts import word_script
from bertwright.tasks.wording import TaskWording
from bertwright.tokenization.cached_encodings import encode_with_cache
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertwright.nn.batch import Batch
    from bertwright.nn.encoder import EncoderConfig
    from bertwright.nn.heads import HeadStyle

OUTSIDE = "O"

MOST_CONFUSED = 20
"""With more tags than this no confusion matrix is computed, because it would be too large to read."""

NO_TOKEN = -1

UNKNOWN = -1
"""The target of a word with an unknown tag; a CRF still needs to know where words begin."""

NOTHING = 1e-12
"""The count of a batch without tags: too small to change the sum of a step, large enough to divide by."""


class WordTags(NamedTuple):
    """The predictions for the words of a text.

    Attributes:
        tags: int (W,), the number of each word's tag.
        sure: float (W,), its probability; 0 for a word that the tokenizer leaves without a token.
        entropy: the mean entropy of the words' distributions of tags, in nats; 0 without a word that has a token.
        margin: the smallest margin of a word; 1 without a word that has a token.
    """

    tags: NDArray[np.int64]
    sure: NDArray[np.float32]
    entropy: float = 0.0
    margin: float = 1.0


class Tagging(Labelled):
    """A tag for each word, and the labeled spans that the tags mark.

    A word without a token, such as a lone zero-width character, is outside of every span; among plain tags it gets
    the first of ``labels``, which is the most common one if they were inferred from data.
    """

    outcome_kind: ClassVar[OutcomeKind] = TAGGING
    target_spec: ClassVar[TargetSpec] = TAGS
    wording: ClassVar[TaskWording] = TaskWording(
        "assigns one of {n} tags to each word of a text",
        ("token-classification", "Token Classification"),
        baseline="the most frequent tag of each word",
        baseline_column="most frequent tag",
    )
    rejected_settings: ClassVar[tuple[RejectedSetting, ...]] = (LABEL_COLUMNS, LABEL_SEPARATOR, SKIP_LABELS)
    allows_crf: ClassVar[bool] = True
    head_kind: ClassVar[str] = "tagging"
    scores_tokens: ClassVar[bool] = True

    kind: Literal["tagging"] = "tagging"
    scheme: Literal["auto", "BIO", "IOB1", "BIOES", "none"] = Field(
        default="auto",
        description="Tagging scheme of spans; none: plain tags such as parts of speech. auto: inferred from the data.",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the target spread evenly over all labels (Szegedy et al. 2016)."
    )

    def infer_from_data(self, examples: Sequence[Example], labels: Sequence[str] | None = None) -> Self:
        """Infer the scheme and the tags: O, or the most common plain tag, then the others sorted.

        If a tag of a type of span occurs, its other letters are added too: I-PER without B-PER is a coincidence.
        """
        tags = [labels_of(example.target) for example in examples]
        counts = Counter(chain.from_iterable(tags))
        scheme = detect_scheme(tags) if self.scheme == "auto" else self.scheme
        label_names = self.labels or tuple(labels or _complete_scheme(counts, scheme))
        return self.replace(scheme=scheme)._with_labels(label_names, counts, counts.total())

    @property
    def prediction_format(self) -> PredictionFormat:
        """Each text with its spans, or each word with its tag."""
        return TagFormat(plain=self.written == "none")

    def service_schema(self, pair: bool | None) -> ServiceSchema:
        """A text or its words, and their tags."""
        return WordsSchema()

    def usage_script(self, directory: str, max_length: int | None, pair: bool) -> str:
        """A Python script that uses a model of this task with transformers."""
        return word_script(directory)

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        tokens: TokenSettings = DEFAULT_TOKENS,
        on_note: Callable[[str], None] | None = None,
    ) -> Encodings:
        """[CLS] text [SEP], in windows where it is longer, with a word's tag on its first token, or :data:`UNKNOWN`."""
        texts = [example.text for example in examples]
        windows = self.adapt_tokens(tokens)
        encodings = encode_with_cache(tokenizer, texts, None, windows, on_note=on_note)
        words = [words_of(example) for example in examples]
        first, shared = _first_tokens(encodings, texts, words)
        if on_note is not None:
            for text in _notes(examples, words, first, shared):
                on_note(text)
        numbers = self._numbers(examples)
        targets = np.full(len(encodings.ids), IGNORE_INDEX, np.int64)
        own = (first != NO_TOKEN) & ~shared
        targets[first[own]] = UNKNOWN if numbers is None else numbers[own]
        return encodings.with_targets(targets)

    def head(self, config: EncoderConfig, style: HeadStyle) -> nn.Module:
        """The families' standard head of tokens: dropout and a dense layer."""
        from bertwright.nn.heads import TokenHead

        return TokenHead(config.width, self.n_outputs, style)

    def loss(self, scores: Tensor, batch: Batch) -> Loss:
        """Cross-entropy of the tokens that have a tag; with class weights divided by theirs, as torch's mean is."""
        from torch.nn import functional

        targets = targets_of(batch)
        is_tagged = targets >= 0
        targets, weight = targets[is_tagged], self._weight_tensor(scores)
        total = functional.cross_entropy(
            scores[is_tagged], targets, weight=weight, reduction="sum", label_smoothing=self.label_smoothing
        )
        if not len(targets):  # a window may contain only the middle of a word
            return Loss(total, NOTHING)
        return Loss(total, float(len(targets)) if weight is None else weight[targets].sum())

    def average_scores(self, scores: Sequence[Tensor], batch: Batch) -> Tensor:
        """The log of the mean probability of each tag of each token."""
        from bertwright.tasks.score_averaging import log_mean_softmax

        return log_mean_softmax(scores)

    def outputs(self, decoded: HeadOutput, encodings: Encodings, examples: Sequence[Example]) -> list[WordTags]:
        """For each example the most likely tag of every word and its probability."""
        words = [words_of(example) for example in examples]
        first, _ = _first_tokens(encodings, [example.text for example in examples], words)
        has_token = first != NO_TOKEN
        tags = np.full(len(first), self._names.index(OUTSIDE) if OUTSIDE in self._names else 0, np.int64)
        sure = np.zeros(len(first), np.float32)
        tokens = first[has_token]
        if isinstance(decoded, TagOutput):
            tags[has_token], sure[has_token] = decoded.tags[tokens], decoded.confidences[tokens]
            entropies, margins = decoded.entropies[tokens], decoded.margins[tokens]
        else:
            probabilities = softmax(as_scores(decoded)[tokens])
            tags[has_token], sure[has_token] = probabilities.argmax(1), probabilities.max(1)
            entropies, margins = compute_entropy(probabilities), compute_margin(probabilities)
        cuts = np.cumsum([len(spans) for spans in words])[:-1]
        cuts_of_tokens = np.append(0, np.cumsum(has_token))[cuts]
        return [
            WordTags(of_tags, of_sure, float(of_entropies.mean()), float(of_margins.min()))
            if len(of_margins)
            else WordTags(of_tags, of_sure)
            for of_tags, of_sure, of_entropies, of_margins in zip(
                np.split(tags, cuts),
                np.split(sure, cuts),
                np.split(entropies, cuts_of_tokens),
                np.split(margins, cuts_of_tokens),
                strict=True,
            )
        ]

    def output_to_explain(
        self, request: ExplanationRequest, prediction: Prediction, encodings: Encodings, example: Example
    ) -> ExplainedOutput:
        """The log odds of the tag of one word, in the window that shows the word with most context."""
        words = words_of(example)
        position = _find_word(request.word, example.text, words, prediction)
        start, end = words[position]
        target = (prediction.tags or ())[position] if request.target is None else request.target
        index = find_label(target, self._names, "tag")
        first, _ = _first_tokens(encodings, [example.text], [words])
        token = int(first[position])
        if token == NO_TOKEN:
            raise DataError(f'word: "{example.text[start:end]}" has no token, so its tag has no explanation.')
        window = int(np.searchsorted(encodings.bounds, token, side="right")) - 1
        place = token - int(encodings.bounds[window])
        return ExplainedOutput(
            target,
            LOG_ODDS,
            np.array([window]),
            lambda scores: compute_log_odds(scores[:, place], index),
            (start, end),
            describe_window(window, len(encodings), "the most context around the word"),
        )

    def decode(self, outputs: Outputs, examples: Sequence[Example]) -> list[Prediction]:
        """The tag of every word, and the spans, in characters of the example's text.

        Tags that the scheme does not allow, as an I after O, are read as conlleval reads them: as the begin of a
        span. A span's score is the mean of its words' probabilities.
        """
        predictions = []
        for example, word_tags in zip(examples, outputs, strict=True):
            tags = tuple(self._names[number] for number in word_tags.tags)
            spans = self._spans(example, tags, word_tags.sure)
            predictions.append(
                Prediction(example.id, tags=tags, spans=spans, entropy=word_tags.entropy, margin=word_tags.margin)
            )
        return predictions

    def evaluate(
        self, outputs: Outputs, examples: Sequence[Example], train: Sequence[Example] | None = None
    ) -> EvaluationResult:
        """Metrics of spans as conlleval counts them, or of plain tags; intervals are over examples.

        The baseline gives each word the tag it has most often in ``train``, and new words the commonest of all; there
        is none where ``train`` is the examples themselves, which it would know by heart.
        """
        outcome = self.to_outcome(outputs, examples)
        names = check_metrics(self.chosen_metrics, TAGGING, self.n_outputs)
        baseline = None
        if train is not None and train is not examples:
            baseline = self._to_outcome(outcome.gold, _commonest_tags(train, examples))
        matrix, gold = None, self._numbers(examples)
        if gold is not None and self.n_outputs <= MOST_CONFUSED:
            predicted = np.concatenate([word_tags.tags for word_tags in outputs])
            matrix = confusion_matrix(Outcome(CLASSIFICATION, gold, predicted, self._names)).tolist()
        return EvaluationResult(
            metrics=compute_metrics(names, outcome),
            intervals=bootstrap_intervals(names, outcome) if train is not None else {},
            baseline={} if baseline is None else compute_metrics(names, baseline),
            per_class=per_class_metrics(outcome),
            confusion=matrix,
            collapsed=describe_collapse(outcome),
            n=len(outcome),
        )

    def to_outcome(self, outputs: Outputs, examples: Sequence[Example]) -> TaggingOutcome:
        """The predicted and the true tags."""
        if self._numbers(examples) is None:
            raise DataError("evaluation: the examples have no tags, so there is nothing to compare with.")
        truth = [labels_of(example.target) for example in examples]
        return self._to_outcome(truth, [[self._names[number] for number in word_tags.tags] for word_tags in outputs])

    def make_charts(self, outputs: Outputs, examples: Sequence[Example]) -> list[Chart]:
        """Kinds of errors, or the confused plain tags; and the score by text length."""
        outcome = self.to_outcome(outputs, examples)
        errors = chart_confusions(outcome.words(), "words") if self.written == "none" else chart_span_errors(outcome)
        return [*errors, *chart_length(self, outputs, examples)]

    def row_losses(self, outputs: Outputs, examples: Sequence[Example]) -> NDArray[np.float64]:
        """The least negative log-likelihood of the words' tags that the predicted tags allow, summed over words.

        Only the probability of the predicted tag is known; that of another tag is at most the rest.
        """
        gold, predicted, confidence, row = self._flatten(outputs, examples)
        losses = log_loss(np.where(gold == predicted, confidence, 1 - confidence))
        return np.bincount(row, np.where(confidence > 0, losses, 0.0), len(examples)).astype(np.float64)

    def suspect_labels(self, outputs: Outputs, examples: Sequence[Example]) -> NDArray[np.intp]:
        """Examples with words that have another tag than one that is predicted with confidence."""
        gold, predicted, confidence, row = self._flatten(outputs, examples)
        suspects = find_word_errors(gold, predicted, confidence)
        highest = np.zeros(len(examples))
        np.maximum.at(highest, row[suspects], confidence[suspects])
        order = np.argsort(-highest, kind="stable")
        return order[: np.count_nonzero(highest)]

    def describe_error(self, example: Example, prediction: Prediction) -> tuple[str, str, float | None]:
        """The words whose tags differ, with their tags."""
        sides = zip(words_of(example), labels_of(example.target), prediction.tags or (), strict=True)
        differing = [(example.text[slice(*span)], gold, tag) for span, gold, tag in sides if gold != tag]
        return (
            join_words(f"{word}/{gold}" for word, gold, _ in differing),
            join_words(f"{word}/{tag}" for word, _, tag in differing),
            None,
        )

    def columns(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """``tags``, a list with one per word, and unless they are plain tags ``spans``, a list of the marked spans."""
        columns: dict[str, list[Any]] = {"tags": [list(prediction.tags or ()) for prediction in predictions]}
        if self.written != "none":
            columns["spans"] = [[_plain(span) for span in prediction.spans] for prediction in predictions]
        return columns

    @property
    def written(self) -> Scheme:
        """The scheme of the tags; if none is set, the one that the labels follow."""
        return detect_scheme([[name] for name in self._names]) if self.scheme == "auto" else self.scheme

    @property
    def chosen_metrics(self) -> tuple[str, ...]:
        """The metrics of the recipe; else precision, recall and F1 of spans, or accuracy of plain tags."""
        if self.metrics is None and self.written == "none":
            return ("token_accuracy",)
        return self.metrics or DEFAULT_METRICS[TAGGING]

    def _flatten(self, outputs: Outputs, examples: Sequence[Example]) -> tuple[NDArray[Any], ...]:
        """True and predicted tag of every word, the probability of the predicted one, and the number of its example."""
        gold = self._numbers(examples)
        if gold is None:
            raise DataError("evaluation: the examples have no tags, so there is nothing to compare with.")
        predicted, confidence = (np.concatenate([word_tags[i] for word_tags in outputs]) for i in (0, 1))
        row = np.repeat(np.arange(len(examples)), [len(word_tags.tags) for word_tags in outputs])
        return gold, predicted, confidence.astype(np.float64), row

    def _to_outcome(self, gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> TaggingOutcome:
        return TaggingOutcome(gold, predicted, self.written)

    def _spans(self, example: Example, tags: Sequence[str], sure: NDArray[np.float32]) -> tuple[PredictedSpan, ...]:
        if self.written == "none":
            return ()
        predicted = []
        words = words_of(example)
        for type_, first, stop in spans_from_tags(tags, self.written):
            start, end = words[first][0], words[stop - 1][1]
            predicted.append(PredictedSpan(example.text[start:end], start, end, type_, float(sure[first:stop].mean())))
        return tuple(predicted)

    def _numbers(self, examples: Sequence[Example]) -> NDArray[np.int64] | None:
        """The tags of all words of all examples as numbers; None if no example has tags."""
        if not has_targets(examples):
            return None
        for example in examples:
            if (n_tags := len(labels_of(example.target))) != (n_words := len(words_of(example))):
                raise DataError(
                    f"{example.where or example.id}: {n_tags} tags for {n_words} words; every word needs one."
                )
        index = {name: i for i, name in enumerate(self._names)}
        tags = [index.get(tag, -1) for example in examples for tag in labels_of(example.target)]
        if -1 in tags:
            for example in examples:
                for tag in labels_of(example.target):
                    self._number(tag, example, index)
        return np.array(tags, np.int64)


def _complete_scheme(tags: Iterable[str], scheme: Scheme) -> list[str]:
    """The tags in their order, with all letters of every type of span."""
    counts = Counter(tags) if not isinstance(tags, Counter) else tags
    if scheme == "none":
        first = [tag for tag, _ in counts.most_common(1)]
        return first + sorted(counts.keys() - set(first))
    letters = "BI"
    if scheme == "BIOES":
        letters = "BILU" if any(tag[0] in "LU" for tag in counts) else "BIES"
    types = {split_tag(tag, scheme)[1] for tag in counts if tag != OUTSIDE}
    bare = any("-" not in tag for tag in counts if tag != OUTSIDE)
    return [
        OUTSIDE,
        *(letter if bare and name == UNTYPED else f"{letter}-{name}" for name in sorted(types) for letter in letters),
    ]


def _first_tokens(
    encodings: Encodings, texts: Sequence[str], words: Sequence[Sequence[Span]]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The first token of every word of every text, in the window that shows it best, and whether an earlier word has
    the same one, as ``).`` may be one token of two words. :data:`NO_TOKEN` for a word that no token stands for.
    """
    if encodings.offsets is None or encodings.max_context is None:
        raise DataError("tagging: these encodings have no offsets of characters; encode the texts again.")
    # Characters are numbered through all texts, so that one search serves all.
    lengths = [len(text) + 1 for text in texts]
    base = np.cumsum([0, *lengths[:-1]])
    max_context = np.flatnonzero(encodings.max_context)
    tokens = encodings.offsets[max_context] + base[np.repeat(encodings.examples, encodings.lengths)[max_context], None]
    flat = np.array([*chain.from_iterable(chain.from_iterable(words))], np.int64).reshape(-1, 2)
    places = flat + np.repeat(base, [len(spans) for spans in words])[:, None]
    # A token may stand for a character before the last one's, where a tokenizer reorders accents.
    at = np.searchsorted(np.maximum.accumulate(tokens[:, 1]), places[:, 0], side="right")
    first = np.full(len(places), NO_TOKEN, np.int64)
    inside = np.flatnonzero(at < len(max_context))
    inside = inside[tokens[at[inside], 0] < places[inside, 1]]
    first[inside] = max_context[at[inside]]
    shared = np.zeros(len(first), bool)
    shared[inside[1:]] = first[inside[1:]] == first[inside[:-1]]
    return first, shared


def _find_word(request: int | str | None, text: str, words: Sequence[Span], prediction: Prediction) -> int:
    """The position of the word to explain: the requested one, or the first word of the most probable span.

    Raises:
        DataError: there is no such word.
    """
    if not words:
        raise DataError("text: has no words, so there is nothing to explain; give a text with at least one word.")
    if request is None:
        best = max(prediction.spans, key=lambda span: span.score, default=None)
        return 0 if best is None else [start for start, _ in words].index(best.start)
    spelled = [text[start:end] for start, end in words]
    if request in spelled:
        return spelled.index(str(request))
    position = int(request) if isinstance(request, int) or request.isdecimal() else -1
    if not 0 <= position < len(words):
        expected = f"one of its words, or a position from 0 to {len(words) - 1}"
        raise DataError(f'word: the text has no word "{request}"; give {expected}.')
    return position


def _notes(
    examples: Sequence[Example],
    words: Sequence[Sequence[Span]],
    first: NDArray[np.int64],
    shared: NDArray[np.bool_],
) -> list[str]:
    """Notes on words without tokens and words that share one."""
    notes = []
    for which, what in (
        (first == NO_TOKEN, "have no token, so nothing is learned from them"),
        (shared, "share their first token with the word before, so nothing is learned from them"),
    ):
        if n := int(which.sum()):
            ends = np.cumsum([len(spans) for spans in words])
            example = examples[int(np.searchsorted(ends, int(which.argmax()), side="right"))]
            notes.append(f"{n:,} of {len(first):,} words {what} (the first in {example.where or example.id})")
    return notes


def _commonest_tags(train: Sequence[Example], examples: Sequence[Example]) -> list[list[str]]:
    """The most common tag of each word in ``train``; for new words the most common tag of all."""
    by_word: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        for (start, end), tag in zip(words_of(example), labels_of(example.target), strict=True):
            by_word[example.text[start:end]][tag] += 1
    commonest = {word: counts.most_common(1)[0][0] for word, counts in by_word.items()}
    every = sum(by_word.values(), Counter[str]()).most_common(1)[0][0]
    return [[commonest.get(e.text[start:end], every) for start, end in words_of(e)] for e in examples]


def _plain(span: PredictedSpan) -> dict[str, Any]:
    return span._asdict() | {"score": round_prediction(span.score)}
