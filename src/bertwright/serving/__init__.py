"""A web server for predictions, as an ordinary ASGI application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from bertwright.run.bundle import Bundle
    from bertwright.serving.settings import ServingSettings


def app(models: Bundle | Mapping[str, Bundle], settings: ServingSettings | None = None) -> FastAPI:
    """Make an ASGI application that predicts with one or several models.

    It changes nothing in the process: no signal handlers, no logging configuration, no global metrics. Run it with any
    ASGI server, mount it in another application, or call it in a test.

    >>> import bertwright.serving  # doctest: +SKIP
    >>> application = bertwright.serving.app(Bundle.load("runs/mine"))  # doctest: +SKIP

    Args:
        models: a model, or several by name; the first one answers ``POST /predict``.
        settings: limits and batching; None for the defaults.

    Raises:
        MissingDependencyError: FastAPI or prometheus-client is not installed.
        BertwrightError: there is no model, or a name has characters that a URL cannot show.
    """
    from bertwright.serving.application import make_app
    from bertwright.serving.settings import ServingSettings

    return make_app(models, settings or ServingSettings())
