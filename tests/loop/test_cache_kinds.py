"""All kinds of cache entries have one format, one checksum and one eviction policy."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bertwright import Classification, Example, TokenSettings, open_corpus, open_pretrained
from bertwright.cache import disk_cache
from bertwright.cache.column_file import HEADER_BYTES
from bertwright.cache.disk_cache import KINDS, Cache
from bertwright.corpus.nsp_pairs import PairSettings, build_pairs
from bertwright.corpus.token_store import build_store
from bertwright.engines.engine import get_graph
from bertwright.nn.heads import ClassificationHead
from bertwright.tokenization import cached_encodings
from bertwright.tokenization.cached_encodings import encode_with_cache
from bertwright.training.frozen_features import add_features
from bertwright.weights.pretrained import Pretrained

TEXTS = [f"the film is {word} and the plot was {word}" for word in ("good", "bad", "great", "dull", "fun") * 4]
Make = Callable[[Pretrained, Callable[[str], None]], NDArray[Any]]


def encodings(base: Pretrained, on_note: Callable[[str], None]) -> NDArray[Any]:
    return encode_with_cache(base.tokenizer, TEXTS, None, TokenSettings(max_length=16), on_note=on_note).ids


def features(base: Pretrained, on_note: Callable[[str], None]) -> NDArray[Any]:
    task = Classification(labels=("a", "b"))
    data = task.encode([Example(str(i), text) for i, text in enumerate(TEXTS)], base.tokenizer).as_encodings()
    model, _ = base.model(ClassificationHead(base.config.width, 2))
    assert data is not None
    found = add_features(model.freeze("encoder"), data, on_note=on_note).features
    assert found is not None
    return found


def store(base: Pretrained, on_note: Callable[[str], None]) -> NDArray[Any]:
    return build_store(open_corpus(["\n".join(TEXTS)] * 3), base.tokenizer, on_note=on_note).shards[0].ids


def pairs(base: Pretrained, on_note: Callable[[str], None]) -> NDArray[Any]:
    tokens = build_store(open_corpus(["\n".join(TEXTS)] * 3), base.tokenizer)
    return build_pairs(tokens, PairSettings(length=32), on_note).table


def graphs(base: Pretrained, on_note: Callable[[str], None]) -> NDArray[Any]:
    return np.frombuffer(get_graph(Cache("graphs", on_note), "c" * 64, lambda: bytes(range(250))), np.uint8)


MAKERS: dict[str, Make] = {
    "encodings": encodings,
    "features": features,
    "store": store,
    "pairs": pairs,
    "graphs": graphs,
}


@pytest.fixture
def base(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretrained:
    monkeypatch.setenv("BERTWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cached_encodings, "MIN_ROWS", 1)
    return open_pretrained(tiny_bert)


def entry_of(kind: str, cache: Path) -> Path:
    (entry,) = (path for path in (cache / kind).iterdir() if path.suffix == disk_cache.SUFFIX)
    return entry


def test_every_kind_is_covered() -> None:
    assert MAKERS.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["first byte", "last byte", "end"])
def test_a_corrupt_entry_is_detected_and_rebuilt(kind: str, place: str, base: Pretrained, tmp_path: Path) -> None:
    notes: list[str] = []
    expected = np.array(MAKERS[kind](base, notes.append))
    entry = entry_of(kind, tmp_path / "cache")
    content = entry.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert len(header["__metadata__"]["sha256"]) == 64
    assert notes == []
    assert np.array_equal(MAKERS[kind](base, notes.append), expected)
    assert notes == []
    damaged = bytearray(content)
    if place == "end":
        del damaged[-8:]
    else:
        damaged[HEADER_BYTES if place == "first byte" else -1] ^= 1
    entry.unlink()  # the mapped file of the first call must not change
    entry.write_bytes(damaged)
    assert np.array_equal(MAKERS[kind](base, notes.append), expected)
    assert [note for note in notes if f"{entry}: removed a damaged cache entry" in note] == notes[:1]
    assert len(notes) == 1
    assert entry.read_bytes() == content


@pytest.mark.parametrize("kind", KINDS)
def test_entries_unused_for_longest_are_removed_first(
    kind: str, base: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache" / kind
    folder.mkdir(parents=True)
    old, older = folder / f"{'a' * 64}.safetensors", folder / f"{'b' * 64}.safetensors"
    for path, days in ((old, 1), (older, 2)):
        path.write_bytes(bytes(6000))
        os.utime(path, (time.time() - days * 86_400,) * 2)
    MAKERS[kind](base, lambda note: pytest.fail(note))
    made = sum(path.stat().st_size for path in folder.iterdir() if path not in (old, older))
    monkeypatch.setitem(KINDS, kind, replace(KINDS[kind], max_bytes=made + 6000))
    for path in folder.iterdir():
        if path not in (old, older):
            path.unlink()
    MAKERS[kind](base, lambda note: pytest.fail(note))
    assert old.exists()
    assert not older.exists()
