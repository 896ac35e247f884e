"""Cleaning texts: each step, their order, and what becomes of words and answers."""

from __future__ import annotations

import builtins
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bertwright.config.sections import build
from bertwright.config.yaml_tree import apply_overrides, parse_yaml
from bertwright.data.dataset import Dataset, ReadReport
from bertwright.data.example import Answer, Example
from bertwright.data.normalize import NormalizationSettings
from bertwright.errors import MissingDependencyError, RecipeError


def rows(*examples: Example) -> Dataset:
    return Dataset(examples, ReadReport("a.csv", len(examples), fingerprint="f", notes=("read",)), ("x", "y"))


@pytest.mark.parametrize(
    ("settings", "before", "after"),
    [
        ({}, " A\u200b&amp;  http://x.y\t", " A\u200b&amp;  http://x.y\t"),
        ({"html": True}, "Tom &amp; <b>J</b>erry<br />run", "Tom & Jerry run"),
        ({"html": True}, "a<script>if (x<y) {}</script>b<STYLE type='x'>p{}</style >c", "a b c"),
        ({"html": True}, "a<script>never closed <p>", "a "),
        ({"html": True}, "a<!-- <b>no</b> -->b<!DOCTYPE html>c<?xml version='1.0'?>d", "abcd"),
        ({"html": True}, "<a title='x > y' href=\"#\">z</a>", "z"),
        ({"html": True}, "1 < 2, I <3 you, x <y", "1 < 2, I <3 you, x <y"),
        ({"html": True}, "&lt;b&gt; &#233; &eacute; AT&T", "<b> é é AT&T"),
        ({"unicode": "NFC"}, "e\u0301 ﬁ Ａ", "é ﬁ Ａ"),
        ({"unicode": "NFKC"}, "e\u0301 ﬁ Ａ ½", "é fi A 1⁄2"),
        ({"lowercase": True}, "ÀB", "àb"),
        ({"lowercase": True, "unicode": "NFC"}, "J\u030c", "ǰ"),
        ({"urls": "remove"}, "see http://a.b/c?d=e. (www.x.y), ok", "see . (), ok"),
        ({"urls": "[URL]"}, "HTTPS://A.B ftp://c/d_e! www.", "[URL] [URL]! www."),
        ({"urls": "URL"}, "看http://a.b/c。xhttp://no", "看URL。xhttp://no"),
        ({"urls": "[URL]", "lowercase": True}, "At HTTP://A.B", "at [URL]"),
        ({"urls": r"\1"}, "http://a", r"\1"),
        ({"whitespace": True}, " a\u200b\u00adb \r\n\u3000c\x00d\ufeff ", "ab cd"),
        ({"whitespace": True, "unicode": "NFC"}, "e\u200b\u0301", "é"),
        ({"whitespace": True, "urls": "remove"}, "a http://b c", "a c"),
        ({"mojibake": True}, "cafÃ© &amp; ﬁne", "café &amp; ﬁne"),
        ({"mojibake": True}, "plain", "plain"),
        ({"html": True, "lowercase": True, "whitespace": True}, "<p>A&nbsp;B</p>\n", "a b"),
    ],
)
def test_steps(settings: dict[str, Any], before: str, after: str) -> None:
    assert NormalizationSettings(**settings).normalize(before) == after


# The steps that are the same twice over; text that trips them up: accents, URLs, spaces, cases.
repeatable = st.builds(
    NormalizationSettings,
    unicode=st.sampled_from([None, "NFC", "NFKC"]),
    lowercase=st.booleans(),
    urls=st.sampled_from(["keep", "remove", "[url]", "http://x"]),
    whitespace=st.booleans(),
)
tricky = st.lists(
    st.sampled_from(
        [*"aAJeİΣ .,:;)/<", "http://", "www.", "\u0301", "\u030c", "\u200b", "\u3000", "\n", "Å", "ﬁ", "ᄀ", "ᅡ"]
    )
).map("".join)


@given(repeatable, tricky | st.text(max_size=30))
@example(NormalizationSettings(lowercase=True, unicode="NFKC", whitespace=True), "J\u200b\u030c \u2126")
def test_a_second_time_changes_nothing(settings: NormalizationSettings, text: str) -> None:
    once = settings.normalize(text)
    assert settings.normalize(once) == once
    if settings.unicode and settings.urls == "keep":
        assert unicodedata.is_normalized(settings.unicode, once)
    if settings.whitespace:
        assert once == " ".join(once.split())


def test_unclosed_markup_takes_no_longer_than_it_is_long() -> None:
    began = time.perf_counter()
    for piece in ("<script", "<!--", "<a '", "<a ", "&#", "www.", "<script>"):
        NormalizationSettings(html=True, urls="remove").normalize(piece * 50_000)
    assert time.perf_counter() - began < 5, "quadratic time would be minutes"


def test_rows_are_cleaned_and_counted() -> None:
    settings = NormalizationSettings(html=True, whitespace=True)
    before = rows(Example("0", "<b>A</b>", "x", "y", "a.csv:2"), Example("1", "<br>", "ok", "x"))
    after = settings.apply(before)
    assert list(after) == [Example("0", "A", "x", "y", "a.csv:2"), Example("1", "", "ok", "x")]
    assert after.report.notes == (
        "read",
        "a.csv: data.normalize changed 2 of 4 texts",
        "a.csv: 1 empty text after data.normalize",
    )
    assert (after.report.fingerprint, after.labels) == ("f", ("x", "y"))
    assert NormalizationSettings().apply(before) is before
    assert not NormalizationSettings().is_active
    assert settings.is_active


def test_words_stay_as_many_and_stand_where_they_say() -> None:
    one = Example(
        "0", '"ＡＢ http://x , &amp;', None, ("O", "B-X", "O", "O"), words=((1, 3), (4, 12), (13, 14), (15, 20))
    )
    cleaned = NormalizationSettings(unicode="NFKC", urls="remove", html=True, whitespace=True).normalize_example(one)
    assert cleaned.text == '"AB http://x , &', "a word that would be empty stays"
    assert cleaned.words == ((1, 3), (4, 12), (13, 14), (15, 16))
    assert [cleaned.text[a:b] for a, b in cleaned.words] == ["AB", "http://x", ",", "&"]
    assert cleaned.target == one.target


@given(st.lists(st.text(min_size=1, max_size=6).filter(lambda w: not w.isspace()), max_size=6), repeatable)
def test_laws_of_words(words: list[str], settings: NormalizationSettings) -> None:
    spans, text = [], ""
    for word in words:
        text += " "
        spans.append((len(text), len(text) + len(word)))
        text += word
    cleaned = settings.normalize_example(Example("0", text, words=tuple(spans)))
    assert cleaned.words is not None
    assert [cleaned.text[a:b] for a, b in cleaned.words] == [settings.normalize(word) or word for word in words]


def question(context: str, *answers: Answer) -> Example:
    return Example("q", "Who  ?", context, answers)


@pytest.mark.parametrize(
    ("context", "answer", "start"),
    [
        ("a  b  <i>a</i> a", Answer("a", 9), 4),
        ("a  b  <i>a</i> a", Answer("a", 15), 6),
        ("a a", Answer("a", 2), 2),
        ("Tom &amp;  Al. Tom &amp; Al", Answer("Tom &amp; Al", 15), 10),
        ("x <b>y</b>", Answer("y</b>", 5), 2),
        ("x y z", Answer("q", 2), -1),  # not there even before
        ("x y y", Answer("y", 1), -1),  # not where it says
        ("x <b>", Answer("<b>", 2), -1),  # nothing is left of it
    ],
)
def test_answers_are_found_again(context: str, answer: Answer, start: int) -> None:
    cleaned = NormalizationSettings(html=True, whitespace=True).normalize_example(question(context, answer))
    assert isinstance(cleaned.target, tuple)
    (found,) = cleaned.target
    assert isinstance(found, Answer)
    assert found.start == start
    assert cleaned.text == "Who ?"
    if start >= 0:
        assert cleaned.text_pair is not None
        assert cleaned.text_pair.startswith(found.text, start)


def test_questions_without_answers_and_lost_answers() -> None:
    settings = NormalizationSettings(lowercase=True)
    assert settings.normalize_example(Example("q", "A", "B", ())) == Example("q", "a", "b", ())
    assert settings.normalize_example(Example("q", "A", "B", None)) == Example("q", "a", "b", None)
    after = settings.apply(rows(question("A b", Answer("A", 0), Answer("b", 0), Answer("c", -1))))
    assert after[0].target == (Answer("a", 0), Answer("b", -1), Answer("c", -1))
    assert after.report.notes[-1] == "a.csv: 1 answer not found in the context after data.normalize"


def test_without_ftfy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "ftfy":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert NormalizationSettings(mojibake=True).normalize("ascii is never mojibake") == "ascii is never mojibake"
    with pytest.raises(MissingDependencyError, match=r"mojibake: ftfy is not installed; run `pip install .*\[text\]"):
        NormalizationSettings(mojibake=True).normalize("é")


def test_settings() -> None:
    assert build(
        NormalizationSettings, apply_overrides(parse_yaml("urls: remove\n"), ["unicode=NFKC", "html=true"])
    ) == NormalizationSettings(urls="remove", unicode="NFKC", html=True)
    with pytest.raises(RecipeError, match=r'urls must be "keep", "remove" or non-empty text; found ""'):
        NormalizationSettings(urls="")
    with pytest.raises(RecipeError, match=r'unicode must be "NFC", "NFKC" or null; found "NFD"'):
        NormalizationSettings(unicode="NFD")  # type: ignore[arg-type]
