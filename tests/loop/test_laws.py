"""The laws of the loop: how a batch is split does not matter, nor does a stop, nor who else evaluates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bertwright.errors import DataError, TrainingError
from bertwright.nn.batch import Batch
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.heads import ClassificationHead, HeadStyle
from bertwright.nn.model import Model
from bertwright.tasks.spec import Loss
from bertwright.tokenization.batching import collate, iterate_batches, iterate_in_order, split_micro_batches
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.sampling import build_shuffle_order, epoch_permutation
from bertwright.training.loop import Evaluate, Plan, Progress, Step, fit
from bertwright.training.optimizer import Optimizer
from bertwright.training.schedule import make_segment_schedule, make_warmup_schedule

CONFIG = EncoderConfig(60, 16, 2, 2, 24, 40, dropout=0.0, attention_dropout=0.0)

# The bias of keys has no gradient but rounding errors; a smaller epsilon would let Adam make steps of them.
EPS = 1e-5


def data(n: int = 24, seed: int = 0) -> Encodings:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 30, n)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(1, 60, bounds[-1]).astype(np.int32)
    zeros = np.zeros(n, dtype=np.int32)
    return Encodings(ids, np.zeros(len(ids), np.uint8), bounds, np.arange(n), zeros, rng.integers(0, 3, n))


def model(config: EncoderConfig = CONFIG) -> Model:
    torch.manual_seed(0)
    return Model(Encoder(config), ClassificationHead(config.width, 3, HeadStyle(dropout=config.dropout)))


def loss(scores: Tensor, batch: Batch) -> Loss:
    assert batch.targets is not None
    return Loss(F.cross_entropy(scores, batch.targets, reduction="sum"), float(len(batch)))


def plan(steps: int = 9, **changes: object) -> Plan:
    settings = {
        "order": build_shuffle_order(24, 0),
        "batch_size": 8,
        "max_tokens": 10_000,
        "evaluate_every": 0,
        "schedule": make_warmup_schedule("linear", steps, 2),
    }
    return Plan(steps=steps, **{**settings, **changes})  # type: ignore[arg-type]


def trained(net: Model, chosen: Plan, rows: Encodings | None = None) -> tuple[Model, list[Step]]:
    progress = Progress(net, Optimizer(net, 1e-3, clip=0.5, eps=EPS))
    events = list(fit(progress, loss, data() if rows is None else rows, chosen))
    return net, [event for event in events if isinstance(event, Step)]


def same(a: Model, b: Model, **tolerance: float) -> None:
    for (name, x), y in zip(a.named_parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, msg=name, **tolerance)  # type: ignore[arg-type]


def test_micro_batches_give_the_step_of_the_whole_batch() -> None:
    whole, steps = trained(model(), plan())
    split, pieces = trained(model(), plan(max_tokens=60))
    assert len(steps) == len(pieces) == 9
    for a, b in zip(steps, pieces, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-4)
        assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-3)
    same(whole, split, rtol=1e-3, atol=2e-5)


def test_the_optimizer_is_clipped_adamw() -> None:
    """Against torch's own clip_grad_norm_ and AdamW with dense gradients, step by step."""
    ours, theirs = model(), model()
    chosen = plan()
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=1e-3, eps=EPS)
    norms = []
    rows = data()
    for step in range(chosen.steps):
        order = epoch_permutation(len(rows), chosen.seed, step // 3)[step % 3 * 8 : step % 3 * 8 + 8]
        batch = collate(rows, order)
        adamw.zero_grad()
        found = loss(theirs(batch), batch)
        (found.total / found.count).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)))
        for group in adamw.param_groups:
            group["lr"] = 1e-3 * chosen.schedule(step)
        adamw.step()
    assert max(norms) > 0.5  # clipping was at work
    _, steps = trained(ours, chosen)
    assert [s.gradient_norm for s in steps] == pytest.approx(norms, rel=1e-4)
    same(ours, theirs, rtol=1e-4, atol=1e-6)


def test_every_trainable_parameter_learns_and_no_frozen_one_does() -> None:
    for freeze in ("nothing", "embeddings", 1, "encoder"):
        net = model().freeze(freeze)
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        trained(net, plan())
        for name, p in net.named_parameters():
            moved = not torch.equal(p, before[name])
            # rows of the position and segment tables that no token uses decay only
            assert moved == p.requires_grad, (freeze, name)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = epoch_permutation(100, 1, 0)
    assert sorted(first) == list(range(100))
    assert np.array_equal(first, epoch_permutation(100, 1, 0))
    assert not np.array_equal(first, epoch_permutation(100, 1, 1))
    assert not np.array_equal(first, epoch_permutation(100, 2, 0))


def test_every_row_is_seen_once_an_epoch_and_the_last_batch_may_be_small() -> None:
    rows = data(21)
    seen = [s.examples for s in trained(model(), plan(6, order=build_shuffle_order(21, 0)), rows)[1]]
    assert seen == [8, 8, 5, 8, 8, 5]
    together = np.concatenate([batch.indices for batch in iterate_batches(rows, 8, seed=3, epochs=1)])
    assert sorted(together) == list(range(21))


def test_evaluations_are_due_every_so_often_and_at_the_end() -> None:
    net = model()
    events = fit(Progress(net, Optimizer(net, 1e-3)), loss, data(), plan(7, evaluate_every=3))
    assert [event.step for event in events if isinstance(event, Evaluate)] == [3, 6, 7]


def test_dropout_is_on_in_every_step_whatever_the_consumer_did() -> None:
    config = EncoderConfig(60, 16, 2, 2, 24, 40)
    quiet, _ = trained(model(config), plan())
    net = model(config)
    for _ in fit(Progress(net, Optimizer(net, 1e-3, clip=0.5, eps=EPS)), loss, data(), plan()):
        net.eval()
        torch.manual_seed(99)  # nor does the consumer's own randomness matter
    same(quiet, net, rtol=0, atol=0)


def test_a_loss_that_is_not_a_number_stops_the_run_with_the_step_and_the_remedy() -> None:
    net = model()

    def broken(scores: Tensor, batch: Batch) -> Loss:
        good = loss(scores, batch)
        return Loss(good.total * float("nan" if net.training and broken_at[0] == 3 else 1), good.count)

    broken_at = [0]
    before: dict[str, Tensor] = {}
    progress = Progress(net, Optimizer(net, 1e-3))
    with pytest.raises(  # noqa: PT012  # the loop is what raises
        TrainingError, match=r"step 4: the loss is nan; lower train\.learning_rate \(now 0\.001\)"
    ):
        for event in fit(progress, broken, data(), plan()):
            broken_at[0] = event.step
            before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for name, p in net.named_parameters():
        assert torch.equal(p, before[name])  # the broken step changed nothing


def test_a_gradient_that_is_not_a_number_stops_the_run() -> None:
    net = model()
    for parameter in net.head.parameters():
        parameter.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(TrainingError, match=r"step 1: the gradient is not a finite number; lower"):
        trained(net, plan())


def test_nothing_left_to_train_is_refused() -> None:
    net = model().requires_grad_(False)
    with pytest.raises(TrainingError, match="all parameters are frozen"):
        Optimizer(net, 1e-3)


def test_released_the_model_is_as_any_other() -> None:
    net = model()
    optimizer = Optimizer(net, 1e-3)
    optimizer.release()
    batch = collate(data(), np.arange(4))
    loss(net(batch), batch).total.backward()
    grad = net.encoder.embeddings.word.weight.grad
    assert grad is not None
    assert not grad.is_sparse


def test_sequences_past_the_budget_are_refused() -> None:
    with pytest.raises(DataError, match=r"max_tokens is 5, but \d+ tokens of one example must stay in one batch"):
        split_micro_batches(np.arange(24), data().lengths, 5)
    with pytest.raises(DataError, match="a batch of 8 has more than max_tokens=30 tokens"):
        list(iterate_batches(data(), 8, max_tokens=30))
    # prediction goes through whatever the budget
    assert sum(len(batch) for batch in iterate_in_order(data(), 5)) == 24


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("cosine", [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447]),
    ],
)
def test_schedules(shape: str, expected: list[float]) -> None:
    factor = make_warmup_schedule(shape, 6, 2)
    assert [factor(step) for step in range(6)] == pytest.approx(expected, abs=1e-6)


def test_linear_schedule_is_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = transformers.get_linear_schedule_with_warmup(optimizer, 4, 20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    ours = make_warmup_schedule("linear", 20, 4)
    # theirs wastes the first step on a rate of zero; after the warm-up they agree
    assert [ours(step) for step in range(4)] == pytest.approx(rates[1:5])
    assert [ours(step) for step in range(4, 20)] == pytest.approx(rates[4:])


def test_listed_segments() -> None:
    factor = make_segment_schedule(
        [("linear", 2, 0.0, 1.0), ("constant", 2, 1.0, 1.0), ("cosine", 2, 1.0, 0.2)], peak=0.5
    )
    assert [factor(step) for step in range(8)] == pytest.approx([0, 1.0, 2.0, 2.0, 2.0, 1.2, 0.4, 0.4])
