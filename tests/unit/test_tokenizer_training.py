"""Vocabularies are learnt the same way every time, and open in transformers with the same ids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bertwright.corpus import tokenizer_training
from bertwright.corpus.documents import open_corpus
from bertwright.corpus.tokenizer_training import train_tokenizer
from bertwright.errors import DataError, TokenizerError
from bertwright.tokenization.tokenizer import Tokenizer

TEXTS = [
    "The unbelievable lobster was believed. Lobsters eat; the lobster ate.",
    "Élan and café: a naïve lobster's café. Über alles, 汉字 und 汉语!",
    "Believers believe in 1999 lobsters (or 2000).",
]
PROBE = "Unbelievable CAFÉ lobsters 汉语 <mask> [MASK] été 😀"


def trained(**settings: Any) -> Tokenizer:
    return train_tokenizer([open_corpus(TEXTS)], **{"vocab_size": 400, **settings})


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.backend.encode(text, add_special_tokens=False).tokens


def test_wordpiece_is_berts() -> None:
    assert trained(vocab_size=80).vocab_size == 80
    tokenizer = trained()
    assert dict(tokenizer.special_ids) == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    assert tokenizer.input_names == ("input_ids", "token_type_ids", "attention_mask")
    assert tokenizer.n_segment_types == 2
    assert pieces(tokenizer, "The lobster, [SEP] CAFÉ") == ["the", "lobster", ",", "[SEP]", "cafe"]
    assert pieces(tokenizer, "😀") == ["[UNK]"]
    names = sorted(tokenizer.backend.get_vocab(), key=tokenizer.backend.get_vocab().__getitem__)
    letters = [name for name in names[5:] if len(name) == 1]
    assert names[5 : 5 + len(letters)] == sorted(letters)
    within = [name for name in names if len(name) == 3 and name.startswith("##")]
    # never within a word: punctuation and Chinese stand alone
    assert {"汉", ".", "'"} <= set(letters)
    assert not {"##汉", "##.", "##'"} & set(within)
    assert len(tokenizer.backend.get_added_tokens_decoder()) == 5


def test_bpe_is_robertas() -> None:
    tokenizer = trained(kind="bpe", lowercase=False)
    assert dict(tokenizer.special_ids) == {"cls": 0, "pad": 1, "sep": 2, "unk": 3, "mask": 4}
    assert tokenizer.input_names == ("input_ids", "attention_mask")
    assert tokenizer.n_segment_types == 1
    text = " The lobster’s CAFÉ 😀"
    assert tokenizer.backend.decode(tokenizer.backend.encode(text, add_special_tokens=False).ids) == text
    assert pieces(tokenizer, "a lobster <mask>.") == ["a", "Ġlobster", " <mask>", "."]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "cafe"),
        ({"strip_accents": False}, "café"),
        ({"lowercase": False}, "CAFÉ"),
        ({"lowercase": False, "strip_accents": True}, "CAFE"),
    ],
)
@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_case_and_accents(kind: str, settings: dict[str, bool], expected: str, tmp_path: Path) -> None:
    trained(kind=kind, **settings).save(tmp_path)
    opened = Tokenizer.load(tmp_path)
    assert opened.notes == ()
    normalizer = opened.backend.normalizer
    assert (normalizer.normalize_str("CAFÉ") if normalizer else "CAFÉ") == expected


@pytest.mark.parametrize("settings", [{}, {"lowercase": False}, {"kind": "bpe"}, {"kind": "bpe", "lowercase": False}])
def test_it_opens_here_and_in_transformers(settings: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = trained(**settings)
    tokenizer.save(tmp_path)
    assert (tmp_path / "vocab.txt").exists() == ("kind" not in settings)
    opened = Tokenizer.load(tmp_path)
    assert opened.fingerprint == tokenizer.fingerprint
    assert dict(opened.special_ids) == dict(tokenizer.special_ids)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in (PROBE, *TEXTS):
        assert theirs(text)["input_ids"] == tokenizer.backend.encode(text).ids
        assert theirs(text, "b c")["input_ids"] == tokenizer.backend.encode(text, "b c").ids
        assert ("token_type_ids" in theirs(text)) == ("token_type_ids" in tokenizer.input_names)
    for role, id_ in tokenizer.special_ids.items():
        assert getattr(theirs, f"{role}_token_id") == id_


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_it_is_the_same_every_time(kind: str) -> None:
    """In processes of their own: the library's chance is drawn when one starts."""
    code = f"""
from test_tokenizer_training import trained
print(trained(kind={kind!r}, vocab_size=300).fingerprint)
"""
    command = [sys.executable, "-c", code]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) for _ in range(3)]
    said = {run.communicate(timeout=60)[0] for run in runs}
    assert said == {trained(kind=kind, vocab_size=300).fingerprint + "\n"}


def test_several_corpora_count_as_one(tmp_path: Path) -> None:
    for i, text in enumerate(TEXTS):
        (tmp_path / f"{i}.txt").write_text(text, encoding="utf-8")
    parts = [open_corpus(tmp_path / f"{i}.txt") for i in range(3)]
    progress: list[tuple[int, int | None]] = []
    told: list[tuple[str, int]] = []
    tokenizer = train_tokenizer(
        parts,
        vocab_size=400,
        on_progress=lambda *done: progress.append(done),
        on_statistics=lambda corpus, statistics: told.append((corpus.source, statistics.documents)),
    )
    assert tokenizer.fingerprint == trained().fingerprint
    total = 2 * sum(part.n_bytes or 0 for part in parts)
    assert (len(progress), progress[-1]) == (6, (total, total))
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)
    assert told == [(str(tmp_path / f"{i}.txt"), 1) for i in range(3)]


def test_progress_without_files_has_no_end() -> None:
    progress: list[tuple[int, int | None]] = []
    train_tokenizer([open_corpus(TEXTS)], kind="bpe", vocab_size=300, on_progress=lambda *done: progress.append(done))
    assert [total for _, total in progress] == [None]


def test_pieces_must_be_frequent() -> None:
    assert trained(min_frequency=100).vocab_size < trained(min_frequency=2).vocab_size < 400
    assert trained(kind="bpe", min_frequency=100).vocab_size == 5 + 256


def test_rare_characters_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_training, "MAX_ALPHABET", 10)
    tokenizer = trained()
    assert len([name for name in tokenizer.backend.get_vocab() if len(name) == 1]) == 10
    assert pieces(tokenizer, "汉") == ["[UNK]"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"vocab_size": 20},
            r"20 tokens is too small for the special tokens and \d+ characters at the start of words and ",
        ),
        ({"vocab_size": 260, "kind": "bpe"}, "260 tokens is too small for .* the 256 bytes; use at least 261"),
    ],
)
def test_too_small(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        trained(**settings)


def test_damaged_texts_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{', encoding="utf-8")
    corpus = open_corpus(["a"])
    with pytest.raises(DataError, match=r"a\.jsonl:2: is not valid JSON"):
        corpus = open_corpus(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 500 + "{", encoding="utf-8")
    corpus = open_corpus(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"a\.jsonl:501: is not valid JSON"):
        train_tokenizer([corpus])
