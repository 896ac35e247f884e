from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for module in ("inputs", "table", "quality", "speed", "frozen"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return __import__(name)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False, timeout=600)


def contestant(title: str, *rates: float) -> dict[str, Any]:
    middle, low, high = sorted(rates)[len(rates) // 2], min(rates), max(rates)
    value = {"median": middle, "low": low, "high": high}
    return {
        "title": title,
        "examples_per_second": value,
        "useful_gflops": value,
        "peak_megabytes": value,
        "tokens": 1330,
        "rounds": [{}] * len(rates),
    }


ENVIRONMENT = {"cpu": "a CPU", "cores": 2, "threads": 2, "torch": "2.13.0", "transformers": "5.23.0"}
SPEED = {
    "benchmark": "speed",
    "date": "2026-01-01",
    "settings": {"model": "m", "data": "d", "rows": 100, "batch_size": 32},
    "environment": ENVIRONMENT,
    "matmul": {"fp32": {"median": 185.2}, "bf16": {"median": 400.0}},
    "contestants": {
        "hf-default": contestant("defaults", 9.0, 10.0, 12.0),
        "hf-best": contestant("best", 99.0, 100.0, 120.0),
        "bertwright": contestant("ours", 140.0, 150.0, 151.0),
    },
}


def quality_run(contestant: str, rows: int, seed: int, accuracy: float) -> dict[str, Any]:
    return {"contestant": contestant, "rows": rows, "seed": seed, "accuracy": accuracy, "seconds": 1.0}


QUALITY = {
    "benchmark": "quality",
    "date": "2026-01-01",
    "settings": {"model": "m", "data": "d", "epochs": 1, "batch_size": 32, "learning_rate": 5e-5},
    "environment": ENVIRONMENT,
    "runs": [
        quality_run("bertwright", 10000, 1, 0.86),
        quality_run("bertwright", 10000, 0, 0.87),
        quality_run("hf-best", 10000, 0, 0.85),
        quality_run("hf-best", 10000, 1, 0.86),
        quality_run("bertwright", 67349, 0, 0.89),
    ],
}


def test_speed_table_has_medians_ranges_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    text = load("table", monkeypatch).speed(SPEED)
    assert "| ours | 150.0 (140.0 … 151.0) | 150 | 150 | 15.00 | 1.50 |" in text
    assert "× HF defaults | × HF at its best |" in text
    assert "100 rows of 13.3 tokens on average" in text
    assert "185 in fp32 and 400 in bf16" in text


def test_speed_table_leaves_out_ratios_to_what_did_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = SPEED | {"contestants": {"bertwright": SPEED["contestants"]["bertwright"]}}  # type: ignore[index]
    text = load("table", monkeypatch).speed(alone)
    assert "×" not in text
    assert "| ours | 150.0 (140.0 … 151.0) | 150 | 150 |\n" in text


def test_quality_table_has_every_seed_and_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    text = load("table", monkeypatch).quality(QUALITY)
    assert "| bertwright as shipped | 10,000 | 0.8650 | 0.0071 | 0.8700, 0.8600 |" in text
    assert "| bertwright as shipped | 67,349 | 0.8900 | – | 0.8900 |" in text
    # two and two runs with equal spread: t(2) = 4.3027 times sqrt(2 · 0.00005 / 2)
    assert "bertwright minus HF Trainer at 10,000 rows: +0.0100, 95 % interval -0.0204 … +0.0404." in text
    assert "at 67,349 rows" not in text


def test_frozen_table_is_in_passes_and_keeps_an_accuracy_that_means_nothing_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = load("table", monkeypatch)
    run = {"rows": 100, "tokens": 1330, "passes": [9.0, 10.0, 14.0], "first": 11.5, "again": 1.5, "accuracy": 0.75}
    run["date"] = "2026-01-01"
    runs = [run | {"contestant": name} for name in ("distilbert-32", "minilm-256")]
    settings = {"data": "d", "epochs": 10, "rows": None, "model": "m"}
    text = table.frozen({"settings": settings, "runs": runs, "environment": ENVIRONMENT})
    assert "| one encoder pass, s | 10 epochs, s | in passes |" in text
    ours, random = (line for line in text.splitlines() if "standard head" in line)
    assert ours.endswith("batch 256, 3e-3 | 10.0 | 11.5 | 1.15 | 1.5 | 0.7500 | 2026-01-01 |")
    assert random.endswith("batch 32, 1e-3 | 10.0 | 11.5 | 1.15 | 1.5 | – | 2026-01-01 |")


def test_frozen_smoke_measures_what_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="what makes the tiny models is missing")
    arguments = ("frozen.py", "--smoke", "--contestants", "distilbert-recipe", "--epochs", "1")
    done = run(*arguments, "--out", str(tmp_path / "frozen.json"))
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "frozen.json").read_text(encoding="utf-8"))["runs"]
    assert found["command"].startswith("python benchmarks/frozen.py --smoke --contestants distilbert-recipe")
    assert (found["rows"], found["batch_size"], len(found["passes"])) == (128, 256, 3)
    assert found["first"] > 0
    done = run("frozen.py", "--contestants", "bert")
    assert done.returncode == 2
    assert "bert unknown; there are minilm-32" in done.stderr


def test_readme_keeps_its_words_and_gets_new_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = load("table", monkeypatch)
    (tmp_path / "speed.json").write_text(json.dumps(SPEED), encoding="utf-8")
    text = table.results(tmp_path)
    assert "## Speed\n\n| contestant |" in text
    assert f"## Quality\n\n{table.NOTHING}" in text
    renewed = table.renew(f"before\n{table.BEGIN}old\n{table.END}after\n", text)
    assert renewed.startswith(f"before\n{table.BEGIN}")
    assert renewed.endswith(f"{table.END}after\n")
    assert "old\n" not in renewed
    assert table.renew(renewed, text) == renewed
    with pytest.raises(SystemExit, match="are missing"):
        table.renew("no marks", text)


def test_readme_shows_the_results_that_are_there() -> None:
    done = run("table.py", "--check")
    assert done.returncode == 0, done.stderr


def test_speed_smoke_runs_both_sides(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the peer of the benchmarks is missing")
    out = tmp_path / "speed.json"
    done = run("speed.py", "--smoke", "--contestants", "hf-best,bertwright", "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert set(found["contestants"]) == {"hf-best", "bertwright"}
    ours, theirs = (found["contestants"][name] for name in ("bertwright", "hf-best"))
    # the same rows, tokenised by either side, are the same number of tokens
    assert ours["tokens"] == theirs["tokens"] > 0
    assert ours["examples_per_second"]["median"] > 0
    assert found["matmul"]["bf16"]["median"] > 0
    assert "| × HF at its best |" in done.stdout


def test_an_unknown_contestant_and_missing_rows_are_said_at_once(tmp_path: Path) -> None:
    done = run("speed.py", "--contestants", "keras")
    assert done.returncode == 2
    assert "keras unknown; there are hf-default" in done.stderr
    done = run("speed.py", "--data", str(tmp_path), "--model", str(tmp_path))
    assert done.returncode == 1
    assert "train.tsv: no rows found; set BERTWRIGHT_DATA" in done.stderr
