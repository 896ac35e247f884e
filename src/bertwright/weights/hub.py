"""A model's name or path → a local directory, by way of the Hub and its cache where it has to be."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bertwright.errors import HubError, did_you_mean
from bertwright.files.atomic import expand_home
from bertwright.weights.checkpoint_files import WEIGHT_FILES

logger = logging.getLogger(__name__)

HUB_TIMEOUT_SECONDS = 3.0
"""How long the Hub may take to answer at all before its cache is used; ``HF_HUB_ETAG_TIMEOUT`` sets another time."""

_SMALL_FILES = ("config.json", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json")
BUNDLE_FILES = ("recipe.yaml", "report.json")
"""What a bundle holds besides a model's own files; without them it would predict differently."""

_SPECIAL_VOCABULARIES = ("*.model",)  # SentencePiece, such as XLM-R's and CamemBERT's; small as well
# The first models had no organisation in their names; the Hub still redirects, a cache without network cannot.
_ORGANISATIONS = {
    "bert-": "google-bert",
    "roberta-": "FacebookAI",
    "xlm-roberta-": "FacebookAI",
    "distilbert-": "distilbert",
    "distilroberta-": "distilbert",
    "camembert-": "almanach",
}


def locate_model(name_or_path: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The directory of a model: the one that is named, or the snapshot of a Hub model, downloaded if need be.

    An existing directory wins over a Hub name. Of a Hub model only configuration, tokenizer, weights (in one format)
    and the files of a bundle are downloaded; a cached snapshot that lacks one of them is completed. Where the Hub does
    not answer, its cache is used and a warning is logged; with ``HF_HUB_OFFLINE=1`` it is not asked. A token for
    private models is huggingface_hub's own affair (``HF_TOKEN``).

    Args:
        name_or_path: a directory, or a Hub name such as ``google-bert/bert-base-uncased`` or ``bert-base-uncased``.
        revision: branch, tag or commit on the Hub; None for ``main``.

    Raises:
        HubError: neither here nor on the Hub, not to be read without permission, or no network and not cached.
    """
    name = expand_home(name_or_path)
    if not name:
        raise HubError(
            "model: the name is empty; give a directory or a Hub name such as google-bert/bert-base-uncased."
        )
    path = Path(name)
    if path.is_dir():
        if revision is not None:
            raise HubError(f"{name}: is a directory, which has no revision {revision!r}; leave model.revision out.")
        return path
    if path.is_file():
        raise HubError(f"{name}: is a file; pass the directory it lies in, {path.parent}.")
    if not re.fullmatch(r"([\w-][\w.-]*/)?[\w-][\w.-]*", name):
        raise HubError(f"{name}: no such directory; {_near(path)}")
    return _from_hub(name, revision or "main")


def _from_hub(name: str, revision: str) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The root of the errors of whichever HTTP library this version of huggingface_hub uses.
    http_error: type[Exception] = HfHubHTTPError.__bases__[0]
    if constants.HF_HUB_OFFLINE:
        return _from_cache(name, revision, "HF_HUB_OFFLINE is set", "unset it")
    api = HfApi(endpoint=constants.ENDPOINT)
    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or HUB_TIMEOUT_SECONDS)
    try:
        info = api.model_info(name, revision=revision, timeout=seconds)
        # Under the name the Hub knows it by: the older spelling would be a second copy in the cache.
        canonical = info.id if "/" in (info.id or "") else name
        patterns = _patterns(canonical, [file.rfilename for file in info.siblings or ()])
        folder = snapshot_download(
            canonical, revision=revision, allow_patterns=patterns, endpoint=constants.ENDPOINT, etag_timeout=seconds
        )
    except HFValidationError as error:
        raise HubError(f"{name}: neither a directory nor a Hub name; {_near(Path(name))}") from error
    except (http_error, OSError) as error:
        return _from_cache(name, revision, *_explain(name, revision, error, constants.ENDPOINT), error)
    return Path(folder)


def _patterns(name: str, files: Iterable[str]) -> list[str]:
    """What to download: the small files, those of a bundle, and the weights in the preferred format of those there."""
    top = [file for file in files if "/" not in file]
    weights = next((file for file in WEIGHT_FILES if file in top), None)
    if weights is None or "config.json" not in top:
        lacking = "config.json" if weights else "model.safetensors or pytorch_model.bin"
        raise HubError(f"{name}: the Hub's repository holds no {lacking}; choose a model that was saved for PyTorch.")
    shards = [f"{weights.partition('.')[0]}-*{Path(weights.removesuffix('.index.json')).suffix}"]
    small = (*_SMALL_FILES, *_SPECIAL_VOCABULARIES, *BUNDLE_FILES)
    wanted = [*small, weights, *(shards if weights.endswith(".json") else ())]
    return [file for file in top if any(fnmatchcase(file, pattern) for pattern in wanted)]


def _explain(name: str, revision: str, error: Exception, endpoint: str) -> tuple[str, str]:
    """What the Hub's answer, or its silence, means, and what to do."""
    from huggingface_hub import errors

    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return "is gated", f"ask for access at {endpoint}/{name}, then set HF_TOKEN to a token of that account"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no revision {revision!r}", f"see {endpoint}/{name}/branches"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        # The Hub does not tell strangers which private names exist.
        known = "the token in use may not read it" if os.environ.get("HF_TOKEN") else "set HF_TOKEN if it is private"
        return f"does not exist on {endpoint}, or is private", f"check the spelling, {known}"
    if status is not None:
        return f"cannot be had: {endpoint} answered {status}", "try again later"
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return (
            f"cannot be stored ({error.strerror}: {error.filename})",
            "set HF_HOME to a place with space that is yours",
        )
    said = str(error).strip().partition("\n")[0][:160] or type(error).__name__
    return f"cannot be fetched: no connection to {endpoint} ({said})", "check the network"


def _from_cache(name: str, revision: str, why: str, remedy: str, cause: Exception | None = None) -> Path:
    """The cached snapshot, if it is whole; otherwise an error that says why it came to this and what is missing."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    lacks = ""
    for repository in _spellings(name):
        folder = cache / f"models--{repository.replace('/', '--')}"
        ref = folder / "refs" / revision
        commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision
        snapshot = folder / "snapshots" / commit
        if not snapshot.is_dir():
            continue
        if not (missing := _missing(snapshot)):
            if cause is not None:
                logger.warning("%s: %s; using the copy in the cache, %s", name, why, snapshot)
            return snapshot
        lacks = f" but for {missing} in {snapshot}"
    at = "" if revision == "main" else f" --revision {revision}"
    raise HubError(
        f"{name}: {why}, and it is not in the cache {cache}{lacks}; {remedy}, or run `hf download {name}{at}` where "
        f"there is network, copy the directory and pass its path{_siblings(Path(name))}."
    ) from cause


def _spellings(name: str) -> list[str]:
    """The names under which a model of the first days may be cached, with its organisation and without."""
    organisation, _, short = name.rpartition("/")
    for start, owner in _ORGANISATIONS.items():
        if short.startswith(start) and organisation in ("", owner):
            return [f"{owner}/{short}", short]
    return [name]


def _missing(snapshot: Path) -> str:
    """What a cached snapshot lacks to be a model, in words; "" if it lacks nothing."""
    if not (snapshot / "config.json").is_file():
        return "config.json"
    weights = next((snapshot / file for file in WEIGHT_FILES if (snapshot / file).is_file()), None)
    if weights is None:
        return "the weights"
    if weights.suffix == ".json":
        try:
            index: Any = json.loads(weights.read_text(encoding="utf-8"))
            shards = sorted(map(Path, index["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return weights.name
        return ", ".join(dict.fromkeys(str(shard) for shard in shards if not (snapshot / shard).is_file()))
    return ""


def _near(path: Path) -> str:
    """A hint towards what does exist, for a path that does not."""
    parent = path.parent
    while not parent.is_dir():
        path, parent = parent, parent.parent
    folders = [entry.name for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if not folders:
        return f"{parent} holds no directories; check the path."
    return f"in {parent}: {did_you_mean(path.name, folders)}"


def _siblings(path: Path) -> str:
    """A hint at a directory with nearly the same name, for a Hub name that may have been meant as a path."""
    if not path.parent.is_dir():
        return ""
    hint = did_you_mean(path.name, [entry.name for entry in path.parent.iterdir() if entry.is_dir()])
    return f" (in {path.parent.resolve()}: {hint})" if hint.startswith("did") else ""
