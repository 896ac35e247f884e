"""``bertwright compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bertwright.cli.console import out, report_reading, show
from bertwright.cli.evaluate import columns_for, splits_to_evaluate
from bertwright.cli.options import ComputeOptions, DataOptions, in_options
from bertwright.errors import BundleError, OutputError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json
from bertwright.output.terminal import print_line
from bertwright.tools.compare import compare_models as run


def compare(
    names: Sequence[str], reading: DataOptions, computing: ComputeOptions, examples: int = 0, json: str | None = None
) -> None:
    """Let models predict the same rows, and show how they differ.

    Raises:
        BertwrightError: whatever is wrong, in one sentence.
    """
    if json not in (None, "-") and Path(json).is_dir():
        raise OutputError(f"{json}: is a directory; name the file that --json should write.")
    if len(set(names)) != len(names):
        raise BundleError(f"{', '.join(names)}: one model is named twice; compare different ones.")
    with in_options():
        bundles = dict(zip(_short(names), map(computing.open, names), strict=True))
        first = next(iter(bundles.values()))
        columns, encoding = columns_for(first, reading), reading.encoding
        found = {
            split: run(bundles, reading.source, columns, split=split, encoding=encoding)
            for split in splits_to_evaluate(reading.source, first)
        }
    figures = [{"split": split, **compared.to_dict()} for split, compared in found.items()]
    text = to_json(figures, indent=2) + "\n"
    if json == "-":
        print(text, end="")  # noqa: T201  # it is what was asked for
        return
    console = out()
    for compared in found.values():
        report_reading(compared.rows)
        show(console, compared.renderables())
        show(console, [part for block in compared.disagreements(examples) for part in ("", *block)])
    if json is not None:
        print_line(console, f"figures in {write_atomically(json, text)}")


def _short(names: Sequence[str]) -> list[str]:
    """The last part of each name, or all of them whole where that does not tell them apart."""
    last = [Path(name).name for name in names]
    return last if len(set(last)) == len(last) else list(names)
