"""Update the tables of both READMEs, here and in the repository, from results/*.json; ``--check`` only checks them.

python benchmarks/table.py [--check]
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import inputs

SIGNIFICANT = 0.05
"""The p value below which two means differ."""
NOTHING = "Not measured yet.\n"


def speed(results: dict[str, Any]) -> str:
    """Format the results of speed.py as Markdown."""
    settings, parts = results["settings"], []
    for workload in results["workloads"].values():
        contestants, matmul = workload["contestants"], workload["matmul"]
        limits = {kind: value["median"] for kind, value in matmul.items()}
        limits["fp32"] = max(limits["fp32"], limits.get("fp32-onednn", 0))
        base = _medians(contestants, "examples_per_second", _PEERS)
        rows = []
        for each in contestants.values():
            rate, useful = each["examples_per_second"], each["useful_gflops"]["median"]
            cells = [each["title"], _range(rate, ".1f"), f"{useful:.0f}", f"{useful / limits[each['precision']]:.2f}"]
            cells += [
                f"{each['peak_megabytes']['median']:,.0f}",
                *(f"{rate['median'] / it:.2f}" for it in base.values()),
            ]
            rows.append(cells)
        titles = ["contestant", "examples/s: median (range)", "useful GFLOP/s", "of the limit", "peak MB"]
        tokens = next(iter(contestants.values()))["tokens"] / workload["rows"]
        ceiling = ", ".join(f"{value:.0f} in {kind}" for kind, value in limits.items() if kind != "fp32-onednn")
        parts += [
            f"### Training: {workload['title']}, {workload['data']}",
            "",
            *_markdown([*titles, *(f"× {_PEERS[name]}" for name in base)], rows),
            "",
            f"{workload['rows']:,} rows of {tokens:.1f} tokens on average (at most {workload['max_length']}). "
            f"The limit is the rate of the same matrix products alone, in GFLOP/s: {ceiling}.",
            "",
        ]
    parts.append(f"Batch {settings['batch_size']}, {settings['rounds']} rounds, {results['date']}. {_machine(results)}")
    return "\n".join(parts) + "\n"


_PEERS = {"hf-default": "HF defaults", "hf-best": "HF at its best"}


def _medians(contestants: dict[str, Any], name: str, chosen: Iterable[str]) -> dict[str, float]:
    """The medians of the chosen contestants that were measured."""
    return {each: contestants[each][name]["median"] for each in chosen if each in contestants}


def _range(value: dict[str, float], form: str) -> str:
    """Median and range, as text."""
    return f"{value['median']:{form}} ({value['low']:{form}} … {value['high']:{form}})"


def prediction(results: dict[str, Any]) -> str:
    """Format the results of prediction.py as Markdown."""
    parts = []
    for workload in results["workloads"].values():
        contestants = workload["contestants"]
        base = _medians(contestants, "rows_per_second", _PREDICTORS)
        rows = []
        for each in contestants.values():
            rate, difference = each["rows_per_second"], each["score_difference"]
            rows.append(
                [
                    each["title"],
                    _range(rate, ",.0f"),
                    f"{each['latency_ms']['median']:,.1f}" if "latency_ms" in each else "–",
                    f"{each['cold_seconds']['median']:.2f}",
                    f"{each['peak_megabytes']['median']:,.0f}",
                    "–" if difference is None else f"{difference:.0e}",
                    *(f"{rate['median'] / value:.2f}" for value in base.values()),
                ]
            )
        titles = ["contestant", "rows/s: median (range)", "one row, ms", "cold start, s", "peak MB", "score difference"]
        titles += [f"× {_PREDICTORS[name]}" for name in base]
        facts = f"{workload['rows']:,} rows of at most {workload['max_length']} tokens."
        parts += [
            f"### Prediction: {workload['title']}, {workload['data']}",
            "",
            *_markdown(titles, rows),
            "",
            facts,
            "",
        ]
    parts.append(f"{results['settings']['rounds']} rounds, {results['date']}. {_machine(results)}")
    return "\n".join(parts) + "\n"


_PREDICTORS = {"transformers": "transformers fp32", "onnx-fp32": "ONNX Runtime fp32", "onnx-int8": "ONNX Runtime int8"}


def serving(results: dict[str, Any]) -> str:
    """Format the results of serving.py as Markdown."""
    contestants = results["contestants"]
    base = {name: contestants[name]["texts_per_second"]["median"] for name in _SERVERS if name in contestants}
    rows = []
    for each in contestants.values():
        rate = each["texts_per_second"]
        rows.append(
            [
                each["title"],
                _range(rate, ",.0f"),
                *(f"{rate['median'] / value:.2f}" for value in base.values()),
                f"{each['cpu_ms']['median']:,.2f}",
                f"{each['latency_ms']['median']:,.1f}",
                f"{each['loaded_latency_ms']['median']:,.0f}" if "loaded_latency_ms" in each else "–",
            ]
        )
    settings = results["settings"]
    titles = ["contestant", "texts/s: median (range)", *(f"× {_SERVERS[name]}" for name in base)]
    titles += ["CPU ms per text", "one client, ms", f"{settings['clients']} clients, ms"]
    busy = f" Load average before the run: {settings['load_before']:.1f}; compare ratios."
    facts = (
        f"MiniLM-L6, SST-2, {settings['requests']:,} requests of one text from {settings['clients']} clients on the "
        f"same machine, fp32; times are medians.{busy if settings['load_before'] > 0.5 else ''}"
    )
    machine = f"{settings['rounds']} rounds, {results['date']}. {_machine(results)}"
    return "\n".join([*_markdown(titles, rows), "", facts, "", machine]) + "\n"


_SERVERS = {"pipeline-server": "pipeline server", "bertwright-bulk": "bulk prediction"}


def quality(results: dict[str, Any]) -> str:
    """Format the results of quality.py as Markdown."""
    from quality import CONTESTANTS, compare

    groups: dict[tuple[int, str], dict[int, float]] = {}
    for run in results["runs"]:
        groups.setdefault((run["rows"], run["contestant"]), {})[run["seed"]] = run["accuracy"]
    rows = []
    for (n, name), by_seed in sorted(
        groups.items(), key=lambda item: (item[0][0], list(CONTESTANTS).index(item[0][1]))
    ):
        values = list(by_seed.values())
        sd = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "–"
        each = ", ".join(f"{value:.4f}" for _, value in sorted(by_seed.items()))
        rows.append([CONTESTANTS[name], f"{n:,}", f"{statistics.mean(values):.4f}", sd, each])
    lines = [*_markdown(["contestant", "rows", "dev accuracy: mean", "sd", "by seed"], rows), ""]
    for n in sorted({n for n, _ in groups}):
        pair = [list(groups.get((n, name), {}).values()) for name in ("bertwright", "hf-best")]
        if min(map(len, pair)) > 1:
            difference, low, high = compare(*pair)
            interval = f"95 % interval {low:+.4f} … {high:+.4f}"
            lines.append(f"bertwright minus HF Trainer at {n:,} rows: {difference:+.4f}, {interval}.")
    settings = results["settings"]
    lines.append(
        f"{settings['model']}, {settings['data']}, {settings['epochs']} epoch, batch {settings['batch_size']}, "
        f"{settings['learning_rate']:g}, {results['date']}. {_machine(results)}"
    )
    return "\n".join(lines) + "\n"


def small_data(results: dict[str, Any]) -> str:
    """Format the results of small_data.py as Markdown."""
    from small_data import CONTESTANTS, compare
    from small_tasks import TASKS

    scores: dict[str, dict[tuple[str, int], float]] = {}
    for run in results["runs"]:
        scores.setdefault(run["contestant"], {})[run["task"], run["seed"]] = run["score"]
    names = sorted(scores, key=lambda name: (name not in CONTESTANTS, list({**CONTESTANTS, **scores}).index(name)))
    tasks = [task for task in TASKS if any((task, seed) in each for each in scores.values() for seed in range(100))]
    rows = []
    for task in tasks:
        cells = []
        for name in names:
            values = [score for (other, _), score in scores[name].items() if other == task]
            sd = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{sd}" if values else "–")
        rows.append([TASKS[task].title, f"{TASKS[task].rows:,}", TASKS[task].metric, *cells])
    lines = [*_markdown(["task", "rows", "metric", *names], rows), ""]
    for name in names:
        runs = [run for run in results["runs"] if run["contestant"] == name]
        lines.append(
            f"- {name}: {CONTESTANTS.get(name, 'variant')}; {len(runs)} runs, "
            f"{sum(run['collapsed'] for run in runs)} collapsed"
        )
    for name in names:
        for peer in names:
            if peer.startswith("hf") and name != peer and (each := compare(scores[name], scores[peer])):
                lines.append(_summarize_comparison(name, peer, list(each.values())))
    lines += ["", f"{results['settings']['model']}, {results['date']}. {_machine(results)}"]
    return "\n".join(lines) + "\n"


def _summarize_comparison(name: str, peer: str, tasks: list[dict[str, float]]) -> str:
    deviations = [statistics.mean(task[name] for task in tasks) for name in ("sd", "peer_sd")]
    worse = sum(task["difference"] < 0 and task["p"] < SIGNIFICANT for task in tasks)
    better = sum(task["difference"] > 0 and task["p"] < SIGNIFICANT for task in tasks)
    return (
        f"- {name} minus {peer}: {statistics.mean(task['difference'] for task in tasks):+.3f} on average over "
        f"{len(tasks)} tasks, significantly better in {better}, significantly worse in {worse} (p < {SIGNIFICANT}); "
        f"mean standard deviation {deviations[0]:.3f}, the peer's {deviations[1]:.3f}"
    )


def squad(results: dict[str, Any]) -> str:
    """Format the results of squad.py as Markdown."""
    titles = {"hf-best": "HF Trainer (bf16, grouped by length)", "bertwright": "bertwright as shipped"}
    rows = [
        [
            titles[run["contestant"]],
            f"{run['questions']:,}",
            f"{run['answer_f1']:.2f}",
            f"{run['exact_match']:.2f}",
            f"{run['seconds'] / 60:.0f}",
        ]
        for run in sorted(results["runs"], key=lambda run: (run["questions"], list(titles).index(run["contestant"])))
    ]
    settings = results["settings"]
    lines = [
        *_markdown(["contestant", "questions", "dev F1", "dev exact match", "minutes of training"], rows),
        "",
        f"{settings['model']}, SQuAD 1.1, {settings['train.length']}, batch {settings['train.batch_size']}, "
        f"{settings['train.learning_rate']:g}, seed {settings['seed']}, {results['date']}. {_machine(results)} "
        "The minutes cannot be compared, because other programs were running.",
    ]
    return "\n".join(lines) + "\n"


def frozen(results: dict[str, Any]) -> str:
    """Format the results of frozen.py as Markdown."""
    from frozen import CONTESTANTS

    settings, rows = results["settings"], []
    for run in sorted(results["runs"], key=lambda run: list(CONTESTANTS).index(run["contestant"])):
        contestant, encoder_pass = CONTESTANTS[run["contestant"]], statistics.median(run["passes"])
        cells = [f"{encoder_pass:.1f}", f"{run['first']:.1f}", f"{run['first'] / encoder_pass:.2f}"]
        cells.append(f"{run['again']:.1f}")
        accuracy = f"{run['accuracy']:.4f}" if contestant.base == "minilm" else "–"
        rows.append([contestant.title, *cells, accuracy, run["date"]])
    titles = ["", "one encoder pass, s", f"{settings['epochs']} epochs, s", "in passes", "with cached features, s"]
    run = results["runs"][0]
    lines = [
        *_markdown([*titles, "dev accuracy", "measured"], rows),
        "",
        f"{settings['model']}, {settings['data']}, {run['rows']:,} rows of {run['tokens'] / run['rows']:.1f} tokens on "
        f"average. {_machine(results)} The size of DistilBERT means six layers of width 768 with random weights.",
    ]
    return "\n".join(lines) + "\n"


def store(results: dict[str, Any]) -> str:
    """Format the results of store.py as Markdown."""
    names = {"store": "token store, from file to disk", "encode_batch": "encode_batch of the tokenizers library"}
    names["encode_batch_fast"] = "encode_batch_fast of the tokenizers library"
    rows = []
    for name, title in names.items():
        rates = inputs.spread([each[name] / 1e6 for each in results["rounds"]])
        share = statistics.median(each["store"] / each[name] for each in results["rounds"])
        cells = [f"{rates['median']:.2f} ({rates['low']:.2f} … {rates['high']:.2f})", f"{share:.2f}"]
        rows.append([title, *(cells if name != "store" else [cells[0], ""])])
    facts, settings = results["environment"], results["settings"]
    lines = [
        *_markdown(["", "MB/s: median (range)", "speed of the token store relative to it"], rows),
        "",
        f"{settings['megabytes']:,.0f} MB of text, {settings['tokenizer']}: {results['tokens']:,} tokens in "
        f"{results['shards']:,} shards of {results['stored'] / 1e6:,.0f} MB, {results['seconds']:,.0f} s, "
        f"peak memory {results['peak_megabytes']:,.0f} MB; opened again in {results['again_seconds']:.2f} s.",
        f"{len(results['rounds'])} rounds, {results['date']}. {facts['cpu']}, {facts['cores']} cores, "
        f"{facts['threads']} threads, tokenizers {facts['tokenizers']}.",
    ]
    return "\n".join(lines) + "\n"


def pretraining(results: dict[str, Any]) -> str:
    """Format the results of pretraining.py as Markdown."""
    contestants, settings = results["contestants"], results["settings"]
    peers = [name for name in contestants if name.startswith("hf")]
    best = max(peers, key=lambda name: float(contestants[name]["tokens_per_second"]["median"]), default=None)
    ceiling = results["matmul"]["median"]
    rows = []
    for each in contestants.values():
        rate, useful = each["tokens_per_second"], each["useful_gflops"]["median"]
        cells = [f"{rate['median']:,.0f} ({rate['low']:,.0f} … {rate['high']:,.0f})", f"{useful:.0f}"]
        cells += [f"{useful / ceiling:.2f}", f"{each['peak_megabytes']['median']:,.0f}"]
        if best is not None:
            cells.append(f"{rate['median'] / contestants[best]['tokens_per_second']['median']:.2f}")
        rows.append([each["title"], *cells])
    titles = ["contestant", "tokens/s: median (range)", "useful GFLOP/s", "of the limit", "peak MB"]
    titles += [] if best is None else ["× the fastest peer"]
    lines = [
        *_markdown(titles, rows),
        "",
        f"{settings['model']}, {settings['data']}, {settings['steps']} steps of {settings['batch_size']} sequences of "
        f"{settings['length']} tokens, {len(next(iter(contestants.values()))['rounds'])} rounds, {results['date']}.",
        f"{_machine(results)} The machine's bf16 matrix products at these shapes, the upper limit: "
        f"{ceiling:.0f} GFLOP/s.",
    ]
    return "\n".join(lines) + "\n"


def growth(results: dict[str, Any]) -> str:
    """Format the results of growth.py as Markdown."""
    from growth import AXES, OPERATIONS, PLOT

    rows = []
    for series in results["series"]:
        first, last = series["points"][0], series["points"][-1]
        cells = [
            OPERATIONS[series["operation"]],
            f"{AXES[series['axis']].title}, {first['value']:,} to {last['value']:,}",
        ]
        for name, form in (("seconds", ",.2f"), ("peak_megabytes", ",.0f")):
            exponent = series[f"{name}_exponent"]
            cells += [f"{first[name]:{form}} to {last[name]:{form}}", "–" if exponent is None else f"{exponent:.2f}"]
        rows.append(cells)
    titles = ["", "grows", "seconds", "exponent of seconds", "peak MB", "exponent of memory"]
    lines = [
        *_markdown(titles, rows),
        "",
        f"{results['settings']['rounds']} rounds, {results['date']}. {_machine(results)}",
        "",
        f"![Seconds and peak memory by rows, tokens per row and width; logarithmic axes](../docs/images/{PLOT.name})",
    ]
    return "\n".join(lines) + "\n"


def results(folder: Path) -> str:
    """Format all results of a folder as Markdown."""
    parts = []
    for title, name, write in (
        ("Training speed", "speed", speed),
        ("Prediction", "prediction", prediction),
        ("Serving", "serving", serving),
        ("Quality", "quality", quality),
        ("Small data", "small_data", small_data),
        ("Question answering", "squad", squad),
        ("Frozen encoder", "frozen", frozen),
        ("Pre-training", "pretraining", pretraining),
        ("Token store", "store", store),
        ("Growth", "growth", growth),
    ):
        file = folder / f"{name}.json"
        text = write(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else NOTHING
        parts.append(f"## {title}\n\n{text}")
    return "\n".join(parts)


def summarize_speed(results: dict[str, Any]) -> str:
    """The results of speed.py in one row per workload."""
    titles = ["examples/s", "HF at its best", "bertwright", "×", "peak MB, HF", "peak MB, bertwright"]
    rows = []
    for workload in results["workloads"].values():
        contestants = workload["contestants"]
        rates = _medians(contestants, "examples_per_second", contestants)
        best = max((name for name in rates if name.startswith("hf-best")), key=rates.__getitem__, default=None)
        if best is None or "bertwright" not in rates:
            continue
        tokens = contestants[best]["tokens"] / workload["rows"]
        peaks = (contestants[name]["peak_megabytes"]["median"] for name in (best, "bertwright"))
        cells = [f"{workload['title']}, {workload['data']}, {tokens:.0f} tokens"]
        cells += [_rate(rates[best]), f"**{_rate(rates['bertwright'])}**"]
        rows.append([*cells, f"{rates['bertwright'] / rates[best]:.1f}", *(f"{peak:,.0f}" for peak in peaks)])
    return "\n".join(_markdown(titles, rows)) + "\n"


def summarize_prediction(results: dict[str, Any]) -> str:
    """The results of prediction.py in one row per workload, and the time of a single row."""
    names = {
        "pipeline-1": "transformers pipeline",
        "transformers": "transformers, sorted batches",
        "onnx-fp32": "ONNX Runtime, sorted batches",
        "onnx-int8": "the same in int8",
        "bertwright": "bertwright",
        "bertwright-bf16": "bertwright, bf16",
    }
    rows, latencies = [], []
    for workload in results["workloads"].values():
        contestants = workload["contestants"]
        rates = _medians(contestants, "rows_per_second", names)
        cells = (f"**{_rate(rates.get(name))}**" if name == "bertwright" else _rate(rates.get(name)) for name in names)
        rows.append([f"{workload['title']}, {workload['data']}", *cells])
        alone = _medians(contestants, "latency_ms", ("bertwright", "onnx-fp32", "transformers"))
        libraries = {name: names[name].partition(",")[0] for name in alone}
        latencies.append(", ".join(f"{value:.1f} ms in {libraries[name]}" for name, value in alone.items()))
    sentence = f"Prediction, including tokenization. A single text ({rows[0][0]}) takes {latencies[0]}:"
    return "\n".join([sentence, "", *_markdown(["rows/s", *names.values()], rows)]) + "\n"


SUMMARIES = {"speed": summarize_speed, "prediction": summarize_prediction}
"""What the README of the repository shows of a results file."""


HEADLINE = re.compile(r"(Training is )[\d.]+ to [\d.]+( times as fast as the Trainer's fastest configuration)")
"""The sentence of the README that repeats the results of all workloads."""


def renew_headline(text: str, results: dict[str, Any]) -> str:
    """Insert the smallest and the largest ratio of all workloads into the README's sentence."""
    ratios = []
    for workload in results["workloads"].values():
        rates = _medians(workload["contestants"], "examples_per_second", workload["contestants"])
        fastest = max((rate for name, rate in rates.items() if name.startswith("hf-best")), default=None)
        if fastest is not None and "bertwright" in rates:
            ratios.append(rates["bertwright"] / fastest)
    return HEADLINE.sub(rf"\g<1>{min(ratios):.1f} to {max(ratios):.1f}\g<2>", text) if ratios else text


def _rate(value: float | None) -> str:
    """A rate with two or more digits; a dash for what was not measured."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def renew(file: Path, text: str, name: str, new: str) -> str:
    """Insert new text between the two marks of a section.

    Args:
        file: for messages.
        text: of the file.
        name: of the section.
        new: its text.
    """
    begin, end = f"<!-- {name}: written by benchmarks/table.py -->\n", f"<!-- end of {name} -->\n"
    before, opening, rest = text.partition(begin)
    _, closing, after = rest.partition(end)
    if not opening or not closing:
        sys.exit(f"{file}: the lines {begin.strip()} and {end.strip()} are missing; insert them around the tables.")
    return f"{before}{begin}\n{new}\n{end}{after}" if new else f"{before}{begin}{end}{after}"


def main() -> None:
    """Update or check the READMEs."""
    detailed, short = inputs.HERE / "README.md", inputs.HERE.parent / "README.md"
    texts = {file: file.read_text(encoding="utf-8") for file in (detailed, short)}
    new = {detailed: renew(detailed, texts[detailed], "results", results(inputs.RESULTS)), short: texts[short]}
    for name, summarize in SUMMARIES.items():
        file = inputs.RESULTS / f"{name}.json"
        measured = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        new[short] = renew(short, new[short], name, summarize(measured) if measured else "")
        if name == "speed" and measured:
            new[short] = renew_headline(new[short], measured)
    for file, text in new.items():
        if "--check" not in sys.argv[1:]:
            file.write_text(text, encoding="utf-8")
        elif text != texts[file]:
            sys.exit(f"{file}: its tables differ from results/*.json; run `python benchmarks/table.py`.")


def _markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(titles) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (titles, rule, *rows)]


def _machine(results: dict[str, Any]) -> str:
    facts = results["environment"]
    names = {"torch": "torch", "transformers": "transformers", "onnxruntime": "ONNX Runtime"}
    versions = ", ".join(f"{title} {facts[name]}" for name, title in names.items() if name in facts)
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads, {versions}."


if __name__ == "__main__":
    main()
