"""Recipes: found by name, overridden, checked as a whole, told apart."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from bertwright.config.duration import Duration
from bertwright.config.sections import Section, list_settings
from bertwright.data.settings import DataSettings
from bertwright.errors import OutputError, RecipeError
from bertwright.nn.settings import ModelSettings
from bertwright.recipe import Recipe, copy_recipe, list_shipped_recipes, load_recipe, recipe_path, recipe_text
from bertwright.tokenization.settings import TokenSettings
from bertwright.training.settings import Segment, TrainSettings


def refused(*pairs: str, name: str | Path | None = None) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name, pairs)
    return str(caught.value)


def test_a_shipped_recipe_takes_overrides() -> None:
    recipe = load_recipe("sst2", ["data.path=/x/SST-2", "model.base=/y", "train.length=200 steps", "seed=0"])
    assert (recipe.data.path, recipe.data.format, recipe.model.base) == ("/x/SST-2", "sst2", "/y")
    assert (recipe.train.length, recipe.seed) == (Duration(200, "steps"), 0)
    assert recipe.task.kind == "classification"


def test_a_file_and_no_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("data:\n  train: a.csv\n  lable: x\n", encoding="utf-8")
    assert refused(name=file) == f'{file}:3: data.lable is unknown; did you mean "label"?'
    assert load_recipe(None) == Recipe()
    assert load_recipe(None, ["data.text=review", "data.label=1"]).data.label == "1"


def test_a_word_is_a_shipped_recipe_before_it_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sst2").write_text("seed: 7\n", encoding="utf-8")
    assert load_recipe("sst2").seed == 42
    assert load_recipe("./sst2").seed == load_recipe(Path("sst2")).seed == 7


def test_names_that_are_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reviews.yaml").write_text("seed: 7\n", encoding="utf-8")
    assert refused(name="sst3") == 'sst3: no such recipe or file; did you mean "sst2"?'
    assert refused(name="review.yaml").endswith('did you mean "reviews.yaml"?')
    assert refused(name=tmp_path).endswith("is a directory; expected a YAML file.")
    with pytest.raises(RecipeError, match=r'^sst3: is not a shipped recipe; did you mean "sst2"\?$'):
        recipe_path("sst3")


def test_mistakes_in_a_shipped_recipe_name_it_without_its_folder() -> None:
    assert refused("task.kind=multilabel", "task.kind=regression", "task.labels=[a]", name="sst2").startswith(
        "task.labels=[a]: task.labels is unknown for the kind regression; it is available only"
    )
    message = refused("train.schedule=[{kind: constant, steps: 1, start: 1}]", "train.learning_rate=1", name="sst2")
    assert "sst2.yaml" not in message
    assert message.endswith("train.warmup cannot be combined with a listed schedule, whose first segment is the "
    "warm-up; "
                            "set train.warmup to 0.")  # fmt: skip


def test_copying(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    assert copy_recipe("cola", file) == file
    assert file.read_text(encoding="utf-8") == recipe_text("cola") == recipe_path("cola").read_text(encoding="utf-8")
    assert load_recipe(file) == load_recipe("cola")
    with pytest.raises(OutputError, match=r"mine\.yaml: already exists; choose another name or remove it\.$"):
        copy_recipe("sst2", file)
    with pytest.raises(RecipeError, match=r"is not a shipped recipe"):
        copy_recipe("cula", tmp_path / "other.yaml")
    assert not (tmp_path / "other.yaml").exists()


def test_a_fingerprint_tells_recipes_apart_but_not_ways_of_writing() -> None:
    plain = load_recipe("sst2")
    assert load_recipe("sst2", ["train.length=3.0 epochs", "train.learning_rate=0.00002"]).fingerprint() == (
        plain.fingerprint()
    )
    assert load_recipe("sst2", ["seed=1"]).fingerprint() != plain.fingerprint()
    assert len(plain.fingerprint()) == 64


def test_yaml_says_everything_or_only_the_differences() -> None:
    recipe = load_recipe("imdb")
    assert "learning_rate: 2e-5" in recipe.to_yaml()
    assert recipe.to_yaml(only_differences=True) == (
        "description: BERT-base on IMDb\ntask:\n  kind: classification\n  labels: [negative, positive]\nmodel:\n"
        "  base: bert-base-uncased\n  output_bias: zero\ntokens:\n  max_length: 512\n  truncation: head_tail\ntrain:\n"
        "  length: 4 epochs\n  learning_rate: 2e-5\n  batch_size: 32\n"
    )


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("data.label=[b, c]", "data.label lists several columns, but classification reads one; "
         "set task.kind to multilabel"),
        ("tokens.max_length=9000", "train.max_tokens is 8192, less than tokens.max_length 9000; "
         "increase it or reduce tokens.max_length"),
        ("data.label=a", 'data.label uses column "a", which another setting uses; name another column'),
        ("data.encoding=utf-88", 'data.encoding must be an encoding such as utf-8 or latin-1; found "utf-88"'),
        ("train.device=cuda:x", 'train.device must be "auto", "cpu", "mps", "cuda" or one device such as "cuda:1"; '
         'found "cuda:x"'),
        ("train.learning_rate=0", 'train.learning_rate must be a number above 0 or "auto"; found 0'),
        ("train.batch_size=0", 'train.batch_size must be a whole number of at least 1 or "auto"; found 0'),
        ("data.dev_ratio=1", "data.dev_ratio must be a number above 0 and below 1; found 1"),
        ("tokens.max_length=2", "tokens.max_length must be a whole number of at least 3; found 2"),
        ("task.label_smoothing=1", "task.label_smoothing must be a number of at least 0 and below 1; found 1"),
        ("model.freeze=0", 'model.freeze must be "nothing", "embeddings", "encoder" or a whole number of at least 1; '
         "found 0"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(pair: str, message: str) -> None:
    assert refused("data.text=a", pair) == f"{pair}: {message}."


def test_a_second_text_needs_a_first() -> None:
    message = 'data.text_pair=b: data.text_pair is "b", but no first text is named; set data.text too.'
    assert refused("data.text_pair=b") == message
    assert load_recipe(None, ["data.text_pair=b", "data.text=a"]).data.text_pair == "b"


def test_listed_schedules() -> None:
    warm = "{kind: linear, steps: 2000, start: 0, end: 1e-5}"
    flat = "{kind: constant, steps: 0.9, start: 1e-5}"
    rest = ["train.learning_rate=1e-5", "train.warmup=0"]
    recipe = load_recipe(None, [f"train.schedule=[{warm}, {flat}]", *rest])
    assert recipe.train.schedule == (
        Segment(kind="linear", steps=Duration(2000, "steps"), start=0, end=1e-5),
        Segment(kind="constant", steps=0.9, start=1e-5),
    )
    assert refused(f"train.schedule=[{warm}]", "train.learning_rate=2e-5").endswith(
        "train.learning_rate is 2e-5, but the listed schedule reaches 1e-5; make them equal."
    )
    assert refused("train.schedule=[{kind: linear, steps: 1, start: 0}]", *rest).endswith(
        "train.schedule.0.end is missing; set the learning rate at the end of the linear segment."
    )
    assert refused("train.schedule=[{kind: constant, steps: 1, start: 1e-5, end: 0}]", *rest).endswith(
        "train.schedule.0.end has no effect in a constant segment; remove it."
    )
    assert "must be \"linear\", \"cosine\", \"constant\" or a list of {kind, steps, start, end}; found []" in refused(
        "train.schedule=[]"
    )  # fmt: skip


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:1"])
def test_devices(device: str) -> None:
    assert TrainSettings(device=device).device == device


@pytest.mark.parametrize("section", [Recipe, DataSettings, ModelSettings, TokenSettings, TrainSettings])
def test_every_setting_is_described(section: type[Section]) -> None:
    settings = list_settings(section)
    assert len({setting.key for setting in settings}) == len(settings)
    for setting in settings:
        assert setting.description.endswith((".", ".)")), f"{setting.key} has no sentence"


def test_importing_recipes_is_light() -> None:
    code = "import sys, bertwright.recipe; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ast.literal_eval(done.stdout)}
    assert "bertwright" in loaded
    assert not loaded & {"torch", "transformers", "datasets", "pandas", "sklearn", "pyarrow", "matplotlib"}


def test_former_names_of_shipped_recipes(caplog: pytest.LogCaptureFixture) -> None:
    assert load_recipe("further_then_finetune") == load_recipe("continued_pretraining")
    assert recipe_text("further_then_finetune") == recipe_text("continued_pretraining")
    assert caplog.messages == ["further_then_finetune: this recipe is now called continued_pretraining."] * 2


def test_shipped_names() -> None:
    assert list_shipped_recipes() == [
        *(
            "cola",
            "conll2003",
            "continued_pretraining",
            "distilbert_frozen_head",
            "imdb",
            "mnli",
            "mnli_large",
            "mrpc",
            "pretrain",
            "pretrain_bert",
            "qnli",
            "qqp",
            "rte",
            "squad",
            "squad2",
            "sst2",
            "sst2_large",
            "stsb",
            "toxic",
            "wnli",
        ),
    ]
