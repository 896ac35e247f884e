"""Whatever a recipe says, its YAML says the same."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.config.duration import Duration
from bertwright.config.sections import build
from bertwright.config.yaml_tree import apply_overrides, dump_scalar, dump_yaml, parse_override, parse_yaml
from bertwright.data.settings import DataSettings
from bertwright.nn.settings import ModelSettings
from bertwright.recipe import Recipe
from bertwright.tasks.classification import Classification, MultiLabel
from bertwright.tasks.regression import Regression
from bertwright.tokenization.settings import TokenSettings
from bertwright.training.settings import Segment, TrainSettings

# Text that YAML could take for something else is what a round trip breaks on.
awkward = st.sampled_from(
    [
        "no",
        "null",
        "~",
        "1",
        "1e5",
        "2e-5",
        "0x1",
        "1_0",
        "1:30",
        "2024-01-01",
        "=",
        "<<",
        "- a",
        "a: b",
        "#",
        "'",
        "a\n",
    ]
)
texts = st.text(min_size=1) | awkward
numbers = st.floats(allow_nan=False, allow_infinity=False)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | numbers | texts | st.just(""),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
share = st.floats(0, 1, exclude_max=True)
inner_share = st.floats(0, 1, exclude_min=True, exclude_max=True)
steps = st.integers(1, 10**9).map(lambda n: Duration(n, "steps"))
lengths = positive.map(lambda n: Duration(n, "epochs")) | steps
portions = share | lengths


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


names = st.lists(texts, min_size=2, max_size=3, unique=True).map(tuple)
weights = maybe(st.just("balanced") | st.dictionaries(texts, positive, min_size=1, max_size=2))
tasks = (
    st.builds(Classification, labels=maybe(names), metrics=maybe(names), class_weights=weights, label_smoothing=share)
    | st.builds(MultiLabel, labels=maybe(names), metrics=maybe(names), class_weights=weights, threshold=inner_share)
    | st.builds(Regression, metrics=maybe(names))
)
data = st.builds(
    DataSettings,
    path=maybe(texts), train=maybe(texts), format=maybe(st.sampled_from(["sst2", "aclimdb"])), label=maybe(texts),
    limit=maybe(st.integers(1)), dev_ratio=inner_share, stratify=st.booleans(), split_seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
models = st.builds(
    ModelSettings,
    base=maybe(texts), freeze=st.sampled_from(["nothing", "encoder"]) | st.integers(1, 99), dropout=maybe(share),
)  # fmt: skip
segments = st.builds(
    Segment, kind=st.sampled_from(["linear", "cosine"]), steps=portions, start=share, end=share
) | st.builds(Segment, kind=st.just("constant"), steps=portions, start=share)


@st.composite
def trainings(draw: st.DrawFn) -> TrainSettings:
    listed = draw(maybe(st.lists(segments, min_size=1, max_size=2)))
    highest = max((max(one.start, one.end or 0.0) for one in listed or ()), default=0.0)
    if highest > 0:
        schedule: dict[str, Any] = {"schedule": tuple(listed), "learning_rate": highest, "warmup": 0}
    else:
        schedule = {"learning_rate": draw(positive), "warmup": draw(portions), "schedule": "cosine"}
    return TrainSettings(
        length=draw(lengths), max_grad_norm=draw(maybe(positive)),
        eps=draw(positive), patience=draw(maybe(st.integers(1))),
        **schedule,
    )  # fmt: skip


recipes = st.builds(
    Recipe,
    description=st.text() | awkward, task=tasks, data=data, model=models, train=trainings(),
    tokens=st.builds(TokenSettings, max_length=st.integers(3, 512)), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip


@given(recipes, st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_recipe_written_and_read_is_the_same(recipe: Recipe, only_differences: bool) -> None:
    again = build(Recipe, parse_yaml(recipe.to_yaml(only_differences)))
    assert again == recipe
    assert again.fingerprint() == recipe.fingerprint()
    assert again.to_yaml(only_differences) == recipe.to_yaml(only_differences)


@given(st.dictionaries(texts, trees, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_tree_written_and_read_is_the_same(values: dict[str, Any]) -> None:
    again = parse_yaml(dump_yaml(values)).values
    assert again == values
    assert json.dumps(again) == json.dumps(values), "1 is not 1.0 is not true"


@given(trees)
@settings(max_examples=150, deadline=None)
def test_a_value_written_behind_an_equals_sign_is_the_same(value: Any) -> None:
    assert json.dumps(parse_override(f"a.b={dump_scalar(value)}")[1]) == json.dumps(value)


@given(texts)
@settings(max_examples=100, deadline=None)
def test_any_text_may_be_typed_for_a_text_setting(text: str) -> None:
    recipe = build(Recipe, apply_overrides(parse_yaml("{}"), [f"description={dump_scalar(text)}"]))
    assert recipe.description == text
