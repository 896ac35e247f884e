"""What is converted opens in transformers, whole, and computes what the source computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bertwright.tools.convert import convert
from tiny import TINY, VOCABULARY

transformers = pytest.importorskip("transformers")

HEADS = ("Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification", "ForQuestionAnswering")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def theirs(folder: Path, suffix: str) -> Any:
    """A tiny BERT of random weights, saved by transformers with a tokenizer."""
    torch.manual_seed(len(suffix))
    labels = 4 if suffix == "ForSequenceClassification" else 2
    sizes = {key: value for key, value in TINY.items() if key != "initializer_range"}
    found = getattr(transformers, f"Bert{suffix}")(transformers.BertConfig(**sizes, num_labels=labels)).eval()
    for parameter in found.parameters():  # biases and norms start at 0 and 1, where mistakes do not show
        parameter.data.normal_(0, 0.3)
    found.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return found


@pytest.mark.parametrize("suffix", HEADS)
@pytest.mark.parametrize("way", ["hf", "tf and back"])
def test_transformers_opens_it_with_equal_outputs(tmp_path: Path, suffix: str, way: str) -> None:
    source = theirs(tmp_path / "source", suffix)
    goal = tmp_path / "hf"
    if way == "hf":
        convert(tmp_path / "source", goal)
    else:
        convert(tmp_path / "source", tmp_path / "tf", to="tf")
        convert(tmp_path / "tf", goal)
    assert json.loads((goal / "config.json").read_text())["architectures"] == [f"Bert{suffix}"]
    opened, info = getattr(transformers, f"Bert{suffix}").from_pretrained(goal, output_loading_info=True)
    assert not any(info.values()), info
    tokenizer = transformers.AutoTokenizer.from_pretrained(goal)
    batch = tokenizer(
        ["a great film", "the plot is not very dull!"], ["it was fun", "bad"], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        for mine, other in zip(opened.eval()(**batch).to_tuple(), source(**batch).to_tuple(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    for name, tensor in source.state_dict().items():
        assert torch.equal(opened.state_dict()[name], tensor), name
