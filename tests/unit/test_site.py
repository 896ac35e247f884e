"""The documentation as a site: it builds without a warning and loads nothing from the network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        "\n".join(re.findall(r"^(?:WARNING|ERROR).*", done.stderr, re.MULTILINE)) or done.stderr
    )
    return folder


def test_pages_load_nothing_from_the_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?(https?:|//)[^>]*>", text)
        loaded += re.findall(r"<link[^>]* href=\"?(https?:|//)[^>]*>", text)
        assert not loaded, page.name


def test_search_works_from_a_folder(site: Path) -> None:
    """A browser loads no JSON from a folder, so the index is a script as well."""
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ")
    assert "learning rate" in index.lower()


def test_a_browser_finds_pages_from_a_folder(site: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=15000", "--dump-dom")
    command = [browser, *options, f"{(site / 'index.html').as_uri()}?q=gradient+clipping"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert re.search(r'md-search-result__meta">[1-9]\d* matching documents?<', page)


def test_files_outside_the_folder_of_pages_are_pages(site: Path) -> None:
    for name in ("design", "benchmarks", "changelog", "contributing"):
        assert "<h1" in (site / "background" / f"{name}.html").read_text(encoding="utf-8")
