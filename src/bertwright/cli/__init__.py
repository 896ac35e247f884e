"""The command line. ``--help`` answers without importing torch."""

from __future__ import annotations

import errno
import os
import sys

from bertwright.errors import OUT_OF_MEMORY, BertwrightError, is_out_of_memory
from bertwright.run.interrupt import PIPE_CLOSED, STOPPED, exit_on_signals, stop_on_signals


def main() -> None:
    """Run the command line; the entry point of ``bertwright`` and of ``python -m bertwright``."""
    _open_closed_streams()
    stop_on_signals()
    code: int | str | None = 0
    try:
        _run()
    except KeyboardInterrupt:  # before a command starts; commands handle it themselves
        sys.stderr.write("error: stopped.\n")
        code = STOPPED
    except SystemExit as exit_:
        pipe_closed = isinstance(exit_.__context__, OSError) and exit_.__context__.errno == errno.EPIPE
        code = PIPE_CLOSED if pipe_closed else exit_.code
    except BrokenPipeError:
        code = PIPE_CLOSED
    except Exception as error:
        if not is_out_of_memory(error) or "--debug" in sys.argv:
            raise
        # the command itself had too little memory to report the error
        sys.stderr.write(f"error: {OUT_OF_MEMORY}\n")
        code = BertwrightError.exit_code
    exit_on_signals()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()  # otherwise Python reports the closed pipe at shutdown
        except BrokenPipeError:
            redirect_to_devnull(stream.fileno())
            code = PIPE_CLOSED
    sys.exit(code)


def redirect_to_devnull(descriptor: int) -> None:
    """Redirect a descriptor whose reader has closed the pipe to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _open_closed_streams() -> None:
    """Open closed standard streams (``>&-``) on the null device, so that no other file takes their descriptors."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            devnull = os.open(os.devnull, os.O_RDWR)
            if devnull != descriptor:
                os.dup2(devnull, descriptor)
                os.close(devnull)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # stays open


def _run() -> None:
    import warnings

    from bertwright.cli.app import app
    from bertwright.output.escaping import escape_line

    if "--debug" not in sys.argv:
        # users do not need the file and line that raised a warning
        warnings.formatwarning = lambda message, *where, **more: f"warning: {escape_line(str(message))}\n"
    for stream in (sys.stdout, sys.stderr):
        # characters that the terminal cannot show are escaped instead of raising an error
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")
    app(prog_name="bertwright")
