"""The same figures on a GPU as on the CPU, and exact resume there. Not run where there is no CUDA device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bertwright.nn import IGNORE_INDEX
from bertwright.nn.batch import Batch
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.layout import Layout
from bertwright.nn.model import Model
from bertwright.nn.pretraining_heads import PretrainingHead
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

CONFIG = EncoderConfig(60, 64, 3, 2, 96, 200, dropout=0.0, attention_dropout=0.0)
LENGTHS = [9, 70, 33, 1, 130]


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    n = sum(LENGTHS)
    ids = torch.randint(1, 60, (n,), generator=generator)
    targets = torch.where(torch.rand(n, generator=generator) < 0.2, ids, IGNORE_INDEX)
    return Batch(ids, torch.zeros(n, dtype=torch.int64), Layout.packed(LENGTHS), targets, np.arange(len(LENGTHS)))


def test_hidden_states_and_gradients_are_those_of_the_cpu() -> None:
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = Model(Encoder(CONFIG), PretrainingHead(CONFIG)).to(device).train()
        here = batch().to(device)
        head = model.head
        assert isinstance(head, PretrainingHead)
        found = head.loss(model(here), here.targets, here.layout)
        assert found is not None
        found[0].backward()
        gradients = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
        results.append((found[0].detach().cpu(), gradients))
    (on_cpu, expected), (on_gpu, gradients) = results
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-4, atol=1e-4)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        difference = (gradient - expected[name]).abs().max()
        assert difference <= 1e-4 * expected[name].abs().max() + 1e-6, name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_learns_and_its_bundle_predicts_on_either_device(
    precision: str, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    bundle = train(recipe("train.device=cuda", f"train.precision={precision}"), tmp_path / "run")
    assert bundle.report is not None
    texts = ["a good film", "the plot was bad"]
    on_gpu = bundle.predict(texts)
    on_cpu = Bundle.load(tmp_path / "run").predict(texts)
    for one, two in zip(on_gpu, on_cpu, strict=True):
        assert one.probabilities == pytest.approx(two.probabilities, abs=1e-3)


def test_resume_gives_the_same_bits(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    settings = ("train.device=cuda", "train.save_every=1 steps")
    whole = train(recipe(*settings), tmp_path / "whole")

    def stop(event: object) -> None:
        if type(event).__name__ == "CheckpointSaved" and getattr(event, "step", 0) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(*settings), tmp_path / "cut", listeners=[stop])
    again = train(recipe(*settings), tmp_path / "cut", resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_pre_training_runs(tiny_bert: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(
        "\n\n".join("The film was good.\nThe plot was bad and dull." for _ in range(40)), encoding="utf-8"
    )
    settings = [f"data.train={corpus}", f"model.base={tiny_bert}", "tokens.max_length=32", "train.length=4 steps"]
    bundle = train(
        load_recipe("pretrain", [*settings, "train.batch_size=8", "train.device=cuda", "task.sentence_objective=nsp"]),
        tmp_path / "run",
    )
    assert bundle.report is not None
    assert set(bundle.report.metrics["dev"]) == {"mlm_loss", "perplexity", "mlm_accuracy", "nsp_accuracy"}
