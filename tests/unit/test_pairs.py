"""Pairs of segments as google-research/bert makes them, beside a plain version of its algorithm."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.corpus import nsp_pairs as module
from bertwright.corpus.nsp_pairs import IS_NEXT, NOT_NEXT, PAIR_COLUMNS, Pairs, PairSettings, build_pairs
from bertwright.corpus.token_store import Shard, TokenStore
from bertwright.errors import DataError

SEP = 0
Documents = list[list[list[int]]]
"""Documents of sentences of tokens."""


def shard_of(documents: Documents) -> Shard:
    rows = [[*row, SEP] if row is rows[-1] else row for rows in documents for row in rows]
    ids = np.array([token for row in rows for token in row], np.uint16)
    sentences = np.cumsum([0, *map(len, rows)])
    return Shard(ids, sentences, np.cumsum([0, *map(len, documents)]))


def store_of(*shards: Documents) -> TokenStore:
    return TokenStore(tuple(map(shard_of, shards)), fingerprint=str(shards))


def documents(*sizes: list[int], first: int = 1) -> Documents:
    """Documents whose sentences have so many tokens, all different."""
    number = iter(range(first, 1 << 16))
    return [[[next(number) for _ in range(n)] for n in document] for document in sizes]


def long_documents(n: int = 20, sentences: int = 60, seed: int = 0) -> Documents:
    rng = random.Random(seed)
    return documents(*[[rng.randint(1, 9) for _ in range(sentences)] for _ in range(n)])


def spelled(store: TokenStore, pairs: Pairs) -> list[tuple[list[int], list[int], int]]:
    """The tokens of both segments, and the target."""
    return [
        (store.shards[a].ids[b:c].tolist(), store.shards[d].ids[e:f].tolist(), target)
        for a, b, c, d, e, f, target in pairs.table.tolist()
    ]


def published(whole: Documents, length: int, short: float, draw: Any) -> Iterator[tuple[list[int], list[int], int]]:
    """create_instances_from_document and truncate_seq_pair of google-research/bert, on lists of tokens.

    It never takes the same document for another one, where they try ten times.
    """
    most = length - 3
    for index, document in enumerate(whole):
        target = 2 + int(draw() * (most - 1)) if draw() < short else most
        current_chunk: list[list[int]] = []
        current_length = i = 0
        while i < len(document):
            current_chunk.append(document[i])
            current_length += len(document[i])
            if i == len(document) - 1 or current_length >= target:
                a_end = 1
                if len(current_chunk) >= 2:
                    a_end = 1 + int(draw() * (len(current_chunk) - 1))
                tokens_a = [token for segment in current_chunk[:a_end] for token in segment]
                tokens_b: list[int] = []
                is_random_next = False
                if len(current_chunk) == 1 or draw() < 0.5:
                    is_random_next = True
                    others = [j for j in range(len(whole)) if j != index]
                    other = whole[others[int(draw() * len(others))]]
                    for segment in other[int(draw() * len(other)) :]:
                        tokens_b.extend(segment)
                        if len(tokens_b) >= target - len(tokens_a):
                            break
                    i -= len(current_chunk) - a_end
                else:
                    tokens_b = [token for segment in current_chunk[a_end:] for token in segment]
                while len(tokens_a) + len(tokens_b) > most:
                    longer = tokens_a if len(tokens_a) > len(tokens_b) else tokens_b
                    longer.pop(0 if draw() < 0.5 else -1)
                yield tokens_a, tokens_b, NOT_NEXT if is_random_next else IS_NEXT
                current_chunk, current_length = [], 0
            i += 1


sizes = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=2, max_size=6)


@given(sizes, st.integers(8, 40), st.sampled_from([0.0, 0.1, 0.7]), st.integers(0, 99), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_they_are_the_published_ones(of: list[list[int]], length: int, short: float, seed: int, cut: int) -> None:
    whole = documents([2, 2], *of)
    shards = [part for part in (whole[:cut], whole[cut:]) if part]
    store = store_of(*shards)
    found = spelled(store, build_pairs(store, PairSettings("nsp", length, short, dupe_factor=2, seed=seed)))
    expected = [
        pair for pass_ in range(2) for pair in published(whole, length, short, random.Random(f"{seed}/{pass_}").random)
    ]
    assert found == expected


@given(sizes, st.integers(8, 40), st.sampled_from(["nsp", "sop"]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_laws(of: list[list[int]], length: int, kind: Any, seed: int) -> None:
    whole = documents([3, 2], *of)
    store = store_of(whole)
    home = {token: i for i, document in enumerate(whole) for row in document for token in row}
    room = length - 3
    for a, b, target in spelled(store, build_pairs(store, PairSettings(kind, length, seed=seed))):
        assert a
        assert b
        assert len(a) + len(b) <= room
        for part in (a, b):
            assert SEP not in part
            assert all(y == x + 1 for x, y in pairwise(part)), "what stands side by side"
            assert len({home[token] for token in part}) == 1
        assert (home[a[0]] == home[b[0]]) == (target == IS_NEXT or kind == "sop")
        if home[a[0]] == home[b[0]]:
            first, second = (b, a) if target == NOT_NEXT else (a, b)
            # nothing between them is left out but what truncation takes
            assert second[0] == first[-1] + 1 or (second[0] > first[-1] and len(a) + len(b) == room)


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_every_sentence_is_used_once_in_a_pass(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a segment of another document took the place of comes in the next pair."""
    monkeypatch.setattr(module, "_truncate", lambda first, second, room, draw: (first, second))
    whole = long_documents()
    store = store_of(whole[:7], whole[7:])
    found = spelled(store, build_pairs(store, PairSettings(kind, 41 + (kind == "sop"), dupe_factor=1, seed=1)))
    own = [a if target == NOT_NEXT and kind == "nsp" else a + b for a, b, target in found]
    times = Counter(token for tokens in own for token in tokens)
    expected = Counter(token for document in whole for row in document for token in row)
    assert set(times.values()) == {1}
    missing = set(expected) - set(times)
    if kind == "nsp":
        assert not missing
    else:  # a sentence that is left alone at the end of a document has no order
        ends = {token for document in whole for token in document[-1]}
        assert missing <= ends


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_about_half_are_not_what_follows(kind: Any) -> None:
    store = store_of(long_documents(30, 140))
    table = build_pairs(store, PairSettings(kind, 32, seed=2)).table
    assert len(table) > 500
    assert abs(np.mean(table[:, PAIR_COLUMNS.index("target")]) - 0.5) < 4 * 0.5 / len(table) ** 0.5


def test_other_documents_are_any_but_the_own() -> None:
    whole = long_documents(5, 800)
    store = store_of(whole[:2], whole[2:])
    home = {token: i for i, document in enumerate(whole) for row in document for token in row}
    found = spelled(store, build_pairs(store, PairSettings("nsp", 24, dupe_factor=3, seed=2)))
    drawn = Counter((home[a[0]], home[b[0]]) for a, b, target in found if target == NOT_NEXT)
    assert set(drawn) == {(i, j) for i in range(5) for j in range(5) if i != j}
    assert max(drawn.values()) < 2.2 * min(drawn.values())


def test_some_are_short() -> None:
    store = store_of(long_documents(40, 120))
    shares = {}
    for short in (0.0, 0.3):
        table = build_pairs(store, PairSettings("nsp", 43, short)).table.astype(int)
        total = table[:, 2] - table[:, 1] + table[:, 5] - table[:, 4]
        assert total.max() == 40
        shares[short] = np.mean(total < 32)
    assert shares[0.0] < 0.06, "only at the ends of documents"
    assert 0.15 < shares[0.3] < 0.5, "short documents make more pairs of as many sentences"


def test_too_long_pairs_lose_tokens_at_either_end_of_the_longer_part() -> None:
    whole = documents(*[[30, 20]] * 200)
    store = store_of(whole)
    ends: Counter[tuple[str, str]] = Counter()
    for a, b, target in spelled(store, build_pairs(store, PairSettings("nsp", 43, 0.0, seed=1))):
        assert len(a) + len(b) == 40
        if target == IS_NEXT:
            assert (len(a), len(b)) == (20, 20)
            first = next(document[0] for document in whole if a[0] in document[0])
            ends["first", "front"] += first.index(a[0])
            ends["first", "back"] += 29 - first.index(a[-1])
    assert 0.8 < ends["first", "front"] / ends["first", "back"] < 1.25


def test_a_very_long_document_gives_no_more_than_fits() -> None:
    whole = documents([1] * 3000, *[[2, 2]] * 3)
    store = store_of(whole)
    found = spelled(store, build_pairs(store, PairSettings("nsp", 512, 0.0, dupe_factor=20)))
    others = [b for a, b, target in found if target == NOT_NEXT and a[0] > 3000 and b[0] <= 3000]
    assert others
    assert max(map(len, others)) in range(500, 510)


def test_the_same_settings_give_the_same_others_others() -> None:
    store = store_of(long_documents())
    plain = PairSettings("nsp", 40, seed=5)
    table = np.array(build_pairs(store, plain).table)
    assert table.dtype == np.int32
    assert np.array_equal(table, build_pairs(store_of(long_documents()), plain).table)
    for other in (PairSettings("nsp", 40, seed=6), PairSettings("nsp", 40, 0.2, seed=5), PairSettings("sop", 40)):
        assert not np.array_equal(table, build_pairs(store, other).table)
    twice = build_pairs(store, PairSettings("nsp", 40, dupe_factor=2, seed=5)).table
    assert np.array_equal(twice[: len(table)], table)
    assert not np.array_equal(twice[len(table) :][: len(table)], table[: len(twice) - len(table)])


def test_they_are_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTWRIGHT_CACHE", str(tmp_path))
    store = store_of(long_documents())
    first = build_pairs(store, PairSettings())
    assert not first.table.flags.owndata
    assert len(first) == len(first.table) > 20
    (file,) = (tmp_path / "pairs").iterdir()
    monkeypatch.setattr(module, "_iterate_pairs", lambda *_: pytest.fail("they are there"))
    assert np.array_equal(first.table, build_pairs(store, PairSettings()).table)
    assert [*(tmp_path / "pairs").iterdir()] == [file]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-28], id="a pair is missing"),
        pytest.param(lambda data: data[:-1], id="a byte is missing"),
        pytest.param(lambda data: data + data[-28:], id="another pair"),
        pytest.param(lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], id="another target"),
        pytest.param(lambda data: b"", id="empty"),
    ],
)
def test_damaged_pairs_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setenv("BERTWRIGHT_CACHE", str(tmp_path))
    store = store_of(long_documents())
    expected = np.array(build_pairs(store, PairSettings()).table)
    (path,) = (tmp_path / "pairs").iterdir()
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(damage(whole))
    notes: list[str] = []
    assert np.array_equal(build_pairs(store, PairSettings(), notes.append).table, expected)
    if damage(whole)[: len(whole)] == whole:
        return  # nothing after the last column is read
    said = f"{path}: removed a damaged cache entry; the sentence pairs are computed again"
    assert [said in note for note in notes] == [True]
    assert path.read_bytes() == whole


def test_without_a_cache_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTWRIGHT_CACHE", "off")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = build_pairs(store_of(long_documents()), PairSettings())
    gc.collect()
    assert found.table[-1, 0] == 0
    assert len([*tmp_path.glob("bertwright-pairs-*/*.safetensors")]) == 1
    del found
    gc.collect()
    assert not [*tmp_path.iterdir()]


def test_written_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(long_documents(seed=9))
    whole = np.array(build_pairs(store, PairSettings("nsp", 30)).table)
    monkeypatch.setattr(module, "_PAIRS_PER_WRITE", 7)
    monkeypatch.setattr(module, "PAIRS_FORMAT", "other")
    assert np.array_equal(whole, build_pairs(store, PairSettings("nsp", 30)).table)


def test_a_corpus_without_pairs_is_refused() -> None:
    message = r"^task\.sentence_objective: nsp needs sentences from other documents, but the corpus has only one"
    with pytest.raises(DataError, match=message):
        build_pairs(store_of(documents([3, 3, 3])), PairSettings())
    single = store_of(documents([3], [2], [4]))
    message = r"^task\.sentence_objective: no document of the corpus has two sentences to build a pair from; set"
    for _ in range(2):  # what is remembered of it too
        with pytest.raises(DataError, match=message):
            build_pairs(single, PairSettings("sop"))
    assert len(build_pairs(store_of(documents([3, 3, 3])), PairSettings("sop"))) == 1
    # of single sentences nothing ever follows, so there would be nothing to tell apart
    with pytest.raises(DataError, match=message):
        build_pairs(single, PairSettings("nsp"))
