"""The files of a run directory that others can use: model, recipe, report and model card."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from bertwright.run.bundle import RECIPE, WEIGHTS
from bertwright.run.plots import CONFUSION, LEARNING_CURVE
from bertwright.run.report import FILE_NAME as REPORT
from bertwright.weights.hub import SMALL_FILES, SPECIAL_VOCABULARIES

CARD, PAGE = "README.md", "report.html"

PATTERNS = (*SMALL_FILES, *SPECIAL_VOCABULARIES, WEIGHTS, RECIPE, REPORT, PAGE, CARD, LEARNING_CURVE, CONFUSION)
"""An allowlist: checkpoints, optimizer state, logs and files of users never match."""


def list_bundle_files(directory: Path) -> list[Path]:
    """The files of a finished run that can be published, sorted by name; only those at the top of its directory."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file() and any(fnmatchcase(path.name, pattern) for pattern in PATTERNS)
    )
