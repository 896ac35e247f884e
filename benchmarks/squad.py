"""Question answering compared with the Hugging Face Trainer: same model, questions, windows, schedule and optimizer.

SQuAD 1.1, two epochs over the first questions of train-v1.1.json, windows of 384 tokens that overlap by 128, batch 32,
5e-5 with 10 % warm-up and linear decay, AdamW (0.9, 0.999, 1e-6, weight decay 0.01), gradient clipping at 1, bf16,
seed 0. The metrics are official F1 and exact match on all dev questions, of the weights after the last step. bertwright
decodes both models in fp32.

    python benchmarks/squad.py                       # hours on two cores; writes results/squad.json
    python benchmarks/squad.py --limit 5000          # half an hour
    python benchmarks/squad.py --peer DIR            # with a peer that hf_squad.py has already trained
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import inputs

SETTINGS = {
    "task.kind": "qa",
    "tokens.max_length": 384,
    "tokens.stride": 128,
    "train.length": "2 epochs",
    "train.learning_rate": 5e-5,
    "train.batch_size": 32,
    "train.evaluate_every": "2 epochs",
    "seed": 0,
}


def main() -> None:
    """Run the missing trainings, evaluate, print and save the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--limit", type=int, default=20_000, help="use the first N questions of train-v1.1.json")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", type=Path, help="a directory in HF's format; default: MiniLM-L6 from PyPI")
    parser.add_argument("--data", type=Path, default=inputs.default_data().parents[1] / "squad")
    parser.add_argument("--peer", type=Path, help="model that hf_squad.py trained on the same questions")
    parser.add_argument("--out", type=Path, default=inputs.RESULTS / "squad.json")
    parser.add_argument("--contestants", default="hf-best,bertwright")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model = options.model or inputs.default_model()
    if options.one:
        print(json.dumps(_one(options)))
        return
    settings = {"model": inputs.name_of(options.model), **SETTINGS}
    found = inputs.resumed(options.out, "squad", settings, options.threads)
    for name in options.contestants.split(","):
        key = {"contestant": name, "questions": options.limit}
        if inputs.has_run(found, key):
            continue
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            if name == "hf-best":
                work = options.peer or _peer(options, work / "peer")
            arguments = ["--one", name, "--model", str(options.model), "--data", str(options.data), "--work", str(work)]
            one = inputs.run_alone("squad.py", *arguments, "--limit", str(options.limit), threads=options.threads)
        print(
            f"{name:12s} F1 {one['answer_f1']:.2f}  exact match {one['exact_match']:.2f}", file=sys.stderr, flush=True
        )
        found["runs"].append(key | one)
        inputs.save(options.out, found)
    import table

    print(table.squad(found))


def _peer(options: argparse.Namespace, out: Path) -> Path:
    arguments = ["--train", str(options.data / "train-v1.1.json"), "--model", str(options.model), "--out", str(out)]
    inputs.run_alone("hf_squad.py", *arguments, "--limit", str(options.limit), threads=options.threads)
    return out


def _one(options: argparse.Namespace) -> dict[str, Any]:
    """Train bertwright's model, or open that of the peer, and evaluate it."""
    import torch

    torch.set_num_threads(options.threads)
    from bertwright.run.bundle import Bundle

    if options.one == "hf-best":
        bundle = Bundle.load(options.work)
        seconds = json.loads((options.work / "peer.json").read_text(encoding="utf-8"))["seconds"]
        windows = {"max_length": SETTINGS["tokens.max_length"], "stride": SETTINGS["tokens.stride"]}
        measured = _with(bundle, windows).evaluate(options.data / "dev-v1.1.json").metrics
        return {"seconds": seconds} | {name: measured[name] for name in ("answer_f1", "exact_match")}
    from bertwright.recipe import load_recipe
    from bertwright.run.train import train

    data = [f"data.train={options.data / 'train-v1.1.json'}", f"data.dev={options.data / 'dev-v1.1.json'}"]
    pairs = [f"{key}={value}" for key, value in SETTINGS.items()]
    recipe = load_recipe(None, [*pairs, *data, f"model.base={options.model}", f"data.limit={options.limit}"])
    report = train(recipe, options.work / "run").report
    metrics = report.metrics["dev"]
    return {"seconds": report.speed["train_seconds"]} | {name: metrics[name] for name in ("answer_f1", "exact_match")}


def _with(bundle: Any, tokens: dict[str, Any]) -> Any:
    """Set the window size of a bundle; directories of transformers do not record it."""
    from dataclasses import replace

    return replace(bundle, tokens=bundle.tokens.replace(**tokens))


if __name__ == "__main__":
    main()
