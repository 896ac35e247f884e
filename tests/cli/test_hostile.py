"""What goes wrong around a command: signals, other processes, full disks, files that others damaged."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from worlds import SMALL, Call, World

from bertwright.files import sole_writer


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
    with sole_writer(out):  # the lock belongs to the open file, so a second one in this process meets it too
        (out / "recipe.yaml").write_text("seed: 1\n")
        for said in (call(*command(world, out)), call("train", "--resume", "--out", out)):
            assert said.code == 2
            assert said.err.endswith(
                "run: another process is writing to it at this moment; wait for its end, or name another place.\n"
            )
    assert "holds a run that was stopped" in call(*command(world, out)).err


def test_a_kill_leaves_nothing_behind(world: World, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / ".partial-0123abcd-recipe.yaml").write_text("half")  # a kill at the very first file
    said = call(*command(world, out, "train.length=1 step"))
    assert said.code == 0, said.err
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]

    (out / "checkpoint").mkdir()  # a kill at the very last moment
    (out / "checkpoint" / "best.safetensors").write_bytes(b"large")
    assert "has finished already" in call("train", "--resume", "--out", out).err
    assert not (out / "checkpoint").exists()
