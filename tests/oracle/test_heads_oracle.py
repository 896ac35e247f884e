"""Heads beside those of others: pytorch-crf, plain torch, transformers' encoders, AdamW with groups by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bertwright import Bundle, Recipe, fine_tune
from bertwright.nn import IGNORE_INDEX
from bertwright.nn.crf import BEST_PATH_MARGIN, CrfHead
from bertwright.nn.custom_heads import DeclaredHead
from bertwright.nn.encoder import EncoderConfig
from bertwright.nn.head_settings import HeadSettings
from bertwright.nn.heads import first_tokens
from bertwright.nn.layout import Layout

transformers = pytest.importorskip("transformers")

CONFIG = EncoderConfig(40, 16, 3, 2, 24, 32)
LENGTHS = [5, 9, 1, 7]


def padded(flat: Tensor, lengths: list[int], fill: float = 0.0) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(flat.split(lengths)), batch_first=True, padding_value=fill)


@pytest.mark.parametrize("seed", range(5))
def test_the_crf_is_pytorch_crf(seed: int) -> None:
    """Values, gradients and best paths of random fields, on chains that are parts of packed sequences."""
    torchcrf = pytest.importorskip("torchcrf")
    generator = torch.Generator().manual_seed(seed)
    ours = CrfHead(HeadSettings(crf=True), CONFIG, 5, tokens=True)
    theirs = torchcrf.CRF(5, batch_first=True)
    with torch.no_grad():
        for mine, other in (
            (ours.start, theirs.start_transitions),
            (ours.end, theirs.end_transitions),
            (ours.transitions, theirs.transitions),
        ):
            mine.copy_(other.normal_(0.0, 2.0, generator=generator))
    scores = torch.randn(sum(LENGTHS), 5, generator=generator, requires_grad=True)
    # first pieces: the others, special tokens among them, are no links
    links = torch.rand(sum(LENGTHS), generator=generator) < 0.6
    links[0] = links[5] = links[14] = links[15] = True
    targets = torch.where(links, torch.randint(5, links.shape, generator=generator), IGNORE_INDEX)
    counts = [int(part.sum()) for part in links.split(LENGTHS)]
    emissions = padded(scores[links], counts)
    mask = padded(torch.ones(sum(counts)), counts).bool()
    tags = padded(targets[links], counts).long()

    total, count = ours.loss(scores, targets, Layout.packed(LENGTHS))
    expected = -theirs(emissions, tags, mask=mask, reduction="sum")
    assert count == sum(counts)
    torch.testing.assert_close(total, expected)
    (mine,) = torch.autograd.grad(total, scores, retain_graph=True)
    (other,) = torch.autograd.grad(expected, scores, retain_graph=True)
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
    total.backward()
    expected.backward()
    for parameter, reference in (
        (ours.start, theirs.start_transitions),
        (ours.end, theirs.end_transitions),
        (ours.transitions, theirs.transitions),
    ):
        torch.testing.assert_close(parameter.grad, reference.grad, rtol=1e-4, atol=1e-5)

    with torch.no_grad():
        said = ours.log_probabilities(scores, targets, Layout.packed(LENGTHS))
    paths = theirs.decode(emissions, mask=mask)
    assert said[links].argmax(1).tolist() == [tag for path in paths for tag in path]
    # the gradient of log Z is the probability of each tag
    emissions = emissions.detach().requires_grad_()
    log_z = theirs._compute_normalizer(emissions.transpose(0, 1), mask.transpose(0, 1)).sum()
    (marginals,) = torch.autograd.grad(log_z, emissions)
    found, expected = said[links], marginals[mask]
    best = found.argmax(1, keepdim=True)
    others = torch.ones_like(found, dtype=torch.bool).scatter(1, best, False)
    torch.testing.assert_close(found.exp()[others], expected[others], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        found.gather(1, best)[:, 0], expected.max(1).values.log(), rtol=0, atol=1.1 * BEST_PATH_MARGIN
    )


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("pooling", ["first", "mean", "max"])
def test_pooling_is_that_of_padded_tensors(pooling: str, packed: bool) -> None:
    flat = torch.randn(sum(LENGTHS), 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    batch = padded(flat, LENGTHS)
    real = padded(torch.ones(sum(LENGTHS), 1), LENGTHS)
    by_hand = {
        "first": batch[:, 0],
        "mean": (batch * real).sum(1) / real.sum(1),
        "max": batch.masked_fill(real == 0, float("-inf")).amax(1),
    }[pooling]
    head = DeclaredHead(HeadSettings(pooling=pooling, layers=()), CONFIG, 2)
    layout = Layout.packed(LENGTHS) if packed else Layout.padded(LENGTHS, max(LENGTHS))
    pooled = head.features(flat if packed else batch, layout)
    torch.testing.assert_close(pooled, by_hand)
    weights = torch.randn_like(pooled)
    (mine,) = torch.autograd.grad((pooled * weights).sum(), flat, retain_graph=True)
    (other,) = torch.autograd.grad((by_hand * weights).sum(), flat)
    torch.testing.assert_close(mine, other)


def test_a_declared_head_is_the_same_layers_of_torch() -> None:
    """In training and evaluation, running statistics included."""
    words = [{"dense": 12}, "batch_norm", "relu", {"dense": 8}, "layer_norm", "gelu", "tanh", "silu", "sigmoid"]
    head = DeclaredHead(HeadSettings(layers=words, output_l2=0.3), CONFIG, 3)
    theirs = nn.Sequential(
        *(nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 8), nn.LayerNorm(8)),
        *(nn.GELU(), nn.Tanh(), nn.SiLU(), nn.Sigmoid(), nn.Linear(8, 3)),
    )
    state = {**head.layers.state_dict(), **{f"9.{k}": v for k, v in head.output.state_dict().items()}}
    theirs.load_state_dict(state)
    hidden = torch.randn(len(LENGTHS), 16)
    layout = Layout.packed([1] * len(LENGTHS))
    for mode in (True, True, False):
        head.train(mode)
        theirs.train(mode)
        torch.testing.assert_close(head(hidden, layout), theirs(hidden))
    for name, tensor in theirs[1].state_dict().items():
        torch.testing.assert_close(head.layers[1].state_dict()[name], tensor)
    assert float(head.penalty().detach()) == pytest.approx(0.3 * float(theirs[9].weight.detach().pow(2).sum()))  # type: ignore[union-attr]


TEXTS = ["a good film", "the plot was very bad", "dull"]


def encoded(bundle: Bundle, folder: Path) -> tuple[Tensor, Tensor]:
    """Our hidden vectors of each text's tokens, one after the other, and transformers' of the same directory."""
    from bertwright.tokenization.batching import collate

    rows = bundle.read(TEXTS, labelled=False)
    encodings = bundle.encode(rows)
    batch = collate(encodings, np.arange(len(rows)))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    features = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        ours = bundle.model.encoder(batch.ids, batch.types, batch.layout)
        theirs = model(**features).last_hidden_state[features["attention_mask"].bool()]
    return ours, theirs


@pytest.mark.parametrize("pooling", ["mean", "pooler"])
def test_transformers_opens_the_encoder_of_a_bundle_with_a_head_of_its_own(
    pooling: str, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    transformers.logging.set_verbosity_error()
    recipe = Recipe(
        model={"base": str(tiny_bert), "head": {"pooling": pooling, "layers": [{"dense": 8}, "batch_norm", "relu"]}},
        data={"train": str(reviews)},
        tokens={"max_length": 32},
        train={"length": "3 steps", "precision": "fp32", "learning_rate": 1e-2},
    )
    bundle = fine_tune(recipe, tmp_path / "run")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "run")
    assert config.architectures is None, "no class of transformers has this head"
    assert config.problem_type is None
    assert config.id2label == {0: "neg", 1: "pos"}
    ours, theirs = encoded(bundle, tmp_path / "run")
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    if pooling == "pooler":
        model = transformers.AutoModel.from_pretrained(tmp_path / "run").eval()
        assert torch.equal(model.pooler.dense.weight, bundle.model.head.pooler.weight)  # type: ignore[union-attr]
        assert not torch.equal(
            model.pooler.dense.weight, transformers.AutoModel.from_pretrained(tiny_bert).pooler.dense.weight
        )


@pytest.mark.parametrize("part", ["head", "lora"])
def test_transformers_reports_that_a_class_lacks_the_weights_of_a_custom_head(
    part: str, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    """No class of transformers is filled by the weights, so config.json names none, and the tensors tell them apart."""
    setting = {"head": {"layers": [{"dense": 8}, "relu"]}} if part == "head" else {"lora": {"rank": 2, "merge": False}}
    recipe = Recipe(
        model={"base": str(tiny_bert), **setting},
        data={"train": str(reviews)},
        tokens={"max_length": 32},
        train={"length": "1 step", "precision": "fp32"},
    )
    bundle = fine_tune(recipe, tmp_path / "run")
    assert "architectures" not in json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    _, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "run", output_loading_info=True
    )
    if part == "head":
        assert {"classifier.weight", "classifier.bias"} <= set(report["missing_keys"])
        parameters = {f"head.{name}" for name, _ in bundle.model.head.named_parameters()}
        assert parameters <= set(report["unexpected_keys"])
    else:
        assert any("lora" in name for name in report["unexpected_keys"])
    again = Bundle.load(tmp_path / "run")
    np.testing.assert_array_equal(
        again.scores(again.encode(again.read(TEXTS, labelled=False))),
        bundle.scores(bundle.encode(bundle.read(TEXTS, labelled=False))),
    )


def test_rates_by_layer_are_adamw_with_a_group_for_each() -> None:
    """Layer-wise decay and a rate for the head, step by step beside torch with groups written out by hand."""
    from bertwright.nn.batch import Batch
    from bertwright.nn.encoder import Encoder
    from bertwright.nn.heads import ClassificationHead, HeadStyle
    from bertwright.nn.model import Model
    from bertwright.training.optimizer import Optimizer, layer_rates

    quiet = EncoderConfig(40, 16, 3, 2, 24, 32, dropout=0.0, attention_dropout=0.0)

    def model() -> Model:
        torch.manual_seed(1)
        return Model(Encoder(quiet), ClassificationHead(16, 2, HeadStyle(dropout=0.0)))

    ours, theirs = model(), model()
    optimizer = Optimizer(ours, 1e-2, weight_decay=0.1, clip=0.5, eps=1e-4, rates=layer_rates(3, 0.5, 4.0))
    shares = {"embeddings": 0.125, "layers.0": 0.25, "layers.1": 0.5, "layers.2": 1.0}
    groups: list[dict[str, Any]] = []
    for name, parameter in theirs.named_parameters():
        share = next((s for part, s in shares.items() if name.startswith(f"encoder.{part}.")), 4.0)
        decay = 0.1 if parameter.ndim > 1 else 0.0
        groups.append({"params": [parameter], "lr": 1e-2 * share, "weight_decay": decay})
    adamw = torch.optim.AdamW(groups, eps=1e-4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        ids = torch.randint(1, 40, (12,), generator=generator)
        batch = Batch(ids, torch.zeros_like(ids), Layout.packed([5, 7]), None, np.arange(2))
        for net in (ours, theirs):
            loss = net.train()(batch).square().sum()
            (loss if net is ours else loss / 2).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        adamw.step()
        adamw.zero_grad()
        optimizer.step(1.0, 2.0, [ids])
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5, msg=name)


def test_a_head_of_any_make_sees_what_transformers_computes(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(24, 2)

        def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
            scores: Tensor = self.linear(first_tokens(hidden, layout))
            return scores

    recipe = Recipe(
        model={"base": str(tiny_bert)},
        data={"train": str(reviews)},
        tokens={"max_length": 32},
        train={"length": "2 steps", "precision": "fp32"},
    )
    transformers.logging.set_verbosity_error()
    bundle = fine_tune(recipe, tmp_path / "run", head=Mine())
    features = transformers.AutoTokenizer.from_pretrained(tmp_path / "run")(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = transformers.AutoModel.from_pretrained(tmp_path / "run").eval()(**features).last_hidden_state
        expected = bundle.model.head.linear(hidden[:, 0])  # type: ignore[union-attr,operator]
    rows = bundle.read(TEXTS, labelled=False)
    np.testing.assert_allclose(bundle.scores(bundle.encode(rows)), expected.numpy(), rtol=1e-4, atol=1e-5)
