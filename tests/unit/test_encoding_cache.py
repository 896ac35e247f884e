"""The cache gives what encoding gives, faster; whatever is wrong with it costs time, never a result."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertwright.cache import column_file
from bertwright.cache import disk_cache as cache
from bertwright.cache.disk_cache import cache_directory
from bertwright.errors import DataError
from bertwright.tokenization import cached_encodings as encoding_cache
from bertwright.tokenization.cached_encodings import encode_with_cache
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.tokenization.windows import encode_windows

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]
TEXTS = [" ".join(VOCABULARY[5:][: i % 4]) for i in range(encoding_cache.MIN_ROWS)]


class Counting(Tokenizer):
    """Counts how often it really had to encode."""

    calls = 0

    def encode(self, *args: Any, **settings: Any) -> Encodings:
        type(self).calls += 1
        return super().encode(*args, **settings)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    Counting.calls = 0
    return Counting.load(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def encode(tokenizer: Tokenizer, folder: Path) -> Callable[..., Encodings]:
    def run(texts: list[str] = TEXTS, pairs: list[str] | None = None, **settings: Any) -> Encodings:
        tokens = TokenSettings(
            max_length=settings.pop("max_length", 4),
            truncation=settings.pop("truncation", "longest_first"),
            stride=settings.pop("stride", None),
        )
        return encode_with_cache(tokenizer, texts, pairs, tokens, **({"folder": folder} | settings))

    return run


def assert_same(found: Encodings, expected: Encodings) -> None:
    for name in ("ids", "types", "bounds", "examples", "dropped", "offsets", "max_context"):
        mine, other = getattr(found, name), getattr(expected, name)
        if other is None:
            assert mine is None, name
            continue
        assert mine.dtype == other.dtype, name
        assert np.array_equal(mine, other), name


def test_the_second_time_it_is_read(encode: Callable[..., Encodings], tokenizer: Tokenizer, folder: Path) -> None:
    first, done, notes = encode(), [], []
    second = encode(on_progress=done.append, on_note=notes.append)
    assert_same(second, first)
    assert_same(first, tokenizer.encode(TEXTS, max_length=4))
    assert first.dropped.sum() > 0
    assert (Counting.calls, done, notes) == (2, [len(TEXTS)], [])
    assert len(list(folder.iterdir())) == 1


def test_windows_are_cached_with_their_offsets(encode: Callable[..., Encodings], tokenizer: Tokenizer) -> None:
    for pairs in (None, TEXTS[::-1]):
        first, second = (encode(pairs=pairs, max_length=8, truncation="windows") for _ in range(2))
        assert_same(second, first)
        assert_same(first, encode_windows(tokenizer, TEXTS, pairs, max_length=8))


def test_an_entry_is_mapped_and_may_be_written_to_without_harm(encode: Callable[..., Encodings]) -> None:
    encode()
    second = encode()
    assert not second.ids.flags.owndata
    assert second.ids.flags.aligned
    assert second.bounds.flags.aligned
    second.ids[:] = 0
    assert encode().ids.any()


def test_everything_ids_depend_on_is_in_the_key(
    encode: Callable[..., Encodings], tokenizer: Tokenizer, tmp_path: Path, folder: Path
) -> None:
    other = [*TEXTS[:-1], "film"]
    (tmp_path / "vocab.txt").write_text("\n".join([*VOCABULARY, "x"]) + "\n")
    calls: list[Callable[[], Encodings]] = [
        encode,
        lambda: encode(other),
        lambda: encode(max_length=5),
        lambda: encode(truncation="head_tail"),
        lambda: encode(pairs=TEXTS, max_length=9),
        lambda: encode(truncation="windows"),
        lambda: encode(truncation="windows", stride=0),
        lambda: encode([*TEXTS, *TEXTS]),
        # The same bytes one after the other, cut elsewhere.
        lambda: encode(["film", "bad", *TEXTS]),
        lambda: encode(["filmb", "ad", *TEXTS]),
        lambda: encode_with_cache(Tokenizer.load(tmp_path), TEXTS, None, TokenSettings(max_length=4), folder=folder),
    ]
    for n, call in enumerate(calls, start=1):
        call()
        assert len(list(folder.iterdir())) == n


def test_few_rows_are_not_cached(encode: Callable[..., Encodings], folder: Path) -> None:
    encode(TEXTS[:-1])
    assert not folder.exists()


def test_what_is_not_text_is_told_before_the_cache_is_asked(encode: Callable[..., Encodings]) -> None:
    with pytest.raises(DataError, match=r"example 3 .* the text is None"):
        encode([*TEXTS[:3], None, *TEXTS])
    with pytest.raises(DataError, match=r"example 0 .* a lone surrogate"):
        encode(["\ud800", *TEXTS])


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "few bytes": lambda data: data[:5],
    "half": truncate,
    "last byte missing": lambda data: data[:-1],
    "one bit": lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
    "zeros": lambda data: bytes(len(data)),
    "header length": lambda data: b"\xff" * 8 + data[8:],
    "no header": lambda data: (2).to_bytes(8, "little") + b"{}" + data,
    "a list": lambda data: (2).to_bytes(8, "little") + b"[]" + data,
    "text": lambda data: b"no cache entry at all, but long enough to have a header length in front",
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_entry_is_never_believed(
    encode: Callable[..., Encodings], tokenizer: Tokenizer, folder: Path, damage: str
) -> None:
    # not the mapped file: it would change with the damage, or be gone
    expected = tokenizer.encode(TEXTS, max_length=4)
    encode()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    notes: list[str] = []
    assert_same(encode(on_note=notes.append), expected)
    assert len(notes) == 1
    assert f"{path}: removed a damaged cache entry; the encoded texts are computed again" in notes[0]
    assert path.read_bytes() == whole
    assert Counting.calls == 3


def test_an_entry_that_cannot_be_read_is_told(encode: Callable[..., Encodings], folder: Path) -> None:
    encode()
    (path,) = folder.iterdir()
    path.unlink()
    path.mkdir()
    notes: list[str] = []
    assert len(encode(on_note=notes.append)) == len(TEXTS)
    assert "the cache entry cannot be read; the encoded texts are computed again" in notes[0]
    assert "not cached" in notes[1]


def test_an_entry_of_other_rows_is_not_believed(encode: Callable[..., Encodings], folder: Path) -> None:
    encode()
    (one,) = folder.iterdir()
    encode([*TEXTS, "film"])
    (other,) = set(folder.iterdir()) - {one}
    other.write_bytes(one.read_bytes())
    assert len(encode([*TEXTS, "film"])) == len(TEXTS) + 1


def test_a_place_that_cannot_be_written_costs_only_the_cache(encode: Callable[..., Encodings], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    notes: list[str] = []
    found = encode(folder=tmp_path / "file" / "below", on_note=notes.append)
    assert len(found) == len(TEXTS)
    assert len(notes) == 1
    assert notes[0].startswith("the encoded texts are not cached: ")
    assert len(encode(folder=tmp_path / "file" / "below")) == len(TEXTS)  # a note nobody asked for is no trouble


def test_a_full_disk_costs_only_the_cache(
    encode: Callable[..., Encodings], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        assert path.stat().st_size > 0
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(column_file, "_map", full)
    notes: list[str] = []
    assert len(encode(on_note=notes.append)) == len(TEXTS)
    assert "no space left on the device" in notes[0]
    assert list(folder.iterdir()) == []


def test_the_oldest_entries_go_when_there_are_too_many(
    encode: Callable[..., Encodings], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(max_length=4)
    (first,) = folder.iterdir()
    encode(max_length=5)
    (second,) = set(folder.iterdir()) - {first}
    limited = replace(cache.KINDS["encodings"], max_bytes=int(first.stat().st_size * 2.5))
    monkeypatch.setitem(cache.KINDS, "encodings", limited)
    for age, path in ((200, first), (100, second)):
        os.utime(path, (time.time() - age, time.time() - age))
    encode(max_length=4)  # used again: now the second one is the oldest
    encode(max_length=6)
    assert first.exists()
    assert not second.exists()
    assert len(list(folder.iterdir())) == 2


def test_what_killed_writers_left_is_removed(encode: Callable[..., Encodings], folder: Path) -> None:
    folder.mkdir()
    old, new = (folder / f".partial-{i:08x}-{'0' * 64}.safetensors" for i in range(2))
    old.write_text("half")
    new.write_text("half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    encode()
    assert not old.exists()
    assert new.exists()


def test_writers_at_the_same_time_do_not_disturb_each_other(tokenizer: Tokenizer, tmp_path: Path, folder: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from bertwright.tokenization.cached_encodings import encode_with_cache
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer
texts = [" ".join(["good", "bad", "film"][: i % 4]) for i in range(3000)]
tokenizer, tokens = Tokenizer.load(Path({str(tmp_path)!r})), TokenSettings(max_length=4)
for _ in range(5):
    found = encode_with_cache(tokenizer, texts, None, tokens, folder=Path({str(folder)!r}), on_note=sys.exit)
    for path in Path({str(folder)!r}).glob("[!.]*"):
        path.unlink(missing_ok=True)
print(len(found), found.ids.sum())
"""
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {run.communicate(timeout=60)[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    texts = [" ".join(["good", "bad", "film"][: i % 4]) for i in range(3000)]
    expected = tokenizer.encode(texts, max_length=4)
    assert said == {f"3000 {expected.ids.sum()}\n"}


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BERTWRIGHT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory("encodings") == tmp_path / ".cache" / "bertwright" / "encodings"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory("encodings") == tmp_path / "xdg" / "bertwright" / "encodings"
    monkeypatch.setenv("BERTWRIGHT_CACHE", "~/own")
    assert cache_directory("encodings") == tmp_path / "own" / "encodings"


def test_the_cache_can_be_switched_off(
    encode: Callable[..., Encodings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BERTWRIGHT_CACHE", "off")
    assert cache_directory("encodings") is None
    encode(folder=None)
    assert not (tmp_path / ".cache").exists()
    monkeypatch.setenv("BERTWRIGHT_CACHE", str(tmp_path / "own"))
    encode(folder=None)
    assert len(list((tmp_path / "own" / "encodings").iterdir())) == 1
