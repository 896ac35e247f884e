"""What happens around every request: request ids, errors, headers, metrics and logs."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bertwright.errors import OUT_OF_MEMORY, is_out_of_memory
from bertwright.serving.errors import RETRY_AFTER_SECONDS
from bertwright.serving.metrics import ServingMetrics

logger = logging.getLogger("bertwright.serving")

REQUEST_ID = "x-request-id"
VALID_ID = re.compile(rb"[\w.:-]{1,128}", re.ASCII)
CLIENT_CLOSED = 499
"""The status in logs and metrics if the client closed the connection before its response."""


class RequestMiddleware:
    """Gives every request an id, and reports its status and time in metrics and in the log.

    Args:
        app: the application.
        metrics: of the server.
        is_draining: whether the server is shutting down, so that clients should close their connections.
    """

    def __init__(self, app: ASGIApp, metrics: ServingMetrics, is_draining: Callable[[], bool]) -> None:
        self._app = app
        self._metrics = metrics
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        request_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        if not VALID_ID.fullmatch(request_id):
            request_id = uuid4().hex.encode()
        scope["request_id"] = request_id.decode()
        record = scope["record"] = dict[str, Any]()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [(b"x-request-id", request_id), (b"x-content-type-options", b"nosniff")]
                if self._is_draining():
                    headers.append((b"connection", b"close"))
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = status or CLIENT_CLOSED
        except Exception as error:
            if status:
                raise
            response = _answer_failure(error, scope["request_id"])
            await response(scope, receive, send_with_headers)
        seconds = time.perf_counter() - begin
        path = getattr(scope.get("route"), "path", "other")
        self._metrics.count_request(path, status, seconds)
        if logger.isEnabledFor(logging.INFO):
            milliseconds = round(1000 * seconds, 2)
            fields = {"request_id": scope["request_id"], "method": scope["method"], "path": scope["path"]}
            fields |= {"status": status, "ms": milliseconds, **record}
            logger.info("request", extra={"fields": fields})


def _answer_failure(error: Exception, request_id: str) -> JSONResponse:
    """The answer to an error that no handler expected, which is logged with its traceback."""
    logger.error("request failed", exc_info=error, extra={"fields": {"request_id": request_id}})
    if is_out_of_memory(error):
        return JSONResponse(
            {"error": OUT_OF_MEMORY, "request_id": request_id}, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)}
        )
    sentence = f"the server failed with {type(error).__name__}; its log has the details."
    return JSONResponse({"error": sentence, "request_id": request_id}, 500)
