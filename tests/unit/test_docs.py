"""The documentation is right: links, commands, snippets, generated parts and the navigation of the site.

``python docs/generate.py`` brings the generated parts up to date.
"""

from __future__ import annotations

import ast
import re
import runpy
import shlex
from functools import cache
from importlib import import_module
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest
import typer

import bertwright
from bertwright.cli.app import app
from bertwright.cli.options import RecipeOptions, load_command_recipe
from bertwright.config.sections import list_settings
from bertwright.data.glue import TASKS
from bertwright.errors import RecipeError
from bertwright.metrics import DEFAULT_METRICS, METRICS
from bertwright.recipe import Recipe, load_recipe
from bertwright.sweep.space import has_several_values, override_recipe, parse_space, settings_to_pairs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name != "log.md")
GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page: (language, contents)."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    heads = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands(page: Path) -> list[list[str]]:
    """The words after ``bertwright`` of every command in the page's blocks and inline code."""
    lines = []
    for language, block in blocks(page):
        whole = block.replace("\\\n", " ").splitlines()
        if language == "console":
            whole = [line.removeprefix("$ ") for line in whole if line.startswith("$ ")]
        if language in ("", "bash", "console"):
            lines += whole
    lines += re.findall(r"`(bertwright [a-z][^`]*)`", prose(page))
    found = []
    for line in lines:
        if not re.search(r"(?:^|\| |/)bertwright ", line) or re.search(r"COMMAND|…|\[[A-Z]", line):
            continue  # something else, or a pattern of commands
        words = shlex.split(line, comments=True)
        starts = [i for i, word in enumerate(words) if word.endswith("bertwright")]
        if starts and (starts[0] == 0 or words[starts[0] - 1] == "|"):
            rest = words[starts[0] + 1 :]
            found.append(list(takewhile(lambda word: word not in ("|", ">"), rest)))
    return found


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command that words name, and what its own parser makes of the rest; typer's usage error if nothing."""
    command: Any = typer.main.get_command(app)
    context, path = command.make_context("bertwright", list(words)), []
    while getattr(command, "commands", None):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
        path.append(name)
    return " ".join(path), context.params


@by_page
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


@by_page
def test_commands_parse_and_their_settings_are_valid(page: Path) -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for words in commands(page):
        if len(words) == 1 and words[0] in known:
            continue  # a command's bare name
        name, params = parsed(words)
        if name not in ("train", "check", "sweep", "learning-curve"):
            continue
        given = [word for word in params["words"] or [] if not word.endswith(".yaml")]
        wrong = {"train.lerning_rate=1e-4", "train.length=3"}  # shown with the message they get
        spelled = RecipeOptions(**{key: params[key] for key in RecipeOptions.__dataclass_fields__})
        varied = [word for word in given if has_several_values(word)]
        recipe = load_command_recipe([word for word in given if word not in (*wrong, *varied)], spelled)
        for cell in parse_space(varied).corners():
            override_recipe(recipe, settings_to_pairs(cell))


def test_a_wrong_command_would_be_noticed() -> None:
    for words in (["train", "--modle", "x"], ["predict", "b", "--input"], ["recipe", "lst"], ["fit"]):
        with pytest.raises(Exception, match=r"(?i)no such|requires an argument"):
            parsed(words)


def test_there_is_something_to_check() -> None:
    readme = {words[0] for words in commands(ROOT / "README.md")}
    assert readme >= {"train", "check", "evaluate", "predict", "inspect", "recipe"}
    assert sum(len(commands(page)) for page in PAGES) > 50


@by_page
def test_python_compiles_and_names_exist(page: Path) -> None:
    for language, block in blocks(page):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bertwright"):
                home = import_module(str(node.module))
                assert not [alias.name for alias in node.names if not hasattr(home, alias.name)]


@by_page
def test_nothing_of_one_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w.~:/-])/(?:home|root|tmp|work|usr|Users|mnt|opt|var)/", text_of(page))


@pytest.mark.parametrize(
    "name", ["migrating-from-cerebras", "migrating-from-google-bert", "migrating-from-transformers", "migrating"]
)
def test_what_another_program_is_told_to_be_here_is_here(name: str) -> None:
    """Every setting named on these pages exists; what stands in the first column of a table is the other program's."""
    known = {setting.key for setting in list_settings(Recipe)}
    known |= {key.rpartition(".")[0] for key in known}
    ours = re.sub(r"^\|.*?(?<!\\)\|", "", prose(ROOT / "docs" / "how-to" / f"{name}.md"), flags=re.MULTILINE)
    sections = "|".join(sorted({key.partition(".")[0] for key in known if "." in key}))
    codes = re.findall(r"`([^`\n]+)`", ours)
    setting = rf"(?<![\w.=])(?:{sections})\.[a-z0-9_.]*[a-z0-9_]"
    named = re.findall(setting, " ".join(codes))
    assert len(named) > 5
    assert sorted(set(named) - known) == []
    kinds = Recipe.model_fields["task"].annotation.__args__  # type: ignore[union-attr]
    for code in codes:
        pairs = shlex.split(code)
        if all(re.match(rf"{setting}=", pair) for pair in pairs):
            assert any(_takes(kind.model_fields["kind"].default, pairs) for kind in kinds), code


def _takes(kind: str, pairs: list[str]) -> bool:
    try:
        load_recipe(None, [f"task.kind={kind}", *pairs])
    except RecipeError:
        return False
    return True


def test_every_metric_is_told_and_the_defaults_are_right() -> None:
    told = text_of(ROOT / "docs" / "reference" / "metrics.md")
    table = told.partition("## Defaults")[0]
    assert [name for name in METRICS if f"`{name}`" not in table] == []
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))) == set(METRICS)
    for kind, names in DEFAULT_METRICS.items():
        shown = "multi-label" if kind == "multilabel" else kind.replace("_", " ")
        assert f"| {shown} | {', '.join(f'`{name}`' for name in names)} |" in told


def test_messages_on_their_page_are_those_of_the_program() -> None:
    """Every longer part of a message, between the … that replace values, is in a text of the package."""
    page = text_of(ROOT / "docs" / "reference" / "messages.md")
    texts = package_texts()
    outdated = []
    for message in re.findall(r"^\| `([^`]+)`", page, re.MULTILINE):
        for part in message.split("…"):
            words = part.strip(' ;,.:"()').split()
            if words and re.fullmatch(r"[a-z_]+(?:\.[a-z_]+)+", words[0]):
                words = words[1:]  # a setting, which is a value
            wording = " ".join(words)
            if len(words) > 3 and not any(wording in text for text in texts):
                outdated.append(f"{wording!r} of {message!r}")
    assert not outdated, "reword docs/reference/messages.md: " + "; ".join(outdated)


def package_texts() -> list[str]:
    """The texts in the code of the package, with … for values."""
    texts = []
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_the_table_of_glue_is_right() -> None:
    told = text_of(ROOT / "docs" / "how-to" / "glue.md")
    for name, task in TASKS.items():
        row = next(line for line in told.splitlines() if f"| {task.directory} |" in line)
        assert ", ".join(task.label_names) in row or name == "ax"
        assert ", ".join(f"`{metric}`" for metric in task.metrics) in row
        assert all(f"{n:,}" in row for n in task.rows.values())
        assert ("pair" in row) == (task.text_pair is not None)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_generated_parts_are_current(page: Path) -> None:
    """Settings, commands and recipes come from the program; ``python docs/generate.py`` writes them."""
    assert text_of(page) == GENERATE["refreshed"](text_of(page)), "run `python docs/generate.py`"


def test_every_part_is_generated_somewhere() -> None:
    names = [part[2] for page in PAGES for part in GENERATE["PART"].finditer(text_of(page))]
    assert sorted(names) == sorted(GENERATE["PARTS"])


def test_every_page_is_in_the_navigation() -> None:
    """mkdocs.yml lists every page once; pages from outside docs/ are under background/."""
    listed = re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    outside = re.findall(r'"(background/[\w-]+\.md)"', (ROOT / "docs" / "hooks.py").read_text(encoding="utf-8"))
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted([*pages, *outside])


def test_the_python_api_is_complete() -> None:
    """docs/reference/python.md has every public name once."""
    listed = re.findall(r"^::: bertwright\.(\w+)$", text_of(ROOT / "docs" / "reference" / "python.md"), re.MULTILINE)
    assert sorted([*listed, "__version__"]) == sorted(bertwright.__all__)


@by_page
def test_lists_follow_an_empty_line(page: Path) -> None:
    """GitHub starts a list after any line, the site only after an empty one."""
    lines = prose(page).splitlines()
    for before, line in pairwise(lines):
        starts = re.match(r"([-*]|1\.) ", line)
        assert not starts or not before.strip() or re.match(r" |([-*]|\d+\.) ", before), line


@by_page
def test_no_count_is_written_by_hand(page: Path) -> None:
    """Recipes and commands are added; their numbers in a text are not."""
    number = r"(?:\d+|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty(?:-\w+)?)"
    assert not re.findall(rf"(?i)\b{number} (?:shipped )?(?:recipes|commands)\b", prose(page))


if __name__ == "__main__":
    runpy.run_path(str(ROOT / "docs" / "generate.py"), run_name="__main__")
