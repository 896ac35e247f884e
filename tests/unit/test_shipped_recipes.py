"""The recipes that come with the package are valid, minimal, sourced and true to the benchmark."""

from __future__ import annotations

import re

import pytest

from bertwright.config.yaml_tree import parse_yaml
from bertwright.data.glue import TASKS
from bertwright.metrics import METRICS
from bertwright.recipe import Recipe, list_shipped_recipes, load_recipe, recipe_text


@pytest.mark.parametrize("name", list_shipped_recipes())
def test_it_says_only_what_differs(name: str) -> None:
    recipe = load_recipe(name)
    written = parse_yaml(recipe_text(name)).values
    assert parse_yaml(recipe.to_yaml(only_differences=True)).values == written


@pytest.mark.parametrize("name", list_shipped_recipes())
def test_it_states_the_expected_score_its_source_and_the_command(name: str) -> None:
    comment = "\n".join(line for line in recipe_text(name).splitlines() if line.startswith("#"))
    expected = re.search(r"# Expected: .*?\b\d\d\.\d\b.*?\((?P<source>[^)]*)", comment, re.DOTALL)
    assert expected is not None
    assert re.search(r"Devlin et al\. 2018|Sun et al\. 2019|Reimers and\s+\W*Gurevych 2019|README", expected["source"])
    command = re.search(rf"^#   bertwright train {name} (?P<settings>.*) --out runs/{name}$", comment, re.MULTILINE)
    assert command is not None
    load_recipe(name, command["settings"].split())


@pytest.mark.parametrize("name", [name for name in list_shipped_recipes() if not name.startswith("pretrain")])
def test_it_names_the_encoder_and_fits_its_own_length(name: str) -> None:
    recipe = load_recipe(name)
    size, case = "large" if name.endswith("_large") else "base", "cased" if name == "conll2003" else "uncased"
    family = "distilbert" if name.startswith("distilbert") else "bert"
    assert recipe.model.base == f"{family}-{size}-{case}"
    assert recipe.tokens.max_length <= 512


@pytest.mark.parametrize("name", [name for name in list_shipped_recipes() if name.removesuffix("_large") in TASKS])
def test_glue_recipes_have_the_benchmark_s_labels_and_metrics(name: str) -> None:
    recipe = load_recipe(name)
    task = TASKS[name.removesuffix("_large")]
    assert recipe.data.format == name.removesuffix("_large")
    assert recipe.task.kind == task.kind
    assert tuple(getattr(recipe.task, "labels", None) or ()) == task.label_names
    if recipe.task.metrics is not None:
        assert recipe.task.metrics == task.metrics
    else:
        assert task.metrics == ("accuracy",)


def test_every_glue_task_that_trains_has_a_recipe() -> None:
    assert set(TASKS) - {"ax"} <= set(list_shipped_recipes())


@pytest.mark.parametrize("name", list_shipped_recipes())
def test_metrics_exist(name: str) -> None:
    recipe: Recipe = load_recipe(name)
    for metric in recipe.task.metrics or ():
        assert recipe.task.kind in METRICS[metric].kinds
