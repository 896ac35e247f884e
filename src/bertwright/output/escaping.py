"""Escaping of foreign text (labels, cells, file names, messages of other programs), one function per output channel.

Text is escaped when it is written, never when it is read. Files with exact values (CSV, JSON) rely on the quoting of
their own format.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

# C0 and C1 control characters (escape sequences start with one of them), line and paragraph separators, characters
# that change the text direction, zero-width characters at word boundaries, and lone surrogates.
_CONTROL = "\x00-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff"
_CONTROLS = re.compile(f"[{_CONTROL}]")
_CONTROLS_IN_LINES = re.compile(f"(?!\n)[{_CONTROL}]")

# Characters with a meaning in Markdown or HTML; each is written as a numeric character reference.
_MARKUP = re.compile(r"[<>&\[\]()*`~|\\!{}$@#\"]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE)
_PLAIN_CODE = re.compile(r"(?:(?!://|www\.)[\w ,.:;/%+='?()\[\]{}\"*#-])*", re.IGNORECASE)


def escape_line(text: str) -> str:
    r"""Escape a text as one line of a terminal or a log; control characters and line breaks are spelled out.

    >>> escape_line("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    return _CONTROLS.sub(_escape, text)


def escape_lines(text: str) -> str:
    """Escape a text for a terminal but keep its line breaks; all other control characters are spelled out."""
    return _CONTROLS_IN_LINES.sub(_escape, text)


def escape_html(text: str) -> str:
    """Escape a text for the content and the attributes of HTML and SVG; control characters are spelled out.

    >>> escape_html('<b title="\u202e">')
    '&lt;b title=&quot;\\u202e&quot;&gt;'
    """
    return html.escape(escape_lines(text))


def to_tsv_line(cells: Iterable[object]) -> str:
    r"""Join cells into one tab-separated line; tabs and line breaks inside a cell are spelled out.

    >>> to_tsv_line(["a\tb", 1])
    'a\\tb\t1\n'
    """
    return "\t".join(escape_line(str(cell)) for cell in cells) + "\n"


def escape_markdown(text: str) -> str:
    """Escape a text as Markdown prose or as a cell of a Markdown table: no markup, no HTML, no links.

    >>> escape_markdown("<b>|[a](http://b)")
    '&#60;b&#62;&#124;&#91;a&#93;&#40;http&#58;//b&#41;'
    """
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", escape_line(text))


def to_code_span(text: str) -> str:
    """Format a text as inline code of Markdown that is also valid in a table cell.

    >>> to_code_span("B-PER"), to_code_span("a`<i>")
    ('`B-PER`', '<code>a&#96;&#60;i&#62;</code>')
    """
    line = escape_line(text)
    # Markdown strips spaces at the ends of a code span, and does not support empty ones
    if line.strip() == line != "" and _PLAIN_CODE.fullmatch(line):
        return f"`{line}`"
    return f"<code>{escape_markdown(text)}</code>"


def escape_plot_text(text: str) -> str:
    r"""Escape a text for matplotlib, which otherwise parses the text between two dollar signs as a formula.

    >>> escape_plot_text("$5 or $6")
    '\\$5 or \\$6'
    """
    return escape_line(text).replace("$", r"\$")


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
