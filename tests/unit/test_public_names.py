"""The names a user imports: all there, all lazy, none hiding a module."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import bertwright


@pytest.mark.parametrize("name", bertwright.__all__)
def test_each_is_there(name: str) -> None:
    assert getattr(bertwright, name) is not None
    assert name in dir(bertwright)


def test_what_type_checkers_see_is_what_is_there() -> None:
    tree = ast.parse(Path(bertwright.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = {name: (f"bertwright.{module}", inside) for name, (module, inside) in bertwright._HOME_OF.items()}
    assert seen == lazy
    assert set(bertwright.__all__) == {*lazy, "__version__"}


def test_no_name_is_a_module_too() -> None:
    modules = {module.name for module in pkgutil.iter_modules(bertwright.__path__)}
    assert not modules & set(bertwright.__all__), "importing the module would hide the name"


def test_importing_is_light() -> None:
    code = "import bertwright, sys; print([n for n in ('torch', 'numpy', 'pydantic') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'fit_transform'"):
        bertwright.fit_transform  # noqa: B018
