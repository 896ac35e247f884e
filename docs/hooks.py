"""Hooks of the site: pages from files outside docs/, links that leave docs/, and roles in docstrings.

A page from outside keeps its place in the repository, where GitHub shows it; the site has a copy under Background.
A link to a file that is no page, such as a test, becomes the file's path.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import Any

from griffe import Extension, Object
from mkdocs.structure.files import File, Files

# file of the repository → page of the site
PAGES = {
    "DESIGN.md": "background/design.md",
    "benchmarks/README.md": "background/benchmarks.md",
    "CHANGELOG.md": "background/changelog.md",
    "CONTRIBUTING.md": "background/contributing.md",
    "README.md": "index.md",
}
ORIGINS = {page: origin for origin, page in PAGES.items() if page != "index.md"}
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


TABLE_ROW = re.compile(r"^\|.*$", re.MULTILINE)
ROLE = re.compile(r":(?:mod:`([\w.]+)|[a-z]+:`(?:([^`<]+?) <[^`>]+>|~?(?:[\w.]*\.)?([^`]+)))`")


class Roles(Extension):
    """Shows Sphinx roles of docstrings, such as a class with its module, as code."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called by griffe for every object that it has loaded."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(lambda role: f"`{role[1] or role[2] or role[3]}`", obj.docstring.value)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages whose files are outside docs/."""
    root = PurePosixPath(config.config_file_path).parent
    for page, origin in ORIGINS.items():
        with open(root / origin, encoding="utf-8") as file:  # noqa: PTH123
            files.append(File.generated(config, page, content=file.read()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Make links between files of the repository links between pages of the site."""
    here = page.file.src_uri
    origin = ORIGINS.get(here, f"docs/{here}")
    last, parts = 0, []
    for code in CODE.finditer(markdown):
        parts += [_relink(markdown[last : code.start()], origin, here), code[0]]
        last = code.end()
    return "".join([*parts, _relink(markdown[last:], origin, here)])


def _relink(text: str, origin: str, here: str) -> str:
    # GitHub wants | escaped in the code of a table, the site does not
    text = TABLE_ROW.sub(lambda row: re.sub(r"`[^`]*`", lambda code: code[0].replace(r"\|", "|"), row[0]), text)
    return LINK.sub(lambda link: _link(link, origin, here), text)


def _link(link: re.Match[str], origin: str, here: str) -> str:
    name, hash_, anchor = link["target"].partition("#")
    if not name or ":" in name:
        return link[0]
    file = os.path.normpath(os.path.join(os.path.dirname(origin), name))  # noqa: PTH118, PTH120
    page = PAGES.get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else None)
    if page is None:
        text = link["text"]
        return text if file in text else f"{text} (`{file}`)"
    if page == "index.md":
        hash_ = anchor = ""  # the README and the site's first page have other headings
    target = os.path.relpath(page, os.path.dirname(here) or ".")  # noqa: PTH120
    return f"{link['image']}[{link['text']}]({target}{hash_}{anchor})"
