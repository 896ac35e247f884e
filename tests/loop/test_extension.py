"""Extending runs, resuming them from other directories, and refusing what has changed since they began."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bertwright.errors import OutputError, RecipeError, TrainingError
from bertwright.recipe import Recipe
from bertwright.run.bundle import Bundle
from bertwright.run.directory import resolve_paths, saved_recipe
from bertwright.run.event_log import read_events
from bertwright.run.train import train
from loop.conftest import Listener

Make = Callable[..., Recipe]

CONSTANT = ("train.schedule=constant", "train.warmup=0.25")
LISTED = (
    "train.schedule=[{kind: linear, steps: 4, start: 0, end: 1e-2}, {kind: constant, steps: 6, start: 5e-3}]",
    "train.warmup=0",
)


def digest(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def losses(run: Path) -> list[float]:
    return [event["loss"] for event in read_events(run) if event["event"] == "step"]


def longer(run: Path, length: str = "3 epochs", **settings: object) -> Recipe:
    former = saved_recipe(run)
    return former.replace(train=former.train.replace(length=length, **settings))


@pytest.mark.parametrize("pairs", [CONSTANT, LISTED, (*CONSTANT, "model.lora={rank: 2}")])
def test_an_extended_run_equals_one_that_was_planned_longer(recipe: Make, tmp_path: Path, pairs: tuple[str]) -> None:
    train(recipe("train.length=1 epoch", *pairs), tmp_path / "run")
    before = Bundle.load(tmp_path / "run").predict(["good film"])[0].probabilities
    heard = Listener()
    train(longer(tmp_path / "run"), tmp_path / "run", resume=True, listeners=[heard])
    assert [step.step for step in heard.of("Step")] == list(range(7, 19))
    steps = ("train.warmup=2 steps",) if pairs[0] == CONSTANT[0] else ()  # 0.25 of 6 steps
    train(recipe("train.length=3 epochs", *pairs, *steps), tmp_path / "whole")
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert next(read_events(tmp_path / "run"))["steps"] == 18
    assert (tmp_path / "run" / "recipe.yaml").read_text() == (tmp_path / "whole" / "recipe.yaml").read_text()
    bundle = Bundle.load(tmp_path / "run")
    assert bundle.report is not None
    assert len(bundle.report.history) == 3
    assert bundle.predict(["good film"])[0].probabilities != before
    with pytest.raises(OutputError, match="has already finished"):
        train(saved_recipe(tmp_path / "run"), tmp_path / "run", resume=True)
    train(longer(tmp_path / "run", "4 epochs"), tmp_path / "run", resume=True)
    assert len(losses(tmp_path / "run")) == 24


def test_an_extension_that_was_stopped_goes_on_and_the_former_bundle_stays(recipe: Make, tmp_path: Path) -> None:
    train(recipe("train.length=1 epoch", *CONSTANT), tmp_path / "run")
    stop = Listener(9, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(longer(tmp_path / "run"), tmp_path / "run", resume=True, listeners=[stop])
    bundle = Bundle.load(tmp_path / "run")
    assert bundle.recipe is not None
    assert str(bundle.recipe.train.length) == "1 epoch"
    assert str(saved_recipe(tmp_path / "run").train.length) == "3 epochs"
    train(saved_recipe(tmp_path / "run"), tmp_path / "run", resume=True)
    train(recipe("train.length=3 epochs", *CONSTANT, "train.warmup=2 steps"), tmp_path / "whole")
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")


def test_a_stopped_run_can_change_its_length(recipe: Make, tmp_path: Path) -> None:
    stop = Listener(4, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(recipe("train.length=3 epochs", *CONSTANT), tmp_path / "run", listeners=[stop])
    with pytest.raises(
        RecipeError, match=r"'3 epochs' → '3 steps'\): the run already has 4 steps, and the new length is 3"
    ):
        train(longer(tmp_path / "run", "3 steps"), tmp_path / "run", resume=True)
    train(longer(tmp_path / "run", "2 epochs"), tmp_path / "run", resume=True)
    assert len(losses(tmp_path / "run")) == 12


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ((), r"'1 epoch' → '3 epochs'\): train.schedule is linear, so all past learning rates depend"),
        (("train.schedule=cosine",), r"train.schedule is cosine"),
        ((*CONSTANT, "train.keep_state=false"), r"its training state was not kept; train with train.keep_state=true"),
    ],
)
def test_why_a_finished_run_cannot_be_extended(recipe: Make, tmp_path: Path, pairs: tuple[str], message: str) -> None:
    train(recipe("train.length=1 epoch", *pairs), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()
    former = digest(tmp_path / "run")
    with pytest.raises(RecipeError, match=message):
        train(longer(tmp_path / "run"), tmp_path / "run", resume=True)
    assert digest(tmp_path / "run") == former
    assert Bundle.load(tmp_path / "run")


def test_other_reasons_against_an_extension(recipe: Make, tmp_path: Path) -> None:
    pairs = (*CONSTANT, "train.patience=1", "train.learning_rate=1e-9", "train.length=5 epochs")
    train(recipe(*pairs), tmp_path / "run")
    with pytest.raises(RecipeError, match=r"stopped early at step .*train.patience=1"):
        train(longer(tmp_path / "run", "9 epochs"), tmp_path / "run", resume=True)
    with pytest.raises(RecipeError, match=r"has finished its 5 epochs; .* in epochs or steps \(found 2 hours\)"):
        train(longer(tmp_path / "run", "2 hours"), tmp_path / "run", resume=True)
    with pytest.raises(
        RecipeError, match=r"other settings \(train\.length '5 epochs' → '9 epochs'; train\.batch_size 16 → 8\)"
    ):
        train(longer(tmp_path / "run", "9 epochs", batch_size=8), tmp_path / "run", resume=True)


def test_every_split_is_compared(recipe: Make, reviews: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.csv" for name in ("dev", "test")}
    for name, file in files.items():
        file.write_text(f"review,sentiment\na good {name} film,pos\na bad plot,neg\n")
    pairs = [f"data.{name}={file}" for name, file in files.items()]
    stop = Listener(8, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(recipe(*pairs), tmp_path / "run", listeners=[stop])
    for name, file in files.items():
        former = file.read_text()
        file.write_text(former.replace("good", "great"))
        with pytest.raises(TrainingError, match=rf"{name}\.csv: the rows of the split {name} have changed since"):
            train(saved_recipe(tmp_path / "run"), tmp_path / "run", resume=True)
        file.write_text(former)
    train(saved_recipe(tmp_path / "run"), tmp_path / "run", resume=True)


def test_relative_paths_start_where_the_run_was_started(
    recipe: Make, reviews: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").symlink_to(tiny_bert)
    relative = recipe("data.train=reviews.csv", "model.base=base", *CONSTANT)
    train(relative, "whole")
    stop = Listener(7, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(relative, "run", listeners=[stop])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    train(saved_recipe("../run"), "../run", resume=True)
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")
    assert (tmp_path / "run" / "recipe.yaml").read_text() == (tmp_path / "whole" / "recipe.yaml").read_text()
    train(longer(Path("../whole")), "../whole", resume=True)
    assert len(losses(tmp_path / "whole")) == 18


def test_only_paths_that_lead_somewhere_are_made_absolute(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n")
    chosen = Recipe(
        data={"train": "rows.csv", "dev": "hub:glue/sst2", "augment": {"synonym_file": "rows.csv", "synonyms": 0.1}},
        model={"base": "bert-base-uncased"},
    )
    resolved = resolve_paths(chosen, tmp_path)
    assert resolved.data.train == resolved.data.augment.synonym_file == str(tmp_path / "rows.csv")
    assert (resolved.data.dev, resolved.model.base) == ("hub:glue/sst2", "bert-base-uncased")
    assert resolve_paths(chosen, None) is chosen


def test_a_run_with_averaged_weights_cannot_be_extended(recipe: Make, tmp_path: Path) -> None:
    pairs = ("train.length=1 epoch", "train.average=0.5", *CONSTANT)
    train(recipe(*pairs), tmp_path / "finished")
    with pytest.raises(RecipeError, match=r"train\.average is a share of the run"):
        train(longer(tmp_path / "finished"), tmp_path / "finished", resume=True)
    stop = Listener(3, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(recipe(*pairs), tmp_path / "stopped", listeners=[stop])
    with pytest.raises(RecipeError, match=r"train\.average is a share of the run"):
        train(longer(tmp_path / "stopped"), tmp_path / "stopped", resume=True)
    train(recipe(*pairs), tmp_path / "stopped", resume=True)
    assert digest(tmp_path / "stopped") == digest(tmp_path / "finished")
