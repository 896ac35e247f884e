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
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import contest
import inputs
from contest import Turn

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
    parser = contest.make_parser(__doc__, "pretraining", 3, CONTESTANTS)
    parser.add_argument("--steps", type=int, default=20, help="number of timed steps")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--data", type=Path, default=inputs.data_root() / "wikitext2" / "valid.txt")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_one(options)))
        return
    names = contest.choose(parser, "contestants", options.contestants, CONTESTANTS)
    with tempfile.TemporaryDirectory() as folder:
        if rows := contest.complete(options, "pretraining", Path(folder)):
            options.data = Path(folder) / "text.txt"
            sentences = (rows / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
            documents = ["\n".join(sentences[i : i + 20]) for i in range(0, len(sentences), 20)]
            options.data.write_text("\n\n".join(documents * 20) + "\n", encoding="utf-8")
            options.steps, options.batch_size = 2, 4
        _compare(options, names)


def _compare(options: argparse.Namespace, names: list[str]) -> None:
    """Run all rounds."""
    settings = {"model": inputs.name_of(options.model), "data": options.data.name, "steps": options.steps}
    settings |= {"batch_size": options.batch_size, "length": LENGTH}
    results = contest.start_results("pretraining", settings, options.threads)

    def measure(turn: Turn, i: int) -> dict[str, Any]:
        arguments = ["--model", str(options.model), "--data", str(options.data), "--seed", str(i)]
        arguments += ["--steps", str(options.steps), "--batch-size", str(options.batch_size)]
        measured: dict[str, Any] = contest.run_contestant("pretraining.py", turn, arguments, options)
        return measured

    def finish(measurements: dict[Turn, list[dict[str, Any]]]) -> None:
        summaries = {turn.contestant: each for turn, each in measurements.items()}
        results["matmul"] = contest.spreads(summaries.pop("matmul"), "useful_gflops")["useful_gflops"]
        results["contestants"] = {
            name: {
                "title": CONTESTANTS[name],
                **contest.spreads(each, "tokens_per_second", "useful_gflops", "peak_megabytes"),
                "rounds": each,
            }
            for name, each in summaries.items()
        }
        if options.out:
            inputs.save(options.out, results)

    turns = [Turn("pretraining", name) for name in ("matmul", *names)]
    contest.run_rounds(turns, options.rounds, measure, lambda each: f"{each['useful_gflops']:6.0f} GFLOP/s", finish)
    import table

    contest.show(table.pretraining(results), options.out)


def _one(options: argparse.Namespace) -> dict[str, Any]:
    """Run one measurement in this process."""
    import torch

    torch.set_num_threads(options.threads)
    if options.one == "matmul":
        from matmul import rate

        return {"useful_gflops": rate(options.model, options.batch_size * LENGTH, "bf16")}
    timer = _hf if options.one.startswith("hf") else _ours
    seconds, tokens, masked = timer(options)
    config = json.loads((options.model / "config.json").read_text(encoding="utf-8"))
    width, middle, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    layer = 4 * width * width + 2 * width * middle
    # the last layer computes keys and values for all tokens, everything else for masked tokens only
    needed = tokens * ((layers - 1) * layer + 2 * width * width) + masked * (layer - 2 * width * width)
    needed += masked * width * (width + config["vocab_size"])
    return {
        "tokens_per_second": tokens / seconds,
        "useful_gflops": 6e-9 * needed / seconds,
        "seconds": seconds,
        "tokens": tokens,
        "masked": masked,
        "peak_megabytes": inputs.peak_megabytes(),
    }


def _ours(options: argparse.Namespace) -> tuple[float, int, int]:
    """Time the training steps of bertwright; return seconds, tokens and masked tokens."""
    from timed_steps import time_steps

    settings = [f"model.base={options.model}", f"data.train={options.data}", f"data.dev={options.data}"]
    settings += [f"train.length={options.steps + WARM_UP} steps", f"train.batch_size={options.batch_size}"]
    settings += [f"train.learning_rate={RATE}", f"train.threads={options.threads}", f"seed={options.seed}"]
    settings += ["task.sentence_objective=nsp"] if options.one == "bertwright-nsp" else []
    timed = time_steps("pretrain", settings, WARM_UP)
    return timed.seconds, timed.tokens, round(RATIO * (timed.tokens - 2 * timed.examples))


def _hf(options: argparse.Namespace) -> tuple[float, int, int]:
    """Time the training steps of run_mlm.py; return seconds, tokens and masked tokens."""
    import hf
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer, DataCollatorForLanguageModeling, Trainer

    setting = replace(hf.SETTINGS[options.one], grouped=False)
    hf.prepare_process(setting, options.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForMaskedLM.from_pretrained(
        options.model, attn_implementation=setting.attention, dtype=torch.float32
    )
    lines = [line for line in options.data.read_text(encoding="utf-8").splitlines() if line.strip()]
    ids = [i for row in tokenizer(lines, return_special_tokens_mask=False)["input_ids"] for i in row]
    n_rows = (options.steps + WARM_UP) * options.batch_size
    blocks = [ids[i : i + LENGTH] for i in range(0, len(ids) - LENGTH, LENGTH)]
    rows = [{"input_ids": blocks[i % len(blocks)]} for i in range(n_rows)]
    clock = hf.Clock(WARM_UP)
    arguments = {"per_device_train_batch_size": options.batch_size, "learning_rate": RATE}
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=model,
            args=hf.training_arguments(folder, setting, options.seed, **arguments),
            train_dataset=rows,
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=RATIO),
            callbacks=[clock],
        ).train()
    tokens = options.steps * options.batch_size * LENGTH
    return clock.seconds, tokens, round(RATIO * tokens * (LENGTH - 2) / LENGTH)


if __name__ == "__main__":
    main()
