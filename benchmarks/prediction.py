"""Prediction speed compared with transformers and ONNX Runtime: same model, same rows, same machine, one run.

Every contestant runs in a separate process, and the rounds are interleaved. The time of a prediction includes
tokenization and answers, but no loading; other rows are predicted first. A cold start is the time from the start of the
process to its first answer. Heads have random weights.

    python benchmarks/prediction.py                             # all workloads; writes results/prediction.json
    python benchmarks/prediction.py --workloads sst2 --rounds 3
    python benchmarks/prediction.py --baseline ../old --contestants bertwright,bertwright-bf16
    python benchmarks/prediction.py --smoke                     # smoke test with a tiny model, in seconds
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import contest
import inputs
from contest import Turn
from workloads import STRIDE, WORKLOADS, Workload

CONTESTANTS = {
    "bertwright": "bertwright, fp32 (default)",
    "bertwright-bf16": "bertwright, bf16",
    "bertwright-command": "`bertwright predict --input`, fp32, from file to file",
    "pipeline-1": "transformers pipeline, batch 1",
    "pipeline-32": "transformers pipeline, batch 32",
    "transformers": "transformers, sorted batches, fp32",
    "transformers-bf16": "transformers, sorted batches, bf16 (autocast)",
    "transformers-bf16-weights": "transformers, sorted batches, weights in bf16",
    "onnx-fp32": "ONNX Runtime, sorted batches, fp32",
    "onnx-int8": "ONNX Runtime, sorted batches, int8 (dynamic quantization)",
}
REFERENCE = "transformers"
"""The contestant whose scores are the reference."""
BATCH = {"transformers": 64, "onnx-fp32": 32, "onnx-int8": 64}
"""Sequences in a sorted batch of at most 128 tokens each; 64 for the others too."""
LONG_BATCH = 16
"""Sequences in a sorted batch of longer sequences, for all peers."""
WARM_UP = 256
"""Number of other rows that are predicted first."""


class Predictor(Protocol):
    """What is measured."""

    def predict(self, rows: Sequence[Any]) -> Any:
        """Complete answers for rows, in their order."""

    def scores(self, rows: Sequence[Any]) -> Any:
        """An array of scores (B, C) of sequences or (N, C) of tokens; None if it does not reveal them."""


def main() -> None:
    """Measure, print, save."""
    parser = contest.make_parser(__doc__, "prediction", 3, CONTESTANTS)
    contest.add_baseline(parser)
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="comma-separated; default: %(default)s")
    parser.add_argument("--rows", type=int, help="number of timed rows of every workload; default: by workload")
    parser.add_argument("--batch", type=int, help="sequences in a sorted batch of the peers")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options)))
        return
    workloads = contest.choose(parser, "workloads", options.workloads, WORKLOADS)
    names = contest.choose(parser, "contestants", options.contestants, CONTESTANTS)
    titles = contest.with_baseline(CONTESTANTS, names, options.baseline)
    with tempfile.TemporaryDirectory() as folder:
        if contest.complete(options, "prediction", Path(folder)):
            options.rows = options.rows or 24
        _compare(options, workloads, titles, Path(folder))


def _compare(options: argparse.Namespace, names: list[str], titles: dict[str, str], folder: Path) -> None:
    """Run all rounds in a temporary folder."""
    results = contest.start_results("prediction", {"rounds": options.rounds}, options.threads)
    results["workloads"] = {}
    turns = []
    for name in names:
        rows = _prepare(name, options, folder / name, titles)
        workload = WORKLOADS[name]
        facts = {"title": workload.title, "data": workload.data, "max_length": workload.max_length, "rows": rows}
        results["workloads"][name] = {**facts, "contestants": {}}
        turns += [Turn(name, each) for each in titles if _takes_part(each, workload)]

    def measure(turn: Turn, i: int) -> dict[str, Any]:
        arguments = ["--folder", str(folder / turn.workload), "--seed", str(i)]
        arguments += ["--batch", str(options.batch)] if options.batch else []
        variables = {"TOKENIZERS_PARALLELISM": "true"}
        measured: dict[str, Any] = contest.run_contestant("prediction.py", turn, arguments, options, **variables)
        return measured

    def finish(measurements: dict[Turn, list[dict[str, Any]]]) -> None:
        for turn, each in measurements.items():
            summary = contest.spreads(each, "rows_per_second", "latency_ms", "cold_seconds", "peak_megabytes")
            difference = _score_difference(folder / turn.workload, turn.contestant)
            results["workloads"][turn.workload]["contestants"][turn.contestant] = {
                "title": titles[turn.contestant],
                **summary,
                "score_difference": difference,
                "rounds": each,
            }
        if options.out:
            inputs.save(options.out, results)

    contest.run_rounds(turns, options.rounds, measure, _describe, finish)
    import table

    contest.show(table.prediction(results), options.out)


def _describe(measured: dict[str, Any]) -> str:
    latency = "      –" if measured["latency_ms"] is None else f"{measured['latency_ms']:7.2f}"
    rate, cold, peak = (measured[name] for name in ("rows_per_second", "cold_seconds", "peak_megabytes"))
    return f"{rate:8.1f} rows/s, one row {latency} ms, cold start {cold:5.2f} s, {peak:6.0f} MB"


def _takes_part(name: str, workload: Workload) -> bool:
    """Whether a contestant can predict a workload.

    transformers has no pipeline for question answering, and the command has no option for the maximum length.
    """
    if name.startswith("onnx") and (missing := missing_packages()):
        print(f"{name} is skipped; install {' and '.join(missing)}.", file=sys.stderr)
        return False
    if name.startswith("pipeline"):
        return workload.kind != "qa"
    return not name.endswith("-command") or (workload.kind, workload.max_length) == ("classification", 128)


def missing_packages() -> list[str]:
    """The packages that the contestants with ONNX Runtime need and that are not installed."""
    return [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]


def _prepare(name: str, options: argparse.Namespace, folder: Path, titles: dict[str, str]) -> int:
    """Write model and rows of a workload to its folder; return the number of timed rows."""
    import peers
    import workloads

    workload = WORKLOADS[name]
    n = options.rows or workload.prediction_rows
    warm_up = 8 if options.smoke else WARM_UP
    rows = workloads.make_rows(name, n + warm_up) if options.smoke else workloads.read(name, options.data, n + warm_up)
    texts = [row.text for row in rows]
    folder.mkdir(parents=True)
    (folder / "first.json").write_text(json.dumps(texts[-1:]), encoding="utf-8")
    content = {"rows": texts[:-warm_up], "warm_up": texts[-warm_up:], "alone": 4 if options.smoke else workload.texts}
    (folder / "rows.json").write_text(json.dumps(content), encoding="utf-8")
    encoder = workloads.make_encoder(name, options.model, folder / "encoder", options.smoke)
    model = workloads.make_fine_tuned(name, encoder, folder / "model")
    if any(title.startswith("onnx") for title in titles) and not missing_packages():
        peers.export_onnx(workload, model)
    return len(texts) - warm_up


def _score_difference(folder: Path, name: str) -> float | None:
    """The largest difference of a contestant's scores from those of transformers; None if one of them has none."""
    import numpy as np

    files = [folder / f"{each}.npy" for each in (name, REFERENCE)]
    if not all(file.exists() for file in files):
        return None
    ours, reference = map(np.load, files)
    if ours.shape != reference.shape:
        sys.exit(f"{name}: has scores {ours.shape}, but {REFERENCE} has {reference.shape}; the inputs differ.")
    return float(np.abs(ours - reference).max())


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure one contestant in this process."""
    name = contest.without_baseline(options.one)
    if name == "bertwright-command":
        return _measure_command(options)
    workload = WORKLOADS[options.workload]
    first = json.loads((options.folder / "first.json").read_text(encoding="utf-8"))
    predictor = _open(name, workload, options)
    predictor.predict(first)
    cold = inputs.seconds_since_start()
    content = json.loads((options.folder / "rows.json").read_text(encoding="utf-8"))
    rows = content["rows"]
    predictor.predict(content["warm_up"])
    seconds = _seconds(predictor, rows)
    latencies = [1000 * _seconds(predictor, [row]) for row in rows[: content["alone"]]]
    peak = inputs.peak_megabytes()
    if options.seed == 0 and (scores := predictor.scores(rows)) is not None:
        import numpy as np

        np.save(options.folder / f"{options.one}.npy", scores)
    return {
        "rows_per_second": len(rows) / seconds,
        "seconds": seconds,
        "latency_ms": statistics.median(latencies),
        "cold_seconds": cold,
        "peak_megabytes": peak,
    }


def _seconds(predictor: Predictor, rows: Sequence[Any]) -> float:
    began = time.perf_counter()
    predictor.predict(rows)
    return time.perf_counter() - began


def _open(name: str, workload: Workload, options: argparse.Namespace) -> Predictor:
    """Import and load a contestant."""
    model = options.folder / "model"
    if name.startswith("bertwright"):
        contest.check_source(options.one)
        return Bertwright(workload, model, "bf16" if name.endswith("-bf16") else "fp32")
    import peers

    batch = options.batch or (BATCH.get(name, 64) if workload.max_length <= 128 else LONG_BATCH)
    if name.startswith("onnx"):
        return peers.open_onnx(workload, model, name, batch, options.threads)
    inputs.quiet_transformers()
    if name.startswith("pipeline"):
        return peers.Pipeline(workload, model, int(name.removeprefix("pipeline-")))
    return peers.open_transformers(workload, model, name, batch)


class Bertwright:
    """A bundle, as a user of the library opens it.

    Args:
        workload: task and maximum length.
        model: the directory.
        precision: "fp32" or "bf16".
    """

    def __init__(self, workload: Workload, model: Path, precision: str) -> None:
        from dataclasses import replace

        from bertwright import Bundle

        bundle = Bundle.load(model, precision=precision)
        windows = {"stride": STRIDE} if workload.kind == "qa" else {}
        # directories of transformers do not record the maximum length
        self._bundle = replace(bundle, tokens=bundle.tokens.replace(max_length=workload.max_length, **windows))
        self._is_qa = workload.kind == "qa"

    def predict(self, rows: Sequence[Any]) -> Any:
        """Complete answers for rows."""
        return self._bundle.predict(self._sources(rows), quiet=True)

    def scores(self, rows: Sequence[Any]) -> Any:
        """The scores of the path that predictions use."""
        examples = self._bundle.read(self._sources(rows), labelled=False)
        return self._bundle.scores(self._bundle.encode(examples))

    def _sources(self, rows: Sequence[Any]) -> list[Any]:
        return [tuple(row) for row in rows] if self._is_qa else list(rows)


def _measure_command(options: argparse.Namespace) -> dict[str, Any]:
    """Measure ``bertwright predict`` from file to file.

    A run on one row is the cold start. Its seconds are subtracted from those of the run on all rows.
    """
    texts = json.loads((options.folder / "rows.json").read_text(encoding="utf-8"))["rows"]
    cold, _ = _run_command(options, texts[:1])
    seconds, peak = _run_command(options, texts)
    return {
        "rows_per_second": (len(texts) - 1) / max(seconds - cold, 1e-3),
        "seconds": seconds,
        "latency_ms": None,
        "cold_seconds": cold,
        "peak_megabytes": peak,
    }


def _run_command(options: argparse.Namespace, texts: list[str]) -> tuple[float, float]:
    """Predict texts of a CSV file; return the seconds and the peak memory of the process in MB."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "rows.csv"), Path(folder, "predictions.csv")
        with source.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text",), *((text,) for text in texts)])
        command = [sys.executable, "-m", "bertwright", "predict", str(options.folder / "model")]
        command += ["--input", str(source), "--text", "text", "--output", str(out)]
        return inputs.run_command(command)


if __name__ == "__main__":
    main()
