"""Words cover a text, and whatever words and tags are written into columns are read back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from bertwright.data.reader import Dataset, read_dataset
from bertwright.data.words import split_words

anything = st.text(st.characters(exclude_categories=["Cs"]))
english = st.text("aB1 .,-'’@:/&sS\n中\u0301")


@given(anything | english)
def test_words_cover_all_but_white_space(text: str) -> None:
    words = split_words(text)
    ends = [0]
    for start, end in words:
        assert ends[-1] <= start < end
        assert not any(character.isspace() for character in text[start:end])
        ends.append(end)
    assert "".join(text[start:end] for start, end in words) == "".join(text.split())


@given(english)
def test_words_do_not_depend_on_what_stands_far_away(text: str) -> None:
    words = [text[start:end] for start, end in split_words(text)]
    longer = "x \n" + text + "\n x"
    assert [longer[start:end] for start, end in split_words(longer)] == ["x", *words, "x"]


# no separator, no end of a line, no byte-order mark, and not the first of a comment or of a new document
cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff\t\r\n #-"), min_size=1, max_size=8)
tag = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC"])
sentence = st.lists(st.tuples(cell, tag), min_size=1, max_size=6)


def found_in(name: str, content: bytes) -> Dataset:
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        return read_dataset(path, kind="tagging", need_target=True)


@given(st.lists(sentence, min_size=1, max_size=5), st.sampled_from(" \t"), st.sampled_from(["\n", "\r\n"]))
def test_columns_are_read_back(sentences: list[list[tuple[str, str]]], separator: str, end: str) -> None:
    lines = [line for rows in sentences for line in [*(separator.join(row) for row in rows), ""]]
    rows = found_in("a.conll.gz", gzip.compress(end.join(lines).encode()))
    for row, expected in zip(rows, sentences, strict=True):
        assert [row.text[a:b] for a, b in row.words or ()] == [word for word, _ in expected]
        assert row.target == tuple(tag for _, tag in expected)
    objects = [{"tokens": [w for w, _ in rows], "tags": [t for _, t in rows]} for rows in sentences]
    same = found_in("a.jsonl", "\n".join(map(json.dumps, objects)).encode())
    assert same.report.fingerprint == rows.report.fingerprint
