"""The implementation of ``bertwright recipe import``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bertwright.cli.console import out, print_note, show, stderr_console
from bertwright.errors import OutputError, RecipeError
from bertwright.files.atomic import check_writable, write_atomically
from bertwright.importers.cerebras.recipe import read_params
from bertwright.output.terminal import print_line


def import_recipe(file: Path, target: Path | None, model: str | None, strict: bool) -> None:
    """Convert the configuration of another program to a recipe, and print the status of every key.

    Args:
        file: the configuration.
        target: the recipe to write; None: standard output, and the table goes to standard error.
        model: the pre-trained encoder; None: the one that the file describes.
        strict: fail without writing anything if the file has unsupported or unknown keys.

    Raises:
        RecipeError: the file is not such a configuration, a value is invalid, or a key is unsupported and ``strict``.
        OutputError: the target exists, or cannot be written.
    """
    if target is not None and os.path.lexists(target):
        raise OutputError(f"{target}: already exists; choose another name, or remove it.")
    if target is not None:
        check_writable(target)
    imported = read_params(file, model)
    unsupported = ", ".join(finding.key for finding in imported.unsupported)
    table = out() if target is not None else stderr_console()
    show(table, [imported.table()]) if target is not None else table.print(imported.table())
    if unsupported and strict:
        raise RecipeError(f"{file}: bertwright has no equivalent of {unsupported}; remove these keys or --strict.")
    if unsupported:
        print_note(
            stderr_console(), f"{file}: bertwright has no equivalent of {unsupported}; results may differ", warning=True
        )
    if target is None:
        sys.stdout.write(imported.to_yaml())
        return
    write_atomically(target, imported.to_yaml())
    print_line(out(), f"{target}: recipe written; run `bertwright train {target} --out DIR`", wrap=False)
