"""The words of raw texts."""

from __future__ import annotations

import time

import pytest

from bertwright.data.words import split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("EU rejects German call to boycott British lamb.", "EU rejects German call to boycott British lamb ."),
        ("Peter's dogs' bone's", "Peter 's dogs ' bone 's"),
        ("Peter’s and BOSS'S", "Peter ’s and BOSS 'S"),
        ("I don't; we've O'Neill", "I don't ; we've O'Neill"),
        ("'quoted' \"words\"", "' quoted ' \" words \""),
        ("on 1996-08-22 at 10:30, 3,500.5 or 1/2", "on 1996-08-22 at 10:30 , 3,500.5 or 1/2"),
        ("won 7-6 6-3, 100m in 9.8, 50% of $5.", "won 7-6 6-3 , 100m in 9.8 , 50 % of $ 5 ."),
        ("the U.S. and U.S.-led, e.g. at 5 a.m.", "the U.S. and U.S.-led , e.g. at 5 a.m."),
        ("in the U.S", "in the U.S"),
        ("George W. Bush, plan B.", "George W. Bush , plan B ."),
        ("end.Next; well-known co-", "end . Next ; well-known co -"),
        ("AT&T (NYSE:T) and R&D", "AT&T ( NYSE : T ) and R&D"),
        ("so ... yes -- ``no''", "so ... yes -- `` no ''"),
        ("see https://a.b/c?d=e. Or www.x.org, me@a-b.com!", "see https://a.b/c?d=e . Or www.x.org , me@a-b.com !"),
        ("amazon.com #tag @me snake_case", "amazon.com # tag @ me snake_case"),
        ("naïve cafe\u0301s Müller-Lüdenscheidt", "naïve cafe\u0301s Müller-Lüdenscheidt"),
        ("उन्होंने हिन्दी में कहा।", "उन्होंने हिन्दी में कहा ।"),
        ("می‌خواهم", "می‌خواهم"),
        ("我住在Berlin。", "我 住 在 Berlin 。"),
        ("nice 👍🏽 ❤\ufe0f!", "nice 👍 🏽 ❤\ufe0f !"),
        ("a\u00a0b\u3000c\r\nd", "a b c d"),
        ("", ""),
        (" \n", ""),
    ],
)
def test_words(text: str, words: str) -> None:
    assert [text[start:end] for start, end in split_words(text)] == words.split()


@pytest.mark.parametrize(
    "text", ["a+" * 20_000, "http://" + "!" * 40_000, "a.a@" * 10_000, "@a." * 10_000, "'" * 40_000]
)
def test_no_text_takes_long(text: str) -> None:
    start = time.process_time()
    split_words(text)
    assert time.process_time() - start < 2  # 0.1 on an idle machine; minutes if each place were read to the end
