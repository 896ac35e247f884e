"""A whole run, from a recipe to a bundle: the one place where everything meets. Read :func:`train` top to bottom."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bertwright.ahead import Listener, content, data_facts, examined, frozen_once, noting, progress_of, stored, tell
from bertwright.assemble import assemble, objective
from bertwright.augmented import augmented
from bertwright.budget import budgeted
from bertwright.bundle import RECIPE, Bundle, write_bundle
from bertwright.duration import Budget
from bertwright.elsewhere import head_kind_of, unnamed
from bertwright.errors import DataError, RecipeError, TrainingError
from bertwright.evaluate import outputs
from bertwright.events import Evaluated, Finished, Note, Ready, Saved
from bertwright.files import check_unlocked, sole_writer, write_atomically
from bertwright.history import History
from bertwright.interrupt import Interrupt
from bertwright.journal import Journal
from bertwright.nn.lora import merge_adapters
from bertwright.nn.model import running_statistics
from bertwright.nn.settings import GIVEN
from bertwright.plan import make_optimizer, make_order, make_plan, plan_warnings, sequences_of, unfreezing
from bertwright.recipe import Recipe
from bertwright.report import Evaluation, Report, environment, training_speed
from bertwright.rundir import CHECKPOINT, check_free, check_same, saved_recipe
from bertwright.settle import labels_of, open_base, settle
from bertwright.snapshots import keep_snapshot
from bertwright.tasks.task import Measured, Outputs
from bertwright.text.encodings import Encodings
from bertwright.text.instances import FromCorpus
from bertwright.text.reader import Rows
from bertwright.text.splits import Splits, load_splits
from bertwright.train.frozen import is_frozen
from bertwright.train.loop import Evaluate, Plan, Progress, Step, fit
from bertwright.train.machine import Machine, choose, give_back_memory, keep_freed_memory
from bertwright.train.state import frozen_fingerprint, load_state, read_parameters, save_parameters, save_state

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
    listeners: Iterable[Listener] = (),
) -> Bundle:
    """Fine-tune as a recipe says, and write the bundle.

    Args:
        recipe: the whole run.
        out: the run's directory; made if need be. It must not hold a run already, unless ``resume``.
        data: rows in memory (or paths) for ``train``, ``dev`` and ``test``, in place of the recipe's.
        test: measure the test rows at the end, if there are any; while settings are searched for nobody should.
        head: any module with ``forward(hidden, layout) -> scores`` in place of the recipe's; opening the bundle takes
            it again, :meth:`Bundle.load(directory, head=…) <bertwright.bundle.Bundle.load>`.
        resume: go on where the run in ``out`` was stopped, bit for bit as if it never had been.
        listeners: called with every event of :mod:`bertwright.events` and every :class:`~bertwright.train.loop.Step`.

    Returns:
        The bundle, opened.

    Raises:
        BertwrightError: whatever is wrong, in one sentence; nothing that was saved is lost.
        KeyboardInterrupt: Ctrl-C; the state has been saved, and ``resume`` goes on from it.
    """
    if recipe.further is not None:
        raise RecipeError(
            "further: is a run of its own before this one; `bertwright train` and train_further chain them."
        )
    if head is not None:
        if recipe.model.head not in (None, GIVEN):
            raise RecipeError("model.head: the recipe names a head and another was given from Python; take one away.")
        recipe = recipe.replace(model=recipe.model.replace(head=GIVEN))
    listeners = tuple(listeners)
    directory = Path(out)
    check_unlocked(directory)
    check_free(directory, resume)
    if resume and isinstance(recipe.train.length, Budget):  # what was planned then holds
        recipe = recipe.replace(train=recipe.train.replace(length=saved_recipe(directory).train.length))
    machine = choose(recipe.train.device, recipe.train.precision, recipe.train.threads)
    if machine.device.type == "cpu":
        keep_freed_memory()
    base = open_base(recipe)
    splits = load_splits(recipe.data, recipe.task.outcome_kind, data)
    if not test:
        splits = replace(splits, test={})
    recipe = settle(recipe, splits, base)
    task, notes = recipe.task, [Note(text) for text in (*base.notes, *splits.notes)]
    # two splits of one file say the same of it
    notes += map(Note, dict.fromkeys(line for rows in splits.all().values() for line in rows.lines()))
    notes += stored(splits, base.tokenizer, listeners)

    original = splits.train
    if recipe.data.augment.active:
        splits, done = augmented(recipe, splits, machine.device)
        notes.append(Note(done))
    encoded: dict[str, Encodings | FromCorpus] = {
        name: task.encode(
            rows,
            base.tokenizer,
            recipe.tokens,
            on_note=noting(notes, name),
        )
        for name, rows in splits.all().items()
    }
    if isinstance(encoded["train"], Encodings):
        encoded["train"] = encoded["train"].learnable()
    if not len(encoded["train"]):
        raise DataError(f"{splits.train.report.source}: nothing can be learnt from it: no target in it is known.")
    notes += examined(recipe, replace(splits, train=original), encoded["train"])
    names = (None, labels_of(task), unnamed(task.n_outputs))
    other_labels = base.labels not in names or head_kind_of(base) not in (None, task.published_head)
    generator = torch.Generator().manual_seed(recipe.seed)
    model, loading = assemble(recipe.model, task, base, generator, fresh_output=other_labels, head=head)
    model.freeze(recipe.model.freeze).to(machine.device)
    if isinstance(recipe.train.length, Budget):
        recipe, done = budgeted(recipe, model, splits, encoded, machine)
        notes.append(Note(done))
    plan = make_plan(recipe, make_order(recipe, splits.train, sequences_of(encoded["train"])), machine)
    notes += [Note(text, warning=True) for text in plan_warnings(recipe, plan)]
    notes += [Note(*note) for note in unfreezing(plan, base.config.n_layers)]
    if recipe.train.reuse_features and is_frozen(model):
        encoded |= frozen_once(model, encoded, machine, listeners, notes)
    progress = Progress(model, make_optimizer(model, recipe.train))

    # From here on the directory is written to.
    with sole_writer(directory) as check_there:
        check_free(directory, resume)  # while all this was read, another process may have come first
        run = _Run(directory, recipe, splits, encoded, machine, progress, plan, check_there, listeners)
        run.begin(resume)
        journal = Journal(directory, progress.step)
        everyone = (*listeners, journal.write)
        try:
            for event in (*notes, run.ready(loading)):
                tell(listeners, event)
            for event in run.events():
                tell(everyone, event)
        finally:
            journal.close()

        if recipe.model.lora is not None and recipe.model.lora.merge:
            merge_adapters(model.encoder)
        report = run.report(loading)
        bundle = Bundle(model.eval(), run.recipe.task, base, recipe.tokens, run.recipe, report)
        check_there()
        for name, text in run.official_files.items():
            write_atomically(directory / name, text)
        write_bundle(directory, bundle)
        shutil.rmtree(run.kept, ignore_errors=True)
    tell(listeners, Finished(report, directory))
    return bundle


class _Run:
    """The part of a run that a stop may cut in two."""

    def __init__(
        self,
        directory: Path,
        recipe: Recipe,
        splits: Splits,
        encoded: dict[str, Encodings | FromCorpus],
        machine: Machine,
        progress: Progress,
        plan: Plan,
        check_there: Callable[[], None],
        listeners: Iterable[Listener],
    ) -> None:
        self.directory = directory
        self.kept = directory / CHECKPOINT
        self.best = self.kept / "best.safetensors"
        self.recipe = recipe
        self.splits = splits
        self.encoded = encoded
        self.machine = machine
        self.progress = progress
        self.plan = plan
        self.check_there = check_there
        self.listeners = listeners
        self.history = History()
        self.latest: dict[str, Outputs] = {}
        self.evaluated_at = -1
        # as they are trained on: a file of synonyms may have changed since the run began
        self.trained_on = content(splits.train, encoded["train"])
        self.frozen = frozen_fingerprint(progress.model)
        self.data = {name: data_facts(rows, encoded[name]) for name, rows in splits.all().items()}
        self.official_files: dict[str, str] = {}

    def begin(self, resume: bool) -> None:
        """Claim the directory, or pick up what was left in it."""
        if not resume:
            write_atomically(self.directory / RECIPE, self.recipe.to_yaml())
            return
        check_same(self.directory / RECIPE, self.recipe)
        state = self.kept / "state.safetensors"
        if not state.exists():
            return  # stopped before the first state was saved: from the start is where it stood
        notes = load_state(state, self.progress)
        if notes["data"] != self.trained_on:
            raise TrainingError(
                f"{self.splits.train.report.source}: the training rows have changed since the run in {self.directory} "
                "began, so it cannot be resumed; bring the old ones back, or start anew in another directory."
            )
        if notes["frozen"] != self.frozen:
            raise TrainingError(
                f"{self.recipe.model.base}: its weights have changed since the run in {self.directory} began, and "
                "those that are frozen belong to it; bring the old ones back, or start anew in another directory."
            )
        self.history = History.from_dict(notes["history"])
        if self.history.best and not self.best.exists():
            raise TrainingError(f"{self.best}: the best weights so far are missing; bring them back, or start anew.")

    def ready(self, loading: Any) -> Ready:
        """Everything is loaded."""
        parameters = list(self.progress.model.parameters())
        trainable = sum(p.numel() for p in parameters if p.requires_grad)
        return Ready(
            self.plan.steps,
            self.progress.step,
            str(self.machine),
            loading,
            (trainable, sum(p.numel() for p in parameters) + running_statistics(self.progress.model)),
            self.data,
        )

    def events(self) -> Iterator[Any]:
        """Train, evaluate and save, from where the run stands to its end; the model is then at its best."""
        per_epoch = self.plan.per_epoch
        save_every = self.recipe.train.save_every.steps(per_epoch)
        saved_at = time.monotonic()
        step = self.progress.step
        with Interrupt() as interrupt:
            if step and self.plan.evaluates_after(step) and step not in self.history.steps:
                # stopped between a step and its evaluation
                yield from self._evaluate(Evaluate(step, step / per_epoch))
            loss_of = objective(self.recipe.task, self.progress.model.head)
            loop = fit(self.progress, loss_of, self.encoded["train"], self.plan)
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
                    yield Saved(self.progress.step)
                if interrupt.asked:
                    raise KeyboardInterrupt
                if isinstance(event, Evaluate) and self._stops_early():
                    break
        read_parameters(self.best, self.progress.model)

    def report(self, loading: Any) -> Report:
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
            best=history.best,
            history=[Evaluation.model_validate(values) for values in history.evaluations],
            speed=training_speed(history.examples, history.tokens, history.seconds, self._matrix_parameters()),
            data=self.data,
            environment=environment(str(self.machine.device), self.machine.precision, self.machine.threads),
            loading=loading.to_dict(),
            notes=[*notes, *(f"{name}: {m.collapsed}" for name, m in measured.items() if m.collapsed)],
        )

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
        self.latest = {name: self._outputs(name, rows) for name, rows in self.splits.dev.items()}
        self.evaluated_at = due.step
        give_back_memory()
        measured: dict[str, Measured] = {
            name: task.measure(self.latest[name], rows) for name, rows in self.splits.dev.items()
        }
        first = next(iter(measured.values()))
        by = self.recipe.train.best_by or task.chosen_metrics[0]
        best = self.history.add_evaluation(due, first.metrics, by)
        if best or self.recipe.train.keep:
            self.check_there()
        if best:
            save_parameters(self.best, self.progress.model)
        keep_snapshot(self.directory, self.progress.model, due.step, self.recipe.train.keep)
        metrics = {name: m.metrics for name, m in measured.items()}
        yield Evaluated(due.step, due.epoch, metrics, best, time.perf_counter() - began)
        if first.collapsed:
            remedy = "lower train.learning_rate, train longer, or try another seed"
            yield Note(f"the predictions have collapsed: {first.collapsed}; {remedy}.", warning=True)

    def _save(self) -> None:
        notes = {"data": self.trained_on, "frozen": self.frozen, "history": self.history.to_dict()}
        self.check_there()
        save_state(self.kept / "state.safetensors", self.progress, notes)

    def _outputs(self, split: str, rows: Rows) -> Outputs:
        return outputs(
            self.progress.model,
            self.recipe.task,
            self.encoded[split],
            rows,
            device=self.machine.device,
            on_progress=progress_of(self.listeners, f"evaluating {split}", len(rows) or len(self.encoded[split])),
        )
