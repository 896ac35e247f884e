"""The implementation of ``bertwright push``."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from bertwright.cli.console import out, print_note, stderr_console
from bertwright.errors import HubError
from bertwright.output.plurals import pluralize
from bertwright.output.terminal import make_table, print_line
from bertwright.run.interrupt import STOPPED
from bertwright.tools.publishing import COMMIT_MESSAGE, Upload, prepare_upload
from bertwright.weights.hub_upload import find_repository, upload_files


def push(run: Path, name: str, private: bool = False, yes: bool = False, dry_run: bool = False) -> None:
    """List the files of a run, ask for confirmation, and upload them.

    Raises:
        BertwrightError: the run cannot be uploaded, or standard input is no terminal and ``yes`` is not set.
    """
    upload = prepare_upload(run, name)
    _show_files(upload)
    if dry_run:
        print_note(stderr_console(), "--dry-run: nothing was uploaded")
        return
    if not yes and not is_interactive():
        raise HubError(f"{name}: uploading needs a confirmation; add --yes, or --dry-run to list the files only.")
    repository = find_repository(name, private)
    if upload.contains_rows and not repository.private:
        print_note(stderr_console(), "report.html shows rows of your data, and the repository is public", warning=True)
    size = _format_size(sum(upload.sizes.values()))
    question = f"upload {pluralize(len(upload.files), 'file')} ({size}) to {repository.describe()}?"
    if not yes and not typer.confirm(question, err=True):
        print_line(stderr_console(), "nothing was uploaded.")
        raise typer.Exit(STOPPED)
    if not stderr_console().is_terminal:
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        disable_progress_bars()
    upload_files(repository, upload.files, COMMIT_MESSAGE)
    print_line(out(), f"pushed {repository.url}", wrap=False)


def is_interactive() -> bool:
    """Whether a question can be answered: standard input is a terminal."""
    return sys.stdin.isatty()


def _show_files(upload: Upload) -> None:
    table = make_table()
    table.add_column("file")
    table.add_column("size", justify="right")
    sizes = upload.sizes
    for name in sorted(sizes):
        table.add_row(name, _format_size(sizes[name]))
    table.add_row(pluralize(len(sizes), "file"), _format_size(sum(sizes.values())))
    out().print(table)


def _format_size(size: int) -> str:
    """A number of bytes in kB or MB."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
