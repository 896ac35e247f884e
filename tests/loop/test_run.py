"""Whole runs: the bundle, the report, stops of every kind, and the same bits after them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bertwright.errors import BertwrightError, BundleError, DataError, OutputError, RecipeError, TrainingError
from bertwright.recipe import Recipe
from bertwright.run.bundle import Bundle
from bertwright.run.directory import saved_recipe
from bertwright.run.event_log import read_events
from bertwright.run.train import train
from bertwright.tokenization.threads import pool
from bertwright.training.compute import choose_compute, keep_freed_memory, release_free_memory, set_threads
from loop.conftest import Listener

Make = Callable[..., Recipe]


def digest(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def losses(run: Path) -> list[float]:
    return [event["loss"] for event in read_events(run) if event["event"] == "step"]


def test_a_run_learns_and_says_what_happened(recipe: Make, tmp_path: Path) -> None:
    heard = Listener()
    bundle = train(recipe("train.length=6 epochs"), tmp_path / "run", listeners=[heard])
    assert bundle.report is not None
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["metrics"]["dev"]["accuracy"] >= 0.9
    assert report["baseline"]["dev"]["accuracy"] == pytest.approx(0.5)
    low, high = report["intervals"]["dev"]["accuracy"]
    assert low <= report["metrics"]["dev"]["accuracy"] <= high
    for key in ("train_examples_per_second", "train_seconds", "useful_gflops"):
        assert report["speed"][key] > 0
    assert report["data"]["train"]["rows"] == 96
    assert report["data"]["dev"]["rows"] == 24
    assert report["data"]["train"]["truncated_rows"] == 0
    assert report["data"]["train"]["tokens"] > 96
    assert report["environment"]["precision"] == "fp32"
    assert report["loading"]["counts"]["randomly initialized"] == 2
    events = list(read_events(tmp_path / "run"))
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 37))
    assert len(heard.of("EvaluationFinished")) == 6
    assert len(heard.of("TrainingStarted")) == len(heard.of("TrainingFinished")) == 1
    assert any("24 of the training rows are held out as dev" in note.text for note in heard.of("Note"))
    assert not (tmp_path / "run" / "checkpoint").exists()
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "run").iterdir()}
    assert len(set(modes.values())) == 1, modes
    found = bundle.predict(["the film is great", "a dull plot"])
    assert [p.label for p in found] == ["pos", "neg"]


def test_same_recipe_same_bits_another_seed_others(recipe: Make, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(recipe(f"seed={seed}"), tmp_path / name)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


@pytest.mark.parametrize("stop_after", [1, 5, 6, 9, 12])
def test_stopped_and_resumed_is_never_stopped(recipe: Make, tmp_path: Path, stop_after: int) -> None:
    """Ctrl-C at the start, in mid-epoch, at its end, before an evaluation and before the last; 6 steps an epoch."""
    pairs = ("train.length=2 epochs", "train.evaluate_every=5 steps")
    train(recipe(*pairs), tmp_path / "whole")
    stop = Listener(stop_after, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(recipe(*pairs), tmp_path / "cut", listeners=[stop])
    assert stop.of("Step")[-1].step == stop_after
    assert not (tmp_path / "cut" / "config.json").exists()
    rest = Listener()
    train(saved_recipe(tmp_path / "cut"), tmp_path / "cut", resume=True, listeners=[rest])
    assert [step.step for step in rest.of("Step")] == list(range(stop_after + 1, 13))
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    both = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("cut", "whole")]
    assert both[0]["history"] == both[1]["history"]
    assert both[0]["metrics"] == both[1]["metrics"]


KILLED = """
import os, signal, sys
from pathlib import Path
from bertwright.recipe import load_recipe
from bertwright.run.train import train
def die(event):
    if type(event).__name__ == "Step" and event.step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
train(load_recipe(Path(sys.argv[1])), sys.argv[2], listeners=[die])
"""


def test_killed_and_resumed_is_never_stopped(recipe: Make, tmp_path: Path) -> None:
    chosen = recipe("train.save_every=3 steps")
    train(chosen, tmp_path / "whole")
    (tmp_path / "recipe.yaml").write_text(chosen.to_yaml())
    command = [sys.executable, "-c", KILLED, str(tmp_path / "recipe.yaml"), str(tmp_path / "cut")]
    found = subprocess.run(command, check=False, capture_output=True)
    assert found.returncode == -signal.SIGKILL, found.stderr.decode()
    with (tmp_path / "cut" / "events.jsonl").open("a") as file:
        file.write('{"event": "step", "step": 9, "lo')  # a line that the kill cut short
    rest = Listener()
    train(saved_recipe(tmp_path / "cut"), tmp_path / "cut", resume=True, listeners=[rest])
    assert rest.of("Step")[0].step == 7  # from the last state, saved after step 6
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_killed_before_anything_was_saved(recipe: Make, tmp_path: Path) -> None:
    train(recipe(), tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "recipe.yaml").write_text((tmp_path / "whole" / "recipe.yaml").read_text())
    train(saved_recipe(tmp_path / "cut"), tmp_path / "cut", resume=True)
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_a_full_disk_loses_nothing(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(recipe(), tmp_path / "whole")
    from bertwright.run import fitting as module

    written = module.save_state

    def full(path: Path, *rest: object) -> None:
        if path.exists():
            raise OutputError(f"{path}: there is no space left.")
        written(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "save_state", full)
    with pytest.raises(OutputError, match="no space"):
        train(recipe(), tmp_path / "cut")
    monkeypatch.undo()
    with pytest.raises(BundleError, match="this run has not finished"):
        Bundle.load(tmp_path / "cut")
    train(saved_recipe(tmp_path / "cut"), tmp_path / "cut", resume=True)
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_resume_refuses_what_does_not_fit(recipe: Make, reviews: Path, tmp_path: Path) -> None:
    stop = Listener(4, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), tmp_path / "run", listeners=[stop])
    with pytest.raises(OutputError, match="contains an interrupted run; add --resume"):
        train(recipe(), tmp_path / "run")
    with pytest.raises(RecipeError, match=r"other settings \(train\.learning_rate 0\.01 → 0\.002\)"):
        train(recipe("train.learning_rate=2e-3"), tmp_path / "run", resume=True)
    text = reviews.read_text()
    reviews.write_text(text.replace("film", "plot"))
    with pytest.raises(TrainingError, match="the training rows have changed since the run"):
        train(recipe(), tmp_path / "run", resume=True)
    reviews.write_text(text)
    state = tmp_path / "run" / "checkpoint" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"the saved state cannot be read .*; start a new run"):
        train(recipe(), tmp_path / "run", resume=True)
    state.unlink()
    train(recipe(), tmp_path / "run", resume=True)
    with pytest.raises(OutputError, match="has already finished; nothing to resume"):
        train(recipe(), tmp_path / "run", resume=True)
    with pytest.raises(OutputError, match="no run to resume"):
        train(recipe(), tmp_path / "nowhere", resume=True)


def test_what_is_there_is_not_overwritten(recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="already exists and is not empty"):
        train(recipe(), tmp_path)
    with pytest.raises(OutputError, match="already exists"):
        train(recipe(), tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_early_stopping_keeps_the_best(recipe: Make, tmp_path: Path) -> None:
    chosen = recipe("train.length=30 epochs", "train.patience=2", "train.learning_rate=1e-2")
    report = train(chosen, tmp_path / "run").report
    assert report is not None
    by_step = {entry.step: entry.metrics["accuracy"] for entry in report.history}
    assert len(by_step) < 30
    first = next(step for step, value in by_step.items() if value == max(by_step.values()))
    assert list(by_step).index(first) == len(by_step) - 3  # two evaluations without a better one
    # of equals the later is kept
    assert report.best["step"] == max(step for step, value in by_step.items() if value == max(by_step.values()))
    assert report.best["value"] == max(by_step.values()) == report.metrics["dev"]["accuracy"]


def test_collapse_is_called_out(recipe: Make, tmp_path: Path) -> None:
    heard = Listener()
    chosen = recipe("train.learning_rate=1e-9", "task.class_weights={pos: 1000, neg: 0.001}", "data.dev_ratio=0.5")
    report = train(chosen, tmp_path / "run", listeners=[heard]).report
    assert report is not None
    warnings = [note.text for note in heard.of("Note") if note.warning]
    assert any("the predictions have collapsed" in text and "is predicted for 60 of 60" in text for text in warnings)
    assert report.notes


def test_dev_and_test_sources_and_labels_that_train_lacks(recipe: Make, reviews: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("review,sentiment\ngood film,pos\nbad film,mixed\n")
    with pytest.raises(DataError, match=r'other\.csv:3: the label "mixed" is not one of the 2'):
        train(recipe(f"data.dev={other}"), tmp_path / "a")
    assert not (tmp_path / "a").exists()  # nothing is left of a run that could not begin
    other.write_text("review,sentiment\ngood film,pos\nbad film,neg\n")
    report = train(recipe(f"data.dev={reviews}", f"data.test={other}"), tmp_path / "b").report
    assert report is not None
    assert set(report.metrics) == {"dev", "test"}
    assert report.data["dev"]["rows"] == 120


def test_rows_in_memory(recipe: Make, tmp_path: Path) -> None:
    rows = [("good film", "pos"), ("bad film", "neg")] * 10
    chosen = recipe("data.train=null", "data.text=null", "data.label=null")
    bundle = train(chosen, tmp_path / "run", data={"train": rows, "dev": rows[:4]})
    assert bundle.report is not None
    assert bundle.report.data["train"]["rows"] == 20
    assert bundle.evaluate([("good film", "pos")]).n == 1
    with pytest.raises(DataError, match="no training rows are named"):
        train(chosen, tmp_path / "none")


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_other_tasks(recipe: Make, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "rows.csv"
    lines = ["review,a,b,score"]
    lines += [
        f"{w} film {i},{int(w == 'good')},{int(i % 3 == 0)},{2.5 if w == 'good' else 1}"
        for i in range(20)
        for w in ("good", "bad")
    ]
    path.write_text("\n".join(lines) + "\n")
    label = "[a, b]" if kind == "multilabel" else "score"
    chosen = recipe(
        f"task.kind={kind}",
        f"data.train={path}",
        f"data.label={label}",
        "train.length=25 epochs",
        "train.batch_size=8",
        "train.learning_rate=1e-2",
    )
    bundle = train(chosen, tmp_path / "run")
    assert bundle.report is not None
    good, bad = bundle.predict(["good film", "bad film"])
    if kind == "multilabel":
        assert bundle.labels == ("a", "b")
        assert good.probabilities["a"] > 0.5 > bad.probabilities["a"]
        assert isinstance(good.label, tuple)
        assert "a" in good.label
        assert "f1_micro" in bundle.report.metrics["dev"]
    else:
        assert good.value is not None
        assert bad.value is not None
        assert good.value > bad.value
        assert bundle.report.metrics["dev"]["pearson"] > 0.8


def test_pairs(recipe: Make, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    rows = [f"{a},{b},{'same' if a == b else 'other'}" for a in ("good", "bad") for b in ("good", "bad")] * 10
    path.write_text("first,second,label\n" + "\n".join(rows) + "\n")
    chosen = recipe(f"data.train={path}", "data.text=first", "data.text_pair=second", "data.label=label")
    bundle = train(chosen, tmp_path / "run")
    assert bundle.takes_pairs
    assert len(bundle.predict([("good", "bad"), ("bad", "bad")])) == 2
    with pytest.raises(DataError, match="the model takes two texts a row, but here is one"):
        bundle.predict(["good"])


def test_a_missing_base_and_lengths_past_the_positions(recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.base: no encoder is named"):
        train(recipe("model.base=null"), tmp_path / "a")
    with pytest.raises(RecipeError, match=r"tokens\.max_length: is 97, but .* has positions for 96 tokens"):
        train(recipe("tokens.max_length=97"), tmp_path / "b")
    with pytest.raises(RecipeError, match=r'train\.metric_for_best_model: "f1" is not among the computed metrics'):
        train(recipe("train.metric_for_best_model=f1"), tmp_path / "c")
    with pytest.raises(BertwrightError, match="there is no cuda"):
        train(recipe("train.device=cuda"), tmp_path / "d")


def test_choosing_device_precision_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, tokenizer_threads = torch.get_num_threads(), pool.threads
    monkeypatch.setattr("bertwright.cores.ROOT", Path("/nonexistent"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        compute = choose_compute("cpu", "fp32", threads + 1)
        assert (torch.get_num_threads(), pool.threads) == (threads, tokenizer_threads)
        set_threads(compute)
        assert (torch.get_num_threads(), pool.threads) == (threads + 1, threads + 1)
        assert str(choose_compute("cpu", "fp32", 1)) == "cpu, 1 thread, fp32 (as set)"
        assert choose_compute("cpu", "bf16").precision == "bf16"
        assert choose_compute().threads == len(os.sched_getaffinity(0))
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        assert str(choose_compute("cpu", "fp32")) == "cpu, 3 threads (OMP_NUM_THREADS), fp32 (as set)"
        assert choose_compute("cpu", "fp32", 2).threads == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "99999")
        assert choose_compute("cpu").threads == 1024
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
        assert choose_compute("cpu").bf16
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert "no native bf16" in str(choose_compute("cpu"))
    finally:
        torch.set_num_threads(threads)
        pool.threads = tokenizer_threads
    assert isinstance(keep_freed_memory(), bool)
    assert isinstance(release_free_memory(), bool)


def test_more_layers_than_there_are_cannot_be_frozen(recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model.freeze: is 9, but .* has 2 layers; lower it"):
        train(recipe("model.freeze=9"), tmp_path / "run")
