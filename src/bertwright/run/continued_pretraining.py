"""Continued pre-training followed by fine-tuning: one recipe, up to three ordinary runs, one comparison.

Gururangan et al. 2020 (arXiv 2004.10964) and Sun et al. 2019 (arXiv 1905.05583) find that fine-tuning improves when
pre-training continues first on texts of the domain or of the task. To measure the effect on the given data, the same
fine-tuning also runs without it, and the masked-LM loss on general text is compared before and after.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bertwright.data.settings import DataSettings
from bertwright.errors import BertwrightError, OutputError, RecipeError
from bertwright.files.atomic import check_writable, expand_home, is_partial, lock_directory, write_atomically
from bertwright.files.strict_json import to_json
from bertwright.nn.custom_heads import check_code_allowed
from bertwright.nn.settings import ModelSettings
from bertwright.output.progress import stderr_console
from bertwright.output.terminal import print_line
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.bundle import CONFIG, RECIPE, Bundle
from bertwright.run.directory import CHECKPOINT, differences, resolve_paths, saved_recipe
from bertwright.run.display import RunDisplay, print_result
from bertwright.run.event_log import starting_directory
from bertwright.run.events import Listener
from bertwright.run.report import Report, show
from bertwright.run.resolve import open_base_model, resolve_recipe
from bertwright.run.splits import load_splits
from bertwright.run.tracking.group import track_group
from bertwright.run.tracking.listener import check_trackers
from bertwright.run.train import train
from bertwright.training.compute import choose_compute, set_threads
from bertwright.training.process_state import reserve_process

RECIPE_FILE, RESULT_FILE = "chain.yaml", "effect.json"
"""The files in the output directory: the recipe, and the result once all runs have finished."""

PRETRAINING_RUN, BASELINE_RUN, FINE_TUNING_RUN = "further", "without", "tuned"
"""The directories of the runs: pre-training, fine-tuning without it, fine-tuning after it."""

BASE_SETTINGS = ("base", "revision", "preset", "tokenizer", "load", "strict")
"""The model settings that define the encoder from which the first run starts."""

VALIDATION_RATIO = 0.05
"""Share of the corpus that is held out to evaluate continued pre-training."""

FORGETTING_THRESHOLD = 0.05
"""Nats per masked token by which the loss on general text may rise before a warning: 5 % more perplexity."""

ListenerFactory = Callable[[str], Iterable[Listener]]
"""Name of a run → the listeners that receive its events."""


@dataclass(frozen=True)
class ContinuedPretrainingResult:
    """The metrics with and without continued pre-training.

    Attributes:
        metrics: metrics by split of the model that was fine-tuned after continued pre-training.
        metrics_without: the same metrics without continued pre-training; empty if that run was disabled.
        general_loss: the masked-LM loss on general text before and after; nan if it was not computed.
        notes: what was not computed, and why.
    """

    metrics: dict[str, dict[str, float]]
    metrics_without: dict[str, dict[str, float]] = field(default_factory=dict)
    general_loss: tuple[float, float] = (math.nan, math.nan)
    notes: tuple[str, ...] = ()

    @property
    def is_forgetting(self) -> bool:
        """Whether the loss on general text rose by more than :data:`FORGETTING_THRESHOLD` (catastrophic forgetting)."""
        before, after = self.general_loss
        return after > before + FORGETTING_THRESHOLD

    def lines(self) -> list[str]:
        """The result as sentences: metrics, loss on general text, a warning about forgetting, notes."""
        lines = []
        for split, metrics in self.metrics.items():
            for name, value in metrics.items():
                without = self.metrics_without.get(split, {}).get(name)
                text = f"{split} {name}: {show(name, value)} with continued pre-training"
                lines.append(text if without is None else f"{text}, {show(name, without)} without")
        before, after = self.general_loss
        if not math.isnan(after):
            lines.append(f"general text: mlm_loss {before:.4f} before, {after:.4f} after")
        if self.is_forgetting:
            lines.append(
                f"warning: catastrophic forgetting: the masked-LM loss on general text rose by {after - before:.3f} "
                "nats; lower continued_pretraining.train.learning_rate or shorten continued_pretraining.train.length"
            )
        return [*lines, *self.notes]

    def to_json(self) -> str:
        """The result as ``effect.json`` stores it."""
        values = {
            "tuned": self.metrics,
            "without": self.metrics_without,
            "general": self.general_loss,
            "notes": self.notes,
        }
        return to_json(values, indent=2) + "\n"


def continue_pretraining(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    quiet: bool = False,
    allow_code: bool = False,
    listeners_for: ListenerFactory = lambda run: (),
) -> tuple[Bundle, ContinuedPretrainingResult]:
    """Continue pre-training, fine-tune the resulting encoder, and compare with fine-tuning alone.

    Progress, notes and the result are printed to standard error, or below the cell of a notebook.

    Args:
        recipe: with a ``continued_pretraining`` section.
        out: the output directory; its subdirectories ``further``, ``without`` and ``tuned`` are run directories.
        resume: continue after an interruption; finished runs are not repeated.
        quiet: print nothing.
        allow_code: whether a head that is code, ``module:name``, may be imported and called.
        listeners_for: returns, for the name of a run, the listeners that receive its events.

    Returns:
        The fine-tuned bundle, and its metrics next to those without continued pre-training.

    Raises:
        BertwrightError: a setting, the data or a file is invalid; the message is one sentence.
        KeyboardInterrupt: after Ctrl-C; call again with ``resume=True`` to continue.
    """
    bundle, result = run_stages(
        recipe, out, resume=resume, quiet=quiet, allow_code=allow_code, listeners_for=listeners_for
    )
    if not quiet:
        print_result(stderr_console(), bundle.report or Report(), Path(expand_home(out)) / FINE_TUNING_RUN)
        for line in result.lines():
            print_line(stderr_console(), line)
    return bundle, result


@reserve_process()
def run_stages(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    quiet: bool = False,
    allow_code: bool = False,
    listeners_for: ListenerFactory = lambda run: (),
) -> tuple[Bundle, ContinuedPretrainingResult]:
    """:func:`continue_pretraining` without printing the result at the end; it has the same arguments and errors."""
    directory = Path(expand_home(out))
    if resume:
        recipe = _read_recipe(directory, recipe)
    else:
        _check_free(directory)
    check_code_allowed(recipe.model.head, allow_code)
    check_trackers(recipe.train.track)
    located = resolve_paths(recipe, starting_directory(directory / PRETRAINING_RUN)) if resume else recipe
    stages = build_stages(located, directory)
    if not resume:
        _check_stages(recipe, stages)
    with lock_directory(directory), track_group(recipe.train.track, directory, recipe, FINE_TUNING_RUN):
        write_atomically(directory / RECIPE_FILE, recipe.to_yaml())
        bundles = {}
        for name, stage in stages.items():
            without_corpus = name == PRETRAINING_RUN and stage.data.train is None
            data = {"train": read_training_texts(located)} if without_corpus else None
            with nullcontext() if quiet else _open_display(stage, directory / name) as display:
                displays: list[Listener] = [] if display is None else [display]
                listeners = [*listeners_for(name), *displays]
                bundles[name] = _run(stage, directory / name, data, listeners, allow_code)
        set_threads(choose_compute(recipe.train.device, "fp32", recipe.train.threads))
        result = _compare_runs(located, bundles)
        write_atomically(directory / RESULT_FILE, result.to_json())
    return bundles[FINE_TUNING_RUN], result


def _open_display(recipe: Recipe, directory: Path) -> RunDisplay:
    """Print the directory of a run as a heading, and open the display of its events."""
    console = stderr_console()
    console.print()
    print_line(console, str(directory), "bold")
    return RunDisplay(console, recipe.tokens.max_length)


def build_stages(recipe: Recipe, directory: Path) -> dict[str, Recipe]:
    """The recipe of each run by its name, in the order in which they run."""
    settings = recipe.continued_pretraining
    if settings is None:
        raise RecipeError(
            "continued_pretraining: the recipe has no such section; add it, or run `bertwright train` for "
            "fine-tuning only."
        )
    start = recipe.model
    pretraining = Recipe(
        description=f"continued pre-training for: {recipe.description}" if recipe.description else "",
        task=settings.task,
        data=DataSettings(
            train=settings.corpus,
            dev_ratio=VALIDATION_RATIO,
            sentences=settings.sentences,
            encoding=recipe.data.encoding,
            normalize=recipe.data.normalize,
        ),
        model=ModelSettings(**{name: getattr(start, name) for name in BASE_SETTINGS}),
        tokens=settings.tokens,
        # no state: extending this run would change the encoder from which fine-tuning started
        train=settings.train.replace(keep_state=False, track=settings.train.track or recipe.train.track),
        seed=recipe.seed,
    )
    plain = recipe.replace(continued_pretraining=None)
    after = start.replace(
        **dict.fromkeys(BASE_SETTINGS, None) | {"base": str(directory / PRETRAINING_RUN), "strict": True}
    )
    stages = {PRETRAINING_RUN: pretraining, FINE_TUNING_RUN: plain.replace(model=after)}
    return stages | ({BASELINE_RUN: plain} if settings.compare and start.preset is None else {})


def read_training_texts(recipe: Recipe) -> list[str]:
    """The texts of the training rows, one document per row; the corpus if the recipe names none.

    Raises:
        DataError: the rows cannot be read.
    """
    rows = load_splits(recipe.data, recipe.task.target_spec, seed=recipe.seed).train
    return ["\n".join(filter(None, (example.text, example.text_pair))) for example in rows.examples]


def _check_stages(recipe: Recipe, stages: Mapping[str, Recipe]) -> None:
    """Check the data, the model and the settings of all runs before anything is written.

    Raises:
        BertwrightError: a setting, the data or the model is invalid.
    """
    tuned = stages[FINE_TUNING_RUN].replace(model=recipe.model)  # the base of this run does not exist yet
    resolve_recipe(tuned, load_splits(tuned.data, tuned.task.target_spec), open_base_model(tuned))
    pretraining = stages[PRETRAINING_RUN]
    base = open_base_model(pretraining)
    if pretraining.data.train is not None:
        resolve_recipe(pretraining, load_splits(pretraining.data, pretraining.task.target_spec), base)


def _run(
    recipe: Recipe, directory: Path, data: dict[str, Any] | None, listeners: Iterable[Listener], allow_code: bool
) -> Bundle:
    if (directory / CONFIG).exists():
        shutil.rmtree(directory / CHECKPOINT, ignore_errors=True)  # the process may have been killed before removing it
        return Bundle.load(directory, allow_code=allow_code)
    resume = (directory / RECIPE).exists()
    recipe = saved_recipe(directory) if resume else recipe
    return train(
        recipe,
        directory,
        data=data,
        resume=resume,
        quiet=True,
        allow_code=allow_code,
        listeners=listeners,
        tracking_group=directory.parent,
    )


def _read_recipe(directory: Path, recipe: Recipe) -> Recipe:
    path = directory / RECIPE_FILE
    if not path.exists():
        raise OutputError(f"{directory}: no continued pre-training to resume; start without --resume.")
    former = load_recipe(path, report_former_names=False)
    if recipe != Recipe() and (changes := differences(former, recipe)):
        raise RecipeError(
            f"{path}: the run was started with other settings ({'; '.join(changes.values())}); "
            "resume it with --resume --out alone."
        )
    if (directory / RESULT_FILE).exists():
        raise OutputError(f"{directory}: this run has already finished; nothing to resume.")
    return former


def _check_free(directory: Path) -> None:
    check_writable(directory)
    if (directory / RECIPE_FILE).exists() and not (directory / RESULT_FILE).exists():
        raise OutputError(
            f"{directory}: contains an interrupted run; add --resume to continue it, or choose another directory."
        )
    if directory.exists() and (not directory.is_dir() or any(not is_partial(item) for item in directory.iterdir())):
        raise OutputError(
            f"{directory}: already exists and is not empty; choose another directory with --out, or remove it."
        )


def _evaluate_general_text(bundle: Bundle, like: Bundle, general: str) -> float:
    """The masked-LM loss of a bundle on general text, with the task and token settings of ``like``."""
    task = like.task.replace(sentence_objective="none", phases=(), metrics=None)
    return replace(bundle, task=task, tokens=like.tokens, recipe=None).evaluate(Path(general)).metrics["mlm_loss"]


def _compare_runs(recipe: Recipe, bundles: dict[str, Bundle]) -> ContinuedPretrainingResult:
    def metrics(name: str) -> dict[str, dict[str, float]]:
        report = bundles[name].report if name in bundles else None
        return {} if report is None else report.metrics

    before = after = math.nan
    notes: tuple[str, ...] = ()
    general = recipe.continued_pretraining.general if recipe.continued_pretraining else None
    if general is None:
        notes = ("forgetting was not evaluated; set continued_pretraining.general to a file of general text",)
    else:
        base = None
        with suppress(BertwrightError):
            base = Bundle.load(recipe.model.base or "")
        if base is None or not base.task.target_spec.is_corpus:
            notes = ("forgetting was not evaluated: the base model has no masked-LM head",)
        else:
            before, after = (
                _evaluate_general_text(bundle, bundles[PRETRAINING_RUN], general)
                for bundle in (base, bundles[PRETRAINING_RUN])
            )
    return ContinuedPretrainingResult(metrics(FINE_TUNING_RUN), metrics(BASELINE_RUN), (before, after), notes)
