"""The thread pool of the tokenizers library."""

from __future__ import annotations

import os
import threading

import tokenizers
from tokenizers import models

from bertwright.cores import default_threads

_VARIABLE = "RAYON_NUM_THREADS"
"""The library reads its number of threads from this variable when it first works in parallel, and never again."""


class ThreadPool:
    """The threads of the library; a process starts them once.

    Attributes:
        threads: how many threads :meth:`start` starts; None for as many as the process may use.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = False
        self.threads: int | None = None

    def start(self) -> None:
        """Start the threads at the first call; later calls do nothing.

        ``RAYON_NUM_THREADS`` determines their number if set, else :attr:`threads`, else the CPU cores available.
        """
        with self._lock:
            if self._started:
                return
            self._started = True
            if os.environ.get(_VARIABLE):
                return
            os.environ[_VARIABLE] = str(self.threads or default_threads()[0])
            try:
                tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).encode_batch(["a", "a"])
            finally:
                del os.environ[_VARIABLE]  # child processes choose their own number


pool = ThreadPool()
"""The thread pool of this process."""
