"""Training speed compared with the Hugging Face Trainer: same model, same rows, same machine, one run.

Every contestant runs in a separate process. The rounds are interleaved, so that other load affects all contestants.
Only training steps are timed: no start-up, tokenization, warm-up or evaluation.

    python benchmarks/speed.py                    # all workloads; writes results/speed.json
    python benchmarks/speed.py --workloads sst2 --rounds 3
    python benchmarks/speed.py --baseline ../old --contestants bertwright,bertwright-fp32
    python benchmarks/speed.py --smoke            # smoke test with a tiny model, in seconds
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import contest
import inputs
import workloads
from contest import Turn
from workloads import STRIDE, WORKLOADS

CONTESTANTS = {
    "hf-default": "HF Trainer, defaults of run_glue.py and run_qa.py: padded to the maximum length, fp32",
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
FASTEST = ("hf-best", "hf-best-eager", "bertwright", "bertwright-fp32")
"""Contestants of the larger workloads: with the others, a round would take more than two minutes."""
TRAINED = ("sst2", "base", "imdb", "squad")
BATCH, RATE = 32, 5e-5


def main() -> None:
    """Measure, print, save."""
    parser = contest.make_parser(__doc__, "speed", 5, CONTESTANTS)
    parser.set_defaults(contestants=None)
    contest.add_baseline(parser)
    parser.add_argument("--workloads", default=",".join(TRAINED), help="comma-separated; default: %(default)s")
    parser.add_argument("--rows", type=int, help="number of timed rows of every workload; default: by workload")
    parser.add_argument("--tokens", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options)))
        return
    names = contest.choose(parser, "workloads", options.workloads, TRAINED)
    chosen = options.contestants and contest.choose(parser, "contestants", options.contestants, CONTESTANTS)
    with tempfile.TemporaryDirectory() as folder:
        if contest.complete(options, "speed", Path(folder)):
            options.rows = 64
        contestants = {name: chosen or (list(CONTESTANTS) if name == "sst2" else list(FASTEST)) for name in names}
        _compare(options, contestants, Path(folder))


def _compare(options: argparse.Namespace, contestants: dict[str, list[str]], folder: Path) -> None:
    """Run all rounds in a temporary folder.

    Args:
        options: of the whole run.
        contestants: names by workload.
        folder: for rows and models.
    """
    settings = {"batch_size": BATCH, "learning_rate": RATE, "rounds": options.rounds}
    results = contest.start_results("speed", settings, options.threads)
    results["workloads"] = {}
    turns, titles, tokens = [], {}, {}
    for name, chosen in contestants.items():
        workload = WORKLOADS[name]
        facts = {"title": workload.title, "data": workload.data, "max_length": workload.max_length}
        results["workloads"][name] = {**facts, "rows": _prepare(name, options, folder / name)}
        titles |= contest.with_baseline(CONTESTANTS, chosen, options.baseline)
        turns += [
            Turn(name, each) for each in (*contest.with_baseline(CONTESTANTS, chosen, options.baseline), "matmul")
        ]

    def measure(turn: Turn, i: int) -> dict[str, Any]:
        arguments = ["--folder", str(folder / turn.workload), "--seed", str(i)]
        if turn.contestant == "matmul":  # the last turn of its workload
            n_rows = results["workloads"][turn.workload]["rows"]
            arguments += ["--tokens", str(tokens[turn.workload] * BATCH // n_rows)]
            arguments += ["--smoke"] if options.smoke else []
        measured: dict[str, Any] = contest.run_contestant("speed.py", turn, arguments, options)
        tokens.setdefault(turn.workload, measured.get("tokens"))
        return measured

    def finish(measurements: dict[Turn, list[dict[str, Any]]]) -> None:
        for name in contestants:
            of_workload = {turn.contestant: each for turn, each in measurements.items() if turn.workload == name}
            products = of_workload.pop("matmul")
            results["workloads"][name]["matmul"] = contest.spreads(products, *products[0])
            results["workloads"][name]["contestants"] = {
                each: _summary(titles[each], rounds) for each, rounds in of_workload.items()
            }
        if options.out:
            inputs.save(options.out, results)

    contest.run_rounds(turns, options.rounds, measure, _describe, finish)
    import table

    contest.show(table.speed(results), options.out)


def _describe(measured: dict[str, Any]) -> str:
    if "examples_per_second" in measured:
        return f"{measured['examples_per_second']:8.1f} examples/s, {measured['peak_megabytes']:6.0f} MB"
    return ", ".join(f"{kind} {value:.0f}" for kind, value in measured.items()) + " GFLOP/s"


def _summary(title: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "title": title,
        **contest.spreads(rounds, "examples_per_second", "useful_gflops", "peak_megabytes"),
        "precision": rounds[0]["precision"],
        "tokens": rounds[0]["tokens"],
        "rounds": rounds,
    }


def _prepare(name: str, options: argparse.Namespace, folder: Path) -> int:
    """Write rows and encoder of a workload to its folder; return the number of timed rows.

    Other rows are trained first: 2 steps, or 5 before 50 steps.
    """
    n = options.rows or WORKLOADS[name].training_rows
    warm_up = BATCH * max(2, n // 320)
    rows = workloads.make_rows(name, n + warm_up) if options.smoke else workloads.read(name, options.data, n + warm_up)
    folder.mkdir(parents=True)
    workloads.write_rows(name, rows[:-warm_up], folder / "train")
    workloads.write_rows(name, rows[-warm_up:], folder / "warm_up")
    encoder = workloads.make_encoder(name, options.model, folder / "random", options.smoke)
    (folder / "encoder").symlink_to(encoder.resolve(), target_is_directory=True)
    return len(rows) - warm_up


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure one contestant in this process."""
    import matmul
    import torch

    torch.set_num_threads(options.threads)
    encoder = options.folder / "encoder"
    if options.one == "matmul":
        return matmul.rates(encoder, options.tokens, 0.1 if options.smoke else 1.5)
    suffix = ".json" if WORKLOADS[options.workload].kind == "qa" else ".csv"
    files = [options.folder / f"{name}{suffix}" for name in ("warm_up", "train")]
    seconds, tokens, precision, peak = (_measure_hf if options.one.startswith("hf") else _measure_ours)(options, files)
    return {
        "examples_per_second": sum(1 for _ in workloads.read_written(files[1])) / seconds,
        "useful_gflops": 6e-9 * tokens * matmul.layer_parameters(encoder) / seconds,
        "seconds": seconds,
        "tokens": tokens,
        "precision": precision,
        "peak_megabytes": peak,
    }


def _measure_hf(options: argparse.Namespace, files: list[Path]) -> tuple[float, int, str, float]:
    """Train on the rows of both files; return seconds, tokens, precision and peak memory of the second training."""
    import hf

    workload, setting = WORKLOADS[options.workload], hf.SETTINGS[options.one]
    is_qa = workload.kind == "qa"
    peer = hf.Peer(options.folder / "encoder", setting, options.seed, _max_length(options), is_qa)
    batches = [list(workloads.read_written(file)) for file in files]
    labels = None if is_qa else sorted({row.target for rows in batches for row in rows})
    seconds = 0.0
    for rows in batches:
        targets = [labels.index(row.target) if labels else row.target for row in rows]
        encoded = peer.features([row.text for row in rows], targets)
        inputs.reset_peak()
        seconds = peer.train(encoded, per_device_train_batch_size=BATCH, learning_rate=RATE)
    tokens = sum(sum(row["attention_mask"]) for row in encoded)
    return seconds, tokens, "bf16" if setting.bf16 else "fp32", inputs.peak_megabytes()


def _max_length(options: argparse.Namespace) -> int:
    """The maximum length of the workload, or as many tokens as the tiny model has positions."""
    shape = json.loads((options.folder / "encoder" / "config.json").read_text(encoding="utf-8"))
    return int(min(WORKLOADS[options.workload].max_length, shape["max_position_embeddings"]))


def _measure_ours(options: argparse.Namespace, files: list[Path]) -> tuple[float, int, str, float]:
    """Train on the rows of both files; return seconds, tokens, precision and peak memory of the second training."""
    contest.check_source(options.one)
    from timed_steps import time_steps

    workload, max_length = WORKLOADS[options.workload], _max_length(options)
    settings = [f"task.kind={workload.kind}", f"model.base={options.folder / 'encoder'}", f"data.dev={files[0]}"]
    settings += ["train.length=1 epoch", f"train.learning_rate={RATE}", f"train.batch_size={BATCH}"]
    settings += [f"train.threads={options.threads}", f"seed={options.seed}", f"tokens.max_length={max_length}"]
    settings += [f"tokens.stride={min(STRIDE, max_length // 3)}"] if workload.kind == "qa" else []
    settings += OURS[contest.without_baseline(options.one)]
    _, timed = (time_steps(None, [*settings, f"data.train={file}"]) for file in files)
    return timed.seconds, timed.tokens, timed.precision, timed.peak_megabytes


if __name__ == "__main__":
    main()
