"""Data checks before training: what is wrong, what is unusual, and which scores a model must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bertwright.data.dataset import Dataset
from bertwright.data.findings import SHOWN, Finding, Level, count_rows, name_splits, places_of
from bertwright.data.label_checks import count_labels
from bertwright.data.repeated_texts import find_leaked, group_by_text, is_conflict
from bertwright.data.targets.lookup import Kind, target_spec
from bertwright.data.targets.spec import TargetSpec

_BASELINES: Final = {
    "majority": "majority-class baseline",
    "tfidf": "TF-IDF and a linear model",
    "word_tag": "each word's most common tag in train",
    "random": "a random choice",
    "longest_choice": "the longest choice",
}

_MANY_TRUNCATED: Final = 0.05
"""If more than this share of the rows is truncated, that is a warning."""


@dataclass(frozen=True)
class Diagnosis:
    """The findings of the data checks, the most serious first.

    Attributes:
        findings: errors, then warnings, then notes.
        label_counts: the rows of each label in train, or the words of each tag, the most common first; empty for
            numbers and answers.
        n_counted: the number of rows, or words, that these counts refer to.
        lengths: quantiles of the tokens per row, by name; empty if lengths are unknown.
        baselines: the scores that a model must beat, by baseline; see
            :meth:`~bertwright.data.targets.spec.TargetSpec.score_baselines`.
    """

    findings: tuple[Finding, ...]
    label_counts: dict[str, int] = field(default_factory=dict)
    n_counted: int = 0
    lengths: dict[str, int] = field(default_factory=dict)
    baselines: dict[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop a run."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis as plain values, ready for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The diagnosis as sentences."""
        lines = [str(finding) for finding in self.findings]
        for name, shown in _BASELINES.items():
            if scores := self.baselines.get(name):
                values = ", ".join(f"{metric} {value:.3f}" for metric, value in scores.items())
                lines.append(f"to beat: {shown}: {values} (on {self.baselines['scored_on']})")
        return lines


def check_data(
    train: Dataset,
    dev: Dataset | None = None,
    *,
    kind: Kind | TargetSpec = "classification",
    lengths: Sequence[int] | NDArray[Any] | None = None,
    max_length: int | None = None,
    with_baselines: bool = True,
) -> Diagnosis:
    """Check training and dev rows.

    Args:
        train: the rows to train on.
        dev: the rows to evaluate on.
        kind: the kind of their targets, by name or as a specification.
        lengths: tokens of each training row before truncation, special tokens included.
        max_length: the length that rows are truncated to.
        with_baselines: whether to score the baselines too, which takes seconds.
    """
    target = target_spec(kind)
    splits = name_splits(train, dev)
    notes = dict.fromkeys(line for _, rows in splits for line in _reading_notes(rows))  # both may come from one file
    findings = [Finding("note", "reading", line) for line in notes]
    warnings = dict.fromkeys(line for _, rows in splits for line in rows.report.warnings)
    findings += [Finding("warning", "reading", line) for line in warnings]
    for name, rows in splits:
        findings += _check_texts(rows, name)
        findings += _check_duplicates(rows, name, target)
    for name, rows in splits:
        findings += _check_missing_targets(rows, name)
    findings += target.check_targets(train, dev)
    if dev is not None:
        findings += _check_leakage(train, dev, target)
    quantiles: dict[str, int] = {}
    if lengths is not None and len(lengths):
        quantiles, about_lengths = _check_lengths(np.asarray(lengths), max_length, train, target)
        findings += about_lengths
    scores: dict[str, Any] = {}
    if with_baselines:
        scores, remarks = target.score_baselines(train.examples, None if dev is None else dev.examples)
        findings += [Finding("note", "baselines", line) for line in remarks]
    findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.level))
    counts = count_labels(train)  # empty for numbers and answers
    return Diagnosis(tuple(findings), dict(counts.most_common()), target.count_units(train), quantiles, scores)


def _reading_notes(rows: Dataset) -> list[str]:
    skipped = [f"{rows.report.source}: {n:,} rows skipped: {reason}" for reason, n in rows.report.skipped.items()]
    return [*skipped, *rows.report.notes]


def _check_texts(rows: Dataset, name: str) -> list[Finding]:
    empty = [e for e in rows if not e.text.strip() or (e.text_pair is not None and not e.text_pair.strip())]
    if not empty:
        return []
    message = f"{name}: {count_rows(len(empty))} with an empty text"
    return [Finding("warning", "empty_text", message, len(empty), places_of(empty))]


def _check_duplicates(rows: Dataset, name: str, target: TargetSpec) -> list[Finding]:
    """Rows that occur twice, and equal texts with conflicting targets."""
    groups = group_by_text(rows, target)
    findings = []
    copies = [e for by_target in groups.values() for group in by_target.values() for e in group[1:]]
    conflicts = [by_target for by_target in groups.values() if is_conflict(by_target)]
    if copies:
        share = f"{len(copies) / len(rows):.1%}"
        message = f"{name}: {count_rows(len(copies))} ({share}) repeat an earlier one exactly"
        findings.append(Finding("note", "duplicate", message, len(copies), places_of(copies)))
    if conflicts:
        places = [e for by_target in conflicts for group in by_target.values() for e in group]
        message = (
            f"{name}: conflicting labels: {len(conflicts):,} texts have different targets, in {count_rows(len(places))}"
        )
        findings.append(Finding("warning", "conflict", message, len(places), places_of(places)))
    return findings


def _check_missing_targets(rows: Dataset, name: str) -> list[Finding]:
    without = [example for example in rows if example.target is None]
    if not without:
        return []
    message = f"{name}: {count_rows(len(without))} without a target"
    return [Finding("error", "no_target", message, len(without), places_of(without))]


def _check_leakage(train: Dataset, dev: Dataset, target: TargetSpec) -> list[Finding]:
    leaked = find_leaked(train, dev, target)
    if not leaked:
        return []
    message = (
        f"dev: data leakage: {count_rows(len(leaked))} ({len(leaked) / len(dev):.1%}) have a {target.leakage_noun} "
        "that also occurs in train; scores will be optimistic"
    )
    return [Finding("warning", "leakage", message, len(leaked), places_of(leaked))]


def _check_lengths(
    lengths: NDArray[Any], max_length: int | None, train: Dataset, target: TargetSpec
) -> tuple[dict[str, int], list[Finding]]:
    shares = {"min": 0.0, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "max": 1.0}
    values = np.quantile(lengths, list(shares.values()), method="higher")
    quantiles = {name: int(value) for name, value in zip(shares, values, strict=True)}
    shown = ", ".join(f"{name} {value:,}" for name, value in quantiles.items())
    findings = [Finding("note", "lengths", f"train: tokens per row: {shown}", len(lengths))]
    over = np.flatnonzero(lengths > max_length) if max_length is not None else np.array([], dtype=int)
    if not len(over):
        return quantiles, findings
    share = len(over) / len(lengths)
    places = places_of([train[int(i)] for i in over[:SHOWN]] if len(lengths) == len(train) else [])
    count = f"train: {count_rows(len(over))} ({share:.1%})"
    if target.reads_windows:
        message = f"{count} are longer than {max_length} tokens and are read in windows"
        return quantiles, [*findings, Finding("note", "windows", message, len(over), places)]
    dropped = int((lengths[over] - max_length).sum()) / int(lengths.sum())
    message = f"{count} are truncated to {max_length} tokens, which drops {dropped:.1%} of all tokens"
    level: Level = "warning" if share > _MANY_TRUNCATED else "note"
    return quantiles, [*findings, Finding(level, "truncation", message, len(over), places)]
