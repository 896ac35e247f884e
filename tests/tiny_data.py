"""Small data files of every kind, each text with a word of its own: for the fuzz driver and for reference runs."""

from __future__ import annotations

import json
import random

ROWS = 24
WORDS = ("good", "bad", "film", "plot", "the", "a", "is", "was", "very", "not")


def canary(number: int) -> str:
    """A word that occurs in one row only, so that a row lost on the way is noticed."""
    return f"nr{number:04d}"


def sentences(seed: int = 0) -> list[tuple[str, str]]:
    """Texts with their labels; each text contains its canary."""
    rng = random.Random(seed)
    return [
        (" ".join([*rng.choices(WORDS, k=rng.randint(1, 5)), canary(i)]), ("pos", "neg")[i % 2]) for i in range(ROWS)
    ]


def delimited(separator: str, quoted: bool = False, head: tuple[str, str] = ("text", "label")) -> bytes:
    """A delimited file; with ``quoted`` every third text contains the separator, a quote and a line break."""
    lines = [separator.join(head)]
    for i, (text, label) in enumerate(sentences()):
        lines.append(
            f'"{text}{separator} ""so""\nend"{separator}{label}'
            if quoted and i % 3 == 0
            else f"{text}{separator}{label}"
        )
    return ("\n".join(lines) + "\n").encode()


def json_lines() -> bytes:
    """The sentences as JSON Lines."""
    return b"".join(json.dumps({"text": text, "label": label}).encode() + b"\n" for text, label in sentences())


def multi_label() -> bytes:
    """Two 0/1 columns."""
    return (
        "text,good,long\n" + "".join(f"{t},{i % 2},{i % 3 // 2}\n" for i, (t, _) in enumerate(sentences()))
    ).encode()


def numbers() -> bytes:
    """Sentence pairs with a number."""
    return ("a,b,score\n" + "".join(f"{t},{t[::-1]},{i / 7:.3f}\n" for i, (t, _) in enumerate(sentences()))).encode()


def tagged() -> bytes:
    """A column file of words and BIO tags."""
    blocks = []
    for text, label in sentences():
        words = text.split()
        tags = ["O"] * (len(words) - 1) + ["B-PER" if label == "pos" else "B-LOC"]
        blocks.append("\n".join(f"{word}\t{tag}" for word, tag in zip(words, tags, strict=True)))
    return ("\n\n".join(blocks) + "\n").encode()


def squad() -> bytes:
    """Questions and answers in SQuAD's layout."""
    paragraphs = []
    for i, (text, _) in enumerate(sentences()):
        answer = canary(i)
        qa = {
            "id": f"q{i}",
            "question": "what is it",
            "answers": [{"text": answer, "answer_start": text.index(answer)}],
        }
        paragraphs.append({"context": text, "qas": [qa]})
    return json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}).encode()


def plain_text() -> bytes:
    """One text per line."""
    return "".join(f"{text}\n" for text, _ in sentences()).encode()


def choices() -> bytes:
    """Contexts with two to four choices each."""
    rng, lines = random.Random(1), []
    for i, (text, _) in enumerate(sentences()):
        options = [" ".join(rng.choices(WORDS, k=rng.randint(1, 3))) for _ in range(2 + i % 3)]
        lines.append(json.dumps({"context": text, "question": "what is it", "choices": options, "label": i % 2}))
    return ("\n".join(lines) + "\n").encode()
