"""Speed and memory of building a token store, compared with batch tokenization by the tokenizers library.

The text is SQuAD's paragraphs, IMDb's reviews and WikiText-2, repeated in new random orders, with the vocabulary of
bert-base-uncased. A separate process builds the store from the file, including sentence splitting and writing, and
reports its peak memory. After every part of the text that process is paused (SIGSTOP), and the library tokenizes
sentences of the same text in another process, with `encode_batch` only. So both run under the same conditions. Paused
time does not count.

    python benchmarks/store.py                      # 1 GB: ten minutes on two cores; writes results/store.json
    python benchmarks/store.py --megabytes 20
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contest
import inputs

SAMPLE = 8_000_000
"""Bytes of text that the library tokenizes after each part; at most the size of a part."""


def main() -> None:
    """Create the text, measure, print and save the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--rounds", type=int, default=20, help="parts of the text")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=inputs.default_data().parents[1], help="the real data sets")
    parser.add_argument("--tokenizer", type=Path, help="a directory; default: vocab/bert-base-uncased in --data")
    parser.add_argument("--out", type=Path, help="where the results go; default: results/store.json")
    parser.add_argument("--smoke", action="store_true", help="synthetic text, as smoke test; saved only with --out")
    parser.add_argument("--one", choices=["build", "library"], help=argparse.SUPPRESS)
    parser.add_argument("--text", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        {"build": _build, "library": _library}[options.one](options)
        return
    with tempfile.TemporaryDirectory() as folder:
        options.tokenizer = options.tokenizer or options.data / "vocab" / "bert-base-uncased"
        if options.smoke:
            options.tokenizer, _ = inputs.make_tiny(Path(folder))
            options.megabytes, options.out = 0.2, options.out or Path(folder, "store.json")
        options.text = Path(folder, "text.txt")
        size = write_text(options.text, options.megabytes, _smoke_texts() if options.smoke else texts(options.data))
        settings = {"megabytes": size / 1e6, "tokenizer": options.tokenizer.name, "rounds": options.rounds}
        results = contest.start_results("store", settings, options.threads)
        results |= _measured(options, size, Path(folder, "cache"))
    options.out = options.out or inputs.RESULTS / "store.json"
    inputs.save(options.out, results)
    import table

    print(table.store(results))


def texts(data: Path) -> list[str]:
    """The documents of the real data sets, one paragraph per line."""
    squad = json.loads((data / "squad" / "train-v1.1.json").read_text(encoding="utf-8"))["data"]
    found = ["\n".join(paragraph["context"] for paragraph in article["paragraphs"]) for article in squad]
    from bertwright.corpus.documents import open_corpus

    for name in ("imdb/imdb_train.csv", "imdb/imdb_test.csv", "wikitext2"):
        found += ["\n".join(document.sentences) for document in open_corpus(data / name, sentences="lines").documents()]
    return found


def _smoke_texts() -> list[str]:
    rng = random.Random(0)
    words = ["good", "great", "fun", "bad", "dull", "film", "plot", "unseen"]
    return [". ".join(" ".join(rng.choices(words, k=9)).capitalize() for _ in range(5)) for _ in range(500)]


def write_text(path: Path, megabytes: float, documents: list[str]) -> int:
    """Write N bytes of documents, in a new order for each repetition; return the number of bytes written."""
    rng, size = random.Random(0), 0
    with path.open("wb") as file:
        while size < megabytes * 1e6:
            rng.shuffle(documents)
            for document in documents:
                size += file.write(document.encode() + b"\n\n")
                if size >= megabytes * 1e6:
                    break
    return size


def _measured(options: argparse.Namespace, size: int, cache: Path) -> dict[str, Any]:
    """Build the store with pauses, in which the library is measured."""
    variables = {
        **os.environ,
        "BERTWRIGHT_CACHE": str(cache),
        "TOKENIZERS_PARALLELISM": "true",
        "RAYON_NUM_THREADS": str(options.threads),
    }
    shared = ["--text", str(options.text), "--tokenizer", str(options.tokenizer)]

    def start(which: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(inputs.HERE / "store.py"), "--one", which, *shared]
        return subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(process: subprocess.Popen[str]) -> Any:
        said = process.stdout.readline() if process.stdout else ""
        if not said:
            sys.exit(f"{process.args}: ended with {process.wait()}; its message is above.")
        return json.loads(said)

    library, build = start("library"), start("build")
    assert library.stdin is not None
    rounds: list[dict[str, float]] = []
    line(build)  # the first line reports the start
    active, began, done, at = 0.0, time.perf_counter(), 0, 0
    part_began = 0.0
    while isinstance(message := line(build), int):
        if message < (len(rounds) + 1) * size / options.rounds:
            continue
        build.send_signal(signal.SIGSTOP)
        active += time.perf_counter() - began
        rate = (message - done) / (active - part_began)
        library.stdin.write(f"{at} {min(SAMPLE, size // options.rounds)}\n")
        library.stdin.flush()
        one = {"store": rate, **line(library)}
        rounds.append(one)
        print({name: round(value / 1e6, 2) for name, value in one.items()}, "MB/s", file=sys.stderr, flush=True)
        part_began, done, at = active, message, message
        began = time.perf_counter()
        build.send_signal(signal.SIGCONT)
    active += time.perf_counter() - began
    library.stdin.close()
    if build.wait() or library.wait():
        sys.exit("a measurement failed; see the message above.")
    return {"seconds": active, "bytes_per_second": size / active, "rounds": rounds, **message}


def _build(options: argparse.Namespace) -> None:
    """Build the store; print its start, its progress, and its duration at the end."""
    from bertwright.corpus.documents import open_corpus
    from bertwright.corpus.token_store import build_store
    from bertwright.tokenization.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(options.tokenizer)

    def say(what: object) -> None:
        print(json.dumps(what), flush=True)

    say("begun")
    made = build_store(open_corpus(options.text), tokenizer, on_progress=lambda done, total: say(done))
    peak = inputs.peak_megabytes()
    began = time.perf_counter()
    build_store(open_corpus(options.text), tokenizer)
    again = time.perf_counter() - began
    folder = Path(os.environ["BERTWRIGHT_CACHE"], "store")
    facts = {"documents": made.n_documents, "sentences": made.n_sentences, "tokens": made.n_tokens}
    stored = sum(file.stat().st_size for file in folder.iterdir())
    say({**facts, "shards": len(made.shards), "stored": stored, "peak_megabytes": peak, "again_seconds": again})


def _library(options: argparse.Namespace) -> None:
    """For every line "FIRST LENGTH" of standard input, print the speeds on these bytes of the text."""
    from bertwright.corpus.documents import open_corpus
    from bertwright.corpus.token_store import BATCH_CHARACTERS
    from bertwright.tokenization.tokenizer import Tokenizer

    backend = Tokenizer.load(options.tokenizer).backend

    def lots(sentences: list[str]) -> Iterator[list[str]]:
        lot: list[str] = []
        size = 0
        for sentence in sentences:
            lot.append(sentence)
            size += len(sentence)
            if size >= BATCH_CHARACTERS:
                yield lot
                lot, size = [], 0
        yield lot

    for request in sys.stdin:
        first, length = map(int, request.split())
        with options.text.open("rb") as file:
            file.seek(min(first, options.text.stat().st_size - length))
            piece = file.read(length).decode(errors="ignore")
        documents = open_corpus([text for text in piece.split("\n\n") if text.strip()]).documents()
        sentences = [sentence for document in documents for sentence in document.sentences]
        rates = {}
        for name in ("encode_batch", "encode_batch_fast"):
            seconds = 0.0
            for lot in lots(sentences):
                began = time.perf_counter()
                encoded = getattr(backend, name)(lot, add_special_tokens=False)
                seconds += time.perf_counter() - began
                del encoded
            rates[name] = length / seconds
        print(json.dumps(rates), flush=True)


if __name__ == "__main__":
    main()
