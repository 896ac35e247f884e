"""Foreign text cannot act on a terminal, forge a line, or become markup of a page or a formula of a picture."""

from __future__ import annotations

import html
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress, TextColumn

from bertwright.errors import BertwrightError, DataError
from bertwright.output.escaping import escape_line, escape_markdown, escape_plot_text, to_code_span, to_tsv_line
from bertwright.output.terminal import PlainConsole, make_table, print_line, render_plain
from bertwright.run.plots import confusion
from bertwright.run.report import Report, show
from bertwright.sweep.leaderboard import Leaderboard, LeaderboardRow, TrialResult

DANGEROUS = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b2J",
    "a\nerror: forged",
    "a\rb",
    "a\x08b",
    "a\u2028b",
    "a\u202eb",
    "a\x85b",
    "\ufeffa",
]


@pytest.mark.parametrize("text", DANGEROUS)
def test_a_line_holds_no_control_character(text: str) -> None:
    line = escape_line(text)
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert to_tsv_line([text, "b"]).count("\n") == 1


@given(st.text())
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    printable = "".join(c for c in text if c.isprintable())
    assert escape_line(printable) == printable
    assert escape_line(escape_line(text)) == escape_line(text)


@pytest.mark.parametrize("text", ["naïve", "日本語", "می‌خواهم", "👩‍👩‍👧", "a b  c", "C:\\files", "[brackets]"])
def test_scripts_and_symbols_are_not_escaped(text: str) -> None:
    assert escape_line(text) == text


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_tsv_line_has_the_cells_it_was_given(cells: list[str]) -> None:
    line = to_tsv_line(cells)
    assert line.endswith("\n")
    assert len(line[:-1].split("\t")) == len(cells)
    assert len(line.splitlines()) == 1


@given(st.text())
def test_markdown_has_no_markup_and_reads_back(text: str) -> None:
    escaped = escape_markdown(text)
    assert not re.search(r"[<>\[\]*`|\\]|://|www\.", escaped)
    assert html.unescape(escaped) == escape_line(text)


@pytest.mark.parametrize(
    "text",
    ["<img src=x onerror=alert(1)>", "[click](https://a.b)", "www.a.com", "a@b.c", "`a`|b", "![i](u)"],
)
def test_what_a_page_would_act_on_is_not_in_it(text: str) -> None:
    for escaped in (escape_markdown(text), to_code_span(text)):
        assert text not in escaped
        assert html.unescape(re.sub("</?code>", "", escaped)) == text


@pytest.mark.parametrize("text", ["positive", "B-PER", "label_1", "5e-05", "first, second", "(a) [b]"])
def test_a_usual_label_is_ordinary_code(text: str) -> None:
    assert to_code_span(text) == f"`{text}`"


@pytest.mark.parametrize("text", ["", " a", "a "])
def test_code_keeps_what_a_code_span_would_drop(text: str) -> None:
    assert to_code_span(text) == f"<code>{text}</code>"


def test_a_formula_is_drawn_as_text() -> None:
    from matplotlib.text import Text

    for text in ("$x^2$", "a $5 b $6", "\\$", "$", r"$\frac{$"):
        assert Text(0, 0, escape_plot_text(text))._preprocess_math(escape_plot_text(text)) == (text, False)  # type: ignore[attr-defined]


@pytest.mark.parametrize("label", ["$\\frac{$", "a\nb", "$a$ and $b$", "\x1b[1m"])
def test_pictures_are_drawn_whatever_labels_hold(label: str, tmp_path: object) -> None:
    assert confusion([[1, 0], [0, 1]], (label, "other"), f"{tmp_path}/a.png").exists()


def report_with(label: str) -> Report:
    row = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 1, "predicted": 1}
    return Report(metrics={label: {"accuracy": 0.5}}, per_class={label: {label: row}}, notes=[f"{label} is odd"])


@pytest.mark.parametrize("label", [*DANGEROUS, "[/]", "[bold]x", "[red]", ":smile:", "[link=http://a.b]c[/link]"])
def test_a_report_shows_labels_as_they_are(label: str) -> None:
    text = report_with(label).to_text()
    assert text.count(escape_line(label)) == 3
    assert "".join(text.split("\n")).isprintable()
    assert text.count("\n") == report_with("x").to_text().count("\n")


@pytest.mark.parametrize("label", [*DANGEROUS, "[/]", ":smile:"])
def test_so_do_tables_in_any_console(label: str) -> None:
    board = Leaderboard(
        "accuracy",
        label,
        (
            LeaderboardRow(
                {"data.text": label}, (TrialResult(number=1, cell=0, settings={}, seed=1, value=0.5, error=label),)
            ),
        ),
    )
    for parts in (report_with(label).renderables(), board.renderables()):
        console = Console(file=io.StringIO(), width=100, color_system=None)
        with console.capture() as captured:
            for part in parts:
                console.print(part)
        assert "".join(captured.get().split("\n")).isprintable()


def test_no_way_to_a_terminal_is_open() -> None:
    console = PlainConsole(file=io.StringIO(), width=80, color_system=None, force_terminal=True)
    table = make_table("a\x1b[1m", "b")
    table.add_row("\x1b[2Jcell", "c\nd")
    with console.capture() as captured:
        console.print("\x1b[31mred\nforged", table)
        console.print(Console().render_str("\x1b[31m"))
    assert "\x1b" not in captured.get()
    assert "red\\nforged" in captured.get()
    with Progress(TextColumn("{task.description}"), console=console) as progress:
        progress.add_task("\x1b]0;title\x07")
    assert "\x1b]" not in console.file.getvalue()  # type: ignore[attr-defined]


def lines_of(text: str, width: int, wrap: bool = True, terminal: bool = True) -> list[str]:
    console = PlainConsole(file=io.StringIO(), width=width, color_system=None, force_terminal=terminal)
    with console.capture() as captured:
        print_line(console, text, wrap=wrap)
    return captured.get().split("\n")[:-1]


def test_lines_wrap_at_spaces_below_their_text() -> None:
    text = "data     " + " ".join(["words"] * 30)
    lines = lines_of(text, 60)
    assert len(lines) > 2
    assert all(len(line) <= 60 for line in lines)
    assert all(line.startswith("         words") for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert lines_of(text, 60, terminal=False) == [text]
    assert lines_of(text, 60, wrap=False) == [text]
    assert lines_of("warning: " + "word " * 30, 40)[1].startswith("         word")
    assert not any(line.startswith(" ") for line in lines_of("a plain sentence " * 10, 40))


def test_a_word_that_is_longer_than_a_line_and_a_narrow_terminal() -> None:
    assert max(map(len, lines_of("note: " + "x" * 200, 50))) == 50
    assert "".join(line.strip() for line in lines_of("label    " + "x" * 100, 20)).endswith("x" * 20)
    assert all(len(line) <= 20 for line in lines_of("label    " + "word " * 30, 20))


def test_plain_text_wraps_at_its_width() -> None:
    text = render_plain(["name       " + "word " * 40], 50)
    assert all(len(line) <= 50 for line in text.splitlines())
    assert text.splitlines()[1].startswith(" " * 11 + "word")


def test_errors_are_sentences() -> None:
    error = BertwrightError("a: is wrong.", "b: is wrong.")
    assert error.sentences == ("a: is wrong.", "b: is wrong.")
    assert str(error) == "a: is wrong.\nb: is wrong."
    assert DataError("a\nb").sentences == ("a\nb",)


def test_numbers_keep_their_zeros() -> None:
    assert show("mse", 0.5) == "0.5000"
    assert show("mse", 1234.0) == "1234"
    assert show("accuracy", 0.5) == "0.5000"


def test_emphasis_is_escaped_and_names_are_not() -> None:
    assert escape_markdown("_x_ *y* label_1") == "&#95;x&#95; &#42;y&#42; label_1"
