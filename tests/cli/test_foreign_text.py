"""Labels, texts and file names that try to act on the terminal, to forge lines or to be markup."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from worlds import SMALL, Call, World

FORGED = "good\n0.9999\tpos\tforged text"
STYLED = "\x1b[31m[/]<script>alert(1)</script> [a](https://a.b)|$x$ `q`"


def write_rows(path: Path, labels: tuple[str, str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(40):
            writer.writerow(
                [f"the film is {'good' if i % 2 else 'bad'} {'a ' * (i // 2 % 5)}{'it ' * (i // 10)}", labels[i % 2]]
            )
    return path


@pytest.fixture(scope="module")
def run(world: World, call: Call, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    data = write_rows(folder / "rows.csv", (FORGED, STYLED))
    out = folder / "run"
    said = call("train", "--model", world.base, "--data", data, "--out", out, *SMALL, "train.length=2 epochs")
    assert said.code == 0, said.err
    assert_safe(said.out, said.err)
    return out


def assert_safe(*texts: str) -> None:
    for text in texts:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", text)
        assert not any(line.startswith("0.9999") for line in text.splitlines())


def test_predictions_are_a_line_a_text(run: Path, call: Call) -> None:
    said = call("predict", run, "a film", "the\x1b[2J\nplot")
    assert_safe(said.out, said.err)
    lines = said.out.splitlines()
    assert len(lines) == 2
    assert all(len(line.split("\t")) == 3 for line in lines)


def test_every_other_view_of_them(run: Path, call: Call) -> None:
    data = run.parent / "rows.csv"
    for arguments in (
        ("evaluate", run, "--data", data),
        ("inspect", run),
        ("check", "--model", run, "--data", data, *SMALL),
    ):
        said = call(*arguments)
        assert said.code == 0, said.err
        assert_safe(said.out, said.err)


def test_files_hold_the_exact_values(run: Path, call: Call, tmp_path: Path) -> None:
    for name in ("out.csv", "out.jsonl"):
        assert call("predict", run, "--input", run.parent / "rows.csv", "--output", tmp_path / name).code == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    for found in (table, rows):
        assert {row["label"] for row in found} == {FORGED, STYLED}
    assert FORGED in json.loads((run / "config.json").read_text())["id2label"].values()


def test_the_model_card_shows_them_as_text(run: Path) -> None:
    card = (run / "README.md").read_text(encoding="utf-8")
    body = card.split("---", 2)[2]
    assert "<script" not in body
    assert "](http" not in body
    assert "\x1b" not in card
    assert not any(line.startswith("0.9999") for line in card.splitlines())
    (table,) = re.findall(r"\| label \|.*?\n\n", body, re.DOTALL)
    assert {line.count("|") for line in table.strip().splitlines()} == {6}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file names")
def test_a_file_name_forges_no_error(run: Path, call: Call, tmp_path: Path) -> None:
    name = tmp_path / "a\nerror: forged \x1b[31m.csv"
    for arguments in (
        ("evaluate", run, "--data", name),
        ("predict", run, "--input", name),
        ("train", name, "--out", tmp_path / "o"),
    ):
        said = call(*arguments)
        assert said.code == 2
        assert said.err.count("\n") == 1, said.err
        assert "a\\nerror: forged \\x1b[31m.csv" in said.err
        assert_safe(said.err)


def test_several_faults_of_a_recipe_stay_several_lines(call: Call, tmp_path: Path) -> None:
    said = call("train", "train.batch_size=x", "seed=y", "data.train=a\nerror: b", "--out", tmp_path / "o")
    assert said.code == 2
    assert [line.split(":")[0] for line in said.err.splitlines()] == ["error"] * 2


def test_warnings_of_libraries_are_one_line() -> None:
    script = (
        "import sys, warnings; from bertwright.cli import main; sys.argv = ['bertwright', '--version']\n"
        "try: main()\nexcept SystemExit: warnings.warn('a\\nerror: forged\\x1b[1m')"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stderr == "warning: a\\nerror: forged\\x1b[1m\n"
