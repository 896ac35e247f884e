"""Pre-training as a task: what a recipe may say, gaps and what fits into them, figures, encoders from scratch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bertwright.corpus.corpus_split import open_corpus_split
from bertwright.corpus.documents import open_corpus
from bertwright.corpus.sequences import MaskedCorpus, PackedSequences, PairedSequences, PhasedCorpus
from bertwright.corpus.tokenizer_training import train_tokenizer
from bertwright.data.example import Example
from bertwright.data.settings import DataSettings
from bertwright.errors import DataError, RecipeError, TokenizerError
from bertwright.metrics.pretraining import MaskedLMOutcome
from bertwright.nn import IGNORE_INDEX
from bertwright.nn.head_outputs import MaskedLMOutput
from bertwright.nn.pretraining_heads import BEST, PREDICT_ONLY
from bertwright.nn.settings import ModelSettings
from bertwright.recipe import load_recipe
from bertwright.tasks.pretraining import FILLERS, Gap, Phase, Pretraining
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.training.model_building import build_model
from bertwright.weights.presets import PRESETS, create_from_preset
from tiny import VOCABULARY

SHORT = TokenSettings(max_length=16)
TEXTS = ["The good film is fun. It was a very great plot.", "A dull film. It is bad!"] * 6


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return folder


@pytest.fixture(scope="module")
def tokenizer(vocabulary: Path) -> Tokenizer:
    return Tokenizer.load(vocabulary)


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train_tokenizer([open_corpus(TEXTS)], vocab_size=330, kind="bpe")


def text(written: str, pair: str | None = None) -> Example:
    return Example("7", written, pair, where="a.csv:3")


def scored(encodings: Encodings, rows: dict[int, Sequence[int]], follows: Sequence[float] = ()) -> MaskedLMOutput:
    """What a head decodes: for the tokens at these places these words, less and less probable; whether texts follow."""
    top_ids = np.zeros((len(rows), BEST), np.int64)
    top_probabilities = np.zeros((len(rows), BEST), np.float32)
    for i, (_, ids) in enumerate(sorted(rows.items())):
        top_ids[i, : len(ids)] = ids
        top_probabilities[i, : len(ids)] = 0.5 ** np.arange(1, len(ids) + 1)
    unknown = np.zeros(len(rows), np.float32)
    shares = np.array([(share, 1 - share) for share in follows], np.float32).reshape(-1, 2)
    sentences = np.zeros(len(shares), np.float32)
    return MaskedLMOutput(
        unknown, unknown.astype(bool), top_ids, top_probabilities, sentences, sentences.astype(bool), shares
    )


class TestRecipe:
    @pytest.mark.parametrize(
        ("pairs", "message"),
        [
            (
                ["task.phases=[{length: 32, share: 0.5}, {length: 64, share: 0.4}]"],
                "task.phases have shares that add up to 0.9; make it 1.",
            ),
            (
                ["task.phases=[{length: 32, share: 0.5}, {length: 64, share: 0.5}]"],
                "task.phases reach 64 tokens, but tokens.max_length is 128; make them equal.",
            ),
            (
                ["task.phases=[{length: 4, share: 0.5}]"],
                "task.phases.0.length must be a whole number of at least 8; found 4.",
            ),
            (["model.head=a:b"], "model.head cannot be used with pre-training, which has its own head; remove it."),
            (["data.augment.word_dropout=0.1"], "data.augment cannot be used with pre-training, which has no labels;"),
            (["train.sampling=sqrt"], "train.sampling is sqrt, but pretraining has no labels to balance; remove it"),
            (
                ["continued_pretraining.corpus=x"],
                "continued_pretraining cannot be used with pre-training; set train.length to train longer.",
            ),
            (["data.fold=1/5"], "data.fold cannot be used with pre-training, which holds out the last documents;"),
            (
                ["data.train_on_dev=true"],
                "data.train_on_dev cannot be used with pre-training, which holds",
            ),
            (["task.sentence_objective=nps"], 'task.sentence_objective must be "none", "nsp" or "sop"; found "nps".'),
            (["task.mlm_probability=1"], "task.mlm_probability must be a number above 0 and below 1; found 1."),
            (["task.labels=[a]"], "task.labels is unknown for the kind pretraining"),
            (
                ["model.preset=tiny", "model.base=x", "model.tokenizer=t"],
                "model.preset cannot be combined with model.base; remove one of them.",
            ),
            (
                ["model.preset=tiny"],
                "model.preset needs a tokenizer; set model.tokenizer to its directory (`bertwright tokenizer",
            ),
            (
                ["model.tokenizer=t"],
                "model.tokenizer applies only with model.preset, because a pre-trained encoder has its own",
            ),
        ],
    )
    def test_what_is_refused(self, pairs: list[str], message: str) -> None:
        with pytest.raises(RecipeError) as caught:
            load_recipe(None, ["task.kind=pretraining", *pairs])
        assert message in str(caught.value)

    def test_phases(self) -> None:
        pairs = ["task.phases=[{length: 32, share: 0.9}, {length: 64, share: 0.1}]", "tokens.max_length=64"]
        recipe = load_recipe("pretrain", pairs)
        assert isinstance(recipe.task, Pretraining)
        assert recipe.task.phases == (Phase(length=32, share=0.9), Phase(length=64, share=0.1))
        assert load_recipe("pretrain").task == Pretraining()

    def test_what_follows_from_it(self) -> None:
        alone, following = Pretraining(), Pretraining(sentence_objective="sop")
        assert (alone.published_head, following.published_head) == ("masked_lm", "pretraining")
        assert alone.chosen_metrics == ("mlm_loss", "perplexity", "mlm_accuracy")
        assert following.chosen_metrics == (*alone.chosen_metrics, "nsp_accuracy")
        assert Pretraining(sentence_objective="nsp", metrics=("nsp_loss",)).chosen_metrics == ("nsp_loss",)
        assert alone.n_outputs == 0
        assert alone.infer_from_data([]) is alone
        with pytest.raises(RecipeError, match=r"^model\.head: pre-training has its own head; remove model\.head"):
            alone.loss(torch.zeros(1), None)  # type: ignore[arg-type]


class TestCorpus:
    def encoded(self, task: Pretraining, tokenizer: Tokenizer, trains: bool = True) -> MaskedCorpus | PhasedCorpus:
        found = task.encode_corpus(open_corpus_split(TEXTS, DataSettings(), trains=trains), tokenizer, SHORT)
        assert isinstance(found, (MaskedCorpus, PhasedCorpus))
        return found

    def test_words_alone_fill_sequences(self, tokenizer: Tokenizer) -> None:
        task = Pretraining(masking="spans", mlm_probability=0.3, dynamic_masking=False)
        found = self.encoded(task, tokenizer)
        assert isinstance(found, MaskedCorpus)
        assert found.unmasked == PackedSequences(found.store, tokenizer, 16)
        assert (found.masker.unit, found.masker.probability, found.dynamic) == ("spans", 0.3, False)
        assert found.store.n_documents == len(TEXTS)

    @pytest.mark.parametrize("kind", ["nsp", "sop"])
    def test_with_a_next_segment_they_are_pairs(self, tokenizer: Tokenizer, kind: Any) -> None:
        found = self.encoded(Pretraining(sentence_objective=kind, dupe_factor=2), tokenizer)
        once = self.encoded(Pretraining(sentence_objective=kind), tokenizer)
        assert isinstance(found, MaskedCorpus)
        assert isinstance(found.unmasked, PairedSequences)
        assert len(found) > 1.5 * len(once)

    def test_phases_are_for_training(self, tokenizer: Tokenizer) -> None:
        task = Pretraining(phases=(Phase(length=8, share=0.75), Phase(length=16, share=0.25)))
        found, dev = self.encoded(task, tokenizer), self.encoded(task, tokenizer, trains=False)
        assert isinstance(found, PhasedCorpus)
        assert [share for share, _ in found.phases] == [0.75, 0.25]
        assert [int(corpus.unmasked.encode(np.array([0])).lengths[0]) for _, corpus in found.phases] == [8, 16]
        assert isinstance(dev, MaskedCorpus)
        assert dev.unmasked == PackedSequences(dev.store, tokenizer, 16)
        assert len(dev) < len(found)


class TestGaps:
    def test_they_are_asked_of_the_model(self, tokenizer: Tokenizer) -> None:
        examples = [text("The [MASK] is [MASK]."), text("It was a [MASK] film")]
        found = Pretraining().encode(examples, tokenizer, SHORT)
        assert isinstance(found, Encodings)
        plain = tokenizer.encode([e.text for e in examples], max_length=16)
        assert np.array_equal(found.ids, plain.ids)
        assert found.targets is not None
        assert np.array_equal(found.targets == PREDICT_ONLY, found.ids == tokenizer.mask_id)
        assert set(found.targets.tolist()) == {PREDICT_ONLY, IGNORE_INDEX}
        assert found.spell is not None
        ids = np.array([VOCABULARY.index(name) for name in ("good", "##s", "[SEP]", ".")])
        assert found.spell(ids) == ["good", "##s", "[SEP]", "."]

    def test_a_gap_may_be_written_as_bert_s_for_any_model(self, bpe: Tokenizer) -> None:
        examples = [text("The [MASK] is <mask>."), text("<mask> [MASK]", "x [MASK]")]
        for example in examples:
            found = Pretraining(sentence_objective="none").encode([example], bpe, TokenSettings(max_length=40))
            scores = scored(found, {i: range(70, 75) for i in np.flatnonzero(found.ids == bpe.mask_id)})
            (said,) = Pretraining().decode(Pretraining().outputs(scores, found, [example]), [example])
            starts = [span.start for span in said.spans[::FILLERS]]
            ends = [span.end for span in said.spans[::FILLERS]]
            assert (starts, ends) == (([4, 14], [10, 20]) if example is examples[0] else ([0, 7, 2], [6, 13, 8]))

    def test_another_model_s_mask_is_text(self, tokenizer: Tokenizer) -> None:
        example = text("<mask> is [MASK].")
        found = Pretraining().encode([example], tokenizer, SHORT)
        place = int(np.flatnonzero(found.ids == tokenizer.mask_id)[0])
        outputs = Pretraining().outputs(scored(found, {place: [5, 6, 7, 8, 9]}), found, [example])
        (said,) = Pretraining().decode(outputs, [example])
        assert {(span.start, span.end) for span in said.spans} == {(10, 16)}

    def test_several_texts_several_gaps_in_their_order(self, tokenizer: Tokenizer) -> None:
        examples = [text("[MASK] film [MASK]"), text("a [MASK]")]
        found = Pretraining().encode(examples, tokenizer, SHORT)
        places = np.flatnonzero(found.ids == tokenizer.mask_id).tolist()
        rows = {place: np.arange(5, 15) + 10 * i for i, place in enumerate(places)}
        said = Pretraining().decode(Pretraining().outputs(scored(found, rows), found, examples), examples)
        assert [[span.text for span in each.spans] for each in said] == [
            VOCABULARY[5:10] + VOCABULARY[15:20],
            VOCABULARY[25:30],
        ]
        assert [span.score for span in said[1].spans] == [0.5, 0.25, 0.125, 0.0625, 0.03125]
        assert [span.start for span in said[0].spans] == [0] * 5 + [12] * 5
        assert said[0].label is None
        assert Pretraining().columns(said) == {
            "filled": [f"{VOCABULARY[5]} {VOCABULARY[15]}", VOCABULARY[25]],
            "score": ["0.5000 0.5000", "0.5000"],
        }

    @pytest.mark.parametrize(("kind", "names"), [("nsp", ("follows", "random")), ("sop", ("in order", "swapped"))])
    def test_of_pairs_whether_they_follow(self, tokenizer: Tokenizer, kind: Any, names: tuple[str, str]) -> None:
        task = Pretraining(sentence_objective=kind)
        examples = [text("it is [MASK]", "a film"), text("a film", "the plot")]
        found = task.encode(examples, tokenizer, SHORT)
        place = int(np.flatnonzero(found.ids == tokenizer.mask_id)[0])
        outputs = task.outputs(scored(found, {place: [5, 6, 7, 8, 9]}, [0.75, 0.125]), found, examples)
        first, second = task.decode(outputs, examples)
        assert (first.label, second.label) == names
        assert first.probabilities == {names[0]: 0.75, names[1]: 0.25}
        assert second.probabilities == {names[0]: 0.125, names[1]: 0.875}
        assert [span.text for span in first.spans] == VOCABULARY[5:10]
        assert second.spans == ()
        assert task.columns([first, second])["next"] == list(names)

    def test_a_text_alone_says_nothing_of_what_follows(self, tokenizer: Tokenizer) -> None:
        task = Pretraining(sentence_objective="nsp")
        found = task.encode([text("it is [MASK]")], tokenizer, SHORT)
        place = int(np.flatnonzero(found.ids == tokenizer.mask_id)[0])
        (said,) = task.decode(
            task.outputs(scored(found, {place: [5] * 5}, [0.9]), found, [text("it is [MASK]")]), [text("it is [MASK]")]
        )
        assert (said.label, said.probabilities) == (None, {})

    def test_a_text_without_a_gap_is_refused(self, tokenizer: Tokenizer) -> None:
        message = r"^a\.csv:3: has no gap to fill; write \[MASK\] where a word is wanted\.$"
        for task, example in (
            (Pretraining(), text("no gap")),
            (Pretraining(), text("no gap", "no gap")),
            (Pretraining(sentence_objective="nsp"), text("no gap")),
        ):
            with pytest.raises(DataError, match=message):
                task.encode([example], tokenizer, SHORT)
        assert len(Pretraining(sentence_objective="nsp").encode([text("no", "gap")], tokenizer, SHORT)) == 1

    @pytest.mark.parametrize("truncation", ["longest_first", "windows"])
    def test_gaps_past_the_end_are_refused(self, tokenizer: Tokenizer, truncation: Any) -> None:
        tokens = TokenSettings(max_length=16, truncation=truncation)
        example = text("a [MASK] " + "film " * 20 + "[MASK] [MASK]")
        message = r"^a\.csv:3: 2 of its gaps are beyond the 16 tokens that the model reads; shorten the text\.$"
        with pytest.raises(DataError, match=message):
            Pretraining().encode([example], tokenizer, tokens)
        found = Pretraining().encode([text("a [MASK] " + "film " * 20)], tokenizer, tokens)
        assert (len(found), found.lengths.tolist()) == (1, [16])

    def test_a_tokenizer_without_a_mask(self, tokenizer: Tokenizer) -> None:
        special_ids = {role: id_ for role, id_ in tokenizer.special_ids.items() if role != "mask"}
        other = Tokenizer(tokenizer.backend, special_ids, tokenizer.input_names)
        with pytest.raises(TokenizerError, match=r"^model: its tokenizer has no mask, so it fills no gaps; take one"):
            Pretraining().encode([text("a [MASK]")], other, SHORT)


class TestFigures:
    def outputs(self, task: Pretraining) -> Any:
        """Two sequences of four and three tokens, of which two and one were hidden."""
        targets = np.array([1, IGNORE_INDEX, 9, 8, 0, 7, IGNORE_INDEX])
        if task.sentence_objective == "none":
            targets[[0, 4]] = IGNORE_INDEX
        encodings = Encodings(
            np.arange(7, dtype=np.int32),
            np.zeros(7, np.uint8),
            np.array([0, 4, 7]),
            np.arange(2),
            np.zeros(2, np.int32),
            targets,
        )
        losses, is_correct = np.array([1, 2, 4], np.float32), np.array([True, False, True])
        no_words = np.zeros((3, BEST))
        pairs = np.array([0.5, 0.25], np.float32), np.array([True, False]), np.zeros((2, 2), np.float32)
        if task.sentence_objective == "none":
            pairs = pairs[0][:0], pairs[1][:0], pairs[2][:0]
        decoded = MaskedLMOutput(losses, is_correct, no_words.astype(int), no_words.astype(np.float32), *pairs)
        return task.outputs(decoded, encodings, [])

    def test_words_and_sentences_are_counted_apart(self) -> None:
        assert self.outputs(Pretraining()).tolist() == [[3, 1, 2, 0, 0, 0], [4, 1, 1, 0, 0, 0]]
        assert self.outputs(Pretraining(sentence_objective="nsp")).tolist() == [
            [3, 1, 2, 0.5, 1, 1],
            [4, 1, 1, 0.25, 0, 1],
        ]

    def test_figures(self) -> None:
        task = Pretraining(
            sentence_objective="nsp", metrics=("mlm_loss", "perplexity", "mlm_accuracy", "nsp_loss", "nsp_accuracy")
        )
        found = task.evaluate(self.outputs(task), [])
        assert found.metrics == pytest.approx(
            {
                "mlm_loss": 7 / 3,
                "perplexity": math.exp(7 / 3),
                "mlm_accuracy": 2 / 3,
                "nsp_loss": 0.375,
                "nsp_accuracy": 0.5,
            }
        )
        assert (found.n, found.intervals, found.baseline, found.confusion) == (2, {}, {}, None)
        low, high = task.evaluate(self.outputs(task), [], train=[]).intervals["mlm_loss"]
        assert 1.5 <= low < 7 / 3 < high <= 4.0

    def test_there_must_be_something_to_guess(self, tokenizer: Tokenizer) -> None:
        nothing = "^evaluation: no token is masked; give longer texts"
        for sums in (np.zeros((0, 6)), np.zeros((3, 6))):
            with pytest.raises(DataError, match=nothing):
                MaskedLMOutcome(sums)
        found = Pretraining().encode([text("a [MASK]")], tokenizer, SHORT)
        gaps = Pretraining().outputs(scored(found, {2: [5] * 5}), found, [text("a [MASK]")])
        assert gaps[0].gaps[0] == Gap((VOCABULARY[5],) * 5, (0.5, 0.25, 0.125, 0.0625, 0.03125), (2, 8))
        with pytest.raises(DataError, match=r"^evaluation: texts with gaps have no targets; evaluate on"):
            Pretraining().to_outcome(gaps, [])

    def test_next_sentences_need_pairs(self) -> None:
        with pytest.raises(RecipeError) as caught:
            load_recipe(None, ["task.kind=pretraining", "task.metrics=[mlm_loss, nsp_accuracy]"])
        assert str(caught.value).endswith(
            "task.metrics name nsp_accuracy, but task.sentence_objective is none; remove it."
        )


class TestFromScratch:
    def test_sizes_are_the_published_ones(self, vocabulary: Path) -> None:
        layers = {name: create_from_preset(name, vocabulary).config for name in PRESETS}
        found = {name: (c.n_layers, c.width, c.n_heads, c.ffn_width) for name, c in layers.items()}
        assert found == {
            "tiny": (2, 128, 2, 512),
            "mini": (4, 256, 4, 1024),
            "small": (4, 512, 8, 2048),
            "medium": (8, 512, 8, 2048),
            "base": (12, 768, 12, 3072),
            "large": (24, 1024, 16, 4096),
        }
        assert {c.max_length for c in layers.values()} == {512}
        assert {c.dropout for c in layers.values()} == {0.1}

    def test_the_family_is_the_tokenizer_s(self, vocabulary: Path, bpe: Tokenizer, tmp_path: Path) -> None:
        assert create_from_preset("tiny", vocabulary).family.model_type == "bert"
        bpe.save(tmp_path)
        base = create_from_preset("tiny", tmp_path)
        assert (base.family.model_type, base.config.max_length) == ("roberta", 512)
        assert base.config.vocab_size == bpe.vocab_size
        message = r"^task\.sentence_objective: roberta was published without a pooler, so it has no NSP or SOP head"
        with pytest.raises(RecipeError, match=message):
            build_model(ModelSettings(), Pretraining(sentence_objective="nsp"), base)
        model, report = build_model(ModelSettings(), Pretraining(), base, torch.Generator().manual_seed(0))
        assert {row.reason for row in report.rows} == {"from scratch"}
        assert getattr(model.head, "pooler", None) is None

    def test_the_same_seed_the_same_weights(self, vocabulary: Path) -> None:
        base = create_from_preset("tiny", vocabulary)
        states = [
            build_model(
                ModelSettings(), Pretraining(sentence_objective="nsp"), base, torch.Generator().manual_seed(seed)
            )[0].state_dict()
            for seed in (0, 0, 1)
        ]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        word = states[0]["encoder.embeddings.word.weight"]
        assert not torch.equal(word, states[2]["encoder.embeddings.word.weight"])
        assert word.std() == pytest.approx(0.02, rel=0.05)
        assert states[0]["head.pooler.weight"].std() == pytest.approx(0.02, rel=0.05)

    def test_a_tokenizer_that_cannot_hide_words(self, tmp_path: Path) -> None:
        (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n")
        with pytest.raises(
            RecipeError, match=r"^model\.tokenizer: .* has no mask token; train a tokenizer, or use that of BERT"
        ):
            create_from_preset("tiny", tmp_path)
