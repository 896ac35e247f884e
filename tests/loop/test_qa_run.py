"""Runs of question answering: what is learnt, what is left out, and that a head once trained goes on training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bertwright.data.reader import read_dataset
from bertwright.errors import DataError
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train

WORDS = ["film", "plot", "great", "awful", "dull", "fun", "very", "good"]
WAYS = [(a, b) for a in WORDS for b in WORDS]


def rows(n: int, null: bool = False) -> list[dict[str, Any]]:
    """Which word stands behind "was"; with ``null`` every fourth text has no "was"."""
    made: list[dict[str, Any]] = []
    for i in range(n):
        (before, answer), after = WAYS[i * 7 % len(WAYS)], WORDS[i % 5]
        has = not (null and i % 4 == 3)
        context = f"{before} was {answer} . {after}" if has else f"{before} {answer} . {after}"
        found = (
            {"text": [answer], "answer_start": [context.index("was ") + 4]} if has else {"text": [], "answer_start": []}
        )
        made.append({"id": f"q{i}", "question": "what was it", "context": context, "answers": found})
    return made


@pytest.fixture
def asking(tiny_bert: Path) -> Callable[..., Recipe]:
    def make(*pairs: str) -> Recipe:
        return load_recipe(
            None,
            [
                f"model.base={tiny_bert}",
                "task.kind=qa",
                "tokens.max_length=24",
                "tokens.stride=6",
                "train.batch_size=16",
                "train.learning_rate=1e-2",
                "train.length=2 epochs",
                "train.precision=fp32",
                "train.threads=1",
                *pairs,
            ],
        )

    return make


def test_it_learns_where_the_answer_stands(asking: Callable[..., Recipe], tmp_path: Path) -> None:
    bundle = train(asking("train.length=20 epochs"), tmp_path / "run", data={"train": rows(64), "dev": rows(32)})
    assert bundle.report is not None
    assert bundle.report.metrics["dev"]["exact_match"] > 90
    assert bundle.report.labels == ()
    context = "the very film was awful . it"
    found = bundle.answer("what was it", context)
    assert found is not None
    assert context[found.start : found.end] == found.text
    again = Bundle.load(tmp_path / "run")
    assert again.answer("what was it", context) == found
    assert again.evaluate(rows(32)).metrics == pytest.approx(bundle.report.metrics["dev"])


def test_what_no_one_can_learn_from_is_left_out_and_said(asking: Callable[..., Recipe], tmp_path: Path) -> None:
    lost = [{**row, "answers": {"text": ["zebra"], "answer_start": [0]}} for row in rows(3)]
    lost = [{**row, "id": f"lost{i}"} for i, row in enumerate(lost)]
    events: list[Any] = []
    data = {"train": [*rows(20), *lost], "dev": [*rows(8), *lost]}
    bundle = train(asking("train.length=1 epochs"), tmp_path / "run", data=data, listeners=[events.append])
    said = [event.text for event in events if type(event).__name__ == "Note"]
    for split in ("train", "dev"):
        assert (
            f"{split}: 3 questions have no answer that occurs in their context, so nothing is learned from them" in said
        )
    steps = [event for event in events if type(event).__name__ == "Step"]
    assert sum(step.examples for step in steps) == 20
    assert bundle.report is not None
    predictions = json.loads((tmp_path / "run" / "predictions.json").read_text(encoding="utf-8"))
    assert len(predictions) == 11, "in evaluation they count, as in the official script"
    with pytest.raises(DataError, match="no row has a target that the model can learn"):
        train(asking(), tmp_path / "none", data={"train": lost, "dev": rows(8)})


def test_the_threshold_is_tuned_and_kept(asking: Callable[..., Recipe], tmp_path: Path) -> None:
    bundle = train(
        asking("train.length=8 epochs", "train.metric_for_best_model=best_answer_f1"),
        tmp_path / "run",
        data={"train": rows(48, null=True), "dev": rows(24, null=True), "test": rows(16, null=True)},
    )
    assert bundle.recipe is not None
    assert bundle.report is not None
    assert bundle.task.null_answers is True  # type: ignore[attr-defined]
    threshold = bundle.task.null_score_diff_threshold  # type: ignore[attr-defined]
    assert bundle.recipe.task == bundle.task
    assert load_recipe(tmp_path / "run" / "recipe.yaml").task == bundle.task
    assert any(
        note.startswith(f"task.null_score_diff_threshold: {threshold:.4f}, tuned on the dev rows")
        for note in bundle.report.notes
    )
    for split in ("dev", "test"):
        measured = bundle.report.metrics[split]
        assert {"has_answer_f1", "no_answer_accuracy", "best_answer_f1"} <= measured.keys()
        assert bundle.report.baseline[split]["answer_f1"] == 25
    dev = bundle.report.metrics["dev"]
    assert dev["answer_f1"] == pytest.approx(dev["best_answer_f1"])
    odds = json.loads((tmp_path / "run" / "null_odds.json").read_text(encoding="utf-8"))
    assert len(odds) == 24
    assert np.isfinite(list(odds.values())).all()


def test_a_trained_head_goes_on_training(asking: Callable[..., Recipe], tmp_path: Path) -> None:
    train(asking(), tmp_path / "first", data={"train": rows(16), "dev": rows(8)})
    events: list[Any] = []
    second = asking(f"model.base={tmp_path / 'first'}", "train.learning_rate=1e-9", "train.length=1 steps")
    bundle = train(second, tmp_path / "second", data={"train": rows(16), "dev": rows(8)}, listeners=[events.append])
    (ready,) = [event for event in events if type(event).__name__ == "TrainingStarted"]
    assert not [row for row in ready.loading.rows if row.status == "randomly initialized"]
    before = Bundle.load(tmp_path / "first")
    for mine, other in zip(bundle.model.parameters(), before.model.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


def test_a_resumed_run_is_the_same(asking: Callable[..., Recipe], tmp_path: Path) -> None:
    data = {"train": rows(40, null=True), "dev": rows(16, null=True)}
    whole = train(asking("train.save_every=2 steps"), tmp_path / "whole", data=data)

    class StopError(RuntimeError):
        pass

    def stop(event: Any) -> None:
        if type(event).__name__ == "CheckpointSaved" and event.step == 4:
            raise StopError

    with pytest.raises(StopError):
        train(asking("train.save_every=2 steps"), tmp_path / "cut", data=data, listeners=[stop])
    resumed = train(asking("train.save_every=2 steps"), tmp_path / "cut", data=data, resume=True)
    assert resumed.task == whole.task
    for name in ("predictions.json", "nbest_predictions.json", "null_odds.json", "model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_chunks_of_rows_and_of_windows_change_nothing(
    asking: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = train(
        asking("tokens.max_length=14", "tokens.stride=2"), tmp_path / "run", data={"train": rows(32), "dev": rows(8)}
    )
    long = [{**row, "context": " ".join([row["context"]] * 5), "answers": {"text": []}} for row in rows(12)]
    examples = read_dataset(long, kind="qa")
    whole = bundle.task.decode(bundle.compute_outputs(examples)[0], examples)
    monkeypatch.setattr("bertwright.run.bundle.ROWS", 5)
    monkeypatch.setattr("bertwright.training.scoring.SEQUENCES", 3)
    parts = bundle.task.decode(bundle.compute_outputs(examples)[0], examples)
    assert [[span[:3] for span in p.spans[:3]] for p in parts] == [[span[:3] for span in p.spans[:3]] for p in whole]
    assert len(bundle.encode(examples)) > 3 * len(examples)


@pytest.mark.real
def test_real_questions(real_data: Path, minilm: Path) -> None:
    """Every answer of real questions is found again, but for those that do not align with tokens."""
    from bertwright.tasks.qa import QuestionAnswering
    from bertwright.tokenization.settings import TokenSettings
    from bertwright.tokenization.tokenizer import Tokenizer

    rows_ = read_dataset(real_data / "squad" / "dev-v1.1.json", kind="qa", need_target=True)[:1500]
    notes: list[str] = []
    tokens = TokenSettings(max_length=384, stride=128)
    encodings = QuestionAnswering().encode(rows_, Tokenizer.load(minilm), tokens, notes.append)
    assert encodings.targets is not None
    assert encodings.offsets is not None
    there = np.flatnonzero(encodings.targets[:, 0] > 0)
    assert len(np.unique(encodings.examples[there])) == 1500
    wrong = 0
    for i in there.tolist():
        first, last = encodings.bounds[i] + encodings.targets[i]
        example = rows_[int(encodings.examples[i])]
        assert isinstance(example.target, tuple)
        cut = (example.text_pair or "")[encodings.offsets[first, 0] : encodings.offsets[last, 1]]
        answer = example.target[0].text  # type: ignore[union-attr]
        assert answer in cut
        wrong += cut != answer
    assert 0 < wrong < 30
    assert any("do not align with tokens" in note for note in notes)
