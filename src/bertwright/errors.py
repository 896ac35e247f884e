"""Every error a user can cause or meet, as one tree of classes.

A message reads *where: what is wrong, with the values; what to do.* The command line prints it
alone, without a traceback, and exits with :attr:`BertwrightError.exit_code`.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class BertwrightError(Exception):
    """Something that the user can fix; the command line prints it without a traceback.

    Args:
        sentences: one for each thing that is wrong. Each is printed as one line, whatever the text in it holds.
    """

    exit_code = 2

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The message, a sentence for each thing that is wrong."""
        return self.args

    @property
    def summary(self) -> str:
        """The first sentence, and how many more there are: for a file that the user did not write."""
        first, *others = self.sentences
        return f"{first} ({len(others)} more in this file)" if others else first

    def __str__(self) -> str:
        return "\n".join(self.sentences)


class RecipeError(BertwrightError):
    """A recipe, a ``key=value`` or a setting that is not valid."""


class DataError(BertwrightError):
    """A data file, a column, a row or a label that is not as it should be."""


class TokenizerError(BertwrightError):
    """A tokenizer that is missing, damaged or does not fit the encoder."""


class WeightsError(BertwrightError):
    """A checkpoint that is missing, damaged or does not fit the model."""


class HubError(BertwrightError):
    """A name that could not be brought from the Hub."""


class BundleError(BertwrightError):
    """A directory that is not, or not wholly, a bundle."""


class OutputError(BertwrightError):
    """A place that cannot be written to, or already holds something else."""


class TrainingError(BertwrightError):
    """A run that cannot go on: a loss that is not a number, a resume that does not fit."""


class DivergenceError(TrainingError):
    """A loss, a gradient or a score that is not finite.

    Attributes:
        problem: the sentence without its remedy.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}.")
        self.problem = problem
        self.remedy = remedy


class LayoutError(BertwrightError):
    """Sequences that do not lie where a layout says."""


class MissingDependencyError(BertwrightError):
    """An optional package that this feature needs and that is not installed."""


OUT_OF_MEMORY = (
    "out of memory; lower train.max_tokens or tokens.max_length, take a smaller model, close other programs, or raise "
    "the limit (ulimit -v)."
)
"""The sentence for every error that :func:`is_out_of_memory` recognizes."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python, torch or the system, means that memory ran out or a limit (ulimit -v) was met."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    return any(sign in text for sign in _OUT_OF_MEMORY)


_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "unable to allocate",
    "bad_alloc",
    "could not create a primitive",  # oneDNN
    "failed to map segment",
    "can't start new thread",
    "resource temporarily unavailable",
)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the known word nearest to a mistyped one, or what there is to choose from.

    >>> did_you_mean("lerning_rate", ["learning_rate", "seed"])
    'did you mean "learning_rate"?'
    """
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"known: {shown}"
