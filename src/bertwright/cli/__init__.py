"""The command line: parses, calls, prints. ``--help`` answers without importing torch."""

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
    except KeyboardInterrupt:  # before a command began: commands have words of their own for it
        sys.stderr.write("error: stopped.\n")
        code = STOPPED
    except SystemExit as exit_:
        pipe = isinstance(exit_.__context__, OSError) and exit_.__context__.errno == errno.EPIPE
        code = PIPE_CLOSED if pipe else exit_.code
    except BrokenPipeError:
        code = PIPE_CLOSED
    except Exception as error:
        if not is_out_of_memory(error) or "--debug" in sys.argv:
            raise
        # so little memory is left that the command could not say so itself
        sys.stderr.write(f"error: {OUT_OF_MEMORY}\n")
        code = BertwrightError.exit_code
    exit_on_signals()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()  # or Python would complain about the pipe while it shuts down
        except BrokenPipeError:
            let_go_of(stream.fileno())
            code = PIPE_CLOSED
    sys.exit(code)


def let_go_of(descriptor: int) -> None:
    """Point a descriptor whose reader has gone at nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _open_closed_streams() -> None:
    """Replace closed standard streams (``>&-``) with nothing, lest the next file that is opened takes their place."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != descriptor:
                os.dup2(nothing, descriptor)
                os.close(nothing)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # to the end


def _run() -> None:
    import warnings

    from bertwright.cli.app import app
    from bertwright.output.escaping import escape_line

    if "--debug" not in sys.argv:
        # where in which library a warning was raised is no news to a user
        warnings.formatwarning = lambda message, *where, **more: f"warning: {escape_line(str(message))}\n"
    for stream in (sys.stdout, sys.stderr):
        # a terminal that cannot show a character shows its number rather than ending the command
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")
    app(prog_name="bertwright")
