"""Run directories in other programs, and rows of other programs in bertwright: the table of the documentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertwright.recipe import load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train

transformers = pytest.importorskip("transformers")

TEXTS = ["the film was very good !", "dull plot .", "awful", "it is a great great fun film . not bad"]
PAIRS = [("a good film", "great plot"), ("the plot is dull", "it is fun"), ("awful", "bad film !")]
ROWS: dict[str, list[dict[str, Any]]] = {
    "classification": [{"text": text, "label": label} for text, label in zip(TEXTS, "abca", strict=True)],
    "pairs": [{"a": a, "b": b, "label": label} for (a, b), label in zip(PAIRS, "xyx", strict=True)],
    "multilabel": [{"text": text, "labels": [label, "z"]} for text, label in zip(TEXTS, "xyxy", strict=True)],
    "regression": [{"a": a, "b": b, "label": value} for (a, b), value in zip(PAIRS, (0.5, 3.0, 1.5), strict=True)],
    "tagging": [
        {"words": text.split(), "tags": ["B-X" if word in ("film", "plot") else "O" for word in text.split()]}
        for text in TEXTS
    ],
}
SETTINGS = {
    "classification": (),
    "pairs": ("data.text=a", "data.text_pair=b", "data.label=label"),
    "multilabel": ("task.kind=multilabel", "data.label=labels"),
    "regression": ("task.kind=regression", "data.text=a", "data.text_pair=b", "data.label=label"),
    "tagging": ("task.kind=tagging",),
}
MakeRun = Callable[[str], Path]


@pytest.fixture(scope="module")
def run_of(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """A trained run for each kind of rows."""
    runs: dict[str, Path] = {}
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    def make(name: str) -> Path:
        if name not in runs:
            runs[name] = tmp_path_factory.mktemp("runs") / name
            pairs = [f"model.base={tiny_bert}", "tokens.max_length=48", "train.length=8 steps", "train.precision=fp32"]
            recipe = load_recipe(None, [*pairs, "train.learning_rate=1e-2", *SETTINGS[name]])
            train(recipe, runs[name], data={"train": ROWS[name] * 4, "dev": ROWS[name]}, quiet=True)
        return runs[name]

    return make


def test_pipeline_text_classification(run_of: MakeRun) -> None:
    run = run_of("classification")
    pipeline = transformers.pipeline("text-classification", model=str(run))
    predictions = Bundle.load(run).predict(TEXTS, quiet=True)
    for answer, prediction in zip(pipeline(TEXTS), predictions, strict=True):
        assert answer["label"] == prediction.label
        assert answer["score"] == pytest.approx(prediction.probabilities[prediction.label], abs=1e-5)


def test_pipeline_pairs(run_of: MakeRun) -> None:
    run = run_of("pairs")
    pipeline = transformers.pipeline("text-classification", model=str(run))
    answers = pipeline([{"text": a, "text_pair": b} for a, b in PAIRS])
    predictions = Bundle.load(run).predict(PAIRS, quiet=True)
    for answer, prediction in zip(answers, predictions, strict=True):
        assert answer["label"] == prediction.label
        assert answer["score"] == pytest.approx(prediction.probabilities[prediction.label], abs=1e-5)


def test_pipeline_multilabel(run_of: MakeRun) -> None:
    run = run_of("multilabel")
    pipeline = transformers.pipeline("text-classification", model=str(run), top_k=None)
    for answers, prediction in zip(pipeline(TEXTS), Bundle.load(run).predict(TEXTS, quiet=True), strict=True):
        assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(
            prediction.probabilities, abs=1e-5
        )


def test_pipeline_regression(run_of: MakeRun) -> None:
    run = run_of("regression")
    pipeline = transformers.pipeline("text-classification", model=str(run))
    answers = pipeline([{"text": a, "text_pair": b} for a, b in PAIRS])
    values = [prediction.value for prediction in Bundle.load(run).predict(PAIRS, quiet=True)]
    assert [answer["score"] for answer in answers] == pytest.approx(values, abs=1e-5)


def test_pipeline_token_classification(run_of: MakeRun) -> None:
    run = run_of("tagging")
    pipeline = transformers.pipeline("token-classification", model=str(run), aggregation_strategy="first")
    predictions = Bundle.load(run).predict(TEXTS, quiet=True)
    assert any(prediction.spans for prediction in predictions)
    for text, answers, prediction in zip(TEXTS, pipeline(TEXTS), predictions, strict=True):
        theirs = [(answer["entity_group"], answer["start"], answer["end"]) for answer in answers]
        assert theirs == [(span.label, span.start, span.end) for span in prediction.spans], text


def test_pipeline_fill_mask(tiny_bert: Path, tmp_path: Path) -> None:
    pairs = [f"model.base={tiny_bert}", "task.kind=pretraining", "train.length=4 steps", "train.precision=fp32"]
    recipe = load_recipe(None, [*pairs, "tokens.max_length=48", "task.sentence_objective=none"])
    train(recipe, tmp_path / "run", data={"train": TEXTS * 16, "dev": TEXTS * 4}, quiet=True)
    pipeline = transformers.pipeline("fill-mask", model=str(tmp_path / "run"), top_k=5)
    text = "the film was very [MASK] ."
    (prediction,) = Bundle.load(tmp_path / "run").predict([text], quiet=True)
    theirs = {answer["token_str"]: pytest.approx(answer["score"], abs=1e-5) for answer in pipeline(text)}
    assert {span.text: span.score for span in prediction.spans[:5]} == theirs


def test_pipelines_that_transformers_5_has_not() -> None:
    from transformers.pipelines import SUPPORTED_TASKS

    assert "question-answering" not in SUPPORTED_TASKS
    assert not any("choice" in task for task in SUPPORTED_TASKS)


def test_cross_encoder_regression(run_of: MakeRun) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    run = run_of("regression")
    encoder = sentence_transformers.CrossEncoder(str(run), device="cpu")
    values = [prediction.value for prediction in Bundle.load(run).predict(PAIRS, quiet=True)]
    np.testing.assert_allclose(encoder.predict(PAIRS, show_progress_bar=False), values, atol=1e-5)
    ranked = encoder.rank(PAIRS[0][0], [b for _, b in PAIRS], show_progress_bar=False)
    assert sorted(row["corpus_id"] for row in ranked) == [0, 1, 2]


def test_cross_encoder_pairs(run_of: MakeRun) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    run = run_of("pairs")
    encoder = sentence_transformers.CrossEncoder(str(run), device="cpu")
    probabilities = encoder.predict(PAIRS, apply_softmax=True, show_progress_bar=False)
    predictions = Bundle.load(run).predict(PAIRS, quiet=True)
    for row, prediction in zip(probabilities, predictions, strict=True):
        assert row.tolist() == pytest.approx(list(prediction.probabilities.values()), abs=1e-5)


def test_sentence_transformer_gives_the_embeddings(run_of: MakeRun) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    run = run_of("classification")
    encoder = sentence_transformers.SentenceTransformer(str(run), device="cpu")
    bundle = Bundle.load(run)
    ours = bundle.embed(bundle.read(TEXTS, labelled=False).examples)
    np.testing.assert_allclose(encoder.encode(TEXTS, show_progress_bar=False), ours, atol=1e-5)


@pytest.mark.parametrize("form", ["datasets", "pandas", "arrow"])
def test_rows_of_other_libraries_in_and_out(form: str, run_of: MakeRun, tmp_path: Path) -> None:
    datasets, pandas = pytest.importorskip("datasets"), pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS["classification"])
    rows = {"datasets": datasets.Dataset.from_pandas(frame), "pandas": frame}.get(form)
    if form == "arrow":
        frame.to_parquet(tmp_path / "rows.parquet")
        rows = tmp_path / "rows.parquet"
    bundle = Bundle.load(run_of("classification"))
    predictions = bundle.predict(rows, quiet=True)
    assert predictions == bundle.predict(rows, quiet=True)
    assert [prediction.label for prediction in predictions] == [
        prediction.label for prediction in bundle.predict(TEXTS, quiet=True)
    ]
    assert bundle.evaluate(rows, quiet=True).n == len(TEXTS)
    columns = bundle.task.columns(predictions)
    table = pandas.DataFrame(columns)
    assert table["label"].tolist() == [prediction.label for prediction in predictions]
    assert datasets.Dataset.from_dict(columns)["label"] == table["label"].tolist()
