"""``bertwright explain``: formats, targets, and what it refuses."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from worlds import Call, World

from bertwright.run.bundle import Bundle

TEXT = "the film was <b>great</b>"


def test_the_terminal_shows_the_text_and_its_words(world: World, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    said = call("explain", world.labels, "a great film")
    assert said.code == 0, said.err
    explanation = Bundle.load(world.labels).explain("a great film")
    probability = explanation.prediction.probability
    lines = said.out.splitlines()
    assert lines[0] == f'target   "{explanation.target}" (probability {probability:.4f})'
    assert lines[1].startswith(f"score    log odds {explanation.score:.4f}; {explanation.baseline_score:.4f} if every")
    assert "a great film" in lines
    table = dict(line.split()[:2] for line in lines[lines.index("a great film") + 4 :])
    assert {word: float(value) for word, value in table.items()} == pytest.approx(
        {word.word: word.attribution for word in explanation.words}, abs=1e-4
    )
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in call("explain", world.labels, "a great film").out


def test_json_holds_every_token(world: World, call: Call, tmp_path: Path) -> None:
    said = call("explain", world.labels, TEXT, "--format", "json")
    assert said.code == 0, said.err
    explanation = json.loads(said.out)
    assert explanation["texts"] == [{"name": "text", "text": TEXT}]
    total = sum(token["attribution"] for token in explanation["tokens"])
    assert total == pytest.approx(explanation["total"], abs=1e-4)
    assert explanation["total"] == pytest.approx(
        explanation["score"] - explanation["baseline_score"] + explanation["convergence_delta"], abs=1e-4
    )
    assert [TEXT[word["start"] : word["end"]] for word in explanation["words"]] == [
        word["word"] for word in explanation["words"]
    ]
    output = tmp_path / "why.json"
    assert call("explain", world.labels, TEXT, "--output", output).code == 0
    assert json.loads(output.read_text("utf-8")) == explanation


def test_a_page_escapes_the_text(world: World, call: Call, tmp_path: Path) -> None:
    output = tmp_path / "why.html"
    said = call("explain", world.labels, TEXT, "--output", output)
    assert said.code == 0, said.err
    page = output.read_text("utf-8")
    assert "<b>great" not in page
    assert page.lstrip().startswith("<!doctype html>") or page.lstrip().startswith("<!DOCTYPE html>")
    highlighted = re.search(r'<p class="highlighted".*?</p>', page, re.DOTALL)
    assert highlighted is not None
    assert "&lt;" in re.sub(r"<[^>]*>", "", highlighted[0])
    again = call("explain", world.labels, TEXT, "--output", output)
    assert again.code == 2
    assert "already exists" in again.err
    assert call("explain", world.labels, TEXT, "--output", output, "--overwrite").code == 0
    assert call("explain", world.labels, TEXT, "--format", "html").out.count("<html") == 1


def test_pairs_labels_and_values(world: World, call: Call) -> None:
    said = call("explain", world.pairs, "a good film", "--pair", "a bad plot")
    assert said.code == 0, said.err
    assert said.out.startswith("target   the value\n")
    assert "second text" in said.out
    said = call("explain", world.multi, "a good film", "--target", "long")
    assert said.out.startswith('target   "long" (probability ')
    one_step = call("explain", world.multi, "a good film", "--steps", "1")
    assert one_step.code == 0
    assert "1 steps" in one_step.out


def test_invalid_requests_get_one_sentence(
    world: World, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ((tmp_path / "nowhere", "a text"), "nowhere"),
        ((tmp_path / "empty", "a text"), "empty"),
        ((world.labels,), "there is nothing to explain; add a text"),
        ((world.labels, ""), "has no tokens, so there is nothing to explain"),
        ((world.labels, "a film", "--target", "po"), 'there is no label "po"; did you mean "pos"?'),
        ((world.labels, "a film", "--word", "film"), "only tagging models"),
        ((world.labels, "a film", "--pair", "b"), "takes one text a row; leave --pair out"),
        ((world.pairs, "a film"), 'add --pair "the second text"'),
        ((world.labels, "a film", "--choice", "b"), "takes no choices; leave --choice out"),
        ((world.labels, "a film", "--question", "b"), "--question comes with a context"),
        ((world.labels, "--question", "b", "--context", "c"), "it answers no questions"),
        ((world.labels, "a film", "--output", tmp_path / "why.pdf"), "no format has the suffix .pdf"),
        ((world.labels, "a film", "--output", tmp_path), "is a directory"),
    ):
        said = call("explain", *arguments)
        assert said.code == 2, arguments
        assert said.out == ""
        assert len(said.err.strip().splitlines()) == 1, said.err
        assert message in said.err
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    output = tmp_path / "why.html"
    said = call("explain", world.labels, "a film", "--output", output)
    assert said.code == 2
    assert said.err == "error: explain: captum is not installed; run `pip install 'bertwright[explain]'`.\n"
    assert not output.exists()
