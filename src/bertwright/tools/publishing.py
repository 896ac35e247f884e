"""Publishing a run on the Hub: which files, and their contents without paths of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bertwright.config.json_files import read_json_object
from bertwright.errors import BundleError
from bertwright.files.atomic import expand_home
from bertwright.files.strict_json import to_json
from bertwright.recipe import load_recipe
from bertwright.run.bundle import CONFIG, RECIPE, WEIGHTS
from bertwright.run.bundle_files import CARD, PAGE, list_bundle_files
from bertwright.run.model_card import use_hub_name
from bertwright.run.report import FILE_NAME as REPORT
from bertwright.run.report import Report
from bertwright.tools.local_paths import LocalPaths
from bertwright.weights.hf_config import is_ensemble, is_unfinished, unfinished_run_message
from bertwright.weights.hub_upload import check_repository_name, find_repository, upload_files

_NEEDED = (CONFIG, WEIGHTS, RECIPE, REPORT)


@dataclass(frozen=True)
class Upload:
    """The files of a run that are ready to be uploaded.

    Attributes:
        files: path in the repository → local file, or contents.
        contains_rows: whether a file shows rows of the data.
    """

    files: Mapping[str, Path | bytes]
    contains_rows: bool = False

    @property
    def sizes(self) -> dict[str, int]:
        """The number of bytes of each file."""
        return {
            name: len(source) if isinstance(source, bytes) else source.stat().st_size
            for name, source in self.files.items()
        }


def push_to_hub(run: str | os.PathLike[str], name: str, *, private: bool = False) -> str:
    """Upload the model, model card, recipe and report of a finished run to the Hub, in one commit.

    Checkpoints, optimizer state and logs are not uploaded, and paths of this machine are removed from the files.

    Args:
        run: directory of a finished run.
        name: OWNER/NAME of the repository; it is created if it does not exist.
        private: make a new repository private; an existing one must be private.

    Returns:
        The URL of the repository.

    Raises:
        BundleError: the directory is not that of a finished run.
        HubError: the name is invalid, there is no token, or the upload failed.
    """
    upload = prepare_upload(run, name)
    repository = find_repository(name, private)
    upload_files(repository, upload.files, COMMIT_MESSAGE)
    return repository.url


COMMIT_MESSAGE = "Upload the model with bertwright"


def prepare_upload(run: str | os.PathLike[str], name: str) -> Upload:
    """Collect the files of a finished run; nothing is sent.

    Args:
        run: directory of the run.
        name: OWNER/NAME of the repository, for the examples of the model card.

    Raises:
        BundleError: the directory is not that of a finished run.
        HubError: the name is invalid.
    """
    directory = Path(expand_home(run))
    check_repository_name(name)
    _check_finished_run(directory)
    files: dict[str, Path | bytes] = {path.name: path for path in list_bundle_files(directory)}
    recipe, report = load_recipe(directory / RECIPE, report_former_names=False), Report.load(directory)
    paths = LocalPaths(recipe, directory)
    files[RECIPE] = paths.remove_from_recipe(recipe).to_yaml().encode()
    values = paths.remove_from_values(report.model_dump())
    files[REPORT] = Report.model_validate(values).to_json().encode()
    for file in (path for path in list_bundle_files(directory) if path.name in _JSON_FILES):
        files[file.name] = (
            f"{to_json(paths.remove_from_values(read_json_object(file, BundleError)), indent=2)}\n".encode()
        )
    if CARD in files:
        card = use_hub_name((directory / CARD).read_text(encoding="utf-8"), report.name, name)
        files[CARD] = paths.remove(card).encode()
    if PAGE in files:
        files[PAGE] = paths.remove_from_html((directory / PAGE).read_text(encoding="utf-8")).encode()
    return Upload(files, contains_rows=PAGE in files)


_JSON_FILES = (CONFIG, "tokenizer_config.json")
"""Files that are copied from the base model, where other programs may have written paths."""


def _check_finished_run(directory: Path) -> None:
    """Check that a directory is that of one finished run.

    Raises:
        BundleError: it is not; with a hint to a run inside it.
    """
    if not directory.is_dir():
        raise BundleError(f"{directory}: no such directory; name the directory of a finished run.")
    if is_unfinished(directory):
        raise BundleError(unfinished_run_message(directory))
    if is_ensemble(directory):
        raise BundleError(
            f"{directory}: is an ensemble of several models, which the Hub's tools cannot open; push one of its "
            "members, or build the ensemble as one model with --ensemble-form soup."
        )
    missing = [name for name in _NEEDED if not (directory / name).is_file()]
    if not missing:
        return
    runs = sorted(path.parent for path in directory.glob(f"*/{CONFIG}") if (path.parent / RECIPE).is_file())
    hint = f"name a run inside it, for example {runs[0]}" if runs else "name the directory of a finished run"
    raise BundleError(f"{directory}: is not the directory of a finished run ({', '.join(missing)} missing); {hint}.")
