"""Ids, segments and truncation equal those of transformers and tokenizers, and saved files open in transformers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, CamembertTokenizer, XLMRobertaTokenizer

from bertwright.tokenization.tokenizer import Tokenizer

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "A café in Zürich serves naïve guests; they pay 12.50 and leave.",
    "Good films are rare. Bad films are not: this one is neither good nor bad!",
    "the reader reads, the writer writes, the lower lowered the lowest of the low",
]
TEXTS = [
    *CORPUS,
    "",
    " ",
    "Café CAFÉ café — “quoted” … 12,000",
    "我喜欢这部电影 because it is good",
    "tabs\tand\nlines\r\n and\x00 control\u200b characters \ufffd",
    "emoji 😀 and unseen letters ßþŋ Ωλ",
    "a literal [SEP] and </s> and [MASK]<mask> in the text",
    "unbelievable" * 12,
    "  leading and trailing  ",
]
PAIRS = [(first, second) for first, second in product(TEXTS, [TEXTS[3], "", TEXTS[8]])]


def word_piece(folder: Path, model_type: str = "bert", **config: Any) -> None:
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=config.get("do_lower_case", True))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=150, special_tokens=special))
    backend.model.save(str(folder))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def byte_level(folder: Path, **config: Any) -> None:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.model.save(str(folder))
    (folder / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def unigram(folder: Path, tokenizer_class: Any, model_type: str) -> None:
    backend = Backend(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    vocabulary = [tuple(piece) for piece in json.loads(backend.to_str())["model"]["vocab"]]
    tokenizer_class(vocab=vocabulary).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))


FAMILIES: dict[str, Callable[[Path], None]] = {
    "bert": lambda folder: word_piece(folder, do_lower_case=True),
    "bert cased": lambda folder: word_piece(folder, do_lower_case=False),
    "bert accents": lambda folder: word_piece(folder, do_lower_case=True, strip_accents=False),
    "bert chinese": lambda folder: word_piece(folder, do_lower_case=True, tokenize_chinese_chars=False),
    "distilbert": lambda folder: word_piece(folder, "distilbert", do_lower_case=True),
    "electra": lambda folder: word_piece(folder, "electra", do_lower_case=True),
    "roberta": byte_level,
    "roberta prefix": lambda folder: byte_level(folder, add_prefix_space=True),
    "xlm-roberta": lambda folder: unigram(folder, XLMRobertaTokenizer, "xlm-roberta"),
    "camembert": lambda folder: unigram(folder, CamembertTokenizer, "camembert"),
}


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family")
    FAMILIES[request.param](folder)
    return folder


def assert_equal(
    ours: Tokenizer, theirs: Any, texts: list[str], pairs: list[str] | None, max_length: int, truncation: str
) -> None:
    found = ours.encode(texts, pairs, max_length=max_length, truncation=truncation)  # type: ignore[arg-type]
    expected = theirs(
        texts, pairs, truncation=truncation, max_length=max_length, padding=False, return_token_type_ids=True
    )
    whole = theirs(texts, pairs, truncation=False, padding=False, verbose=False)
    for i, row in enumerate(found):
        assert row.ids.tolist() == expected["input_ids"][i], (texts[i], pairs and pairs[i])
        assert row.types.tolist() == expected["token_type_ids"][i]
        assert row.dropped == len(whole["input_ids"][i]) - len(row.ids)
        assert row.example == i
    assert found.lengths.sum() == len(found.ids)


def assert_all_equal(ours: Tokenizer, theirs: Any) -> None:
    first_tokens_only, seconds = ([pair[side] for pair in PAIRS] for side in (0, 1))
    for max_length in (3, 8, 512):
        assert_equal(ours, theirs, TEXTS, None, max_length, "longest_first")
        assert_equal(ours, theirs, TEXTS, None, max_length, "only_first")
    for max_length in (6, 17, 512):
        assert_equal(ours, theirs, first_tokens_only, seconds, max_length, "longest_first")
    assert_equal(ours, theirs, first_tokens_only, seconds, 300, "only_first")
    assert_equal(ours, theirs, first_tokens_only, seconds, 300, "only_second")
    short = ["the film"] * len(TEXTS)
    assert_equal(ours, theirs, short, TEXTS, 20, "only_second")
    assert_equal(ours, theirs, TEXTS, short, 20, "only_first")


def test_every_family_gives_the_ids_of_transformers(family: Path) -> None:
    assert_all_equal(Tokenizer.load(family), AutoTokenizer.from_pretrained(family))


def test_special_tokens_have_the_roles_transformers_gives_them(family: Path) -> None:
    ours, theirs = Tokenizer.load(family), AutoTokenizer.from_pretrained(family)
    names = ("cls", "sep", "pad", "unk", "mask")
    assert [getattr(ours, f"{name}_id") for name in names] == [getattr(theirs, f"{name}_token_id") for name in names]
    assert ours.vocab_size == len(theirs)
    if "distilbert" in (family / "config.json").read_text():
        # transformers 5 also names segment ids here; before, its DistilBERT refused them.
        assert ours.input_names == ("input_ids", "attention_mask")
    else:
        assert list(ours.input_names) == theirs.model_input_names


@pytest.mark.parametrize("beside_model", [True, False], ids=["with config.json", "alone"])
def test_what_is_saved_opens_in_transformers_and_here(family: Path, tmp_path: Path, beside_model: bool) -> None:
    ours = Tokenizer.load(family)
    ours.save(tmp_path, max_length=77)
    if beside_model:
        (tmp_path / "config.json").write_text((family / "config.json").read_text())
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert_all_equal(ours, theirs)
    assert theirs.model_max_length == 77
    assert theirs.mask_token_id == ours.mask_id
    assert theirs.model_input_names == list(ours.input_names)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint == ours.fingerprint
    assert (again.special_ids, again.input_names, again.notes) == (ours.special_ids, ours.input_names, ())


def test_a_saved_vocabulary_alone_gives_the_same_ids(tmp_path: Path) -> None:
    word_piece(tmp_path, do_lower_case=True)
    ours = Tokenizer.load(tmp_path)
    (saved := tmp_path / "saved").mkdir()
    ours.save(saved)
    (saved / "tokenizer.json").unlink()
    assert_all_equal(Tokenizer.load(saved), AutoTokenizer.from_pretrained(tmp_path))
    assert Tokenizer.load(saved).fingerprint == ours.fingerprint


def test_padding_and_truncation_of_tokenizer_json_are_not_taken_over(tmp_path: Path) -> None:
    word_piece(tmp_path, do_lower_case=True)
    ours = Tokenizer.load(tmp_path)
    (tight := tmp_path / "tight").mkdir()
    ours.save(tight)
    backend = Backend.from_file(str(tight / "tokenizer.json"))
    backend.enable_padding(length=16)
    backend.enable_truncation(8)
    backend.save(str(tight / "tokenizer.json"))
    found = Tokenizer.load(tight)
    assert found.fingerprint == ours.fingerprint
    assert_all_equal(found, AutoTokenizer.from_pretrained(tmp_path))
    found.save(tight)
    written = json.loads((tight / "tokenizer.json").read_text())
    assert written["padding"] is None
    assert written["truncation"] is None


@pytest.mark.parametrize("lower", [True, False])
def test_do_lower_case_stands_above_tokenizer_json_as_in_transformers(tmp_path: Path, lower: bool) -> None:
    word_piece(tmp_path, do_lower_case=not lower)
    (other := tmp_path / "other").mkdir()
    Tokenizer.load(tmp_path).save(other)
    (other / "config.json").write_text('{"model_type": "bert"}')
    (other / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    ours = Tokenizer.load(other)
    assert_all_equal(ours, AutoTokenizer.from_pretrained(other))
    assert ours.notes[0].startswith(f"do_lower_case: tokenizer_config.json sets {lower} and")


@pytest.mark.parametrize("prefix", [True, False])
def test_add_prefix_space_stands_above_tokenizer_json_as_in_transformers(tmp_path: Path, prefix: bool) -> None:
    byte_level(tmp_path, add_prefix_space=not prefix)
    (other := tmp_path / "other").mkdir()
    Tokenizer.load(tmp_path).save(other)
    (other / "config.json").write_text('{"model_type": "roberta"}')
    (other / "tokenizer_config.json").write_text(json.dumps({"add_prefix_space": prefix}))
    ours = Tokenizer.load(other)
    assert_all_equal(ours, AutoTokenizer.from_pretrained(other))
    assert ours.notes[0].startswith(f"add_prefix_space: tokenizer_config.json sets {prefix} and")


def test_tokens_added_to_a_vocabulary_keep_their_ids(tmp_path: Path) -> None:
    word_piece(tmp_path, do_lower_case=True)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    theirs.add_tokens(["[E1]", "covidnineteen"])
    size = len(theirs)
    decoder = {str(size - 2): {"content": "[E1]", "special": False, "normalized": True}}
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": True, "added_tokens_decoder": decoder})
    )
    (tmp_path / "added_tokens.json").write_text(json.dumps({"[E1]": size - 2, "covidnineteen": size - 1}))
    ours = Tokenizer.load(tmp_path)
    assert ours.vocab_size == size
    assert_equal(ours, theirs, ["a [E1] covidnineteen dog", "[e1] Covidnineteen"], None, 20, "longest_first")


@pytest.mark.real
@pytest.mark.parametrize("name", ["bert-base-uncased", "bert-base-cased", "roberta-base"])
def test_published_vocabularies_on_real_text(real_data: Path, tmp_path: Path, name: str) -> None:
    for file in (real_data / "vocab" / name).iterdir():
        if file.name != "tokenizer.json":  # the vocabulary alone is what is asked here
            (tmp_path / file.name).write_bytes(file.read_bytes())
    model_type = name.split("-")[0]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = AutoTokenizer.from_pretrained(tmp_path, **({} if "roberta" in name else {"do_lower_case": "un" in name}))
    ours = Tokenizer.load(tmp_path)
    assert_all_equal(ours, theirs)
    assert_real_equal(ours, theirs, real_data)


@pytest.mark.real
def test_minilm_on_real_text(real_data: Path, minilm: Path) -> None:
    assert_real_equal(Tokenizer.load(minilm), AutoTokenizer.from_pretrained(minilm), real_data)


def assert_real_equal(ours: Tokenizer, theirs: Any, real_data: Path) -> None:
    with (real_data / "glue" / "RTE" / "dev.tsv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    first_tokens_only, seconds = ([row[name] for row in rows] for name in ("sentence1", "sentence2"))
    assert_equal(ours, theirs, first_tokens_only, seconds, 64, "longest_first")
    assert_equal(ours, theirs, first_tokens_only, seconds, 128, "only_first")
    with (real_data / "toxic" / "multilabel_dev.csv").open(encoding="utf-8", newline="") as lines:
        comments = [row["comment_text"] for row in csv.DictReader(lines)][:500]
    assert_equal(ours, theirs, comments, None, 128, "longest_first")
    assert ours.unknown_share(ours.encode(comments, max_length=512)) < 0.01
