"""Look at the data before anything is trained: what is wrong, what is odd, and what a model must beat."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from bertwright.data.baselines import baselines
from bertwright.data.dataset import Dataset, Kind, answers_of, labels_of
from bertwright.data.example import Example, Target
from bertwright.data.label_names import (
    find_joined,
    find_placeholder_number,
    find_placeholders,
    find_vectors,
    find_written_lists,
    group_spellings,
    quote_label,
    spelling_key,
)
from bertwright.data.squad import NOWHERE
from bertwright.metrics.spans import BEGIN, END, INSIDE, Scheme, correct_tag, detect_scheme, find_odd_tags, split_tag

Level = Literal["error", "warning", "note"]
"""An error stops a run; a warning makes its results doubtful; a note is good to know."""

# A label with fewer rows is learnt badly, and its score on dev is a matter of luck.
_RARE: Final = 10
_SHOWN: Final = 3
_MOST_UNKNOWN: Final = 20
_BASELINES: Final = {
    "majority": "the same answer for every row",
    "tfidf": "TF-IDF and a linear model",
    "word_tag": "each word's commonest tag in train",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about the data.

    Attributes:
        level: how bad it is.
        code: what kind of thing it is, one word for scripts, such as ``empty_text``.
        message: a sentence with the counts.
        count: how many rows (or labels) it concerns.
        where: where the first few of them stand.
    """

    level: Level
    code: str
    message: str
    count: int = 0
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.where) else ""
        places = f" ({', '.join(_together(self.where))}{more})" if self.where else ""
        return f"{self.level}: {self.message}{places}"


@dataclass(frozen=True)
class Diagnosis:
    """What was found, the worst first.

    Attributes:
        findings: errors, then warnings, then notes.
        label_counts: the rows of each label in train, or the words of each tag, the commonest first; empty where
            targets are numbers or answers.
        n_counted: of how many rows, or words, those are.
        lengths: quantiles of the tokens a row, by name; empty where lengths are not known.
        baselines: the scores any model must beat, see ``baselines``.
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
    kind: Kind = "classification",
    lengths: Sequence[int] | NDArray[Any] | None = None,
    max_length: int | None = None,
    with_baselines: bool = True,
) -> Diagnosis:
    """Examine training and dev rows.

    Args:
        train: the rows to train on.
        dev: the rows to evaluate on.
        kind: what kind of target they have.
        lengths: tokens of each training row before truncation, special tokens included.
        max_length: the length that rows are truncated to.
        with_baselines: whether to score the baselines too, which takes seconds.
    """
    lines = dict.fromkeys(line for _, rows in _given(train, dev) for line in _notes(rows))  # both may be of one file
    findings = [Finding("note", "reading", line) for line in lines]
    warnings = dict.fromkeys(line for _, rows in _given(train, dev) for line in rows.report.warnings)
    findings += [Finding("warning", "reading", line) for line in warnings]
    for name, rows in _given(train, dev):
        findings += _texts(rows, name)
        findings += _repeats(rows, name, kind)
    findings += _labels(train, dev, kind)
    findings += _schemes(train, dev) if kind == "tagging" else _answers(train, dev) if kind == "qa" else []
    if dev is not None:
        findings += _leakage(train, dev, kind)
    quantiles: dict[str, int] = {}
    if lengths is not None and len(lengths):
        quantiles, more = _lengths(np.asarray(lengths), max_length, train, kind)
        findings += more
    scores: dict[str, Any] = {}
    if with_baselines:
        scores, notes = baselines(train.examples, None if dev is None else dev.examples, kind)
        findings += [Finding("note", "baselines", line) for line in notes]
    findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.level))
    counts = _count(train)  # of nothing where targets are numbers or answers
    n_counted = counts.total() if kind == "tagging" else len(train)
    return Diagnosis(tuple(findings), dict(counts.most_common()), n_counted, quantiles, scores)


def _given(train: Dataset, dev: Dataset | None) -> list[tuple[str, Dataset]]:
    return [("train", train)] if dev is None else [("train", train), ("dev", dev)]


def _notes(rows: Dataset) -> list[str]:
    skipped = [f"{rows.report.source}: {n:,} rows skipped: {reason}" for reason, n in rows.report.skipped.items()]
    return [*skipped, *rows.report.notes]


def _where(examples: Iterable[Example]) -> tuple[str, ...]:
    return tuple(example.where or example.id for example, _ in zip(examples, range(_SHOWN), strict=False))


def _together(places: Sequence[str]) -> list[str]:
    """Places for a message; of those in the file of the first one, the line alone: ``train.csv:4``, ``9``."""
    file = places[0].rpartition(":")[0] + ":"
    return [places[0], *(place.removeprefix(file) if file != ":" else place for place in places[1:])]


def _rows(n: int) -> str:
    return f"{n:,} row" if n == 1 else f"{n:,} rows"


def _texts(rows: Dataset, name: str) -> list[Finding]:
    empty = [e for e in rows if not e.text.strip() or (e.text_pair is not None and not e.text_pair.strip())]
    if not empty:
        return []
    return [
        Finding("warning", "empty_text", f"{name}: {_rows(len(empty))} with an empty text", len(empty), _where(empty))
    ]


def _repeats(rows: Dataset, name: str, kind: Kind) -> list[Finding]:
    """Rows that stand twice, and equal texts with different targets."""
    groups: defaultdict[tuple[str, str | None], dict[Target | None, list[Example]]] = defaultdict(dict)
    for example in rows:
        # a question may well have several answers; what contradicts them is to have none
        target = "answered" if kind == "qa" and example.target else example.target
        groups[example.text, example.text_pair].setdefault(target, []).append(example)
    findings = []
    copies = [e for by_target in groups.values() for group in by_target.values() for e in group[1:]]
    torn = [by_target for by_target in groups.values() if len(by_target.keys() - {None}) > 1]
    if copies:
        share = f"{len(copies) / len(rows):.1%}"
        message = f"{name}: {_rows(len(copies))} ({share}) repeat an earlier one exactly"
        findings.append(Finding("note", "duplicate", message, len(copies), _where(copies)))
    if torn:
        places = [e for by_target in torn for group in by_target.values() for e in group]
        message = f"{name}: {len(torn):,} texts stand with different targets, in {_rows(len(places))}"
        findings.append(Finding("warning", "conflict", message, len(places), _where(places)))
    return findings


def _count(rows: Dataset) -> Counter[str]:
    counts: Counter[str] = Counter(dict.fromkeys(rows.labels or (), 0))
    for target in rows.targets:
        counts.update(labels_of(target))
    return counts


def _labels(train: Dataset, dev: Dataset | None, kind: Kind) -> list[Finding]:
    findings = []
    for name, rows in _given(train, dev):
        without = [example for example in rows if example.target is None]
        if without:
            message = f"{name}: {_rows(len(without))} without a target"
            findings.append(Finding("error", "no_target", message, len(without), _where(without)))
    if kind == "qa":
        return findings
    if kind == "regression":
        values = {target for target in train.targets if target is not None}
        if len(values) == 1:
            findings.append(Finding("error", "one_label", f"train: every target is {values.pop()}", len(train)))
        return [*findings, *_placeholder_targets(train)]
    counts = _count(train)
    held = Counter({label: n for label, n in counts.items() if n})
    row, named = ("word", "tag") if kind == "tagging" else ("row", "label")
    if kind in ("classification", "tagging") and len(held) == 1:
        message = f'train: every {row} has the {named} "{next(iter(held))}"'
        findings.append(Finding("error", "one_label", message, len(train)))
    if unused := [label for label, n in counts.items() if not n]:
        message = f"train: no {row} has the {named}{'s' if len(unused) > 1 else ''} {_listed(unused)}"
        findings.append(Finding("warning", "unused_label", message, len(unused)))
    if rare := [f"{label} ({n})" for label, n in held.items() if n < _RARE]:
        has = "s have" if len(rare) > 1 else " has"
        message = f"train: {len(rare)} {named}{has} under {_RARE} {row}s: {_listed(rare)}"
        findings.append(Finding("warning", "rare_label", message, len(rare)))
    return findings + _unknown_labels(dev or (), held.keys(), row, named) + _label_names(train, held, kind)


def _unknown_labels(dev: Sequence[Example], known: Collection[str], row: str, named: str) -> list[Finding]:
    """The labels of dev rows that no row of train has."""
    rows_of: defaultdict[str, list[Example]] = defaultdict(list)
    for example in dev:
        for label in {label for label in labels_of(example.target) if label not in known}:
            rows_of[label].append(example)
    findings = []
    spellings = {spelling_key(label): label for label in known} if rows_of else {}
    labels = sorted(rows_of)
    for label in labels[:_MOST_UNKNOWN]:
        rows = rows_of[label]
        message = f'dev: {_rows(len(rows))} with the {named} "{label}", which no {row} of train has'
        if like := spellings.get(spelling_key(label)):
            message += f"; train has {quote_label(like)}"
        findings.append(Finding("error", "unknown_label", message, len(rows), _where(rows)))
    if more := labels[_MOST_UNKNOWN:]:
        message = f"dev: {len(more):,} more {named}s that no {row} of train has: {_listed(more)}"
        findings.append(Finding("error", "unknown_label", message, len(more)))
    return findings


def _label_names(train: Dataset, counts: Counter[str], kind: Kind) -> list[Finding]:
    """Labels whose names show that they are not what the user wanted to predict."""
    row, named = ("word", "tag") if kind == "tagging" else ("row", "label")
    findings = []
    for label in find_placeholders(counts, tags=kind == "tagging"):
        places = [example for example in train if label in labels_of(example.target)]
        remedy = "remove it" if kind == "tagging" else f"skip its rows with 'data.skip_labels=[{quote_label(label)}]'"
        message = (
            f"train: {counts[label]:,} {row}{'' if counts[label] == 1 else 's'} with the {named} {quote_label(label)}, "
            f'which often means "no {named}" and is learned as a {named} like the others; {remedy} if it means that'
        )
        findings.append(Finding("warning", "placeholder_label", message, len(places), _where(places)))
    if groups := group_spellings(counts):
        shown = [" and ".join(f"{quote_label(name)} ({counts[name]:,})" for name in group) for group in groups]
        message = (
            f"train: {named}s that differ only by case, spaces or invisible characters are different {named}s: "
            f"{_listed(shown)}; write each {named} in one way"
        )
        findings.append(Finding("warning", "label_spellings", message, sum(map(len, groups))))
    if kind == "tagging":
        return findings
    if without := [example for example in train if example.target == ()]:
        message = f"train: {_rows(len(without))} ({len(without) / len(train):.1%}) with none of the labels"
        findings.append(Finding("note", "none_of_the_labels", message, len(without), _where(without)))
    if lists := find_written_lists(counts):
        remedy = "set task.kind=multilabel to read lists" if kind == "classification" else "check how lists are written"
        message = f"train: {len(lists):,} labels look like lists: {_listed([*map(quote_label, lists)])}; {remedy}"
        findings.append(Finding("warning", "list_label", message, len(lists)))
    elif vectors := find_vectors(counts):
        message = (
            f"train: {len(vectors):,} labels look like vectors of 0 and 1: {_listed([*map(quote_label, vectors)])}; "
            "if each digit is a label of its own, write one 0/1 column per label and set task.kind=multilabel"
        )
        findings.append(Finding("warning", "vector_label", message, len(vectors)))
    elif joined := find_joined(counts):
        separator, names = joined
        kind_remedy = "task.kind=multilabel " if kind == "classification" else ""
        message = (
            f"train: {len(names):,} labels look like several labels joined by {quote_label(separator)}: "
            f"{_listed([*map(quote_label, names)])}; set {kind_remedy}'data.label_separator={quote_label(separator)}' "
            "to split them"
        )
        findings.append(Finding("warning", "joined_label", message, len(names)))
    return findings


def _placeholder_targets(train: Dataset) -> list[Finding]:
    numbers = [target for target in train.targets if isinstance(target, float)]
    placeholder = find_placeholder_number(numbers)
    if placeholder is None:
        return []
    places = [example for example in train if example.target == placeholder]
    message = (
        f'train: {_rows(len(places))} with the target {placeholder:g}, which often means "no target" where all others '
        f"are at least 0; skip these rows with data.skip_labels={placeholder:g} if it means that"
    )
    return [Finding("warning", "placeholder_target", message, len(places), _where(places))]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _leakage(train: Dataset, dev: Dataset, kind: Kind) -> list[Finding]:
    def known_by(example: Example) -> tuple[str, str | None]:
        return ("" if kind == "qa" else example.text, example.text_pair)

    known = set(map(known_by, train))
    leaked = [example for example in dev if known_by(example) in known]
    if not leaked:
        return []
    share, what = f"{len(leaked) / len(dev):.1%}", "context" if kind == "qa" else "text"
    message = f"dev: {_rows(len(leaked))} ({share}) have a {what} that train has too, so scores flatter"
    return [Finding("warning", "leakage", message, len(leaked), _where(leaked))]


def _schemes(train: Dataset, dev: Dataset | None) -> list[Finding]:
    """How tags write spans, and the tags that break the rules of the others."""
    written = {name: [labels_of(target) for target in rows.targets] for name, rows in _given(train, dev)}
    scheme = detect_scheme(written["train"])
    if scheme == "none":
        counts = Counter(tag for tags in written["train"] for tag in tags)
        if odd := find_odd_tags(counts):
            return [_odd_tags(train, counts, odd)]
        if counts and counts.most_common(1)[0][0] == "O":
            without = _listed(sorted(counts.keys() - {"O"}))
            message = (
                f"train: tags have no B- or I- before their types ({without}), so they are taken for plain ones and "
                'evaluation counts words, not spans; write tags such as "B-PER" and "I-PER" to evaluate spans'
            )
            return [Finding("warning", "io_tags", message, len(train))]
        return [Finding("note", "scheme", "train: tags are plain ones, such as parts of speech, and write no spans")]
    types = sorted({tag.partition("-")[2] for tags in written["train"] for tag in tags} - {""})
    findings = [Finding("note", "scheme", f"train: tags write spans as {scheme}, of the types {', '.join(types)}")]
    for name, rows in _given(train, dev):
        other = detect_scheme(written[name])
        if other != scheme and any(tag != "O" for tags in written[name] for tag in tags):
            message = f"{name}: tags look like {other}, those of train like {scheme}; scores need one scheme"
            findings.append(Finding("warning", "scheme_differs", message, len(rows)))
        elif broken := {i: n for i, tags in enumerate(written[name]) if (n := _broken(tags, scheme))}:
            total = sum(broken.values())
            message = (
                f"{name}: {total:,} {'tag' if total == 1 else 'tags'} in {_rows(len(broken))} break the rules of "
                f"{scheme}, such as an I- that no span of its type goes on with"
            )
            findings.append(Finding("warning", "scheme_broken", message, total, _where(rows[i] for i in broken)))
    return findings


def _odd_tags(train: Dataset, counts: Counter[str], odd: Sequence[str]) -> Finding:
    """A warning that some tags keep the others from being read as spans."""
    places = [example for example in train if not set(labels_of(example.target)).isdisjoint(odd)]
    shown = [f"{quote_label(tag)} ({counts[tag]:,})" for tag in odd]
    corrected = [f"{quote_label(tag)} as {quote_label(name)}" for tag in odd if (name := correct_tag(tag)) is not None]
    remedy = f"write {_listed(corrected)}" if corrected else 'write O, or B or I and a type as in "B-PER"'
    message = (
        f"train: {len(odd):,} tag{'s do' if len(odd) > 1 else ' does'} not fit the BIO and BIOES schemes: "
        f"{_listed(shown)}; so all tags are taken for plain ones and evaluation counts words, not spans; {remedy}"
    )
    return Finding("warning", "odd_tag", message, len(places), _where(places))


def _broken(tags: Sequence[str], scheme: Scheme) -> int:
    """How many tags stand where BIO or BIOES has no place for them; IOB1 has one for any."""
    if scheme == "IOB1":
        return 0
    broken, going_on = 0, None
    for tag in tags:
        letter, type_ = split_tag(tag)
        continues = letter in (INSIDE, END)
        broken += type_ != going_on if continues else going_on is not None and scheme == "BIOES"
        going_on = type_ if letter in (BEGIN, INSIDE) else None
    return broken + (going_on is not None and scheme == "BIOES")


def _answers(train: Dataset, dev: Dataset | None) -> list[Finding]:
    """Questions without an answer, answers that cannot be learnt, and how long answers are."""
    findings = []
    without = {name: [e for e in rows if e.target == ()] for name, rows in _given(train, dev)}
    for name, rows in _given(train, dev):
        if n := len(without[name]):
            message = f"{name}: {n:,} of {len(rows):,} questions ({n / len(rows):.1%}) have no answer in their context"
            findings.append(Finding("note", "unanswerable", message, n))
    if without.get("dev") and not without["train"]:
        message = "dev: some questions have no answer, but none in train, so a model cannot learn to give none"
        findings.append(Finding("warning", "never_unanswerable", message, len(without["dev"]), _where(without["dev"])))
    answers = [answers_of(target) for target in train.targets]
    lost = [e for e, found in zip(train, answers, strict=True) if found and all(a.start == NOWHERE for a in found)]
    if lost:
        message = f"train: {_rows(len(lost))} with no answer that stands in its context, so nothing is learnt from them"
        findings.append(Finding("warning", "lost_answer", message, len(lost), _where(lost)))
    if words := [len(answer.text.split()) for found in answers for answer in found]:
        shown = [int(n) for n in np.quantile(words, [0.5, 0.99, 1], method="higher")]
        message = f"train: words an answer: median {shown[0]}, 99 % {shown[1]}, max {shown[2]}"
        findings.append(Finding("note", "answer_lengths", message, len(words)))
    return findings


def _lengths(
    lengths: NDArray[Any], max_length: int | None, train: Dataset, kind: Kind
) -> tuple[dict[str, int], list[Finding]]:
    names = {"min": 0.0, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "max": 1.0}
    found = np.quantile(lengths, list(names.values()), method="higher")
    quantiles = {name: int(value) for name, value in zip(names, found, strict=True)}
    shown = ", ".join(f"{name} {value:,}" for name, value in quantiles.items())
    findings = [Finding("note", "lengths", f"train: tokens a row: {shown}", len(lengths))]
    over = np.flatnonzero(lengths > max_length) if max_length is not None else np.array([], dtype=int)
    if len(over):
        share = len(over) / len(lengths)
        places = [train[int(i)] for i in over[:_SHOWN]] if len(lengths) == len(train) else []
        if kind in ("tagging", "qa"):
            message = (
                f"train: {_rows(len(over))} ({share:.1%}) are longer than {max_length} tokens and cut into windows"
            )
            return quantiles, [*findings, Finding("note", "windows", message, len(over), _where(places))]
        lost = int((lengths[over] - max_length).sum()) / int(lengths.sum())
        message = (
            f"train: {_rows(len(over))} ({share:.1%}) are truncated to {max_length} tokens, "
            f"which drops {lost:.1%} of all tokens"
        )
        level: Level = "warning" if share > 0.05 else "note"
        findings.append(Finding(level, "truncation", message, len(over), _where(places)))
    return quantiles, findings
