"""A way to send requests to an application in this process."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx


class Client:
    """Sends requests to an application in this process."""

    def __init__(self, application: Any) -> None:
        self.application = application

    def send(self, *requests: tuple[str, str, Any], headers: dict[str, str | bytes] | None = None) -> list[Any]:
        """Send requests, (method, path, JSON or bytes), together; return the responses in order."""

        async def send_all() -> list[Any]:
            transport = httpx.ASGITransport(self.application)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return list(
                    await asyncio.gather(
                        *(
                            client.request(
                                method,
                                path,
                                content=body if isinstance(body, bytes) else json.dumps(body),
                                headers={"content-type": "application/json", **(headers or {})},
                            )
                            for method, path, body in requests
                        )
                    )
                )

        return asyncio.run(send_all())

    def get(self, path: str) -> Any:
        return self.send(("GET", path, b""))[0]

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.send(("POST", path, body), headers=headers)[0]

    def predict(self, inputs: Any, path: str = "/predict", **fields: Any) -> Any:
        """The first prediction."""
        response = self.post(path, {"inputs": inputs, **fields})
        assert response.status_code == 200, response.text
        return response.json()["predictions"][0]
