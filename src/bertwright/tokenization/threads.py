"""The CPU threads of the tokenizers library."""

from __future__ import annotations

import os
import threading

import tokenizers
from tokenizers import models

from bertwright.cores import default_threads

_VARIABLE = "RAYON_NUM_THREADS"
"""The library reads its number of threads from here when it first works in parallel, and never again."""


class ThreadPool:
    """The library's threads, which a process starts once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = False
        self._threads: int | None = None

    def limit(self, threads: int) -> None:
        """Use this many threads, if the pool has not been started."""
        self._threads = threads

    def start(self) -> None:
        """Start the threads, at the first call.

        Their number is that of :meth:`limit`, else what the process may use; ``RAYON_NUM_THREADS`` takes precedence.
        """
        with self._lock:
            if self._started:
                return
            self._started = True
            if os.environ.get(_VARIABLE):
                return
            os.environ[_VARIABLE] = str(self._threads or default_threads()[0])
            try:
                tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).encode_batch(["a", "a"])
            finally:
                del os.environ[_VARIABLE]  # child processes choose for themselves


pool = ThreadPool()
"""The pool of this process."""
