"""Choosing rows to label: what is uncertain, what is diverse, what is skipped."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from bertwright import Bundle, Recipe, fine_tune, select_rows
from bertwright.errors import BundleError, DataError
from bertwright.nn.layout import Layout
from bertwright.tools import row_selection
from bertwright.tools.row_selection import RowSelector, Strategy, choose_diverse

STRATEGIES: tuple[Strategy, ...] = ("diverse", "uncertainty", "random")


@pytest.fixture(scope="module")
def bundle(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("selection")
    rows = [
        f"{'the ' * (i % 5)}film {('great', 'awful')[i % 2]} {'abcdefgh'[i % 8]},{('pos', 'neg')[i % 2]}"
        for i in range(80)
    ]
    (folder / "train.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    recipe = Recipe(
        model={"base": str(tiny_bert)},
        data={"train": str(folder / "train.csv"), "text": "text", "label": "label"},
        tokens={"max_length": 32},
        train={"length": "4 epochs", "learning_rate": 1e-2, "batch_size": 16, "precision": "fp32", "threads": 1},
    )
    return fine_tune(recipe, folder / "run", quiet=True)


def new_texts(n: int = 120) -> list[str]:
    """Different texts, none of them in the training data."""
    rng = random.Random(3)
    words = ["good", "bad", "film", "plot", "is", "was", "very", "not", "fun", "dull", "great", "awful"]
    texts = [" ".join(rng.choices(words, k=rng.randint(3, 9))) for _ in range(3 * n)]
    return list(dict.fromkeys(texts))[:n]


def test_the_most_uncertain_rows_are_those_of_predict(bundle: Bundle) -> None:
    texts = new_texts()
    predictions = bundle.predict(texts)
    order = sorted(range(len(texts)), key=lambda i: -(predictions[i].entropy or 0.0))
    selection = select_rows(bundle, texts, 7, strategy="uncertainty")
    assert [row.position for row in selection.rows] == order[:7]
    assert [row.example.text for row in selection.rows] == [texts[i] for i in order[:7]]
    for row in selection.rows:
        assert row.entropy == pytest.approx(predictions[row.position].entropy, abs=1e-6)
        assert row.margin == pytest.approx(predictions[row.position].margin, abs=1e-6)
    assert (selection.n_rows, selection.n_labeled, selection.n_duplicates) == (len(texts), 0, 0)
    assert selection.notes == ()


def test_diverse_rows_come_from_the_most_uncertain_ones(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_selection, "POOL_FACTOR", 4)
    texts = new_texts()
    predictions = bundle.predict(texts)
    order = sorted(range(len(texts)), key=lambda i: -(predictions[i].entropy or 0.0))
    chosen = [row.position for row in select_rows(bundle, texts, 8).rows]
    assert len(set(chosen)) == 8
    assert set(chosen) <= set(order[:32])
    assert set(chosen) != set(order[:8])
    assert chosen[0] == order[0], "the first is the most uncertain one"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_result_depends_on_the_seed_alone(
    bundle: Bundle, strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = new_texts()
    first, again, other = (
        [row.example.text for row in select_rows(bundle, texts, 10, strategy=strategy, seed=seed).rows]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert (first == other) == (strategy == "uncertainty")
    # rows that come in parts, and rows that come at once
    monkeypatch.setattr(row_selection, "ROWS", 16)
    selector = RowSelector(bundle, 10, strategy)
    rows = bundle.read(texts, labelled=False)
    for start in range(0, len(texts), 50):
        selector.add(rows[start : start + 50])
    parts = selector.choose()
    assert [row.example.text for row in parts.rows] == first
    assert [texts[row.position] for row in parts.rows] == first


def test_random_rows_do_not_depend_on_the_order(bundle: Bundle) -> None:
    texts = new_texts()
    first = {row.example.text for row in select_rows(bundle, texts, 30, strategy="random").rows}
    assert first == {row.example.text for row in select_rows(bundle, texts[::-1], 30, strategy="random").rows}
    assert first != set(texts[:30])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_labeled_rows_and_duplicates_are_skipped(bundle: Bundle, strategy: Strategy) -> None:
    texts = new_texts(20)
    labeled = ["film great a", "the film awful b"]
    selection = select_rows(bundle, [*texts, *labeled, *texts[:5], texts[0]], 20, strategy=strategy)
    assert sorted(row.example.text for row in selection.rows) == sorted(texts)
    assert (selection.n_rows, selection.n_labeled, selection.n_duplicates) == (28, 2, 6)
    assert max(row.position for row in selection.rows) < 20, "the first of equal rows is chosen"


def test_memory_holds_the_pool_alone(bundle: Bundle) -> None:
    selector = RowSelector(bundle, 3)
    for start in range(0, 120, 40):
        selector.add(bundle.read(new_texts(120)[start : start + 40], labelled=False))
        assert len(selector._pool) == len(selector._keys) <= 30
    assert len(selector.choose().rows) == 3


def test_too_few_rows_and_wrong_arguments(bundle: Bundle) -> None:
    with pytest.raises(DataError) as error:
        select_rows(bundle, ["a good film", "a good film", "film great a"], 2)
    assert str(error.value) == (
        "select: N is 2, but only 1 of 3 rows can be chosen (1 occur in the data of the run, 1 are duplicates); "
        "lower N, or add rows."
    )
    with pytest.raises(DataError, match=r"select: the number of rows is 0; choose at least 1\."):
        select_rows(bundle, ["a"], 0)
    with pytest.raises(DataError, match=r"there is no strategy best; choose diverse, uncertainty, random\."):
        select_rows(bundle, ["a"], 1, strategy="best")  # type: ignore[arg-type]


def test_a_run_whose_data_is_gone_is_reported(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.recipe is not None
    data = bundle.recipe.data.replace(train=str(tmp_path / "gone.csv"))
    moved = Bundle(bundle.model, bundle.task, bundle.base, bundle.tokens, bundle.recipe.replace(data=data))
    selection = select_rows(moved, ["film great a", "x"], 2)
    assert selection.n_labeled == 0
    assert len(selection.notes) == 1
    assert selection.notes[0].startswith(
        f"the data of the run cannot be read, so its rows are not skipped: {tmp_path / 'gone.csv'}: no such file"
    )
    recipe = bundle.recipe.replace(data=bundle.recipe.data.replace(train=None))
    in_memory = Bundle(bundle.model, bundle.task, bundle.base, bundle.tokens, recipe)
    assert select_rows(in_memory, ["x"], 1).notes == (
        "the run was trained on rows in memory, so these are not skipped",
    )
    foreign = Bundle(bundle.model, bundle.task, bundle.base, bundle.tokens)
    assert select_rows(foreign, ["x"], 1).notes == (
        "the model has no recipe, so rows that it was trained on are not skipped",
    )


def test_embeddings_are_the_mean_of_the_last_layer(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = bundle.read(new_texts(9), labelled=False)
    expected = []
    for i in range(len(rows)):
        encodings = bundle.encode(rows[i : i + 1])
        ids, types = (torch.from_numpy(column.astype(np.int64)) for column in (encodings.ids, encodings.types))
        with torch.no_grad():
            expected.append(bundle.model.encoder(ids, types, Layout.packed([len(ids)])).mean(0).numpy())
    np.testing.assert_allclose(bundle.embed(rows), expected, atol=1e-5)
    monkeypatch.setattr("bertwright.run.bundle.ROWS", 4)
    np.testing.assert_allclose(bundle.embed(rows), expected, atol=1e-5)


class TestChooseDiverse:
    def test_each_cluster_is_chosen_before_any_twice(self) -> None:
        rng = np.random.default_rng(0)
        centers = np.eye(6, dtype=np.float32)
        points = np.repeat(centers, 20, axis=0) + rng.normal(0, 1e-4, (120, 6)).astype(np.float32)
        for seed in range(5):
            chosen = choose_diverse(points, np.ones(120), 6, seed)
            assert sorted(i // 20 for i in chosen) == list(range(6))

    def test_weights_count(self) -> None:
        points = np.eye(50, dtype=np.float32)
        weights = np.where(np.arange(50) < 25, 1e-6, 1.0)
        assert min(choose_diverse(points, weights, 20)) >= 25

    def test_equal_rows_follow_in_order_of_their_weights(self) -> None:
        points = np.ones((5, 3), np.float32)
        assert choose_diverse(points, np.array([0.1, 0.5, 0.3, 0.4, 0.2]), 4) == [1, 3, 2, 4]
        assert choose_diverse(np.zeros((3, 2), np.float32), np.zeros(3), 3) == [0, 1, 2]

    def test_all_rows_can_be_chosen(self) -> None:
        points = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
        assert sorted(choose_diverse(points, np.ones(40), 40)) == list(range(40))


def test_regression_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [(f"film {letter}", float(i % 3)) for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")]
    recipe = Recipe(
        model={"base": str(tiny_bert)},
        task={"kind": "regression"},
        tokens={"max_length": 16},
        train={"length": "1 step", "precision": "fp32", "threads": 1},
    )
    bundle = fine_tune(recipe, tmp_path / "run", data={"train": rows}, quiet=True)
    with pytest.raises(BundleError, match=r"its task is regression, for which entropy and margin are not defined"):
        select_rows(bundle, ["a", "b"], 1)
