"""Seeded mutations of a file: of its bytes, its lines, and of the values in a JSON or YAML document."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

SPLICES: tuple[bytes, ...] = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", "\u2028".encode(), "\u200b".encode(), b"\x1b[2J"),
    *(b"\r", b"\r\n", b"\n", b"\n\n", b"\t", b",", b";", b"|", b'"', b'""', b"'", b"\\", b"#", b"#id", b"-DOCSTART- O"),
    *(b"{", b"}", b"[", b"]", b":", b"null", b"NaN", b"-1", b"?", b"1e999", b"9" * 400, b"<b>", b"[bold]", b"$x_"),
)
"""What is inserted into a file: markers, delimiters, quotes and characters that parsers treat specially."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 2**31, 2**63, -(2**70), 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "x", "1", "-1", "nan", "null", "../x", "\0", "\ud800", "\x1b[31m", "a\nb", "x" * 5000),
    *([], [None], [[]], [1, "a"], ["x"] * 50, {}, {"": {}}, {"x": None}, {"0": [1]}),
)
"""What replaces a value of a document: every JSON type, at its limits."""

Mutation = Callable[[bytes, random.Random], bytes]


def splice(data: bytes, rng: random.Random) -> bytes:
    """Insert a special string at a random place."""
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(SPLICES) + data[at:]


def flip(data: bytes, rng: random.Random) -> bytes:
    """Replace up to four bytes by random ones."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """Remove a range of bytes, which may reach to the end of the file."""
    start = rng.randint(0, len(data))
    return data[:start] + data[rng.choice((len(data), min(len(data), start + rng.randint(1, 40)))) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """Repeat a range of bytes."""
    start = rng.randint(0, len(data))
    stop = min(len(data), start + rng.randint(1, 200))
    return data[:stop] + data[start:stop] * rng.randint(1, 5) + data[stop:]


def change_lines(data: bytes, rng: random.Random) -> bytes:
    """Remove, repeat, swap or empty a line, or drop or add one of its fields."""
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    separator = rng.choice((b",", b"\t", b" ", b";"))
    edits: tuple[Callable[[], object], ...] = (
        lambda: lines.pop(at),
        lambda: lines.insert(at, lines[other]),
        lambda: lines.__setitem__(slice(at, at + 1), [lines[other]]),
        lambda: lines.__setitem__(at, b""),
        lambda: lines.__setitem__(at, separator.join(lines[at].split(separator)[:-1])),
        lambda: lines.__setitem__(at, lines[at] + separator + b"extra"),
    )
    rng.choice(edits)()
    return b"\n".join(lines)


def change_encoding(data: bytes, rng: random.Random) -> bytes:
    """Encode the whole file differently, or change its line ends."""
    text = data.decode("utf-8", "replace")
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-16-le"),
        lambda: text.encode("utf-8-sig"),
        lambda: text.replace("e", "é").encode("latin-1", "replace"),
        lambda: text.replace("\n", "\r\n").encode(),
        lambda: text.replace("\n", "\r").encode(),
    )
    return rng.choice(changes)()


BYTES: tuple[Mutation, ...] = (splice, splice, flip, cut, repeat, change_lines, change_lines, change_encoding)
"""Mutations of any file; the most telling ones twice."""


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Apply one to three mutations of bytes or lines."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(BYTES)(data, rng)
    return data


def mutate_document(document: Any, rng: random.Random) -> Any:
    """Replace, remove, rename or add one value somewhere in a JSON-like document, in place where possible."""
    containers = [document] if isinstance(document, dict | list) else []
    for container in containers:
        values = container.values() if isinstance(container, dict) else container
        containers += [value for value in values if isinstance(value, dict | list)]
    containers = [container for container in containers if container]
    if not containers or rng.random() < 0.03:
        return rng.choice(VALUES)
    container = rng.choice(containers)
    key = rng.choice(list(container) if isinstance(container, dict) else range(len(container)))
    action = rng.random()
    if action < 0.7:
        container[key] = rng.choice(VALUES)
    elif action < 0.85:
        del container[key]
    elif isinstance(container, dict):
        container[f"{key}_"] = container.pop(key)
    else:
        container.append(rng.choice(VALUES))
    return document


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Mutate a value of a JSON file, or of one line of a JSON Lines file; sometimes its bytes."""
    if rng.random() < 0.15:
        return mutate_bytes(data, rng)
    try:
        return json.dumps(mutate_document(json.loads(data), rng)).encode()
    except ValueError:
        lines = data.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = json.dumps(mutate_document(json.loads(lines[at]), rng)).encode()
    return b"\n".join(lines) + b"\n"


def mutate_yaml(data: bytes, rng: random.Random) -> bytes:
    """Mutate a value of a YAML file; sometimes its bytes."""
    import yaml

    if rng.random() < 0.25:
        return mutate_bytes(data, rng)
    document = mutate_document(yaml.safe_load(data), rng)
    return yaml.safe_dump(document, allow_unicode=False).encode("utf-8", "surrogatepass")
