"""The command line: parses, calls, prints. ``--help`` answers without importing torch."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the entry point of ``bertwright`` and of ``python -m bertwright``."""
    try:
        _run()
    except KeyboardInterrupt:  # before a command began: commands have words of their own for it
        sys.stderr.write("error: stopped.\n")
        sys.exit(130)


def _run() -> None:
    import warnings

    from bertwright.cli.app import app
    from bertwright.escaping import escape_line

    if "--debug" not in sys.argv:
        # where in which library a warning was raised is no news to a user
        warnings.formatwarning = lambda message, *where, **more: f"warning: {escape_line(str(message))}\n"
    for stream in (sys.stdout, sys.stderr):
        # a terminal that cannot show a character shows its number rather than ending the command
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")
    app(prog_name="bertwright")
