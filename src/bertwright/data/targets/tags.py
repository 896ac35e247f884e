"""Tags: one for each word of a text, which may mark spans."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bertwright.data.conll import is_column_file_format, read_conll
from bertwright.data.dataset import ColumnNames, Dataset, labels_of
from bertwright.data.example import Example
from bertwright.data.findings import Finding, count_rows, list_names, name_splits, places_of
from bertwright.data.label_checks import LabelRules, check_label_names, check_labels, count_labels
from bertwright.data.label_names import quote_label
from bertwright.data.table_files import Table, read_table
from bertwright.data.tagged_rows import OUTSIDE, build_tagged_dataset
from bertwright.data.targets.balance import describe_frequent_label
from bertwright.data.targets.spec import TargetSpec
from bertwright.data.word_rows import group_words
from bertwright.errors import DataError
from bertwright.metrics.evaluation import compute_metrics
from bertwright.metrics.spans import (
    BEGIN,
    END,
    INSIDE,
    Scheme,
    TaggingOutcome,
    correct_tag,
    detect_scheme,
    find_odd_tags,
    split_tag,
)


class TagTarget(TargetSpec):
    """A tag for each word.

    The reader takes column files and CoNLL-U, whose columns are named by number ("-1" is the last), tables with a row
    per word, lists of words with lists of tags, and texts with labeled spans of characters.
    """

    name = "tagging"
    has_published_layouts = False
    shares_columns = False
    reads_windows = True
    rules: ClassVar[LabelRules] = LabelRules("word", "tag", one_is_error=True)

    def read_file(self, path: Path, encoding: str, columns: ColumnNames, limit: int | None) -> Table:
        """Read a column file, or a table; of a table all rows, because several may be one sentence."""
        if is_column_file_format(path):
            return read_conll(path, encoding, may_be_text=columns.label == () and columns.text is None)
        return read_table(path, encoding, columns.header)

    def file_columns(self, path: Path, encoding: str, columns: ColumnNames, n_rows: int) -> dict[str, Sequence[Any]]:
        """The columns of a table; empty for a column file, which :class:`TagFormat` writes with one column more."""
        return {} if is_column_file_format(path) else super().file_columns(path, encoding, columns, n_rows)

    def group_rows(self, table: Table, columns: ColumnNames) -> Table:
        """The table with a row per sentence, if it has a row per word."""
        return group_words(table, columns)

    def prepare_items(self, items: list[Any], where: Callable[[int], str]) -> list[Any]:
        """Each item as (words,) or (words, tags); an item of texts alone is a list of words."""
        only_words = [all(isinstance(value, str) for value in item) for item in items]
        for i, item in enumerate(items):
            if only_words[i] != only_words[0] or not (only_words[i] or len(item) == 2):
                raise DataError(f"{where(i)}: expected (words, tags) or a list of words, the same for every row.")
        return [(item,) for item in items] if only_words[0] else items

    def tuple_columns(self, width: int, labeled: bool) -> tuple[list[str], str]:
        """``(words, tags)`` or words alone."""
        return ["text", "label"][:width], "(words, tags) or words"

    def example_columns(self, examples: Sequence[Example]) -> dict[str, list[Any]]:
        """Whole examples instead of their texts, which do not show where the words are."""
        return {**super().example_columns(examples), "text": list(examples)}

    def build_dataset(self, table: Table, columns: ColumnNames, need_target: bool) -> Dataset:
        """The examples of a table of words and tags."""
        return build_tagged_dataset(table, columns, need_target)

    def check_targets(self, train: Dataset, dev: Dataset | None) -> list[Finding]:
        """Check the tags, their names and how they write spans."""
        findings = check_labels(train, dev, self.rules) + check_label_names(train, self.rules, tags=True)
        return findings + _check_scheme(train, dev)

    def describe_imbalance(self, examples: Sequence[Example]) -> str | None:
        """What to do about a tag that outweighs the others."""
        return describe_frequent_label(examples, "words", "set task.class_weights=balanced")

    def count_units(self, train: Dataset) -> int:
        """The number of words."""
        return count_labels(train).total()

    def score_baselines(
        self, train: Sequence[Example], dev: Sequence[Example] | None
    ) -> tuple[dict[str, Any], list[str]]:
        """On ``dev`` alone: the most common tag for all words, and for each word its most common tag in ``train``."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for example in train:
            for word, tag in zip(_words(example), labels_of(example.target), strict=False):
                counts[word][tag] += 1
        labeled = [example for example in dev or () if example.target is not None]
        if not counts or not labeled:
            return {}, []
        usual = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
        most_common = Counter(tag for example in train for tag in labels_of(example.target)).most_common(1)[0][0]
        gold = [labels_of(example.target) for example in labeled]
        predicted = {
            "majority": [[most_common] * len(tags) for tags in gold],
            "word_tag": [[usual.get(word, most_common) for word in _words(example)] for example in labeled],
        }
        scheme = detect_scheme([*(labels_of(example.target) for example in train), *gold])
        names = ["token_accuracy"] if scheme == "none" else ["token_accuracy", "span_f1"]
        scores = {name: compute_metrics(names, TaggingOutcome(gold, tags, scheme)) for name, tags in predicted.items()}
        return {"scored_on": "dev", **scores}, []


def _words(example: Example) -> list[str]:
    return [example.text[start:end] for start, end in example.words or ()]


def _check_scheme(train: Dataset, dev: Dataset | None) -> list[Finding]:
    """How tags write spans, and the tags that break the rules of the scheme."""
    written = {name: [labels_of(target) for target in rows.targets] for name, rows in name_splits(train, dev)}
    scheme = detect_scheme(written["train"])
    if scheme == "none":
        return [_check_plain_tags(train)]
    types = sorted({tag.partition("-")[2] for tags in written["train"] for tag in tags} - {""})
    findings = [Finding("note", "scheme", f"train: tags write spans as {scheme}, of the types {', '.join(types)}")]
    for name, rows in name_splits(train, dev):
        other = detect_scheme(written[name])
        if other != scheme and any(tag != OUTSIDE for tags in written[name] for tag in tags):
            message = f"{name}: tags look like {other}, those of train like {scheme}; scores need one scheme"
            findings.append(Finding("warning", "scheme_differs", message, len(rows)))
        elif broken := {i: n for i, tags in enumerate(written[name]) if (n := _count_broken(tags, scheme))}:
            total = sum(broken.values())
            message = (
                f"{name}: {total:,} {'tag' if total == 1 else 'tags'} in {count_rows(len(broken))} break the rules of "
                f"{scheme}, such as an I- tag that does not continue a span of its type"
            )
            findings.append(Finding("warning", "scheme_broken", message, total, places_of(rows[i] for i in broken)))
    return findings


def _check_plain_tags(train: Dataset) -> Finding:
    """What follows from tags that write no spans, and whether they were meant to."""
    counts = +count_labels(train)
    if odd := find_odd_tags(counts):
        rows = [example for example in train if not set(labels_of(example.target)).isdisjoint(odd)]
        shown = list_names([f"{quote_label(tag)} ({counts[tag]:,})" for tag in odd])
        corrected = [
            f"{quote_label(tag)} as {quote_label(name)}" for tag in odd if (name := correct_tag(tag)) is not None
        ]
        remedy = f"write {list_names(corrected)}" if corrected else 'write O, or B or I and a type as in "B-PER"'
        message = (
            f"train: {len(odd):,} tag{'s do' if len(odd) > 1 else ' does'} not fit the BIO and BIOES schemes: {shown}; "
            f"so all tags are read as plain tags and evaluation counts words, not spans; {remedy}"
        )
        return Finding("warning", "odd_tag", message, len(rows), places_of(rows))
    if counts and counts.most_common(1)[0][0] == OUTSIDE:
        without = list_names(sorted(counts.keys() - {OUTSIDE}))
        message = (
            f"train: tags have no B- or I- before their types ({without}), so they are read as plain tags and "
            'evaluation counts words, not spans; write tags such as "B-PER" and "I-PER" to evaluate spans'
        )
        return Finding("warning", "io_tags", message, len(train))
    return Finding("note", "scheme", "train: tags are plain tags, such as parts of speech, and write no spans")


def _count_broken(tags: Sequence[str], scheme: Scheme) -> int:
    """How many tags BIO or BIOES does not allow at their place; IOB1 allows any."""
    if scheme == "IOB1":
        return 0
    broken, open_type = 0, None
    for tag in tags:
        letter, type_ = split_tag(tag)
        continues = letter in (INSIDE, END)
        broken += type_ != open_type if continues else open_type is not None and scheme == "BIOES"
        open_type = type_ if letter in (BEGIN, INSIDE) else None
    return broken + (open_type is not None and scheme == "BIOES")


TAGS = TagTarget()
