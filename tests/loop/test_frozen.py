"""A frozen encoder runs once, and nothing is different for it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from bertwright.cache import disk_cache as cache
from bertwright.cache.column_file import HEADER_BYTES
from bertwright.errors import TrainingError
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.heads import ClassificationHead, TokenHead
from bertwright.nn.layout import Layout
from bertwright.nn.lora import add_adapters
from bertwright.nn.model import Model
from bertwright.nn.settings import LoraSettings
from bertwright.recipe import Recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from bertwright.tokenization.batching import iterate_in_order, make_batcher
from bertwright.tokenization.encodings import Encodings
from bertwright.training import frozen_features as frozen
from bertwright.training.compute import ComputeConfig
from bertwright.training.frozen_features import add_features, is_frozen
from bertwright.training.state import fingerprint_frozen_weights, read_parameters, save_parameters
from loop.conftest import Listener
from tiny import make_tiny_bert

Make = Callable[..., Recipe]
CONFIG = EncoderConfig(
    vocab_size=30, width=16, n_layers=2, n_heads=2, ffn_width=24, max_positions=32, initializer_range=0.3
)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """How many sequences the encoder has been run over."""
    seen = SimpleNamespace(sequences=0)
    states = Encoder._states

    def run(self: Encoder, ids: Tensor, types: Tensor, layout: Layout, only: Tensor | None) -> list[Tensor]:
        seen.sequences += len(layout)
        return states(self, ids, types, layout, only)

    monkeypatch.setattr(Encoder, "_states", run)
    return seen


def test_epochs_cost_one_pass_and_change_nothing(
    recipe: Make, tmp_path: Path, counted: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTWRIGHT_CACHE", str(tmp_path / "cache"))
    pairs = ("model.freeze=encoder", "train.length=4 epochs")
    once = train(recipe(*pairs), tmp_path / "once")
    probes = 2 * frozen.PROBES
    assert counted.sequences == 120 + probes
    counted.sequences = 0
    again = train(recipe(*pairs), tmp_path / "again")
    assert counted.sequences == probes
    every = train(recipe(*pairs, "train.cache_features=false"), tmp_path / "every")
    assert counted.sequences > 4 * 96
    texts = ["the film is great", "a dull plot", "it was very fun", "awful"]
    found = [[list(p.probabilities.values()) for p in bundle.predict(texts)] for bundle in (once, again, every)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], found[2], atol=1e-4)
    np.testing.assert_allclose(
        [[p.probabilities["pos"]] for p in Bundle.load(tmp_path / "once").predict(texts)],
        [[row[1]] for row in found[0]],
        atol=1e-5,
    )


def test_stopped_and_resumed_is_never_stopped(recipe: Make, tmp_path: Path) -> None:
    pairs = ("model.freeze=encoder", "train.length=2 epochs", "train.evaluate_every=5 steps")
    train(recipe(*pairs), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe(*pairs), tmp_path / "cut", listeners=[Listener(7, lambda: signal.raise_signal(signal.SIGINT))])
    train(recipe(*pairs), tmp_path / "cut", resume=True)
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def encodings() -> Encodings:
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 30, 40)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    n = int(bounds[-1])
    zeros = np.zeros(40, np.int32)
    return Encodings(rng.integers(1, 30, n).astype(np.int32), np.zeros(n, np.uint8), bounds, np.arange(40), zeros)


class Own(nn.Module):
    """A head that knows nothing of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(16, 2)

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        scores: Tensor = self.output(hidden)[layout.starts]
        return scores


def make(head: nn.Module, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    encoder = Encoder(CONFIG)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, 0.0, 0.3)
    return Model(encoder, head).freeze("encoder").eval()


@pytest.mark.parametrize("head", [ClassificationHead(16, 3), TokenHead(16, 3), Own()], ids=lambda h: type(h).__name__)
def test_scores_from_features_are_the_models(head: nn.Module, tmp_path: Path) -> None:
    from bertwright.training.scoring import compute_scores

    model, data = make(head), encodings()
    found = add_features(model, data, folder=tmp_path)
    assert found.features is not None
    assert not found.features.flags.owndata
    np.testing.assert_allclose(compute_scores(model, found), compute_scores(model, data), atol=1e-5)
    part, _ = list(found.iterate_parts(10))[1]
    np.testing.assert_allclose(
        compute_scores(model, part), compute_scores(model, list(data.iterate_parts(10))[1][0]), atol=1e-5
    )


def test_a_vector_a_sequence_counts_as_one_token(tmp_path: Path) -> None:
    data = encodings()
    vectors = add_features(make(ClassificationHead(16, 3)), data, folder=tmp_path)
    tokens = add_features(make(TokenHead(16, 3)), data, folder=tmp_path)
    rows = np.arange(20)
    assert data.lengths[rows].sum() > 40
    assert [len(batch) for batch in make_batcher(vectors, 40, 0)(rows, 0)] == [20]
    assert [len(batch) for batch in iterate_in_order(vectors, 40)] == [40]
    for found in (make_batcher(tokens, 40, 0)(rows, 0), list(iterate_in_order(tokens, 40))):
        assert len(found) > 2
        assert max(batch.layout.n_tokens for batch in found) <= 40


def test_every_encoder_and_data_set_has_its_own_entry(tmp_path: Path) -> None:
    data = encodings()
    for n, (model, rows, bf16) in enumerate(
        [
            (make(ClassificationHead(16, 3)), data, False),
            (make(ClassificationHead(16, 3), seed=1), data, False),
            (make(TokenHead(16, 3)), data, False),
            (make(ClassificationHead(16, 3)), data.slice_sequences(0, 20), False),
            (make(ClassificationHead(16, 3)), data, True),
        ],
        start=1,
    ):
        for _ in range(2):
            add_features(model, rows, folder=tmp_path, compute=ComputeConfig(bf16=bf16))
        assert len(list(tmp_path.iterdir())) == n


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b[:128] + bytes(len(b) - 128)])
def test_what_is_damaged_is_never_believed(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    model, data = make(ClassificationHead(16, 3)), encodings()
    add_features(model, data, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.unlink()  # in a new file: the former is still mapped
    path.write_bytes(damage(whole))
    notes: list[str] = []
    add_features(model, data, folder=tmp_path, on_note=notes.append)
    assert path.read_bytes() == whole
    assert [f"{path}: removed a damaged cache entry" in note for note in notes] == [True]


@pytest.mark.parametrize("head", [ClassificationHead(16, 3), TokenHead(16, 3)], ids=["sequences", "tokens"])
def test_a_change_anywhere_is_noticed(head: nn.Module, tmp_path: Path) -> None:
    model, data = make(head), encodings()
    expected = np.array(add_features(model, data, folder=tmp_path).features)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(HEADER_BYTES, len(whole), 40):
        content = bytearray(whole)
        content[at] ^= 1  # of the least significant bits most are far below what probes tolerate
        path.unlink()
        path.write_bytes(content)
        notes: list[str] = []
        found = add_features(model, data, folder=tmp_path, on_note=notes.append).features
        np.testing.assert_array_equal(found, expected)
        assert len(notes) == 1


def test_no_place_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = make(ClassificationHead(16, 3)), encodings()
    notes: list[str] = []
    monkeypatch.setenv("BERTWRIGHT_CACHE", "off")
    assert add_features(model, data, on_note=notes.append).features is None
    assert "BERTWRIGHT_CACHE is off: it runs in every epoch" in notes[0]
    (tmp_path / "file").write_text("")
    assert add_features(model, data, folder=tmp_path / "file" / "below", on_note=notes.append).features is None
    monkeypatch.setattr(cache, "SPARE_BYTES", 1 << 60)
    assert add_features(model, data, folder=tmp_path / "there", on_note=notes.append).features is None
    assert "so it runs in every epoch: they need 0.0 GB, but" in notes[2]


def test_the_oldest_entries_go_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_entry = replace(cache.KINDS["features"], max_bytes=7000)  # 40 x 16 x 4 bytes and the header
    monkeypatch.setitem(cache.KINDS, "features", one_entry)
    for seed in range(3):
        add_features(make(ClassificationHead(16, 3), seed), encodings(), folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_only_a_wholly_frozen_encoder_counts() -> None:
    model = make(ClassificationHead(16, 3))
    assert is_frozen(model)
    assert not is_frozen(model.freeze(1))
    assert not is_frozen(model.freeze("embeddings"))


def names(path: Path) -> set[str]:
    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def test_what_never_changes_is_not_saved(tmp_path: Path) -> None:
    model, other, path = make(ClassificationHead(16, 3)), make(ClassificationHead(16, 3), seed=1), tmp_path / "p"
    head = {f"head.{name}" for name in model.head.state_dict()}
    save_parameters(path, model)
    assert names(path) == head
    read_parameters(path, other)
    assert all(torch.equal(a, b) for a, b in zip(model.head.parameters(), other.head.parameters(), strict=True))
    assert not torch.equal(model.encoder.embeddings.word.weight, other.encoder.embeddings.word.weight)
    with pytest.raises(TrainingError, match=r"belongs to another model; only one of them has encoder\.embeddings"):
        read_parameters(path, other.freeze("nothing"))
    save_parameters(path, model, frozen=True)
    read_parameters(path, other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert names(path) == set(model.state_dict())


def test_layers_that_train_later_and_adapters_are_saved(tmp_path: Path) -> None:
    path, model = tmp_path / "p", make(ClassificationHead(16, 3))
    save_parameters(path, model.freeze("embeddings").train_top_layers(0))
    later = {name for name in model.state_dict() if not name.startswith("encoder.embeddings.")}
    assert names(path) == later
    add_adapters(model.encoder, LoraSettings(rank=2))
    save_parameters(path, model.freeze("nothing"))
    assert names(path) == {name for name in model.state_dict() if "lora_" in name or name.startswith("head.")}
    changed = fingerprint_frozen_weights(model)
    with torch.no_grad():
        model.head.output.weight += 1
    assert fingerprint_frozen_weights(model) == changed
    with torch.no_grad():
        model.encoder.layers[0].attention.qkv.weight += 1
    assert fingerprint_frozen_weights(model) != changed


def test_another_base_under_the_same_name_is_refused(recipe: Make, tiny_bert: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_bert, base)
    pairs = ("model.freeze=encoder", f"model.base={base}")
    stop = Listener(4, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(recipe(*pairs), tmp_path / "run", listeners=[stop])
    state = tmp_path / "run" / "checkpoint" / "state.safetensors"
    assert not any("encoder." in name for name in names(state))
    make_tiny_bert(base, seed=1)
    with pytest.raises(TrainingError, match=r"base: its weights have changed since the run in .*run started"):
        train(recipe(*pairs), tmp_path / "run", resume=True)
    shutil.copytree(tiny_bert, base, dirs_exist_ok=True)
    train(recipe(*pairs), tmp_path / "run", resume=True)
