"""Several runs at once, each waited for by a thread."""

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
    """Runs named trials; when its block is left by an exception those that run save their state first.

    Attributes:
        running: how far each is, 0 to 1.
    """

    def __init__(self, setup: SearchContext, runner: TrialRunner) -> None:
        self.running: dict[str, float] = {}
        self._setup = setup
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
        """Begin a run, or go on with it, in a thread that reports its end, whatever that is."""
        self.running[name] = 0.0
        place = self._setup.place(name)
        place.parent.mkdir(exist_ok=True)

        def tell(event: Event) -> None:
            self.running[name] = event["step"] / max(event["steps"], 1)

        def work() -> None:
            began = time.monotonic()
            outcome: Event | BaseException
            try:
                outcome = self._runner.run(Job(str(place), recipe().to_yaml(), allow_code=self._setup.allow_code), tell)
                outcome = {**outcome, "seconds": time.monotonic() - began}
            except RecipeError as error:  # a range's inside is wrong though its ends are right
                outcome = {"event": "failed", "error": str(error), "seconds": 0.0}
            except BaseException as error:  # it is raised again where the search runs
                outcome = error
            self._ended.put((name, outcome))

        threading.Thread(target=work, daemon=True).start()

    def next(self, on_wait: Callable[[], None] = lambda: None) -> tuple[str, Event]:
        """The next run to end; ``on_wait`` is called while there is none."""
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
