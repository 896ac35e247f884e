"""The commands: names, options, help and examples; each imports its implementation when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bertwright.cli.arguments import (
    AllowCode,
    Context,
    ContextFile,
    Encoding,
    Ensemble,
    ExplanationFormat,
    FormOfEnsemble,
    Header,
    InputFormat,
    JsonFile,
    ModelName,
    PredictionFormat,
    Question,
    RecipeWords,
    RunDirectory,
    SearchMethod,
    SelectionStrategy,
    ServedModels,
    Text,
    TextPair,
    WeightsToKeep,
    choose_ensemble,
)
from bertwright.cli.command import command, command_group
from bertwright.cli.convert import EPILOG as CONVERT_EPILOG
from bertwright.cli.convert import convert
from bertwright.cli.export import EPILOG as EXPORT_EPILOG
from bertwright.cli.export import export
from bertwright.cli.options import (
    ComputeOptions,
    DataOptions,
    InputOptions,
    OutputOptions,
    RecipeOptions,
    ServerOptions,
)
from bertwright.cli.recipes import recipes
from bertwright.cli.tokenizer import tokenizers

app = command_group(
    add_completion=False,
    epilog="""\
Examples:
  bertwright train --model bert-base-uncased --data reviews.csv \\
      --text review --label sentiment --out runs/mine
  bertwright train sst2 data.path=glue/SST-2 --out runs/sst2
  bertwright evaluate runs/sst2 --data glue/SST-2/dev.tsv
  bertwright predict runs/sst2 "I love this movie!"
  bertwright predict runs/mine --input new.csv --output scored.csv
  bertwright inspect runs/sst2

Run `bertwright COMMAND --help` for the options and examples of a command.""",
)
app.add_typer(recipes, name="recipe", help="List, show, copy and import recipes.")
app.add_typer(tokenizers, name="tokenizer", help="Train a tokenizer, or show how one splits a text.")


def _print_version(requested: bool) -> None:
    if requested:
        from bertwright import __version__

        typer.echo(f"bertwright {__version__}")
        raise typer.Exit


@app.callback()
def bertwright(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors; works at any position.")] = False,
) -> None:
    """Fine-tune BERT-family encoders, evaluate them and predict with them."""


@command(
    app,
    epilog="""\
Options are shortcuts for settings: --model X sets model.base=X, --data FILE
sets data.train=FILE, --text COL sets data.text=COL, and so on.

Common settings and their defaults:
{keys}
`bertwright recipe keys` lists all settings.

Examples:
  bertwright train --model bert-base-uncased --data reviews.csv \\
      --text review --label sentiment --out runs/mine
  bertwright train sst2 data.path=glue/SST-2 train.length="1 epoch" \\
      --out runs/sst2
  bertwright train --model bert-base-uncased --task multiple_choice \\
      --data train.jsonl --dev dev.jsonl --out runs/choices
  bertwright train my.yaml seed=1 --out runs/seed1
  bertwright train my.yaml seed=0..4 --out runs/five_seeds
  bertwright train my.yaml seed=0..4 --ensemble --out runs/five_seeds
  bertwright train --resume --out runs/seed1""",
)
def train(
    options: RecipeOptions,
    words: RecipeWords = None,
    out: RunDirectory = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in --out; the result is the same.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard scalars to DIR/tensorboard.")
    ] = False,
    ensemble: Ensemble = False,
    ensemble_form: FormOfEnsemble = None,
    allow_code: AllowCode = False,
) -> None:
    """Fine-tune an encoder, or pre-train one, with a recipe and settings."""
    from bertwright.cli.train import train

    train(words or [], options, out, resume, tensorboard, allow_code, choose_ensemble(ensemble, ensemble_form))


@command(
    app,
    epilog="""\
Give a setting several values to search over them: 2e-5,3e-5 are choices, 0..4
all integers from 0 to 4. With --search random or tpe, 1e-5:1e-4 is a range and
1e-5:1e-4:log a logarithmic range. [a, b] and "quoted, text" are single values.

Each combination is trained once per seed and fold, as an ordinary run in
DIR/trials. Combinations are ranked by their mean metric on the validation
data. Only the best model, DIR/best, is evaluated on the test data.

Examples:
  bertwright sweep rte data.path=glue/RTE train.learning_rate=5e-5,3e-5,2e-5 \\
      train.batch_size=16,32 seed=0..4 --out runs/sweep
  bertwright sweep my.yaml train.learning_rate=1e-5:1e-4:log \\
      tokens.max_length=64,128 --search tpe --trials 20 --out runs/tpe
  bertwright sweep my.yaml seed=0..2 --folds 5 --out runs/folds
  bertwright sweep --resume --out runs/sweep""",
)
def sweep(
    options: RecipeOptions,
    words: RecipeWords = None,
    out: RunDirectory = None,
    search: Annotated[SearchMethod | None, typer.Option("--search", help="Search algorithm (default: grid).")] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", min=1, help="Number of combinations for random and tpe.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option("--folds", metavar="K", min=2, help="K-fold cross-validation on the training data."),
    ] = None,
    keep: Annotated[
        WeightsToKeep | None, typer.Option("--keep", help="Trials whose weights stay on disk (default: best).")
    ] = None,
    refit: Annotated[
        bool | None,
        typer.Option("--refit", help="Retrain with the best settings on training and validation data together."),
    ] = None,
    ensemble: Ensemble = False,
    ensemble_form: FormOfEnsemble = None,
    parallel: Annotated[
        int, typer.Option("--parallel", metavar="N", min=1, help="Trials that run at once; they share the CPU cores.")
    ] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted sweep in --out.")] = False,
    allow_code: AllowCode = False,
) -> None:
    """Search for the best hyperparameters (grid, random or TPE)."""
    from bertwright.cli.sweep import SearchOptions, sweep

    combined = choose_ensemble(ensemble, ensemble_form)
    choices = SearchOptions(search and str(search), trials, folds, keep and str(keep), refit, combined)
    sweep(words or [], options, out, resume, choices, parallel, allow_code)


@command(
    app,
    "learning-curve",
    epilog="""\
Every size is trained with every seed, as an ordinary run in DIR/trials, and all
runs are evaluated on the same rows. Rows are drawn at random and stratified by
label; the rows of a smaller size are a subset of those of a larger one.

Examples:
  bertwright learning-curve --model bert-base-uncased --data reviews.csv \\
      --text review --label sentiment --out runs/curve
  bertwright learning-curve sst2 data.path=glue/SST-2 \\
      --sizes 100,200,500,1000 --seeds 5 --out runs/curve
  bertwright learning-curve --resume --out runs/curve""",
)
def learning_curve(
    options: RecipeOptions,
    words: RecipeWords = None,
    out: RunDirectory = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes",
            metavar="N[,N...]",
            help="Numbers of training rows, such as 100,200,500,all (default: five sizes up to all rows).",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", metavar="N", min=1, max=100, help="Seeds for each size (default: 3).")
    ] = None,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Keep the weights of all runs in DIR/trials.")
    ] = False,
    parallel: Annotated[
        int, typer.Option("--parallel", metavar="N", min=1, help="Runs at the same time; they share the CPU cores.")
    ] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted learning curve in --out.")] = False,
    allow_code: AllowCode = False,
) -> None:
    """Measure the score by number of training rows, and estimate the gain from more.

    Prints the mean and standard deviation over seeds for each number of rows, and
    what twice as many rows are expected to bring.
    """
    from bertwright.cli.learning_curve import CurveOptions, learning_curve

    learning_curve(words or [], options, out, resume, CurveOptions(sizes, seeds, keep_weights), parallel, allow_code)


@command(
    app,
    epilog="""\
Examples:
  bertwright check sst2 data.path=glue/SST-2
  bertwright check my.yaml data.limit=5000 --show 3
  bertwright check --model bert-base-uncased --data reviews.csv --text review""",
)
def check(
    options: RecipeOptions,
    words: RecipeWords = None,
    show: Annotated[
        int,
        typer.Option("--show", metavar="N", min=0, help="Show N training rows with their tokens and truncated text."),
    ] = 0,
) -> None:
    """Check a recipe and its data without training.

    Prints the data checks, the majority-class baseline and the training plan.

    The exit code is 2 if the recipe or the data has errors that stop a run.
    """
    from bertwright.cli.check import check

    check(words or [], options, show)


@command(
    app,
    epilog="""\
In a folder, bertwright evaluates the validation split (both of MNLI), or the
test split if there is no other. Columns default to those used in training.

Examples:
  bertwright evaluate runs/sst2 --data glue/SST-2/dev.tsv
  bertwright evaluate runs/mine --data held_out.csv --label stars --json -
  bertwright evaluate runs/mine --data held_out.csv --all-checkpoints
  bertwright evaluate textattack/bert-base-uncased-SST-2 --data glue/SST-2""",
)
def evaluate(
    model: ModelName,
    *,
    source: DataOptions,
    json: JsonFile = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="DIR", help="Write SQuAD's prediction files to DIR.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write an HTML report of the evaluation.")
    ] = None,
    all_checkpoints: Annotated[
        bool, typer.Option("--all-checkpoints", help="Evaluate every checkpoint that the run kept.")
    ] = False,
    compute: ComputeOptions,
) -> None:
    """Evaluate a model on labeled data, with 95 % confidence intervals."""
    from bertwright.cli.evaluate import evaluate, evaluate_all
    from bertwright.errors import OutputError

    if not all_checkpoints:
        return evaluate(model, source, compute, json, predictions, html)
    for option, value in (("--predictions", predictions), ("--html", html)):
        if value is not None:
            raise OutputError(f"{option} and --all-checkpoints cannot be combined; remove one.")
    return evaluate_all(model, source, compute, json)


@command(
    app,
    epilog="""\
Output files keep the rows and columns of the input and add the columns label,
probability and probability_LABEL for each label (labels for multi-label, value
for regression). If the input has a column of that name, _predicted is appended.
Formats are .csv, .tsv, .jsonl and .parquet; for tagging also .conll or .txt,
the lines of the input with one more column. Files are written atomically.

Examples:
  bertwright predict runs/sst2 "I love this movie!" "This was terrible..."
  bertwright predict runs/mnli "It rains." --pair "The sun is out."
  bertwright predict runs/mine --input new.csv --text review --output scored.csv
  sort texts.txt | bertwright predict runs/sst2 --input - > labels.tsv
  zcat new.csv.gz | bertwright predict runs/mine --input - --input-format csv \\
      --output - --format jsonl
  bertwright predict runs/mine --input new.csv --output scored.csv --uncertainty
  bertwright predict runs/ner --input test.txt --output tagged.txt
  bertwright predict runs/choices --input questions.jsonl
  bertwright predict runs/sst2 --input glue/SST-2/test.tsv --submission out""",
)
def predict(
    model: ModelName,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts to predict.", show_default=False)
    ] = None,
    *,
    pair: Annotated[
        list[str] | None,
        typer.Option("--pair", metavar="TEXT", help="The second text of a pair; repeat it for each TEXT."),
    ] = None,
    question: Question = None,
    context: Context = None,
    context_file: ContextFile = None,
    source: Annotated[
        str | None,
        typer.Option("--input", metavar="FILE", help="Rows to predict; - for standard input, one text per line."),
    ] = None,
    input_format: Annotated[
        InputFormat | None,
        typer.Option("--input-format", help="Format of --input; by default its suffix. Needed for tables in a stream."),
    ] = None,
    text: Text = None,
    text_pair: TextPair = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="FILE", help="Output file; - for standard output.")
    ] = None,
    format_: Annotated[
        PredictionFormat | None, typer.Option("--format", help="Output format; by default the suffix of --output.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output file.")] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Add the entropy and the margin of each prediction.")
    ] = False,
    submission: Annotated[
        Path | None,
        typer.Option("--submission", metavar="DIR", help="Write GLUE submission files for a test file or folder."),
    ] = None,
    encoding: Encoding = "utf-8",
    header: Header = None,
    compute: ComputeOptions,
) -> None:
    """Predict texts or the rows of a file."""
    from bertwright.cli.predict import predict
    from bertwright.cli.question_answering import QuestionOptions

    rows = None if source is None else InputOptions(source, text, text_pair, None, encoding, header, input_format)
    target = OutputOptions(output, format_, overwrite, submission, uncertainty)
    asked = QuestionOptions(question, context, context_file, encoding)
    predict(model, texts or [], pair or [], rows, target, compute, asked)


@command(
    app,
    epilog="""\
POST /predict takes {"inputs": "a text"} or a list of inputs and answers with
JSON. / is a page to try the model, /docs describes the inputs of each task, and
/health, /ready and /metrics are for monitoring. With several models, the first
one answers /predict, and POST /models/NAME/predict selects one by name.

Requests are logged on standard output as JSON, without their texts. SIGTERM
and Ctrl-C stop the server after all accepted requests are answered.

Examples:
  bertwright serve runs/sst2
  bertwright serve runs/sst2 runs/ner --port 8080
  bertwright serve sentiment=runs/sst2/best --host 0.0.0.0 --precision bf16""",
)
def serve(
    models: ServedModels,
    *,
    server: ServerOptions,
    compute: ComputeOptions,
) -> None:
    """Answer prediction requests over HTTP."""
    from bertwright.cli.serve import serve

    serve(models, server, compute)


@command(
    app,
    epilog="""\
Attributions are integrated gradients (Sundararajan et al. 2017): how much each
word raises the score of the target, compared with a text of [MASK] tokens.
They sum up to the difference of both scores.

Examples:
  bertwright explain runs/sst2 "I love this movie!"
  bertwright explain runs/sst2 "I love this movie!" --target negative
  bertwright explain runs/mnli "It rains." --pair "The sun is out." \\
      --output why.html
  bertwright explain runs/ner "Ada Lovelace lived in London." --word London
  bertwright explain runs/squad --question "Who?" --context "Ada did." \\
      --format json
  bertwright explain runs/choices "It rains." --choice "Stay in." --choice Swim""",
)
def explain(
    model: ModelName,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The text to predict and explain.", show_default=False)
    ] = None,
    *,
    pair: Annotated[str | None, typer.Option("--pair", metavar="TEXT", help="The second text of a pair.")] = None,
    question: Question = None,
    context: Context = None,
    context_file: ContextFile = None,
    choice: Annotated[
        list[str] | None,
        typer.Option("--choice", metavar="TEXT", help="A choice of multiple choice; repeat it for each."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="TEXT", help="The label, tag, answer or choice to explain; by default the prediction."
        ),
    ] = None,
    word: Annotated[
        str | None,
        typer.Option(
            "--word",
            metavar="TEXT",
            help="For tagging: the word whose tag is explained, or its position from 0; by default the first span.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", metavar="N", min=1, help="Number of gradients; by default as many as an error below 0.1 % needs."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="FILE", help="Output file; - for standard output.")
    ] = None,
    format_: Annotated[
        ExplanationFormat | None,
        typer.Option("--format", help="Output format; by default the suffix of --output, or text."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output file.")] = False,
    encoding: Encoding = "utf-8",
    compute: ComputeOptions,
) -> None:
    """Show how much each word of a text contributes to its prediction."""
    from bertwright.cli.explain import ExplainedRow, explain
    from bertwright.cli.question_answering import QuestionOptions
    from bertwright.tasks.explained_outputs import ExplanationRequest

    row = ExplainedRow(text, pair, tuple(choice or ()), QuestionOptions(question, context, context_file, encoding))
    request = ExplanationRequest(target, word, steps)
    explain(model, row, request, OutputOptions(output, format_ and str(format_), overwrite), compute)


@command(
    app,
    epilog="""\
diverse takes the 10 times N rows with the highest entropy, and from these
chooses rows that differ from each other. Rows that occur in the data of the
run, and duplicates, are skipped. The output has the columns of the input,
then source (file and line), entropy and margin.

Examples:
  bertwright select runs/mine 100 --input new.csv --output to_label.csv
  bertwright select runs/mine 500 --input a.jsonl --input b.jsonl \\
      --strategy uncertainty --output to_label.jsonl
  zcat new.csv.gz | bertwright select runs/mine 100 --input - \\
      --input-format csv --output -""",
)
def select(
    model: ModelName,
    n: Annotated[int, typer.Argument(metavar="N", min=1, help="Number of rows to choose.", show_default=False)],
    *,
    source: Annotated[
        list[str],
        typer.Option("--input", metavar="FILE", help="Unlabeled rows; repeat it for several files; - for a stream."),
    ],
    input_format: Annotated[
        InputFormat | None, typer.Option("--input-format", help="Format of --input; by default its suffix.")
    ] = None,
    text: Text = None,
    text_pair: TextPair = None,
    output: Annotated[str, typer.Option("--output", metavar="FILE", help="Output file; - for standard output.")],
    format_: Annotated[
        InputFormat | None, typer.Option("--format", help="Output format; by default the suffix of --output.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output file.")] = False,
    strategy: Annotated[SelectionStrategy, typer.Option("--strategy", help="How rows are chosen.")] = (
        SelectionStrategy.diverse
    ),
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the random numbers.")] = 0,
    encoding: Encoding = "utf-8",
    header: Header = None,
    compute: ComputeOptions,
) -> None:
    """Choose the unlabeled rows that are most useful to label next."""
    from bertwright.cli.select import select

    rows = [InputOptions(each, text, text_pair, None, encoding, header, input_format) for each in source]
    select(model, n, rows, OutputOptions(output, format_, overwrite), compute, strategy, seed)


@command(
    app,
    epilog="""\
All models predict the same rows and are compared with the first one. The
confidence interval of each difference comes from a paired bootstrap, its
p-value from approximate randomization.

Examples:
  bertwright compare runs/a runs/b --data glue/SST-2/dev.tsv
  bertwright compare runs/a runs/b runs/c --data held_out.csv --examples 5
  bertwright compare runs/a runs/b --data held_out.csv --html a_and_b.html""",
)
def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL MODEL...", help="Two or more models.")],
    *,
    source: DataOptions,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", min=0, help="Show N rows on which the models disagree.")
    ] = 0,
    json: JsonFile = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the comparison as an HTML page.")
    ] = None,
    compute: ComputeOptions,
) -> None:
    """Test whether one model is significantly better than another."""
    from bertwright.cli.compare import compare

    compare(models, source, compute, examples, json, html)


command(app, epilog=CONVERT_EPILOG)(convert)
command(app, epilog=EXPORT_EPILOG)(export)


@command(
    app,
    epilog="""\
Examples:
  bertwright inspect runs/sst2
  bertwright inspect bert-base-uncased""",
)
def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run directory, an HF directory or a Hub name.")],
    allow_code: AllowCode = False,
) -> None:
    """Show the layers, parameters, labels and metrics of a model."""
    from bertwright.cli.console import out, show
    from bertwright.tools.model_summary import summarize

    show(out(wraps=True), summarize(model, allow_code).renderables())


@command(
    app,
    epilog="""\
Uploads the weights, the tokenizer, the model card, the recipe and the report in
one commit. Checkpoints, optimizer state and logs are not uploaded, and paths of
this machine are removed. The token comes from HF_TOKEN or `hf auth login`.

Examples:
  bertwright push runs/sst2 jane/sst2-minilm --dry-run
  bertwright push runs/sst2 jane/sst2-minilm --private
  bertwright push runs/sst2 jane/sst2-minilm --yes""",
)
def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a finished run.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository on the Hub.", show_default=False)],
    private: Annotated[
        bool, typer.Option("--private", help="Create a private repository; an existing one must be private.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Upload without asking for confirmation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files and upload nothing.")] = False,
) -> None:
    """Upload a finished run to the Hugging Face Hub."""
    from bertwright.cli.push import push

    push(run, name, private, yes, dry_run)
