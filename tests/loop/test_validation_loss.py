"""The validation loss of every task: what it is, where it is shown, and that nothing else depends on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_data
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.event_log import read_events
from bertwright.run.events import EvaluationFinished
from bertwright.run.train import train
from bertwright.tokenization.batching import iterate_in_order
from bertwright.training.model_building import make_loss_function
from bertwright.training.scoring import ValidationLoss, compute_outputs
from loop.conftest import Listener

KINDS: dict[str, tuple[str, bytes, list[str]]] = {
    "classification": ("rows.csv", tiny_data.delimited(","), ["data.text=text", "data.label=label"]),
    "weights": (
        "rows.csv",
        tiny_data.delimited(","),
        ["data.text=text", "data.label=label", "task.class_weights={pos: 3}", "task.label_smoothing=0.1"],
    ),
    "multilabel": ("rows.csv", tiny_data.multi_label(), ["task.kind=multilabel", "data.label=[good, long]"]),
    "regression": (
        "rows.csv",
        tiny_data.numbers(),
        ["task.kind=regression", "data.text=a", "data.text_pair=b", "data.label=score"],
    ),
    "tagging": ("rows.conll", tiny_data.tagged(), ["task.kind=tagging"]),
    "crf": ("rows.conll", tiny_data.tagged(), ["task.kind=tagging", "model.head.crf=true"]),
    "qa": ("rows.json", tiny_data.squad(), ["task.kind=qa", "tokens.max_length=24"]),
    "penalty": (
        "rows.csv",
        tiny_data.delimited(","),
        ["data.text=text", "data.label=label", "model.head={layers: [{dense: 8}], output_l2: 0.5}"],
    ),
}


@pytest.fixture
def make(tiny_bert: Path, tmp_path: Path) -> Callable[..., Recipe]:
    def made(kind: str, *pairs: str) -> Recipe:
        name, content, settings = KINDS[kind]
        (tmp_path / name).write_bytes(content)
        shared = [
            f"model.base={tiny_bert}",
            f"data.train={tmp_path / name}",
            "tokens.max_length=48",
            "train.batch_size=8",
            "train.learning_rate=1e-2",
            "train.length=2 epochs",
            "train.precision=fp32",
            "train.threads=1",
        ]
        return load_recipe(None, [*shared, *settings, *pairs])

    return made


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_training_objective_on_dev_without_dropout(
    make: Callable[..., Recipe], kind: str, tmp_path: Path
) -> None:
    heard = Listener()
    train(make(kind, f"data.dev={tmp_path / KINDS[kind][0]}"), tmp_path / "run", quiet=True, listeners=[heard])
    bundle = Bundle.load(tmp_path / "run")
    rows = bundle.read(str(tmp_path / KINDS[kind][0]))
    loss_of = make_loss_function(bundle.task, bundle.model.head)
    total = count = 0.0
    with torch.no_grad():
        for batch in iterate_in_order(bundle.encode(rows), 64):
            loss = loss_of(bundle.model(batch), batch)
            total, count = total + float(loss.total), count + float(loss.count)
    evaluated: list[EvaluationFinished] = heard.of("EvaluationFinished")
    best = next(event for event in evaluated if event.step == bundle.report.best["step"])  # type: ignore[union-attr]
    assert best.validation_loss == {"dev": pytest.approx(total / count, rel=1e-4)}


def test_it_stands_beside_the_training_loss_everywhere(make: Callable[..., Recipe], tmp_path: Path) -> None:
    report = train(make("classification"), tmp_path / "run", quiet=True).report
    assert report is not None
    events = list(read_events(tmp_path / "run"))
    steps = [event["loss"] for event in events if event["event"] == "step"]
    evaluated = [event for event in events if event["event"] == "evaluated"]
    half = len(steps) // 2
    assert [event["train_loss"] for event in evaluated] == [
        pytest.approx(np.mean(steps[:half])),
        pytest.approx(np.mean(steps[half:])),
    ]
    history = json.loads((tmp_path / "run" / "report.json").read_text())["history"]
    assert [entry["validation_loss"] for entry in history] == [e["validation_loss"]["dev"] for e in evaluated]
    losses = report.losses()
    assert losses is not None
    line = f"loss   train {losses[0]:.4f}, validation {losses[1]:.4f}"
    assert line in report.to_text().splitlines()
    assert f"training {losses[0]:.4f}, validation {losses[1]:.4f}." in (tmp_path / "run/README.md").read_text()


def test_a_run_that_overfits_is_noted_once(make: Callable[..., Recipe], tmp_path: Path) -> None:
    rows = [(f"the film {'was ' * (i % 5)}it nr{i}", ("pos", "neg")[i * 7 % 11 % 2]) for i in range(48)]
    recipe = make("classification", "train.length=12 epochs", "data.train=null", "data.text=null", "data.label=null")
    heard = Listener()
    report = train(
        recipe, tmp_path / "run", data={"train": rows[:32], "dev": rows[32:]}, quiet=True, listeners=[heard]
    ).report
    noted = [note for note in heard.of("Note") if note.text.startswith("the validation loss rises")]
    assert len(noted) == 1
    assert not noted[0].warning
    assert report is not None
    assert report.notes.count(noted[0].text) == 1


def test_scores_are_the_same_with_and_without_it(make: Callable[..., Recipe], tmp_path: Path) -> None:
    bundle = train(make("crf"), tmp_path / "run", quiet=True)
    rows = bundle.read(str(tmp_path / "rows.conll"))
    encodings = bundle.encode(rows)
    loss = ValidationLoss(make_loss_function(bundle.task, bundle.model.head))
    with_loss = compute_outputs(bundle.model, bundle.task, encodings, rows, loss=loss)
    without = compute_outputs(bundle.model, bundle.task, encodings, rows)
    for one, other in zip(with_loss, without, strict=True):
        assert np.array_equal(one.tags, other.tags)
        assert np.array_equal(one.sure, other.sure)
    assert np.isfinite(loss.mean)


def test_pretraining_takes_it_from_its_metrics(make: Callable[..., Recipe], tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_bytes(b"\n\n".join([tiny_data.plain_text()] * 16))
    for following in ("none", "nsp"):
        recipe = load_recipe(
            "pretrain",
            [
                f"model.base={tiny_bert}",
                f"data.train={tmp_path / 'corpus.txt'}",
                "data.dev_ratio=0.3",
                "tokens.max_length=24",
                "train.batch_size=8",
                "train.length=4 steps",
                "train.precision=fp32",
                f"task.sentence_objective={following}",
                "task.metrics=[mlm_loss]" if following == "none" else "task.metrics=[mlm_loss, nsp_loss]",
            ],
        )
        heard = Listener()
        train(recipe, tmp_path / following, quiet=True, listeners=[heard])
        event = heard.of("EvaluationFinished")[-1]
        loss, metrics = event.validation_loss["dev"], event.metrics["dev"]
        if following == "none":
            assert loss == pytest.approx(metrics["mlm_loss"])
        else:  # the next sentence counts once for each masked token of its pair
            assert metrics["mlm_loss"] < loss < metrics["mlm_loss"] + 2 * metrics["nsp_loss"]
