"""Cost of ten epochs of a head on a frozen encoder, in passes of that encoder over the training rows of SST-2.

The encoder alone processes all training rows, in the precision of training and without storing features. Then `train`
runs with an empty feature cache, and once more with cached features. The time includes all passes, steps, evaluations
on dev and writing. The encoder pass is measured before, between and after the runs.

    python benchmarks/frozen.py                                  # half an hour on two idle cores
    python benchmarks/frozen.py --contestants minilm-32 --rows 2000 --out /tmp/frozen.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import contest
import inputs


class Contestant(NamedTuple):
    """A training run on MiniLM, or on random weights of DistilBERT's size, for which accuracy is meaningless.

    Attributes:
        title: in the table.
        base: "minilm" or "distilbert".
        recipe: a shipped recipe; None for the standard head.
        settings: overrides of the recipe.
    """

    title: str
    base: str
    recipe: str | None
    settings: tuple[str, ...]


CONTESTANTS = {
    "minilm-32": Contestant(
        "MiniLM-L6, standard head, batch 32, 1e-3",
        "minilm",
        None,
        ("train.batch_size=32", "train.learning_rate=1e-3"),
    ),
    "minilm-256": Contestant(
        "MiniLM-L6, standard head, batch 256, 3e-3",
        "minilm",
        None,
        ("train.batch_size=256", "train.learning_rate=3e-3"),
    ),
    "minilm-512": Contestant(
        "MiniLM-L6, standard head, batch 512, 4e-3",
        "minilm",
        None,
        ("train.batch_size=512", "train.learning_rate=4e-3"),
    ),
    "distilbert-32": Contestant(
        "DistilBERT's size, standard head, batch 32, 1e-3",
        "distilbert",
        None,
        ("train.batch_size=32", "train.learning_rate=1e-3"),
    ),
    "distilbert-recipe": Contestant(
        "DistilBERT's size, recipe distilbert_frozen_head (batch 256)", "distilbert", "distilbert_frozen_head", ()
    ),
}


def main() -> None:
    """Run the missing measurements, print and save them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--contestants", default=",".join(CONTESTANTS), help=f"some of {', '.join(CONTESTANTS)}")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int, help="use the first N rows of train.tsv; default: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", type=Path, help="a directory in HF's format; default: MiniLM-L6 from PyPI")
    parser.add_argument("--data", type=Path, default=inputs.default_data(), help="a folder with train.tsv and dev.tsv")
    parser.add_argument("--out", type=Path, help="where the results go; default: results/frozen.json")
    parser.add_argument("--smoke", action="store_true", help="tiny synthetic models and rows; saved only with --out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options)))
        return
    contest.choose(parser, "contestants", options.contestants, CONTESTANTS)
    with tempfile.TemporaryDirectory() as folder:
        found = _measured(options, Path(folder))
    import table

    print(table.frozen(found))


def _measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The results, including those that the file already contains."""
    command = " ".join(["python", "benchmarks/frozen.py", *sys.argv[1:]])
    if options.smoke:
        options.model, options.data = inputs.make_tiny(folder)
        options.out = options.out or folder / "frozen.json"
    options.model = options.model or inputs.default_model()
    options.out = options.out or inputs.RESULTS / "frozen.json"
    settings = {"data": options.data.name, "epochs": options.epochs, "rows": options.rows}
    settings["model"] = inputs.name_of(options.model)
    found = inputs.resumed(options.out, "frozen", settings, options.threads)
    for name in options.contestants.split(","):
        if inputs.has_run(found, {"contestant": name}):
            continue
        base = options.model
        if CONTESTANTS[name].base == "distilbert":
            base = inputs.make_distilbert(folder / "distilbert", options.model, tiny=options.smoke)
        arguments = ["--one", name, "--model", str(base), "--data", str(options.data)]
        arguments += ["--epochs", str(options.epochs), *(["--rows", str(options.rows)] if options.rows else [])]
        load = inputs.load_average()
        one = inputs.run_alone("frozen.py", *arguments, threads=options.threads)
        facts = {"contestant": name, "command": command, "date": found["date"], "load_before": load}
        found["runs"].append(facts | one)
        inputs.save(options.out, found)
    return found


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure encoder passes, and training with and without cached features, in this process."""
    import torch

    torch.set_num_threads(options.threads)
    from bertwright.data.reader import read_dataset
    from bertwright.nn.model import Model
    from bertwright.recipe import load_recipe
    from bertwright.run.events import TrainingStarted, Working
    from bertwright.run.train import train
    from bertwright.tasks.classification import Classification
    from bertwright.tokenization.batching import iterate_in_order
    from bertwright.training.compute import choose_compute, keep_freed_memory, set_threads
    from bertwright.training.loop import Step
    from bertwright.training.scoring import TOKENS
    from bertwright.weights.pretrained import open_pretrained

    keep_freed_memory()
    compute = choose_compute("auto", "auto", options.threads)
    set_threads(compute)
    base = open_pretrained(options.model)
    rows = read_dataset(options.data / "train.tsv", layout="sst2", need_target=True)[: options.rows]
    task = Classification().infer_from_data(rows)
    encodings = task.encode(rows, base.tokenizer)
    model: Model = base.model(task.head(base.config, base.style(task.head_kind)))[0].freeze("encoder").eval()

    def one_pass() -> float:
        began = time.perf_counter()
        with torch.inference_mode(), compute.autocast():
            for batch in iterate_in_order(encodings, TOKENS):
                model.features(batch)
        return time.perf_counter() - began

    contestant = CONTESTANTS[options.one]
    settings = [f"data.train={options.data / 'train.tsv'}", f"data.dev={options.data / 'dev.tsv'}", "data.format=sst2"]
    settings += [f"model.base={options.model}", "model.freeze=encoder", f"train.length={options.epochs} epochs"]
    settings += [*contestant.settings, f"train.threads={options.threads}"]
    if options.rows:
        settings.append(f"data.limit={options.rows}")
    recipe = load_recipe(contestant.recipe, settings)

    def trained(out: Path) -> tuple[float, float]:
        """Return the seconds from the first pass or step to the last event, and the dev accuracy."""
        began: list[float] = []

        def listen(event: object) -> None:
            if isinstance(event, Working | TrainingStarted | Step) and not began:
                began.append(time.perf_counter())

        # the first event of a pass follows its first batch, a thousandth of the pass
        report = train(recipe, out, listeners=[listen]).report
        return time.perf_counter() - began[0], report.metrics["dev"]["accuracy"]

    found: dict[str, Any] = {"rows": len(encodings), "tokens": int(encodings.lengths.sum())}
    found |= {"batch_size": recipe.train.batch_size, "learning_rate": recipe.train.learning_rate}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BERTWRIGHT_CACHE"] = folder
        found["passes"] = [one_pass()]
        found["first"], found["accuracy"] = trained(Path(folder, "first"))
        found["passes"].append(one_pass())
        found["again"], _ = trained(Path(folder, "again"))
        found["passes"].append(one_pass())
    print(found, file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
