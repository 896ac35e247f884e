"""The implementation of ``bertwright compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bertwright.cli.console import out, report_reading, show
from bertwright.cli.evaluate import columns_for, splits_to_evaluate
from bertwright.cli.options import (
    ComputeOptions,
    DataOptions,
    check_html_target,
    check_json_target,
    errors_name_options,
)
from bertwright.errors import BundleError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json
from bertwright.html.page import write_page
from bertwright.output.terminal import print_line
from bertwright.tools.compare import compare_models as run
from bertwright.tools.comparison_page import build_comparison_page


def compare(
    names: Sequence[str],
    source: DataOptions,
    compute: ComputeOptions,
    examples: int = 0,
    json: str | None = None,
    html: Path | None = None,
) -> None:
    """Evaluate models on the same rows, print how they differ, and write that as JSON or as a page.

    Raises:
        BertwrightError: an argument, a model or the data is invalid.
    """
    check_json_target(json)
    check_html_target(html)
    if len(set(names)) != len(names):
        raise BundleError(f"{', '.join(names)}: the same model is given twice; compare different models.")
    with errors_name_options():
        bundles = dict(zip(_short(names), map(compute.open, names), strict=True))
        first = next(iter(bundles.values()))
        columns, encoding = columns_for(first, source), source.encoding
        comparisons = {
            split: run(bundles, source.data, columns, split=split, encoding=encoding)
            for split in splits_to_evaluate(source.data, first)
        }
    results = [{"split": split, **comparison.to_dict()} for split, comparison in comparisons.items()]
    text = to_json(results, indent=2) + "\n"
    page = None if html is None else write_page(html, build_comparison_page(comparisons))
    if json == "-":
        print(text, end="")  # noqa: T201  # the requested output
        return
    console = out()
    for comparison in comparisons.values():
        report_reading(comparison.rows.report)
        show(console, comparison.renderables())
        show(console, [part for block in comparison.disagreements(examples) for part in ("", *block)])
    if json is not None:
        print_line(console, f"metrics in {write_atomically(json, text)}")
    if page is not None:
        print_line(console, f"page in {page}")


def _short(names: Sequence[str]) -> list[str]:
    """Return the last part of each path, or the full names if those parts are not unique."""
    last = [Path(name).name for name in names]
    return last if len(set(last)) == len(last) else list(names)
