"""Explanations of every kind of task and head: completeness, offsets, targets, and what cannot be explained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_ensembles import train_member
from test_same_results import DATA
from torch import Tensor, nn

from bertwright import Bundle, Explanation
from bertwright.attributions import integrated_gradients
from bertwright.attributions.integrated_gradients import integrate
from bertwright.data.example import Example
from bertwright.errors import DataError, MissingDependencyError, RecipeError
from bertwright.tasks.labels import softmax
from bertwright.tokenization.tokenizer import Tokenizer

SETTINGS: dict[str, tuple[str, ...]] = {
    "classification": (),
    "classification frozen": ("model.freeze=encoder",),
    "classification lora": ("model.lora={rank: 2}",),
    "classification head": ("model.head={pooling: mean, layers: [{dense: 8}, tanh]}",),
    "classification scalar mix": ("model.head={from_layers: weighted}",),
    "classification windows": ("tokens.truncation=windows", "tokens.max_length=8", "tokens.stride=2"),
    "classification max windows": (
        *("tokens.truncation=windows", "tokens.max_length=8", "tokens.stride=2", "task.window_pooling=max"),
    ),
    "multilabel": (),
    "regression": (),
    "tagging": (),
    "tagging crf": ("model.head={crf: true}",),
    "qa": (),
    "qa windows": ("tokens.max_length=16", "tokens.stride=4"),
    "multiple_choice": (),
}
Open = Callable[[str], tuple[Bundle, Example]]


@pytest.fixture(scope="module")
def bundle_of(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Open:
    """A tiny trained model of a variant, and a row; made once."""
    made: dict[str, tuple[Bundle, Example]] = {}

    def make(variant: str) -> tuple[Bundle, Example]:
        if variant not in made:
            folder = tmp_path_factory.mktemp("explained")
            bundle = train_member(tiny_bert, folder, variant, 0, *SETTINGS[variant])
            made[variant] = bundle, bundle.read(folder / DATA[variant.partition(" ")[0]][0])[1]
        return made[variant]

    return make


def check_completeness(explanation: Explanation) -> None:
    scale = sum(abs(token.attribution) for token in explanation.tokens)
    difference = explanation.score - explanation.baseline_score
    assert explanation.is_accurate
    assert explanation.total == pytest.approx(difference, abs=0.001 * scale + 1e-5)
    assert explanation.convergence_delta == pytest.approx(explanation.total - difference, abs=1e-6)
    assert sum(word.attribution for word in explanation.words) == pytest.approx(explanation.total, abs=1e-6)
    assert scale > 1e-3


@pytest.mark.parametrize("variant", SETTINGS)
def test_attributions_sum_up_to_the_difference_of_the_scores(variant: str, bundle_of: Open) -> None:
    bundle, example = bundle_of(variant)
    explanation = bundle.explain(example)
    check_completeness(explanation)
    for piece in (*explanation.tokens, *explanation.words):
        text = explanation.texts[piece.text].text
        assert 0 <= piece.start < piece.end <= len(text)
        assert text[piece.start : piece.end] == text[piece.start : piece.end].strip()
    for token in explanation.tokens:
        text = explanation.texts[token.text].text[token.start : token.end]
        assert text.lower() == token.token.removeprefix("##") or token.token == "[UNK]"
    assert explanation.baseline == "[MASK]"


def log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_the_score_is_that_of_the_prediction_and_the_baseline_that_of_masks(bundle_of: Open) -> None:
    bundle, example = bundle_of("classification")
    explanation = bundle.explain(example.text)
    assert explanation.target == bundle.predict(example.text)[0].label
    assert explanation.score == pytest.approx(log_odds(explanation.prediction.probability), abs=1e-4)
    masks = " ".join(["[MASK]"] * len(explanation.tokens))
    of_masks = bundle.predict(masks)[0].probabilities[explanation.target]
    assert explanation.baseline_score == pytest.approx(log_odds(of_masks), abs=1e-4)
    other = next(label for label in bundle.labels if label != explanation.target)
    assert bundle.explain(example.text, target=other).score == pytest.approx(-explanation.score, abs=1e-4)


def test_scores_of_the_other_tasks_are_those_of_their_predictions(bundle_of: Open) -> None:
    bundle, example = bundle_of("regression")
    explanation = bundle.explain(example)
    assert explanation.score == pytest.approx(explanation.prediction.value, abs=1e-4)
    bundle, example = bundle_of("multilabel")
    explanation = bundle.explain(example, target=bundle.labels[1])
    assert explanation.score == pytest.approx(
        log_odds(explanation.prediction.probabilities[bundle.labels[1]]), abs=1e-4
    )
    bundle, example = bundle_of("multiple_choice")
    explanation = bundle.explain(example)
    assert explanation.score == pytest.approx(log_odds(explanation.prediction.probability), abs=1e-4)
    assert [text.name for text in explanation.texts[:3]] == ["context", "choice 0", "choice 1"]
    assert bundle.explain(example, target="1").target == (example.choices or ())[1]
    for variant in ("tagging", "tagging crf"):
        bundle, example = bundle_of(variant)
        explanation = bundle.explain(example, word=1)
        assert explanation.word == (example.words or ())[1]
        assert explanation.target == (explanation.prediction.tags or ())[1]
        if variant == "tagging":
            scores = bundle.scores(bundle.encode([example]))
            first = int(np.flatnonzero(bundle.encode([example]).targets != -100)[1])
            probability = float(softmax(scores)[first, bundle.labels.index(explanation.target)])
            assert explanation.score == pytest.approx(log_odds(probability), abs=1e-4)


def test_an_answer_is_explained_by_its_first_and_last_token(bundle_of: Open) -> None:
    for variant in ("qa", "qa windows"):
        bundle, example = bundle_of(variant)
        example = replace(example, text_pair=" ".join([example.text_pair or ""] * 3), target=None)
        explanation = bundle.explain("  " + example.text, example.text_pair)
        outputs, _ = bundle.compute_outputs([example])
        best = outputs[0]
        answer = explanation.prediction.spans[0]
        if explanation.target != "no answer":
            assert explanation.target == answer.text
            assert explanation.score == pytest.approx(float(best.logits[0].sum()), abs=1e-4)
        assert min(token.start for token in explanation.tokens if token.text == 0) >= 2
        absent = bundle.explain(example, target="")
        assert absent.target == "no answer"
        other = (example.text_pair or "").split()[-1].strip(".")
        assert bundle.explain(example, target=other).target == other
    assert any("windows" in note for note in explanation.notes)


def test_a_token_in_several_windows_gets_the_sum(bundle_of: Open) -> None:
    bundle, _ = bundle_of("classification windows")
    text = "the film is a plot that was very good and it was fun"
    explanation = bundle.explain(text)
    check_completeness(explanation)
    assert len(bundle.encode([Example("0", text)])) > 1
    assert [word.word for word in explanation.words] == text.split()
    assert len({(token.start, token.end) for token in explanation.tokens}) == len(explanation.tokens)
    assert "window" in explanation.notes[0]


def test_truncated_tokens_are_reported(bundle_of: Open) -> None:
    bundle, _ = bundle_of("classification")
    explanation = bundle.explain("good " * 60)
    check_completeness(explanation)
    assert len(explanation.tokens) == 30
    assert explanation.notes == (
        "30 tokens are truncated, so the model does not see them and they have no attribution",
    )


def test_an_ensemble_is_explained_as_one_model(tiny_bert: Path, tmp_path: Path) -> None:
    for variant in ("classification", "tagging crf"):
        (tmp_path / variant).mkdir()
        members = [train_member(tiny_bert, tmp_path / variant, variant, seed, *SETTINGS[variant]) for seed in (0, 1)]
        ensemble = Bundle.average(members)
        example = ensemble.read(tmp_path / variant / DATA[variant.partition(" ")[0]][0])[1]
        explanation = ensemble.explain(example)
        check_completeness(explanation)
        if variant == "classification":
            assert explanation.score == pytest.approx(log_odds(explanation.prediction.probability), abs=1e-4)


def test_the_steps_that_are_chosen_give_the_attributions_of_many_equal_steps(bundle_of: Open) -> None:
    bundle, example = bundle_of("classification")
    automatic, exact, coarse = (bundle.explain(example, steps=steps) for steps in (None, 300, 1))
    assert exact.n_steps == 300
    scale = exact.scale
    for ours, reference in zip(automatic.tokens, exact.tokens, strict=True):
        assert ours.attribution == pytest.approx(reference.attribution, abs=0.005 * scale)
    assert abs(coarse.convergence_delta) > abs(exact.convergence_delta)


def test_segments_are_divided_where_the_gradient_is_steep() -> None:
    x, zero = torch.ones(1, 1), torch.zeros(1, 1)

    def score_of(v: Tensor) -> Tensor:
        return torch.tanh(200 * (v[:, 0, 0] - 0.03)).float()

    integral = integrate(score_of, (x,), (zero,), 8)
    assert integral.is_accurate
    assert float(integral.attributions.sum()) == pytest.approx(2.0, abs=0.02)
    equal = integrate(score_of, (x,), (zero,), 8, n_steps=integral.n_steps // 2)
    assert abs(equal.convergence_delta) > abs(integral.convergence_delta)


def test_an_integral_that_does_not_converge_says_so(bundle_of: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, example = bundle_of("classification")
    monkeypatch.setattr(integrated_gradients, "MAX_STEPS", 1)
    monkeypatch.setattr(integrated_gradients, "TOLERANCE", 1e-9)
    monkeypatch.setattr(integrated_gradients, "ROUNDING", 1e-12)
    explanation = bundle.explain(example)
    assert not explanation.is_accurate
    assert "inaccurate" in explanation.notes[-1]


def test_explaining_changes_neither_the_model_nor_its_predictions(bundle_of: Open) -> None:
    bundle, example = bundle_of("classification")
    before = bundle.predict(example.text)[0]
    needed = [(parameter.requires_grad, parameter.grad) for parameter in bundle.model.parameters()]
    packed = [module._packed for module in bundle.model.modules() if hasattr(module, "_packed")]
    with torch.inference_mode():  # as a server may call it
        bundle.explain(example)
    for parameter, (required, gradient) in zip(bundle.model.parameters(), needed, strict=True):
        assert parameter.requires_grad == required
        assert parameter.grad is gradient
    after = [module._packed for module in bundle.model.modules() if hasattr(module, "_packed")]
    assert all(a is b for a, b in zip(packed, after, strict=True))
    assert bundle.predict(example.text)[0] == before


class Detached(nn.Module):
    """A head whose scores have no gradient with respect to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(24, 2)

    def forward(self, hidden: Tensor, layout: Any) -> Tensor:
        scores: Tensor = self.output(hidden.detach()[layout.starts])
        return scores


def test_a_head_without_gradient_is_refused(bundle_of: Open) -> None:
    bundle, example = bundle_of("classification")
    from bertwright.nn.model import Model

    model = Model(bundle.single_model.encoder, Detached()).eval()
    with pytest.raises(RecipeError, match="no gradient"):
        Bundle(model, bundle.task, bundle.base, bundle.tokens).explain(example)


@pytest.mark.parametrize("text", ["", " \n", "\u200b"])
def test_a_text_without_tokens_is_refused(text: str, bundle_of: Open) -> None:
    bundle, _ = bundle_of("classification")
    with pytest.raises(DataError, match="nothing to explain"):
        bundle.explain(text)


def test_unknown_targets_are_refused(bundle_of: Open) -> None:
    for variant, arguments, message in (
        ("classification", {"target": "god"}, 'there is no label "god"; known'),
        ("classification", {"word": 0}, "only tagging"),
        ("regression", {"target": "1"}, "the model predicts one number"),
        ("tagging", {"word": "elephant"}, 'no word "elephant"'),
        ("tagging", {"target": "X-Y"}, 'no tag "X-Y"'),
        ("qa", {"target": "elephant"}, "does not occur in the context"),
        ("multiple_choice", {"target": "99"}, 'no choice "99"'),
    ):
        bundle, example = bundle_of(variant)
        with pytest.raises(DataError, match=message):
            bundle.explain(example, **arguments)


def test_captum_is_named_if_it_is_missing(bundle_of: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, example = bundle_of("classification")
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'bertwright\[explain\]'"):
        bundle.explain(example)


def test_a_vocabulary_without_mask_has_the_padding_token_as_baseline(
    bundle_of: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, example = bundle_of("classification")
    monkeypatch.setattr(Tokenizer, "mask_id", property(lambda self: None))
    explanation = bundle.explain(example)
    assert explanation.baseline == "[PAD]"
    check_completeness(explanation)


def test_a_pretrained_model_has_nothing_to_explain(tiny_bert: Path, tmp_path: Path) -> None:
    pretrained = train_member(tiny_bert, tmp_path, "pretraining", 0, "task.sentence_objective=none")
    with pytest.raises(DataError, match="pre-trained, so there is no prediction to explain"):
        pretrained.explain("a film")
