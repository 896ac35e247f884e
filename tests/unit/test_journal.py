"""``events.jsonl``: its first line, clock times, strict JSON, and what becomes of damaged lines."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bertwright.errors import OutputError
from bertwright.run.event_log import EventLog, read_events, starting_directory


@dataclass(frozen=True)
class Step:
    step: int
    loss: float


def write(directory: Path, *events: Any, step: int = 0, steps: int = 9) -> list[dict[str, Any]]:
    event_log = EventLog(directory, "abc", steps, step)
    for event in events:
        event_log.write(event)
    event_log.close()
    return [json.loads(line) for line in event_log.path.read_text(encoding="utf-8").splitlines()]


def test_the_first_line_describes_the_run(tmp_path: Path) -> None:
    first, second = write(tmp_path, Step(1, 0.5))
    assert first == {
        "event": "run",
        "time": first["time"],
        "run": tmp_path.name,
        "recipe": "abc",
        "steps": 9,
        "directory": str(Path.cwd()),
    }
    assert second == {"event": "step", "time": second["time"], "step": 1, "loss": 0.5}
    for event in (first, second):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
    assert first["time"] <= second["time"]


def test_a_resumed_run_keeps_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_ = write(tmp_path, Step(1, 0.5), Step(2, 0.4), Step(3, 0.3))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    events = write(tmp_path, Step(3, 0.2), step=2, steps=12)
    assert events[0] == first | {"steps": 12}
    assert [(event["step"], event["loss"]) for event in events[1:]] == [(1, 0.5), (2, 0.4), (3, 0.2)]
    assert [event["event"] for event in events].count("run") == 1
    assert str(starting_directory(tmp_path)) == first["directory"]


def test_undefined_numbers_are_null_and_read_as_nan(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class EvaluationFinished:
        step: int
        metrics: dict[str, dict[str, float]]

    write(tmp_path, EvaluationFinished(1, {"dev": {"pearson": math.nan, "mse": math.inf}}))
    text = (tmp_path / "events.jsonl").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    *_, event = read_events(tmp_path)
    assert event["event"] == "evaluated"
    assert math.isnan(event["metrics"]["dev"]["pearson"])


@pytest.mark.parametrize(
    "line",
    [
        "[1, 2]",
        '"step"',
        '{"step": 1}',
        '{"event": "step", "step": "one"}',
        '{"event": "step", "step": -3}',
        '{"event": ["step"], "step": 1}',
        '{"event": "step", "step": 1, "loss": {"a": 1}}',
        '{"event": "evaluated", "step": 1, "metrics": {"dev": 0.5}}',
        '{"event": "run", "directory": 7}',
        "\x00\x00\x00",
        "[" * 100_000,
    ],
)
def test_lines_of_the_wrong_type_are_ignored_with_a_warning(
    tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.jsonl"
    good = '{"event": "step", "step": 1, "loss": 0.5, "label": "a\u2028b"}'
    path.write_text(f"{good}\n{line}\n{good}\n", encoding="utf-8")
    events = list(read_events(tmp_path))
    assert [event["loss"] for event in events] == [0.5, 0.5]
    assert events[0]["label"] == "a\u2028b"
    assert f"{path}:2: not an event of a run; 1 such line ignored." in caplog.text
    assert write(tmp_path, Step(2, 0.1), step=1)[-1]["step"] == 2


def test_a_line_that_a_kill_cut_short_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "events.jsonl").write_text('{"event": "saved", "step": 1}\n{"event": "step", "st', encoding="utf-8")
    assert [event["event"] for event in read_events(tmp_path)] == ["saved"]
    assert not caplog.text


def test_no_space_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event_log = EventLog(tmp_path, "abc", 9)

    def full(text: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(event_log._file, "write", full)
    with pytest.raises(OutputError, match="No space left on device"):
        event_log.write(Step(1, 0.5))
    event_log.close()
