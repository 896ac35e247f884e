"""``bertwright serve``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from bertwright.cli.console import print_note, stderr_console
from bertwright.cli.options import ComputeOptions, ServerOptions, errors_name_options
from bertwright.errors import BertwrightError
from bertwright.output.terminal import print_line
from bertwright.serving.server import bind, describe_address, run_server

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(models: Sequence[str], server: ServerOptions, computing: ComputeOptions) -> None:
    """Load models and answer requests until a signal stops the server.

    Raises:
        BertwrightError: a model, a limit or the address is invalid, or a package is missing.
    """
    from bertwright.serving.application import make_app
    from bertwright.serving.logs import configure_logs

    settings, paths = server.settings, name_models(models)
    with errors_name_options(), bind(server.host, server.port) as listener:
        application = make_app({name: computing.open(path) for name, path in paths.items()}, settings)
        console = stderr_console()
        for name, service in application.services.items():
            service.warm_up()
            print_line(console, f"{name}: {service.bundle.task.kind}, {paths[name]}")
        if server.host not in LOOPBACK:
            print_note(console, f"anyone who can reach {server.host} can send requests; there is no authentication")
        print_line(console, f"Listening on {describe_address(listener)} (Ctrl-C or SIGTERM stops the server)")
        configure_logs(logging.INFO if server.log_requests else logging.WARNING)
        run_server(application, listener)
        print_line(console, "stopped; all accepted requests are answered")


def name_models(models: Sequence[str]) -> dict[str, str]:
    """The models by name, from ``NAME=MODEL`` or the last part of their paths.

    Raises:
        BertwrightError: two models have the same name.
    """
    paths: dict[str, str] = {}
    for model in models:
        name, separator, path = model.partition("=")
        if not separator or Path(model).exists():
            name, path = Path(model).resolve().name, model
        if name in paths:
            raise BertwrightError(
                f'serve: {paths[name]} and {path} have the same name "{name}"; name one of them, as in other={path}.'
            )
        paths[name] = path
    return paths
