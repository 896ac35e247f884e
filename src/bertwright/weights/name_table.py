"""Tables of names: how somebody else calls the tensors of a model that transformers knows.

A table is YAML, so that anyone can write one for a state dict of their own: transformers' names and, beside each, the
name in the file. TensorFlow's and Cerebras' lie in ``names/`` beside this module.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from importlib import resources
from pathlib import Path

from pydantic import Field
from torch import Tensor

from bertwright.config.sections import Section, build
from bertwright.config.yaml_tree import load_yaml, parse_yaml
from bertwright.errors import RecipeError, WeightsError, did_you_mean
from bertwright.files.atomic import expand_home
from bertwright.weights.tensors import Checkpoint, TensorInfo, join_names

_LEAVES = (".weight", ".bias")


class NameTable(Section):
    """How a file calls the tensors of a model."""

    names: dict[str, str] = Field(
        description="Name in transformers: name in the file. {n} is a layer's number; without .weight and .bias a "
        "module, with both; several names of transformers, with commas: the file has them in one tensor, in rows."
    )
    prefixes: tuple[str, ...] = Field(default=("",), description="What the names in the file may begin with.")
    transpose: tuple[str, ...] = Field(
        default=(), description="Names in the file, * for anything, of matrices that are (inputs, outputs)."
    )
    ignore: dict[str, str] = Field(
        default={}, description="Names in the file, * for anything, that are no weights of the model, and why."
    )

    @cached_property
    def rules(self) -> tuple[_Rule, ...]:
        """One for each line of ``names``."""
        return tuple(_Rule(tuple(re.split(r",\s*", ours)), theirs) for ours, theirs in self.names.items())

    def ours(self, name: str) -> list[tuple[str, ...]]:
        """What transformers calls a tensor of the file, in every reading; each has several names for a tensor that
        is to be split."""
        bare = [name.removeprefix(prefix) for prefix in self.prefixes if name.startswith(prefix)]
        return [found for rule in self.rules for one in bare if (found := rule.ours_of(one))]

    def theirs(self, name: str) -> str | None:
        """What the file calls a tensor of transformers; None if the table has no name for it alone."""
        return next((found for rule in self.rules if (found := rule.theirs_of(name))), None)

    def transposes(self, name: str, n_axes: int) -> bool:
        """Whether a tensor of the file has its axes the other way round."""
        return n_axes == 2 and any(fnmatchcase(name, pattern) for pattern in self.transpose)

    def reason(self, name: str) -> str:
        """Why a tensor of the file is no weight of the model; "" if the table does not say so."""
        return next((why for pattern, why in self.ignore.items() if fnmatchcase(name, pattern)), "")


@dataclass(frozen=True)
class _Rule:
    """One line of a table."""

    ours: tuple[str, ...]
    theirs: str

    def ours_of(self, name: str) -> tuple[str, ...]:
        match = self._theirs_pattern.fullmatch(name)
        return tuple(_filled(one, match) for one in self.ours) if match else ()

    def theirs_of(self, name: str) -> str | None:
        match = self._ours_pattern.fullmatch(name)
        return _filled(self.theirs, match) if match and len(self.ours) == 1 else None

    def example(self) -> str:
        """A name in the file that it fits."""
        return self.theirs.replace("{n}", "0") + ("" if self._whole else _LEAVES[0])

    @property
    def _whole(self) -> bool:
        return self.ours[0].endswith(_LEAVES)

    @cached_property
    def _theirs_pattern(self) -> re.Pattern[str]:
        return _pattern(self.theirs, self._whole)

    @cached_property
    def _ours_pattern(self) -> re.Pattern[str]:
        return _pattern(self.ours[0], self._whole)


def _pattern(name: str, whole: bool) -> re.Pattern[str]:
    first, *others = map(re.escape, name.split("{n}"))
    numbered = first + "".join((r"(?P=n)" if i else r"(?P<n>\d+)") + part for i, part in enumerate(others))
    return re.compile(numbered + ("" if whole else r"(?P<leaf>\.weight|\.bias)"))


def _filled(name: str, match: re.Match[str]) -> str:
    groups = match.groupdict()
    return name.replace("{n}", groups.get("n") or "") + (groups.get("leaf") or "")


def shipped_tables() -> tuple[str, ...]:
    """The names of the tables that come with the package."""
    files = resources.files("bertwright.weights").joinpath("names").iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def load_name_table(name_or_path: str | os.PathLike[str]) -> NameTable:
    """A table that comes with the package, or a YAML file.

    Raises:
        RecipeError: there is none, or it is not as a table must be.
    """
    name = expand_home(name_or_path)
    if name in shipped_tables():
        text = resources.files("bertwright.weights").joinpath("names", f"{name}.yaml").read_text(encoding="utf-8")
        tree = parse_yaml(text, f"{name}.yaml")
    elif not Path(name).suffix and not Path(name).exists():
        raise RecipeError(
            f"{name}: is neither a file nor a table that is shipped; {did_you_mean(name, shipped_tables())}"
        )
    else:
        tree = load_yaml(name)
    table = build(NameTable, tree)
    for ours, theirs in table.names.items():
        if ("{n}" in ours) != ("{n}" in theirs):
            raise RecipeError(
                f"{tree.where(('names', ours))}: {ours} is {theirs}, but both must have {{n}}, the number of a layer, "
                "or neither."
            )
    return table


def translate_names(checkpoint: Checkpoint, table: NameTable, head: frozenset[str] = frozenset()) -> Checkpoint:
    """A checkpoint under transformers' names; what the table does not know keeps its own.

    Args:
        checkpoint: under the names of its file.
        table: of those names.
        head: modules of the head that the model has, to choose between two names for one of theirs.

    Raises:
        WeightsError: two tensors have one name, or one cannot be split as the table says.
    """
    tensors: dict[str, TensorInfo] = {}
    origins: dict[str, str] = {}
    parts: dict[str, tuple[int, int]] = {}
    ignored: dict[str, str] = {}
    for source, info in checkpoint.tensors.items():
        names = _chosen(table.ours(source), head) or (source,)
        shape = info.shape[::-1] if table.transposes(source, len(info.shape)) else info.shape
        if shape and shape[0] % len(names):
            raise WeightsError(
                f"{checkpoint.source}: {source} has {shape[0]} rows, which do not make {len(names)} equal parts "
                f"({', '.join(names)}); correct the table of names."
            )
        for number, name in enumerate(names):
            if name in origins:
                both = f"{origins[name]} and {source}"
                raise WeightsError(f"{checkpoint.source}: {both} are both {name} by the table; ignore one of them.")
            rows = (shape[0] // len(names), *shape[1:]) if len(names) > 1 else shape
            tensors[name], origins[name], parts[name] = TensorInfo(rows, info.dtype), source, (number, len(names))
        if names == (source,) and (reason := table.reason(source)):
            ignored[source] = reason

    def read(name: str) -> Tensor:
        tensor = checkpoint.read(origins[name])
        whole = tensor.T if table.transposes(origins[name], tensor.ndim) else tensor
        number, n = parts[name]
        return whole.chunk(n)[number] if n > 1 else whole

    return Checkpoint(checkpoint.source, tensors, read, ignored, origins)


def _chosen(readings: list[tuple[str, ...]], head: frozenset[str]) -> tuple[str, ...]:
    """The reading whose module the head has, else the first."""
    return next((one for one in readings if one[0].rpartition(".")[0] in head), readings[0] if readings else ())


def check_all_named(checkpoint: Checkpoint, table: NameTable, where: str) -> None:
    """Refuse a translated checkpoint of which the table neither names nor ignores every tensor.

    Raises:
        WeightsError: it names them, and the nearest name of the table.
    """
    left = [
        source
        for name, source in checkpoint.origins.items()
        if name not in checkpoint.ignored and not table.ours(source)
    ]
    if left:
        n = len(set(checkpoint.origins.values()))
        hint = did_you_mean(left[0], [rule.example() for rule in table.rules])
        raise WeightsError(
            f"{checkpoint.source}: {where} neither names nor ignores {len(left)} of its {n} tensors "
            f"({join_names(left)}); {hint}"
        )
