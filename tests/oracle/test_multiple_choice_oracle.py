"""Multiple choice beside transformers: equal sequences, logits, loss and gradients, and models in both directions."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_bundle_oracle import FAMILIES as CONFIGS
from test_bundle_oracle import base_of

from bertwright.data.choice_rows import choice_text
from bertwright.data.example import Example
from bertwright.nn.settings import ModelSettings
from bertwright.recipe import load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from bertwright.tasks.multiple_choice import MultipleChoice
from bertwright.tokenization.batching import collate
from bertwright.tokenization.settings import TokenSettings
from bertwright.training.model_building import build_model
from bertwright.weights.families import FAMILIES, Family
from bertwright.weights.loading import export_state
from bertwright.weights.pretrained import open_pretrained
from tiny import TINY

transformers = pytest.importorskip("transformers")

TOKENS = TokenSettings(max_length=40)
WORDS = ["the", "film", "was", "dull", "great", "a", "plot", "it", "very", "fun"]
N_CHOICES = 4


def questions(n: int, seed: int = 0) -> list[Example]:
    """Contexts, some too long, with four choices each; every second one has a question too."""
    rng = random.Random(seed)

    def text(most: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))

    made = []
    for i in range(n):
        choices = tuple(text(4) for _ in range(N_CHOICES))
        made.append(
            Example(str(i), text(90), text(2) if i % 2 else None, str(rng.randrange(N_CHOICES)), choices=choices)
        )
    return made


def features(folder: Path, examples: list[Example]) -> dict[str, Any]:
    """The padded (B, C, T) features of run_swag.py, from transformers' own tokenizer; contexts alone are truncated."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    first = [example.text for example in examples for _ in range(N_CHOICES)]
    second = [choice_text(example.text_pair, choice) for example in examples for choice in example.choices or ()]
    encoded = tokenizer(
        first, second, truncation="only_first", max_length=TOKENS.max_length, padding=True, return_tensors="pt"
    )
    return {name: tensor.view(len(examples), N_CHOICES, -1) for name, tensor in encoded.items()}


def fine_tuned(family: str, folder: Path, dropout: float | None = None) -> Path:
    """A tiny model of the family with a head for multiple choice, as transformers saves it."""
    base_of(family, folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    if dropout is not None:
        for key in (key for key in config.to_dict() if "dropout" in key or key == "attention_probs_dropout_prob"):
            setattr(config, key, dropout)
    torch.manual_seed(1)
    model = getattr(transformers, f"{family}ForMultipleChoice")(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", CONFIGS)
def test_a_model_fine_tuned_elsewhere_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    bundle = replace(Bundle.load(fine_tuned(family, tmp_path)), tokens=TOKENS)
    assert bundle.task == MultipleChoice()
    examples = questions(12)
    encodings = bundle.encode(examples)
    expected = features(tmp_path, examples)
    mask = expected["attention_mask"].view(-1, expected["attention_mask"].shape[-1]).bool()
    ids = expected["input_ids"].view(mask.shape)
    assert [encoded.ids.tolist() for encoded in encodings] == [
        row[keep].tolist() for row, keep in zip(ids, mask, strict=True)
    ]
    assert encodings.dropped.any()
    peer = transformers.AutoModelForMultipleChoice.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        logits = peer(**expected).logits.numpy()
    np.testing.assert_allclose(np.stack(bundle.compute_outputs(examples)[0]), logits, rtol=1e-4, atol=1e-4)
    predictions = bundle.task.decode(bundle.compute_outputs(examples)[0], examples)
    assert [prediction.choice for prediction in predictions] == logits.argmax(1).tolist()
    assert [p.label for p in predictions] == [
        (e.choices or ())[i] for e, i in zip(examples, logits.argmax(1), strict=True)
    ]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("family", CONFIGS)
def test_loss_and_gradients_are_those_of_transformers(family: str, training: bool, tmp_path: Path) -> None:
    base = open_pretrained(fine_tuned(family, tmp_path, dropout=0.0))
    task, examples = MultipleChoice(), questions(6, seed=2)
    model, loading = build_model(ModelSettings(), task, base)
    assert {row.status for row in loading.rows} == {"loaded"}
    encodings = task.encode(examples, base.tokenizer, TOKENS)
    batch = collate(encodings, np.arange(len(encodings)))
    loss = task.loss(model.train(training)(batch), batch)
    (loss.total / loss.count).backward()
    peer = transformers.AutoModelForMultipleChoice.from_pretrained(tmp_path).train(training)
    labels = torch.tensor([int(str(example.target)) for example in examples])
    expected = peer(**features(tmp_path, examples), labels=labels).loss
    expected.backward()
    torch.testing.assert_close(loss.total.detach() / loss.count, expected.detach(), rtol=1e-4, atol=1e-5)
    for parameter in model.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    gradients = export_state(model, base.family, head="multiple_choice")
    theirs = {name: p.grad for name, p in peer.named_parameters()}
    assert gradients.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert gradient is not None
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("family", CONFIGS)
def test_transformers_opens_a_bundle_and_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    base = base_of(family, tmp_path / "base")
    settings = [f"model.base={base}", "task.kind=multiple_choice", "tokens.max_length=40", "train.length=2 steps"]
    recipe = load_recipe(None, [*settings, "train.precision=fp32", "train.learning_rate=1e-2", "train.batch_size=8"])
    examples = questions(20, seed=1)
    train(recipe, tmp_path / "run", data={"train": examples, "dev": examples[:5]})
    peer, info = transformers.AutoModelForMultipleChoice.from_pretrained(tmp_path / "run", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(peer).__name__ == f"{family}ForMultipleChoice"
    with torch.no_grad():
        logits = peer.eval()(**features(tmp_path / "run", examples)).logits.numpy()
    again = Bundle.load(tmp_path / "run")
    np.testing.assert_allclose(np.stack(again.compute_outputs(examples)[0]), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_names_are_those_of_transformers(family: Family) -> None:
    config = getattr(transformers, f"{family.class_name}Config")(**CONFIGS.get(family.class_name, TINY))
    theirs = getattr(transformers, f"{family.class_name}ForMultipleChoice")(config)
    head = family.heads["multiple_choice"]
    names = {f"{name}.{kind}" for name in head.names.values() for kind in ("weight", "bias")}
    encoder = {name for name in theirs.state_dict() if name.startswith(f"{family.prefix}.")}
    assert theirs.state_dict().keys() - encoder <= names <= theirs.state_dict().keys()
    assert family.head_dropout(config.to_dict(), "multiple_choice") == pytest.approx(
        next(
            module.p for name, module in theirs.named_modules() if name in ("dropout", "sequence_summary.last_dropout")
        )
    )
