"""Escaping of foreign text: labels, cells, file names and messages of other programs, for each place they are shown.

Each output channel has one function. Escaping happens where text is written, never where it is read, so files that
hold exact values (CSV, JSON) keep them and rely on the quoting of their own format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# C0 and C1 control characters (escape sequences start with one of them), line and paragraph separators, characters
# that reverse the direction of what follows, characters without width that begin or end words, and half surrogates.
_CONTROL = "\x00-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff"
_CONTROLS = re.compile(f"[{_CONTROL}]")
_CONTROLS_IN_LINES = re.compile(f"(?!\n)[{_CONTROL}]")

# Characters that Markdown and HTML read as markup; each is written as a numeric character reference.
_MARKUP = re.compile(r"[<>&\[\]()*`~|\\!{}$@#\"]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE)
_PLAIN_CODE = re.compile(r"(?:(?!://|www\.)[\w ,.:;/%+='?()\[\]{}\"*#-])*", re.IGNORECASE)


def escape_line(text: str) -> str:
    r"""A text as one line of a terminal or a log; control characters, line breaks too, are spelled out.

    >>> escape_line("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    return _CONTROLS.sub(_spell, text)


def escape_lines(text: str) -> str:
    """A text for a terminal that keeps its line breaks; all other control characters are spelled out."""
    return _CONTROLS_IN_LINES.sub(_spell, text)


def to_tsv_line(cells: Iterable[object]) -> str:
    r"""Cells as one line with tabs between them; tabs and line breaks inside a cell are spelled out.

    >>> to_tsv_line(["a\tb", 1])
    'a\\tb\t1\n'
    """
    return "\t".join(escape_line(str(cell)) for cell in cells) + "\n"


def escape_markdown(text: str) -> str:
    """A text as Markdown prose or as a cell of a Markdown table: no markup, no HTML, no links.

    >>> escape_markdown("<b>|[a](http://b)")
    '&#60;b&#62;&#124;&#91;a&#93;&#40;http&#58;//b&#41;'
    """
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", escape_line(text))


def to_code_span(text: str) -> str:
    """A text as inline code of Markdown that also fits into a table cell.

    >>> to_code_span("B-PER"), to_code_span("a`<i>")
    ('`B-PER`', '<code>a&#96;&#60;i&#62;</code>')
    """
    line = escape_line(text)
    # spaces at the ends of a code span are dropped, and an empty one is none
    if line.strip() == line != "" and _PLAIN_CODE.fullmatch(line):
        return f"`{line}`"
    return f"<code>{escape_markdown(text)}</code>"


def escape_plot_text(text: str) -> str:
    r"""A text for a matplotlib picture, which would otherwise read what is between two dollar signs as a formula.

    >>> escape_plot_text("$5 or $6")
    '\\$5 or \\$6'
    """
    return escape_line(text).replace("$", r"\$")


def _spell(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
