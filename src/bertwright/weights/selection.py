"""Selection of the tensors of a checkpoint to load (``model.load``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bertwright.errors import WeightsError, did_you_mean

NOT_SELECTED = "not named in model.load"
"""The reason reported for a tensor that is randomly initialized or ignored because it is not selected."""


@dataclass(frozen=True)
class TensorSelection:
    """The tensors to load from a checkpoint.

    Attributes:
        patterns: names in the model or in the checkpoint, with ``*`` as wildcard; the others are randomly initialized.
            None: all tensors.
        strict: whether a missing or misshapen encoder tensor is an error; otherwise it is randomly initialized.
    """

    patterns: tuple[str, ...] | None = None
    strict: bool = True

    def takes(self, *names: str) -> bool:
        """Whether a tensor with these names is selected."""
        return self.patterns is None or any(fnmatchcase(name, word) for word in self.patterns for name in names)

    def check(self, ours: Iterable[str], theirs: Iterable[str]) -> None:
        """Refuse a pattern that matches no tensor, because a typo would initialize the whole encoder randomly.

        Raises:
            WeightsError: with the pattern.
        """
        own = list(ours)
        known = [*own, *theirs]
        for word in self.patterns or ():
            if not any(fnmatchcase(name, word) for name in known):
                starts = {".".join(name.split(".")[:n]) for name in own for n in range(1, name.count(".") + 2)}
                hint = did_you_mean(word.rstrip(".*"), starts)
                raise WeightsError(f"model.load: no tensor of the model or the checkpoint matches {word}; {hint}")


LOAD_ALL = TensorSelection()
"""All tensors, strictly."""

LOAD_NOTHING = TensorSelection(())
"""No tensors: everything is randomly initialized."""
