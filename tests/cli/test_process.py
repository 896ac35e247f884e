"""The command as a process: signals, closed streams, readers that go, and limits of memory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds import SMALL, World

from bertwright.errors import OUT_OF_MEMORY, is_out_of_memory

COMMAND = [sys.executable, "-m", "bertwright"]


@pytest.mark.parametrize("arguments", [["recipe", "keys"], ["recipe", "show", "sst2"], ["--help"], ["train", "--help"]])
def test_a_reader_that_goes_is_no_bug(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_closed_streams(tmp_path: Path, closed: tuple[int, ...]) -> None:
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments], preexec_fn=close, capture_output=True, text=True, check=False, stdin=None
        )

    written = tmp_path / "schema.json"
    ended = run("recipe", "schema", str(written))
    assert ended.returncode == 0, ended.stderr
    assert written.read_text().startswith("{")  # and not what was meant for a stream
    ended = run("recipe", "show", "sst9")
    assert ended.returncode == 2
    assert ("is not a shipped recipe" in ended.stderr) == (2 not in closed)


@pytest.mark.parametrize("megabytes", [200, 500, 900])
def test_a_limit_of_memory_is_one_sentence(world: World, megabytes: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 10**6, megabytes * 10**6))

    ended = subprocess.run(
        [*COMMAND, "predict", str(world.labels), "a text"],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: memory: is limited to {megabytes / 1000:.2f} GB (ulimit -v), but PyTorch")
    assert ended.stderr.count("\n") <= 3  # a sentence, wrapped


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ValueError("Unable to allocate 7.45 GiB for an array"),
    ],
)
def test_what_running_out_of_memory_looks_like(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(OSError(28, "No space left on device"))
    assert OUT_OF_MEMORY.endswith(".")


SIGNALLED = """
import os, signal, sys, time
from bertwright.run.interrupt import stop_on_signals
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for commands in the background
stop_on_signals()
try:
    os.kill(os.getpid(), signal.{first})
    time.sleep(5)
except KeyboardInterrupt:
    print("stopping", flush=True)
    {then}
"""


@pytest.mark.parametrize("first", ["SIGTERM", "SIGINT"])
def test_the_first_signal_interrupts_and_the_second_exits(first: str) -> None:
    for then, code in (("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGINT); time.sleep(5)", 130)):
        script = SIGNALLED.format(first=first, then=then)
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (code, "stopping\n")
        assert "Traceback" not in ended.stderr


@pytest.fixture
def signalled(world: World) -> Callable[..., tuple[int, str]]:
    def run(command: str, out: Path, line: str, *settings: str, signals: int = 1) -> tuple[int, str]:
        """Start a long command, signal it once it has printed a line that starts so, and give how it ended."""
        options = ["--model", str(world.base), "--data", str(world.folder / "reviews.csv"), "--text", "review"]
        arguments = [*COMMAND, command, *options, *SMALL, "train.length=5000 epochs", *settings, "--out", str(out)]
        said = ""
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            while (text := process.stderr.readline()) and not text.startswith(line):
                said += text
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
            said += process.stderr.read()
        return process.returncode, said

    return run


def test_sigterm_stops_a_run_like_ctrl_c(signalled: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    code, text = signalled("train", tmp_path / "run", "device")
    assert code == 130, text
    assert "stopped" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("signals", [1, 2])
def test_sigterm_stops_a_sweep_like_ctrl_c(
    signalled: Callable[..., tuple[int, str]], tmp_path: Path, signals: int
) -> None:
    code, text = signalled("sweep", tmp_path / "s", "sweep ", "train.learning_rate=1e-2,1e-3", signals=signals)
    assert code == 130, text
    assert "stopped" in text
    assert "Traceback" not in text
    if signals == 1:
        assert f"bertwright sweep --resume --out {tmp_path / 's'}" in text
