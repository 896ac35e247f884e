"""Name tables: the tensor names of other programs → the names of transformers.

A table is a YAML file with transformers' names and, next to each, the name in the file, so that users can write one
for their own checkpoints. The tables for TensorFlow and Cerebras are in ``names/``.
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
    """The tensor names of a checkpoint file."""

    names: dict[str, str] = Field(
        description="Name in transformers: name in the file. {n} is the layer index. A name without .weight and .bias "
        "stands for both. Several names of transformers, separated by commas, are row blocks of one tensor in the file."
    )
    prefixes: tuple[str, ...] = Field(default=("",), description="Prefixes of the names in the file.")
    transpose: tuple[str, ...] = Field(
        default=(), description="Name patterns of matrices with shape (inputs, outputs), which are transposed."
    )
    ignore: dict[str, str] = Field(
        default={}, description="Name patterns of tensors that are not weights, and the reason."
    )

    @cached_property
    def rules(self) -> tuple[_Rule, ...]:
        """One rule for each line of ``names``."""
        return tuple(_Rule(tuple(re.split(r",\s*", ours)), theirs) for ours, theirs in self.names.items())

    def hf_names(self, name: str) -> list[tuple[str, ...]]:
        """Return all possible names in transformers of a tensor in the file; several names each if it must be split."""
        bare = [name.removeprefix(prefix) for prefix in self.prefixes if name.startswith(prefix)]
        return [found for rule in self.rules for one in bare if (found := rule.hf_names_of(one))]

    def file_name(self, name: str) -> str | None:
        """Return the name in the file of a tensor of transformers; None if the table has no separate name for it."""
        return next((found for rule in self.rules if (found := rule.file_name_of(name))), None)

    def transposes(self, name: str, n_axes: int) -> bool:
        """Whether the axes of a tensor in the file are swapped."""
        return n_axes == 2 and any(fnmatchcase(name, pattern) for pattern in self.transpose)

    def reason(self, name: str) -> str:
        """Return why a tensor in the file is not a weight; "" if it is one."""
        return next((why for pattern, why in self.ignore.items() if fnmatchcase(name, pattern)), "")


@dataclass(frozen=True)
class _Rule:
    """One line of a table."""

    patterns: tuple[str, ...]
    file_pattern: str

    def hf_names_of(self, name: str) -> tuple[str, ...]:
        match = self._theirs_pattern.fullmatch(name)
        return tuple(_fill_pattern(one, match) for one in self.patterns) if match else ()

    def file_name_of(self, name: str) -> str | None:
        match = self._ours_pattern.fullmatch(name)
        return _fill_pattern(self.file_pattern, match) if match and len(self.patterns) == 1 else None

    def example(self) -> str:
        """Return a name in the file that matches."""
        return self.file_pattern.replace("{n}", "0") + ("" if self._whole else _LEAVES[0])

    @property
    def _whole(self) -> bool:
        return self.patterns[0].endswith(_LEAVES)

    @cached_property
    def _theirs_pattern(self) -> re.Pattern[str]:
        return _pattern(self.file_pattern, self._whole)

    @cached_property
    def _ours_pattern(self) -> re.Pattern[str]:
        return _pattern(self.patterns[0], self._whole)


def _pattern(name: str, whole: bool) -> re.Pattern[str]:
    first, *others = map(re.escape, name.split("{n}"))
    numbered = first + "".join((r"(?P=n)" if i else r"(?P<n>\d+)") + part for i, part in enumerate(others))
    return re.compile(numbered + ("" if whole else r"(?P<leaf>\.weight|\.bias)"))


def _fill_pattern(name: str, match: re.Match[str]) -> str:
    groups = match.groupdict()
    return name.replace("{n}", groups.get("n") or "") + (groups.get("leaf") or "")


def list_shipped_tables() -> tuple[str, ...]:
    """Return the names of the shipped tables."""
    files = resources.files("bertwright.weights").joinpath("names").iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def load_name_table(name_or_path: str | os.PathLike[str]) -> NameTable:
    """Load a shipped table or a YAML file.

    Raises:
        RecipeError: the table does not exist, or is invalid.
    """
    name = expand_home(name_or_path)
    if name in list_shipped_tables():
        text = resources.files("bertwright.weights").joinpath("names", f"{name}.yaml").read_text(encoding="utf-8")
        tree = parse_yaml(text, f"{name}.yaml")
    elif not Path(name).suffix and not Path(name).exists():
        raise RecipeError(f"{name}: is neither a file nor a shipped table; {did_you_mean(name, list_shipped_tables())}")
    else:
        tree = load_yaml(name)
    table = build(NameTable, tree)
    for ours, theirs in table.names.items():
        if ("{n}" in ours) != ("{n}" in theirs):
            raise RecipeError(
                f"{tree.where(('names', ours))}: {ours}: {theirs} has {{n}}, the layer index, in one name only; "
                "use it in both names, or in none."
            )
    return table


def translate_names(checkpoint: Checkpoint, table: NameTable, head: frozenset[str] = frozenset()) -> Checkpoint:
    """Return a checkpoint under transformers' names; unknown tensors keep their names.

    Args:
        checkpoint: the checkpoint under its own names.
        table: the name table.
        head: modules of the model's head, to choose between two names.

    Raises:
        WeightsError: two tensors have one name, or a tensor cannot be split as the table requires.
    """
    tensors: dict[str, TensorInfo] = {}
    origins: dict[str, str] = {}
    parts: dict[str, tuple[int, int]] = {}
    ignored: dict[str, str] = {}
    for source, info in checkpoint.tensors.items():
        names = _chosen(table.hf_names(source), head) or (source,)
        shape = info.shape[::-1] if table.transposes(source, len(info.shape)) else info.shape
        if shape and shape[0] % len(names):
            raise WeightsError(
                f"{checkpoint.source}: {source} has {shape[0]} rows, which cannot be split into {len(names)} equal "
                f"parts ({', '.join(names)}); correct the name table."
            )
        for number, name in enumerate(names):
            if name in origins:
                both = f"{origins[name]} and {source}"
                raise WeightsError(f"{checkpoint.source}: the table maps both {both} to {name}; ignore one of them.")
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
    """Return the interpretation whose module the head has, else the first."""
    return next((one for one in readings if one[0].rpartition(".")[0] in head), readings[0] if readings else ())


def check_all_named(checkpoint: Checkpoint, table: NameTable, where: str) -> None:
    """Refuse a translated checkpoint with tensors that the table neither names nor ignores.

    Raises:
        WeightsError: with these tensors and the most similar name of the table.
    """
    left = [
        source
        for name, source in checkpoint.origins.items()
        if name not in checkpoint.ignored and not table.hf_names(source)
    ]
    if left:
        n = len(set(checkpoint.origins.values()))
        hint = did_you_mean(left[0], [rule.example() for rule in table.rules])
        raise WeightsError(
            f"{checkpoint.source}: {where} neither names nor ignores {len(left)} of its {n} tensors "
            f"({join_names(left)}); {hint}"
        )
