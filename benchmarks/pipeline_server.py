"""FastAPI around the pipeline of transformers, as tutorials write it: the peer of serving.py."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import inputs
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Request(BaseModel):
    """A text."""

    inputs: str


def main() -> None:
    """Serve a model until the process is stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    import torch
    from transformers import pipeline

    torch.set_num_threads(options.threads)
    inputs.quiet_transformers()
    classifier = pipeline("text-classification", model=str(options.model))
    application = FastAPI()

    @application.post("/predict")
    def predict(request: Request) -> Any:  # a thread of a pool runs it, so that the event loop stays free
        return classifier(request.inputs, top_k=None, truncation=True, max_length=128)

    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="warning"))
    startup = server.startup

    async def start(sockets: Any = None) -> None:
        await startup(sockets)
        port = server.servers[0].sockets[0].getsockname()[1]
        print(f"Listening on http://127.0.0.1:{port}", file=sys.stderr, flush=True)

    server.startup = start  # type: ignore[method-assign]
    server.run()


if __name__ == "__main__":
    main()
