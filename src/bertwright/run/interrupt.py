"""Ctrl-C and SIGTERM: between two steps rather than in the middle of one, and never with a traceback."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupt:
    """While entered, the first Ctrl-C or SIGTERM only sets :attr:`asked`; a second one stops at once.

    Outside the main thread, where Python does not allow it, nothing changes.
    """

    def __init__(self) -> None:
        self.asked = False
        self._former: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # it is what signal.signal gave

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


STOPPED = 130
"""Exit code after Ctrl-C or SIGTERM: 128 + SIGINT, as shells have it."""

PIPE_CLOSED = 141
"""Exit code where the reader of a pipe, such as ``head``, has gone: 128 + SIGPIPE, as shells have it."""

_stopping = False


def stop_on_signals() -> None:
    """Let SIGTERM end this process as Ctrl-C does: the first signal raises KeyboardInterrupt, a second one exits.

    A signal that the process was started to ignore, as a shell does for commands in the background, stays ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def exit_on_signals() -> None:
    """From now on a signal ends this process at once: there is nothing left to save."""
    global _stopping
    _stopping = True


def _stop(number: int, frame: FrameType | None) -> None:
    if not _stopping:
        exit_on_signals()
        raise KeyboardInterrupt
    # a progress bar may have hidden the cursor
    os.write(2, (b"\x1b[?25h" if os.isatty(2) else b"") + b"error: stopped at once.\n")
    os._exit(STOPPED)
