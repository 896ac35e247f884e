"""The import path without the working directory, where a file such as ``yaml.py`` would shadow a library.

This module imports nothing that such a file could shadow before the path is safe.
"""

from __future__ import annotations

import os
import sys


def safe_import_path() -> list[str]:
    """Return ``sys.path`` without the working directory, and with the directory of this package, last if it was
    missing.
    """
    working_directory = os.path.realpath(os.curdir)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  # see the module
    path = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != working_directory]
    return path if package in path else [*path, package]
