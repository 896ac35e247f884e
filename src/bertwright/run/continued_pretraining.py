"""Pre-training before fine-tuning, in one recipe, and what it brings: a chain of ordinary runs.

Gururangan et al. 2020 (arXiv 2004.10964) and Sun et al. 2019 (arXiv 1905.05583) find that an encoder that goes on
pre-training on the texts of a domain, or of the task's own rows, is fine-tuned better. Whether it was so here is
measured: the same fine-tuning runs without it too, and what the model forgets of general text is looked at.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bertwright.data.settings import DataSettings
from bertwright.errors import BertwrightError, OutputError, RecipeError
from bertwright.files.atomic import check_writable, expand_home, half_written, sole_writer, write_atomically
from bertwright.files.strict_json import to_json
from bertwright.nn.custom_heads import check_code_allowed
from bertwright.nn.settings import ModelSettings
from bertwright.output.progress import err
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
from bertwright.run.train import train
from bertwright.training.compute import choose_compute, set_threads
from bertwright.training.process_state import reserve_process

FILE, EFFECT = "chain.yaml", "effect.json"

FURTHER, WITHOUT, TUNED = "further", "without", "tuned"
"""The directories of the runs: pre-training, fine-tuning without it, fine-tuning after it."""

STARTS = ("base", "revision", "preset", "tokenizer", "load", "strict")
"""The settings of the model that say what the first of the runs starts from."""

HELD_OUT = 0.05
"""Share of the texts that further pre-training is measured on."""

FORGOTTEN = 0.05
"""Nats a word by which the loss on general text may rise before it is a warning: 5 % more perplexity."""

ListenersOf = Callable[[str], Iterable[Listener]]


@dataclass(frozen=True)
class Effect:
    """What further pre-training brought.

    Attributes:
        tuned: metrics of the fine-tuned model by split, after further pre-training.
        without: the same without it; empty where that was not run.
        general: the loss of hidden words on general text before and after; nan where it could not be measured.
        notes: what cannot be seen from the figures.
    """

    tuned: dict[str, dict[str, float]]
    without: dict[str, dict[str, float]] = field(default_factory=dict)
    general: tuple[float, float] = (math.nan, math.nan)
    notes: tuple[str, ...] = ()

    @property
    def forgets(self) -> bool:
        """Whether the model guesses general text clearly worse than before."""
        before, after = self.general
        return after > before + FORGOTTEN

    def lines(self) -> list[str]:
        """As sentences, the warning last."""
        found = []
        for split, metrics in self.tuned.items():
            for name, value in metrics.items():
                former = self.without.get(split, {}).get(name)
                text = f"{split} {name}: {show(name, value)} after further pre-training"
                found.append(text if former is None else f"{text}, {show(name, former)} without")
        before, after = self.general
        if not math.isnan(after):
            found.append(f"general text: mlm_loss {before:.4f} before, {after:.4f} after")
        if self.forgets:
            found.append(
                f"warning: the model forgets: hidden words of general text cost {after - before:.3f} nats more than "
                "before; lower continued_pretraining.train.learning_rate or shorten continued_pretraining.train.length"
            )
        return [*found, *self.notes]


def train_further(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    quiet: bool = False,
    allow_code: bool = False,
    listeners_of: ListenersOf = lambda stage: (),
) -> tuple[Bundle, Effect]:
    """Pre-train further as the ``further`` section says, fine-tune from that, and compare with fine-tuning alone.

    Progress, notes and the result are printed on standard error, or below the cell of a notebook.

    Args:
        recipe: with a ``further`` section.
        out: the directory; ``further``, ``without`` and ``tuned`` in it are ordinary run directories.
        resume: go on where this stopped: runs that are whole are not run again.
        quiet: print nothing.
        allow_code: whether a head that is code, ``module:name``, may be imported and called.
        listeners_of: the name of a run → who listens to it.

    Returns:
        The fine-tuned bundle, and what further pre-training brought to it.

    Raises:
        BertwrightError: whatever is wrong, in one sentence.
        KeyboardInterrupt: Ctrl-C; ``resume`` goes on.
    """
    bundle, effect = run_chain(
        recipe, out, resume=resume, quiet=quiet, allow_code=allow_code, listeners_of=listeners_of
    )
    if not quiet:
        print_result(err(), bundle.report or Report(), Path(expand_home(out)) / TUNED)
        for line in effect.lines():
            print_line(err(), line)
    return bundle, effect


@reserve_process()
def run_chain(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    quiet: bool = False,
    allow_code: bool = False,
    listeners_of: ListenersOf = lambda stage: (),
) -> tuple[Bundle, Effect]:
    """:func:`train_further` without printing the result at the end; arguments and errors are the same."""
    directory = Path(expand_home(out))
    if resume:
        recipe = _saved(directory, recipe)
    else:
        _check_free(directory)
    check_code_allowed(recipe.model.head, allow_code)
    located = resolve_paths(recipe, starting_directory(directory / FURTHER)) if resume else recipe
    stages = stages_of(located, directory)
    if not resume:
        _check_stages(recipe, stages)
    with sole_writer(directory):
        write_atomically(directory / FILE, recipe.to_yaml())
        bundles = {}
        for name, stage in stages.items():
            own = name == FURTHER and stage.data.train is None
            data = {"train": texts_of(located)} if own else None
            with nullcontext() if quiet else _display(stage, directory / name) as display:
                shown: list[Listener] = [] if display is None else [display]
                bundles[name] = _run(stage, directory / name, data, [*listeners_of(name), *shown], allow_code)
        set_threads(choose_compute(recipe.train.device, "fp32", recipe.train.threads))
        effect = _effect(located, bundles)
        write_atomically(directory / EFFECT, to_json(asdict(effect), indent=2) + "\n")
    return bundles[TUNED], effect


def _display(recipe: Recipe, directory: Path) -> RunDisplay:
    """Print where a run of the chain goes; what it prints follows."""
    console = err()
    console.print()
    print_line(console, str(directory), "bold")
    return RunDisplay(console, recipe.tokens.max_length)


def stages_of(recipe: Recipe, directory: Path) -> dict[str, Recipe]:
    """The recipes of the runs, by their names, in their order."""
    settings = recipe.continued_pretraining
    if settings is None:
        raise RecipeError(
            "continued_pretraining: the recipe has no such section, so there is no pre-training before fine-tuning."
        )
    start = recipe.model
    pretraining = Recipe(
        description=f"continued pre-training for: {recipe.description}" if recipe.description else "",
        task=settings.task,
        data=DataSettings(
            train=settings.corpus,
            dev_ratio=HELD_OUT,
            sentences=settings.sentences,
            encoding=recipe.data.encoding,
            normalize=recipe.data.normalize,
        ),
        model=ModelSettings(**{name: getattr(start, name) for name in STARTS}),
        tokens=settings.tokens,
        # extended, it would no longer be what fine-tuning started from
        train=settings.train.replace(keep_state=False),
        seed=recipe.seed,
    )
    plain = recipe.replace(continued_pretraining=None)
    after = start.replace(**dict.fromkeys(STARTS, None) | {"base": str(directory / FURTHER), "strict": True})
    stages = {FURTHER: pretraining, TUNED: plain.replace(model=after)}
    return stages | ({WITHOUT: plain} if settings.compare and start.preset is None else {})


def texts_of(recipe: Recipe) -> list[str]:
    """The texts of the training rows, each a document, where no other corpus is named.

    Raises:
        DataError: the rows cannot be read.
    """
    rows = load_splits(recipe.data, recipe.task.target_spec).train
    return ["\n".join(filter(None, (example.text, example.text_pair))) for example in rows]


def _check_stages(recipe: Recipe, stages: Mapping[str, Recipe]) -> None:
    """See, before anything is written, that the data, the model and the settings of all stages fit.

    Raises:
        BertwrightError: they do not; says what is wrong.
    """
    tuned = stages[TUNED].replace(model=recipe.model)  # its own base does not exist yet
    resolve_recipe(tuned, load_splits(tuned.data, tuned.task.target_spec), open_base_model(tuned))
    pretraining = stages[FURTHER]
    base = open_base_model(pretraining)
    if pretraining.data.train is not None:
        resolve_recipe(pretraining, load_splits(pretraining.data, pretraining.task.target_spec), base)


def _run(
    recipe: Recipe, directory: Path, data: dict[str, Any] | None, listeners: Iterable[Listener], allow_code: bool
) -> Bundle:
    if (directory / CONFIG).exists():
        shutil.rmtree(directory / CHECKPOINT, ignore_errors=True)  # a kill may have come just before it was removed
        return Bundle.load(directory, allow_code=allow_code)
    begun = (directory / RECIPE).exists()
    recipe = saved_recipe(directory) if begun else recipe
    return train(recipe, directory, data=data, resume=begun, quiet=True, allow_code=allow_code, listeners=listeners)


def _saved(directory: Path, recipe: Recipe) -> Recipe:
    path = directory / FILE
    if not path.exists():
        raise OutputError(f"{directory}: there is no chain of runs to resume; start one without --resume.")
    former = load_recipe(path, report_former_names=False)
    if recipe != Recipe() and (changes := differences(former, recipe)):
        raise RecipeError(
            f"{path}: the chain was started with other settings ({'; '.join(changes.values())}); "
            "resume it with --resume --out alone."
        )
    if (directory / EFFECT).exists():
        raise OutputError(f"{directory}: this chain has finished already; there is nothing to resume.")
    return former


def _check_free(directory: Path) -> None:
    check_writable(directory)
    if (directory / FILE).exists() and not (directory / EFFECT).exists():
        raise OutputError(f"{directory}: holds runs that were stopped; add --resume, or remove it or name another.")
    if directory.exists() and (not directory.is_dir() or any(not half_written(item) for item in directory.iterdir())):
        raise OutputError(f"{directory}: exists already and is not empty; name another place with --out, or remove it.")


def _general_loss(bundle: Bundle, like: Bundle, general: str) -> float:
    """The loss of hidden words, the same ones for both models."""
    task = like.task.replace(next="none", phases=(), metrics=None)
    return replace(bundle, task=task, tokens=like.tokens, recipe=None).evaluate(Path(general)).metrics["mlm_loss"]


def _effect(recipe: Recipe, bundles: dict[str, Bundle]) -> Effect:
    def metrics(name: str) -> dict[str, dict[str, float]]:
        report = bundles[name].report if name in bundles else None
        return {} if report is None else report.metrics

    before = after = math.nan
    notes: tuple[str, ...] = ()
    general = recipe.continued_pretraining.general if recipe.continued_pretraining else None
    if general is None:
        notes = ("what it forgets of general text was not measured: continued_pretraining.general names none",)
    else:
        base = None
        with suppress(BertwrightError):
            base = Bundle.load(recipe.model.base or "")
        if base is None or not base.task.target_spec.is_corpus:
            notes = ("what it forgets cannot be told: the base has no masked-LM head to compare with",)
        else:
            before, after = (_general_loss(bundle, bundles[FURTHER], general) for bundle in (base, bundles[FURTHER]))
    return Effect(metrics(TUNED), metrics(WITHOUT), (before, after), notes)
