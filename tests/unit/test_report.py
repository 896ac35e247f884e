"""The report: judged, written, read back, shown."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bertwright.data.example import Example
from bertwright.errors import BundleError
from bertwright.metrics import (
    MAX_MATRIX_LABELS,
    Outcome,
    bootstrap_intervals,
    compute_metrics,
    confusion_matrix,
    describe_collapse,
    per_class_metrics,
    predict_majority,
)
from bertwright.run import report as module
from bertwright.run.report import Report, duration, environment, show, training_speed
from bertwright.tasks.classification import Classification
from bertwright.tasks.spec import EvaluationResult


@pytest.fixture
def outcome() -> Outcome:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 3, 200)
    predicted = np.where(rng.random(200) < 0.8, gold, (gold + 1) % 3)
    return Outcome("classification", gold, predicted, ("bad", "so-so", "good"), rng.dirichlet((1, 1, 1), 200))


def measured(names: list[str], outcome: Outcome) -> EvaluationResult:
    labelled = outcome.kind != "regression"
    return EvaluationResult(
        metrics=compute_metrics(names, outcome),
        intervals=bootstrap_intervals(names, outcome, resamples=100),
        baseline=compute_metrics(names, predict_majority(outcome.gold, outcome)),
        per_class=per_class_metrics(outcome) if labelled else {},
        confusion=confusion_matrix(outcome).tolist() if outcome.kind == "classification" else None,
        collapsed=describe_collapse(outcome),
        n=len(outcome),
    )


@pytest.fixture
def report(outcome: Outcome) -> Report:
    bare = Report(
        name="mine",
        seed=42,
        best={"step": 200, "metric": "accuracy", "value": 0.81},
        history=[{"step": 100, "epoch": 0.5, "metrics": {"accuracy": 0.7}, "seconds": 1.5}],
        speed=training_speed(examples=6400, tokens=64_000, seconds=411.3, parameters=10_600_000),
        data={
            "train": {"rows": 6400, "truncated_rows": 12, "tokens": 64_000, "skipped_rows": 0, "fingerprint": "ab12"},
            "dev": {"rows": 200, "tokens": np.int64(2000)},
        },
        environment=environment(),
        notes=["12 training rows were truncated to 128 tokens."],
    )
    return bare.with_evaluation("dev", measured(["accuracy", "f1_macro"], outcome))


def test_a_split_is_added_and_the_others_kept(report: Report, outcome: Outcome) -> None:
    both = report.with_evaluation("test", measured(["accuracy"], outcome))
    assert both.metrics["dev"] == report.metrics["dev"]
    assert both.metrics["test"] == {"accuracy": report.metrics["dev"]["accuracy"]}
    assert "test" not in report.metrics
    assert both.labels == ("bad", "so-so", "good")
    assert sum(map(sum, both.confusion["test"])) == 200
    assert both.data["test"] == {"rows": 200}
    assert both.data["dev"] == report.data["dev"]


def test_other_kinds_have_no_matrix_and_a_collapse_is_noted() -> None:
    flat = Outcome("regression", np.arange(6.0), np.zeros(6))
    judged = Report(notes=["first"]).with_evaluation("dev", measured(["mse"], flat))
    assert judged.per_class == judged.confusion == {}
    assert judged.notes[0] == "first"
    assert judged.notes[1].startswith("dev: the predictions are nearly constant")
    many = Outcome("multilabel", np.eye(2), np.eye(2), ("a", "b"))
    judged = Report().with_evaluation("dev", measured(["f1_micro"], many))
    assert judged.confusion == {}
    assert list(judged.per_class["dev"]) == ["a", "b"]


def test_written_and_read_back_it_is_the_same(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path)
    found = Report.load(tmp_path)
    assert found == Report.load(tmp_path / "report.json")
    assert found.data["dev"]["tokens"] == 2000
    assert found == report
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["metrics"]["dev"]["accuracy"] == report.metrics["dev"]["accuracy"]
    assert len(written["intervals"]["dev"]["accuracy"]) == 2
    assert {"train_seconds", "train_examples_per_second", "useful_gflops"} <= set(written["speed"])
    assert written["history"] == [{"step": 100, "epoch": 0.5, "metrics": {"accuracy": 0.7}, "seconds": 1.5}]


def test_the_undefined_is_null_on_disk_and_nan_again(tmp_path: Path) -> None:
    flat = Outcome("regression", np.arange(5.0), np.zeros(5))
    judged = Report(history=[{"step": 1, "metrics": {"pearson": math.nan}}], best={"value": math.nan})
    judged.with_evaluation("dev", measured(["pearson", "mse"], flat)).save(tmp_path / "r.json")
    written = json.loads((tmp_path / "r.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert written["metrics"]["dev"]["pearson"] is None
    found = Report.load(tmp_path / "r.json")
    assert math.isnan(found.metrics["dev"]["pearson"])
    assert math.isnan(found.intervals["dev"]["pearson"][0])
    assert math.isnan(found.history[0].metrics["pearson"])
    text = found.to_text()
    assert "pearson is undefined: all gold values or all predictions are equal" in text


def test_values_of_foreign_types_are_written(tmp_path: Path) -> None:
    Report(environment={"device": Path("cpu"), "n": np.float32(1.5), "a": np.arange(2)}).save(tmp_path)
    assert Report.load(tmp_path).environment == {"device": "cpu", "n": 1.5, "a": [0, 1]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "damaged"),
        ('{"metrics": {"dev": {"accu', "damaged"),
        ("[1]", "damaged"),
        (
            '{"metrics": {"dev": {"accuracy": "high"}}}',
            r"damaged \(metrics.dev.accuracy: Input should be a valid number",
        ),
        ('{"metric": {}}', r"damaged \(metric: Extra inputs are not permitted\); run `bertwright evaluate`"),
        ('{"format": 7}', "has format 7, newer than 1; update bertwright"),
    ],
)
def test_a_damaged_report_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(BundleError, match=f"report.json: {said}") as caught:
        Report.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_or_unreadable_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match="no such report; name the directory of a finished run"):
        Report.load(tmp_path)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BundleError, match=r"cannot be read \(Permission denied\)"):
        Report.load(tmp_path)


def test_it_fits_a_terminal_and_shows_the_baseline(report: Report) -> None:
    text = report.to_text(80)
    assert max(map(len, text.splitlines())) <= 80
    lines = [line.split() for line in text.splitlines()]
    assert ["metric", "value", "95", "%", "interval", "majority"] in lines
    row = next(line for line in lines if line[:1] == ["accuracy"])
    assert row[1] == f"{report.metrics['dev']['accuracy']:.4f}"
    assert row[-1] == f"{report.baseline['dev']['accuracy']:.4f}"
    assert "dev · 200 examples" in text
    assert "best   step 200 (accuracy 0.8100)" in text
    assert "speed  6 min 51 s of training · 16 examples/s · 10 useful GFLOP/s" in text
    assert "data   train: 6,400 rows, 64,000 tokens, 12 truncated" in text
    assert text.endswith("12 training rows were truncated to 128 tokens.\n")


def test_long_and_many_labels_still_fit() -> None:
    long = tuple(f"a label of a length that nobody would expect in a table, number {i}" for i in range(20))
    gold = np.arange(40) % 20
    text = (
        Report().with_evaluation("dev", measured(["accuracy"], Outcome("classification", gold, gold, long))).to_text()
    )
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("a label of") == 20
    assert "1.000" in text
    more = Outcome("classification", gold, gold, tuple(f"label {i}" for i in range(21)))
    assert "label 3" not in Report().with_evaluation("dev", measured(["accuracy"], more)).to_text()


def test_a_bare_report_shows_what_there_is() -> None:
    text = Report(metrics={"dev": {"own": 2.0, "mse": 123.456}}, best={"step": 3}, data={"dev": {}}).to_text()
    assert "2.0000" in text
    assert "123.5" in text
    assert "majority" not in text
    assert "best   step 3\n" in text
    assert "data   dev: no rows" in text


def test_values_and_durations_as_people_read_them() -> None:
    assert [show("accuracy", 0.88331), show("mse", 1234.5), show("mse", None)] == ["0.8833", "1234", "–"]
    assert [duration(s) for s in (0.26, 59.94, 411.3, 7260)] == ["0.3 s", "59.9 s", "6 min 51 s", "2 h 1 min"]


def test_useful_gflops_of_the_reference_measurement() -> None:
    # 13.3 tokens on average, 198 examples/s, 10.6 M parameters: 168 GFLOP/s.
    speed = training_speed(examples=19_800, tokens=263_340, seconds=100.0, parameters=10_600_000)
    assert speed["train_examples_per_second"] == 198
    assert speed["useful_gflops"] == pytest.approx(167.5, abs=0.1)


def test_the_environment_says_what_figures_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment("cpu", "bf16", threads=2)
    assert found["python"] == platform.python_version()
    assert (found["device"], found["precision"], found["threads"]) == ("cpu", "bf16", 2)
    assert found["torch"]
    assert found["cpu"]
    json.dumps(found)
    fake: Any = SimpleNamespace(
        get_num_threads=lambda: 7, cuda=SimpleNamespace(get_device_name=lambda device: f"GPU of {device}")
    )
    monkeypatch.setitem(sys.modules, "torch", fake)
    found = environment("cuda:0")
    assert (found["threads"], found["gpu"]) == (7, "GPU of cuda:0")
    monkeypatch.setattr(module, "version", lambda name: (_ for _ in ()).throw(module.PackageNotFoundError))
    assert environment()["torch"] is None


def test_the_processor_s_name_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    read_text = Path.read_text  # packages' metadata is read with it, too
    cpuinfo = Path("/proc/cpuinfo")
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, **options: "processor: 0\n" if path == cpuinfo else read_text(path, **options),
    )
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert environment()["cpu"] == platform.machine()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="Apple M9\n"))
    assert environment()["cpu"] == "Apple M9"

    def missing(*_: Any, **__: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert environment()["cpu"] == platform.machine()


def test_importing_it_does_not_import_torch() -> None:
    code = (
        "import sys, bertwright.run.report; sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_size_of_a_report_grows_with_its_labels_and_not_with_their_square(tmp_path: Path) -> None:
    sizes = {}
    for n in (3, MAX_MATRIX_LABELS, MAX_MATRIX_LABELS + 1, 4 * MAX_MATRIX_LABELS):
        labels = tuple(f"label {i}" for i in range(n))
        examples = [Example(str(i), "a text", None, labels[i]) for i in range(n)]
        task = Classification(labels=labels)
        scores = np.roll(np.eye(n, dtype=np.float32), 1, axis=1)  # every label is taken for the next one
        outcome = task.evaluate(scores, examples, train=examples)
        report = Report(task="classification", labels=labels).with_evaluation("dev", outcome)
        assert Report.load(report.save(tmp_path / "report.json")) == report
        values = json.loads(report.to_json())
        if n <= MAX_MATRIX_LABELS:
            assert (len(values["confusion"]["dev"]), "confused" in values) == (n, False)
        else:
            assert values["confusion"] == {}
            assert values["confused"]["dev"][0] == ["label 0", "label 1", 1]
            assert len(values["confused"]["dev"]) == 100
        sizes[n] = len(report.to_json())
    assert sizes[4 * MAX_MATRIX_LABELS] < 4 * sizes[MAX_MATRIX_LABELS + 1]
