"""Rows as text, label and tokens, for ``check --show``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby

from bertwright.data.dataset import Dataset
from bertwright.recipe import Recipe
from bertwright.tasks.review import show_target
from bertwright.tokenization.encodings import Encoded, Encodings
from bertwright.tokenization.tokenizer import Tokenizer

MAX_TOKENS_SHOWN = 60
"""Maximum number of tokens to show per segment."""

UNLIMITED = 2**30
"""A sequence length that no text reaches."""


def row_lines(rows: Dataset, recipe: Recipe, tokenizer: Tokenizer, n: int) -> Iterator[tuple[str, str]]:
    """Return the first rows as lines with a name and a text.

    Args:
        rows: the rows of a split.
        recipe: the resolved recipe.
        tokenizer: the tokenizer of the encoder.
        n: the number of rows.

    Raises:
        DataError: a row cannot be encoded.
    """
    first = rows.take(range(min(n, len(rows))))
    encoded = recipe.task.encode(first, tokenizer, recipe.tokens)
    sequences: dict[int, list[Encoded]] = {}
    if isinstance(encoded, Encodings):
        for sequence in encoded:
            sequences.setdefault(sequence.example, []).append(sequence)
    for i, example in enumerate(first):
        yield "row", example.where or example.id
        yield "text", example.text
        if example.text_pair is not None:
            yield "pair", example.text_pair
        for number, choice in enumerate(example.choices or ()):
            yield "choice", f"{number}: {choice}"
        if example.target is not None:
            yield "label", show_target(example)
        windows = sequences.get(i, [])
        for number, sequence in enumerate(windows):
            name = f"window {number + 1} of {len(windows)}, " if len(windows) > 1 else ""
            name = f"choice {number}, " if isinstance(encoded, Encodings) and encoded.grouped else name
            yield "tokens", f"{name}{len(sequence.ids)} tokens"
            yield from segment_lines(tokenizer, sequence.ids.tolist(), sequence.types.tolist())
        if windows and windows[0].dropped:
            first_text, second_text = recipe.task.target_spec.sequence_texts(example)[0]
            full = tokenizer.encode([first_text], None if second_text is None else [second_text], max_length=UNLIMITED)
            yield "cut", _cut_text(tokenizer, full.ids.tolist(), windows[0], recipe.tokens.max_length)


def segment_lines(tokenizer: Tokenizer, ids: Sequence[int], types: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Return the tokens of a sequence, one line per segment."""
    for segment, run in groupby(zip(ids, types, strict=True), key=lambda pair: pair[1]):
        yield "", f"segment {segment}: {_spell(tokenizer, [id_ for id_, _ in run])}"


def _cut_text(tokenizer: Tokenizer, full: Sequence[int], sequence: Encoded, max_length: int) -> str:
    matcher = SequenceMatcher(None, full, sequence.ids.tolist(), autojunk=False)
    cut = [id_ for tag, i, j, *_ in matcher.get_opcodes() if tag in ("delete", "replace") for id_ in full[i:j]]
    return f"{sequence.dropped:,} of {len(full):,} tokens (tokens.max_length={max_length}): {_spell(tokenizer, cut)}"


def _spell(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    tokens = [tokenizer.backend.id_to_token(id_) or f"({id_})" for id_ in ids[:MAX_TOKENS_SHOWN]]
    return " ".join([*tokens, "…"] if len(ids) > MAX_TOKENS_SHOWN else tokens)
