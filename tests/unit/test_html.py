"""HTML pages: escaping, charts with text alternatives, and files that need no network."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bertwright.errors import OutputError
from bertwright.html.axes import Axis, make_scale, show_ticks, show_value
from bertwright.html.categories import Bar, bar_chart, heat_map
from bertwright.html.charts import Point, Reference, Series, line_chart, scatter_chart
from bertwright.html.page import (
    Block,
    BulletList,
    Cell,
    Facts,
    Folded,
    HighlightedText,
    Page,
    Paragraph,
    Row,
    Section,
    Table,
    Tile,
    Tiles,
    render_page,
    write_page,
)
from bertwright.html.svg import Drawing

HOSTILE = '<script>alert(1)</script> " onload="x" \' & \x00\x1b[31m \u202e\u2066 \ud800 </svg></title>'


class Elements(HTMLParser):
    """All start tags with their attributes, and the visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page_of(*blocks: Block, title: str = "run") -> str:
    return render_page(Page(title, [Section("first", blocks, "introduction"), Section("empty", [])], "subtitle", "end"))


def every_block(text: str) -> list[Block]:
    """A block of every kind with a text at every place."""
    drawings: list[Drawing] = [
        line_chart(text, [Series(text, [1, 2], [3, math.nan])], Axis(text), Axis(text), [Reference(text, x=1)]),
        scatter_chart(text, [Point(1, 2, text), Point(2, 2, text, 7)], Axis(text), references=[Reference(text)]),
        bar_chart(text, [Bar(text, 0.5, 0.4, 0.6, text), Bar(text, math.nan)], Axis(text), note=text),
        heat_map(text, [[1, 2], [0, 0]], [text, "b"], [text, "b"], note=text),
    ]
    return [
        Tiles([Tile(text, text, text)]),
        Paragraph(text, "note"),
        BulletList([text]),
        Facts({text: text}),
        Row(drawings),
        HighlightedText([(text, 0.5), (text, -0.5), (text, 0)], text),
        Folded(text, [Table([text, text, text], [[text, Cell(text, 1.0, 0.5, "good"), None]], text, text, True, 10)]),
        Table(["a"], [[HighlightedText([(text, 1.0)])]]),
    ]


def test_foreign_text_cannot_act_as_html() -> None:
    harmless = Elements(page_of(*every_block("x" * len(HOSTILE)), title="harmless"))
    page = page_of(*every_block(HOSTILE), title=HOSTILE)
    hostile = Elements(page)
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    names = {name for _, attributes in harmless.tags for name in attributes}
    assert {name for _, attributes in hostile.tags for name in attributes} - names <= {"transform"}
    assert not set(page) & set("\x00\x1b\u202e\u2066\ud800")
    assert any("<script>alert(1)</script>" in text and r"\x1b[31m \u202e" in text for text in hostile.texts)


def test_a_page_loads_nothing() -> None:
    elements = Elements(page_of(*every_block("text")))
    for tag, attributes in elements.tags:
        for name in ("src", "href", "action", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (tag, value)
    policy = next(a["content"] for t, a in elements.tags if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in (policy or "")
    assert re.search(r"url\(|@import", page_of()) is None


def test_every_picture_has_a_text_alternative() -> None:
    elements = Elements(page_of(*every_block("text")))
    pictures = [attributes for tag, attributes in elements.tags if tag == "svg"]
    assert len(pictures) == 4
    assert all(len(a["aria-label"] or "") > len("text. ") and a["role"] == "img" for a in pictures)
    alt = line_chart("loss", [Series("dev", [1, 2, 3], [0.5, 0.125, 0.25])]).description
    assert alt == "dev: from 0.5 to 0.25, between 0.125 and 0.5."
    assert heat_map("", [[3, 1], [0, 4]], "ab", "ab").description == "2 by 2 table; 7 of 8 (87.5%) on the diagonal."


def test_values_are_shown_on_hover() -> None:
    elements = Elements(page_of(line_chart("", [Series("f1", [10, 20], [0.5, 0.75])], Axis("step"))))
    tips = ["step 10\nf1 0.5", "step 20\nf1 0.75"]
    assert [a["data-tip"] for tag, a in elements.tags if tag == "rect"] == tips
    assert [a["data-tip"] for tag, a in elements.tags if tag == "circle"] == tips
    chart = line_chart("", [Series("f1", range(1000), [0.5] * 1000), Series("loss", [501], [0.25])], Axis("step"))
    tips = [a["data-tip"] or "" for _, a in Elements(page_of(chart)).tags if "data-tip" in a]
    assert 100 < len(tips) <= 151
    assert sum("loss 0.25" in tip for tip in tips) == 2


def test_sections_without_blocks_are_omitted() -> None:
    assert "empty" not in page_of(Paragraph("text"))


def test_a_large_heat_map_stays_small() -> None:
    labels = [f"label {i}" for i in range(150)]
    counts = [[1 + 50 * (i == j) for j in range(150)] for i in range(150)]
    page = page_of(heat_map("confusion", counts, labels, labels))
    assert page.count("data-tip") < 23_000
    assert len(page.encode()) < 6_000_000
    sparse = [[50 * (i == j) for j in range(150)] for i in range(150)]
    assert len(page_of(heat_map("confusion", sparse, labels, labels))) < 100_000


@pytest.mark.parametrize(
    ("values", "axis", "labels"),
    [
        ([0.0, 1.0], Axis(low=0, high=1), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0.0, 300.0], Axis(low=0, high=300), ["0", "50", "100", "150", "200", "250", "300"]),
        ([2e-5], Axis(low=0, high=2e-5), ["0", "5e-6", "1e-5", "1.5e-5", "2e-5"]),
        ([1.0, 1000.0], Axis(low=1, high=1000, log=True), ["1", "10", "100", "1,000"]),
    ],
)
def test_ticks_are_round(values: list[float], axis: Axis, labels: list[str]) -> None:
    assert show_ticks(make_scale(axis, values, 0, 100).ticks()) == labels


def test_a_scale_of_equal_values_has_a_range() -> None:
    for values in ([], [0.0], [5.0, 5.0], [-1.0], [math.nan]):
        scale = make_scale(Axis(), values, 0, 100)
        assert scale.low < scale.high
        assert all(0 <= scale(value) <= 100 for value in values if value == value)


def test_numbers_are_short() -> None:
    assert [show_value(v) for v in (math.nan, 0.0, 1 / 3, 123456.0, 1e-7)] == ["–", "0", "0.3333", "123,456", "1e-07"]


def test_an_unwritable_page_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_page(tmp_path / "file" / "page.html", Page("title", []))
