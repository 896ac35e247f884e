"""Encoder and head against transformers: hidden states, pooled output, scores, gradients; eval and train mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bertwright.nn.batch import Batch
from bertwright.nn.encoder import Encoder
from bertwright.nn.heads import ClassificationHead, HeadStyle
from bertwright.nn.layout import Layout
from bertwright.nn.model import Model
from bertwright.weights.checkpoint_files import open_checkpoint
from bertwright.weights.hf_config import find_family, parse_encoder_config, read_config
from bertwright.weights.loading import load_into

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 71,
    "hidden_size": 30,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "intermediate_size": 46,
    "max_position_embeddings": 90,
    "hidden_dropout_prob": 0.15,
    "attention_probs_dropout_prob": 0.25,
    "classifier_dropout": 0.4,
    "initializer_range": 0.2,  # large, so that a mistake shows in the scores
}
FAMILIES: dict[str, dict[str, Any]] = {
    "Bert": SIZES,
    "Roberta": SIZES | {"type_vocab_size": 1},
    "XLMRoberta": SIZES | {"type_vocab_size": 1},
    "Camembert": SIZES | {"type_vocab_size": 1},
    "Data2VecText": SIZES | {"type_vocab_size": 1},
    "Electra": SIZES | {"embedding_size": 18},
    "DistilBert": {
        "vocab_size": 71,
        "dim": 30,
        "n_layers": 3,
        "n_heads": 5,
        "hidden_dim": 46,
        "max_position_embeddings": 90,
        "dropout": 0.15,
        "attention_dropout": 0.25,
        "seq_classif_dropout": 0.4,
        "initializer_range": 0.2,
    },
}
# past one attention row of 64, of equal length, of one token
LENGTHS = np.array([7, 66, 1, 64, 23, 23, 40, 3])
PAD = 1  # RoBERTa's; a random id of a token must not be it, or its position would differ


class Pair:
    """A transformers model and ours with the same weights, and one batch for both."""

    def __init__(self, family: str, folder: Path) -> None:
        torch.manual_seed(len(family))
        config = getattr(transformers, f"{family}Config")(**FAMILIES[family], num_labels=3, attn_implementation="eager")
        self.theirs = getattr(transformers, f"{family}ForSequenceClassification")(config)
        for name, parameter in self.theirs.named_parameters():
            if name.endswith("bias") or "norm" in name.lower():
                torch.nn.init.normal_(parameter, std=0.3)  # zeros and ones would hide what is not added or scaled
        self.theirs.save_pretrained(folder)
        found = read_config(folder)
        entry = find_family(found)
        head = entry.heads["classification"]
        self.ours = Model(
            Encoder(parse_encoder_config(entry, found)),
            ClassificationHead(30, 3, HeadStyle(head.activation, entry.head_dropout(found), head.dropout_before)),
        )
        load_into(self.ours, open_checkpoint(folder), entry)
        self.mask = torch.arange(int(LENGTHS.max())) < torch.from_numpy(LENGTHS)[:, None]
        self.ids = torch.randint(PAD + 1, 71, self.mask.shape).masked_fill(~self.mask, PAD)
        n_types = self.ours.encoder.config.n_types
        self.types = torch.randint(0, max(1, n_types), self.mask.shape).masked_fill(~self.mask, 0)

    def features(self) -> dict[str, Tensor]:
        kept = {"input_ids": self.ids, "attention_mask": self.mask.long()}
        return kept if self.ours.encoder.config.n_types == 0 else kept | {"token_type_ids": self.types}

    def packed(self) -> Batch:
        return Batch.from_features(self.ids, self.mask.long(), self.types)

    def padded(self) -> Batch:
        layout = Layout.padded(LENGTHS, self.mask.shape[1])
        return Batch(self.ids, self.types, layout, None, np.arange(len(LENGTHS)))


@pytest.fixture(params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return Pair(request.param, tmp_path)


def close(ours: Tensor, theirs: Tensor) -> None:
    """Equal to 1e-5 of the largest element."""
    ours, theirs = ours.detach(), theirs.detach()
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def test_hidden_states(pair: Pair) -> None:
    pair.theirs.eval(), pair.ours.eval()
    expected = pair.theirs(**pair.features(), output_hidden_states=True).hidden_states
    batch = pair.packed()
    found = pair.ours.encoder.hidden_states(batch.ids, batch.types, batch.layout)
    # DistilBERT and ELECTRA's projection also list the embeddings first
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, theirs[pair.mask])


@pytest.mark.parametrize("arrangement", ["packed", "padded"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_scores_and_gradients(pair: Pair, arrangement: str, mode: str) -> None:
    for model in (pair.theirs, pair.ours):
        model.train(mode == "train")
        for module in model.modules():
            if "Dropout" in type(module).__name__:
                module.p = 0.0
    for module in pair.theirs.modules():
        for rate in ("dropout_prob", "attention_dropout", "attention_probs_dropout_prob"):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
    for layer in pair.ours.encoder.layers:
        layer.attention.dropout = 0.0
    targets = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    expected = pair.theirs(**pair.features()).logits
    batch = pair.packed() if arrangement == "packed" else pair.padded()
    found = pair.ours(batch)
    close(found, expected)
    torch.nn.functional.cross_entropy(expected, targets).backward()
    torch.nn.functional.cross_entropy(found, targets).backward()
    compared = compare_gradients(pair)
    assert compared == {name for name, _ in pair.ours.named_parameters()}


def compare_gradients(pair: Pair) -> set[str]:
    """Every gradient of ours against theirs, by the family's table of names; the names compared."""
    theirs = dict(pair.theirs.named_parameters())
    entry = find_family(pair.theirs.config.to_dict())
    compared = set()
    for name, parameter in pair.ours.named_parameters():
        sources = [theirs[part].grad for part in entry.hf_names(name)]
        assert parameter.grad is not None, name
        expected = torch.cat([grad for grad in sources if grad is not None])
        ours = parameter.grad
        if name.endswith(("position.weight", "word.weight")):
            # transformers gives the padding index no gradient; ours never sees one
            ours, expected = ours[PAD + 1 :], expected[PAD + 1 :]
        scale = max(float(expected.abs().max()), 1e-3)  # key biases have a gradient of rounding errors only
        assert float((ours - expected).abs().max()) <= 2e-5 * scale, name
        compared.add(name)
    return compared


def test_pooled_output(tmp_path: Path) -> None:
    pair = Pair("Bert", tmp_path)
    pair.theirs.eval(), pair.ours.eval()
    batch = pair.packed()
    head = pair.ours.head
    assert isinstance(head, ClassificationHead)
    found = head.pool(head.features(pair.ours.encoder(batch.ids, batch.types, batch.layout), batch.layout))
    close(found, pair.theirs.bert(**pair.features()).pooler_output)


def test_one_at_a_time(pair: Pair) -> None:
    pair.ours.eval()
    together = pair.ours(pair.packed())
    for i, length in enumerate(LENGTHS):
        ids, types = pair.ids[i : i + 1, :length], pair.types[i : i + 1, :length]
        close(pair.ours(Batch.from_features(ids, torch.ones_like(ids), types))[0], together[i])


def test_dropout_sits_where_theirs_does(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every dropout a multiplication by 1 - p, one too many, too few or elsewhere changes the scores."""

    def scaled(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return x * (1 - p) if training else x

    def keep_all(shape: torch.Size, p: float, device: torch.device) -> tuple[Tensor, float]:
        return torch.full(shape, -1, dtype=torch.int16), 1 - p

    monkeypatch.setattr(torch.nn.functional, "dropout", scaled)
    monkeypatch.setattr("bertwright.nn.dropout.draw_keep_mask", keep_all)
    monkeypatch.setattr("bertwright.nn.attention.draw_keep_mask", keep_all)
    pair.theirs.train(), pair.ours.train()
    expected, found = pair.theirs(**pair.features()).logits, pair.ours(pair.packed())
    close(found, expected)
    assert float((found - pair.ours.eval()(pair.packed())).detach().abs().max()) > 1e-3
    expected.square().sum().backward()
    found.square().sum().backward()
    assert compare_gradients(pair) == {name for name, _ in pair.ours.named_parameters()}
