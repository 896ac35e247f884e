"""Training speed compared with the Hugging Face Trainer: same model, same rows, same machine, one run.

Every contestant runs in a separate process. The rounds are interleaved, so that other load affects all contestants.
Only training steps are timed: no start-up, tokenization, warm-up or evaluation.

    python benchmarks/speed.py                    # half an hour on two cores; writes results/speed.json
    python benchmarks/speed.py --smoke            # smoke test with a tiny model, in seconds
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import inputs

CONTESTANTS = {
    "hf-default": "HF Trainer, run_glue's defaults: padded to 128, fp32",
    "hf-dynamic": "HF Trainer, dynamic padding, fp32",
    "hf-best": "HF Trainer at its best: bf16, dynamic padding, grouped by length, fused AdamW",
    "hf-best-eager": "the same with eager attention",
    "hf-best-malloc": "the same with our memory allocator settings",
    "bertwright": "bertwright as shipped",
    "bertwright-fp32": "bertwright, train.precision=fp32",
    "bertwright-frozen-words": "bertwright, model.freeze=embeddings",
}
OURS = {
    "bertwright": [],
    "bertwright-fp32": ["train.precision=fp32"],
    "bertwright-frozen-words": ["model.freeze=embeddings"],
}
USUAL = ",".join(CONTESTANTS)
BATCH, RATE = 32, 5e-5
WARM_UP = 5
"""Number of steps before the timed ones, on other rows."""


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1600, help="number of timed training rows; 1600 are 50 steps")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--contestants", default=USUAL, help=f"of {', '.join(CONTESTANTS)}; default: %(default)s")
    parser.add_argument("--model", type=Path, help="a directory in HF's format; default: MiniLM-L6 from PyPI")
    parser.add_argument("--data", type=Path, default=inputs.default_data(), help="a folder with SST-2's train.tsv")
    parser.add_argument("--out", type=Path, help="where the results go; default: results/speed.json")
    parser.add_argument("--smoke", action="store_true", help="a tiny synthetic model and rows; saved only with --out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_one(options)))
        return
    names = options.contestants.split(",")
    if unknown := set(names) - set(CONTESTANTS):
        parser.error(f"--contestants: {', '.join(sorted(unknown))} unknown; there are {', '.join(CONTESTANTS)}")
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            options.model, options.data = inputs.make_tiny(Path(folder))
            options.rows, options.rounds, options.threads = 64, 1, 1
            _measure(options, names)
        return
    options.model = options.model or inputs.default_model()
    options.out = options.out or inputs.RESULTS / "speed.json"
    _measure(options, names)


def _measure(options: argparse.Namespace, names: list[str]) -> None:
    inputs.read_rows(options.data / "train.tsv")  # fail before the first measurement if there are no rows
    from bertwright.run.report import environment

    found: dict[str, Any] = {
        "benchmark": "speed",
        "date": time.strftime("%Y-%m-%d"),
        "settings": {
            "model": inputs.name_of(options.model),
            "data": options.data.name,
            "rows": options.rows,
            "batch_size": BATCH,
            "learning_rate": RATE,
            "threads": options.threads,
            "load_before": inputs.load_average(),
        },
        "environment": environment(threads=options.threads),
        "matmul": {},
        "contestants": {},
    }
    if found["settings"]["load_before"] > 0.5:
        print("Other programs are running on this machine: the results will be wrong.", file=sys.stderr)
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in ("matmul", *names)}
    for i in range(options.rounds):
        for name in rounds:
            arguments = ["--one", name, "--model", str(options.model), "--data", str(options.data)]
            arguments += ["--rows", str(options.rows), "--seed", str(i)]
            one = inputs.run_alone("speed.py", *arguments, threads=options.threads)
            rounds[name].append(one)
            rate = one.get("examples_per_second")
            shown = f"{rate:8.1f} examples/s" if rate else f"fp32 {one['fp32']:.0f}, bf16 {one['bf16']:.0f} GFLOP/s"
            print(f"round {i + 1}/{options.rounds}  {name:24s} {shown}", file=sys.stderr, flush=True)
        found["matmul"] = {kind: inputs.spread([one[kind] for one in rounds["matmul"]]) for kind in rounds["matmul"][0]}
        found["environment"]["transformers"] = inputs.version("transformers")
        found["contestants"] = {name: _summary(name, rounds[name]) for name in names}
        if options.out:
            inputs.save(options.out, found)
    import table

    print(table.speed(found))
    if options.out:
        print(f"Saved in {options.out}; `python {inputs.HERE.name}/table.py` updates the README.")


def _summary(name: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    tokens = {one["tokens"] for one in rounds}
    return {
        "title": CONTESTANTS[name],
        "examples_per_second": inputs.spread([one["examples_per_second"] for one in rounds]),
        "useful_gflops": inputs.spread([one["useful_gflops"] for one in rounds]),
        "peak_megabytes": inputs.spread([one["peak_megabytes"] for one in rounds]),
        "tokens": max(tokens),
        "rounds": rounds,
    }


def _one(options: argparse.Namespace) -> dict[str, Any]:
    """Run one measurement in this process."""
    import torch

    torch.set_num_threads(options.threads)
    if options.one == "matmul":
        return _matmul_rates(options)
    texts, labels = inputs.first_rows(options.data / "train.tsv", options.rows + WARM_UP * BATCH)
    timer = _hf if options.one.startswith("hf") else _ours
    seconds, tokens, parameters = timer(options, texts, labels)
    from bertwright.run.report import training_speed

    speed = training_speed(min(options.rows, len(texts)), tokens, seconds, parameters)
    return {
        "examples_per_second": speed["train_examples_per_second"],
        "useful_gflops": speed["useful_gflops"],
        "seconds": seconds,
        "tokens": tokens,
        "peak_megabytes": inputs.peak_megabytes(),
    }


def _hf(options: argparse.Namespace, texts: list[str], labels: list[int]) -> tuple[float, int, int]:
    import hf

    peer = hf.Peer(options.model, hf.SETTINGS[options.one], options.seed)
    rows = peer.features(texts, labels)
    timed = rows[: options.rows]
    arguments = {"per_device_train_batch_size": BATCH, "learning_rate": RATE}
    peer.train(rows[options.rows :] or timed, **arguments)
    seconds = peer.train(timed, **arguments)
    return seconds, sum(sum(row["attention_mask"]) for row in timed), peer.matrix_parameters()


def _ours(options: argparse.Namespace, texts: list[str], labels: list[int]) -> tuple[float, int, int]:
    """Time the training steps of bertwright, without the work before and after them."""
    import torch

    from bertwright.data.example import Example
    from bertwright.recipe import load_recipe
    from bertwright.run.plan import make_optimizer, make_plan
    from bertwright.run.resolve import open_base_model
    from bertwright.tasks.classification import Classification
    from bertwright.tokenization.encodings import Encodings
    from bertwright.tokenization.sampling import build_shuffle_order
    from bertwright.training.compute import choose_compute, keep_freed_memory, set_threads
    from bertwright.training.loop import Progress, Step, fit
    from bertwright.training.model_building import build_model

    settings = ["task.kind=classification", f"model.base={options.model}", f"data.train={options.data / 'train.tsv'}"]
    settings += ["train.length=1 epoch", f"train.learning_rate={RATE}", f"train.batch_size={BATCH}"]
    settings += [f"train.threads={options.threads}", f"seed={options.seed}", *OURS[options.one]]
    recipe = load_recipe(None, settings)
    compute = choose_compute(recipe.train.device, recipe.train.precision, recipe.train.threads)
    set_threads(compute)
    keep_freed_memory()
    base = open_base_model(recipe)
    task = Classification(labels=inputs.LABELS)
    examples = [
        Example(str(i), text, target=inputs.LABELS[y]) for i, (text, y) in enumerate(zip(texts, labels, strict=True))
    ]
    model, _ = build_model(recipe.model, task, base, torch.Generator().manual_seed(recipe.seed))
    model.freeze(recipe.model.freeze)

    def steps(rows: Encodings) -> float:
        plan = make_plan(recipe, build_shuffle_order(len(rows), recipe.seed), compute)
        progress = Progress(model, make_optimizer(model, recipe.train))
        began = time.perf_counter()
        for event in fit(progress, task.loss, rows, plan):
            if isinstance(event, Step) and event.step == plan.steps:
                break
        return time.perf_counter() - began

    timed = task.encode(examples[: options.rows], base.tokenizer)
    extra = examples[options.rows :]
    steps(task.encode(extra, base.tokenizer) if extra else timed)
    seconds = steps(timed)
    return seconds, int(timed.lengths.sum()), sum(p.numel() for p in model.encoder.layers.parameters())


def _matmul_rates(options: argparse.Namespace) -> dict[str, float]:
    """Upper limit: GFLOP/s of the matrix products of the model, forward and backward, for an average batch."""
    import torch

    shape = json.loads((options.model / "config.json").read_text(encoding="utf-8"))
    width, middle = shape["hidden_size"], shape["intermediate_size"]
    texts, _ = inputs.first_rows(options.data / "train.tsv", options.rows)
    from bertwright.weights.pretrained import open_pretrained

    encoded = open_pretrained(options.model).tokenizer.encode(texts, max_length=128)
    tokens = BATCH * int(encoded.lengths.sum()) // len(texts)
    dense = [(width, 3 * width), (width, width), (width, middle), (middle, width)]
    products = [(n, k, m) for i, o in dense for n, k, m in ((tokens, i, o), (tokens, o, i), (o, tokens, i))]
    rates = {}
    for kind, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        pairs = [(torch.randn(n, k).to(dtype), torch.randn(k, m).to(dtype)) for n, k, m in products]
        seconds = []
        for _ in range(200):
            began = time.perf_counter()
            for a, b in pairs:
                torch.mm(a, b)
            seconds.append(time.perf_counter() - began)
        rates[kind] = 2e-9 * sum(n * k * m for n, k, m in products) / inputs.spread(seconds[50:])["median"]
    return rates


if __name__ == "__main__":
    main()
