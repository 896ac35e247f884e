"""What helps on small data reaches a run: cleaned texts, copies of rows, sampling, focal loss, tuned thresholds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bertwright.config.duration import Duration
from bertwright.errors import OutputError, TrainingError
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


def make_numbers(mean: float, deviation: float, n: int = 64) -> list[dict[str, str | float]]:
    """Texts whose number of "good" decides about a target with about this mean and standard deviation."""
    rng = random.Random(1)
    words = ("good", "bad", "film", "plot", "the")
    rows: list[dict[str, str | float]] = []
    for _ in range(n):
        text = " ".join(rng.choices(words, k=8))
        rows.append({"text": text, "label": mean + deviation * (text.count("good") - 1.6) / 1.13})
    return rows


def regression(tiny_bert: Path, *pairs: str) -> Recipe:
    base = (f"model.base={tiny_bert}", "task.kind=regression", "train.learning_rate=3e-3", "train.batch_size=16")
    return load_recipe(
        None,
        [*base, "train.threads=1", "train.precision=fp32", "train.length=10 epochs", "tokens.max_length=32", *pairs],
    )


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (2000.0, 5.0), (-3e5, 1e5), (0.0, 1e-4)])
def test_targets_of_any_magnitude_train_alike(tiny_bert: Path, tmp_path: Path, mean: float, deviation: float) -> None:
    rows = make_numbers(mean, deviation)
    bundle = train(regression(tiny_bert), tmp_path / "run", data={"train": rows, "dev": rows})
    assert bundle.report is not None
    assert bundle.report.metrics["dev"]["pearson"] > 0.9
    values = [prediction.value or 0.0 for prediction in bundle.predict([str(row["text"]) for row in rows])]
    assert np.mean(values) == pytest.approx(np.mean([float(row["label"]) for row in rows]), abs=0.3 * deviation)


def test_the_saved_output_layer_includes_the_scale(tiny_bert: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = make_numbers(2000.0, 5.0)
    heard = Listener()
    bundle = train(regression(tiny_bert), tmp_path / "run", data={"train": rows, "dev": rows}, listeners=[heard])
    assert any("standardizes the targets (mean 2000" in note.text for note in heard.of("Note"))
    texts = [str(row["text"]) for row in rows[:5]]
    values = [prediction.value for prediction in bundle.predict(texts)]
    assert [prediction.value for prediction in Bundle.load(tmp_path / "run").predict(texts)] == values
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    encoded = AutoTokenizer.from_pretrained(tmp_path / "run")(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        assert network.eval()(**encoded).logits[:, 0].tolist() == pytest.approx(values, rel=1e-6)


def test_a_trained_regression_model_starts_from_its_predictions(tiny_bert: Path, tmp_path: Path) -> None:
    rows = make_numbers(2000.0, 5.0)
    first = train(regression(tiny_bert), tmp_path / "first", data={"train": rows, "dev": rows})
    pairs = (f"model.base={tmp_path / 'first'}", "train.learning_rate=1e-12", "train.length=1 step")
    second = train(regression(tiny_bert, *pairs), tmp_path / "second", data={"train": rows[:20], "dev": rows})
    texts = [str(row["text"]) for row in rows]
    before, after = ([prediction.value for prediction in bundle.predict(texts)] for bundle in (first, second))
    assert after == pytest.approx(before, abs=0.01)


def test_kept_checkpoints_of_a_regression_have_the_unit_of_the_targets(tiny_bert: Path, tmp_path: Path) -> None:
    from bertwright import list_checkpoints

    rows = make_numbers(2000.0, 5.0)
    recipe = regression(tiny_bert, "train.keep_checkpoints=all", "train.length=2 epochs")
    bundle = train(recipe, tmp_path / "run", data={"train": rows, "dev": rows})
    (best,) = (checkpoint for checkpoint in list_checkpoints(tmp_path / "run") if checkpoint.best)
    opened = best.open()
    texts = [str(row["text"]) for row in rows[:5]]
    values = [prediction.value for prediction in bundle.predict(texts)]
    assert [prediction.value for prediction in opened.predict(texts)] == values
    opened.save(tmp_path / "copy")
    assert [prediction.value for prediction in Bundle.load(tmp_path / "copy").predict(texts)] == values


@pytest.mark.parametrize("pairs", [("train.average=0.3",), ("task.standardize=true",), ("train.length=auto",)])
def test_resumed_runs_give_the_same_bits(tiny_bert: Path, tmp_path: Path, pairs: tuple[str, ...]) -> None:
    rows = make_numbers(2000.0, 5.0)
    recipe = regression(tiny_bert, "train.length=3 epochs", *pairs)
    data = {"train": rows, "dev": rows[:16]}
    train(recipe, tmp_path / "straight", data=data)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "stopped", data=data, listeners=[Listener(6, interrupt)])
    train(recipe, tmp_path / "stopped", data=data, resume=True)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "stopped")]
    assert weights[0] == weights[1]


def interrupt() -> None:
    raise KeyboardInterrupt


def test_the_automatic_length_is_reported_and_saved(recipe: Make, tmp_path: Path) -> None:
    heard = Listener()
    train(recipe("train.length=auto"), tmp_path / "run", listeners=[heard])
    assert any("auto chose 20 epochs (120 steps), because 96 training" in note.text for note in heard.of("Note"))
    assert load_recipe(tmp_path / "run" / "recipe.yaml").train.length == Duration(20, "epochs")
    with pytest.raises(OutputError, match="has already finished"):
        train(recipe("train.length=auto"), tmp_path / "run", resume=True)


def test_an_untrained_bias_has_the_label_frequencies(recipe: Make, tmp_path: Path) -> None:
    rows = [{"review": f"good {i}", "sentiment": "pos"} for i in range(39)] + [{"review": "bad", "sentiment": "neg"}]
    pairs = ("train.length=1 step", "train.learning_rate=1e-12", "data.train=null")
    data = {"train": rows, "dev": rows}
    bundle = train(recipe(*pairs), tmp_path / "prior", data=data)
    plain = train(recipe(*pairs, "model.output_bias=zero"), tmp_path / "zero", data=data)
    probability = [b.predict(["good film"])[0].probabilities["neg"] for b in (bundle, plain)]
    assert probability[0] < 0.1 < probability[1]
    assert bundle.report is not None
    assert "label frequencies" in json.dumps(bundle.report.loading)


@pytest.mark.parametrize(("sampling", "is_even"), [("balanced", True), ("oversample", True), ("all", False)])
def test_the_bias_follows_the_sampling(recipe: Make, tmp_path: Path, sampling: str, is_even: bool) -> None:
    rows = [{"review": f"good {i}", "sentiment": "pos"} for i in range(36)]
    rows += [{"review": f"bad {i}", "sentiment": "neg"} for i in range(4)]
    pairs = ("train.length=1 step", "train.learning_rate=1e-12", "data.train=null", f"train.sampling={sampling}")
    bundle = train(recipe(*pairs), tmp_path / "run", data={"train": rows, "dev": rows})
    bias = bundle.model.get_parameter("head.output.bias").detach()
    assert (abs(float(bias[0] - bias[1])) < 0.3) is is_even


def test_a_head_that_is_code_gets_neither_scale_nor_bias(tiny_bert: Path, tmp_path: Path) -> None:
    from torch import nn

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(24, 1)

        def forward(self, hidden: object, layout: object) -> object:
            from bertwright.nn.heads import first_tokens

            return self.last(first_tokens(hidden, layout))  # type: ignore[arg-type]

    rows = make_numbers(1.0, 1.0)
    bundle = train(regression(tiny_bert, "train.length=1 epoch"), tmp_path / "run", data={"train": rows}, head=Own())
    assert bundle.task.output_scale is None


COLLAPSING = ("train.learning_rate=1e-12", "data.train=null", "train.length=2 epochs", "train.batch_size=8")
MOSTLY_POSITIVE = [{"review": f"good {i}", "sentiment": "pos"} for i in range(30)] + [
    {"review": f"bad {i}", "sentiment": "neg"} for i in range(10)
]


@pytest.mark.parametrize("restarts", [True, False])
def test_a_collapsed_run_is_restarted_once_with_another_seed(recipe: Make, tmp_path: Path, restarts: bool) -> None:
    heard = Listener()
    data = {"train": MOSTLY_POSITIVE, "dev": MOSTLY_POSITIVE}
    chosen = recipe(*COLLAPSING, f"train.restart_if_collapsed={str(restarts).lower()}")
    bundle = train(chosen, tmp_path / "run", data=data, listeners=[heard])
    warnings = [note.text for note in heard.of("Note") if note.warning and "was restarted" in note.text]
    assert len(warnings) == restarts
    notes = [note.text for note in heard.of("Note") if "have collapsed" not in note.text]
    assert len(set(notes)) == len(notes), "nothing is reported twice"
    assert len(heard.of("Step")) == 10 * (1 + restarts)
    assert bundle.report is not None
    assert any(note.startswith("the predictions of the first attempt") for note in bundle.report.notes) is restarts
    assert load_recipe(tmp_path / "run" / "recipe.yaml").seed == chosen.seed


@pytest.mark.parametrize("stop_at", [3, 12, 17])
def test_a_restarted_run_resumes_exactly(recipe: Make, tmp_path: Path, stop_at: int) -> None:
    data = {"train": MOSTLY_POSITIVE, "dev": MOSTLY_POSITIVE}
    chosen = recipe(*COLLAPSING, "train.restart_if_collapsed=true", "train.save_every=2 steps")
    train(chosen, tmp_path / "straight", data=data)
    steps = iter(range(1, 100))

    def stop(event: object) -> None:
        if type(event).__name__ == "Step" and next(steps) == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(chosen, tmp_path / "stopped", data=data, listeners=[stop])
    train(chosen, tmp_path / "stopped", data=data, resume=True)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "stopped")]
    assert weights[0] == weights[1]


def test_a_run_that_learns_is_not_restarted(recipe: Make, tmp_path: Path) -> None:
    heard = Listener()
    train(recipe("train.restart_if_collapsed=true"), tmp_path / "run", listeners=[heard])
    assert not any("restarted" in note.text for note in heard.of("Note"))


def test_a_damaged_record_of_a_restart_is_reported(recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), tmp_path / "run", listeners=[Listener(3, interrupt)])
    (tmp_path / "run" / "checkpoint").mkdir(exist_ok=True)
    (tmp_path / "run" / "checkpoint" / "restart.json").write_text("{")
    with pytest.raises(TrainingError, match=r"restart\.json: is damaged; start a new run"):
        train(recipe(), tmp_path / "run", resume=True)


def test_the_scale_is_not_counted_as_parameters(tiny_bert: Path, tmp_path: Path) -> None:
    heard = Listener()
    data = {"train": make_numbers(5.0, 2.0)}
    train(regression(tiny_bert, "train.length=1 step"), tmp_path / "run", data=data, listeners=[heard])
    trainable, everything = heard.of("TrainingStarted")[0].trainable
    assert trainable == everything


def test_equal_predictions_at_the_start_of_a_long_run_are_no_reason_to_warn(recipe: Make, tmp_path: Path) -> None:
    heard = Listener()
    data = {"train": MOSTLY_POSITIVE, "dev": MOSTLY_POSITIVE}
    chosen = recipe(*COLLAPSING, "train.length=6 epochs")
    train(chosen, tmp_path / "run", data=data, listeners=[heard])
    assert len(heard.of("EvaluationFinished")) == 6
    assert sum("have collapsed" in note.text for note in heard.of("Note")) == 5  # from epoch 2, a third of the run, on


def test_early_stopping_does_not_count_collapsed_predictions_at_the_start(recipe: Make, tmp_path: Path) -> None:
    heard = Listener()
    data = {"train": MOSTLY_POSITIVE, "dev": MOSTLY_POSITIVE}
    chosen = recipe(*COLLAPSING, "train.length=12 epochs", "train.patience=2")
    train(chosen, tmp_path / "run", data=data, listeners=[heard])
    assert len(heard.of("EvaluationFinished")) == 5  # the first three are before a third of the run
