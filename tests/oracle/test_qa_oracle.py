"""Question answering beside transformers: the same windows, targets, logits, loss and answers, both ways."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_bundle_oracle import FAMILIES, base_of

from bertwright.data.example import Answer, Example
from bertwright.nn.settings import ModelSettings
from bertwright.recipe import load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from bertwright.tasks.qa import QuestionAnswering
from bertwright.tokenization.batching import collate
from bertwright.tokenization.settings import TokenSettings
from bertwright.training.model_building import build_model
from bertwright.weights.pretrained import open_pretrained

transformers = pytest.importorskip("transformers")

TOKENS = TokenSettings(max_length=48, stride=10)
WORDS = ["the", "film", "was", "$5m", "dull", "(great!)", "élan", "🙂", "don't", "a", "plot", "1990s", "naïve", "it"]


def questions(n: int, seed: int = 0) -> list[Example]:
    """Questions on texts of up to five windows; answers lie anywhere, also inside words, some are missing."""
    rng = random.Random(seed)
    made = []
    for i in range(n):
        context = rng.choice([" ", "  "]).join(rng.choices(WORDS, k=rng.randint(1, 60)))
        start = rng.randrange(len(context))
        text = context[start : start + rng.randint(1, 14)]
        target = () if i % 5 == 4 else (Answer(text, start),)
        made.append(Example(str(i), rng.choice(["was it good", " is the film a plot"]), context, target))
    return made


def features(folder: Path, examples: list[Example], tokens: TokenSettings) -> list[dict[str, Any]]:
    """Windows as run_qa.py prepares them, with the place of the answer, from transformers' own tokenizer.

    Of its two loops the first may run on to [SEP], whose offset is 0; here it ends with the context.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(
        [example.text.lstrip() for example in examples],
        [example.text_pair for example in examples],
        truncation="only_second",
        max_length=tokens.max_length,
        stride=tokens.stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    made: list[dict[str, Any]] = []
    for i, which in enumerate(encoded["overflow_to_sample_mapping"]):
        offsets, kinds = encoded["offset_mapping"][i], encoded.sequence_ids(i)
        first, last = kinds.index(1), len(kinds) - 1 - kinds[::-1].index(1)
        number = sum(row["which"] == which for row in made)
        room = tokens.max_length - kinds.count(None) - kinds.count(0)
        row = {
            "which": which,
            "features": {key: encoded[key][i] for key in ("input_ids", "token_type_ids") if key in encoded},
            "offsets": offsets,
            "shown": range(first, last + 1),
            "place": number * (room - (tokens.stride or 0)) - first,  # of the window's tokens in the whole context
        }
        begin = end = 0
        for answer in (examples[which].target or ())[:1]:
            a, b = answer.start, answer.start + len(answer.text)
            if offsets[first][0] <= a and offsets[last][1] >= b:
                begin, end = first, last
                while begin < last and offsets[begin + 1][0] <= a:
                    begin += 1
                while end > first and offsets[end - 1][1] >= b:
                    end -= 1
        made.append({**row, "ends": [begin, end]})
    return made


def postprocessed(rows: list[dict[str, Any]], logits: list[Any], which: int) -> list[tuple[int, int]]:
    """The spans that run_squad.py ranks best for a question, from the windows that show most context."""
    mine = [(row, scores) for row, scores in zip(rows, logits, strict=True) if row["which"] == which]
    widest: dict[int, tuple[float, int]] = {}
    for number, (row, _) in enumerate(mine):
        for t in row["shown"]:
            context = min(t - row["shown"][0], row["shown"][-1] - t) + 0.01 * len(row["shown"])
            if context > widest.get(t + row["place"], (-1.0, 0))[0]:
                widest[t + row["place"]] = (context, number)
    pairs = []
    for number, (row, scores) in enumerate(mine):
        first_tokens_only, lasts = (sorted(range(len(scores)), key=lambda t: -scores[t, end])[:20] for end in (0, 1))
        for first in first_tokens_only:
            for last in lasts:
                inside = first in row["shown"] and last in row["shown"] and 0 <= last - first < 30
                if inside and widest[first + row["place"]][1] == number:
                    score = float(scores[first, 0]) + float(scores[last, 1])
                    pairs.append((-score, row["offsets"][first][0], row["offsets"][last][1]))
    return [(begin, end) for _, begin, end in sorted(pairs)[:20]]


def theirs(folder: Path, rows: list[dict[str, Any]]) -> list[Any]:
    """The logits (tokens, 2) that transformers' model gives each window."""
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    found = []
    with torch.no_grad():
        for row in rows:
            out = model(**{key: torch.tensor([value]) for key, value in row["features"].items()})
            found.append(torch.stack((out.start_logits[0], out.end_logits[0]), 1).numpy())
    return found


def fine_tuned(family: str, folder: Path) -> Path:
    """A tiny model of the family with a head for answers, as transformers saves it."""
    base_of(family, folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, f"{family}ForQuestionAnswering")(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_and_targets_are_those_of_run_qa(family: str, tmp_path: Path) -> None:
    base = open_pretrained(base_of(family, tmp_path))
    examples = questions(60)
    ours = QuestionAnswering().encode(examples, base.tokenizer, TOKENS)
    rows = features(tmp_path, examples, TOKENS)
    assert len(rows) > 100
    assert ours.examples.tolist() == [row["which"] for row in rows]
    assert [one.ids.tolist() for one in ours] == [row["features"]["input_ids"] for row in rows]
    assert [list(one.target) for one in ours] == [row["ends"] for row in rows]
    assert sum(row["ends"][0] > 0 for row in rows) > 20


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_fine_tuned_elsewhere_gives_the_answers_of_its_own_scripts(family: str, tmp_path: Path) -> None:
    bundle = Bundle.load(fine_tuned(family, tmp_path))
    assert bundle.task == QuestionAnswering()
    assert bundle.takes_pairs is True
    assert (bundle.tokens.max_length, bundle.tokens.stride) == (min(384, bundle.base.config.max_length), None)
    bundle = replace(bundle, tokens=TOKENS)
    examples = questions(12, seed=1)
    rows = features(tmp_path, examples, TOKENS)
    logits = theirs(tmp_path, rows)
    np.testing.assert_allclose(bundle.scores(bundle.encode(examples)), np.concatenate(logits), rtol=1e-3, atol=1e-4)
    outputs, truncated = bundle.compute_outputs(examples)
    assert truncated == 0
    for i, found in enumerate(bundle.task.decode(outputs, examples)):
        spans = [(span.start, span.end) for span in found.spans]
        assert spans == postprocessed(rows, logits, i)
        assert [span.text for span in found.spans] == [(examples[i].text_pair or "")[a:b] for a, b in spans]
        null = min(float(s[0].sum()) for row, s in zip(rows, logits, strict=True) if row["which"] == i)
        assert outputs[i].null.sum() == pytest.approx(null, rel=1e-3, abs=1e-4)
    first = bundle.answer(examples[0].text, examples[0].text_pair or "")
    assert first == bundle.predict([(examples[0].text, examples[0].text_pair)])[0].spans[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_opens_a_bundle_and_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    base = base_of(family, tmp_path / "base")
    given = [example for example in questions(30) if example.target and example.target[0].text.strip()]
    settings = [
        f"model.base={base}",
        "task.kind=qa",
        "tokens.max_length=48",
        "tokens.stride=10",
        "train.length=2 steps",
    ]
    recipe = load_recipe(None, [*settings, "train.precision=fp32", "train.learning_rate=1e-2", "train.batch_size=8"])
    bundle = train(recipe, tmp_path / "run", data={"train": given, "dev": given[:5]})
    rows = features(tmp_path / "run", given, TOKENS)
    logits = np.concatenate(theirs(tmp_path / "run", rows))
    again = Bundle.load(tmp_path / "run")
    np.testing.assert_allclose(again.scores(again.encode(given)), logits, rtol=1e-3, atol=1e-5)
    assert again.task == bundle.task
    assert type(transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "run")).__name__ == (
        f"{family}ForQuestionAnswering"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_transformers_where_nothing_is_padded(family: str, tmp_path: Path) -> None:
    base = open_pretrained(fine_tuned(family, tmp_path)).with_dropout(0.0, 0.0)
    task, examples = QuestionAnswering(), questions(8, seed=2)
    model, _ = build_model(ModelSettings(), task, base)
    encodings = task.encode(examples, base.tokenizer, TOKENS)
    batch = collate(encodings, np.arange(len(encodings)))
    loss = task.loss(model.eval()(batch), batch)
    (loss.total / loss.count).backward()
    peer = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path).eval()
    rows = features(tmp_path, examples, TOKENS)
    total = 0.0
    for row in rows:  # one at a time: padding would take part in the softmax
        tensors = {key: torch.tensor([value]) for key, value in row["features"].items()}
        begin, end = torch.tensor(row["ends"])[:, None]
        one = peer(**tensors, start_positions=begin, end_positions=end).loss / len(rows)
        one.backward()
        total += float(one.detach())
    assert float(loss.total.detach() / loss.count) == pytest.approx(total, rel=1e-4)
    output, word = model.head.output, model.encoder.embeddings.word  # type: ignore[union-attr]
    torch.testing.assert_close(output.weight.grad, peer.qa_outputs.weight.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        word.weight.grad, peer.base_model.get_input_embeddings().weight.grad, rtol=1e-3, atol=1e-5
    )
