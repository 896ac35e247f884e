"""A Model Zoo file that is mapped key by key; keys that were not mapped are reported at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bertwright.config.yaml_tree import Tree
from bertwright.data.glue import TASKS
from bertwright.errors import did_you_mean
from bertwright.importers.cerebras.file_format import BACKEND, REPEATED, TRAINER, list_settings
from bertwright.importers.cerebras.known_keys import CLASSIFICATION, EQUIVALENT_VALUES, NOT_APPLICABLE, UNSUPPORTED
from bertwright.importers.imported_recipe import ImportFinding, RecipeDraft, SourceSetting, Status

INPUTS = ("train_input", "eval_input")

DEFAULT = "Model Zoo's default"
"""Why a recipe sets a key that the file does not contain."""


class ModelZooParams:
    """The keys of a file and the draft of the recipe.

    Args:
        tree: the file.
        model: the encoder to start from, if the user selects one.
    """

    def __init__(self, tree: Tree, model: str | None = None) -> None:
        self.form, self.entries = list_settings(tree)
        self.draft = RecipeDraft(tree.name)
        self.named_model = model
        self.task = CLASSIFICATION
        self.layout: str | None = None
        self._remaining = list(self.entries)
        self._requested: set[tuple[str, str]] = set()

    @property
    def has_trainer(self) -> bool:
        """Whether the file has the trainer form."""
        return self.form == TRAINER

    def rows(self, split: str) -> int:
        """Return the number of rows of a split, for MNLI ``dev`` of both dev splits; 0 if the data set is unknown."""
        counts = TASKS[self.layout].rows if self.layout else {}
        return sum(n for name, n in counts.items() if name.startswith(split))

    def take(self, section: str, *names: str) -> SourceSetting | None:
        """Return the key with one of these names and remove it from the remaining keys; None if the file has none."""
        self._requested |= {(section, name) for name in names}
        for entry in self._remaining:
            if entry.section == section and entry.name in names:
                self._remaining.remove(entry)
                return entry
        return None

    def take_both(self, *names: str) -> tuple[SourceSetting | None, SourceSetting | None]:
        """Return the key with one of these names, in train_input and in eval_input."""
        return self.take("train_input", *names), self.take("eval_input", *names)

    def map(
        self, section: str, names: tuple[str, ...], key: str, read: Callable[[SourceSetting], Any], default: Any
    ) -> None:
        """Map a key to a setting; if the file does not contain it, write Model Zoo's default to the recipe."""
        entry = self.take(section, *names)
        if entry is not None:
            self.draft.map(entry, key, read(entry))
        else:
            self.default(section, names[0], key, default)

    def default(self, section: str, name: str, key: str, value: Any, reason: str = DEFAULT) -> None:
        """Set the setting of a key that the file does not contain."""
        text = self.draft.set(key, value, f"{reason}; the file has no {section}.{name}")
        self.draft.report(f"({section}.{name})", "mapped", f"{text}, {reason}")

    def report(self, entry: SourceSetting | None, status: Status, text: str) -> None:
        """Record the status of a key, if the file contains it."""
        if entry is not None:
            self.draft.report(entry.path, status, text)

    def report_or_default(self, entry: SourceSetting | None, missing: str, status: Status, text: str) -> None:
        """Record the status of a key, or of its default if the file does not contain it."""
        self.draft.report(f"({missing})" if entry is None else entry.path, status, text)

    def finish(self) -> None:
        """Report the remaining keys, and sort all findings in file order."""
        for entry in self._remaining:
            self.draft.report(entry.path, *self._classify(entry))
        order = [entry.path for entry in self.entries]
        self.draft.findings.sort(key=lambda finding: _place(order, finding))

    def _classify(self, entry: SourceSetting) -> tuple[Status, str]:
        """Return the status of a key that was not mapped to a setting."""
        if entry.section == REPEATED:
            return (
                "not applicable",
                "use `bertwright evaluate RUN --data FILE`; --all-checkpoints replaces validate_all",
            )
        if entry.section == BACKEND:
            return "not applicable", NOT_APPLICABLE["init", "backend"]
        if entry.section == "predict_input":
            return "not applicable", "use `bertwright predict RUN --input FILE`"
        if not entry.name:
            return "not applicable", "the section is empty"
        if (entry.section, entry.name) in self._requested:
            first = next(e for e in self.entries if (e.section, e.name) == (entry.section, entry.name))
            same = first.value == entry.value
            return (
                "mapped" if same else "unusual",
                f"the same as {first.path}" if same else f"bertwright uses {first.path}",
            )
        key = ("input" if entry.section in INPUTS else entry.section, entry.name)
        if key in NOT_APPLICABLE:
            return "not applicable", NOT_APPLICABLE[key]
        if key in UNSUPPORTED:
            same = entry.value in EQUIVALENT_VALUES.get(key, ())
            return "not applicable" if same else "unsupported", UNSUPPORTED[key]
        names = {name for section, name in (*NOT_APPLICABLE, *UNSUPPORTED) if section == key[0]}
        names |= {name for section, name in self._requested if section == entry.section}
        hint = did_you_mean(entry.name, names)
        return "unknown", "bertwright does not know this key" if hint.startswith("known") else hint


def _place(order: list[str], finding: ImportFinding) -> tuple[bool, int]:
    """Return the position of a finding in the file; keys that the file does not contain come last."""
    key = finding.key.removesuffix(".*")
    around = [i for i, path in enumerate(order) if key == path or key.startswith(f"{path}.")]
    return not around, around[0] if around else 0
