"""Which combination of settings to try next, and what came of those before: Optuna, with its storage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bertwright.config.yaml_tree import format_number
from bertwright.errors import MissingDependencyError, OutputError
from bertwright.sweep.space import FloatRange, IntegerRange, SearchAxis, SearchSpace, Settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study as OptunaStudy

STUDY_FILE, STUDY_NAME = "optuna.db", "sweep"

MAX_REPEATED_PROPOSALS = 100
"""So often in a row may a sampler propose what was tried already before the search ends."""


@dataclass(frozen=True)
class Combination:
    """One combination of settings: what is trained once for each seed and fold.

    Attributes:
        number: counted from 0, in the order in which they were chosen.
        settings: what is laid over the recipe.
    """

    number: int
    settings: Settings


class Study(Protocol):
    """Chooses cells and learns how they did."""

    def asked(self) -> list[Combination]:
        """The cells chosen so far, also before a stop."""

    def ask(self) -> Combination | None:
        """The next cell; None when there is none left."""

    def tell(self, cell: Combination, value: float) -> None:
        """What the chosen metric came to; nan if nothing came of it."""


class SingleCombination:
    """The study of a search where nothing varies but the seed; it needs no Optuna."""

    def asked(self) -> list[Combination]:
        """The one cell."""
        return [Combination(0, ())]

    def ask(self) -> Combination | None:
        """There is no other."""
        return None

    def tell(self, cell: Combination, value: float) -> None:
        """There is nothing to choose by it."""


@contextmanager
def open_study(
    directory: Path, space: SearchSpace, search: str, trials: int | None, higher_is_better: bool, seed: int
) -> Iterator[Study]:
    """The study of a search, begun or gone on with.

    Raises:
        MissingDependencyError: Optuna is not installed.
        OutputError: its storage cannot be read or written.
    """
    if not space.axes:
        yield SingleCombination()
        return
    try:
        import optuna
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise MissingDependencyError(
            "sweep: optuna is not installed; run `pip install 'bertwright[sweep]'`."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = directory / STUDY_FILE
    try:
        # SQLite and not a journal file: a write that a kill cuts short is rolled back.
        storage = optuna.storages.RDBStorage(f"sqlite:///{path.resolve()}")
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=STUDY_NAME,
                direction="maximize" if higher_is_better else "minimize",
                load_if_exists=True,
            )
            yield _Optuna(study, space, search, trials, seed)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        cause = str(error.__cause__ or error).partition("\n")[0]
        raise OutputError(f"{path}: cannot be read or written ({cause}); make room, or sweep anew elsewhere.") from None


class _Optuna:
    """A grid is put into Optuna's queue combination by combination, in the order typed; others its samplers choose.

    (Its GridSampler shuffles, and cannot be asked and told from outside: optuna/optuna#4121.)
    """

    def __init__(self, study: OptunaStudy, space: SearchSpace, search: str, trials: int | None, seed: int) -> None:
        self._study = study
        self._grid = space.grid() if search == "grid" else None
        self._most = space.at_most(trials)
        self._sampler = _samplers().get(search)
        self._distributions = {axis.key: _distribution(axis, self._grid is not None) for axis in space.axes}
        self._seed = seed

    def asked(self) -> list[Combination]:
        return [Combination(i, settings) for i, settings in enumerate(self._numbers())]

    def ask(self) -> Combination | None:
        known = self._numbers()
        if len(known) >= self._most:
            return None
        for _ in range(MAX_REPEATED_PROPOSALS):
            trials = self._study.get_trials(deepcopy=False)
            if self._grid is not None and not any(trial.state.name == "WAITING" for trial in trials):
                self._study.enqueue_trial(dict(self._grid[len(known)]))
            if self._sampler is not None:
                # a sampler of its own for each trial, so that a search that was stopped goes on as if it had not been
                self._study.sampler = self._sampler(self._seed + len(trials))
            trial = self._study.ask(self._distributions)
            settings = self._settings(trial.params)
            if settings not in known:
                return Combination(len(known), settings)
            former = trials[known[settings]]
            value = former.value if former.state.name == "COMPLETE" else None
            self._finish(trial.number, value)  # trained once is enough
        return None

    def tell(self, cell: Combination, value: float) -> None:
        number = self._numbers()[cell.settings]
        if not self._study.get_trials(deepcopy=False)[number].state.is_finished():
            self._finish(number, None if math.isnan(value) else value)

    def _finish(self, number: int, value: float | None) -> None:
        from optuna.trial import TrialState

        self._study.tell(number, value, state=TrialState.FAIL if value is None else None)

    def _numbers(self) -> dict[Settings, int]:
        """The different settings so far, in order, with the number of the first trial of Optuna's that has each."""
        numbers: dict[Settings, int] = {}
        for trial in self._study.get_trials(deepcopy=False):
            if len(trial.params) == len(self._distributions):  # a kill may have come while it was chosen
                numbers.setdefault(self._settings(trial.params), trial.number)
        return numbers

    def _settings(self, params: dict[str, object]) -> Settings:
        return tuple(
            (key, format_number(params[key]) if isinstance(params[key], float) else str(params[key]))  # type: ignore[arg-type]
            for key in self._distributions
        )


def _samplers() -> dict[str, Callable[[int], BaseSampler]]:
    from optuna.samplers import RandomSampler, TPESampler

    return {"random": lambda seed: RandomSampler(seed=seed), "tpe": lambda seed: TPESampler(seed=seed)}


def _distribution(axis: SearchAxis, listed: bool) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(axis, FloatRange):
        return FloatDistribution(axis.low, axis.high, log=axis.log)
    if isinstance(axis, IntegerRange) and not listed:
        return IntDistribution(axis.low, axis.high)
    return CategoricalDistribution(axis.values)
