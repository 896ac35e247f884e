"""The training, validation and test rows of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from bertwright.corpus.corpus_split import CorpusSplit, open_corpus_split
from bertwright.data.cross_validation import hold_out_fold
from bertwright.data.dataset import fingerprint
from bertwright.data.folders import (
    detect_layout,
    has_only_class_folders,
    is_saved_dataset,
    list_corpus_splits,
    list_saved_splits,
    list_splits,
)
from bertwright.data.glue import TASKS
from bertwright.data.hf_datasets import is_datasets, list_hub_splits
from bertwright.data.holdout import hold_out
from bertwright.data.reader import Dataset, is_local, read_by_column, read_dataset
from bertwright.data.settings import DataSettings
from bertwright.data.split_names import name_splits
from bertwright.data.subsampling import draw_rows
from bertwright.data.targets.lookup import Kind, target_spec
from bertwright.data.targets.spec import TargetSpec
from bertwright.errors import DataError
from bertwright.files.atomic import expand_home
from bertwright.tasks.spec import Task
from bertwright.tokenization.settings import TokenSettings
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.tokenization.training_data import TrainingData

_ROLES: Final = ("train", "dev", "test")
_NO_TARGET: Final[frozenset[Any]] = frozenset([None, "-1", -1.0, "?", "-", ()])
"""What stands for a missing target, if no training row has it as its target."""

SplitData = Dataset | CorpusSplit
"""The data of a split: examples, or a corpus for pre-training."""

_Places = dict[str, tuple[Any, str | None]]
"""Where each split is read: its source, and the name of the split in there."""


@dataclass(frozen=True)
class Splits:
    """The rows of a run.

    Attributes:
        train: to learn from.
        dev: by name, evaluated during training; the first chooses the best weights. MNLI has two.
        test: by name, evaluated once at the end.
        metrics: the benchmark's own metrics, if the rows are one's.
        notes: what the user should know of how they were put together.
        undrawn: the training rows from which ``data.train_rows`` drew those of ``train``; None if it is not set.
        held_out: whether dev is a part of the training rows, held out because no dev rows are named.
    """

    train: SplitData
    dev: dict[str, SplitData]
    test: dict[str, SplitData] = field(default_factory=dict)
    metrics: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    undrawn: Dataset | None = None
    held_out: bool = False

    @property
    def available(self) -> SplitData:
        """All training rows, including those that ``data.train_rows`` did not draw.

        Labels are inferred from them and data checks cover them, so that runs on few rows have the model and the checks
        of runs on all rows.
        """
        return self.train if self.undrawn is None else self.undrawn

    def all(self) -> dict[str, SplitData]:
        """Every split by name, train first."""
        return {"train": self.train, **self.dev, **self.test}

    def encode(
        self, task: Task, tokenizer: Tokenizer, tokens: TokenSettings, on_note: Callable[[str, str], None] | None = None
    ) -> dict[str, TrainingData]:
        """Tokenize every split; ``on_note`` gets the name of the split and a sentence about it.

        Raises:
            DataError: a target is not one of the task.
        """
        data: dict[str, TrainingData] = {}
        for name, split in self.all().items():
            note = None if on_note is None else partial(on_note, name)
            if isinstance(split, CorpusSplit):
                data[name] = task.encode_corpus(split, tokenizer, tokens, note)
            else:
                data[name] = task.encode(split, tokenizer, tokens, note)
        return data

    def remarks(self) -> list[tuple[str, bool]]:
        """What a user should know of how the splits were read, each once: sentences, and whether they are warnings."""
        return list(dict.fromkeys(remark for rows in self.all().values() for remark in rows.report.remarks()))


def load_splits(
    settings: DataSettings, kind: Kind | TargetSpec, sources: Mapping[str, Any] | None = None, *, seed: int = 0
) -> Splits:
    """Read the rows that the settings name.

    Args:
        settings: the ``data`` section of a recipe.
        kind: the kind of target that rows have, by name or as a specification.
        sources: rows in memory, or paths, that replace the settings' ``train``, ``dev`` and ``test``; a
            ``DatasetDict`` replaces all three.
        seed: of the run; the rows that ``train_rows`` draws and the sentence pairs of a training corpus depend on it.

    Raises:
        DataError: no training rows are named, or a source is not as it should be.
    """
    target, notes = target_spec(kind), list[str]()
    named = _name_sources(settings, sources, notes)
    if settings.split_column is not None:
        splits = _read_by_column(settings, target, named)
    else:
        places = _find_places(settings, target, named, notes)
        if target.is_corpus:
            return _open_corpora(places, settings, notes, seed)
        splits = _read_places(places, settings, target)
    train = splits.pop("train")
    dev = {name: rows for name, rows in splits.items() if name.startswith("dev")}
    tests = {name: rows for name, rows in splits.items() if name.startswith("test")}
    test = {name: rows for name, rows in tests.items() if _is_labelled(name, rows, train)}
    notes += [_note_unlabeled(name, rows) for name, rows in tests.items() if name not in test]
    held_out = settings.fold is None and not dev
    train, dev = _hold_out(train, dev, settings, target, notes)
    undrawn = None
    if settings.train_rows is not None:
        notes.append(
            f"data.train_rows: {settings.train_rows:,} of {len(train):,} training rows are used, drawn with seed {seed}"
        )
        undrawn = train
        train = draw_rows(train, settings.train_rows, seed, settings.stratify)
    if settings.train_on_dev:
        train = _join_splits(train, dev)
        notes.append("data.train_on_dev: the dev rows are trained on too, so metrics on dev are meaningless")
    task = TASKS.get(train.report.layout or "")
    return Splits(train, {**dev}, {**test}, None if task is None else task.metrics, tuple(notes), undrawn, held_out)


def _open_corpora(places: _Places, settings: DataSettings, notes: list[str], seed: int) -> Splits:
    """Open the corpus of every split; the last documents of the training corpus become dev if none is named."""
    splits = {
        name: open_corpus_split(source, settings, split=within, trains=name == "train", seed=seed)
        for name, (source, within) in places.items()
    }
    train = splits.pop("train")
    dev: dict[str, SplitData] = {name: split for name, split in splits.items() if name.startswith("dev")}
    test: dict[str, SplitData] = {name: split for name, split in splits.items() if name.startswith("test")}
    if not dev:
        train, dev["dev"] = train.split(settings.dev_ratio)
        notes.append(
            f"no dev texts are named: the last {settings.dev_ratio:.1%} of the documents are held out as dev, at least "
            "ten or a fifth"
        )
    if settings.train_rows is not None:
        train = train.take_first(settings.train_rows)
        notes.append(f"data.train_rows: the first {settings.train_rows:,} training documents are used")
    return Splits(train, dev, test, notes=tuple(notes))


def _name_sources(settings: DataSettings, sources: Mapping[str, Any] | None, notes: list[str]) -> dict[str, Any]:
    """The source of each split that is named, from the settings or from Python.

    Raises:
        DataError: a source from Python is for no split.
    """
    named: dict[str, Any] = {name: getattr(settings, name) for name in ("train", "dev", "test")}
    splits = name_splits(sources or ())
    if others := [str(name) for name in sources or () if name not in splits.values()]:
        if not is_datasets(sources):
            raise DataError(f"data: {', '.join(others)} is no split; expected train, dev (or validation) and test.")
        notes.append(f"{_shown(sources)}: splits that are not used: {', '.join(others)}")
    for split, name in splits.items():
        if sources is not None and sources[name] is not None:
            source = sources[name]
            named[split] = expand_home(source) if isinstance(source, (str, os.PathLike)) else source
    return {split: source for split, source in named.items() if source is not None}


def _read_by_column(settings: DataSettings, target: TargetSpec, named: dict[str, Any]) -> dict[str, Dataset]:
    if list(named) != ["train"]:
        raise DataError("data.split_column: splits one source; give data.train alone, without data.dev and data.test.")
    splits = read_by_column(
        named["train"],
        settings.split_column or "",
        settings.columns,
        kind=target,
        encoding=settings.encoding,
        limit=settings.limit,
    )
    return {name: settings.normalize.apply(rows) for name, rows in splits.items()}


def _find_places(settings: DataSettings, target: TargetSpec, named: dict[str, Any], notes: list[str]) -> _Places:
    """Where to read every split: those that are named, or found next to the training rows in a folder or a data set."""
    places: _Places = {}
    if settings.path is not None:
        places = {split: (settings.path, split) for split in _splits_in(settings.path, settings, target, notes)}
        if "train" not in places and "train" not in named:
            if not target.is_corpus:
                has = f"has no train split (it has {', '.join(places) or 'none of train, dev and test'})"
                raise DataError(f"data.path: {settings.path} {has}; name the training rows with data.train=….")
            places = {"train": (settings.path, _split_within(settings.path, "train", settings, target, notes))}
        if "train" in places and "train" in named:
            notes.append(f"data.train replaces the train split of data.path={settings.path}; its other splits are used")
    for role, source in named.items():
        places = {split: place for split, place in places.items() if _role(split) != role}
        places[role] = (source, _split_within(source, role, settings, target, notes))
    if "train" not in places:
        raise DataError("data.train: no training rows are named; say data.train=FILE, or data.path=FOLDER.")
    if "train" in named and not any(_role(split) == "dev" for split in places):
        places |= _find_dev(named["train"], settings, target, notes)
    return places


def _splits_in(
    source: Any, settings: DataSettings, target: TargetSpec, notes: list[str] | None = None
) -> tuple[str, ...]:
    """The splits that a source holds, if it can hold several; the names of others go to the notes."""
    if is_datasets(source):
        names = list(source) if isinstance(source, Mapping) else []
    elif isinstance(source, str) and source.startswith("hub:"):
        names = list_hub_splits(source) or ["train"]
    elif not is_local(source) or (source is not settings.path and not Path(source).is_dir()):
        return ()
    elif not Path(source).is_dir() or not is_saved_dataset(Path(source)):
        if target.is_corpus and Path(source).is_dir():
            return list_corpus_splits(Path(source)) or ("train",)
        return list_splits(source, _layout_of(settings, source))
    else:
        names = list_saved_splits(Path(source)) or ["train"]
    splits = name_splits(names)
    if notes is not None and (others := [name for name in names if name not in splits.values()]):
        notes.append(f"{_shown(source)}: splits that are not used: {', '.join(others)}")
    return tuple(splits)


def _layout_of(settings: DataSettings, source: Any) -> str | None:
    """The published layout of a folder: as the settings say, else recognized where they name no columns."""
    if settings.format is None and settings.text is None and settings.label is None and is_local(source):
        return detect_layout(Path(source))
    return settings.format


def _split_within(source: Any, role: str, settings: DataSettings, target: TargetSpec, notes: list[str]) -> str | None:
    """Which split of a source to read for a role; None reads all of a source that has no such splits."""
    splits = _splits_in(source, settings, target)
    if target.is_corpus and role == "train" and is_local(source) and "train" not in splits:
        if splits:
            notes.append(f"{source}: has no train split, so all its files are training texts")
        return None
    if role == "train" or role in splits:
        return role
    if is_local(source):
        return None if has_only_class_folders(Path(source)) else role
    return None if len(splits) == 1 else role


def _find_dev(source: Any, settings: DataSettings, target: TargetSpec, notes: list[str]) -> _Places:
    """The dev splits next to the training rows, if these are named as a folder or data set."""
    splits = _splits_in(source, settings, target)
    dev = [split for split in splits if _role(split) == "dev"]
    name = _shown(source)
    if "train" in splits and dev:
        notes.append(f"no dev rows are named: those of {name} are used ({', '.join(dev)})")
    if "test" in splits and settings.test is None and _layout_of(settings, source) not in TASKS:
        notes.append(f"{name}: its test split is not used; data.path={name} uses all splits")
    return {split: (source, split) for split in dev} if "train" in splits else {}


def _read_places(places: _Places, settings: DataSettings, target: TargetSpec) -> dict[str, Dataset]:
    """The rows of each split, train first, from its source and the split's name there."""
    splits: dict[str, Dataset] = {}
    for split in sorted(places, key=lambda split: _ROLES.index(_role(split))):
        source, within = places[split]
        train = splits.get("train")
        in_path, columns = source is settings.path, settings.columns
        if split.startswith("test") and in_path and train is not None and train.report.layout in TASKS:
            continue  # GLUE does not publish the labels of its test sets
        if train is not None and train.report.layout is None and target.shares_columns:
            # Columns are inferred once, from the training rows; the other files must have the same ones. The formats
            # of words and of questions have fixed names, so that train may be CoNLL-U and dev JSON lines.
            columns = replace(train.report.columns, id=columns.id)
        layout = settings.format or (None if train is None else train.report.layout)
        rows = read_dataset(
            source,
            columns,
            kind=target,
            encoding=settings.encoding,
            need_target=not split.startswith("test"),
            layout=_layout_of(settings, source) if in_path else layout,
            split=within,
            limit=settings.limit if split == "train" else None,
            may_lack_label=split.startswith("test"),
        )
        splits[split] = settings.normalize.apply(rows)
    return splits


def _is_labelled(name: str, rows: Dataset, train: Dataset) -> bool:
    """Whether a test split has targets.

    Raises:
        DataError: some of its rows have one and others have none.
    """
    placeholders = _NO_TARGET - set(train.targets)
    without = [example for example in rows if example.target in placeholders]
    if 0 < len(without) < len(rows):
        raise DataError(
            f"{without[0].where or name}: no label, as in {len(without):,} of the {len(rows):,} rows of the {name} "
            f"split; label every row, or none: a {name} split without any labels is ignored."
        )
    return not without


def _note_unlabeled(name: str, rows: Dataset) -> str:
    return (
        f"{name}: the {len(rows):,} rows of {rows.report.source} have no labels, so the {name} split is ignored; "
        "predict them with `bertwright predict`"
    )


def _hold_out(
    train: Dataset, dev: dict[str, Dataset], settings: DataSettings, target: TargetSpec, notes: list[str]
) -> tuple[Dataset, dict[str, Dataset]]:
    """The training and dev rows; a part of the training rows becomes dev where a fold or nothing is named."""
    groups = target.groups_of(train)
    if settings.fold is not None:
        train, held_out = hold_out_fold(train, settings.fold, settings.split_seed, settings.stratify, groups)
        unused = "; the dev rows that are named are not used" if dev else ""
        notes.append(f"fold {settings.fold}: {len(held_out):,} of the training rows are held out as dev{unused}")
        return train, {"dev": held_out}
    if dev:
        return train, dev
    train, held_out = hold_out(train, settings.dev_ratio, settings.split_seed, settings.stratify, groups)
    notes.append(
        f"no dev rows are named: {len(held_out):,} of the training rows are held out as dev "
        f"(data.dev_ratio={settings.dev_ratio:g}, "
        f"{'by context, ' if groups else 'stratified, ' if settings.stratify else ''}seed {settings.split_seed})"
    )
    return train, {"dev": held_out}


def _role(split: str) -> str:
    """``dev`` of ``dev_matched``."""
    return split.partition("_")[0]


def _shown(source: Any) -> str:
    return str(source) if isinstance(source, (str, os.PathLike)) else type(source).__name__


def _join_splits(train: Dataset, dev: dict[str, Dataset]) -> Dataset:
    examples = [example for rows in (train, *dev.values()) for example in rows]
    report = replace(train.report, n_rows=len(examples), fingerprint=fingerprint(examples))
    return Dataset(examples, report, train.labels)
