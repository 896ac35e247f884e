"""Clients that send one request after the other, as fast as a server answers, over connections that stay open."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any


class Client(asyncio.Protocol):
    """Sends the next request when the last one is answered; with little work of its own, because it shares the cores.

    Args:
        requests: bytes of requests, shared by all clients.
        answers: gets the seconds and the body of each answer.
        done: is set when there are no more requests.
    """

    def __init__(
        self, requests: Iterator[tuple[int, bytes]], answers: dict[int, tuple[float, bytes]], done: asyncio.Future[None]
    ) -> None:
        self._requests = requests
        self._answers = answers
        self._done = done
        self._buffer = b""
        self._number, self._began = -1, 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        try:
            self._number, request = next(self._requests)
        except StopIteration:
            self._transport.close()
            self._done.set_result(None)
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        position = head.lower().index(b"content-length:") + 15
        if len(body) < int(head[position:].split(b"\r\n", 1)[0]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._done.set_exception(RuntimeError(f"{head!r} {body!r}"))
            return
        self._answers[self._number] = time.perf_counter() - self._began, body
        self._buffer = b""
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError("the server has closed the connection"))


def send_texts(port: int, texts: Sequence[str], n_clients: int) -> tuple[float, list[float], list[Any]]:
    """Send one request per text to ``/predict``; return the seconds of all, those of each, and the answers."""

    async def run() -> tuple[float, dict[int, tuple[float, bytes]]]:
        loop = asyncio.get_running_loop()
        requests = iter([(i, _make_request(text)) for i, text in enumerate(texts)])
        answers: dict[int, tuple[float, bytes]] = {}
        finished = [loop.create_future() for _ in range(n_clients)]
        began = time.perf_counter()
        for done in finished:
            await loop.create_connection(lambda done=done: Client(requests, answers, done), "127.0.0.1", port)
        await asyncio.gather(*finished)
        return time.perf_counter() - began, answers

    seconds, answers = asyncio.run(run())
    ordered = [answers[i] for i in range(len(texts))]
    return seconds, [each for each, _ in ordered], [json.loads(body) for _, body in ordered]


def _make_request(text: str) -> bytes:
    body = json.dumps({"inputs": text}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body
