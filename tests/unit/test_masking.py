"""What is hidden: how much, of what, and always the same of the same row at the same step."""

from __future__ import annotations

from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from bertwright.corpus.documents import open_corpus
from bertwright.corpus.masking import MAX_SPAN_WORDS, Masker, MaskingUnit, find_continuation_tokens
from bertwright.corpus.tokenizer_training import train_tokenizer
from bertwright.errors import TokenizerError
from bertwright.nn import IGNORE_INDEX
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.tokenizer import Tokenizer
from tiny import VOCABULARY as NAMES

VOCABULARY = list(dict.fromkeys(NAMES))  # each once, so that their number is that of the ids
CLS, SEP, UNK = (VOCABULARY.index(f"[{name}]") for name in ("CLS", "SEP", "UNK"))
MASK = VOCABULARY.index("[MASK]")
SPECIAL = [VOCABULARY.index(f"[{name}]") for name in ("PAD", "CLS", "SEP", "MASK")]
WORDS = np.arange(5, len(VOCABULARY))
INNER = np.array([name.startswith("##") for name in VOCABULARY])
KINDS: list[MaskingUnit] = ["tokens", "words", "spans"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return Tokenizer.load(folder)


def encodings(*rows: list[int]) -> Encodings:
    """Sequences of these ids, special ones put around."""
    ids = [np.array([CLS, *row, SEP], np.int32) for row in rows]
    bounds = np.cumsum([0, *map(len, ids)])
    n = len(rows)
    flat = np.concatenate(ids)
    return Encodings(flat, np.zeros(len(flat), np.uint8), bounds, np.arange(n), np.zeros(n, np.int32))


def random_rows(n: int, length: int, seed: int = 0) -> Encodings:
    rng = np.random.default_rng(seed)
    return encodings(*rng.choice(WORDS, (n, length)).tolist())


def hidden(found: Encodings) -> list[list[int]]:
    """The places of each sequence that are to be guessed."""
    assert found.targets is not None
    places = [np.flatnonzero(sequence.target != IGNORE_INDEX).tolist() for sequence in found]
    assert np.array_equal(found.bounds[[0, -1]], [0, len(found.targets)])
    return places


def words(row: list[int]) -> list[list[int]]:
    """The places of each word of [CLS] row [SEP]."""
    found: list[list[int]] = []
    for place, piece in enumerate(row, 1):
        if INNER[piece] and place > 1 and row[place - 2] not in SPECIAL:
            found[-1].append(place)
        elif piece not in SPECIAL:
            found.append([place])
    return found


@pytest.mark.parametrize("probability", [0.01, 0.15, 0.5, 0.9])
def test_the_share_is_exact(tokenizer: Tokenizer, probability: float) -> None:
    lengths = [1, 2, 3, 7, 10, 50, 126]
    rows = encodings(*[[7] * n for n in lengths])
    for step in range(3):
        found = hidden(Masker(tokenizer, probability=probability).mask(rows, np.arange(len(lengths)), step))
        assert [len(places) for places in found] == [max(1, round(probability * n)) for n in lengths]


@pytest.mark.parametrize("together", KINDS)
def test_what_is_to_be_guessed_is_what_stood_there_and_nothing_special(
    tokenizer: Tokenizer, together: MaskingUnit
) -> None:
    rows = encodings(*[[7, SEP, 9, INNER.argmax(), SEP, UNK, MASK] * 5 for _ in range(40)])
    found = Masker(tokenizer, together, probability=0.5).mask(rows, np.arange(40), 3)
    assert found.targets is not None
    chosen = found.targets != IGNORE_INDEX
    assert np.array_equal(found.targets[chosen], rows.ids[chosen])
    assert np.array_equal(found.ids[~chosen], rows.ids[~chosen])
    assert not np.isin(rows.ids[chosen], SPECIAL).any()
    assert (rows.ids[chosen] == UNK).any(), "an unknown word is a word"
    assert found.ids.dtype == np.int32
    assert found.ids.min() >= 0
    assert found.ids.max() < tokenizer.vocab_size
    assert rows.targets is None
    assert np.array_equal(rows.ids, encodings(*[[7, SEP, 9, INNER.argmax(), SEP, UNK, MASK] * 5] * 40).ids)


@pytest.mark.parametrize("together", KINDS)
def test_eight_in_ten_are_masked_one_is_another_one_stays(tokenizer: Tokenizer, together: MaskingUnit) -> None:
    rows = encodings(*[[7] * 200] * 300)
    found = Masker(tokenizer, together).mask(rows, np.arange(300), 0)
    assert found.targets is not None
    now = found.ids[found.targets != IGNORE_INDEX]
    n = len(now)
    assert n > 8000
    share = {"mask": np.mean(now == MASK), "same": np.mean(now == 7)}
    v = tokenizer.vocab_size
    expected = {"mask": 0.8 + 0.1 / v, "same": 0.1 + 0.1 / v}  # any token may be the mask, or the same again
    for name, p in expected.items():
        assert abs(share[name] - p) < 4 * np.sqrt(p * (1 - p) / n), name
    others = np.bincount(now[(now != 7) & (now != MASK)], minlength=v)
    assert (np.delete(others, [7, MASK]) > 0).all(), "any token of the vocabulary"


@pytest.mark.parametrize("together", KINDS)
def test_every_place_is_as_likely_as_any_other(tokenizer: Tokenizer, together: MaskingUnit) -> None:
    rows = encodings(*[[7] * 100] * 300)
    found = [hidden(Masker(tokenizer, together).mask(rows, np.arange(300), step)) for step in range(4)]
    times = np.bincount([place for step in found for places in step for place in places], minlength=102)[1:-1]
    if together == "spans":  # which stand side by side; fewer of them reach the first tokens of a sequence
        times = times[MAX_SPAN_WORDS:].reshape(-1, MAX_SPAN_WORDS).sum(1)
        assert times.max() < 1.2 * times.min()
        return
    # the mean of chi-squared is its degrees of freedom, its standard deviation the root of twice that
    assert ((times - times.mean()) ** 2 / times.mean()).sum() < 100 + 5 * np.sqrt(200)


def test_masks_are_unrelated_from_step_to_step_and_row_to_row(tokenizer: Tokenizer) -> None:
    rows = encodings(*[[7] * 100] * 100)
    masker = Masker(tokenizer)
    first, second = (masker.mask(rows, np.arange(100), step) for step in (0, 1))
    other = masker.mask(rows, np.arange(100), 0, seed=1)
    shifted = masker.mask(rows, np.arange(1, 101), 0)
    for found in (second, other, shifted):
        both = [len({*a} & {*b}) for a, b in zip(hidden(first), hidden(found), strict=True)]
        assert abs(np.mean(both) - 15 * 0.15) < 0.6, "as many as by chance"
    both = [len({*a} & {*b}) for a, b in pairwise(hidden(first))]
    assert abs(np.mean(both) - 15 * 0.15) < 0.6


@pytest.mark.parametrize("together", KINDS)
def test_a_row_s_masks_depend_on_nothing_beside_it(tokenizer: Tokenizer, together: MaskingUnit) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.choice(WORDS, n).tolist() for n in (1, 30, 7, 2, 64)]
    numbers = np.array([10**12, 0, 5, 6, 2**40])
    masker = Masker(tokenizer, together)
    whole = list(masker.mask(encodings(*rows), numbers, 2**63))
    order = [3, 0, 4, 2, 1]
    turned = list(masker.mask(encodings(*[rows[i] for i in order]), numbers[order], 2**63))
    for i, row in enumerate(rows):
        alone = masker.mask(encodings(row), numbers[i : i + 1], 2**63)[0]
        for other in (whole[i], turned[order.index(i)]):
            assert np.array_equal(alone.ids, other.ids)
            assert np.array_equal(alone.target, other.target)


piece = st.integers(5, len(VOCABULARY) - 1)
row = st.lists(piece | st.just(SEP), min_size=1, max_size=60).filter(lambda r: any(p != SEP for p in r))


@given(st.lists(row, min_size=1, max_size=4), st.integers(0, 2**32), st.sampled_from([0.1, 0.15, 0.4]))
@settings(max_examples=60, deadline=None)
def test_words_are_hidden_wholly(tokenizer: Tokenizer, rows: list[list[int]], step: int, probability: float) -> None:
    found = hidden(Masker(tokenizer, "words", probability).mask(encodings(*rows), np.arange(len(rows)), step))
    for places, ids in zip(found, rows, strict=True):
        whole = [word for word in words(ids) if set(word) <= set(places)]
        assert sorted(p for word in whole for p in word) == places
        budget = max(1, round(probability * sum(p != SEP for p in ids)))
        assert places
        assert len(places) <= budget or len(whole) == 1
        # no more than a word's worth of room is left
        assert len(places) > budget - max(map(len, words(ids)))


@given(st.lists(row, min_size=1, max_size=3), st.integers(0, 2**32), st.sampled_from([0.1, 0.15, 0.4]))
@settings(max_examples=60, deadline=None)
def test_spans_are_runs_of_whole_words(
    tokenizer: Tokenizer, rows: list[list[int]], step: int, probability: float
) -> None:
    found = hidden(Masker(tokenizer, "spans", probability).mask(encodings(*rows), np.arange(len(rows)), step))
    for places, ids in zip(found, rows, strict=True):
        whole = [word for word in words(ids) if set(word) <= set(places)]
        assert sorted(p for word in whole for p in word) == places
        budget = max(1, round(probability * sum(p != SEP for p in ids)))
        assert places
        assert len(places) <= budget or len(whole) == 1


def test_spans_are_long_and_bounded(tokenizer: Tokenizer) -> None:
    found = hidden(Masker(tokenizer, "spans").mask(encodings(*[[7] * 400] * 50), np.arange(50), 0))
    alone = hidden(Masker(tokenizer).mask(encodings(*[[7] * 400] * 50), np.arange(50), 0))

    def mean_run(of: list[list[int]]) -> float:
        runs = [len(list(g)) for places in of for _, g in groupby(enumerate(places), lambda p: p[1] - p[0])]
        return float(np.mean(runs))

    assert all(len(places) == 60 for places in found)
    # the mean of a geometric number with 0.2, cut at 10, is 4.46; spans may touch, and the last is cut
    assert 3.2 < mean_run(found) < 1.4 * MAX_SPAN_WORDS / 2
    assert mean_run(alone) < 1.4


@pytest.mark.parametrize("together", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_sequences(tokenizer: Tokenizer, together: MaskingUnit, n: int) -> None:
    inner = int(INNER.argmax())
    for ids in ([7] * n, [inner] * n, [7, *[inner] * (n - 1)], [SEP] * n):
        found = hidden(Masker(tokenizer, together).mask(encodings(ids, [8]), np.array([0, 1]), 0))
        assert found[1] == [1]
        one_word = together != "tokens" and ids != [7] * n
        assert len(found[0]) == (0 if ids[0] == SEP else n if one_word else 1)


@pytest.mark.parametrize("together", KINDS)
def test_targets_that_are_there_are_kept(tokenizer: Tokenizer, together: MaskingUnit) -> None:
    rows = random_rows(20, 30)
    targets = np.full(len(rows.ids), IGNORE_INDEX, np.int64)
    targets[rows.bounds[:-1]] = np.arange(20) % 2
    given_ = rows.with_targets(targets.copy())
    masker = Masker(tokenizer, together)
    found, plain = (masker.mask(each, np.arange(20), 5) for each in (given_, rows))
    assert found.targets is not None
    assert plain.targets is not None
    assert np.array_equal(found.targets[rows.bounds[:-1]], np.arange(20) % 2)
    assert np.array_equal(found.ids, plain.ids)
    rest = np.delete(np.arange(len(rows.ids)), rows.bounds[:-1])
    assert np.array_equal(found.targets[rest], plain.targets[rest])
    assert np.array_equal(given_.targets, targets)


def test_pieces_that_go_on(tokenizer: Tokenizer) -> None:
    assert np.array_equal(find_continuation_tokens(tokenizer), INNER)


def test_pieces_that_go_on_of_byte_level_bpe() -> None:
    texts = ["the unbelievable lobster was believed by the other lobster in the unbelievable story"] * 5
    bpe = train_tokenizer([open_corpus(texts)], vocab_size=320, kind="bpe")
    ids = bpe.tokenize(["the lobster, unbelievably"]).ids
    pieces = [bpe.backend.id_to_token(int(i)) for i in ids]
    inner = find_continuation_tokens(bpe)
    assert inner[ids].tolist() == [not name.startswith("Ġ") for name in pieces]
    assert inner[ids].any()
    assert not inner[list(bpe.special_ids.values())].any()
    # the first piece of a text has no Ġ, but begins a word all the same: it stands behind <s>
    rows = np.concatenate([[bpe.cls_id], ids, [bpe.sep_id]]).astype(np.int32)
    one = Encodings(rows, np.zeros(len(rows), np.uint8), np.array([0, len(rows)]), np.zeros(1, int), np.zeros(1, int))
    starts = [0, *[i for i, name in enumerate(pieces) if i and name.startswith("Ġ")], len(pieces)]
    whole = [set(range(a + 1, b + 1)) for a, b in pairwise(starts)]
    seen = [set(hidden(Masker(bpe, "words", 0.01).mask(one, np.zeros(1, int), step))[0]) for step in range(30)]
    assert all(places in whole for places in seen)
    assert all(places in seen for places in whole)


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    backend = Backend(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = Tokenizer(backend, {"pad": 0, "unk": 1, "cls": 2, "sep": 3}, ("input_ids",))
    with pytest.raises(
        TokenizerError, match=r"^model: the tokenizer has no mask token, which masking needs; use a tokenizer"
    ):
        Masker(tokenizer)
