"""Windows over long texts: no token is lost, and one window of several knows each token best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from bertwright.errors import DataError
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.tokenization.windows import encode_windows
from tiny import make_tiny_bert

WORDS = ["good", "bad", "film", "plot", "unbelievably", "éclair"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> Tokenizer:
    return Tokenizer.load(directory)


def tokens_of(found: Encodings, example: int) -> list[tuple[int, int]]:
    """The characters of the tokens that are core, in the order of the text."""
    rows = np.flatnonzero(found.examples == example)
    offsets = np.concatenate([found.offsets[found.bounds[i] : found.bounds[i + 1]] for i in rows])
    max_context = np.concatenate([found.max_context[found.bounds[i] : found.bounds[i + 1]] for i in rows])
    return sorted(map(tuple, offsets[max_context].tolist()))


@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(8, 24), st.integers(0, 4))
def test_every_token_is_core_once_and_no_window_is_too_long(
    tokenizer: Tokenizer, texts: list[str], length: int, stride: int
) -> None:
    found = encode_windows(tokenizer, texts, max_length=length, stride=stride)
    assert found.lengths.max() <= length
    assert (np.diff(found.examples) >= 0).all()
    for i, text in enumerate(texts):
        expected = tokenizer.backend.encode(text, add_special_tokens=False).offsets
        assert tokens_of(found, i) == sorted(expected)


@given(TEXT, TEXT, st.integers(16, 40), st.integers(0, 5))
def test_windows_are_those_of_transformers(
    directory: Path, tokenizer: Tokenizer, question: str, context: str, length: int, stride: int
) -> None:
    theirs = AutoTokenizer.from_pretrained(directory)
    taken, room = len(theirs.tokenize(question)), length - 3
    # ours cuts a long question, shares half of a window at most, and keeps an empty text; theirs does not
    assume(taken <= room // 2 and stride <= (room - taken) // 2 and theirs.tokenize(context))
    expected = theirs(
        question,
        context,
        truncation="only_second",
        max_length=length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    found = encode_windows(tokenizer, [question], [context], max_length=length, stride=stride)
    assert [one.ids.tolist() for one in found] == expected["input_ids"]
    assert [one.types.tolist() for one in found] == expected["token_type_ids"]
    for i, one in enumerate(found):
        for ours, offset, side in zip(
            one.offsets.tolist(), expected["offset_mapping"][i], expected.sequence_ids(i), strict=True
        ):
            assert ours == (list(offset) if side == 1 else [-1, -1])


@given(TEXT)
def test_core_is_where_both_sides_have_most_context(tokenizer: Tokenizer, text: str) -> None:
    found = encode_windows(tokenizer, [text], max_length=14, stride=6)
    best: dict[tuple[int, int], float] = {}
    chosen: dict[tuple[int, int], float] = {}
    for i in range(len(found)):
        span = slice(found.bounds[i] + 1, found.bounds[i + 1] - 1)
        offsets, max_context = found.offsets[span].tolist(), found.max_context[span]
        for j, token in enumerate(map(tuple, offsets)):
            context = min(j, len(offsets) - 1 - j) + 0.01 * len(offsets)
            best[token] = max(best.get(token, -1.0), context)
            if max_context[j]:
                chosen[token] = context
    assert chosen == best


def test_a_long_first_text_is_cut_to_half_and_counted(tokenizer: Tokenizer) -> None:
    question, context = " ".join(["good"] * 30), " ".join(["bad"] * 30)
    found = encode_windows(tokenizer, [question, "good"], [context, context], max_length=23, stride=2)
    assert found.lengths.max() == 23
    assert found.dropped[found.examples == 0].sum() == 20
    assert found.dropped[found.examples == 1].sum() == 0
    assert len(tokens_of(found, 0)) == 30


def test_no_room_is_told(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"tokens.max_length: 5 leaves no room for windows .* use at least 7"):
        encode_windows(tokenizer, ["good"], ["bad"], max_length=5)


def test_parts_never_cut_an_example_in_two(tokenizer: Tokenizer) -> None:
    texts = [" ".join(["good"] * n) for n in (3, 40, 0, 25, 1)]
    found = encode_windows(tokenizer, texts, max_length=12, stride=3)
    seen: list[int] = []
    for part, examples in found.iterate_parts(2):
        assert part.examples[0] == 0
        assert part.examples[-1] == examples.stop - examples.start - 1
        assert part.bounds[-1] == len(part.ids) == len(part.offsets) == len(part.max_context)
        seen += range(examples.start, examples.stop)
    assert seen == list(range(len(texts)))
