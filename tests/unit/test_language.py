"""Plain technical English wherever a person reads: phrases that must not return.

Checked are all pages, the texts in the package (messages, descriptions, help, docstrings, comments) and the comments
of shipped recipes. ``python tests/unit/test_language.py`` lists the phrases.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

# regular expression, case ignored → what to write
PHRASES = {
    # translated idioms
    r"(?:is|are|was) due\b": "expected",
    r"stands?\b(?! for\b| alone\b|-)": "is, are",
    r"(?:lie|lies|lay)(?! flat)\b": "is, are, be in",
    r"one's own|of (?:your|its|their|his) own": "your own X, custom X, its own X",
    r"so (?:many|much)\b(?! (?:as|that|more|less))": "N, this many",
    r"whoever|whatever": "you, users; anything",
    r"nobody|no one\b": "untrained; no user",
    r"what there is|there is to\b|all there is": "the available X",
    r"starts? (?:anew|fresh|over)|started (?:anew|fresh)|\bfresh(?:ly)?\b|\banew\b": "randomly initialized; new; again",
    r"(?:is|are|be|was|were|been) (?:told|said|looked at|looked for|guessed|judged)": "report, check, infer, evaluate",
    r"\b(?:tells?|says?) (?:how|what|which|who|where|whether|so|that|nothing|of)\b": "gives, shows, reports, sets",
    r"(?:takes?|has|have|in) (?:the|its|their) place\b|has no place": "replaces; cannot be combined with",
    r"goes on|go on\b|going on\b": "continue, resume",
    r"for good\b": "permanently",
    r"worth (?:its|the) name": "pre-trained, useful",
    r"beside\b": "next to, with, besides",
    r"at hand": "available",
    r"as ever\b|as before\b(?= *[.;,])|as if it never": "unchanged",
    r"out of reach|in one breath|holds? to\b": "plain statement",
    r"to the brim|hardly a\b|all the same\b": "plain statement",
    r"\bmends?\b|\bspares?\b": "fixes, saves",
    r"in place of": "instead of",
    r"lest\b": "so that … not",
    r"wholly\b": "completely",
    r"as \w+ has it|for who\b|unless told|thrown together|a (?:line|row|file) a (?:line|row|file)\b": "plain statement",
    # the field's terms
    r"guess(?:es|ed|ing)?\b": "infer (columns, labels), predict (masked tokens)",
    r"hidden words?|words? hidden": "masked tokens",
    r"left out\b|leave (?:it|one|them|this|that)? ?(?:of them )?out\b|leaves? out": "ignored, unused; remove",
    r"kept for dev|held-out part": "hold-out split, validation split",
    r"\bjudged\b|\bjudges?\b": "evaluated",
    r"longest gradient": "gradient clipping (maximum L2 norm)",
    r"forgets?\b|forgotten\b": "catastrophic forgetting",
    r"further pre-training|pre-trains? further|trained further": "continued pre-training",
    r"drawn more often": "oversampling, class-balanced sampling",
    r"how sure\b|sure of (?:itself|themselves)": "calibration, confidence",
    r"waited\b": "early stopping patience",
    r"same answer for|one answer for all|commonest answer|majority answer": "majority-class baseline",
    r"\bcontradict(?:ing labels|ions)\b": "conflicting labels",
    r"\bdealt\b": "shuffled",
    r"a seed does|seeds' spread": "run-to-run variance",
    r"that train has too": "data leakage",
    r"laid over|lies over": "overrides",
    r"\btell(?:s|ing)?\b|\btold\b": "report, show, warn",
    r"\bfigures\b": "metrics, values, results",
    # American spelling
    r"\b(?:re|de|un|pre)?(?:normal|token|optim|recogn|initial|summar|random|minim|maxim|serial|organ|general|special)is"
    r"(?:e[drs]?|ing|ation|er|ers|ations)\b": "-ize",
    r"behaviours?|colours?|favours?|neighbours?|centres?\b|licences?|analyse[ds]?|artefacts?|grey\b": "-or, -er, -ense",
    r"learnt|spelt|whilst|amongst|towards\b": "learned, spelled, while, among, toward",
    r"labell(?:ed|ing)|modelling|cancell(?:ed|ing)|travell(?:ed|ing)": "labeled, modeling, canceled",
}
FORBIDDEN = [(re.compile(rf"(?i)(?<![\w-]){phrase}"), better) for phrase, better in PHRASES.items()]
EXCLUDED = {"docs/background/log.md"}  # dated entries, as they were written
CODE = re.compile(
    r"<!-- generated: (\w+) -->.*?<!-- end of \1 -->"  # comes from the sources, which are checked
    r"|^( *)```.*?^\2```$|`[^`\n]*`|\]\([^)]*\)|<!--.*?-->",
    re.DOTALL | re.MULTILINE,
)


class Finding(NamedTuple):
    """A phrase that must not be used, with its place."""

    file: str
    line: int
    phrase: str
    better: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.phrase!r}; write: {self.better}"


def texts_of(file: Path) -> Iterator[tuple[int, str]]:
    """The texts in a file that a person reads, each with the number of its first line."""
    source = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        # code shows names and real output; blank it, keeping the lines
        yield 1, CODE.sub(lambda code: re.sub(r"[^\n]+", "·", code[0]), source)
        return
    if file.suffix == ".yaml":
        for number, line in enumerate(source.splitlines(), 1):
            comment = re.match(r"\s*#(?!   )(.*)|description: (.*)", line)
            if comment:
                yield number, comment[1] or comment[2] or ""
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, re.sub(r"`[^`\n]*`|https?://\S+", "·", node.value)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def files() -> list[Path]:
    """Every file that is checked."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"]
    code = [*(ROOT / "src").rglob("*.py"), *(ROOT / "src").rglob("*.yaml"), *(ROOT / "examples").glob("*.py")]
    return sorted(file for file in [*pages, *code] if file.relative_to(ROOT).as_posix() not in EXCLUDED)


def findings_in(text: str, file: str, line: int) -> Iterator[Finding]:
    for forbidden, better in FORBIDDEN:
        for match in forbidden.finditer(text):
            yield Finding(file, line + text.count("\n", 0, match.start()), match[0], better)


@cache
def findings() -> dict[str, list[Finding]]:
    """What is found, by file."""
    by_file: dict[str, list[Finding]] = {}
    for file in files():
        name = file.relative_to(ROOT).as_posix()
        found = [finding for line, text in texts_of(file) for finding in findings_in(text, name, line)]
        if found:
            by_file[name] = sorted(found, key=lambda finding: finding.line)
    return by_file


def test_no_forbidden_phrases() -> None:
    assert len(files()) > 200
    phrases = [finding for of_file in findings().values() for finding in of_file]
    assert not phrases, "\n" + "\n".join(map(str, phrases))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("is a directory where a file is due", 1),
        ("the column is guessed", 2),
        ("B stands for the number of sequences; the standard head", 0),
        ("expected 2 columns, found 3", 0),
        ("the optimiser's normalisation", 2),
        ("see figure 3 and the figures", 1),
        ("gradient clipping: maximum L2 norm", 0),
    ],
)
def test_phrases_are_found(text: str, count: int) -> None:
    assert len(list(findings_in(text, "text", 1))) == count


PAGES = [file for file in files() if file.suffix == ".md" and file.name not in ("CHANGELOG.md", "DESIGN.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page: Path) -> None:
    """Aim at 25 words; more than 30 are an error. Tables, headings and code do not count."""
    _, text = next(texts_of(page))
    prose = re.sub(r"^(?:\||#).*$|^·$", "", text, flags=re.MULTILINE)
    parts = re.split(r"(?<=[.!?:;])\s+|\n\s*\n|\n\s*(?:[-*]|\d+\.) ", prose)
    assert [" ".join(part.split()) for part in parts if len(part.split()) > 30] == []


def test_code_in_pages_is_skipped(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a `guess` and\n```\nguess\n```\n- b\n  ```\n  guess\n  ```\nguess\n", encoding="utf-8")
    assert [finding.line for line, text in texts_of(page) for finding in findings_in(text, "page", line)] == [9]


if __name__ == "__main__":
    for of_file in findings().values():
        sys.stdout.writelines(f"{finding}\n" for finding in of_file)
