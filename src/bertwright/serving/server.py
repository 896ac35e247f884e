"""A server process: its socket, and an orderly end in which no accepted request is lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from bertwright.errors import BertwrightError, MissingDependencyError

if TYPE_CHECKING:
    from bertwright.serving.application import Application

DRAIN_SECONDS = 0.5
"""Time between the signal and the end of listening, in which new requests are still answered."""

READ_SECONDS = 0.2
"""Time after that for the requests of accepted connections to arrive."""

BACKLOG = 2048
"""Connections that wait to be accepted."""

KEEP_ALIVE_SECONDS = 60
"""Time that an idle connection stays open."""

SWITCH_SECONDS = 0.0005
"""Python's default lets the thread of the event loop make the thread of the model wait for 5 ms, ten times as long."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on an address; connections wait until the server runs.

    Raises:
        BertwrightError: the address is in use, or does not belong to this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise BertwrightError(f"serve: {host}: is not an address of this machine ({error}); change --host.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise BertwrightError(
            f"serve: cannot listen on {host} port {port} ({error.strerror}); choose another --port or --host."
        ) from None
    return listener


def describe_address(listener: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(application: Application, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT (Ctrl-C); accepted requests are still answered.

    After the signal, ``/ready`` answers 503 and clients are asked to close their connections. The server accepts
    connections for a moment, then stops listening, answers what it has received, and returns. A second Ctrl-C ends it
    at once.

    Raises:
        MissingDependencyError: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise MissingDependencyError(
            "serve: uvicorn is not installed; run `pip install 'bertwright[serve]'`."
        ) from error

    class Server(uvicorn.Server):
        """Ends in steps, and without raising the signal again."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            application.is_draining = True
            if not self.force_exit:
                await asyncio.sleep(DRAIN_SECONDS)
            await asyncio.sleep(0)  # accept the connections that wait
            for server in self.servers:
                server.close()
            if not self.force_exit:
                await asyncio.sleep(READ_SECONDS)
            await super().shutdown(sockets)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            def stop(number: int, frame: FrameType | None) -> None:
                self.handle_exit(number, frame)

            previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in previous.items():
                    signal.signal(number, handler)

    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ws="none",
        backlog=BACKLOG,
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    Server(config).run(sockets=[listener])
