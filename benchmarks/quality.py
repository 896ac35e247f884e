"""Accuracy compared with the Hugging Face Trainer: same model, rows, schedule and optimizer.

SST-2, one epoch over the first 10,000 rows, batch 32, 5e-5 with 10 % warm-up and linear decay, AdamW (0.9, 0.999,
1e-6, weight decay 0.01), gradient clipping at 1, bf16; the Trainer has its fastest settings, see hf.py. The metric is
dev accuracy in fp32 of the weights after the last step. Finished runs are saved and not repeated.

    python benchmarks/quality.py                  # ten minutes on two cores; writes results/quality.json
    python benchmarks/quality.py --full           # also bertwright on all 67,349 rows, seed 0: six minutes more
    python benchmarks/quality.py --smoke          # smoke test with a tiny model, in seconds
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import contest
import inputs

CONTESTANTS = {"hf-best": "HF Trainer (bf16, grouped by length)", "bertwright": "bertwright as shipped"}
SETTINGS = {
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 5e-5,
    "warmup": 0.1,
    "weight_decay": 0.01,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-6,
    "clip": 1.0,
}


def main() -> None:
    """Run the missing trainings, print and save the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000, help="use the first N rows of train.tsv")
    parser.add_argument("--full", action="store_true", help="bertwright only, on all rows, with seed 0 unless set")
    parser.add_argument("--seeds")
    parser.add_argument("--contestants")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", type=Path, help="a directory in HF's format; default: MiniLM-L6 from PyPI")
    parser.add_argument("--data", type=Path, default=inputs.default_data(), help="a folder with train.tsv and dev.tsv")
    parser.add_argument("--out", type=Path, help="where the results go; default: results/quality.json")
    parser.add_argument("--smoke", action="store_true", help="a tiny synthetic model and rows; saved only with --out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_one(options)))
        return
    options.contestants = options.contestants or ("bertwright" if options.full else ",".join(CONTESTANTS))
    options.seeds = options.seeds or ("0" if options.full else "0,1,2")
    contest.choose(parser, "contestants", options.contestants, CONTESTANTS)
    with tempfile.TemporaryDirectory() as folder:
        if options.smoke:
            options.model, options.data = inputs.make_tiny(Path(folder))
            options.rows = 64
            options.out = options.out or Path(folder, "quality.json")
        options.model = options.model or inputs.default_model()
        options.out = options.out or inputs.RESULTS / "quality.json"
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    n_rows = len(inputs.read_rows(options.data / "train.tsv")[0])
    rows = n_rows if options.full else min(options.rows, n_rows)
    settings = {"model": inputs.name_of(options.model), "data": options.data.name, **SETTINGS}
    found = inputs.resumed(options.out, "quality", settings, options.threads)
    for seed in map(int, options.seeds.split(",")):
        for name in options.contestants.split(","):
            key = {"contestant": name, "rows": rows, "seed": seed}
            if inputs.has_run(found, key):
                continue
            arguments = ["--one", name, "--model", str(options.model), "--data", str(options.data)]
            arguments += ["--rows", str(rows), "--seed", str(seed)]
            one = inputs.run_alone("quality.py", *arguments, threads=options.threads)
            print(f"{name:12s} seed {seed}  dev accuracy {one['accuracy']:.4f}", file=sys.stderr, flush=True)
            found["runs"].append(key | one)
            inputs.save(options.out, found)
    import table

    print(table.quality(found))


def compare(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """The difference of two means and its 95 % interval by Welch's t test, which allows unequal variances."""
    from scipy.stats import t

    difference = statistics.mean(ours) - statistics.mean(theirs)
    parts = [statistics.variance(values) / len(values) for values in (ours, theirs)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return difference, difference, difference
    freedom = sum(parts) ** 2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (ours, theirs), strict=True))
    half = float(t.ppf(0.975, freedom)) * error
    return difference, difference - half, difference + half


def _one(options: argparse.Namespace) -> dict[str, Any]:
    """Run one training in this process."""
    import torch

    torch.set_num_threads(options.threads)
    return _ours(options) if options.one == "bertwright" else _hf(options)


def _hf(options: argparse.Namespace) -> dict[str, Any]:
    import hf

    peer = hf.Peer(options.model, hf.SETTINGS[options.one], options.seed)
    texts, labels = inputs.read_rows(options.data / "train.tsv")
    rows = peer.features(texts[: options.rows], labels[: options.rows])
    seconds = peer.train(
        rows,
        per_device_train_batch_size=SETTINGS["batch_size"],
        learning_rate=SETTINGS["learning_rate"],
        # same number of warm-up steps as bertwright; the Trainer would round a share up
        warmup_steps=round(SETTINGS["warmup"] * -(-len(rows) // int(SETTINGS["batch_size"]))),
        lr_scheduler_type="linear",
        weight_decay=SETTINGS["weight_decay"],
        adam_beta1=SETTINGS["beta1"],
        adam_beta2=SETTINGS["beta2"],
        adam_epsilon=SETTINGS["eps"],
        max_grad_norm=SETTINGS["clip"],
    )
    return {"accuracy": peer.accuracy(peer.features(*inputs.read_rows(options.data / "dev.tsv"))), "seconds": seconds}


def _ours(options: argparse.Namespace) -> dict[str, Any]:
    from bertwright.recipe import load_recipe
    from bertwright.run.train import train

    settings = ["task.kind=classification", f"model.base={options.model}", f"seed={options.seed}"]
    settings += [f"data.train={options.data / 'train.tsv'}", f"data.dev={options.data / 'dev.tsv'}"]
    settings += [f"data.limit={options.rows}", f"train.length={SETTINGS['epochs']} epoch"]
    settings += [f"train.{key}={SETTINGS[key]}" for key in SETTINGS if key != "epochs"]
    settings += [f"train.threads={options.threads}", "model.output_bias=zero"]
    with tempfile.TemporaryDirectory() as folder:
        report = train(load_recipe(None, settings), Path(folder, "run")).report
    return {"accuracy": report.metrics["dev"]["accuracy"], "seconds": report.speed["train_seconds"]}


if __name__ == "__main__":
    main()
