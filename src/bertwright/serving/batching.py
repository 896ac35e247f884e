"""Dynamic batching: inputs of requests that arrive together are predicted in one batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bertwright.errors import BertwrightError
from bertwright.serving.errors import make_unavailable
from bertwright.serving.settings import ServingSettings

Item = TypeVar("Item")


@dataclass
class Job(Generic[Item]):
    """The inputs of one request.

    Attributes:
        items: the inputs.
        n_tokens: their estimated tokens.
        render: predictions of the inputs → the result of the job; called in the worker thread.
        group: only jobs with equal groups are predicted together.
        result: is set to what ``render`` returns, or to the error.
    """

    items: Sequence[Item]
    n_tokens: int
    render: Callable[[Sequence[Any]], Any]
    group: Any
    result: asyncio.Future[Any]


class Batcher(Generic[Item]):
    """Predicts the inputs of concurrent requests in batches, in the order of arrival.

    While a batch is predicted, in a worker thread, the next requests wait in a queue. The next batch takes the waiting
    requests up to a budget of tokens. If the last batch had several requests, it first waits some milliseconds for as
    many, because clients that were answered together send their next requests together. A single client never waits.

    Args:
        predict: predicts inputs, in order; called in the worker thread.
        executor: the worker thread.
        settings: budget of tokens, waiting time and length of the queue.
        on_batch: called with the inputs, estimated tokens and seconds of each batch.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Item]], Sequence[Any]],
        executor: Callable[[], Executor],
        settings: ServingSettings,
        on_batch: Callable[[int, int, float], None] = lambda *_: None,
    ) -> None:
        self._predict = predict
        self._executor = executor
        self._settings = settings
        self._on_batch = on_batch
        self._queue: deque[Job[Item]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._arrival: asyncio.Event | None = None
        self._n_last_requests = 1
        self.n_waiting = 0

    async def run(
        self, items: Sequence[Item], n_tokens: int, render: Callable[[Sequence[Any]], Any], group: Any = None
    ) -> Any:
        """Predict inputs together with those of other requests, and return what ``render`` makes of them.

        Raises:
            RequestError: the queue is full.
        """
        if self.n_waiting + len(items) > self._settings.max_queue:
            raise make_unavailable(f"the queue is full: {self.n_waiting:,} inputs are waiting; try again later.")
        loop = asyncio.get_running_loop()
        job = Job(items, n_tokens, render, group, loop.create_future())
        self._queue.append(job)
        self.n_waiting += len(items)
        if self._task is None:
            self._task = loop.create_task(self._work())
        elif self._arrival is not None and self._is_complete():
            self._arrival.set()
        return await job.result

    async def _work(self) -> None:
        """Predict batches until the queue is empty."""
        try:
            while self._queue:
                await self._wait_for_more()
                if jobs := self._take():
                    await self._process(jobs)
        finally:
            self._task = None

    def _is_complete(self) -> bool:
        """Whether as many requests wait as were in the last batch, or as many tokens as the budget allows."""
        if len(self._queue) >= self._n_last_requests:
            return True
        return sum(job.n_tokens for job in self._queue) >= self._settings.max_batch_tokens

    async def _wait_for_more(self) -> None:
        if self._is_complete() or not self._settings.max_wait_ms:
            return
        self._arrival = asyncio.Event()
        try:
            async with asyncio.timeout(self._settings.max_wait_ms / 1000):
                await self._arrival.wait()
        except TimeoutError:
            pass
        finally:
            self._arrival = None

    def _take(self) -> list[Job[Item]]:
        """Remove the jobs of the next batch from the queue; those whose clients no longer wait are dropped."""
        jobs: list[Job[Item]] = []
        n_tokens = 0
        while self._queue:
            job = self._queue[0]
            is_full = n_tokens + job.n_tokens > self._settings.max_batch_tokens
            if jobs and not job.result.done() and (is_full or job.group != jobs[0].group):
                break
            self._queue.popleft()
            self.n_waiting -= len(job.items)
            if not job.result.done():
                jobs.append(job)
                n_tokens += job.n_tokens
        self._n_last_requests = max(len(jobs), 1)
        return jobs

    async def _process(self, jobs: Sequence[Job[Item]]) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            results = await loop.run_in_executor(self._executor(), self._predict_jobs, jobs)
        except BaseException:  # the event loop is closed
            for job in jobs:
                job.result.cancel()
            raise
        seconds = loop.time() - begin
        self._on_batch(sum(len(job.items) for job in jobs), sum(job.n_tokens for job in jobs), seconds)
        for job, result in zip(jobs, results, strict=True):
            if job.result.done():  # its client no longer waits
                continue
            if isinstance(result, Exception):
                job.result.set_exception(result)
            else:
                job.result.set_result(result)

    def _predict_jobs(self, jobs: Sequence[Job[Item]]) -> list[Any]:
        """The result of each job, or its error; runs in the worker thread."""
        try:
            predictions = self._predict([item for job in jobs for item in job.items])
        except Exception as error:
            if len(jobs) == 1 or not isinstance(error, BertwrightError):
                return [error] * len(jobs)
            return [self._predict_jobs([job])[0] for job in jobs]  # an invalid input fails its own request only
        results, start = list[Any](), 0
        for job in jobs:
            try:
                results.append(job.render(predictions[start : start + len(job.items)]))
            except Exception as error:
                results.append(error)
            start += len(job.items)
        return results
