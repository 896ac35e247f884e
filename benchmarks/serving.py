"""Serving speed: one text per request from 1 and from 64 clients, compared with transformers and with bulk prediction.

The clients run on the same machine and share its cores with the server. Every contestant runs in a separate process,
and the rounds are interleaved. Heads have random weights. All contestants compute in fp32.

    python benchmarks/serving.py                    # writes results/serving.json
    python benchmarks/serving.py --requests 500 --rounds 1
    python benchmarks/serving.py --smoke            # smoke test with a tiny model, in seconds
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contest
import inputs
import load
import workloads
from contest import Turn

CONTESTANTS = {
    "bertwright-bulk": "bertwright in one process, `Bundle.predict`",
    "bertwright-server": "`bertwright serve`",
    "pipeline-server": "FastAPI around the transformers pipeline",
}
CLIENTS = 64
ALONE = 200
"""Requests of a single client, and texts that are predicted alone in one process."""
WARM_UP = 256
PACKAGES = ("fastapi", "uvicorn", "transformers")


def main() -> None:
    """Measure, print, save."""
    parser = contest.make_parser(__doc__, "serving", 3, CONTESTANTS)
    parser.add_argument("--data", type=Path, default=inputs.data_root(), help="the folder of the data sets")
    parser.add_argument("--requests", type=int, default=2000, help="requests of 64 clients; default: %(default)s")
    parser.add_argument("--serve", help="more arguments of `bertwright serve`, separated by spaces", default="")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure_bulk(options)))
        return
    names = contest.choose(parser, "contestants", options.contestants, CONTESTANTS)
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        sys.exit(f"serving.py needs {', '.join(missing)}; run `pip install '.[bench,serve]'`.")
    with tempfile.TemporaryDirectory() as folder:
        if contest.complete(options, "serving", Path(folder)):
            options.requests = 128
        _compare(options, names, Path(folder))


def _compare(options: argparse.Namespace, names: list[str], folder: Path) -> None:
    """Run all rounds in a temporary folder."""
    n = options.requests + WARM_UP
    rows = workloads.make_rows("sst2", n) if options.smoke else workloads.read("sst2", options.data, n)
    texts = [row.text for row in rows]
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    encoder = workloads.make_encoder("sst2", options.model, folder / "encoder", options.smoke)
    workloads.make_fine_tuned("sst2", encoder, folder / "model")
    settings = {"rounds": options.rounds, "requests": options.requests, "clients": CLIENTS}
    results = contest.start_results("serving", settings, options.threads)
    turns = [Turn("sst2", name) for name in names]

    def measure(turn: Turn, i: int) -> dict[str, Any]:
        if turn.contestant == "bertwright-bulk":
            measured: dict[str, Any] = contest.run_contestant("serving.py", turn, ["--folder", str(folder)], options)
            return measured
        with start_server(turn.contestant, folder / "model", options.threads, options.serve.split()) as (port, process):
            return _measure_server(port, process.pid, texts)

    def finish(measurements: dict[Turn, list[dict[str, Any]]]) -> None:
        results["contestants"] = {
            turn.contestant: {
                "title": CONTESTANTS[turn.contestant],
                **contest.spreads(each, "texts_per_second", "cpu_ms", "latency_ms", "loaded_latency_ms"),
                "rounds": each,
            }
            for turn, each in measurements.items()
        }
        if options.out:
            inputs.save(options.out, results)

    contest.run_rounds(turns, options.rounds, measure, _describe, finish)
    import table

    contest.show(table.serving(results), options.out)


def _describe(measured: dict[str, Any]) -> str:
    cpu, alone = measured["cpu_ms"], measured["latency_ms"]
    return f"{measured['texts_per_second']:8.1f} texts/s, {cpu:6.2f} ms of CPU a text, one client {alone:7.2f} ms"


def _measure_bulk(options: argparse.Namespace) -> dict[str, Any]:
    """Predict all texts in this process, and some of them alone."""
    from bertwright import Bundle

    texts = json.loads((options.folder / "texts.json").read_text(encoding="utf-8"))
    bundle = Bundle.load(options.folder / "model")
    bundle.predict(texts[:WARM_UP], quiet=True)
    began, cpu_began = time.perf_counter(), time.process_time()
    bundle.predict(texts[WARM_UP:], quiet=True)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    latencies = []
    for text in texts[:ALONE]:
        began = time.perf_counter()
        bundle.predict(text, quiet=True)
        latencies.append(1000 * (time.perf_counter() - began))
    return {
        "texts_per_second": (len(texts) - WARM_UP) / seconds,
        "cpu_ms": 1000 * cpu_seconds / (len(texts) - WARM_UP),
        "latency_ms": statistics.median(latencies),
        "loaded_latency_ms": None,
    }


def _measure_server(port: int, pid: int, texts: list[str]) -> dict[str, Any]:
    """Send every text from 64 clients, and some of them from one client."""
    load.send_texts(port, texts[:WARM_UP], CLIENTS)
    cpu_began = _cpu_seconds(pid)
    seconds, loaded, _ = load.send_texts(port, texts[WARM_UP:], CLIENTS)
    cpu_seconds = _cpu_seconds(pid) - cpu_began
    _, alone, _ = load.send_texts(port, texts[:ALONE], 1)
    return {
        "texts_per_second": (len(texts) - WARM_UP) / seconds,
        "cpu_ms": 1000 * cpu_seconds / (len(texts) - WARM_UP),
        "latency_ms": 1000 * statistics.median(alone),
        "loaded_latency_ms": 1000 * statistics.median(loaded),
    }


def _cpu_seconds(pid: int) -> float:
    """The processor time of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def start_server(name: str, model: Path, threads: int, more: list[str]) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run a server as long as the block; provide its port and its process.

    Args:
        name: ``bertwright-server`` or ``pipeline-server``.
        model: the directory.
        threads: of torch.
        more: arguments of ``bertwright serve``.
    """
    if name == "bertwright-server":
        command = [
            "-m",
            "bertwright",
            "serve",
            str(model),
            "--port",
            "0",
            "--no-log-requests",
            "--device",
            "cpu",
            *more,
        ]
    else:
        command = [str(inputs.HERE / "pipeline_server.py"), str(model)]
    variables = {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [sys.executable, *command, "--threads", str(threads)],
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        messages = []
        for line in process.stderr or ():
            messages.append(line)
            if match := re.match(r"Listening on \S+:(\d+)", line):
                break
        else:
            sys.exit(f"{name}: did not start: {''.join(messages)}")
        try:
            yield int(match[1]), process
        finally:
            process.terminate()
            if process.stderr:
                process.stderr.read()


if __name__ == "__main__":
    main()
