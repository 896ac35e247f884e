"""The members of an ensemble: ``ensemble.json``, which lists them, and what they must have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bertwright.errors import BundleError
from bertwright.weights.hf_config import ENSEMBLE

if TYPE_CHECKING:
    from bertwright.run.bundle import Bundle
    from bertwright.tasks.spec import Task

MEMBERS = "members"
"""The folder of the members."""

FORMAT = 1
"""Version of the format; it increases when programs for earlier versions would misread the file."""


class EnsembleFile(BaseModel):
    """The contents of ``ensemble.json``.

    Attributes:
        format: of the file.
        members: their directories, relative to that of the file and inside it.
        tuned: settings of the task that were chosen on the validation rows for the averaged predictions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=FORMAT, ge=1, le=FORMAT)
    members: tuple[str, ...] = Field(min_length=1)
    tuned: dict[str, Any] = {}


def load_ensemble_file(directory: Path) -> EnsembleFile:
    """Read ``ensemble.json`` and check that every member exists.

    Raises:
        BundleError: the file is damaged or of a newer version, or a member is missing or outside of the directory.
    """
    path = directory / ENSEMBLE
    try:
        contents = EnsembleFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        keys = ".".join(str(key) for key in first["loc"])
        if keys == "format":
            raise BundleError(f"{path}: has format {first['input']}, but this version reads {FORMAT}.") from None
        where = f"{keys}: " if keys else ""
        raise BundleError(f"{path}: damaged ({where}{first['msg']}); copy the ensemble again.") from None
    for name in contents.members:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise BundleError(f'{path}: the member "{name}" must be a path inside the directory of the file.')
        if not (directory / name / "config.json").is_file():
            raise BundleError(f"{directory / name}: is missing or incomplete, but {path} lists it; copy it again.")
    return contents


def check_members(members: Sequence[Bundle], name: str) -> None:
    """Check that models can be combined: same task, labels, texts and tokens.

    Raises:
        BundleError: they cannot; the message names the first model that differs.
    """
    if not members:
        raise BundleError(f"{name}: has no members; name at least one model.")
    first = members[0]
    if not first.task.averages_predictions:
        raise BundleError(f"{name}: predictions of {first.task.kind} models cannot be averaged.")
    expected = _member_properties(first)
    for member in members:
        if member.members:
            raise BundleError(f"{member.base.source}: is an ensemble itself; name its members instead.")
        for what, value in _member_properties(member).items():
            if value != expected[what]:
                raise BundleError(
                    f"{member.base.source}: its {what} differs from that of {first.base.source}; "
                    "the members of an ensemble must agree."
                )


def _member_properties(bundle: Bundle) -> dict[str, Any]:
    """What the members of an ensemble must have in common, by its name in messages."""
    free = {"metrics": None, "labels": None} | dict(bundle.task.tuned_settings)
    settings = {key: value for key, value in bundle.task.model_dump().items() if key not in free}
    return {
        "task": bundle.task.kind,
        "list of labels": bundle.labels,
        "task section": settings,
        "tokenizer": bundle.base.tokenizer.backend.to_str(),
        "tokens section": bundle.tokens,
        "data.normalize section": bundle.normalization,
        "number of texts per row": bundle.takes_pairs,
    }


def make_untuned_task(members: Sequence[Bundle]) -> Task:
    """The common task of several models; a setting that was tuned differently for each is to be tuned again."""
    task = members[0].task
    differing = {
        key: value
        for key, value in task.tuned_settings.items()
        if any(getattr(member.task, key) != getattr(task, key) for member in members)
    }
    return task.replace(**differing)
