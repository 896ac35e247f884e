"""The ASGI application: its routes and their documentation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, cast

from bertwright.errors import BertwrightError, MissingDependencyError
from bertwright.run.bundle import Bundle
from bertwright.serving.errors import ErrorResponse, RequestError, make_unavailable
from bertwright.serving.explanations import ExplanationService
from bertwright.serving.html_pages import render_html_page
from bertwright.serving.metrics import ServingMetrics
from bertwright.serving.model_service import ModelService
from bertwright.serving.settings import ServingSettings

try:
    from fastapi import FastAPI, Request
    from fastapi.openapi.utils import get_openapi
    from fastapi.responses import HTMLResponse, JSONResponse, Response
    from fastapi.routing import APIRoute
    from starlette.exceptions import HTTPException

    from bertwright.serving.middleware import RequestMiddleware
except ImportError as error:
    raise MissingDependencyError("serve: FastAPI is not installed; run `pip install 'bertwright[serve]'`.") from error

VALID_NAME = re.compile(r"[\w.-]+", re.ASCII)
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in (
        (408, "The body did not arrive in time."),
        (413, "The body is too large."),
        (415, "The body is not JSON."),
        (422, "The request is invalid; the error is one sentence."),
        (503, "The queue is full, or the predictions took too long; try again after Retry-After seconds."),
    )
}


class DirectRoute(APIRoute):
    """A documented route whose function gets the request as it is.

    FastAPI's own handling of parameters and responses takes as long as half a batch's share of a short text.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function of the route."""
        return cast("Callable[[Request], Coroutine[Any, Any, Response]]", self.endpoint)


class Application(FastAPI):
    """The routes of a server, and the models behind them.

    Attributes:
        services: the models by name; the first one is the default.
        is_draining: whether the server is shutting down: it is no longer ready, and asks clients to close connections.
    """

    def __init__(self, models: Mapping[str, Bundle], settings: ServingSettings) -> None:
        super().__init__(
            title="bertwright",
            version="1",
            description="Predictions of fine-tuned encoders.",
            docs_url=None,
            redoc_url=None,
            lifespan=_close_worker,
        )
        self.is_draining = False
        self._settings = settings
        self._executor: ThreadPoolExecutor | None = None
        self.services = {
            name: ModelService(name, bundle, settings, self._worker, self._count_batch)
            for name, bundle in models.items()
        }
        self._metrics = ServingMetrics({name: _counter(service) for name, service in self.services.items()})
        self.add_middleware(RequestMiddleware, metrics=self._metrics, is_draining=lambda: self.is_draining)
        for kind in (RequestError, BertwrightError, HTTPException):
            self.add_exception_handler(kind, _answer_error)
        self._add_routes()

    def _add_routes(self) -> None:
        default = next(iter(self.services.values()))
        for prefix, service in [("", default), *((f"/models/{each.name}", each) for each in self.services.values())]:
            self._add_post_route(f"{prefix}/predict", service, service)
            if service.explanations is not None:
                self._add_post_route(f"{prefix}/explain", service, service.explanations)

        async def health() -> dict[str, str]:
            """Report that the server runs."""
            return {"status": "ok"}

        async def ready() -> Response:
            """Report whether the server takes requests; 503 while it shuts down."""
            if self.is_draining:
                raise make_unavailable("the server is shutting down.")
            return JSONResponse({"status": "ready"})

        async def metrics() -> Response:
            """Metrics in the format of Prometheus."""
            content, media_type = self._metrics.render()
            return Response(content, media_type=media_type)

        async def models() -> dict[str, Any]:
            """List the models, the fields of their inputs, and the limits of requests."""
            limits = {"max_inputs": self._settings.max_inputs, "max_body_bytes": self._settings.max_body_bytes}
            return {"models": [service.describe() for service in self.services.values()], "limits": limits}

        for function in (health, ready, metrics, models):
            self.add_api_route(f"/{function.__name__}", function, methods=["GET"], tags=["server"])
        for path, name, title in (("/", "try", "Try a model"), ("/docs", "docs", "API documentation")):
            self.add_api_route(path, _make_page_route(name, title), methods=["GET"], include_in_schema=False)

    def _add_post_route(self, path: str, service: ModelService, operation: ModelService | ExplanationService) -> None:
        async def answer(request: Request) -> Response:
            record = request.scope["record"]
            record["model"] = service.name
            body = await read_body(request, self._settings)
            try:
                async with asyncio.timeout(self._settings.timeout_seconds):
                    content = await operation.answer(body, record)
            except TimeoutError:
                raise make_unavailable(
                    f"the predictions took more than {self._settings.timeout_seconds:g} s; send fewer or shorter "
                    "texts, or try again later."
                ) from None
            return Response(content, media_type="application/json")

        schema = {"$ref": f"#/components/schemas/{operation.request_type.__name__}"}
        example = {"inputs": service.schema.examples[0]}
        self.router.add_api_route(
            path,
            answer,
            methods=["POST"],
            route_class_override=DirectRoute,
            tags=["predictions"],
            summary=operation.title,
            description=service.describe()["description"],
            operation_id=path.strip("/").replace("/", "_"),
            response_model=None,
            responses={200: {"model": operation.response_type}, **ERRORS},
            openapi_extra={
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": schema, "example": example}},
                }
            },
        )

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with the types of requests, which the routes parse themselves."""
        if not self.openapi_schema:
            document = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            schemas = document["components"]["schemas"]
            for service in self.services.values():
                explanations = service.explanations
                for type_ in (service.request_type, *([explanations.request_type] if explanations else [])):
                    schema = type_.model_json_schema(ref_template="#/components/schemas/{model}")
                    schemas |= schema.pop("$defs", {})
                    schemas[type_.__name__] = schema
            self.openapi_schema = document
        return self.openapi_schema

    def _worker(self) -> Executor:
        """The thread that runs the models; one, because a model uses all cores."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "bertwright-predict")
        return self._executor

    def close(self) -> None:
        """End the worker thread, after its current batch."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def _count_batch(self, model: str, n_inputs: int, n_tokens: int, seconds: float) -> None:
        self._metrics.count_batch(model, n_inputs, n_tokens, seconds)


def make_app(models: Bundle | Mapping[str, Bundle], settings: ServingSettings) -> Application:
    """Make the application; :func:`bertwright.serving.app` explains how.

    Raises:
        BertwrightError: there is no model, or a name has characters that a URL cannot show.
    """
    by_name = {"model": models} if isinstance(models, Bundle) else dict(models)
    if not by_name:
        raise BertwrightError("serve: there is no model; give at least one.")
    for name in by_name:
        if not VALID_NAME.fullmatch(name):
            raise BertwrightError(
                f'serve: the model name "{name}" cannot be part of a URL; use letters, digits, "-", "_" and ".".'
            )
    return Application(by_name, settings)


async def read_body(request: Request, settings: ServingSettings) -> bytes:
    """The body of a request.

    Raises:
        RequestError: it is no JSON, too large, or does not arrive in time.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        # also protects a server on loopback: a web page of another origin cannot send JSON without permission
        raise RequestError(
            415, f'the content type is "{media_type}"; send JSON with the header Content-Type: application/json.'
        )
    limit = settings.max_body_bytes
    too_large = RequestError(413, f"the body has more than {limit:,} bytes; send fewer or shorter texts.")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(settings.timeout_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise too_large
                parts.append(part)
    except TimeoutError:
        raise RequestError(
            408, f"the body did not arrive within {settings.timeout_seconds:g} s; send it again."
        ) from None
    return b"".join(parts)


def _make_page_route(name: str, title: str) -> Callable[[], Awaitable[Response]]:
    page = render_html_page(name, title)

    async def show_page() -> Response:
        headers = {"Content-Security-Policy": page.policy, "Referrer-Policy": "no-referrer"}
        return HTMLResponse(page.html, headers=headers)

    return show_page


@asynccontextmanager
async def _close_worker(application: FastAPI) -> AsyncIterator[None]:
    yield
    if isinstance(application, Application):
        application.close()


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    """The answer to an error of the client, or to a server without capacity."""
    headers: Mapping[str, str] = {}
    if isinstance(error, RequestError):
        status, sentence, headers = error.status, error.sentence, error.headers
    elif isinstance(error, HTTPException):
        status, headers = error.status_code, error.headers or {}
        problem = f"{request.method} {request.url.path}: {str(error.detail).lower()}"
        sentence = f"{problem}; GET /docs lists all paths."
    else:
        status, sentence = 422, str(error).partition("\n")[0]
    return JSONResponse({"error": sentence, "request_id": request.scope["request_id"]}, status, headers)


def _counter(service: ModelService) -> Callable[[], int]:
    return lambda: service.n_waiting
