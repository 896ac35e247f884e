"""The last stage of a run: final evaluation, report and bundle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from bertwright.files.atomic import write_atomically
from bertwright.nn.lora import merge_adapters
from bertwright.nn.model import Model
from bertwright.nn.scaled_linear import fold_output_scale
from bertwright.run.bundle import CONFIG, RECIPE, Bundle, write_bundle
from bertwright.run.collapse_advice import describe_overfitting
from bertwright.run.data_preparation import RunOptions
from bertwright.run.event_log import read_events
from bertwright.run.events import Listener, Note, emit, make_progress_reporter
from bertwright.run.extension import should_keep_state
from bertwright.run.fitting import FittedRun, RunDirectory, compute_split_outputs, describe_collapse_remedy
from bertwright.run.html_explanations import choose_rows_to_explain, count_rows_to_explain, explain_rows
from bertwright.run.html_report import EvaluatedSplit, ReportContents, write_html_report
from bertwright.run.plots import draw_pictures
from bertwright.run.refit import describe_refit, train_on_all_rows
from bertwright.run.report import Evaluation, Report, environment, training_speed
from bertwright.run.stages import PlannedRun
from bertwright.run.training_rows import score_training_rows
from bertwright.tasks.spec import EvaluationResult, Task


def write_run(
    fitted: FittedRun, directory: RunDirectory, options: RunOptions, listeners: tuple[Listener, ...]
) -> Bundle:
    """Evaluate the best weights on all dev and test splits, and write report, plots and bundle.

    With ``train.refit`` the weights of a second training are saved and evaluated on the test splits. The saved state is
    removed unless the run can be extended.

    Args:
        fitted: the run after training.
        directory: of the run.
        options: of the run, with the head before training.
        listeners: called with progress and notes.

    Raises:
        BertwrightError: the second training fails, or the directory cannot be written to.
        KeyboardInterrupt: Ctrl-C during the second training; the state has been saved.
    """
    run, model = fitted.run, prepare_to_save(fitted.run)
    refits = run.recipe.train.refit is True
    to_evaluate = run.splits.dev if refits else run.splits.dev | run.splits.test
    splits = {name: split.examples for name, split in to_evaluate.items()}
    outputs = {
        name: fitted.outputs[name]
        if name in fitted.outputs
        else compute_split_outputs(run, model, name, rows, listeners)
        for name, rows in splits.items()
    }
    dev = next(iter(splits))
    task, notes = run.recipe.task.tune_on_validation(outputs[dev], splits[dev])
    results = {name: task.evaluate(outputs[name], rows, run.splits.train.examples) for name, rows in splits.items()}
    report = build_report(fitted, directory.path.resolve().name, task, results, notes)
    recipe = run.recipe.replace(task=task)
    evaluated = Bundle(model.eval(), task, run.base, recipe.tokens, recipe, report, run.compute.in_fp32())
    bundle = _refit(evaluated, run, directory, options, listeners) if refits else evaluated
    report = bundle.report or report
    directory.check_in_place()
    for name, text in task.official_files(outputs[dev], splits[dev]).items():
        write_atomically(directory.path / name, text)
    evaluation = EvaluatedSplit(dev, splits[dev], outputs[dev])
    collect_contents = partial(_collect_contents, fitted, evaluated, report, evaluation, directory, listeners)
    for text in (*draw_pictures(directory.path, report), *write_html_report(directory.path, collect_contents)):
        emit(listeners, Note(text, warning=True))
    # a kill from here on leaves an unfinished run, which is resumed with the recipe that it was trained with
    write_atomically(directory.checkpoint / RECIPE, run.recipe.to_yaml())
    (directory.path / CONFIG).unlink(missing_ok=True)
    write_bundle(directory.path, bundle)
    if not should_keep_state(run.recipe):
        shutil.rmtree(directory.checkpoint, ignore_errors=True)
    return bundle


def _refit(
    evaluated: Bundle, run: PlannedRun, directory: RunDirectory, options: RunOptions, listeners: tuple[Listener, ...]
) -> Bundle:
    """Train once more, on all rows; the report gets the metrics of the new weights on the test rows."""
    refitted = train_on_all_rows(run, directory, options, listeners).run
    model, task, report = prepare_to_save(refitted), evaluated.task, evaluated.report or Report()
    report = report.model_copy(update={"notes": [describe_refit(run, refitted), *report.notes]})
    for name, split in run.splits.test.items():
        outputs = compute_split_outputs(run, model, name, split.examples, listeners)
        report = report.with_evaluation(name, task.evaluate(outputs, split.examples, run.splits.train.examples))
    return replace(evaluated, model=model.eval(), report=report)


def prepare_to_save(run: PlannedRun) -> Model:
    """Merge adapters and the scale of the targets into the weights of a trained model, and return it."""
    model, lora = run.built.model, run.recipe.model.lora
    if lora is not None and lora.merge:
        merge_adapters(model.encoder)
    fold_output_scale(model.head)
    return model


def _collect_contents(
    fitted: FittedRun,
    bundle: Bundle,
    report: Report,
    evaluated: EvaluatedSplit,
    directory: RunDirectory,
    listeners: tuple[Listener, ...],
) -> ReportContents:
    """What the HTML report of a run shows; predicts training rows and explains a few predictions."""
    run, task = fitted.run, bundle.task
    most = count_rows_to_explain(_count_encoded_examples(fitted))
    report_progress = make_progress_reporter(listeners, "explaining predictions", most)
    rows = choose_rows_to_explain(task, evaluated.outputs, evaluated.examples, most)
    return ReportContents(
        report,
        task,
        run.base.source,
        run.recipe.model_dump(mode="json"),
        read_events(directory.path),
        evaluated,
        run.checks,
        score_training_rows(fitted, listeners),
        explain_rows(bundle.explain, rows, report_progress),
    )


def build_report(
    fitted: FittedRun, name: str, task: Task, results: Mapping[str, EvaluationResult], notes: list[str]
) -> Report:
    """Build the report of a run.

    Args:
        fitted: the run after training.
        name: of the run.
        task: with what was tuned on the dev rows.
        results: of the best weights, by split.
        notes: on what was tuned.
    """
    run, history = fitted.run, fitted.history
    return Report(
        name=name,
        task=task.kind,
        labels=task.label_names,
        seed=run.recipe.seed,
        metrics={split: result.metrics for split, result in results.items()},
        intervals={split: result.intervals for split, result in results.items()},
        baseline={split: result.baseline for split, result in results.items()},
        per_class={split: result.per_class for split, result in results.items() if result.per_class},
        confusion={split: result.confusion for split, result in results.items() if result.confusion},
        confused={split: result.confused for split, result in results.items() if result.confused},
        best=history.best,
        history=[Evaluation.model_validate(values) for values in history.evaluations],
        speed=training_speed(history.examples, history.tokens, history.seconds, _count_matrix_parameters(fitted)),
        data=dict(fitted.data),
        environment=environment(str(run.compute.device), run.compute.precision, run.compute.threads),
        loading=run.built.loading.to_dict(),
        notes=[*notes, *_describe_problems(fitted, results)],
    )


def _describe_problems(fitted: FittedRun, results: Mapping[str, EvaluationResult]) -> list[str]:
    """Collapsed predictions of the best weights, and overfitting after them."""
    collapsed = [f"{split}: {result.collapsed}" for split, result in results.items() if result.collapsed]
    remedy = f"collapsed predictions: {describe_collapse_remedy(fitted.run, fitted.history)}" if collapsed else None
    evaluations = fitted.history.evaluations
    refits = fitted.run.recipe.train.refit is True
    overfitting = (describe_overfitting(evaluations[:end], refits) for end in range(1, len(evaluations) + 1))
    restarted = fitted.run.restarted or None
    return [text for text in (restarted, *collapsed, remedy, *overfitting) if text is not None]


def _count_encoded_examples(fitted: FittedRun) -> int:
    """The examples of all training steps; with cached features a third of the training rows, because the encoder
    computes each once, without gradients.
    """
    encodings = fitted.run.tokenized["train"].as_encodings()
    is_cached = encodings is not None and encodings.features is not None
    return len(fitted.run.splits.train.examples) // 3 if is_cached else fitted.history.examples


def _count_matrix_parameters(fitted: FittedRun) -> int:
    """The parameters that each token is multiplied with: those of the layers and of the embedding projection.

    0 if the features of a frozen encoder are cached, because then no step runs the encoder.
    """
    encodings = fitted.run.tokenized["train"].as_encodings()
    if encodings is not None and encodings.features is not None:
        return 0
    model: Model = fitted.run.built.model
    encoder = model.encoder
    parts = (encoder.layers, *([] if encoder.embeddings.project is None else [encoder.embeddings.project]))
    return sum(parameter.numel() for part in parts for parameter in part.parameters())
