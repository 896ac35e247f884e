"""Truncation keeps what it says: as many tokens as fit, the right ones, in order, and all others counted."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from bertwright.errors import DataError
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.tokenization.truncation import Truncation, compute_kept_lengths, split_head_tail

Strategy = Literal["longest_first", "only_first", "only_second"]
lengths = st.integers(0, 12)
rooms = st.integers(2, 15)


def column(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def by_tokenizers(first: int, second: int, room: int, strategy: Strategy) -> tuple[int, int] | None:
    """What the library keeps of two texts, None where it refuses."""
    backend = Backend(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.enable_truncation(room, strategy=strategy)
    try:
        ids = backend.encode("a " * first, "b " * second).ids
    except Exception:
        return None
    return ids.count(0), ids.count(1)


@given(lengths, lengths, rooms, st.sampled_from(get_args(Strategy)))
def test_pairs_are_cut_as_tokenizers_cuts_them(first: int, second: int, room: int, strategy: Strategy) -> None:
    expected = by_tokenizers(first, second, room, strategy)
    if expected is None:
        with pytest.raises(DataError, match=r"example 7 .* the other text alone has \d+ tokens and only"):
            compute_kept_lengths([column(first), column(second)], room, strategy, first_row=7)
        return
    kept = compute_kept_lengths([column(first), column(second)], room, strategy)
    assert tuple(int(one[0]) for one in kept) == expected


@given(st.lists(st.tuples(lengths, lengths), min_size=1, max_size=8), rooms)
def test_rows_do_not_disturb_each_other_and_use_the_room(rows: list[tuple[int, int]], room: int) -> None:
    first, second = (column(*side) for side in zip(*rows, strict=True))
    kept = compute_kept_lengths([first, second], room, "head_tail")
    for i, row in enumerate(rows):
        alone = compute_kept_lengths([column(row[0]), column(row[1])], room, "longest_first")
        assert [int(one[i]) for one in kept] == [int(one[0]) for one in alone]
    assert ((kept[0] + kept[1]) == np.minimum(first + second, room)).all()


@given(st.integers(0, 2000), st.integers(1, 1000))
def test_head_and_tail_are_all_that_is_kept(length: int, room: int) -> None:
    (kept,) = compute_kept_lengths([column(length)], room, "head_tail")
    head, tail = (int(part[0]) for part in split_head_tail(kept, column(length), "head_tail"))
    assert head + tail == min(length, room)
    assert tail == 0 if length <= room else abs(head - room * 128 / 510) < 1


def test_head_and_tail_of_the_paper() -> None:
    head, tail = split_head_tail(column(510), column(4000), "head_tail")
    assert (head[0], tail[0]) == (128, 382)


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(40))]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer with one token for each of the words w0 to w39."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return Tokenizer.load(folder)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=6),
    st.integers(5, 30),
    st.sampled_from(["longest_first", "head_tail"]),
    st.booleans(),
)
def test_sequences_hold_their_texts_from_both_ends(
    words: Tokenizer, rows: list[tuple[int, int]], max_length: int, truncation: Truncation, paired: bool
) -> None:
    # Word i stands at place i of its text, so that ids tell which tokens stayed.
    first_tokens_only = [" ".join(f"w{i}" for i in range(first)) for first, _ in rows]
    seconds = [" ".join(f"w{20 + i}" for i in range(second)) for _, second in rows] if paired else None
    found = words.encode(first_tokens_only, seconds, max_length=max_length, truncation=truncation)
    assert len(found) == len(rows)
    assert (found.lengths <= max_length).all()
    for row, (first, second) in zip(found, rows, strict=True):
        places = np.flatnonzero(row.ids == words.sep_id)
        assert row.ids[0] == words.cls_id
        assert len(places) == 1 + paired
        assert row.types.tolist() == [0] * (places[0] + 1) + [1] * (len(row.ids) - places[0] - 1)
        texts = np.split(row.ids[1:], places - 1)
        whole = [list(range(4, 4 + first)), *([list(range(24, 24 + second))] if paired else [])]
        left = [text[text != words.sep_id].tolist() for text in texts[:-1]]
        for text, tokens in zip(left, whole, strict=True):
            n_head = len(text) * 128 // 510 if truncation == "head_tail" and len(text) < len(tokens) else len(text)
            assert text == tokens[:n_head] + tokens[len(tokens) - (len(text) - n_head) :]
        assert row.dropped == sum(map(len, whole)) - sum(map(len, left))
        assert row.dropped == 0 or len(row.ids) == max_length
