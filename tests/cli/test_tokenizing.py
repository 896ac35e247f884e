"""``bertwright tokenizer``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from worlds import Call

CORPUS = "The lobster was unbelievable. Lobsters believe.\n\nA café, a lobster.\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(CORPUS * 3, encoding="utf-8")
    return path


@pytest.fixture
def trained(call: Call, corpus: Path, tmp_path: Path) -> Path:
    assert call("tokenizer", "train", corpus, "--vocab-size", 60, "--out", tmp_path / "tok").code == 0
    return tmp_path / "tok"


@pytest.mark.parametrize("command", ["train", "show"])
def test_help_fits_80_columns_and_has_examples(call: Call, command: str) -> None:
    said = call("tokenizer", command, "--help")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert f"\n  bertwright tokenizer {command}" in said.out.partition("Example")[2]


def test_train_says_what_was_read_and_made(call: Call, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "tok"
    said = call("tokenizer", "train", corpus, corpus, "--vocab-size", 60, "--out", out)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"corpus     {corpus}: 4 documents, 9 sentences",
        f"corpus     {corpus}: blank lines separate documents",
    ] * 2 + [
        f"tokenizer  {out}: 60 tokens, wordpiece, lowercased, accents removed",
        f'next       bertwright tokenizer show "a text" --tokenizer {out}',
    ]
    assert json.loads((out / "tokenizer_config.json").read_text())["do_lower_case"] is True
    assert sorted(path.name for path in out.iterdir()) == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]


@pytest.mark.parametrize(
    ("options", "shown", "piece"),
    [
        (["--cased"], "cased", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        (["--keep-accents"], "lowercased, accents kept", "café"),
        (["--kind", "bpe", "--vocab-size", 300], "bpe, lowercased", "Ġlobster"),
    ],
)
def test_train_options(call: Call, corpus: Path, tmp_path: Path, options: list[object], shown: str, piece: str) -> None:
    said = call("tokenizer", "train", corpus, "--out", tmp_path / "tok", *options)
    assert said.code == 0, said.err
    assert shown in said.out
    assert re.search(r"the corpus yields \d+ of at most [\d,]+ tokens", said.err)
    assert piece in json.loads((tmp_path / "tok" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]


def test_train_takes_a_column_and_an_encoding(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": "xx xx", "b": "yy yy"}\n', encoding="utf-16")
    options = ("--text", "b", "--encoding", "utf-16", "--vocab-size", 9, "--out", tmp_path / "tok")
    assert call("tokenizer", "train", tmp_path / "a.jsonl", *options).code == 0
    vocabulary = (tmp_path / "tok" / "vocab.txt").read_text(encoding="utf-8").split()
    assert vocabulary[5:] == ["y", "##y", "yy"]


def test_train_errors(call: Call, corpus: Path, trained: Path, tmp_path: Path) -> None:
    again = call("tokenizer", "train", corpus, "--out", trained)
    assert (again.code, again.out) == (2, "")
    assert again.err == (
        f"error: {trained}: already exists and is not empty; choose another directory with --out, or remove it.\n"
    )
    small = call("tokenizer", "train", corpus, "--vocab-size", 9, "--out", tmp_path / "new")
    assert small.code == 2
    assert "error: tokenizer: a vocabulary of 9 tokens is too small for the special tokens and" in small.err
    assert not (tmp_path / "new").exists()
    missing = call("tokenizer", "train", tmp_path / "corpus.text", "--out", tmp_path / "new")
    assert 'no such file; did you mean "corpus.txt"?' in missing.err
    (tmp_path / "b.jsonl").write_text('{"a": "x", "b": "y"}')
    column = call("tokenizer", "train", tmp_path / "b.jsonl", "--out", tmp_path / "new")
    assert "name the column with --text …" in column.err


def test_show(call: Call, trained: Path) -> None:
    said = call("tokenizer", "show", "Lobsters, 😀", "a", "--tokenizer", trained)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == "Lobsters, 😀"
    rows = [line.split() for line in lines]
    assert ["[UNK]", "1", "10-11", "😀", "unknown"] in rows
    assert [row[2:] for row in rows if row[:1] == [","]] == [["8-9", ","]]
    assert "3 tokens for 2 words, 1 unknown; 5 tokens with special tokens" in lines
    assert "1 token for 1 word, 0 unknown; 3 tokens with special tokens" in lines


def test_show_reads_standard_input(call: Call, trained: Path) -> None:
    said = call("tokenizer", "show", "-", "--tokenizer", trained, stdin="a\n\na café\n".encode())
    assert said.out.count("tokens with special tokens") == 2
    assert "3 tokens for 2 words" in said.out
    bad = call("tokenizer", "show", "-", "--tokenizer", trained, stdin=b"a\n\xff\n")
    assert (bad.code, bad.err) == (
        2,
        "error: standard input:2: byte 0 is not UTF-8; convert the text (iconv -t utf-8), or add --encoding.\n",
    )


def test_show_tells_what_it_decided_and_what_is_missing(call: Call, trained: Path, tmp_path: Path) -> None:
    for path in trained.iterdir():
        if path.name != "vocab.txt":
            path.unlink()
    assert "note: the tokenizer lower-cases texts, because tokenizer_config.json has no" in (
        call("tokenizer", "show", "a", "--tokenizer", trained).err
    )
    (trained / "vocab.txt").unlink()
    gone = call("tokenizer", "show", "a", "--tokenizer", trained)
    assert (gone.code, f"{trained}: no tokenizer found" in gone.err) == (2, True)
    nowhere = call("tokenizer", "show", "a", "--tokenizer", tmp_path / "none")
    assert (nowhere.code, "no such directory" in nowhere.err) == (2, True)


def test_nothing_slow_is_imported(trained: Path) -> None:
    code = (
        f"import sys; sys.argv = ['bertwright', 'tokenizer', 'show', 'a', '--tokenizer', {str(trained)!r}]\n"
        "from bertwright.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print([n for n in ['torch', 'datasets', 'pyarrow', 'pandas', 'transformers'] if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_a_pair_is_shown_with_its_segments(tiny_bert: Path, call: Call) -> None:
    said = call(
        "tokenizer", "show", "good film", "bad", "--pair", "dull plot", "--pair", "fun", "--tokenizer", tiny_bert
    )
    assert said.code == 0, said.err
    lines = [line.split() for line in said.out.splitlines()]
    assert ["film", "7", "5-9", "film", "0"] in lines
    assert ["plot", "8", "5-9", "plot", "1"] in lines
    assert ["fun", "15", "0-3", "fun", "1"] in lines
    said = call("tokenizer", "show", "good", "bad", "--pair", "dull", "--tokenizer", tiny_bert)
    assert (said.code, said.err) == (2, "error: tokenizer: 2 texts, but 1 --pair; give one per text.\n")


KILLED = """
import os, signal, sys
from bertwright.cli import main
from bertwright.tokenization import tokenizer_files
written = tokenizer_files.write_atomically
def die(path, content):
    if path.name == {name!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    return written(path, content)
tokenizer_files.write_atomically = die
main()
"""


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"])
def test_a_kill_leaves_no_half_tokenizer(corpus: Path, tmp_path: Path, call: Call, name: str) -> None:
    arguments = ["tokenizer", "train", str(corpus), "--vocab-size", "60", "--out", str(tmp_path / "tok")]
    ended = subprocess.run([sys.executable, "-c", KILLED.format(name=name), *arguments], check=False)
    assert ended.returncode == -9
    assert not (tmp_path / "tok").exists()
    assert call(*arguments).code == 0  # what the kill left beside it is no obstacle
    assert (tmp_path / "tok" / "tokenizer.json").exists()
