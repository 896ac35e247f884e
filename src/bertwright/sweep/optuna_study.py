"""Selection of the next combination of settings with Optuna."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
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
"""The search ends after this many proposals in a row that were already tried."""


@dataclass(frozen=True)
class Combination:
    """A combination of settings, which is trained once for each seed and fold.

    Attributes:
        number: its index in the order of selection.
        settings: the settings that override the recipe.
    """

    number: int
    settings: Settings


class Study(Protocol):
    """Selects combinations and learns from their results."""

    def asked(self) -> list[Combination]:
        """Return the combinations selected so far, also before an interruption."""

    def ask(self) -> Combination | None:
        """Return the next combination; None if there is none."""

    def tell(self, cell: Combination, value: float) -> None:
        """Record the value of the ranking metric; nan if all trials failed."""


class FixedCombinations:
    """The study of a search over fixed combinations, such as one over seeds only; it needs no Optuna."""

    def __init__(self, settings: Sequence[Settings] = ((),)) -> None:
        self._settings = settings

    def asked(self) -> list[Combination]:
        """Return all combinations."""
        return [Combination(i, settings) for i, settings in enumerate(self._settings)]

    def ask(self) -> Combination | None:
        """Return None: there is no other combination."""
        return None

    def tell(self, cell: Combination, value: float) -> None:
        """Ignore the value."""


@contextmanager
def open_study(
    directory: Path, space: SearchSpace, search: str, trials: int | None, higher_is_better: bool, seed: int
) -> Iterator[Study]:
    """Create or resume the study of a search.

    Raises:
        MissingDependencyError: Optuna is not installed.
        OutputError: its storage cannot be read or written.
    """
    if not space.axes:
        yield FixedCombinations()
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
        # SQLite instead of a journal file, because an interrupted write is rolled back.
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
        raise OutputError(
            f"{path}: cannot be read or written ({cause}); free disk space, or start a new sweep in another directory."
        ) from None


class _Optuna:
    """A study that enqueues grid combinations in the given order, and lets samplers select the others.

    (Optuna's GridSampler shuffles, and does not support ask and report: optuna/optuna#4121.)
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
                # a new sampler for each trial, so that a resumed search gives the same combinations
                self._study.sampler = self._sampler(self._seed + len(trials))
            trial = self._study.ask(self._distributions)
            settings = self._settings(trial.params)
            if settings not in known:
                return Combination(len(known), settings)
            former = trials[known[settings]]
            value = former.value if former.state.name == "COMPLETE" else None
            self._finish(trial.number, value)  # the combination is already trained
        return None

    def tell(self, cell: Combination, value: float) -> None:
        number = self._numbers()[cell.settings]
        if not self._study.get_trials(deepcopy=False)[number].state.is_finished():
            self._finish(number, None if math.isnan(value) else value)

    def _finish(self, number: int, value: float | None) -> None:
        from optuna.trial import TrialState

        self._study.tell(number, value, state=TrialState.FAIL if value is None else None)

    def _numbers(self) -> dict[Settings, int]:
        """Return the distinct settings so far, in order, with the number of Optuna's first trial of each."""
        numbers: dict[Settings, int] = {}
        for trial in self._study.get_trials(deepcopy=False):
            if len(trial.params) == len(self._distributions):  # the process may have been killed during the selection
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
