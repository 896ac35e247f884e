"""What the fuzz driver mutates: small valid files, and the command that reads each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzz.mutations import Mutation, mutate_bytes, mutate_json, mutate_yaml
from tiny_data import delimited, json_lines, multi_label, numbers, plain_text, squad, tagged

SMALL = ("train.precision=fp32", "train.threads=1", "tokens.max_length=32", "train.batch_size=8")
TRAIN = (*SMALL, "train.length=2 steps")


@dataclass(frozen=True)
class Models:
    """Directories that commands read: a base model, and trained models for labels, tags and answers; a stopped run."""

    base: Path
    labels: Path
    tags: Path
    answers: Path
    stopped: Path


@dataclass(frozen=True)
class Target:
    """A file to mutate and the command that reads it.

    Args:
        name: of the target, part of the test's name.
        source: returns the unmutated bytes.
        file: name of the mutated file, relative to the folder that the command gets; a path with a directory means a
            copy of that directory of :class:`Models` (``base/config.json``).
        mutate: how.
        command: (folder, models) → the arguments.
        output: name of the file or directory that the command writes, if any; absent or complete afterwards.
        keeps_rows: whether the output must hold every input row that was not damaged.
    """

    name: str
    source: Callable[[Models], bytes]
    file: str
    mutate: Mutation
    command: Callable[[Path, Models], list[object]]
    output: str | None = None
    keeps_rows: bool = False


RECIPE = b"""\
model: {base: BASE, dropout: 0.1, freeze: embeddings}
data: {train: train.csv, text: text, label: label, dev_ratio: 0.2}
task: {kind: classification, label_smoothing: 0.1}
tokens: {max_length: 32}
train: {length: 2 steps, learning_rate: 2.0e-5, batch_size: 8, precision: fp32, threads: 1}
seed: 3
"""


def _train(name: str, *more: str) -> Callable[[Path, Models], list[object]]:
    def command(folder: Path, models: Models) -> list[object]:
        return ["train", "--model", models.base, "--data", folder / name, "--out", folder / "run", *more, *TRAIN]

    return command


def _predict(name: str, output: str, bundle: str = "labels") -> Callable[[Path, Models], list[object]]:
    def command(folder: Path, models: Models) -> list[object]:
        return [
            "predict",
            getattr(models, bundle),
            "--input",
            folder / name,
            "--output",
            folder / output,
            "--threads",
            1,
        ]

    return command


def _of(bundle: str, file: str) -> Callable[[Models], bytes]:
    return lambda models: (getattr(models, bundle) / file).read_bytes()


def _model_files() -> list[Target]:
    targets = []
    for directory, file, mutate in (
        ("base", "config.json", mutate_json),
        ("base", "tokenizer_config.json", mutate_json),
        ("base", "vocab.txt", mutate_bytes),
        ("base", "model.safetensors", mutate_bytes),
        ("labels", "config.json", mutate_json),
        ("labels", "recipe.yaml", mutate_yaml),
        ("labels", "report.json", mutate_json),
        ("labels", "tokenizer.json", mutate_json),
        ("labels", "tokenizer_config.json", mutate_json),
        ("labels", "model.safetensors", mutate_bytes),
        ("tags", "config.json", mutate_json),
        ("answers", "recipe.yaml", mutate_yaml),
    ):
        path = f"{directory}/{file}"
        commands: dict[str, Callable[[Path, Models], list[object]]] = {
            "inspect": lambda folder, models, d=directory: ["inspect", folder / d],  # type: ignore[misc]
        }
        if directory == "base":
            commands["check"] = lambda folder, models: [
                *("check", "--model", folder / "base", "--data", folder / "train.csv", *TRAIN),
            ]
        else:
            words = ["--question", "what is it", "--context", "a film"] if directory == "answers" else ["a good film"]
            commands["predict"] = lambda folder, models, d=directory, w=words: [  # type: ignore[misc]
                *("predict", folder / d, *w, "--threads", 1),
            ]
        for verb, command in commands.items():
            targets.append(Target(f"{verb}:{path}", _of(directory, file), path, mutate, command))
    return targets


def _resume(folder: Path, models: Models) -> list[object]:
    return ["train", "--resume", "--out", folder / "stopped"]


TARGETS: tuple[Target, ...] = (
    Target("train:csv", lambda _: delimited(","), "train.csv", mutate_bytes, _train("train.csv"), "run"),
    Target("train:tsv", lambda _: delimited("\t"), "train.tsv", mutate_bytes, _train("train.tsv"), "run"),
    Target("train:jsonl", lambda _: json_lines(), "train.jsonl", mutate_json, _train("train.jsonl"), "run"),
    Target(
        *("train:multilabel", lambda _: multi_label(), "train.csv", mutate_bytes),
        *(_train("train.csv", "--task", "multilabel", "--label", "good,long"), "run"),
    ),
    Target(
        "train:regression",
        lambda _: numbers(),
        "train.csv",
        mutate_bytes,
        _train("train.csv", "--task", "regression", "--text", "a", "--text-pair", "b", "--label", "score"),
        "run",
    ),
    Target(
        "train:tags", lambda _: tagged(), "train.conll", mutate_bytes, _train("train.conll", "--task", "tagging"), "run"
    ),
    Target("train:squad", lambda _: squad(), "train.json", mutate_json, _train("train.json", "--task", "qa"), "run"),
    Target(
        *(
            "predict:csv",
            lambda _: delimited(","),
            "in.csv",
            mutate_bytes,
            _predict("in.csv", "out.csv"),
            "out.csv",
            True,
        ),
    ),
    Target(
        *("predict:quoted", lambda _: delimited(",", quoted=True), "in.csv", mutate_bytes),
        *(_predict("in.csv", "out.csv"), "out.csv", True),
    ),
    Target(
        *(
            "predict:tsv",
            lambda _: delimited("\t"),
            "in.tsv",
            mutate_bytes,
            _predict("in.tsv", "out.tsv"),
            "out.tsv",
            True,
        ),
    ),
    Target(
        *("predict:jsonl", lambda _: json_lines(), "in.jsonl", mutate_json),
        *(_predict("in.jsonl", "out.jsonl"), "out.jsonl", True),
    ),
    Target(
        *(
            "predict:text",
            lambda _: plain_text(),
            "in.txt",
            mutate_bytes,
            _predict("in.txt", "out.jsonl"),
            "out.jsonl",
            True,
        ),
    ),
    Target(
        *("predict:tags", lambda _: tagged(), "in.conll", mutate_bytes),
        *(_predict("in.conll", "out.conll", "tags"), "out.conll", True),
    ),
    Target(
        *("predict:squad", lambda _: squad(), "in.json", mutate_json),
        *(_predict("in.json", "out.jsonl", "answers"), "out.jsonl"),
    ),
    Target(
        *("evaluate:csv", lambda _: delimited(","), "in.csv", mutate_bytes),
        lambda folder, models: ["evaluate", models.labels, "--data", folder / "in.csv", "--threads", 1],
    ),
    Target(
        *("check:recipe", lambda _: RECIPE, "recipe.yaml", mutate_yaml),
        lambda folder, models: [
            "check",
            folder / "recipe.yaml",
            f"model.base={models.base}",
            f"data.train={folder / 'train.csv'}",
        ],
    ),
    Target(
        *("tokenizer:text", lambda _: plain_text(), "corpus.txt", mutate_bytes),
        lambda folder, _: [
            "tokenizer",
            "train",
            folder / "corpus.txt",
            "--vocab-size",
            80,
            "--out",
            folder / "tokenizer",
        ],
        "tokenizer",
    ),
    Target("resume:events", _of("stopped", "events.jsonl"), "stopped/events.jsonl", mutate_json, _resume),
    Target("resume:recipe", _of("stopped", "recipe.yaml"), "stopped/recipe.yaml", mutate_yaml, _resume),
    Target(
        *("resume:state", _of("stopped", "checkpoint/state.safetensors"), "stopped/checkpoint/state.safetensors"),
        *(mutate_bytes, _resume),
    ),
    *_model_files(),
)
"""Every reader of a foreign file, through the command that users call."""
