"""A server in this process that speaks the parts of the Hub's API that bertwright uses."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import constants

SHA = "0123456789abcdef0123456789abcdef01234567"
LFS = (".safetensors", ".png")  # what the Hub's .gitattributes name, and a test uploads


@dataclass
class FakeHub:
    """The answers of the Hub that huggingface_hub asks for when it downloads and uploads a model.

    Attributes:
        models: repository → its files.
        private: the repositories that are private.
        refuse: start of a path of the API → status and error code.
        moved: former name of a repository → current one.
        asked: every request, as ``METHOD path``.
        tokens: the Authorization headers.
        accounts: owners whose repositories the token may write to.
        blobs: uploaded LFS objects by their SHA-256.
        url: of the server.
    """

    models: dict[str, dict[str, bytes]]
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    accounts: set[str] = field(default_factory=set)
    blobs: dict[str, bytes] = field(default_factory=dict)
    url: str = ""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked.append(f"{self.command} {self.path.partition('?')[0]}")
                fake.tokens.add(self.headers.get("Authorization"))
                self._answer(self.path.partition("?")[0].strip("/").removeprefix("api/models/"))

            do_HEAD = do_GET  # noqa: N815

            def _answer(self, path: str) -> None:
                for old, new in fake.moved.items():
                    if path.startswith(f"{old}/"):
                        where = self.path.replace(old, new, 1)
                        return self._send(307, b"", Location=where)
                for name, (status, code) in fake.refuse.items():
                    if path.startswith(name):
                        return self._send(status, b"{}", **{"X-Error-Code": code, "X-Error-Message": code})
                name, files = next(((n, f) for n, f in fake.models.items() if f"{path}/".startswith(f"{n}/")), ("", {}))
                what, _, rest = path.removeprefix(name).strip("/").partition("/")
                if not name:
                    return self._send(401, b"{}", **{"X-Error-Code": "RepoNotFound", "X-Error-Message": "no"})
                if what == "revision" and rest not in ("main", SHA):
                    return self._send(404, b"{}", **{"X-Error-Code": "RevisionNotFound", "X-Error-Message": "no"})
                if what in ("revision", ""):
                    siblings = [{"rfilename": file} for file in files]
                    private = name in fake.private
                    return self._json(
                        {"id": name, "modelId": name, "sha": SHA, "siblings": siblings, "private": private}
                    )
                if what == "tree":
                    return self._json(
                        [
                            {"type": "file", "path": file, "size": len(data), "oid": sha1(data).hexdigest()}
                            for file, data in files.items()
                        ]
                    )
                data = files[rest.partition("/")[2]]
                return self._send(200, data, ETag=f'"{sha1(data).hexdigest()}"', **{"X-Repo-Commit": SHA})

            def do_POST(self) -> None:
                fake.asked.append(f"{self.command} {self.path}")
                fake.tokens.add(self.headers.get("Authorization"))
                body = self.rfile.read(int(self.headers["Content-Length"]))
                path = self.path.partition("?")[0].strip("/").removeprefix("api/models/")
                for name, (status, code) in fake.refuse.items():
                    if path.startswith(name):
                        return self._send(status, b"{}", **{"X-Error-Code": code, "X-Error-Message": code})
                if path == "api/validate-yaml":
                    return self._json({"errors": [], "warnings": []})
                if path == "api/repos/create":
                    return self._create(json.loads(body))
                if path.endswith(".git/info/lfs/objects/batch"):
                    return self._json(
                        {"transfer": "basic", "objects": [*map(self._place, json.loads(body)["objects"])]}
                    )
                if path.endswith("/preupload/main"):
                    return self._preupload(json.loads(body))
                return self._commit(path.removesuffix("/commit/main"), body)

            def do_PUT(self) -> None:
                fake.asked.append(f"{self.command} {self.path}")
                data = self.rfile.read(int(self.headers["Content-Length"]))
                oid = self.path.rpartition("/")[2]
                assert sha256(data).hexdigest() == oid
                fake.blobs[oid] = data
                self._send(200, b"")

            def _create(self, values: dict[str, Any]) -> None:
                name = f"{values['organization']}/{values['name']}"
                if values["organization"] not in fake.accounts:
                    message = f"You don't have the rights to create a model under the namespace {name}"
                    return self._send(403, b"{}", **{"X-Error-Message": message})
                fake.models[name] = {}
                if values.get("visibility") == "private":
                    fake.private.add(name)
                return self._json({"url": f"{fake.url}/{name}", "name": name})

            def _preupload(self, values: dict[str, Any]) -> None:
                modes = {True: "lfs", False: "regular"}
                files = [
                    {"path": file["path"], "uploadMode": modes[file["path"].endswith(LFS)], "shouldIgnore": False}
                    for file in values["files"]
                ]
                self._json({"files": files})

            def _place(self, blob: dict[str, Any]) -> dict[str, Any]:
                return {**blob, "actions": {"upload": {"href": f"{fake.url}/lfs/{blob['oid']}"}}}

            def _commit(self, name: str, body: bytes) -> None:
                files = fake.models[name]
                for line in map(json.loads, body.splitlines()):
                    value = line["value"]
                    if line["key"] == "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                    elif line["key"] == "lfsFile":
                        files[value["path"]] = fake.blobs[value["oid"]]
                self._json({"commitUrl": f"{fake.url}/{name}/commit/{SHA}", "commitOid": SHA})

            def _json(self, content: object) -> None:
                self._send(200, json.dumps(content).encode(), **{"Content-Type": "application/json"})

            def _send(self, status: int, data: bytes, **headers: str) -> None:
                self.send_response(status)
                for key, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on the terminal."""

        return Handler

    def downloads(self) -> set[str]:
        return {line.rpartition("/")[2] for line in self.asked if line.startswith("GET") and "/resolve/" in line}


@contextmanager
def serve(fake: FakeHub) -> Iterator[FakeHub]:
    """Run the server in a thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), fake.handler())
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


def connect(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let huggingface_hub use the server, without its own storage protocol (Xet)."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
