"""``bertwright tokenizer``: train one on texts of one's own, and see what one makes of a text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bertwright.cli.arguments import Encoding, Text
from bertwright.cli.command import HELP, Command, Group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from bertwright.tokenization.tokenizer import Tokenizer

tokenizers = typer.Typer(cls=Group, rich_markup_mode=None, no_args_is_help=True, context_settings=HELP)


MEGABYTE = 1_000_000


class TokenizerKind(StrEnum):
    """Kinds of tokenizers that can be trained."""

    wordpiece = "wordpiece"
    bpe = "bpe"


@tokenizers.command(
    "train",
    cls=Command,
    context_settings=HELP,
    epilog="""\
A corpus is a file of plain text with blank lines between documents or with one
a line, WikiText, a table (.jsonl, .csv, .parquet, ...), a folder of such files
or hub:NAME[/CONFIG][:SPLIT]; plain text and tables may end in .gz.

Examples:
  bertwright tokenizer train corpus.txt --out tok
  bertwright tokenizer train wiki/ books.jsonl --vocab-size 8000 --out tok
  bertwright tokenizer train corpus.txt --kind bpe --cased --out tok""",
)
def tokenizer_train(
    corpora: Annotated[list[str], typer.Argument(metavar="CORPUS", help="Files, folders or Hub data sets.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the tokenizer goes: a new directory.")],
    vocab_size: Annotated[
        int, typer.Option("--vocab-size", metavar="N", min=1, help="Most tokens it may have, special ones included.")
    ] = 30522,
    kind: Annotated[
        TokenizerKind, typer.Option("--kind", help="WordPiece as in BERT, or byte-level BPE as in RoBERTa.")
    ] = TokenizerKind.wordpiece,
    cased: Annotated[bool, typer.Option("--cased", help="Keep capitals and accents.")] = False,
    keep_accents: Annotated[bool, typer.Option("--keep-accents", help="Lower-case texts, but leave accents.")] = False,
    min_frequency: Annotated[
        int, typer.Option("--min-frequency", metavar="N", min=1, help="Pieces seen together less often stay apart.")
    ] = 2,
    text: Text = None,
    encoding: Encoding = "utf-8",
) -> None:
    """Make a vocabulary for a corpus, and the tokenizer that splits by it."""
    from bertwright.cli.console import RowsBar, err, note
    from bertwright.cli.console import out as output
    from bertwright.cli.options import in_options
    from bertwright.corpus.documents import open_corpus
    from bertwright.corpus.tokenizer_training import train_tokenizer
    from bertwright.data.dataset import ColumnNames
    from bertwright.errors import OutputError
    from bertwright.files.atomic import check_writable
    from bertwright.output.terminal import print_line

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: exists already and is not empty; name another place with --out, or remove it.")
    check_writable(out)
    said: list[str] = []
    with in_options(), RowsBar(err(), None, "reading, MB") as bar:
        made = train_tokenizer(
            [open_corpus(corpus, ColumnNames(text), encoding=encoding) for corpus in corpora],
            vocab_size=vocab_size,
            kind="bpe" if kind is TokenizerKind.bpe else "wordpiece",
            lowercase=not cased,
            strip_accents=False if keep_accents else None,
            min_frequency=min_frequency,
            on_progress=lambda done, total: bar.at(done // MEGABYTE, total and total // MEGABYTE),
            on_statistics=lambda corpus, statistics: said.extend(statistics.describe(corpus.source)),
        )
    made.save(out)
    for line in said:
        print_line(output(), f"corpus     {line}")
    case = "case is kept" if cased else f"lower-cased, accents {'kept' if keep_accents else 'taken off'}"
    print_line(output(), f"tokenizer  {out}: {made.vocab_size:,} tokens, {kind}, {case}")
    if made.vocab_size < vocab_size:
        note(err(), f"the texts give no more than {made.vocab_size:,} of the {vocab_size:,} tokens asked for")
    print_line(output(), f'next       bertwright tokenizer show "a text" --tokenizer {out}', wrap=False)


@tokenizers.command(
    "show",
    cls=Command,
    context_settings=HELP,
    epilog="""\
Examples:
  bertwright tokenizer show "An unaffordable film!" --tokenizer tok
  bertwright tokenizer show "One text" "another" --tokenizer bert-base-uncased
  bertwright tokenizer show "A text" --pair "its pair" --tokenizer tok
  head -3 corpus.txt | bertwright tokenizer show - --tokenizer tok""",
)
def tokenizer_show(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="Texts; - for standard input, one a line.")],
    name: Annotated[
        str, typer.Option("--tokenizer", metavar="NAME", help="A directory with a tokenizer, or a Hub name.")
    ],
    pair: Annotated[
        list[str] | None, typer.Option("--pair", metavar="TEXT", help="The second text; once for each TEXT.")
    ] = None,
) -> None:
    """Show the pieces a text is split into, their ids and characters, and what is unknown."""
    from bertwright.cli.console import err, note, out, show
    from bertwright.errors import DataError
    from bertwright.tokenization.tokenizer import Tokenizer

    directory = Path(name)
    if not directory.is_dir():
        from bertwright.weights.hub import locate_model  # and with it torch

        directory = locate_model(name)
    found = Tokenizer.load(directory)
    for line in found.notes:
        note(err(), line)
    if pair:
        texts = list(_texts(texts))
        if len(pair) != len(texts):
            raise DataError(f"tokenizer: {len(texts)} texts, but {len(pair)} --pair; give one for each text.")
    for i, text in enumerate(texts if pair else _texts(texts)):
        show(out(), [*([""] if i else []), *_tables(found, text, pair[i] if pair else None)])


def _texts(texts: list[str]) -> Iterator[str]:
    from bertwright.cli.stdin import stdin_lines

    for text in texts:
        if text == "-":
            yield from (line for _, line in stdin_lines() if line.strip())
        else:
            yield text


def _tables(tokenizer: Tokenizer, text: str, pair: str | None = None) -> list[RenderableType]:
    """A text, or a pair of texts, its pieces as a table, and how many there are."""
    from bertwright.output.terminal import make_table

    sides = [text] if pair is None else [text, pair]
    encoded = tokenizer.backend.encode(text, pair)
    table = make_table()
    table.add_column("piece", no_wrap=True)
    table.add_column("id", justify="right")
    table.add_column("characters", justify="right")
    table.add_column("of the text", no_wrap=True)
    if pair is not None:
        table.add_column("segment", justify="right")
    own = unknown = 0
    for i, special in enumerate(encoded.special_tokens_mask):
        segment = [] if pair is None else [str(encoded.type_ids[i])]
        if special:
            table.add_row(encoded.tokens[i], str(encoded.ids[i]), "", "", *segment, style="dim")
            continue
        own += 1
        is_unknown = encoded.ids[i] == tokenizer.unk_id
        unknown += is_unknown
        start, stop = encoded.offsets[i]
        characters = sides[encoded.sequence_ids[i] or 0][start:stop] + "   unknown" * is_unknown
        table.add_row(encoded.tokens[i], str(encoded.ids[i]), f"{start}-{stop}", characters, *segment)
    words = sum(len(side.split()) for side in sides)
    counts = f"{own} {'piece' if own == 1 else 'pieces'} for {words} {'word' if words == 1 else 'words'}"
    return [*sides, "", table, "", f"{counts}, {unknown} unknown; {len(encoded.ids)} tokens with the special ones"]
