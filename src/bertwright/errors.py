"""All errors that a user can cause, as one class hierarchy.

A message reads *where: what is wrong, with the values; what to do.* The command line prints it without a traceback and
exits with :attr:`BertwrightError.exit_code`.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class BertwrightError(Exception):
    """An error that the user can fix; the command line prints it without a traceback.

    Args:
        sentences: one for each problem; each is printed as one line.
    """

    exit_code = 2

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The message, one sentence for each problem."""
        return self.args

    @property
    def summary(self) -> str:
        """The first sentence, and the number of further ones, for a file that the user did not write."""
        first, *others = self.sentences
        return f"{first} ({len(others)} more in this file)" if others else first

    def __str__(self) -> str:
        return "\n".join(self.sentences)


class RecipeError(BertwrightError):
    """An invalid recipe, ``key=value`` or setting."""


class DataError(BertwrightError):
    """An invalid data file, column, row or label."""


class TokenizerError(BertwrightError):
    """A tokenizer that is missing, damaged or incompatible with the encoder."""


class WeightsError(BertwrightError):
    """A checkpoint that is missing, damaged or incompatible with the model."""


class HubError(BertwrightError):
    """A Hub repository that cannot be downloaded or uploaded to."""


class BundleError(BertwrightError):
    """A directory that is not a complete bundle."""


class OutputError(BertwrightError):
    """An output path that is not writable or already exists."""


class TrainingError(BertwrightError):
    """A run that cannot continue: a non-finite loss, or incompatible settings on resuming."""


class DivergenceError(TrainingError):
    """A non-finite loss, gradient or score.

    Attributes:
        problem: the sentence without its remedy.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}.")
        self.problem = problem
        self.remedy = remedy


class LayoutError(BertwrightError):
    """Tensors that do not match their layout."""


class MissingDependencyError(BertwrightError):
    """An optional package that a feature needs but that is not installed."""


OUT_OF_MEMORY = (
    "out of memory; lower train.max_tokens or tokens.max_length, use a smaller model, close other programs, or raise "
    "the limit (ulimit -v)."
)
"""The sentence for every error that :func:`is_out_of_memory` recognizes."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, torch or the operating system means lack of memory or a memory limit (ulimit -v)."""
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


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """A hint with the name closest to a mistyped one, or else the available names.

    >>> did_you_mean("lerning_rate", ["learning_rate", "seed"])
    'did you mean "learning_rate"?'
    """
    names = sorted(candidates)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    return "known: " + ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
