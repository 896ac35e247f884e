"""A tagger trained from files: what it learns, what is recorded, and the bundle that it becomes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bertwright.errors import DataError
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from bertwright.tasks.tagging import Tagging
from conftest import Listener

FILLERS = ["the", "a", "is", "was", "very", "it", "."]


def write(path: Path, n: int, seed: int, scheme: str = "BIO") -> Path:
    """Sentences in which "good film" is a thing and "great", alone, a person."""
    rng = random.Random(seed)
    begin, lone = {"BIO": ("B", "B"), "BIOES": ("B", "S"), "IOB1": ("I", "I")}[scheme]
    last = "E" if scheme == "BIOES" else "I"
    lines = ["-DOCSTART- O", ""]
    for _ in range(n):
        for _ in range(rng.randint(2, 6)):
            kind = rng.random()
            if kind < 0.25:
                lines += [f"good {begin}-THING", f"film {last}-THING"]
            elif kind < 0.4:
                lines += [f"great {lone}-PER"]
            lines.append(f"{rng.choice(FILLERS)} O")
        lines.append("")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def recipe(tiny_bert: Path, tmp_path: Path) -> Callable[..., Recipe]:
    def make(*pairs: str, scheme: str = "BIO") -> Recipe:
        data = [
            f"data.{name}={write(tmp_path / f'{name}.conll', n, n, scheme)}" for name, n in (("train", 80), ("dev", 24))
        ]
        fixed = ["tokens.max_length=12", "train.batch_size=16", "train.learning_rate=1e-2", "train.precision=fp32"]
        shared = ["task.kind=tagging", f"model.base={tiny_bert}", *data, *fixed, "train.threads=1"]
        return load_recipe(None, [*shared, "train.length=2 epochs", *pairs])

    return make


@pytest.mark.parametrize("scheme", ["BIO", "BIOES", "IOB1"])
def test_it_learns_and_writes_the_file_s_own_scheme(recipe: Callable[..., Recipe], scheme: str, tmp_path: Path) -> None:
    listener = Listener()
    bundle = train(recipe("train.length=4 epochs", scheme=scheme), tmp_path / "run", listeners=[listener])
    assert bundle.report is not None
    assert bundle.recipe is not None
    assert isinstance(bundle.task, Tagging)
    assert bundle.task.scheme == scheme
    assert bundle.report.metrics["dev"]["span_f1"] > 0.95
    assert bundle.report.best["metric"] == "span_f1"
    assert set(bundle.report.per_class["dev"]) == {"PER", "THING"}
    assert len(bundle.report.confusion["dev"]) == len(bundle.labels)
    assert bundle.report.intervals["dev"]["span_f1"][0] <= bundle.report.metrics["dev"]["span_f1"]
    # windows are many more than sentences, and none loses a token
    assert bundle.report.data["train"]["rows"] == 80
    assert bundle.report.data["train"]["windows"] > 80
    assert bundle.report.data["train"]["dropped_tokens"] == 0
    assert bundle.recipe.tokens.truncation == "windows"
    assert (bundle.recipe.data.text, bundle.recipe.data.label) == (
        None,
        None,
    )  # guesses, which other files may differ in
    again = Bundle.load(tmp_path / "run")
    found = again.predict("it was a good film. great!")[0]
    assert [(s.text, s.start, s.end, s.label) for s in found.spans] == [
        ("good film", 9, 18, "THING"),
        ("great", 20, 25, "PER"),
    ]
    letters = {"BIO": "BIB", "BIOES": "BES", "IOB1": "III"}[scheme]
    assert [tag[0] for tag in found.tags or () if tag != "O"] == list(letters)
    assert again.predict([["good", "film"]])[0].tags == found.tags[3:5]  # type: ignore[index]
    card = (tmp_path / "run" / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card
    assert "split into overlapping windows" in card
    measured = again.evaluate(tmp_path / "dev.conll")
    assert measured.metrics == pytest.approx(bundle.report.metrics["dev"])


def test_a_sentence_of_500_words_is_tagged_to_its_end(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    bundle = train(recipe(), tmp_path / "run")
    words = ["it", "was", "good", "film", "."] * 100
    found = bundle.predict([words])[0]
    assert found.tags is not None
    assert len(found.tags) == 500
    assert len(found.spans) == 100
    assert found.spans[-1].end == len(" ".join(words)) - 2


def test_parts_of_speech(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    rows = [
        (["the", "film", "is", "good"], ["DT", "NN", "VB", "JJ"]),
        (["it", "was", "great"], ["PR", "VB", "JJ"]),
    ] * 40
    bundle = train(recipe(), tmp_path / "run", data={"train": rows, "dev": rows[:8]})
    assert bundle.report is not None
    assert bundle.task.chosen_metrics == ("token_accuracy",)
    assert bundle.report.metrics["dev"]["token_accuracy"] == 1.0
    assert bundle.report.per_class["dev"]["JJ"]["f1"] == 1.0
    found = Bundle.load(tmp_path / "run").predict("it is good")[0]
    assert (found.tags, found.spans) == (("PR", "VB", "JJ"), ())


def test_a_tagger_goes_on_with_its_own_tags(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    first = train(recipe(), tmp_path / "first")
    rows = [(["great", "it"], ["B-PER", "O"])] * 20
    pairs = (f"model.base={tmp_path / 'first'}", "train.length=1 step", "train.learning_rate=1e-6")
    listener = Listener()
    bundle = train(recipe(*pairs), tmp_path / "second", data={"train": rows, "dev": rows}, listeners=[listener])
    assert bundle.labels == first.labels
    assert not [row for row in listener.of("TrainingStarted")[0].loading.rows if row.status == "randomly initialized"]
    assert bundle.predict("good film")[0].spans[0].label == "THING"


def test_resuming_gives_the_same_tagger(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    whole = train(recipe(), tmp_path / "whole")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(), tmp_path / "run", listeners=[Listener(8, stop)])
    resumed = train(recipe(), tmp_path / "run", resume=True)
    assert resumed.report is not None
    assert whole.report is not None
    assert resumed.report.metrics == whole.report.metrics
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


def test_tags_of_dev_that_train_does_not_have(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    rows = [(["great", "it"], ["B-PER", "O"])] * 20
    dev = [(["great"], ["B-ORG"])]
    with pytest.raises(DataError, match='the label "B-ORG" is not one of the 3 that the model knows'):
        train(recipe(), tmp_path / "run", data={"train": rows, "dev": dev})
