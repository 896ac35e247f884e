"""The structure that DESIGN.md promises: imports go down, no cycles, no long modules, light where it must be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "bertwright"

# DESIGN.md, section 4: a module imports from its own package and from packages on lower levels.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("output", "files", "import_path", "cores"),
    ("cache", "metrics"),
    ("config", "html"),
    ("data", "nn"),
    ("tokenization",),
    ("corpus",),
    ("weights",),
    ("tasks",),
    ("training", "engines"),
    ("attributions", "recipe"),
    ("run",),
    ("sweep", "importers", "tools", "serving"),
    ("cli",),
)
LEVEL_OF = {package: level for level, packages in enumerate(LEVELS) for package in packages}

MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def package_of(module: str) -> str:
    return module.partition(".")[0]


def imports(path: Path, typing_too: bool = True) -> set[str]:
    """The modules of ours that a file imports, wherever in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    if not typing_too:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped |= {id(inner) for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bertwright"):
            base = node.module.removeprefix("bertwright").lstrip(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".lstrip(".")
                found.add(name if name in MODULES else base)
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("bertwright.") for alias in node.names if alias.name.startswith("bertwright.")
            }
    return found - {""}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down(module: str) -> None:
    if module in ("__init__", "__main__", "bertwright", ""):
        return
    package = package_of(module)
    for imported in imports(MODULES[module]):
        target = package_of(imported)
        assert target == package or LEVEL_OF[target] < LEVEL_OF[package], f"{module} imports {imported}"


def test_no_cycles() -> None:
    graph = {module: imports(path, typing_too=False) & MODULES.keys() for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join((*path[path.index(module) :], module))
        if module not in done:
            for imported in sorted(graph[module]):
                visit(imported, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_nn_knows_no_text_and_training_no_particular_task() -> None:
    for module, path in MODULES.items():
        for imported in imports(path):
            if module.startswith("training."):
                assert not imported.startswith("tasks") or imported == "tasks.spec", (module, imported)
            if module.startswith(("data.", "metrics.", "cache.", "files.", "output.")):
                assert not imported.startswith("nn"), (module, imported)


KINDS = {"classification", "multilabel", "regression", "tagging", "qa", "multiple_choice", "pretraining"}
CONCRETE_TASKS = ("classification", "regression", "tagging", "qa", "multiple_choice", "pretraining")
KIND_NAMES = {kind.upper() for kind in KINDS}


def names_a_kind(node: ast.expr) -> bool:
    """Whether an expression is the name of a kind of task, or a collection with one in it."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(map(names_a_kind, node.elts))
    if isinstance(node, ast.Attribute):
        return node.attr in KIND_NAMES
    return (isinstance(node, ast.Constant) and node.value in KINDS) or (
        isinstance(node, ast.Name) and node.id in KIND_NAMES
    )


def find_kind_decisions(tree: ast.AST) -> list[str]:
    """Comparisons with a kind of task, tables by kind, and ``case`` clauses for one."""
    decisions = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            decides = any(map(names_a_kind, (node.left, *node.comparators)))
        elif isinstance(node, ast.MatchValue):
            decides = names_a_kind(node.value)
        elif isinstance(node, ast.Dict):
            decides = any(key is not None and names_a_kind(key) for key in node.keys)
        else:
            decides = False
        decisions += [ast.unparse(node)] if decides else []
    return decisions


def test_kind_decisions_are_found() -> None:
    for line in ("task.kind == 'qa'", "kind not in ('tagging', QA)", "metrics.QA != kind", "{QA: 1}.get(kind)"):
        assert find_kind_decisions(ast.parse(line)), line
    for line in ("task.kind == other.kind", "kind == 'adamw'", "names = {1: 'qa'}", "'qa'"):
        assert not find_kind_decisions(ast.parse(line)), line


def test_only_tasks_decide_by_kind() -> None:
    """Everything else asks the task or its kind of target; ``metrics`` compares kinds of outcomes."""
    for module, path in MODULES.items():
        if package_of(module) in ("tasks", "metrics") or module == "weights.families":
            continue  # families list the heads that were published for them
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert find_kind_decisions(tree) == [], f"{module}: move this decision into the specification of the task"
        if module not in ("recipe", "__init__"):
            concrete = {imported for imported in imports(path) if imported.removeprefix("tasks.") in CONCRETE_TASKS}
            assert concrete == set(), f"{module} imports {concrete}; ask the task that a recipe or a model has"


def test_few_modules_are_outside_packages() -> None:
    loose = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert len(loose) <= 8, sorted(loose)


def test_every_package_says_what_it_contains() -> None:
    for path in SOURCE.rglob("__init__.py"):
        summary = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        assert summary.endswith("."), path
    folders = {path.parent for path in MODULES.values()}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_no_two_modules_of_a_package_differ_in_their_plural_alone() -> None:
    twins = [module for module in MODULES if f"{module}s" in MODULES]
    assert twins == []


def test_no_module_is_long_and_none_is_called_utils() -> None:
    for module, path in MODULES.items():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 600, module
        assert not re.search(r"utils?$|helpers?$|common$|misc$", module), module


def test_no_function_is_long() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                n_lines = node.end_lineno - node.lineno + 1
                assert n_lines <= 60, f"{module}.{node.name} has {n_lines} lines; split it"


PARTICIPLES = {
    # constructors of layouts, results of a search, the trials that a study has asked for, a head as it was published,
    # and words that only end like a participle
    *("packed", "padded", "collapsed", "failed", "asked", "published_head", "unused_modules", "unbounded", "mapped"),
    *(
        "expected_calibration_error",
        "confused_pairs",
        "unfinished_run_message",
        "saved_recipe",
        "damaged",
        "finished",
        "unsupported",
    ),
    *("embed", "seed", "feed", "need", "read", "read_shared"),
}


def test_functions_are_verbs_and_no_participles() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name not in PARTICIPLES:
                first = node.name.lstrip("_").split("_")[0]
                assert not first.endswith("ed") or first in ("seed", "need", "feed", "embed", "unlimited"), (
                    f"{module}.{node.name}: name functions after what they do"
                )


def test_no_function_has_many_parameters() -> None:
    for module, path in MODULES.items():
        if module == "cli.app":
            continue  # a command has one parameter for each of its options
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                assert len([name for name in names if name not in ("self", "cls")]) <= 12, f"{module}.{node.name}"


def test_the_design_shows_the_actual_levels() -> None:
    text = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
    block = re.search(r"## 4\..*?```\n(.*?)```", text, re.DOTALL)
    assert block is not None
    lines = [re.split(r"\s{2,}", line.strip())[1] for line in block[1].splitlines()]
    assert tuple(tuple(line.split(", ")) for line in lines) == LEVELS


def test_the_types_of_the_design_exist() -> None:
    section = (ROOT / "DESIGN.md").read_text(encoding="utf-8").partition("## 2.")[2].partition("## 3.")[0]
    rows = re.findall(r"^\| (`[^|]+) \| (`[^|]+) \|", section, re.MULTILINE)
    assert len(rows) > 10
    for types, modules in rows:
        for name in re.findall(r"`(\w+)`", types):
            definitions = [
                module
                for module in re.findall(r"`([\w.]+)`", modules)
                if f"class {name}" in MODULES[module].read_text()
            ]
            assert len(definitions) == 1, f"{name} is not defined in {modules}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("bertwright", "torch numpy pydantic rich"),
        ("bertwright.recipe", "torch sklearn pandas datasets transformers matplotlib pyarrow"),
        ("bertwright.data.reader", "torch sklearn pandas datasets pyarrow"),
        ("bertwright.run.train", "sklearn pandas datasets transformers matplotlib pyarrow scipy"),
        ("bertwright.cli", "torch sklearn pandas datasets transformers matplotlib pyarrow"),
    ],
)
def test_imports_are_light(module: str, absent: str) -> None:
    script = f"import sys, {module}; print(*({{*{absent.split()!r}}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_foreign_text_reaches_a_terminal_through_one_module() -> None:
    for module, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        if module != "output.terminal":
            assert not re.search(r"soft_wrap|[^\w.]Console\(|[^\w.]Table\(box|Table\.grid", text), (
                f"{module}: print with output.terminal.print_line and make_table, which escape foreign text"
            )
