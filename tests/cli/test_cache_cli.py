"""Whatever is wrong with the cache, the command trains the same weights, exits with 0 and says what was wrong."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bertwright.cache.column_file import HEADER_BYTES
from cli.conftest import Call
from tiny import make_tiny_bert

WORDS = ("good", "bad", "film", "plot")


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Arguments of runs that between them use all four kinds of entries."""
    folder = tmp_path_factory.mktemp("world")
    draw = random.Random(0)
    make_tiny_bert(folder / "model")
    rows = (" ".join(draw.choices(WORDS, k=4)) + f",{'pn'[i % 2]}\n" for i in range(2500))
    (folder / "rows.csv").write_text("text,label\n" + "".join(rows))
    documents = ("\n".join(" ".join(draw.choices(WORDS, k=5)) for _ in range(6)) for _ in range(40))
    (folder / "corpus.txt").write_text("\n\n".join(documents) + "\n")
    common = [f"model.base={folder / 'model'}", "tokens.max_length=24", "train.threads=1", "train.precision=fp32"]
    short = [*common, "train.length=3 steps", "train.batch_size=8"]
    return {
        "frozen": [f"data.train={folder / 'rows.csv'}", "model.freeze=encoder", *short],
        "pairs": [
            "pretrain",
            f"data.train={folder / 'corpus.txt'}",
            "data.sentences=lines",
            "task.sentence_objective=sop",
            *short,
        ],
    }


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + (len(content) - HEADER_BYTES) // 3] ^= 1
    replace(path, content)


def replace(path: Path, content: bytes) -> None:
    path.unlink()  # not in place: the former file may still be mapped
    path.write_bytes(content)


def digest(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "another bit": flip,
    "shorter": lambda path: replace(path, path.read_bytes()[:-28]),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize(("name", "kinds"), [("frozen", ["encodings", "features"]), ("pairs", ["pairs", "store"])])
def test_damaged_entries(
    commands: dict[str, list[str]],
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kinds: list[str],
    damage: str,
) -> None:
    monkeypatch.setenv("BERTWRIGHT_CACHE", str(tmp_path / "cache"))
    first = call("train", *commands[name], "--out", tmp_path / "first")
    assert (first.code, "cache" in first.err) == (0, False), first.err
    entries = sorted((tmp_path / "cache").glob("*/*.safetensors"))
    assert sorted({path.parent.name for path in entries}) == kinds
    for path in entries:
        DAMAGES[damage](path)
    again = call("train", *commands[name], "--out", tmp_path / "again")
    assert again.code == 0, again.err
    assert digest(tmp_path / "again") == digest(tmp_path / "first")
    said = "".join(again.err.split())
    for path in entries:
        assert f"{path}:removedadamagedcacheentry" in said, path
    third = call("train", *commands[name], "--out", tmp_path / "third")
    assert (third.code, "cache" in third.err) == (0, False), third.err


@pytest.mark.parametrize("place", ["file/below", "~no-such-user/cache", "off"])
@pytest.mark.parametrize("name", ["frozen", "pairs"])
def test_no_place_for_a_cache(
    commands: dict[str, list[str]],
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    place: str,
) -> None:
    monkeypatch.setenv("BERTWRIGHT_CACHE", str(tmp_path / "cache"))
    assert call("train", *commands[name], "--out", tmp_path / "first").code == 0
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BERTWRIGHT_CACHE", str(tmp_path / place) if place.startswith("file") else place)
    again = call("train", *commands[name], "--out", tmp_path / "again")
    assert again.code == 0, again.err
    if name == "pairs":
        assert digest(tmp_path / "again") == digest(tmp_path / "first")
    assert ("not cached" in " ".join(again.err.split())) == (place != "off")
    assert (tmp_path / "file").read_text() == ""
