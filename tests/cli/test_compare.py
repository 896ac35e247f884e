"""Comparing models: the same rows, paired tests, where they differ."""

from __future__ import annotations

import json
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import SMALL, Call, World

from bertwright.data.example import Answer, Example
from bertwright.errors import DataError
from bertwright.html.page import render_page
from bertwright.metrics import AnswerOutcome, TaggingOutcome
from bertwright.metrics import compare_metrics as paired_test
from bertwright.run.bundle import Bundle
from bertwright.tasks.review import show_differing, show_target
from bertwright.tasks.spec import Prediction
from bertwright.tools.compare import _text, compare_models, format_prediction, is_row_correct
from bertwright.tools.comparison_page import build_comparison_page


@pytest.fixture(scope="module")
def other(world: World, call: Call, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second model of the reviews, that has learned less."""
    out = tmp_path_factory.mktemp("other") / "weaker"
    said = call(
        *("train", "--model", world.base, "--data", world.folder / "reviews.csv", "--text", "review"),
        *("--label", "sentiment", "--out", out, *SMALL, "train.learning_rate=1e-3", "train.length=1 epoch", "seed=1"),
    )
    assert said.code == 0, said.err
    return out


def test_two_models_on_the_same_rows(world: World, other: Path, call: Call, tmp_path: Path) -> None:
    data = world.folder / "reviews.csv"
    said = call("compare", world.labels, other, "--data", data, "--examples", 2, "--json", tmp_path / "c.json")
    assert said.code == 0, said.err
    bundles = {"reviews": Bundle.load(world.labels), "weaker": Bundle.load(other)}
    measured = {name: bundle.evaluate(data) for name, bundle in bundles.items()}
    predictions = [
        [prediction.label for prediction in bundle.task.decode(bundle.compute_outputs(rows)[0], rows)]
        for bundle in bundles.values()
        for rows in [bundle.read(data)]
    ]
    gold = [example.target for example in bundles["reviews"].read(data)]

    figures = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))[0]
    assert figures["rows"] == 96
    for name, found in measured.items():
        for metric, value in found.metrics.items():
            assert figures["values"][name][metric]["value"] == pytest.approx(value)
            assert figures["values"][name][metric]["interval"] == pytest.approx(found.intervals[metric])
    difference = figures["differences"][0]
    accuracy = difference["metrics"]["accuracy"]
    assert accuracy["difference"] == pytest.approx(
        measured["weaker"].metrics["accuracy"] - measured["reviews"].metrics["accuracy"]
    )
    n_differing = sum(a != b for a, b in zip(*predictions, strict=True))
    assert difference["differing"] == n_differing > 0
    only = [
        sum(a == g != b for a, b, g in zip(*order, gold, strict=True)) for order in (predictions, predictions[::-1])
    ]
    assert [difference["mcnemar"]["only_first"], difference["mcnemar"]["only_second"]] == only

    assert max(map(len, said.out.splitlines()[:20])) <= 80
    assert f"weaker and reviews agree on {96 - n_differing} of 96 examples" in said.out
    assert f"only weaker is correct {only[1]} times, only reviews {only[0]} times (McNemar's p " in said.out
    blocks = said.out.split("reviews.csv:")[1:]
    assert len(blocks) == 2 + (said.out.count("examples\n") > 9)
    assert "truth" in blocks[0]
    assert "metrics in" in said.out


def test_a_page_of_two_models(world: World, other: Path, call: Call, tmp_path: Path, browser: Any) -> None:
    file = tmp_path / "c.html"
    said = call("compare", world.labels, other, "--data", world.folder / "reviews.csv", "--html", file)
    assert said.code == 0, said.err
    assert f"page in {file}" in said.out.replace("\n", "")
    text = unescape(file.read_text(encoding="utf-8"))
    assert str(world.folder) not in text
    line = next(line for line in said.out.splitlines() if line.startswith("weaker and reviews agree on"))
    assert line in text
    n_differing = 96 - int(line.split(" agree on ")[1].split(" of ")[0])
    page = browser.new_page(viewport={"width": 390, "height": 844})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(file.as_uri())
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.querySelectorAll('svg:not([role=img][aria-label])').length") == 0
    rows = page.locator("table").last.locator("tbody tr")
    assert rows.count() == min(n_differing, 50)
    assert {rows.first.locator(css).count() for css in (".good", ".bad")} == {1}
    assert problems == []
    page.close()


def test_where_no_page_can_be_written(world: World, other: Path, call: Call, tmp_path: Path) -> None:
    for place, message in ((tmp_path, "is a directory; give --html a file name."), ("-", "-: is no file")):
        said = call("compare", world.labels, other, "--data", world.folder / "reviews.csv", "--html", place)
        assert said.code == 2
        assert message in said.err.replace("\n", " ")


def test_pages_of_other_tasks(world: World) -> None:
    for name, data in ((world.pairs, "pairs.csv"), (world.multi, "multi.csv")):
        bundle = Bundle.load(name)
        comparison = compare_models({"a": bundle, "b": bundle}, world.folder / data)
        page = render_page(build_comparison_page({None: comparison}))
        assert "b and a agree on every row." in page
        assert page.count("<svg") == 2 * len(comparison.differences[0].metrics)
    both = build_comparison_page({"dev": comparison, "test": comparison})
    assert [section.title for section in both.sections][::4] == ["Summary on dev", "Summary on test"]


def test_rows_of_tagging_models_show_the_words_that_differ() -> None:
    example = Example("1", "in New York now", target=("O", "B-A", "I-A", "O"))
    tags = [("O", "B-A", "I-A", "O"), ("O", "B-A", "O", "O")]
    predictions = [Prediction("1", tags=each) for each in tags]
    assert show_differing(example, predictions) == ["York/I-A", "York/I-A", "York/O"]
    plain = [Prediction("1", label="a"), Prediction("1", label="b")]
    assert show_differing(Example("1", "x", target="a"), plain) == ["a", "a", "b"]


def test_a_model_beside_itself_is_no_better(world: World, call: Call, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(world.labels, copy)
    said = call("compare", world.labels, copy, "--data", world.folder / "reviews.csv", "--json", "-", "--examples", 3)
    found = json.loads(said.out)[0]["differences"][0]
    assert found["differing"] == 0
    assert found["mcnemar"] == {"only_first": 0, "only_second": 0, "p": 1.0}
    for metric in found["metrics"].values():
        assert (metric["difference"], metric["interval"], metric["p_permutation"]) == (0.0, [0.0, 0.0], 1.0)


def test_numbers_and_several_labels(world: World) -> None:
    pairs = Bundle.load(world.pairs)
    found = compare_models({"a": pairs, "b": pairs, "c": pairs}, world.folder / "pairs.csv")
    assert [difference.mcnemar for difference in found.differences] == [None, None]
    assert found.differences[0].metrics.keys() == {"pearson", "spearman", "mse"}
    assert found.differences[0].differing == ()
    multi = Bundle.load(world.multi)
    found = compare_models({"a": multi, "b": multi}, world.folder / "multi.csv")
    assert found.differences[0].metrics["f1_micro"].difference == 0.0
    assert "b and a agree on 96 of 96 examples (100.0%)" in map(str, found.renderables())


def test_numbers_that_are_furthest_apart_come_first(world: World) -> None:
    pairs = Bundle.load(world.pairs)
    rows = pairs.read(world.folder / "pairs.csv")
    shifted = Bundle.load(world.pairs)
    bias = next(p for name, p in shifted.model.head.named_parameters() if p.ndim == 1 and p.numel() == 1)
    bias.data += 0.5
    weight = next(p for p in shifted.model.head.parameters() if p.ndim == 2 and len(p) == 1)
    weight.data *= 1.5
    found = compare_models({"a": pairs, "b": shifted}, rows)
    a, b = (np.array([p.value for p in side.predictions]) for side in found.sides)
    places = list(found.differences[0].differing)
    assert places[0] == int(np.abs(a - b).argmax())
    assert len(places) == 96
    block = next(found.disagreements(1))
    assert f"  a      {a[places[0]]:.4f}" in block
    assert f"  truth  {rows[places[0]].target:.4f}" in block


def test_tests_are_those_of_the_metrics(world: World, other: Path) -> None:
    found = compare_models({"a": Bundle.load(world.labels), "b": Bundle.load(other)}, world.folder / "reviews.csv")
    expected = paired_test(["accuracy"], found.sides[0].outcome, found.sides[1].outcome)
    assert found.differences[0].metrics["accuracy"] == expected["accuracy"]


def test_tags_and_answers_areis_row_correct_as_a_whole() -> None:
    tagged = TaggingOutcome([["B-X", "O"], ["O"]], [["B-X", "O"], ["B-X"]])
    assert is_row_correct(tagged).tolist() == [True, False]
    answered = AnswerOutcome.from_answers([["in Rome", "Rome"], [], ["x"]], ["Rome", "", "y"], [0.0, 0.0, 0.0])
    assert is_row_correct(answered).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("target", "prediction", "shown"),
    [
        (("B-X", "O"), Prediction("1", tags=("O", "O")), ("B-X O", "O O")),
        ((Answer("Rome", 3), Answer("Rome", 9)), Prediction("1", answer="Paris"), ("Rome", "Paris")),
        ((), Prediction("1", answer=""), ("–", "–")),
        (("O", "B-X", "O"), Prediction("1", tags=("O", "O", "O")), ("O B-X O", "O O O")),
        (("a", "b"), Prediction("1", label=("a",)), ("a b", "a")),
        (1.5, Prediction("1", value=2.0), ("1.5000", "2.0000")),
        ("pos", Prediction("1", label="neg", probabilities={"neg": 0.875}), ("pos", "neg (0.88)")),
    ],
)
def test_how_answers_are_shown(target: Any, prediction: Prediction, shown: tuple[str, str]) -> None:
    assert (show_target(Example("1", "x", target=target)), format_prediction(prediction)) == shown


def test_long_texts_are_cut() -> None:
    shown = _text(Example("7", "a " * 300, "b"))
    assert shown.startswith("7: a a a")
    assert len(shown) == 203
    assert _text(Example("7", "a\tq", "b", where="x.csv:3")) == "x.csv:3: a q | b"


def test_what_cannot_be_compared(world: World, call: Call) -> None:
    data = world.folder / "reviews.csv"
    for models, message in (
        ([world.labels], "compare: one model cannot be compared; name two or more models."),
        ([world.labels, world.labels], "the same model is given twice; compare different models."),
        ([world.labels, world.pairs], "reviews is for classification, pairs is for regression"),
        ([world.labels, world.folder / "none"], "none"),
    ):
        said = call("compare", *models, "--data", data)
        assert said.code == 2
        assert message in said.err
    said = call("compare", world.labels, world.labels, "--data", data, "--json", world.folder)
    assert "is a directory; give --json a file name" in said.err
    with pytest.raises(DataError, match="name two or more models"):
        compare_models({}, data)
