"""The page of a search, and parallel coordinates."""

from __future__ import annotations

import math
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from bertwright.html.page import Page, Table, render_page, write_page
from bertwright.html.parallel_coordinates import Coordinate, draw_parallel_coordinates
from bertwright.sweep.ensemble_comparison import EnsembleComparison, ScoredModel
from bertwright.sweep.leaderboard import Leaderboard, TrialResult, rank_results
from bertwright.sweep.sweep_page import build_sweep_page

HOSTILE = "<img src=x onerror=alert(1)>"


def make_board(*values: float, seeds: int = 2, fold: str | None = None, **settings: str) -> Leaderboard:
    """A search over learning rates, with these means, and a seed more or less by a hundredth."""
    results = [
        TrialResult(
            number=2 * cell + seed,
            cell=cell,
            settings={"train.learning_rate": f"{cell + 1}e-5", "model.head": "a" if cell % 2 else HOSTILE, **settings},
            seed=seed,
            fold=fold,
            value=value + 0.01 * seed,
            seconds=60.0,
            error="out of memory" if math.isnan(value) else None,
        )
        for cell, value in enumerate(values)
        for seed in range(seeds)
    ]
    return rank_results(results, "accuracy", "dev")


def section(page: Page, title: str) -> Any:
    return next(part for part in page.sections if part.title == title)


def test_a_page_has_the_leaderboard_and_every_trial() -> None:
    page = build_sweep_page(make_board(0.5, 0.7, math.nan), "search")
    table = next(block for block in section(page, "Configurations").blocks if isinstance(block, Table))
    assert table.columns == [
        *("rank", "learning_rate", "head", "mean", "± std", "best", "n", "collapsed", "failed", "time"),
    ]
    assert [getattr(cell, "text", cell) for cell in table.rows[0]] == [
        *(1, "2e-5", "a", "0.7050", "0.0071", "0.7100", 2, 0, 0, "2 min 0 s"),
    ]
    assert [row[-2] for row in table.rows] == [0, 0, 2]
    trials = section(page, "Trials").blocks[0]
    assert [row[0] for row in trials.rows] == ["0000", "0001", "0002", "0003", "0004", "0005"]
    assert trials.rows[-1][-2].text == "failed"
    text = unescape(render_page(page))
    assert "failed: trial 0004 (learning_rate=3e-5" in text
    assert "The standard deviation within a configuration is 0.0071 on average" in text


def test_settings_cannot_act_as_html() -> None:
    page = render_page(build_sweep_page(make_board(0.5, 0.7), "search"))
    assert "<img" not in page
    assert HOSTILE in unescape(page)


def test_one_trial_for_each_configuration_has_no_spread() -> None:
    page = build_sweep_page(make_board(0.5, 0.7, seeds=1), "search")
    assert section(page, "Seeds and folds").blocks == []
    assert len(section(page, "Parallel coordinates").blocks) == 1


def test_seeds_alone_and_failures_alone_have_no_coordinates() -> None:
    for board in (make_board(0.5), make_board(math.nan, math.nan)):
        page = build_sweep_page(board, "search")
        assert section(page, "Parallel coordinates").blocks == []
        assert "<html" in render_page(page)


def test_folds_are_columns() -> None:
    page = build_sweep_page(make_board(0.5, 0.7, fold="1/2"), "search")
    assert section(page, "Seeds and folds").blocks[1].columns[1] == "seed 0, fold 1/2"
    assert section(page, "Trials").blocks[0].columns[4] == "fold"


def test_an_ensemble_is_compared_with_its_members() -> None:
    models = [
        ScoredModel(name=name, metrics={"dev": {"accuracy": value}}, intervals={"dev": {"accuracy": (0.4, 0.9)}})
        for name, value in (("seed 0", 0.6), ("soup", 0.75))
    ]
    board = make_board(0.5, 0.7)
    ensemble = EnsembleComparison(
        requested="auto",
        form="soup",
        reason="the soup is as good",
        metric="accuracy",
        split="dev",
        trials=(0, 1),
        excluded=(),
        singles=(models[0],),
        candidates=(models[1],),
        best="seed 0",
        differences={},
    )
    page = build_sweep_page(
        Leaderboard(board.metric, board.split, board.rows, board.winner, ensemble=ensemble), "search"
    )
    assert "The ensemble is of the form soup: the soup is as good" in unescape(render_page(page))


def test_positions_on_an_axis() -> None:
    log = Coordinate("rate", ("1e-5", "1e-4", "1e-3"), (1e-5, 1e-4, 1e-3)).place()
    assert log[0] == pytest.approx([0, 0.5, 1])
    assert [text for _, text in log[1]] == ["1e-5", "1e-4", "1e-3"]
    linear = Coordinate("size", ("1", "2", "3"), (1.0, 2.0, 3.0)).place()
    assert linear[0] == [0, 0.5, 1]
    assert Coordinate("head", ("a", "b", "a")).place() == ([0.25, 0.75, 0.25], [(0.25, "a"), (0.75, "b")])
    assert Coordinate("one", ("3", "3"), (3.0, 3.0)).place()[0] == [0.5, 0.5]
    missing = Coordinate("gap", ("–", "1", "2"), (math.nan, 1.0, 2.0)).place()[0]
    assert math.isnan(missing[0])
    assert missing[1:] == [0, 1]
    many = Coordinate("many", tuple("123456"), tuple(map(float, range(1, 7)))).place()[1]
    assert many == [(0, "1"), (1, "6")]


def test_the_best_line_is_drawn_last_and_described() -> None:
    drawing = draw_parallel_coordinates(
        "title", [Coordinate("a", ("1", "2"), (1.0, 2.0)), Coordinate("b", ("x", "y"))], ["first", "second"], 0
    )
    lines = [text for text in drawing.elements if text.startswith("<path") and "line" in text]
    assert ["c0" in line for line in lines] == [False, True]
    assert drawing.description == "2 configurations over the axes a, b. Best: first."


def test_a_browser_shows_the_page(browser: Any, tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", build_sweep_page(make_board(0.5, 0.7, 0.6, math.nan), "search"))
    page = browser.new_page(viewport={"width": 390, "height": 844})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.goto((tmp_path / "report.html").as_uri())
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.querySelectorAll('svg').length") == 3
    assert page.evaluate("document.querySelectorAll('svg:not([role=img][aria-label])').length") == 0
    page.locator("circle[data-tip]").first.hover(force=True)
    assert "learning_rate=" in page.inner_text("#tip")
    assert problems == []
    page.close()
