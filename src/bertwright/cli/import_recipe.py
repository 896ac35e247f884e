"""``bertwright recipe import``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bertwright.cli.console import err, note, out, show
from bertwright.errors import OutputError, RecipeError
from bertwright.files.atomic import check_writable, write_atomically
from bertwright.importers.cerebras.recipe import read_params
from bertwright.output.terminal import print_line


def import_recipe(file: Path, target: Path | None, model: str | None, strict: bool) -> None:
    """Make a recipe of another program's file, and tell what became of every key of it.

    Args:
        file: the other program's.
        target: where the recipe goes; None for standard output, the table then goes to standard error.
        model: the encoder to start from; None for what the file describes.
        strict: refuse a file with keys that have no equivalent; nothing is then written.

    Raises:
        RecipeError: it is no such file, a value makes no sense, or a key has no equivalent and ``strict``.
        OutputError: the target exists already, or cannot be written.
    """
    if target is not None and os.path.lexists(target):
        raise OutputError(f"{target}: exists already; choose another name or remove it.")
    if target is not None:
        check_writable(target)
    imported = read_params(file, model)
    lost = ", ".join(finding.key for finding in imported.changing)
    table = out() if target is not None else err()
    show(table, [imported.table()]) if target is not None else table.print(imported.table())
    if lost and strict:
        raise RecipeError(f"{file}: no equivalent here for {lost}; remove these keys, or import without --strict.")
    if lost:
        note(err(), f"{file}: no equivalent here for {lost}; results may differ", warning=True)
    if target is None:
        sys.stdout.write(imported.to_yaml())
        return
    write_atomically(target, imported.to_yaml())
    print_line(out(), f"{target}: a recipe; run `bertwright train {target} --out DIR`", wrap=False)
