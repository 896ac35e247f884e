"""Folders that hold a data set: which layout it is, which splits it has, and folders of one text a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bertwright.errors import DataError
from bertwright.text import conll, glue
from bertwright.text.tables import FORMATS, Table, load_text

SPLIT_FILES: Final = {
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test",),
}
"""The names, without suffix, under which the files of a split go."""

# The folders of aclImdb; the names are those that every other copy of the data has.
_FOLDER_LABELS: Final = {"neg": "negative", "pos": "positive"}
_UNLABELLED: Final = "unsup"


def detect_layout(path: Path) -> str | None:
    """The known layout of a folder, or of the folder that a file lies in: a GLUE task, ``aclimdb``, or None."""
    if path.is_dir() and any((path / name / "pos").is_dir() and (path / name / "neg").is_dir() for name in SPLIT_FILES):
        return "aclimdb"
    return glue.detect_task(path)


def splits_of(path: str | Path, layout: str | None = None) -> tuple[str, ...]:
    """The splits of a folder that can be read: of ``train``, ``dev``, ``test`` those that are there.

    MNLI has ``dev_matched``, ``dev_mismatched`` and so on. A folder of class folders is all ``train``.

    Raises:
        DataError: the folder is missing or in no layout that is known.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder; name files with data.train and data.dev, a folder with data.path.")
    layout = layout or detect_layout(folder)
    if layout is not None and layout != "aclimdb":
        return glue.splits_in(folder, layout)
    if (folder / "dataset_dict.json").is_file():
        names = json.loads((folder / "dataset_dict.json").read_text("utf-8"))["splits"]
        return tuple(role for role, known in SPLIT_FILES.items() if any(name in known for name in names))
    found = tuple(split for split in SPLIT_FILES if _candidates(folder, split))
    if found:
        return found
    if is_saved_dataset(folder) or _class_names(folder):
        return ("train",)
    raise _unknown(folder)


def is_saved_dataset(path: Path) -> bool:
    """Whether ``datasets``' ``save_to_disk`` wrote this folder."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def inside(folder: Path, split: str | None) -> Path:
    """The file, or the folder of class folders, that holds a split of a folder.

    Raises:
        DataError: the folder has no such split, several files for it, or no known layout.
    """
    there = [name for name in SPLIT_FILES if _candidates(folder, name)]
    if split in there:
        found = _candidates(folder, split)
        if len(found) > 1:
            names = ", ".join(item.name for item in found)
            raise DataError(f"{folder}: several files could be the split {split} ({names}); name one of them.")
        return found[0]
    if there:
        what = f"has no split {split}" if split else "holds several splits"
        raise DataError(
            f"{folder}: {what}; name one that is there ({', '.join(there)}), as in {_candidates(folder, there[0])[0]}."
        )
    if not _class_names(folder):
        raise _unknown(folder)
    if split not in (None, "train", folder.name):
        raise DataError(f"{folder}: is one folder a class, without a split {split}; name the folder that holds it.")
    return folder


def _candidates(folder: Path, split: str) -> list[Path]:
    """What could hold a split: files by that name in a format that can be read, and folders with class folders."""
    known = {*FORMATS.split(", "), *conll.SUFFIXES}
    found = []
    for item in sorted(folder.iterdir()):
        stem, _, rest = item.name.partition(".")
        if stem.lower() not in SPLIT_FILES[split]:
            continue
        if (item.is_file() and f".{rest.lower().removesuffix('.gz')}" in known) or (
            item.is_dir() and _class_names(item)
        ):
            found.append(item)
    return found


def _class_names(folder: Path) -> list[str]:
    """The subfolders that hold texts."""
    children = sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))
    return [child.name for child in children if next(child.glob("*.txt"), None) is not None]


def _unknown(folder: Path) -> DataError:
    names = sorted(item.name for item in folder.iterdir())
    shown = (", ".join(names[:8]) + (", …" if len(names) > 8 else "")) or "nothing"
    return DataError(
        f"{folder}: is a directory where a file is due, and in no known layout (it holds {shown}); name a file, or a "
        "folder with train and dev files, a GLUE task, or one folder a class."
    )


def class_folders(folder: Path, encoding: str = "utf-8") -> Table:
    """The table of a folder of class folders: one text a file, the folder's name the label (pos: positive).

    Files have no order of their own. Each class is spread evenly over the rows, so that the first N rows
    are a fair sample and not one class.

    Raises:
        DataError: a file cannot be read or decoded.
    """
    skipped: dict[str, int] = {}
    placed: list[tuple[float, str, Path]] = []
    for name in _class_names(folder):
        files = [item for item in (folder / name).iterdir() if item.is_file() and not item.name.startswith(".")]
        texts = sorted((item for item in files if item.suffix == ".txt"), key=lambda item: (len(item.name), item.name))
        if name == _UNLABELLED:
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
