"""``bertwright predict`` reads, predicts and writes rows part by part: from files, standard input and named pipes."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import Call, World

from bertwright.cli import inputs
from bertwright.data.example import Example
from bertwright.data.table_files import Table, read_table
from bertwright.run.bundle import Bundle

FORMATS = ("csv", "tsv", "jsonl", "parquet")


def texts(n: int) -> list[str]:
    return [f"{'the film is ' * (i % 4)}{'good' if i % 3 else 'bad'}" for i in range(n)]


def rows(n: int) -> list[dict[str, Any]]:
    return [{"nr": str(i), "review": text, "note": f"é{i}"} for i, text in enumerate(texts(n))]


def encode(format_: str, data: list[dict[str, Any]], folder: Path) -> bytes:
    """The rows as the content of a file."""
    if format_ == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in data).encode()
    if format_ == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(data), folder / "encoded")
        return (folder / "encoded").read_bytes()
    out = io.StringIO()
    writer = csv.DictWriter(out, list(data[0]), delimiter="\t" if format_ == "tsv" else ",", lineterminator="\n")
    writer.writeheader()
    writer.writerows(data)
    return out.getvalue().encode()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "ROWS", 8)
    monkeypatch.setattr(inputs, "STREAM_ROWS", 8)
    monkeypatch.setattr("bertwright.data.table_parts.SAMPLE", 100)


def values_of(table: Table) -> dict[str, list[Any]]:
    return {name: list(table.column(name)) for name in table.names}


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("format_", FORMATS)
def test_files_and_streams_of_every_format(world: World, call: Call, tmp_path: Path, format_: str) -> None:
    data = rows(30)
    source = tmp_path / f"in.{format_}"
    source.write_bytes(encode(format_, data, tmp_path))
    predictions = Bundle.load(world.labels).predict([row["review"] for row in data])
    for output in FORMATS:
        file = tmp_path / f"out.{output}"
        said = call("predict", world.labels, "--input", source, "--output", file, "--overwrite")
        assert (said.code, said.out, said.err) == (0, "", f"30 predictions in {file}\n")
        table = values_of(read_table(file))
        assert list(table) == ["nr", "review", "note", "label", "probability", "probability_neg", "probability_pos"]
        assert [table["nr"], table["review"], table["note"]] == [[row[name] for row in data] for name in data[0]]
        assert table["label"] == [prediction.label for prediction in predictions]
        probabilities = [float(value) for value in table["probability"]]
        assert probabilities == pytest.approx([prediction.probability for prediction in predictions], abs=2e-6)
        # a stream gives the same bytes
        piped = tmp_path / f"piped.{output}"
        options = ("--input-format", format_, "--output", piped, "--overwrite")
        said = call("predict", world.labels, "--input", "-", *options, stdin=source.read_bytes())
        assert said.code == 0, said.err
        assert piped.read_bytes() == file.read_bytes()
        if output != "parquet":
            options = ("--input-format", format_, "--output", "-", "--format", output)
            said = call("predict", world.labels, "--input", "-", *options, stdin=source.read_bytes())
            assert said.out.encode() == file.read_bytes()
    shown = call("predict", world.labels, "--input", source).out
    assert [line.split("\t")[2] for line in shown.splitlines()] == [row["review"] for row in data]


def test_a_stream_of_objects_is_written_as_objects(world: World, call: Call) -> None:
    said = call(
        *("predict", world.labels, "--input", "-", "--input-format", "jsonl", "--output", "-"),
        stdin='{"review": "good"}\n\n{"review": null}\n',
    )
    assert [json.loads(line)["review"] for line in said.out.splitlines()] == ["good", None]
    assert said.err == (
        "note: 1 rows skipped: blank line\n"
        'note: standard input: 1 values of the column "review" are missing and read as empty texts\n'
    )


@pytest.mark.usefixtures("small_parts")
def test_other_encodings_headers_and_columns(world: World, call: Call, tmp_path: Path) -> None:
    content = "1,good café\n2,bad\n".encode("cp1252")
    options = ("--no-header", "--text", "1", "--encoding", "cp1252")
    arguments = ("--input", "-", "--input-format", "csv", *options, "--output", "-")
    said = call("predict", world.labels, *arguments, stdin=content)
    assert [line.split(",")[:3] for line in said.out.splitlines()[1:]] == [
        ["1", "good café", "pos"],
        ["2", "bad", "neg"],
    ]
    said = call("predict", world.labels, "--input", "-", "--input-format", "csv", stdin=content)
    assert said.code == 2
    assert said.err.startswith(
        "error: standard input:1: byte 0xe9 at offset 10 is not utf-8; save the file as UTF-8, or"
    )
    other = b"who,comment\nann,so bad\n"
    said = call("predict", world.labels, "--input", "-", "--input-format", "csv", stdin=other)
    assert (said.out[:4], said.err) == ("neg\t", "note: text: inferred to be comment (--text \u2026 overrides it)\n")
    # a file whose name does not show its format
    path = tmp_path / "rows.data"
    path.write_bytes(other)
    assert call("predict", world.labels, "--input", path, "--input-format", "csv").out[:4] == "neg\t"
    said = call("predict", world.labels, "--input", tmp_path, "--input-format", "csv")
    assert "is a directory; expected a file" in said.err
    assert "no such file" in call("predict", world.labels, "--input", "no.data", "--input-format", "csv").err


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("format_", "bad", "message"),
    [
        ("csv", b"1\n", "standard input:22: expected 3 columns, found 1"),
        ("csv", b'1,"x', "standard input:22: a quote in this row is never closed"),
        ("csv", b"1,\xff,2\n", "standard input:22: byte 0xff"),
        ("tsv", b"1\n", "standard input:22: expected 3 columns, found 1"),
        ("jsonl", b"{\n", "standard input:21: is not valid JSON"),
        ("jsonl", b'{"nr": 1}\n', 'standard input:21: lacks the column "review"'),
    ],
)
def test_a_bad_row_stops_a_stream(
    world: World, call: Call, tmp_path: Path, format_: str, bad: bytes, message: str
) -> None:
    content = encode(format_, rows(20), tmp_path) + bad
    arguments = ("predict", world.labels, "--input", "-", "--input-format", format_)
    said = call(*arguments, "--output", tmp_path / "out.jsonl", stdin=content)
    assert said.code == 2
    assert said.err.startswith(f"error: {message}")
    assert not list(tmp_path.glob("*out*"))
    if b"\xff" not in bad:  # a block of bytes is decoded before its first row is predicted
        said = call(*arguments, "--output", "-", "--format", "jsonl", stdin=content)
        assert [json.loads(line)["nr"] for line in said.out.splitlines()] == [str(i) for i in range(16)]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("format_", "bad"), [("csv", b"1\n"), ("tsv", b"1\n"), ("jsonl", b'{"review": 5}\n')])
def test_a_bad_row_of_a_file_stops_before_predicting(
    world: World, call: Call, tmp_path: Path, format_: str, bad: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("predicted in vain")

    monkeypatch.setattr(Bundle, "compute_outputs", refuse)
    path = tmp_path / f"in.{format_}"
    path.write_bytes(encode(format_, rows(20), tmp_path) + bad)
    said = call("predict", world.labels, "--input", path, "--output", "-")
    assert (said.code, said.out) == (2, "")
    assert f"{path}:2" in said.err


@pytest.mark.usefixtures("small_parts")
def test_columns_that_begin_later(world: World, call: Call, tmp_path: Path) -> None:
    late = [{"review": "good"}] * 20 + [{"review": "bad", "extra": "x"}]
    content = encode("jsonl", late, tmp_path)
    arguments = ("predict", world.labels, "--input", "-", "--input-format", "jsonl", "--output")
    said = call(*arguments, tmp_path / "out.csv", stdin=content)
    assert said.err == (
        'error: standard input:21: has the column "extra", which no row before has; '
        "write .jsonl or .parquet, or save the input as a file.\n"
    )
    assert call(*arguments, tmp_path / "out.parquet", stdin=content).code == 0
    assert values_of(read_table(tmp_path / "out.parquet"))["extra"] == [None] * 20 + ["x"]
    written = [json.loads(line) for line in call(*arguments, "-", stdin=content).out.splitlines()]
    assert ["extra" in row for row in written] == [False] * 16 + [True] * 5
    # the columns of a file are known before it is predicted
    (tmp_path / "in.jsonl").write_bytes(content)
    assert call("predict", world.labels, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.csv").code == 0
    assert values_of(read_table(tmp_path / "out.csv"))["extra"] == [""] * 20 + ["x"]
    taken = encode("jsonl", [{"review": "good"}] * 20 + [{"review": "bad", "label": "x"}], tmp_path)
    said = call(*arguments, "-", stdin=taken)
    assert said.err.endswith("predictions already have a column of this name; save the input as a file.\n")


@pytest.mark.usefixtures("small_parts")
def test_parquet_has_types_that_hold_all_parts(world: World, call: Call, tmp_path: Path) -> None:
    def row(i: int) -> dict[str, Any]:
        late = i >= 20
        return {
            "text": "good",
            "null": "x" if late else None,
            "number": 1.5 if late else 1,
            "list": ["x"] if late else [],
            "object": {"a": 1, "b": "x"} if late else {"a": None},
        }

    data = [row(i) for i in range(24)]
    path = tmp_path / "in.jsonl"
    path.write_bytes(encode("jsonl", data, tmp_path))
    said = call("predict", world.multi, "--input", path, "--output", tmp_path / "out.parquet")
    assert said.code == 0, said.err
    table = values_of(read_table(tmp_path / "out.parquet"))
    assert table["null"] == [None] * 20 + ["x"] * 4
    assert table["number"] == [1.0] * 20 + [1.5] * 4
    assert table["list"] == [[]] * 20 + [["x"]] * 4
    assert table["object"] == [{"a": None, "b": None}] * 20 + [{"a": 1, "b": "x"}] * 4
    assert all(isinstance(labels, list) for labels in table["labels"])
    data[22]["number"] = "many"
    path.write_bytes(encode("jsonl", data, tmp_path))
    said = call("predict", world.multi, "--input", path, "--output", tmp_path / "new.parquet")
    assert said.code == 2
    assert said.err.startswith('error: the column "number": Parquet cannot hold its values (')


def test_tables_of_other_tasks_from_standard_input(world: World, call: Call) -> None:
    said = call("predict", world.pairs, "--input", "-", "--input-format", "csv", stdin="a,b\ngood,fun\n")
    assert said.out.endswith("\tgood\tfun\n"), said.err
    said = call("predict", world.multi, "--input", "-", "--input-format", "tsv", "--output", "-", stdin="text\ngood\n")
    assert said.out.startswith("text,labels,probability_good,probability_long\ngood,")
    said = call("predict", world.pairs, "--input", "-", "--input-format", "csv", "--text", "a", stdin="a,b\ngood,fun\n")
    assert "the model takes two texts a row" in said.err


def feed(path: Path, content: Callable[[], Iterator[bytes]], progress: list[int]) -> threading.Thread:
    """Write blocks to a named pipe and count them."""

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            for block in content():
                pipe.write(block)
                progress[0] += 1

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are not known to this system")
def test_a_pipe_is_predicted_while_it_is_written(
    world: World, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, progress, seen = 600, [0], list[int]()
    block = b"good\n" * 1000

    def content() -> Iterator[bytes]:
        yield b"review\n"
        for _ in range(n):
            yield block

    def outputs(self: Bundle, examples: list[Example], on_progress: object = None) -> tuple[Any, int]:
        seen.append(progress[0])
        return np.zeros((len(examples), 2), dtype=np.float32), 0

    monkeypatch.setattr(Bundle, "compute_outputs", outputs)
    os.mkfifo(tmp_path / "pipe")
    thread = feed(tmp_path / "pipe", content, progress)
    arguments = ("--input", tmp_path / "pipe", "--input-format", "csv", "--output", tmp_path / "out.csv")
    said = call("predict", world.labels, *arguments)
    thread.join(10)
    assert said.code == 0, said.err
    assert said.err.endswith(f"600,000 predictions in {tmp_path / 'out.csv'}\n")
    assert seen[0] < 100, "the first rows are predicted before the last ones are written"
    assert seen[len(seen) // 2] < 0.9 * n


@pytest.mark.parametrize(
    ("source", "output"), [("csv", "csv"), ("jsonl", "parquet"), ("parquet", "jsonl"), ("tsv", "tsv")]
)
def test_memory_does_not_grow_with_the_rows(
    world: World, call: Call, tmp_path: Path, source: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outputs(self: Bundle, examples: list[Example], on_progress: object = None) -> tuple[Any, int]:
        return np.zeros((len(examples), 2), dtype=np.float32), 0

    def peak(n: int) -> int:
        path = tmp_path / f"{n}.{source}"
        path.write_bytes(encode(source, rows(n), tmp_path))
        tracemalloc.start()
        try:
            said = call("predict", world.labels, "--input", path, "--output", tmp_path / f"out{n}.{output}")
            assert said.code == 0, said.err
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    monkeypatch.setattr(Bundle, "compute_outputs", outputs)
    monkeypatch.setattr(inputs, "ROWS", 500)
    monkeypatch.setattr("bertwright.data.text_files._BLOCK", 1 << 14)
    peak(1000)  # imports
    small, large = peak(2000), peak(12_000)
    assert large < 1.3 * small + 300_000, "12,000 rows take some 8 MB"


def test_an_iterable_is_predicted_while_it_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertwright.run.bundle.ROWS", 8)
    bundle, n_read = Bundle.load(world.labels), [0]

    def generate() -> Iterator[str]:
        for text in texts(30):
            n_read[0] += 1
            yield text

    stream = bundle.predict_stream(generate())
    first = next(stream)
    assert n_read == [8]
    predictions = [first, *stream]
    assert [prediction.id for prediction in predictions] == [str(i) for i in range(30)]
    assert [prediction.label for prediction in predictions] == [p.label for p in bundle.predict(texts(30))]
    named = bundle.predict_stream([{"id": "a", "review": "good"}])
    assert [prediction.id for prediction in named] == ["a"]


# Ends of a process ------------------------------------------------------------------------------------------------


RUN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for commands in the background
from bertwright.cli import main
main()
"""


def start(world: World, *arguments: object, **pipes: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", RUN, "predict", world.labels, "--input", "-", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **pipes
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code", "remains"), [(signal.SIGKILL, -9, 1), (signal.SIGINT, 130, 0)])
def test_a_kill_leaves_no_output(world: World, tmp_path: Path, number: int, code: int, remains: int) -> None:
    process = start(world, "--input-format", "csv", "--output", tmp_path / "out.csv")
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b"review\n" + b"the film is good\n" * 6000)
    process.stdin.flush()
    wait_for(lambda: any(path.stat().st_size > 10_000 for path in tmp_path.glob(".partial-*")), process)
    process.send_signal(number)
    assert process.wait(60) == code
    assert not (tmp_path / "out.csv").exists()
    assert len(list(tmp_path.iterdir())) == remains, "a later run removes the partial file of a killed one"
    process.stderr.close()
    process.stdin.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_rows_are_written_before_the_input_ends_and_a_closed_pipe_ends_the_command(world: World) -> None:
    process = start(world, "--input-format", "csv", "--output", "-", stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(b"review\n" + b"the film is good\n" * 6000)
    process.stdin.flush()
    assert process.stdout.readline() == b"review,label,probability,probability_neg,probability_pos\n"
    assert process.stdout.readline().startswith(b"the film is good,pos,")
    process.stdout.close()
    process.stdin.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
