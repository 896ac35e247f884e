"""Results on small training sets compared with the Hugging Face Trainer: same base model, same rows, several seeds.

Every contestant gets one file of 200 to 500 rows and trains on it as it would by default; bertwright holds out some of
them as validation rows. The score is that of other rows, computed with the same code for all. Finished runs are saved
and not repeated; each has one thread.

    python benchmarks/small_data.py --jobs 2                       # hours; writes results/small_data.json
    python benchmarks/small_data.py --tasks cola,stsb --seeds 0,1 --contestants hf-defaults,bertwright
    python benchmarks/small_data.py --smoke                        # smoke test with a tiny model
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import contest
import inputs
import small_tasks

PAPER = ("train.length=3 epochs", "model.output_bias=zero", "task.standardize=false")
"""The settings of the BERT paper; ``task.standardize`` exists for regression only."""
NO_REFIT = ("train.refit=false",)
CONTESTANTS = {
    "hf-run-glue": "HF Trainer, settings of run_glue.py's README (batch 32, 2e-5, 3 epochs)",
    "hf-defaults": "HF Trainer, defaults (batch 8, 5e-5, 3 epochs)",
    "bertwright": "bertwright, defaults",
    "bertwright-paper": "bertwright, settings of the BERT paper",
    "bertwright-no-refit": "bertwright, not trained again on all rows",
    "bertwright-average": "bertwright, not trained again, weights averaged over a tenth of the run",
    "bertwright-dev10": "bertwright, not trained again, 10 % instead of 20 % of the rows held out",
}
VARIANTS: dict[str, tuple[str, ...]] = {
    "bertwright": (),
    "bertwright-paper": PAPER,
    "bertwright-no-refit": NO_REFIT,
    "bertwright-average": (*NO_REFIT, "train.average=0.1"),
    "bertwright-dev10": (*NO_REFIT, "data.dev_ratio=0.1"),
}
"""The settings of bertwright's contestants."""


def main() -> None:
    """Run the missing trainings, print and save the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", default=",".join(small_tasks.TASKS), help="comma-separated; default: %(default)s")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS), help="comma-separated; default: %(default)s")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=KEY=VALUE[;…]", help="another contestant")
    parser.add_argument("--seeds", default="0,1,2,3,4,5,6,7,8,9", help="comma-separated; default: %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time; default: %(default)s")
    parser.add_argument("--model", type=Path, help="a directory in HF's format; default: MiniLM-L6 from PyPI")
    parser.add_argument("--data", type=Path, default=inputs.data_root(), help="the folder of the data sets")
    parser.add_argument("--out", type=Path, help="where the results go; default: results/small_data.json")
    parser.add_argument("--smoke", action="store_true", help="tiny model and rows; saved only with --out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for each in options.set:
        name, _, settings = each.partition("=")
        VARIANTS[name] = tuple(settings.split(";"))
    if options.one:
        print(json.dumps(_measure(options)))
        return
    tasks = contest.choose(parser, "tasks", options.tasks, small_tasks.TASKS)
    contestants = contest.choose(parser, "contestants", options.contestants, CONTESTANTS | VARIANTS)
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        if options.smoke:
            _prepare_smoke_test(options, tasks)
        options.model = options.model or inputs.default_model()
        options.out = options.out or inputs.RESULTS / "small_data.json"
        for task in () if options.smoke else tasks:
            small_tasks.prepare(task, options.data, options.folder)
        results = _run(options, tasks, contestants)
    import table

    print(table.small_data(results))


def _prepare_smoke_test(options: argparse.Namespace, tasks: list[str]) -> None:
    options.model, _ = inputs.make_tiny(options.folder / "tiny")
    options.out = options.out or options.folder / "small_data.json"
    for name in tasks:
        kind = small_tasks.TASKS[name].kind
        rows = small_tasks.make_rows(name, 80)
        small_tasks.write(kind, (rows[:48], rows[48:]), small_tasks.files(name, options.folder))


def _run(options: argparse.Namespace, tasks: list[str], contestants: list[str]) -> dict[str, Any]:
    """Run what is missing, seed by seed; save after every run."""
    settings = {"model": inputs.name_of(options.model)}
    results = inputs.resumed(options.out, "small_data", settings, options.threads)
    keys = [
        {"task": task, "contestant": name, "seed": seed}
        for seed in map(int, options.seeds.split(","))
        for task in tasks
        for name in contestants
    ]
    missing = [key for key in keys if not inputs.has_run(results, key)]
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = {pool.submit(_run_alone, options, key): key for key in missing}
        for i, future in enumerate(as_completed(futures), 1):
            run = futures[future] | future.result()
            results["runs"].append(run)
            inputs.save(options.out, results)
            text = f"{run['contestant']:20s} seed {run['seed']}  {run['score']:.4f}  {run['seconds']:6.1f} s"
            print(f"{i}/{len(missing)}  {run['task']:10s} {text}", file=sys.stderr, flush=True)
    return results


def _run_alone(options: argparse.Namespace, key: dict[str, Any]) -> dict[str, Any]:
    arguments = ["--one", key["contestant"], "--task", key["task"], "--seed", str(key["seed"])]
    arguments += ["--folder", str(options.folder), "--model", str(options.model)]
    arguments += ["--smoke"] if options.smoke else []
    arguments += [part for each in options.set for part in ("--set", each)]
    return inputs.run_alone("small_data.py", *arguments, threads=options.threads)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train one contestant in this process and evaluate it on the test rows."""
    import torch

    torch.set_num_threads(options.threads)
    task = small_tasks.TASKS[options.task]
    if options.smoke:
        task = task._replace(max_length=128)
    train, test = small_tasks.files(options.task, options.folder)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        if options.one in VARIANTS:
            steps = _train_bertwright(options, task, train, out)
        else:
            import hf_small

            setting = hf_small.SETTINGS[options.one]
            hf_small.train(task, train, options.model, setting, options.seed, out)
            steps = None
        seconds = time.perf_counter() - began
        from bertwright import Bundle

        bundle = Bundle.load(out)
        bundle = replace(bundle, tokens=bundle.tokens.replace(max_length=task.max_length))
        result = bundle.evaluate(test, quiet=True)
    score = result.metrics[task.metric]
    return {
        "score": 0.0 if math.isnan(score) else score,
        "seconds": seconds,
        "steps": steps,
        "collapsed": result.collapsed is not None,
    }


def _train_bertwright(options: argparse.Namespace, task: small_tasks.SmallTask, file: Path, out: Path) -> int:
    """Train as `bertwright train --model M --data FILE` does; return the number of steps."""
    from bertwright.recipe import load_recipe
    from bertwright.run.train import train

    settings = [f"task.kind={task.kind}", f"model.base={options.model}", f"data.train={file}"]
    settings += [f"tokens.max_length={task.max_length}", f"seed={options.seed}", f"train.threads={options.threads}"]
    if task.kind == "qa":
        settings.append(f"tokens.stride={task.max_length // 3}")
    variant = [
        pair for pair in VARIANTS[options.one] if task.kind == "regression" or not pair.startswith("task.standardize")
    ]
    report = train(load_recipe(None, [*settings, *variant]), out, quiet=True).report
    return report.history[-1].step if report else 0


def compare(ours: dict[tuple[str, int], float], theirs: dict[tuple[str, int], float]) -> dict[str, dict[str, float]]:
    """Mean difference, p value of Welch's t test and standard deviations, by task.

    Args:
        ours: scores by task and seed.
        theirs: those of the peer.
    """
    from scipy.stats import ttest_ind

    rows = {}
    for task in dict.fromkeys(task for task, _ in ours):
        sides = [[score for (name, _), score in scores.items() if name == task] for scores in (ours, theirs)]
        if min(map(len, sides)) < 2:
            continue
        p = 1.0 if all(len(set(side)) == 1 for side in sides) else float(ttest_ind(*sides, equal_var=False).pvalue)
        rows[task] = {
            "difference": statistics.mean(sides[0]) - statistics.mean(sides[1]),
            "p": p,
            "sd": statistics.stdev(sides[0]),
            "peer_sd": statistics.stdev(sides[1]),
        }
    return rows


if __name__ == "__main__":
    main()
