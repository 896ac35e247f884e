"""Ensembles of every kind of task: averaged predictions, averaged weights, their files, and what cannot be combined."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_same_results import COLUMNS, DATA

from bertwright import make_ensemble
from bertwright.data.dataset import Dataset
from bertwright.errors import BundleError, WeightsError
from bertwright.nn.crf import CrfHead
from bertwright.nn.lora import adapter_parameters
from bertwright.recipe import load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from bertwright.sweep.ensemble_comparison import ScoredModel, choose_form
from bertwright.tasks.classification import Classification, MultiLabel
from bertwright.tasks.labels import softmax
from bertwright.tasks.qa import QuestionAnswering
from bertwright.tokenization.encodings import Encodings
from bertwright.weights.pretrained import open_pretrained

VARIANTS: dict[str, tuple[str, ...]] = {
    "classification": (),
    "multilabel": (),
    "regression": (),
    "tagging": (),
    "tagging crf": ("model.head={crf: true}",),
    "qa": (),
    "qa windows": ("tokens.max_length=16", "tokens.stride=4"),
    "multiple_choice": (),
}
Members = Callable[[str], tuple[list[Bundle], Dataset]]


def train_member(base: Path, folder: Path, variant: str, seed: int, *pairs: str) -> Bundle:
    """Train a tiny model for a few steps at a high rate, so that seeds differ."""
    task = variant.partition(" ")[0]
    name, make_data = DATA[task]
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(make_data())
    fixed = {"tokens.max_length": "32", "train.batch_size": "8", "train.threads": "1", "train.length": "6 steps"}
    fixed |= {"train.learning_rate": "1e-2", "train.precision": "fp32", "seed": str(seed)}
    fixed |= {"model.base": str(base), "data.train": str(folder / name), "task.kind": task}
    for pair in (*COLUMNS.get(task, ()), *VARIANTS.get(variant, ()), *pairs):
        key, _, value = pair.partition("=")
        fixed[key] = value
    return train(load_recipe(None, [f"{key}={value}" for key, value in fixed.items()]), folder / f"run{seed}")


@pytest.fixture(scope="session")
def members(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Members:
    """Three models of a variant that differ by their seed, and the rows that they were trained on; made once."""
    made: dict[str, tuple[list[Bundle], Dataset]] = {}

    def make(variant: str) -> tuple[list[Bundle], Dataset]:
        if variant not in made:
            folder = tmp_path_factory.mktemp("members")
            bundles = [train_member(tiny_bert, folder, variant, seed) for seed in range(3)]
            made[variant] = bundles, bundles[0].read(folder / DATA[variant.partition(" ")[0]][0])
        return made[variant]

    return make


def probabilities(bundle: Bundle, encodings: Encodings) -> NDArray[np.float64]:
    """What an ensemble averages, computed without the code of ensembles: rows for sequences or tokens."""
    if isinstance(bundle.model, torch.nn.Module) and isinstance(getattr(bundle.model, "head", None), CrfHead):
        from bertwright.tokenization.batching import collate

        batch = collate(encodings, np.arange(len(encodings)))
        with torch.no_grad():
            scores = bundle.single_model(batch)
            logs = bundle.single_model.head.log_probabilities(scores, batch.targets, batch.layout)
        return np.exp(logs.double().numpy())
    scores = bundle.scores(encodings).astype(np.float64)
    kind = bundle.task.kind
    if kind == "regression":
        return scores
    if kind == "multilabel":
        return 1 / (1 + np.exp(-scores))
    if kind in ("qa", "multiple_choice"):  # over the tokens of a window, or the choices of a context
        ends = encodings.bounds[1:] if kind == "qa" else np.append(encodings.unit_starts[1:], len(scores))
        return np.concatenate([softmax(part.T).T for part in np.split(scores, ends[:-1])])
    return softmax(scores)


@pytest.mark.parametrize("variant", VARIANTS)
def test_its_predictions_are_the_mean_of_those_of_its_members(variant: str, members: Members) -> None:
    bundles, rows = members(variant)
    encodings = bundles[0].encode(rows)
    each = [probabilities(bundle, encodings) for bundle in bundles]
    assert np.abs(each[0] - each[1]).max() > 1e-3, "members that are equal would prove nothing"
    ensemble = make_ensemble(bundles)
    scores = ensemble.scores(encodings)
    plain = replace(bundles[0], model=ensemble.model) if variant != "tagging crf" else None
    found = softmax(scores) if plain is None else probabilities(plain, encodings)
    np.testing.assert_allclose(found, np.mean(each, 0), rtol=1e-5, atol=1e-6)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("variant", ["classification", "multilabel", "regression", "multiple_choice"])
def test_what_the_user_sees_is_the_mean_too(variant: str, members: Members) -> None:
    bundles, rows = members(variant)
    each = [bundle.task.decode(bundle.compute_outputs(rows)[0], rows) for bundle in bundles]
    ensemble = make_ensemble(bundles)
    for i, found in enumerate(ensemble.task.decode(ensemble.compute_outputs(rows)[0], rows)):
        if variant == "regression":
            assert found.value == pytest.approx(np.mean([predictions[i].value for predictions in each]), rel=1e-5)
        for name, probability in found.probabilities.items():
            mean = np.mean([predictions[i].probabilities[name] for predictions in each])
            assert probability == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_member_is_the_member_bit_for_bit(variant: str, members: Members) -> None:
    bundles, rows = members(variant)
    alone = make_ensemble(bundles[:1])
    assert alone.task == bundles[0].task
    predictions = [each.task.decode(each.compute_outputs(rows)[0], rows) for each in (alone, bundles[0])]
    assert predictions[0] == predictions[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_saved_ensemble_predicts_the_same(variant: str, members: Members, tmp_path: Path) -> None:
    bundles, rows = members(variant)
    ensemble = make_ensemble(bundles)
    ensemble.save(tmp_path / "ensemble")
    assert json.loads((tmp_path / "ensemble" / "ensemble.json").read_text()) == {
        "format": 1,
        "members": ["members/0", "members/1", "members/2"],
        "tuned": {},
    }
    again = Bundle.load(tmp_path / "ensemble")
    assert again.base.source == str(tmp_path / "ensemble")
    predictions = [each.task.decode(each.compute_outputs(rows)[0], rows) for each in (ensemble, again)]
    assert predictions[0] == predictions[1]
    before, after = (each.task.evaluate(each.compute_outputs(rows)[0], rows) for each in (ensemble, again))
    assert before.metrics == pytest.approx(after.metrics, nan_ok=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_soup_has_the_mean_of_the_weights(variant: str, members: Members, tmp_path: Path) -> None:
    bundles, rows = members(variant)
    soup = make_ensemble(bundles, "soup")
    states = [bundle.single_model.state_dict() for bundle in bundles]
    differ = False
    for name, tensor in soup.single_model.state_dict().items():
        mean = torch.stack([state[name].double() for state in states]).mean(0)
        torch.testing.assert_close(tensor.double(), mean, rtol=1e-6, atol=1e-8)
        differ |= not torch.equal(tensor, states[0][name])
    assert differ
    soup.save(tmp_path / "soup")
    again = Bundle.load(tmp_path / "soup")
    assert again.members == ()
    assert again.compute_outputs(rows)[1] == 0
    same = make_ensemble([bundles[0]] * 3, "soup").single_model.state_dict()
    assert all(torch.equal(tensor, states[0][name]) for name, tensor in same.items())


def test_the_members_are_not_changed(members: Members) -> None:
    bundles, _ = members("classification")
    before = {name: tensor.clone() for name, tensor in bundles[0].single_model.state_dict().items()}
    make_ensemble(bundles, "soup")
    make_ensemble(bundles)
    assert all(torch.equal(tensor, before[name]) for name, tensor in bundles[0].single_model.state_dict().items())


def with_task(bundle: Bundle, **changes: Any) -> Bundle:
    task = bundle.task.replace(**changes)
    assert bundle.recipe is not None
    return replace(bundle, task=task, recipe=bundle.recipe.replace(task=task))


def test_each_member_has_its_own_temperature(members: Members, tmp_path: Path) -> None:
    bundles, rows = members("classification")
    scaled = [with_task(bundle, temperature=t) for bundle, t in zip(bundles, (0.5, 1.5, 3.0), strict=True)]
    each = [bundle.task.decode(bundle.compute_outputs(rows)[0], rows) for bundle in scaled]
    ensemble = make_ensemble(scaled)
    assert isinstance(ensemble.task, Classification)
    assert ensemble.task.temperature == "tuned", "until it is tuned again"
    outputs, _ = ensemble.compute_outputs(rows)
    for i, found in enumerate(ensemble.task.decode(outputs, rows)):
        mean = np.mean([predictions[i].probabilities["pos"] for predictions in each])
        assert found.probabilities["pos"] == pytest.approx(mean, abs=1e-6)
    tuned, _ = ensemble.task.tune_on_validation(outputs, rows)
    replace(ensemble, task=tuned).save(tmp_path / "tuned")
    again = Bundle.load(tmp_path / "tuned")
    assert again.task == tuned
    assert again.recipe is not None
    assert again.recipe.task == tuned
    same = make_ensemble([with_task(bundle, temperature=2.0) for bundle in bundles])
    assert same.task.temperature == 1.0, "every member divides by its own"  # type: ignore[attr-defined]


def test_settings_that_were_tuned_differently_are_open_again(members: Members) -> None:
    bundles, _ = members("multilabel")
    values = ({"good": 0.3, "long": 0.4}, {"good": 0.6, "long": 0.4}, {"good": 0.3, "long": 0.4})
    apart = [with_task(bundle, threshold=value) for bundle, value in zip(bundles, values, strict=True)]
    for form in ("average", "soup"):
        task = make_ensemble(apart, form).task  # type: ignore[arg-type]
        assert isinstance(task, MultiLabel)
        assert task.threshold == "tuned"
    equal = make_ensemble([with_task(bundle, threshold=0.3) for bundle in bundles]).task
    assert isinstance(equal, MultiLabel)
    assert equal.threshold == 0.3
    asking, _ = members("qa")
    apart = [with_task(bundle, null_score_diff_threshold=float(i)) for i, bundle in enumerate(asking)]
    task = make_ensemble(apart).task
    assert isinstance(task, QuestionAnswering)
    assert task.null_score_diff_threshold is None


def test_what_cannot_be_combined(members: Members, tiny_bert: Path, tmp_path: Path) -> None:
    bundles, _ = members("classification")
    first, second = bundles[:2]
    others = {
        "its task differs from that of": members("multilabel")[0][0],
        "its list of labels differs from that of": with_task(second, labels=("pos", "neg")),
        "its task section differs from that of": with_task(second, window_pooling="max"),
        "its tokens section differs from that of": replace(second, tokens=second.tokens.replace(max_length=16)),
        "is an ensemble itself; name its members instead": make_ensemble(bundles),
    }
    for message, other in others.items():
        with pytest.raises(BundleError, match=message):
            make_ensemble([first, other])
    with pytest.raises(BundleError, match="has no members"):
        make_ensemble([])
    with pytest.raises(BundleError, match='unknown form "mean"; expected average or soup'):
        make_ensemble(bundles, "mean")  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="temprature cannot be tuned for classification"):
        Bundle.average(bundles, {"temprature": 1.0})
    with pytest.raises(BundleError, match="is an ensemble of several models; use one of its members"):
        make_ensemble(bundles).single_model  # noqa: B018
    pretrained = train_member(tiny_bert, tmp_path, "pretraining", 0, "task.sentence_objective=none")
    with pytest.raises(BundleError, match="predictions of pretraining models cannot be averaged"):
        make_ensemble([pretrained, pretrained])


def test_adapters_have_no_mean_unless_they_are_merged(tiny_bert: Path, tmp_path: Path) -> None:
    apart = [
        train_member(tiny_bert, tmp_path, "classification", seed, "model.lora={rank: 4, merge: false}")
        for seed in range(2)
    ]
    assert any(True for _ in adapter_parameters(apart[0].single_model.encoder))
    with pytest.raises(BundleError, match=r"has adapters.*model.lora.merge=true, or average the predictions"):
        make_ensemble(apart, "soup")
    assert make_ensemble(apart).predict("a good film")[0].label in ("pos", "neg")


def test_models_of_other_shapes_have_no_soup(members: Members, tmp_path: Path) -> None:
    from tiny import make_tiny_bert

    bundles, rows = members("classification")
    wider = make_tiny_bert(tmp_path / "wider", intermediate_size=48)
    other = train_member(wider, tmp_path / "runs", "classification", 0)
    with pytest.raises(BundleError, match="its weights have other names or shapes than those of"):
        make_ensemble([bundles[0], other], "soup")
    assert len(make_ensemble([bundles[0], other]).compute_outputs(rows)[0]) == len(rows)


@pytest.fixture
def saved(members: Members, tmp_path: Path) -> Path:
    return make_ensemble(members("classification")[0]).save(tmp_path / "ensemble")


def test_a_damaged_ensemble_is_refused_in_one_sentence(saved: Path) -> None:
    file = saved / "ensemble.json"
    contents = json.loads(file.read_text())
    for change, message in (
        ({"members": []}, r"ensemble\.json: damaged \(members: "),
        ({"members": ["../ensemble/members/0"]}, r'"\.\./ensemble/members/0" must be a path inside the directory'),
        ({"members": [str(saved / "members" / "0")]}, "must be a path inside the directory of the file"),
        ({"members": ["members/7"]}, r"members/7: is missing or incomplete, but .*ensemble\.json lists it"),
        ({"format": 2}, r"ensemble\.json: has format 2, but this version reads 1"),
        ({"code": "import os"}, r"ensemble\.json: damaged \(code: "),
        ({"tuned": {"labels": ["a", "b"]}}, "labels cannot be tuned for classification"),
        ({"tuned": {"temperature": -1}}, r"ensemble: tuned: .*temperature must be a number above 0"),
    ):
        file.write_text(json.dumps({**contents, **change}))
        with pytest.raises(BundleError, match=message):
            Bundle.load(saved)
    file.write_text("no json")
    with pytest.raises(BundleError, match=r"ensemble\.json: damaged"):
        Bundle.load(saved)
    file.write_text(json.dumps(contents))
    (saved / "members" / "1" / "config.json").unlink()
    with pytest.raises(BundleError, match="members/1: is missing or incomplete"):
        Bundle.load(saved)


def test_a_damaged_member_is_named(saved: Path) -> None:
    weights = saved / "members" / "2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(WeightsError, match="members/2"):
        Bundle.load(saved)


def test_an_ensemble_is_no_encoder(saved: Path) -> None:
    with pytest.raises(WeightsError, match=r"is an ensemble; name one of its members, listed in ensemble\.json"):
        open_pretrained(saved)


def test_probabilities_decide_too() -> None:
    average = scored("average", 0.9)
    for soup_loss, form in ((0.52, "soup"), (0.53, "average")):
        soup = scored("soup", 0.9).model_copy(update={"losses": {"dev": {"log_loss": soup_loss}}})
        chosen = choose_form(
            "auto", "accuracy", "dev", soup, average.model_copy(update={"losses": {"dev": {"log_loss": 0.5}}})
        )
        assert chosen[0] == form
    assert chosen[1] == "the soup is worse on dev (log_loss of soup and average: 0.5300 and 0.5000)"


def test_equal_weights_to_start_from(tiny_bert: Path, tmp_path: Path) -> None:
    runs = [
        train_member(tiny_bert, tmp_path, "classification", seed, *pairs, "train.learning_rate=1e-12")
        for seed, pairs in ((0, ()), (1, ("model.init_seed=0",)), (2, ()))
    ]
    first, equal, other = (run.single_model.head.output.weight for run in runs)
    torch.testing.assert_close(first, equal, rtol=0, atol=1e-8)
    assert not torch.allclose(first, other, rtol=0, atol=1e-3)


def scored(name: str, value: float, metric: str = "accuracy") -> ScoredModel:
    return ScoredModel(name=name, metrics={"dev": {metric: value}}, intervals={})


@pytest.mark.parametrize(
    ("metric", "soup", "average", "form"),
    [
        ("accuracy", 0.896, 0.9, "soup"),
        ("accuracy", 0.894, 0.9, "average"),
        ("answer_f1", 79.6, 80.0, "soup"),
        ("answer_f1", 79.4, 80.0, "average"),
        ("mse", 2.008, 2.0, "soup"),
        ("mse", 2.02, 2.0, "average"),
        ("mse", 1.0, 2.0, "soup"),
    ],
)
def test_the_soup_is_chosen_where_it_is_as_good(metric: str, soup: float, average: float, form: str) -> None:
    chosen = choose_form("auto", metric, "dev", scored("soup", soup, metric), scored("average", average, metric))
    assert chosen[0] == form
    assert metric in chosen[1]
    assert choose_form("average", metric, "dev", scored("soup", soup, metric), scored("average", average, metric)) == (
        "average",
        "as requested",
    )
    assert choose_form("auto", metric, "dev", None, scored("average", average, metric))[0] == "average"
