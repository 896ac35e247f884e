"""Recipes written with the former names of settings: accepted everywhere, and reported with the current names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertwright.config.former_names import current_keys
from bertwright.errors import RecipeError
from bertwright.nn.settings import LoraSettings, ModelSettings
from bertwright.recipe import Recipe, load_recipe
from bertwright.sweep.space import parse_space
from bertwright.training.settings import TrainSettings

RENAMED = {
    "train.clip=0.5": "train.max_grad_norm",
    "train.keep=2": "train.keep_checkpoints",
    "train.best_by=f1": "train.metric_for_best_model",
    "train.unfreeze=1 epoch": "train.gradual_unfreezing",
    "train.reuse_features=false": "train.cache_features",
    "task.focal=2.0": "task.focal_gamma",
    "task.windows=max": "task.window_pooling",
    "data.layout=sst2": "data.format",
    "data.normalise.lower=true": "data.normalize.lowercase",
    "model.reinit=1": "model.reinit_layers",
    "model.lora.targets=[query]": "model.lora.target_modules",
    "further.train.clip=0.5": "continued_pretraining.train.max_grad_norm",
    "further.task.next=nsp": "continued_pretraining.task.sentence_objective",
    "further.task.mask_ratio=0.2": "continued_pretraining.task.mlm_probability",
}


@pytest.mark.parametrize(("pair", "current"), RENAMED.items())
def test_a_former_name_is_accepted_and_the_current_one_reported(
    pair: str, current: str, caplog: pytest.LogCaptureFixture
) -> None:
    former, _, value = pair.partition("=")
    recipe = load_recipe(None, [pair])
    assert caplog.messages == [f"{pair}: {former} is now called {current}."]
    assert recipe == load_recipe(None, [f"{current}={value}"])
    assert recipe != Recipe()


def test_in_a_file_the_line_is_reported_and_the_command_line_overrides_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("train:\n  clip: 2.0\nfurther:\n  train: {clip: 3.0}\n", encoding="utf-8")
    recipe = load_recipe(file, ["train.max_grad_norm=0.5"])
    assert recipe.train.max_grad_norm == 0.5
    assert recipe.continued_pretraining is not None
    assert recipe.continued_pretraining.train.max_grad_norm == 3.0
    assert caplog.messages == [
        f"{file}:2: train.clip is now called train.max_grad_norm.",
        f"{file}:3: further is now called continued_pretraining.",
        f"{file}:4: further.train.clip is now called continued_pretraining.train.max_grad_norm.",
    ]
    caplog.clear()
    load_recipe(file, report_former_names=False)
    assert caplog.messages == []


def test_both_names_at_once_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "both.yaml"
    file.write_text("train:\n  clip: 2.0\n  max_grad_norm: 1.0\n", encoding="utf-8")
    message = r"both\.yaml:2: train\.clip is the former name of train\.max_grad_norm, which is set too; remove one\."
    with pytest.raises(RecipeError, match=message):
        load_recipe(file)
    with pytest.raises(RecipeError, match="clip"):
        TrainSettings(clip=2.0, max_grad_norm=1.0)  # type: ignore[call-arg]


def test_from_python(caplog: pytest.LogCaptureFixture) -> None:
    settings = ModelSettings.model_validate({"reinit": 2, "lora": None})
    assert settings.reinit_layers == 2
    assert settings.replace(reinit=1).reinit_layers == 1
    assert LoraSettings(targets=["key"]).target_modules == ("key",)  # type: ignore[call-arg]
    assert caplog.messages == [
        "ModelSettings: reinit is now called reinit_layers.",
        "ModelSettings: reinit is now called reinit_layers.",
        "LoraSettings: targets is now called target_modules.",
    ]


def test_an_error_in_a_renamed_setting_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("train:\n  clip: -1\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"old\.yaml:2: train\.max_grad_norm must be a number above 0 or null"):
        load_recipe(file)


def test_a_search_over_a_former_name(caplog: pytest.LogCaptureFixture) -> None:
    space = parse_space(["train.clip=0.5,1.0"])
    assert {key for settings in space.grid() for key, _ in settings} == {"train.max_grad_norm"}
    assert caplog.messages == ["train.clip=0.5,1.0: train.clip is now called train.max_grad_norm."]


def test_keys_that_are_no_settings_stay() -> None:
    assert current_keys(Recipe, ("clip",)) == ("clip",)
    assert current_keys(Recipe, ("train", "clipp")) == ("train", "clipp")
    assert current_keys(Recipe, ("model", "clip")) == ("model", "clip")
