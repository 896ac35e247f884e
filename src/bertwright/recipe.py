"""The recipe, a complete run as one immutable tree of settings, and the shipped recipes."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from bertwright.config.former_names import current_keys, rename_former_keys
from bertwright.config.sections import InvalidSettingError, Location, Section, build, dump
from bertwright.config.yaml_tree import Tree, apply_overrides, load_yaml, parse_override
from bertwright.data.settings import DataSettings
from bertwright.errors import OutputError, RecipeError, did_you_mean
from bertwright.files.atomic import expand_home, write_atomically
from bertwright.nn.settings import ModelSettings
from bertwright.tasks.classification import Classification, MultiLabel
from bertwright.tasks.multiple_choice import MultipleChoice
from bertwright.tasks.pretraining import Pretraining
from bertwright.tasks.qa import QuestionAnswering
from bertwright.tasks.regression import Regression
from bertwright.tasks.spec import Task
from bertwright.tasks.tagging import Tagging
from bertwright.tokenization.settings import TokenSettings
from bertwright.training.settings import TrainSettings

logger = logging.getLogger(__name__)

_SHIPPED = Path(__file__).parent / "recipes"

_FORMER_RECIPES = {"further_then_finetune": "continued_pretraining"}
"""Shipped recipes that were renamed: former name → current name."""


AnyTask = Classification | MultiLabel | Regression | Tagging | QuestionAnswering | MultipleChoice | Pretraining
"""Every task; ``task.kind`` selects one."""


class ContinuedPretraining(Section):
    """Continued (domain-adaptive) pre-training before fine-tuning, on texts of the domain or of the task itself."""

    corpus: Location | None = Field(
        default=None,
        description="Pre-training corpus, in the formats of data.train; null: the texts of the training rows.",
    )
    sentences: Literal["split", "lines"] = Field(
        default="split", description="split: split lines into sentences; lines: one sentence per line."
    )
    general: Location | None = Field(
        default=None,
        description="General text on which to compute the masked-LM loss before and after, to detect catastrophic "
        "forgetting.",
    )
    compare: bool = Field(
        default=True, description="Also fine-tune without continued pre-training, to measure its effect."
    )
    task: Pretraining = Field(default=Pretraining(), description="Pre-training objective.")
    tokens: TokenSettings = Field(default=TokenSettings(), description="Tokenization and sequence length.")
    train: TrainSettings = Field(default=TrainSettings(), description="Training of this stage.")


class Recipe(Section):
    """Everything that decides a run: equal recipes on equal data give equal bundles.

    >>> Recipe(data={"train": "train.csv"}, model={"base": "bert-base-uncased"}).train.length.steps(100)
    600
    """

    former_names: ClassVar[Mapping[str, str]] = {"further": "continued_pretraining"}

    description: str = Field(default="", description="What the recipe is for; free text.")
    task: AnyTask = Field(default=Classification(), discriminator="kind", description="What the model predicts.")
    data: DataSettings = Field(default=DataSettings(), description="Source, format and splits of the data.")
    model: ModelSettings = Field(
        default=ModelSettings(), description="Base model, head, and which parameters to train."
    )
    tokens: TokenSettings = Field(default=TokenSettings(), description="Tokenization, sequence length and truncation.")
    train: TrainSettings = Field(
        default=TrainSettings(), description="Training length, optimizer, evaluation and device."
    )
    continued_pretraining: ContinuedPretraining | None = Field(
        default=None,
        description="Continued (domain-adaptive) pre-training before fine-tuning; the report compares the results "
        "with and without it. Null: no pre-training.",
    )
    seed: int = Field(
        default=42,
        ge=0,
        lt=2**32,
        description="Random seed of untrained weights, row order, dropout, MLM masks and NSP/SOP training pairs.",
    )

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        for rejected in self.task.rejected_settings:
            value = reduce(getattr, rejected.key.split("."), self)
            if rejected.is_set(value):
                reason = rejected.reason.format(value=value, kind=self.task.kind)
                raise InvalidSettingError(rejected.key, reason, related="task.kind")
        for key in ("fold", "train_on_dev", "train_rows"):
            if self.train.refit is True and getattr(self.data, key):
                text = (
                    f"also trains on the validation rows, which cannot be combined with data.{key}; remove one of them"
                )
                raise InvalidSettingError("train.refit", text, related=f"data.{key}")
        self.task.check_tokens(self.tokens)
        frozen = "freeze" if self.model.freeze == "encoder" else "lora" if self.model.lora is not None else None
        if self.train.gradual_unfreezing is not None and frozen is not None:
            text = f"has no layers to unfreeze, because model.{frozen} keeps the encoder frozen; remove one of them"
            raise InvalidSettingError("train.gradual_unfreezing", text, related=f"model.{frozen}")
        if self.train.max_tokens < self.tokens.max_length:
            text = f"is {self.train.max_tokens}, less than tokens.max_length {self.tokens.max_length}; increase it"
            raise InvalidSettingError(
                "train.max_tokens", f"{text} or reduce tokens.max_length", related="tokens.max_length"
            )
        return self

    def to_yaml(self, only_differences: bool = False) -> str:
        """The recipe as YAML, by default with every setting written out."""
        return dump(self, only_differences)

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of all settings: equal for equal recipes, however they are written."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()


def task_types() -> dict[str, type[Task]]:
    """The class of each task by the name that ``task.kind`` gives it."""
    return {str(task.model_fields["kind"].default): task for task in get_args(AnyTask)}


def load_recipe(
    name_or_path: str | os.PathLike[str] | None, overrides: Iterable[str] = (), report_former_names: bool = True
) -> Recipe:
    """Read a shipped recipe by its name, or a YAML file, and apply ``key=value`` overrides; None means the defaults.

    >>> load_recipe("sst2", ["data.path=glue/SST-2", "train.length=1 epoch"]).data.path
    'glue/SST-2'

    Args:
        name_or_path: a shipped recipe or a YAML file.
        overrides: ``key=value`` pairs.
        report_former_names: whether to log a warning for each setting in the file that was renamed.

    Raises:
        RecipeError: the recipe does not exist or is invalid; one line per problem.
    """
    tree = Tree({}, "settings")
    if name_or_path is not None:
        path = _find(name_or_path)
        tree = load_yaml(path, path.name if path.parent == _SHIPPED else None)
    tree, notes = rename_former_keys(Recipe, tree)
    pairs = [rename_former_key(pair) for pair in overrides]
    for note in notes if report_former_names else ():
        logger.warning(note)
    return build(Recipe, apply_overrides(_drop_replaced_sources(tree, pairs), pairs))


def rename_former_key(pair: str) -> str:
    """A ``key=value`` pair under the current name of its setting; a warning is logged if it was renamed.

    >>> rename_former_key("train.max_grad_norm=0.5")
    'train.max_grad_norm=0.5'
    """
    key, equals, value = pair.partition("=")
    written = tuple(part.strip() for part in key.split("."))
    current = current_keys(Recipe, written)
    if current == written:
        return pair
    name = ".".join(map(str, current))
    logger.warning("%s: %s is now called %s.", pair, ".".join(written), name)
    return f"{name}{equals}{value}"


def _drop_replaced_sources(tree: Tree, pairs: Sequence[str]) -> Tree:
    """Remove the recipe's data that an override replaces: ``data.train`` its folder, ``data.path`` its files.

    Otherwise ``data.train=FILE`` would be mixed with the splits of another data set's folder, and ``data.path=FOLDER``
    would be ignored because of the recipe's files.
    """
    new = {keys[1]: value for keys, value in map(parse_override, pairs) if len(keys) == 2 and keys[0] == "data"}
    old = tree.values.get("data")
    if not isinstance(old, dict):
        return tree
    by = next((key for key in ("train", "path") if new.get(key) is not None), None)
    replaced: tuple[str, ...] = ()
    if by == "train" and "path" not in new and old.get("path") is not None:
        replaced = ("path", "format")
    elif by == "path" and old.get("train") is not None:
        replaced = ("train", "dev", "test", "split_column")
    dropped = {key: old[key] for key in replaced if key not in new and old.get(key) is not None}
    if not dropped:
        return tree
    gone = {(key,) for key in dropped}
    shown = " and ".join(f"data.{key}={value}" for key, value in dropped.items())
    logger.warning("%s: data.%s=%s replaces %s of the recipe", tree.name, by, new[str(by)], shown)
    values = {**tree.values, "data": {key: value for key, value in old.items() if key not in dropped}}
    origins = {keys: where for keys, where in tree.origins.items() if keys[:1] != ("data",) or keys[1:] not in gone}
    return Tree(values, tree.name, origins, tree.typed)


def list_shipped_recipes() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def recipe_path(name: str) -> Path:
    """The file of a shipped recipe; a warning is logged if the recipe was renamed.

    Raises:
        RecipeError: no such recipe.
    """
    if name in _FORMER_RECIPES:
        logger.warning("%s: this recipe is now called %s.", name, _FORMER_RECIPES[name])
        name = _FORMER_RECIPES[name]
    if name not in list_shipped_recipes():
        raise RecipeError(f"{name}: is not a shipped recipe; {did_you_mean(name, list_shipped_recipes())}")
    return _SHIPPED / f"{name}.yaml"


def recipe_text(name: str) -> str:
    """The text of a shipped recipe, with its comments.

    Raises:
        RecipeError: no such recipe.
    """
    return recipe_path(name).read_text(encoding="utf-8")


def copy_recipe(name: str, file: str | os.PathLike[str]) -> Path:
    """Copy a shipped recipe to a new file for editing.

    Raises:
        RecipeError: no such recipe.
        OutputError: the file already exists, or cannot be written.
    """
    text = recipe_text(name)
    if os.path.lexists(file):
        raise OutputError(f"{file}: already exists; choose another name or remove it.")
    return write_atomically(file, text)


def _find(name_or_path: str | os.PathLike[str]) -> Path:
    """The path of a recipe: a bare word is a shipped recipe first, a file second.

    Raises:
        RecipeError: neither exists.
    """
    name = expand_home(name_or_path)
    if isinstance(name_or_path, str) and (name in list_shipped_recipes() or name in _FORMER_RECIPES):
        return recipe_path(name)
    path = Path(name)
    if path.exists() or path.is_symlink():
        return path
    files = [str(other) for suffix in ("*.yaml", "*.yml") for other in path.parent.glob(suffix)]
    raise RecipeError(f"{name}: no such recipe or file; {did_you_mean(name, list_shipped_recipes() + files)}")
