"""Runs of multiple choice: what is learned, heads of every kind, and steps that do not depend on how they are split."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from bertwright.data.example import Example
from bertwright.errors import DataError, RecipeError
from bertwright.nn.batch import Batch
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.heads import ClassificationHead
from bertwright.nn.layout import Layout
from bertwright.nn.model import Model
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from bertwright.tasks.multiple_choice import MultipleChoice
from bertwright.tokenization.batching import collate, make_batcher
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer

GOOD, BAD = ("great", "fun", "good"), ("awful", "dull", "bad")
CONFIG = EncoderConfig(60, 16, 2, 2, 24, 40, dropout=0.0, attention_dropout=0.0)


def rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of two to four choices, of which the one with a good word is right, at any position."""
    rng, made = random.Random(seed), []
    for _ in range(n):
        count = rng.randint(2, 4)
        right = rng.randrange(count)
        choices = [f"it was {rng.choice(GOOD if i == right else BAD)}" for i in range(count)]
        context = " ".join(rng.choices(["the", "film", "plot", "is", "a"], k=rng.randint(1, 6)))
        made.append({"context": context, "question": "is it", "choices": choices, "label": right})
    return made


@pytest.fixture
def choosing(tiny_bert: Path) -> Callable[..., Recipe]:
    def make(*pairs: str) -> Recipe:
        return load_recipe(
            None,
            [
                f"model.base={tiny_bert}",
                "task.kind=multiple_choice",
                "tokens.max_length=24",
                "train.batch_size=8",
                "train.learning_rate=1e-2",
                "train.length=2 epochs",
                "train.precision=fp32",
                "train.threads=1",
                *pairs,
            ],
        )

    return make


def encodings_of(group_sizes: list[int], seed: int = 0) -> Encodings:
    """Random sequences in groups, with one right choice each."""
    rng = np.random.default_rng(seed)
    n = sum(group_sizes)
    lengths = rng.integers(3, 20, n)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    starts = np.cumsum(group_sizes) - group_sizes
    targets = np.zeros(n, np.int64)
    targets[starts + rng.integers(0, group_sizes)] = 1
    ids = rng.integers(1, 60, bounds[-1]).astype(np.int32)
    examples = np.repeat(np.arange(len(group_sizes)), group_sizes)
    return Encodings(ids, np.zeros(len(ids), np.uint8), bounds, examples, np.zeros(n, np.int32), targets, grouped=True)


def make_model() -> Model:
    torch.manual_seed(0)
    return Model(Encoder(CONFIG), ClassificationHead(CONFIG.width, 1)).eval()


def gradients(pieces: list[Batch]) -> tuple[float, dict[str, torch.Tensor]]:
    model, total, count = make_model(), 0.0, 0.0
    for piece in pieces:
        loss = MultipleChoice().loss(model(piece), piece)
        loss.total.backward()
        total, count = total + float(loss.total.detach()), count + float(loss.count)
    return total / count, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_micro_batches_give_the_gradient_of_the_whole_batch() -> None:
    encodings = encodings_of([2, 4, 3, 2, 5, 2, 3, 4])
    step = np.random.default_rng(1).permutation(8)
    whole = make_batcher(encodings, 10_000, 0)(step, 0)
    split = [
        piece
        for part in (step[:2], step[2:4], step[4:6], step[6:])
        for piece in make_batcher(encodings, 10_000, 0)(part, 0)
    ]
    by_tokens = make_batcher(encodings, 80, 0)(step, 0)
    assert (len(whole), len(split)) == (1, 4)
    assert len(by_tokens) > 3
    loss, expected = gradients(whole)
    for pieces in (split, by_tokens):
        other, found = gradients(pieces)
        assert other == pytest.approx(loss, rel=1e-5)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_the_loss_is_the_cross_entropy_of_each_example_alone() -> None:
    encodings = encodings_of([2, 5, 3])
    batch = collate(encodings, np.arange(len(encodings)))
    scores = torch.randn(len(encodings), 1, requires_grad=True)
    loss = MultipleChoice().loss(scores, batch)
    assert batch.targets is not None
    groups = zip(scores[:, 0].split([2, 5, 3]), batch.targets.split([2, 5, 3]), strict=True)
    expected = sum(functional.cross_entropy(group[None], target.argmax()[None]) for group, target in groups)
    torch.testing.assert_close(loss.total, expected)
    assert loss.count == 3
    (mine,) = torch.autograd.grad(loss.total, scores, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, scores)
    torch.testing.assert_close(mine, theirs)
    with pytest.raises(DataError, match="does not group the choices"):
        MultipleChoice().loss(scores, replace(batch, group_sizes=None))


def test_packed_and_padded_batches_have_the_same_loss() -> None:
    encodings = encodings_of([2, 4, 3])
    packed = collate(encodings, np.arange(len(encodings)))
    features = packed.to_features(width=24)
    padded = Batch(
        features["input_ids"],
        features["token_type_ids"],
        Layout.padded(packed.layout.lengths, 24),
        packed.targets,
        packed.indices,
        group_sizes=packed.group_sizes,
    )
    model = make_model()
    torch.testing.assert_close(model(packed), model(padded), rtol=1e-4, atol=1e-5)
    losses = [MultipleChoice().loss(model(batch), batch).total for batch in (packed, padded)]
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)


def test_it_learns_and_beats_the_baseline(choosing: Callable[..., Recipe], tmp_path: Path) -> None:
    bundle = train(choosing("train.length=6 epochs"), tmp_path / "run", data={"train": rows(96), "dev": rows(48, 1)})
    report = bundle.report
    assert report is not None
    accuracy, low = report.metrics["dev"]["accuracy"], report.intervals["dev"]["accuracy"][0]
    assert accuracy > 0.9
    assert low > report.baseline["dev"]["accuracy"] + 0.2
    assert report.data["train"]["choices"] == sum(len(row["choices"]) for row in rows(96))
    again = Bundle.load(tmp_path / "run")
    assert again.recipe is not None
    assert again.recipe.tokens.truncation == "only_first"
    assert again.evaluate(rows(48, 1)).metrics == pytest.approx(report.metrics["dev"])
    question = {"context": "the film", "question": "is it", "choices": ["it was bad", "it was awful", "it was fun"]}
    (prediction,) = again.predict([question])
    assert (prediction.choice, prediction.label) == (2, "it was fun")
    assert list(prediction.probabilities) == ["0", "1", "2"]
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0)
    columns = again.task.columns([prediction])
    assert (columns["choice"], columns["label"]) == ([2], ["it was fun"])
    assert len(columns["probabilities"][0]) == 3


@pytest.mark.parametrize(
    "settings",
    [
        ("model.head={pooling: mean}",),
        ("model.head={layers: [{dense: 16}, relu], from_layers: weighted}", "model.freeze=encoder"),
        ("model.freeze=encoder",),
        ("model.lora={rank: 4}",),
        ("train.max_tokens=60", "train.sampling=balanced"),
        ("train.precision=bf16",),
    ],
    ids=lambda settings: " ".join(settings),
)
def test_heads_adapters_and_frozen_features(
    settings: tuple[str, ...], choosing: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = choosing(*settings, "train.length=3 epochs")
    bundle = train(recipe, tmp_path / "run", data={"train": rows(48), "dev": rows(24, 1)})
    assert bundle.report is not None
    again = Bundle.load(tmp_path / "run").evaluate(rows(24, 1))
    assert again.metrics == pytest.approx(bundle.report.metrics["dev"], abs=0.05 if "bf16" in settings[0] else 1e-6)


def test_frozen_features_give_the_losses_of_the_encoder(
    choosing: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {}
    for mode in (str(tmp_path / "cache"), "off"):
        monkeypatch.setenv("BERTWRIGHT_CACHE", mode)
        events: list[Any] = []
        recipe = choosing("model.freeze=encoder")
        train(
            recipe,
            tmp_path / f"run-{len(losses)}",
            data={"train": rows(32), "dev": rows(8, 1)},
            listeners=[events.append],
        )
        losses[mode] = [event.loss for event in events if type(event).__name__ == "Step"]
    first, second = losses.values()
    assert first == pytest.approx(second, rel=1e-4)


def test_contexts_alone_are_truncated(tiny_bert: Path) -> None:
    tokenizer = Tokenizer.load(tiny_bert)
    example = Example("0", "the film was very dull " * 10, "is it", "0", choices=("good", "very very very bad"))
    encodings = MultipleChoice().encode([example], tokenizer, TokenSettings(max_length=16))
    assert encodings.lengths.tolist() == [16, 16]
    texts = [tokenizer.backend.decode(encoded.ids.tolist()) for encoded in encodings]
    assert texts[0].endswith("is it good")
    assert texts[1].endswith("is it very very very bad")
    assert encodings.dropped.tolist() == [50 - 10, 50 - 7]
    with pytest.raises(
        DataError, match=r"0: choice 1 with the question has 6 tokens, which leaves no room .* in 9; raise"
    ):
        MultipleChoice().encode([example], tokenizer, TokenSettings(max_length=9))
    cut = MultipleChoice().encode([example], tokenizer, TokenSettings(max_length=9, truncation="head_tail"))
    assert cut.lengths.tolist() == [9, 9]


def test_windows_and_examples_without_choices_are_refused(
    choosing: Callable[..., Recipe], tiny_bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"tokens.truncation: windows cannot be used with multiple_choice"):
        train(choosing("tokens.truncation=windows"), tmp_path / "run", data={"train": rows(8), "dev": rows(4)})
    with pytest.raises(DataError, match="0: has no choices; give rows with a context and choices"):
        MultipleChoice().encode([Example("0", "a text")], Tokenizer.load(tiny_bert))


def test_questions_on_one_context_are_held_out_together(choosing: Callable[..., Recipe], tmp_path: Path) -> None:
    shared = [{**row, "context": f"the film nr {i % 6}"} for i, row in enumerate(rows(36))]
    bundle = train(choosing("train.length=1 epochs"), tmp_path / "run", data={"train": shared})
    assert bundle.report is not None
    assert bundle.report.data["dev"]["rows"] % 6 == 0
