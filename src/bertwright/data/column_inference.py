"""Which columns of a table hold the texts, the target and the ids: those that the user names, else inferred ones."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bertwright.data.cell_values import format_names, is_flag, shorten
from bertwright.data.dataset import ColumnNames, ReadReport, fingerprint
from bertwright.data.example import Example
from bertwright.data.table_files import ABSENT, Table
from bertwright.errors import DataError, did_you_mean

# Lower case; the usual names in public data sets.
_PAIRS: Final = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("text", "text_pair"),
    ("query", "passage"),
    ("#1 string", "#2 string"),
)
_TEXTS: Final = (
    *("text", "sentence", "review", "comment_text", "comment", "question", "content", "document"),
    *("tweet", "message", "headline", "utterance", "phrase", "body"),
)


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """How the columns of a target are inferred.

    Attributes:
        kind: the kind of target, for messages.
        names: usual names in lower case, in groups: a column of the first group that has any is taken. Later groups are
            words that also name other things.
        several: whether several 0/1 columns may hold the target.
    """

    kind: str
    names: tuple[tuple[str, ...], ...]
    several: bool = False


CLASS_COLUMNS: Final = LabelColumns(
    "classification",
    (
        ("label", "labels", "gold_label", "is_duplicate"),
        ("sentiment", "target", "class", "category", "rating", "score", "stars", "intent", "topic", "y"),
    ),
)
NUMBER_COLUMNS: Final = LabelColumns(
    "regression", (("label", "score", "target", "rating", "similarity_score"), ("labels", "stars", "value", "y"))
)
LIST_COLUMNS: Final = LabelColumns(
    "multilabel",
    (("labels", "label"), ("tags", "classes", "categories", "topics", "genres", "emotions")),
    several=True,
)
_IDS: Final = ("id", "guid", "idx", "index")


def make_report(
    table: Table,
    examples: Sequence[Example],
    columns: ColumnNames,
    inferred: tuple[str, ...],
    notes: Iterable[str],
    *,
    skipped: Mapping[str, int] | None = None,
    warnings: Iterable[str] = (),
) -> ReadReport:
    """The report of reading a table.

    Args:
        table: the source.
        examples: what was read of it.
        columns: the columns used.
        inferred: the fields of ``columns`` that were inferred.
        notes: what else a user should know.
        skipped: rows that were skipped, by reason; None takes the table's.
        warnings: besides the table's own.
    """
    return ReadReport(
        table.source,
        len(examples),
        dict(table.skipped if skipped is None else skipped),
        columns,
        inferred,
        tuple(notes),
        fingerprint(examples),
        warnings=(*table.warnings, *warnings),
    )


def check_header(table: Table, columns: ColumnNames, inferred: Sequence[str]) -> list[str]:
    """A warning if the header of a file looks like its first row: a column that was inferred has the name of a value.

    Columns that the user names are in the header, so it is none then.
    """
    if table.header is None:
        return []
    roles = {role: getattr(columns, role) for role in ("text", "text_pair", "label") if role in inferred}
    suspects = [
        name
        for role, names in roles.items()
        for name in ((names,) if isinstance(names, str) else names or ())
        if _looks_like_value(table, name, role)
    ]
    if not suspects:
        return []
    shown = " and ".join(f'"{shorten(name)}"' for name in suspects)
    many = "look like values, not like names" if len(suspects) > 1 else "looks like a value, not like a name"
    return [f"{table.header}: is read as the header, but {shown} {many}; if the file has none, use data.header=false"]


def _looks_like_value(table: Table, name: str, role: str) -> bool:
    """Whether the name of a column looks like a value: a number, a sentence, or a label that also occurs in rows."""
    words = name.split()
    usual = {
        word
        for group in (_TEXTS, *CLASS_COLUMNS.names, *LIST_COLUMNS.names, *NUMBER_COLUMNS.names, *_PAIRS)
        for word in group
    }
    is_sentence = len(words) > 2 and not usual & {word.strip(".,:?!").lower() for word in words}
    if is_number(name) or is_sentence or (len(words) > 1 and name.endswith((".", "!", "?"))):
        return True
    return role == "label" and name in table.column(name)


def resolve_columns(
    table: Table, named: ColumnNames, label_columns: LabelColumns, need_target: bool
) -> tuple[ColumnNames, tuple[str, ...]]:
    """The columns to use, and which of them were inferred.

    Args:
        table: whose columns they are.
        wanted: the columns that the user names.
        label_columns: how the columns of the target are inferred.
        need_target: whether it is an error if no column holds the target.

    Raises:
        DataError: a named column is missing, or none or several columns could be the one to infer.
    """
    label = check_column_names(table, named)
    if named.text is None and named.text_pair is not None:
        raise DataError(f"{table.source}: text_pair is named and text is not; name both columns (data.text=…).")
    if len(label) > 1 and not label_columns.several:
        raise DataError(
            f"{table.source}: {label_columns.kind} takes one label column, found {', '.join(label)}; "
            "did you mean multilabel?"
        )
    columns, inferred = named, []
    if named.label is None:
        taken = {name for name in (named.text, named.text_pair, named.id) if name is not None}
        columns = replace(columns, label=_infer_label(table, label_columns, taken, need_target))
        inferred += ["label"] if columns.label else []
    if named.text is None:
        used = {columns.label} if isinstance(columns.label, str) else set(columns.label or ())
        text, pair = _infer_text(table, used | {named.id})
        columns = replace(columns, text=text, text_pair=pair)
        inferred += ["text"] if pair is None else ["text", "text_pair"]
    if columns.label is None and need_target:
        rest = [name for name in table.names if name not in (columns.text, columns.text_pair, columns.id)]
        if label_columns.several or len(rest) != 1 or len(table.names) > 2:
            raise DataError(
                f"{table.source}: cannot infer which column holds the label (columns: {format_names(table.names)}); "
                f"name it with data.label=…{_hint(table)}."
            )
        columns = replace(columns, label=rest[0])
        inferred.append("label")
    if columns.id is None and (name := infer_id(table, columns)):
        columns = replace(columns, id=name)
        inferred.append("id")
    if named.label == ():
        columns = replace(columns, label=None)
    return columns, tuple(inferred)


def check_column_names(table: Table, named: ColumnNames) -> tuple[str, ...]:
    """Check that all named columns exist, and return the label columns.

    Raises:
        DataError: a named column is missing.
    """
    label = (named.label,) if isinstance(named.label, str) else named.label or ()
    choices = (named.choices,) if isinstance(named.choices, str) else named.choices or ()
    for name in (named.text, named.text_pair, named.id, *label, *choices):
        if name is not None and name not in table.names:
            hint = did_you_mean(name, table.names)
            looks_like_data = any(
                is_number(other) or len(other.split()) > 2 for other in table.names
            )  # as values of a first row
            if table.hint or name.isdecimal() or looks_like_data:
                hint = f"{hint.removesuffix('.')}{_hint(table)}."
            raise DataError(f'{table.source}: there is no column "{name}"; {hint}')
    return label


def infer_id(table: Table, columns: ColumnNames, more: Sequence[str] = ()) -> str | None:
    """The column that identifies rows, by a usual name or one of ``more``, if it has no other use."""
    names = ((name,) for name in (*_IDS, *more))
    candidates = by_name(table, names, {columns.text, columns.text_pair, str(columns.label)})
    return candidates[0] if candidates else None


def by_name(table: Table, groups: Iterable[Sequence[str]], taken: Container[str | None] = ()) -> list[str]:
    """The columns, not taken, whose names in lower case are in the first group that has any of them."""
    for group in groups:
        if candidates := [name for name in table.names if name.strip().lower() in group and name not in taken]:
            return candidates
    return []


def _infer_label(
    table: Table, label_columns: LabelColumns, taken: set[str], need_target: bool
) -> str | tuple[str, ...] | None:
    if label_columns.several:
        names = [name for name in table.names if name and name not in taken and name.lower() not in _IDS]
        flags = tuple(name for name in names if all(is_flag(value) for value in table.column(name)))
        if len(flags) > 1:
            return flags
    matches = by_name(table, label_columns.names, taken)
    if len(matches) > 1 and need_target:
        raise DataError(f"{table.source}: {_either(matches)} could be the label; set data.label=….")
    return matches[0] if len(matches) == 1 else None


def require_one(table: Table, candidates: Sequence[str], what: str, setting: str) -> str:
    """The only column in a list of candidates.

    Raises:
        DataError: there is none, or there are several.
    """
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise DataError(f"{table.source}: {_either(candidates)} could be the {what}; set data.{setting}=….")
    raise DataError(
        f"{table.source}: cannot infer which column holds the {what} (columns: {format_names(table.names)}); "
        f"name it with data.{setting}=…{_hint(table)}."
    )


def _infer_text(table: Table, taken: Iterable[str | None]) -> tuple[str, str | None]:
    out = set(taken)
    lower = {name.strip().lower(): name for name in reversed(table.names) if name not in out}
    pairs = [(lower[a], lower[b]) for a, b in _PAIRS if a in lower and b in lower]
    inside = {name for pair in pairs for name in pair}
    singles = [lower[name] for name in _TEXTS if name in lower and lower[name] not in inside]
    if len(pairs) + len(singles) == 1:
        return pairs[0] if pairs else (singles[0], None)
    if not pairs and not singles:
        singles = [
            name for name in table.names if name not in out and name.lower() not in _IDS and _is_textual(table, name)
        ]
        if len(singles) == 1:
            return singles[0], None
    candidates = [*(" + ".join(pair) for pair in pairs), *singles]
    what = (
        f"{_either(candidates)} could be the text"
        if candidates
        else f"no column of text among {format_names(table.names)}"
    )
    raise DataError(f"{table.source}: {what}; name the column with data.text=…{_hint(table)}.")


def _hint(table: Table) -> str:
    """What else may be wrong if columns cannot be inferred, as the end of a sentence."""
    if table.hint or table.header is None:
        return f" ({table.hint})" if table.hint else ""
    return f" (line {table.header.rpartition(':')[2]} is read as the header; if it holds data, use data.header=false)"


def _is_textual(table: Table, name: str) -> bool:
    """Whether the first thousand values of a column are strings, and not all of them numbers."""
    values = [value for value in table.column(name)[:1000] if value not in (None, ABSENT, "")]
    return all(isinstance(value, str) for value in values) and not all(is_number(value) for value in values)


def is_number(value: str) -> bool:
    """Whether a text spells a number."""
    try:
        float(value)
    except ValueError:
        return False
    return True


def _either(names: Sequence[str]) -> str:
    return " or ".join(names) if len(names) < 3 else f"any of {format_names(names)}"
