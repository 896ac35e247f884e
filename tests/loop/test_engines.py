"""Engines: ONNX Runtime predicts what torch predicts, for every kind of task and head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_ensembles import train_member
from test_same_results import DATA

from bertwright import make_ensemble
from bertwright.data.dataset import Dataset
from bertwright.engines import engine as engines
from bertwright.engines.engine import hash_model
from bertwright.engines.onnx_graph import check_exportable, export_graph
from bertwright.errors import BundleError, MissingDependencyError
from bertwright.nn.layout import Layout
from bertwright.run.bundle import Bundle
from bertwright.tasks.spec import Prediction
from bertwright.tokenization.batching import iterate_in_order
from bertwright.tokenization.encodings import Encodings
from tiny import make_tiny_bert

VARIANTS: dict[str, tuple[str, ...]] = {
    "classification": (),
    "classification windows": ("tokens.max_length=8", "tokens.truncation=windows", "tokens.stride=2"),
    "classification lora": ("model.lora={rank: 2, merge: false}",),
    "classification mean": ("model.head={pooling: mean, layers: [{dense: 8}, tanh, batch_norm]}",),
    "multilabel max": ("model.head={pooling: max, from_layers: weighted}",),
    "regression": (),
    "tagging": (),
    "tagging crf": ("model.head={crf: true}",),
    "qa": ("tokens.max_length=16", "tokens.stride=4"),
    "multiple_choice": (),
}
"""Kinds of tasks and heads; regression has pairs, and a question has several windows."""

Trained = Callable[[str], tuple[Path, Dataset]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The run directory and the rows of a variant; trained once."""
    made: dict[str, tuple[Path, Dataset]] = {}
    base = make_tiny_bert(tmp_path_factory.mktemp("base"), num_hidden_layers=1)  # exporting takes seconds per layer

    def make(variant: str) -> tuple[Path, Dataset]:
        if variant not in made:
            folder = tmp_path_factory.mktemp("engines")
            bundle = train_member(base, folder, variant, 0, *VARIANTS[variant])
            made[variant] = folder / "run0", bundle.read(folder / DATA[variant.partition(" ")[0]][0])
        return made[variant]

    return make


def raw_scores(bundle: Bundle, encodings: Encodings) -> NDArray[np.float32]:
    """The scores of the model before the head decodes them."""
    with torch.inference_mode():
        return np.concatenate([bundle.model(batch).numpy() for batch in iterate_in_order(encodings, 1 << 20)])


def answer_of(prediction: Prediction) -> Any:
    """What was predicted, without numbers that depend on rounding."""
    return prediction.label, prediction.tags, prediction.answer, prediction.choice


@pytest.mark.parametrize("variant", VARIANTS)
def test_onnx_predicts_what_torch_predicts(variant: str, trained: Trained) -> None:
    path, rows = trained(variant)
    reference, bundle = (Bundle.load(path, engine=engine) for engine in ("torch", "onnx"))
    encodings = reference.encode(rows)
    assert len(np.unique(encodings.lengths)) > 2, "sequences of equal length need no padding"
    expected = raw_scores(reference, encodings)
    np.testing.assert_allclose(raw_scores(bundle, encodings), expected, rtol=1e-4, atol=1e-4)
    predictions = [each.task.decode(each.compute_outputs(rows)[0], rows) for each in (reference, bundle)]
    for theirs, ours in zip(*predictions, strict=True):
        assert answer_of(ours) == answer_of(theirs)
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)
        assert ours.value == pytest.approx(theirs.value, abs=1e-4)
        assert ours.entropy == pytest.approx(theirs.entropy, abs=1e-4)
        assert [span[:3] for span in ours.spans] == [span[:3] for span in theirs.spans]
    alone = bundle.task.decode(bundle.compute_outputs(rows[:1])[0], rows[:1])[0]
    assert answer_of(alone) == answer_of(predictions[1][0])
    assert alone.probabilities == pytest.approx(predictions[1][0].probabilities, abs=1e-4)


@pytest.mark.parametrize("variant", ["classification", "tagging", "qa"])
def test_int8_is_close(variant: str, trained: Trained) -> None:
    path, rows = trained(variant)
    reference, bundle = (Bundle.load(path, engine=engine) for engine in ("torch", "onnx-int8"))
    encodings = reference.encode(rows)
    expected, scores = (raw_scores(each, encodings) for each in (reference, bundle))
    assert 0 < np.abs(scores - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("form", ["average", "soup"])
def test_ensembles_have_engines(form: Any, trained: Trained, tmp_path: Path) -> None:
    path, rows = trained("classification")
    make_ensemble([Bundle.load(path)] * 2, form).save(tmp_path / "ensemble")
    reference, bundle = (Bundle.load(tmp_path / "ensemble", engine=engine) for engine in ("torch", "onnx"))
    np.testing.assert_allclose(bundle.compute_outputs(rows)[0], reference.compute_outputs(rows)[0], atol=1e-4)
    assert bundle.engine == "onnx"


def test_weights_in_an_engine_have_no_mean(trained: Trained) -> None:
    bundle = Bundle.load(trained("classification")[0], engine="onnx")
    with pytest.raises(BundleError, match=r"soup: .* the engine onnx; open it with the engine torch"):
        make_ensemble([bundle, bundle], "soup")


def test_a_model_in_an_engine_can_be_saved(trained: Trained, tmp_path: Path) -> None:
    path, rows = trained("tagging crf")
    Bundle.load(path, engine="onnx").save(tmp_path / "copy")
    theirs, ours = (Bundle.load(each).compute_outputs(rows)[0] for each in (path, tmp_path / "copy"))
    assert all(np.array_equal(a.tags, b.tags) for a, b in zip(theirs, ours, strict=True))


def test_graphs_are_cached_by_content(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = trained("classification")
    Bundle.load(path, engine="onnx")
    monkeypatch.setattr(engines, "export_graph", lambda *_: pytest.fail("is exported again"))
    notes: list[str] = []
    bundle = Bundle.load(path, engine="onnx", on_note=notes.append)
    assert notes == []
    model, task = Bundle.load(path).single_model, bundle.task
    key = hash_model(model, task, "fp32")
    assert key == hash_model(Bundle.load(path).single_model, task, "fp32")
    keys = {key, hash_model(model, task, "int8")}
    with torch.no_grad():
        model.encoder.embeddings.norm.bias[0] += 1
    keys.add(hash_model(model, task, "fp32"))
    model.head.activation = torch.relu
    keys.add(hash_model(model, task, "fp32"))
    assert len(keys) == 4


def test_a_graph_of_own_code_is_not_cached(trained: Trained) -> None:
    class Own(torch.nn.Module):
        def forward(self, hidden: torch.Tensor, layout: Layout) -> torch.Tensor:
            return hidden[layout.starts][:, :2]

    bundle = Bundle.load(trained("classification")[0])
    model = bundle.single_model
    model.head = Own()
    assert hash_model(model, bundle.task, "fp32") is None


def test_a_head_that_a_graph_cannot_hold_is_named(trained: Trained) -> None:
    class Own(torch.nn.Module):
        def forward(self, hidden: torch.Tensor, layout: Layout) -> torch.Tensor:
            return torch.stack([each.sum(0)[:2] for each in hidden.split(layout.lengths.tolist())])

    bundle = Bundle.load(trained("classification")[0])
    model = bundle.single_model
    model.head = Own()
    with pytest.raises(BundleError, match=r"runs/own: cannot be exported to ONNX \(.*tolist.*\); a custom head may"):
        export_graph(model, bundle.task, "runs/own")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "onxx"}, 'engine: unknown engine "onxx"; did you mean "onnx"'),
        ({"engine": "onnx", "precision": "bf16"}, "engine: the precision bf16 needs the engine torch"),
    ],
)
def test_wrong_engines_are_refused(options: dict[str, Any], message: str, trained: Trained) -> None:
    with pytest.raises(BundleError, match=message):
        Bundle.load(trained("classification")[0], **options)


def test_a_missing_extra_is_named(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertwright.engines.onnx_graph.find_spec", lambda name: None if name == "onnx" else name)
    with pytest.raises(MissingDependencyError, match=r"engine onnx-int8: onnx is not installed; run `pip install"):
        Bundle.load(trained("classification")[0], engine="onnx-int8")


def test_what_is_no_graph_is_refused(trained: Trained) -> None:
    crf, choices = (Bundle.load(trained(variant)[0]) for variant in ("tagging crf", "multiple_choice"))
    for bundle, reason in ((crf, "which tokens begin a word"), (choices, "their number of choices")):
        ensemble = make_ensemble([bundle, bundle])
        with pytest.raises(BundleError, match=reason):
            check_exportable(ensemble.model, ensemble.task, "runs/ensemble")
