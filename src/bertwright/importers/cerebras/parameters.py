"""A Model Zoo file that is mapped key by key; keys that were not mapped are reported at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bertwright.config.yaml_tree import Tree
from bertwright.data.glue import TASKS
from bertwright.errors import did_you_mean
from bertwright.importers.cerebras.file_format import AGAIN, BACKEND, TRAINER, list_settings
from bertwright.importers.cerebras.known_keys import CLASSIFICATION, IRRELEVANT, NOT_HERE, USUAL
from bertwright.importers.imported_recipe import ImportFinding, RecipeDraft, SourceSetting, Status

INPUTS = ("train_input", "eval_input")


class ModelZooParams:
    """The keys of a file and the recipe that is made of them.

    Args:
        tree: the file.
        model: the encoder to start from, where the user names one.
    """

    def __init__(self, tree: Tree, model: str | None = None) -> None:
        self.form, self.entries = list_settings(tree)
        self.draft = RecipeDraft(tree.name)
        self.named_model = model
        self.task = CLASSIFICATION
        self.layout: str | None = None
        self._left = list(self.entries)
        self._asked: set[tuple[str, str]] = set()

    @property
    def has_trainer(self) -> bool:
        """Whether the file has the trainer form."""
        return self.form == TRAINER

    def rows(self, split: str) -> int:
        """Rows of the data set's splits of a name, ``dev`` of both of MNLI's; 0 where the data set is not known."""
        counts = TASKS[self.layout].rows if self.layout else {}
        return sum(n for name, n in counts.items() if name.startswith(split))

    def take(self, section: str, *names: str) -> SourceSetting | None:
        """The key of one of these names, if the file has it; it is then no longer among what is left."""
        self._asked |= {(section, name) for name in names}
        for entry in self._left:
            if entry.section == section and entry.name in names:
                self._left.remove(entry)
                return entry
        return None

    def take_both(self, *names: str) -> tuple[SourceSetting | None, SourceSetting | None]:
        """The key of one of these names for training rows and for dev rows."""
        return self.take("train_input", *names), self.take("eval_input", *names)

    def map(
        self, section: str, names: tuple[str, ...], key: str, read: Callable[[SourceSetting], Any], default: Any
    ) -> None:
        """Take a key over as it is; what the file does not say is written out as their default."""
        entry = self.take(section, *names)
        if entry is not None:
            self.draft.map(entry, key, read(entry))
        else:
            self.default(section, names[0], key, default)

    def default(self, section: str, name: str, key: str, value: Any, why: str = "their default") -> None:
        """Write out what a file leaves open."""
        text = self.draft.set(key, value, f"{why}: {section}.{name} is not written")
        self.draft.say(f"({section}.{name})", "mapped", f"{text}, {why}")

    def say(self, entry: SourceSetting | None, status: Status, text: str) -> None:
        """Note what became of a key, if the file has it."""
        if entry is not None:
            self.draft.say(entry.path, status, text)

    def say_or(self, entry: SourceSetting | None, missing: str, status: Status, text: str) -> None:
        """Note what became of a key, or of its default where the file does not say it."""
        self.draft.say(f"({missing})" if entry is None else entry.path, status, text)

    def finish(self) -> None:
        """Report the remaining keys, and sort all findings in file order."""
        for entry in self._left:
            self.draft.say(entry.path, *self._told(entry))
        order = [entry.path for entry in self.entries]
        self.draft.findings.sort(key=lambda finding: _place(order, finding))

    def _told(self, entry: SourceSetting) -> tuple[Status, str]:
        """Return the status of a key that was not mapped to a setting."""
        if entry.section == AGAIN:
            return "irrelevant here", "`bertwright evaluate RUN --data FILE`, for validate_all with --all-checkpoints"
        if entry.section == BACKEND:
            return "irrelevant here", IRRELEVANT["init", "backend"]
        if entry.section == "predict_input":
            return "irrelevant here", "`bertwright predict RUN --input FILE` names rows"
        if not entry.name:
            return "irrelevant here", "is empty"
        if (entry.section, entry.name) in self._asked:
            first = next(e for e in self.entries if (e.section, e.name) == (entry.section, entry.name))
            same = first.value == entry.value
            return "mapped" if same else "odd", f"as {first.path}" + ("" if same else ", which counts")
        key = ("input" if entry.section in INPUTS else entry.section, entry.name)
        if key in IRRELEVANT:
            return "irrelevant here", IRRELEVANT[key]
        if key in NOT_HERE:
            same = entry.value in USUAL.get(key, ())
            return "irrelevant here" if same else "not here", NOT_HERE[key]
        known = {name for section, name in (*IRRELEVANT, *NOT_HERE) if section == key[0]}
        known |= {name for section, name in self._asked if section == entry.section}
        hint = did_you_mean(entry.name, known)
        return "unknown", "no key of that name is known" if hint.startswith("known") else hint


def _place(order: list[str], finding: ImportFinding) -> tuple[bool, int]:
    """Return the position of a finding in the file; keys that the file does not contain come last."""
    key = finding.key.removesuffix(".*")
    around = [i for i, path in enumerate(order) if key == path or key.startswith(f"{path}.")]
    return not around, around[0] if around else 0
