"""Question answering as a task: where answers become tokens, how tokens become answers, and what is said of both."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from bertwright.data.example import Answer, Example
from bertwright.data.squad import NOT_IN_CONTEXT
from bertwright.errors import DataError, RecipeError
from bertwright.nn import IGNORE_INDEX
from bertwright.nn.batch import Batch
from bertwright.nn.layout import Layout
from bertwright.recipe import load_recipe
from bertwright.tasks.answer_spans import ABSENT, UNKNOWN, Candidates, likeliest, locate
from bertwright.tasks.qa import QuestionAnswering
from bertwright.tokenization.batching import collate
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.training import scoring as evaluate

CONTEXT = "the film was dull . a great plot ! it was not bad"


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> Tokenizer:
    return Tokenizer.load(tiny_bert)


def asked(name: str, context: str = CONTEXT, *answers: str, start: int | None = None) -> Example:
    """A question; its answers stand where they first occur, unless ``start`` says otherwise."""
    places = tuple(Answer(text, context.index(text) if start is None else start) for text in answers)
    return Example(name, "was it good", context, places)


def spelt(encodings: Encodings, examples: Sequence[Example]) -> list[str]:
    """What the targets of each window cut out of the context; "" for [CLS]."""
    assert encodings.offsets is not None
    assert encodings.targets is not None
    found = []
    for i, (first, last) in enumerate(encodings.targets.tolist()):
        begin, end = encodings.offsets[encodings.bounds[i] + [first, last]]
        context = examples[int(encodings.examples[i])].text_pair or ""
        found.append("" if first == 0 else context[begin[0] : end[1]])
    return found


def test_an_answer_is_found_by_its_characters(tokenizer: Tokenizer) -> None:
    examples = [asked("a", CONTEXT, "great plot"), asked("b", CONTEXT, "dull"), asked("c", CONTEXT)]
    encodings = QuestionAnswering().encode(examples, tokenizer)
    assert spelt(encodings, examples) == ["great plot", "dull", ""]
    assert encodings.targets is not None
    assert encodings.targets.dtype == np.int64
    # the second of two equal words is meant, and a question may begin with space
    second = replace(asked("d", CONTEXT, "was", start=CONTEXT.rindex("was")), text="  was it good")
    encodings = QuestionAnswering().encode([second], tokenizer)
    assert encodings.targets is not None
    assert encodings.offsets is not None
    assert encodings.offsets[encodings.targets[0, 0]].tolist() == [CONTEXT.rindex("was"), CONTEXT.rindex("was") + 3]


def test_every_window_that_shows_the_whole_answer_points_at_it(tokenizer: Tokenizer) -> None:
    example = asked("a", CONTEXT, "great plot")
    tokens = TokenSettings(max_length=14, stride=5)
    notes: list[str] = []
    encodings = QuestionAnswering().encode([example, asked("b")], tokenizer, tokens, notes.append)
    shown = spelt(encodings, [example, asked("b")])
    of_first = [text for text, which in zip(shown, encodings.examples, strict=True) if which == 0]
    assert set(of_first) == {"great plot", ""}
    assert of_first.count("great plot") >= 2, "it lies in an overlap"
    assert set(shown[len(of_first) :]) == {""}
    assert notes == [f"2 questions make {len(encodings)} windows of at most 14 tokens"]


def test_what_does_not_become_tokens_is_counted(tokenizer: Tokenizer) -> None:
    whole = asked("cut", CONTEXT, CONTEXT)
    inside = asked("inside", CONTEXT, "grea")
    absent = asked("absent", CONTEXT, "fun", start=NOT_IN_CONTEXT)
    spaced = asked("spaced", CONTEXT, " dull ")  # "was dull ." to run_qa.py, and so here
    tokens = TokenSettings(max_length=14, stride=5)
    notes: list[str] = []
    task = QuestionAnswering()
    encodings = task.encode([whole, inside, absent, spaced], tokenizer, tokens, notes.append)
    assert notes[1:] == [
        "1 answers are cut off: no window shows the whole of them, so all point at [CLS]",
        '2 answers do not align with tokens, so a little more text is learned, such as "great" for "grea"',
        "1 questions have no answer that occurs in their context, so nothing is learned from them",
    ]
    assert encodings.targets is not None
    of_absent = encodings.examples == 2
    assert (encodings.targets[of_absent] == IGNORE_INDEX).all()
    kept = encodings.with_known_targets()
    assert kept.examples.tolist() == encodings.examples[~of_absent].tolist(), "numbers of the examples stay"
    assert kept.targets is not None
    assert kept.targets.tolist() == encodings.targets[~of_absent].tolist()
    for i, j in enumerate(np.flatnonzero(~of_absent).tolist()):
        assert kept[i].ids.tolist() == encodings[j].ids.tolist()
    assert kept.with_known_targets() is kept
    # of several answers the first that stands in the context is learnt
    both = replace(absent, target=(*absent.target, Answer("dull", CONTEXT.index("dull"))))  # type: ignore[misc]
    assert spelt(task.encode([both], tokenizer), [both]) == ["dull"]


def test_encodings_without_targets_or_with_targets_a_token_are_learnable_as_they_are() -> None:
    ids, bounds = np.arange(6, dtype=np.int32), np.array([0, 2, 6])
    columns = (np.zeros(6, np.uint8), bounds, np.array([0, 1]), np.zeros(2, np.int32))
    assert Encodings(ids, *columns).with_known_targets().targets is None
    floats = Encodings(ids, *columns, targets=np.ones(2, np.float32))
    assert floats.with_known_targets() is floats
    tags = Encodings(ids, *columns, targets=np.array([IGNORE_INDEX, IGNORE_INDEX, 1, IGNORE_INDEX, 2, IGNORE_INDEX]))
    assert tags.with_known_targets().ids.tolist() == [2, 3, 4, 5]
    assert tags.with_known_targets().examples.tolist() == [1]


def test_questions_without_contexts_or_with_answers_to_some(tokenizer: Tokenizer) -> None:
    task = QuestionAnswering()
    with pytest.raises(DataError, match=r"^x:3: it has no context; give each question the text that answers it\.$"):
        task.encode([Example("0", "who", where="x:3")], tokenizer)
    unknown = Example("1", "who", CONTEXT, where="x:4")
    assert task.encode([unknown], tokenizer).targets is None
    with pytest.raises(DataError, match=r"^x:4: it has no label, but 1 other"):
        task.encode([asked("a", CONTEXT, "dull"), unknown], tokenizer)
    with pytest.raises(DataError, match="nothing to compare with"):
        task.evaluate([], [unknown])
    empty = asked("e", "")
    encodings = task.encode([empty, asked("a", CONTEXT, "dull")], tokenizer)
    assert spelt(encodings, [empty, asked("a")]) == ["", "dull"], "an empty context is a window that points at [CLS]"


def test_locating_is_the_same_in_parts(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [asked(str(i), CONTEXT, word) for i, word in enumerate(("film", "dull", "great plot", "bad"))]
    tokens = TokenSettings(max_length=12, stride=3)
    whole = QuestionAnswering().encode(examples, tokenizer, tokens)
    monkeypatch.setattr("bertwright.tasks.answer_spans.WINDOWS", 2)
    np.testing.assert_array_equal(QuestionAnswering().encode(examples, tokenizer, tokens).targets, whole.targets)
    spans = np.array([[ABSENT, ABSENT]] * 3 + [[UNKNOWN, UNKNOWN]])
    rows = [row for row, which in zip(locate(whole, spans).tolist(), whole.examples, strict=True) if which == 3]
    assert rows == [[IGNORE_INDEX, IGNORE_INDEX]] * len(rows)


def test_the_loss_is_the_mean_of_both_ends_over_the_tokens_of_a_window() -> None:
    lengths = [3, 5, 2]
    scores = torch.randn(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.tensor([[1, 2], [0, 4], [IGNORE_INDEX, IGNORE_INDEX]])
    ids = torch.zeros(10, dtype=torch.int64)
    batch = Batch(ids, ids, Layout.packed(lengths), targets, np.arange(3))
    loss = QuestionAnswering().loss(scores, batch)
    assert float(loss.count) == 2
    pieces = scores.split(lengths)
    expected = sum(
        functional.cross_entropy(pieces[i][None, :, end], targets[i, end][None]) / 2 for i in (0, 1) for end in (0, 1)
    )
    torch.testing.assert_close(loss.total, expected)
    (gradient,) = torch.autograd.grad(loss.total, scores)
    (theirs,) = torch.autograd.grad(torch.as_tensor(expected), scores)
    torch.testing.assert_close(gradient, theirs)
    assert (gradient[8:] == 0).all(), "nothing is learnt where the answer is not known"
    with pytest.raises(DataError, match="nothing to learn from"):
        QuestionAnswering().loss(scores, replace(batch, targets=None))


def slowly(
    scores: Any, windows: Encodings, n_examples: int, n_best: int, max_length: int
) -> list[tuple[list[tuple[int, int, float, float]], float]]:
    """run_squad.py's write_predictions, one question, window and pair at a time: candidates and the null score."""
    assert windows.offsets is not None
    assert windows.max_context is not None
    found = []
    for example in range(n_examples):
        pairs: list[tuple[float, int, int, float, float, tuple[int, int]]] = []
        null = float("inf")
        for w in np.flatnonzero(windows.examples == example).tolist():
            base, stop = int(windows.bounds[w]), int(windows.bounds[w + 1])
            begins, ends = scores[base:stop, 0], scores[base:stop, 1]
            null = min(null, float(begins[0]) + float(ends[0]))
            first_ones = sorted(range(stop - base), key=lambda t: -begins[t])[:n_best]
            last_ones = sorted(range(stop - base), key=lambda t: -ends[t])[:n_best]
            for first in first_ones:
                for last in last_ones:
                    if windows.offsets[base + first, 0] < 0 or windows.offsets[base + last, 0] < 0:
                        continue
                    if not windows.max_context[base + first] or last < first or last - first + 1 > max_length:
                        continue
                    span = (int(windows.offsets[base + first, 0]), int(windows.offsets[base + last, 1]))
                    logits = float(begins[first]), float(ends[last])
                    pairs.append((-sum(logits), base + first, base + last, *logits, span))
        pairs.sort()
        found.append(([(*span, begin, end) for _, _, _, begin, end, span in pairs[:n_best]], null))
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(12, 24),
    st.integers(0, 6),
    st.integers(1, 6),
    st.integers(1, 8),
    st.integers(0, 2**32 - 1),
)
def test_decoding_is_the_official_one(
    sizes: list[int], max_length: int, stride: int, n_best: int, longest: int, seed: int
) -> None:
    tokenizer = _tokenizer()
    rng = np.random.default_rng(seed)
    examples = [
        asked(str(i), " ".join(rng.choice(["film", "plot", "bad", "xy"], size))) for i, size in enumerate(sizes)
    ]
    tokens = TokenSettings(max_length=max_length, stride=min(stride, max_length // 2))
    windows = QuestionAnswering().encode(examples, tokenizer, tokens)
    # few different numbers, so that there are ties
    scores = rng.integers(-3, 4, (len(windows.ids), 2)).astype(np.float32)
    ours = likeliest(scores, windows, len(examples), n_best, longest)
    for one, (candidates, null) in zip(ours, slowly(scores, windows, len(examples), n_best, longest), strict=True):
        rows = [(*span, *logits) for span, logits in zip(one.spans.tolist(), one.logits.tolist(), strict=True)]
        assert rows == candidates
        assert one.null.sum() == null
        best = candidates[0][2] + candidates[0][3] if candidates else 0.0
        assert one.null_odds == null - best


def _tokenizer(cache: list[Tokenizer] = []) -> Tokenizer:  # noqa: B006  # hypothesis takes no fixtures of a function
    if not cache:
        import tempfile

        from tiny import make_tiny_bert

        with tempfile.TemporaryDirectory() as folder:
            cache.append(Tokenizer.load(make_tiny_bert(Path(folder) / "tiny")))
    return cache[0]


def candidates(*rows: tuple[int, int, float, float], null: tuple[float, float] = (0.0, 0.0)) -> Candidates:
    table = np.array(rows, np.float32).reshape(-1, 4)
    return Candidates(table[:, :2].astype(np.int32), table[:, 2:], np.array(null, np.float32))


def test_answers_are_cut_from_the_context_with_their_probabilities() -> None:
    example, task = asked("q", CONTEXT, "dull"), QuestionAnswering(null_answers=False)
    at = CONTEXT.index("dull")
    one = candidates((at, at + 4, 2.0, 1.0), (at, at + 6, 1.0, 1.0), null=(5.0, 5.0))
    (found,) = task.decode([one], [example])
    assert found.answer == "dull"
    assert found.null_odds is None
    odds = np.exp([3.0, 2.0])
    assert [span.text for span in found.spans] == ["dull", "dull ."]
    assert [span.score for span in found.spans] == pytest.approx((odds / odds.sum()).tolist())
    assert [(span.start, span.end) for span in found.spans] == [(at, at + 4), (at, at + 6)]
    assert task.columns([found]) == {"answer": ["dull"], "score": [0.731059], "start": [at], "end": [at + 4]}
    (nothing,) = task.decode([candidates()], [example])
    assert (nothing.answer, nothing.spans) == ("", ())
    assert task.columns([nothing]) == {"answer": [""], "score": [0.0], "start": [None], "end": [None]}


def test_no_answer_is_given_where_it_scores_better_than_the_threshold() -> None:
    example, at = asked("q", CONTEXT), CONTEXT.index("dull")
    one = candidates((at, at + 4, 1.0, 1.0), null=(2.0, 1.0))  # null odds 1
    task = QuestionAnswering(null_answers=True)
    (found,) = task.decode([one], [example])
    assert (found.answer, found.null_odds) == ("", 1.0)
    odds = np.exp([2.0, 3.0])
    assert [span.text for span in found.spans] == ["dull"]
    columns = task.columns([found])
    assert columns["score"] == pytest.approx([odds[1] / odds.sum()], abs=1e-6)
    assert (columns["answer"], columns["start"], columns["null_odds"]) == ([""], [None], [1.0])
    lenient = task.replace(null_score_diff_threshold=1.0)
    assert lenient.decode([one], [example])[0].answer == "dull"
    # a model that does not say what it can do answers always
    assert QuestionAnswering().decode([one], [example])[0].answer == "dull"


def test_measures_of_version_1() -> None:
    examples = [asked("a", CONTEXT, "dull"), asked("b", CONTEXT, "great plot")]
    at = CONTEXT.index("great")
    outputs = [candidates((0, 8, 1, 1)), candidates((at, at + 5, 1, 1))]
    task = QuestionAnswering(null_answers=False)
    measured = task.evaluate(outputs, examples)
    assert measured.metrics == pytest.approx({"answer_f1": 100 / 3, "exact_match": 0.0})
    assert (measured.intervals, measured.baseline, measured.n) == ({}, {}, 2)
    measured = task.evaluate(outputs, examples, train=examples)
    assert measured.intervals["answer_f1"] == pytest.approx((0, 200 / 3))
    assert measured.baseline == {}
    assert task.tune_on_validation(outputs, examples) == (task, [])


def test_the_threshold_of_version_2_is_tuned_on_dev() -> None:
    at = CONTEXT.index("dull")
    examples = [asked("a", CONTEXT, "dull"), asked("b"), asked("c")]
    right = (at, at + 4, 1, 1)
    outputs = [candidates(right, null=(2, 1)), candidates(right, null=(3, 2)), candidates(right, null=(2, 4))]
    task = QuestionAnswering(null_answers=True)
    untuned = task.evaluate(outputs, examples, train=examples)
    assert untuned.metrics["answer_f1"] == pytest.approx(200 / 3)
    assert untuned.metrics["best_answer_f1"] == 100
    assert untuned.metrics["no_answer_accuracy"] == 100
    assert untuned.metrics["has_answer_f1"] == 0
    assert untuned.baseline["answer_f1"] == pytest.approx(200 / 3)
    tuned, notes = task.tune_on_validation(outputs, examples)
    assert tuned.null_score_diff_threshold == 1.0
    assert tuned.evaluate(outputs, examples).metrics["answer_f1"] == 100
    assert notes == [
        "task.null_score_diff_threshold: 1.0000, tuned on the dev rows instead of 0 (answer_f1 66.67 → 100.00, "
        "exact_match 66.67 → 100.00); metrics on these rows are optimistic"
    ]
    fixed = task.replace(null_score_diff_threshold=-3.0)
    assert fixed.tune_on_validation(outputs, examples) == (fixed, [])
    # of a model that says nothing the rows tell, which version is meant
    assert QuestionAnswering().evaluate(outputs, examples).metrics["answer_f1"] == pytest.approx(200 / 3)
    assert QuestionAnswering().evaluate(outputs[:1], examples[:1]).metrics["answer_f1"] == 100


def test_official_files() -> None:
    at = CONTEXT.index("dull")
    examples = [asked("a", CONTEXT, "dull"), asked("b")]
    outputs = [candidates((at, at + 4, 3, 1), null=(1, 1)), candidates((at, at + 4, 0.5, 0), null=(2, 0.5))]
    task = QuestionAnswering(null_answers=True)
    files = {name: json.loads(text) for name, text in task.official_files(outputs, examples).items()}
    assert files["predictions.json"] == {"a": "dull", "b": ""}
    assert files["null_odds.json"] == {"a": -2.0, "b": 2.0}
    n_best = files["nbest_predictions.json"]
    assert [row["text"] for row in n_best["a"]] == ["dull", ""]
    assert [row["text"] for row in n_best["b"]] == ["", "dull"]
    assert n_best["b"][0] == {"text": "", "probability": 0.880797, "start_logit": 2.0, "end_logit": 0.5}
    files = task.replace(null_answers=False).official_files(outputs, examples)
    assert set(files) == {"predictions.json", "nbest_predictions.json"}
    assert json.loads(files["predictions.json"]) == {"a": "dull", "b": "dull"}
    assert "" not in [row["text"] for row in json.loads(files["nbest_predictions.json"])["b"]]
    none = task.replace(null_answers=False).official_files([candidates()], examples[:1])
    assert json.loads(none["predictions.json"]) == {"a": ""}
    assert json.loads(none["nbest_predictions.json"]) == {"a": []}


def test_what_the_training_data_tells() -> None:
    task, with_none = QuestionAnswering(), [asked("a", CONTEXT, "dull"), asked("b")]
    assert task.infer_from_data(with_none[:1]).null_answers is False
    learned = task.infer_from_data(with_none)
    assert learned.null_answers is True
    assert learned.chosen_metrics[:2] == ("answer_f1", "exact_match")
    assert "best_answer_f1" in learned.chosen_metrics
    assert QuestionAnswering(null_answers=False).infer_from_data(with_none).null_answers is False
    recipe = load_recipe(None, ["task.kind=qa", "task.max_answer_length=12"])
    assert recipe.task == QuestionAnswering(max_answer_length=12)
    with pytest.raises(RecipeError, match=r"n_best"):
        load_recipe(None, ["task.kind=qa", "task.n_best_size=0"])


def test_evaluation_keeps_a_little_of_each_question(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the windows, hardly more memory at the peak than the answers themselves take."""
    monkeypatch.setattr(evaluate, "SEQUENCES", 64)
    monkeypatch.setattr(evaluate, "decode_sequences", lambda _, part, **__: np.zeros((len(part.ids), 2), np.float32))
    task = QuestionAnswering(n_best_size=4)
    long = " ".join([CONTEXT] * 10)
    peaks = []
    for n in (100, 400):
        examples = [asked(str(i), long, "dull") for i in range(n)]
        encodings = task.encode(examples, tokenizer, TokenSettings(max_length=48, stride=16))
        tracemalloc.start()
        found = evaluate.compute_outputs(None, task, encodings, examples)  # type: ignore[arg-type]
        peaks.append(tracemalloc.get_traced_memory()[1])
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(found) == n
        assert kept < 2000 * n
    assert len(encodings) > 1000
    assert peaks[1] - peaks[0] < 2000 * 300, "what grows is what is kept"


def test_batches_hold_targets_of_windows(tokenizer: Tokenizer) -> None:
    encodings = QuestionAnswering().encode([asked("a", CONTEXT, "dull"), asked("b")], tokenizer)
    batch = collate(encodings, np.array([1, 0]))
    assert batch.targets is not None
    assert encodings.targets is not None
    assert batch.targets.tolist() == [[0, 0], encodings.targets[0].tolist()]
