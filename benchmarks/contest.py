"""Rounds of measurements: all contestants take turns, each in a new process, and their results are saved after each."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import inputs


class Turn(NamedTuple):
    """One measurement of every round.

    Attributes:
        workload: name of the workload.
        contestant: name of the contestant.
    """

    workload: str
    contestant: str


def make_parser(
    description: str | None, results: str, rounds: int, contestants: Iterable[str]
) -> argparse.ArgumentParser:
    """The options that all benchmarks with rounds have.

    Args:
        description: the docstring of the script; its first line is shown.
        results: name of the file in results/, without a suffix.
        rounds: default number of rounds.
        contestants: the default contestants.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=2, help="threads of every contestant; default: %(default)s")
    parser.add_argument("--contestants", default=",".join(contestants), help="comma-separated; default: %(default)s")
    parser.add_argument("--model", type=Path, help="a directory in HF's format; default: MiniLM-L6 from PyPI")
    parser.add_argument("--out", type=Path, help=f"where the results go; default: results/{results}.json")
    parser.add_argument("--smoke", action="store_true", help="tiny synthetic model and rows; saved only with --out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--workload", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    return parser


def add_baseline(parser: argparse.ArgumentParser) -> None:
    """The options of benchmarks that can compare with another checkout."""
    parser.add_argument(
        "--baseline", type=Path, help="another checkout; adds contestants that run its code, `bertwright-baseline…`"
    )
    parser.add_argument("--data", type=Path, default=inputs.data_root(), help="the folder of the data sets")


def complete(options: argparse.Namespace, name: str, folder: Path) -> Path | None:
    """Set model and destination of the results: the defaults, or tiny ones for a smoke test, with one round and thread.

    Args:
        options: of the whole run.
        name: of the results file.
        folder: for the tiny model.

    Returns:
        The folder of the tiny rows of a smoke test.
    """
    if options.smoke:
        options.rounds = options.threads = 1
        options.model, rows = inputs.make_tiny(folder / "tiny")
        return rows
    options.model = options.model or inputs.default_model()
    options.out = options.out or inputs.RESULTS / f"{name}.json"
    return None


def show(text: str, out: Path | None) -> None:
    """Print results as Markdown, and where they were saved."""
    print(text)
    if out:
        print(f"Saved in {out}; `python {inputs.HERE.name}/table.py` updates the READMEs.")


def choose(parser: argparse.ArgumentParser, option: str, value: str, known: Iterable[str]) -> list[str]:
    """The names of a comma-separated option; an unknown one is an error."""
    names, known = value.split(","), list(known)
    if unknown := set(names) - set(known):
        parser.error(f"--{option}: {', '.join(sorted(unknown))} unknown; there are {', '.join(known)}")
    return names


def with_baseline(contestants: Mapping[str, str], names: list[str], baseline: Path | None) -> dict[str, str]:
    """The titles of the chosen contestants, each of bertwright's followed by its counterpart in another checkout.

    Args:
        contestants: titles of all contestants, by name.
        names: the chosen ones.
        baseline: the other checkout; None for none.
    """
    titles = {}
    for name in names:
        titles[name] = contestants[name]
        if baseline is not None and name.startswith("bertwright"):
            titles[f"bertwright-baseline{name.removeprefix('bertwright')}"] = f"{contestants[name]}, baseline"
    return titles


def without_baseline(name: str) -> str:
    """The contestant whose settings a contestant has."""
    return name.replace("-baseline", "")


def run_contestant(script: str, turn: Turn, arguments: list[str], options: argparse.Namespace, **variables: str) -> Any:
    """Measure a contestant in a new process, with the code of the baseline if it is one.

    Args:
        script: in this folder.
        turn: what is measured.
        arguments: of the script, besides those of the turn.
        options: of the whole benchmark.
        variables: environment variables.
    """
    if "-baseline" in turn.contestant:
        source = (options.baseline / "src").resolve()
        if not (source / "bertwright").is_dir():
            sys.exit(f"--baseline: {options.baseline} has no folder src/bertwright; name a checkout of bertwright.")
        variables["PYTHONPATH"] = str(source)
    arguments = ["--one", turn.contestant, "--workload", turn.workload, *arguments]
    return inputs.run_alone(script, *arguments, threads=options.threads, **variables)


def start_results(name: str, settings: dict[str, Any], threads: int) -> dict[str, Any]:
    """The head of a results file; warns if other programs are running.

    Args:
        name: of the benchmark.
        settings: of the whole run; the load of the machine is added.
        threads: of every contestant.
    """
    from bertwright.run.report import environment

    load = inputs.load_average()
    if load > 0.5:
        print("Other programs are running on this machine: the results will be wrong.", file=sys.stderr)
    versions = inputs.versions("transformers", "onnxruntime")
    return {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "settings": {**settings, "threads": threads, "load_before": load},
        "environment": environment(threads=threads) | versions,
    }


def run_rounds(
    turns: list[Turn],
    rounds: int,
    measure: Callable[[Turn, int], dict[str, Any]],
    describe: Callable[[dict[str, Any]], str],
    finish_round: Callable[[dict[Turn, list[dict[str, Any]]]], None],
) -> None:
    """Measure every turn once per round, in the same order.

    Args:
        turns: the measurements of a round.
        rounds: number of rounds.
        measure: turn and number of the round → measurement.
        describe: a measurement, for the terminal.
        finish_round: gets all measurements so far after every round.
    """
    measurements: dict[Turn, list[dict[str, Any]]] = {turn: [] for turn in turns}
    for i in range(rounds):
        for turn in turns:
            measurement = measure(turn, i)
            measurements[turn].append(measurement)
            name = f"round {i + 1}/{rounds}  {turn.workload:8s} {turn.contestant:28s}"
            print(f"{name} {describe(measurement)}", file=sys.stderr, flush=True)
        finish_round(measurements)


def spreads(measurements: list[dict[str, Any]], *names: str) -> dict[str, dict[str, float]]:
    """Median and range of the named values over the rounds; without values that are not measured."""
    values = {name: [each[name] for each in measurements if each[name] is not None] for name in names}
    return {name: inputs.spread(each) for name, each in values.items() if each}


def check_source(name: str) -> None:
    """Check that a contestant of the baseline imports the code of its checkout.

    Args:
        name: of the contestant.
    """
    import bertwright

    source = Path(os.environ.get("PYTHONPATH", "")).resolve()
    if "-baseline" in name and not Path(bertwright.__file__).resolve().is_relative_to(source):
        sys.exit(f"{name}: imports {bertwright.__file__}, which is not in {source}; uninstall that version.")
