"""Loading from every form, what is decided and said there, and every error."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, models, processors
from tokenizers import Tokenizer as Backend

from bertwright.errors import DataError, OutputError, TokenizerError
from bertwright.tokenization.tokenizer import CHUNK, Tokenizer, check_vocabulary

LOWER = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "is", "good", "bad", "##ly", ",", "."]
CASED = [*LOWER, "The", "Film", "É"]
SMALL_BPE = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6, "ab": 7, "Ġ": 8}


def write_vocab(folder: Path, tokens: list[str], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def words(tokenizer: Tokenizer, *texts: str) -> str:
    pairs = list(texts[1:]) or None
    found = tokenizer.encode(list(texts[:1]), pairs, max_length=32)
    return " ".join(tokenizer.backend.id_to_token(id_) for id_ in found[0].ids.tolist())


@pytest.fixture
def small(tmp_path: Path) -> Tokenizer:
    return Tokenizer.load(write_vocab(tmp_path / "small", LOWER, do_lower_case=True))


# What is decided at loading, and told.


def test_vocabulary_without_capitals_means_lower_case(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_vocab(tmp_path, LOWER))
    assert words(tokenizer, "The FILM is badly good.") == "[CLS] the film is bad ##ly good . [SEP]"
    assert tokenizer.notes == (
        "the tokenizer lower-cases texts, because tokenizer_config.json has no do_lower_case and "
        "0 of the vocabulary's 6 tokens with letters contain a capital",
    )


def test_vocabulary_with_capitals_means_case_is_kept(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_vocab(tmp_path, CASED))
    assert words(tokenizer, "The Film FILM") == "[CLS] The Film [UNK] [SEP]"
    assert tokenizer.notes[0].startswith("the tokenizer keeps case, because ")
    assert "3 of the vocabulary's 9 tokens" in tokenizer.notes[0]


@pytest.mark.parametrize(
    ("tokens", "lower", "note"),
    [
        (LOWER, True, None),
        (CASED, False, None),
        (CASED, True, "the tokenizer lower-cases texts because do_lower_case is true, although 3 of .* check"),
        (LOWER, False, "the tokenizer keeps case because do_lower_case is false, although 0 of .* check"),
    ],
)
def test_do_lower_case_is_followed_and_doubted(
    tmp_path: Path, tokens: list[str], lower: bool, note: str | None
) -> None:
    tokenizer = Tokenizer.load(write_vocab(tmp_path, tokens, do_lower_case=lower))
    assert tokenizer.backend.normalizer.lowercase is lower
    if note is None:
        assert tokenizer.notes == ()
    else:
        assert len(tokenizer.notes) == 1
        assert re.match(note, tokenizer.notes[0])


def test_config_json_may_tell_the_case(tmp_path: Path) -> None:
    write_vocab(tmp_path, LOWER)
    (tmp_path / "config.json").write_text('{"do_lower_case": true}')
    assert Tokenizer.load(tmp_path).notes == ()


def test_roles_follow_the_configured_names(tmp_path: Path) -> None:
    tokens = ["<p>", "<u>", "<b>", "<e>", "the", "film"]
    write_vocab(tmp_path, tokens, cls_token="<b>", sep_token={"content": "<e>"}, pad_token="<p>", unk_token="<u>")
    tokenizer = Tokenizer.load(tmp_path)
    assert dict(tokenizer.special_ids) == {"cls": 2, "sep": 3, "pad": 0, "unk": 1}
    assert tokenizer.mask_id is None
    assert words(tokenizer, "the film", "x") == "<b> the film <e> <u> <e>"


def test_a_named_token_that_is_not_there_is_told(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_vocab(tmp_path, LOWER, do_lower_case=True, mask_token="[HIDE]"))
    assert tokenizer.mask_id is None
    assert tokenizer.notes == ("the tokenizer ignores mask_token [HIDE], which is not in the vocabulary",)


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [
        (None, "<s> a </s> </s> b </s>"),
        ("roberta", "<s> a </s> </s> b </s>"),
        ("bert", "<s> a </s> b </s>"),
    ],
)
def test_a_tokenizer_json_without_template_gets_its_family_s(
    tmp_path: Path, model_type: str | None, expected: str
) -> None:
    Backend(models.BPE(SMALL_BPE, [("a", "b")])).save(str(tmp_path / "tokenizer.json"))
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    tokenizer = Tokenizer.load(tmp_path)
    assert words(tokenizer, "a", "b") == expected
    assert tokenizer.n_segment_types == (2 if model_type == "bert" else 1)
    assert ("token_type_ids" in tokenizer.input_names) == (model_type == "bert")


def test_names_set_to_nothing_are_no_names(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_vocab(tmp_path, LOWER, do_lower_case=True, unk_token=None, cls_token=None))
    assert (tokenizer.unk_id, tokenizer.cls_id, tokenizer.notes) == (1, 2, ())


def test_a_generic_class_takes_tokenizer_json_as_it_is(tmp_path: Path) -> None:
    Tokenizer.load(write_vocab(tmp_path, LOWER, do_lower_case=True)).save(tmp_path)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(tmp_path)
    assert (words(tokenizer, "The"), tokenizer.notes) == ("[CLS] the [SEP]", ())


def test_input_names_are_kept(tmp_path: Path) -> None:
    write_vocab(tmp_path, LOWER, do_lower_case=True, model_input_names=["input_ids", "attention_mask"])
    assert Tokenizer.load(tmp_path).input_names == ("input_ids", "attention_mask")


def test_windows_line_ends_and_bom_are_no_part_of_tokens(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(LOWER).encode() + b"\r\n")
    assert Tokenizer.load(tmp_path).vocab_size == len(LOWER)
    assert Tokenizer.load(tmp_path).pad_id == 0


def test_a_vocabulary_s_odd_line_separators_stay_tokens(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_vocab(tmp_path, [*LOWER, "\u2028", "\x85x"], do_lower_case=True))
    assert tokenizer.backend.token_to_id("\x85x") == len(LOWER) + 1


# Errors of loading.


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no tokenizer found; expected tokenizer.json, vocab.txt, or vocab.json with merges.txt; add"),
        ({"vocab.json": "{}"}, r"\(only vocab.json exists\)"),
        ({"merges.txt": ""}, r"\(only merges.txt exists\)"),
        ({"sentencepiece.bpe.model": ""}, "has sentencepiece.bpe.model but no tokenizer.json; create it once"),
        ({"tokenizer.json": "{"}, r"tokenizer.json: cannot be read \(EOF .*copy or download the file again"),
        ({"vocab.txt": ""}, r"vocab.txt: does not contain the unknown token \[UNK\] in 0 lines"),
        ({"vocab.txt": "a 12\nb 9\n"}, r"vocab.txt: does not contain the unknown token \[UNK\] in 2 lines"),
        ({"vocab.txt": "[UNK]\nthe\n"}, r"of 2 tokens has no special token \[CLS\] / <s> or \[SEP\] / </s> to begin"),
        ({"vocab.txt": "[UNK]\n[CLS]\n"}, r"no special token \[SEP\] / </s> to end a text; set sep_token"),
        ({"vocab.json": "{", "merges.txt": ""}, r"vocab.json and merges.txt: cannot be read"),
        ({"tokenizer_config.json": "{"}, r"tokenizer_config.json: cannot be read \(Expecting property"),
        ({"special_tokens_map.json": "[]"}, r"special_tokens_map.json: expected a JSON object, found a list"),
    ],
)
def test_what_cannot_be_loaded_is_told(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(tmp_path)


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"nowhere: no such directory"):
        Tokenizer.load(tmp_path / "nowhere")


def test_a_vocabulary_in_another_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes("[UNK]\ncafé\n".encode("latin-1"))
    with pytest.raises(TokenizerError, match=r"vocab.txt: cannot be read \('utf-8' codec"):
        Tokenizer.load(tmp_path)


def test_added_tokens_of_another_model_are_told(tmp_path: Path) -> None:
    write_vocab(tmp_path, LOWER)
    (tmp_path / "added_tokens.json").write_text('{"[E1]": 30522}')
    with pytest.raises(
        TokenizerError, match=r"added token '\[E1\]' should have id 30522, but the vocabulary assigns it 13"
    ):
        Tokenizer.load(tmp_path)


def test_ends_that_contradict_the_names_are_told(tmp_path: Path) -> None:
    backend = Backend(models.BPE(SMALL_BPE, [("a", "b")]))
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", pair=None, special_tokens=[("</s>", 2)])
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match=r"adds nothing before a text and </s> after it, but cls and sep are <s>"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_json_that_cannot_split_is_told(tmp_path: Path) -> None:
    Backend(models.WordPiece({"[CLS]": 0, "[SEP]": 1}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match=r"cannot split a text \(.*\[UNK\]"):
        Tokenizer.load(tmp_path)


# Encoding.


def test_nothing_encodes_to_nothing(small: Tokenizer) -> None:
    found = small.encode([], max_length=8)
    assert (len(found), found.bounds.tolist(), found.ids.dtype, found.types.dtype) == (0, [0], np.int32, np.uint8)
    assert len(small.encode([], [], max_length=8)) == 0


def test_columns_have_their_types(small: Tokenizer) -> None:
    found = small.encode(["the film", ""], ["bad", "good good"], max_length=6)
    kinds = [np.dtype(kind) for kind in (np.int32, np.uint8, np.int64, np.int64, np.int32)]
    columns = (found.ids, found.types, found.bounds, found.examples, found.dropped)
    assert [column.dtype for column in columns] == kinds
    assert found.ids.tolist() == [2, 5, 6, 3, 9, 3, 2, 3, 8, 8, 3]
    assert found.types.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1]


def test_chunks_are_joined_in_order_and_reported(small: Tokenizer) -> None:
    texts = [" ".join(["good"] * (i % 5)) for i in range(2 * CHUNK + 10)]
    done: list[int] = []
    found = small.encode(texts, max_length=5, on_progress=done.append)
    assert done == [CHUNK, 2 * CHUNK, len(texts)]
    assert found.lengths.tolist() == [2 + min(i % 5, 3) for i in range(len(texts))]
    assert found.dropped.tolist() == [int(i % 5 == 4) for i in range(len(texts))]
    assert found.examples.tolist() == list(range(len(texts)))


def test_unknown_share_counts_words_only(small: Tokenizer) -> None:
    assert small.unknown_share(small.encode(["the zzz", "good zzz"], max_length=8)) == 0.5
    assert small.unknown_share(small.encode([""], max_length=8)) == 0.0
    without = Tokenizer(small.backend, {"cls": 2, "sep": 3}, ())
    assert without.unknown_share(without.encode(["zzz"], max_length=8)) == 0.0


@pytest.mark.parametrize(
    ("texts", "pairs", "settings", "message"),
    [
        (["a", None], None, {}, r"example 1 \(counted from 0\): the text is None \(NoneType\), not a string; fill in"),
        (["a"], [3.5], {}, r"example 0 \(counted from 0\): the second text is 3.5 \(float\), not a string"),
        (["a"], ["b", "c"], {}, r"second texts: 2 for 1 first texts"),
        (["a"] * 5000 + ["\ud83d"], None, {}, r"example 5000 \(counted from 0\): the text contains a lone surrogate"),
        (["a"], None, {"max_length": 2}, r"tokens.max_length: 2 leaves no room for a token of the text .* at least 3"),
        (["a"], ["b"], {"max_length": 4}, r"4 leaves no room for a token of both texts next to the 3 .* at least 5"),
        (["a"], None, {"truncation": "only_second"}, r'"only_second" truncates the second text, but these .* one text'),
        (["a"], None, {"truncation": "longest"}, r'unknown value "longest"; did you mean "longest_first"'),
        (
            ["a"] * 5000 + ["good " * 9],
            ["a"] * 5001,
            {"truncation": "only_second", "max_length": 8},
            r'example 5000 .*"only_second", but the other text alone has 9 tokens and only 5 fit next to',
        ),
    ],
)
def test_what_cannot_be_encoded_is_told(
    small: Tokenizer, texts: Any, pairs: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        small.encode(texts, pairs, **({"max_length": 16} | settings))


def test_a_backend_that_breaks_is_told(small: Tokenizer) -> None:
    broken = Tokenizer(Backend(models.WordPiece({"a": 0}, unk_token="[UNK]")), {"cls": 0, "sep": 0}, ())
    broken.backend.add_special_tokens([AddedToken("a")])
    broken.backend.post_processor = processors.BertProcessing(("a", 0), ("a", 0))
    with pytest.raises(TokenizerError, match="cannot split a text"):
        broken.encode(["b"], max_length=8)


# Fitting, saving.


def test_check_fits(small: Tokenizer) -> None:
    assert check_vocabulary(small, 13) == ()
    assert check_vocabulary(small, 16) == ("the tokenizer has 13 tokens for the 16 rows of the embedding",)
    with pytest.raises(
        TokenizerError, match=r"2 of its 13 tokens have ids beyond the 11 rows of the embedding, such as ',' with"
    ):
        check_vocabulary(small, 11)
    with pytest.raises(TokenizerError, match="no padding token; set pad_token"):
        check_vocabulary(Tokenizer(small.backend, {"cls": 2, "sep": 3}, ()), 13)


def test_fingerprints_tell_tokenizers_apart(tmp_path: Path, small: Tokenizer) -> None:
    same = Tokenizer.load(write_vocab(tmp_path / "same", LOWER, do_lower_case=True))
    cased = Tokenizer.load(write_vocab(tmp_path / "cased", LOWER, do_lower_case=False))
    longer = Tokenizer.load(write_vocab(tmp_path / "longer", [*LOWER, "x"], do_lower_case=True))
    assert same.fingerprint == small.fingerprint
    assert len({small.fingerprint, cased.fingerprint, longer.fingerprint}) == 3


def test_saving_writes_what_others_look_for(tmp_path: Path, small: Tokenizer) -> None:
    small.save(tmp_path / "saved")
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    assert (tmp_path / "saved" / "vocab.txt").read_text().split() == LOWER
    config = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (config["do_lower_case"], config["strip_accents"], config["cls_token"]) == (True, None, "[CLS]")
    assert "model_max_length" not in config


def test_saving_where_a_file_stands_is_told(tmp_path: Path, small: Tokenizer) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="taken"):
        small.save(tmp_path / "taken")


@pytest.mark.real
def test_sst2_is_encoded_in_seconds(real_data: Path, minilm: Path) -> None:
    lines = (real_data / "glue" / "SST-2" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    texts = [line.split("\t")[0] for line in lines]
    tokenizer = Tokenizer.load(minilm)
    start = time.process_time()
    found = tokenizer.encode(texts, max_length=128)
    # 0.7 s by the clock, 1.2 s of two idle cores' time; counted so, other work on the machine does not matter much.
    assert time.process_time() - start < 6
    assert len(found) == 67349
    assert round(found.lengths.mean(), 1) == 13.3
