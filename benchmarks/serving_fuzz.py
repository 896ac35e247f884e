"""Mixed valid and malformed requests: no wrong answer, no growing memory, no status 5xx other than 503.

A server with a tiny model gets requests from several clients. Every answer to a valid request is compared with the
prediction of the model in this process; every malformed request must be answered with an error and one sentence.

    python benchmarks/serving_fuzz.py                       # 100,000 requests
    python benchmarks/serving_fuzz.py --requests 20000 --out results/serving_fuzz.json
    python benchmarks/serving_fuzz.py --requests 500        # smoke test
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import inputs
import workloads

from serving import start_server

TOLERANCE = 1e-5
CLIENTS = 8
N_TEXTS = 300
"""Number of different texts, whose predictions are computed in advance."""
LIMITS = ("--max-body", "65536", "--max-inputs", "16", "--timeout", "20")
GROWTH_LIMIT = 30.0
"""Megabytes by which memory may grow in the second half. In the first, oneDNN fills its cache of 1,024 kernels."""

HEAD = "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: {type}\r\nContent-Length: {length}\r\n\r\n"
ODD_TEXTS = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\u202e",
    "\U0001f600" * 40,
    "e\u0301",
    "\ufeffgood",
    "film\n\nplot",
    "[MASK]",
    "good " * 3000,
)


@dataclass
class Case:
    """A request and what is expected.

    Attributes:
        data: bytes to send.
        statuses: that the answer may have; empty if the server may close the connection without one.
        texts: numbers of the texts of a valid request.
    """

    data: bytes
    statuses: frozenset[int]
    texts: list[int] = field(default_factory=list)


@dataclass
class Outcome:
    """The counts of all answers, and the first problems."""

    statuses: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


def make_post(body: bytes, type_: str = "application/json", length: int | None = None) -> bytes:
    """A request to ``/predict``."""
    return HEAD.format(type=type_, length=len(body) if length is None else length).encode() + body


def make_json(rng: random.Random, depth: int = 0) -> Any:
    """A random JSON value."""
    kind = rng.randrange(8 if depth < 4 else 6)
    if kind < 6:
        return rng.choice([None, True, -1, 1e300, 10**40, "", "inputs", "text", "\u2028", 0.5])
    if kind == 6:
        return [make_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    names = ["inputs", "text", "words", "top_k", "", "a" * 50, "model"]
    return {rng.choice(names): make_json(rng, depth + 1) for _ in range(rng.randrange(4))}


INVALID = frozenset({422})
WRONG_NUMBERS: tuple[Any, ...] = (0, -1, "1", 1.5, [], True)
WRONG_TYPES = ("text/plain", "", "application/xml", "multipart/form-data")


def malform(rng: random.Random, valid: bytes) -> Case:
    """A malformed request."""
    body = json.dumps({"inputs": "the film is good"}).encode()
    makers: list[Callable[[], Case]] = [
        lambda: Case(make_post(body[: rng.randrange(len(body))]), INVALID),
        lambda: Case(make_post(json.dumps(make_json(rng)).encode()), frozenset({200, 422})),
        lambda: Case(make_post(json.dumps({"inputs": make_json(rng)}).encode()), frozenset({200, 422})),
        lambda: Case(make_post(b"[" * rng.randrange(1, 60_000)), INVALID),
        lambda: Case(make_post(b'{"inputs":' * rng.randrange(200, 5000)), INVALID),
        lambda: Case(make_post(b'{"inputs": "\\ud83d"}'), INVALID),
        lambda: Case(make_post(b'{"inputs": "a \\udc00 b"}'), INVALID),
        lambda: Case(make_post(b'{"inputs": "\xff\xfe"}'), INVALID),
        lambda: Case(make_post(b'\xef\xbb\xbf{"inputs": "a"}'), frozenset({200, 422})),
        lambda: Case(make_post(b'{"inputs": NaN}'), INVALID),
        lambda: Case(make_post(b""), INVALID),
        lambda: Case(make_post(json.dumps({"inputs": []}).encode()), INVALID),
        lambda: Case(make_post(json.dumps({"inputs": ["a"] * 17}).encode()), INVALID),
        lambda: Case(make_post(json.dumps({"inputs": "a", "top_k": rng.choice(WRONG_NUMBERS)}).encode()), INVALID),
        lambda: Case(make_post(json.dumps({str(i): i for i in range(rng.randrange(1, 4000))}).encode()), INVALID),
        lambda: Case(make_post(body, rng.choice(WRONG_TYPES)), frozenset({415})),
        lambda: Case(make_post(b'{"inputs": "' + b"a" * 70_000 + b'"}'), frozenset({413})),
        lambda: Case(make_post(b"{}", length=10**12), frozenset({413})),
        lambda: Case(make_post(b"{}", length=-1), frozenset()),
        lambda: Case(b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", frozenset()),
        lambda: Case(b"GET " + bytes(rng.choices(range(33, 127), k=30)) + b" HTTP/1.1\r\nHost: a\r\n\r\n", frozenset()),
        lambda: Case(bytes(rng.choices(range(256), k=rng.randrange(1, 200))) + b"\r\n\r\n", frozenset()),
        lambda: Case(b"GET /%00/../%ff HTTP/1.1\r\nHost: a\r\n\r\n", frozenset({404})),
        lambda: Case(b"GET /predict HTTP/1.1\r\nHost: a\r\n\r\n", frozenset({405})),
        lambda: Case(b"DELETE /models HTTP/1.1\r\nHost: a\r\n\r\n", frozenset({405})),
        lambda: Case(valid[: rng.randrange(20, len(valid))], frozenset()),  # the client gives up
    ]
    return rng.choice(makers)()


def make_case(rng: random.Random, texts: list[str]) -> Case:
    """A request: valid in six of ten cases."""
    chosen = [rng.randrange(len(texts)) for _ in range(rng.choice([1, 1, 1, 1, 2, 5, 16]))]
    forms = [texts[i] if rng.random() < 0.5 else {"text": texts[i]} for i in chosen]
    content = {"inputs": forms[0] if len(forms) == 1 and rng.random() < 0.8 else forms}
    valid = make_post(json.dumps(content, ensure_ascii=rng.random() < 0.5).encode())
    return Case(valid, frozenset({200, 503}), chosen) if rng.random() < 0.6 else malform(rng, valid)


async def exchange(port: int, data: bytes, gives_up: bool = False) -> tuple[int, bytes]:
    """Send bytes over a new connection; the status and the body, or (0, b"") if the connection is closed.

    Args:
        port: of the server.
        data: to send.
        gives_up: whether to end the connection without waiting for more.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if gives_up:
            writer.write_eof()
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        body = await reader.readexactly(int(length.split(b":")[1]))
        return int(head.split(b" ", 2)[1]), body
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, b""
    finally:
        writer.close()


def check(case: Case, status: int, body: bytes, expected: list[dict[str, float]]) -> str | None:
    """What is wrong with an answer; None if nothing is."""
    shown = f"{case.data[:200]!r} … was answered with {status} {body[:200]!r}"
    if status >= 500 and status != 503:
        return f"{shown}; no status 5xx other than 503 may occur"
    if case.statuses and status not in case.statuses:
        return f"{shown}; expected {sorted(case.statuses)}"
    if status == 200 and case.texts:
        predictions = json.loads(body)["predictions"]
        for number, prediction in zip(case.texts, predictions, strict=True):
            found = {each["label"]: each["probability"] for each in prediction["top"]}
            if any(abs(found[label] - value) > TOLERANCE for label, value in expected[number].items()):
                return f"{shown}; expected {expected[number]}"
    if status >= 400 and body.startswith(b"{"):
        sentence = json.loads(body)["error"]
        if "\n" in sentence or not sentence.endswith((".", "?")):
            return f"{shown}; the error is not one sentence"
    return None


async def run(port: int, pid: int, n: int, seed: int, texts: list[str], expected: list[dict[str, float]]) -> Outcome:
    """Send all requests, from several clients."""
    rng, outcome, numbers = random.Random(seed), Outcome(), iter(range(n))

    async def client() -> None:
        for i in numbers:
            if i % max(n // 10, 1) == 0:
                outcome.megabytes.append(resident_megabytes(pid))
            case = make_case(rng, texts)
            status, body = await asyncio.wait_for(exchange(port, case.data, not case.statuses), 60)
            outcome.statuses[str(status or "closed")] += 1
            if problem := check(case, status, body, expected):
                outcome.problems.append(problem)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    outcome.megabytes.append(resident_megabytes(pid))
    status, _ = await exchange(port, make_post(json.dumps({"inputs": "good"}).encode()))
    if status != 200:
        outcome.problems.append(f"after all requests, a valid one is answered with {status}")
    return outcome


def resident_megabytes(pid: int) -> float:
    """Memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def main() -> None:
    """Send the requests and report what is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="threads of the server; default: %(default)s")
    parser.add_argument("--out", type=Path, help="where the results go")
    options = parser.parse_args()
    from bertwright import Bundle

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder, _ = inputs.make_tiny(folder / "tiny")
        model = workloads.make_fine_tuned("sst2", encoder, folder / "model")
        rows = workloads.make_rows("sst2", N_TEXTS)
        texts = [row.text for row in rows] + list(ODD_TEXTS)
        expected = [each.probabilities for each in Bundle.load(model).predict(texts, quiet=True)]
        load, began = inputs.load_average(), time.perf_counter()
        with start_server("bertwright-server", model, options.threads, list(LIMITS)) as (port, process):
            outcome = asyncio.run(run(port, process.pid, options.requests, options.seed, texts, expected))
        seconds = time.perf_counter() - began
    growth = outcome.megabytes[-1] - outcome.megabytes[len(outcome.megabytes) // 2]
    if growth > GROWTH_LIMIT and options.requests >= 20_000:
        outcome.problems.append(f"memory grew by {growth:.0f} MB in the second half")
    results = {
        "benchmark": "serving_fuzz",
        "date": time.strftime("%Y-%m-%d"),
        "settings": {"requests": options.requests, "seed": options.seed, "load_before": load},
        "seconds": round(seconds, 1),
        "statuses": dict(sorted(outcome.statuses.items())),
        "megabytes": [round(value, 1) for value in outcome.megabytes],
        "n_problems": len(outcome.problems),
        "problems": outcome.problems[:20],
    }
    print(json.dumps(results, indent=2))
    if options.out:
        inputs.save(options.out, results)
    sys.exit(1 if outcome.problems else 0)


if __name__ == "__main__":
    main()
