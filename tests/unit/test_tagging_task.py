"""Tagging as a task: where tags stand, what is learnt, what comes out, and how good it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from bertwright.data.example import Example
from bertwright.data.words import words_of
from bertwright.errors import DataError
from bertwright.nn import IGNORE_INDEX
from bertwright.nn.batch import Batch
from bertwright.tasks.tagging import NOTHING, UNKNOWN, Tagging, WordTags
from bertwright.tokenization.batching import collate
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
SHORT = TokenSettings(max_length=32)


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Tokenizer:
    return Tokenizer.load(tiny_bert)


def tagged(words: Sequence[str], tags: Sequence[str] | None = None, where: str = "a.conll:7") -> Example:
    ends = np.cumsum([len(word) + 1 for word in words]).tolist()
    spans = tuple((end - 1 - len(word), end - 1) for word, end in zip(words, ends, strict=True))
    target = None if tags is None else tuple(tags)
    return Example("0", " ".join(words), target=target, where=where, words=spans)


def targets_of(encodings: Encodings) -> np.ndarray[Any, Any]:
    assert encodings.targets is not None
    return encodings.targets


def said(tags: Sequence[str], sure: Sequence[float] | None = None) -> WordTags:
    numbers = np.array([TAGS.index(tag) for tag in tags], np.int64)
    return WordTags(numbers, np.array(sure or [0.9] * len(tags), np.float32))


class TestLearnedFrom:
    def test_tags_are_ordered_and_completed(self) -> None:
        task = Tagging().infer_from_data([tagged(["a", "b"], ["B-PER", "O"]), tagged(["c"], ["I-LOC"])])
        assert task.labels == TAGS
        assert task.scheme == "BIO"

    def test_bioes_has_all_four_letters_and_keeps_the_file_s_own(self) -> None:
        task = Tagging().infer_from_data([tagged(["a", "b"], ["S-X", "O"])])
        assert (task.scheme, task.labels) == ("BIOES", ("O", "B-X", "I-X", "E-X", "S-X"))
        assert Tagging().infer_from_data([tagged(["a"], ["U-X"])]).labels == ("O", "B-X", "I-X", "L-X", "U-X")

    def test_iob1_is_told_by_its_begins(self) -> None:
        rows = [tagged(["a", "b", "c"], ["I-X", "B-X", "O"])]
        assert Tagging().infer_from_data(rows).scheme == "IOB1"

    def test_bare_letters_have_no_type(self) -> None:
        assert Tagging().infer_from_data([tagged(["a", "b"], ["B", "O"])]).labels == ("O", "B", "I")

    def test_of_plain_tags_the_commonest_comes_first(self) -> None:
        task = Tagging().infer_from_data([tagged(["a", "b", "c"], ["VB", "NN", "NN"]), tagged(["d"], ["DT"])])
        assert (task.scheme, task.labels) == ("none", ("NN", "DT", "VB"))
        assert task.chosen_metrics == ("token_accuracy",)

    def test_declared_labels_and_the_recipe_s_own_keep_their_order(self) -> None:
        rows = [tagged(["a", "b"], ["B-X", "O"])]
        assert Tagging().infer_from_data(rows, ["B-X", "O"]).labels == ("B-X", "O")
        assert Tagging(labels=("I-X", "B-X", "O")).infer_from_data(rows).labels == ("I-X", "B-X", "O")

    def test_one_tag_is_nothing_to_learn(self) -> None:
        with pytest.raises(DataError, match='the training data: it must have at least 2 labels, but has only "NN"'):
            Tagging().infer_from_data([tagged(["a"], ["NN"])])

    def test_a_scheme_that_the_tags_do_not_follow(self) -> None:
        with pytest.raises(DataError, match='"NN" is not valid in BIO'):
            Tagging(scheme="BIO").infer_from_data([tagged(["a", "b"], ["NN", "O"])])

    def test_balanced_weights_count_words(self) -> None:
        task = Tagging(class_weights="balanced").infer_from_data([tagged(["a", "b", "c", "d"], ["O", "O", "O", "X"])])
        assert task.class_weights == {"O": pytest.approx(4 / 6), "X": pytest.approx(2.0)}


class TestEncode:
    task = Tagging(labels=TAGS, scheme="BIO")

    def test_the_first_piece_has_the_tag(self, tokenizer: Tokenizer) -> None:
        encodings = self.task.encode([tagged(["the", "xyz", "film"], ["O", "B-PER", "I-PER"])], tokenizer)
        assert targets_of(encodings).tolist() == [IGNORE_INDEX, 0, 3, IGNORE_INDEX, IGNORE_INDEX, 4, IGNORE_INDEX]

    def test_without_tags_the_words_are_marked_all_the_same(self, tokenizer: Tokenizer) -> None:
        encodings = self.task.encode([Example("0", "the xyz")], tokenizer)
        assert targets_of(encodings).tolist() == [
            IGNORE_INDEX,
            UNKNOWN,
            UNKNOWN,
            IGNORE_INDEX,
            IGNORE_INDEX,
            IGNORE_INDEX,
        ]

    def test_a_word_of_every_window_is_learnt_once(self, tokenizer: Tokenizer) -> None:
        words = ["the", "film", "qrs"] * 167
        tags = [TAGS[i % 5] for i in range(501)]
        encodings = self.task.encode([tagged(words, tags), tagged(["the"], ["O"])], tokenizer, SHORT)
        assert len(encodings) > 20
        assert int(encodings.lengths.max()) <= 32
        found = targets_of(encodings)
        assert [TAGS[number] for number in found[found != IGNORE_INDEX]] == [*tags, "O"]

    @given(
        st.lists(st.lists(st.sampled_from(["the", "film", "xyzzy", "a.b", "!"]), max_size=60), min_size=1, max_size=4)
    )
    @settings(max_examples=30, deadline=None)
    def test_every_word_has_one_place(self, tokenizer: Tokenizer, sentences: list[list[str]]) -> None:
        rng = np.random.default_rng(len(sentences[0]))
        examples = [tagged(words, [TAGS[i] for i in rng.integers(0, 5, len(words))]) for words in sentences]
        encodings = self.task.encode(examples, tokenizer, TokenSettings(max_length=9, stride=3))
        scores = np.eye(5, dtype=np.float32)[np.maximum(targets_of(encodings), 0)]
        decoded = self.task.decode(self.task.outputs(scores, encodings, examples), examples)
        assert [prediction.tags for prediction in decoded] == [example.target for example in examples]

    def test_words_without_a_token_are_told_of(self, tokenizer: Tokenizer) -> None:
        notes: list[str] = []
        example = tagged(["the", "\u200b", "film"], ["O", "B-PER", "I-PER"])
        encodings = self.task.encode([tagged(["a"], ["O"], "a:1"), example], tokenizer, on_note=notes.append)
        assert notes == ["1 of 4 words have no token, so nothing is learned from them (the first in a.conll:7)"]
        assert Counter(targets_of(encodings).tolist()) == {IGNORE_INDEX: 4, 0: 2, 4: 1}
        scores = np.zeros((len(encodings.ids), 5), np.float32)
        scores[:, 3] = 9.0
        predicted = self.task.outputs(scores, encodings, [tagged(["a"]), example])[1]
        assert predicted.tags.tolist() == [3, 0, 3]
        assert predicted.sure.tolist() == pytest.approx([1.0, 0.0, 1.0], abs=1e-3)

    def test_words_that_share_a_token_get_its_tag(self, tmp_path: Path) -> None:
        from tokenizers import ByteLevelBPETokenizer

        own = ByteLevelBPETokenizer()
        own.train_from_iterator(["a film)."] * 9, 290, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
        own.save_model(str(tmp_path))
        (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
        example = Example("0", "a film).", target=("O", "B-PER", "I-PER", "O"), where="x")
        assert [example.text[a:b] for a, b in words_of(example)] == ["a", "film", ")", "."]
        notes: list[str] = []
        roberta = Tokenizer.load(tmp_path)
        encodings = self.task.encode([example], roberta, on_note=notes.append)
        assert "1 of 4 words share their first token" in notes[0]
        assert [number for number in targets_of(encodings) if number != IGNORE_INDEX] == [0, 3, 4]
        scores = np.eye(5, dtype=np.float32)[np.maximum(targets_of(encodings), 0)]
        assert self.task.outputs(scores, encodings, [example])[0].tags.tolist() == [0, 3, 4, 4]

    def test_tags_that_nobody_knows(self, tokenizer: Tokenizer) -> None:
        rows = [tagged(["a"], ["O"]), tagged(["a", "b"], ["O", "B-PRE"], "dev.conll:31")]
        with pytest.raises(DataError, match=r'dev\.conll:31: the label "B-PRE" is not one .* did you mean "B-PER"'):
            self.task.encode(rows, tokenizer)

    def test_as_many_tags_as_words(self, tokenizer: Tokenizer) -> None:
        with pytest.raises(DataError, match=r"a\.conll:7: 1 tags for 2 words"):
            self.task.encode([tagged(["a", "b"], ["O"])], tokenizer)

    def test_encodings_of_another_task(self, tokenizer: Tokenizer) -> None:
        encodings = tokenizer.encode(["a"], max_length=8)
        with pytest.raises(DataError, match="have no offsets of characters"):
            self.task.outputs(np.zeros((3, 5), np.float32), encodings, [Example("0", "a")])


class TestLoss:
    def batch(self, tokenizer: Tokenizer, task: Tagging) -> Batch:
        rows = [tagged(["the", "xyz"], ["O", "B-PER"]), tagged(["film"], ["I-PER"])]
        return collate(task.encode(rows, tokenizer), np.arange(2))

    def test_it_is_torch_s(self, tokenizer: Tokenizer) -> None:
        weights = {name: 0.5 + i for i, name in enumerate(TAGS)}
        task = Tagging(labels=TAGS, scheme="BIO", class_weights=weights, label_smoothing=0.1)
        batch = self.batch(tokenizer, task)
        assert batch.targets is not None
        scores = torch.randn(len(batch.targets), 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
        loss = task.loss(scores, batch)
        expected = functional.cross_entropy(
            scores, batch.targets, weight=torch.tensor(list(weights.values())), label_smoothing=0.1
        )
        torch.testing.assert_close(loss.total / loss.count, expected)

    def test_a_batch_without_tags_changes_nothing(self, tokenizer: Tokenizer) -> None:
        task = Tagging(labels=TAGS, scheme="BIO")
        batch = collate(task.encode([Example("0", "the film")], tokenizer), np.arange(1))
        scores = torch.randn(4, 5, requires_grad=True)
        loss = task.loss(scores, batch)
        (loss.total / loss.count).backward()
        assert loss.count == NOTHING
        assert 1000.0 + loss.count - 1000.0 < 1e-9
        assert scores.grad is not None
        assert not scores.grad.any()


class TestDecode:
    task = Tagging(labels=TAGS, scheme="BIO")
    example = Example("7", "In New  York, he", words=((0, 2), (3, 6), (8, 12), (12, 13), (14, 16)))

    def test_spans_are_cut_from_the_text(self) -> None:
        tags = ("O", "B-LOC", "I-LOC", "O", "B-PER")
        found = self.task.decode([said(tags, [0.9, 0.8, 0.6, 0.9, 0.7])], [self.example])[0]
        assert (found.id, found.tags) == ("7", tags)
        assert [(s.text, s.start, s.end, s.label) for s in found.spans] == [
            ("New  York", 3, 12, "LOC"),
            ("he", 14, 16, "PER"),
        ]
        assert [span.score for span in found.spans] == pytest.approx([0.7, 0.7])
        columns = self.task.columns([found])
        assert columns["tags"] == [list(tags)]
        assert columns["spans"][0][1] == {"text": "he", "start": 14, "end": 16, "label": "PER", "score": 0.7}

    def test_what_the_scheme_does_not_allow_is_read_as_conlleval_does(self) -> None:
        tags = ("O", "I-LOC", "I-PER", "I-PER", "B-PER")
        spans = self.task.decode([said(tags)], [self.example])[0].spans
        assert [(span.text, span.label) for span in spans] == [("New", "LOC"), ("York,", "PER"), ("he", "PER")]

    def test_plain_tags_mark_nothing(self) -> None:
        task = Tagging(labels=("NN", "VB"))
        assert task.written == "none"
        found = task.decode([WordTags(np.array([0, 1]), np.ones(2, np.float32))], [Example("0", "a b")])
        assert (found[0].tags, found[0].spans) == (("NN", "VB"), ())
        assert list(task.columns(found)) == ["tags"]

    def test_a_text_without_words(self, tokenizer: Tokenizer) -> None:
        rows = [Example("0", ""), Example("1", "film"), Example("2", " ")]
        encodings = self.task.encode(rows, tokenizer)
        outputs = self.task.outputs(np.zeros((len(encodings.ids), 5), np.float32), encodings, rows)
        assert [prediction.tags for prediction in self.task.decode(outputs, rows)] == [(), ("O",), ()]


class TestMeasure:
    task = Tagging(labels=TAGS, scheme="BIO")
    rows = (
        tagged(["in", "new", "york"], ["O", "B-LOC", "I-LOC"]),
        tagged(["he", "sat"], ["B-PER", "O"]),
        tagged(["he", "sat"], ["B-PER", "O"]),
    )

    def test_metrics_classes_and_matrix(self) -> None:
        outputs = [said(["O", "B-LOC", "I-LOC"]), said(["O", "O"]), said(["B-PER", "B-PER"])]
        found = self.task.evaluate(outputs, self.rows)
        assert found.metrics == {
            "span_f1": pytest.approx(2 / 3),
            "span_precision": pytest.approx(2 / 3),
            "span_recall": pytest.approx(2 / 3),
            "token_accuracy": pytest.approx(5 / 7),
        }
        assert found.per_class["LOC"]["f1"] == 1.0
        assert found.per_class["PER"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2, "predicted": 2}
        assert found.confusion is not None
        assert found.confusion[TAGS.index("B-PER")] == [1, 0, 0, 1, 0]
        assert np.sum(found.confusion) == 7
        assert (found.intervals, found.baseline, found.n, found.collapsed) == ({}, {}, 3, None)

    def test_the_baseline_is_each_word_s_commonest_tag(self) -> None:
        learned = [tagged(["york", "york", "in", "sat"], ["B-LOC", "I-LOC", "O", "O"]), tagged(["york"], ["I-LOC"])]
        outputs = [said(example.target or ()) for example in self.rows]  # type: ignore[arg-type]
        found = self.task.evaluate(outputs, self.rows, learned)
        assert found.metrics["span_f1"] == 1.0
        # in O, new (not seen: O), york I-LOC; he (not seen: O), sat O
        assert found.baseline["token_accuracy"] == pytest.approx(4 / 7)
        assert found.intervals["span_f1"] == (1.0, 1.0)
        assert self.task.evaluate(outputs, self.rows, self.rows).baseline == {}

    def test_nothing_but_one_tag_is_a_collapse(self) -> None:
        rows = [tagged(["he", "sat"], ["B-PER", "O"])] * 20
        found = self.task.evaluate([said(["O", "O"])] * 20, rows)
        assert found.collapsed == '"O" is predicted for 40 of 40 words, but true for 20'

    def test_many_tags_have_no_matrix(self) -> None:
        task = Tagging(labels=tuple(f"T{i}" for i in range(21)), scheme="none")
        outputs = [WordTags(np.array([0]), np.ones(1, np.float32))]
        found = task.evaluate(outputs, [tagged(["a"], ["T0"])])
        assert found.confusion is None
        assert found.metrics == {"token_accuracy": 1.0}

    def test_without_tags_there_is_nothing_to_measure(self) -> None:
        with pytest.raises(DataError, match="the examples have no tags"):
            self.task.evaluate([said(["O"])], [tagged(["a"])])

    def test_strict_metrics_when_asked_for(self) -> None:
        task = self.task.replace(metrics=("span_f1", "span_f1_strict"))
        found = task.evaluate([said(["O", "I-LOC", "I-LOC"])], [tagged(["a", "b", "c"], ["O", "B-LOC", "I-LOC"])])
        assert found.metrics == {"span_f1": 1.0, "span_f1_strict": 0.0}
