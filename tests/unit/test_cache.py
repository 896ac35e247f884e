"""The disk cache gives back what was written or nothing, and never raises an error."""

from __future__ import annotations

import errno
import gc
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from bertwright.cache import disk_cache as module
from bertwright.cache.column_file import Columns
from bertwright.cache.disk_cache import KINDS, Cache

KEY, OTHER = "a" * 64, "b" * 64
TYPES = {"ids": np.uint16, "bounds": np.int64, "flags": np.bool_, "features": np.float32}
COLUMNS: Columns = {
    "ids": np.arange(7, dtype=np.uint16),
    "bounds": np.array([0, 2**40], np.int64),
    "flags": np.array([True, False, True]),
    "features": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
}


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, notes: list[str]) -> Cache:
    return Cache("features", notes.append, tmp_path / "features")


def assert_equal(columns: Columns) -> None:
    assert columns.keys() == COLUMNS.keys()
    for name, column in COLUMNS.items():
        assert columns[name].dtype == column.dtype
        assert np.array_equal(columns[name], column.ravel()), name


def test_what_is_written_is_read(cache: Cache, notes: list[str]) -> None:
    assert cache.load(KEY, TYPES) is None
    saved = cache.save(KEY, TYPES, COLUMNS, {"n": "1"})
    assert saved is not None
    assert_equal(saved)
    entry = cache.load(KEY, TYPES)
    assert entry is not None
    assert_equal(entry[0])
    assert entry[1] == {"n": "1", "key": KEY}
    assert all(column.flags.aligned and not column.flags.owndata for column in entry[0].values())
    for name, column in load_file(cache.path(KEY)).items():
        assert np.array_equal(column, COLUMNS[name].ravel())
    assert notes == []


def test_a_column_may_come_in_pieces(cache: Cache) -> None:
    pieces = (COLUMNS["features"][i : i + 1] for i in range(3))
    saved = cache.save(KEY, TYPES, {"features": pieces}, n_bytes=48)
    assert saved is not None
    assert np.array_equal(saved["features"], COLUMNS["features"].ravel())
    assert cache.load(KEY, TYPES) is not None
    assert cache.save(OTHER, TYPES, {"features": iter(())}) is not None
    empty = cache.load(OTHER, TYPES)
    assert empty is not None
    assert len(empty[0]["features"]) == 0


def test_any_changed_byte_is_noticed_or_harmless(cache: Cache, notes: list[str]) -> None:
    cache.save(KEY, TYPES, COLUMNS, {"n": "1"})
    path = cache.path(KEY)
    whole = path.read_bytes()
    draw = random.Random(0)
    noticed = 0
    for at in [*range(700), *(draw.randrange(len(whole)) for _ in range(100)), *range(len(whole) - 100, len(whole))]:
        content = bytearray(whole)
        content[at] ^= 1 << draw.randrange(8)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        notes.clear()
        entry = Cache("features", notes.append, path.parent).load(KEY, TYPES)
        if entry is None:
            noticed += 1
            assert not path.exists()
            assert notes[0].startswith(
                f"{path}: removed a damaged cache entry; the features of the frozen encoder are computed again ("
            )
        else:
            assert_equal(entry[0])
            assert entry[1] == {"n": "1", "key": KEY}
    assert noticed > 500


def test_the_entry_of_another_key_is_not_used(cache: Cache, notes: list[str]) -> None:
    cache.save(KEY, TYPES, COLUMNS)
    cache.path(KEY).rename(cache.path(OTHER))
    assert cache.load(OTHER, TYPES) is None
    assert "the entry has another key" in notes[0]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


OBSTACLES: dict[str, Callable[[Path], object]] = {
    "a directory in place of the entry": lambda path: path.mkdir(parents=True),
    "a pipe in place of the entry": lambda path: (path.parent.mkdir(), os.mkfifo(path)),
    "a file in place of the directory": lambda path: path.parent.write_text(""),
    "a link to nothing in place of the directory": lambda path: path.parent.symlink_to("/proc/no/such"),
    "a link to itself": lambda path: path.parent.symlink_to(path.parent),
    "a read-only file system": lambda path: path.parent.symlink_to("/proc"),
}


@pytest.mark.parametrize("obstacle", list(OBSTACLES))
@pytest.mark.parametrize("scratch", [True, False])
def test_an_obstacle_costs_only_the_cache(
    cache: Cache, notes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str, scratch: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("scratch" if scratch else "missing")))
    (tmp_path / "scratch").mkdir()
    OBSTACLES[obstacle](cache.path(KEY))
    for key in (KEY, KEY):
        columns, facts = cache.get(key, TYPES, lambda: ({**COLUMNS, "features": iter(COLUMNS["features"])}, {"n": "1"}))
        assert_equal(columns)
        assert facts["n"] == "1"
    cache.evict(())
    assert (
        sum("the features of the frozen encoder are not cached, so it runs in every epoch: " in n for n in notes) == 1
    )
    assert len(notes) <= 2
    assert len(list((tmp_path / "scratch").glob("*/*"))) == scratch
    del cache, columns
    gc.collect()


def test_the_temporary_directory_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("BERTWRIGHT_CACHE", "OFF")
    notes: list[str] = []
    cache = Cache("pairs", notes.append)
    assert (cache.folder, cache.is_off) == (None, True)
    cache.get(KEY, TYPES, lambda: (COLUMNS, {}))
    assert len(list(tmp_path.iterdir())) == 1
    del cache
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert notes == []


@pytest.mark.parametrize("fails", [1, 2])
def test_a_full_disk_costs_only_the_cache(
    cache: Cache, notes: list[str], monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    write, calls = module.write_columns, list[Path]()

    def full(path: Path, *rest: object) -> None:
        calls.append(path)
        if len(calls) <= fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_columns", full)
    columns, _ = cache.get(KEY, TYPES, lambda: (COLUMNS, {}))
    assert_equal(columns)
    assert len(notes) == 1
    assert os.strerror(errno.ENOSPC) in notes[0]


@pytest.mark.parametrize("value", ["~no-such-user/cache", "~no-such-user"])
def test_no_home_directory(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("BERTWRIGHT_CACHE", value)
    notes: list[str] = []
    cache = Cache("store", notes.append)
    assert (cache.folder, cache.is_off) == (None, False)
    assert notes == [
        f"the tokens of the corpus are not cached: {value}: the user has no home directory; "
        "set BERTWRIGHT_CACHE to a directory."
    ]
    assert_equal(cache.get(KEY, TYPES, lambda: (COLUMNS, {}))[0])


def test_a_user_who_is_not_in_the_list_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BERTWRIGHT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    notes: list[str] = []
    cache = Cache("encodings", notes.append)
    assert cache.folder is None
    assert cache.save(KEY, TYPES, COLUMNS) is None
    assert notes == [
        "the encoded texts are not cached: ~/.cache: the user has no home directory; "
        "set BERTWRIGHT_CACHE to a directory."
    ]


def test_room_is_made_and_files_of_others_stay(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.folder is not None
    cache.folder.mkdir()
    monkeypatch.setitem(KINDS, "features", replace(KINDS["features"], max_bytes=10_000))
    cache = Cache("features", None, cache.folder)
    theirs = cache.folder / "results.safetensors"
    theirs.write_bytes(bytes(20_000))
    former = [cache.folder / f"{KEY}{suffix}" for suffix in (".npy", ".bin", ".json")]
    for path in former:
        path.write_bytes(bytes(5_000))
        os.utime(path, (time.time() - 500, time.time() - 500))
    cache.save(OTHER, TYPES, COLUMNS)
    cache.evict({cache.path(OTHER)})
    assert theirs.exists()
    assert cache.path(OTHER).exists()
    assert sum(path.exists() for path in former) == 1
