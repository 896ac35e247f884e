"""What all commands have in common: one sentence for an error, an exit code, an epilog kept as it is written."""

from __future__ import annotations

import errno
import logging
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from bertwright.errors import OUT_OF_MEMORY, BertwrightError, is_out_of_memory
from bertwright.files.atomic import expand_home
from bertwright.run.interrupt import PIPE_CLOSED, STOPPED

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 80}
"""What every command is registered with."""

NOT_PATHS = ("TEXT", "COL", "COL[,COL...]", "WORD")
"""The metavars of arguments and options whose values are texts or names; all others may name a file or directory."""

NO_SPACE = "no space is left on the device; free some space or write to another place."


class Command(TyperCommand):
    """A command that ends with a sentence and an exit code where others end with a traceback.

    Exit codes: 0 done; 2 an error that the user can correct; 130 stopped with Ctrl-C or
    SIGTERM; 141 the reader of a pipe has gone; 1 anything else, which is a bug.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``--debug`` out of the arguments, wherever it stands."""
        own = args[: args.index("--")] if "--" in args else args
        if "--debug" in own:
            args.remove("--debug")
            ctx.find_root().params["debug"] = True
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; whatever goes wrong is told in one sentence."""
        _show_log()
        self._expand_home(ctx)
        debug = ctx.find_root().params.get("debug", False)
        try:
            if not ctx.command_path.startswith("bertwright recipe"):
                check_memory_limit()
            result = super().invoke(ctx)
            sys.stdout.flush()  # a reader that has gone shows here rather than while Python shuts down
            return result
        except BrokenPipeError:
            raise typer.Exit(PIPE_CLOSED) from None
        except KeyboardInterrupt:
            if debug:
                raise
            complain("stopped.")
            raise typer.Exit(STOPPED) from None
        except Exception as error:
            if debug or isinstance(error, typer.Exit | typer.Abort | typer.BadParameter):
                raise
            sentences, code = _explain(error)
            complain(*sentences)
            raise typer.Exit(code) from None

    def _expand_home(self, ctx: Any) -> None:
        """Expand ``~`` in every argument and option that may name a file or a directory."""
        for param in self.get_params(ctx):
            if param.name not in ctx.params or param.metavar in NOT_PATHS:
                continue
            value = ctx.params[param.name]
            if isinstance(value, list | tuple):
                ctx.params[param.name] = type(value)(map(_at_home, value))
            else:
                ctx.params[param.name] = _at_home(value)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options without the Python types that typer puts behind their names."""
        records: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                records[param.param_type_name].append((re.sub(r" <[a-z\[\] ]+>$", "", record[0]), record[1]))
        for kind, lines in records.items():
            if lines:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(lines)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the epilog line by line; a line that reads ``{keys}`` becomes the settings people change most."""
        formatter.write("\n")
        for line in (self.epilog or "").splitlines():
            formatter.write("\n".join(_most_set()) + "\n" if line == "{keys}" else f"{line}\n")


def _at_home(value: Any) -> Any:
    """A text or a path with ``~`` expanded; any other value as it is."""
    if isinstance(value, Path):
        return Path(expand_home(value))
    return expand_home(value) if type(value) is str else value


class Group(TyperGroup):
    """Several commands under one name; shows the epilog as it is written."""

    format_epilog = Command.format_epilog


class _LogLines(logging.Handler):
    """Log records as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        from bertwright.cli.console import err
        from bertwright.output.terminal import print_line

        print_line(err(), f"{record.levelname.lower()}: {record.getMessage()}")


def _show_log() -> None:
    """Show what this package logs; other packages' loggers are their own affair."""
    logger = logging.getLogger("bertwright")
    if not logger.handlers:
        logger.addHandler(_LogLines(logging.WARNING))


LEAST_MEMORY = 1 << 30
"""Bytes of address space below which torch's libraries end the process (abort, segmentation fault) as they load."""


def check_memory_limit() -> None:
    """Refuse a limit of memory (``ulimit -v``) with which no Python code could report the error.

    Raises:
        BertwrightError: the limit is too low.
    """
    if sys.platform == "win32":
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < LEAST_MEMORY:
        raise BertwrightError(
            f"memory: is limited to {limit / 1e9:.2f} GB (ulimit -v), but PyTorch needs at least "
            f"{LEAST_MEMORY / 1e9:.2f} GB to start; raise the limit."
        )


def complain(*sentences: str) -> None:
    """Print an error to standard error, a line for each sentence."""
    from bertwright.cli.console import err
    from bertwright.output.terminal import print_line

    for sentence in sentences:
        print_line(err(), f"error: {sentence}")


def _explain(error: Exception) -> tuple[tuple[str, ...], int]:
    """An error in sentences, and its exit code."""
    if isinstance(error, BertwrightError):
        return error.sentences, error.exit_code
    if is_out_of_memory(error):
        return (OUT_OF_MEMORY,), BertwrightError.exit_code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (NO_SPACE,), BertwrightError.exit_code
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = f" in {at.tb_frame.f_globals.get('__name__', '?')}:{at.tb_lineno}" if at is not None else ""
    said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
    return (f"unexpected {said}{where}; this is a bug: please report it with what --debug prints.",), 1


MOST_SET = (
    *("model.base", "model.freeze", "data.path", "data.train", "data.dev", "data.limit", "task.kind"),
    *("tokens.max_length", "train.length", "train.learning_rate", "train.batch_size", "train.evaluate_every", "seed"),
)


def _most_set() -> list[str]:
    from bertwright.config.sections import describe
    from bertwright.recipe import Recipe

    known = {setting.key: setting for setting in describe(Recipe)}
    lines = []
    for key in MOST_SET:
        default = known[key].default.replace("null", "")
        lines += textwrap.wrap(
            known[key].description,
            width=78,
            initial_indent=f"  {key:<20} {default:<14} ",
            subsequent_indent=" " * 38,
        )
    return lines
