"""Reference runs: the same weights, bit for bit, before and after a change that must not change results.

Bits differ between processors and torch releases, so the hashes are stored under both. On any other machine the losses
are compared within a tolerance. ``python tests/loop/test_same_results.py`` records this machine; do that only together
with an entry under Numbers in the CHANGELOG that explains what changed.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from bertwright.recipe import load_recipe
from bertwright.run.event_log import read_events
from bertwright.run.train import train
from tiny import make_tiny_bert
from tiny_data import choices, delimited, multi_label, numbers, plain_text, squad, tagged

EXPECTED = Path(__file__).with_name("same_results.json")
SMALL = (
    "tokens.max_length=32",
    "train.batch_size=8",
    "train.threads=1",
    "train.length=6 steps",
    "train.learning_rate=2e-5",
    "seed=5",
)
HEAD = "model.head={layers: [{dropout: 0.1}, {dense: 16}, batch_norm, relu], output_l2: 0.01}"
DATA: dict[str, tuple[str, Callable[[], bytes]]] = {
    "classification": ("rows.csv", lambda: delimited(",")),
    "multilabel": ("rows.csv", multi_label),
    "regression": ("rows.csv", numbers),
    "tagging": ("rows.conll", tagged),
    "qa": ("rows.json", squad),
    "pretraining": ("rows.txt", plain_text),
    "multiple_choice": ("rows.jsonl", choices),
}
COLUMNS = {
    "multilabel": ("data.label=[good, long]",),
    "regression": ("data.text=a", "data.text_pair=b", "data.label=score"),
    "pretraining": ("data.sentences=lines",),
}
PAPER: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("classification", "multilabel", "tagging"), ("model.output_bias=zero",)),
    "regression": ("task.standardize=false",),
}
"""The output layer as in the BERT paper, except in variants of their own."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "classification": (),
    "classification output-bias": ("model.output_bias=prior",),
    "classification average": ("train.average=0.5",),
    "classification custom-head": (HEAD,),
    "classification frozen": ("model.freeze=encoder",),
    "classification frozen-custom-head": ("model.freeze=encoder", HEAD),
    "classification lora": ("model.lora={rank: 4}",),
    "classification mean-pooling": ("model.head={pooling: mean}",),
    "classification focal": ("task.focal_gamma=2",),
    "multilabel": (),
    "multilabel output-bias": ("model.output_bias=prior",),
    "multilabel weighted-layers": ("model.head={from_layers: weighted}",),
    "regression": (),
    "regression standardized": ("task.standardize=true",),
    "tagging": (),
    "tagging output-bias": ("model.output_bias=prior",),
    "tagging crf": ("model.head={crf: true}",),
    "qa": (),
    "qa windows": ("tokens.max_length=16", "tokens.stride=4"),
    "pretraining": ("task.sentence_objective=none",),
    "pretraining whole-words": ("task.sentence_objective=none", "task.masking=words"),
    "multiple_choice": (),
    "multiple_choice mean-pooling": ("model.head={pooling: mean}", "train.max_tokens=100"),
}
CASES = [(variant, precision) for variant in VARIANTS for precision in ("fp32", "bf16")]


def machine() -> str:
    """What decides about bits: torch's release and the processor."""
    info = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in info.read_text().splitlines()] if info.exists() else []
    facts = {name.strip(): value.strip() for name, _, value in lines}
    name = "-".join(facts.get(key, "?") for key in ("model name", "cpu family", "model", "stepping"))
    return f"torch {torch.__version__.partition('+')[0]}, {torch.backends.cpu.get_cpu_capability()}, {name}"


def run(variant: str, precision: str, folder: Path) -> dict[str, Any]:
    """Train a tiny model: a hash over all tensors and metrics, and the losses of its steps."""
    task = variant.partition(" ")[0]
    name, make_data = DATA[task]
    (folder / name).write_bytes(make_data())
    base = make_tiny_bert(folder / "base")
    pairs = (*SMALL, *COLUMNS.get(task, ()), *PAPER.get(task, ()), *VARIANTS[variant])
    settings = {pair.partition("=")[0]: pair for pair in pairs}
    names = (f"model.base={base}", f"data.train={folder / name}", f"task.kind={task}", f"train.precision={precision}")
    recipe = load_recipe(None, [*names, *settings.values()])
    bundle = train(recipe, folder / "run")
    assert bundle.report is not None
    digest = hashlib.sha256()
    for key, tensor in sorted(bundle.model.state_dict().items()):
        digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
    digest.update(json.dumps(bundle.report.metrics, sort_keys=True).encode())
    losses = [event["loss"] for event in read_events(folder / "run") if event["event"] == "step"]
    return {"sha256": digest.hexdigest(), "losses": losses}


@pytest.mark.parametrize(("variant", "precision"), CASES, ids=lambda value: value)
def test_results_are_the_recorded_ones(variant: str, precision: str, tmp_path: Path) -> None:
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    case = f"{variant}, {precision}"
    result = run(variant, precision, tmp_path)
    assert result["losses"] == pytest.approx(expected["losses"][case], rel=1e-4 if precision == "fp32" else 0.05)
    if (hashes := expected["sha256"].get(machine())) is not None:
        assert result["sha256"] == hashes[case]


def record() -> None:
    """Write the results of this machine."""
    torch.set_num_threads(1)
    expected = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else {"sha256": {}, "losses": {}}
    hashes = expected["sha256"].setdefault(machine(), {})
    for variant, precision in CASES:
        with tempfile.TemporaryDirectory() as folder:
            result = run(variant, precision, Path(folder))
        hashes[f"{variant}, {precision}"] = result["sha256"]
        expected["losses"][f"{variant}, {precision}"] = result["losses"]
    EXPECTED.write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
