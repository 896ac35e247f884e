"""The GLUE benchmark: readers of its nine tasks and the diagnostic set, and its submission files.

Files are UTF-8 and tab-separated, without quoting (with csv's default quoting up to a fifth of the rows of STS-B would
be lost). Labels are mapped by name, never by position. Row counts are those of the official files, as published with
the data set on the Hugging Face Hub (nyu-mll/glue).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bertwright.data.dataset import ColumnNames, Dataset, ReadReport, fingerprint
from bertwright.data.example import Example, Target
from bertwright.data.targets.lookup import Kind
from bertwright.data.text_files import load_text, split_lines
from bertwright.errors import DataError, did_you_mean
from bertwright.files.atomic import expand_home, write_atomically
from bertwright.output.plurals import pluralize

_NLI_LABELS: Final = {"entailment": "entailment", "neutral": "neutral", "contradiction": "contradiction"}
_RTE_LABELS: Final = {"entailment": "entailment", "not_entailment": "not_entailment"}


@dataclass(frozen=True)
class GlueTask:
    """One task of GLUE.

    Attributes:
        directory: the official folder name.
        text: the column of the text or of the first text.
        text_pair: the column of the second text.
        label: the column of the label in train and dev files.
        labels: value in the file → label, in the order of the Hub's data set; empty for regression.
        metrics: GLUE's metrics; the first one chooses the best model.
        rows: the published number of rows of each split.
        outputs: the submission file of each test split.
        headerless: the columns of train and dev files without a header line.
        aliases: short names of splits.
    """

    directory: str
    text: str
    text_pair: str | None
    label: str
    labels: Mapping[str, str]
    metrics: tuple[str, ...]
    rows: Mapping[str, int]
    outputs: Mapping[str, str]
    headerless: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """Regression for STS-B, classification for all others."""
        return "classification" if self.labels else "regression"

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels in the order of the Hub's data set."""
        return tuple(self.labels.values())

    def file(self, split: str) -> str:
        """The official file name of a split."""
        return "diagnostic.tsv" if self.directory == "diagnostic" else f"{split}.tsv"


def _counts(train: int, dev: int, test: int) -> dict[str, int]:
    return {"train": train, "dev": dev, "test": test}


TASKS: Final[dict[str, GlueTask]] = {
    "cola": GlueTask(
        "CoLA", "sentence", None, "label", {"0": "unacceptable", "1": "acceptable"}, ("matthews",),
        _counts(8551, 1043, 1063), {"test": "CoLA.tsv"}, headerless=("source", "label", "mark", "sentence"),
    ),
    "sst2": GlueTask(
        "SST-2", "sentence", None, "label", {"0": "negative", "1": "positive"}, ("accuracy",),
        _counts(67349, 872, 1821), {"test": "SST-2.tsv"},
    ),
    "mrpc": GlueTask(
        "MRPC", "#1 String", "#2 String", "Quality", {"0": "not_equivalent", "1": "equivalent"}, ("f1", "accuracy"),
        _counts(3668, 408, 1725), {"test": "MRPC.tsv"},
    ),
    "qqp": GlueTask(
        "QQP", "question1", "question2", "is_duplicate", {"0": "not_duplicate", "1": "duplicate"}, ("f1", "accuracy"),
        _counts(363846, 40430, 390965), {"test": "QQP.tsv"},
    ),
    "stsb": GlueTask(
        "STS-B", "sentence1", "sentence2", "score", {}, ("pearson", "spearman"),
        _counts(5749, 1500, 1379), {"test": "STS-B.tsv"},
    ),
    "mnli": GlueTask(
        "MNLI", "sentence1", "sentence2", "gold_label", _NLI_LABELS, ("accuracy",),
        {"train": 392702, "dev_matched": 9815, "dev_mismatched": 9832, "test_matched": 9796, "test_mismatched": 9847},
        {"test_matched": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv"},
        aliases={"dev": "dev_matched", "test": "test_matched"},
    ),
    "qnli": GlueTask(
        "QNLI", "question", "sentence", "label", _RTE_LABELS, ("accuracy",),
        _counts(104743, 5463, 5463), {"test": "QNLI.tsv"},
    ),
    "rte": GlueTask(
        "RTE", "sentence1", "sentence2", "label", _RTE_LABELS, ("accuracy",),
        _counts(2490, 277, 3000), {"test": "RTE.tsv"},
    ),
    "wnli": GlueTask(
        "WNLI", "sentence1", "sentence2", "label", {"0": "not_entailment", "1": "entailment"}, ("accuracy",),
        _counts(635, 71, 146), {"test": "WNLI.tsv"},
    ),
    "ax": GlueTask(
        "diagnostic", "sentence1", "sentence2", "label", _NLI_LABELS, ("matthews",), {"test": 1104}, {"test": "AX.tsv"},
    ),
}  # fmt: skip
"""The tasks by their names on the Hub; ``ax`` is the diagnostic set, predicted with an MNLI model."""


def find_glue_task(name: str) -> GlueTask:
    """Find a task by name: ``sst2``, or its folder name, ``SST-2``.

    Raises:
        DataError: there is no such task.
    """
    key = _normalize_name(name)
    task = TASKS.get(key) or TASKS.get({"diagnostic": "ax", "sst": "sst2", "sts": "stsb"}.get(key, ""))
    if task is None:
        raise DataError(f'data.format: unknown GLUE task "{name}"; {did_you_mean(key, TASKS)}')
    return task


def _normalize_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_FOLDERS: Final = {_normalize_name(spec.directory): name for name, spec in TASKS.items()} | {
    name: name for name in TASKS
}
"""Folder name without capitals and punctuation → task."""


def read_glue(
    path: str | Path,
    task: str,
    split: str | None = None,
    *,
    encoding: str = "utf-8",
    need_target: bool = False,
    kind: str | None = None,
    limit: int | None = None,
) -> Dataset:
    """Read one split of a GLUE task from its folder, or one file in its format.

    Args:
        path: the folder of the task, or a file; the name of a file determines its split.
        task: a name of ``TASKS``.
        split: ``train`` (the default), ``dev``, ``test``; for MNLI also ``dev_mismatched``, ``test_mismatched``.
        encoding: the encoding of the file; the official files are UTF-8.
        need_target: whether a file without labels is an error.
        kind: the task kind that the caller expects; None accepts the kind of the GLUE task.
        limit: read only the first N rows; None reads all.

    Raises:
        DataError: the file is missing or damaged, has another header, or a label is unknown.
    """
    spec = find_glue_task(task)
    if kind is not None and kind != spec.kind:
        raise DataError(f"{path}: {spec.directory} is a {spec.kind} task, found {kind}; set task.kind={spec.kind}.")
    file, split = _file(Path(expand_home(path)), spec, split)
    lines = split_lines(load_text(file, encoding))
    rows = [line.split("\t") for line in lines]
    header, first = _header(file, spec, rows, split)
    if need_target and spec.label not in header:
        raise DataError(
            f"{file}: has no column {spec.label}; the labels of GLUE's test sets are not public; use a dev file."
        )
    examples, skipped, columns = _examples(file, spec, rows, header, first, limit)
    notes = []
    published = spec.rows.get(split or "") if limit is None else None
    if published is not None and published != len(examples):
        notes.append(
            f"{file}: has {pluralize(len(examples), 'row')}; the published {spec.directory} {split} has {published:,}"
        )
    if not examples:
        raise DataError(f"{file}: has a header but no rows; check that it is the right file.")
    name = next(name for name, other in TASKS.items() if other is spec)
    report = ReadReport(
        str(file), len(examples), skipped, columns, (), tuple(notes), fingerprint(examples), name, split
    )
    return Dataset(examples, report, spec.label_names or None)


def _file(path: Path, spec: GlueTask, split: str | None) -> tuple[Path, str | None]:
    """The file of a split, and the split, which is None for a file with an unofficial name."""
    if not path.is_dir():
        stem = "test" if path.name == "diagnostic.tsv" else path.name.partition(".")[0]
        return path, stem if stem in spec.rows else None
    split = split or ("train" if "train" in spec.rows else "test")
    split = spec.aliases.get(split, split)
    if split not in spec.rows:
        raise DataError(f"{path}: {spec.directory} has no split {split}; {did_you_mean(split, spec.rows)}")
    return find_task_folder(path, spec) / spec.file(split), split


def list_task_splits(folder: Path, task: str) -> tuple[str, ...]:
    """The splits of a task whose files are in a folder, or in the task's subfolder."""
    spec = find_glue_task(task)
    folder = find_task_folder(folder, spec)
    return tuple(split for split in spec.rows if (folder / spec.file(split)).is_file())


def find_task_folder(folder: Path, spec: GlueTask) -> Path:
    """Find the folder of a task: this folder, or its subfolder for the task as GLUE's downloader creates it."""
    if any((folder / spec.file(split)).is_file() for split in spec.rows):
        return folder
    return next((path for name, path in find_task_folders(folder).items() if TASKS[name] is spec), folder)


def find_task_folders(folder: Path) -> dict[str, Path]:
    """Find the subfolders of GLUE tasks, as GLUE's downloader creates them: task → folder."""
    tasks: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = _FOLDERS.get(_normalize_name(path.name)) if path.is_dir() else None
        if name is not None and any((path / TASKS[name].file(split)).is_file() for split in TASKS[name].rows):
            tasks.setdefault(name, path)
    return tasks


def _header(file: Path, spec: GlueTask, rows: list[list[str]], split: str | None) -> tuple[Sequence[str], int]:
    """The columns of a file, and the index of its first row.

    Raises:
        DataError: columns of the task are missing.
    """
    required = [name for name in (spec.text, spec.text_pair) if name is not None]
    if split is not None and not split.startswith("test"):
        required.append(spec.label)
    if set(required) <= set(rows[0]):
        return rows[0], 1
    # CoLA's train and dev files begin with their first row.
    has_all_cells = spec.headerless and len(rows[0]) == len(spec.headerless)
    if has_all_cells and rows[0][spec.headerless.index(spec.label)] in spec.labels:
        return spec.headerless, 0
    actual = ", ".join(cell[:30] for cell in rows[0][:16])
    raise DataError(
        f"{file}:1: is not the header of a {spec.directory} file: expected the tab-separated columns "
        f"{', '.join(required)}, found {actual}; to read a custom table, set data.format=null and the columns "
        "(data.text=…)."
    )


def _examples(
    file: Path, spec: GlueTask, rows: list[list[str]], header: Sequence[str], first: int, limit: int | None
) -> tuple[list[Example], dict[str, int], ColumnNames]:
    width = len(header)
    text = header.index(spec.text)
    pair = header.index(spec.text_pair) if spec.text_pair is not None else None
    label = header.index(spec.label) if spec.label in header else None
    label_of = {**{name: name for name in spec.labels.values()}, **spec.labels}
    id_name = next((name for name in ("index", "id") if name in header), None)
    numbered: list[tuple[int, list[str]]] = []
    targets: list[Target | None] = []
    skipped: dict[str, int] = {}
    for number, row in enumerate(rows[first:], first + 1):
        if len(numbered) == limit:
            break
        if len(row) != width:
            # QQP as distributed has incomplete rows; all other files are complete.
            if row != [""] and (len(row) > width or spec.directory != "QQP"):
                raise DataError(
                    f"{file}:{number}: expected {width} columns, found {len(row)}; check whether the file is damaged."
                )
            reason = "blank line" if row == [""] else "fewer columns than the header"
            skipped[reason] = skipped.get(reason, 0) + 1
            continue
        if label is None:
            targets.append(None)
        elif spec.labels:
            target = label_of.get(row[label])
            if target is None:
                if row[label] != "-" or "neutral" not in label_of:
                    expected = ", ".join(label_of)
                    raise DataError(f'{file}:{number}: unknown label "{row[label]}"; expected one of {expected}.')
                skipped["no gold label (-)"] = skipped.get("no gold label (-)", 0) + 1
                continue
            targets.append(target)
        else:
            targets.append(_score(row[label], file, number))
        numbered.append((number, row))
    ids = [str(i) for i in range(len(numbered))]
    if id_name is not None:
        place = header.index(id_name)
        column = [row[place] for _, row in numbered]
        ids, id_name = (column, id_name) if len(set(column)) == len(column) else (ids, None)
    examples = [
        Example(name, row[text], None if pair is None else row[pair], target, f"{file}:{number}")
        for name, (number, row), target in zip(ids, numbered, targets, strict=True)
    ]
    return examples, skipped, ColumnNames(spec.text, spec.text_pair, None if label is None else spec.label, id_name)


def _score(value: str, file: Path, number: int) -> float:
    try:
        score = float(value)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f'{file}:{number}: the score "{value}" is not a number; check whether the file is damaged.')
    return score


def detect_task(path: Path) -> str | None:
    """Detect the GLUE task of a folder, or of a file with an official name, by its name or its contents."""
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and path.name not in {spec.file(split) for spec in TASKS.values() for split in spec.rows}:
        return None
    name = _FOLDERS.get(_normalize_name(folder.resolve().name))
    files = [path] if path.is_file() else [folder / f"{split}.tsv" for split in ("train", "dev", "dev_matched", "test")]
    if name is not None:
        official = [path] if path.is_file() else [folder / TASKS[name].file(split) for split in TASKS[name].rows]
        if any(file.is_file() for file in official):
            return name
    first = next((file for file in files if file.is_file()), None)
    return _detect_by_contents(first) if first is not None else None


def _detect_by_contents(file: Path) -> str | None:
    """Detect the task whose header and labels match the first lines of a file.

    Any file may have the columns of SST-2 or WNLI and labels 0 and 1, which would then get wrong names. These two tasks
    therefore also require the published number of rows.
    """
    with file.open("rb") as handle:
        lines = [handle.readline() for _ in range(20)]
    rows = [line.decode("utf-8-sig", "replace").rstrip("\r\n").split("\t") for line in lines if line.strip()]
    if not rows:
        return None
    for name, spec in TASKS.items():
        header, first = rows[0], 1
        if spec.headerless:  # CoLA: its third column is empty or a star
            header, first = list(spec.headerless), 0
            if {(len(row), row[2]) for row in rows if len(row) > 2} - {(4, ""), (4, "*")}:
                continue
        if name == "ax" or not {spec.text, spec.text_pair or spec.text, spec.label} <= set(header):
            continue
        place = header.index(spec.label)
        values = {row[place] for row in rows[first:] if len(row) == len(header)}
        fits = values <= set(spec.labels) if spec.labels else "old_index" in header
        if values and fits and (name not in ("sst2", "wnli") or _has_published_rows(file, spec)):
            return name
    return None


def _has_published_rows(file: Path, spec: GlueTask) -> bool:
    lines = len(split_lines(file.read_bytes().decode("latin-1")))
    return lines - 1 == spec.rows.get(file.stem)


def write_submission(task: str, predictions: Sequence[str | float], folder: str | Path, split: str = "test") -> Path:
    """Write the submission file for gluebenchmark.com of one test split: ``index<TAB>prediction``.

    Args:
        task: a name of ``TASKS``.
        predictions: a label (for STS-B a score) for every row of the test file, in order.
        folder: directory of the file, which gets its official name.
        split: ``test``; for MNLI ``test_matched`` (also ``test``) or ``test_mismatched``.

    Returns:
        The file. Labels are words for MNLI, QNLI, RTE and AX, 0/1 for other tasks; scores of STS-B are clipped to 0..5.

    Raises:
        DataError: the number of predictions is wrong, or a prediction is not a label of the task.
    """
    spec = find_glue_task(task)
    split = spec.aliases.get(split, split)
    if split not in spec.outputs:
        raise DataError(f"{spec.directory}: has no test split {split}; {did_you_mean(split, spec.outputs)}")
    if len(predictions) != spec.rows[split]:
        raise DataError(
            f"{spec.directory}: expected {spec.rows[split]} predictions, one for each row of {split}.tsv, "
            f"found {len(predictions)}; predict all rows of the official file."
        )
    # Write labels with the values in the files, digits if those are digits.
    values = {name: value for value, name in spec.labels.items()} | {value: value for value in spec.labels}
    lines = ["index\tprediction"]
    for i, prediction in enumerate(predictions):
        if spec.labels:
            text = values.get(str(prediction))
        else:
            number = float(prediction)
            text = f"{min(max(number, 0.0), 5.0):.3f}" if math.isfinite(number) else None
        if text is None:
            expected = f"one of {', '.join(spec.label_names)}" if spec.labels else "a number"
            raise DataError(f"{spec.directory}: prediction {i} is {prediction!r}; expected {expected}.")
        lines.append(f"{i}\t{text}")
    return write_atomically(Path(folder) / spec.outputs[split], "\n".join(lines) + "\n")
