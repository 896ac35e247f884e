"""The first stage of a run: read, check, augment and tokenize the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from bertwright.corpus.corpus_split import CorpusSplit
from bertwright.data.data_checks import check_data
from bertwright.data.dataset import Dataset
from bertwright.data.findings import Finding
from bertwright.data.repeated_texts import RepeatedText, find_repeated_texts
from bertwright.errors import DataError
from bertwright.recipe import Recipe
from bertwright.run.augmentation import add_augmented_copies
from bertwright.run.auto_settings import describe_auto_settings
from bertwright.run.collapse_advice import warn_of_large_targets
from bertwright.run.directory import resolve_paths
from bertwright.run.events import Listener, Note, Working, emit
from bertwright.run.resolve import open_base_model, resolve_recipe
from bertwright.run.splits import Splits, load_splits
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.tokenization.training_data import TrainingData
from bertwright.training.compute import ComputeConfig
from bertwright.weights.pretrained import Pretrained


@dataclass(frozen=True)
class RunOptions:
    """What a run depends on besides its recipe.

    Attributes:
        sources: rows in memory, or paths, that replace the recipe's ``train``, ``dev`` and ``test``; None for none.
        with_test: whether to read the test rows and evaluate on them at the end.
        head: a module that replaces the recipe's head.
        allow_code: whether a head that is code, ``module:name``, may be imported and called.
        start: directory that relative paths of the recipe start from; None for the working directory.
    """

    sources: Mapping[str, Any] | None = None
    with_test: bool = True
    head: nn.Module | None = None
    allow_code: bool = False
    start: Path | None = None

    def copy_head(self) -> RunOptions:
        """The same with a copy of the head, which training does not change."""
        return replace(self, head=deepcopy(self.head))


@dataclass(frozen=True)
class DataChecks:
    """Results of the data checks.

    Attributes:
        findings: sentences, the most serious first.
        repeats: the first :data:`MOST_REPEATS` texts that several rows have, the most serious first.
    """

    findings: tuple[Finding, ...] = ()
    repeats: tuple[RepeatedText, ...] = ()


NOT_CHECKED = DataChecks()

MOST_REPEATS = 50


@dataclass(frozen=True)
class PreparedData:
    """The data of a run: read, checked, augmented and tokenized. Nothing in the run directory has been written.

    Attributes:
        recipe: with labels, columns and metrics filled in.
        base: the encoder and tokenizer that the run starts from.
        splits: the examples; the training examples with their augmented copies.
        tokenized: the same examples as token ids, by the name of their split.
        notes: everything to report about the data.
        checks: results of the data checks; the warnings among them are also notes.
    """

    recipe: Recipe
    base: Pretrained
    splits: Splits
    tokenized: Mapping[str, TrainingData]
    notes: tuple[Note, ...]
    checks: DataChecks = NOT_CHECKED


def prepare_data(
    recipe: Recipe, options: RunOptions, compute: ComputeConfig, listeners: Iterable[Listener]
) -> PreparedData:
    """Read the data and the base model's tokenizer; check, augment and tokenize the data.

    Raises:
        BertwrightError: the data, the base model or a setting is wrong.
    """
    located = resolve_paths(recipe, options.start)
    base = open_base_model(located)
    splits = load_splits(located.data, recipe.task.target_spec, options.sources, seed=recipe.seed)
    if not options.with_test:
        splits = replace(splits, test={})
    resolved = resolve_recipe(recipe, splits, base)
    text = describe_auto_settings(recipe, resolved)
    recipe = resolved
    notes = [*_describe_reading(base, splits), *([Note(f"chosen automatically: {text}")] if text else [])]
    notes += [*build_token_stores(splits, base.tokenizer, listeners)]
    original = splits
    if recipe.data.augment.is_active:
        splits, text = add_augmented_copies(resolve_paths(recipe, options.start), splits, compute.device)
        notes.append(Note(text))
    tokenized = _tokenize(recipe, splits, base, notes)
    checks = run_data_checks(recipe, original, tokenized["train"])
    warnings = (str(finding).removeprefix("warning: ") for finding in checks.findings if finding.level == "warning")
    notes += [Note(text, warning=True) for text in warnings]
    notes += _describe_targets(recipe, original)
    return PreparedData(recipe, base, splits, tokenized, tuple(notes), checks)


def _describe_targets(recipe: Recipe, splits: Splits) -> Iterator[Note]:
    """Notes on the scale of the targets: how they are standardized, or a warning if they are large."""
    if recipe.task.output_scale is not None:
        mean, deviation = (f"{value:.4g}" for value in recipe.task.output_scale)
        text = f"training standardizes the targets (mean {mean}, standard deviation {deviation})"
        yield Note(f"{text}; predictions have their unit")
    for text in warn_of_large_targets(recipe.task, splits.train.examples):
        yield Note(text, warning=True)


def _describe_reading(base: Pretrained, splits: Splits) -> Iterator[Note]:
    """Notes on how the tokenizer and the splits were read, each once."""
    yield from (Note(text) for text in (*base.notes, *splits.notes))
    # two splits of one file report the same lines; data checks report the warnings of train and dev
    datasets = [split for split in splits.all().values() if isinstance(split, Dataset)]
    lines = dict.fromkeys(line for rows in datasets for line in rows.lines())
    warnings = {text for rows in splits.all().values() for text in rows.report.warnings}
    yield from (Note(line) for line in lines if line not in warnings)
    yield from (Note(text, warning=True) for rows in splits.test.values() for text in rows.report.warnings)


def build_token_stores(splits: Splits, tokenizer: Tokenizer, listeners: Iterable[Listener]) -> list[Note]:
    """Tokenize every corpus into its token store, unless the disk cache has it; return notes on their content."""
    notes: list[Note] = []
    for name, rows in splits.all().items():
        if not isinstance(rows, CorpusSplit) or rows.held_out:
            continue  # held-out documents are a part of the store of the training corpus

        def report_progress(done: int, total: int | None, what: str = f"tokenizing {name}") -> None:
            emit(listeners, Working(what, done, total))

        store = rows.store(tokenizer, report_progress, make_note_collector(notes, name))
        notes += [Note(f"{name}: {line}") for line in store.describe()]
    return notes


def _tokenize(recipe: Recipe, splits: Splits, base: Pretrained, notes: list[Note]) -> dict[str, TrainingData]:
    """Tokenize every split; of the training split only the sequences with a known target."""
    tokenized = splits.encode(
        recipe.task, base.tokenizer, recipe.tokens, lambda name, text: notes.append(Note(f"{name}: {text}"))
    )
    tokenized["train"] = tokenized["train"].with_known_targets()
    if not len(tokenized["train"]):
        raise DataError(f"{splits.train.report.source}: no row has a target that the model can learn; label the rows.")
    return tokenized


def run_data_checks(recipe: Recipe, splits: Splits, train: TrainingData) -> DataChecks:
    """Check the training data and the first dev split: duplicates, data leakage, conflicting labels, truncation.

    Args:
        recipe: with labels and columns filled in.
        splits: before augmentation.
        train: the training examples, tokenized; augmented copies come after the examples.

    Raises:
        DataError: the checks report an error.
    """
    rows, dev = splits.available, next(iter(splits.dev.values()))
    if isinstance(rows, CorpusSplit) or isinstance(dev, CorpusSplit):
        return NOT_CHECKED  # a corpus has no labels, and repeated texts in it are not an error
    diagnosis = check_data(
        rows,
        dev,
        kind=recipe.task.target_spec,
        lengths=train.row_lengths(len(splits.train.examples)),
        max_length=recipe.tokens.max_length,
        with_baselines=False,
    )
    if diagnosis.errors:
        raise DataError("; ".join(str(finding) for finding in diagnosis.errors).removeprefix("error: ") + ".")
    repeats = find_repeated_texts(rows.examples, dev.examples, recipe.task.target_spec)
    return DataChecks(diagnosis.findings, tuple(repeats[:MOST_REPEATS]))


def make_note_collector(notes: list[Note], split: str) -> Callable[[str], None]:
    """Return a function that appends a sentence about a split to the notes."""
    return lambda text: notes.append(Note(f"{split}: {text}"))
