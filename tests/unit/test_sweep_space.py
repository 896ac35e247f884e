"""What a search tries, read from what is typed: choices, ranges, seeds, and values that hold commas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.config.sections import build, dump
from bertwright.config.yaml_tree import parse_yaml
from bertwright.errors import OutputError, RecipeError
from bertwright.recipe import Recipe
from bertwright.sweep.settings import SweepSettings, load_sweep_settings
from bertwright.sweep.space import (
    Choices,
    FloatRange,
    IntegerRange,
    has_several_values,
    override_recipe,
    parse_axis,
    parse_space,
    to_pairs,
)


@pytest.mark.parametrize(
    ("pair", "axis"),
    [
        ("train.batch_size=16,32", Choices("train.batch_size", ("16", "32"))),
        ("train.batch_size=16, 32 ", Choices("train.batch_size", ("16", "32"))),
        ("train.batch_size=16", Choices("train.batch_size", ("16",))),
        ("train.max_grad_norm=null,1.0", Choices("train.max_grad_norm", ("null", "1.0"))),
        ("train.length=1 epoch,200 steps", Choices("train.length", ("1 epoch", "200 steps"))),
        ("task.metrics=[accuracy, f1],[f1]", Choices("task.metrics", ("[accuracy, f1]", "[f1]"))),
        ("""data.text="a, b",'c, d'""", Choices("data.text", ('"a, b"', "'c, d'"))),
        ("description=it's a, it's b", Choices("description", ("it's a", "it's b"))),
        ("seed=0..2,7", Choices("seed", ("0", "1", "2", "7"))),
        ("train.batch_size=8..64", IntegerRange("train.batch_size", 8, 64)),
        ("train.weight_decay=0:0.1", FloatRange("train.weight_decay", 0.0, 0.1)),
        ("train.learning_rate=1e-5:1e-4:log", FloatRange("train.learning_rate", 1e-5, 1e-4, log=True)),
        ("data.train=hub:glue/sst2:train", Choices("data.train", ("hub:glue/sst2:train",))),
        ("train.device=cuda:1", Choices("train.device", ("cuda:1",))),
        ("data.path=../x..y", Choices("data.path", ("../x..y",))),
    ],
)
def test_the_form_of_a_value_says_what_it_is(pair: str, axis: Any) -> None:
    assert parse_axis(pair) == axis
    assert has_several_values(pair) == (not (isinstance(axis, Choices) and len(axis.values) == 1))


def test_what_is_no_setting_does_not_vary() -> None:
    assert not has_several_values("sst2")
    assert not has_several_values("=1,2")
    assert not has_several_values("train.schedule=[{kind: linear, steps: 0.1, start: 0, end: 1e-4}]")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["train.batch_size=16,16"], "train.batch_size=16,16: 16 is given twice; keep one of them"),
        (["train.learning_rate=1e-2,0.01"], "0.01 is given twice"),
        (["train.batch_size=16,,32"], "empty value between commas"),
        (["train.batch_size=16,"], "empty value"),
        (["a=1,2", "a=3"], "a=3: a is given twice; put all its values into one"),
        (["seed=4..0"], r"seed=4..0: the range goes from 4 down to 0; write 0..4"),
        (["a=2:1"], "a=2:1: the range must go from a number up to a greater one"),
        (["a=0:1:log"], "the range must go from a number above 0 up to a greater one"),
        (["seed=a,b"], "seed=a: must be a whole number"),
        (["seed=0:1"], "seed=0.0:1.0: a grid needs values, not a range"),
        (["seed=0..100000"], "seed=0..100000: 100,001 values are too many to try"),
        (["nothing"], "nothing: is not a setting"),
    ],
)
def test_errors(pairs: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_space(pairs)


def test_a_grid_is_every_combination_in_the_order_typed() -> None:
    space = parse_space(["a=1,2", "seed=3..4", "b=x..y,z"])
    assert space.seeds == (3, 4)
    assert space.grid() == [
        (("a", "1"), ("b", "x..y")),
        (("a", "1"), ("b", "z")),
        (("a", "2"), ("b", "x..y")),
        (("a", "2"), ("b", "z")),
    ]
    assert parse_space(["seed=1"]).grid() == [()]


def test_ranges_have_ends_and_not_always_values() -> None:
    space = parse_space(["a=1..3", "b=1e-5:0.1:log"])
    assert space.corners() == [(("a", low), ("b", rate)) for low in ("1", "3") for rate in ("1e-5", "0.1")]
    with pytest.raises(RecipeError, match=r"b=1e-5:0.1: a grid needs values, not a range; .* --search random"):
        space.grid()
    with pytest.raises(RecipeError, match="sweep: 10,000 combinations are too many to try; at most 2,000"):
        parse_space(["a=1..100", "b=1..100"]).grid()
    with pytest.raises(RecipeError, match=r"a=1\.\.99999999999: 99,999,999,999 values are too many"):
        parse_space(["a=1..99999999999"]).grid()
    assert len(parse_space(["a=1..99999999999"]).corners()) == 2


def test_how_many_combinations_can_be_tried() -> None:
    space = parse_space(["a=1,2", "b=0..4", "seed=0..9"])
    assert (space.at_most(None), space.at_most(3), space.at_most(99)) == (10, 3, 10)
    assert parse_space(["a=1,2", "b=0:1"]).at_most(99) == 99


def test_python_values_are_read_as_if_typed() -> None:
    space = {"train.learning_rate": [2e-5, "3e-5"], "seed": range(3), "data.text": ["a, b", "c"], "a": [[1, 2], None]}
    assert to_pairs(space) == [
        "train.learning_rate=2e-5,3e-5",
        "seed=0,1,2",
        'data.text="a, b",c',
        "a=[1, 2],null",
    ]
    assert to_pairs({"a": "1:2", "b": 3, "c": (("x", "y"),)}) == ["a=1:2", "b=3", "c=[x, y]"]
    assert to_pairs(["a=1,2"]) == ["a=1,2"]


@given(
    st.lists(st.one_of(st.integers(-9, 99), st.booleans(), st.text("a1.,:'[\" ", min_size=1, max_size=6)), max_size=4)
)
def test_each_python_value_is_one_choice(values: list[Any]) -> None:
    texts = [value for value in values if not isinstance(value, str) or (value.strip() == value and value)]
    try:
        axis = parse_axis(to_pairs({"key": texts})[0])
    except RecipeError:  # equal values, such as 1 and "1"
        return
    assert isinstance(axis, Choices)
    assert len(axis.values) == max(len(texts), 1)


def test_overlay_says_which_pair_is_wrong() -> None:
    recipe = override_recipe(Recipe(seed=7), ["train.learning_rate=1e-3"])
    assert (recipe.seed, recipe.train.learning_rate) == (7, 1e-3)
    with pytest.raises(RecipeError, match=r'train.lerning_rate=1: .*did you mean "learning_rate"'):
        override_recipe(recipe, ["train.lerning_rate=1"])


def test_settings_are_written_and_read_back(tmp_path: Any) -> None:
    settings = SweepSettings(recipe=Recipe(seed=3), vary=("a=1,2", "seed=0..4"), search="tpe", trials=9, folds=3)
    assert build(SweepSettings, parse_yaml(dump(settings))) == settings
    assert settings.changes_from(settings.replace(trials=12, keep="all", refit=True)) == []
    assert settings.changes_from(settings.replace(folds=None, recipe=Recipe())) == ["seed 42 → 3", "folds None → 3"]
    with pytest.raises(OutputError, match="contains no sweep to resume; start one without --resume"):
        load_sweep_settings(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trials": 3}, "trials cannot be combined with a grid"),
        ({"search": "random"}, "trials is missing; set the number of combinations for random"),
        ({"refit": True, "keep": "none"}, "refit needs the weights of a model, but keep is none"),
        ({"folds": 1}, "folds must be a whole number of at least 2"),
    ],
)
def test_settings_that_do_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SweepSettings(**values)
