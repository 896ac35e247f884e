"""Trials in subprocesses, which save a checkpoint and stop when the search stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TextIO

from bertwright.import_path import safe_import_path
from bertwright.sweep.trial import Emit, Event, Job, serialize_job

TRIAL = "bertwright.sweep.trial"


class TrialRunner(Protocol):
    """Runs trials; called from several threads at once."""

    def run(self, job: Job, tell: Emit) -> Event:
        """Run a job, report its progress, and return its last event."""

    def stop(self) -> None:
        """Let running jobs save a checkpoint and end."""


class SubprocessRunner:
    """Runs each job in a separate process."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, job: Job, tell: Emit) -> Event:
        """Run a job in a new process; its output is kept in a file next to the run if it fails."""
        log = Path(f"{job.directory}.log")
        last: Event = {}
        read_end, write_end = os.pipe()
        with os.fdopen(read_end, encoding="utf-8") as events:
            try:
                with log.open("wb") as output:
                    process = self._start(output.fileno(), write_end)
            finally:
                os.close(write_end)  # the child has its own copy, so reading ends when the child does
            with process:
                try:
                    with self._lock:
                        if self._stopped:
                            return {"event": "stopped"}
                        self._running.add(process)
                    last = _follow(process, events, job, tell)
                    code = process.wait()
                finally:
                    with self._lock:
                        self._running.discard(process)
                    process.kill()
        if last.get("event") not in ("done", "failed", "stopped"):
            last = {"event": "failed", "error": f"{_describe_exit(code)}; see {log}."}
        if last["event"] != "failed":
            log.unlink()
        return last

    def stop(self) -> None:
        """Close the standard input of the processes, so that they save a checkpoint and end."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                if process.stdin is not None:
                    process.stdin.close()

    @staticmethod
    def _start(output: int, events: int) -> subprocess.Popen[str]:
        # -P and an explicit path, so that a file in the working directory cannot shadow a module.
        start = f"import sys; sys.path[:] = {safe_import_path()!r}; from runpy import run_module; "
        start += f"run_module({TRIAL!r}, run_name='__main__')"
        return subprocess.Popen(
            [sys.executable, "-P", "-c", start, str(events)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(events,),
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C in a terminal reaches this process alone, which then stops the others
        )


def _follow(process: subprocess.Popen[str], events: TextIO, job: Job, tell: Emit) -> Event:
    """Send a job to a process, read its events, and return the last one."""
    last: Event = {}
    if process.stdin is None:
        raise RuntimeError("a process without standard input")
    with suppress(BrokenPipeError):  # the process has ended already; its exit code says why
        process.stdin.write(serialize_job(job))
        process.stdin.flush()
    for line in events:
        if not line.endswith("\n"):
            break  # the process was killed while it wrote
        last = json.loads(line)
        if last["event"] == "step":
            tell(last)
    return last


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in {s.value for s in signal.Signals} else str(-code)
    out_of_memory = ", as when memory runs out" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{out_of_memory}"
