"""Tagged words from tables: lists of words and tags, or raw texts with labeled character spans."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from bertwright.data.cell_lists import is_bracketed, parse_list, parse_records
from bertwright.data.cell_values import check_unicode, class_namer, label_text, read_ids, shorten, whole_number
from bertwright.data.column_inference import by_name, check_column_names, infer_id, make_report, require_one
from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example, Span
from bertwright.data.table_files import ABSENT, Table
from bertwright.data.words import split_words
from bertwright.errors import DataError
from bertwright.output.plurals import pluralize

OUTSIDE: Final = "O"
"""The tag of a word outside all spans."""

# Lower case; "0" and "-1" are the first and the last column of a column file.
_WORDS: Final = (("tokens", "words"), ("token", "word"), ("form",), ("0",), ("text", "sentence", "content"))
_TAGS: Final = (
    ("tags", "ner_tags", "labels", "label"),
    ("tag", "ner_tag", "ner"),
    ("upos",),
    ("pos_tags", "pos", "xpos", "chunk_tags"),
    ("-1",),
)
_SPANS: Final = (("spans", "entities"), ("labels", "label"))


def build_tagged_dataset(table: Table, requested: ColumnNames, need_target: bool) -> Dataset:
    """Build the examples of a table whose cells are lists of words and tags, or texts and lists of labeled spans.

    The text of an example is its words joined by spaces, or the raw text, which ``words.split_words`` splits. Spans of
    a
    raw text (``{"start": 0, "end": 5, "label": "PER"}`` or ``[0, 5, "PER"]``) become BIO tags.

    Raises:
        DataError: a column does not exist or cannot be inferred, the numbers of tags and words in a row differ, spans
            overlap, or required tags are missing.
    """
    columns, inferred = _resolve(table, requested, need_target)
    name, label = columns.text or "", columns.label  # _resolve always finds a column of words
    delimited = isinstance(label, str) and _has_delimited_tags(table, name, label)
    cells = [_words(table, name, i, cell, delimited) for i, cell in enumerate(table.column(name))]
    texts, words = [text for text, _, _ in cells], [spans for _, spans, _ in cells]
    check_unicode(table, name, texts)
    notes = list(table.notes)
    if empty := sum(not text[start:end].strip() for text, spans, _ in cells for start, end in spans):
        notes.append(f"{table.source}: {pluralize(empty, 'empty word')}")
    targets: list[tuple[str, ...] | None] = [None] * len(cells)
    classes = None
    if isinstance(label, str):
        classes = table.labels.get(label)
        tagger = _Tagger(class_namer(classes) if classes else label_text, delimited)
        for i, mark in enumerate(table.column(label)):
            text, spans, raw = cells[i]
            try:
                if mark is not None and mark is not ABSENT:
                    targets[i] = tagger.tag_spans(text, spans, mark) if raw else tagger.tag_words(spans, mark)
            except (TypeError, ValueError) as error:
                raise DataError(f'{table.where(i)}: column "{label}": {error}.') from None
        notes += [f"{table.source}: {note}" for note in tagger.notes()]
    if need_target and None in targets:
        i, n = targets.index(None), targets.count(None)
        raise DataError(
            f'{table.where(i)}: the column "{label}" is empty; tag every row ({pluralize(n, "row")} without tags).'
        )
    ids, columns = read_ids(table, columns, "id" in inferred, notes)
    examples = [Example(ids[i], texts[i], None, targets[i], table.where(i), words[i]) for i in range(table.n_rows)]
    used = tuple(key for key in inferred if getattr(columns, key) is not None)
    report = make_report(table, examples, columns, used, notes)
    return Dataset(examples, report, classes)


def _resolve(table: Table, requested: ColumnNames, need_target: bool) -> tuple[ColumnNames, tuple[str, ...]]:
    """The columns to use, and which of them were inferred."""
    label = check_column_names(table, requested)
    if len(label) > 1:
        raise DataError(f"{table.source}: expected one column of tags, found {', '.join(label)}; name one of them.")
    if requested.text_pair is not None:
        raise DataError(f"{table.source}: tagging does not use a second text, found {requested.text_pair}; remove it.")
    columns, inferred = replace(requested, label=label[0] if label else None), []
    if columns.text is None:
        # Prodigy stores the tokens of a raw text as a list of dicts; such columns do not contain words.
        taken = {key for key in by_name(table, _WORDS) if isinstance(_first(_first(table.column(key))), dict)}
        matches = by_name(table, _WORDS, {str(columns.label), *taken})
        columns = replace(columns, text=require_one(table, matches, "words", "text"))
        inferred.append("text")
    if requested.label is None:
        raw = isinstance(_parse_written_list(_first(table.column(columns.text or ""))), str)
        matches = by_name(table, _SPANS if raw else _TAGS, {columns.text, columns.id})
        if len(matches) == 1 or need_target:
            columns = replace(columns, label=require_one(table, matches, "tags", "label"))
            inferred.append("label")
    numbered = re.fullmatch(r"-?\d+", str(columns.label))  # the names "3" and "-1" may refer to the same column
    if numbered and table.column(str(columns.label)) == table.column(columns.text or ""):
        raise DataError(
            f'{table.source}: "{columns.text}" and "{columns.label}" are the same column; set data.label to the tags.'
        )
    if columns.id is None and (key := infer_id(table, columns, ("sent_id",))):
        columns = replace(columns, id=key)
        inferred.append("id")
    return columns, tuple(inferred)


def _first(values: Any) -> Any:
    """The first value that is not missing, if ``values`` is a sequence."""
    listed = hasattr(values, "__len__") and not isinstance(values, (str, dict))
    return next((value for value in values if value is not None and value is not ABSENT), None) if listed else None


def _parse_written_list(cell: Any) -> Any:
    """Parse a list of words that was written into a CSV file as text."""
    if isinstance(cell, str) and re.match(r"""\s*(?:\[|(?:np\.)?array\(\[)\s*(?:np\.str_\()?['"]""", cell):
        try:
            return parse_list(cell)
        except ValueError:  # a text that begins with a quotation in brackets, not a list
            return cell
    return cell


def _has_delimited_tags(table: Table, name: str, label: str) -> bool:
    """Whether texts and tags are separated by blanks: ``Anna left`` and ``B-PER O``."""
    marks = [mark for mark in table.column(label) if mark is not None and mark is not ABSENT]
    texts = (_parse_written_list(cell) for cell in table.column(name))
    delimited = all(isinstance(mark, str) and mark.strip() and not is_bracketed(mark.strip()) for mark in marks)
    return bool(marks) and delimited and all(isinstance(text, str) for text in texts)


def _words(table: Table, name: str, i: int, cell: Any, delimited: bool) -> tuple[str, tuple[Span, ...], bool]:
    """The text of a row, the positions of its words, and whether its tags are character spans."""
    cell = _parse_written_list(cell)
    if isinstance(cell, Example):
        words = None if cell.words is None else tuple((int(start), int(end)) for start, end in cell.words)
        return cell.text, split_words(cell.text) if words is None else words, False
    if isinstance(cell, str) and delimited:
        return cell, tuple(match.span() for match in re.finditer(r"\S+", cell)), False
    if isinstance(cell, str):
        return cell, split_words(cell), True
    if cell is None or cell is ABSENT:
        raise DataError(f'{table.where(i)}: the column "{name}" is empty; expected a list of words.')
    if isinstance(cell, dict) or not hasattr(cell, "__len__"):
        kind = type(cell).__name__
        raise DataError(f'{table.where(i)}: the column "{name}" must contain words, found {shorten(cell)} ({kind}).')
    spans, end = [], -1
    for word in cell:
        if not isinstance(word, str):
            actual = f"found {shorten(word)} ({type(word).__name__})"
            raise DataError(f'{table.where(i)}: the column "{name}" must contain words, {actual}.')
        start, end = end + 1, end + 1 + len(word)
        spans.append((start, end))
    return " ".join(cell), tuple(spans), False


def _only_label(labels: Any) -> Any:
    """The label in a list of one, as Label Studio writes it."""
    if isinstance(labels, list) and len(labels) > 1:
        raise ValueError(f"a span has {len(labels)} labels ({', '.join(map(str, labels))}); use one label per span")
    return labels[0] if isinstance(labels, list) and labels else None


class _Tagger:
    """Parses the tags in a column, and counts corrections."""

    def __init__(self, convert: Callable[[Any], str | None], delimited: bool = False) -> None:
        self.convert = convert
        self.delimited = delimited
        self.tags: dict[tuple[type, Any], str] = {}
        self.widened = self.lost = 0

    def tag_words(self, words: Sequence[Span], cell: Any) -> tuple[str, ...]:
        """The tags of words, from a list of names or numbers."""
        if isinstance(cell, str) and not is_bracketed(cell.strip()):
            if not self.delimited:
                raise ValueError(f"{shorten(cell)} is not a list of tags, one for each word")
            cell = re.split(r"[\s,]+", cell.strip())
        tags = tuple(self._tag(value) for value in parse_list(cell))
        if len(tags) != len(words):
            raise ValueError(
                f"{pluralize(len(tags), 'tag')} for {pluralize(len(words), 'word')}; write one tag per word"
            )
        return tags

    def tag_spans(self, text: str, words: Sequence[Span], cell: Any) -> tuple[str, ...]:
        """The BIO tags of words, from labeled character spans; a span applies to all words it overlaps."""
        tags = [OUTSIDE] * len(words)
        starts, ends = [start for start, _ in words], [end for _, end in words]
        last = (0, 0)
        for start, end, label in sorted(map(self._span, parse_records(cell)), key=lambda span: span[:2]):
            if not 0 <= start < end <= len(text):
                raise ValueError(f"the span {start} to {end} is outside the text of {len(text)} characters")
            if start < last[1]:
                raise ValueError(f"the spans {last[0]} to {last[1]} and {start} to {end} overlap; remove one of them")
            last = (start, end)
            touched = range(bisect_right(ends, start), bisect_left(starts, end))
            if not touched:
                raise ValueError(f"the span {start} to {end} contains no word")
            exact = text[start:end].strip() == text[starts[touched[0]] : ends[touched[-1]]]
            self.widened += not exact
            free = [i for i in touched if tags[i] == OUTSIDE]
            self.lost += not free
            for i in free:
                tags[i] = f"{'B' if i == free[0] else 'I'}-{label}"
        return tuple(tags)

    def notes(self) -> list[str]:
        """Describe the corrections in sentences."""
        notes = []
        if self.widened:
            notes.append(f"extended {pluralize(self.widened, 'span')} to entire words")
        if self.lost:
            notes.append(f"ignored {pluralize(self.lost, 'span')} whose only word belongs to the span before")
        return notes

    def _tag(self, value: Any) -> str:
        key = (type(value), value)
        if key not in self.tags:
            tag = self.convert(value)
            if tag is None:
                raise ValueError(f"a tag is empty ({value!r})")
            self.tags[key] = tag
        return self.tags[key]

    def _span(self, item: Any) -> tuple[int, int, str]:
        if isinstance(item, dict):
            start, end = (item.get(key, item.get(f"{key}_offset")) for key in ("start", "end"))
            item = (start, end, item["label"] if "label" in item else _only_label(item.get("labels")))
        start, end, label = item if isinstance(item, (list, tuple)) and len(item) == 3 else (None, None, None)
        start, end = whole_number(start), whole_number(end)
        if start is None or end is None:
            raise ValueError(
                'expected a span {"start": 0, "end": 5, "label": "PER"} or [0, 5, "PER"], found ' + shorten(item)
            )
        return start, end, self._tag(label)
