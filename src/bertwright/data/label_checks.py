"""Data checks of labels and tags: missing, rare, unknown and misspelled ones, and names that hide several labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from bertwright.data.dataset import Dataset, labels_of
from bertwright.data.example import Example
from bertwright.data.findings import Finding, count_rows, list_names, places_of
from bertwright.data.label_names import (
    find_joined,
    find_placeholders,
    find_vectors,
    find_written_lists,
    group_spellings,
    quote_label,
    spelling_key,
)

_RARE: Final = 10
"""A label with fewer rows is learned badly, and its score on dev is mostly noise."""

_MOST_UNKNOWN: Final = 20
"""Unknown labels of dev that get a finding each."""


@dataclass(frozen=True, slots=True)
class LabelRules:
    """How labels of one kind are checked, and what messages call them.

    Attributes:
        unit: what has a label: ``row`` or ``word``.
        noun: what a label is called: ``label`` or ``tag``.
        one_is_error: whether it is an error that all rows have the same label.
    """

    unit: str
    noun: str
    one_is_error: bool


def count_labels(dataset: Dataset) -> Counter[str]:
    """How often each label or tag occurs; 0 for labels that the source declares and no row has."""
    counts: Counter[str] = Counter(dict.fromkeys(dataset.labels or (), 0))
    for target in dataset.targets:
        counts.update(labels_of(target))
    return counts


def check_labels(train: Dataset, dev: Dataset | None, rules: LabelRules) -> list[Finding]:
    """Check which labels occur, how often, and whether train has all those of dev."""
    findings = []
    counts = count_labels(train)
    present = Counter({label: n for label, n in counts.items() if n})
    unit, noun = rules.unit, rules.noun
    if rules.one_is_error and len(present) == 1:
        message = f'train: every {unit} has the {noun} "{next(iter(present))}"'
        findings.append(Finding("error", "one_label", message, len(train)))
    if unused := [label for label, n in counts.items() if not n]:
        message = f"train: no {unit} has the {noun}{'s' if len(unused) > 1 else ''} {list_names(unused)}"
        findings.append(Finding("warning", "unused_label", message, len(unused)))
    if rare := [f"{label} ({n})" for label, n in present.items() if n < _RARE]:
        has = "s have" if len(rare) > 1 else " has"
        message = f"train: {len(rare)} {noun}{has} under {_RARE} {unit}s: {list_names(rare)}"
        findings.append(Finding("warning", "rare_label", message, len(rare)))
    return findings + _check_unknown_labels(dev or (), present.keys(), rules)


def _check_unknown_labels(dev: Sequence[Example], known: Collection[str], rules: LabelRules) -> list[Finding]:
    """The labels of dev rows that no row of train has."""
    unit, noun = rules.unit, rules.noun
    rows_of: defaultdict[str, list[Example]] = defaultdict(list)
    for example in dev:
        for label in {label for label in labels_of(example.target) if label not in known}:
            rows_of[label].append(example)
    findings = []
    spellings = {spelling_key(label): label for label in known} if rows_of else {}
    labels = sorted(rows_of)
    for label in labels[:_MOST_UNKNOWN]:
        rows = rows_of[label]
        message = f'dev: {count_rows(len(rows))} with the {noun} "{label}", which no {unit} of train has'
        if similar := spellings.get(spelling_key(label)):
            message += f"; train has {quote_label(similar)}"
        findings.append(Finding("error", "unknown_label", message, len(rows), places_of(rows)))
    if more := labels[_MOST_UNKNOWN:]:
        message = f"dev: {len(more):,} more {noun}s that no {unit} of train has: {list_names(more)}"
        findings.append(Finding("error", "unknown_label", message, len(more)))
    return findings


def check_label_names(train: Dataset, rules: LabelRules, *, tags: bool = False) -> list[Finding]:
    """Check for labels that mean "no label", and for spellings that make two labels of one.

    Args:
        train: the training rows.
        rules: what messages call the labels.
        tags: whether the labels are tags of words, whose rows cannot be skipped.
    """
    counts, unit, noun = +count_labels(train), rules.unit, rules.noun
    findings = []
    for label in find_placeholders(counts, tags=tags):
        rows = [example for example in train if label in labels_of(example.target)]
        remedy = "remove it" if tags else f"skip its rows with 'data.skip_labels=[{quote_label(label)}]'"
        message = (
            f"train: {counts[label]:,} {unit}{'' if counts[label] == 1 else 's'} with the {noun} {quote_label(label)}, "
            f'which often means "no {noun}" and is learned as a {noun} like the others; {remedy} if it means that'
        )
        findings.append(Finding("warning", "placeholder_label", message, len(rows), places_of(rows)))
    if groups := group_spellings(counts):
        shown = [" and ".join(f"{quote_label(name)} ({counts[name]:,})" for name in group) for group in groups]
        message = (
            f"train: {noun}s that differ only by case, spaces or invisible characters are different {noun}s: "
            f"{list_names(shown)}; write each {noun} in one way"
        )
        findings.append(Finding("warning", "label_spellings", message, sum(map(len, groups))))
    return findings


def check_combined_labels(train: Dataset, remedy: str, setting: str = "") -> list[Finding]:
    """Check for labels that are lists, vectors or several labels joined by a separator.

    Args:
        train: the training rows.
        remedy: what to do about labels that look like lists.
        setting: a setting, followed by a space, that joined labels need besides ``data.label_separator``.
    """
    counts = +count_labels(train)
    findings = []
    if without := [example for example in train if example.target == ()]:
        message = f"train: {count_rows(len(without))} ({len(without) / len(train):.1%}) with none of the labels"
        findings.append(Finding("note", "none_of_the_labels", message, len(without), places_of(without)))
    if lists := find_written_lists(counts):
        shown = list_names([*map(quote_label, lists)])
        message = f"train: {len(lists):,} labels look like lists: {shown}; {remedy}"
        findings.append(Finding("warning", "list_label", message, len(lists)))
    elif vectors := find_vectors(counts):
        message = (
            f"train: {len(vectors):,} labels look like vectors of 0 and 1: {list_names([*map(quote_label, vectors)])}; "
            "if each digit is a separate label, write one 0/1 column per label and set task.kind=multilabel"
        )
        findings.append(Finding("warning", "vector_label", message, len(vectors)))
    elif joined := find_joined(counts):
        separator, names = joined
        message = (
            f"train: {len(names):,} labels look like several labels joined by {quote_label(separator)}: "
            f"{list_names([*map(quote_label, names)])}; set {setting}'data.label_separator={quote_label(separator)}' "
            "to split them"
        )
        findings.append(Finding("warning", "joined_label", message, len(names)))
    return findings
