"""The Hugging Face Trainer as peer on small data; every kind of task is prepared as in its example scripts.

The trained model is saved, so that small_data.py evaluates both contestants with the same code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hf
import inputs
import small_tasks
import torch
import transformers

HEADS = {"regression": "Sequence", "multilabel": "Sequence", "classification": "Sequence", "tagging": "Token"}
IGNORED = -100
"""The label of a token that does not count in the loss."""


class PeerSetting(NamedTuple):
    """Arguments of the Trainer; the others are those of run_glue.py and of TrainingArguments."""

    batch_size: int
    learning_rate: float
    epochs: int = 3


SETTINGS = {
    "hf-run-glue": PeerSetting(32, 2e-5),
    "hf-defaults": PeerSetting(8, 5e-5),
}
"""The command in the README of run_glue.py, and the defaults of TrainingArguments."""


def train(task: small_tasks.SmallTask, file: Path, model: Path, setting: PeerSetting, seed: int, out: Path) -> None:
    """Train on a file of :func:`small_tasks.write` and save model and tokenizer.

    Batches are padded to their longest sequence and computed in bf16: faster than the scripts' defaults, with the same
    updates.

    Args:
        task: kind and maximum length.
        file: the training rows.
        model: the encoder.
        setting: of the Trainer.
        seed: of the head, the order and dropout.
        out: the directory of the trained model.
    """
    fast = hf.Setting(bf16=True)
    hf.prepare_process(fast, seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    if task.kind == "qa":
        import hf_squad

        rows, names = hf_squad.features(tokenizer, inputs.questions(file), max_length=task.max_length), []
        rows = [{key: value for key, value in row.items() if key != "length"} for row in rows]
        network = transformers.AutoModelForQuestionAnswering.from_pretrained(model, dtype=torch.float32)
    else:
        rows, names = _features(task, file, tokenizer)
        settings: dict[str, Any] = {"num_labels": len(names)}
        if names != ["label"]:
            settings = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
        if task.kind == "multilabel":
            settings["problem_type"] = "multi_label_classification"
        head = getattr(transformers, f"AutoModelFor{HEADS[task.kind]}Classification")
        network = head.from_pretrained(model, dtype=torch.float32, **settings)
    is_tagging = task.kind == "tagging"
    collate = transformers.DataCollatorForTokenClassification if is_tagging else transformers.DataCollatorWithPadding
    with tempfile.TemporaryDirectory() as folder:
        arguments = hf.training_arguments(
            folder,
            fast,
            seed,
            num_train_epochs=setting.epochs,
            per_device_train_batch_size=setting.batch_size,
            learning_rate=setting.learning_rate,
        )
        trainer = transformers.Trainer(
            model=network, args=arguments, train_dataset=rows, data_collator=collate(tokenizer)
        )
        trainer.train()
    network.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _features(task: small_tasks.SmallTask, file: Path, tokenizer: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Tokenized rows with labels, and the names of the labels."""
    limit = {"truncation": True, "max_length": task.max_length}
    if task.kind == "tagging":
        sentences = list(_sentences(file))
        names = sorted({tag for _, tags in sentences for tag in tags}, key=lambda tag: (tag != "O", tag))
        rows = []
        for words, tags in sentences:
            encoded = tokenizer(words, is_split_into_words=True, **limit)
            owners = encoded.word_ids()
            firsts = [
                owner if owner != before else None for before, owner in zip([None, *owners], owners, strict=False)
            ]
            labels = [IGNORED if owner is None else names.index(tags[owner]) for owner in firsts]
            rows.append({**encoded, "labels": labels})
        return rows, names
    texts, targets, columns = small_tasks.read_table(file)
    encoded = tokenizer(
        [text[0] for text in texts], *([[text[1] for text in texts]] if len(texts[0]) > 1 else []), **limit
    )
    if task.kind == "classification":
        names = sorted({target[0] for target in targets})
        labels: list[Any] = [names.index(target[0]) for target in targets]
    else:
        names = columns
        values = [[float(value) for value in target] for target in targets]
        labels = values if task.kind == "multilabel" else [value[0] for value in values]
    keys = list(encoded)
    return [{**{key: encoded[key][i] for key in keys}, "labels": label} for i, label in enumerate(labels)], names


def _sentences(file: Path) -> Iterator[tuple[list[str], list[str]]]:
    for block in file.read_text(encoding="utf-8").split("\n\n"):
        pairs = [line.split() for line in block.splitlines()]
        yield [word for word, _ in pairs], [tag for _, tag in pairs]
