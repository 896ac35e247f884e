"""Training of a tokenizer on a corpus: WordPiece as in BERT, or byte-level BPE as in RoBERTa.

Equal corpora give equal tokenizers. The library alone does not guarantee this for WordPiece: it numbers continuation
pieces in random order and breaks ties between merges by these numbers. The corpus is therefore read twice: once for its
characters, which get ids in the order of their code points, and once for its words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, Literal

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from bertwright.corpus.corpus_files import CorpusStatistics
from bertwright.corpus.documents import Corpus
from bertwright.errors import TokenizerError
from bertwright.tokenization.threads import pool
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.tokenization.tokenizer_files import SPECIAL_TOKEN_NAMES

TokenizerKind = Literal["wordpiece", "bpe"]
"""Pieces of words, with ## before continuations, as in BERT; or pieces of bytes, as in RoBERTa."""

DEFAULT_VOCAB_SIZE: Final = 30522
"""The vocabulary size of bert-base-uncased."""

MAX_ALPHABET: Final = 1000
"""Maximum number of characters in a WordPiece alphabet, the most frequent ones; words with other characters are
unknown. It is the library's limit for BERT. Without it, a few Chinese texts would take a fifth of the vocabulary."""

SENTENCES_PER_BATCH: Final = 2000
"""Sentences passed to the library at a time."""

Progress = Callable[[int, int | None], None]


def train_tokenizer(
    corpora: Sequence[Corpus],
    *,
    vocab_size: int = DEFAULT_VOCAB_SIZE,
    kind: TokenizerKind = "wordpiece",
    lowercase: bool = True,
    strip_accents: bool | None = None,
    min_frequency: int = 2,
    on_progress: Progress | None = None,
    on_statistics: Callable[[Corpus, CorpusStatistics], None] | None = None,
) -> Tokenizer:
    """Train a tokenizer on texts.

    Args:
        corpora: the texts.
        vocab_size: maximum number of tokens, including special ones; small corpora give fewer.
        kind: WordPiece or byte-level BPE.
        lowercase: whether to lower-case texts first.
        strip_accents: whether to remove accents; None: if texts are lower-cased, as in BERT.
        min_frequency: minimum number of occurrences of a pair of pieces to merge them.
        on_progress: called with the bytes read and the total number of bytes of all files; WordPiece reads files twice.
        on_statistics: called with the statistics of each corpus after it has been read.

    Raises:
        TokenizerError: the vocabulary is too small for the characters.
        DataError: a file of a corpus is damaged, or a corpus is empty.
    """
    passes = 2 if kind == "wordpiece" else 1
    total = sum(corpus.n_bytes or 0 for corpus in corpora)
    n_bytes = None if any(corpus.n_bytes is None for corpus in corpora) else passes * total
    done = 0

    def batches(report: bool) -> Iterator[list[str]]:
        nonlocal done
        for corpus in corpora:
            statistics, done_before = CorpusStatistics(), done
            sentences = (sentence for document in corpus.documents(statistics) for sentence in document.sentences)
            while batch := list(islice(sentences, SENTENCES_PER_BATCH)):
                yield batch
                done = done_before + statistics.bytes_read
                if on_progress is not None:
                    on_progress(done, n_bytes)
            if report and on_statistics is not None:
                on_statistics(corpus, statistics)

    strip = lowercase if strip_accents is None else strip_accents
    if kind == "bpe":
        return _bpe(batches(report=True), vocab_size, lowercase, strip, min_frequency)
    normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    alphabet = _alphabet(batches(report=True), normalizer)
    return _wordpiece(batches(report=False), alphabet, normalizer, vocab_size, min_frequency)


def _alphabet(batches: Iterator[list[str]], normalizer: normalizers.BertNormalizer) -> list[str]:
    """The most frequent characters of normalized texts, sorted by code point."""
    raw: Counter[str] = Counter()
    for batch in batches:
        raw.update("".join(batch))
    cleaned: Counter[str] = Counter()
    for raw_character, count in raw.items():  # normalization works on single characters
        for character in normalizer.normalize_str(raw_character):
            if not character.isspace():
                cleaned[character] += count
    by_count = sorted(cleaned, key=lambda character: (-cleaned[character], character))
    return sorted(by_count[:MAX_ALPHABET])


def _wordpiece(
    batches: Iterator[list[str]],
    alphabet: list[str],
    normalizer: normalizers.BertNormalizer,
    vocab_size: int,
    min_frequency: int,
) -> Tokenizer:
    names = {role: usual[0] for role, usual in SPECIAL_TOKEN_NAMES.items()}
    special = [names[role] for role in ("pad", "unk", "cls", "sep", "mask")]
    learner = tokenizers.Tokenizer(models.WordPiece(unk_token=names["unk"]))
    learner.normalizer, splitter = normalizer, pre_tokenizers.BertPreTokenizer()
    learner.pre_tokenizer = splitter
    # punctuation and Chinese characters are split off, so they never occur inside a word
    continuations = [
        f"##{character}"
        for character in alphabet
        if len(splitter.pre_tokenize_str(normalizer.normalize_str(f"a{character}"))) == 1
    ]
    first = [*special, *alphabet, *continuations]
    pieces = f"{len(alphabet):,} characters at the start of words and {len(continuations):,} inside words"
    _check_size(vocab_size, len(first), pieces)
    # These tokens get the first ids, in this order. The library marks them as special, which is undone below.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=first,
        limit_alphabet=MAX_ALPHABET,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    pool.start()
    learner.train_from_iterator(batches, trainer)
    vocabulary = learner.get_vocab(with_added_tokens=False)
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=names["unk"], max_input_chars_per_word=100))
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.add_special_tokens(special)
    ids = {role: vocabulary[name] for role, name in names.items()}
    backend.post_processor = processors.BertProcessing((names["sep"], ids["sep"]), (names["cls"], ids["cls"]))
    return Tokenizer(backend, ids, ("input_ids", "token_type_ids", "attention_mask"))


def _bpe(
    batches: Iterator[list[str]], vocab_size: int, lowercase: bool, strip_accents: bool, min_frequency: int
) -> Tokenizer:
    names = {role: usual[1] for role, usual in SPECIAL_TOKEN_NAMES.items()}
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
    backend.train_from_iterator(batches, trainer)
    # as in RoBERTa: the mask token includes the space before it
    backend.add_special_tokens([AddedToken(names["mask"], lstrip=True, special=True)])
    vocabulary = backend.get_vocab()
    ids = {role: vocabulary[name] for role, name in names.items()}
    backend.post_processor = processors.RobertaProcessing(
        (names["sep"], ids["sep"]), (names["cls"], ids["cls"]), add_prefix_space=False
    )
    return Tokenizer(backend, ids, ("input_ids", "attention_mask"))


def _check_size(vocab_size: int, minimum: int, pieces: str) -> None:
    if vocab_size < minimum:
        raise TokenizerError(
            f"tokenizer: a vocabulary of {vocab_size:,} tokens is too small for the special tokens and {pieces}; "
            f"use at least {minimum:,}."
        )
