"""The command class of all commands: registration, option groups, error messages, exit codes and help."""

from __future__ import annotations

import errno
import logging
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from bertwright.errors import OUT_OF_MEMORY, BertwrightError, is_out_of_memory
from bertwright.files.atomic import expand_home
from bertwright.run.interrupt import PIPE_CLOSED, STOPPED

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 80}
"""Click's settings for every command."""

NOT_PATHS = ("TEXT", "COL", "COL[,COL...]", "WORD", "N[,N...]")
"""Metavars of arguments and options that are texts or names; all others may be a path."""

NO_SPACE = "no space is left on the device; free some space or write to another place."


class Command(TyperCommand):
    """A command that reports errors as one sentence and an exit code instead of a traceback.

    Exit codes: 0 success; 2 an error that the user can correct; 130 interrupted by Ctrl-C or
    SIGTERM; 141 the reader of a pipe has closed it; 1 any other error, which is a bug.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept ``--debug`` at any position."""
        options = args[: args.index("--")] if "--" in args else args
        if "--debug" in options:
            args.remove("--debug")
            ctx.find_root().params["debug"] = True
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command and print every error as one sentence."""
        _print_log_records()
        self._expand_home(ctx)
        debug = ctx.find_root().params.get("debug", False)
        try:
            if not ctx.command_path.startswith("bertwright recipe"):
                check_memory_limit()
            result = super().invoke(ctx)
            sys.stdout.flush()  # a closed pipe raises here instead of during interpreter shutdown
            return result
        except BrokenPipeError:
            raise typer.Exit(PIPE_CLOSED) from None
        except KeyboardInterrupt:
            if debug:
                raise
            print_errors("stopped.")
            raise typer.Exit(STOPPED) from None
        except Exception as error:
            if debug or isinstance(error, typer.Exit | typer.Abort | typer.BadParameter):
                raise
            sentences, code = _explain(error)
            print_errors(*sentences)
            raise typer.Exit(code) from None

    def _expand_home(self, ctx: Any) -> None:
        """Expand ``~`` in every argument and option that may be a path."""
        for param in self.get_params(ctx):
            if param.name not in ctx.params or param.metavar in NOT_PATHS:
                continue
            value = ctx.params[param.name]
            if isinstance(value, list | tuple):
                ctx.params[param.name] = type(value)(map(_expand_value, value))
            else:
                ctx.params[param.name] = _expand_value(value)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options without the Python types that typer adds to their names."""
        records: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                records[param.param_type_name].append((re.sub(r" <[a-z\[\] ]+>$", "", record[0]), record[1]))
        for kind, lines in records.items():
            if lines:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(lines)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the epilog unchanged, with the list of common settings instead of the line ``{keys}``."""
        formatter.write("\n")
        for line in (self.epilog or "").splitlines():
            formatter.write("\n".join(_common_settings()) + "\n" if line == "{keys}" else f"{line}\n")


def _expand_value(value: Any) -> Any:
    """Expand ``~`` in a string or path; return any other value unchanged."""
    if isinstance(value, Path):
        return Path(expand_home(value))
    return expand_home(value) if type(value) is str else value


class Group(TyperGroup):
    """A group of commands."""

    format_epilog = Command.format_epilog


Function = Callable[..., None]


def command_group(**settings: Any) -> typer.Typer:
    """Create a group of commands."""
    return typer.Typer(
        cls=Group, rich_markup_mode=None, no_args_is_help=True, context_settings=CONTEXT_SETTINGS, **settings
    )


def command(group: typer.Typer, name: str | None = None, epilog: str = "") -> Callable[[Function], Function]:
    """Register a function as a command; each parameter that is a dataclass becomes one option per field.

    Args:
        group: the group that gets the command.
        name: the name of the command; None: the name of the function.
        epilog: the end of its help, with examples.
    """
    return lambda function: group.command(name, cls=Command, context_settings=CONTEXT_SETTINGS, epilog=epilog)(
        _expand_option_groups(function)
    )


def _expand_option_groups(function: Function) -> Function:
    """Return a function whose signature has one parameter per field of each dataclass parameter."""
    hints = get_type_hints(function, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}
    parameters = []
    for name, parameter in signature(function).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name]))
            continue
        types = get_type_hints(groups[name], include_extras=True)
        for field in fields(groups[name]):
            default = Parameter.empty if field.default is MISSING else field.default
            parameters.append(
                Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=types[field.name])
            )

    @wraps(function)
    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        function(**values)

    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(call)["__signature__"] = Signature(parameters)
    return call


class _LogHandler(logging.Handler):
    """Prints log records on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        from bertwright.cli.console import stderr_console
        from bertwright.output.terminal import print_line

        print_line(stderr_console(), f"{record.levelname.lower()}: {record.getMessage()}")


def _print_log_records() -> None:
    """Print the log records of this package, and of no other."""
    logger = logging.getLogger("bertwright")
    if not logger.handlers:
        logger.addHandler(_LogHandler(logging.WARNING))


MIN_ADDRESS_SPACE = 1 << 30
"""Bytes of address space; with less, the libraries of torch crash while they load (abort, segmentation fault)."""


def check_memory_limit() -> None:
    """Check that the memory limit (``ulimit -v``) lets PyTorch start; below it, Python cannot report an error.

    Raises:
        BertwrightError: the limit is too low.
    """
    if sys.platform == "win32":
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < MIN_ADDRESS_SPACE:
        raise BertwrightError(
            f"memory: is limited to {limit / 1e9:.2f} GB (ulimit -v), but PyTorch needs at least "
            f"{MIN_ADDRESS_SPACE / 1e9:.2f} GB to start; raise the limit."
        )


def print_errors(*sentences: str) -> None:
    """Print error messages on standard error, one line each."""
    from bertwright.cli.console import stderr_console
    from bertwright.output.terminal import print_line

    for sentence in sentences:
        print_line(stderr_console(), f"error: {sentence}")


def _explain(error: Exception) -> tuple[tuple[str, ...], int]:
    """Return the sentences that explain an error, and the exit code."""
    if isinstance(error, BertwrightError):
        return error.sentences, error.exit_code
    if is_out_of_memory(error):
        return (OUT_OF_MEMORY,), BertwrightError.exit_code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (NO_SPACE,), BertwrightError.exit_code
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = ""
    if traceback is not None:
        where = f" in {traceback.tb_frame.f_globals.get('__name__', '?')}:{traceback.tb_lineno}"
    message = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
    return (f"unexpected {message}{where}; this is a bug: please report it with the output of --debug.",), 1


COMMON_SETTINGS = (
    *("model.base", "model.freeze", "data.path", "data.train", "data.dev", "data.limit", "task.kind"),
    *("tokens.max_length", "train.length", "train.learning_rate", "train.batch_size", "train.evaluate_every", "seed"),
)


def _common_settings() -> list[str]:
    from bertwright.config.sections import list_settings
    from bertwright.recipe import Recipe

    settings = {setting.key: setting for setting in list_settings(Recipe)}
    lines = []
    for key in COMMON_SETTINGS:
        default = settings[key].default.replace("null", "")
        lines += textwrap.wrap(
            settings[key].description,
            width=78,
            initial_indent=f"  {key:<20} {default:<14} ",
            subsequent_indent=" " * 38,
        )
    return lines
