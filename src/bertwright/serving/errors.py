"""Errors that are answered with an HTTP status and one sentence."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel


class ErrorResponse(BaseModel):
    """The body of every error."""

    error: str
    request_id: str


class RequestError(Exception):
    """An error that is answered with a status.

    Attributes:
        status: HTTP status.
        sentence: what is wrong, with the values, and what to do.
        headers: more headers of the response.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = dict(headers or {})


RETRY_AFTER_SECONDS = 1


def make_unavailable(sentence: str) -> RequestError:
    """An error 503 that asks the client to try again."""
    return RequestError(503, sentence, {"Retry-After": str(RETRY_AFTER_SECONDS)})
