"""Sentences are cut where a reader would cut, and in doubt not at all."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.corpus import sentence_splitting as sentences
from bertwright.corpus.sentence_splitting import split_sentences


@pytest.mark.parametrize(
    "expected",
    [
        ["One.", "Two!", "Three?", "Four…", "Five?!", "Six."],
        ["In 1999.", "1 of 2 came.", "Éric left.", "Ура!"],
        ['He said "no."', 'Then "why?"', "(Really.)", "[Yes.]", "'So be it.'", "“End.”"],
        ["Dr. J. R. R. Smith of the U.S. Army met Mrs. Jones vs. Gen. Lee.", "J.-P. came too."],
        ["See No. 5, Fig. 3 and p. 12.", "I said no.", "Then I sat."],
        ["Figs.", "Are fruit."],  # only a number makes it an abbreviation
        ["1. The first of 12.", "It is.", "2. The second."],
        ["It cost 3.50 in St. Louis on Dec. 5 at 5 p.m. sharp.", "Why, e.g. Here?"],
        ["He ran...", "And fell. then rose. version 2.0 of e.g. it."],
        ["no mark at the end"],
        ["A metre .", "The end .", "<unk> came ."],
        ["他来了。", "为什么？", "“好！”", "他走了。"],
        ["這是 A.I. 時代。", "OK"],
    ],
)
def test_where_sentences_end(expected: list[str]) -> None:
    assert split_sentences(" ".join(expected)) == expected


def test_examples_of_the_documentation_hold() -> None:
    assert doctest.testmod(sentences).failed == 0


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_white_space_holds_no_sentence(text: str) -> None:
    assert split_sentences(text) == []


@given(st.text(alphabet="aA.!?…。 \"'()1\n<unk>", max_size=60))
def test_nothing_is_lost_but_white_space(text: str) -> None:
    found = split_sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in found)
