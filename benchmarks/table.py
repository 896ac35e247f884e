"""Update the tables in README.md from results/*.json; ``--check`` only checks them.

python benchmarks/table.py [--check]
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import inputs

BEGIN = "<!-- results: written by table.py -->\n"
END = "<!-- end of results -->\n"
NOTHING = "Not measured yet.\n"


def speed(found: dict[str, Any]) -> str:
    """Format the results of speed.py as Markdown."""
    contestants, settings = found["contestants"], found["settings"]
    base = {name: contestants[name]["examples_per_second"]["median"] for name in _PEERS if name in contestants}
    rows = []
    for one in contestants.values():
        rate = one["examples_per_second"]
        rows.append(
            [
                one["title"],
                f"{rate['median']:.1f} ({rate['low']:.1f} … {rate['high']:.1f})",
                f"{one['useful_gflops']['median']:.0f}",
                f"{one['peak_megabytes']['median']:,.0f}",
                *(f"{rate['median'] / value:.2f}" for value in base.values()),
            ]
        )
    titles = ["contestant", "examples/s: median (range)", "useful GFLOP/s", "peak MB"]
    titles += [f"× {_PEERS[name]}" for name in base]
    n_rounds = max((len(one["rounds"]) for one in contestants.values()), default=0)
    tokens = next(iter(contestants.values()))["tokens"] / settings["rows"] if contestants else 0
    ceiling = " and ".join(f"{value['median']:.0f} in {kind}" for kind, value in found["matmul"].items())
    lines = [
        *_markdown(titles, rows),
        "",
        f"{settings['model']}, {settings['data']}, {settings['rows']:,} rows of {tokens:.1f} tokens on average, "
        f"batch {settings['batch_size']}, {n_rounds} rounds, {found['date']}.",
        f"{_machine(found)} The machine's matrix products at these shapes, the upper limit of useful GFLOP/s: "
        f"{ceiling}.",
    ]
    return "\n".join(lines) + "\n"


_PEERS = {"hf-default": "HF defaults", "hf-best": "HF at its best"}


def quality(found: dict[str, Any]) -> str:
    """Format the results of quality.py as Markdown."""
    from quality import CONTESTANTS, compare

    groups: dict[tuple[int, str], dict[int, float]] = {}
    for run in found["runs"]:
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
    settings = found["settings"]
    lines.append(
        f"{settings['model']}, {settings['data']}, {settings['epochs']} epoch, batch {settings['batch_size']}, "
        f"{settings['learning_rate']:g}, {found['date']}. {_machine(found)}"
    )
    return "\n".join(lines) + "\n"


def squad(found: dict[str, Any]) -> str:
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
        for run in sorted(found["runs"], key=lambda run: (run["questions"], list(titles).index(run["contestant"])))
    ]
    settings = found["settings"]
    lines = [
        *_markdown(["contestant", "questions", "dev F1", "dev exact match", "minutes of training"], rows),
        "",
        f"{settings['model']}, SQuAD 1.1, {settings['train.length']}, batch {settings['train.batch_size']}, "
        f"{settings['train.learning_rate']:g}, seed {settings['seed']}, {found['date']}. {_machine(found)} "
        "The minutes cannot be compared, because other programs were running.",
    ]
    return "\n".join(lines) + "\n"


def frozen(found: dict[str, Any]) -> str:
    """Format the results of frozen.py as Markdown."""
    from frozen import CONTESTANTS

    settings, rows = found["settings"], []
    for run in sorted(found["runs"], key=lambda run: list(CONTESTANTS).index(run["contestant"])):
        contestant, one = CONTESTANTS[run["contestant"]], statistics.median(run["passes"])
        cells = [f"{one:.1f}", f"{run['first']:.1f}", f"{run['first'] / one:.2f}", f"{run['again']:.1f}"]
        accuracy = f"{run['accuracy']:.4f}" if contestant.base == "minilm" else "–"
        rows.append([contestant.title, *cells, accuracy, run["date"]])
    titles = ["", "one encoder pass, s", f"{settings['epochs']} epochs, s", "in passes", "with cached features, s"]
    run = found["runs"][0]
    lines = [
        *_markdown([*titles, "dev accuracy", "measured"], rows),
        "",
        f"{settings['model']}, {settings['data']}, {run['rows']:,} rows of {run['tokens'] / run['rows']:.1f} tokens on "
        f"average. {_machine(found)} The size of DistilBERT means six layers of width 768 with random weights.",
    ]
    return "\n".join(lines) + "\n"


def store(found: dict[str, Any]) -> str:
    """Format the results of store.py as Markdown."""
    names = {"store": "token store, from file to disk", "encode_batch": "encode_batch of the tokenizers library"}
    names["encode_batch_fast"] = "encode_batch_fast of the tokenizers library"
    rows = []
    for name, title in names.items():
        rates = inputs.spread([one[name] / 1e6 for one in found["rounds"]])
        share = statistics.median(one["store"] / one[name] for one in found["rounds"])
        cells = [f"{rates['median']:.2f} ({rates['low']:.2f} … {rates['high']:.2f})", f"{share:.2f}"]
        rows.append([title, *(cells if name != "store" else [cells[0], ""])])
    facts = found["environment"]
    lines = [
        *_markdown(["", "MB/s: median (range)", "speed of the token store relative to it"], rows),
        "",
        f"{found['settings']['megabytes']:,.0f} MB of text, {found['settings']['tokenizer']}: {found['tokens']:,} "
        f"tokens in {found['shards']:,} shards of {found['stored'] / 1e6:,.0f} MB, {found['seconds']:,.0f} s, peak "
        f"memory {found['peak_megabytes']:,.0f} MB; opened again in {found['again_seconds']:.2f} s.",
        f"{len(found['rounds'])} rounds, {found['date']}. {facts['cpu']}, {facts['cores']} cores, "
        f"{facts['threads']} threads, tokenizers {facts['tokenizers']}.",
    ]
    return "\n".join(lines) + "\n"


def pretraining(found: dict[str, Any]) -> str:
    """Format the results of pretraining.py as Markdown."""
    contestants, settings = found["contestants"], found["settings"]
    peers = [name for name in contestants if name.startswith("hf")]
    best = max(peers, key=lambda name: float(contestants[name]["tokens_per_second"]["median"]), default=None)
    ceiling = found["matmul"]["median"]
    rows = []
    for one in contestants.values():
        rate, useful = one["tokens_per_second"], one["useful_gflops"]["median"]
        cells = [f"{rate['median']:,.0f} ({rate['low']:,.0f} … {rate['high']:,.0f})", f"{useful:.0f}"]
        cells += [f"{useful / ceiling:.2f}", f"{one['peak_megabytes']['median']:,.0f}"]
        if best is not None:
            cells.append(f"{rate['median'] / contestants[best]['tokens_per_second']['median']:.2f}")
        rows.append([one["title"], *cells])
    titles = ["contestant", "tokens/s: median (range)", "useful GFLOP/s", "of the limit", "peak MB"]
    titles += [] if best is None else ["× the fastest peer"]
    lines = [
        *_markdown(titles, rows),
        "",
        f"{settings['model']}, {settings['data']}, {settings['steps']} steps of {settings['batch_size']} sequences of "
        f"{settings['length']} tokens, {len(next(iter(contestants.values()))['rounds'])} rounds, {found['date']}.",
        f"{_machine(found)} The machine's bf16 matrix products at these shapes, the upper limit: "
        f"{ceiling:.0f} GFLOP/s.",
    ]
    return "\n".join(lines) + "\n"


def results(folder: Path) -> str:
    """Format all results of a folder as Markdown."""
    parts = []
    for title, name, write in (
        ("Speed", "speed", speed),
        ("Quality", "quality", quality),
        ("Question answering", "squad", squad),
        ("Frozen encoder", "frozen", frozen),
        ("Pre-training", "pretraining", pretraining),
        ("Token store", "store", store),
    ):
        file = folder / f"{name}.json"
        text = write(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else NOTHING
        parts.append(f"## {title}\n\n{text}")
    return "\n".join(parts)


def renew(readme: str, new: str) -> str:
    """Insert these results between the two marks of the README."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(
            f"README.md: the lines {BEGIN.strip()} and {END.strip()} are missing; insert them at the place of the "
            "results."
        )
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def main() -> None:
    """Update or check the README."""
    path = inputs.HERE / "README.md"
    old = path.read_text(encoding="utf-8")
    new = renew(old, results(inputs.RESULTS))
    if "--check" not in sys.argv[1:]:
        path.write_text(new, encoding="utf-8")
    elif new != old:
        sys.exit(f"{path}: its tables differ from results/*.json; run `python benchmarks/table.py`.")


def _markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(titles) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (titles, rule, *rows)]


def _machine(found: dict[str, Any]) -> str:
    facts = found["environment"]
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads, torch {facts['torch']}, "
        f"transformers {facts['transformers']}."
    )


if __name__ == "__main__":
    main()
