"""The GLUE benchmark: its nine tasks and the diagnostic set, read to the letter, and its submission files.

Files are UTF-8, tab-separated, without any quoting (with csv's default quoting up to a fifth of the rows of
STS-B vanish). Labels are mapped by name, never by position. Row counts are those of the official files, as
published with the data set on the Hugging Face Hub (nyu-mll/glue).
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
from bertwright.data.table_files import load_text, split_lines
from bertwright.data.targets.lookup import Kind
from bertwright.errors import DataError, did_you_mean
from bertwright.files.atomic import expand_home, write_atomically

_THREE: Final = {"entailment": "entailment", "neutral": "neutral", "contradiction": "contradiction"}
_TWO: Final = {"entailment": "entailment", "not_entailment": "not_entailment"}


@dataclass(frozen=True)
class GlueTask:
    """One task of GLUE.

    Attributes:
        directory: the official folder name.
        text: the column of the text or the first text; ``text_pair`` that of the second.
        label: the column of the label in train and dev.
        labels: the label by the value in the file, in the order of the Hub's data set; empty for regression.
        metrics: GLUE's own, the first decides.
        rows: the published number of rows of each split.
        outputs: the submission file of each test split.
        headerless: the columns of train and dev files that have no header line.
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
        "MNLI", "sentence1", "sentence2", "gold_label", _THREE, ("accuracy",),
        {"train": 392702, "dev_matched": 9815, "dev_mismatched": 9832, "test_matched": 9796, "test_mismatched": 9847},
        {"test_matched": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv"},
        aliases={"dev": "dev_matched", "test": "test_matched"},
    ),
    "qnli": GlueTask(
        "QNLI", "question", "sentence", "label", _TWO, ("accuracy",), _counts(104743, 5463, 5463), {"test": "QNLI.tsv"},
    ),
    "rte": GlueTask(
        "RTE", "sentence1", "sentence2", "label", _TWO, ("accuracy",), _counts(2490, 277, 3000), {"test": "RTE.tsv"},
    ),
    "wnli": GlueTask(
        "WNLI", "sentence1", "sentence2", "label", {"0": "not_entailment", "1": "entailment"}, ("accuracy",),
        _counts(635, 71, 146), {"test": "WNLI.tsv"},
    ),
    "ax": GlueTask(
        "diagnostic", "sentence1", "sentence2", "label", _THREE, ("matthews",), {"test": 1104}, {"test": "AX.tsv"},
    ),
}  # fmt: skip
"""The tasks by the names the Hub gives them; ``ax`` is the diagnostic set, predicted with an MNLI model."""


def glue_task(name: str) -> GlueTask:
    """A task by name: ``sst2``, or its folder name, ``SST-2``.

    Raises:
        DataError: there is no such task.
    """
    found = TASKS.get(_plain(name)) or TASKS.get(
        {"diagnostic": "ax", "sst": "sst2", "sts": "stsb"}.get(_plain(name), "")
    )
    if found is None:
        raise DataError(f'layout: there is no GLUE task "{name}"; {did_you_mean(_plain(name), TASKS)}')
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_FOLDERS: Final = {_plain(spec.directory): name for name, spec in TASKS.items()} | {name: name for name in TASKS}
"""The tasks by the names that their folders go by, without capitals and punctuation."""


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
    """Read one split of a GLUE task from its folder, or one file in that format.

    Args:
        path: the folder of the task, or a file; the split of a file is told by its name.
        task: a name of ``TASKS``.
        split: ``train`` (also where None), ``dev``, ``test``; for MNLI also ``dev_mismatched``, ``test_mismatched``.
        encoding: of the file; the official ones are UTF-8.
        need_target: whether a file without labels is an error.
        kind: what the caller expects the task to be; None takes what it is.
        limit: read only the first N rows; None reads all.

    Raises:
        DataError: the file is missing or damaged, its header is another one, or a label is unknown.
    """
    spec = glue_task(task)
    if kind is not None and kind != spec.kind:
        raise DataError(f"{path}: {spec.directory} is a {spec.kind} task, found {kind}; say task.kind={spec.kind}.")
    file, split = _file(Path(expand_home(path)), spec, split)
    lines = split_lines(load_text(file, encoding))
    rows = [line.split("\t") for line in lines]
    header, first = _header(file, spec, rows, split)
    labelled = spec.label in header
    if need_target and not labelled:
        raise DataError(
            f"{file}: has no column {spec.label}; the labels of GLUE's test sets are not public: name a dev file."
        )
    examples, skipped, columns = _examples(file, spec, rows, header, first, limit)
    notes = []
    published = spec.rows.get(split or "") if limit is None else None
    if published is not None and published != len(examples):
        notes.append(f"{file}: {len(examples):,} rows where the published {spec.directory} {split} has {published:,}")
    if not examples:
        raise DataError(f"{file}: holds a header and no rows; is it the right file?")
    name = next(name for name, known in TASKS.items() if known is spec)
    report = ReadReport(
        str(file), len(examples), skipped, columns, (), tuple(notes), fingerprint(examples), name, split
    )
    return Dataset(examples, report, spec.label_names or None)


def _file(path: Path, spec: GlueTask, split: str | None) -> tuple[Path, str | None]:
    """The file of a split, and the split; of a file by another name the split is unknown."""
    if not path.is_dir():
        stem = "test" if path.name == "diagnostic.tsv" else path.name.partition(".")[0]
        return path, stem if stem in spec.rows else None
    split = split or ("train" if "train" in spec.rows else "test")
    split = spec.aliases.get(split, split)
    if split not in spec.rows:
        raise DataError(f"{path}: {spec.directory} has no split {split}; {did_you_mean(split, spec.rows)}")
    return task_folder(path, spec) / spec.file(split), split


def splits_in(folder: Path, task: str) -> tuple[str, ...]:
    """The splits of a task whose files are in a folder, or in the task's own folder in it."""
    spec = glue_task(task)
    folder = task_folder(folder, spec)
    return tuple(split for split in spec.rows if (folder / spec.file(split)).is_file())


def task_folder(folder: Path, spec: GlueTask) -> Path:
    """The folder of a task: this one, or the one in it by the task's name, as GLUE's downloader makes them."""
    if any((folder / spec.file(split)).is_file() for split in spec.rows):
        return folder
    return next((path for name, path in tasks_in(folder).items() if TASKS[name] is spec), folder)


def tasks_in(folder: Path) -> dict[str, Path]:
    """The tasks that have a folder of their own in this folder, as the directory of GLUE's downloader has, by name."""
    tasks: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = _FOLDERS.get(_plain(path.name)) if path.is_dir() else None
        if name is not None and any((path / TASKS[name].file(split)).is_file() for split in TASKS[name].rows):
            tasks.setdefault(name, path)
    return tasks


def _header(file: Path, spec: GlueTask, rows: list[list[str]], split: str | None) -> tuple[Sequence[str], int]:
    """The columns of a file, and the index of its first row.

    Raises:
        DataError: the columns of the task are not all there.
    """
    wanted = [name for name in (spec.text, spec.text_pair) if name is not None]
    if split is not None and not split.startswith("test"):
        wanted.append(spec.label)
    if set(wanted) <= set(rows[0]):
        return rows[0], 1
    # CoLA's train and dev files begin with their first row.
    cola = spec.headerless and len(rows[0]) == len(spec.headerless)
    if cola and rows[0][spec.headerless.index(spec.label)] in spec.labels:
        return spec.headerless, 0
    due = ", ".join(wanted)
    found = ", ".join(cell[:30] for cell in rows[0][:16])
    raise DataError(
        f"{file}:1: this is not the header of a {spec.directory} file: expected the tab-separated columns {due}, "
        f"found {found}; to read it as a table of your own set data.format=null and name its columns (data.text=…)."
    )


def _examples(
    file: Path, spec: GlueTask, rows: list[list[str]], header: Sequence[str], first: int, limit: int | None
) -> tuple[list[Example], dict[str, int], ColumnNames]:
    width = len(header)
    text = header.index(spec.text)
    pair = header.index(spec.text_pair) if spec.text_pair is not None else None
    label = header.index(spec.label) if spec.label in header else None
    known = {**{name: name for name in spec.labels.values()}, **spec.labels}
    id_name = next((name for name in ("index", "id") if name in header), None)
    kept: list[tuple[int, list[str]]] = []
    targets: list[Target | None] = []
    skipped: dict[str, int] = {}
    for number, row in enumerate(rows[first:], first + 1):
        if len(kept) == limit:
            break
        if len(row) != width:
            # QQP as distributed has rows that break off; every other file is whole.
            if row != [""] and (len(row) > width or spec.directory != "QQP"):
                raise DataError(f"{file}:{number}: expected {width} columns, found {len(row)}; is the file damaged?")
            reason = "blank line" if row == [""] else "fewer columns than the header"
            skipped[reason] = skipped.get(reason, 0) + 1
            continue
        if label is None:
            targets.append(None)
        elif spec.labels:
            target = known.get(row[label])
            if target is None:
                if row[label] != "-" or "neutral" not in known:
                    raise DataError(f'{file}:{number}: unknown label "{row[label]}"; known: {", ".join(known)}.')
                skipped["no gold label (-)"] = skipped.get("no gold label (-)", 0) + 1
                continue
            targets.append(target)
        else:
            targets.append(_score(row[label], file, number))
        kept.append((number, row))
    ids = [str(i) for i in range(len(kept))]
    if id_name is not None:
        place = header.index(id_name)
        own = [row[place] for _, row in kept]
        ids, id_name = (own, id_name) if len(set(own)) == len(own) else (ids, None)
    examples = [
        Example(name, row[text], None if pair is None else row[pair], target, f"{file}:{number}")
        for name, (number, row), target in zip(ids, kept, targets, strict=True)
    ]
    return examples, skipped, ColumnNames(spec.text, spec.text_pair, None if label is None else spec.label, id_name)


def _score(value: str, file: Path, number: int) -> float:
    try:
        score = float(value)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f'{file}:{number}: the score "{value}" is not a number; is the file damaged?')
    return score


def detect_task(path: Path) -> str | None:
    """The GLUE task of a folder, or of a file by an official name, told by its name or by what is in it."""
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and path.name not in {spec.file(split) for spec in TASKS.values() for split in spec.rows}:
        return None
    name = _FOLDERS.get(_plain(folder.resolve().name))
    files = [path] if path.is_file() else [folder / f"{split}.tsv" for split in ("train", "dev", "dev_matched", "test")]
    if name is not None:
        there = [path] if path.is_file() else [folder / TASKS[name].file(split) for split in TASKS[name].rows]
        if any(file.is_file() for file in there):
            return name
    found = next((file for file in files if file.is_file()), None)
    return _by_contents(found) if found is not None else None


def _by_contents(file: Path) -> str | None:
    """The task whose header and labels a file's first lines have.

    Anyone's file may have the columns of SST-2 or WNLI and labels 0 and 1, which would then get wrong names:
    those two must also have their published number of rows.
    """
    with file.open("rb") as handle:
        lines = [handle.readline() for _ in range(20)]
    rows = [line.decode("utf-8-sig", "replace").rstrip("\r\n").split("\t") for line in lines if line.strip()]
    if not rows:
        return None
    for name, spec in TASKS.items():
        header, first = rows[0], 1
        if spec.headerless:  # CoLA, whose third column is empty or a star
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
    """Write the file that gluebenchmark.com takes for one test split: ``index<TAB>prediction``.

    Args:
        task: a name of ``TASKS``.
        predictions: a label (or, for STS-B, a score) for every row of the test file, in its order.
        folder: where the file goes, under its official name.
        split: ``test``; for MNLI ``test_matched`` (also ``test``) or ``test_mismatched``.

    Returns:
        The file written. Labels stand as words for MNLI, QNLI, RTE and AX, as 0/1 elsewhere; STS-B's scores are
        clipped to 0..5.

    Raises:
        DataError: there are too few or too many predictions, or one is no label of the task.
    """
    spec = glue_task(task)
    split = spec.aliases.get(split, split)
    if split not in spec.outputs:
        raise DataError(f"{spec.directory}: has no test split {split}; {did_you_mean(split, spec.outputs)}")
    if len(predictions) != spec.rows[split]:
        raise DataError(
            f"{spec.directory}: expected {spec.rows[split]} predictions, one for each row of {split}.tsv, "
            f"found {len(predictions)}; predict the whole official file."
        )
    # Labels leave as the values the files have: the digits where those are digits.
    values = {name: value for value, name in spec.labels.items()} | {value: value for value in spec.labels}
    lines = ["index\tprediction"]
    for i, prediction in enumerate(predictions):
        if spec.labels:
            shown = values.get(str(prediction))
        else:
            number = float(prediction)
            shown = f"{min(max(number, 0.0), 5.0):.3f}" if math.isfinite(number) else None
        if shown is None:
            due = ", ".join(spec.label_names) if spec.labels else "a number"
            raise DataError(f"{spec.directory}: prediction {i} is {prediction!r}; expected {due}.")
        lines.append(f"{i}\t{shown}")
    return write_atomically(Path(folder) / spec.outputs[split], "\n".join(lines) + "\n")
