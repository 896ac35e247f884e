"""Sections: validated, written, described; and every mistake one sentence."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, Self

import pytest
import yaml
from pydantic import Field, model_validator

from bertwright.config.duration import Duration, Length
from bertwright.config.sections import InvalidSettingError, Section, build, dump, list_settings, make_schema
from bertwright.config.yaml_tree import apply_overrides, parse_yaml
from bertwright.errors import RecipeError
from bertwright.recipe import Recipe, load_recipe


class Round(Section):
    """A cake with a radius.

    More about it.
    """

    kind: Literal["round"] = "round"
    radius: float = Field(default=1.0, gt=0, description="How wide.")


class Square(Section):
    """A cake with edges."""

    kind: Literal["square"] = "square"
    edges: tuple[float, float] = Field(default=(1.0, 1.0), description="How long.")
    radius: float = Field(default=1.0, gt=0, description="How wide.")


class Layer(Section):
    """One layer."""

    of: Annotated[str, Field(min_length=1)]
    height: int = Field(default=1, ge=1)


class Oven(Section):
    """How it is baked."""

    heat: float = Field(default=180.0, ge=0, lt=300, description="Degrees.")
    fan: bool = True
    time: Length = Duration(2, "epochs")
    name: str | None = None

    @model_validator(mode="after")
    def _fan_is_hotter(self) -> Self:
        if self.fan and self.heat > 250:
            raise InvalidSettingError("fan", "is too much at this heat; turn it off", related="heat")
        return self


class Cake(Section):
    """Everything about a cake."""

    size: int = 3
    shape: Round | Square = Field(default=Round(), discriminator="kind", description="Its form.")
    oven: Oven = Oven()
    top: Literal["cream", "fruit"] | tuple[Layer, ...] = "cream"
    guests: dict[str, float] | None = None
    tags: tuple[str, ...] | None = None


def wrong(text: str, *pairs: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        build(Cake, apply_overrides(parse_yaml(text, "c.yaml"), pairs))
    return str(caught.value).splitlines()


def test_values_of_the_right_type_are_taken() -> None:
    cake = build(
        Cake,
        parse_yaml(
            "shape: {kind: square, edges: [1, 2]}\noven: {heat: 2e2, time: 5 steps}\nguests: {no: 1, 2: 0.5}\n"
            "top:\n  - of: jam\n  - {of: cream, height: 2}\n"
        ),
    )
    assert cake.shape == Square(edges=(1.0, 2.0))
    assert cake.oven == Oven(heat=200.0, time=Duration(5, "steps"))
    assert cake.guests == {"no": 1.0, "2": 0.5}
    assert cake.top == (Layer(of="jam"), Layer(of="cream", height=2))


def test_python_takes_lists_paths_and_sections() -> None:
    cake = Cake(tags=["a"], oven={"name": Path("x/y")}, top=[Layer(of="jam")], shape=Square())  # type: ignore[arg-type]
    assert (cake.tags, cake.oven.name, cake.shape.kind) == (("a",), str(Path("x/y")), "square")
    assert cake.top == (Layer(of="jam"),)


def test_an_empty_section_and_a_missing_kind_are_the_defaults() -> None:
    assert build(Cake, parse_yaml("oven:\nshape:\n")) == Cake()
    assert build(Cake, parse_yaml("shape: {radius: 2}\n")).shape == Round(radius=2)
    assert build(Cake, {}) == Cake()


def test_sections_are_frozen_and_replace_validates() -> None:
    oven = Oven()
    with pytest.raises(ValueError, match="frozen"):
        oven.heat = 1.0  # type: ignore[misc]
    assert oven.replace(heat=90).heat == 90
    assert oven.heat == 180
    with pytest.raises(RecipeError, match=r"^Oven: heat must be a number of at least 0 and below 300; found -1\.$"):
        oven.replace(heat=-1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oven:\n  haet: 1\n", 'c.yaml:2: oven.haet is unknown; did you mean "heat"?'),
        ("heat: 1\n", 'c.yaml:1: heat is unknown; did you mean "oven.heat"?'),
        ("oven: {q: 1}\n", "c.yaml:1: oven.q is unknown; known: fan, heat, name, time."),
        ("size: big\n", 'c.yaml:1: size must be a whole number; found "big".'),
        ("size: 3.0\n", "c.yaml:1: size must be a whole number; found 3.0."),
        ("size: true\n", "c.yaml:1: size must be a whole number; found true."),
        ("size:\n", "c.yaml:1: size must be a whole number; found null."),
        ("oven: {fan: yes}\n", 'c.yaml:1: oven.fan must be true or false; found "yes".'),
        ("oven: {fan: 1}\n", "c.yaml:1: oven.fan must be true or false; found 1."),
        ("oven: {heat: '200'}\n", 'c.yaml:1: oven.heat must be a number of at least 0 and below 300; found "200".'),
        ("oven: {heat: 1e999}\n", "c.yaml:1: oven.heat must be a number of at least 0 and below 300; found Infinity."),
        ("oven: {name: 12}\n", 'c.yaml:1: oven.name must be text or null; found 12; write "12" for text.'),
        ("oven: {time: 3}\n", 'c.yaml:1: oven.time must be "3 epochs" or "200 steps"; found 3.'),
        ("oven: 3\n", "c.yaml:1: oven must be a section of settings; found 3."),
        ("shape: 3\n", "c.yaml:1: shape must be a section of settings; found 3."),
        ("shape:\n  kind: rond\n", 'c.yaml:2: shape.kind must be "round" or "square"; found "rond".'),
        ("shape: {kind: [round]}\n", 'c.yaml:1: shape.kind must be "round" or "square"; found ["round"].'),
        (
            "shape: {kind: round, edges: [1, 1]}\n",
            "c.yaml:1: shape.edges is unknown for the kind round; it is available only for the kind square.",
        ),
        ("shape: {kind: square, edges: [1]}\n", "c.yaml:1: shape.edges.1 is missing; it must be a number."),
        ("shape: {kind: square, edges: [1, x]}\n", 'c.yaml:1: shape.edges.1 must be a number; found "x".'),
        ("shape: {kind: square, edges: 1}\n", "c.yaml:1: shape.edges must be a list of 2 numbers; found 1."),
        ("top: craem\n", 'c.yaml:1: top must be "cream", "fruit" or a list of {of, height}; found "craem".'),
        ("top:\n  - of: jam\n  - height: 1\n", "c.yaml:3: top.1.of is missing; it must be non-empty text."),
        ("top:\n  - of: ''\n", 'c.yaml:2: top.0.of must be non-empty text; found "".'),
        ("top:\n  - {of: jam, hieght: 1}\n", 'c.yaml:2: top.0.hieght is unknown; did you mean "height"?'),
        ("guests: {Ann: one}\n", 'c.yaml:1: guests.Ann must be a number; found "one".'),
        ("guests: 3\n", "c.yaml:1: guests must be a mapping of text to a number or null; found 3."),
        ("tags: a\n", 'c.yaml:1: tags must be a list of texts or null; found "a".'),
        ("tags: [a, 1]\n", 'c.yaml:1: tags.1 must be text; found 1; write "1" for text.'),
        ("oven:\n  heat: 260\n", "c.yaml:2: oven.fan is too much at this heat; turn it off."),
        ("oven:\n  heat: 260\n  fan: true\n", "c.yaml:3: oven.fan is too much at this heat; turn it off."),
        (f"tags: {'x' * 200}\n", f'c.yaml:1: tags must be a list of texts or null; found "{"x" * 78}….'),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(text: str, message: str) -> None:
    assert wrong(text) == [message]


def test_several_mistakes_are_a_line_each() -> None:
    assert wrong("size: x\noven: {haet: 1}\n", "oven.fan=3") == [
        'c.yaml:1: size must be a whole number; found "x".',
        "oven.fan=3: oven.fan must be true or false; found 3.",
        'c.yaml:2: oven.haet is unknown; did you mean "heat"?',
    ]


def test_a_thousand_mistakes_are_not_a_thousand_lines() -> None:
    lines = wrong(f"tags: {list(range(1000))}\n")
    assert len(lines) == 21
    assert lines[-1] == "c.yaml: 980 more problems like these."


def test_a_mistake_on_the_command_line_shows_the_pair() -> None:
    assert wrong("size: 3\n", "oven.haet=1") == ['oven.haet=1: oven.haet is unknown; did you mean "heat"?']
    assert wrong("size: 3\n", "oven.heat=260") == ["oven.heat=260: oven.fan is too much at this heat; turn it off."]
    assert wrong("{}", "size.x=1") == ['size.x=1: size must be a whole number; found {"x": 1}.']


def test_text_on_the_command_line_needs_no_quotes() -> None:
    pairs = ["oven.name=1234567"]
    assert build(Cake, apply_overrides(parse_yaml("{}"), pairs)).oven.name == "1234567"
    assert build(Cake, apply_overrides(parse_yaml("{}"), ["oven.name=a: b"])).oven.name == "a: b"
    assert build(Cake, apply_overrides(parse_yaml("{}"), ["oven.name="])).oven.name is None
    assert wrong("{}", "oven.name=3", "size=x") == ['size=x: size must be a whole number; found "x".']


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Oven(haet=1), 'Oven: haet is unknown; did you mean "heat"?'),  # type: ignore[call-arg]
        (lambda: Cake(oven={"fan": 3}), "Cake: oven.fan must be true or false; found 3."),  # type: ignore[arg-type]
        (lambda: Cake(guests={0: 1.0}), "Cake: the key 0 of guests must be text."),  # type: ignore[dict-item]
        (lambda: Layer(), "Layer: of is missing; it must be non-empty text."),  # type: ignore[call-arg]
        (lambda: build(Cake, {"size": "x"}, "here"), 'here: size must be a whole number; found "x".'),
    ],
)
def test_python_gets_the_same_sentences(make: object, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value) == message


def test_dump_writes_everything_in_order() -> None:
    text = dump(Cake(tags=("a", "no", "2e-5"), top=(Layer(of="jam"),), shape=Square()))
    assert text == (
        "size: 3\nshape:\n  kind: square\n  edges: [1.0, 1.0]\n  radius: 1.0\noven:\n  heat: 180.0\n  fan: true\n"
        "  time: 2 epochs\n  name: null\ntop:\n- of: jam\n  height: 1\nguests: null\ntags: [a, 'no', '2e-5']\n"
    )
    assert yaml.safe_load(text)["tags"] == ["a", "no", "2e-5"]


def test_dump_of_differences_holds_nothing_else_but_kinds() -> None:
    assert dump(Cake(), only_differences=True) == "{}\n"
    cake = Cake(oven=Oven(heat=1), shape=Square(), top=(Layer(of="jam"),))
    assert dump(cake, only_differences=True) == "shape:\n  kind: square\noven:\n  heat: 1.0\ntop:\n- of: jam\n"
    assert build(Cake, parse_yaml(dump(cake, only_differences=True))) == cake


def test_describe_names_every_setting_once() -> None:
    described = {setting.key: setting for setting in list_settings(Cake)}
    assert list(described) == [
        *("size", "shape.kind", "shape.radius", "shape.edges"),
        *("oven.heat", "oven.fan", "oven.time", "oven.name", "top", "guests", "tags"),
    ]
    assert described["shape.kind"] == ("shape.kind", "round or square", "round", "Its form.")
    assert described["shape.edges"].description == "How long. (Kind: square.)"
    assert described["shape.radius"].description == "How wide."
    assert described["oven.heat"][1:] == ("a number of at least 0 and below 300", "180.0", "Degrees.")
    assert described["oven.time"][1:3] == ('"3 epochs" or "200 steps"', "2 epochs")
    assert list_settings(Layer)[0] == ("of", "non-empty text", "", "")


def test_schema_is_for_editors() -> None:
    whole = make_schema(Cake)
    assert whole["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert whole["additionalProperties"] is False
    heat = whole["$defs"]["Oven"]["properties"]["heat"]
    assert (heat["default"], heat["description"], heat["exclusiveMaximum"]) == (180.0, "Degrees.", 300)
    assert whole["$defs"]["Oven"]["properties"]["time"]["default"] == "2 epochs"
    assert whole["$defs"]["Round"]["description"] == "A cake with a radius."
    assert whole["properties"]["oven"]["default"]["time"] == "2 epochs"


NONSENSE = (
    *(
        "null",
        "true",
        "-1",
        "0",
        "1.5",
        "1e400",
        ".nan",
        "9" * 30,
        "text",
        "''",
        "[]",
        "[1]",
        "[a, b]",
        "[null]",
        "[[1]]",
    ),
    *("{}", "{a: 1}", "{rank: 4}", "{kind: x}", "{kind: [1]}", "{kind: {a: 1}}", "{kind: null}", "[{a: 1}]"),
    *("{a: {b: {c: 1}}}", "1:30", "*a", "!!x 1", "{a: 1", '"\\0"', '"\\ud800"', "\udcff"),
)


def test_any_value_for_any_setting_is_taken_or_refused_in_sentences() -> None:
    rng = random.Random(0)
    keys = [setting.key for setting in list_settings(Recipe)]
    keys += [
        *{key.rpartition(".")[0] for key in keys if "." in key},
        "continued_pretraining.task",
        "nonsense",
        "train.x.y",
    ]
    for key in sorted(keys):
        for value in rng.sample(NONSENSE, 8):
            with suppress(RecipeError):  # anything else is a bug
                load_recipe(None, [f"{key}={value}"])


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("model.lora={rnk: 4}", 'model.lora.rnk is unknown; did you mean "rank"?'),
        ("model.head={poling: first}", 'model.head.poling is unknown; did you mean "pooling"?'),
        (
            "continued_pretraining={tokens: {max_lenght: 9}}",
            'continued_pretraining.tokens.max_lenght is unknown; did you mean "max_length"?',
        ),
        (
            "continued_pretraining.task.kind={rank: 4}",
            'continued_pretraining.task.kind must be "pretraining"; found {"rank": 4}.',
        ),
        ("continued_pretraining.task.kind=true", 'continued_pretraining.task.kind must be "pretraining"; found true.'),
        ("data.train={a: 1}", 'data.train must be non-empty text or null; found {"a": 1}.'),
    ],
)
def test_a_mapping_on_the_command_line_names_its_faulty_key(pair: str, said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_recipe(None, [pair])
    assert str(raised.value) == f"{pair}: {said}"


def test_text_that_is_not_utf8_is_refused_by_its_key() -> None:
    for make in (lambda: build(Oven, {"name": "a\udcff"}), lambda: Oven(name="a\udcff")):
        with pytest.raises(RecipeError, match=r"name is not valid UTF-8 \(it contains U\+DCFF\)"):
            make()
