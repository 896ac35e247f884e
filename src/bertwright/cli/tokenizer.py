"""``bertwright tokenizer``: train a tokenizer, and show the tokens of a text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bertwright.cli.arguments import Encoding, Text
from bertwright.cli.command import command, command_group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from bertwright.tokenization.tokenizer import Tokenizer

tokenizers = command_group()

MEGABYTE = 1_000_000


class TokenizerKind(StrEnum):
    """Tokenizer algorithms."""

    wordpiece = "wordpiece"
    bpe = "bpe"


@command(
    tokenizers,
    "train",
    epilog="""\
A corpus is plain text (documents separated by blank lines, or one per line),
WikiText, a table (.jsonl, .csv, .parquet, ...), a folder of such files or
hub:NAME[/CONFIG][:SPLIT]. Plain text and tables may be compressed (.gz).

Examples:
  bertwright tokenizer train corpus.txt --out tok
  bertwright tokenizer train wiki/ books.jsonl --vocab-size 8000 --out tok
  bertwright tokenizer train corpus.txt --kind bpe --cased --out tok""",
)
def tokenizer_train(
    corpora: Annotated[list[str], typer.Argument(metavar="CORPUS", help="Files, folders or Hub datasets.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Output directory; it must be new or empty.")],
    vocab_size: Annotated[
        int, typer.Option("--vocab-size", metavar="N", min=1, help="Maximum vocabulary size, with special tokens.")
    ] = 30522,
    kind: Annotated[
        TokenizerKind, typer.Option("--kind", help="WordPiece (BERT) or byte-level BPE (RoBERTa).")
    ] = TokenizerKind.wordpiece,
    cased: Annotated[bool, typer.Option("--cased", help="Keep case and accents.")] = False,
    keep_accents: Annotated[bool, typer.Option("--keep-accents", help="Lowercase texts but keep accents.")] = False,
    min_frequency: Annotated[
        int, typer.Option("--min-frequency", metavar="N", min=1, help="Minimum frequency of a merged pair.")
    ] = 2,
    text: Text = None,
    encoding: Encoding = "utf-8",
) -> None:
    """Train a tokenizer on a corpus."""
    from bertwright.cli.console import RowProgress, print_note, stderr_console
    from bertwright.cli.console import out as output
    from bertwright.cli.options import errors_name_options
    from bertwright.corpus.documents import open_corpus
    from bertwright.corpus.tokenizer_training import train_tokenizer
    from bertwright.data.dataset import ColumnNames
    from bertwright.errors import OutputError
    from bertwright.files.atomic import check_writable
    from bertwright.output.terminal import print_line

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: already exists and is not empty; choose another directory with --out, or remove it.")
    check_writable(out)
    corpus_lines: list[str] = []
    with errors_name_options(), RowProgress(stderr_console(), None, "reading, MB") as bar:
        tokenizer = train_tokenizer(
            [open_corpus(corpus, ColumnNames(text), encoding=encoding) for corpus in corpora],
            vocab_size=vocab_size,
            kind="bpe" if kind is TokenizerKind.bpe else "wordpiece",
            lowercase=not cased,
            strip_accents=False if keep_accents else None,
            min_frequency=min_frequency,
            on_progress=lambda done, total: bar.update(done // MEGABYTE, total and total // MEGABYTE),
            on_statistics=lambda corpus, statistics: corpus_lines.extend(statistics.describe(corpus.source)),
        )
    tokenizer.save(out)
    for line in corpus_lines:
        print_line(output(), f"corpus     {line}")
    case = "cased" if cased else f"lowercased, accents {'kept' if keep_accents else 'removed'}"
    print_line(output(), f"tokenizer  {out}: {tokenizer.vocab_size:,} tokens, {kind}, {case}")
    if tokenizer.vocab_size < vocab_size:
        print_note(stderr_console(), f"the corpus yields {tokenizer.vocab_size:,} of at most {vocab_size:,} tokens")
    print_line(output(), f'next       bertwright tokenizer show "a text" --tokenizer {out}', wrap=False)


@command(
    tokenizers,
    "show",
    epilog="""\
Examples:
  bertwright tokenizer show "An unaffordable film!" --tokenizer tok
  bertwright tokenizer show "One text" "another" --tokenizer bert-base-uncased
  bertwright tokenizer show "A text" --pair "its pair" --tokenizer tok
  head -3 corpus.txt | bertwright tokenizer show - --tokenizer tok""",
)
def tokenizer_show(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="Texts; - for standard input, one text per line.")],
    name: Annotated[str, typer.Option("--tokenizer", metavar="NAME", help="A tokenizer directory or a Hub name.")],
    pair: Annotated[
        list[str] | None,
        typer.Option("--pair", metavar="TEXT", help="The second text of a pair, once per TEXT."),
    ] = None,
) -> None:
    """Show the tokens of a text with ids and character offsets."""
    from bertwright.cli.console import out, print_note, show, stderr_console
    from bertwright.errors import DataError
    from bertwright.output.plurals import pluralize
    from bertwright.tokenization.tokenizer import Tokenizer

    directory = Path(name)
    if not directory.is_dir():
        from bertwright.weights.hub import locate_model  # imports torch

        directory = locate_model(name)
    tokenizer = Tokenizer.load(directory)
    for line in tokenizer.notes:
        print_note(stderr_console(), line)
    if pair:
        texts = list(_texts(texts))
        if len(pair) != len(texts):
            raise DataError(f"tokenizer: {pluralize(len(texts), 'text')}, but {len(pair)} --pair; give one per text.")
    for i, text in enumerate(texts if pair else _texts(texts)):
        show(out(), [*([""] if i else []), *_token_table(tokenizer, text, pair[i] if pair else None)])


def _texts(texts: list[str]) -> Iterator[str]:
    from bertwright.cli.stdin import stdin_lines

    for text in texts:
        if text == "-":
            yield from (line for _, line in stdin_lines() if line.strip())
        else:
            yield text


def _token_table(tokenizer: Tokenizer, text: str, pair: str | None = None) -> list[RenderableType]:
    """Return a text or pair of texts, its tokens as a table, and their number."""
    from bertwright.output.plurals import pluralize
    from bertwright.output.terminal import make_table

    sides = [text] if pair is None else [text, pair]
    encoded = tokenizer.backend.encode(text, pair)
    table = make_table()
    table.add_column("token", no_wrap=True)
    table.add_column("id", justify="right")
    table.add_column("characters", justify="right")
    table.add_column("text", no_wrap=True)
    if pair is not None:
        table.add_column("segment", justify="right")
    regular = unknown = 0
    for i, special in enumerate(encoded.special_tokens_mask):
        segment = [] if pair is None else [str(encoded.type_ids[i])]
        if special:
            table.add_row(encoded.tokens[i], str(encoded.ids[i]), "", "", *segment, style="dim")
            continue
        regular += 1
        is_unknown = encoded.ids[i] == tokenizer.unk_id
        unknown += is_unknown
        start, stop = encoded.offsets[i]
        characters = sides[encoded.sequence_ids[i] or 0][start:stop] + "   unknown" * is_unknown
        table.add_row(encoded.tokens[i], str(encoded.ids[i]), f"{start}-{stop}", characters, *segment)
    words = sum(len(side.split()) for side in sides)
    counts = f"{pluralize(regular, 'token')} for {pluralize(words, 'word')}, {unknown:,} unknown"
    return [*sides, "", table, "", f"{counts}; {pluralize(len(encoded.ids), 'token')} with special tokens"]
