"""Extractive question answering: which piece of a context answers a question, or that none does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bertwright.data.cell_values import shorten
from bertwright.data.example import Answer, Example
from bertwright.data.settings import DataSettings
from bertwright.data.squad import NOT_IN_CONTEXT
from bertwright.data.targets.answers import ANSWERS
from bertwright.data.targets.spec import TargetSpec
from bertwright.errors import DataError
from bertwright.files.strict_json import to_json
from bertwright.metrics import (
    DEFAULT_METRICS,
    QA,
    AnswerOutcome,
    OutcomeKind,
    bootstrap_intervals,
    check_metrics,
    compute_metrics,
    describe_collapse,
)
from bertwright.metrics.charts import Chart
from bertwright.metrics.squad import exact_match, find_best_threshold
from bertwright.metrics.uncertainty import compute_entropy, compute_margin
from bertwright.nn import IGNORE_INDEX
from bertwright.nn.head_outputs import HeadOutput
from bertwright.tasks.answer_spans import ABSENT, UNKNOWN, Candidates, Ints, likeliest, locate
from bertwright.tasks.evaluation_charts import chart_answers, chart_length
from bertwright.tasks.explained_outputs import NO_ANSWER, ExplainedOutput, ExplanationRequest, describe_window
from bertwright.tasks.formats.answers import AnswerFormat, null_probability
from bertwright.tasks.formats.spec import PredictionFormat
from bertwright.tasks.labels import log_loss
from bertwright.tasks.rejected_settings import (
    LABEL_COLUMNS,
    LABEL_SEPARATOR,
    SAMPLING,
    SKIP_LABELS,
    RejectedSetting,
)
from bertwright.tasks.review import show_prediction, show_target
from bertwright.tasks.schemas.questions import QuestionSchema
from bertwright.tasks.schemas.spec import ServiceSchema
from bertwright.tasks.spec import (
    DEFAULT_TOKENS,
    EvaluationResult,
    Loss,
    Outputs,
    PredictedSpan,
    Prediction,
    Task,
    as_scores,
    has_targets,
    round_prediction,
    targets_of,
)
from bertwright.tasks.usage_scripts import question_script
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

WITH_NULL_ANSWERS = (
    *("answer_f1", "exact_match", "has_answer_f1", "has_answer_exact_match", "no_answer_accuracy"),
    *("best_answer_f1", "best_exact_match"),
)
"""The metrics if a question may have no answer, those of evaluate-v2.0.py."""


USUAL_LENGTH = 384
"""Tokens of a window in google-research/bert's and transformers' scripts."""


class QuestionAnswering(Task):
    """The piece of a context that answers a question; of SQuAD 2.0 also that there is none.

    [CLS] question [SEP] context [SEP], in windows that overlap; each token has a score as the first of the answer and
    one as the last (Devlin et al. 2018, sections 4.2 and 4.3).
    """

    former_names: ClassVar[Mapping[str, str]] = {
        "null_threshold": "null_score_diff_threshold",
        "n_best": "n_best_size",
    }

    outcome_kind: ClassVar[OutcomeKind] = QA
    target_spec: ClassVar[TargetSpec] = ANSWERS
    wording: ClassVar[TaskWording] = TaskWording(
        "extracts the answer to a question from a text",
        ("question-answering", "Question Answering"),
        baseline="the no-answer baseline",
        outputs="answers to questions, as spans of a text",
    )
    rejected_settings: ClassVar[tuple[RejectedSetting, ...]] = (
        *(LABEL_COLUMNS, LABEL_SEPARATOR, SKIP_LABELS),
        RejectedSetting(
            "data.augment",
            "cannot be used with question answering, because answers would no longer be where their offsets say; "
            "remove it",
            lambda augment: augment.is_active,
        ),
        SAMPLING,
    )
    extracts_answers: ClassVar[bool] = True
    input_names: ClassVar[tuple[str, str]] = ("question", "context")
    strips_first_text: ClassVar[bool] = True
    tuned_settings: ClassVar[Mapping[str, Any]] = {"null_score_diff_threshold": None}
    official_file_names: ClassVar[tuple[str, ...]] = (
        *("predictions.json", "nbest_predictions.json", "null_odds.json"),
    )
    head_kind: ClassVar[str] = "qa"
    scores_tokens: ClassVar[bool] = True
    graph_outputs: ClassVar[tuple[str, ...]] = ("start_logits", "end_logits")

    kind: Literal["qa"] = "qa"
    null_answers: bool | None = Field(
        default=None,
        description="Whether questions may be unanswerable, as in SQuAD 2.0; null: whether the training data has such "
        "questions.",
    )
    null_score_diff_threshold: float | None = Field(
        default=None,
        description="How much the score of no answer must exceed that of the best answer to be predicted; null: with "
        "task.null_answers tuned on the dev rows after training, 0 until then.",
    )
    n_best_size: int = Field(
        default=20, ge=1, description="Start and end tokens considered in each window, and answers kept per question."
    )
    max_answer_length: int = Field(default=30, ge=1, description="Maximum number of tokens of an answer.")

    def infer_from_data(self, examples: Sequence[Example], labels: Sequence[str] | None = None) -> Self:
        """Set ``null_answers`` from the training data, if the recipe does not."""
        if self.null_answers is not None:
            return self
        return self.replace(null_answers=any(not _answers(example) for example in examples))

    def takes_pairs(self, data: DataSettings | None) -> bool:
        """A question and its context."""
        return True

    def predict_arguments(self, pair: bool) -> str:
        """Arguments of ``bertwright predict``."""
        return '--question "a question" --context "a text"'

    @property
    def prediction_format(self) -> PredictionFormat:
        """The best answers."""
        return AnswerFormat()

    def service_schema(self, pair: bool | None) -> ServiceSchema:
        """A question with its context, and the best answers."""
        return QuestionSchema()

    def usage_script(self, directory: str, max_length: int | None, pair: bool) -> str:
        """A Python script that uses a model of this task with transformers."""
        return question_script(directory, max_length or USUAL_LENGTH)

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        tokens: TokenSettings = DEFAULT_TOKENS,
        on_note: Callable[[str], None] | None = None,
    ) -> Encodings:
        """Windows of every context behind its question, with the first and the last token of the answer as targets.

        The target is the first answer that occurs in the context. A window without the whole of it points at [CLS], as
        do those of an unanswerable question. Windows of a question whose answers are not in its context are ignored.
        """
        for example in examples:
            if example.text_pair is None:
                raise DataError(
                    f"{example.where or example.id}: it has no context; give each question the text that answers it."
                )
        # white space in front of a question is no token to some tokenizers and one to others; run_qa.py does the same
        questions = [example.text.lstrip() for example in examples]
        contexts = [example.text_pair or "" for example in examples]
        tokens = self.adapt_tokens(tokens)
        windows = encode_with_cache(tokenizer, questions, contexts, tokens, on_note=on_note)
        if not has_targets(examples):
            return windows
        spans = np.array([_span(example) for example in examples], np.int64).reshape(-1, 2)
        targets = locate(windows, spans)
        if on_note is not None:
            for line in _remarks(windows, targets, spans, examples, tokens.max_length):
                on_note(line)
        return windows.with_targets(targets)

    @property
    def n_outputs(self) -> int:
        """A score as the first token of the answer, and one as the last."""
        return 2

    def head(self, config: EncoderConfig, style: HeadStyle) -> nn.Module:
        """The standard head: a dense layer over every token."""
        from bertwright.nn.heads import TokenHead

        return TokenHead(config.width, self.n_outputs, style)

    def loss(self, scores: Tensor, batch: Batch) -> Loss:
        """Half the cross-entropy of the first token plus half that of the last, over the tokens of each window.

        transformers computes the same but lets padding take part, whose scores mean nothing; here there is none.
        """
        from torch.nn import functional
        from torch.nn.utils.rnn import pad_sequence

        # (B, T, 2): two numbers a token are padded at no cost, and what is -inf has no share in the softmax
        pieces = scores.split(batch.layout.lengths.tolist())
        padded = pad_sequence(list(pieces), batch_first=True, padding_value=-float("inf"))
        width, targets = padded.shape[1], targets_of(batch)
        total = functional.cross_entropy(
            padded.transpose(1, 2).reshape(-1, width), targets.reshape(-1), ignore_index=IGNORE_INDEX, reduction="sum"
        )
        return Loss(total / 2, (targets[:, 0] != IGNORE_INDEX).sum())

    def average_scores(self, scores: Sequence[Tensor], batch: Batch) -> Tensor:
        """The logs of the mean probabilities of each token of a window as the first and as the last of the answer."""
        from bertwright.tasks.score_averaging import log_mean_row_softmax, log_mean_segment_softmax

        if (mask := batch.layout.row_mask) is not None:
            return log_mean_row_softmax(scores, mask)
        return log_mean_segment_softmax(scores, batch.layout.lengths.tolist())

    def outputs(self, decoded: HeadOutput, encodings: Encodings, examples: Sequence[Example]) -> list[Candidates]:
        """The best answers to each question over all its windows."""
        return likeliest(as_scores(decoded), encodings, len(examples), self.n_best_size, self.max_answer_length)

    def output_to_explain(
        self, request: ExplanationRequest, prediction: Prediction, encodings: Encodings, example: Example
    ) -> ExplainedOutput:
        """The score of the answer's first token plus that of its last, or both of [CLS] for no answer.

        An answer in several windows is explained in the first one that shows its first token with most context; no
        answer in the first window.
        """
        request.refuse_word()
        start, end = _find_answer(request.target, prediction, example)
        window, tokens = 0, np.zeros(2, np.int64)
        if start != ABSENT:
            targets = locate(encodings, np.array([[start, end]]))
            complete = np.flatnonzero(targets[:, 0] > 0)
            if not len(complete):
                raise DataError("target: no window shows the complete answer; raise tokens.max_length or shorten it.")
            has_context = np.zeros(0, bool) if encodings.max_context is None else encodings.max_context
            best = complete[has_context[encodings.bounds[complete] + targets[complete, 0]]]
            window = int((best if len(best) else complete)[0])
            tokens = targets[window]
        first, last = tokens.tolist()
        contents = "the beginning of the context" if start == ABSENT else "the answer"
        return ExplainedOutput(
            NO_ANSWER if start == ABSENT else _cut(example, start, end),
            "start score + end score",
            np.array([window]),
            lambda scores: scores[:, first, 0] + scores[:, last, 1],
            notes=describe_window(window, len(encodings), contents),
        )

    def decode(self, outputs: Outputs, examples: Sequence[Example]) -> list[Prediction]:
        """The best answer to each question, the next best ones, and the score of no answer minus that of the best."""
        predictions = []
        for candidates, example in zip(_candidates(outputs), examples, strict=True):
            probabilities = candidates.probabilities(bool(self.null_answers))
            spans = tuple(
                PredictedSpan(_cut(example, start, end), start, end, score=score)
                for (start, end), score in zip(candidates.spans.tolist(), probabilities.tolist(), strict=False)
            )
            answer = "" if self._withheld(candidates) or not spans else spans[0].text
            odds = None if self.null_answers is False else candidates.null_odds
            predictions.append(
                Prediction(
                    example.id,
                    spans=spans,
                    answer=answer,
                    null_odds=odds,
                    entropy=float(compute_entropy(probabilities)),
                    margin=float(compute_margin(probabilities)) if len(probabilities) else 1.0,
                )
            )
        return predictions

    def evaluate(
        self, outputs: Outputs, examples: Sequence[Example], train: Sequence[Example] | None = None
    ) -> EvaluationResult:
        """SQuAD's metrics; given the training data, with 95 % bootstrap intervals over the questions.

        Where there may be no answer, the baseline is never to give one.
        """
        outcome = self.to_outcome(outputs, examples)
        names = check_metrics(self.chosen_metrics, self.outcome_kind)
        baseline = {}
        if train is not None and outcome.null_odds is not None:
            nothing = AnswerOutcome.from_answers(
                [_texts(example) for example in examples], [""] * len(examples), [0.0] * len(examples)
            )
            baseline = compute_metrics(names, nothing)
        return EvaluationResult(
            metrics=compute_metrics(names, outcome),
            intervals=bootstrap_intervals(names, outcome) if train is not None else {},
            baseline=baseline,
            per_class={},
            confusion=None,
            collapsed=describe_collapse(outcome),
            n=len(outcome),
        )

    def to_outcome(self, outputs: Outputs, examples: Sequence[Example]) -> AnswerOutcome:
        """The best answers and the true ones."""
        return self._to_outcome(outputs, examples, self.null_score_diff_threshold or 0.0)

    def make_charts(self, outputs: Outputs, examples: Sequence[Example]) -> list[Chart]:
        """EM and F1 by question word and answer length, and the score by text length."""
        answers = [texts[0] if (texts := _texts(example)) else None for example in examples]
        questions = [example.text for example in examples]
        return [
            *chart_answers(self.to_outcome(outputs, examples), questions, answers),
            *chart_length(self, outputs, examples),
        ]

    def row_losses(self, outputs: Outputs, examples: Sequence[Example]) -> NDArray[np.float64]:
        """The negative log-likelihood of the true answers; at least that of the worst candidate if none is true."""
        probabilities = []
        for candidates, example in zip(_candidates(outputs), examples, strict=True):
            shares = candidates.probabilities(bool(self.null_answers))
            texts = [_cut(example, *span) for span in candidates.spans.tolist()] + [""] * bool(self.null_answers)
            golds = _texts(example)
            true = shares[[exact_match(golds, text) == 1 for text in texts]]
            probabilities.append(true.sum() if len(true) else shares.min(initial=1.0))
        return log_loss(np.array(probabilities))

    def describe_error(self, example: Example, prediction: Prediction) -> tuple[str, str, float | None]:
        """The true answers, the predicted one, and its probability."""
        score = prediction.spans[0].score if prediction.answer and prediction.spans else null_probability(prediction)
        return show_target(example), show_prediction(prediction), score

    @property
    def tunes_on_validation(self) -> bool:
        """Whether questions may be unanswerable and the recipe sets no null threshold."""
        return bool(self.null_answers) and super().tunes_on_validation

    def tune_on_validation(self, outputs: Outputs, examples: Sequence[Example]) -> tuple[Self, list[str]]:
        """Choose the null threshold with the best F1, if questions may be unanswerable and the recipe sets none."""
        if not self.tunes_on_validation:
            return self, []
        untuned = self._to_outcome(outputs, examples, 0.0)
        threshold = find_best_threshold(untuned)
        names = DEFAULT_METRICS[QA]
        before, after = (
            compute_metrics(names, outcome) for outcome in (untuned, self._to_outcome(outputs, examples, threshold))
        )
        gains = ", ".join(f"{name} {before[name]:.2f} → {after[name]:.2f}" for name in names)
        note = (
            f"task.null_score_diff_threshold: {threshold:.4f}, tuned on the dev rows instead of 0 ({gains}); metrics "
            "on these rows are optimistic"
        )
        return self.replace(null_score_diff_threshold=threshold), [note]

    def official_files(self, outputs: Outputs, examples: Sequence[Example]) -> dict[str, str]:
        """predictions.json, nbest_predictions.json and null_odds.json, as run_squad.py writes them."""
        texts: dict[str, str] = {}
        n_best: dict[str, list[dict[str, Any]]] = {}
        null_odds: dict[str, float] = {}
        null = bool(self.null_answers)
        for candidates, example in zip(_candidates(outputs), examples, strict=True):
            rows = [
                (_cut(example, *span), *logits)
                for span, logits in zip(candidates.spans.tolist(), candidates.logits, strict=True)
            ]
            rows += [("", *candidates.null)] if null else []
            n_best[example.id] = [
                {
                    "text": text,
                    "probability": round_prediction(share),
                    "start_logit": float(begin),
                    "end_logit": float(end),
                }
                for (text, begin, end), share in sorted(
                    zip(rows, candidates.probabilities(null).tolist(), strict=True), key=lambda row: -row[1]
                )
            ]
            texts[example.id] = "" if self._withheld(candidates) or not len(candidates.spans) else rows[0][0]
            null_odds[example.id] = candidates.null_odds
        files = {"predictions.json": texts, "nbest_predictions.json": n_best}
        files |= {"null_odds.json": null_odds} if null else {}
        return {name: to_json(values, indent=4, ascii_only=True) + "\n" for name, values in files.items()}

    def columns(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """``answer``, its ``score``, its first character ``start`` and the one after its last ``end``.

        Where there may be no answer also ``null_odds``; ``answer`` is then empty for none and ``score`` that of none.
        """
        answers = [p.spans[0] if p.answer and p.spans else None for p in predictions]
        columns: dict[str, list[Any]] = {
            "answer": [p.answer for p in predictions],
            "score": [
                round_prediction(null_probability(p) if best is None else best.score)
                for p, best in zip(predictions, answers, strict=True)
            ],
            "start": [None if best is None else best.start for best in answers],
            "end": [None if best is None else best.end for best in answers],
        }
        if self.null_answers:
            columns["null_odds"] = [round_prediction(p.null_odds or 0.0) for p in predictions]
        return columns

    @property
    def chosen_metrics(self) -> tuple[str, ...]:
        """The recipe's metrics, or those of SQuAD 1.1 or 2.0."""
        return self.metrics or (WITH_NULL_ANSWERS if self.null_answers else super().chosen_metrics)

    def _withheld(self, candidates: Candidates) -> bool:
        return bool(self.null_answers) and candidates.null_odds > (self.null_score_diff_threshold or 0.0)

    def _to_outcome(self, outputs: Outputs, examples: Sequence[Example], threshold: float) -> AnswerOutcome:
        """The best answers and the true ones, with null odds if questions may be unanswerable.

        For a model that does not record whether they may be, the rows decide.
        """
        if not has_targets(examples):
            raise DataError("evaluation: the questions have no answers, so there is nothing to compare with.")
        candidates, golds = _candidates(outputs), [_texts(example) for example in examples]
        pairs = zip(candidates, examples, strict=True)
        texts = [_cut(example, *one.spans[0].tolist()) if len(one.spans) else "" for one, example in pairs]
        null = self.null_answers if self.null_answers is not None else not all(golds)
        return AnswerOutcome.from_answers(
            golds, texts, [one.null_odds for one in candidates] if null else None, threshold
        )


def _candidates(outputs: Outputs) -> list[Candidates]:
    return cast("list[Candidates]", outputs)


def _cut(example: Example, start: int, end: int) -> str:
    return (example.text_pair or "")[start:end]


def _answers(example: Example) -> tuple[Answer, ...]:
    """The right answers to a question, none if it has none."""
    return cast("tuple[Answer, ...]", example.target or ())


def _find_answer(target: str | None, prediction: Prediction, example: Example) -> tuple[int, int]:
    """The characters of the answer to explain; :data:`ABSENT` for no answer.

    Raises:
        DataError: the context does not contain the answer.
    """
    if target is None and prediction.answer and prediction.spans:
        return prediction.spans[0].start, prediction.spans[0].end
    if not target:
        return ABSENT, ABSENT
    spans = [(span.start, span.end) for span in prediction.spans if span.text == target]
    start = spans[0][0] if spans else (example.text_pair or "").find(target)
    if start < 0:
        raise DataError(f'target: "{shorten(target)}" does not occur in the context; copy the answer from there.')
    return start, start + len(target)


def _texts(example: Example) -> list[str]:
    return [answer.text for answer in _answers(example)]


def _span(example: Example) -> tuple[int, int]:
    """The characters of the answer to learn."""
    answers = _answers(example)
    if not answers:
        return ABSENT, ABSENT
    for answer in answers:
        if answer.start != NOT_IN_CONTEXT:
            return answer.start, answer.start + len(answer.text)
    return UNKNOWN, UNKNOWN


def _remarks(
    windows: Encodings, targets: Ints, spans: Ints, examples: Sequence[Example], max_length: int
) -> Iterator[str]:
    """Notes on how answers were mapped to tokens, as sentences."""
    yield f"{len(examples):,} questions make {len(windows):,} windows of at most {max_length} tokens"
    answered = np.flatnonzero(targets[:, 0] > 0)
    is_covered = np.zeros(len(examples), bool)
    is_covered[windows.examples[answered]] = True
    if n := int(((spans[:, 0] >= 0) & ~is_covered).sum()):
        yield f"{n:,} answers are cut off: no window shows the whole of them, so all point at [CLS]"
    if differ := _find_misaligned(windows, targets, answered, spans, examples):
        spelled, meant = differ[0]
        yield (
            f"{len(differ):,} answers do not align with tokens, so a little more text is learned, such as "
            f'"{shorten(spelled)}" for "{shorten(meant)}"'
        )
    if n := int((spans[:, 0] == UNKNOWN).sum()):
        yield f"{n:,} questions have no answer that occurs in their context, so nothing is learned from them"


def _find_misaligned(
    windows: Encodings, targets: Ints, answered: Ints, spans: Ints, examples: Sequence[Example]
) -> list[tuple[str, str]]:
    """The answers whose tokens spell another text, as (this text, the answer)."""
    offsets = windows.offsets if windows.offsets is not None else np.zeros((0, 2), np.int32)
    first, last = (windows.bounds[answered, None] + targets[answered]).T
    shown, meant = np.stack((offsets[first, 0], offsets[last, 1]), 1), spans[windows.examples[answered]]
    pairs: dict[int, tuple[str, str]] = {}
    for row in np.flatnonzero((shown != meant).any(1)).tolist():
        example = examples[int(windows.examples[answered[row]])]
        spelled, answer = (_cut(example, *span[row].tolist()).strip() for span in (shown, meant))
        if spelled != answer:  # some tokens take the space before them along
            pairs.setdefault(int(windows.examples[answered[row]]), (spelled, answer))
    return list(pairs.values())
