"""``bertwright predict``."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bertwright.cli.console import RowProgress, print_note, report_remarks, show_predictions, stderr_console
from bertwright.cli.inputs import ROWS, Input, Part, open_examples, open_input
from bertwright.cli.options import ComputeOptions, DataOptions, InputOptions, OutputOptions, errors_name_options
from bertwright.cli.prediction_files import (
    FORMATS,
    choose_format,
    columns_of,
    is_own_format,
    join_columns,
    open_writer,
    write_lines,
)
from bertwright.cli.question_answering import NOTHING, QuestionOptions, check_pairs
from bertwright.data.example import Example
from bertwright.data.folders import detect_layout
from bertwright.data.glue import list_task_splits, write_submission
from bertwright.errors import BertwrightError, DataError, OutputError
from bertwright.output.terminal import print_line
from bertwright.run.bundle import Bundle
from bertwright.tasks.spec import Prediction
from bertwright.training.compute import release_free_memory


def predict(
    name: str,
    texts: Sequence[str],
    pairs: Sequence[str],
    reading: InputOptions | None,
    destination: OutputOptions,
    computing: ComputeOptions,
    asked: QuestionOptions = NOTHING,
) -> None:
    """Predict texts or rows, or answer a question, and print or write what comes out.

    Raises:
        BertwrightError: an option, the input or the model is invalid.
    """
    if reading is not None and (texts or pairs):
        raise BertwrightError("predict: texts and --input are both given; choose one.")
    if asked and (reading is not None or texts or pairs):
        raise BertwrightError("predict: --question comes with a context, and without texts and --input.")
    if reading is None and not texts and not asked:
        raise BertwrightError('predict: there is nothing to predict; add a text, or --input FILE ("-" reads lines).')
    if pairs and len(pairs) != len(texts):
        raise BertwrightError(f"predict: {len(texts)} texts, but {len(pairs)} --pair; give one for each text.")
    if destination.submission is not None:
        if reading is None or destination.output is not None:
            raise BertwrightError("predict: --submission takes --input, a GLUE test file or folder, and no --output.")
        if destination.uncertainty:
            raise BertwrightError("predict: --submission and --uncertainty cannot be combined; remove one.")
        with errors_name_options():
            _submit(computing.open(name), reading, destination.submission)
        return
    with errors_name_options(), ExitStack() as stack:
        bundle = computing.open(name)
        source_name = "" if reading is None else f"input.{reading.format}" if reading.format else reading.data
        format_ = choose_format(destination, source_name, bundle.task.prediction_format.own_format)
        if destination.uncertainty:
            _check_uncertainty(bundle, format_)
        if asked:
            source = open_examples(bundle, [asked.example(bundle, "predict")])
        elif reading is None:
            rows = [
                bundle.normalize_example(Example(str(i), text, pairs[i] if pairs else None, where=f"text {i + 1}"))
                for i, text in enumerate(texts)
            ]
            check_pairs(bundle, bool(pairs), "predict")
            source = open_examples(bundle, rows)
        else:
            added = columns_of(bundle.task, [], destination.uncertainty)
            source = open_input(bundle, reading, added, None if destination.output is None else format_, stack)
        _predict_source(bundle, source, destination, format_, None if reading is None else reading.encoding)


def _check_uncertainty(bundle: Bundle, format_: str) -> None:
    bundle.check_distribution("remove --uncertainty")
    if is_own_format(bundle.task, format_):
        raise OutputError(
            f"predict: the format {format_} has no columns for --uncertainty; choose {', '.join(FORMATS)}."
        )


def _predict_source(
    bundle: Bundle, source: Input, destination: OutputOptions, format_: str, encoding: str | None
) -> None:
    """Predict rows part by part; print or write each part at once, except in a format of the task."""
    reported = _report_reading(source)
    prediction_format, output, n = bundle.task.prediction_format, destination.output, 0
    prints = output is None or (output == "-" and sys.stdout.isatty())
    parts = _predict_parts(bundle, source, quiet=prints)
    if output is None:
        for part, predictions in parts:
            show_predictions(prediction_format.make_table(predictions, part.examples, n + 1, destination.uncertainty))
            n += len(predictions)
    elif is_own_format(bundle.task, format_):
        examples, predictions = list[Example](), list[Prediction]()
        for part, some in parts:
            examples += part.examples
            predictions += some
        n = len(predictions)
        rows = examples if source.dataset is None else source.dataset
        lines = prediction_format.write_own_format(predictions, rows, source.path, encoding or "utf-8")
        write_lines(lines, output)
    else:
        with open_writer(output, format_) as write_part:
            for part, predictions in parts:
                write_part(
                    join_columns(part.columns, columns_of(bundle.task, predictions, destination.uncertainty), format_)
                )
                n += len(predictions)
    _report_reading(source, reported)
    if output not in (None, "-"):
        print_line(stderr_console(), f"{n:,} predictions in {output}")


def _report_reading(source: Input, reported: Container[tuple[str, bool]] = ()) -> list[tuple[str, bool]]:
    """Print what the reader inferred, skipped or ignored and has not reported; return its remarks."""
    remarks = [] if source.report is None else source.report().remarks()
    report_remarks(remark for remark in remarks if remark not in reported)
    return remarks


def _predict_parts(bundle: Bundle, source: Input, quiet: bool = False) -> Iterator[tuple[Part, list[Prediction]]]:
    """The parts of the input with their predictions, in order, with a bar where it takes long."""
    n = n_truncated = n_unreleased = 0
    with RowProgress(stderr_console(), source.total, "predicting", quiet) as bar:

        def update(done: int) -> None:
            bar.update(n + done)

        for part in source.parts:
            outputs, truncated = bundle.compute_outputs(part.examples, update)
            n, n_truncated = n + len(part.examples), n_truncated + truncated
            yield part, bundle.task.decode(outputs, part.examples)
            n_unreleased += len(part.examples)
            if n_unreleased >= ROWS:  # batches of varying lengths leave gaps, with which memory grows over many parts
                release_free_memory()
                n_unreleased = 0
    if n_truncated:
        print_note(
            stderr_console(), f"{n_truncated:,} of {n:,} texts are truncated to {bundle.tokens.max_length} tokens"
        )


def _submit(bundle: Bundle, reading: DataOptions, folder: Path) -> None:
    """Write GLUE's submission file for every test split of a folder, or for one test file."""
    path = Path(reading.data)
    layout = detect_layout(path)
    if layout in (None, "aclimdb"):
        raise DataError(f"{path}: is not a test file or folder of a GLUE task as distributed; name one.")
    splits: list[str | None] = [None]
    if path.is_dir():
        splits = [split for split in list_task_splits(path, layout) if split.startswith("test")]
    if not splits:
        raise DataError(f"{path}: contains no test file; name a folder or file with GLUE's test rows.")
    for split in splits:
        rows = bundle.read(path, labelled=False, split=split, encoding=reading.encoding)
        if not (rows.report.split or "").startswith("test"):
            raise DataError(f"{path}: is not a test file; GLUE accepts submissions only for test.tsv.")
        answers = [
            prediction.value if prediction.value is not None else str(prediction.label)
            for _, predictions in _predict_parts(bundle, Input([Part(rows, {})], len(rows)))
            for prediction in predictions
        ]
        files = write_submission(layout, answers, folder, rows.report.split or "test")
        print_line(stderr_console(), f"{len(answers):,} predictions of {rows.report.source} in {files}")
