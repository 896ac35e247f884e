"""Atomic writing of files and directories: they exist completely or not at all, even after a crash.

Everything is written next to its destination, flushed to the disk and then renamed. A rename within a file system is
atomic, so readers never see a partial file, even after a kill or on a full disk.
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
"""A partial file that has not changed for this many seconds belongs to a killed process and is removed."""

_REMEDIES = {
    errno.ENOSPC: "no space left on the device; free some space or use another path",
    errno.EDQUOT: "the disk quota is exceeded; free some space or use another path",
    errno.EFBIG: "it exceeds the limit of the file system or of the process (ulimit -f); use another path",
    errno.EACCES: "permission denied; use another path or change its permissions",
    errno.EPERM: "the system does not permit writing here; use another path",
    errno.EROFS: "the file system is read-only; use another path",
    errno.EISDIR: "is a directory; expected a file; use another name",
    errno.ENOTDIR: "is a file; expected a directory; move the file or use another name",
    errno.EEXIST: "is a file; expected a directory; move the file or use another name",
    errno.ENAMETOOLONG: "the name is too long for the file system; use a shorter name",
}


def expand_home(path: str | os.PathLike[str]) -> str:
    """Replace a leading ``~`` or ``~user`` by the home directory, also after ``hub:``.

    The shell does this for words that begin with ``~``, but not for ``--out=~/runs``, ``data.train=~/train.csv``, YAML
    and
    Python. Settings, command options and public functions call this for every path.
    """
    text = os.fspath(path)
    prefix = "hub:" if text.startswith("hub:") else ""
    return prefix + os.path.expanduser(text.removeprefix(prefix))  # noqa: PTH111  # a Hub name is not a path


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write a file atomically; text is written as UTF-8 with unchanged line ends.

    A special file such as ``/dev/stdout`` is written directly, because it must not be replaced.

    Raises:
        OutputError: the file cannot be written; an existing file is unchanged.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_file(path) as partial:
        partial.write_bytes(data)
    return Path(expand_home(path))


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Provide a temporary path next to ``path``, with the same suffix; at the end of the block it becomes ``path``.

    For writers that need a file name (safetensors, Parquet, matplotlib). If the block raises, or writes nothing, an
    existing
    file is unchanged.

    Raises:
        OutputError: the path is not writable, or the disk is full.
    """
    # Follow links: users link runs/ to a larger disk, and the link must be kept.
    target = Path(os.path.realpath(expand_home(path)))
    with _explain_errors(path, target.parent):
        if target.is_dir():
            raise OSError(errno.EISDIR, "is a directory")
        if target.exists() and not target.is_file():
            yield target
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_partials(target)
        partial = _partial_path(target)
        mode = _default_mode(partial)
        try:
            yield partial
            with suppress(OSError):
                partial.chmod(mode)  # safetensors creates files that only their owner can read
            _flush(partial)
            partial.replace(target)
            _flush(target.parent)
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Provide an empty directory next to ``path``; at the end of the block it becomes ``path``.

    An existing directory is replaced: it is renamed, and deleted after the new one has its name. If the block raises,
    it is
    unchanged.

    Raises:
        OutputError: the path is not writable or is a file, or the disk is full.
    """
    target = Path(os.path.realpath(expand_home(path)))
    with _explain_errors(path, target.parent):
        if target.exists() and not target.is_dir():
            raise OSError(errno.EEXIST, "is a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        restore_directory(target)
        _remove_stale_partials(target)
        partial = _partial_path(target)
        partial.mkdir()
        try:
            yield partial
            for folder, _, names in os.walk(partial):
                for name in names:
                    _flush(Path(folder, name))
                _flush(Path(folder))
            _replace_directory(partial, target)
            _flush(target.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if target.exists():
                shutil.rmtree(_path_of_replaced(target), ignore_errors=True)


def restore_directory(path: str | os.PathLike[str]) -> bool:
    """Restore a directory if a kill occurred between the two renames of its replacement; return whether it did."""
    target = Path(os.path.realpath(expand_home(path)))
    if target.exists() or not _path_of_replaced(target).is_dir():
        return False
    # Another process may have restored or replaced it in the meantime.
    with suppress(OSError):
        _path_of_replaced(target).rename(target)
        return True
    return False


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check that a file or a directory can be written at a path, before time is spent on its contents.

    Raises:
        OutputError: a file is in the way, permission is denied, or the file system is read-only.
    """
    target = Path(os.path.realpath(expand_home(path)))
    place = target.parent if target.is_file() else target
    while not place.exists():
        place = place.parent
    with _explain_errors(path, place):
        if place != target and not place.is_dir():
            raise OSError(errno.ENOTDIR, "is a file")
        if not os.access(place, os.W_OK):
            read_only = hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY
            raise OSError(errno.EROFS if read_only else errno.EACCES, "cannot be written to")


@contextmanager
def lock_directory(directory: str | os.PathLike[str]) -> Iterator[Callable[[], None]]:
    """Lock a directory, created if necessary, against other processes while the block runs.

    Yields a function to call before writing, which checks that the directory has not been moved or removed.

    Partial files of killed writers are removed. The lock is one of the operating system (flock on the directory): it
    leaves
    no file and ends with the process. Without such locks (Windows, some network file systems), other processes are not
    locked out and nothing is removed.

    Raises:
        OutputError: another process has the lock, or the directory cannot be created, or has been moved or removed.
    """
    target = Path(os.path.realpath(expand_home(directory)))
    with _explain_errors(directory, target.parent):
        target.mkdir(parents=True, exist_ok=True)
    lock = _lock(target)

    def check_still_exists() -> None:
        if lock is not None and not (target.exists() and os.path.samestat(os.fstat(lock), target.stat())):
            raise OutputError(
                f"{directory}: was moved or removed while it was being written; continue from its new location, "
                "which has everything saved so far."
            )

    try:
        for partial in filter(is_partial, target.rglob(".partial-*") if lock is not None else ()):
            with suppress(OSError):
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
        yield check_still_exists
    finally:
        if lock is not None:
            os.close(lock)


def check_unlocked(directory: str | os.PathLike[str]) -> None:
    """Check that no other process has locked a directory with :func:`lock_directory`.

    Raises:
        OutputError: another process has the lock.
    """
    lock = _lock(Path(directory)) if Path(directory).is_dir() else None
    if lock is not None:
        os.close(lock)


def _lock(folder: Path) -> int | None:
    """Return a descriptor that locks a directory until it is closed; None if the file system has no locks."""
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
                f"{folder}: another process is writing to it; wait until it ends, or use another directory."
            ) from None
        return None


def _replace_directory(partial: Path, target: Path) -> None:
    """Rename a directory to its final name, and an existing one out of the way; restore the latter on failure."""
    for attempt in range(10):
        if target.exists():
            shutil.rmtree(_path_of_replaced(target), ignore_errors=True)
            with suppress(FileNotFoundError):
                target.rename(_path_of_replaced(target))
        try:
            partial.rename(target)
            return
        except OSError as error:
            # Another process created the directory in the meantime: replace that one too.
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and attempt < 9:
                continue
            restore_directory(target)
            raise


def is_partial(path: Path) -> bool:
    """Whether the name is that of a partial file of a killed writer."""
    return re.match(r"\.partial-[0-9a-f]{8}-", path.name) is not None


def _partial_path(target: Path) -> Path:
    return target.with_name(f".partial-{secrets.token_hex(4)}-{target.name}")


def _path_of_replaced(target: Path) -> Path:
    return target.with_name(f".replaced-{target.name}")


def _remove_stale_partials(target: Path) -> None:
    """Remove old partial files of the same target, left by killed writers."""
    for partial in target.parent.glob(f".partial-{'[0-9a-f]' * 8}-{_literal(target.name)}"):
        with suppress(FileNotFoundError):
            newest = max(item.stat().st_mtime for item in (partial, *partial.rglob("*")))
            if time.time() - newest > STALE_SECONDS:
                shutil.rmtree(partial, ignore_errors=True) if partial.is_dir() else partial.unlink()


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _default_mode(path: Path) -> int:
    """The permissions of a new file at ``path``, which is created for this purpose and removed.

    Reading the umask would require changing it for all threads of the process.
    """
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
        path.unlink()


def _flush(path: Path) -> None:
    """Flush a file, or the names in a directory, to the disk (fsync)."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open a directory, and need not flush it
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explain_errors(path: str | os.PathLike[str], parent: Path) -> Iterator[None]:
    """Turn system errors about writing below ``parent`` into a message for the user."""
    try:
        yield
    except BertwrightError:
        raise
    except OSError as error:
        # Errors about other files, such as one that was read inside the block, are passed on.
        named = error.filename
        elsewhere = isinstance(named, str) and not Path(os.path.realpath(named)).is_relative_to(parent)
        parents = isinstance(named, str) and parent.is_relative_to(os.path.realpath(named))
        if elsewhere and not parents:
            raise
        problem = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; use another path")
        raise OutputError(f"{os.fspath(path)}: cannot be written: {problem}.") from error
    except Exception as error:
        # Writers in Rust and C++ (safetensors, torch) raise their own errors for a full disk or quota.
        code = re.search(r"\(os error (\d+)\)", str(error))
        number = int(code[1]) if code else errno.ENOSPC if "No space left on device" in str(error) else 0
        if number not in _REMEDIES:
            raise
        raise OutputError(f"{os.fspath(path)}: cannot be written: {_REMEDIES[number]}.") from error
