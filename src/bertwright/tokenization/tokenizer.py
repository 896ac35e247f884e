"""``Tokenizer``: converts texts to token ids with the tokenizers of the BERT family, and counts truncated tokens.

The `tokenizers` library splits texts on all CPU cores. This module truncates, adds special tokens and builds the
columns of :class:`Encodings` on whole arrays; the ids equal those of transformers. The environment variable
TOKENIZERS_PARALLELISM is respected and never set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray

from bertwright.errors import DataError, TokenizerError
from bertwright.files.atomic import atomic_directory, expand_home
from bertwright.tokenization.encodings import Encodings, expand_ranges
from bertwright.tokenization.threads import pool
from bertwright.tokenization.tokenizer_files import load_tokenizer, save_tokenizer
from bertwright.tokenization.truncation import Truncation, compute_kept_lengths, split_head_tail

CHUNK = 4096
"""Rows per call of the library: enough to use all cores, few enough to keep memory constant."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """The tokenizer of one encoder; create it with :meth:`load`.

    Attributes:
        backend: the `tokenizers.Tokenizer`, without padding and truncation.
        special_ids: the ids of the special tokens by role: ``cls`` and ``sep`` and, if they exist, ``pad``, ``unk`` and
            ``mask``.
        input_names: the inputs that transformers passes to the model, from tokenizer_config.json.
        notes: sentences about choices made at loading that the user should know.
    """

    backend: tokenizers.Tokenizer = field(repr=False)
    special_ids: Mapping[str, int]
    input_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, directory: Path) -> Tokenizer:
        """Load the tokenizer of a model directory: tokenizer.json, vocab.txt, or vocab.json with merges.txt.

        Raises:
            TokenizerError: there is no tokenizer, it is damaged, or it has no special tokens for the ends of a text.
        """
        loaded = load_tokenizer(Path(expand_home(directory)))
        return cls(loaded.backend, loaded.special_ids, loaded.input_names, tuple(loaded.notes))

    def save(self, directory: Path, *, max_length: int | None = None) -> None:
        """Write tokenizer.json and the other files that transformers' AutoTokenizer needs.

        A new or empty directory is written atomically as a whole; in other directories each file is written atomically.
        ``max_length`` is the length to which transformers truncates: the encoder's number of positions.

        Raises:
            OutputError: the directory is not writable.
        """
        target = Path(expand_home(directory))
        is_new = not target.exists() or (target.is_dir() and not any(target.iterdir()))
        with atomic_directory(target) if is_new else nullcontext(target) as place:
            save_tokenizer(place, self.backend, self.special_ids, self.input_names, max_length)

    @property
    def cls_id(self) -> int:
        """Id of the token that begins every sequence."""
        return self.special_ids["cls"]

    @property
    def sep_id(self) -> int:
        """Id of the token that ends every text."""
        return self.special_ids["sep"]

    @property
    def pad_id(self) -> int | None:
        """Id of the padding token, if the vocabulary has one."""
        return self.special_ids.get("pad")

    @property
    def unk_id(self) -> int | None:
        """Id of the unknown token, if the vocabulary has one."""
        return self.special_ids.get("unk")

    @property
    def mask_id(self) -> int | None:
        """Id of the mask token of masked language modeling, if the vocabulary has one."""
        return self.special_ids.get("mask")

    @cached_property
    def vocab_size(self) -> int:
        """Number of tokens, including added ones."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @cached_property
    def n_segment_types(self) -> int:
        """Number of segments of a pair: 2 for BERT's 0…0 1…1, 1 if every token has segment 0."""
        return 1 + int(self.template(2).types.max())

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that the ids depend on (sha256, hexadecimal); unchanged by saving and loading."""
        text = self.backend.to_str() + json.dumps(dict(self.special_ids), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _templates(self) -> dict[int, Template]:
        return {n: _template(self.backend, self.cls_id, n) for n in (1, 2)}

    def template(self, n_texts: int) -> Template:
        """Return the special tokens around one text, or around and between two."""
        return self._templates[n_texts]

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int,
        truncation: Truncation = "longest_first",
        on_progress: Callable[[int], None] | None = None,
    ) -> Encodings:
        """Encode every text, or pair of texts, in order.

        Args:
            texts: the texts, or the first texts of the pairs.
            pairs: the second texts, the same number; None if examples have one text.
            max_length: maximum length of a sequence in tokens, including special tokens.
            truncation: how longer sequences are truncated.
            on_progress: called every few thousand examples with the number of encoded examples.

        Raises:
            DataError: a text is not a string, or a sequence cannot be truncated to the maximum length.
        """
        check_texts(texts, pairs)
        template = self.template(1 if pairs is None else 2)
        room = max_length - template.n_special
        if room < template.n_texts:
            minimum = "a token of the text" if pairs is None else "a token of both texts"
            raise DataError(
                f"tokens.max_length: {max_length} leaves no room for {minimum} next to the {template.n_special} "
                f"special tokens; use at least {template.n_special + template.n_texts}."
            )
        columns = []
        # At least one iteration, so that zero examples give columns of the right types.
        for start in range(0, max(len(texts), 1), CHUNK):
            sides = [self.tokenize(side[start : start + CHUNK], start) for side in (texts, pairs) if side is not None]
            columns.append(assemble(template, sides, room, truncation, start))
            if on_progress is not None:
                on_progress(min(start + CHUNK, len(texts)))
        ids, types, lengths, dropped = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return Encodings(ids, types, bounds, np.arange(len(texts), dtype=np.int64), dropped)

    def tokenize(self, texts: Sequence[str], first_row: int = 0, offsets: bool = False) -> Ragged:
        """Tokenize texts without special tokens; each distinct text is tokenized once.

        Args:
            texts: the texts.
            first_row: the number of the first text in the user's data, for messages.
            offsets: whether to return the characters of each token, which is slower.

        Raises:
            DataError: a text is not valid Unicode.
        """
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        pool.start()
        batch = self.backend.encode_batch if offsets else self.backend.encode_batch_fast
        try:
            encoded = batch(list(distinct), add_special_tokens=False)
        except Exception as error:  # the library raises bare Exceptions
            # Python strings may contain lone surrogates, which are not valid Unicode.
            bad = next((row for row, text in enumerate(texts) if not _is_unicode(text)), None)
            if bad is None:
                raise TokenizerError(
                    f"tokenizer: cannot split a text: {error}; check whether its files are damaged."
                ) from error
            raise DataError(
                f"example {first_row + bad} (counted from 0): the text contains a lone surrogate, which is not "
                "valid Unicode; read the file with the right encoding or remove the character."
            ) from None
        ragged = _to_ragged([item.ids for item in encoded], [item.offsets for item in encoded] if offsets else None)
        if len(distinct) == len(texts):
            return ragged
        rows = np.fromiter((distinct[text] for text in texts), np.int64, len(texts))
        index = expand_ranges((np.cumsum(ragged.lengths) - ragged.lengths)[rows], ragged.lengths[rows])
        return Ragged(
            ragged.ids[index], ragged.lengths[rows], None if ragged.offsets is None else ragged.offsets[index]
        )

    def unknown_share(self, encodings: Encodings) -> float:
        """Share of tokens that are the unknown token, from 0 to 1; [CLS] and [SEP] are not counted."""
        words = int((~np.isin(encodings.ids, (self.cls_id, self.sep_id))).sum())
        if self.unk_id is None or not words:
            return 0.0
        return int((encodings.ids == self.unk_id).sum()) / words


def check_texts(texts: Sequence[str], pairs: Sequence[str] | None) -> None:
    """Refuse texts that are not strings, and a different number of first and second texts.

    Raises:
        DataError: an example is invalid; the message names the first one.
    """
    if pairs is not None and len(pairs) != len(texts):
        raise DataError(f"second texts: {len(pairs)} for {len(texts)} first texts; pass one second text for each.")
    for name, side in (("text", texts), ("second text", () if pairs is None else pairs)):
        for row, text in enumerate(side):
            if not isinstance(text, str):
                raise DataError(
                    f"example {row} (counted from 0): the {name} is {text!r} ({type(text).__name__}), not a string; "
                    "fill in or remove such rows."
                )


def check_vocabulary(tokenizer: Tokenizer, vocab_size: int) -> tuple[str, ...]:
    """Refuse a tokenizer with ids that exceed an embedding of ``vocab_size`` rows; return notes.

    Raises:
        TokenizerError: an id is too large, or there is no padding token.
    """
    if tokenizer.pad_id is None:
        raise TokenizerError("tokenizer: has no padding token; set pad_token in tokenizer_config.json.")
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
    too_large = sorted((id_, token) for token, id_ in vocabulary.items() if id_ >= vocab_size)
    if too_large:
        id_, token = too_large[0]
        raise TokenizerError(
            f"tokenizer: {len(too_large)} of its {len(vocabulary)} tokens have ids beyond the {vocab_size} rows of the "
            f"embedding, such as {token!r} with id {id_}; use the tokenizer that the encoder was trained with."
        )
    if len(vocabulary) < vocab_size:
        return (f"the tokenizer has {len(vocabulary)} tokens for the {vocab_size} rows of the embedding",)
    return ()


class Ragged(NamedTuple):
    """Concatenated rows of ids of different lengths; optionally the (start, end) characters of each token."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    offsets: NDArray[np.int32] | None = None


def _to_ragged(rows: list[list[int]], offsets: list[list[tuple[int, int]]] | None) -> Ragged:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    n = int(lengths.sum())
    ids = np.fromiter(chain.from_iterable(rows), np.int32, n)
    if offsets is None:
        return Ragged(ids, lengths)
    ends = np.fromiter(chain.from_iterable(chain.from_iterable(offsets)), np.int32, 2 * n)
    return Ragged(ids, lengths, ends.reshape(n, 2))


class Template(NamedTuple):
    """The special tokens before, between and after the texts of a sequence.

    ``ids`` and ``types`` list them in order, ``lengths`` counts those at each place:
    [CLS] A [SEP] B [SEP] has ids (CLS, SEP, SEP), types (0, 0, 1), lengths (1, 1, 1), text_types (0, 1).
    """

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    text_types: tuple[int, ...]

    @property
    def n_special(self) -> int:
        """Number of special tokens."""
        return len(self.ids)

    @property
    def n_texts(self) -> int:
        """Number of texts."""
        return len(self.text_types)


def _template(backend: tokenizers.Tokenizer, cls_id: int, n_texts: int) -> Template:
    """Find the special tokens that the tokenizer's own post-processor adds to texts of one token each."""
    probe = backend.encode(backend.id_to_token(cls_id), add_special_tokens=False)
    joined = backend.post_process(probe, probe if n_texts == 2 else None)
    types = np.array(joined.type_ids, np.uint8)
    # The mask distinguishes the template's tokens from the text's, even if a text contains a special token.
    special = np.array(joined.special_tokens_mask, bool)
    places = np.cumsum(~special)[special]
    return Template(
        np.array(joined.ids, np.int32)[special],
        types[special],
        np.bincount(places, minlength=n_texts + 1),
        tuple(types[~special].tolist()),
    )


def assemble(
    template: Template, sides: list[Ragged], room: int, truncation: Truncation, first_row: int
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
    """Truncate the texts of some rows and add the special tokens: ids, types, lengths, dropped.

    Each sequence is a list of pieces of one long source (special tokens, all first texts, all second texts), with two
    pieces per text, its head and its tail. One index then gathers all pieces at once.
    """
    text_lengths = compute_kept_lengths([side.lengths for side in sides], room, truncation, first_row=first_row)
    n_rows = len(sides[0].lengths)
    special_starts = np.cumsum(template.lengths) - template.lengths
    starts = [np.full(n_rows, special_starts[0])]
    lengths = [np.full(n_rows, template.lengths[0])]
    offset = template.n_special
    dropped = np.zeros(n_rows, np.int64)
    for i, (side, remaining) in enumerate(zip(sides, text_lengths, strict=True), start=1):
        begin = offset + np.cumsum(side.lengths) - side.lengths
        head, tail = split_head_tail(remaining, side.lengths, truncation)
        starts += [begin, begin + side.lengths - tail, np.full(n_rows, special_starts[i])]
        lengths += [head, tail, np.full(n_rows, template.lengths[i])]
        offset += len(side.ids)
        dropped += side.lengths - remaining
    source_ids = np.concatenate([template.ids, *(side.ids for side in sides)])
    source_types = np.concatenate(
        [template.types]
        + [np.full(len(side.ids), type_, np.uint8) for side, type_ in zip(sides, template.text_types, strict=True)]
    )
    index = expand_ranges(np.stack(starts, 1).ravel(), np.stack(lengths, 1).ravel())
    return source_ids[index], source_types[index], np.sum(lengths, 0), dropped.astype(np.int32)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
