"""The fourth stage of a run: training with evaluations, checkpoints and an event log, which can be resumed exactly."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bertwright.data.example import Example
from bertwright.errors import RecipeError, TrainingError
from bertwright.files.atomic import write_atomically
from bertwright.nn.model import Model, count_running_statistics
from bertwright.recipe import Recipe
from bertwright.run.bundle import RECIPE
from bertwright.run.checkpoints import save_checkpoint
from bertwright.run.collapse_advice import advise_on_collapse, advise_on_divergence, describe_overfitting
from bertwright.run.directory import CHECKPOINT, STATE, check_same, saved_recipe
from bertwright.run.event_log import EventLog
from bertwright.run.events import (
    CheckpointSaved,
    EvaluationFinished,
    Event,
    Listener,
    Note,
    TrainingStarted,
    emit,
    make_progress_reporter,
)
from bertwright.run.extension import check_resumable, extend_recipe
from bertwright.run.history import History
from bertwright.run.interrupt import Interrupt
from bertwright.run.plan import make_plan
from bertwright.run.stages import PlannedRun
from bertwright.tasks.spec import Outputs
from bertwright.training.averaging import WeightAverage
from bertwright.training.compute import release_free_memory
from bertwright.training.loop import Evaluate, Progress, Step, fit
from bertwright.training.model_building import make_loss_function
from bertwright.training.scoring import ValidationLoss, compute_outputs
from bertwright.training.state import (
    fingerprint_frozen_weights,
    load_state,
    read_parameters,
    save_parameters,
    save_state,
)

EARLY = 1 / 3
"""Predictions that are all equal before this share of the run are normal: the head has hardly been trained."""

SAVE_SECONDS = 600.0
"""Maximum seconds between two saved states, also with a longer train.save_every: the work that a crash can lose."""


@dataclass(frozen=True)
class RunDirectory:
    """The directory of a run while this process is its only writer.

    Attributes:
        path: the directory.
        check_in_place: raises an error if the directory was moved or removed; called before something is written.
    """

    path: Path
    check_in_place: Callable[[], None]

    @property
    def checkpoint(self) -> Path:
        """The folder of what a resumed run needs."""
        return self.path / CHECKPOINT

    @property
    def best(self) -> Path:
        """The weights of the best evaluation so far."""
        return self.checkpoint / "best.safetensors"

    @property
    def state(self) -> Path:
        """The saved state that a resumed run starts from."""
        return self.checkpoint / STATE


@dataclass(frozen=True)
class FittedRun:
    """A run after its last training step; the model has the weights of the best evaluation.

    Attributes:
        run: as it was planned; with the recipe and plan of the extension, if the run was extended.
        history: evaluations, the best one, and the cost of training.
        data: counts of rows and tokens by split.
        outputs: of the dev splits for the best weights; empty if other weights were evaluated last.
    """

    run: PlannedRun
    history: History
    data: Mapping[str, dict[str, str | int]]
    outputs: Mapping[str, Outputs]


class SavedState(BaseModel):
    """What ``checkpoint/state.safetensors`` has besides tensors and the step.

    Attributes:
        data: fingerprint of the rows of every split; of train alone in files of earlier versions.
        frozen: fingerprint of the weights that never train.
        history: evaluations so far, from :meth:`History.to_dict <bertwright.run.history.History.to_dict>`.
    """

    data: dict[str, str] | str
    frozen: str
    history: dict[str, Any]


def fit_run(
    run: PlannedRun, directory: RunDirectory, listeners: tuple[Listener, ...], resume: bool = False
) -> FittedRun:
    """Train to the end of the plan, from the first step or from a saved state.

    Every event goes to the listeners; events after the start are also logged in ``events.jsonl``.

    Raises:
        BertwrightError: training diverges, the state does not fit, or the directory cannot be written to.
        KeyboardInterrupt: Ctrl-C; the state has been saved.
    """
    session = TrainingSession(run, directory, listeners)
    if resume:
        session.resume()
    else:
        write_atomically(directory.path / RECIPE, run.recipe.to_yaml())
    run = session.run
    log = EventLog(directory.path, run.recipe.fingerprint(), run.plan.steps, session.progress.step)
    try:
        for note in run.notes:
            emit(listeners, note)
        emit(listeners, session.describe_start())
        for event in session.train():
            emit((*listeners, log.write), event)
    finally:
        log.close()
    return session.result()


class TrainingSession:
    """The state of a run during training: what an interruption saves and a resumed run restores.

    Args:
        run: as it was planned.
        directory: of the run.
        listeners: called with the progress of evaluations.

    Attributes:
        run: the plan; of the extension, once the session extends a run.
        progress: model, optimizer and step.
        history: evaluations so far.
    """

    def __init__(self, run: PlannedRun, directory: RunDirectory, listeners: tuple[Listener, ...]) -> None:
        self.run = run
        self.directory = directory
        share = run.recipe.train.average
        average = None if share is None else WeightAverage(run.built.model, share * run.plan.steps)
        self.progress = Progress(run.built.model, run.optimizer, average=average)
        self.history = History()
        self._listeners = listeners
        self._loss_function = make_loss_function(run.recipe.task, run.built.model.head)
        self._outputs: dict[str, Outputs] = {}
        self._evaluated_at = -1
        splits = run.splits.all()
        # hashes of what is trained on: a file of synonyms may have changed since the run began
        self._fingerprints = {name: data.fingerprint(splits[name].examples) for name, data in run.tokenized.items()}
        self._data = {
            name: data.summarize(splits[name].report, len(splits[name].examples))
            for name, data in run.tokenized.items()
        }
        self._frozen = fingerprint_frozen_weights(run.built.model)

    def resume(self) -> None:
        """Restore the saved state, and extend the run if the recipe asks for another length.

        Raises:
            BertwrightError: the recipe, the data or the frozen weights have changed, or the state is damaged.
        """
        former = saved_recipe(self.directory.path)
        check_same(self.directory.path / RECIPE, former, self.run.recipe)
        check_resumable(self.directory.path, self.run.recipe)
        if self.directory.state.exists():  # otherwise the run was stopped before it saved a state, and starts at step 0
            self._restore()
        if former != self.run.recipe:
            self._extend(former)

    def _restore(self) -> None:
        """Load the saved state, and check that it belongs to the same rows and the same frozen weights."""
        state, best = self.directory.state, self.directory.best
        try:
            saved = SavedState.model_validate(load_state(state, self.progress))
            self.history = History.from_dict(saved.history)
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            keys = ".".join(map(str, detail["loc"]))
            raise TrainingError(f"{state}: is damaged ({keys}: {detail['msg']}); start a new run.") from None
        self._check_rows({"train": saved.data} if isinstance(saved.data, str) else saved.data)
        if saved.frozen != self._frozen:
            raise TrainingError(
                f"{self.run.recipe.model.base}: its weights have changed since the run in {self.directory.path} "
                "started, and the run's frozen weights belong to the old ones; restore them, or start a new run in "
                "another directory."
            )
        if self.history.best and not best.exists():
            raise TrainingError(f"{best}: the best weights so far are missing; restore them, or start a new run.")

    def _check_rows(self, saved: dict[str, str]) -> None:
        """Compare the rows of every split with those that the run started with (earlier versions saved only train's).

        Raises:
            TrainingError: they differ.
        """
        if len(saved) > 1 and saved.keys() != self._fingerprints.keys():
            raise TrainingError(
                f"{self.directory.path}: the run started with the splits {', '.join(saved)}, but the data now has "
                f"{', '.join(self._fingerprints)}; restore the old files, or start a new run in another directory."
            )
        for name, fingerprint in saved.items():
            if fingerprint != self._fingerprints[name]:
                rows = "training rows" if name == "train" else f"rows of the split {name}"
                raise TrainingError(
                    f"{self.run.splits.all()[name].report.source}: the {rows} have changed since the run in "
                    f"{self.directory.path} started, so it cannot be resumed; restore the old ones, or start a new run "
                    "in another directory."
                )

    def _extend(self, former: Recipe) -> None:
        """Continue to another length than the run was planned with.

        Raises:
            RecipeError: the run cannot be extended.
        """
        run, step = self.run, self.progress.step
        if self._stops_early():
            raise RecipeError(
                f"{self.directory.path}: the run stopped early at step {step:,}, after "
                f"{self.history.evaluations_without_improvement} evaluations without a better score "
                f"(train.patience={run.recipe.train.patience}), so a longer train.length would train no further; "
                "start a new run with another train.patience."
            )
        recipe = extend_recipe(self.directory.path, former, run.recipe, run.plan.order, run.compute, step)
        plan = make_plan(recipe, run.plan.order, run.compute)
        write_atomically(self.directory.checkpoint / RECIPE, recipe.to_yaml())
        text = f"train.length: {former.train.length} → {run.recipe.train.length}, {plan.steps:,} steps"
        if recipe.train.warmup != run.recipe.train.warmup:
            text += (
                f"; train.warmup stays at {recipe.train.warmup}, which is {run.recipe.train.warmup} of the old length"
            )
        self.run = replace(run, recipe=recipe, plan=plan, notes=(*run.notes, Note(text)))

    def describe_start(self) -> TrainingStarted:
        """The event of the start of training."""
        run, parameters = self.run, list(self.progress.model.parameters())
        n_trainable = sum(p.numel() for p in parameters if p.requires_grad)
        n_parameters = sum(p.numel() for p in parameters) + count_running_statistics(self.progress.model)
        counts = (n_trainable, n_parameters)
        return TrainingStarted(
            run.plan.steps, self.progress.step, run.compute.describe_training(), run.built.loading, counts, self._data
        )

    def train(self) -> Iterator[Event]:
        """Train, evaluate and save until the end of the plan; the model then has its best weights.

        Raises:
            KeyboardInterrupt: Ctrl-C; the state has been saved.
        """
        run, step = self.run, self.progress.step
        save_every = run.recipe.train.save_every.steps(run.plan.per_epoch)
        saved_at = time.monotonic()
        with Interrupt() as interrupt, advise_on_divergence(run.recipe.task, run.splits.train.examples):
            if step and run.plan.evaluates_after(step) and step not in self.history.steps:
                # the run was stopped between a step and its evaluation
                yield from self._evaluate(Evaluate(step, step / run.plan.per_epoch))
            loop = fit(self.progress, self._loss_function, run.tokenized["train"], run.plan)
            for event in () if self._stops_early() else loop:
                if isinstance(event, Step):
                    self.history.add_step(event)
                    yield event
                    is_due = event.step % save_every == 0 or time.monotonic() - saved_at > SAVE_SECONDS
                    # a state at the step of an evaluation is saved with the result of the evaluation
                    is_due = is_due and not run.plan.evaluates_after(event.step)
                else:
                    yield from self._evaluate(event)
                    is_due = True
                if is_due or interrupt.requested:
                    self._save()
                    saved_at = time.monotonic()
                    yield CheckpointSaved(self.progress.step)
                if interrupt.requested:
                    raise KeyboardInterrupt
                if isinstance(event, Evaluate) and self._stops_early():
                    break
        read_parameters(self.directory.best, self.progress.model)

    def result(self) -> FittedRun:
        """What the last stage needs."""
        is_best = self._evaluated_at == self.history.best["step"]
        return FittedRun(self.run, self.history, self._data, self._outputs if is_best else {})

    def _stops_early(self) -> bool:
        patience = self.run.recipe.train.patience
        return isinstance(patience, int) and self.history.evaluations_without_improvement >= patience

    def _evaluate(self, event: Evaluate) -> Iterator[Event]:
        """Evaluate the weights, or their average, on the dev splits; save the best, and all if checkpoints are kept."""
        average = self.progress.average
        with contextlib.nullcontext() if average is None else average.apply():
            events = list(self._evaluate_weights(event))
        yield from events

    def _evaluate_weights(self, event: Evaluate) -> Iterator[Event]:
        started = time.perf_counter()
        task, settings, model = self.run.recipe.task, self.run.recipe.train, self.progress.model
        validation_loss = self._compute_outputs()
        self._evaluated_at = event.step
        release_free_memory()
        dev = self.run.splits.dev
        results = {name: task.evaluate(self._outputs[name], split.examples) for name, split in dev.items()}
        first = next(iter(results.values()))
        metric = settings.metric_for_best_model or task.chosen_metrics[0]
        train_loss = self.history.train_loss
        # while a head is hardly trained and predicts one label, no metric can improve although the loss falls
        is_early = event.step < EARLY * self.run.plan.steps
        counts = not (is_early and first.collapsed)
        loss = next(iter(validation_loss.values()))
        is_best = self.history.add_evaluation(event, first.metrics, metric, loss, counts)
        if is_best or settings.keep_checkpoints:
            self.directory.check_in_place()
        if is_best:
            save_parameters(self.directory.best, model)
        save_checkpoint(self.directory.path, model, event.step, settings.keep_checkpoints)
        metrics = {name: result.metrics for name, result in results.items()}
        seconds = time.perf_counter() - started
        yield EvaluationFinished(event.step, event.epoch, metrics, is_best, seconds, train_loss, validation_loss)
        if first.collapsed:
            self.history.collapsed.append(event.step)
        if first.collapsed and not is_early:
            advice = describe_collapse_remedy(self.run, self.history)
            yield Note(f"the predictions have collapsed: {first.collapsed}; {advice}.", warning=True)
        if (text := describe_overfitting(self.history.evaluations, settings.refit is True)) is not None:
            yield Note(text)

    def _compute_outputs(self) -> dict[str, float]:
        """Compute the outputs of the dev splits; return the validation loss of each."""
        task, losses = self.run.recipe.task, {}
        for name, split in self.run.splits.dev.items():
            # computing the loss of a language model from its scores would decode the vocabulary once more
            loss = None if task.outputs_hold_loss else ValidationLoss(self._loss_function)
            self._outputs[name] = compute_split_outputs(
                self.run, self.progress.model, name, split.examples, self._listeners, loss
            )
            losses[name] = task.mean_loss(self._outputs[name]) if loss is None else loss.mean
        return losses

    def _save(self) -> None:
        saved = SavedState(data=self._fingerprints, frozen=self._frozen, history=self.history.to_dict())
        self.directory.check_in_place()
        save_state(self.directory.state, self.progress, saved.model_dump())


def compute_split_outputs(
    run: PlannedRun,
    model: Model,
    name: str,
    examples: Sequence[Example],
    listeners: tuple[Listener, ...],
    loss: ValidationLoss | None = None,
) -> Outputs:
    """Compute the outputs of a split in fp32, as predictions of the bundle will be."""
    data = run.tokenized[name]
    return compute_outputs(
        model,
        run.recipe.task,
        data,
        examples,
        compute=run.compute.in_fp32(),
        on_progress=make_progress_reporter(listeners, f"evaluating {name}", len(examples) or len(data)),
        loss=loss,
    )


def describe_collapse_remedy(run: PlannedRun, history: History) -> str:
    """What to change after all predictions have become the same."""
    settings = run.recipe
    trains_encoder = any(parameter.requires_grad for parameter in run.built.model.encoder.parameters())
    trains_encoder = trains_encoder and settings.model.lora is None
    return advise_on_collapse(settings.task, settings.train, history.trend, run.splits.train.examples, trains_encoder)
