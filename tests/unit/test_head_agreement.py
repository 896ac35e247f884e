"""A config.json that contradicts itself, the head of the weights, or the recipe is refused with both values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from bertwright.errors import WeightsError
from bertwright.run.bundle import Bundle
from bertwright.tools.model_summary import summarize
from tiny import TINY


def save(base: Path, folder: Path, model_class: Any = BertForSequenceClassification, **labels: Any) -> Path:
    shutil.copytree(base, folder)
    model_class(BertConfig(**TINY, **labels)).save_pretrained(folder)
    return folder


def change(folder: Path, **values: Any) -> Path:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "remove"}))
    return folder


@pytest.mark.parametrize(
    ("n_outputs", "values", "message"),
    [
        (1, {"problem_type": "single_label_classification"}, "single_label_classification with 1 label, whose probab"),
        (3, {"problem_type": "regression"}, "problem_type is regression with 3 labels, but bertwright predicts one"),
        (3, {"problem_type": "ranking"}, "problem_type is 'ranking'; expected single_label_classification, "),
        (3, {"id2label": {"0": "a", "1": "b"}}, r"id2label has 2 labels, but classifier.weight in .* has 3 rows"),
        (3, {"id2label": {"0": "a"}}, r"id2label has 1 label, but classifier.weight in .* has 3 rows"),
        (3, {"num_labels": 2}, "num_labels is 2, but id2label has 3 labels; correct one"),
        (
            3,
            {"num_labels": 2, "id2label": "remove"},
            r"num_labels is 2, but classifier.weight in .* has 3 rows",
        ),
        (3, {"id2label": "remove"}, r"names no labels, which means 2, but classifier.weight in .* has 3 rows"),
    ],
)
def test_contradictions(tiny_bert: Path, tmp_path: Path, n_outputs: int, values: dict[str, Any], message: str) -> None:
    folder = change(save(tiny_bert, tmp_path / "model", num_labels=n_outputs), **values)
    for opened in (Bundle.load, summarize):
        with pytest.raises(WeightsError, match=f"config.json: .*{message}" if "names no" not in message else message):
            opened(folder)


def test_heads_of_other_kinds(tiny_bert: Path, tmp_path: Path) -> None:
    tags = save(tiny_bert, tmp_path / "tags", BertForTokenClassification, num_labels=5)
    with pytest.raises(WeightsError, match=r"id2label has 2 labels, but classifier.weight in .* has 5 rows"):
        Bundle.load(change(tags, id2label={"0": "O", "1": "B-PER"}))
    answers = save(tiny_bert, tmp_path / "answers", BertForQuestionAnswering, num_labels=3)
    with pytest.raises(WeightsError, match=r"qa_outputs.weight in .* has 3 rows, but question answering has 2 outputs"):
        Bundle.load(answers)


@pytest.mark.parametrize(
    ("n_outputs", "values", "kind"),
    [
        (1, {}, "regression"),
        (1, {"problem_type": "multi_label_classification"}, "multilabel"),
        (2, {"id2label": "remove", "label2id": "remove"}, "classification"),
        (4, {"problem_type": "multi_label_classification"}, "multilabel"),
        (4, {"num_labels": 4}, "classification"),
    ],
)
def test_what_agrees_opens(tiny_bert: Path, tmp_path: Path, n_outputs: int, values: dict[str, Any], kind: str) -> None:
    folder = change(save(tiny_bert, tmp_path / "model", num_labels=n_outputs), **values)
    assert Bundle.load(folder).task.kind == kind


def test_a_head_of_two_layers(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "roberta"
    shutil.copytree(tiny_bert, folder)
    RobertaForSequenceClassification(RobertaConfig(**TINY, num_labels=3, pad_token_id=0)).save_pretrained(folder)
    with pytest.raises(WeightsError, match=r"id2label has 2 labels, but classifier.out_proj.weight in .* has 3 rows"):
        Bundle.load(change(folder, id2label={"0": "a", "1": "b"}))


def test_a_recipe_that_disagrees(tiny_bert: Path, tmp_path: Path) -> None:
    from bertwright import Recipe, fine_tune

    rows = [("a good film", "pos"), ("a bad film", "neg")] * 4
    settings = {"length": "1 step", "precision": "fp32"}
    recipe = Recipe(model={"base": str(tiny_bert)}, train=settings, tokens={"max_length": 16})
    fine_tune(recipe, tmp_path / "run", data={"train": rows}, quiet=True)
    assert Bundle.load(tmp_path / "run").labels == ("neg", "pos")
    change(tmp_path / "run", problem_type="multi_label_classification")
    with pytest.raises(WeightsError, match=r"problem_type is multi_label_classification, but task.kind in recipe.yaml"):
        Bundle.load(tmp_path / "run")
