"""The commands: what each is called, takes and says of itself. What they do is imported when they are run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bertwright.cli.arguments import (
    AllowCode,
    Arithmetic,
    BundleName,
    Data,
    Dev,
    Device,
    Encoding,
    Header,
    Label,
    Model,
    Precision,
    PredictionFormat,
    RecipeWords,
    SearchMethod,
    Source,
    Task,
    Text,
    TextPair,
    Threads,
    WeightsToKeep,
)
from bertwright.cli.command import HELP, Command, Group
from bertwright.cli.convert import EPILOG as CONVERT
from bertwright.cli.convert import convert
from bertwright.cli.options import ComputeOptions, DataOptions, OutputOptions, RecipeOptions
from bertwright.cli.recipes import recipes
from bertwright.cli.tokenizer import tokenizers

app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings=HELP,
    epilog="""\
Examples:
  bertwright train --model bert-base-uncased --data reviews.csv \\
      --text review --label sentiment --out runs/mine
  bertwright train sst2 data.path=glue/SST-2 --out runs/sst2
  bertwright evaluate runs/sst2 --data glue/SST-2/dev.tsv
  bertwright predict runs/sst2 "I love this movie!"
  bertwright predict runs/mine --input new.csv --output scored.csv
  bertwright inspect runs/sst2

`bertwright COMMAND --help` says more, with examples.""",
)
app.add_typer(recipes, name="recipe", help="List, show, copy and import recipes.")
app.add_typer(tokenizers, name="tokenizer", help="Train a tokenizer; show what one makes of a text.")


def _version(asked: bool) -> None:
    if asked:
        from bertwright import __version__

        typer.echo(f"bertwright {__version__}")
        raise typer.Exit


@app.callback()
def bertwright(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors; may stand anywhere.")] = False,
) -> None:
    """Fine-tune any BERT-family encoder, evaluate it, predict with it."""


@app.command(
    cls=Command,
    context_settings=HELP,
    epilog="""\
The options are spellings of settings: --model X is model.base=X, --data FILE is
data.train=FILE, --text COL is data.text=COL, and so on.

Settings people change most, with their defaults:
{keys}
`bertwright recipe keys` lists all.

Examples:
  bertwright train --model bert-base-uncased --data reviews.csv \\
      --text review --label sentiment --out runs/mine
  bertwright train sst2 data.path=glue/SST-2 train.length="1 epoch" \\
      --out runs/sst2
  bertwright train --model bert-base-uncased --task multiple_choice \\
      --data train.jsonl --dev dev.jsonl --out runs/choices
  bertwright train my.yaml seed=1 --out runs/seed1
  bertwright train my.yaml seed=0..4 --out runs/five_seeds
  bertwright train --resume --out runs/seed1""",
)
def train(
    words: RecipeWords = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the run goes: a new directory.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in --out was stopped, as if it never had been.")
    ] = False,
    model: Model = None,
    data: Data = None,
    dev: Dev = None,
    text: Text = None,
    text_pair: TextPair = None,
    label: Label = None,
    task: Task = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write scalars for TensorBoard to DIR/tensorboard.")
    ] = False,
    allow_code: AllowCode = False,
) -> None:
    """Fine-tune an encoder as a recipe and the options say."""
    from bertwright.cli.train import train

    train(
        words or [], RecipeOptions(model, data, dev, text, text_pair, label, task), out, resume, tensorboard, allow_code
    )


@app.command(
    cls=Command,
    context_settings=HELP,
    epilog="""\
What varies is written as several values: 2e-5,3e-5 are choices, 0..4 whole
numbers with both ends, and for random and tpe 1e-5:1e-4 or 1e-5:1e-4:log a
range. A list [a, b] and a "quoted, text" are one value.

Every combination is trained once for each seed and fold, as an ordinary run in
DIR/trials, and ranked by its mean on dev. Only the winner, DIR/best, is
measured on test rows.

Examples:
  bertwright sweep rte data.path=glue/RTE train.learning_rate=5e-5,3e-5,2e-5 \\
      train.batch_size=16,32 seed=0..4 --out runs/sweep
  bertwright sweep my.yaml train.learning_rate=1e-5:1e-4:log \\
      tokens.max_length=64,128 --search tpe --trials 20 --out runs/tpe
  bertwright sweep my.yaml seed=0..2 --folds 5 --out runs/folds
  bertwright sweep --resume --out runs/sweep""",
)
def sweep(
    words: RecipeWords = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the sweep goes: a new directory.")
    ] = None,
    search: Annotated[SearchMethod | None, typer.Option("--search", help="How settings are chosen; else grid.")] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", min=1, help="Combinations that random and tpe try.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", metavar="K", min=2, help="Cross-validate on the training rows.")
    ] = None,
    keep: Annotated[WeightsToKeep | None, typer.Option("--keep", help="Whose weights are kept; else best.")] = None,
    refit: Annotated[
        bool | None, typer.Option("--refit", help="Train the winner anew, on train and dev together.")
    ] = None,
    parallel: Annotated[
        int, typer.Option("--parallel", metavar="N", min=1, help="Trials at once; they share the CPU's cores.")
    ] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the sweep in --out was stopped.")] = False,
    model: Model = None,
    data: Data = None,
    dev: Dev = None,
    text: Text = None,
    text_pair: TextPair = None,
    label: Label = None,
    task: Task = None,
    allow_code: AllowCode = False,
) -> None:
    """Find good settings: try several, choose the best on dev."""
    from bertwright.cli.sweep import SearchOptions, sweep

    searching = SearchOptions(search and str(search), trials, folds, keep and str(keep), refit)
    spellings = RecipeOptions(model, data, dev, text, text_pair, label, task)
    sweep(words or [], spellings, out, resume, searching, parallel, allow_code)


@app.command(
    cls=Command,
    context_settings=HELP,
    epilog="""\
Examples:
  bertwright check sst2 data.path=glue/SST-2
  bertwright check my.yaml data.limit=5000 --show 3
  bertwright check --model bert-base-uncased --data reviews.csv --text review""",
)
def check(
    words: RecipeWords = None,
    model: Model = None,
    data: Data = None,
    dev: Dev = None,
    text: Text = None,
    text_pair: TextPair = None,
    label: Label = None,
    task: Task = None,
    show: Annotated[
        int,
        typer.Option("--show", metavar="N", min=0, help="Show N training rows with their tokens and what is cut."),
    ] = 0,
) -> None:
    """Look for trouble in a recipe and its data; train nothing.

    Shows what the doctor finds, what a model must beat, and the plan of the run.

    Exit code 2 if the data has errors that would stop a run.
    """
    from bertwright.cli.check import check

    check(words or [], RecipeOptions(model, data, dev, text, text_pair, label, task), show)


@app.command(
    cls=Command,
    context_settings=HELP,
    epilog="""\
Of a folder the dev split is taken (of MNLI both), else the test split. Columns
are those the model was trained on, unless others are named.

Examples:
  bertwright evaluate runs/sst2 --data glue/SST-2/dev.tsv
  bertwright evaluate runs/mine --data held_out.csv --label stars --json -
  bertwright evaluate runs/mine --data held_out.csv --all-checkpoints
  bertwright evaluate textattack/bert-base-uncased-SST-2 --data glue/SST-2""",
)
def evaluate(
    bundle: BundleName,
    data: Source,
    text: Text = None,
    text_pair: TextPair = None,
    label: Label = None,
    json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON; - for standard output.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="DIR", help="Write SQuAD's own files of answers there.")
    ] = None,
    all_checkpoints: Annotated[
        bool,
        typer.Option(
            "--all-checkpoints", help="Measure every checkpoint that train.keep_checkpoints kept, a line each."
        ),
    ] = False,
    encoding: Encoding = "utf-8",
    header: Header = None,
    device: Device = "auto",
    precision: Arithmetic = Precision.fp32,
    threads: Threads = None,
    allow_code: AllowCode = False,
) -> None:
    """Measure a model on labelled rows, with 95 % intervals."""
    from bertwright.cli.evaluate import evaluate, evaluate_all
    from bertwright.errors import OutputError

    reading = DataOptions(data, text, text_pair, label, encoding, header)
    computing = ComputeOptions(device, precision, threads, allow_code)
    if not all_checkpoints:
        return evaluate(bundle, reading, computing, json, predictions)
    if predictions is not None:
        raise OutputError("--predictions: is for one model; leave it out beside --all-checkpoints.")
    return evaluate_all(bundle, reading, computing, json)


@app.command(
    cls=Command,
    context_settings=HELP,
    epilog="""\
A file's predictions come in its order, beside its own columns: label,
probability and probability_LABEL for each label (labels for multi-label, value
for regression); a name that the file has already ends in _predicted. Files are
.csv, .tsv, .jsonl or .parquet, written whole or not at all. Tagged words go to
.conll or .txt too: a column file's own lines with one more column.

Examples:
  bertwright predict runs/sst2 "I love this movie!" "This was terrible..."
  bertwright predict runs/mnli "It rains." --pair "The sun is out."
  bertwright predict runs/mine --input new.csv --text review --output scored.csv
  sort texts.txt | bertwright predict runs/sst2 --input - > labels.tsv
  bertwright predict runs/ner --input test.txt --output tagged.txt
  bertwright predict runs/choices --input questions.jsonl
  bertwright predict runs/sst2 --input glue/SST-2/test.tsv --submission out""",
)
def predict(
    bundle: BundleName,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts to predict.", show_default=False)
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option("--pair", metavar="TEXT", help="The second text of a pair; once for each TEXT."),
    ] = None,
    question: Annotated[str | None, typer.Option("--question", metavar="TEXT", help="A question to answer.")] = None,
    context: Annotated[str | None, typer.Option("--context", metavar="TEXT", help="The text that answers it.")] = None,
    context_file: Annotated[
        Path | None, typer.Option("--context-file", metavar="FILE", help="The file that holds that text.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--input", metavar="FILE", help="Rows to predict; - for standard input, one text a line."),
    ] = None,
    text: Text = None,
    text_pair: TextPair = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="FILE", help="Where predictions go; - for standard output.")
    ] = None,
    format_: Annotated[
        PredictionFormat | None, typer.Option("--format", help="Of the output, where its name does not say.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    submission: Annotated[
        Path | None,
        typer.Option("--submission", metavar="DIR", help="Write GLUE's submission file for a test file or folder."),
    ] = None,
    encoding: Encoding = "utf-8",
    header: Header = None,
    device: Device = "auto",
    precision: Arithmetic = Precision.fp32,
    threads: Threads = None,
    allow_code: AllowCode = False,
) -> None:
    """Predict texts, or the rows of a file."""
    from bertwright.cli.predict import predict
    from bertwright.cli.question_answering import QuestionOptions

    reading = None if source is None else DataOptions(source, text, text_pair, None, encoding, header)
    destination = OutputOptions(output, format_, overwrite, submission)
    asked = QuestionOptions(question, context, context_file, encoding)
    predict(
        bundle,
        texts or [],
        pair or [],
        reading,
        destination,
        ComputeOptions(device, precision, threads, allow_code),
        asked,
    )


@app.command(
    cls=Command,
    context_settings=HELP,
    epilog="""\
Every model predicts the same rows, and is compared with the first: the interval
of the difference is a paired bootstrap's, p approximate randomisation's.

Examples:
  bertwright compare runs/a runs/b --data glue/SST-2/dev.tsv
  bertwright compare runs/a runs/b runs/c --data held_out.csv --examples 5""",
)
def compare(
    bundles: Annotated[list[str], typer.Argument(metavar="BUNDLE BUNDLE...", help="Two models or more.")],
    data: Source,
    text: Text = None,
    text_pair: TextPair = None,
    label: Label = None,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", min=0, help="Show so many rows on which they differ.")
    ] = 0,
    json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON; - for standard output.")
    ] = None,
    encoding: Encoding = "utf-8",
    header: Header = None,
    device: Device = "auto",
    precision: Arithmetic = Precision.fp32,
    threads: Threads = None,
    allow_code: AllowCode = False,
) -> None:
    """Test whether one model is better than another on the same rows."""
    from bertwright.cli.compare import compare

    reading = DataOptions(data, text, text_pair, label, encoding, header)
    compare(bundles, reading, ComputeOptions(device, precision, threads, allow_code), examples, json)


app.command(cls=Command, context_settings=HELP, epilog=CONVERT)(convert)


@app.command(
    cls=Command,
    context_settings=HELP,
    epilog="""\
Examples:
  bertwright inspect runs/sst2
  bertwright inspect bert-base-uncased""",
)
def inspect(
    name: Annotated[str, typer.Argument(metavar="X", help="A bundle, an HF directory or a Hub name.")],
    allow_code: AllowCode = False,
) -> None:
    """Show a model's layers, parameters, labels and scores."""
    from bertwright.cli.console import out, show
    from bertwright.tools.model_summary import summarize

    show(out(wraps=True), summarize(name, allow_code).renderables())
