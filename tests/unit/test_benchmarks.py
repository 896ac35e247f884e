from __future__ import annotations

import copy
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
    for module in [file.stem for file in BENCHMARKS.glob("*.py")]:
        monkeypatch.delitem(sys.modules, module, raising=False)
    return __import__(name)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False, timeout=600)


def value(*rates: float) -> dict[str, float]:
    return {"median": sorted(rates)[len(rates) // 2], "low": min(rates), "high": max(rates)}


def contestant(title: str, *rates: float) -> dict[str, Any]:
    spreads = dict.fromkeys(("examples_per_second", "useful_gflops", "peak_megabytes"), value(*rates))
    return {"title": title, **spreads, "precision": "bf16", "tokens": 1330, "rounds": [{}] * len(rates)}


def predictor(title: str, rate: float, latency: float | None = 2.5, difference: float | None = None) -> dict[str, Any]:
    latencies = {} if latency is None else {"latency_ms": value(latency)}
    spreads = {"rows_per_second": value(rate), "cold_seconds": value(1.5), "peak_megabytes": value(600.0)}
    return {"title": title, **spreads, **latencies, "score_difference": difference, "rounds": [{}]}


ENVIRONMENT = {"cpu": "a CPU", "cores": 2, "threads": 2, "torch": "2.13.0", "transformers": "5.23.0"}
SPEED = {
    "benchmark": "speed",
    "date": "2026-01-01",
    "settings": {"batch_size": 32, "rounds": 3},
    "environment": ENVIRONMENT,
    "workloads": {
        "sst2": {
            "title": "m",
            "data": "d",
            "max_length": 128,
            "rows": 100,
            "matmul": {"fp32": value(185.2), "fp32-onednn": value(300.0), "bf16": value(400.0)},
            "contestants": {
                "hf-default": contestant("defaults", 9.0, 10.0, 12.0) | {"precision": "fp32"},
                "hf-best": contestant("best", 99.0, 100.0, 120.0),
                "bertwright": contestant("ours", 140.0, 150.0, 151.0),
            },
        }
    },
}
PREDICTION = {
    "benchmark": "prediction",
    "date": "2026-01-01",
    "settings": {"rounds": 1},
    "environment": ENVIRONMENT | {"onnxruntime": "1.32.0"},
    "workloads": {
        "sst2": {
            "title": "m",
            "data": "d",
            "max_length": 128,
            "rows": 4000,
            "contestants": {
                "bertwright": predictor("ours", 1500.0, difference=8.2e-07),
                "bertwright-command": predictor("command", 1400.0, latency=None),
                "transformers": predictor("theirs", 600.0, difference=0.0),
                "onnx-fp32": predictor("onnx", 1200.0, latency=1.9),
            },
        }
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
    assert "### Training: m, d\n" in text
    assert "| ours | 150.0 (140.0 … 151.0) | 150 | 0.38 | 150 | 15.00 | 1.50 |" in text
    assert "| defaults | 10.0 (9.0 … 12.0) | 10 | 0.03 | 10 |" in text  # of 300 GFLOP/s, the faster of two in fp32
    assert "× HF defaults | × HF at its best |" in text
    assert "100 rows of 13.3 tokens on average (at most 128)" in text
    assert "300 in fp32, 400 in bf16" in text


def test_speed_table_leaves_out_ratios_to_what_did_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    table = load("table", monkeypatch)
    alone = copy.deepcopy(SPEED)
    contestants = alone["workloads"]["sst2"]["contestants"]  # type: ignore[index]
    del contestants["hf-default"], contestants["hf-best"]
    text = table.speed(alone)
    assert "×" not in text
    assert "| ours | 150.0 (140.0 … 151.0) | 150 | 0.38 | 150 |\n" in text
    assert "ours" not in table.summarize_speed(alone)


def test_summaries_have_a_row_per_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    table = load("table", monkeypatch)
    assert "| m, d, 13 tokens | 100 | **150** | 1.5 | 100 | 150 |" in table.summarize_speed(SPEED)
    text = table.summarize_prediction(PREDICTION)
    assert "| m, d | – | 600 | 1,200 | – | **1,500** | – |" in text
    assert "A single text (m, d) takes 2.5 ms in bertwright, 1.9 ms in ONNX Runtime" in text


def test_the_headline_repeats_the_range_of_the_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    table = load("table", monkeypatch)
    readme = (BENCHMARKS.parent / "README.md").read_text(encoding="utf-8")
    assert table.HEADLINE.search(readme)
    several = copy.deepcopy(SPEED)
    other = copy.deepcopy(several["workloads"]["sst2"])  # type: ignore[index]
    other["contestants"]["hf-best"] = contestant("best", 60.0)
    several["workloads"]["other"] = other  # type: ignore[index]
    text = table.renew_headline(readme, several)
    assert "Training is 1.5 to 2.5 times as fast as the Trainer's fastest configuration" in text
    alone = copy.deepcopy(SPEED)
    del alone["workloads"]["sst2"]["contestants"]["hf-best"]  # type: ignore[index]
    assert table.renew_headline(readme, alone) == readme


def test_prediction_table_has_ratios_and_dashes_for_what_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    text = load("table", monkeypatch).prediction(PREDICTION)
    assert "| × transformers fp32 | × ONNX Runtime fp32 |" in text
    assert "| ours | 1,500 (1,500 … 1,500) | 2.5 | 1.50 | 600 | 8e-07 | 2.50 | 1.25 |" in text
    assert "| command | 1,400 (1,400 … 1,400) | – | 1.50 | 600 | – | 2.33 | 1.17 |" in text
    assert "ONNX Runtime 1.32.0." in text


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
    assert "## Training speed\n\n### Training: m, d\n\n| contestant |" in text
    assert f"## Quality\n\n{table.NOTHING}" in text
    begin, end = "<!-- results: written by benchmarks/table.py -->\n", "<!-- end of results -->\n"
    renewed = table.renew(tmp_path, f"before\n{begin}old\n{end}after\n", "results", text)
    assert renewed.startswith(f"before\n{begin}")
    assert renewed.endswith(f"{end}after\n")
    assert "old\n" not in renewed
    assert table.renew(tmp_path, renewed, "results", text) == renewed
    with pytest.raises(SystemExit, match="are missing"):
        table.renew(tmp_path, "no marks", "results", text)


def test_readme_shows_the_results_that_are_there() -> None:
    done = run("table.py", "--check")
    assert done.returncode == 0, done.stderr


def smoke(script: str, out: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The results of a benchmark in smoke size, and its output."""
    pytest.importorskip("transformers", reason="the peer of the benchmarks is missing")
    done = run(script, "--smoke", *arguments, "--out", str(out))
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text(encoding="utf-8")), done.stdout


@pytest.mark.parametrize("workload", ["sst2", "squad"])
def test_speed_smoke_runs_both_sides(tmp_path: Path, workload: str) -> None:
    arguments = ("--workloads", workload, "--contestants", "hf-best,bertwright")
    results, output = smoke("speed.py", tmp_path / "speed.json", *arguments)
    measured = results["workloads"][workload]
    assert measured["rows"] == 64
    ours, theirs = (measured["contestants"][name] for name in ("bertwright", "hf-best"))
    # the same rows, tokenized by either side, are the same number of tokens
    assert ours["tokens"] == theirs["tokens"] > 0
    assert ours["examples_per_second"]["median"] > 0
    assert measured["matmul"]["bf16"]["median"] > 0
    assert "| × HF at its best |" in output


def test_small_data_smoke_evaluates_both_sides_and_continues(tmp_path: Path) -> None:
    arguments = ("--tasks", "stsb,conll", "--contestants", "hf-defaults,bertwright", "--seeds", "0", "--jobs", "2")
    results, output = smoke("small_data.py", tmp_path / "small.json", *arguments)
    runs = {(each["task"], each["contestant"]): each for each in results["runs"]}
    assert len(runs) == 4
    assert all(-1 <= each["score"] <= 1 and each["seconds"] > 0 for each in runs.values())
    assert runs["conll", "bertwright"]["steps"] > 0
    assert "| STS-B, similarity | 500 | pearson |" in output
    again, _ = smoke("small_data.py", tmp_path / "small.json", *arguments)
    assert again["runs"] == results["runs"]


def test_prediction_smoke_compares_scores(tmp_path: Path) -> None:
    arguments = ("--workloads", "tagging,squad", "--contestants", "transformers,bertwright", "--rows", "12")
    results, output = smoke("prediction.py", tmp_path / "prediction.json", *arguments)
    for workload in ("tagging", "squad"):
        ours = results["workloads"][workload]["contestants"]["bertwright"]
        assert 0 < ours["score_difference"] < 1e-5
        assert ours["rows_per_second"]["median"] > 0
        assert 0 < ours["latency_ms"]["median"] < 1000 * ours["cold_seconds"]["median"]
    assert "| × transformers fp32 |" in output


def test_prediction_smoke_runs_the_command_and_the_code_of_another_checkout(tmp_path: Path) -> None:
    arguments = ("--workloads", "sst2", "--contestants", "bertwright-command", "--baseline", str(BENCHMARKS.parent))
    results, _ = smoke("prediction.py", tmp_path / "prediction.json", *arguments)
    contestants = results["workloads"]["sst2"]["contestants"]
    assert list(contestants) == ["bertwright-command", "bertwright-baseline-command"]
    assert contestants["bertwright-baseline-command"]["title"].endswith(", baseline")
    assert all(each["cold_seconds"]["median"] > 0 for each in contestants.values())
    done = run(
        "prediction.py", "--smoke", "--workloads", "sst2", "--contestants", "bertwright", "--baseline", str(tmp_path)
    )
    assert done.returncode == 1
    assert "has no folder src/bertwright" in done.stderr


def test_prediction_without_onnx_runtime_skips_its_contestants(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prediction = load("prediction", monkeypatch)
    monkeypatch.setattr(prediction.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert not prediction._takes_part("onnx-int8", prediction.WORKLOADS["sst2"])
    assert capsys.readouterr().err == "onnx-int8 is skipped; install onnxruntime.\n"
    assert prediction._takes_part("transformers", prediction.WORKLOADS["sst2"])


def test_onnx_runtime_gives_the_scores_of_transformers(tmp_path: Path) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="a peer of prediction.py is missing")
    arguments = ("--workloads", "sst2", "--contestants", "transformers,onnx-fp32,onnx-int8", "--rows", "12")
    results, _ = smoke("prediction.py", tmp_path / "prediction.json", *arguments)
    fp32, int8 = (results["workloads"]["sst2"]["contestants"][name] for name in ("onnx-fp32", "onnx-int8"))
    assert 0 < fp32["score_difference"] < 1e-5 < int8["score_difference"] < 0.1


def test_serving_smoke_compares_servers_with_bulk_prediction(tmp_path: Path) -> None:
    for package in ("fastapi", "uvicorn", "prometheus_client", "transformers"):
        pytest.importorskip(package, reason="the servers need it")
    results, output = smoke("serving.py", tmp_path / "serving.json")
    contestants = results["contestants"]
    assert list(contestants) == ["bertwright-bulk", "bertwright-server", "pipeline-server"]
    for each in contestants.values():
        assert each["texts_per_second"]["median"] > 0
        assert each["latency_ms"]["median"] > 0
    assert "| × pipeline server | × bulk prediction | CPU ms per text | one client, ms | 64 clients, ms |" in output


def test_no_request_breaks_a_server(tmp_path: Path) -> None:
    for package in ("fastapi", "uvicorn", "prometheus_client", "transformers"):
        pytest.importorskip(package, reason="the server needs it")
    done = run("serving_fuzz.py", "--requests", "400", "--seed", "7", "--out", str(tmp_path / "fuzz.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "fuzz.json").read_text(encoding="utf-8"))
    assert sum(results["statuses"].values()) == 400
    assert {"200", "422", "413", "415"} <= results["statuses"].keys()
    assert results["problems"] == []


def test_pretraining_smoke_runs_both_sides(tmp_path: Path) -> None:
    arguments = ("--contestants", "hf-best,bertwright")
    results, _ = smoke("pretraining.py", tmp_path / "pretraining.json", *arguments)
    ours, theirs = (results["contestants"][name] for name in ("bertwright", "hf-best"))
    assert ours["tokens_per_second"]["median"] > 0
    assert ours["rounds"][0]["tokens"] == theirs["rounds"][0]["tokens"] == 2 * 4 * 128


def test_quality_smoke_runs_both_sides(tmp_path: Path) -> None:
    results, output = smoke("quality.py", tmp_path / "quality.json", "--seeds", "0")
    assert [run["contestant"] for run in results["runs"]] == ["hf-best", "bertwright"]
    assert all(0 <= run["accuracy"] <= 1 and run["rows"] == 64 for run in results["runs"])
    assert "| bertwright as shipped | 64 |" in output


def test_store_smoke_compares_with_the_tokenizers_library(tmp_path: Path) -> None:
    results, output = smoke("store.py", tmp_path / "store.json", "--rounds", "2")
    assert results["tokens"] > 0
    assert all(rate > 0 for measured in results["rounds"] for rate in measured.values())
    assert "| encode_batch of the tokenizers library |" in output


def test_the_trainer_for_question_answering_saves_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the peer of the benchmarks is missing")
    workloads, inputs = load("workloads", monkeypatch), load("inputs", monkeypatch)
    model, _ = inputs.make_tiny(tmp_path)
    rows = workloads.write_rows("squad", workloads.make_rows("squad", 8), tmp_path / "train")
    arguments = ("--train", str(rows), "--model", str(model), "--out", str(tmp_path / "out"), "--epochs", "1")
    done = run("hf_squad.py", *arguments, "--batch-size", "4", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["windows"] == 8
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_rows_are_the_same_after_writing_and_reading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    workloads = load("workloads", monkeypatch)
    for name in ("sst2", "squad"):
        rows = workloads.make_rows(name, 5)
        assert list(workloads.read_written(workloads.write_rows(name, rows, tmp_path / name))) == rows


def test_growth_smoke_measures_every_point_and_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plots need it")
    plot = tmp_path / "growth.svg"
    arguments = ("--axes", "rows", "--operations", "predict-file,train", "--plot", str(plot))
    results, output = smoke("growth.py", tmp_path / "growth.json", *arguments)
    series = {each["operation"]: each for each in results["series"]}
    assert list(series) == ["predict-file", "train"]
    for each in series.values():
        assert [point["value"] for point in each["points"]] == [100, 200]
        assert all(point["peak_megabytes"] > 50 for point in each["points"])
    assert "| `train` | rows, 100 to 200 |" in output
    assert "</svg>" in plot.read_text(encoding="utf-8")


def test_growth_reports_more_than_linear_growth_in_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = load("growth", monkeypatch)
    points = [{"value": n, "seconds": 1e-8 * n**1.5, "peak_megabytes": 100.0} for n in (10**2, 10**5, 10**6)]
    points[0]["seconds"] = 0.1  # a short time is noise
    slopes = growth.exponents(points)
    assert slopes == pytest.approx({"seconds_exponent": 1.5, "peak_megabytes_exponent": 0.0})
    assert growth.exponents(points[:2])["seconds_exponent"] is None
    series = {"operation": "predict", "axis": "rows", "points": points, **slopes}
    results = {"series": [series, series | {"axis": "length"}, series | {"seconds_exponent": None}]}
    (defect,) = growth.list_defects(results)
    assert defect == "defect: the time of predict grows with rows to the power of 1.50; expected at most 1.05."


def test_an_unknown_contestant_and_missing_rows_are_said_at_once(tmp_path: Path) -> None:
    for script in ("speed.py", "prediction.py", "pretraining.py"):
        done = run(script, "--contestants", "keras")
        assert done.returncode == 2
        assert "keras unknown; there are" in done.stderr
    done = run("speed.py", "--data", str(tmp_path), "--model", str(tmp_path))
    assert done.returncode == 1
    assert "train.tsv: no rows found; set BERTWRIGHT_DATA" in done.stderr
