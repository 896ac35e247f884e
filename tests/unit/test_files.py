"""Files are there whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bertwright.errors import OutputError
from bertwright.files import atomic as files
from bertwright.files.atomic import (
    atomic_directory,
    atomic_file,
    check_unlocked,
    check_writable,
    lock_directory,
    restore_directory,
    write_atomically,
)


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_text_is_utf8_and_parents_are_made(tmp_path: Path) -> None:
    path = write_atomically(tmp_path / "a" / "b.txt", "naïve\n")
    assert path.read_bytes() == "naïve\n".encode()
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(path.parent) == ["b.txt"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    path = write_atomically(tmp_path / "ours", "")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_write_leaves_the_umask_of_the_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    former = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("other threads would create files with it"))
        with atomic_file(tmp_path / "file") as partial:
            assert not partial.exists()
            partial.touch(mode=0o600)  # as safetensors creates files
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
        assert names(tmp_path) == ["file"]
    finally:
        monkeypatch.undo()
        os.umask(former)


def test_a_link_is_followed_and_survives(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "big")
    with atomic_directory(tmp_path / "link") as folder:
        (folder / "a").write_text("1")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "big") == ["a"]
    (tmp_path / "file").symlink_to(tmp_path / "real.txt")
    write_atomically(tmp_path / "file", "x")
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "x"


def test_a_special_file_is_written_to_not_replaced(tmp_path: Path) -> None:
    write_atomically("/dev/null", "gone")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_the_block_keeps_the_suffix_and_an_error_keeps_the_old(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_text("old")

    def write_half() -> None:
        with atomic_file(path) as partial:
            assert partial.suffix == ".npy"
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.npy"]


def test_a_reader_that_came_before_keeps_the_old_content(tmp_path: Path) -> None:
    path = write_atomically(tmp_path / "x", "old")
    with path.open() as reader:
        write_atomically(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left on the device; free some space"),
        (errno.EACCES, "permission denied; use another path"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "Input/output error; use another path"),
    ],
)
def test_what_the_system_says_becomes_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=said) as caught:
        write_atomically(path, "new")
    assert str(caught.value).startswith(f"{path}: cannot be written: ")
    with pytest.raises(OutputError, match=said), atomic_directory(tmp_path / "d") as folder:
        (folder / "a").write_text("a")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_device() -> None:
    with pytest.raises(OutputError, match=r"/dev/full: cannot be written: no space left"):
        write_atomically("/dev/full", "x" * 100_000)


def test_a_full_disk_reported_by_a_foreign_writer(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no space left"), atomic_file(tmp_path / "w.safetensors"):
        raise RuntimeError('I/O error: Os { code: 28, message: "No space left on device" }')
    with pytest.raises(RuntimeError, match="other"), atomic_file(tmp_path / "w.safetensors"):
        raise RuntimeError("other")


def test_names_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OutputError, match="dir: cannot be written: is a directory; expected a file"):
        write_atomically(tmp_path / "dir", "")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="is a file; expected a directory"), atomic_directory(place):
            pass
    with pytest.raises(OutputError, match="the name is too long"):
        write_atomically(tmp_path / ("n" * 300), "")
    assert (tmp_path / "file").read_text() == "precious"
    assert names(tmp_path) == ["dir", "file"]


def test_an_error_about_another_file_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "x"):
        Path("/nonexistent/input").read_text()


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("1", "2"):
        with atomic_directory(tmp_path / "out") as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / text).write_text(text)
            assert names(folder) == ["sub"]
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out" / "sub") == ["2"]


def test_an_error_keeps_the_old_directory(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("")

    def write_half() -> None:
        with atomic_directory(tmp_path / "out") as folder:
            (folder / "new").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["old"]


def test_a_failing_rename_brings_the_old_directory_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.startswith(".partial"):
            raise OSError(errno.EACCES, "no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="permission denied"), atomic_directory(tmp_path / "out"):
        pass
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["old"]


def test_a_rival_that_gets_there_first_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, rivals = Path.rename, ["once"]

    def late(self: Path, target: Path) -> Path:
        if self.name.startswith(".partial") and rivals:
            (target / rivals.pop()).mkdir(parents=True)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    with atomic_directory(tmp_path / "out") as folder:
        (folder / "ours").write_text("")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["ours"]


def test_a_kill_between_the_renames_is_mended(tmp_path: Path) -> None:
    assert not restore_directory(tmp_path / "out")
    (tmp_path / ".replaced-out").mkdir()
    (tmp_path / ".replaced-out" / "old").write_text("")
    assert restore_directory(tmp_path / "out")
    assert names(tmp_path / "out") == ["old"]
    assert not restore_directory(tmp_path / "out")


def test_only_old_leftovers_of_the_same_name_are_swept(tmp_path: Path) -> None:
    stale = [tmp_path / ".partial-00000000-a[1].txt", tmp_path / ".partial-00000001-a[1].txt"]
    kept = [tmp_path / ".partial-00000002-a[1].txt", tmp_path / ".partial-00000003-other"]
    stale[0].mkdir()
    for path in (stale[0] / "inside", stale[1], *kept):
        path.write_text("")
    long_ago = time.time() - files.STALE_SECONDS - 60
    for path in (stale[0] / "inside", *stale, kept[1]):
        os.utime(path, (long_ago, long_ago))
    write_atomically(tmp_path / "a[1].txt", "")
    assert names(tmp_path) == sorted(["a[1].txt", *(path.name for path in kept)])


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
def test_kill_9_leaves_the_old_or_the_new_never_a_mixture(tmp_path: Path) -> None:
    script = """
        import sys
        from bertwright.files.atomic import atomic_directory, write_atomically
        n = 0
        while True:
            n += 1
            write_atomically(sys.argv[1] + "/file", str(n % 10) * 200_000)
            with atomic_directory(sys.argv[1] + "/dir") as folder:
                for name in "ab":
                    (folder / name).write_text(str(n))
            print(n, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    for wait in (0.002, 0.005, 0.011):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        text = (tmp_path / "file").read_text()
        assert len(text) == 200_000
        assert len(set(text)) == 1
        restore_directory(tmp_path / "dir")
        assert names(tmp_path / "dir") == ["a", "b"]
        assert (tmp_path / "dir" / "a").read_text() == (tmp_path / "dir" / "b").read_text()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no flock")
def test_a_sole_writer_keeps_others_out_and_sweeps(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    with lock_directory(place):
        assert place.is_dir()
        with pytest.raises(OutputError, match="another process is writing to it"), lock_directory(place):
            raise AssertionError
        with pytest.raises(OutputError, match="another process is writing to it"):
            check_unlocked(place)
    check_unlocked(place)
    (place / "deep").mkdir()
    left = [place / ".partial-0123abcd-x", place / "deep" / ".partial-0123abcd-y", place / ".partial-0123abcd-z"]
    for path in left[:2]:
        path.write_text("half")
    left[2].mkdir()
    (place / ".partial-mine").write_text("whole")
    with lock_directory(place):
        assert not any(path.exists() for path in left)
        assert (place / ".partial-mine").exists()


def test_a_sole_writer_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("bertwright.files.atomic.fcntl.flock", refuse)
    (tmp_path / ".partial-0123abcd-x").write_text("perhaps another process is writing it")
    with lock_directory(tmp_path), lock_directory(tmp_path):
        assert (tmp_path / ".partial-0123abcd-x").exists()
    with (
        pytest.raises(OutputError, match="is a file; expected a directory"),
        lock_directory(tmp_path / ".partial-0123abcd-x"),
    ):
        raise AssertionError


def test_places_are_checked_before_time_is_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for fine in (tmp_path, tmp_path / "new" / "deep", file, "/dev/null"):
        check_writable(fine)
    with pytest.raises(OutputError, match="is a file; expected a directory"):
        check_writable(file / "below" / "it")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the super-user may write everywhere
    with pytest.raises(OutputError, match="permission denied"):
        check_writable(tmp_path / "new")


@pytest.mark.parametrize(("code", "said"), [(errno.EFBIG, "ulimit -f"), (errno.EDQUOT, "the disk quota is exceeded")])
def test_what_rust_says_of_a_full_place_is_understood(tmp_path: Path, code: int, said: str) -> None:
    with pytest.raises(OutputError, match=said), atomic_file(tmp_path / "x"):
        raise RuntimeError(f"Error while serializing: I/O error: {os.strerror(code)} (os error {code})")
    with pytest.raises(RuntimeError, match="header"), atomic_file(tmp_path / "x"):
        raise RuntimeError("Error while serializing: header too large (os error 999)")
