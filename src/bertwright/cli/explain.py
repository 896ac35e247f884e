"""``bertwright explain``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import RenderableType
from rich.text import Text

from bertwright.attributions.explanation import Explanation
from bertwright.attributions.page import make_explanation_page
from bertwright.cli.console import out, print_note, show, stderr_console
from bertwright.cli.options import ComputeOptions, OutputOptions, errors_name_options
from bertwright.cli.prediction_files import check_new_file
from bertwright.cli.question_answering import NOTHING, QuestionOptions, check_pairs
from bertwright.data.example import Example
from bertwright.errors import BertwrightError, OutputError
from bertwright.files.atomic import write_atomically
from bertwright.files.strict_json import to_json
from bertwright.html.page import render_page
from bertwright.output.palette import BLUE, VERMILION
from bertwright.output.terminal import make_table, plain_text, print_line, render_plain
from bertwright.run.bundle import Bundle
from bertwright.tasks.explained_outputs import ExplanationRequest

COMMAND = "explain"

_SUFFIXES = {".html": "html", ".htm": "html", ".json": "json", ".txt": "text"}

MOST_WORDS = 12
"""Words in the table of the terminal."""

BAR = 16
"""Columns of the longest bar."""

FAINT = 0.05
"""Words with a smaller share of the largest attribution are not highlighted."""


@dataclass(frozen=True)
class ExplainedRow:
    """The row on the command line.

    Attributes:
        text: the text, the first text of a pair, or the context of choices.
        pair: the second text of a pair, or the question of choices.
        choices: of multiple choice.
        asked: a question and its context.
    """

    text: str | None = None
    pair: str | None = None
    choices: tuple[str, ...] = ()
    asked: QuestionOptions = NOTHING

    def check(self) -> None:
        """Check that there is one text, before the model is loaded.

        Raises:
            BertwrightError: there is none, or a question too.
        """
        if self.text is None and not self.asked:
            raise BertwrightError("explain: there is nothing to explain; add a text.")
        if self.asked and (self.text is not None or self.pair is not None or self.choices):
            raise BertwrightError("explain: --question comes with a context, and without a text, --pair and --choice.")

    def to_example(self, bundle: Bundle) -> Example:
        """The row for a model.

        Raises:
            BertwrightError: the model does not take such rows.
        """
        if self.asked:
            return self.asked.example(bundle, COMMAND)
        if bundle.task.scores_choices != bool(self.choices):
            remedy = "leave --choice out" if self.choices else "add --choice TEXT for each of them"
            takes = "chooses between texts" if bundle.task.scores_choices else "takes no choices"
            raise BertwrightError(f"explain: the model {takes}; {remedy}.")
        check_pairs(bundle, self.pair is not None, COMMAND)
        return Example("0", self.text or "", self.pair, where="text", choices=self.choices or None)


def explain(
    name: str, row: ExplainedRow, request: ExplanationRequest, destination: OutputOptions, computing: ComputeOptions
) -> None:
    """Explain one prediction; print it or write it to a file.

    Raises:
        BertwrightError: an option, the text or the model is invalid.
    """
    row.check()
    format_ = _choose_format(destination)
    with errors_name_options():
        bundle = computing.open(name)
        example = row.to_example(bundle)
        explanation = bundle.explain(example, target=request.target, word=request.word, steps=request.n_steps)
    for note in explanation.notes:
        print_note(stderr_console(), note)
    if format_ == "text" and destination.output in (None, "-"):
        show(out(), _describe(explanation))
        return
    contents = _render(explanation, format_, bundle.base.source)
    if destination.output in (None, "-"):
        sys.stdout.write(contents)
        return
    write_atomically(destination.output, contents)
    print_line(stderr_console(), f"explanation in {destination.output}")


def _choose_format(destination: OutputOptions) -> str:
    """The format to write, before the model is loaded.

    Raises:
        OutputError: the file cannot be written, or its name does not show the format.
    """
    if destination.output in (None, "-"):
        return destination.format or "text"
    path = check_new_file(destination.output, destination.overwrite)
    format_ = destination.format or _SUFFIXES.get(path.suffix.lower())
    if format_ is None:
        raise OutputError(
            f"{path}: no format has the suffix {path.suffix or '(none)'}; end it in .html, .json or .txt, or add "
            "--format."
        )
    return format_


def _render(explanation: Explanation, format_: str, model: str) -> str:
    if format_ == "html":
        return render_page(make_explanation_page(explanation, model))
    if format_ == "json":
        return to_json(explanation.to_dict(), indent=2) + "\n"
    return render_plain(_describe(explanation))


def _describe(explanation: Explanation) -> Iterator[RenderableType]:
    """The target, the highlighted texts and the words with the largest attributions."""
    probability = explanation.prediction.probabilities.get(explanation.target)
    sure = "" if probability is None else f" (probability {probability:.4f})"
    yield f"target   {explanation.describe_target()}{sure}"
    yield (
        f"score    {explanation.quantity} {explanation.score:.4f}; {explanation.baseline_score:.4f} if every token is "
        f"{explanation.baseline}"
    )
    yield (
        f"sum      {explanation.total:+.4f} (error {explanation.convergence_delta:+.2g}, {explanation.n_steps} steps)"
    )
    yield ""
    several = len(explanation.texts) > 1
    for i, text in enumerate(explanation.texts):
        if several:
            yield plain_text(text.name, "dim")
        highlighted = Text()
        for piece, weight in explanation.pieces(i):
            highlighted.append(piece, _style(weight))
        yield from highlighted.split("\n")
        yield ""
    table = make_table("word", *(("text",) if several else ()), "attribution", "")
    for word in sorted(explanation.words, key=lambda word: -abs(word.attribution))[:MOST_WORDS]:
        bar = "█" * max(1, round(BAR * abs(word.attribution) / explanation.scale)) if word.attribution else ""
        cells = (word.word, *((explanation.texts[word.text].name,) if several else ()), f"{word.attribution:+.4f}")
        table.add_row(*cells, plain_text(bar, BLUE if word.attribution > 0 else VERMILION))
    yield table
    if (n_more := len(explanation.words) - MOST_WORDS) > 0:
        yield f"and {n_more} more"


def _style(weight: float) -> str:
    """White to blue for a positive weight, white to vermilion, underlined, for a negative one."""
    if abs(weight) < FAINT:
        return ""
    full = BLUE if weight > 0 else VERMILION
    mixed = "".join(f"{round(255 + (int(full[i : i + 2], 16) - 255) * abs(weight)):02x}" for i in (1, 3, 5))
    return f"{'white' if abs(weight) > 0.6 else 'black'} on #{mixed}{'' if weight > 0 else ' underline'}"
