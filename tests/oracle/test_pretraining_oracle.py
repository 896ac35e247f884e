"""The heads BERT is pre-trained with, beside transformers: loss and gradients, packed and padded, in training mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bertwright.nn import IGNORE_INDEX
from bertwright.nn.batch import Batch
from bertwright.nn.encoder import Encoder
from bertwright.nn.head_outputs import MaskedLMOutput
from bertwright.nn.layout import Layout
from bertwright.nn.model import Model
from bertwright.nn.pretraining_heads import BEST, PREDICT_ONLY, PretrainingHead
from bertwright.training.optimizer import Optimizer
from bertwright.weights.checkpoint_files import Checkpoint, TensorInfo
from bertwright.weights.families import FAMILIES
from bertwright.weights.hf_config import parse_encoder_config
from bertwright.weights.loading import export_state, head_is_trained, load_into

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 103,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
DISTILBERT = {
    "vocab_size": 103,
    "dim": 24,
    "n_layers": 2,
    "n_heads": 3,
    "hidden_dim": 40,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pretraining": ("Bert", "ForPreTraining", SIZES),
    "bert": ("Bert", "ForMaskedLM", SIZES),
    "roberta": ("Roberta", "ForMaskedLM", SIZES | {"type_vocab_size": 1}),
    "distilbert": ("DistilBert", "ForMaskedLM", DISTILBERT),
    "electra": ("Electra", "ForMaskedLM", SIZES | {"embedding_size": 16}),
}
LENGTHS = [11, 7, 15]


def both(case: str) -> tuple[Any, Model]:
    """The same random weights on either side, in training mode."""
    name, suffix, sizes = CASES[case]
    torch.manual_seed(1)
    config = getattr(transformers, f"{name}Config")(**sizes)
    theirs = getattr(transformers, name + suffix)(config).train()
    for parameter in theirs.parameters():
        parameter.data.normal_(0, 0.2)
    state = theirs.state_dict()
    checkpoint = Checkpoint("theirs", {k: TensorInfo(tuple(v.shape), v.dtype) for k, v in state.items()}, state.get)
    family = FAMILIES[theirs.config.model_type]
    ours = parse_encoder_config(family, theirs.config.to_dict())
    follows = suffix == "ForPreTraining"
    head = PretrainingHead(ours, family.heads["masked_lm"].activation, follows, follows)
    model = Model(Encoder(ours), head)
    kind = "pretraining" if follows else "masked_lm"
    assert head_is_trained(load_into(model, checkpoint, family, head=kind))
    return theirs, model.train()


def rows() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Padded ids, attention mask, types, and labels with three masked words a row."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 103, (3, max(LENGTHS)), generator=generator)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    labels = torch.full_like(ids, IGNORE_INDEX)
    for place, word in ((2, 9), (4, 77), (5, 31)):
        labels[:, place] = word
    return ids * mask, mask, (torch.arange(max(LENGTHS)) > 6).long() * mask, labels


def batch_of(padded: bool, labels: Tensor, follows: Tensor | None, types: Tensor) -> Batch:
    ids, mask, _, _ = rows()
    targets = labels.clone()
    if follows is not None:
        targets[:, 0] = follows
    targets = targets[mask.bool()]
    if not padded:
        return Batch.from_features(ids, mask, types, targets)
    layout = Layout.padded(LENGTHS, max(LENGTHS))
    return Batch(ids, types, layout, targets, np.arange(3))


@pytest.mark.parametrize("padded", [False, True], ids=["packed", "padded"])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients(case: str, padded: bool) -> None:
    theirs, ours = both(case)
    ids, mask, types, labels = rows()
    follows = torch.tensor([0, 1, 1]) if case == "pretraining" else None
    extra = {} if follows is None else {"next_sentence_label": follows}
    if case == "distilbert" or case == "roberta":
        types = types * 0
    if case != "distilbert":
        extra["token_type_ids"] = types
    expected = theirs(input_ids=ids, attention_mask=mask, labels=labels, **extra).loss
    expected.backward()
    batch = batch_of(padded, labels, follows, types)
    head = ours.head
    assert isinstance(head, PretrainingHead)
    found = head.loss(ours(batch), batch.targets, batch.layout)
    assert found is not None
    total, count = found
    assert count == 9
    torch.testing.assert_close(total / count, expected, rtol=1e-5, atol=1e-5)
    (total / count).backward()
    family = FAMILIES[theirs.config.model_type]
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    kind = "pretraining" if follows is not None else "masked_lm"
    checked = 0
    for name, parameter in ours.named_parameters():
        names = family.hf_names(name, kind)
        parts = [gradients[part] for part in names if gradients.get(part) is not None]
        assert len(parts) == len(names), name
        assert parameter.grad is not None, name
        torch.testing.assert_close(
            parameter.grad, torch.cat(parts), rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
        checked += 1
    assert checked == len(list(ours.parameters()))


@pytest.mark.parametrize("padded", [False, True], ids=["packed", "padded"])
def test_what_is_predicted(padded: bool) -> None:
    theirs, ours = both("pretraining")
    theirs.eval()
    ours.eval()
    ids, mask, types, labels = rows()
    follows = torch.tensor([0, 1, 0])
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask, token_type_ids=types)
        batch = batch_of(padded, labels, follows, types)
        found = ours.decode(ours(batch), batch)
    asked = (labels != IGNORE_INDEX)[mask.bool()]
    shares = expected.prediction_logits.softmax(-1)[mask.bool()]
    assert isinstance(found, MaskedLMOutput)
    assert not found.top_probabilities.any()
    best = shares.topk(BEST)
    filled = batch_of(padded, labels.where(labels == IGNORE_INDEX, PREDICT_ONLY), follows, types)
    with torch.no_grad():
        gaps = ours.decode(ours(filled), filled)
    assert isinstance(gaps, MaskedLMOutput)
    np.testing.assert_array_equal(gaps.top_ids, best.indices[asked])
    np.testing.assert_allclose(gaps.top_probabilities, best.values[asked], rtol=1e-4, atol=1e-6)
    assert not gaps.losses.any()
    assert not gaps.is_correct.any()
    loss = -shares.log()[asked].gather(1, labels[mask.bool()][asked][:, None])[:, 0]
    np.testing.assert_allclose(found.losses, loss, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.is_correct, shares[asked].argmax(1) == labels[mask.bool()][asked])
    order = expected.seq_relationship_logits
    np.testing.assert_array_equal(found.is_sentence_correct, order.argmax(1) == follows)
    np.testing.assert_allclose(found.sentence_probabilities, order.softmax(-1), rtol=1e-4, atol=1e-6)
    pair_losses = torch.nn.functional.cross_entropy(order, follows, reduction="none")
    np.testing.assert_allclose(found.sentence_losses, pair_losses, rtol=1e-4, atol=1e-5)


def test_a_batch_may_be_split_anywhere() -> None:
    """The gradient is that of the whole, in bf16 too up to its rounding."""
    _, ours = both("pretraining")
    _, _, types, labels = rows()
    labels[1, 3] = 50  # another number of masked words in one of them
    batch = batch_of(False, labels, torch.tensor([0, 1, 1]), types)
    head = ours.head
    assert isinstance(head, PretrainingHead)
    whole = head.loss(ours(batch), batch.targets, batch.layout)
    assert whole is not None
    parts = []
    assert batch.targets is not None
    for i, (start, size) in enumerate(zip((0, 11, 18), LENGTHS, strict=True)):
        piece = slice(start, start + size)
        one = Batch(batch.ids[piece], batch.types[piece], Layout.packed([size]), batch.targets[piece], np.array([i]))
        parts.append(head.loss(ours(one), one.targets, one.layout))
    assert whole[1] == sum(part[1] for part in parts if part) == 10
    torch.testing.assert_close(whole[0], sum(part[0] for part in parts if part))


def test_autocast_decodes_in_bf16() -> None:
    _, ours = both("bert")
    _, _, types, labels = rows()
    batch = batch_of(False, labels, None, types)
    head = ours.head
    assert isinstance(head, PretrainingHead)
    results = {}
    for bf16 in (False, True):
        ours.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found = head.loss(ours(batch), batch.targets, batch.layout)
        assert found is not None
        found[0].backward()
        weight = ours.encoder.embeddings.word.weight
        assert weight.grad is not None
        assert weight.grad.dtype == torch.float32
        results[bf16] = (found[0].detach(), weight.grad.clone())
    torch.testing.assert_close(results[True][0], results[False][0], rtol=2e-2, atol=0.0)
    difference = (results[True][1] - results[False][1]).norm() / results[False][1].norm()
    assert 0 < difference < 0.05


def test_without_next_sentence_the_pooler_stays_as_it_is() -> None:
    theirs, _ = both("pretraining")
    state = theirs.state_dict()
    family = FAMILIES["bert"]
    config = parse_encoder_config(family, theirs.config.to_dict())
    model = Model(Encoder(config), PretrainingHead(config, "", pooler=True)).freeze("nothing")
    checkpoint = Checkpoint("theirs", {k: TensorInfo(tuple(v.shape), v.dtype) for k, v in state.items()}, state.get)
    report = load_into(model, checkpoint, family, head="masked_lm")
    assert head_is_trained(report)
    assert "next-sentence head, not used by this task" in report.summary()
    written = export_state(model, family, head="masked_lm")
    assert torch.equal(written["bert.pooler.dense.weight"], state["bert.pooler.dense.weight"])
    assert not any(p.requires_grad for n, p in model.named_parameters() if n.startswith("head.pooler"))


def test_an_update_of_the_shared_embedding_is_adamws() -> None:
    """The buffer that sparse and dense gradients go to gives what torch's clipping and AdamW give, step after step."""
    _, ours = both("pretraining")
    _, plain = both("pretraining")
    _, _, types, labels = rows()
    batch = batch_of(False, labels, torch.tensor([0, 1, 1]), types)
    optimizer = Optimizer(ours, 1e-3, weight_decay=0.1, clip=0.5, eps=1e-6)
    decayed = [p for p in plain.parameters() if p.ndim > 1]
    groups = [{"params": decayed, "weight_decay": 0.1}]
    groups += [{"params": [p for p in plain.parameters() if p.ndim == 1], "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, lr=1e-3, eps=1e-6)
    for _ in range(3):
        head, other = ours.head, plain.head
        assert isinstance(head, PretrainingHead)
        assert isinstance(other, PretrainingHead)
        found = head.loss(ours(batch), batch.targets, batch.layout)
        expected = other.loss(plain(batch), batch.targets, batch.layout)
        assert found is not None
        assert expected is not None
        found[0].backward()
        norm = optimizer.step(1.0, found[1], [batch.ids])
        theirs.zero_grad()
        (expected[0] / expected[1]).backward()
        assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)), rel=1e-4)
        theirs.step()
    for (name, one), two in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5, msg=name)
