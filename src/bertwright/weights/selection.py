"""Which tensors of a checkpoint are taken where not all of them are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bertwright.errors import WeightsError, did_you_mean

NOT_SELECTED = "not named in model.load"
"""The reason given for a tensor that starts fresh, or is left out, because only others are wanted."""


@dataclass(frozen=True)
class TensorSelection:
    """What is taken of a checkpoint.

    Attributes:
        patterns: names in our model or in the checkpoint, ``*`` for anything; the rest starts fresh. None: everything.
        strict: whether it is an error that a tensor of the encoder is missing or of another shape; else it starts
            fresh.
    """

    patterns: tuple[str, ...] | None = None
    strict: bool = True

    def takes(self, *names: str) -> bool:
        """Whether a tensor of these names is wanted."""
        return self.patterns is None or any(fnmatchcase(name, word) for word in self.patterns for name in names)

    def check(self, ours: Iterable[str], theirs: Iterable[str]) -> None:
        """Refuse a pattern that no tensor fits: a slip of the pen would start the whole encoder fresh.

        Raises:
            WeightsError: it names the pattern.
        """
        own = list(ours)
        known = [*own, *theirs]
        for word in self.patterns or ():
            if not any(fnmatchcase(name, word) for name in known):
                starts = {".".join(name.split(".")[:n]) for name in own for n in range(1, name.count(".") + 2)}
                hint = did_you_mean(word.rstrip(".*"), starts)
                raise WeightsError(f"model.load: no tensor of the model or the checkpoint is called {word}; {hint}")


LOAD_ALL = TensorSelection()
"""Everything, strictly."""

LOAD_NOTHING = TensorSelection(())
"""All starts fresh."""
