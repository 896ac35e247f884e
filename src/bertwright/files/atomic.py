"""Files and directories that are there whole or not at all, whatever happens while they are written.

Everything is written beside its destination, flushed to the disk and then renamed: a rename within
one file system either happens or does not, so a reader, a kill or a full disk never meets half of it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bertwright.errors import BertwrightError, OutputError

if sys.platform != "win32":
    import fcntl

STALE_SECONDS = 3600.0
"""A half-written leftover not touched for so long belongs to a process that was killed: it is removed."""

_REMEDIES = {
    errno.ENOSPC: "no space is left on the device; free some space or write to another place",
    errno.EDQUOT: "your disk quota is used up; free some space or write to another place",
    errno.EFBIG: "it would be larger than the file system or a limit (ulimit -f) allows; write to another place",
    errno.EACCES: "permission denied; write to a place that is yours or change its permissions",
    errno.EPERM: "the system does not permit writing here; write to another place",
    errno.EROFS: "the file system is read-only; write to another place",
    errno.EISDIR: "it is a directory where a file is due; give another name",
    errno.ENOTDIR: "a file stands where a directory is due; move that file or give another name",
    errno.EEXIST: "a file stands where a directory is due; move that file or give another name",
    errno.ENAMETOOLONG: "the name is too long for the file system; give a shorter one",
}


def expand_home(path: str | os.PathLike[str]) -> str:
    """A path with the home directory in place of a leading ``~`` or ``~user``, also behind ``hub:``.

    The shell does this for a word that begins with ``~``, but not for ``--out=~/runs``, ``data.train=~/train.csv``,
    YAML and Python. Settings, options of commands and public functions call this wherever they take a path.
    """
    text = os.fspath(path)
    prefix = "hub:" if text.startswith("hub:") else ""
    return prefix + os.path.expanduser(text.removeprefix(prefix))  # noqa: PTH111  # a Hub name is no Path


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write a file whole or not at all; text is written as UTF-8, its line ends untouched.

    A special file such as ``/dev/stdout`` is written straight to: it must not be replaced.

    Raises:
        OutputError: it cannot be written; what stood there before is unharmed.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_file(path) as partial:
        partial.write_bytes(data)
    return Path(expand_home(path))


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside ``path``, with the same suffix, to write to; at the end of the block it becomes ``path``.

    For writers that want a file name rather than bytes (safetensors, Parquet, matplotlib). If the
    block raises, or writes nothing, what stood at ``path`` stays.

    Raises:
        OutputError: the place cannot be written to, or there is no space.
    """
    # A link is followed: people link runs/ to a larger disk, and the link should survive.
    goal = Path(os.path.realpath(expand_home(path)))
    with _explained(path, goal.parent):
        if goal.is_dir():
            raise OSError(errno.EISDIR, "is a directory")
        if goal.exists() and not goal.is_file():
            yield goal
            return
        goal.parent.mkdir(parents=True, exist_ok=True)
        _sweep(goal)
        partial = _beside(goal)
        mode = _default_mode(partial)
        try:
            yield partial
            with suppress(OSError):
                partial.chmod(mode)  # safetensors writes files that only their owner can read
            _flush(partial)
            partial.replace(goal)
            _flush(goal.parent)
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty directory beside ``path`` to fill; at the end of the block it becomes ``path``.

    A directory that already stands at ``path`` is replaced as a whole: renamed aside, then deleted
    once the new one is in its place. If the block raises, it stays as it was.

    Raises:
        OutputError: the place cannot be written to, is a file, or there is no space.
    """
    goal = Path(os.path.realpath(expand_home(path)))
    with _explained(path, goal.parent):
        if goal.exists() and not goal.is_dir():
            raise OSError(errno.EEXIST, "is a file")
        goal.parent.mkdir(parents=True, exist_ok=True)
        restore(goal)
        _sweep(goal)
        partial = _beside(goal)
        partial.mkdir()
        try:
            yield partial
            for folder, _, names in os.walk(partial):
                for name in names:
                    _flush(Path(folder, name))
                _flush(Path(folder))
            _swap(partial, goal)
            _flush(goal.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if goal.exists():
                shutil.rmtree(_aside(goal), ignore_errors=True)


def restore(path: str | os.PathLike[str]) -> bool:
    """Put back a directory that a kill caught between the two renames of its replacement; True if it did."""
    goal = Path(os.path.realpath(expand_home(path)))
    if goal.exists() or not _aside(goal).is_dir():
        return False
    # Another process may have put it back, or the new one in place, since we looked.
    with suppress(OSError):
        _aside(goal).rename(goal)
        return True
    return False


def check_writable(path: str | os.PathLike[str]) -> None:
    """See, before time is spent on what goes there, that a file or a directory can be written at a path.

    Raises:
        OutputError: a file stands in the way, permission is denied, or the file system is read-only.
    """
    goal = Path(os.path.realpath(expand_home(path)))
    place = goal.parent if goal.is_file() else goal
    while not place.exists():
        place = place.parent
    with _explained(path, place):
        if place != goal and not place.is_dir():
            raise OSError(errno.ENOTDIR, "is a file")
        if not os.access(place, os.W_OK):
            read_only = hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY
            raise OSError(errno.EROFS if read_only else errno.EACCES, "cannot be written to")


@contextmanager
def sole_writer(directory: str | os.PathLike[str]) -> Iterator[Callable[[], None]]:
    """Keep other processes out of a directory, which is made if need be, while the block runs.

    What it gives is called before something is written: it sees that the directory still stands where it stood.

    What killed writers left half-written in it is removed. The lock is the system's own (flock on the directory): it
    leaves no file, and ends with the process however that ends. Where there is none (Windows, some network file
    systems), nobody is kept out and nothing is removed.

    Raises:
        OutputError: another process has it, or it cannot be made, or it has been moved or removed.
    """
    goal = Path(os.path.realpath(expand_home(directory)))
    with _explained(directory, goal.parent):
        goal.mkdir(parents=True, exist_ok=True)
    lock = _lock(goal)

    def check_there() -> None:
        if lock is not None and not (goal.exists() and os.path.samestat(os.fstat(lock), goal.stat())):
            raise OutputError(
                f"{directory}: was moved or removed while it was written to; "
                "what had been saved is where it went, and can be gone on from there."
            )

    try:
        for left in filter(half_written, goal.rglob(".partial-*") if lock is not None else ()):
            with suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield check_there
    finally:
        if lock is not None:
            os.close(lock)


def check_unlocked(directory: str | os.PathLike[str]) -> None:
    """See that no other process is inside :func:`sole_writer` for a directory.

    Raises:
        OutputError: one is.
    """
    lock = _lock(Path(directory)) if Path(directory).is_dir() else None
    if lock is not None:
        os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that locks a directory until it is closed; None where the file system has no locks."""
    if sys.platform == "win32":
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle
    except OSError as error:
        os.close(handle)
        if error.errno == errno.EWOULDBLOCK:
            raise OutputError(
                f"{folder}: another process is writing to it at this moment; wait for its end, or name another place."
            ) from None
        return None


def _swap(partial: Path, goal: Path) -> None:
    """Move a directory into place, an older one out of the way first; the older one comes back if that fails."""
    for attempt in range(10):
        if goal.exists():
            shutil.rmtree(_aside(goal), ignore_errors=True)
            with suppress(FileNotFoundError):
                goal.rename(_aside(goal))
        try:
            partial.rename(goal)
            return
        except OSError as error:
            # Another process put its own there in between: replace that one too.
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and attempt < 9:
                continue
            restore(goal)
            raise


def half_written(path: Path) -> bool:
    """Whether it is what a killed writer left, by its name."""
    return re.match(r"\.partial-[0-9a-f]{8}-", path.name) is not None


def _beside(goal: Path) -> Path:
    return goal.with_name(f".partial-{secrets.token_hex(4)}-{goal.name}")


def _aside(goal: Path) -> Path:
    return goal.with_name(f".replaced-{goal.name}")


def _sweep(goal: Path) -> None:
    """Remove what killed writers of the same file left, once it is old enough to be nobody's."""
    for left in goal.parent.glob(f".partial-{'[0-9a-f]' * 8}-{_literal(goal.name)}"):
        with suppress(FileNotFoundError):
            newest = max(item.stat().st_mtime for item in (left, *left.rglob("*")))
            if time.time() - newest > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _default_mode(path: Path) -> int:
    """The permissions that the system gives a new file at ``path``, which is created for that and removed.

    Reading the umask would mean changing it, for all threads of the process.
    """
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
        path.unlink()


def _flush(path: Path) -> None:
    """Make the system write a file, or the names in a directory, to the disk (fsync)."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open a directory, and needs no flush of it
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(path: str | os.PathLike[str], parent: Path) -> Iterator[None]:
    """Turn what the system says about writing below ``parent`` into a sentence for the user."""
    try:
        yield
    except BertwrightError:
        raise
    except OSError as error:
        # An error about some other file (one that was read inside the block) is not ours to explain.
        named = error.filename
        elsewhere = isinstance(named, str) and not Path(os.path.realpath(named)).is_relative_to(parent)
        parents = isinstance(named, str) and parent.is_relative_to(os.path.realpath(named))
        if elsewhere and not parents:
            raise
        said = f"{error.strerror or error}; write to another place"
        raise OutputError(f"{os.fspath(path)}: cannot be written: {_REMEDIES.get(error.errno or 0, said)}.") from error
    except Exception as error:
        # Writers in Rust and C++ (safetensors, torch) report a full disk or quota as errors of their own.
        code = re.search(r"\(os error (\d+)\)", str(error))
        number = int(code[1]) if code else errno.ENOSPC if "No space left on device" in str(error) else 0
        if number not in _REMEDIES:
            raise
        raise OutputError(f"{os.fspath(path)}: cannot be written: {_REMEDIES[number]}.") from error
