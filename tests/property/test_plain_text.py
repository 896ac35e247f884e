"""Words looked up are the words that the library splits in a sentence, whatever characters they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from bertwright.tokenization import plain_text
from bertwright.tokenization import tokenizer as ours
from bertwright.tokenization.plain_text import PlainTextEncoder

NASTY = " \t\n\u00a0\u3000\u2028\u200b\u00ad\x1c\x00aAßÀéİΣςﬁ汉가\u0301\u0345#.'-[SEPUNK]😀1\u0e33"
NAMES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({*NASTY.lower(), "e", "à", "ss", "sep", "unk"} - {" "})]
VOCABULARY = {name: i for i, name in enumerate([*NAMES, *(f"##{name}" for name in NAMES[5:])])}


def wordpiece(**settings: Any) -> Tokenizer:
    backend = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(**settings)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens(NAMES[:5])
    return backend


def opened(backend: Tokenizer) -> PlainTextEncoder:
    return PlainTextEncoder(ours.Tokenizer(backend, {"cls": 2, "sep": 3}, ("input_ids",)))


def check(plain: PlainTextEncoder, backend: Tokenizer, sentences: list[str]) -> None:
    ids, lengths = plain.encode(sentences)
    apart = Tokenizer.from_str(backend.to_str())
    apart.encode_special_tokens = True
    rows = [one.ids for one in apart.encode_batch(sentences, add_special_tokens=False)]
    assert ids.tolist() == [id_ for row in rows for id_ in row]
    assert lengths.tolist() == [len(row) for row in rows]


TEXTS = st.one_of(st.text(alphabet=NASTY, max_size=30), st.text(max_size=10).filter(lambda text: text.isprintable()))


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("remembered", [0, 3, 1000])
@settings(max_examples=60, deadline=None)
@given(lots=st.lists(st.lists(TEXTS, min_size=1, max_size=5), min_size=1, max_size=4))
def test_words_are_split_as_in_sentences(lots: list[list[str]], lowercase: bool, remembered: int) -> None:
    backend = wordpiece(lowercase=lowercase)
    plain = opened(backend)
    assert plain._splits_at_spaces
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_text, "MAX_CACHED_WORDS", remembered)
        for sentences in (*lots, *lots):
            check(plain, backend, sentences)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "MAX_CACHED_WORDS", 2)
    monkeypatch.setattr(plain_text, "MAX_CACHED_WORD_LENGTH", 3)
    backend = wordpiece()
    plain = opened(backend)
    for sentences in (["a aaaa"], ["e 1 a"], ["S P"]):
        check(plain, backend, sentences)
    assert plain._cache.keys() == {"a", "e", "1"}


@pytest.mark.parametrize("case", ["other normalizer", "other splitter", "other model", "an added token of two words"])
def test_what_may_look_further_is_given_whole_sentences(case: str) -> None:
    backend = wordpiece()
    if case == "other normalizer":
        backend.normalizer = normalizers.Replace("a a", "e")
    elif case == "other splitter":
        backend.pre_tokenizer = pre_tokenizers.Split("a e", "isolated")
    elif case == "other model":
        backend.model = models.WordLevel(VOCABULARY, unk_token="[UNK]")
    else:
        backend.add_tokens([AddedToken("a e")])
    plain = opened(backend)
    assert not plain._splits_at_spaces
    check(plain, backend, ["a a e", "a e a"])


@pytest.mark.real
@pytest.mark.parametrize("name", ["bert-base-uncased", "bert-base-cased"])
def test_real_text(real_data: Path, name: str) -> None:
    tokenizer = ours.Tokenizer.load(real_data / "vocab" / name)
    lines = (real_data / "wikitext2" / "valid.txt").read_text(encoding="utf-8").splitlines()
    plain = PlainTextEncoder(tokenizer)
    assert plain._splits_at_spaces
    check(plain, tokenizer.backend, lines)
