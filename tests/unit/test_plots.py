"""The pictures: what is drawn, that nothing is cut off, and what happens without matplotlib."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from bertwright.errors import DataError, MissingDependencyError, OutputError
from bertwright.run import plots
from bertwright.run.plots import confusion, learning_curve, learning_curve_over_rows


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved during a test."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **settings: Any) -> None:
        figures.append(self)
        save(self, *args, **settings)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def steps(n: int) -> list[dict[str, Any]]:
    return [{"event": "step", "step": i, "loss": 1 / i, "learning_rate": 5e-5 * (1 - i / n)} for i in range(1, n + 1)]


def evaluations(*at: int) -> list[dict[str, Any]]:
    return [{"step": i, "epoch": i / 10, "metrics": {"accuracy": 0.5 + i / 100, "matthews": i / 100}} for i in at]


def labels_of(figure: Figure) -> list[str]:
    return [axis.get_ylabel() for axis in figure.axes]


def assert_nothing_is_cut_off(path: Path) -> None:
    """The outermost rows and columns of the picture are white: whatever is drawn ends before them."""
    picture = imread(path)[..., :3]
    for edge in (picture[:5], picture[-5:], picture[:, :5], picture[:, -5:]):
        assert (edge == 1).all()


def test_a_run_is_drawn_in_three_panels(tmp_path: Path, drawn: list[Figure]) -> None:
    path = learning_curve([*steps(20), *evaluations(10, 20), {"event": "saved", "step": 20}], tmp_path / "a" / "c.png")
    assert labels_of(drawn[0]) == ["training loss", "evaluation", "learning rate"]
    each, smooth = drawn[0].axes[0].lines
    assert each.get_xdata().tolist() == list(range(1, 21))
    assert each.get_ydata()[3] == 0.25
    assert smooth.get_ydata()[0] == pytest.approx((1 + 1 / 2) / 2)
    assert [line.get_label() for line in drawn[0].axes[1].lines] == ["accuracy", "matthews"]
    assert drawn[0].axes[1].lines[0].get_ydata().tolist() == [0.6, 0.7]
    assert_nothing_is_cut_off(path)


def test_a_history_alone_is_drawn_too(tmp_path: Path, drawn: list[Figure]) -> None:
    learning_curve(evaluations(1), tmp_path / "c.png")
    assert labels_of(drawn[0]) == ["evaluation"]


def test_what_cannot_be_drawn_is_left_out(tmp_path: Path, drawn: list[Figure]) -> None:
    odd = [
        {"step": None, "loss": 9.0},
        {"step": 2, "loss": float("nan")},
        {"step": 3, "metrics": {"pearson": None, "dev": {"mse": 1.0}}},
        {"step": 4, "metrics": None},
        {"step": 5, "loss": 0.5},
        {"step": 4, "loss": 0.7},
        {"step": 5, "loss": 0.6},  # a resumed run repeats the step
    ]
    learning_curve(odd, tmp_path / "c.png")
    assert labels_of(drawn[0]) == ["training loss", "evaluation"]
    assert drawn[0].axes[0].lines[0].get_xydata().tolist() == [[4, 0.7], [5, 0.6]]
    assert [line.get_label() for line in drawn[0].axes[1].lines] == ["dev mse"]
    many = [{"step": 1, "metrics": {f"metric {i}": 0.1 * i for i in range(9)}}]
    learning_curve(many, tmp_path / "c.png")
    assert len(drawn[1].axes[0].lines) == 5


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c.png: no values to plot; train at least one step first"):
        learning_curve([{"event": "started"}], tmp_path / "c.png")


@pytest.mark.parametrize("n", [1, 2, 6, 9, 31])
def test_a_matrix_of_any_size_is_whole(n: int, tmp_path: Path, drawn: list[Figure]) -> None:
    labels = [f"a label that is much too long for its place, number {i}" if i % 2 else f"{i}" for i in range(n)]
    path = confusion(np.eye(n, dtype=int) * 1000, labels, tmp_path / "m.png")
    assert_nothing_is_cut_off(path)
    axis = drawn[0].axes[0]
    shown = [text.get_text() for text in axis.texts]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    assert len(shown) == (n * n if n <= plots.MOST_NUMBERED else 0)
    if shown:
        assert shown[0] == ("1,000\n100.0%" if n <= plots.MOST_EXPLAINED else "1,000")
    assert all(len(tick.get_text()) <= 28 for tick in axis.get_yticklabels())


def test_rows_without_examples_and_signs_of_formulas(tmp_path: Path, drawn: list[Figure]) -> None:
    confusion([[0, 0], [1, 3]], ["$x", "y$"], tmp_path / "m.png")
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["0\n0.0%", "0\n0.0%", "1\n25.0%", "3\n75.0%"]


def test_a_matrix_that_does_not_fit_its_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m.png: .* must have shape \(2, 2\), one row per label; found \(1, 2\)"):
        confusion([[1, 2]], ["a", "b"], tmp_path / "m.png")
    with pytest.raises(DataError, match="one row per label"):
        confusion(np.zeros((0, 0)), [], tmp_path / "m.png")


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a directory"):
        learning_curve(evaluations(1), tmp_path)


def test_without_matplotlib_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"run `pip install 'bertwright\[plots\]'`"):
        confusion([[1]], ["a"], tmp_path / "m.png")


def test_vectors_too(tmp_path: Path) -> None:
    path = confusion([[3, 1], [0, 4]], ["no", "yes"], tmp_path / "m.svg")
    assert path.read_text().startswith("<?xml")


def test_the_curve_names_the_run_the_chosen_step_baselines_and_epochs(tmp_path: Path, drawn: list[Figure]) -> None:
    events: list[dict[str, Any]] = [record | {"epoch": record["step"] / 10} for record in steps(40)]
    events += [
        {
            "step": i,
            "epoch": i / 10,
            "metrics": {"dev": {"accuracy": i / 50, "log_loss": 1 / i}},
            "validation_loss": {"dev": 2 / i},
        }
        for i in (10, 20, 40)
    ]
    path = learning_curve(
        events,
        tmp_path / "c.png",
        title="mine: classification $5",
        chosen_step=20,
        baseline={"dev accuracy": 0.3, "dev log_loss": float("nan")},
    )
    figure = drawn[0]
    assert labels_of(figure) == ["loss", "higher is better", "lower is better", "learning rate"]
    assert figure.get_suptitle() == "mine: classification \\$5\nchosen weights: step 20 (dotted line)"
    loss, higher, lower, rate = figure.axes
    assert [line.get_label() for line in loss.lines[:3]] == [
        "training loss, each step",
        "training loss, smoothed",
        "validation loss, dev",
    ]
    assert loss.lines[2].get_xydata().tolist() == [[10, 0.2], [20, 0.1], [40, 0.05]]
    assert loss.lines[2].get_color() != loss.lines[1].get_color()
    for axis in figure.axes:
        assert [20, 20] in [list(line.get_xdata()) for line in axis.lines], "the chosen step is marked in every panel"
    assert [list(line.get_ydata()) for line in higher.lines].count([0.3, 0.3]) == 1
    assert "majority baseline" in [line.get_label() for line in higher.lines]
    assert "majority baseline" not in [line.get_label() for line in lower.lines]
    below = rate.child_axes[0]
    assert below.get_xlabel() == "epoch"
    assert below.get_xlim() == pytest.approx([limit / 10 for limit in rate.get_xlim()])
    assert_nothing_is_cut_off(path)


def test_metrics_of_one_direction_share_a_panel_and_wide_ranges_are_logarithmic(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    records = [{"step": i, "metrics": {"mlm_loss": 6 / i, "perplexity": 400 / i}} for i in (1, 2)]
    learning_curve(records, tmp_path / "c.png")
    assert labels_of(drawn[0]) == ["evaluation"]
    assert drawn[0].axes[0].get_yscale() == "log"
    learning_curve(evaluations(10, 20), tmp_path / "c.png")
    assert drawn[1].axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(("n", "bars"), [(2, 0), (3, 1), (50, 1)])
def test_a_matrix_has_a_linear_scale_a_title_and_a_bar_where_it_helps(
    n: int, bars: int, tmp_path: Path, drawn: list[Figure]
) -> None:
    matrix = np.full((n, n), 10)
    path = confusion(matrix, [f"a label, number {i}" for i in range(n)], tmp_path / "m.png", "dev_matched")
    axis = drawn[0].axes[0]
    assert axis.get_title() == f"dev_matched: {10 * n * n:,} examples"
    assert len(drawn[0].axes) == 1 + bars
    image = axis.images[0]
    assert np.allclose(image.get_array(), 1 / n)  # shares as they are, from 0 to 1
    assert image.get_clim() == (0, 1)
    smallest = min(tick.get_fontsize() for tick in axis.get_yticklabels())
    cell = drawn[0].get_figwidth() / n * 72  # in points
    assert 6 <= smallest <= cell, "labels are legible and do not overlap"
    assert_nothing_is_cut_off(path)


def test_scores_over_rows_with_their_extrapolation(tmp_path: Path, drawn: list[Figure]) -> None:
    scores = {50: [0.6, 0.7], 400: [0.8], 100: [0.7, 0.72]}

    def fit(rows: Any) -> Any:
        return 0.9 - np.asarray(rows, float) ** -0.3

    path = learning_curve_over_rows(scores, "accuracy on dev", tmp_path / "c.png", fit=fit, interval=(0.78, 0.85))
    axis = drawn[0].axes[0]
    assert (axis.get_xscale(), axis.get_ylabel()) == ("log", "accuracy on dev")
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["50", "100", "400", "800"]
    labels = axis.get_legend_handles_labels()[1]
    assert sorted(labels) == ["95 % interval", "extrapolation", "fitted power law", "mean ± std", "run"]
    dashed = next(line for line in axis.lines if line.get_label() == "extrapolation")
    assert dashed.get_linestyle() == "--"
    assert dashed.get_xdata()[[0, -1]].tolist() == pytest.approx([400, 800])
    assert axis.lines[0].get_xydata().tolist() == [[50, 0.6], [50, 0.7], [100, 0.7], [100, 0.72], [400, 0.8]]
    assert_nothing_is_cut_off(path)


def test_scores_over_rows_without_a_fit(tmp_path: Path, drawn: list[Figure]) -> None:
    learning_curve_over_rows({50: [0.6]}, "mse on test", tmp_path / "c.png")
    assert [tick.get_text() for tick in drawn[0].axes[0].get_xticklabels()] == ["50"]
    with pytest.raises(DataError, match=r"c.png: no values to plot; finish at least one run first"):
        learning_curve_over_rows({}, "mse on test", tmp_path / "c.png")
