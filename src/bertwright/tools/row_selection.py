"""Choosing the unlabeled rows that are most useful to label next (active learning)."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bertwright.data.dataset import ColumnNames, Dataset
from bertwright.data.example import Example
from bertwright.errors import BertwrightError, DataError
from bertwright.output.plurals import pluralize
from bertwright.run.bundle import ROWS, Bundle, Sources
from bertwright.run.splits import load_splits

Strategy = Literal["diverse", "uncertainty", "random"]
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)

POOL_FACTOR: Final = 10
"""The strategy ``diverse`` chooses from this many times as many rows as requested: the factor of Zhdanov 2019."""

_KEY_BYTES: Final = 16

_SAME: Final = 1e-6
"""Squared distances of unit vectors below this are rounding errors of float32."""


@dataclass(frozen=True, slots=True)
class SelectedRow:
    """A row to label.

    Attributes:
        position: of the row in the source, from 0.
        example: the row.
        entropy: of its prediction, in nats; see :class:`~bertwright.tasks.spec.Prediction`.
        margin: of its prediction, 0 to 1.
        columns: the values of its columns in a file; empty for rows that are not from a file.
    """

    position: int
    example: Example
    entropy: float
    margin: float
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """Rows to label.

    Attributes:
        rows: in the order of their selection.
        n_rows: the number of rows of the source.
        n_labeled: how many of them were skipped because they occur in the data of the run.
        n_duplicates: how many candidates were skipped because they repeat another one.
        notes: what the user should know, as sentences.
    """

    rows: tuple[SelectedRow, ...]
    n_rows: int
    n_labeled: int
    n_duplicates: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A row of the pool; entropy and margin are None until they are needed."""

    position: int
    example: Example
    key: bytes
    columns: Mapping[str, Any]
    entropy: float | None
    margin: float | None


def select_rows(
    bundle: Bundle,
    source: Sources,
    n: int,
    *,
    strategy: Strategy = "diverse",
    seed: int = 0,
    columns: ColumnNames | None = None,
) -> Selection:
    """Choose the unlabeled rows that are most useful to label next.

    ``uncertainty`` chooses the rows whose prediction has the highest entropy. ``diverse`` keeps the :data:`POOL_FACTOR`
    times n most uncertain rows, and chooses from these by k-means++ seeding on the embeddings of the model, weighted
    with the entropy (Zhdanov 2019, Arthur and Vassilvitskii 2007). ``random`` is the baseline of both.

    Rows that occur in the data of the run are skipped if its recipe names data that can be read, and so are duplicates.

    Args:
        bundle: the model.
        source: texts, pairs, dicts, a data frame or a ``pathlib.Path``; see :meth:`Bundle.predict`.
        n: the number of rows to choose.
        strategy: ``diverse``, ``uncertainty`` or ``random``.
        seed: of the random numbers; the same model, rows and seed give the same selection.
        columns: which columns hold the texts.

    Raises:
        BundleError: the task of the model has no entropy, as regression.
        DataError: the source is invalid, or has fewer than n rows that can be chosen.
    """
    selector = RowSelector(bundle, n, strategy, seed)
    selector.add(bundle.read([source] if isinstance(source, str) else source, columns, labelled=False))
    return selector.choose()


class RowSelector:
    """Chooses rows to label from rows that are added part by part.

    Memory holds the keys of the labeled rows, and n rows; for ``diverse`` :data:`POOL_FACTOR` times as many.

    Args:
        bundle: the model.
        n: the number of rows to choose.
        strategy: how to choose.
        seed: of the random numbers.

    Raises:
        BundleError: the task of the model has no entropy.
        DataError: n is not positive, or there is no such strategy.
    """

    def __init__(self, bundle: Bundle, n: int, strategy: Strategy = "diverse", seed: int = 0) -> None:
        bundle.check_distribution("label random rows instead")
        if n < 1:
            raise DataError(f"select: the number of rows is {n}; choose at least 1.")
        if strategy not in STRATEGIES:
            raise DataError(f"select: there is no strategy {strategy}; choose {', '.join(STRATEGIES)}.")
        self._bundle, self._n, self._strategy, self._seed = bundle, n, strategy, seed
        self._labeled, self._notes = _find_labeled(bundle)
        self._capacity = n * (POOL_FACTOR if strategy == "diverse" else 1)
        self._pool: list[tuple[float, int, _Candidate]] = []  # a heap; among equal priorities the latest row is first
        self._keys: set[bytes] = set()
        self._n_rows = self._n_labeled = self._n_duplicates = 0

    def add(
        self,
        examples: Sequence[Example],
        columns: Mapping[str, Sequence[Any]] | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """Add the next rows.

        Args:
            examples: the rows.
            columns: the columns of their file, with one value per row.
            on_progress: called with the number of rows done so far.

        Raises:
            DataError: the model does not take such rows.
        """
        for start in range(0, len(examples), ROWS):
            self._add_part(examples[start : start + ROWS], columns or {}, start)
            if on_progress is not None:
                on_progress(min(start + ROWS, len(examples)))

    def choose(self) -> Selection:
        """Choose from the rows so far.

        Raises:
            DataError: fewer than n rows can be chosen.
        """
        if len(self._pool) < self._n:
            raise DataError(
                f"select: N is {self._n:,}, but only {len(self._pool):,} of {pluralize(self._n_rows, 'row')} can be "
                f"chosen ({self._n_labeled:,} occur in the data of the run, {self._n_duplicates:,} are duplicates); "
                "lower N, or add rows."
            )
        candidates = [candidate for *_, candidate in sorted(self._pool, key=lambda entry: entry[:2], reverse=True)]
        if self._strategy == "diverse":
            embeddings = self._bundle.embed([candidate.example for candidate in candidates])
            weights = np.array([candidate.entropy for candidate in candidates], np.float64)
            candidates = [candidates[i] for i in choose_diverse(embeddings, weights, self._n, self._seed)]
        return Selection(
            tuple(self._to_rows(candidates)), self._n_rows, self._n_labeled, self._n_duplicates, tuple(self._notes)
        )

    def _add_part(self, examples: Sequence[Example], columns: Mapping[str, Sequence[Any]], start: int) -> None:
        keys = [_key_of(self._bundle, example) for example in examples]
        new = [i for i, key in enumerate(keys) if key not in self._labeled]
        self._n_labeled += len(examples) - len(new)
        rows = [examples[i] for i in new]
        for i, (priority, entropy, margin) in zip(new, self._score(rows, [keys[i] for i in new]), strict=True):
            if keys[i] in self._keys:
                self._n_duplicates += 1
                continue
            rank = (priority, -(self._n_rows + i))
            if len(self._pool) == self._capacity and rank < self._pool[0][:2]:
                continue
            values = {name: column[start + i] for name, column in columns.items()}
            candidate = _Candidate(self._n_rows + i, examples[i], keys[i], values, entropy, margin)
            self._keys.add(candidate.key)
            if len(self._pool) < self._capacity:
                heapq.heappush(self._pool, (*rank, candidate))
            else:
                self._keys.discard(heapq.heapreplace(self._pool, (*rank, candidate))[2].key)
        self._n_rows += len(examples)

    def _score(
        self, examples: Sequence[Example], keys: Sequence[bytes]
    ) -> list[tuple[float, float | None, float | None]]:
        """The priority, entropy and margin of each row; duplicates have equal random priorities."""
        if self._strategy == "random":
            digests = (hashlib.blake2b(key, digest_size=8, key=str(self._seed).encode()).digest() for key in keys)
            return [(int.from_bytes(digest, "little") / 2**64, None, None) for digest in digests]
        return [(entropy, entropy, margin) for entropy, margin in self._measure(examples)]

    def _measure(self, examples: Sequence[Example]) -> list[tuple[float, float]]:
        """The entropy and margin of the prediction of each row."""
        if not examples:
            return []
        predictions = self._bundle.task.decode(self._bundle.compute_outputs(examples)[0], examples)
        return [(prediction.entropy or 0.0, prediction.margin or 0.0) for prediction in predictions]

    def _to_rows(self, candidates: Sequence[_Candidate]) -> list[SelectedRow]:
        measured = self._measure([candidate.example for candidate in candidates if candidate.entropy is None])
        pending = iter(measured)
        rows = []
        for each in candidates:
            entropy, margin = next(pending) if each.entropy is None else (each.entropy, each.margin or 0.0)
            rows.append(SelectedRow(each.position, each.example, entropy, margin, each.columns))
        return rows


def choose_diverse(embeddings: NDArray[np.float32], weights: NDArray[np.float64], n: int, seed: int = 0) -> list[int]:
    """Choose n rows by k-means++ seeding (Arthur and Vassilvitskii 2007) with weights.

    The first row is the one with the highest weight. The probability of every further one is proportional to its weight
    times its squared distance to the nearest chosen row. Rows with equal embeddings follow in order of their weights.

    Args:
        embeddings: (P, D); their length does not matter, only their direction.
        weights: (P,), at least 0.
        n: at most P.
        seed: of the random numbers.

    Returns:
        Indices of the rows, in the order of their selection.
    """
    directions = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    random = np.random.default_rng(seed)
    chosen = [int(weights.argmax())]
    # squared distances of unit vectors: 2 - 2 cos
    distances = np.full(len(directions), np.inf)
    while len(chosen) < n:
        cosines = directions @ directions[chosen[-1]]
        distances = np.minimum(distances, 2.0 - 2.0 * cosines.astype(np.float64))
        distances[distances < _SAME] = 0.0
        total = np.cumsum(weights * distances)
        if total[-1] <= 0:
            remaining = np.setdiff1d(np.arange(len(weights)), chosen)
            by_weight = np.argsort(-weights[remaining], kind="stable")
            return [*chosen, *remaining[by_weight][: n - len(chosen)].tolist()]
        below = min(random.random() * total[-1], np.nextafter(total[-1], 0.0))
        chosen.append(int(np.searchsorted(total, below, side="right")))
    return chosen


def _key_of(bundle: Bundle, example: Example) -> bytes:
    """Equal for rows with the same texts; a hash, so that the rows of a large training set need little memory."""
    key = bundle.task.target_spec.text_key(example)
    return hashlib.blake2b(ascii(key).encode(), digest_size=_KEY_BYTES).digest()


def _find_labeled(bundle: Bundle) -> tuple[frozenset[bytes], list[str]]:
    """The keys of all rows of the data of a run, and a note if they are unknown."""
    if bundle.recipe is None:
        return frozenset(), ["the model has no recipe, so rows that it was trained on are not skipped"]
    data = bundle.recipe.data
    if data.train is None and data.path is None:
        return frozenset(), ["the run was trained on rows in memory, so these are not skipped"]
    try:
        splits = load_splits(data, bundle.task.target_spec, seed=bundle.recipe.seed)
    except BertwrightError as error:
        return frozenset(), [f"the data of the run cannot be read, so its rows are not skipped: {error.summary}"]
    rows = (example for split in splits.all().values() if isinstance(split, Dataset) for example in split)
    return frozenset(_key_of(bundle, example) for example in rows), []
