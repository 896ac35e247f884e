"""Texts to token ids: the tokenizers of the BERT family, with truncation counted and nothing guessed in silence.

Splitting is done by the `tokenizers` library, on all cores; truncating, adding special tokens and laying
out the columns of :class:`Encodings` is done here on whole arrays, and gives the ids transformers gives.
The environment's TOKENIZERS_PARALLELISM is respected and never set.
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
from bertwright.tokenization.encodings import Encodings, piece_index
from bertwright.tokenization.threads import pool
from bertwright.tokenization.tokenizer_files import open_tokenizer, save_tokenizer
from bertwright.tokenization.truncation import Truncation, head_and_tail, kept_lengths

CHUNK = 4096
"""Rows tokenised at a time: enough to keep the cores busy, few enough that memory stays flat."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """What turns texts into the ids one encoder was trained on; get one with :meth:`load`.

    Attributes:
        backend: the `tokenizers.Tokenizer` itself, its padding and truncation switched off.
        roles: the ids of the special tokens by what they are for: ``cls`` and ``sep`` and, where there
            are any, ``pad``, ``unk`` and ``mask``.
        input_names: the inputs transformers should give the model, as told in tokenizer_config.json.
        notes: what was decided at loading that a user may want to know, in sentences.
    """

    backend: tokenizers.Tokenizer = field(repr=False)
    roles: Mapping[str, int]
    input_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, directory: Path) -> Tokenizer:
        """The tokenizer of a model directory: its tokenizer.json, vocab.txt, or vocab.json with merges.txt.

        Raises:
            TokenizerError: there is none, it is damaged, or no special tokens begin and end a text.
        """
        opened = open_tokenizer(Path(expand_home(directory)))
        return cls(opened.backend, opened.roles, opened.input_names, tuple(opened.notes))

    def save(self, directory: Path, *, max_length: int | None = None) -> None:
        """Write tokenizer.json and what else transformers' AutoTokenizer wants.

        A new or empty directory appears complete or not at all; into others each file is written whole or not at all.
        ``max_length`` is what transformers truncates to when asked to truncate: the encoder's positions.

        Raises:
            OutputError: the directory cannot be written to.
        """
        goal = Path(expand_home(directory))
        is_new = not goal.exists() or (goal.is_dir() and not any(goal.iterdir()))
        with atomic_directory(goal) if is_new else nullcontext(goal) as place:
            save_tokenizer(place, self.backend, self.roles, self.input_names, max_length)

    @property
    def cls_id(self) -> int:
        """The id that begins every sequence."""
        return self.roles["cls"]

    @property
    def sep_id(self) -> int:
        """The id that ends every text."""
        return self.roles["sep"]

    @property
    def pad_id(self) -> int | None:
        """The id of padding, where the vocabulary has one."""
        return self.roles.get("pad")

    @property
    def unk_id(self) -> int | None:
        """The id of what the vocabulary cannot spell, where it has one."""
        return self.roles.get("unk")

    @property
    def mask_id(self) -> int | None:
        """The id that stands for a hidden token in masked language modelling, where the vocabulary has one."""
        return self.roles.get("mask")

    @cached_property
    def vocab_size(self) -> int:
        """The number of tokens, added ones included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @cached_property
    def n_segment_types(self) -> int:
        """The number of segments a pair is written in: 2 for BERT's 0…0 1…1, 1 where all is segment 0."""
        return 1 + int(self.template(2).types.max())

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything the ids depend on (sha256, hexadecimal); saving and loading keep it."""
        text = self.backend.to_str() + json.dumps(dict(self.roles), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _templates(self) -> dict[int, Template]:
        return {n: _template(self.backend, self.cls_id, n) for n in (1, 2)}

    def template(self, n_texts: int) -> Template:
        """The special tokens around one text, or around and between two."""
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
        """The ids of every text, or pair of texts, in the order given.

        Args:
            texts: the texts, or the first texts of the pairs.
            pairs: the second texts, as many; None where examples have one text.
            max_length: the most tokens a sequence may have, special tokens included.
            truncation: what gives way in sequences that would be longer.
            on_progress: called every few thousand examples with the number of those done so far.

        Raises:
            DataError: a text is not text, or a sequence cannot be made to fit.
        """
        check_texts(texts, pairs)
        template = self.template(1 if pairs is None else 2)
        room = max_length - template.n_special
        if room < template.n_texts:
            what = "a token of the text" if pairs is None else "a token of both texts"
            raise DataError(
                f"tokens.max_length: {max_length} leaves no room for {what} beside the {template.n_special} "
                f"special tokens; use at least {template.n_special + template.n_texts}."
            )
        columns = []
        # At least one round, if an empty one, so that no examples give columns of the right types.
        for start in range(0, max(len(texts), 1), CHUNK):
            sides = [self.split(side[start : start + CHUNK], start) for side in (texts, pairs) if side is not None]
            columns.append(_join(template, sides, room, truncation, start))
            if on_progress is not None:
                on_progress(min(start + CHUNK, len(texts)))
        ids, types, lengths, dropped = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return Encodings(ids, types, bounds, np.arange(len(texts), dtype=np.int64), dropped)

    def split(self, texts: Sequence[str], first_row: int = 0, offsets: bool = False) -> Ragged:
        """The ids of some texts without special tokens, with the characters that each stands for if asked for.

        Args:
            texts: each distinct one is split once.
            first_row: the number of the first one in the user's data, for messages.
            offsets: without them it goes faster.

        Raises:
            DataError: a text is not valid Unicode.
        """
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        pool.start()
        batch = self.backend.encode_batch if offsets else self.backend.encode_batch_fast
        try:
            split = batch(list(distinct), add_special_tokens=False)
        except Exception as error:  # the library raises bare Exceptions
            # Python strings can hold halves of surrogate pairs, which are not Unicode.
            bad = next((row for row, text in enumerate(texts) if not _is_unicode(text)), None)
            if bad is None:
                raise TokenizerError(f"tokenizer: it cannot split a text: {error}; is it damaged?") from error
            raise DataError(
                f"example {first_row + bad} (counted from 0): the text holds half a surrogate pair, which is not "
                "valid Unicode; read the file in its right encoding or remove the character."
            ) from None
        found = _ragged([one.ids for one in split], [one.offsets for one in split] if offsets else None)
        if len(distinct) == len(texts):
            return found
        which = np.fromiter((distinct[text] for text in texts), np.int64, len(texts))
        index = piece_index((np.cumsum(found.lengths) - found.lengths)[which], found.lengths[which])
        return Ragged(found.ids[index], found.lengths[which], None if found.offsets is None else found.offsets[index])

    def unknown_share(self, encodings: Encodings) -> float:
        """The share of tokens that are the unknown token, special tokens not counted (0 to 1)."""
        words = int((~np.isin(encodings.ids, (self.cls_id, self.sep_id))).sum())
        if self.unk_id is None or not words:
            return 0.0
        return int((encodings.ids == self.unk_id).sum()) / words


def check_texts(texts: Sequence[str], pairs: Sequence[str] | None) -> None:
    """Refuse texts that are not text, and second texts that are not as many as the first.

    Raises:
        DataError: naming the first example that is wrong.
    """
    if pairs is not None and len(pairs) != len(texts):
        raise DataError(f"second texts: there are {len(pairs)} for {len(texts)} first texts; give one for each.")
    for name, side in (("text", texts), ("second text", () if pairs is None else pairs)):
        for row, text in enumerate(side):
            if not isinstance(text, str):
                raise DataError(
                    f"example {row} (counted from 0): the {name} is {text!r} ({type(text).__name__}), not a string; "
                    "fill in or remove such rows."
                )


def check_fits(tokenizer: Tokenizer, vocab_size: int) -> tuple[str, ...]:
    """Refuse a tokenizer that can give ids an embedding of ``vocab_size`` rows does not have; return notes.

    Raises:
        TokenizerError: an id is too large, or there is no id for padding.
    """
    if tokenizer.pad_id is None:
        raise TokenizerError("tokenizer: it has no padding token; name one as pad_token in tokenizer_config.json.")
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
    too_large = sorted((id_, token) for token, id_ in vocabulary.items() if id_ >= vocab_size)
    if too_large:
        id_, token = too_large[0]
        raise TokenizerError(
            f"tokenizer: {len(too_large)} of its {len(vocabulary)} tokens have ids past the embedding's {vocab_size} "
            f"rows, such as {token!r} with id {id_}; take the tokenizer that the encoder was trained with."
        )
    if len(vocabulary) < vocab_size:
        return (f"the tokenizer has {len(vocabulary)} tokens for the {vocab_size} rows of the embedding",)
    return ()


class Ragged(NamedTuple):
    """Rows of ids of different lengths, one after the other, maybe with (first, past the last) character of each."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    offsets: NDArray[np.int32] | None = None


def _ragged(rows: list[list[int]], offsets: list[list[tuple[int, int]]] | None) -> Ragged:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    n = int(lengths.sum())
    ids = np.fromiter(chain.from_iterable(rows), np.int32, n)
    if offsets is None:
        return Ragged(ids, lengths)
    ends = np.fromiter(chain.from_iterable(chain.from_iterable(offsets)), np.int32, 2 * n)
    return Ragged(ids, lengths, ends.reshape(n, 2))


class Template(NamedTuple):
    """The special tokens that stand before, between and after the texts of a sequence.

    ``ids`` and ``types`` hold those of all places in turn, ``lengths`` how many belong to each place:
    [CLS] A [SEP] B [SEP] has ids (CLS, SEP, SEP), types (0, 0, 1), lengths (1, 1, 1), text_types (0, 1).
    """

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    text_types: tuple[int, ...]

    @property
    def n_special(self) -> int:
        """How many special tokens there are in all."""
        return len(self.ids)

    @property
    def n_texts(self) -> int:
        """How many texts they stand around."""
        return len(self.text_types)


def _template(backend: tokenizers.Tokenizer, cls_id: int, n_texts: int) -> Template:
    """What the tokenizer's own post-processor puts around texts, found by letting it join texts of one token."""
    probe = backend.encode(backend.id_to_token(cls_id), add_special_tokens=False)
    joined = backend.post_process(probe, probe if n_texts == 2 else None)
    types = np.array(joined.type_ids, np.uint8)
    # The mask tells the template's tokens from the texts', also where a text spells a special token out.
    special = np.array(joined.special_tokens_mask, bool)
    places = np.cumsum(~special)[special]
    return Template(
        np.array(joined.ids, np.int32)[special],
        types[special],
        np.bincount(places, minlength=n_texts + 1),
        tuple(types[~special].tolist()),
    )


def _join(
    template: Template, sides: list[Ragged], room: int, truncation: Truncation, first_row: int
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
    """Truncate the texts of some rows and put the special tokens around them: ids, types, lengths, dropped.

    Every sequence is a row of pieces of one long source, (special tokens, all first texts, all second
    texts); two pieces for a text, its head and its tail. Gathering all pieces at once is then one index.
    """
    kept = kept_lengths([side.lengths for side in sides], room, truncation, first_row=first_row)
    n_rows = len(sides[0].lengths)
    special_starts = np.cumsum(template.lengths) - template.lengths
    starts = [np.full(n_rows, special_starts[0])]
    lengths = [np.full(n_rows, template.lengths[0])]
    offset = template.n_special
    dropped = np.zeros(n_rows, np.int64)
    for i, (side, stay) in enumerate(zip(sides, kept, strict=True), start=1):
        begin = offset + np.cumsum(side.lengths) - side.lengths
        head, tail = head_and_tail(stay, side.lengths, truncation)
        starts += [begin, begin + side.lengths - tail, np.full(n_rows, special_starts[i])]
        lengths += [head, tail, np.full(n_rows, template.lengths[i])]
        offset += len(side.ids)
        dropped += side.lengths - stay
    source_ids = np.concatenate([template.ids, *(side.ids for side in sides)])
    source_types = np.concatenate(
        [template.types]
        + [np.full(len(side.ids), kind, np.uint8) for side, kind in zip(sides, template.text_types, strict=True)]
    )
    index = piece_index(np.stack(starts, 1).ravel(), np.stack(lengths, 1).ravel())
    return source_ids[index], source_types[index], np.sum(lengths, 0), dropped.astype(np.int32)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
