"""Bundles in transformers, and transformers' fine-tuned models as bundles: the same scores, whatever the family."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bertwright.recipe import load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from tiny import TINY, VOCABULARY

transformers = pytest.importorskip("transformers")

TEXTS = ["the film was very good !", "dull plot .", "awful", "it is a great great fun film . not bad"]
FAMILIES: dict[str, dict[str, Any]] = {
    "Bert": TINY,
    "Electra": TINY | {"embedding_size": 12},
    "DistilBert": {
        "vocab_size": len(VOCABULARY),
        "dim": 24,
        "n_layers": 2,
        "n_heads": 3,
        "hidden_dim": 40,
        "max_position_embeddings": 96,
    },
    "Roberta": TINY | {"type_vocab_size": 1},
    "Data2VecText": TINY | {"type_vocab_size": 1},
}
BYTE_LEVEL = ("Roberta", "Data2VecText")


def base_of(family: str, folder: Path) -> Path:
    """A tiny pre-trained model of the family with a tokenizer of its kind."""
    torch.manual_seed(3)
    config = FAMILIES[family]
    if family in BYTE_LEVEL:
        from tokenizers import ByteLevelBPETokenizer

        tokenizer = ByteLevelBPETokenizer()
        tokenizer.train_from_iterator(TEXTS, 290, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save_model(str(folder))
        config = config | {"vocab_size": tokenizer.get_vocab_size()}
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**config))
    model.save_pretrained(folder)
    if family not in BYTE_LEVEL:
        (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
        (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    return folder


def theirs(folder: Path, texts: list[Any], **kwargs: Any) -> np.ndarray[Any, Any]:
    """transformers' scores, from its own tokenizer to its own head."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    features = tokenizer(*texts, padding=True, return_tensors="pt", **kwargs)
    with torch.no_grad():
        return np.asarray(model(**features).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_opens_a_bundle_and_gives_the_same_scores(family: str, reviews: Path, tmp_path: Path) -> None:
    base = base_of(family, tmp_path / "base")
    pairs = [f"model.base={base}", f"data.train={reviews}", "tokens.max_length=40", "train.length=3 steps"]
    bundle = train(load_recipe(None, [*pairs, "train.learning_rate=1e-2"]), tmp_path / "run")
    # moved elsewhere, with nothing left of where it was made
    shutil.move(tmp_path / "run", tmp_path / "moved")
    shutil.rmtree(base)
    again = Bundle.load(tmp_path / "moved")
    rows = again.read(TEXTS, labelled=False)
    found = again.scores(again.encode(rows))
    np.testing.assert_array_equal(found, bundle.scores(bundle.encode(rows)))
    np.testing.assert_allclose(found, theirs(tmp_path / "moved", [TEXTS]), rtol=1e-4, atol=1e-5)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "moved")
    assert config.id2label == {0: "neg", 1: "pos"}
    assert config.problem_type == "single_label_classification"
    names = [p.label for p in again.predict(TEXTS)]
    assert names == [config.id2label[int(row.argmax())] for row in found]
    # and a copy of the copy is the same
    again.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").read_bytes() == (
        tmp_path / "moved" / "model.safetensors"
    ).read_bytes()
    assert Bundle.load(tmp_path / "saved").recipe == again.recipe


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification", "regression"])
def test_a_model_fine_tuned_elsewhere_opens_as_a_bundle(family: str, problem: str, tmp_path: Path) -> None:
    base_of(family, tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    names = {0: "value"} if problem == "regression" else {0: "red", 1: "green", 2: "blue"}
    config.id2label, config.label2id = names, {name: i for i, name in names.items()}
    config.problem_type = problem
    model = getattr(transformers, f"{family}ForSequenceClassification")(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path)
    bundle = Bundle.load(tmp_path)
    assert bundle.task.kind == {"s": "classification", "m": "multilabel", "r": "regression"}[problem[0]]
    rows = bundle.read(TEXTS, labelled=False)
    np.testing.assert_allclose(bundle.scores(bundle.encode(rows)), theirs(tmp_path, [TEXTS]), rtol=1e-4, atol=1e-4)
    first = bundle.predict(TEXTS)[0]
    if problem == "regression":
        assert first.value is not None
    else:
        assert set(first.probabilities) == {"red", "green", "blue"}


def test_pairs_have_the_segments_that_transformers_gives_them(tmp_path: Path) -> None:
    base_of("Bert", tmp_path)
    model = transformers.BertForSequenceClassification(transformers.AutoConfig.from_pretrained(tmp_path, num_labels=3))
    torch.nn.init.normal_(model.bert.embeddings.token_type_embeddings.weight, std=1.0)
    model.save_pretrained(tmp_path)
    bundle = Bundle.load(tmp_path)
    rows = bundle.read(list(zip(TEXTS, reversed(TEXTS), strict=True)), labelled=False)
    expected = theirs(tmp_path, [TEXTS, TEXTS[::-1]])
    np.testing.assert_allclose(bundle.scores(bundle.encode(rows)), expected, rtol=1e-4, atol=1e-4)


def test_a_bundle_needs_no_transformers(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    recipe = load_recipe(
        None, [f"model.base={tiny_bert}", f"data.train={reviews}", "train.length=1 step", "tokens.max_length=40"]
    )
    train(recipe, tmp_path / "run")
    script = (
        "import sys; sys.modules['transformers'] = None\n"
        "from bertwright.run.bundle import Bundle\n"
        f"print(Bundle.load({str(tmp_path / 'run')!r}).predict('a good film')[0].label)\n"
        "slow = {'sklearn', 'pandas', 'datasets', 'matplotlib', 'pyarrow', 'scipy'} & set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() in {"pos", "neg"}
