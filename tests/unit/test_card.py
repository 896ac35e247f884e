"""The model card: the Hub reads it, people can run it, and it gives away nothing of the machine."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from bertwright.run.model_card import model_card, read_front_matter
from bertwright.run.report import Report
from bertwright.tasks.classification import Classification, MultiLabel
from bertwright.tasks.regression import Regression
from bertwright.tasks.spec import Task

LABELS = ("negative", "positive")
NOTHING: tuple[str | None, list[str]] = (None, [])


@pytest.fixture
def report() -> Report:
    return Report(
        metrics={"dev": {"accuracy": 0.8833, "f1_macro": 0.88, "matthews": math.nan}},
        intervals={"dev": {"accuracy": (0.862, 0.904), "f1_macro": (0.86, 0.9), "matthews": (math.nan, math.nan)}},
        baseline={"dev": {"accuracy": 0.5092, "f1_macro": 0.337}},
        per_class={
            "dev": {
                "negative": {"precision": 0.9, "recall": 0.85, "f1": 0.87, "support": 428, "predicted": 410},
                "positive": {"precision": 0.86, "recall": 0.91, "f1": 0.89, "support": 444, "predicted": 462},
            }
        },
        speed={"train_seconds": 411.0, "train_examples_per_second": 163.9},
        data={
            "train": {"rows": 67349, "tokens": 896_000, "truncated_rows": 3, "fingerprint": "0123456789abcdef"},
            "dev": {"rows": 872},
        },
        environment={"device": "cpu", "precision": "bf16", "python": "3.11.7", "torch": "2.13.0", "threads": 2},
        notes=["3 training rows were truncated."],
    )


@pytest.fixture
def recipe() -> dict[str, Any]:
    return {
        "task": {"kind": "classification", "labels": list(LABELS)},
        "data": {"path": "/home/somebody/secret/SST-2", "format": "sst2", "limit": None},
        "model": {"base": "/home/somebody/secret/MiniLM", "freeze": "nothing"},
        "tokens": {"max_length": 16, "truncation": "longest_first"},
        "train": {"length": "1 epoch", "learning_rate": 5e-5, "threads": None},
        "seed": 42,
    }


def card(report: Report | dict[str, Any], recipe: dict[str, Any], **changes: Any) -> str:
    settings: dict[str, Any] = {
        "name": "/home/somebody/secret/my-model",
        "base": "/home/somebody/secret/MiniLM",
        "task": Classification(labels=LABELS),
    }
    return model_card(report, recipe, **settings | changes)


def test_the_hub_reads_it(report: Report, recipe: dict[str, Any]) -> None:
    from huggingface_hub import ModelCard

    parsed = ModelCard(card(report, recipe, base="google-bert/bert-base-uncased"))
    data = parsed.data
    assert data.base_model == "google-bert/bert-base-uncased"
    assert (data.pipeline_tag, data.library_name) == ("text-classification", "transformers")
    assert "bertwright" in data.tags
    assert data.metrics == ["accuracy", "f1", "matthews_correlation"]
    assert data.license is None
    assert data.model_name == "my-model"
    found = [
        (e.dataset_type, e.dataset_config, e.dataset_split, e.metric_type, e.metric_value) for e in data.eval_results
    ]
    assert found == [("glue", "sst2", "dev", "accuracy", 0.8833), ("glue", "sst2", "dev", "f1", 0.88)]


def test_licence_and_language_stand_there_only_if_given(report: Report, recipe: dict[str, Any]) -> None:
    plain = card(report, recipe)
    assert not re.search("^(license|language|base_model):", plain, re.MULTILINE)
    given = card(report, recipe, license_="apache-2.0", language=("en", "de"))
    assert "\nlicense: apache-2.0\n" in given
    assert "\nlanguage:\n- en\n- de\n" in given


def test_no_path_of_the_machine_is_given_away(report: Report, recipe: dict[str, Any]) -> None:
    text = card(report, recipe)
    assert "somebody" not in text
    assert "secret" not in text
    assert (
        "This model classifies a text, or a pair of texts, into one of 2 labels. It was fine-tuned from `MiniLM` with "
        in text
    )
    assert "Data: path: `SST-2`." in text


def test_figures_settings_and_limits_are_there(report: Report, recipe: dict[str, Any]) -> None:
    text = card(report.model_dump(), recipe)
    for line in (
        "| accuracy | 0.8833 | 0.8620 … 0.9040 | 0.5092 |",
        "| matthews | – | – | – |",
        "| negative | 0.900 | 0.850 | 0.870 | 428 |",
        "| train | 67,349 | 896,000 | 3 | `0123456789ab` |",
        "| dev | 872 | – | – | – |",
        "| base model | `MiniLM` |",
        "| epochs or steps | 1 epoch |",
        "| learning rate | 5e-5 |",
        "| frozen layers | nothing |",
        "| maximum sequence length | 16 tokens |",
        "| truncation | longest first |",
        "| random seed | 42 |",
        "`recipe.yaml` lists all settings.",
        "Training took 6 min 51 s at 164 examples/s.",
        "- The metrics were computed on 872 examples of the dev split; results on other kinds of texts may be worse.",
        "- On dev, `negative` has the lowest F1 of all labels: 0.870 on 428 examples.",
        "- Texts longer than 16 tokens are truncated.",
        "- 3 training rows were truncated.",
    ):
        assert line in text.splitlines(), line
    assert "None" not in text
    assert "learning_rate" not in text
    assert "not clearly better" not in text


def test_a_model_no_better_than_the_baseline_says_so(report: Report, recipe: dict[str, Any]) -> None:
    weak = report.model_copy(update={"baseline": {"dev": {"accuracy": 0.87}}})
    assert "On dev, accuracy is not clearly better than the majority-class baseline." in card(weak, recipe)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"train": "hub:nyu-mll/glue/sst2:train", "dev": "hub:nyu-mll/glue/sst2:validation"},
            ("nyu-mll/glue/sst2", None),
        ),
        ({"train": "/data/x/reviews.csv"}, ("reviews", None)),
        ({}, ("unknown", None)),
        ({"format": "mrpc", "path": "x/MRPC"}, ("glue", "mrpc")),
    ],
)
def test_data_sets_are_named(report: Report, data: dict[str, str], expected: tuple[str, str | None]) -> None:
    from huggingface_hub import ModelCard

    result = ModelCard(card(report, {"data": data})).data.eval_results[0]
    assert (result.dataset_type, result.dataset_config) == expected


def test_settings_are_shown_in_words(report: Report, recipe: dict[str, Any]) -> None:
    recipe["train"] |= {"warmup": 0.06, "schedule": [{"kind": "linear", "steps": "10 steps"}], "sampling": "all"}
    recipe["model"] |= {"freeze": 2, "lora": {"rank": 8, "alpha": 16.0, "merge": True}, "reinit_layers": 0}
    recipe["task"] |= {"class_weights": {"a|b": 2.0}, "label_smoothing": 0.1}
    lines = card(report, recipe).splitlines()
    for line in (
        "| warm-up | 6 % of the steps |",
        "| learning rate schedule | linear for 10 steps |",
        "| frozen layers | embeddings and the first 2 layers |",
        "| LoRA | rank 8, alpha 16 |",
        "| label smoothing | 0.1 |",
    ):
        assert line in lines, line
    (weights,) = (line for line in lines if line.startswith("| class weights |"))
    assert len(re.findall(r"(?<!\\)\|", weights)) == 3
    assert not any(line.startswith(("| sampling", "| reinit")) for line in lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: mit\nlanguage: no\n---\n# A model\n", ("mit", ["no"])),
        ("---\nlanguage:\n- en\n- zh-hans\n---\n", (None, ["en", "zh-hans"])),
        ("---\nlanguage: [de]\nlicense: 'x\ny: z'\n---\n", (None, ["de"])),
        ("---\nlicense: {a: b}\nlanguage: [[en]]\n---\n", NOTHING),
        ("---\nlicense: [\n---\n", NOTHING),
        ("---\n- license\n---\n", NOTHING),
        ("---\nlicense: mit\n", NOTHING),
        ("# A model\n\nlicense: mit\n", NOTHING),
        ("---\nlicense: " + "[" * 5000 + "\n---\n", NOTHING),
        ("", NOTHING),
        (None, NOTHING),
    ],
)
def test_license_and_language_come_from_the_card_of_the_base_model(
    text: str | None, expected: tuple[str | None, list[str]], tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert read_front_matter(tmp_path) == expected


def test_a_card_that_is_not_utf_8_names_no_license(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\n---\n\xff")
    assert read_front_matter(tmp_path) == NOTHING


def test_a_bare_run_makes_a_bare_card() -> None:
    text = card(Report(), {}, name="/")
    assert "# model" in text
    assert "The model was not evaluated." in text
    assert "The report does not describe the data." in text
    assert "The report does not contain the settings." in text
    assert "model-index" not in text


def test_labels_cannot_break_the_tables(report: Report, recipe: dict[str, Any]) -> None:
    rows = {"a|b": report.per_class["dev"]["negative"], "c\nd": report.per_class["dev"]["positive"]}
    text = card(report.model_copy(update={"per_class": {"dev": rows}}), recipe, task=Classification(labels=tuple(rows)))
    assert "| a&#124;b | 0.900" in text
    assert "| c&#92;nd | 0.860" in text


@pytest.mark.parametrize(
    ("task", "pair"), [(Classification(labels=LABELS), False), (MultiLabel(labels=LABELS), True), (Regression(), True)]
)
def test_the_code_for_transformers_runs(
    report: Report,
    recipe: dict[str, Any],
    task: Task,
    pair: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "text", "first", "second"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    folder = tmp_path / "my-model"
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=16, id2label=dict(enumerate(task.label_names)) or {0: "value"},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(folder)
    text = card(report, recipe, task=task, pair=pair)
    found = re.search("```python\n(.*?)```", text, re.DOTALL)
    assert found
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(found[1], {})
    printed = capsys.readouterr().out.strip().splitlines()[-1]
    expected = {"classification": r"(negative|positive) tensor\(\[", "multilabel": r"\[.*\]", "regression": r"-?0\.\d+"}
    assert re.match(expected[task.kind], printed), printed
    assert ('bertwright predict my-model "a text"' + (' --pair "another text"' if pair else "") + "\n") in text
