"""``train`` and ``sweep`` with ``--ensemble``, and every command on what they write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_sweep_cli import base, in_this_process  # noqa: F401  # fixtures
from worlds import Call, World

from bertwright.run.bundle import Bundle
from bertwright.sweep import trial_scheduler
from bertwright.sweep.settings import SweepSettings


@pytest.fixture
def seeds(base: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: F811
    return ("train", *base, "train.learning_rate=1e-2", "train.length=3 epochs", "seed=0..2")


def test_the_seeds_become_one_model_that_every_command_opens(
    seeds: tuple[Any, ...], world: World, call: Call, tmp_path: Path
) -> None:
    out, rows = tmp_path / "seeds", world.folder / "reviews.csv"
    said = call(*seeds, f"data.test={rows}", "--ensemble-form", "average", "--out", out)
    assert said.code == 0, said.err
    assert "evaluating seed 2 on dev, test\n" in said.err
    table = said.out.partition("ensemble on test\n")[2]
    names = [line.split("  ")[0].strip() for line in table.splitlines()]
    assert names[2:9] == ["seed 0", "seed 1", "seed 2", "mean of 3 seeds", "± std", "soup", "average *"]
    assert "\nensemble   average: as requested\n" in said.out
    assert "\ntest       average minus seed " in said.out
    assert f"\nbundle {out}/ensemble (3 models)\n" in said.out
    assert max(map(len, table.partition("\n\n")[0].splitlines())) <= 80
    assert not list((out / "trials").glob("*/model.safetensors")), "the members have their own copies"
    assert (out / "best" / "model.safetensors").exists()

    comparison = json.loads((out / "ensemble" / "comparison.json").read_text(encoding="utf-8"))
    values = {each["name"]: each["metrics"]["test"]["accuracy"] for each in comparison["singles"]}
    evaluated = call("evaluate", out / "ensemble", "--data", rows, "--json", "-")
    metrics = json.loads(evaluated.out)["metrics"]["reviews"]
    assert metrics == pytest.approx(comparison["candidates"][1]["metrics"]["test"])
    members = [Bundle.load(out / "ensemble" / "members" / str(i)) for i in range(3)]
    assert [bundle.evaluate(rows, quiet=True).metrics["accuracy"] for bundle in members] == pytest.approx(
        list(values.values())
    )

    text = "the film was great"
    mean = sum(bundle.predict(text)[0].probabilities["pos"] for bundle in members) / 3
    predicted = call("predict", out / "ensemble", "--input", "-", "--output", "-", "--format", "jsonl", stdin=text)
    assert json.loads(predicted.out)["probability_pos"] == pytest.approx(mean, abs=1e-5)
    scored = tmp_path / "scored.csv"
    assert call("predict", out / "ensemble", "--input", rows, "--text", "review", "--output", scored).code == 0
    assert len(scored.read_text(encoding="utf-8").splitlines()) == 97
    compared = call("compare", out / "best", out / "ensemble", "--data", rows)
    assert (compared.code, "compared with best" in compared.out) == (0, True), compared.err
    inspected = call("inspect", out / "ensemble").out
    assert "averages the predictions of 3 models; of the first one: bert, 2 layers" in inspected
    assert "members    members/0, members/1, members/2\n" in inspected
    assert f"accuracy {metrics['accuracy']:.4f} (" in inspected

    again = call("train", "--resume", "--out", out)
    assert again.code == 0, again.err
    assert again.out == said.out
    assert "evaluating" not in again.err
    refused = call("evaluate", out / "ensemble", "--data", rows, "--all-checkpoints")
    assert (refused.code, "contains no checkpoints" in refused.err) == (2, True)
    refused = call("train", "--model", out / "ensemble", "--data", rows, "--out", tmp_path / "no")
    assert (refused.code, "is an ensemble; name one of its members" in refused.err) == (2, True)
    (out / "ensemble" / "members" / "1" / "model.safetensors").unlink()
    refused = call("predict", out / "ensemble", text)
    assert (refused.code, "members/1" in refused.err, refused.err.count("\n")) == (2, True, 1)


def test_a_soup_is_an_ordinary_model_and_may_be_added_later(
    seeds: tuple[Any, ...], world: World, call: Call, tmp_path: Path
) -> None:
    out = tmp_path / "seeds"
    plain = call(*seeds, "--out", out)
    assert plain.code == 0, plain.err
    assert "ensemble" not in plain.out
    assert not (out / "ensemble").exists()
    said = call("train", "--resume", "--ensemble-form", "soup", "--out", out)
    assert said.code == 0, said.err
    assert said.out.startswith(plain.out.partition("report ")[0])
    assert f"\nbundle {out}/ensemble (1 model)\n" in said.out
    soup, rows = Bundle.load(out / "ensemble"), world.folder / "reviews.csv"
    assert soup.members == ()
    assert soup.report is not None
    assert "the mean of the weights of 3 models (seed 0, seed 1, seed 2); as requested." in soup.report.notes
    assert (out / "ensemble" / "README.md").exists()
    comparison = json.loads((out / "ensemble" / "comparison.json").read_text(encoding="utf-8"))
    dev = comparison["candidates"][0]["metrics"]["dev"]
    assert soup.report.metrics["dev"] == pytest.approx(dev)

    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(out / "ensemble")
    tokens = transformers.AutoTokenizer.from_pretrained(out / "ensemble")("a good film", return_tensors="pt")
    scores = model(**tokens).logits.softmax(-1)[0].tolist()
    assert list(soup.predict("a good film")[0].probabilities.values()) == pytest.approx(scores, abs=1e-5)
    assert call("evaluate", out / "ensemble", "--data", rows).code == 0

    average = call("train", "--resume", "--ensemble-form", "average", "--out", out)
    assert average.code == 0, average.err
    assert f"\nbundle {out}/ensemble (3 models)\n" in average.out
    assert len(Bundle.load(out / "ensemble").members) == 3


def test_an_interrupted_ensemble_is_continued(
    seeds: tuple[Any, ...], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "seeds"

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bertwright.sweep.seed_ensemble.choose_form", stop)
        stopped = call(*seeds, "--ensemble", "--out", out)
    assert stopped.code == 130
    assert not (out / "ensemble").exists()
    assert len(list((out / "trials").glob("*/model.safetensors"))) == 3, "nothing is trained twice"
    monkeypatch.setattr(trial_scheduler.TrialScheduler, "_record", None)
    said = call("train", "--resume", "--out", out)
    assert said.code == 0, said.err
    assert "training" not in said.err
    assert (out / "ensemble" / "comparison.json").exists()


def test_collapsed_seeds_are_no_members(seeds: tuple[Any, ...], call: Call, tmp_path: Path) -> None:
    out = tmp_path / "seeds"
    assert call(*seeds, "--out", out).code == 0
    for number, message in ((1, "excluded   seed 1: all are pos\n"), (2, "")):
        file = out / "trials" / f"{number:04d}.json"
        result = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**result, "collapsed": "all are pos"}), encoding="utf-8")
        said = call("train", "--resume", "--ensemble-form", "average", "--out", out)
        assert said.code == 0, said.err
        if message:
            assert message in said.out
            assert len(Bundle.load(out / "ensemble").members) == 2
        else:
            assert "no ensemble: 1 of 3 seeds trained without failure or collapse\n" in said.err
            assert "ensemble on" not in said.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--ensemble"), "train: --ensemble needs several seeds; add for example seed=0..4."),
        (("train", "seed=1", "--ensemble-form", "soup"), "train: --ensemble needs several seeds"),
        (("sweep", "train.batch_size=8,16", "--ensemble"), "sweep: --ensemble needs several seeds"),
        (("sweep", "seed=0..1", "--folds", "3", "--ensemble"), "sweep: --folds holds out other validation rows"),
        (("sweep", "seed=0..1", "--refit", "--ensemble"), "sweep: --refit uses the validation rows"),
        (
            ("sweep", "seed=0..1", "--keep", "none", "--ensemble"),
            "sweep: --ensemble needs the weights of the models, but keep is none",
        ),
        (("train", "seed=0..1", "task.kind=pretraining", "--ensemble"), "sweep: --ensemble cannot be used with task"),
        (("train", "seed=0..1", "--ensemble-form", "mean"), "'mean' is not one of"),
    ],
)
def test_what_cannot_become_an_ensemble(
    words: tuple[str, ...], message: str, world: World, call: Call, tmp_path: Path
) -> None:
    command, *rest = words
    source = () if "task.kind=pretraining" in words else ("--text", "review", "--label", "sentiment")
    said = call(
        command, "--model", world.base, "--data", world.folder / "reviews.csv", *source, *rest, "--out", tmp_path / "no"
    )
    assert said.code == 2
    assert message in " ".join(said.err.split())
    assert not (tmp_path / "no").exists()


def test_the_setting_is_stored_with_the_search() -> None:
    assert SweepSettings(vary=("seed=0..1",), ensemble="soup").ensemble == "soup"
    assert SweepSettings(vary=("seed=0..1",)).ensemble is None
