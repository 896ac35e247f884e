"""What helps on small data reaches a run: cleaned texts, copies of rows, sampling, focal loss, tuned thresholds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bertwright.recipe import Recipe, load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from loop.conftest import Listener

Make = Callable[..., Recipe]


def test_texts_are_cleaned_in_training_and_at_prediction(recipe: Make, tmp_path: Path) -> None:
    heard = Listener()
    bundle = train(
        recipe("data.normalize.html=true", "data.normalize.lowercase=true"), tmp_path / "run", listeners=[heard]
    )
    notes = [note.text for note in heard.of("Note")]
    assert any("data.normalize changed " in text for text in notes)
    for opened in (bundle, Bundle.load(tmp_path / "run")):
        plain, marked = (opened.predict([text])[0] for text in ("a fun film", "<b>a &#102;un</b> film"))
        assert plain.probabilities == marked.probabilities


def test_copies_are_trained_on_and_counted(recipe: Make, tmp_path: Path) -> None:
    heard = Listener()
    pairs = ("data.augment.copies=2", "data.augment.word_dropout=0.5", "train.length=1 epoch")
    train(recipe(*pairs), tmp_path / "a", listeners=[heard])
    said = next(note.text for note in heard.of("Note") if "augmented copies of" in note.text)
    added = int(said.split()[1])
    assert 0 < added <= 2 * 96
    assert sum(step.examples for step in heard.of("Step")) == 96 + added
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["data"]["dev"]["rows"] == 24
    train(recipe(*pairs), tmp_path / "b")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("kind", "examples"), [("balanced", 40), ("oversample", 60), ("all", 40)])
def test_rare_labels_may_come_more_often(recipe: Make, tmp_path: Path, kind: str, examples: int) -> None:
    rows = [{"review": f"good {i}", "sentiment": "pos"} for i in range(30)]
    rows += [{"review": f"bad {i}", "sentiment": "neg"} for i in range(10)]
    heard = Listener()
    data = {"train": rows, "dev": rows}
    chosen = recipe(f"train.sampling={kind}", "train.length=1 epoch", "train.batch_size=8")
    train(chosen.replace(data=chosen.data.replace(train=None)), tmp_path / "run", data=data, listeners=[heard])
    assert sum(step.examples for step in heard.of("Step")) == examples


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Rows with any of three labels, one of them rare."""
    rng = random.Random(0)
    lines = ["text,good,dull,rare"]
    for _ in range(160):
        good, dull, rare = rng.random() < 0.5, rng.random() < 0.4, rng.random() < 0.1
        words = ["great"] * good + ["dull"] * dull + ["plot"] * rare + rng.choices(["the", "a", "is", "it"], k=4)
        rng.shuffle(words)
        lines.append(f"{' '.join(words)},{good:d},{dull:d},{rare:d}")
    path = tmp_path / "several.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def multilabel(tiny: Path, rows: Path, *pairs: str) -> Recipe:
    return load_recipe(
        None,
        [
            f"model.base={tiny}",
            f"data.train={rows}",
            "task.kind=multilabel",
            "tokens.max_length=32",
            "train.batch_size=16",
            "train.learning_rate=5e-3",
            "train.length=3 epochs",
            "train.precision=fp32",
            *pairs,
        ],
    )


def test_thresholds_are_tuned_on_dev_and_kept(tiny_bert: Path, several: Path, tmp_path: Path) -> None:
    plain = train(multilabel(tiny_bert, several), tmp_path / "plain")
    tuned = train(multilabel(tiny_bert, several, "task.threshold=tuned"), tmp_path / "tuned")
    assert plain.report is not None
    assert tuned.report is not None
    assert isinstance(tuned.task.threshold, dict)
    assert set(tuned.task.threshold) == {"good", "dull", "rare"}
    assert tuned.report.metrics["dev"]["f1_macro"] >= plain.report.metrics["dev"]["f1_macro"]
    assert any("thresholds tuned on dev" in note for note in tuned.report.notes)
    again = Bundle.load(tmp_path / "tuned")
    assert again.task == tuned.task
    for prediction in again.predict(["the great plot", "dull dull it"]):
        held = {name for name, p in prediction.probabilities.items() if p >= again.task.threshold[name]}
        assert set(prediction.label) == held


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_a_temperature_is_fitted_and_changes_no_answer(
    recipe: Make, tiny_bert: Path, several: Path, tmp_path: Path, kind: str
) -> None:
    def make(*pairs: str) -> Recipe:
        return recipe(*pairs) if kind == "classification" else multilabel(tiny_bert, several, *pairs)

    plain = train(make(), tmp_path / "plain")
    warm = train(make("task.temperature=tuned"), tmp_path / "warm")
    assert warm.report is not None
    assert warm.task.temperature != 1
    said = next(note for note in warm.report.notes if "temperature" in note)
    assert "calibration error" in said
    texts = ["the film is great", "dull", "a plot"]
    for before, after in zip(plain.predict(texts), warm.predict(texts), strict=True):
        assert before.label == after.label
        assert before.probabilities != after.probabilities
    values = np.array([list(p.probabilities.values()) for p in warm.predict(texts)])
    again = np.array([list(p.probabilities.values()) for p in Bundle.load(tmp_path / "warm").predict(texts)])
    np.testing.assert_allclose(again, values, atol=1e-6)


def test_focal_loss_trains(recipe: Make, tmp_path: Path) -> None:
    bundle = train(recipe("task.focal_gamma=2", "train.length=6 epochs"), tmp_path / "run")
    assert bundle.report is not None
    assert bundle.report.metrics["dev"]["accuracy"] > 0.8


def test_long_texts_in_windows_lose_nothing(recipe: Make, tmp_path: Path) -> None:
    filler = " ".join(["the film is a plot"] * 12)
    rows = [{"review": f"{filler} {'great' if i % 2 else 'awful'}", "sentiment": "np"[i % 2]} for i in range(80)]
    data = {"train": rows, "dev": rows[:20]}
    common = ("tokens.max_length=24", "train.length=10 epochs", "train.batch_size=16")
    scores = {}
    for name, pairs in {
        "cut": (),
        "windows": ("tokens.truncation=windows", "task.window_pooling=max"),
        "tail": ("tokens.truncation=head_tail",),
    }.items():
        chosen = recipe(*common, *pairs)
        run = train(chosen.replace(data=chosen.data.replace(train=None)), tmp_path / name, data=data)
        assert run.report is not None
        scores[name] = run.report.metrics["dev"]["accuracy"]
        assert run.report.data["dev"]["rows"] == 20
    assert scores["cut"] <= 0.6
    assert scores["windows"] >= 0.9
    assert scores["tail"] >= 0.9
