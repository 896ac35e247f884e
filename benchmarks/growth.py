"""Growth of time and memory with the number of rows, the sequence length and the width of the encoder.

Every point is measured in a separate process, with random weights: rows with a tiny encoder, lengths and widths with
larger ones. Seconds are those of the work alone; the time of a run on few rows is subtracted where it includes loading.
An exponent above 1.05 in rows is a defect: the exit code is 1.

    python benchmarks/growth.py                                   # writes results/growth.json and the plot
    python benchmarks/growth.py --axes rows --operations predict-file --most-rows 100000
    python benchmarks/growth.py --smoke                           # smoke test, in seconds
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import contest
import inputs
from contest import Turn

PLOT = inputs.HERE.parent / "docs" / "images" / "growth.svg"
LIMIT = 1.05
"""The largest exponent in rows that is no defect."""
FEW_ROWS = 64
"""Number of rows of the run whose time is subtracted."""
SHORTEST = 0.3
"""Shorter times, in seconds, are noise after the subtraction; exponents ignore them."""
OPERATIONS = {
    "predict": "`Bundle.predict`",
    "predict-file": "`bertwright predict --input`",
    "train": "`train`",
}


class Axis(NamedTuple):
    """What grows, and what stays constant.

    Attributes:
        title: in table and plot.
        values: that are measured.
        smoke_values: that are measured in a smoke test.
        rows: number of rows, if it is constant.
        length: tokens per row; texts have as many words, except in rows, which have 3 to 20.
        width: of the encoder.
        layers: of the encoder.
        operations: that are measured.
    """

    title: str
    values: tuple[int, ...]
    smoke_values: tuple[int, ...]
    rows: int
    length: int
    width: int
    layers: int
    operations: tuple[str, ...]


AXES = {
    "rows": Axis("rows", (10**3, 10**4, 10**5, 10**6), (100, 200), 0, 64, 64, 2, tuple(OPERATIONS)),
    "length": Axis("tokens per row", (64, 128, 256, 512), (16, 32), 64, 0, 384, 6, ("predict", "train")),
    "width": Axis("width", (128, 256, 512, 1024), (64, 128), 256, 32, 0, 4, ("predict", "train")),
}


class Point(NamedTuple):
    """One value of an axis, with everything that follows from it."""

    axis: str
    value: int

    def get(self, name: str) -> int:
        """Number of rows, length or width."""
        return self.value if self.axis == name else int(getattr(AXES[self.axis], name))


def main() -> None:
    """Measure, print, save and plot."""
    parser = contest.make_parser(__doc__, "growth", 1, ())
    parser.add_argument("--axes", default=",".join(AXES), help="comma-separated; default: %(default)s")
    parser.add_argument("--operations", default=",".join(OPERATIONS), help="comma-separated; default: %(default)s")
    parser.add_argument("--most-rows", type=int, default=10**6, help="leave out more rows; default: %(default)s")
    parser.add_argument("--plot", type=Path, help="where the plot goes; default: docs/images/growth.svg")
    options = parser.parse_args()
    if options.one:
        axis, _, value = options.workload.partition("=")
        print(json.dumps(_measure(options, Point(axis, int(value)))))
        return
    axes = contest.choose(parser, "axes", options.axes, AXES)
    operations = contest.choose(parser, "operations", options.operations, OPERATIONS)
    with tempfile.TemporaryDirectory() as folder:
        if not contest.complete(options, "growth", Path(folder)):
            options.plot = options.plot or PLOT
        results = _compare(options, axes, operations, Path(folder))
    import table

    contest.show(table.growth(results), options.out)
    if options.plot:
        plot(results, options.plot)
    if defects := [] if options.smoke else list_defects(results):
        sys.exit("\n".join(defects))


def _compare(options: argparse.Namespace, axes: list[str], operations: list[str], folder: Path) -> dict[str, Any]:
    """Measure all points; return the results."""
    results = contest.start_results("growth", {"rounds": options.rounds}, options.threads)
    turns = []
    for name in axes:
        values = AXES[name].smoke_values if options.smoke else AXES[name].values
        for value in values:
            if name == "rows" and value > options.most_rows:
                continue
            point = Point(name, value)
            _prepare(point, options, folder)
            turns += [Turn(f"{name}={value}", each) for each in operations if each in AXES[name].operations]

    def measure(turn: Turn, _: int) -> dict[str, Any]:
        variables = {"TOKENIZERS_PARALLELISM": "true", "BERTWRIGHT_CACHE": str(folder / "cache")}
        measured: dict[str, Any] = contest.run_contestant(
            "growth.py", turn, ["--folder", str(folder)], options, **variables
        )
        return measured

    def finish(measurements: dict[Turn, list[dict[str, Any]]]) -> None:
        series: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for turn, each in measurements.items():
            axis, _, value = turn.workload.partition("=")
            spreads = contest.spreads(each, "seconds", "peak_megabytes")
            medians = {name: spread["median"] for name, spread in spreads.items()}
            series.setdefault((axis, turn.contestant), []).append({"value": int(value), **medians})
        results["series"] = [
            {"axis": axis, "operation": operation, "points": points, **exponents(points)}
            for (axis, operation), points in series.items()
        ]
        if options.out:
            inputs.save(options.out, results)

    contest.run_rounds(
        turns,
        options.rounds,
        measure,
        lambda each: f"{each['seconds']:9.3f} s, {each['peak_megabytes']:6.0f} MB",
        finish,
    )
    return results


def exponents(points: Sequence[dict[str, float]]) -> dict[str, float | None]:
    """The exponents of seconds and memory; None where fewer than two points were measured for long enough."""
    long = [point for point in points if point["seconds"] >= SHORTEST]
    return {
        "seconds_exponent": _slope([(point["value"], point["seconds"]) for point in long]),
        "peak_megabytes_exponent": _slope([(point["value"], point["peak_megabytes"]) for point in points]),
    }


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    """The slope of the least-squares line through the logarithms of points; None if there are fewer than two."""
    if len(points) < 2:
        return None
    logarithms = ([math.log(value) for value in values] for values in zip(*points, strict=True))
    return statistics.linear_regression(*logarithms).slope


def list_defects(results: dict[str, Any]) -> list[str]:
    """A sentence for every series that grows faster than its rows."""
    names = {"seconds_exponent": "time", "peak_megabytes_exponent": "memory"}
    return [
        f"defect: the {what} of {series['operation']} grows with rows to the power of {series[name]:.2f}; "
        f"expected at most {LIMIT}."
        for series in results["series"]
        for name, what in names.items()
        if series["axis"] == "rows" and (series[name] or 0) > LIMIT
    ]


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw seconds of every axis and memory of rows, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot

    panels = [(axis, "seconds", f"seconds, by {AXES[axis].title}") for axis in AXES]
    panels.append(("rows", "peak_megabytes", "peak memory in MB, by rows"))
    figure, grid = pyplot.subplots(1, len(panels), figsize=(4 * len(panels), 3.6), layout="constrained")
    for panel, (axis, name, title) in zip(grid, panels, strict=True):
        panel.set(xscale="log", yscale="log", title=title, xlabel=AXES[axis].title)
        panel.grid(alpha=0.3)
        for series, marker in zip((each for each in results["series"] if each["axis"] == axis), "os^", strict=False):
            points = series["points"]
            exponent = series[f"{name}_exponent"]
            label = series["operation"] + ("" if exponent is None else f": exponent {exponent:.2f}")
            panel.plot([p["value"] for p in points], [p[name] for p in points], marker=marker, label=label)
        if panel.lines:
            values = sorted({int(value) for line in panel.lines for value in line.get_xdata()})
            panel.set_xticks(values, [f"{value:,}" for value in values], minor=False)
            panel.set_xticks([], minor=True)
            panel.set_ylim(bottom=min(panel.get_ylim()[0], 100) if name == "peak_megabytes" else None)
            panel.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _prepare(point: Point, options: argparse.Namespace, folder: Path) -> None:
    """Write the model and the rows of a point to the folder."""
    import workloads

    model = folder / f"model-{point.get('width')}-{point.get('layers')}"
    if not model.exists():
        encoder = inputs.make_encoder(
            folder / f"encoder-{model.name}", options.model, point.get("width"), point.get("layers")
        )
        workloads.make_fine_tuned("sst2", encoder, model)
    vocabulary = (options.model / "vocab.txt").read_text(encoding="utf-8").split()
    words = [word for word in vocabulary if word.isascii() and word.isalpha()]
    rng = random.Random(0)
    n, length = point.get("rows"), point.get("length")
    with (folder / f"{point.axis}={point.value}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for i in range(n):
            n_words = rng.randint(3, 20) if point.axis == "rows" else length
            writer.writerow((" ".join([*rng.choices(words, k=n_words - 1), str(i)]), i % 2))


def _measure(options: argparse.Namespace, point: Point) -> dict[str, float]:
    """Measure one point in this process."""
    rows = options.folder / f"{options.workload}.csv"
    model = options.folder / f"model-{point.get('width')}-{point.get('layers')}"
    measure = {"predict": _measure_predict, "predict-file": _measure_file, "train": _measure_train}[options.one]
    seconds, peak = measure(model, rows, point)
    return {"seconds": max(seconds, 1e-6), "peak_megabytes": peak}


def _measure_predict(model: Path, rows: Path, point: Point) -> tuple[float, float]:
    from dataclasses import replace

    from bertwright import Bundle

    bundle = Bundle.load(model)
    bundle = replace(bundle, tokens=bundle.tokens.replace(max_length=point.get("length")))
    with rows.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    bundle.predict(texts[:FEW_ROWS], quiet=True)
    seconds = _seconds(lambda: bundle.predict(texts, quiet=True))
    return seconds, inputs.peak_megabytes()


def _measure_file(model: Path, rows: Path, point: Point) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        few = _few_rows(rows, Path(folder))
        command = [sys.executable, "-m", "bertwright", "predict", str(model), "--text", "text", "--output"]
        fixed, _ = inputs.run_command([*command, str(Path(folder, "few.out.csv")), "--input", str(few)])
        seconds, peak = inputs.run_command([*command, str(Path(folder, "out.csv")), "--input", str(rows)])
    return seconds - fixed, peak


def _measure_train(model: Path, rows: Path, point: Point) -> tuple[float, float]:
    """The whole call for rows; the steps alone for lengths and widths, after as many other steps."""
    with tempfile.TemporaryDirectory() as folder:
        few = _few_rows(rows, Path(folder))
        settings = ["task.kind=classification", f"model.base={model}", f"data.dev={few}", "train.batch_size=32"]
        settings += [f"tokens.max_length={point.get('length')}"]
        if point.axis != "rows":
            from timed_steps import time_steps

            settings += [f"data.train={rows}", "train.length=2 epochs"]
            timed = time_steps(None, settings, warm_up=point.get("rows") // 32)
            return timed.seconds, timed.peak_megabytes
        from bertwright.recipe import load_recipe
        from bertwright.run.train import train

        def run(source: Path, out: str) -> float:
            recipe = load_recipe(None, [*settings, f"data.train={source}", "train.length=1 epoch"])
            return _seconds(lambda: train(recipe, Path(folder, out), quiet=True))

        run(few, "imports")
        fixed = run(few, "few")
        return run(rows, "rows") - fixed, inputs.peak_megabytes()


def _few_rows(rows: Path, folder: Path) -> Path:
    """A file with the first rows of another one."""
    few = folder / "few.csv"
    with rows.open(encoding="utf-8") as file:
        few.write_text("".join(line for line, _ in zip(file, range(FEW_ROWS + 1), strict=False)), encoding="utf-8")
    return few


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
