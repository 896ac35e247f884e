"""What commands say of columns that they infer, of headers that look like rows, and files without a header."""

from __future__ import annotations

from pathlib import Path

import pytest
from worlds import SMALL, Call, World

from bertwright.cli import sweep as sweeping
from bertwright.sweep.search import sweep
from bertwright.sweep.trial import Emit, Event, Job, run_job

ROWS = [(f"a {word} film {i}", mood) for i in range(12) for word, mood in (("good", 1), ("bad", 0))]
INFERRED = ("text: inferred to be review (", "label: inferred to be stars (")
LOOKS = 'a.csv:1: is read as the header, but "0" looks like a value, not like a name; if the file has none, use '


@pytest.fixture
def words(world: World, tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "a.csv").write_text("review,stars\n" + "".join(f"{t},{s}\n" for t, s in ROWS), encoding="utf-8")
    return ("--model", world.base, "--data", tmp_path / "a.csv", *SMALL, "train.length=1 step")


@pytest.mark.parametrize(("size", "diverges"), [(3e5, False), (1e30, True)])
def test_large_regression_targets_are_warned_about_and_named_as_the_cause_of_a_divergence(
    size: float, diverges: bool, world: World, tmp_path: Path, call: Call
) -> None:
    rows = "".join(f"{text} film,{size * sign:g}\n" for text, sign in (("good", 1), ("bad", -2)) * 10)
    (tmp_path / "far.csv").write_text("text,score\n" + rows, encoding="utf-8")
    words = ("--model", world.base, "--data", tmp_path / "far.csv", "--task", "regression", *SMALL)
    words = (*words, "train.length=1 step", "task.standardize=false")
    warning = "train: the targets are large (mean -"
    said = call("check", *words)
    assert said.out.count(f"warning  {warning}") == 1
    assert said.code == (2 if diverges else 0)
    said = call("train", *words, "--out", tmp_path / "run")
    if diverges:
        assert said.code == 2
        assert "the loss is inf; the targets are large (mean " in said.err
        assert "lower train.learning_rate" not in said.err
    else:
        assert said.code == 0, said.err
        assert said.err.count(f"warning: {warning}") == 1


def test_standardized_targets_need_no_warning(world: World, tmp_path: Path, call: Call) -> None:
    rows = "".join(f"{text} film,{3e5 * sign:g}\n" for text, sign in (("good", 1), ("bad", -2)) * 10)
    (tmp_path / "far.csv").write_text("text,score\n" + rows, encoding="utf-8")
    words = ("--model", world.base, "--data", tmp_path / "far.csv", "--task", "regression", *SMALL)
    said = call("train", *words, "train.length=1 step", "--out", tmp_path / "run")
    assert said.code == 0, said.err
    assert "targets are large" not in said.err
    assert "training standardizes the targets (mean -" in said.err


class InThisProcess:
    def run(self, job: Job, tell: Emit) -> Event:
        return run_job(job, tell)

    def stop(self) -> None:
        """Nothing is left running."""


def test_every_command_prints_what_it_infers(
    words: tuple[object, ...], world: World, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = call("check", *words)
    assert all(said.out.count(f"columns  {line}data.") == 1 for line in INFERRED)
    said = call("train", *words, "--out", tmp_path / "run")
    assert said.code == 0, said.err
    assert all(said.err.count(f"note: {line}data.") == 1 for line in INFERRED)
    monkeypatch.setattr(sweeping, "run", lambda *args, **more: sweep(*args, runner=InThisProcess(), **more))
    said = call("sweep", *words, "seed=0..1", "--out", tmp_path / "sweep")
    assert all(said.err.count(f"note: {line}data.") == 1 for line in INFERRED)
    said = call("predict", world.labels, "--input", tmp_path / "a.csv", "--output", tmp_path / "p.csv")
    assert "inferred" not in said.err  # it was trained on a column of that name
    (tmp_path / "b.csv").write_text("who,opinion\n1,a good film\n", encoding="utf-8")
    said = call("predict", world.labels, "--input", tmp_path / "b.csv")
    assert "note: text: inferred to be opinion (--text … overrides it)\n" in said.err


def test_columns_named_by_what_they_hold_are_no_inference(
    words: tuple[object, ...], tmp_path: Path, call: Call
) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{t},{s}\n" for t, s in ROWS), encoding="utf-8")
    assert "inferred" not in call("check", *words).out
    assert "inferred" not in call("train", *words, "--out", tmp_path / "run").err


def test_a_header_that_looks_like_a_row(words: tuple[object, ...], world: World, tmp_path: Path, call: Call) -> None:
    path = tmp_path / "a.csv"
    path.write_text("film,0\n" + "".join(f"{t},{s}\n" for t, s in ROWS), encoding="utf-8")
    assert call("check", *words).out.count(f"warning  {tmp_path}/{LOOKS}data.header=false\n") == 1
    said = call("train", *words, "--out", tmp_path / "run")
    assert said.err.count(f"warning: {tmp_path}/{LOOKS}data.header=false\n") == 1
    assert said.err.count("is read as the header") == 1
    path.write_text("4,0\n" + "".join(f"{t},{s}\n" for t, s in ROWS), encoding="utf-8")
    said = call("predict", world.labels, "--input", path)
    assert f'warning: {path}:1: is read as the header, but "4" looks like a value' in said.err
    assert said.err.endswith("use --no-header\n")


def test_a_file_without_a_header(words: tuple[object, ...], tmp_path: Path, call: Call) -> None:
    path, run = tmp_path / "a.csv", tmp_path / "run"
    path.write_text("".join(f"{t},{s}\n" for t, s in ROWS), encoding="utf-8")
    said = call("train", *words, "data.header=false", "--text", "0", "--label", "1", "--out", run)
    assert said.code == 0, said.err
    assert f"note: {path}: 24 rows\n" in said.err
    assert "24 examples" in call("evaluate", run, "--data", path).out
    assert "24 examples" in call("compare", run, run / ".." / "run", "--data", path).out
    said = call("predict", run, "--input", path, "--output", tmp_path / "p.csv")
    assert "24 predictions" in said.err
    lines = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("0,1,")
    assert len(lines) == 25
    (tmp_path / "b.csv").write_text("review,stars\na good film,1\na bad film,0\n", encoding="utf-8")
    named = ("--header", "--text", "review", "--label", "stars")
    assert "2 examples" in call("evaluate", run, "--data", tmp_path / "b.csv", *named).out
    assert "is read as the header" in call("evaluate", run, "--data", tmp_path / "b.csv", "--header").err


def test_predictions_for_a_word_per_row(world: World, tmp_path: Path, call: Call) -> None:
    path = tmp_path / "a.csv"
    rows = [
        f"{i if word == 'Ann' else ''},{word},{tag}\n"
        for i in range(20)
        for word, tag in (("Ann", "B-PER"), ("ran", "O"))
    ]
    path.write_text("Sentence #,Word,Tag\n" + "".join(rows), encoding="utf-8")
    options = ("--model", world.base, "--data", path, "--task", "tagging", *SMALL, "train.length=1 step")
    said = call("train", *options, "--out", tmp_path / "run")
    assert said.code == 0, said.err
    assert (
        f'note: {path}: groups 40 rows of one word into 20 sentences by column "Sentence #", read as column sent_id\n'
        in said.err
    )
    call("predict", tmp_path / "run", "--input", path, "--output", tmp_path / "p.jsonl")
    predicted = (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(predicted) == 20
    assert '"sent_id":"0"' in predicted[0].replace(" ", "")
