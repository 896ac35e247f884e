"""Search spaces: choices, ranges and seeds, parsed from ``key=value`` pairs.

The form of a value determines its meaning: ``16,32`` are choices, ``0..4`` integers including both ends,
``1e-5:1e-4`` and ``1e-5:1e-4:log`` numbers in a range. Commas inside quotes and brackets belong to one value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from bertwright.config.sections import build
from bertwright.config.yaml_tree import apply_overrides, dump_scalar, format_number, parse_override, parse_yaml
from bertwright.errors import RecipeError
from bertwright.recipe import Recipe, rename_former_key

Settings = tuple[tuple[str, str], ...]
"""Keys and values as they are typed: ``(("train.batch_size", "16"), …)``."""

MAX_COMBINATIONS = 2_000
"""Maximum number of combinations; a larger number is probably a typo."""

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_WHOLE = re.compile(r"([-+]?[0-9]{1,18})\.\.([-+]?[0-9]{1,18})")
_BETWEEN = re.compile(rf"({_NUMBER}):({_NUMBER})(:log)?")


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    key: str
    values: tuple[str, ...]

    @property
    def corners(self) -> tuple[str, ...]:
        """All values: each may be wrong in its own way."""
        return self.values


@dataclass(frozen=True)
class IntegerRange:
    """An integer from ``low`` to ``high``, including both ends."""

    key: str
    low: int
    high: int

    @property
    def values(self) -> tuple[str, ...]:
        """Every number.

        Raises:
            RecipeError: they are more than anybody trains.
        """
        if (n := self.high - self.low + 1) > MAX_COMBINATIONS:
            raise RecipeError(
                f"{self.key}={self.low}..{self.high}: {n:,} values are too many to try; narrow the range."
            )
        return tuple(map(str, range(self.low, self.high + 1)))

    @property
    def corners(self) -> tuple[str, ...]:
        """Both ends."""
        return str(self.low), str(self.high)


@dataclass(frozen=True)
class FloatRange:
    """A number in a range; with ``log`` it is uniform on a logarithmic scale."""

    key: str
    low: float
    high: float
    log: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        """Not to be listed.

        Raises:
            RecipeError: always.
        """
        low, high = self.corners
        raise RecipeError(
            f"{self.key}={low}:{high}: a grid needs values, not a range; list some with commas, "
            "or search with --search random or tpe."
        )

    @property
    def corners(self) -> tuple[str, ...]:
        """Both ends."""
        return format_number(self.low), format_number(self.high)


SearchAxis = Choices | IntegerRange | FloatRange


@dataclass(frozen=True)
class SearchSpace:
    """The search space.

    Attributes:
        axes: the settings that vary, in the given order.
        seeds: the seeds for each combination; empty: the seed of the recipe.
    """

    axes: tuple[SearchAxis, ...]
    seeds: tuple[int, ...] = ()

    def at_most(self, trials: int | None) -> int:
        """Return how many combinations a number of trials can try; without a limit, how many there are."""
        sizes = (
            len(axis.values) if isinstance(axis, Choices) else axis.high - axis.low + 1
            for axis in self.axes
            if not isinstance(axis, FloatRange)
        )
        endless = any(isinstance(axis, FloatRange) for axis in self.axes)
        there = math.inf if endless else math.prod(sizes)
        return int(there if trials is None else min(trials, there))

    def grid(self) -> list[Settings]:
        """Return every combination, the last setting varying fastest.

        Raises:
            RecipeError: a range has no list of values, or there are more than MAX_COMBINATIONS.
        """
        return self._combine([axis.values for axis in self.axes])

    def corners(self) -> list[Settings]:
        """Return every combination of choices and ends of ranges.

        Raises:
            RecipeError: there are more than MAX_COMBINATIONS.
        """
        return self._combine([axis.corners for axis in self.axes])

    def _combine(self, values: Sequence[tuple[str, ...]]) -> list[Settings]:
        if (n := math.prod(map(len, values))) > MAX_COMBINATIONS:
            raise RecipeError(
                f"sweep: {n:,} combinations are too many to try; at most {MAX_COMBINATIONS:,} make sense."
            )
        return [tuple(zip((axis.key for axis in self.axes), each, strict=True)) for each in product(*values)]


def parse_space(pairs: Iterable[str]) -> SearchSpace:
    """Parse the settings that vary; a pair with a single value is a choice of one.

    >>> parse_space(["train.batch_size=16,32", "seed=0..2"]).seeds
    (0, 1, 2)

    Raises:
        RecipeError: a pair is invalid, a key or value is repeated, a value is empty, or a range is reversed.
    """
    axes: dict[str, SearchAxis] = {}
    for pair in pairs:
        axis = parse_axis(pair)
        if axis.key in axes:
            raise RecipeError(f"{pair}: {axis.key} is given twice; put all its values into one.")
        axes[axis.key] = axis
    return SearchSpace(tuple(axis for key, axis in axes.items() if key != "seed"), tuple(_seeds(axes.get("seed"))))


def parse_axis(pair: str) -> SearchAxis:
    """Parse one ``key=values``.

    Raises:
        RecipeError: as for :func:`parse_space`.
    """
    keys, _ = parse_override(rename_former_key(pair))
    key, text = ".".join(map(str, keys)), pair.partition("=")[2].strip()
    items = [item.strip() for item in _items(text)]
    if found := _BETWEEN.fullmatch(text):
        low, high, log = float(found[1]), float(found[2]), found[3] is not None
        if not low < high or not math.isfinite(high - low) or (log and low <= 0):
            above = " above 0" if log else ""
            raise RecipeError(f"{pair}: the range must go from a number{above} up to a greater one.")
        return FloatRange(key, low, high, log)
    if len(items) == 1 and (found := _WHOLE.fullmatch(text)):
        return _whole(key, found, pair)
    values = [value for item in items for value in _expand_range(key, item, pair)]
    if "" in values and len(values) > 1:
        raise RecipeError(f"{pair}: empty value between commas; remove a comma, or write null.")
    read = [repr(parse_override(f"{key}={value}")[1]) for value in values]
    for i, value in enumerate(read):
        if value in read[:i]:
            raise RecipeError(f"{pair}: {values[i]} is given twice; keep one of them.")
    return Choices(key, tuple(values))


def has_several_values(word: str) -> bool:
    """Whether a command-line argument is a setting with several values."""
    key, equals, text = word.partition("=")
    if not equals or not key.strip():
        return False
    return len(_items(text)) > 1 or any(form.fullmatch(text.strip()) for form in (_WHOLE, _BETWEEN))


def to_pairs(space: Mapping[str, Any] | Iterable[str]) -> list[str]:
    """Convert a mapping of settings to ``key=values``; lists are choices, text is parsed as on the command line.

    >>> to_pairs({"train.learning_rate": [2e-5, 3e-5], "seed": range(3)})
    ['train.learning_rate=2e-5,3e-5', 'seed=0,1,2']
    """
    if not isinstance(space, Mapping):
        return list(space)
    return [
        f"{key}={values}"
        if isinstance(values, str)
        else f"{key}={','.join(map(_format_value, values if isinstance(values, Iterable) else [values]))}"
        for key, values in space.items()
    ]


def override_recipe(recipe: Recipe, pairs: Iterable[str]) -> Recipe:
    """Return the recipe with ``key=value`` pairs applied.

    Raises:
        RecipeError: with one sentence for each error.
    """
    return build(Recipe, apply_overrides(parse_yaml(recipe.to_yaml()), pairs))


def settings_to_pairs(settings: Settings) -> list[str]:
    """Return settings as ``key=value`` pairs."""
    return [f"{key}={value}" for key, value in settings]


def _items(text: str) -> list[str]:
    """Split at commas outside quotes and brackets."""
    items, depth, quote, escaped = [""], 0, "", False
    for i, character in enumerate(text):
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and quote == '"' and not escaped
        elif character in "\"'" and text[:i].rstrip()[-1:] in ("", *",[{:"):  # elsewhere it is an apostrophe
            quote = character
        else:
            depth += (character in "[{") - (character in "]}")
        if character == "," and not quote and depth <= 0:
            items.append("")
        else:
            items[-1] += character
    return items


def _expand_range(key: str, item: str, pair: str) -> tuple[str, ...]:
    found = _WHOLE.fullmatch(item)
    return _whole(key, found, pair).values if found else (item,)


def _whole(key: str, found: re.Match[str], pair: str) -> IntegerRange:
    low, high = int(found[1]), int(found[2])
    if low > high:
        raise RecipeError(f"{pair}: the range goes from {low} down to {high}; write {high}..{low}.")
    return IntegerRange(key, low, high)


def _seeds(axis: SearchAxis | None) -> Iterator[int]:
    for value in () if axis is None else axis.values:
        seed = parse_override(f"seed={value}")[1]
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise RecipeError(f"seed={value}: must be a whole number.")
        yield seed


def _format_value(value: Any) -> str:
    """Format a value as on the command line; ambiguous text is quoted."""
    if isinstance(value, str):
        return json.dumps(value) if has_several_values(f"key={value}") or set("[]{}\"'") & set(value) else value
    return dump_scalar(list(value) if isinstance(value, tuple) else value)
