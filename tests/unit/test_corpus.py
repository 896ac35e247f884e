"""Corpora of every form give their documents, and what is wrong with one is told with file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bertwright.corpus import corpus_files
from bertwright.corpus.corpus_files import CorpusStatistics
from bertwright.corpus.documents import Corpus, Document, open_corpus
from bertwright.data.dataset import ColumnNames
from bertwright.data.normalize import NormalizationSettings
from bertwright.errors import BertwrightError, DataError

BLANK = "One. Two\nThree\n\n\n  \nFour\n"
WIKITEXT = """ \n = Title = \n \n A well @-@ known 1 @,@ 000 @.@ 5 . <unk> came . \n = = Part = = \n More \n
 = Other : a = b = \n Text \n = Empty = \n """


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(corpus: Corpus) -> list[tuple[str, ...]]:
    return [document.sentences for document in corpus.documents()]


def read(corpus: Corpus) -> tuple[list[Document], CorpusStatistics]:
    statistics = CorpusStatistics()
    return list(corpus.documents(statistics)), statistics


class TestPlainText:
    def test_blank_lines_part_documents(self, tmp_path: Path) -> None:
        corpus = open_corpus(write(tmp_path / "a.txt", BLANK))
        documents, statistics = read(corpus)
        assert documents == [
            Document(("One.", "Two", "Three"), f"{tmp_path}/a.txt:1"),
            Document(("Four",), f"{tmp_path}/a.txt:6"),
        ]
        assert (statistics.documents, statistics.sentences, statistics.bytes_read) == (2, 4, len(BLANK))
        assert statistics.describe("a.txt") == [
            "a.txt: 2 documents, 4 sentences",
            "a.txt: blank lines separate documents",
        ]
        assert corpus.n_bytes == len(BLANK)

    def test_lines_may_be_sentences(self, tmp_path: Path) -> None:
        corpus = open_corpus(write(tmp_path / "a.txt", BLANK), sentences="lines")
        assert texts(corpus) == [("One. Two", "Three"), ("Four",)]

    def test_without_blank_lines_every_line_is_a_document(self, tmp_path: Path) -> None:
        corpus = open_corpus(write(tmp_path / "a.txt", "\n\ufeffOne. Two\r\nThree\n\n"))
        documents, statistics = read(corpus)
        assert [document.where.rpartition(":")[2] for document in documents] == ["2", "3"]
        assert [document.sentences for document in documents][1:] == [("Three",)]
        assert "every line is a document, because no blank line separates two lines" in statistics.describe("a")[1]

    def test_the_first_megabyte_decides(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corpus_files, "LAYOUT_SAMPLE_CHARACTERS", 8)
        assert texts(open_corpus(write(tmp_path / "a.txt", "One\nTwo\nThree\n\nFour\n"))) == [
            ("One",),
            ("Two",),
            ("Three",),
            ("Four",),
        ]

    def test_wikitext(self, tmp_path: Path) -> None:
        documents, statistics = read(open_corpus(write(tmp_path / "wiki.raw", WIKITEXT)))
        assert [document.sentences for document in documents] == [
            ("A well-known 1,000.5 .", "<unk> came .", "More"),
            ("Text",),
        ]
        assert documents[0].where.endswith("wiki.raw:4")
        assert "read as WikiText" in statistics.describe("wiki")[1]

    def test_the_blocks_it_is_read_in_do_not_show(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        content = "".join(f"Größe {i} 汉字\r\n" + "\n" * (i % 3 == 0) for i in range(50))
        path = write(tmp_path / "a.txt", content)
        packed = write(tmp_path / "b.txt.gz", gzip.compress(content.encode()))
        expected = texts(open_corpus(path))
        assert len(expected) == 18
        for size in (1, 2, 3, 7, 64):
            monkeypatch.setattr("bertwright.data.text_files._BLOCK", size)
            assert texts(open_corpus(path)) == expected
            assert texts(open_corpus(packed)) == expected

    def test_progress_of_a_packed_file_is_of_the_packed_bytes(self, tmp_path: Path) -> None:
        packed = write(tmp_path / "b.txt.gz", gzip.compress(("Words and words.\n\n" * 1000).encode()))
        corpus = open_corpus(packed)
        assert read(corpus)[1].bytes_read == corpus.n_bytes == packed.stat().st_size

    def test_other_encodings(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", "Größe\n\nÄ".encode("utf-16"))
        assert texts(open_corpus(path, encoding="utf-16")) == [("Größe",), ("Ä",)]

    def test_documents_too_long_for_memory_are_cut(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corpus_files, "MAX_DOCUMENT_CHARACTERS", 10)
        path = write(tmp_path / "a.txt", "aaaa\nbbbb\ncccc\n\ndddd")
        documents, statistics = read(open_corpus(path))
        assert [document.sentences for document in documents] == [("aaaa", "bbbb"), ("cccc",), ("dddd",)]
        assert statistics.notes == [f"{path}:1: the document has more than 10 characters and is split into several"]

    def test_any_suffix_is_text_where_the_file_is_named(self, tmp_path: Path) -> None:
        assert texts(open_corpus(write(tmp_path / "wiki_00", "One\n\nTwo"))) == [("One",), ("Two",)]


@pytest.mark.real
def test_wikitext_itself(real_data: Path) -> None:
    documents, statistics = read(open_corpus(real_data / "wikitext2" / "valid.txt"))
    assert (statistics.documents, statistics.layouts) == (60, {"wikitext": 1})
    sentences = [sentence for document in documents for sentence in document.sentences]
    assert 7000 < len(sentences) < 9000
    assert not [sentence for sentence in sentences if "@-@" in sentence or sentence.startswith("= ")]


class TestTables:
    ROWS = ("One. Two\n\nThree", None, " ", "Four")

    def rows(self) -> list[dict[str, Any]]:
        return [{"url": f"u{i}", "content": text} for i, text in enumerate(self.ROWS)]

    def check(self, corpus: Corpus, wheres: list[str]) -> None:
        documents, statistics = read(corpus)
        assert [document.sentences for document in documents] == [("One.", "Two", "Three"), ("Four",)]
        assert [document.where for document in documents] == wheres
        assert statistics.skipped == {"empty text": 2}
        assert f"{corpus.source}: 2 skipped: empty text" in statistics.describe(corpus.source)
        assert statistics.notes == [f"{corpus.source}: reads the text from column content; set data.text to change it"]

    @pytest.mark.parametrize("chunk", [1, 3, 128])
    def test_json_lines(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
        monkeypatch.setattr(corpus_files, "ROWS_PER_CHUNK", chunk)
        path = write(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, self.rows())))
        self.check(open_corpus(path), [f"{path}:1", f"{path}:7"])

    @pytest.mark.parametrize("chunk", [1, 3, 128])
    def test_parquet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        monkeypatch.setattr(corpus_files, "ROWS_PER_CHUNK", chunk)
        pq.write_table(pa.Table.from_pylist(self.rows()), path := tmp_path / "a.parquet")
        corpus = open_corpus(path)
        self.check(corpus, [f"{path}[0]", f"{path}[3]"])
        assert read(corpus)[1].bytes_read == corpus.n_bytes == path.stat().st_size
        whole = path.read_bytes()
        path.write_bytes(whole[:4] + bytes(len(whole) - 300) + whole[len(whole) - 296 :])  # the footer stays
        with pytest.raises(DataError, match=r"a\.parquet: is a damaged Parquet file"):
            open_corpus(path)
        path.write_bytes(whole[:-40] + whole[-20:])
        with pytest.raises(DataError, match=r"a\.parquet: is a damaged Parquet file"):
            open_corpus(path)

    def test_json_and_csv_are_read_whole(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.json", json.dumps(self.rows()))
        self.check(open_corpus(path), [f"{path}[0]", f"{path}[3]"])
        path = write(tmp_path / "a.csv", 'content,n\n"One. Two\n\nThree",1\n,2\nFour,3\n')
        assert texts(open_corpus(path)) == [("One.", "Two", "Three"), ("Four",)]

    def test_a_column_is_named(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", '{"title": "A", "body": "B"}')
        assert texts(open_corpus(path, ColumnNames("title"))) == [("A",)]
        with pytest.raises(DataError, match=r'there is no column "titel"; did you mean "title"\?'):
            open_corpus(path, ColumnNames("titel"))

    @pytest.mark.parametrize("names", [("premise", "hypothesis"), ("headline", "body")])
    def test_several_columns_of_text(self, tmp_path: Path, names: tuple[str, str]) -> None:
        path = write(tmp_path / "a.jsonl", json.dumps(dict.fromkeys(names, "x")))
        with pytest.raises(DataError, match=f"{names[0]} or {names[1]}.*; .*data.text=…"):
            open_corpus(path)

    def test_rows_may_be_lines_of_wikitext(self) -> None:
        lines = WIKITEXT.split("\n")
        assert texts(open_corpus(lines)) == [("A well-known 1,000.5 .", "<unk> came .", "More"), ("Text",)]


class TestFolders:
    def test_all_below_it_in_order(self, tmp_path: Path) -> None:
        write(tmp_path / "b.txt", "B1\n\nB2")
        write(tmp_path / "a" / "z.jsonl", '{"text": "A"}')
        write(tmp_path / "empty.txt", "\n")
        write(tmp_path / "a" / "b" / "c.txt.gz", gzip.compress(b"C"))
        write(tmp_path / "photo.png", b"\x89PNG")
        write(tmp_path / ".git" / "x.txt", "no")
        corpus = open_corpus(tmp_path)
        documents, statistics = read(corpus)
        assert [document.sentences for document in documents] == [("C",), ("A",), ("B1",), ("B2",)]
        assert statistics.skipped == {"empty file": 1}
        assert corpus.notes == (
            f"{tmp_path}: reads 4 files in the order of their names",
            f"{tmp_path}: skips 1 file with other suffixes (photo.png)",
        )
        assert statistics.notes == list(corpus.notes)
        assert f"{tmp_path}: 1 of 2 files: blank lines separate documents" in statistics.describe(str(tmp_path))
        assert statistics.bytes_read == corpus.n_bytes
        assert [file.name for file in corpus.files] == ["c.txt.gz", "z.jsonl", "b.txt", "empty.txt"]

    def test_a_split_of_it(self, tmp_path: Path) -> None:
        write(tmp_path / "train.txt", "A\n\nB")
        write(tmp_path / "valid.txt", "C")
        assert texts(open_corpus(tmp_path, split="dev")) == [("C",)]
        assert len(texts(open_corpus(tmp_path))) == 3
        with pytest.raises(DataError, match="has no split test"):
            open_corpus(tmp_path, split="test")

    def test_nothing_to_read(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"has no readable file \(it is empty\); expected files with suffix .txt,"):
            open_corpus(tmp_path)
        for i in range(7):
            write(tmp_path / f"{i}.bin", "x")
        with pytest.raises(DataError, match=r"\(it contains 0.bin, 1.bin, 2.bin, 3.bin, 4.bin, …\)"):
            open_corpus(tmp_path)


class TestDataSets:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write(tmp_path / "data" / "train.jsonl", '{"text": "One. B", "n": 1}\n{"text": "C", "n": 2}')
        write(tmp_path / "data" / "validation.jsonl", '{"text": "D", "n": 1}')
        return tmp_path

    def test_by_name(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        datasets = pytest.importorskip("datasets")
        monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        corpus = open_corpus(f"hub:{folder}/data:train")
        documents, statistics = read(corpus)
        assert [document.where for document in documents] == [f"hub:{folder}/data:train[{i}]" for i in range(2)]
        assert documents[0].sentences == ("One.", "B")
        assert (corpus.n_bytes, statistics.bytes_read) == (None, 6)
        assert list((folder / "cache").rglob("*.arrow")) == []  # it was streamed
        assert texts(open_corpus(f"hub:{folder}/data", split="dev")) == [("D",)]
        assert texts(open_corpus(f"hub:{folder}/data:train[:1]")) == [("One.", "B")]
        with pytest.raises(DataError, match="has several splits; name one of"):
            open_corpus(f"hub:{folder}/data")

    def test_objects_and_saved_ones(self, tmp_path: Path) -> None:
        datasets = pytest.importorskip("datasets")
        data = datasets.Dataset.from_dict({"text": ["One. B", "C"]})
        assert texts(open_corpus(data)) == [("One.", "B"), ("C",)]
        assert texts(open_corpus(datasets.DatasetDict(train=data, test=data), split="train")) == [("One.", "B"), ("C",)]
        data.save_to_disk(tmp_path / "saved")
        assert texts(open_corpus(tmp_path / "saved")) == [("One.", "B"), ("C",)]
        assert texts(open_corpus(data.to_iterable_dataset())) == [("One.", "B"), ("C",)]

    def test_the_cache_serves_where_the_hub_does_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        datasets = pytest.importorskip("datasets")
        whole = datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": ["A"]}))

        def load(path: str, config: str | None, split: str | None = None, streaming: bool = False) -> Any:
            if streaming:
                raise ConnectionError("no network")
            return whole

        monkeypatch.setattr(datasets, "load_dataset", load)
        assert texts(open_corpus("hub:some/thing", split="train")) == [("A",)]


def test_in_memory() -> None:
    corpus = open_corpus(["One. Two\nThree", "Four"])
    documents, statistics = read(corpus)
    assert documents == [Document(("One.", "Two", "Three"), "list[0]"), Document(("Four",), "list[1]")]
    assert (corpus.source, corpus.n_bytes, statistics.bytes_read) == ("list", None, 16)
    assert open_corpus(corpus) is corpus
    pandas = pytest.importorskip("pandas")
    assert texts(open_corpus(pandas.DataFrame({"text": ["A", "B"]}))) == [("A",), ("B",)]


def test_texts_are_cleaned_line_by_line() -> None:
    cleaned = NormalizationSettings(html=True, lowercase=True, whitespace=True)
    documents, statistics = read(open_corpus(["<b>A</b>  &amp; b.\n<br>", "<p>\n</p>", "C"], normalize=cleaned))
    assert [document.sentences for document in documents] == [("a & b.",), ("c",)]
    assert statistics.skipped == {"empty after normalization": 1}
    lines = open_corpus(["<b>A.</b> B\n<br>"], normalize=cleaned, sentences="lines")
    assert texts(lines) == [("a. b",)]


def test_a_limit() -> None:
    corpus = open_corpus(["A", "B", "C"], limit=2)
    assert texts(corpus) == [("A",), ("B",)]


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.txt", b"", r"a\.txt: has no text; check that it is the right file"),
            ("a.jsonl", b"\n\n", r"a\.jsonl: has no text"),
            ("a.txt", "One\n\nGröße".encode("latin-1"), r"a\.txt:3: byte 0xf6 at offset 7 is not utf-8; save the"),
            ("a.txt", b"One\nT\0wo", r"a\.txt:2: contains a NUL byte"),
            ("a.txt", b"%PDF-1.4 \xff\xfe", r"a\.txt: is not utf-8 text but a PDF; extract its text first\."),
            ("a.txt", b"\x1f\x8b\x08\x00\xff", r"a\.txt: is not utf-8 text but gzip"),
            ("a.txt.gz", b"no", r"a\.txt\.gz: is a damaged gzip file"),
            ("a.txt.gz", gzip.compress(b"A\n\nB" * 99, mtime=0)[:20], r"a\.txt\.gz: is a damaged gzip file"),
            (
                "a.jsonl",
                b'{"text": "A"}\n\n{"text": ',
                r"a\.jsonl:3: is not valid JSON \(Expecting value at column 10\)",
            ),
            ("a.jsonl", b'{"text": "A"}\n{"txt": "B"}', r'a\.jsonl:2: lacks the column "text"; every row needs one'),
            ("a.jsonl", b'{"text": "A"}\n["B"]', r"a\.jsonl:2: expected an object"),
            ("a.jsonl", b'{"text": "A"}\n{"text": 5}', r'a\.jsonl:2: the column "text" should hold a text, found 5'),
            ("a.jsonl", b'{"text": "\\ud800"}', r'a\.jsonl:1: the text in "text" holds half of a surrogate pair'),
            ("a.parquet", b"PAR1", r"a\.parquet: is a damaged Parquet file"),
        ],
    )
    def test_damaged_files(self, tmp_path: Path, name: str, content: bytes, message: str) -> None:
        path = write(tmp_path / name, content)
        with pytest.raises(DataError, match=message):
            list(open_corpus(path).documents())

    def test_offsets_hold_far_into_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        good = "Größe und 汉字\n\n" * 40
        path = write(tmp_path / "a.txt", good.encode() + b"ab\xffc")
        offset = len(good.encode()) + 2
        for block in (5, 6, 7, 1 << 20):
            monkeypatch.setattr("bertwright.data.text_files._BLOCK", block)
            with pytest.raises(DataError, match=rf"a\.txt:81: byte 0xff at offset {offset} is not utf-8"):
                list(open_corpus(path).documents())

    def test_a_line_that_memory_might_not_hold(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corpus_files, "MAX_DOCUMENT_CHARACTERS", 10)
        monkeypatch.setattr("bertwright.data.text_files._BLOCK", 8)
        path = write(tmp_path / "a.txt", "short\n" + "x" * 40)
        with pytest.raises(DataError, match=r"a\.txt:2: the line has more than 10 characters; split it into lines"):
            open_corpus(path)

    def test_missing(self, tmp_path: Path) -> None:
        write(tmp_path / "corpus.txt", "A")
        with pytest.raises(DataError, match=r'corpse\.txt: no such file; did you mean "corpus.txt"\?'):
            open_corpus(tmp_path / "corpse.txt")

    def test_what_is_no_text(self) -> None:
        with pytest.raises(DataError, match=r"list\[1\]: expected str, found int"):
            open_corpus(["a", 5])
        with pytest.raises(DataError, match="int: cannot be read as rows"):
            open_corpus(5)
        with pytest.raises(DataError, match="list: has no text"):
            open_corpus(["", " "])

    def test_a_data_set_that_is_nowhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("datasets")
        with pytest.raises(BertwrightError, match=r"hub:/none/x:train"):
            open_corpus("hub:/none/x:train")
