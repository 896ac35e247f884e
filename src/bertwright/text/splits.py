"""The rows of a run: what to train on, what to choose by, what to report on at the end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bertwright.errors import DataError
from bertwright.text.corpora import CorpusRows, corpus_of
from bertwright.text.folders import detect_layout, splits_of
from bertwright.text.folds import hold_out_fold
from bertwright.text.glue import TASKS
from bertwright.text.reader import Columns, Kind, Rows, read
from bertwright.text.rows import fingerprint
from bertwright.text.settings import DataSettings
from bertwright.text.split import split as hold_out


@dataclass(frozen=True)
class Splits:
    """The rows of a run.

    Attributes:
        train: to learn from.
        dev: by name, evaluated during training; the first chooses the best weights. MNLI has two.
        test: by name, evaluated once at the end.
        metrics: the benchmark's own metrics, if the rows are one's.
        notes: what the user should know of how they were put together.
    """

    train: Rows
    dev: dict[str, Rows]
    test: dict[str, Rows] = field(default_factory=dict)
    metrics: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def all(self) -> dict[str, Rows]:
        """Every split by name, train first."""
        return {"train": self.train, **self.dev, **self.test}


def load_splits(settings: DataSettings, kind: str, given: dict[str, Any] | None = None, *, seed: int = 0) -> Splits:
    """Read the rows that the settings name.

    Args:
        settings: the ``data`` section of a recipe.
        kind: what the rows' targets are, a word of :data:`~bertwright.text.rows.Kind`.
        given: sources in memory, or paths, for ``train``, ``dev`` and ``test``, instead of the settings'.
        seed: of the run; the sentence pairs of a training corpus depend on it.

    Raises:
        DataError: no training rows are named, or a source is not as it should be.
    """
    sources: dict[str, Any] = {name: getattr(settings, name) for name in ("train", "dev", "test")}
    sources |= {name: source for name, source in (given or {}).items() if source is not None}
    columns = Columns(settings.text, settings.text_pair, settings.label, settings.id)
    layout: str | None = settings.layout
    in_folder: tuple[str, ...] = ()
    if settings.path is not None:
        if layout is None and columns.text is None and columns.label is None:
            layout = detect_layout(Path(settings.path))
        in_folder = splits_of(settings.path, layout)

    def rows_of(source: Any, name: str, like: Rows | None = None) -> Rows:
        if kind == "pretraining":
            return corpus_of(source, settings, split=name, trains=name == "train", seed=seed)
        wanted = columns
        if like is not None and like.report.layout is None and kind not in ("tagging", "qa"):
            # A guess is made once, for the training rows; the other files must have the same columns. The formats of
            # words and of questions have names of their own, so that train may be CoNLL-U and dev JSON lines.
            wanted = replace(like.report.columns, id=columns.id)
        rows = read(
            source,
            wanted,
            kind=cast(Kind, kind),
            encoding=settings.encoding,
            need_target=True,
            layout=layout,
            split=name,
        )
        return settings.normalise.apply(rows)

    if sources["train"] is not None:
        train = rows_of(sources["train"], "train")
    elif "train" in in_folder:
        train = rows_of(settings.path, "train")
    else:
        raise DataError("data.train: no training rows are named; say data.train=FILE, or data.path=FOLDER.")
    if settings.limit is not None and kind != "pretraining":
        train = train[: settings.limit]
    dev, test = _named(sources, settings.path, in_folder, train, rows_of)
    notes = []
    # questions on one text stay together, lest the model be asked about a text that it has learned
    groups = [example.text_pair or "" for example in train] if kind == "qa" else None
    if settings.fold is not None:
        train, held_out = hold_out_fold(train, settings.fold, settings.split_seed, settings.stratify, groups)
        unused = "; the dev rows that are named are not used" if dev else ""
        dev = {"dev": held_out}
        notes.append(f"fold {settings.fold}: {len(held_out):,} of the training rows are held out as dev{unused}")
    elif not dev and isinstance(train, CorpusRows):
        train, dev["dev"] = train.in_two(settings.dev_ratio)
        notes.append(
            f"no dev texts are named: the last {settings.dev_ratio:.1%} of the documents are held out as dev, at least "
            "ten or a fifth"
        )
    elif not dev:
        train, held_out = hold_out(train, settings.dev_ratio, settings.split_seed, settings.stratify, groups)
        dev = {"dev": held_out}
        notes.append(
            f"no dev rows are named: {len(held_out):,} of the training rows are held out as dev "
            f"(data.dev_ratio={settings.dev_ratio:g}, "
            f"{'by context, ' if groups else 'stratified, ' if settings.stratify else ''}seed {settings.split_seed})"
        )
    if settings.train_on_dev:
        train = _joined(train, dev)
        notes.append("data.train_on_dev: the dev rows are trained on too, so figures on dev say nothing")
    task = TASKS.get(train.report.layout or "")
    return Splits(train, dev, test, None if task is None else task.metrics, tuple(notes))


def _joined(train: Rows, dev: dict[str, Rows]) -> Rows:
    examples = [example for rows in (train, *dev.values()) for example in rows]
    report = replace(train.report, n_rows=len(examples), fingerprint=fingerprint(examples))
    return Rows(examples, report, train.labels)


def _named(
    sources: dict[str, Any], path: str | None, in_folder: tuple[str, ...], train: Rows, rows_of: Any
) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """Dev and test rows by the name of their split, from the sources or else from the folder."""
    found: dict[str, dict[str, Rows]] = {"dev": {}, "test": {}}
    for role, splits in found.items():
        if sources[role] is not None:
            splits[role] = rows_of(sources[role], role, train)
            continue
        for name in in_folder:
            # GLUE's test sets have no public labels, so there is nothing to report on
            if name.startswith(role) and not (role == "test" and train.report.layout in TASKS):
                splits[name] = rows_of(path, name, train)
    return found["dev"], found["test"]
