"""What goes wrong around a command: signals, other processes, full disks, files that others damaged."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pytest
from worlds import SMALL, Call, World

from bertwright.errors import DataError
from bertwright.files.atomic import lock_directory
from bertwright.run import display
from bertwright.training.loop import Step


def command(world: World, out: Path, *more: object) -> list[object]:
    data = world.folder / "reviews.csv"
    return ["train", "--model", world.base, "--data", data, "--text", "review", "--out", out, *SMALL, *more]


def test_ctrl_c_before_a_command_begins(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from bertwright import cli

    def interrupted(**more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bertwright.cli.app.app", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "error: stopped.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_two_processes_do_not_train_into_one_directory(world: World, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "run"
    with lock_directory(out):  # the lock belongs to the open file, so a second one in this process meets it too
        (out / "recipe.yaml").write_text("seed: 1\n")
        for said in (call(*command(world, out)), call("train", "--resume", "--out", out)):
            assert said.code == 2
            assert said.err.endswith(
                "run: another process is writing to it; wait until it ends, or use another directory.\n"
            )
    assert "contains an interrupted run" in call(*command(world, out)).err


def test_a_kill_leaves_nothing_behind(world: World, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / ".partial-0123abcd-recipe.yaml").write_text("half")  # a kill at the very first file
    said = call(*command(world, out, "train.length=1 step"))
    assert said.code == 0, said.err
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]

    (out / "checkpoint").mkdir()  # a kill at the very last moment
    (out / "checkpoint" / "best.safetensors").write_bytes(b"large")
    assert "has already finished" in call("train", "--resume", "--out", out).err
    assert not (out / "checkpoint").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not move a directory in use")
@pytest.mark.parametrize("removed", [False, True])
def test_a_run_that_is_moved_meanwhile(
    world: World, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    out, moved = tmp_path / "run", tmp_path / "moved"

    def move(shown: display.RunDisplay, event: Step) -> None:
        if event.step == 3:
            shutil.rmtree(out) if removed else out.rename(moved)

    more = ("train.save_every=1 step", "train.evaluate_every=2 steps", "train.length=6 steps")
    with monkeypatch.context() as patch:
        patch.setattr(display.RunDisplay, "_step", move)
        said = call(*command(world, out, *more))
    assert said.code == 2
    assert "run: was moved or removed while it was being written" in said.err
    assert not out.exists()
    if not removed:
        assert call("train", "--resume", "--out", moved).code == 0


def test_the_best_weights_are_not_silently_others(
    world: World, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(shown: display.RunDisplay, event: Step) -> None:
        if event.step == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(display.RunDisplay, "_step", stop)
        call(*command(world, tmp_path / "run", "train.evaluate_every=2 steps", "train.length=6 steps"))
    (tmp_path / "run" / "checkpoint" / "best.safetensors").unlink()
    said = call("train", "--resume", "--out", tmp_path / "run")
    assert said.code == 2
    assert "best.safetensors: the best weights so far are missing" in said.err


def test_pictures_that_cannot_be_drawn_fail_no_run(
    world: World, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise DataError("learning_curve.png: no values to plot; train at least one step first.")

    monkeypatch.setattr("bertwright.run.plots.learning_curve", refuse)
    said = call(*command(world, tmp_path / "run", "train.length=1 step"))
    assert said.code == 0
    assert "warning: learning_curve.png: no values to plot" in said.err


@pytest.mark.parametrize("device", ["foo", "xpu", "meta", "cuda:x", "cuda:99"])
def test_devices_that_are_none(world: World, call: Call, device: str) -> None:
    said = call("predict", world.labels, "a text", "--device", device)
    assert said.code == 2
    assert said.err.startswith(f"error: --device: there is no {device} on this machine; it has cpu")


def test_more_threads_than_any_machine_has(world: World, tmp_path: Path, call: Call) -> None:
    said = call("predict", world.labels, "a text", "--threads", 100_000)
    assert said.err == "error: --threads: is 100,000; set at most 1,024.\n"
    said = call(*command(world, tmp_path / "run", "train.threads=100000"))
    assert said.code == 2
    assert "train.threads: is 100,000" in said.err


def test_a_warm_up_longer_than_the_run_is_told(world: World, tmp_path: Path, call: Call) -> None:
    settings = ("train.length=2 steps", "train.warmup=8", "train.learning_rate=1e-3")
    said = call(*command(world, tmp_path / "run", *settings))
    told = "the warm-up has 8 steps but the run only 2, so the learning rate reaches only 0.00025"
    assert f"warning: train.warmup: {told}\n" in said.err
    words = ("--model", world.base, "--data", world.folder / "reviews.csv", "--text", "review", *SMALL)
    assert f"warning  train.warmup: {told}\n" in call("check", *words, *settings).out
    segments = "[{kind: constant, steps: 2, start: 1e-3}, {kind: linear, steps: 7, start: 1e-3, end: 0}]"
    listed = (f"train.schedule={segments}", "train.warmup=0", "train.length=3 steps", "train.learning_rate=1e-3")
    said = call("check", *words, *listed)
    assert (
        "train.schedule: the schedule has 9 steps but the run only 3, so the last learning rates are not reached\n"
        in said.out
    )


def test_what_is_said_of_a_file_is_said_once(world: World, tmp_path: Path, call: Call) -> None:
    said = call(
        "train", *command(world, tmp_path / "run", "train.length=1 step")[1:5], "--out", tmp_path / "run", *SMALL
    )
    assert said.err.count("note: label: inferred to be sentiment") <= 1
    assert said.err.count("note: text: inferred to be review") == 1


@pytest.fixture
def copy(world: World, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(world.labels, tmp_path / "copy"))


@pytest.mark.parametrize("damaged", [False, True])
def test_a_lost_report_keeps_nobody_from_predicting(copy: Path, world: World, call: Call, damaged: bool) -> None:
    report = copy / "report.json"
    report.write_text("{") if damaged else report.unlink()
    for arguments in (
        ("predict", copy, "a good film"),
        ("evaluate", copy, "--data", world.folder / "reviews.csv", "--json", report),
        ("inspect", copy),
    ):
        if arguments[0] == "inspect":  # evaluate has written it anew, as the warning said
            damaged = False
        said = call(*arguments)
        assert said.code == 0, said.err
        assert ("report.json: damaged" in said.err) is damaged


def test_a_recipe_that_was_cut_or_changed_is_refused(copy: Path, world: World, call: Call) -> None:
    recipe = copy / "recipe.yaml"
    whole = recipe.read_text()
    for text, message in (
        (
            whole[: whole.index("\ntrain:") + 1],
            "recipe.yaml: is cut short (train, seed missing); copy the bundle again.",
        ),
        (whole.replace(", pos]", ", positive]"), "labels are neg, positive, but those of config.json are neg, pos;"),
        (whole.replace("\nseed:", "\nsead:"), 'sead is unknown; did you mean "seed"?'),
    ):
        assert text != whole
        recipe.write_text(text)
        for name in ("predict", "inspect"):
            said = call(name, copy, *(["a text"] if name == "predict" else []))
            assert said.code == 2, said.err
            assert message in said.err


def test_standard_input_in_other_encodings(world: World, call: Call) -> None:
    said = call("predict", world.labels, "--input", "-", "--encoding", "cp1252", stdin="bad café\n".encode("cp1252"))
    assert said.out.endswith("\tbad café\n")
    for encoding, stdin, message in (
        ("utf-8", "a\n".encode("utf-16-le"), "standard input:1: contains a NUL byte; if the text is UTF-16"),
        ("utf-8", b"a\n\xff\n", "standard input:2: byte 0 is not UTF-8; convert the text"),
        ("utf-16", "a\nb\n".encode("utf-16"), "standard input:1: byte 4 is not UTF-16"),
        ("idna", b"\xff\n", "standard input:1: "),
        ("klingon", b"a\n", "standard input:1: unknown encoding 'klingon'"),
    ):
        said = call("predict", world.labels, "--input", "-", "--encoding", encoding, stdin=stdin)
        assert said.code == 2
        assert message in said.err
    said = call("predict", world.labels, "--input", "-", "--text", "review", stdin="a\n")
    assert said.err.startswith("error: standard input: has one text per line and no columns; remove --text")


@pytest.mark.parametrize(
    ("rows", "output", "message"),
    [
        ('{"text": "good", "note": "a\\tb"}', "a.tsv", '"note" holds a tab or a line break, which .tsv cannot'),
        ('{"text": "good", "note": 1}\n{"text": "bad", "note": "x"}', "a.parquet", '"note": Parquet cannot hold'),
        ('{"text": "good", "note": 1180591620717411303424}', "a.parquet", '"note": Parquet cannot hold'),
        ('{"text": "good", "note": "\\ud800"}', "a.parquet", '"note": Parquet cannot hold'),
        ('{"text": "good"}', "rows.jsonl/a.csv", "is a file; expected a directory"),
    ],
)
def test_what_cannot_be_written_is_told_before_predicting(
    world: World, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, rows: str, output: str, message: str
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("predicted in vain")

    monkeypatch.setattr("bertwright.run.bundle.Bundle.compute_outputs", refuse)
    (tmp_path / "rows.jsonl").write_text(rows + "\n")
    said = call("predict", world.labels, "--input", tmp_path / "rows.jsonl", "--output", tmp_path / output)
    assert said.code == 2
    assert message in said.err
