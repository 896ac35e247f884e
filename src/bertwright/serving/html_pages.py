"""The pages of a server: one to try the models, and one with the documentation of the API.

They are single files without external parts, so they work offline. A policy forbids every script but their own.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from string import Template
from typing import NamedTuple

from bertwright.html.page import hash_source, render_style

FOLDER = Path(__file__).parent / "pages"


class HtmlPage(NamedTuple):
    """A page.

    Attributes:
        html: its text.
        policy: the value of the header Content-Security-Policy.
    """

    html: str
    policy: str


@cache
def render_html_page(name: str, title: str) -> HtmlPage:
    """A page of ``pages``.

    Args:
        name: ``try`` or ``docs``.
        title: of the page.
    """
    style, script = render_style() + _read("pages.css"), _read(f"{name}.js")
    html = Template(_read("page.html")).substitute(title=title, style=style, script=script, body=_read(f"{name}.html"))
    policy = (
        f"default-src 'none'; script-src '{hash_source(script)}'; style-src '{hash_source(style)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HtmlPage(html, policy)


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
