"""What a run does before its first step: look at the data, run a frozen encoder, tell its listeners."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from bertwright.corpus.lazy_dataset import CorpusRows
from bertwright.corpus.sequences import FromCorpus
from bertwright.data.data_checks import check_data
from bertwright.data.dataset import Dataset, fingerprint
from bertwright.errors import DataError
from bertwright.nn.model import Model
from bertwright.recipe import Recipe
from bertwright.run.events import Note, Working
from bertwright.run.splits import Splits
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.training.compute import ComputeConfig
from bertwright.training.frozen_features import add_features

Listener = Callable[[Any], None]
"""Called with every event of a run."""


def build_token_stores(splits: Splits, tokenizer: Tokenizer, listeners: Iterable[Listener]) -> list[Note]:
    """Make the token stores of corpora; what they hold, and how they were read."""
    notes: list[Note] = []
    for name, rows in splits.all().items():
        if isinstance(rows, CorpusRows):

            def progress(done: int, total: int | None, what: str = f"tokenising {name}") -> None:
                emit(listeners, Working(what, done, total))

            if rows.held_out:
                continue  # it is a part of what was made for train
            store = rows.store(tokenizer, progress, make_note_collector(notes, name))
            notes += [Note(f"{name}: {line}") for line in store.describe()]
    return notes


def fingerprint_split(rows: Dataset, encoded: Encodings | FromCorpus) -> str:
    """What tells these rows from others: a hash of them as they are trained on."""
    return fingerprint(rows) if isinstance(encoded, Encodings) else encoded.store.fingerprint


def run_data_checks(recipe: Recipe, splits: Splits, train: Encodings | FromCorpus) -> list[Note]:
    """What the doctor warns of: duplicates, leakage, contradicting labels, truncation.

    Raises:
        DataError: it found what would make the run worthless.
    """
    if not isinstance(train, Encodings):
        return []  # a corpus has no labels, and texts that come twice are as its owner wants them
    dev = next(iter(splits.dev.values()))
    # copies of rows come after the rows; windows are cut from none, and none is left out
    n_units = len(train.unit_starts)
    each = n_units >= len(splits.train) and train.examples[-1] == n_units - 1
    longest = (
        np.maximum.reduceat(train.lengths + train.dropped, train.unit_starts)[: len(splits.train)] if each else None
    )
    diagnosis = check_data(
        splits.train,
        dev,
        kind=recipe.task.target_spec,
        lengths=longest,
        max_length=recipe.tokens.max_length,
        with_baselines=False,
    )
    if diagnosis.errors:
        raise DataError("; ".join(str(finding) for finding in diagnosis.errors).removeprefix("error: ") + ".")
    return [Note(str(f).removeprefix("warning: "), warning=True) for f in diagnosis.findings if f.level == "warning"]


def summarize_split(rows: Dataset, encodings: Encodings | FromCorpus) -> dict[str, Any]:
    """What the report says of a split, by name."""
    report = rows.report
    if not isinstance(encodings, Encodings):
        store = encodings.store
        return {
            "source": report.source,
            "sequences": len(encodings),
            "documents": store.n_documents,
            "sentences": store.n_sentences,
            "tokens": store.n_tokens,
            "unknown_tokens": store.n_unknown,
            "fingerprint": store.fingerprint,
        }
    return {
        "source": report.source,
        "rows": len(rows),
        **({} if len(encodings) == len(rows) else {"choices" if encodings.grouped else "windows": len(encodings)}),
        "tokens": int(encodings.lengths.sum()),
        "truncated_rows": len(np.unique(encodings.examples[encodings.dropped > 0])),
        "dropped_tokens": int(encodings.dropped.sum()),
        "skipped_rows": sum(report.skipped.values()),
        "fingerprint": report.fingerprint,
    }


def cache_frozen_features(
    model: Model,
    encoded: Mapping[str, Encodings | FromCorpus],
    compute: ComputeConfig,
    listeners: Iterable[Listener],
    notes: list[Note],
) -> dict[str, Encodings]:
    """The encodings with what the frozen encoder makes of them; of rows to evaluate on in fp32, as ever."""
    found = {}

    def warn(text: str) -> None:
        if (note := Note(text, warning=True)) not in notes:  # all splits may say the same
            notes.append(note)

    for name, encodings in encoded.items():
        if not isinstance(encodings, Encodings):
            continue  # other words are hidden at every step
        found[name] = add_features(
            model,
            encodings,
            compute=compute if name == "train" else compute.in_fp32(),
            on_progress=make_progress_reporter(listeners, f"running the frozen encoder over {name}", len(encodings)),
            on_note=warn,
        )
    return found


def make_note_collector(notes: list[Note], split: str) -> Callable[[str], None]:
    """What makes a note of every sentence about a split."""
    return lambda text: notes.append(Note(f"{split}: {text}"))


def make_progress_reporter(listeners: Iterable[Listener], what: str, total: int) -> Callable[[int], None]:
    """What tells listeners how many rows of a piece of work are done."""
    return lambda done: emit(listeners, Working(what, done, total))


def emit(listeners: Iterable[Listener], event: Any) -> None:
    """Pass an event on."""
    for listener in listeners:
        listener(event)
