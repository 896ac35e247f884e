"""The workloads of speed.py, prediction.py and growth.py: which rows, which model, which task."""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import inputs

TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")
HEADS = {"classification": "SequenceClassification", "tagging": "TokenClassification", "qa": "QuestionAnswering"}
"""The end of the name of transformers' class, by kind of task."""
STRIDE = 128
"""Overlap of the windows of a question, in tokens."""


class Workload(NamedTuple):
    """Rows of one data set for a model of one size.

    Attributes:
        title: in the tables.
        data: name of the rows: "SST-2", "IMDb", "CoNLL-2003" or "SQuAD 1.1".
        file: with the rows, in the folder of the real data sets.
        kind: of the task.
        max_length: maximum tokens per sequence.
        is_base_size: whether the encoder has BERT-base's size and random weights, instead of MiniLM's weights.
        training_rows: number of timed rows in training.
        prediction_rows: number of timed rows in prediction.
        texts: number of texts that are predicted alone.
    """

    title: str
    data: str
    file: str
    kind: str
    max_length: int
    is_base_size: bool
    training_rows: int
    prediction_rows: int
    texts: int


WORKLOADS = {
    "sst2": Workload("MiniLM-L6", "SST-2", "glue/SST-2/train.tsv", "classification", 128, False, 1600, 4000, 200),
    "base": Workload("BERT-base size", "SST-2", "glue/SST-2/train.tsv", "classification", 128, True, 256, 800, 100),
    "imdb": Workload("MiniLM-L6", "IMDb", "imdb/imdb_train.csv", "classification", 256, False, 128, 512, 50),
    "squad": Workload("MiniLM-L6", "SQuAD 1.1", "squad/train-v1.1.json", "qa", 384, False, 96, 384, 50),
    "tagging": Workload("MiniLM-L6", "CoNLL-2003", "conll2003/train.txt", "tagging", 128, False, 1600, 3000, 200),
}


class Row(NamedTuple):
    """A labeled row.

    Attributes:
        text: a text, the words of a sentence, or (question, context).
        target: a label, the tags of the words, or the answers in SQuAD's format.
    """

    text: Any
    target: Any


def read(name: str, data: Path, n: int) -> list[Row]:
    """The first n rows of a workload after a shuffle with a fixed seed.

    Args:
        name: of the workload.
        data: the folder of the real data sets.
        n: number of rows; fewer if the file has fewer.
    """
    workload = WORKLOADS[name]
    file = data / workload.file
    if not file.exists():
        sys.exit(f"{file}: no rows found; set BERTWRIGHT_DATA, or pass the folder of the data sets with --data.")
    if workload.kind == "qa":
        questions = inputs.questions(file)
        rows = [Row((each["question"], each["context"]), each["answers"]) for each in questions]
    else:
        from bertwright.data.reader import read_dataset

        layout = "sst2" if workload.data == "SST-2" else None
        dataset = read_dataset(file, layout=layout, kind=workload.kind, need_target=True)
        rows = [
            Row(row.text if row.words is None else [row.text[a:b] for a, b in row.words], row.target) for row in dataset
        ]
    return random.Random(0).sample(rows, len(rows))[:n]


def make_rows(name: str, n: int) -> list[Row]:
    """Synthetic rows of a workload in the words of the tiny model, for a smoke test."""
    rng, kind = random.Random(name), WORKLOADS[name].kind
    rows = []
    for i in range(n):
        words = rng.choices(inputs.WORDS, k=rng.randint(4, 20))
        if kind == "classification":
            rows.append(Row(" ".join([*words, str(i)]), str(i % 2)))
        elif kind == "tagging":
            rows.append(Row(words, ["B-PER" if word == "film" else "O" for word in words]))
        else:
            answer = {"text": words[0], "answer_start": 0}
            rows.append(Row((f"what is {i}", " ".join(words)), [answer]))
    return rows


def write_rows(name: str, rows: Sequence[Row], path: Path) -> Path:
    """Write rows to a file that bertwright reads: CSV for classification, CoNLL for tagging, SQuAD's JSON for qa.

    Args:
        name: of the workload.
        rows: in their order.
        path: of the file, without a suffix.
    """
    kind = WORKLOADS[name].kind
    path = path.with_suffix({"classification": ".csv", "tagging": ".conll", "qa": ".json"}[kind])
    if kind == "classification":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    elif kind == "tagging":
        sentences = ("".join(f"{word} {tag}\n" for word, tag in zip(*row, strict=True)) for row in rows)
        path.write_text("\n".join(sentences), encoding="utf-8")
    else:
        paragraphs = [
            {"context": row.text[1], "qas": [{"id": str(i), "question": row.text[0], "answers": row.target}]}
            for i, row in enumerate(rows)
        ]
        path.write_text(json.dumps({"data": [{"title": "", "paragraphs": paragraphs}]}), encoding="utf-8")
    return path


def read_written(path: Path) -> Iterator[Row]:
    """The rows of a file of :func:`write_rows` for classification or question answering."""
    if path.suffix == ".json":
        for each in inputs.questions(path):
            yield Row((each["question"], each["context"]), each["answers"])
        return
    with path.open(encoding="utf-8", newline="") as file:
        yield from (Row(row["text"], row["label"]) for row in csv.DictReader(file))


def make_encoder(name: str, base: Path, folder: Path, smoke: bool) -> Path:
    """The directory of a workload's encoder: that of the real model, or one of BERT-base's size with random weights.

    Args:
        name: of the workload.
        base: the model whose weights, or whose vocabulary, it has.
        folder: for the new directory.
        smoke: whether the model should be tiny.
    """
    if smoke or not WORKLOADS[name].is_base_size:
        return base
    if not (folder / "config.json").exists():
        inputs.make_encoder(folder, base, width=768, layers=12)
    return folder


def make_fine_tuned(name: str, encoder: Path, folder: Path) -> Path:
    """Write a model directory with a random head for the task, which transformers and bertwright open alike.

    The head's weights have a standard deviation of 0.2, ten times BERT's, so that scores are as large as those of a
    trained model; equal scores then mean something.
    """
    if (folder / "config.json").exists():
        return folder
    import torch
    import transformers

    inputs.quiet_transformers()
    kind = WORKLOADS[name].kind
    labels = {"classification": inputs.LABELS, "tagging": TAGS, "qa": None}[kind]
    names: dict[str, Any] = {}
    if labels is not None:
        names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    torch.manual_seed(0)
    model = getattr(transformers, f"AutoModelFor{HEADS[kind]}").from_pretrained(encoder, **names)
    head = model.qa_outputs if kind == "qa" else model.classifier
    torch.nn.init.normal_(head.weight, std=0.2)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    return folder
