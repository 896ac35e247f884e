"""Ctrl-C and SIGTERM: stop a run between two steps, without a traceback."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupt:
    """Inside the context, the first Ctrl-C or SIGTERM only sets :attr:`requested`; a second one stops immediately.

    Outside the main thread, where Python allows no signal handlers, it has no effect.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # signal.signal returned it

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


STOPPED = 130
"""Exit code after Ctrl-C or SIGTERM: 128 + SIGINT, as in shells."""

PIPE_CLOSED = 141
"""Exit code if the reader of a pipe, such as ``head``, has closed it: 128 + SIGPIPE, as in shells."""

_stopping = False


def stop_on_signals() -> None:
    """Make SIGTERM end this process like Ctrl-C: the first signal raises KeyboardInterrupt, a second one exits.

    Signals that the process ignores from the start, as in background commands of a shell, stay ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def exit_on_signals() -> None:
    """End this process immediately on the next signal; call it when nothing is left to save."""
    global _stopping
    _stopping = True


def _stop(number: int, frame: FrameType | None) -> None:
    if not _stopping:
        exit_on_signals()
        raise KeyboardInterrupt
    # a progress bar may have hidden the cursor
    os.write(2, (b"\x1b[?25h" if os.isatty(2) else b"") + b"error: stopped immediately.\n")
    os._exit(STOPPED)
