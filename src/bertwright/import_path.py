"""The import path without the working directory, where a file such as ``yaml.py`` would replace a library.

Imports nothing that such a file could replace before the path is safe.
"""

from __future__ import annotations

import os
import sys


def safe_import_path() -> list[str]:
    """``sys.path`` without the working directory; the directory of this package comes last if it was not on it."""
    here = os.path.realpath(os.curdir)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  # see the module
    path = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != here]
    return path if package in path else [*path, package]
