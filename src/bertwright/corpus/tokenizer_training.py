"""A vocabulary of one's own, learnt from a corpus: WordPiece as BERT has it, or byte-level BPE as RoBERTa has it.

Equal corpora give equal tokenizers. The library alone does not see to that for WordPiece: it numbers the pieces that go
on a word in an order of chance, and ties between merges are broken by those numbers. So the corpus is read twice: once
for its characters, which are then given their numbers in order of code points, and once for its words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, Literal

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from bertwright.corpus.corpus_files import Tally
from bertwright.corpus.documents import Corpus
from bertwright.errors import TokenizerError
from bertwright.tokenization.threads import pool
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.tokenization.tokenizer_files import SPECIAL_TOKEN_NAMES

TokenizerKind = Literal["wordpiece", "bpe"]
"""Pieces of words with ## before those that go on, as in BERT; or of bytes, as in RoBERTa."""

VOCABULARY: Final = 30522
"""The size of bert-base-uncased's."""

ALPHABET: Final = 1000
"""Characters that WordPiece spells with, the most frequent; words with others are unknown. The library's own limit for
BERT: without one, a few stray texts in Chinese would take a fifth of the vocabulary."""

LOT: Final = 2000
"""Sentences that are handed to the library at a time."""

Progress = Callable[[int, int | None], None]


def train_tokenizer(
    corpora: Sequence[Corpus],
    *,
    vocab_size: int = VOCABULARY,
    kind: TokenizerKind = "wordpiece",
    lowercase: bool = True,
    strip_accents: bool | None = None,
    min_frequency: int = 2,
    on_progress: Progress | None = None,
    on_tally: Callable[[Corpus, Tally], None] | None = None,
) -> Tokenizer:
    """A tokenizer whose vocabulary is made for some texts.

    Args:
        corpora: the texts.
        vocab_size: the most tokens it may have, special ones included; little text gives fewer.
        kind: WordPiece or byte-level BPE.
        lowercase: whether texts are lower-cased first.
        strip_accents: whether accents are taken off; None: if texts are lower-cased, as in BERT.
        min_frequency: how often two pieces must stand side by side to become one.
        on_progress: called with the bytes read so far and those to read in all, of files; WordPiece reads them twice.
        on_tally: called with what was met in each corpus, once it is read.

    Raises:
        TokenizerError: the vocabulary is too small for the characters.
        DataError: a file of a corpus is not as it should be, or a corpus is empty.
    """
    passes = 2 if kind == "wordpiece" else 1
    total = sum(corpus.n_bytes or 0 for corpus in corpora)
    known = None if any(corpus.n_bytes is None for corpus in corpora) else passes * total
    done = 0

    def lots(tell: bool) -> Iterator[list[str]]:
        nonlocal done
        for corpus in corpora:
            tally, begun = Tally(), done
            sentences = (sentence for document in corpus.documents(tally) for sentence in document.sentences)
            while lot := list(islice(sentences, LOT)):
                yield lot
                done = begun + tally.bytes_read
                if on_progress is not None:
                    on_progress(done, known)
            if tell and on_tally is not None:
                on_tally(corpus, tally)

    strip = lowercase if strip_accents is None else strip_accents
    if kind == "bpe":
        return _bpe(lots(tell=True), vocab_size, lowercase, strip, min_frequency)
    normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    alphabet = _alphabet(lots(tell=True), normalizer)
    return _wordpiece(lots(tell=False), alphabet, normalizer, vocab_size, min_frequency)


def _alphabet(lots: Iterator[list[str]], normalizer: normalizers.BertNormalizer) -> list[str]:
    """The most frequent characters of cleaned texts, in order of code points."""
    raw: Counter[str] = Counter()
    for lot in lots:
        raw.update("".join(lot))
    cleaned: Counter[str] = Counter()
    for character, count in raw.items():  # a text is cleaned character by character, so those that there are will do
        for one in normalizer.normalize_str(character):
            if not one.isspace():
                cleaned[one] += count
    by_count = sorted(cleaned, key=lambda one: (-cleaned[one], one))
    return sorted(by_count[:ALPHABET])


def _wordpiece(
    lots: Iterator[list[str]],
    alphabet: list[str],
    normalizer: normalizers.BertNormalizer,
    vocab_size: int,
    min_frequency: int,
) -> Tokenizer:
    names = {role: known[0] for role, known in SPECIAL_TOKEN_NAMES.items()}
    special = [names[role] for role in ("pad", "unk", "cls", "sep", "mask")]
    learner = tokenizers.Tokenizer(models.WordPiece(unk_token=names["unk"]))
    learner.normalizer, splitter = normalizer, pre_tokenizers.BertPreTokenizer()
    learner.pre_tokenizer = splitter
    # what stands within words: neither punctuation, which is split off, nor Chinese, which gets spaces around it
    inside = [one for one in alphabet if len(splitter.pre_tokenize_str(normalizer.normalize_str(f"a{one}"))) == 1]
    within = [f"##{one}" for one in inside]
    first = [*special, *alphabet, *within]
    _check_size(vocab_size, len(first), f"{len(alphabet):,} characters at the start of words, {len(within):,} within")
    # What is named here gets the first numbers, in this order; that the library takes it for special is undone below.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=first,
        limit_alphabet=ALPHABET,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    pool.start()
    learner.train_from_iterator(lots, trainer)
    vocabulary = learner.get_vocab(with_added_tokens=False)
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=names["unk"], max_input_chars_per_word=100))
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.add_special_tokens(special)
    ids = {role: vocabulary[name] for role, name in names.items()}
    backend.post_processor = processors.BertProcessing((names["sep"], ids["sep"]), (names["cls"], ids["cls"]))
    return Tokenizer(backend, ids, ("input_ids", "token_type_ids", "attention_mask"))


def _bpe(
    lots: Iterator[list[str]], vocab_size: int, lowercase: bool, strip_accents: bool, min_frequency: int
) -> Tokenizer:
    names = {role: known[1] for role, known in SPECIAL_TOKEN_NAMES.items()}
    special = [names[role] for role in ("cls", "pad", "sep", "unk", "mask")]
    letters = pre_tokenizers.ByteLevel.alphabet()
    _check_size(vocab_size, len(special) + len(letters), f"the {len(letters)} bytes")
    backend = tokenizers.Tokenizer(models.BPE())
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if lowercase else []
    steps += [normalizers.NFD(), normalizers.StripAccents(), normalizers.NFC()] if strip_accents else []
    if steps:
        backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=special,
        initial_alphabet=letters,
        show_progress=False,
    )
    pool.start()
    backend.train_from_iterator(lots, trainer)
    # as in RoBERTa: the space before a masked word is the mask's, not a token of its own
    backend.add_special_tokens([AddedToken(names["mask"], lstrip=True, special=True)])
    vocabulary = backend.get_vocab()
    ids = {role: vocabulary[name] for role, name in names.items()}
    backend.post_processor = processors.RobertaProcessing(
        (names["sep"], ids["sep"]), (names["cls"], ids["cls"]), add_prefix_space=False
    )
    return Tokenizer(backend, ids, ("input_ids", "attention_mask"))


def _check_size(vocab_size: int, least: int, spelled: str) -> None:
    if vocab_size < least:
        raise TokenizerError(
            f"tokenizer: {vocab_size:,} tokens are too few for the special ones and {spelled}; "
            f"ask for at least {least:,}."
        )
