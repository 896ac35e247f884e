"""Pre-training speed compared with the Hugging Face Trainer: same model, text in sequences of 128 tokens, same machine.

The peer is run_mlm.py with its fastest settings: text joined and split into full sequences without padding, bf16, fused
AdamW. Each contestant runs in a separate process, rounds are interleaved, and only training steps are timed. Useful
operations are those that the loss depends on: 6 per token and weight. The output layer and the last layer, except its
keys and values, count for masked tokens only.

    python benchmarks/pretraining.py              # ten minutes on two cores; writes results/pretraining.json
    python benchmarks/pretraining.py --smoke      # smoke test with a tiny model, in seconds
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
    "hf-best": "HF Trainer: bf16, full sequences, fused AdamW",
    "hf-best-eager": "the same with eager attention",
    "hf-best-malloc": "the same with SDPA and our memory allocator settings",
    "bertwright": "bertwright as shipped",
    "bertwright-nsp": "bertwright, with next sentences (task.sentence_objective=nsp)",
}
LENGTH, RATE, RATIO = 128, 1e-4, 0.15
WARM_UP = 3
"""Number of steps before the timed ones."""


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=20, help="steps timed")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--contestants", default=",".join(CONTESTANTS))
    parser.add_argument("--model", type=Path, help="a directory in HF's format; default: MiniLM-L6 from PyPI")
    parser.add_argument("--data", type=Path, default=inputs.default_data().parents[1] / "wikitext2" / "valid.txt")
    parser.add_argument("--out", type=Path, help="where the results go; default: results/pretraining.json")
    parser.add_argument("--smoke", action="store_true", help="a tiny synthetic model and text; saved only with --out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_one(options)))
        return
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            options.model, rows = inputs.make_tiny(Path(folder))
            options.data = Path(folder) / "text.txt"
            sentences = (rows / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
            documents = ["\n".join(sentences[i : i + 20]) for i in range(0, len(sentences), 20)]
            options.data.write_text("\n\n".join(documents * 20) + "\n", encoding="utf-8")
            options.steps, options.rounds, options.threads, options.batch_size = 2, 1, 1, 4
            _measure(options)
        return
    options.model = options.model or inputs.default_model()
    options.out = options.out or inputs.RESULTS / "pretraining.json"
    _measure(options)


def _measure(options: argparse.Namespace) -> None:
    from bertwright.run.report import environment

    names = options.contestants.split(",")
    found: dict[str, Any] = {
        "benchmark": "pretraining",
        "date": time.strftime("%Y-%m-%d"),
        "settings": {
            "model": inputs.name_of(options.model),
            "data": options.data.name,
            "steps": options.steps,
            "batch_size": options.batch_size,
            "length": LENGTH,
            "threads": options.threads,
            "load_before": inputs.load_average(),
        },
        "environment": environment(threads=options.threads) | {"transformers": inputs.version("transformers")},
        "matmul": {},
        "contestants": {},
    }
    if found["settings"]["load_before"] > 0.5:
        print("Other programs are running on this machine: the results will be wrong.", file=sys.stderr)
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in ("matmul", *names)}
    for i in range(options.rounds):
        for name in rounds:
            arguments = ["--one", name, "--model", str(options.model), "--data", str(options.data), "--seed", str(i)]
            arguments += ["--steps", str(options.steps), "--batch-size", str(options.batch_size)]
            one = inputs.run_alone("pretraining.py", *arguments, threads=options.threads)
            rounds[name].append(one)
            print(
                f"round {i + 1}/{options.rounds}  {name:16s} {one['gflops']:6.0f} GFLOP/s", file=sys.stderr, flush=True
            )
        found["matmul"] = inputs.spread([one["gflops"] for one in rounds["matmul"]])
        found["contestants"] = {
            name: {
                "title": CONTESTANTS[name],
                "tokens_per_second": inputs.spread([one["tokens"] / one["seconds"] for one in rounds[name]]),
                "useful_gflops": inputs.spread([one["gflops"] for one in rounds[name]]),
                "peak_megabytes": inputs.spread([one["peak_megabytes"] for one in rounds[name]]),
                "rounds": rounds[name],
            }
            for name in names
        }
        if options.out:
            inputs.save(options.out, found)
    import table

    print(table.pretraining(found))


def _one(options: argparse.Namespace) -> dict[str, Any]:
    """Run one measurement in this process."""
    import torch

    torch.set_num_threads(options.threads)
    if options.one == "matmul":
        return {"gflops": _matmul_rate(options)}
    timer = _hf if options.one.startswith("hf") else _ours
    seconds, tokens, masked = timer(options)
    config = json.loads((options.model / "config.json").read_text(encoding="utf-8"))
    width, middle, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    layer = 4 * width * width + 2 * width * middle
    # the last layer computes keys and values for all tokens, everything else for masked tokens only
    needed = tokens * ((layers - 1) * layer + 2 * width * width) + masked * (layer - 2 * width * width)
    needed += masked * width * (width + config["vocab_size"])
    return {
        "gflops": 6e-9 * needed / seconds,
        "seconds": seconds,
        "tokens": tokens,
        "masked": masked,
        "peak_megabytes": inputs.peak_megabytes(),
    }


def _ours(options: argparse.Namespace) -> tuple[float, int, int]:
    """Time the training steps of bertwright; return seconds, tokens and masked tokens."""
    import torch

    from bertwright.recipe import load_recipe
    from bertwright.run.plan import make_optimizer, make_order, make_plan
    from bertwright.run.resolve import open_base_model
    from bertwright.run.splits import load_splits
    from bertwright.training.compute import choose_compute, keep_freed_memory, set_threads
    from bertwright.training.loop import Progress, Step, fit
    from bertwright.training.model_building import build_model, make_loss_function

    settings = [f"model.base={options.model}", f"data.train={options.data}", f"data.dev={options.data}"]
    settings += [f"train.length={options.steps + WARM_UP} steps", f"train.batch_size={options.batch_size}"]
    settings += [f"train.learning_rate={RATE}", f"train.threads={options.threads}", f"seed={options.seed}"]
    settings += ["task.sentence_objective=nsp"] if options.one == "bertwright-nsp" else []
    recipe = load_recipe("pretrain", settings)
    compute = choose_compute(recipe.train.device, recipe.train.precision, recipe.train.threads)
    set_threads(compute)
    keep_freed_memory()
    base = open_base_model(recipe)
    splits = load_splits(recipe.data, "pretraining")
    encoded = recipe.task.encode(splits.train, base.tokenizer, recipe.tokens)
    model, _ = build_model(recipe.model, recipe.task, base, torch.Generator().manual_seed(recipe.seed))
    model.freeze(recipe.model.freeze)
    plan = make_plan(recipe, make_order(recipe, splits.train, encoded), compute)
    progress = Progress(model, make_optimizer(model, recipe.train))
    began, tokens, masked = 0.0, 0, 0
    for event in fit(progress, make_loss_function(recipe.task, model.head), encoded, plan):
        if not isinstance(event, Step):
            continue
        if event.step == WARM_UP:
            began = time.perf_counter()
        elif event.step > WARM_UP:
            tokens += event.tokens
            masked += round(RATIO * (event.tokens - 2 * event.examples))
        if event.step == plan.steps:
            break
    return time.perf_counter() - began, tokens, masked


def _hf(options: argparse.Namespace) -> tuple[float, int, int]:
    """Time the training steps of run_mlm.py; return seconds, tokens and masked tokens."""
    import torch
    from transformers import (
        AutoModelForMaskedLM,
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )
    from transformers.utils import logging

    class Clock(TrainerCallback):
        """Measures the time of the steps after the warm-up."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == WARM_UP:
                self.began = time.perf_counter()
            self.ended = time.perf_counter()

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if options.one == "hf-best-malloc":
        from bertwright.training.compute import keep_freed_memory

        keep_freed_memory()
    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    attention = "eager" if options.one == "hf-best-eager" else "sdpa"
    model = AutoModelForMaskedLM.from_pretrained(options.model, attn_implementation=attention, dtype=torch.float32)
    lines = [line for line in options.data.read_text(encoding="utf-8").splitlines() if line.strip()]
    ids = [i for row in tokenizer(lines, return_special_tokens_mask=False)["input_ids"] for i in row]
    wanted = (options.steps + WARM_UP) * options.batch_size
    blocks = [ids[i : i + LENGTH] for i in range(0, len(ids) - LENGTH, LENGTH)]
    rows = [{"input_ids": blocks[i % len(blocks)]} for i in range(wanted)]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=1,
                per_device_train_batch_size=options.batch_size,
                learning_rate=RATE,
                optim="adamw_torch_fused",
                bf16=True,
                use_cpu=True,
                dataloader_pin_memory=False,
                report_to="none",
                save_strategy="no",
                eval_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                seed=options.seed,
            ),
            train_dataset=rows,
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=RATIO),
            callbacks=[clock],
        ).train()
    tokens = options.steps * options.batch_size * LENGTH
    return clock.ended - clock.began, tokens, round(RATIO * tokens * (LENGTH - 2) / LENGTH)


def _matmul_rate(options: argparse.Namespace) -> float:
    """Upper limit: GFLOP/s in bf16 of the matrix products of the layers, forward and backward, for one batch."""
    import torch

    shape = json.loads((options.model / "config.json").read_text(encoding="utf-8"))
    width, middle = shape["hidden_size"], shape["intermediate_size"]
    tokens = options.batch_size * LENGTH
    dense = [(width, 3 * width), (width, width), (width, middle), (middle, width)]
    products = [(n, k, m) for i, o in dense for n, k, m in ((tokens, i, o), (tokens, o, i), (o, tokens, i))]
    pairs = [(torch.randn(n, k).bfloat16(), torch.randn(k, m).bfloat16()) for n, k, m in products]
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        for a, b in pairs:
            torch.mm(a, b)
        seconds.append(time.perf_counter() - began)
    return 2e-9 * sum(n * k * m for n, k, m in products) / sorted(seconds)[len(seconds) // 2]


if __name__ == "__main__":
    main()
