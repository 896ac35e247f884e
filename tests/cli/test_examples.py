"""The examples run as they are, on a tiny model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_python_api(tiny_bert: Path, tmp_path: Path) -> None:
    lines = run("python_api.py", tiny_bert, tmp_path / "run").splitlines()
    assert len(lines) == 3
    assert lines[0].split()[0] in {"good", "bad"}
    assert (tmp_path / "run" / "report.json").exists()


def test_own_loop(tiny_bert: Path, reviews: Path) -> None:
    out = run("own_loop.py", tiny_bert, reviews)
    assert "2 randomly initialized (head.output.weight, head.output.bias)" in out
    assert "\n7 " in out  # 120 rows in steps of 16
    assert "tensor(" in out
