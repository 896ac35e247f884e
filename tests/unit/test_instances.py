"""From a store to sequences: every token comes, where it should, and each step has the rows it had before."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.corpus import token_store as store_module
from bertwright.corpus.corpus_split import open_corpus_split
from bertwright.corpus.documents import open_corpus
from bertwright.corpus.masking import Masker
from bertwright.corpus.nsp_pairs import NOT_NEXT, PairSettings, build_pairs
from bertwright.corpus.sequences import MaskedCorpus, PackedSequences, PairedSequences, PhasedCorpus
from bertwright.corpus.token_store import Shard, TokenStore, build_store
from bertwright.data.dataset import ColumnNames
from bertwright.data.settings import DataSettings
from bertwright.nn import IGNORE_INDEX
from bertwright.tokenization.batching import steps_per_epoch
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.tokenizer import Tokenizer
from tiny import VOCABULARY

TEXTS = [
    "Good film. A very dull plot! The plot was great.",
    "It is fun. It was not fun!",
    "Awful. Dull film very very dull. The film is bad.\nIt was great.",
    "The good film was unbelievably great. It is a great film.",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return Tokenizer.load(folder)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SHARD_CHARACTERS", 60)


def stored(tokenizer: Tokenizer, texts: list[str]) -> TokenStore:
    return build_store(open_corpus(texts), tokenizer)


def plain(*sizes: int) -> TokenStore:
    """Shards of one document each, of so many tokens with its separator."""
    shards = []
    for n in sizes:
        ids = np.arange(n, dtype=np.uint16) % 40 + 10
        ids[-1] = VOCABULARY.index("[SEP]")
        shards.append(Shard(ids, np.array([0, n]), np.array([0, 1])))
    return TokenStore(tuple(shards), fingerprint=str(sizes))


def rows_of(found: Encodings) -> list[list[int]]:
    return [sequence.ids.tolist() for sequence in found]


class TestPacked:
    @given(st.lists(st.integers(2, 60), min_size=1, max_size=5), st.integers(3, 20))
    @settings(max_examples=60, deadline=None)
    def test_every_token_comes_once_in_order(self, tokenizer: Tokenizer, sizes: list[int], length: int) -> None:
        store = plain(*sizes)
        packed = PackedSequences(store, tokenizer, length)
        found = rows_of(packed.encode(np.arange(len(packed))))
        per_shard: list[list[list[int]]] = []
        rest = iter(found)
        for shard in store.shards:
            # what closes the shard's last document may close its last sequence too
            per_shard.append([next(rest) for _ in range(-(-(len(shard.ids) - 1) // (length - 2)))])
            inside = [token for row in per_shard[-1] for token in row[1:-1]]
            assert inside in (shard.ids.tolist(), shard.ids[:-1].tolist())
            assert all(len(row) == length for row in per_shard[-1][:-1])
            assert all(3 <= len(row) <= length for row in per_shard[-1])
            assert any(token != tokenizer.sep_id for token in per_shard[-1][-1][1:])
        assert next(rest, None) is None
        for row in found:
            assert (row[0], row[-1]) == (tokenizer.cls_id, tokenizer.sep_id)

    def test_documents_run_on_and_shards_do_not(self, tokenizer: Tokenizer, small_shards: None) -> None:
        store = stored(tokenizer, TEXTS)
        assert len(store.shards) > 1
        packed = PackedSequences(store, tokenizer, 24)
        found = packed.encode(np.arange(len(packed)))
        seps = [row[1:-1].count(tokenizer.sep_id) for row in rows_of(found)]
        assert sum(seps) in range(4 - len(store.shards), 5)
        assert not found.types.any()
        assert found.targets is None
        assert (found.ids.dtype, found.types.dtype, found.dropped.dtype) == (np.int32, np.uint8, np.int32)
        assert not found.dropped.any()
        text = tokenizer.tokenize([TEXTS[0]]).ids.tolist()
        assert rows_of(found)[0][1:-1] == [*text, tokenizer.sep_id, *tokenizer.tokenize([TEXTS[1]]).ids.tolist()][:22]

    def test_any_rows_in_any_order(self, tokenizer: Tokenizer) -> None:
        packed = PackedSequences(plain(40, 3, 2, 55), tokenizer, 9)
        whole = rows_of(packed.encode(np.arange(len(packed))))
        rng = np.random.default_rng(0)
        for _ in range(20):
            rows = rng.integers(len(packed), size=5)
            assert rows_of(packed.encode(rows)) == [whole[i] for i in rows]

    def test_vocabularies_past_16_bits(self, tokenizer: Tokenizer) -> None:
        ids = np.array([70_000, 80_000, 90_000, 3], np.int32)
        store = TokenStore((Shard(ids, np.array([0, 4]), np.array([0, 1])),), fingerprint="x")
        assert rows_of(PackedSequences(store, tokenizer, 8).encode(np.array([0])))[0][1:-1] == ids.tolist()

    def test_an_empty_shard_is_passed_over(self, tokenizer: Tokenizer) -> None:
        empty = Shard(np.zeros(0, np.uint16), np.zeros(1, np.int64), np.zeros(1, np.int64))
        store = TokenStore((empty, *plain(5).shards, empty, *plain(7).shards), fingerprint="x")
        packed = PackedSequences(store, tokenizer, 10)
        assert [len(row) for row in rows_of(packed.encode(np.arange(len(packed))))] == [7, 9]


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_pairs_are_as_the_tokenizer_writes_them(tokenizer: Tokenizer, small_shards: None, kind: str) -> None:
    store = stored(tokenizer, TEXTS)
    assert len(store.shards) > 1
    pairs = build_pairs(store, PairSettings(kind, 64, 0.0, dupe_factor=5))  # type: ignore[arg-type]
    sequences = PairedSequences(store, pairs, tokenizer)
    assert len(sequences) == len(pairs) > 8
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(pairs))
    found = sequences.encode(rows)
    table = pairs.table[rows].tolist()
    sides = [
        [tokenizer.backend.decode(store.shards[s].ids[a:b].tolist()) for s, a, b in (row[:3], row[3:6])]
        for row in table
    ]
    expected = tokenizer.encode([side[0] for side in sides], [side[1] for side in sides], max_length=64)
    assert np.array_equal(found.ids, expected.ids)
    assert np.array_equal(found.types, expected.types)
    assert np.array_equal(found.bounds, expected.bounds)
    assert found.targets is not None
    assert found.targets[found.bounds[:-1]].tolist() == [row[6] for row in table]
    assert np.count_nonzero(found.targets != IGNORE_INDEX) == len(pairs)
    assert 0 < np.count_nonzero(found.targets == NOT_NEXT) < len(pairs)
    assert any(row[0] != row[3] for row in table) == (kind == "nsp"), "across shards"


@pytest.fixture
def corpus(tokenizer: Tokenizer) -> MaskedCorpus:
    store = plain(500, 300)
    return MaskedCorpus(PackedSequences(store, tokenizer, 12), Masker(tokenizer))


class TestMaskedCorpus:
    def test_masks_are_drawn_anew_unless_they_are_static(self, corpus: MaskedCorpus) -> None:
        rows = np.arange(len(corpus))
        first, again, second = (corpus.draw(rows, step)[0] for step in (3, 3, 4))
        assert np.array_equal(first.ids, again.ids)
        assert not np.array_equal(first.targets, second.targets)
        static = MaskedCorpus(corpus.unmasked, corpus.masker, dynamic=False)
        assert np.array_equal(static.draw(rows, 3)[0].targets, static.draw(rows, 4)[0].targets)

    def test_evaluation_is_always_the_same_however_it_is_cut(self, corpus: MaskedCorpus) -> None:
        whole = [*corpus.iterate_parts(1000)]
        assert len(whole) == 1
        assert whole[0][1] == slice(0, len(corpus))
        for size in (1, 7, len(corpus)):
            parts = [*corpus.iterate_parts(size)]
            assert [i for _, which in parts for i in range(which.start, which.stop)] == [*range(len(corpus))]
            assert np.array_equal(np.concatenate([part.ids for part, _ in parts]), whole[0][0].ids)
            assert np.array_equal(np.concatenate([part.targets for part, _ in parts]), whole[0][0].targets)
        training = {corpus.draw(np.arange(len(corpus)), step)[0].targets.tobytes() for step in range(5)}  # type: ignore[union-attr]
        assert whole[0][0].targets.tobytes() not in training  # type: ignore[union-attr]

    def test_an_epoch_is_every_sequence_once(self, corpus: MaskedCorpus) -> None:
        order = corpus.epoch_order("all", (), seed=1, batch_size=8, steps=100)
        assert order.size == len(corpus)
        epochs = [order.indices(epoch)[0 : len(corpus)] for epoch in (0, 1)]
        for rows in epochs:
            assert sorted(rows.tolist()) == [*range(len(corpus))]
        assert not np.array_equal(*epochs)


class TestPhased:
    SHARES = (0.5, 0.3, 0.2)

    @pytest.fixture
    def phased(self, tokenizer: Tokenizer) -> PhasedCorpus:
        store = plain(700, 300)
        lengths = (9, 24, 60)
        parts = [MaskedCorpus(PackedSequences(store, tokenizer, n), Masker(tokenizer)) for n in lengths]
        return PhasedCorpus(tuple(zip(self.SHARES, parts, strict=True)))

    def rows(self, phased: PhasedCorpus, steps: int, batch_size: int) -> list[list[int]]:
        """As the loop asks for them."""
        order = phased.epoch_order("all", (), 3, batch_size, steps)
        per_epoch = steps_per_epoch(order.size, batch_size)
        found = []
        for step in range(steps):
            epoch, i = divmod(step, per_epoch)
            found.append(order.indices(epoch)[i * batch_size : (i + 1) * batch_size].tolist())
        return found

    @pytest.mark.parametrize(("steps", "batch_size"), [(100, 4), (200, 7), (10, 16), (37, 1), (20, 150)])
    def test_every_phase_has_its_share_of_the_steps(self, phased: PhasedCorpus, steps: int, batch_size: int) -> None:
        bounds = np.cumsum([0, *(len(corpus) for _, corpus in phased.phases)])
        assert phased.sizes == [(int(a), int(b - a)) for a, b in pairwise(bounds)]
        of_phase: dict[int, list[list[int]]] = {0: [], 1: [], 2: []}
        last = 0
        for rows in self.rows(phased, steps, batch_size):
            assert len(rows) == batch_size
            (phase,) = set(np.searchsorted(bounds, rows, side="right") - 1)
            assert phase >= last
            last = int(phase)
            of_phase[last].append(rows)
        ends = np.rint(np.cumsum(self.SHARES) * steps).astype(int)
        assert [len(of_phase[i]) for i in range(3)] == np.diff(ends, prepend=0).tolist()
        for i, batches in of_phase.items():
            n, drawn = len(phased.phases[i][1]), [row for rows in batches for row in rows]
            times = Counter(drawn)
            # no sequence comes again before all have come
            assert max(times.values()) == -(-len(drawn) // n)
            assert len(times) == min(n, len(drawn))

    def test_sequences_have_the_length_of_their_phase(self, phased: PhasedCorpus) -> None:
        rows = self.rows(phased, 100, 4)
        for step, longest in ((0, 9), (49, 9), (50, 24), (79, 24), (80, 60), (99, 60)):
            assert phased.draw(np.array(rows[step]), step)[0].lengths.max() == longest
        assert len(phased) == len(phased.phases[0][1])
        assert phased.store is phased.phases[0][1].store
        one = phased.phases[1][1]
        first = len(phased)
        assert np.array_equal(phased.draw(np.array([first + 2, first]), 7)[0].ids, one.draw(np.array([2, 0]), 7)[0].ids)

    def test_a_step_s_rows_do_not_depend_on_those_before(self, phased: PhasedCorpus) -> None:
        whole = self.rows(phased, 120, 5)
        order = phased.epoch_order("all", (), 3, 5, 120)
        per_epoch = steps_per_epoch(order.size, 5)
        for step in (119, 3, 61, 60, 59, 97):
            epoch, i = divmod(step, per_epoch)
            assert order.indices(epoch)[i * 5 : (i + 1) * 5].tolist() == whole[step]
        assert self.rows(phased, 120, 5) == whole
        assert phased.epoch_order("all", (), 4, 5, 120).indices(0)[0:5].tolist() != whole[0]


def test_what_is_trained_on_and_what_is_held_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    whole = open_corpus_split(TEXTS * 5, DataSettings(limit=10), ColumnNames(), trains=True)
    kept, held = whole.split(0.2)
    assert (whole.trains, kept.trains, held.trains) == (True, True, False)
    assert kept.store(tokenizer).n_documents + held.store(tokenizer).n_documents == 10
    assert held.store(tokenizer).n_documents == 2
    assert open_corpus_split(TEXTS * 5, DataSettings(limit=10)).store(tokenizer).n_documents == 20
    assert open_corpus_split(whole, DataSettings()) is whole
    assert (whole.examples, whole.labels) == ((), None)
