"""Taggers in transformers and here: the same scores, losses and gradients, whatever the family; F1 as seqeval's."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_bundle_oracle import BYTE_LEVEL, FAMILIES, base_of

from bertwright.data.example import Example
from bertwright.recipe import load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from bertwright.tasks.tagging import Tagging, WordTags
from bertwright.tokenization.batching import collate
from bertwright.weights.loading import export_state

transformers = pytest.importorskip("transformers")
seqeval = pytest.importorskip("seqeval.metrics")

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TEXTS = ["the film was very good !", "dull plot .", "awful", "it is a great great fun film . not bad"]
NO_DROPOUT = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"), 0.0)


def tagger_of(family: str, folder: Path) -> Any:
    """A tiny tagger as transformers saves it, with weights large enough to tell tags apart."""
    base_of(family, folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    config.id2label = dict(enumerate(TAGS))
    config.label2id = {name: i for i, name in enumerate(TAGS)}
    config.update({key: value for key, value in NO_DROPOUT.items() if hasattr(config, key)})
    model = getattr(transformers, f"{family}ForTokenClassification")(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    model.save_pretrained(folder)
    return model


def sentences(labelled: bool = True) -> list[Example]:
    rng = np.random.default_rng(0)
    words = [text.split() for text in TEXTS]
    tags = [tuple(TAGS[i] for i in rng.integers(0, 5, len(row))) for row in words]
    return [Example(str(i), text, target=tags[i] if labelled else None, where=str(i)) for i, text in enumerate(TEXTS)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("training", [False, True])
def test_a_tagger_of_transformers_has_its_scores_loss_and_gradients(
    family: str, training: bool, tmp_path: Path
) -> None:
    theirs = tagger_of(family, tmp_path).train(training)
    bundle = Bundle.load(tmp_path)
    assert isinstance(bundle.task, Tagging)
    assert (bundle.labels, bundle.task.written) == (TAGS, "BIO")
    encodings = bundle.encode(sentences())
    batch = collate(encodings, np.arange(len(encodings)))
    model = bundle.model.train(training)
    scores = model(batch)
    loss = bundle.task.loss(scores, batch)
    (loss.total / loss.count).backward()

    features = batch.to_features(pad_id=bundle.base.config.pad_id)
    mask = features["attention_mask"].bool()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    own = tokenizer(TEXTS, padding=True, return_tensors="pt")
    torch.testing.assert_close(own["input_ids"], features["input_ids"])
    if "token_type_ids" not in own:
        del features["token_type_ids"]
    targets = torch.full(mask.shape, -100)
    targets[mask] = batch.targets
    expected = theirs(**features, labels=targets)
    expected.loss.backward()
    torch.testing.assert_close(scores, expected.logits[mask], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss.total / loss.count, expected.loss)

    for parameter in model.parameters():  # gradients under their names, as they would be saved
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    found = export_state(model, bundle.base.family, head="tagging")
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    for name, gradient in gradients.items():
        if name in found:
            torch.testing.assert_close(found[name], gradient, rtol=2e-3, atol=2e-5, msg=name)
    assert {"classifier.weight", "classifier.bias"} <= found.keys() & gradients.keys()
    assert len(found.keys() & gradients.keys()) > 20


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_opens_a_bundle_and_gives_the_same_scores(family: str, tmp_path: Path) -> None:
    base = base_of(family, tmp_path / "base")
    recipe = load_recipe(
        None, ["task.kind=tagging", f"model.base={base}", "train.length=3 steps", "tokens.max_length=40"]
    )
    rows = [replace(row, id=f"{i}.{row.id}") for i in range(4) for row in sentences()]
    train(recipe, tmp_path / "run", data={"train": rows, "dev": rows})
    shutil.rmtree(base)
    bundle = Bundle.load(tmp_path / "run")
    found = bundle.scores(bundle.encode(sentences(labelled=False)))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run")
    model = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "run").eval()
    features = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**features).logits
    np.testing.assert_allclose(found, logits[features["attention_mask"].bool()], rtol=1e-4, atol=1e-5)
    assert model.config.id2label == dict(enumerate(bundle.labels))
    if family in BYTE_LEVEL:  # of whose words the pipeline knows too little, as it warns
        return
    # the pipeline that the model card names gives the tags that we give
    tagger = transformers.pipeline("token-classification", model=str(tmp_path / "run"), aggregation_strategy="first")
    for text, prediction in zip(TEXTS, bundle.predict(TEXTS), strict=True):
        assert [(span.label, span.start, span.end) for span in prediction.spans] == [
            (span["entity_group"], span["start"], span["end"]) for span in tagger(text) if span["entity_group"] != "O"
        ]


@pytest.mark.parametrize("scheme", ["BIO", "BIOES", "none"])
def test_f1_is_seqeval_s(scheme: str) -> None:
    rng = np.random.default_rng(3)
    letters = {"BIO": "BI", "BIOES": "BIES", "none": ""}[scheme]
    tags = (
        ["O", *(f"{letter}-{kind}" for letter in letters for kind in ("X", "Y", "Z"))] if letters else ["A", "B", "C"]
    )
    task = Tagging(labels=tuple(tags), scheme=scheme, metrics=("span_f1", "span_precision", "token_accuracy"))  # type: ignore[arg-type]
    lengths = rng.integers(1, 12, 60)
    gold = [[tags[i] for i in rng.integers(0, len(tags), n)] for n in lengths]
    said = [[tag if rng.random() < 0.7 else tags[rng.integers(len(tags))] for tag in row] for row in gold]
    rows = [Example(str(i), " ".join("w" * len(row)), target=tuple(row)) for i, row in enumerate(gold)]
    outputs = [WordTags(np.array([tags.index(tag) for tag in row]), np.ones(len(row), np.float32)) for row in said]
    measured = task.evaluate(outputs, rows)
    assert measured.metrics["token_accuracy"] == pytest.approx(seqeval.accuracy_score(gold, said))
    if scheme == "none":
        assert measured.metrics["span_f1"] == pytest.approx(seqeval.accuracy_score(gold, said))
        return
    assert measured.metrics["span_f1"] == pytest.approx(seqeval.f1_score(gold, said))
    assert measured.metrics["span_precision"] == pytest.approx(seqeval.precision_score(gold, said))
    report = seqeval.classification_report(gold, said, output_dict=True, zero_division=0)
    for kind, row in measured.per_class.items():
        assert [row[key] for key in ("precision", "recall", "f1", "support")] == pytest.approx(
            [report[kind][key] for key in ("precision", "recall", "f1-score", "support")]
        )
