"""From a table to tagged words: lists of words and tags, or raw texts with labelled spans of characters."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from bertwright.data.cell_lists import is_bracketed, parse_list, parse_records
from bertwright.data.cell_values import check_unicode, class_namer, label_text, read_ids, shortened, whole_number
from bertwright.data.column_inference import by_name, check_named, guess_id, make_report, the_one
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example, Span
from bertwright.data.table_files import ABSENT, Table
from bertwright.data.words import split_words
from bertwright.errors import DataError

OUTSIDE: Final = "O"
"""The tag of a word that is in no span."""

# Lower case, as public data sets have them; "0" and "-1" are the first and the last column of a column file.
_WORDS: Final = (("tokens", "words"), ("token", "word"), ("form",), ("0",), ("text", "sentence", "content"))
_TAGS: Final = (
    ("tags", "ner_tags", "labels", "label"),
    ("tag", "ner_tag", "ner"),
    ("upos",),
    ("pos_tags", "pos", "xpos", "chunk_tags"),
    ("-1",),
)
_SPANS: Final = (("spans", "entities"), ("labels", "label"))


def build_tagged(table: Table, wanted: ColumnNames, need_target: bool) -> Dataset:
    """The examples of a table whose cells are lists of words and of tags, or texts and lists of labelled spans.

    The text of an example is its words with a space between, or the raw text, which ``words.split_words`` splits.
    Spans of a raw text (``{"start": 0, "end": 5, "label": "PER"}`` or ``[0, 5, "PER"]``) become BIO tags.

    Raises:
        DataError: a column is not there or cannot be guessed, a row has more or fewer tags than words, spans
            overlap, or tags are missing where they are needed.
    """
    columns, guessed = _resolve(table, wanted, need_target)
    name, label = columns.text or "", columns.label  # _resolve always finds a column of words
    delimited = isinstance(label, str) and _has_delimited_tags(table, name, label)
    cells = [_words(table, name, i, cell, delimited) for i, cell in enumerate(table.column(name))]
    texts, words = [text for text, _, _ in cells], [spans for _, spans, _ in cells]
    check_unicode(table, name, texts)
    notes = list(table.notes)
    if empty := sum(not text[start:end].strip() for text, spans, _ in cells for start, end in spans):
        notes.append(f"{table.source}: {empty:,} words are empty or white space")
    targets: list[tuple[str, ...] | None] = [None] * len(cells)
    classes = None
    if isinstance(label, str):
        classes = table.labels.get(label)
        tagger = _Tagger(class_namer(classes) if classes else label_text, delimited)
        for i, mark in enumerate(table.column(label)):
            text, spans, raw = cells[i]
            try:
                if mark is not None and mark is not ABSENT:
                    targets[i] = tagger.of_spans(text, spans, mark) if raw else tagger.of_words(spans, mark)
            except (TypeError, ValueError) as error:
                raise DataError(f'{table.where(i)}: column "{label}": {error}.') from None
        notes += [f"{table.source}: {note}" for note in tagger.notes()]
    if need_target and None in targets:
        i, n = targets.index(None), targets.count(None)
        raise DataError(
            f'{table.where(i)}: the column "{label}" is empty; every row needs tags here ({n:,} rows have none).'
        )
    ids, columns = read_ids(table, columns, "id" in guessed, notes)
    examples = [Example(ids[i], texts[i], None, targets[i], table.where(i), words[i]) for i in range(table.n_rows)]
    used = tuple(key for key in guessed if getattr(columns, key) is not None)
    report = make_report(table, examples, columns, used, notes)
    return Dataset(examples, report, classes)


def _resolve(table: Table, wanted: ColumnNames, need_target: bool) -> tuple[ColumnNames, tuple[str, ...]]:
    """The columns to use, and which of them were guessed."""
    label = check_named(table, wanted)
    if len(label) > 1:
        raise DataError(f"{table.source}: tagging takes one column of tags, found {', '.join(label)}; name one.")
    if wanted.text_pair is not None:
        raise DataError(f"{table.source}: tagging takes no second text, found {wanted.text_pair}; leave it out.")
    columns, guessed = replace(wanted, label=label[0] if label else None), []
    if columns.text is None:
        # What tokenised by other means stands beside its raw text (Prodigy) is a list of dicts.
        taken = {key for key in by_name(table, _WORDS) if isinstance(_first(_first(table.column(key))), dict)}
        found = by_name(table, _WORDS, {str(columns.label), *taken})
        columns = replace(columns, text=the_one(table, found, "words", "text"))
        guessed.append("text")
    if wanted.label is None:
        raw = isinstance(_unwritten(_first(table.column(columns.text or ""))), str)
        found = by_name(table, _SPANS if raw else _TAGS, {columns.text, columns.id})
        if len(found) == 1 or need_target:
            columns = replace(columns, label=the_one(table, found, "tags", "label"))
            guessed.append("label")
    numbered = re.fullmatch(r"-?\d+", str(columns.label))  # then the names "3" and "-1" may mean one column
    if numbered and table.column(str(columns.label)) == table.column(columns.text or ""):
        raise DataError(f'{table.source}: "{columns.text}" and "{columns.label}" are one column; which has the tags?')
    if columns.id is None and (key := guess_id(table, columns, ("sent_id",))):
        columns = replace(columns, id=key)
        guessed.append("id")
    return columns, tuple(guessed)


def _first(values: Any) -> Any:
    """The first value that is there, if these are values at all."""
    listed = hasattr(values, "__len__") and not isinstance(values, (str, dict))
    return next((value for value in values if value is not None and value is not ABSENT), None) if listed else None


def _unwritten(cell: Any) -> Any:
    """A list of words that was written into a CSV as text is a list again."""
    if isinstance(cell, str) and re.match(r"""\s*(?:\[|(?:np\.)?array\(\[)\s*(?:np\.str_\()?['"]""", cell):
        try:
            return parse_list(cell)
        except ValueError:  # a text that begins with a quotation in brackets
            return cell
    return cell


def _has_delimited_tags(table: Table, name: str, label: str) -> bool:
    """Whether texts and tags are written with blanks between them: ``Anna left`` and ``B-PER O``."""
    marks = [mark for mark in table.column(label) if mark is not None and mark is not ABSENT]
    texts = (_unwritten(cell) for cell in table.column(name))
    delimited = all(isinstance(mark, str) and mark.strip() and not is_bracketed(mark.strip()) for mark in marks)
    return bool(marks) and delimited and all(isinstance(text, str) for text in texts)


def _words(table: Table, name: str, i: int, cell: Any, delimited: bool) -> tuple[str, tuple[Span, ...], bool]:
    """The text of a row, where its words are, and whether its tags are spans of characters."""
    cell = _unwritten(cell)
    if isinstance(cell, Example):
        words = None if cell.words is None else tuple((int(start), int(end)) for start, end in cell.words)
        return cell.text, split_words(cell.text) if words is None else words, False
    if isinstance(cell, str) and delimited:
        return cell, tuple(match.span() for match in re.finditer(r"\S+", cell)), False
    if isinstance(cell, str):
        return cell, split_words(cell), True
    if cell is None or cell is ABSENT:
        raise DataError(f'{table.where(i)}: lacks words: the column "{name}" is empty; every row needs a list of them.')
    if isinstance(cell, dict) or not hasattr(cell, "__len__"):
        kind = type(cell).__name__
        raise DataError(f'{table.where(i)}: the column "{name}" should hold words, found {shortened(cell)} ({kind}).')
    spans, end = [], -1
    for word in cell:
        if not isinstance(word, str):
            what = f"found {shortened(word)} ({type(word).__name__}) among them"
            raise DataError(f'{table.where(i)}: the column "{name}" should hold words, {what}.')
        start, end = end + 1, end + 1 + len(word)
        spans.append((start, end))
    return " ".join(cell), tuple(spans), False


def _only_label(labels: Any) -> Any:
    """The label in a list of one, as Label Studio writes it."""
    if isinstance(labels, list) and len(labels) > 1:
        raise ValueError(f"a span has {len(labels)} labels ({', '.join(map(str, labels))}); a word has one tag")
    return labels[0] if isinstance(labels, list) and labels else None


class _Tagger:
    """Tags from the cells of a column, with a count of what did not fit."""

    def __init__(self, convert: Callable[[Any], str | None], delimited: bool = False) -> None:
        self.convert = convert
        self.delimited = delimited
        self.known: dict[tuple[type, Any], str] = {}
        self.widened = self.lost = 0

    def of_words(self, words: Sequence[Span], cell: Any) -> tuple[str, ...]:
        """The tags of words, from a list of names or numbers."""
        if isinstance(cell, str) and not is_bracketed(cell.strip()):
            if not self.delimited:
                raise ValueError(f"{shortened(cell)} is not a list of tags, one for each word")
            cell = re.split(r"[\s,]+", cell.strip())
        tags = tuple(self._tag(value) for value in parse_list(cell))
        if len(tags) != len(words):
            raise ValueError(f"{len(tags)} tags for {len(words)} words; every word needs one")
        return tags

    def of_spans(self, text: str, words: Sequence[Span], cell: Any) -> tuple[str, ...]:
        """The BIO tags of words, from labelled spans of characters; a span counts for all words it touches."""
        tags = [OUTSIDE] * len(words)
        starts, ends = [start for start, _ in words], [end for _, end in words]
        last = (0, 0)
        for start, end, label in sorted(map(self._span, parse_records(cell)), key=lambda span: span[:2]):
            if not 0 <= start < end <= len(text):
                raise ValueError(f"the span {start} to {end} does not lie in the text of {len(text)} characters")
            if start < last[1]:
                raise ValueError(f"the spans {last[0]} to {last[1]} and {start} to {end} overlap; a word has one tag")
            last = (start, end)
            touched = range(bisect_right(ends, start), bisect_left(starts, end))
            if not touched:
                raise ValueError(f"the span {start} to {end} holds no word")
            exact = text[start:end].strip() == text[starts[touched[0]] : ends[touched[-1]]]
            self.widened += not exact
            free = [i for i in touched if tags[i] == OUTSIDE]
            self.lost += not free
            for i in free:
                tags[i] = f"{'B' if i == free[0] else 'I'}-{label}"
        return tuple(tags)

    def notes(self) -> list[str]:
        """What did not fit, as sentences."""
        notes = []
        if self.widened:
            notes.append(f"{self.widened:,} spans begin or end within a word and are widened to whole words")
        if self.lost:
            notes.append(f"{self.lost:,} spans share their only word with the span before and are left out")
        return notes

    def _tag(self, value: Any) -> str:
        key = (type(value), value)
        if key not in self.known:
            tag = self.convert(value)
            if tag is None:
                raise ValueError(f"a tag is empty ({value!r})")
            self.known[key] = tag
        return self.known[key]

    def _span(self, item: Any) -> tuple[int, int, str]:
        if isinstance(item, dict):
            start, end = (item.get(key, item.get(f"{key}_offset")) for key in ("start", "end"))
            item = (start, end, item["label"] if "label" in item else _only_label(item.get("labels")))
        start, end, label = item if isinstance(item, (list, tuple)) and len(item) == 3 else (None, None, None)
        start, end = whole_number(start), whole_number(end)
        if start is None or end is None:
            raise ValueError(
                'a span is {"start": 0, "end": 5, "label": "PER"} or [0, 5, "PER"], found ' + shortened(item)
            )
        return start, end, self._tag(label)
