"""train.refit: after the evaluation, the model is trained again on training and validation rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bertwright.config.duration import Duration
from bertwright.errors import OutputError, RecipeError
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.html_explanations import ExplainedRows
from bertwright.run.plan import choose_auto_length
from bertwright.run.refit import AT_THE_END
from bertwright.run.train import train
from bertwright.tokenization.sampling import build_shuffle_order
from loop.conftest import Listener

Make = Callable[..., Recipe]


def report_of(bundle: Bundle) -> Any:
    assert bundle.report is not None
    return bundle.report


def weights(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def test_the_saved_weights_have_seen_all_rows_and_the_report_describes_the_model_before(
    recipe: Make, tmp_path: Path
) -> None:
    heard = Listener()
    bundle = train(recipe("train.refit=true"), tmp_path / "run", listeners=[heard])
    plain = train(recipe(), tmp_path / "plain")
    train(recipe("data.train_on_dev=true", f"train.evaluate_every={AT_THE_END}"), tmp_path / "all")
    assert weights(tmp_path / "run") == weights(tmp_path / "all") != weights(tmp_path / "plain")
    assert report_of(bundle).metrics == report_of(plain).metrics
    assert report_of(bundle).history == report_of(plain).history
    assert "on all 120 training and validation rows" in report_of(bundle).notes[0]
    assert "trained on 96 rows" in report_of(bundle).notes[0]
    assert len(heard.of("EvaluationFinished")) == 2, "the second training has no evaluations to report"
    progress = [event for event in heard.of("Working") if "training on all rows" in event.what]
    assert progress[-1].done == progress[-1].total == 2 * 8


def test_the_test_rows_are_evaluated_with_the_saved_weights(recipe: Make, reviews: Path, tmp_path: Path) -> None:
    bundle = train(recipe("train.refit=true", f"data.test={reviews}"), tmp_path / "run")
    assert report_of(bundle).metrics["test"] == pytest.approx(bundle.evaluate(reviews).metrics)
    assert report_of(bundle).data["test"]["rows"] == 120


def test_the_html_report_explains_the_model_that_was_evaluated(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained: list[Bundle] = []

    def record(explain: Any, rows: Any, on_progress: Any) -> ExplainedRows:
        explained.append(explain.__self__)
        return ExplainedRows()

    monkeypatch.setattr("bertwright.run.writing.explain_rows", record)
    saved = train(recipe("train.refit=true"), tmp_path / "run")
    plain = train(recipe(), tmp_path / "plain")
    texts = ["a good film", "a dull plot"]
    before, after = ([each.probabilities for each in bundle.predict(texts)] for bundle in (explained[0], saved))
    assert before == [each.probabilities for each in plain.predict(texts)]
    assert before != after


@pytest.mark.parametrize("stop_at", [3, 12, 13, 22])
def test_an_interrupted_run_resumes_exactly(recipe: Make, tmp_path: Path, stop_at: int) -> None:
    chosen = recipe("train.refit=true", "train.save_every=2 steps")
    train(chosen, tmp_path / "straight")
    steps = iter(range(1, 100))

    def stop(event: object) -> None:
        is_step = type(event).__name__ == "Step" or "all rows" in getattr(event, "what", "")
        if is_step and next(steps) == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(chosen, tmp_path / "stopped", listeners=[stop])
    heard = Listener()
    train(chosen, tmp_path / "stopped", resume=True, listeners=[heard])
    assert weights(tmp_path / "straight") == weights(tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "checkpoint").exists()
    reports = [Bundle.load(tmp_path / name).report for name in ("straight", "stopped")]
    assert report_of_metrics(reports[0]) == report_of_metrics(reports[1])
    if stop_at == 22:
        resumed = [event for event in heard.of("Working") if "all rows" in event.what]
        assert len(resumed) < 16, "the second training continues where it was stopped"


def report_of_metrics(report: Any) -> tuple[Any, ...]:
    return report.metrics, report.history, report.notes


def test_a_head_from_python_starts_untrained(recipe: Make, tmp_path: Path) -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.output = nn.Linear(24, 2)
            with torch.no_grad():
                self.output.weight.copy_(torch.randn(2, 24, generator=generator))
                self.output.bias.zero_()

        def forward(self, hidden: torch.Tensor, layout: Any) -> torch.Tensor:
            scores: torch.Tensor = self.output(hidden[layout.starts])
            return scores

    everything = recipe("data.train_on_dev=true", f"train.evaluate_every={AT_THE_END}")
    train(recipe("train.refit=true"), tmp_path / "run", head=Mean())
    train(everything, tmp_path / "all", head=Mean())
    assert weights(tmp_path / "run") == weights(tmp_path / "all")


@pytest.mark.parametrize(
    ("pairs", "rows", "held_out", "refits"),
    [
        ((), 400, True, True),
        ((), 400, False, False),
        ((), 2000, True, True),
        ((), 2001, True, False),
        (("train.batch_size=2",), 2000, True, False),
        (("train.length=3 epochs",), 400, True, False),
        (("train.length=3 epochs", "train.refit=true"), 400, True, True),
        (("train.refit=true",), 400, False, True),
        (("train.refit=false",), 400, True, False),
        (("data.train_rows=100",), 100, True, False),
        (("task.temperature=tuned",), 400, True, False),
        (("task.kind=multilabel", "task.threshold=tuned"), 400, True, False),
        (("task.kind=qa", "task.null_answers=true"), 400, True, False),
        (("task.kind=qa", "task.null_answers=false"), 400, True, True),
        (("data.train_on_dev=true",), 400, True, False),
    ],
)
def test_auto_trains_again_on_few_rows_whose_validation_rows_were_held_out(
    pairs: tuple[str, ...], rows: int, held_out: bool, refits: bool
) -> None:
    recipe = load_recipe(None, ["data.train=rows.csv", "train.batch_size=16", *pairs])
    resolved, text = choose_auto_length(recipe, build_shuffle_order(rows, 0), held_out)
    assert resolved.train.refit is refits
    assert ("train.refit" in text) is (refits and recipe.train.refit == "auto")


def test_the_choice_is_made_by_the_run(recipe: Make, reviews: Path, tmp_path: Path) -> None:
    few = recipe("train.length=auto", "train.patience=1", "train.batch_size=60", "data.limit=20")
    train(few, tmp_path / "run")
    assert load_recipe(tmp_path / "run" / "recipe.yaml").train.refit is True
    train(few.replace(data=few.data.replace(dev=str(reviews))), tmp_path / "named")
    assert load_recipe(tmp_path / "named" / "recipe.yaml").train.refit is False


@pytest.mark.parametrize("pair", ["data.fold=1/3", "data.train_on_dev=true", "data.train_rows=8"])
def test_a_refit_is_refused_where_other_settings_choose_the_rows(recipe: Make, pair: str) -> None:
    key = pair.partition("=")[0]
    with pytest.raises(RecipeError, match=rf"train\.refit also trains on the validation rows.*{key}"):
        recipe("train.refit=true", pair)


def test_a_run_with_a_refit_cannot_be_extended(recipe: Make, tmp_path: Path) -> None:
    chosen = recipe("train.refit=true", "train.schedule=constant", "train.warmup=0")
    train(chosen, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()
    with pytest.raises(OutputError, match="already finished"):
        train(chosen, tmp_path / "run", resume=True)
    longer = chosen.replace(train=chosen.train.replace(length=Duration(4, "epochs")))
    with pytest.raises(RecipeError, match=r"train\.refit has trained the saved weights on all rows"):
        train(longer, tmp_path / "run", resume=True)
