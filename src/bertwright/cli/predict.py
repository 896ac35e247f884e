"""``bertwright predict``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bertwright.cli.console import RowProgress, print_note, report_reading, show_predictions, stderr_console
from bertwright.cli.inputs import lines_of_stdin, open_input
from bertwright.cli.options import ComputeOptions, DataOptions, OutputOptions, errors_name_options
from bertwright.cli.prediction_files import (
    check_values,
    choose_format,
    is_own_format,
    join_columns,
    write,
    write_lines,
)
from bertwright.cli.question_answering import NOTHING, QuestionOptions
from bertwright.data.dataset import Dataset
from bertwright.data.example import Example
from bertwright.data.folders import detect_layout
from bertwright.data.glue import list_task_splits, write_submission
from bertwright.errors import BertwrightError, DataError
from bertwright.output.terminal import print_line
from bertwright.run.bundle import Bundle
from bertwright.tasks.spec import Prediction

CHUNK = 4096
"""Rows tokenized and scored at a time, to limit memory."""


def predict(
    name: str,
    texts: Sequence[str],
    pairs: Sequence[str],
    reading: DataOptions | None,
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
        with errors_name_options():
            _submit(computing.open(name), reading, destination.submission, computing)
        return
    with errors_name_options():
        bundle = computing.open(name)
        format_ = choose_format(
            destination, "" if reading is None else reading.data, bundle.task.prediction_format.own_format
        )
        if asked:
            _deliver(bundle, [[asked.example(bundle)]], destination, format_, computing)
        elif reading is None:
            rows = [
                bundle.normalize_example(Example(str(i), text, pairs[i] if pairs else None, where=f"text {i + 1}"))
                for i, text in enumerate(texts)
            ]
            _check_pairs(bundle, pairs)
            _deliver(bundle, [rows], destination, format_, computing)
        elif reading.data == "-":
            _deliver(bundle, lines_of_stdin(bundle, reading), destination, format_, computing)
        else:
            _predict_file(bundle, reading, destination, format_, computing)


def _check_pairs(bundle: Bundle, pairs: Sequence[str]) -> None:
    if bundle.takes_pairs is None or bundle.takes_pairs == bool(pairs):
        return
    if pairs:
        raise DataError("predict: the model takes one text a row; leave --pair out.")
    if bundle.task.extracts_answers:
        raise DataError("predict: the model answers questions; ask it with --question and --context or --context-file.")
    raise DataError('predict: the model takes two texts a row; add --pair "the second text".')


def _predict_file(
    bundle: Bundle, reading: DataOptions, destination: OutputOptions, format_: str, computing: ComputeOptions
) -> None:
    source = open_input(bundle, reading)
    report_reading(source.rows.report)
    if destination.output is None:
        chunks = (source.rows[i : i + CHUNK] for i in range(0, len(source.rows), CHUNK))
        _deliver(bundle, chunks, destination, format_, computing)
        return
    check_values(source.columns, bundle.task, format_)
    predictions = _predict_rows(bundle, source.rows, computing)
    if is_own_format(bundle.task, format_):
        lines = bundle.task.prediction_format.write_own_format(
            predictions, source.rows, Path(reading.data), reading.encoding
        )
        write_lines(lines, destination.output)
    else:
        columns = join_columns(source.columns, bundle.task.columns(predictions), format_)
        write(columns, destination.output, format_)
    if destination.output != "-":
        print_line(stderr_console(), f"{len(predictions):,} predictions in {destination.output}")


def _predict_rows(bundle: Bundle, rows: Dataset, computing: ComputeOptions) -> list[Prediction]:
    """Predictions of all rows, in order, with a bar where it takes long."""
    with RowProgress(stderr_console(), len(rows), "predicting") as bar:
        predictions, truncated = _predict_examples(bundle, rows, computing, bar.update)
    _report_truncated(bundle, truncated, len(rows))
    return predictions


def _deliver(
    bundle: Bundle,
    chunks: Iterable[Sequence[Example]],
    destination: OutputOptions,
    format_: str,
    computing: ComputeOptions,
) -> None:
    """Predict chunks as they come; print each at once, unless they go into a file together."""
    examples: list[Example] = []
    predictions: list[Prediction] = []
    truncated = n = 0
    prediction_format = bundle.task.prediction_format
    for chunk in chunks:
        chunk_predictions, cut = _predict_examples(bundle, chunk, computing)
        truncated, n = truncated + cut, n + len(chunk_predictions)
        if destination.output is None:
            show_predictions(prediction_format.make_table(chunk_predictions, chunk, n - len(chunk_predictions) + 1))
        else:
            examples += chunk
            predictions += chunk_predictions
    if not n:
        raise DataError("standard input: is empty; write one text per line.")
    _report_truncated(bundle, truncated, n)
    if destination.output is None:
        return
    if is_own_format(bundle.task, format_):
        write_lines(prediction_format.write_own_format(predictions, examples), destination.output)
    else:
        columns = join_columns(prediction_format.text_columns(examples), bundle.task.columns(predictions), format_)
        write(columns, destination.output, format_)


def _predict_examples(
    bundle: Bundle, rows: Sequence[Example], computing: ComputeOptions, on_progress: Callable[[int], None] | None = None
) -> tuple[list[Prediction], int]:
    """Predictions, and how many rows were truncated for them."""
    outputs, truncated = bundle.compute_outputs(rows, on_progress)
    return bundle.task.decode(outputs, rows), truncated


def _report_truncated(bundle: Bundle, truncated: int, n: int) -> None:
    if truncated:
        print_note(stderr_console(), f"{truncated:,} of {n:,} texts are truncated to {bundle.tokens.max_length} tokens")


def _submit(bundle: Bundle, reading: DataOptions, folder: Path, computing: ComputeOptions) -> None:
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
            for prediction in _predict_rows(bundle, rows, computing)
        ]
        files = write_submission(layout, answers, folder, rows.report.split or "test")
        print_line(stderr_console(), f"{len(answers):,} predictions of {rows.report.source} in {files}")
