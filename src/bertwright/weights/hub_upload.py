"""Uploading files to a model repository on the Hub, in one commit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertwright.errors import HubError
from bertwright.weights.hub import describe_reason, http_error, hub_timeout

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_NOT_ALLOWED = re.compile(r"--|\.\.|[.-](?:/|$)|\.git$")
_LONGEST = 96
"""The rules of the Hub for names, as in huggingface_hub's validate_repo_id."""


@dataclass(frozen=True)
class Repository:
    """A model repository to upload to.

    Attributes:
        name: OWNER/NAME.
        endpoint: of the Hub.
        exists: whether it exists already.
        private: whether it is private, or will be.
    """

    name: str
    endpoint: str
    exists: bool
    private: bool

    @property
    def url(self) -> str:
        """The page of the repository."""
        return f"{self.endpoint}/{self.name}"

    def describe(self) -> str:
        """The repository with its visibility, such as ``the new private repository https://…``."""
        age, visibility = "existing" if self.exists else "new", "private" if self.private else "public"
        return f"the {age} {visibility} repository {self.url}"


def check_repository_name(name: str) -> None:
    """Check that a name is OWNER/NAME.

    Raises:
        HubError: it is not.
    """
    if not _REPOSITORY.fullmatch(name) or len(name) > _LONGEST or _NOT_ALLOWED.search(name):
        raise HubError(
            f"{name or 'repository'}: is not the name of a Hub repository; use OWNER/NAME with at most {_LONGEST} "
            "letters, digits, - _ and ., for example jane/sst2-minilm."
        )


def find_repository(name: str, private: bool) -> Repository:
    """Look up the repository to upload to; nothing is created.

    Args:
        name: OWNER/NAME.
        private: whether the repository must be private.

    Raises:
        HubError: the name is invalid, there is no token, the Hub cannot be reached, or the repository is public.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    check_repository_name(name)
    endpoint = constants.ENDPOINT
    if constants.HF_HUB_OFFLINE:
        raise HubError(f"{name}: HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it.")
    if get_token() is None:
        raise HubError(
            f"{name}: uploading needs a token; create one with write access at {endpoint}/settings/tokens, then set "
            "HF_TOKEN or run `hf auth login`."
        )
    with _explain_errors(name, endpoint):
        try:
            info = HfApi(endpoint=endpoint).model_info(name, timeout=hub_timeout())
        except RepositoryNotFoundError:
            return Repository(name, endpoint, exists=False, private=private)
    if private and not info.private:
        raise HubError(
            f"{name}: this repository exists and is public; remove --private to update it, or choose another name."
        )
    return Repository(name, endpoint, exists=True, private=bool(info.private))


def upload_files(repository: Repository, files: Mapping[str, Path | bytes], message: str) -> str:
    """Upload files in one commit, and create the repository if it does not exist.

    Args:
        repository: from :func:`find_repository`.
        files: path in the repository → local file, or contents.
        message: of the commit.

    Returns:
        The URL of the commit.

    Raises:
        HubError: the upload failed; the files of the repository are unchanged.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=repository.endpoint)
    with _explain_errors(repository.name, repository.endpoint):
        if not repository.exists:
            api.create_repo(repository.name, private=repository.private)
        additions = [CommitOperationAdd(path, source) for path, source in files.items()]
        return api.create_commit(repository.name, additions, commit_message=message).commit_url


@contextmanager
def _explain_errors(name: str, endpoint: str) -> Iterator[None]:
    """Turn errors of the Hub, of the network and of reading the files into a message for the user."""
    try:
        yield
    # huggingface_hub wraps the error of a file in RuntimeError, and reports an invalid model card as ValueError
    except (http_error(), OSError, RuntimeError, ValueError) as error:
        raise HubError(f"{name}: {_explain(name, endpoint, error)}.") from error


def _explain(name: str, endpoint: str, error: BaseException) -> str:
    """What the answer of the Hub means, and what to do."""
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    response: Any = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    owner = name.partition("/")[0]
    if status == 401:
        return f"{endpoint} does not accept the token; create another one at {endpoint}/settings/tokens"
    if status in (402, 403):
        return (
            f"the token may not write to {owner}; use a token with write access, or a repository of your account "
            f"({_describe_answer(error)})"
        )
    if status == 404:
        return f"{endpoint} has no such repository or account {owner}; check the name"
    if status is not None:
        return f"{endpoint} answered {status} ({_describe_answer(error)}); try again later"
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return f"{error.filename} cannot be read ({os.strerror(error.errno)}); check its permissions"
    if isinstance(error, ValueError):
        return f"{endpoint} refused the files ({_describe_answer(error)}); correct README.md and try again"
    return f"no connection to {endpoint} ({_describe_answer(error)}); check the network and try again"


def _describe_answer(error: BaseException) -> str:
    """What the server wrote about an error, or the error itself, as one line."""
    message = getattr(error, "server_message", None) or (str(error) if isinstance(error, ValueError) else None)
    return " ".join(str(message).split())[:160] if message else describe_reason(error)
