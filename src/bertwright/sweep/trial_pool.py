"""Concurrent trials, each followed by a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from bertwright.errors import RecipeError
from bertwright.recipe import Recipe
from bertwright.sweep.context import SearchContext
from bertwright.sweep.subprocesses import TrialRunner
from bertwright.sweep.trial import PROGRESS_INTERVAL_SECONDS, Event, Job


class TrialPool:
    """Runs named trials; if an exception leaves the context, running trials save a checkpoint first.

    Attributes:
        running: trial name → progress, 0 to 1.
    """

    def __init__(self, context: SearchContext, runner: TrialRunner) -> None:
        self.running: dict[str, float] = {}
        self._context = context
        self._runner = runner
        self._ended: queue.SimpleQueue[tuple[str, Event | BaseException]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._runner.stop()
        while self.running:
            with suppress(Exception):
                self.next()

    def launch(self, name: str, recipe: Callable[[], Recipe]) -> None:
        """Start or resume a trial in a thread that reports its end."""
        self.running[name] = 0.0
        directory = self._context.trial_directory(name)
        directory.parent.mkdir(exist_ok=True)

        def tell(event: Event) -> None:
            self.running[name] = event["step"] / max(event["steps"], 1)

        def work() -> None:
            start = time.monotonic()
            outcome: Event | BaseException
            try:
                outcome = self._runner.run(
                    Job(
                        str(directory),
                        recipe().to_yaml(),
                        test=self._context.settings.score_test,
                        allow_code=self._context.allow_code,
                        group=str(self._context.directory),
                    ),
                    tell,
                )
                outcome = {**outcome, "seconds": time.monotonic() - start}
            except RecipeError as error:  # a value inside a range may be invalid although its ends are valid
                outcome = {"event": "failed", "error": str(error), "seconds": 0.0}
            except BaseException as error:  # raised again in the main thread
                outcome = error
            self._ended.put((name, outcome))

        threading.Thread(target=work, daemon=True).start()

    def next(self, on_wait: Callable[[], None] = lambda: None) -> tuple[str, Event]:
        """Wait for the next trial to end; ``on_wait`` is called meanwhile."""
        while True:
            try:
                name, outcome = self._ended.get(timeout=PROGRESS_INTERVAL_SECONDS)
            except queue.Empty:
                on_wait()
                continue
            del self.running[name]
            if isinstance(outcome, BaseException):
                raise outcome
            return name, outcome
