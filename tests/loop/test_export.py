"""Exports: what is written, what plain ONNX Runtime computes with it, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from test_engines import Trained
from test_engines import trained as trained  # a fixture

from bertwright import make_ensemble
from bertwright.data.dataset import Dataset
from bertwright.errors import BundleError, DataError, OutputError
from bertwright.run.bundle import Bundle
from bertwright.tools import onnx_export
from bertwright.tools.onnx_export import MAX_DIFFERENCE, ParityCheck, compare_graphs, export, read_dev_rows

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "exporting-to-onnx.md"


def run(directory: Path, file: str = "model.onnx", **inputs: Any) -> list[Any]:
    """The outputs of an exported file in plain ONNX Runtime; a mask of ones unless one is given."""
    session = onnxruntime.InferenceSession(directory / "onnx" / file, providers=["CPUExecutionProvider"])
    ids = np.array(inputs["input_ids"])
    values = {"attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids), **inputs}
    return list(session.run(None, {each.name: np.array(values[each.name]) for each in session.get_inputs()}))


def test_files_and_report_of_an_export(trained: Trained, tmp_path: Path) -> None:
    path, rows = trained("classification")
    bundle = Bundle.load(path)
    report = export(bundle, tmp_path / "out", precision="int8", rows=rows, accept_loss=True)
    files = sorted(file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*.*"))
    expected = ["config.json", "export.json", "onnx/model.onnx", "onnx/model_quantized.onnx"]
    assert files == [*expected, "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    names = ("input_ids", "attention_mask", "token_type_ids")
    assert report.inputs == dict.fromkeys(names, ("batch_size", "sequence_length"))
    assert report.outputs == {"logits": ("batch_size", 2)}
    fp32, int8 = report.checks
    assert fp32.is_within_limit
    assert fp32.difference <= MAX_DIFFERENCE < int8.difference
    assert fp32.metric == "accuracy"
    assert fp32.torch == fp32.onnx == bundle.task.evaluate(bundle.compute_outputs(rows)[0], rows).metrics["accuracy"]
    contents = json.loads((tmp_path / "out" / "export.json").read_text())
    assert contents["parity"][0]["difference"] == fp32.difference
    assert contents["task"]["labels"] == list(bundle.labels)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert list(config["id2label"].values()) == list(bundle.labels)


def test_the_example_of_the_documentation_predicts_what_the_model_predicts(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, rows = trained("classification")
    bundle = Bundle.load(path)
    export(bundle, tmp_path / "out", rows=rows)
    (code,) = (
        each for each in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "onnxruntime" in each
    )
    texts = re.search(r"texts = (\[.*\])", code)
    assert texts is not None
    exec(code.replace("models/sentiment", str(tmp_path / "out")), {})  # the example of our own page
    printed = json.loads(capsys.readouterr().out)
    predictions = bundle.predict(json.loads(texts[1]), quiet=True)
    np.testing.assert_allclose(printed, [list(each.probabilities.values()) for each in predictions], atol=1e-4)


def test_an_ensemble_is_one_graph(trained: Trained, tmp_path: Path) -> None:
    path, rows = trained("qa")
    bundle = Bundle.load(path)
    other = Bundle.load(path)
    other.single_model.head.output.weight.data *= -0.5
    report = export(make_ensemble([bundle, other]), tmp_path / "out", rows=rows)
    assert report.checks[0].is_within_limit, "the average over padded rows differs from that over packed ones"
    assert list(report.outputs) == ["start_logits", "end_logits"]
    assert report.notes == ("the graph averages 2 models, so it takes as long as all of them",)


def test_choices_have_their_own_axis(trained: Trained, tmp_path: Path) -> None:
    path, rows = trained("multiple_choice")
    bundle = Bundle.load(path)
    report = export(bundle, tmp_path / "out", rows=rows)
    assert report.inputs["input_ids"] == ("batch_size", "num_choices", "sequence_length")
    encodings = bundle.encode(rows[:1])
    n, t = len(encodings), int(encodings.lengths.max())
    values = {name: np.zeros((1, n, t), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    for i, each in enumerate(encodings):
        values["input_ids"][0, i, : len(each.ids)] = each.ids
        values["attention_mask"][0, i, : len(each.ids)] = 1
        values["token_type_ids"][0, i, : len(each.ids)] = each.types
    (scores,) = run(tmp_path / "out", **values)
    np.testing.assert_allclose(scores, bundle.compute_outputs(rows[:1])[0], atol=1e-4)


def test_a_crf_is_exported_with_its_transitions(trained: Trained, tmp_path: Path) -> None:
    path, rows = trained("tagging crf")
    report = export(Bundle.load(path), tmp_path / "out", rows=rows)
    (note,) = report.notes
    assert note.startswith("logits are the scores before the CRF; crf.json has its transitions")
    crf = json.loads((tmp_path / "out" / "crf.json").read_text())
    n = len(Bundle.load(path).labels)
    assert np.array(crf["transitions"]).shape == (n, n)
    assert len(crf["start"]) == len(crf["end"]) == n


def test_dev_rows_of_the_run_are_read_again(trained: Trained) -> None:
    path, rows = trained("classification")
    bundle = Bundle.load(path)
    dev = read_dev_rows(bundle)
    assert 0 < len(dev) < len(rows)
    assert {example.text for example in dev} <= {example.text for example in rows}


def test_dev_rows_that_were_trained_on_are_pointed_out(trained: Trained, tmp_path: Path) -> None:
    path, rows = trained("classification")
    bundle = Bundle.load(path)
    assert bundle.recipe is not None
    refitted = replace(bundle, recipe=bundle.recipe.replace(train=bundle.recipe.train.replace(refit=True)))
    notes = [
        export(model, tmp_path / name, precision="int8", rows=given, accept_loss=True).notes
        for name, model, given in (("dev", refitted, None), ("other", refitted, rows), ("plain", bundle, None))
    ]
    assert [any("trained on its dev rows" in note for note in each) for each in notes] == [True, False, False]


def test_a_graph_that_differs_is_refused_and_nothing_is_written(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = trained("classification")
    monkeypatch.setattr(onnx_export, "MAX_POINTS", -1.0)
    with pytest.raises(BundleError, match=r"the export in int8 differs too much: .* accuracy .*; compare on more rows"):
        export(Bundle.load(path), tmp_path / "out", precision="int8", rows=rows)
    monkeypatch.setattr(onnx_export, "MAX_DIFFERENCE", 0.0)
    with pytest.raises(BundleError, match="the export in fp32 differs too much: scores differ by at most"):
        export(Bundle.load(path), tmp_path / "out", rows=rows)
    assert list(tmp_path.iterdir()) == []
    assert not export(Bundle.load(path), tmp_path / "out", rows=rows, accept_loss=True).checks[0].is_within_limit


def test_a_damaged_graph_is_noticed(trained: Trained) -> None:
    path, rows = trained("classification")
    bundle, other = Bundle.load(path), Bundle.load(path)
    other.single_model.head.output.bias.data[0] += 0.01
    graph = onnx_export.make_graph(bundle.model, bundle.task, "fp32", "run")
    (check,) = compare_graphs(other, {"fp32": graph}, list(rows))
    assert check.difference == pytest.approx(0.01, rel=0.1)
    assert not check.is_within_limit


def test_places_and_models_that_are_refused(trained: Trained, tmp_path: Path) -> None:
    path, rows = trained("classification")
    with pytest.raises(OutputError, match=r"already exists and is not empty; choose another directory"):
        export(Bundle.load(path), path, rows=rows)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file; expected a new directory"):
        export(Bundle.load(path), tmp_path / "file", rows=rows)
    with pytest.raises(BundleError, match="open it with the engine torch"):
        export(Bundle.load(path, engine="onnx"), tmp_path / "out", rows=rows)


def test_rows_to_compare_on_are_needed(trained: Trained, tmp_path: Path) -> None:
    path, rows = trained("classification")
    (path.parent / "moved").mkdir(exist_ok=True)
    bundle = Bundle.load(path)
    assert bundle.recipe is not None
    moved = bundle.recipe.replace(data=bundle.recipe.data.replace(train="elsewhere.csv"))
    bundle = Bundle(bundle.model, bundle.task, bundle.base, bundle.tokens, moved)
    with pytest.raises(
        DataError, match=r"its dev rows cannot be read \(elsewhere.csv: .*\); give labeled rows with --data"
    ):
        export(bundle, tmp_path / "out")
    report = export(bundle, tmp_path / "out", accept_loss=True)
    assert report.checks == ()
    assert report.notes[0].startswith("the files are not compared with the model: ")
    unlabeled = Dataset([each.__class__(each.id, each.text) for each in rows], rows.report)
    with pytest.raises(DataError, match="has no labels, which the comparison in int8 needs"):
        export(bundle, tmp_path / "int8", precision="int8", rows=unlabeled)
    assert export(bundle, tmp_path / "fp32", rows=unlabeled).checks[0].metric is None


@pytest.mark.parametrize(
    ("metric", "torch", "onnx", "points"),
    [("accuracy", 0.9, 0.89, 1.0), ("answer_f1", 80.0, 79.0, 1.0), ("mse", 2.0, 2.1, 5.0), ("accuracy", 0.5, 0.6, -10)],
)
def test_lost_points(metric: str, torch: float, onnx: float, points: float) -> None:
    assert onnx_export._lost_points(metric, torch, onnx) == pytest.approx(points)
    assert ParityCheck("int8", 1, 1.0, metric, torch, onnx, points).is_within_limit == (points < 0)
