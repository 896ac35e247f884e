"""Pre-training, from scratch or continued: masked-language modeling, optionally with a sentence objective.

Masked LM as in Devlin et al. 2018 (section 3.1) with new masks in every epoch (Liu et al. 2019), alone or with
next-sentence prediction as google-research/bert makes its pairs, or with sentence order (Lan et al. 2019).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bertwright.config.sections import InvalidSettingError, Section
from bertwright.corpus.corpus_split import CorpusSplit
from bertwright.corpus.masking import Masker, MaskingUnit
from bertwright.corpus.nsp_pairs import PairSettings, build_pairs
from bertwright.corpus.sequences import MaskedCorpus, PackedSequences, PairedSequences, PhasedCorpus, UnmaskedSequences
from bertwright.corpus.token_store import TokenStore
from bertwright.data.example import Example
from bertwright.data.settings import DataSettings
from bertwright.data.targets.spec import TargetSpec
from bertwright.data.targets.texts import TEXTS
from bertwright.errors import DataError, RecipeError, TokenizerError
from bertwright.metrics import (
    DEFAULT_METRICS,
    PRETRAINING,
    MaskedLMOutcome,
    OutcomeKind,
    bootstrap_intervals,
    check_metrics,
    compute_metrics,
)
from bertwright.nn import IGNORE_INDEX
from bertwright.nn.head_outputs import HeadOutput, MaskedLMOutput
from bertwright.tasks.formats.gaps import GapFormat
from bertwright.tasks.formats.spec import PredictionFormat
from bertwright.tasks.rejected_settings import (
    LABEL_COLUMNS,
    LABEL_SEPARATOR,
    SAMPLING,
    SKIP_LABELS,
    RejectedSetting,
)
from bertwright.tasks.schemas.gaps import GapSchema
from bertwright.tasks.schemas.spec import ServiceSchema
from bertwright.tasks.spec import (
    DEFAULT_TOKENS,
    EvaluationResult,
    Loss,
    Outputs,
    PredictedSpan,
    Prediction,
    Task,
    round_prediction,
)
from bertwright.tasks.usage_scripts import mask_script
from bertwright.tasks.wording import TaskWording
from bertwright.tokenization.cached_encodings import encode_with_cache
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.tokenization.training_data import TrainingData

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertwright.nn.batch import Batch
    from bertwright.nn.encoder import EncoderConfig
    from bertwright.nn.heads import HeadStyle

GAP = "[MASK]"
"""How a gap may be written, even if the mask token of the model has another name."""

FILLERS = 5
"""The number of words that are predicted for a gap."""

FOLLOWING = {"nsp": ("follows", "random"), "sop": ("in order", "swapped")}
"""The two labels of each sentence objective."""


class Phase(Section):
    """A part of the run with sequences of one length."""

    length: int = Field(ge=8, description="Tokens per sequence, special tokens included.")
    share: float = Field(gt=0, lt=1, description="Share of the steps of the run.")


@dataclass(frozen=True, slots=True)
class Gap:
    """The predictions for a gap.

    Attributes:
        words: the most likely ones, best first.
        shares: their probabilities.
        place: its first character, and the one after its last.
    """

    words: tuple[str, ...]
    shares: tuple[float, ...]
    place: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Filled:
    """The predictions for a text: for its gaps, and the probability that its second text follows the first."""

    gaps: tuple[Gap, ...]
    follows: float


class Pretraining(Task):
    """Masked-language modeling, optionally with a sentence objective. It predicts words for the gaps of a text."""

    former_names: ClassVar[Mapping[str, str]] = {
        "next": "sentence_objective",
        "mask_ratio": "mlm_probability",
        "dynamic": "dynamic_masking",
        "short_ratio": "short_sequence_probability",
        "passes": "dupe_factor",
    }

    outcome_kind: ClassVar[OutcomeKind] = PRETRAINING
    predicts_distribution: ClassVar[bool] = False
    target_spec: ClassVar[TargetSpec] = TEXTS
    wording: ClassVar[TaskWording] = TaskWording(
        "predicts masked tokens and is intended for fine-tuning",
        ("fill-mask", "Fill-Mask"),
        outputs="masked tokens of a text",
        unit="sequences",
        count_key="sequences",
        trained="pre-trained",
    )
    averages_predictions: ClassVar[bool] = False
    rejected_settings: ClassVar[tuple[RejectedSetting, ...]] = (
        *(LABEL_COLUMNS, LABEL_SEPARATOR, SKIP_LABELS),
        RejectedSetting(
            "data.augment",
            "cannot be used with pre-training, which has no labels; remove it",
            lambda augment: augment.is_active,
        ),
        SAMPLING,
        RejectedSetting(
            "model.head",
            "cannot be used with pre-training, which has its own head; remove it",
            lambda head: head is not None,
        ),
        *(
            RejectedSetting(
                f"data.{name}", "cannot be used with pre-training, which holds out the last documents; remove it"
            )
            for name in ("fold", "train_on_dev", "split_column")
        ),
        RejectedSetting(
            "train.refit",
            "cannot be used with pre-training, which holds out the last documents; remove it",
            lambda refit: refit is True,
        ),
        RejectedSetting(
            "continued_pretraining",
            "cannot be used with pre-training; set train.length to train longer",
            lambda section: section is not None,
        ),
    )
    outputs_hold_loss: ClassVar[bool] = True
    forgetting_rate: ClassVar[float | None] = 4e-4  # Sun et al. 2019, arXiv 1905.05583
    most_epochs: ClassVar[int] = 1000  # each masks other tokens
    usual_length: ClassVar[str] = "more text or fewer steps help"
    head_kind: ClassVar[str] = "masked_lm"
    scores_tokens: ClassVar[bool] = True
    is_exportable: ClassVar[bool] = False

    kind: Literal["pretraining"] = Field(
        default="pretraining", description="MLM pre-training, optionally with NSP or SOP."
    )
    sentence_objective: Literal["none", "nsp", "sop"] = Field(
        default="none",
        description="Objective for sentence pairs: nsp (next sentence prediction), sop (sentence order prediction), or "
        "none (MLM only, with full sequences). nsp and sop train the pooler.",
    )
    mlm_probability: float = Field(default=0.15, gt=0, lt=1, description="Share of tokens that are masked.")
    masking: MaskingUnit = Field(
        default="tokens", description="Masking unit: single tokens, whole words, or spans of words."
    )
    dynamic_masking: bool = Field(
        default=True, description="Mask other tokens in every epoch (dynamic masking); false: always the same ones."
    )
    short_sequence_probability: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of documents whose pairs get a random, shorter length; for nsp and sop.",
    )
    dupe_factor: int = Field(
        default=1, ge=1, description="Passes over the corpus per epoch, each with other pairs; for nsp and sop."
    )
    phases: tuple[Phase, ...] = Field(
        default=(),
        description="Lengths of sequences by shares of the run that add up to 1, such as 128 for 0.9 and 512 for 0.1; "
        "empty: tokens.max_length throughout.",
    )

    @model_validator(mode="after")
    def _phases_fill_the_run(self) -> Self:
        total = sum(phase.share for phase in self.phases)
        if self.phases and abs(total - 1) > 1e-6:
            raise InvalidSettingError("phases", f"have shares that add up to {total:g}; make it 1")
        return self

    @model_validator(mode="after")
    def _metrics_fit(self) -> Self:
        alone = [name for name in self.metrics or () if name.startswith("nsp_")]
        if alone and self.sentence_objective == "none":
            raise InvalidSettingError(
                "metrics",
                f"name {alone[0]}, but task.sentence_objective is none; remove it",
                related="sentence_objective",
            )
        return self

    @property
    def published_head(self) -> str:
        """With a sentence objective the head of BertForPreTraining, else that of BertForMaskedLM."""
        return self.head_kind if self.sentence_objective == "none" else "pretraining"

    @property
    def n_outputs(self) -> int:
        """0: the head scores the vocabulary, and decodes its scores itself."""
        return 0

    @property
    def chosen_metrics(self) -> tuple[str, ...]:
        """The recipe's metrics, or loss, perplexity and accuracy; with a sentence objective also its accuracy."""
        return self.metrics or (
            *DEFAULT_METRICS[PRETRAINING],
            *(() if self.sentence_objective == "none" else ("nsp_accuracy",)),
        )

    def infer_from_data(self, examples: Sequence[Example], labels: Sequence[str] | None = None) -> Self:
        """The task itself: a corpus has no labels."""
        return self

    def head(self, config: EncoderConfig, style: HeadStyle) -> nn.Module:
        """The masked-LM head, with the pooler if the family has one and the layer of the sentence objective."""
        from bertwright.nn.pretraining_heads import PretrainingHead

        return PretrainingHead(config, style.activation, style.pooler, self.sentence_objective != "none")

    def check_tokens(self, tokens: TokenSettings) -> None:
        """Check that the longest phase has sequences of ``tokens.max_length``.

        Raises:
            InvalidSettingError: it has others.
        """
        longest = max((phase.length for phase in self.phases), default=tokens.max_length)
        if longest != tokens.max_length:
            text = f"reach {longest} tokens, but tokens.max_length is {tokens.max_length}; make them equal"
            raise InvalidSettingError("task.phases", text, related="tokens.max_length")

    def takes_pairs(self, data: DataSettings | None) -> None:
        """Texts with gaps may be one or two."""
        return

    @property
    def output_names(self) -> None:
        """The outputs are the vocabulary."""
        return

    def predict_arguments(self, pair: bool) -> str:
        """Arguments of ``bertwright predict``."""
        return '"a text with a [MASK]"'

    @property
    def prediction_format(self) -> PredictionFormat:
        """The most likely words for every gap."""
        return GapFormat()

    def service_schema(self, pair: bool | None) -> ServiceSchema:
        """A text with gaps, and words for the gaps."""
        return GapSchema()

    def usage_script(self, directory: str, max_length: int | None, pair: bool) -> str:
        """A Python script that uses a model of this task with transformers."""
        return mask_script(directory)

    def loss(self, scores: Tensor, batch: Batch) -> Loss:
        """Not used: the head computes the loss, because the scores of the vocabulary are never stored."""
        raise RecipeError("model.head: pre-training has its own head; remove model.head.")

    def encode_corpus(
        self,
        corpus: CorpusSplit,
        tokenizer: Tokenizer,
        tokens: TokenSettings = DEFAULT_TOKENS,
        on_note: Callable[[str], None] | None = None,
    ) -> TrainingData:
        """The sequences of a corpus with masked tokens, computed when a step needs them."""
        store = corpus.store(tokenizer, on_note=on_note)
        seed = corpus.seed if corpus.trains else 0  # evaluation pairs stay fixed, so that runs compare
        if not self.phases or not corpus.trains:  # the model is evaluated at the length that it will be used with
            length = self.phases[-1].length if self.phases else tokens.max_length
            return self._corpus(store, tokenizer, length, seed, on_note)
        return PhasedCorpus(
            tuple((phase.share, self._corpus(store, tokenizer, phase.length, seed, on_note)) for phase in self.phases)
        )

    def _corpus(
        self, store: TokenStore, tokenizer: Tokenizer, length: int, seed: int, on_note: Callable[[str], None] | None
    ) -> MaskedCorpus:
        if self.sentence_objective == "none":
            unmasked: UnmaskedSequences = PackedSequences(store, tokenizer, length)
        else:
            settings = PairSettings(
                self.sentence_objective, length, self.short_sequence_probability, self.dupe_factor, seed
            )
            unmasked = PairedSequences(store, build_pairs(store, settings, on_note), tokenizer)
        return MaskedCorpus(unmasked, Masker(tokenizer, self.masking, self.mlm_probability), self.dynamic_masking)

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        tokens: TokenSettings = DEFAULT_TOKENS,
        on_note: Callable[[str], None] | None = None,
    ) -> Encodings:
        """Tokenize texts with gaps; the tokens of gaps have the target ``PREDICT_ONLY``.

        Raises:
            DataError: a text has no gap, or one that the model does not read.
            TokenizerError: the tokenizer has no mask token.
        """
        mask = tokenizer.mask_id
        if mask is None:
            raise TokenizerError("model: its tokenizer has no mask, so it fills no gaps; take one that has.")
        name = str(tokenizer.backend.id_to_token(mask))
        sides = [[text.replace(GAP, name) for text in (e.text, e.text_pair) if text is not None] for e in examples]
        pairs = [texts[-1] for texts in sides] if len(sides[0]) == 2 else None
        settings = tokens.replace(truncation="longest_first")  # words are predicted from all of their context
        encodings = encode_with_cache(tokenizer, [texts[0] for texts in sides], pairs, settings, on_note=on_note)
        gaps = encodings.ids == mask
        n_gaps = np.add.reduceat(gaps, encodings.bounds[:-1])
        for example, texts, n in zip(examples, sides, n_gaps.tolist(), strict=True):
            written = sum(text.count(name) for text in texts)
            if n < written:
                raise DataError(
                    f"{example.where or example.id}: {written - n} of its gaps are beyond the {tokens.max_length} "
                    "tokens that the model reads; shorten the text."
                )
            if not written and (pairs is None or self.sentence_objective == "none"):
                where = example.where or example.id
                raise DataError(f"{where}: has no gap to fill; write {GAP} where a word is wanted.")

        def spell(ids: NDArray[np.int64]) -> list[str]:
            decode = tokenizer.backend.decode
            return [decode([id_], skip_special_tokens=False).strip() or f"#{id_}" for id_ in ids.tolist()]

        from bertwright.nn.pretraining_heads import PREDICT_ONLY

        return replace(encodings.with_targets(np.where(gaps, PREDICT_ONLY, IGNORE_INDEX)), spell=spell)

    def outputs(self, decoded: HeadOutput, encodings: Encodings, examples: Sequence[Example]) -> Outputs:
        """For sequences of a corpus the sums that metrics need, (B, 6); for texts with gaps the words that fit."""
        output = cast("MaskedLMOutput", decoded)  # a pre-training task has no other head
        starts, has_pairs = encodings.bounds[:-1], self.sentence_objective != "none"
        targets = np.full(len(encodings.ids), IGNORE_INDEX) if encodings.targets is None else encodings.targets
        masked = targets != IGNORE_INDEX
        if has_pairs:
            masked[starts] = False
        if encodings.spell is not None:
            return self._fill_gaps(output, encodings, examples, masked)
        words = np.zeros((len(masked), 3), np.float32)
        words[masked] = np.stack([output.losses, output.is_correct, np.ones(len(output.losses))], 1)
        sentences = np.zeros((len(starts), 3), np.float32)
        if has_pairs:
            columns = (output.sentence_losses, output.is_sentence_correct, np.ones(len(starts)))
            sentences = np.column_stack(columns)
        sums: NDArray[Any] = np.concatenate([np.add.reduceat(words, starts), sentences], 1)
        return sums

    def _fill_gaps(
        self, output: MaskedLMOutput, encodings: Encodings, examples: Sequence[Example], masked: NDArray[np.bool_]
    ) -> list[Filled]:
        """The most probable words for every gap of each example, and whether its second text follows the first."""
        if encodings.spell is None:
            return []
        names = {GAP, *encodings.spell(encodings.ids[masked][:1].astype(np.int64))}
        ends = np.cumsum(np.add.reduceat(masked, encodings.bounds[:-1]))[:-1]
        rows = zip(np.split(output.top_ids, ends), np.split(output.top_probabilities, ends), examples, strict=True)
        filled = []
        for i, (ids_of_gaps, probabilities_of_gaps, example) in enumerate(rows):
            places = _gaps_of(example, names)
            gaps = tuple(
                Gap(tuple(encodings.spell(ids[:FILLERS])), tuple(map(float, probabilities[:FILLERS])), place)
                for ids, probabilities, place in zip(ids_of_gaps, probabilities_of_gaps, places, strict=True)
            )
            has_pair = len(output.sentence_probabilities) > 0
            filled.append(Filled(gaps, float(output.sentence_probabilities[i, 0]) if has_pair else 0.0))
        return filled

    def decode(self, outputs: Outputs, examples: Sequence[Example]) -> list[Prediction]:
        """For every gap in order the most likely words, best first, with its place; for pairs whether they follow."""
        predictions = []
        for filled, example in zip(cast("list[Filled]", outputs), examples, strict=True):
            spans = tuple(
                PredictedSpan(word, *gap.place, score=round_prediction(share))
                for gap in filled.gaps
                for word, share in zip(gap.words, gap.shares, strict=True)
            )
            if example.text_pair is None or self.sentence_objective == "none":
                predictions.append(Prediction(example.id, spans=spans))
                continue
            shares = dict(
                zip(
                    FOLLOWING[self.sentence_objective],
                    (round_prediction(filled.follows), round_prediction(1 - filled.follows)),
                    strict=True,
                )
            )
            predictions.append(
                Prediction(example.id, max(shares, key=shares.__getitem__), probabilities=shares, spans=spans)
            )
        return predictions

    def evaluate(
        self, outputs: Outputs, examples: Sequence[Example], train: Sequence[Example] | None = None
    ) -> EvaluationResult:
        """Loss, perplexity and accuracy of masked tokens; given the training data, with 95 % intervals by sequence."""
        outcome = self.to_outcome(outputs, examples)
        names = check_metrics(self.chosen_metrics, PRETRAINING)
        return EvaluationResult(
            metrics=compute_metrics(names, outcome),
            intervals=bootstrap_intervals(names, outcome) if train is not None else {},
            baseline={},
            per_class={},
            confusion=None,
            collapsed=None,
            n=len(outcome),
        )

    def mean_loss(self, outputs: Outputs) -> float:
        """The loss of masked tokens, plus that of the sentence objective once for each, as in the head."""
        word_loss, _, words, sentence_loss, _, _ = np.asarray(outputs, np.float64).T
        return float((word_loss.sum() + sentence_loss @ words) / words.sum())

    def to_outcome(self, outputs: Outputs, examples: Sequence[Example]) -> MaskedLMOutcome:
        """The sums over the masked tokens of every sequence."""
        if isinstance(outputs, list):
            raise DataError("evaluation: texts with gaps have no targets; evaluate on a corpus.")
        return MaskedLMOutcome(np.asarray(outputs, np.float64))

    def columns(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """``filled``, the most likely word of every gap, and its ``score``, several with spaces between."""
        best = [p.spans[::FILLERS] for p in predictions]
        columns: dict[str, list[Any]] = {
            "filled": [" ".join(span.text for span in spans) for spans in best],
            "score": [" ".join(f"{span.score:.4f}" for span in spans) for spans in best],
        }
        if any(p.label is not None for p in predictions):
            columns["next"] = [p.label for p in predictions]
        return columns


def _gaps_of(example: Example, names: set[str]) -> list[tuple[int, int]]:
    """The characters of every gap in any spelling, those of the second text after those of the first."""
    gap = re.compile("|".join(map(re.escape, names)))
    return [found.span() for text in (example.text, example.text_pair or "") for found in gap.finditer(text)]
