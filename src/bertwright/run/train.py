"""A run from a recipe to a bundle: :mod:`bertwright.run.prepare` builds what :func:`train` then trains and writes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from torch import nn

from bertwright.config.duration import Budget
from bertwright.data.dataset import Dataset
from bertwright.errors import RecipeError, TrainingError
from bertwright.files.atomic import check_unlocked, expand_home, sole_writer, write_atomically
from bertwright.nn.custom_heads import check_code_allowed
from bertwright.nn.lora import merge_adapters
from bertwright.nn.model import count_running_statistics
from bertwright.nn.settings import HEAD_OBJECT
from bertwright.output.progress import err
from bertwright.recipe import Recipe
from bertwright.run.bundle import CONFIG, RECIPE, Bundle, write_bundle
from bertwright.run.checkpoints import save_checkpoint
from bertwright.run.collapse_advice import advise_on_collapse, advise_on_divergence, describe_overfitting
from bertwright.run.data_preparation import Listener, emit, fingerprint_split, make_progress_reporter, summarize_split
from bertwright.run.directory import CHECKPOINT, STATE, check_free, check_same, saved_recipe
from bertwright.run.display import RunDisplay
from bertwright.run.event_log import Journal, starting_directory
from bertwright.run.events import CheckpointSaved, EvaluationFinished, Note, TrainingFinished, TrainingStarted
from bertwright.run.extension import check_resumable, keeps_state, lengthen, remove_unneeded_state
from bertwright.run.history import History
from bertwright.run.interrupt import Interrupt
from bertwright.run.plan import make_plan
from bertwright.run.plots import draw_pictures
from bertwright.run.prepare import PreparedRun, prepare_run
from bertwright.run.report import Evaluation, Report, environment, training_speed
from bertwright.run.resolve import labels_of
from bertwright.tasks.spec import EvaluationResult, Outputs
from bertwright.training.compute import release_free_memory
from bertwright.training.loop import Evaluate, Step, fit
from bertwright.training.model_building import make_loss_function
from bertwright.training.process_state import reserve_process
from bertwright.training.scoring import ValidationLoss, compute_outputs
from bertwright.training.state import (
    fingerprint_frozen_weights,
    load_state,
    read_parameters,
    save_parameters,
    save_state,
)

SAVE_SECONDS = 600.0
"""A run saves its state at least this often, whatever train.save_every says: what a crash may cost."""


def train(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    data: dict[str, Any] | None = None,
    test: bool = True,
    head: nn.Module | None = None,
    resume: bool = False,
    quiet: bool = False,
    allow_code: bool = False,
    listeners: Iterable[Listener] = (),
) -> Bundle:
    """Fine-tune as a recipe says, and write the bundle.

    Progress, notes and the result are printed on standard error, or below the cell of a notebook. One process can run
    one training at a time; torch's global random state and thread count are restored at the end.

    Args:
        recipe: the whole run.
        out: the run's directory; made if need be. It must not hold a run already, unless ``resume``.
        data: rows in memory (or paths) for ``train``, ``dev`` and ``test``, in place of the recipe's.
        test: measure the test rows at the end, if there are any; while settings are searched for nobody should.
        head: any module with ``forward(hidden, layout) -> scores`` in place of the recipe's; opening the bundle takes
            it again, :meth:`Bundle.load(directory, head=…) <bertwright.run.bundle.Bundle.load>`.
        resume: go on where the run in ``out`` was stopped, bit for bit as if it never had been.
        quiet: print nothing; ``listeners`` still get every event.
        allow_code: whether a head that is code, ``module:name``, may be imported and called.
        listeners: called with every event of :mod:`bertwright.run.events` and every
            :class:`~bertwright.training.loop.Step`.

    Returns:
        The bundle, opened.

    Raises:
        BertwrightError: whatever is wrong, in one sentence; nothing that was saved is lost.
        KeyboardInterrupt: Ctrl-C; the state has been saved, and ``resume`` goes on from it.
    """
    recipe = _check_recipe(recipe, head, allow_code)
    directory = Path(expand_home(out))
    with ExitStack() as stack:
        stack.enter_context(reserve_process())
        if not quiet:
            display = stack.enter_context(RunDisplay(err(), recipe.tokens.max_length, with_result=True))
            listeners = (*listeners, display)
        return _train(recipe, directory, data, test, head, resume, allow_code, tuple(listeners))


def _train(
    recipe: Recipe,
    directory: Path,
    data: dict[str, Any] | None,
    test: bool,
    head: nn.Module | None,
    resume: bool,
    allow_code: bool,
    listeners: tuple[Listener, ...],
) -> Bundle:
    check_unlocked(directory)
    check_free(directory, resume)
    if resume:
        remove_unneeded_state(directory)
        check_resumable(directory, recipe)
        if isinstance(recipe.train.length, Budget):  # the steps planned when the run began stay
            recipe = recipe.replace(train=recipe.train.replace(length=saved_recipe(directory).train.length))
    start = starting_directory(directory) if resume else None
    prepared = prepare_run(
        recipe, data=data, test=test, head=head, allow_code=allow_code, listeners=listeners, start=start
    )
    with sole_writer(directory) as check_there:  # nothing is written before this line
        check_free(directory, resume)  # another process may have taken the directory in the meantime
        run = _Run(directory, prepared, check_there, listeners)
        run.begin(resume)
        run.learn()
        bundle = run.write()
    emit(listeners, TrainingFinished(bundle.report or Report(), directory))
    return bundle


def _check_recipe(recipe: Recipe, head: nn.Module | None, allow_code: bool) -> Recipe:
    """The recipe of a single run, with the head from Python entered in it.

    Raises:
        RecipeError: it describes a chain of runs, names a head beside the one from Python, or names one that is code
            and not allowed.
    """
    if recipe.continued_pretraining is not None:
        raise RecipeError(
            "continued_pretraining: is a separate run before this one; use `bertwright train` or train_further, which "
            "run both."
        )
    if head is None:
        check_code_allowed(recipe.model.head, allow_code)
        return recipe
    if recipe.model.head not in (None, HEAD_OBJECT):
        raise RecipeError("model.head: the recipe names a head and another was given from Python; take one away.")
    return recipe.replace(model=recipe.model.replace(head=HEAD_OBJECT))


class SavedState(BaseModel):
    """What ``checkpoint/state.safetensors`` has beside tensors and the step.

    Attributes:
        data: fingerprint of the rows of every split; of train alone in files of earlier versions.
        frozen: fingerprint of the weights that never train.
        history: evaluations so far, as :meth:`History.to_dict <bertwright.run.history.History.to_dict>` gives them.
    """

    data: dict[str, str] | str
    frozen: str
    history: dict[str, Any]


class _Run:
    """The part of a run that a stop may cut in two."""

    def __init__(
        self,
        directory: Path,
        prepared: PreparedRun,
        check_there: Callable[[], None],
        listeners: Iterable[Listener],
    ) -> None:
        self.directory = directory
        self.kept = directory / CHECKPOINT
        self.best = self.kept / "best.safetensors"
        self.state = self.kept / STATE
        self.prepared = prepared
        self.recipe = prepared.recipe
        self.splits = prepared.splits
        self.encoded = prepared.encoded
        self.compute = prepared.compute
        self.progress = prepared.progress
        self.plan = prepared.plan
        self.loss_of = make_loss_function(self.recipe.task, self.progress.model.head)
        self.check_there = check_there
        self.listeners = listeners
        self.history = History()
        self.latest: dict[str, Outputs] = {}
        self.evaluated_at = -1
        # of the rows as they are trained on: a file of synonyms may have changed since the run began
        self.fingerprints = {
            name: fingerprint_split(rows, self.encoded[name]) for name, rows in self.splits.all().items()
        }
        self.frozen = fingerprint_frozen_weights(self.progress.model)
        self.data = {name: summarize_split(rows, self.encoded[name]) for name, rows in self.splits.all().items()}
        self.official_files: dict[str, str] = {}

    def begin(self, resume: bool) -> None:
        """Claim the directory, or restore the state that was saved in it."""
        if not resume:
            write_atomically(self.directory / RECIPE, self.recipe.to_yaml())
            return
        former = saved_recipe(self.directory)
        check_same(self.directory / RECIPE, former, self.recipe)
        check_resumable(self.directory, self.recipe)
        if self.state.exists():  # else the run was stopped before it saved a state, so it starts from the beginning
            self._restore()
        if former != self.recipe:
            self._extend(former)

    def _restore(self) -> None:
        """Load the saved state, and see that it belongs to the same rows and the same frozen weights."""
        notes = load_state(self.state, self.progress)
        try:
            saved = SavedState.model_validate(notes)
            self.history = History.from_dict(saved.history)
        except ValidationError as error:
            what = error.errors(include_url=False)[0]
            keys = ".".join(map(str, what["loc"]))
            raise TrainingError(f"{self.state}: is damaged ({keys}: {what['msg']}); start the run anew.") from None
        self._check_rows(saved.data)
        if saved.frozen != self.frozen:
            raise TrainingError(
                f"{self.recipe.model.base}: its weights have changed since the run in {self.directory} began, and "
                "those that are frozen belong to it; restore the old ones, or start a new run in another directory."
            )
        if self.history.best and not self.best.exists():
            raise TrainingError(f"{self.best}: the best weights so far are missing; bring them back, or start anew.")

    def _check_rows(self, saved: str | dict[str, str]) -> None:
        """Compare the rows of every split with those that the run began with (earlier versions saved only train's)."""
        saved = {"train": saved} if isinstance(saved, str) else saved
        if len(saved) > 1 and saved.keys() != self.fingerprints.keys():
            raise TrainingError(
                f"{self.directory}: the run began with the splits {', '.join(saved)}, but the data now has "
                f"{', '.join(self.fingerprints)}; restore the old files, or start a new run in another directory."
            )
        for name, fingerprint in saved.items():
            if fingerprint != self.fingerprints[name]:
                what = "training rows" if name == "train" else f"rows of the split {name}"
                raise TrainingError(
                    f"{self.splits.all()[name].report.source}: the {what} have changed since the run in "
                    f"{self.directory} began, so it cannot be resumed; restore the old ones, or start a new run in "
                    "another directory."
                )

    def _extend(self, former: Recipe) -> None:
        """Go on to another length than the run was planned with."""
        if self._stops_early():
            raise RecipeError(
                f"{self.directory}: the run stopped early at step {self.progress.step:,}, after {self.history.waited} "
                f"evaluations without a better score (train.patience={self.recipe.train.patience}), so a longer "
                "train.length would train no further; start a new run with another train.patience."
            )
        done = self.progress.step
        asked = self.recipe
        self.recipe = lengthen(self.directory, former, asked, self.plan.order, self.compute, done)
        self.plan = make_plan(self.recipe, self.plan.order, self.compute)
        write_atomically(self.kept / RECIPE, self.recipe.to_yaml())
        text = f"train.length: {former.train.length} → {asked.train.length}, {self.plan.steps:,} steps"
        if self.recipe.train.warmup != asked.train.warmup:
            text += (
                f"; train.warmup stays at {self.recipe.train.warmup}, which is {asked.train.warmup} of the old length"
            )
        self.prepared.notes.append(Note(text))

    def learn(self) -> None:
        """Train to the end of the plan; every event goes to the listeners and, notes apart, to ``events.jsonl``."""
        journal = Journal(self.directory, self.recipe.fingerprint(), self.plan.steps, self.progress.step)
        try:
            for event in (*self.prepared.notes, self.ready()):
                emit(self.listeners, event)
            for event in self.events():
                emit((*self.listeners, journal.write), event)
        finally:
            journal.close()

    def write(self) -> Bundle:
        """Evaluate the best weights and write the bundle; the checkpoint stays only if the run can be extended."""
        model, trained = self.progress.model, self.recipe
        lora = self.recipe.model.lora
        if lora is not None and lora.merge:
            merge_adapters(model.encoder)
        report = self.report()
        base, recipe = self.prepared.base, self.recipe
        bundle = Bundle(model.eval(), recipe.task, base, recipe.tokens, recipe, report, self.compute.in_fp32())
        self.check_there()
        for name, text in self.official_files.items():
            write_atomically(self.directory / name, text)
        for text in draw_pictures(self.directory, report):
            emit(self.listeners, Note(text, warning=True))
        # a kill from here on leaves a run that is not finished, to be resumed with the recipe it was trained with
        write_atomically(self.kept / RECIPE, trained.to_yaml())
        (self.directory / CONFIG).unlink(missing_ok=True)
        write_bundle(self.directory, bundle)
        if not keeps_state(trained):
            shutil.rmtree(self.kept, ignore_errors=True)
        return bundle

    def ready(self) -> TrainingStarted:
        """Everything is loaded."""
        parameters = list(self.progress.model.parameters())
        trainable = sum(p.numel() for p in parameters if p.requires_grad)
        return TrainingStarted(
            self.plan.steps,
            self.progress.step,
            str(self.compute),
            self.prepared.loading,
            (trainable, sum(p.numel() for p in parameters) + count_running_statistics(self.progress.model)),
            self.data,
        )

    def events(self) -> Iterator[Any]:
        """Train, evaluate and save, from where the run stands to its end; the model is then at its best."""
        per_epoch = self.plan.per_epoch
        save_every = self.recipe.train.save_every.steps(per_epoch)
        saved_at = time.monotonic()
        step = self.progress.step
        with Interrupt() as interrupt, advise_on_divergence(self.recipe.task.target_spec, self.splits.train):
            if step and self.plan.evaluates_after(step) and step not in self.history.steps:
                # stopped between a step and its evaluation
                yield from self._evaluate(Evaluate(step, step / per_epoch))
            loop = fit(self.progress, self.loss_of, self.encoded["train"], self.plan)
            for event in () if self._stops_early() else loop:
                if isinstance(event, Step):
                    self.history.add_step(event)
                    yield event
                    due = event.step % save_every == 0 or time.monotonic() - saved_at > SAVE_SECONDS
                    # where an evaluation is due, the state is saved with its result
                    due = due and not self.plan.evaluates_after(event.step)
                else:
                    yield from self._evaluate(event)
                    due = True
                if due or interrupt.asked:
                    self._save()
                    saved_at = time.monotonic()
                    yield CheckpointSaved(self.progress.step)
                if interrupt.asked:
                    raise KeyboardInterrupt
                if isinstance(event, Evaluate) and self._stops_early():
                    break
        read_parameters(self.best, self.progress.model)

    def report(self) -> Report:
        """Choose what dev rows choose, measure on every dev and test split, and put together what happened."""
        splits = {**self.splits.dev, **self.splits.test}
        # the best weights may be the ones evaluated last
        kept = self.latest if self.evaluated_at == self.history.best["step"] else {}
        said = {name: kept[name] if name in kept else self._outputs(name, rows) for name, rows in splits.items()}
        dev = next(iter(splits))
        task, notes = self.recipe.task.tuned(said[dev], splits[dev])
        self.recipe = self.recipe.replace(task=task)
        self.official_files = task.official_files(said[dev], splits[dev])
        measured = {name: task.measure(said[name], rows, self.splits.train) for name, rows in splits.items()}
        history = self.history
        return Report(
            name=self.directory.resolve().name,
            task=task.kind,
            labels=labels_of(task) or (),
            seed=self.recipe.seed,
            metrics={name: m.metrics for name, m in measured.items()},
            intervals={name: m.intervals for name, m in measured.items()},
            baseline={name: m.baseline for name, m in measured.items()},
            per_class={name: m.per_class for name, m in measured.items() if m.per_class},
            confusion={name: m.confusion for name, m in measured.items() if m.confusion},
            confused={name: m.confused for name, m in measured.items() if m.confused},
            best=history.best,
            history=[Evaluation.model_validate(values) for values in history.evaluations],
            speed=training_speed(history.examples, history.tokens, history.seconds, self._matrix_parameters()),
            data=self.data,
            environment=environment(str(self.compute.device), self.compute.precision, self.compute.threads),
            loading=self.prepared.loading.to_dict(),
            notes=[*notes, *self._final_notes(measured)],
        )

    def _final_notes(self, measured: dict[str, EvaluationResult]) -> list[str]:
        """What is wrong with the weights that are kept, and with training after them."""
        collapsed = [f"{name}: {m.collapsed}" for name, m in measured.items() if m.collapsed]
        advice = [f"collapsed predictions: {self._advice()}"] if collapsed else []
        ends = range(1, len(self.history.evaluations) + 1)
        overfitting = (describe_overfitting(self.history.evaluations[:end]) for end in ends)
        return [*collapsed, *advice, *(text for text in overfitting if text is not None)]

    def _matrix_parameters(self) -> int:
        """How many parameters each token is multiplied with: the layers', and the projection behind the embeddings."""
        if getattr(self.encoded["train"], "features", None) is not None:
            return 0
        encoder = self.progress.model.encoder
        parts = (encoder.layers, *([] if encoder.embeddings.project is None else [encoder.embeddings.project]))
        return sum(parameter.numel() for part in parts for parameter in part.parameters())

    def _stops_early(self) -> bool:
        patience = self.recipe.train.patience
        return patience is not None and self.history.waited >= patience

    def _evaluate(self, due: Evaluate) -> Iterator[Any]:
        began = time.perf_counter()
        task = self.recipe.task
        # a language model's outputs hold the loss; computing it from scores would decode the vocabulary once more
        splits = () if task.outputs_hold_loss else tuple(self.splits.dev)
        losses = {name: ValidationLoss(self.loss_of) for name in splits}
        self.latest = {name: self._outputs(name, rows, losses.get(name)) for name, rows in self.splits.dev.items()}
        self.evaluated_at = due.step
        release_free_memory()
        measured: dict[str, EvaluationResult] = {
            name: task.measure(self.latest[name], rows) for name, rows in self.splits.dev.items()
        }
        first = next(iter(measured.values()))
        by = self.recipe.train.metric_for_best_model or task.chosen_metrics[0]
        validation_loss = (
            {name: task.mean_loss(rows) for name, rows in self.latest.items()}
            if task.outputs_hold_loss
            else {name: loss.mean for name, loss in losses.items()}
        )
        train_loss = self.history.train_loss
        best = self.history.add_evaluation(due, first.metrics, by, next(iter(validation_loss.values())))
        if best or self.recipe.train.keep_checkpoints:
            self.check_there()
        if best:
            save_parameters(self.best, self.progress.model)
        save_checkpoint(self.directory, self.progress.model, due.step, self.recipe.train.keep_checkpoints)
        metrics = {name: m.metrics for name, m in measured.items()}
        seconds = time.perf_counter() - began
        yield EvaluationFinished(due.step, due.epoch, metrics, best, seconds, train_loss, validation_loss)
        if first.collapsed:
            yield Note(f"the predictions have collapsed: {first.collapsed}; {self._advice()}.", warning=True)
        if (text := describe_overfitting(self.history.evaluations)) is not None:
            yield Note(text)

    def _advice(self) -> str:
        """What to change after a collapse."""
        trains = any(parameter.requires_grad for parameter in self.progress.model.encoder.parameters())
        whole = trains and self.recipe.model.lora is None
        train = self.splits.train
        return advise_on_collapse(self.recipe.task.target_spec, self.recipe.train, self.history.trend, train, whole)

    def _save(self) -> None:
        saved = SavedState(data=self.fingerprints, frozen=self.frozen, history=self.history.to_dict())
        self.check_there()
        save_state(self.state, self.progress, saved.model_dump())

    def _outputs(self, split: str, rows: Dataset, loss: ValidationLoss | None = None) -> Outputs:
        return compute_outputs(
            self.progress.model,
            self.recipe.task,
            self.encoded[split],
            rows,
            compute=self.compute.in_fp32(),
            on_progress=make_progress_reporter(
                self.listeners, f"evaluating {split}", len(rows) or len(self.encoded[split])
            ),
            loss=loss,
        )
