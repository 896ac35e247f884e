"""``evaluate --html``: the report of an evaluation, and what it refuses before it evaluates."""

from __future__ import annotations

from pathlib import Path

from worlds import Call, World


def test_an_evaluation_writes_an_html_report(world: World, call: Call, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    data = ("--data", world.folder / "reviews.csv", "--text", "review")
    result = call("evaluate", world.labels, *data, "--html", page)
    assert result.code == 0, result.err
    assert result.out.endswith(f"report {page}\n")
    html = page.read_text(encoding="utf-8")
    for title in ("Results", "Confusion matrix on reviews", "Reliability diagram", "Highest loss on reviews"):
        assert title in html
    assert "Learning curves" not in html
    piped = call("evaluate", world.labels, *data, "--html", page, "--json", "-")
    assert piped.code == 0
    assert piped.out.startswith("{")
    assert piped.out.rstrip().endswith("}")


def test_a_page_that_cannot_be_written_is_refused(world: World, call: Call, tmp_path: Path) -> None:
    data = ("--data", world.folder / "reviews.csv", "--text", "review")
    refused = call("evaluate", world.labels, *data, "--html", tmp_path)
    assert (refused.code, refused.err) == (2, f"error: {tmp_path}: is a directory; give --html a file name.\n")
    refused = call("evaluate", world.labels, *data, "--html", tmp_path / "page.html", "--all-checkpoints")
    assert (refused.code, refused.err) == (2, "error: --html and --all-checkpoints cannot be combined; remove one.\n")
    assert not (tmp_path / "page.html").exists()
