"""Model names and paths → local directories, with the Hub and its cache."""

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
"""Timeout of the Hub before its cache is used; ``HF_HUB_ETAG_TIMEOUT`` overrides it."""

SMALL_FILES = ("config.json", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json")
"""Patterns of the configuration and tokenizer files of a model."""

BUNDLE_FILES = ("recipe.yaml", "report.json")
"""Files of a run directory that predictions depend on."""

SPECIAL_VOCABULARIES = ("*.model",)
"""Patterns of SentencePiece vocabularies, such as those of XLM-R and CamemBERT; also small."""

# Early models had no organization in their names; the Hub redirects them, but an offline cache cannot.
_ORGANIZATIONS = {
    "bert-": "google-bert",
    "roberta-": "FacebookAI",
    "xlm-roberta-": "FacebookAI",
    "distilbert-": "distilbert",
    "distilroberta-": "distilbert",
    "camembert-": "almanach",
}


def locate_model(name_or_path: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Return the directory of a model: the named directory, or the snapshot of a Hub model, downloaded if needed.

    An existing directory takes precedence over a Hub name. Only the configuration, tokenizer, weights (in one format)
    and run files of a Hub model are downloaded; an incomplete cached snapshot is completed. If the Hub does not answer,
    its cache is used and a warning is logged; with ``HF_HUB_OFFLINE=1`` the Hub is not contacted. huggingface_hub reads
    the token for private models (``HF_TOKEN``).

    Args:
        name_or_path: a directory, or a Hub name such as ``google-bert/bert-base-uncased`` or ``bert-base-uncased``.
        revision: branch, tag or commit on the Hub; None for ``main``.

    Raises:
        HubError: the model is neither a directory nor on the Hub, needs permission, or is not cached and the Hub is
            unreachable.
    """
    name = expand_home(name_or_path)
    if not name:
        raise HubError(
            "model: the name is empty; give a directory or a Hub name such as google-bert/bert-base-uncased."
        )
    path = Path(name)
    if path.is_dir():
        if revision is not None:
            raise HubError(f"{name}: is a directory, which has no revision {revision!r}; remove model.revision.")
        return path
    if path.is_file():
        raise HubError(f"{name}: is a file; pass its directory, {path.parent}.")
    if not re.fullmatch(r"([\w-][\w.-]*/)?[\w-][\w.-]*", name):
        raise HubError(f"{name}: no such directory; {_near(path)}")
    return _from_hub(name, revision or "main")


def _from_hub(name: str, revision: str) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    if constants.HF_HUB_OFFLINE:
        return _from_cache(name, revision, "HF_HUB_OFFLINE is set", "unset it")
    api = HfApi(endpoint=constants.ENDPOINT)
    seconds = hub_timeout()
    try:
        info = api.model_info(name, revision=revision, timeout=seconds)
        # Use the current name: an old name would create a second copy in the cache.
        canonical = info.id if "/" in (info.id or "") else name
        patterns = _patterns(canonical, [file.rfilename for file in info.siblings or ()])
        folder = snapshot_download(
            canonical, revision=revision, allow_patterns=patterns, endpoint=constants.ENDPOINT, etag_timeout=seconds
        )
    except HFValidationError as error:
        raise HubError(f"{name}: neither a directory nor a Hub name; {_near(Path(name))}") from error
    except (http_error(), OSError) as error:
        return _from_cache(name, revision, *_explain(name, revision, error, constants.ENDPOINT), error)
    return Path(folder)


def hub_timeout() -> float:
    """Seconds until the Hub counts as unreachable."""
    return float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or HUB_TIMEOUT_SECONDS)


def http_error() -> type[Exception]:
    """The base class of the errors of the HTTP library that the installed huggingface_hub uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0]


def describe_reason(error: BaseException) -> str:
    """The first line of an error of the Hub or the network, shortened."""
    return str(error).strip().partition("\n")[0][:160] or type(error).__name__


def _patterns(name: str, files: Iterable[str]) -> list[str]:
    """Return the files to download: small files, run files, and the weights in the preferred available format."""
    top = [file for file in files if "/" not in file]
    weights = next((file for file in WEIGHT_FILES if file in top), None)
    if weights is None or "config.json" not in top:
        missing = "config.json" if weights else "model.safetensors or pytorch_model.bin"
        raise HubError(f"{name}: the Hub repository has no {missing}; choose a model with PyTorch weights.")
    shards = [f"{weights.partition('.')[0]}-*{Path(weights.removesuffix('.index.json')).suffix}"]
    small = (*SMALL_FILES, *SPECIAL_VOCABULARIES, *BUNDLE_FILES)
    patterns = [*small, weights, *(shards if weights.endswith(".json") else ())]
    return [file for file in top if any(fnmatchcase(file, pattern) for pattern in patterns)]


def _explain(name: str, revision: str, error: Exception, endpoint: str) -> tuple[str, str]:
    """Return what the answer of the Hub means, and what to do."""
    from huggingface_hub import errors

    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return "is gated", f"request access at {endpoint}/{name}, then set HF_TOKEN to a token of that account"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no revision {revision!r}", f"see {endpoint}/{name}/branches"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        # The Hub does not reveal private names.
        access = "the current token may not read it" if os.environ.get("HF_TOKEN") else "set HF_TOKEN if it is private"
        return f"does not exist on {endpoint}, or is private", f"check the spelling, {access}"
    if status is not None:
        return f"cannot be downloaded: {endpoint} answered {status}", "try again later"
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return (
            f"cannot be stored ({error.strerror}: {error.filename})",
            "set HF_HOME to a writable directory with free space",
        )
    return f"cannot be downloaded: no connection to {endpoint} ({describe_reason(error)})", "check the network"


def _from_cache(name: str, revision: str, why: str, remedy: str, cause: Exception | None = None) -> Path:
    """Return the cached snapshot if it is complete.

    Raises:
        HubError: it is not; with the reason for using the cache and the missing file.
    """
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
        lacks = f" ({snapshot} lacks {missing})"
    at = "" if revision == "main" else f" --revision {revision}"
    raise HubError(
        f"{name}: {why}, and the cache {cache} does not contain it{lacks}; {remedy}, or run `hf download {name}{at}` "
        f"on a machine with network, copy the directory and pass its path{_siblings(Path(name))}."
    ) from cause


def _spellings(name: str) -> list[str]:
    """Return the names under which an early Hub model may be cached, with and without organization."""
    organization, _, short = name.rpartition("/")
    for start, owner in _ORGANIZATIONS.items():
        if short.startswith(start) and organization in ("", owner):
            return [f"{owner}/{short}", short]
    return [name]


def _missing(snapshot: Path) -> str:
    """Return what a cached snapshot lacks; "" if it is complete."""
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
    """Return a hint to similar existing directories for a path that does not exist."""
    parent = path.parent
    while not parent.is_dir():
        path, parent = parent, parent.parent
    folders = [entry.name for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if not folders:
        return f"{parent} has no subdirectories; check the path."
    return f"in {parent}: {did_you_mean(path.name, folders)}"


def _siblings(path: Path) -> str:
    """Return a hint to a directory with a similar name, in case a Hub name was meant as a path."""
    if not path.parent.is_dir():
        return ""
    hint = did_you_mean(path.name, [entry.name for entry in path.parent.iterdir() if entry.is_dir()])
    return f" (in {path.parent.resolve()}: {hint})" if hint.startswith("did") else ""
