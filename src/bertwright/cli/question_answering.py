"""Questions on the command line: how they are asked, and how answers are shown and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bertwright.data.example import Example
from bertwright.data.text_files import load_text
from bertwright.errors import BertwrightError, DataError
from bertwright.files.atomic import check_writable, write_atomically
from bertwright.run.bundle import Bundle


@dataclass(frozen=True)
class QuestionOptions:
    """A question on the command line, and the text that may answer it.

    Attributes:
        question: None if nothing is asked.
        context: the text itself.
        file: or the file that holds it.
        encoding: of that file.
    """

    question: str | None = None
    context: str | None = None
    file: Path | None = None
    encoding: str = "utf-8"

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return self.question is not None or self.context is not None or self.file is not None

    def example(self, bundle: Bundle, command: str) -> Example:
        """The question as a row; messages start with the name of the command.

        Raises:
            BertwrightError: there is no question or no text, or two, or the model answers none.
            DataError: the file is missing, empty or not in its encoding.
        """
        if self.question is None:
            raise BertwrightError(f"{command}: there is a context but no question; add --question.")
        if (self.context is None) == (self.file is None):
            fault = "no context; add" if self.context is None else "two contexts; give"
            raise BertwrightError(f"{command}: the question has {fault} --context TEXT or --context-file FILE.")
        if not bundle.task.extracts_answers:
            raise BertwrightError(f"{bundle.base.source}: its task is {bundle.task.kind}, so it answers no questions.")
        context = self.context if self.file is None else load_text(self.file, self.encoding)
        return bundle.normalize_example(Example("0", self.question, context, where="--question"))


NOTHING = QuestionOptions()
"""Nothing is asked."""


def check_pairs(bundle: Bundle, has_pair: bool, command: str) -> None:
    """Check that a row of the command line has as many texts as the model takes.

    Args:
        bundle: the model.
        has_pair: whether ``--pair`` is given.
        command: the name of the command, for messages.

    Raises:
        DataError: it has not.
    """
    if bundle.takes_pairs is None or bundle.takes_pairs == has_pair:
        return
    if has_pair:
        raise DataError(f"{command}: the model takes one text a row; leave --pair out.")
    if bundle.task.extracts_answers:
        raise DataError(
            f"{command}: the model answers questions; ask it with --question and --context or --context-file."
        )
    raise DataError(f'{command}: the model takes two texts a row; add --pair "the second text".')


def check_official(bundle: Bundle, folder: Path) -> None:
    """See that official files can be written, before anything is computed.

    Raises:
        BertwrightError: the model's task has none.
        OutputError: the place cannot be written to.
    """
    if not bundle.task.official_file_names:
        raise BertwrightError(
            f"{bundle.base.source}: its task is {bundle.task.kind}, which has no official files of predictions; leave "
            "--predictions out."
        )
    check_writable(folder / bundle.task.official_file_names[0])


def write_official(files: Mapping[str, str], folder: Path) -> str:
    """Write official files, each whole or not at all, and say in words what they are.

    Raises:
        OutputError: there is no space.
    """
    for name, text in files.items():
        write_atomically(folder / name, text)
    return f"{', '.join(files)} in {folder}"
