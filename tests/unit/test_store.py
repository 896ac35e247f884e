"""A store holds what the tokenizer gives; it is built once, goes on where it was stopped, and believes nothing."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from bertwright.cache import column_file
from bertwright.cache import disk_cache as cache
from bertwright.corpus import token_store as store
from bertwright.corpus.documents import Corpus, open_corpus
from bertwright.corpus.token_store import Shard, TokenStore, build_store
from bertwright.errors import DataError, TokenizerError
from bertwright.tokenization.plain_text import PlainTextEncoder
from bertwright.tokenization.tokenizer import Tokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "sep", "[", "]", ".", "##s"]
TEXTS = ["Good film. Bad films", "film\nbad bad. good", "Good", "other film", "bad. bad", "film"]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return Tokenizer.load(tmp_path / "tok")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of one or two documents, in lots of a sentence or two."""
    monkeypatch.setattr(store, "SHARD_CHARACTERS", 20)
    monkeypatch.setattr(store, "BATCH_CHARACTERS", 5)


def spelled(found: TokenStore) -> list[list[list[str]]]:
    """Documents of sentences of pieces."""
    return [
        [
            [VOCABULARY[i] for i in shard.ids[shard.sentences[s] : shard.sentences[s + 1]]]
            for s in range(shard.documents[d], shard.documents[d + 1])
        ]
        for shard in found.shards
        for d in range(len(shard.documents) - 1)
    ]


def check(shard: Shard) -> None:
    """The bounds tile, and the kinds of numbers are those promised."""
    assert shard.ids.dtype in (np.uint16, np.int32)
    for bounds, end in ((shard.sentences, len(shard.ids)), (shard.documents, len(shard.sentences) - 1)):
        assert bounds.dtype == np.int64
        assert (bounds[0], bounds[-1]) == (0, end)
        assert all(a < b for a, b in pairwise(bounds.tolist()))


def expected(tokenizer: Tokenizer, corpus: Corpus) -> list[list[list[str]]]:
    """What the tokenizer makes of every sentence by itself."""
    found = []
    for document in corpus.documents():
        rows = [tokenizer.tokenize([sentence]).ids.tolist() for sentence in document.sentences]
        rows = [[VOCABULARY[i] for i in row] for row in rows if row]
        if rows:
            rows[-1].append("[SEP]")
            found.append(rows)
    return found


def test_it_holds_what_the_tokenizer_gives(tokenizer: Tokenizer, folder: Path, small: None) -> None:
    corpus = open_corpus(TEXTS)
    found = build_store(corpus, tokenizer, folder=folder)
    assert len(found.shards) == 3
    for shard in found.shards:
        check(shard)
        assert shard.ids.dtype == np.uint16
    assert spelled(found) == expected(tokenizer, corpus)
    assert spelled(found)[0] == [["good", "film", "."], ["bad", "film", "##s", "[SEP]"]]
    assert (found.n_documents, found.n_sentences, found.n_tokens, found.n_unknown) == (6, 8, 24, 1)
    assert found.describe()[:2] == ["6 documents, 8 sentences, 24 tokens in 3 shards", "unknown tokens: 1 (4.17%)"]
    assert found.report == ("list: 6 documents, 8 sentences",)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["good", "bad film", "\x00", "x. Good"]), max_size=3).map("\n".join),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 40),
    st.integers(1, 12),
    st.floats(0.01, 0.99),
)
def test_whatever_the_shards(texts: list[str], shard: int, batch: int, share: float) -> None:
    """However text falls into shards and lots, and wherever it is cut in two."""
    backend = Backend(models.WordPiece({name: i for i, name in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.normalizer = __import__("tokenizers").normalizers.BertNormalizer()  # drops NUL
    tokenizer = Tokenizer(backend, {"cls": 2, "sep": 3, "unk": 1}, ("input_ids",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SHARD_CHARACTERS", shard)
        patch.setattr(store, "BATCH_CHARACTERS", batch)
        patch.setenv("BERTWRIGHT_CACHE", "off")
        if not any(re.search("good|bad|x", text) for text in texts):
            with pytest.raises(DataError, match="list: has no text"):
                build_store(open_corpus(texts), tokenizer)
            return
        corpus = open_corpus(texts)
        found = build_store(corpus, tokenizer)
    documents = spelled(found)
    assert documents == expected(tokenizer, corpus)
    assert found.n_empty == sum(text.split("\n").count("\0") for text in texts)
    assert (found.n_empty == 0) == ("without any token" not in "".join(found.describe()))
    if found.n_documents == 1:
        return
    parts = found.split_off(share)
    assert spelled(parts[0]) + spelled(parts[1]) == documents
    assert abs(parts[1].n_documents - share * len(documents)) <= 1
    for part in parts:
        assert part.n_documents >= 1
        assert part.n_unknown == sum(row.count("[UNK]") for document in spelled(part) for row in document)
        for one in part.shards:
            check(one)


def test_held_out_documents_are_views(tokenizer: Tokenizer, folder: Path) -> None:
    found = build_store(open_corpus(TEXTS), tokenizer, folder=folder)
    first, last = found.split_off(0.3)
    assert (first.n_documents, last.n_documents) == (4, 2)
    assert np.shares_memory(first.shards[0].ids, found.shards[0].ids)
    assert np.shares_memory(last.shards[0].ids, found.shards[0].ids)
    assert len({found.fingerprint, first.fingerprint, last.fingerprint, found.split_off(0.5)[0].fingerprint}) == 4
    assert found.split_off(0.0)[1].n_documents == found.split_off(1.0)[0].n_documents == 1
    with pytest.raises(DataError, match="has only one document; add documents"):
        last.split_off(0.5)[0].split_off(0.5)


def test_the_first_documents_are_a_view(tokenizer: Tokenizer, folder: Path) -> None:
    store = build_store(open_corpus(TEXTS), tokenizer, folder=folder)
    for n in range(1, store.n_documents + 1):
        part = store.take_first(n)
        assert spelled(part) == spelled(store)[:n]
        assert np.shares_memory(part.shards[0].ids, store.shards[0].ids)
    assert store.take_first(2).fingerprint != store.take_first(3).fingerprint
    with pytest.raises(DataError, match=r"has 6 training documents, fewer than data.train_rows=7; lower it"):
        store.take_first(7)


def test_special_tokens_in_a_text_are_text(tokenizer: Tokenizer, folder: Path) -> None:
    found = build_store(open_corpus(["good [SEP] film"]), tokenizer, folder=folder)
    assert spelled(found) == [[["good", "[", "sep", "]", "film", "[SEP]"]]]
    assert tokenizer.tokenize(["[SEP]"]).ids.tolist() == [3]  # the tokenizer itself is as it was


def byte_level(size: int = 0) -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "</s>", *letters, *(f"filler{i}" for i in range(size))]
    backend = Backend(models.BPE({name: i for i, name in enumerate(names)}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return Tokenizer(backend, {"cls": 0, "sep": 1}, ("input_ids",))


def test_byte_level_sentences_keep_the_space_between_them(folder: Path) -> None:
    tokenizer = byte_level()
    found = build_store(open_corpus(["One. Two", "Three"]), tokenizer, folder=folder)
    (shard,) = found.shards
    assert tokenizer.backend.decode(shard.ids.tolist()) == "One. Two</s>Three</s>"
    assert (found.n_unknown, shard.sentences.tolist()) == (0, [0, 4, 9, 15])


def test_large_vocabularies_take_wider_numbers(folder: Path) -> None:
    largest = byte_level(65_536 - 258)
    assert build_store(open_corpus(["a"]), largest, folder=folder).shards[0].ids.dtype == np.uint16
    assert build_store(open_corpus(["a"]), byte_level(65_537 - 258), folder=folder).shards[0].ids.dtype == np.int32


class Counting:
    """How many characters really were tokenised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.characters = 0
        ids = PlainTextEncoder.encode

        def count(plain: PlainTextEncoder, sentences: list[str]) -> object:
            self.characters += sum(map(len, sentences))
            return ids(plain, sentences)

        monkeypatch.setattr(PlainTextEncoder, "encode", count)

    def take(self) -> int:
        found, self.characters = self.characters, 0
        return found


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(monkeypatch)


def test_equal_text_is_tokenised_once(tokenizer: Tokenizer, folder: Path, small: None, counting: Counting) -> None:
    first = build_store(open_corpus(TEXTS), tokenizer, folder=folder)
    assert counting.take() > 0
    again = build_store(open_corpus(TEXTS), tokenizer, folder=folder)
    assert counting.take() == 0
    assert (again.fingerprint, spelled(again)) == (first.fingerprint, spelled(first))
    longer = build_store(open_corpus([*TEXTS, "good good good good good"]), tokenizer, folder=folder)
    assert counting.take() == len("filmgood good good good good")  # of the last shard, which has grown
    assert longer.fingerprint != first.fingerprint
    build_store(open_corpus(["film", *TEXTS]), tokenizer, folder=folder)
    assert counting.take() > 0


def test_a_stopped_build_goes_on(
    tokenizer: Tokenizer, folder: Path, small: None, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int | None) -> None:
        if len(list(folder.glob("*.safetensors"))) == 2:
            raise StopError

    with pytest.raises(StopError):
        build_store(open_corpus(TEXTS), tokenizer, folder=folder, on_progress=stop)
    assert len(list(folder.iterdir())) == 2
    counting.take()
    found = build_store(open_corpus(TEXTS), tokenizer, folder=folder)
    assert counting.take() == len("film")
    assert spelled(found) == expected(tokenizer, open_corpus(TEXTS))


def test_another_tokenizer_has_its_own_shards(tokenizer: Tokenizer, folder: Path, tmp_path: Path) -> None:
    first = build_store(open_corpus(TEXTS), tokenizer, folder=folder)
    (tmp_path / "tok" / "vocab.txt").write_text("\n".join([*VOCABULARY, "other"]) + "\n")
    second = build_store(open_corpus(TEXTS), Tokenizer.load(tmp_path / "tok"), folder=folder)
    assert (first.n_unknown, second.n_unknown) == (1, 0)
    assert first.fingerprint != second.fingerprint
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    "texts", [["ab c", "d"], ["ab", "c d"], ["ab c d"], ["ab cd"], ["abc", "d"], ["a", "b", "c", "d"]]
)
def test_where_texts_are_cut_is_in_the_name(tokenizer: Tokenizer, folder: Path, texts: list[str]) -> None:
    one = build_store(open_corpus(["ab", "c", "d"]), tokenizer, folder=folder).fingerprint
    assert build_store(open_corpus(texts), tokenizer, folder=folder).fingerprint != one


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one bit": lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
    "no header": lambda data: (2).to_bytes(8, "little") + b"{}" + data,
    "other facts": lambda data: data.replace(b'"n_empty":"0"', b'"n_emptx":"0"'),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_shard_is_made_again(tokenizer: Tokenizer, folder: Path, damage: str) -> None:
    build_store(open_corpus(TEXTS), tokenizer, folder=folder)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    notes: list[str] = []
    found = build_store(open_corpus(TEXTS), tokenizer, folder=folder, on_note=notes.append)
    assert len(notes) == 1
    assert f"{path}: removed a damaged cache entry; the tokens of the corpus are computed again (" in notes[0]
    assert spelled(found) == expected(tokenizer, open_corpus(TEXTS))
    assert sorted(path.read_bytes()) == sorted(whole)  # its facts may come in another order


class TestFiles:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "a.txt"
        path.write_text("good film\n\nbad film\n\n" * 3)
        return path

    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """A word for every time that documents are asked for; opening asks for one."""
        found: list[str] = []
        documents = Corpus.documents

        def watched(self: Corpus, statistics: object = None) -> object:
            found.append("opened" if statistics is None else "read")
            return documents(self, statistics)  # type: ignore[arg-type]

        monkeypatch.setattr(Corpus, "documents", watched)
        return found

    def test_unchanged_ones_are_not_read_again(
        self, tokenizer: Tokenizer, folder: Path, path: Path, reads: list[str], small: None
    ) -> None:
        progress: list[tuple[int, int | None]] = []
        first = build_store(open_corpus(path), tokenizer, folder=folder)
        again = build_store(
            open_corpus(path), tokenizer, folder=folder, on_progress=lambda *done: progress.append(done)
        )
        assert reads.count("read") == 1
        assert progress == [(path.stat().st_size, path.stat().st_size)]
        assert (again.fingerprint, again.report, again.describe()) == (
            first.fingerprint,
            first.report,
            first.describe(),
        )
        assert spelled(again) == spelled(first)
        for change in (
            lambda: path.write_text(path.read_text() + "good"),
            lambda: os.utime(path, ns=(1, 1)),
            lambda: next(folder.glob("*.safetensors")).unlink(),
            lambda: os.utime(next(folder.glob("*.safetensors")), ns=(1, 1)),
            lambda: [index.write_text("{}") for index in folder.glob("*.json")],
        ):
            before = reads.count("read")
            build_store(open_corpus(path), tokenizer, folder=folder)
            change()
            build_store(open_corpus(path), tokenizer, folder=folder)
            assert reads.count("read") == before + 1
        build_store(open_corpus(path, sentences="lines"), tokenizer, folder=folder)
        build_store(open_corpus(path, limit=1), tokenizer, folder=folder)
        assert reads.count("read") == 8

    def test_one_that_changes_while_it_is_read_is_read_again(
        self, tokenizer: Tokenizer, folder: Path, path: Path, reads: list[str]
    ) -> None:
        build_store(
            open_corpus(path), tokenizer, folder=folder, on_progress=lambda done, total: os.utime(path, ns=(1, 1))
        )
        assert list(folder.glob("*.json")) == []

    def test_progress_is_in_bytes_and_ends_at_the_end(
        self, tokenizer: Tokenizer, folder: Path, path: Path, small: None
    ) -> None:
        said: list[tuple[int, int | None]] = []
        build_store(open_corpus(path), tokenizer, folder=folder, on_progress=lambda *done: said.append(done))
        assert [done for done, _ in said] == sorted(done for done, _ in said)
        assert said[-1] == (path.stat().st_size, path.stat().st_size)
        assert len(said) > 3

    def test_what_is_wrong_far_into_a_file_is_told(
        self, tokenizer: Tokenizer, folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bertwright.corpus.corpus_files.LAYOUT_SAMPLE_CHARACTERS", 100)
        monkeypatch.setattr("bertwright.data.text_files._BLOCK", 100)
        path.write_bytes(b"good\n\n" * 100 + b"\xff")  # further than where its layout is told by
        corpus = open_corpus(path)
        with pytest.raises(DataError, match=r"a\.txt:201: byte 0xff"):
            build_store(corpus, tokenizer, folder=folder)

    @pytest.mark.parametrize("shard", range(3))
    def test_a_damaged_shard_with_the_time_it_had_is_made_again(
        self, tokenizer: Tokenizer, folder: Path, path: Path, small: None, shard: int
    ) -> None:
        path.write_text("\n\n".join(" ".join(words) for words in (["good"] * 9, ["bad"] * 9, ["film"])))
        first = build_store(open_corpus(path), tokenizer, folder=folder)
        assert len(first.shards) == 3
        damaged = sorted(folder.glob("*.safetensors"))[shard]
        state, content = damaged.stat(), bytearray(damaged.read_bytes())
        content[-1] ^= 1
        damaged.unlink()  # the former file is still mapped
        damaged.write_bytes(content)
        os.utime(damaged, ns=(state.st_atime_ns, state.st_mtime_ns))
        notes: list[str] = []
        again = build_store(open_corpus(path), tokenizer, folder=folder, on_note=notes.append)
        assert spelled(again) == spelled(first)
        assert again.fingerprint == first.fingerprint
        assert [f"{damaged}: removed a damaged cache entry" in note for note in notes] == [True]

    def test_an_index_that_lost_a_shard_is_ignored(
        self, tokenizer: Tokenizer, folder: Path, path: Path, small: None
    ) -> None:
        first = build_store(open_corpus(path), tokenizer, folder=folder)
        (index,) = folder.glob("*.json")
        content = json.loads(index.read_text())
        del content["shards"][0]
        index.write_text(json.dumps(content))
        assert spelled(build_store(open_corpus(path), tokenizer, folder=folder)) == spelled(first)


def test_a_failing_tokenizer_is_told(folder: Path) -> None:
    backend = Backend(models.WordLevel({"[CLS]": 0, "[SEP]": 1, "a": 2, "Ġa": 3}, unk_token="[UNK]"))
    tokenizer = Tokenizer(backend, {"cls": 0, "sep": 1}, ("input_ids",))
    with pytest.raises(TokenizerError, match=r"tokenizer: cannot split a text: .*UNK"):
        build_store(open_corpus(["b"]), tokenizer, folder=folder)


def test_nothing_to_store(tokenizer: Tokenizer, folder: Path) -> None:
    with pytest.raises(DataError, match="list: has no text that can be tokenized"):
        build_store(open_corpus(["\x00"]), tokenizer, folder=folder)


def test_a_place_that_cannot_be_written(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    notes: list[str] = []
    found = build_store(open_corpus(TEXTS), tokenizer, folder=tmp_path / "file", on_note=notes.append)
    assert spelled(found) == expected(tokenizer, open_corpus(TEXTS))
    assert len(notes) == 1
    assert notes[0].startswith("the tokens of the corpus are not cached: ")
    assert "cannot be written: is a file; expected a directory" in notes[0]


def test_where_stores_lie(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTWRIGHT_CACHE", str(tmp_path / "cache"))
    build_store(open_corpus(TEXTS), tokenizer)
    assert len(list((tmp_path / "cache" / "store").iterdir())) == 1

    monkeypatch.setenv("BERTWRIGHT_CACHE", "off")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    found = build_store(open_corpus(TEXTS), tokenizer)
    (folder,) = (tmp_path / "temporary").iterdir()
    part = found.split_off(0.5)[1]
    del found
    gc.collect()
    assert folder.exists()
    assert spelled(part)
    del part
    gc.collect()
    assert not folder.exists()


def test_the_oldest_shards_go_but_none_of_this_store(
    tokenizer: Tokenizer, folder: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cache.KINDS, "store", replace(cache.KINDS["store"], max_bytes=1))
    build_store(open_corpus(["bad bad bad bad bad bad"]), tokenizer, folder=folder)
    (old,) = folder.iterdir()
    found = build_store(open_corpus(TEXTS), tokenizer, folder=folder)
    assert not old.exists()
    assert len(list(folder.iterdir())) == len(found.shards) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_more_shards_than_a_process_may_have_files_open(tokenizer: Tokenizer, folder: Path, tmp_path: Path) -> None:
    code = f"""
import resource
from pathlib import Path
from bertwright.corpus import token_store as store
from bertwright.corpus.documents import open_corpus
from bertwright.tokenization.tokenizer import Tokenizer
store.SHARD_CHARACTERS = 1
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
tokenizer = Tokenizer.load(Path({str(tmp_path / "tok")!r}))
found = store.build_store(open_corpus([f"good {{i}}" for i in range(80)]), tokenizer, folder=Path({str(folder)!r}))
print(found.n_documents, len(found.shards))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("80 80\n", 0), done.stderr


def test_a_mapping_that_fails_otherwise_is_no_reason_to_raise_limits(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        column_file.map_columns(folder / "none", {})
