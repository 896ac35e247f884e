"""Running trials in processes of their own, which stop, with their state saved, when this one does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Protocol

from bertwright.sweep.trial import Event, Job, Tell, job_line


class Runner(Protocol):
    """How trials are run; called from several threads at once."""

    def run(self, job: Job, tell: Tell) -> Event:
        """Do a job, telling how it goes, and give the last event."""

    def stop(self) -> None:
        """Let jobs that run save their state and end."""


class Children:
    """Runs each job in a process of its own."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, job: Job, tell: Tell) -> Event:
        """Do a job in a new process; what that writes to standard error stays in a file beside the run if it fails."""
        log = Path(f"{job.directory}.log")
        last: Event = {}
        with log.open("wb") as errors, self._started(errors.fileno()) as process:
            try:
                with self._lock:
                    if self._stopped:
                        return {"event": "stopped"}
                    self._running.add(process)
                if process.stdin is None or process.stdout is None:
                    raise RuntimeError("a process without pipes")
                try:
                    process.stdin.write(job_line(job))
                    process.stdin.flush()
                except BrokenPipeError:  # it has ended already; its exit code tells why
                    pass
                for line in process.stdout:
                    last = json.loads(line)
                    if last["event"] == "step":
                        tell(last)
                code = process.wait()
            finally:
                with self._lock:
                    self._running.discard(process)
                process.kill()
        if last.get("event") not in ("done", "failed", "stopped"):
            last = {"event": "failed", "error": f"{_ended(code)}; see {log}."}
        if last["event"] != "failed":
            log.unlink()
        return last

    def stop(self) -> None:
        """Close what the processes listen to: they save their state and end."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                if process.stdin is not None:
                    process.stdin.close()

    @staticmethod
    def _started(errors: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "bertwright.sweep.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C in a terminal reaches this process alone, which then stops the others
        )


def _ended(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in {s.value for s in signal.Signals} else str(-code)
    out_of_memory = ", as when memory runs out" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{out_of_memory}"
