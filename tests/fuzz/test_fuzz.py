"""Mutated inputs through every command: exit code 0 or 2, one sentence, nothing half-written, no row lost silently.

The default suite tries ``BERTWRIGHT_FUZZ`` inputs per target (10); ``make fuzz N=200`` tries more. A failure names the
target and the seed: ``BERTWRIGHT_FUZZ_SEED=17 BERTWRIGHT_FUZZ=1 pytest tests/fuzz -k TARGET`` repeats it.
"""

from __future__ import annotations

import csv
import io
import os
import random
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bertwright.cli.app import app
from fuzz.targets import SMALL, TARGETS, TRAIN, Models, Target
from tiny_data import ROWS, canary, delimited, squad, tagged

CASES = int(os.environ.get("BERTWRIGHT_FUZZ", "10"))
FIRST_SEED = int(os.environ.get("BERTWRIGHT_FUZZ_SEED", "0"))
SECONDS = 60
"""What a command on a file of two dozen rows may take at most, on a busy machine."""

REPORTED = re.compile(r"skip|ignor|discard|left out|dropped|repeat|duplicate|line break|quot", re.IGNORECASE)
"""Words with which a command reports rows that it did not take as they are."""


class HangError(BaseException):
    """The command did not end in time; no handler of the command line catches it."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise :class:`HangError` in the block after that many seconds."""

    def stop(*_: object) -> None:
        raise HangError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(*arguments: object) -> tuple[int, str, str]:
    """Run a command in this process: exit code, standard output, standard error."""
    with time_limit(SECONDS):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="bertwright")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def models(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("fuzz-models")
    for name, data in (("labels.csv", delimited(",")), ("tags.conll", tagged()), ("answers.json", squad())):
        (folder / name).write_bytes(data)
    for name, task in (("labels.csv", "classification"), ("tags.conll", "tagging"), ("answers.json", "qa")):
        out = folder / Path(name).stem
        code, _, err = run("train", "--model", tiny_bert, "--data", folder / name, "--task", task, "--out", out, *TRAIN)
        assert code == 0, err
    return Models(tiny_bert, *(folder / name for name in ("labels", "tags", "answers")), _stop_a_run(tiny_bert, folder))


def _stop_a_run(base: Path, folder: Path) -> Path:
    """A run directory as Ctrl-C leaves it."""
    from bertwright.recipe import load_recipe
    from bertwright.run.train import train
    from bertwright.training.loop import Step

    def interrupt(event: object) -> None:
        if isinstance(event, Step) and event.step == 2:
            signal.raise_signal(signal.SIGINT)

    settings = [f"model.base={base}", f"data.train={folder / 'labels.csv'}", "train.length=4 steps", *SMALL]
    with pytest.raises(KeyboardInterrupt):
        train(load_recipe(None, settings), folder / "stopped", listeners=[interrupt])
    assert (folder / "stopped" / "checkpoint" / "state.safetensors").exists()
    return folder / "stopped"


def prepare(target: Target, models: Models, folder: Path, seed: int) -> bytes:
    """Write the mutated file, and what belongs to it, into the folder."""
    data = target.mutate(target.source(models), random.Random(f"{target.name}:{seed}"))
    (folder / "train.csv").write_bytes(delimited(","))  # commands that need a model's file need rows as well
    if "/" in target.file:
        name = Path(target.file).parts[0]
        shutil.copytree(getattr(models, name), folder / name)
    (folder / target.file).write_bytes(data)
    return data


def lost_rows(data: bytes, output: str) -> list[str]:
    """Canaries that occur in the input but not in the output."""
    return [word for i in range(ROWS) if (word := canary(i)) in data.decode("utf-8", "replace") and word not in output]


def merged_rows(output: Path) -> list[str]:
    """Output records that contain the canaries of three or more input rows, as an unclosed quote produces them."""
    text = output.read_text(encoding="utf-8", errors="replace")
    if output.suffix in (".csv", ".tsv"):
        records = [
            " ".join(row) for row in csv.reader(io.StringIO(text), delimiter="," if output.suffix == ".csv" else "\t")
        ]
    else:
        records = text.splitlines()
    return [record for record in records if len(set(re.findall(r"nr\d{4}", record))) > 2]


def is_complete(path: Path) -> bool:
    """Whether an output is whole: a directory has its config or tokenizer, a file its last line end."""
    if path.is_dir():
        return (path / "config.json").exists() or (path / "tokenizer.json").exists()
    return path.read_bytes().endswith((b"\n", b"PAR1"))


def check_outcome(target: Target, folder: Path, data: bytes, code: int, out: str, err: str) -> None:
    """Fail unless the outcome is right, or refused with one sentence and nothing half-written."""
    assert code in (0, 2), f"exit code {code}\n{err}"
    assert "Traceback" not in err
    assert "\x1b" not in out + err, "an escape sequence reached the terminal"
    # `check` prints what it finds wrong, which may be several things, as its result
    errors = [line for line in (*err.splitlines(), *out.splitlines()) if re.match(r"error\b", line)]
    assert bool(errors) == (code == 2), err
    assert len(errors) <= 1 or target.name.startswith("check"), err
    assert not list(folder.rglob(".partial-*"))
    if target.output is None:
        return
    output = folder / target.output
    if code == 2:
        assert not (output / "config.json").exists()
        assert not output.is_file()
    else:
        assert is_complete(output)
    if code == 0 and target.keeps_rows:
        merged = merged_rows(output)
        assert not merged or REPORTED.search(err + out), f"rows merged silently: {merged[0]!r}\n{err}"
        lost = lost_rows(data, output.read_text(encoding="utf-8", errors="replace"))
        assert not lost or REPORTED.search(err + out), f"rows lost silently: {lost}\n{err}"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGALRM")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_mutated_input(target: Target, models: Models, tmp_path: Path) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + CASES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        data = prepare(target, models, folder, seed)
        try:
            code, out, err = run(*target.command(folder, models))
            check_outcome(target, folder, data, code, out, err)
        except (AssertionError, HangError) as error:
            pytest.fail(f"{target.name}, seed {seed} ({folder / target.file}): {error}", pytrace=False)
        shutil.rmtree(folder)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_unmutated_input_passes(target: Target, models: Models, tmp_path: Path) -> None:
    """Without this, a command that refuses everything would pass the test above."""
    data = prepare(replace(target, mutate=lambda data, _: data), models, tmp_path, 0)
    code, out, err = run(*target.command(tmp_path, models))
    assert code == 0, err
    check_outcome(target, tmp_path, data, code, out, err)
