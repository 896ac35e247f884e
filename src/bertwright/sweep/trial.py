"""One trial: an ordinary run in its own process, which reports its progress to the search.

The process reads a job, one line of JSON, from standard input. It writes events, one a line, to the file descriptor
that is its argument. Events have their own channel because anything may print to standard output: Python code, C
libraries, child processes.
A process for each trial costs about two seconds of imports, and is worth it: a crash or the system's out-of-memory
killer ends one trial and not the search, and memory that one trial leaves behind is gone with it. When standard input
ends, because the search has stopped or was killed, the run saves its state and ends too.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from bertwright.config.sections import build
from bertwright.config.yaml_tree import parse_yaml
from bertwright.errors import BertwrightError, OutputError, is_out_of_memory
from bertwright.files.atomic import check_unlocked
from bertwright.files.strict_json import to_json
from bertwright.recipe import Recipe
from bertwright.run.bundle import CONFIG, RECIPE
from bertwright.run.directory import saved_recipe
from bertwright.run.events import TrainingStarted
from bertwright.run.interrupt import STOPPED
from bertwright.run.report import Report
from bertwright.run.train import train
from bertwright.training.loop import Step

PROGRESS_INTERVAL_SECONDS = 0.5
"""Interval of progress events."""

LOCK_TIMEOUT_SECONDS = 120.0
"""How long a resumed trial waits for its previous process, which may still be saving a checkpoint."""

Event = dict[str, Any]
Emit = Callable[[Event], None]


@dataclass(frozen=True)
class Job:
    """A run to start, resume or read.

    Attributes:
        directory: the directory of the run.
        recipe: the recipe as YAML; a resumed run uses its saved recipe.
        test: whether to evaluate the test rows.
        allow_code: whether a custom head ``module:name`` may be imported and called.
        group: the directory of the search, under which experiment trackers group the run; None for a single run.
    """

    directory: str
    recipe: str
    test: bool = False
    allow_code: bool = False
    group: str | None = None


def run_job(job: Job, tell: Emit) -> Event:
    """Run a job, report its progress, and return the last event: ``done``, ``failed`` or ``stopped``."""
    try:
        report = _report_of(job, tell)
    except KeyboardInterrupt:
        return {"event": "stopped"}
    except Exception as error:  # any error ends this trial only
        return {"event": "failed", "error": _explain(error)}
    return {"event": "done", "metrics": report.metrics, "notes": report.notes}


def _report_of(job: Job, tell: Emit) -> Report:
    directory = Path(job.directory)
    if (directory / CONFIG).exists():
        return Report.load(directory)
    _await_release(directory)
    begun = (directory / RECIPE).exists()
    recipe = saved_recipe(directory) if begun else build(Recipe, parse_yaml(job.recipe))
    steps, told_at = 0, 0.0

    def listen(event: Any) -> None:
        nonlocal steps, told_at
        if isinstance(event, TrainingStarted):
            steps = event.steps
        now = time.monotonic()
        if isinstance(event, TrainingStarted | Step) and now - told_at > PROGRESS_INTERVAL_SECONDS:
            told_at = now
            tell({"event": "step", "step": event.step, "steps": steps})

    bundle = train(
        recipe,
        directory,
        test=job.test,
        resume=begun,
        quiet=True,
        allow_code=job.allow_code,
        listeners=[listen],
        tracking_group=job.group,
    )
    return bundle.report or Report()


def _await_release(directory: Path) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            return check_unlocked(directory)
        except OutputError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _explain(error: Exception) -> str:
    if isinstance(error, BertwrightError):
        return "; ".join(error.sentences)
    traceback.print_exc()
    if is_out_of_memory(error):
        return "out of memory; lower train.max_tokens or tokens.max_length."
    return f"unexpected {type(error).__name__}: {str(error).partition(chr(10))[0]}."


def _stop_with_parent() -> None:
    """Interrupt the run, as Ctrl-C does, when the other end of standard input is closed."""
    while os.read(0, 1):
        pass
    _thread.interrupt_main()


def main(channel: TextIO) -> None:
    """Run the job on standard input and write its events to the channel, one per line."""
    job = Job(**json.loads(sys.stdin.readline()))

    def tell(event: Event) -> None:
        print(to_json(event), file=channel, flush=True)

    for number in (signal.SIGINT, signal.SIGTERM):  # a search in the background of a shell ignores the first
        signal.signal(number, signal.default_int_handler)
    try:
        threading.Thread(target=_stop_with_parent, daemon=True).start()
        tell(run_job(job, tell))
    except (KeyboardInterrupt, BrokenPipeError):  # the search has gone: what was saved is gone on from
        sys.exit(STOPPED)


def serialize_job(job: Job) -> str:
    """Return a job in the form that the process reads."""
    return to_json(asdict(job)) + "\n"


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as events:
        os.set_inheritable(events.fileno(), False)  # a process that this one starts must not keep the channel open
        main(events)
