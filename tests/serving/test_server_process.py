"""The command in a process of its own: address, signals and logs."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertwright.cli.serve import name_models
from bertwright.errors import BertwrightError, MissingDependencyError
from bertwright.run.bundle import Bundle
from bertwright.serving.server import bind

pytest.importorskip("uvicorn", reason="the server needs it")


@pytest.fixture(scope="module")
def saved(bundles: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return replace(bundles["classification"], recipe=None).save(tmp_path_factory.mktemp("served") / "sentiment")


class Server:
    """A running ``bertwright serve``."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "bertwright", "serve", *map(str, arguments), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.messages: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.messages.append(line)
            if match := re.match(r"Listening on http://127\.0\.0\.1:(\d+) ", line):
                self.port = int(match[1])
                return
        pytest.fail("".join(self.messages))

    def stop(self, number: int) -> tuple[int, list[dict[str, Any]], str]:
        """Send a signal; the exit code, the log and the last messages."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err


@pytest.fixture
def server(saved: Path) -> Iterator[Server]:
    running = Server(saved, f"other={saved}")
    yield running
    running.process.kill()
    running.process.communicate()


def test_no_accepted_request_is_lost(server: Server) -> None:
    """Clients send requests all the time; every request that the server logged has reached its client."""
    answered: list[tuple[str, int]] = []
    n_waiting = threading.Semaphore(0)

    def send(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        for number in range(10_000):
            try:
                headers = {"Content-Type": "application/json", "X-Request-ID": f"{client}-{number}"}
                connection.request("POST", "/models/other/predict", json.dumps({"inputs": ["good film"] * 50}), headers)
                response = connection.getresponse()
                response.read()
                answered.append((response.headers["x-request-id"], response.status))
            except ConnectionError:  # the server no longer listens
                connection.close()
                return
            n_waiting.release()

    clients = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for client in clients:
        client.start()
    for _ in range(30):
        n_waiting.acquire()
    code, log, messages = server.stop(signal.SIGTERM)
    for client in clients:
        client.join()
    assert code == 0
    assert messages == "stopped; all accepted requests are answered\n"
    assert len(answered) >= 30
    assert {status for _, status in answered} == {200}
    assert sorted((entry["request_id"], entry["status"]) for entry in log) == sorted(answered)
    assert {(entry["event"], entry["model"], entry["inputs"]) for entry in log} == {("request", "other", 50)}


def test_an_idle_server_stops_on_ctrl_c(server: Server) -> None:
    assert [line.partition(":")[0] for line in server.messages] == ["sentiment", "other", "Listening on http"]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/ready")
    assert connection.getresponse().read() == b'{"status":"ready"}'
    connection.close()
    code, log, messages = server.stop(signal.SIGINT)
    assert code == 0
    assert [entry["path"] for entry in log] == ["/ready"]
    assert "Traceback" not in messages


def test_an_address_that_cannot_be_used_is_reported() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            BertwrightError, match=rf"cannot listen on 127\.0\.0\.1 port {port} \(Address already in use"
        ):
            bind("127.0.0.1", port)
    with pytest.raises(BertwrightError, match=r"serve: 127\.0\.0\.300: is not an address of this machine"):
        bind("127.0.0.300", 0)


def test_names_of_models(saved: Path) -> None:
    assert name_models([str(saved), f"b={saved}"]) == {"sentiment": str(saved), "b": str(saved)}
    with pytest.raises(BertwrightError, match='have the same name "sentiment"; name one of them, as in other='):
        name_models([str(saved), f"{saved}/"])


@pytest.mark.parametrize(
    ("module", "absent"), [("application", "fastapi"), ("server", "uvicorn"), ("metrics", "prometheus_client")]
)
def test_missing_packages_are_named(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, module: str, absent: str
) -> None:
    from bertwright.serving import app
    from bertwright.serving.server import run_server

    monkeypatch.delitem(sys.modules, f"bertwright.serving.{module}", raising=False)
    application = None if module == "application" else app(bundles["qa"])
    monkeypatch.setitem(sys.modules, absent, None)
    with (
        bind("127.0.0.1", 0) as listener,
        pytest.raises(MissingDependencyError, match=r"is not installed; run `pip install 'bertwright\[serve\]'`"),
    ):
        run_server(application, listener) if module == "server" else app(bundles["qa"])
