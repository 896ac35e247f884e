"""The masked-LM head against transformers, and the words it puts into gaps."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers import decoders, models

from bertwright.data.augment import AugmentationSettings, augment
from bertwright.data.dataset import Dataset, ReadReport
from bertwright.data.example import Example
from bertwright.errors import TokenizerError, WeightsError
from bertwright.nn.batch import Batch
from bertwright.weights.families import FAMILIES
from bertwright.weights.masked_lm import TOP_K, MaskedLM, _whole_words, open_masked_lm
from tiny import TINY, VOCABULARY

transformers = pytest.importorskip("transformers")

SIZES = {key: value for key, value in TINY.items() if key != "initializer_range"}
CASES: dict[str, dict[str, Any]] = {
    "Bert": SIZES | {"hidden_act": "gelu_new"},
    "Roberta": SIZES | {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "hidden_act": "relu"},
    "XLMRoberta": SIZES | {"type_vocab_size": 1},
    "Camembert": SIZES | {"type_vocab_size": 1},
    "Data2VecText": SIZES | {"type_vocab_size": 1},
    "DistilBert": {
        "vocab_size": len(VOCABULARY),
        "dim": 24,
        "n_layers": 2,
        "n_heads": 3,
        "hidden_dim": 40,
        "max_position_embeddings": 96,
        "activation": "relu",
    },
    "Electra": SIZES | {"embedding_size": 8, "hidden_act": "silu"},
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def saved(folder: Path, case: str = "Bert", suffix: str = "ForMaskedLM", **config: Any) -> Any:
    """A tiny model of random weights with a tokenizer, in evaluation mode."""
    torch.manual_seed(len(case))
    known = getattr(transformers, f"{case}Config")(**CASES[case], pad_token_id=0, **config)
    theirs = getattr(transformers, case + suffix)(known).eval()
    for parameter in theirs.parameters():  # biases and norms start at 0 and 1, where mistakes do not show
        parameter.data.normal_(0, 0.3)
    theirs.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    return theirs


@pytest.mark.parametrize("case", CASES)
def test_scores(case: str, tmp_path: Path) -> None:
    theirs = saved(tmp_path, case)
    ours = open_masked_lm(tmp_path)
    lengths = torch.tensor([7, 1, 11])
    mask = (torch.arange(11) < lengths[:, None]).long()
    ids = torch.randint(5, len(VOCABULARY), (3, 11), generator=torch.Generator().manual_seed(0)) * mask
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        batch = Batch.from_features(ids, mask)
        scores = ours.head.words(ours.head(ours.encoder(batch.ids, batch.types, batch.layout), batch.layout))
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_all_families_are_there() -> None:
    assert all("masked_lm" in family.heads for family in FAMILIES.values())


def test_words_are_those_that_transformers_finds_likely(tmp_path: Path) -> None:
    theirs = saved(tmp_path)
    ours = open_masked_lm(tmp_path)
    text = "The film, was good!"
    n = 1000
    draws = [[i / n, (i * 7 % n) / n] for i in range(n)]
    found = ours.substitute([text] * n, [[(4, 8), (14, 18)]] * n, draws)
    tokenizer = ours.tokenizer.backend
    encoded = tokenizer.encode("The [MASK], was [MASK]!")
    ids = torch.tensor([encoded.ids])
    with torch.no_grad():
        logits = theirs(input_ids=ids).logits[0][ids[0] == ours.tokenizer.mask_id]
    whole = list({token: i for i, token in enumerate(VOCABULARY) if token.isalpha()}.values())  # "a" is there twice
    assert ours.words == {i: VOCABULARY[i] for i in whole}
    for place, old in enumerate(("film", "good")):
        rest = torch.tensor([i for i in whole if VOCABULARY[i] != old])
        best = logits[place, rest].topk(TOP_K)
        shares = dict(zip([VOCABULARY[i] for i in rest[best.indices]], best.values.softmax(0).tolist(), strict=True))
        times = Counter(each[place] for each in found)
        assert times.keys() <= shares.keys()
        for word, share in shares.items():
            assert abs(times[word] / n - share) < 0.003, word


def test_places_that_get_no_word(tmp_path: Path) -> None:
    saved(tmp_path)
    ours = open_masked_lm(tmp_path)
    long = "good " * 200
    at = [(0, 4), (5 * 93, 5 * 93 + 4), (5 * 94, 5 * 94 + 4), (5 * 199, 5 * 199 + 4)]
    texts = ["a [MASK] film", long, "film"]
    found = ours.substitute(texts, [[(9, 13)], at, []], [[0.5], [0.5] * 4, []])
    assert found[0] == [None], "a mask in the text itself would be taken for a gap"
    assert [word is not None for word in found[1]] == [True, True, False, False], "96 positions, two of them special"
    assert found[2] == []
    assert ours.substitute([], [], []) == []


def test_rows_are_augmented_with_it(tmp_path: Path) -> None:
    saved(tmp_path)
    ours = open_masked_lm(tmp_path)
    examples = [Example(str(i), f"The plot {i} was very GOOD.", None, "x") for i in range(40)]
    rows = Dataset(examples, ReadReport("a.csv", 40))
    settings = AugmentationSettings(masked_lm=0.4, masked_lm_model=str(tmp_path), copies=2)
    after, report = augment(rows, settings, 0, ours.substitute)
    assert report.words["masked_lm"] > 80
    assert report.added > 60
    assert {len(row.text.split()) for row in after} == {6}
    assert all(row.text.endswith(".") and row.text.split()[2] == row.id.partition("#")[0] for row in after)
    assert {row.text.split()[5].isupper() or len(row.text.split()[5]) == 2 for row in after} == {True}
    again, _ = augment(rows.take(reversed(range(40))), settings, 0, ours.substitute)
    assert {row.id: row.text for row in again} == {row.id: row.text for row in after}


@pytest.mark.parametrize(
    ("pieces", "decoder", "expected"),
    [
        (["good", "##ly", "Ġ", "x1"], decoders.WordPiece(), {"good", "Ġ"}),
        (["Ġgood", "ly", "ĠÃ©t", "Ġ!"], decoders.ByteLevel(), {"good", "ét"}),
        (["▁good", "ly", "▁", "▁Ġ", "Ġ"], decoders.Metaspace(), {"good", "Ġ"}),
    ],
)  # fmt: skip
def test_whole_words_of_every_kind_of_vocabulary(pieces: list[str], decoder: Any, expected: set[str]) -> None:
    pieces += [f"#{i}" for i in range(8)]
    backend = tokenizers.Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="#0"))
    backend.decoder = decoder
    assert set(_whole_words(backend).values()) == expected


def test_models_that_cannot_fill_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "plain", suffix="Model")
    with pytest.raises(WeightsError, match=r"plain: has no masked-LM head; choose a pre-trained model such"):
        open_masked_lm(tmp_path / "plain")
    saved(tmp_path / "untied", tie_word_embeddings=False)
    with pytest.raises(WeightsError, match="untied: its output layer is not tied to the word embedding"):
        open_masked_lm(tmp_path / "untied")
    folder = tmp_path / "maskless"
    saved(folder)
    (folder / "vocab.txt").write_text("\n".join("[X]" if w == "[MASK]" else w for w in VOCABULARY), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"mask_token": None}), encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"maskless: its tokenizer has no mask token; choose another model"):
        open_masked_lm(folder)


def test_a_vocabulary_without_words_gives_none(tmp_path: Path) -> None:
    saved(tmp_path)
    found = open_masked_lm(tmp_path)
    empty = MaskedLM(found.encoder, found.head, found.tokenizer, found.mask_id)
    empty.__dict__["words"] = {}
    assert empty.substitute(["a film"], [[(0, 1)]], [[0.5]]) == [[None]]
