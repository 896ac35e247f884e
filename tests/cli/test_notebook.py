"""The example notebook runs from top to bottom, and shows tables, progress and the report below its cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def cells(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The code cells with their outputs."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not stored"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERTWRIGHT_EXAMPLE_MODEL", str(tiny_bert))
        patch.setenv("BERTWRIGHT_EXAMPLE_FOLDER", str(folder))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(folder))
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def html_of(cell: Any) -> str:
    return "".join(output.data.get("text/html", "") for output in cell.outputs if "data" in output)


def cell_with(cells: list[Any], text: str) -> Any:
    return next(cell for cell in cells if text in cell.source)


def test_progress_and_result_appear_below_the_cell(cells: list[Any]) -> None:
    training = html_of(cell_with(cells, "fine_tune(recipe"))
    assert "learning rate" in training
    assert "step" in training
    assert "dev · 4 examples" in training


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("bundle.report", "accuracy"),
        ("summarize(f", "parameters"),
        (".evaluate(dev)", "4 examples"),
        ("bundle.task.columns", "probability_good"),
        ("HTML(", "&lt;!doctype html&gt;"),
    ],
)
def test_results_are_displayed(source: str, text: str, cells: list[Any]) -> None:
    assert text.lower() in html_of(cell_with(cells, source)).lower()
