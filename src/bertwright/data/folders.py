"""Folders with data sets: detection of their layout and splits, and folders with one text per file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bertwright.data import conll, glue
from bertwright.data.hf_datasets import list_hub_splits
from bertwright.data.split_names import SPELLINGS, name_splits
from bertwright.data.table_files import FORMATS, Table
from bertwright.data.text_files import load_text
from bertwright.errors import DataError

# The folders of aclImdb; the label names are those of all other copies of the data.
_FOLDER_LABELS: Final = {"neg": "negative", "pos": "positive"}
_UNLABELED: Final = "unsup"

_CORPUS_SUFFIXES: Final = (".text", ".raw", ".tokens")
"""Suffixes of plain text files that only corpora have."""


def detect_layout(path: Path) -> str | None:
    """Detect the layout of a folder, or of the folder that contains a file: a GLUE task, ``aclimdb``, or None."""
    if path.is_dir() and any((path / name / "pos").is_dir() and (path / name / "neg").is_dir() for name in SPELLINGS):
        return "aclimdb"
    return glue.detect_task(path)


def list_splits(source: str | Path, layout: str | None = None) -> tuple[str, ...]:
    """List the splits of a folder or a Hub data set: those of ``train``, ``dev`` and ``test`` that exist.

    MNLI has ``dev_matched``, ``dev_mismatched`` and so on. A folder of class folders is one split, ``train``.

    Raises:
        DataError: the folder does not exist or has an unknown layout.
        BertwrightError: the data set cannot be loaded.
    """
    if isinstance(source, str) and source.startswith("hub:"):
        return tuple(name_splits(list_hub_splits(source))) or ("train",)
    folder = Path(source)
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder; use data.train and data.dev for files, data.path for a folder.")
    layout = layout or detect_layout(folder)
    if layout is not None and layout != "aclimdb":
        return glue.list_task_splits(folder, layout)
    if is_saved_dataset(folder):
        return tuple(name_splits(list_saved_splits(folder))) or ("train",)
    splits = tuple(split for split in SPELLINGS if _candidates(folder, split))
    if splits:
        return splits
    if _class_names(folder) and not glue.find_task_folders(folder):  # a GLUE folder may contain a readme.txt
        return ("train",)
    raise _unknown_layout_error(folder)


def list_saved_splits(folder: Path) -> list[str]:
    """List the splits of a saved ``DatasetDict``; empty if the folder contains a single ``Dataset``.

    Raises:
        DataError: the list of splits is damaged.
    """
    file = folder / "dataset_dict.json"
    if not file.is_file():
        return []
    try:
        names = json.loads(file.read_text("utf-8"))["splits"]
        return [str(name) for name in names]
    except (ValueError, KeyError, TypeError):
        raise DataError(f'{file}: expected {{"splits": ["train", …]}}; save the data set again.') from None


def is_saved_dataset(path: Path) -> bool:
    """Whether ``datasets``' ``save_to_disk`` wrote this folder."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def find_split(folder: Path, split: str | None) -> Path:
    """Find the file, or the folder of class folders, with a split of a folder.

    Raises:
        DataError: the folder has no such split, several files for it, or an unknown layout.
    """
    splits = [name for name in SPELLINGS if _candidates(folder, name)]
    if split in splits:
        return _require_one(folder, split, _candidates(folder, split))
    if splits:
        problem = f"has no split {split}" if split else "has several splits"
        example = _candidates(folder, splits[0])[0]
        raise DataError(f"{folder}: {problem}; name one of {', '.join(splits)}, as in {example}.")
    if not _class_names(folder) or glue.find_task_folders(folder):
        raise _unknown_layout_error(folder)
    if split not in (None, "train", folder.name):
        raise DataError(f"{folder}: has a folder per class but no split {split}; name the folder of the split.")
    return folder


def has_only_class_folders(folder: Path) -> bool:
    """Whether a folder has one folder of texts per class and no splits; the setting that names the folder decides its
    split.
    """
    if not folder.is_dir() or any(_candidates(folder, split) for split in SPELLINGS):
        return False
    return bool(_class_names(folder))


def list_corpus_splits(folder: Path) -> tuple[str, ...]:
    """List the splits of a folder of pre-training texts; empty if its files and folders are not named after splits."""
    return tuple(split for split in SPELLINGS if _candidates(folder, split, corpus=True))


def find_corpus_split(folder: Path, split: str | None) -> Path:
    """Find the file or folder with a split of a corpus; the entire folder if no split is requested, or it has none.

    Raises:
        DataError: the folder has other splits, or several files could be the split.
    """
    splits = list_corpus_splits(folder) if split is not None else ()
    if not splits:
        return folder
    if split not in splits:
        raise DataError(f"{folder}: has no split {split}; name one of {', '.join(splits)}, or a file.")
    return _require_one(folder, split, _candidates(folder, split, corpus=True))


def _require_one(folder: Path, split: str | None, candidates: list[Path]) -> Path:
    if len(candidates) > 1:
        names = ", ".join(item.name for item in candidates)
        raise DataError(f"{folder}: several files could be the split {split} ({names}); name one of them.")
    return candidates[0]


def _candidates(folder: Path, split: str | None, corpus: bool = False) -> list[Path]:
    """Files and folders that could be a split: files with its name in a readable format, folders with class folders.

    For a corpus also WikiText's ``wiki.train.tokens``, and folders with any files.
    """
    suffixes = {*FORMATS.split(", "), *(_CORPUS_SUFFIXES if corpus else conll.SUFFIXES)}
    candidates = []
    for item in sorted(folder.iterdir()):
        stem, _, rest = item.name.lower().removeprefix("wiki." if corpus else "").partition(".")
        if stem not in SPELLINGS[split or "train"]:
            continue
        if item.is_dir():
            readable = next(item.rglob("*.*"), None) is not None if corpus else bool(_class_names(item))
        else:
            readable = f".{rest.removesuffix('.gz')}" in suffixes
        if readable:
            candidates.append(item)
    return candidates


def _class_names(folder: Path) -> list[str]:
    """The subfolders that contain texts."""
    children = sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))
    return [child.name for child in children if next(child.glob("*.txt"), None) is not None]


def _unknown_layout_error(folder: Path) -> DataError:
    names = sorted(item.name for item in folder.iterdir())
    contents = (", ".join(names[:8]) + (", …" if len(names) > 8 else "")) or "nothing"
    if tasks := glue.find_task_folders(folder):
        listed = ", ".join(path.name for path in tasks.values())
        name, path = next(iter(tasks.items()))
        return DataError(
            f"{folder}: contains the GLUE tasks {listed}; set data.path to one of them ({path}), or data.format={name}."
        )
    return DataError(
        f"{folder}: is a directory of unknown layout (it contains {contents}); name a file, or a folder with train "
        "and dev files, a GLUE task, or one folder per class."
    )


def read_class_folders(folder: Path, encoding: str = "utf-8") -> Table:
    """Read a folder of class folders: one text per file; the folder's name is the label (pos: positive).

    Files have no natural order. Each class is distributed evenly over the rows, so that the first N rows are a
    representative sample.

    Raises:
        DataError: a file cannot be read or decoded.
    """
    skipped: dict[str, int] = {}
    placed: list[tuple[float, str, Path]] = []
    for name in _class_names(folder):
        files = [item for item in (folder / name).iterdir() if item.is_file() and not item.name.startswith(".")]
        texts = sorted((item for item in files if item.suffix == ".txt"), key=lambda item: (len(item.name), item.name))
        if name == _UNLABELED:
            skipped["without a label (unsup)"] = len(texts)
            continue
        if len(texts) < len(files):
            skipped["not a .txt file"] = skipped.get("not a .txt file", 0) + len(files) - len(texts)
        placed += [((i + 0.5) / len(texts), name, item) for i, item in enumerate(texts)]
    placed.sort(key=lambda place: place[:2])
    values: dict[str, list[Any]] = {
        "id": [f"{name}/{item.stem}" for _, name, item in placed],
        "text": [load_text(item, encoding, may_be_empty=True) for _, _, item in placed],
        "label": [_FOLDER_LABELS.get(name, name) for _, name, _ in placed],
    }
    return Table(
        str(folder), list(values), len(placed), values.__getitem__, lambda i: str(placed[i][2]), skipped=skipped
    )
