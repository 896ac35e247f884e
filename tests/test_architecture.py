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

# DESIGN.md, section 4. A module may import from its own layer and those below; the longest prefix counts.
LAYERS: dict[str, int] = {
    "errors": 0,
    "import_path": 0,
    "escaping": 0,
    "files": 0,
    "metrics": 0,
    "strict_json": 0,
    "terminal": 1,
    "cores": 0,
    "tree": 1,
    "phrases": 1,
    "duration": 1,
    "config": 1,
    "json_file": 1,
    "nn": 2,
    "nn.encoder": 3,
    "nn.heads": 4,
    "nn.pooling": 4,
    "nn.crf": 4,
    "nn.custom": 4,
    "nn.lora": 4,
    "nn.language": 4,
    "nn.model": 4,
    "nn.settings": 2,
    "text": 3,
    "text.example": 2,
    "weights": 4,
    "tasks.task": 4,
    "tasks": 5,
    "train.settings": 5,
    "train.optim": 5,
    "train.schedule": 5,
    "evaluate": 6,
    "elsewhere": 6,
    "assemble": 6,
    "train": 7,
    "recipe": 8,
    "report": 8,
    "card": 9,
    "bundle": 9,
    "plots": 9,
    "history": 9,
    "events": 9,
    "journal": 9,
    "interrupt": 9,
    "plan": 9,
    "augmented": 9,
    "budget": 9,
    "advice": 8,
    "ahead": 9,
    "display": 9,
    "estimate": 10,
    "progress": 1,
    "prepare": 10,
    "extension": 10,
    "rundir": 10,
    "settle": 9,
    "inspect": 10,
    "run": 10,
    "snapshots": 9,
    "foreign": 9,
    "compare": 10,
    "further": 11,
    "convert": 10,
    "sweep": 11,
    "cli": 12,
    "__main__": 13,
    "__init__": 13,
}

MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def layer(module: str) -> int:
    parts = module.split(".")
    for n in range(len(parts), 0, -1):
        if (found := LAYERS.get(".".join(parts[:n]))) is not None:
            return found
    raise AssertionError(f"{module} has no layer; give it one in LAYERS and in DESIGN.md")


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
    if module == "__init__":
        return
    for imported in imports(MODULES[module]):
        assert layer(imported) <= layer(module), (
            f"{module} (layer {layer(module)}) imports {imported} ({layer(imported)})"
        )


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


def test_nn_has_never_heard_of_text_and_text_never_of_parameters() -> None:
    for module, path in MODULES.items():
        for imported in imports(path):
            if module.startswith("nn."):
                assert not imported.startswith(("text", "tasks", "weights", "train")), (module, imported)
            if module.startswith("text."):
                allowed = ("nn.batch", "nn.layout")  # where sequences lie, not what is computed of them
                assert not imported.startswith(("nn", "weights", "train", "tasks")) or imported in allowed
            if module.startswith("train."):
                assert imported != "recipe", (module, imported)
                assert not imported.startswith("tasks") or imported == "tasks.task", (module, imported)


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


def test_layers_are_in_the_design() -> None:
    text = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
    for name in LAYERS:
        if not name.startswith("__"):
            assert re.search(rf"\b{re.escape(name)}\b", text), f"DESIGN.md does not mention {name}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("bertwright", "torch numpy pydantic rich"),
        ("bertwright.recipe", "torch sklearn pandas datasets transformers matplotlib pyarrow"),
        ("bertwright.text.reader", "torch sklearn pandas datasets pyarrow"),
        ("bertwright.run", "sklearn pandas datasets transformers matplotlib pyarrow scipy"),
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
        if module != "terminal":
            assert not re.search(r"soft_wrap|[^\w.]Console\(|[^\w.]Table\(box|Table\.grid", text), (
                f"{module}: print with terminal.print_line and terminal.make_table, which escape foreign text"
            )
