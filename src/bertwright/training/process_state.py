"""The process state that a training run changes: it is restored at the end, and two runs at once are refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from bertwright.errors import TrainingError
from bertwright.tokenization.threads import pool
from bertwright.training.compute import reuse_freed_memory

_TRAINING = threading.RLock()
_RANDOM_STATE = threading.Lock()


@contextmanager
def reserve_process() -> Iterator[None]:
    """Reserve the process for one training run; restore torch's random state, thread count and allocator afterwards.

    Dropout, in custom heads too, uses torch's global random generator. Two training runs in threads of one process
    would share its stream, and their results would depend on timing.

    Raises:
        TrainingError: another thread of this process is training.
    """
    if not _TRAINING.acquire(blocking=False):
        raise TrainingError(
            "train: another thread of this process is training, and both would use torch's global random generator; "
            "wait until it has finished, or start one process for each run."
        )
    try:
        with ExitStack() as stack:
            stack.enter_context(reuse_freed_memory())
            stack.enter_context(preserve_threads())
            for read, restore in _generators():
                stack.callback(restore, read())
            yield
    finally:
        _TRAINING.release()


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restore torch's random state on the CPU after the block; blocks in several threads run one after the other."""
    with _RANDOM_STATE, torch.random.fork_rng(devices=[]):
        yield


@contextmanager
def preserve_threads() -> Iterator[None]:
    """Restore the thread counts of torch and of the tokenizers library after the block."""
    threads, tokenizer_threads = torch.get_num_threads(), pool.threads
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        pool.threads = tokenizer_threads


def _generators() -> Iterator[tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Functions that read and restore the state of each global generator of torch in use."""
    yield torch.get_rng_state, torch.set_rng_state
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        yield torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all
    if torch.backends.mps.is_available():
        yield torch.mps.get_rng_state, torch.mps.set_rng_state
