"""Pre-training from the command line: check, train, fill gaps, evaluate, go on, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from pathlib import Path

import pytest
from worlds import Call

from bertwright.cli.console import show_predictions
from bertwright.data.example import Example
from bertwright.tasks.formats.gaps import GapFormat
from bertwright.tasks.spec import PredictedSpan, Prediction

ANIMALS = {"dog": ("barks", "bone"), "cat": ("purrs", "fish"), "bird": ("sings", "seed"), "cow": ("moos", "grass")}
SMALL = (
    *("tokens.max_length=24", "train.batch_size=16", "train.precision=fp32", "train.threads=1"),
    *("train.learning_rate=2e-3", "train.evaluate_every=40 steps", "data.sentences=lines", "data.dev_ratio=0.1"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, call: Call) -> Path:
    made = tmp_path_factory.mktemp("pretraining")
    rng = random.Random(0)
    texts, rows = [], ["text,label"]
    for _ in range(120):
        name, (does, eats) = rng.choice([*ANIMALS.items()])
        line = f"{name} {does} , {name} eats {eats} ."
        texts.append("\n".join([line] * rng.randint(3, 6)))
        rows.append(f'"{line}",{"bird" if name == "bird" else "beast"}')
    (made / "corpus.txt").write_text("\n\n".join(texts) + "\n")
    (made / "general.txt").write_text("\n\n".join(texts[:20]) + "\n")
    (made / "rows.csv").write_text("\n".join(rows[:61]) + "\n")
    (made / "gaps.csv").write_text('nr,text\n1,"dog [MASK] , dog eats [MASK] ."\n2,"cat purrs , cat eats [MASK] ."\n')
    said = call("tokenizer", "train", made / "corpus.txt", "--vocab-size", 120, "--out", made / "tokenizer")
    assert said.code == 0, said.err
    return made


def settings(folder: Path) -> tuple[str, ...]:
    corpus, tokenizer = f"data.train={folder / 'corpus.txt'}", f"model.tokenizer={folder / 'tokenizer'}"
    return ("pretrain", corpus, "model.preset=tiny", tokenizer, *SMALL, "model.dropout=0")


@pytest.fixture(scope="module")
def run(folder: Path, call: Call) -> Path:
    out = folder / "run"
    said = call(
        "train",
        *settings(folder),
        "task.sentence_objective=nsp",
        "train.length=160 steps",
        "train.keep_checkpoints=all",
        "--out",
        out,
    )
    assert said.code == 0, said.err
    assert "note: no dev texts are named: the last 10.0% of the documents are held out as dev" in said.err
    assert "model    tiny from scratch\n" in said.err
    assert "weights  0 tensors loaded, 46 randomly initialized (encoder.*, head.*: from scratch)\n" in said.err
    assert "data     train: 108 documents, " in said.err
    assert " sequences of at most 24 tokens\n" in said.err
    assert "mlm_loss" in said.out
    assert "data   train: 108 documents, " in said.out
    assert said.out.endswith(
        f'bundle {out}, learning_curve.png\nnext   bertwright predict {out} "a text with a [MASK]"\n'
    )
    return out


def test_checking(folder: Path, tiny_bert: Path, call: Call) -> None:
    said = call("check", *settings(folder), "train.length=40 steps")
    assert said.code == 0
    lines = said.out.splitlines()
    assert "data     train: 108 documents, 3,398 tokens" in lines or lines[0].startswith(
        "data     train: 108 documents"
    )
    for line in (
        "task     pretraining",
        "base     tiny from scratch: bert, 2 layers",
        "         1 evaluation, best model by mlm_loss",
        "         no problems found",
    ):
        assert line in lines
    assert any(re.fullmatch(r"plan     40 steps of 16 sequences, [\d.]+ epochs", line) for line in lines)
    further = ("pretrain", f"data.train={folder / 'corpus.txt'}", f"model.base={tiny_bert}", *SMALL)
    said = call("check", *further, "train.learning_rate=4e-4")
    assert "warning  train.learning_rate: 0.0004 can cause catastrophic forgetting" in said.out
    assert "warning" not in call("check", *further, "train.learning_rate=1e-4").out
    said = call("check", *settings(folder), "task.sentence_objective=nsp", "data.dev=x.txt")
    assert said.code == 2
    assert said.err.startswith("error: x.txt: ")


def test_gaps_are_filled(run: Path, call: Call) -> None:
    said = call("predict", run, "dog [MASK] , dog eats [MASK] .", "cat purrs , cat eats [MASK] .")
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert [row[:2] for row in rows[::5]] == [["1", "4"], ["1", "22"], ["2", "21"]]
    assert [row[2] for row in rows[::5]] == ["barks", "bone", "fish"]
    assert len(rows) == 15
    assert all(0 <= float(row[3]) <= 1 for row in rows)
    assert (said.code, said.err) == (0, "")


def test_a_pair_is_told_to_follow_or_not(run: Path, call: Call) -> None:
    line = "dog barks , dog eats bone ."
    said = call("predict", run, line, line, "--pair", line, "--pair", "dog barks , dog eats [MASK] .")
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert [row[0] for row in rows] == ["1", *["2"] * 6]
    for row in (rows[0], rows[-1]):
        assert row[1] == ""
        assert row[2] in ("follows", "random")
        assert 0.5 <= float(row[3]) <= 1


def test_a_terminal_shows_a_table(run: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = call("predict", run, "dog [MASK] , dog eats [MASK] .")
    lines = [line.split() for line in said.out.splitlines()]
    assert ["1", "4", "barks"] in [line[:3] for line in lines]
    assert sum(line[:1] == ["1"] for line in lines) == 2, "what is the same as above is not repeated"


def test_words_that_look_like_markup_are_printed_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    predictions = [Prediction("0", spans=(PredictedSpan("[red]", 0, 6, score=0.5),))]
    show_predictions(GapFormat().make_table(predictions, [Example("0", "[MASK]")], first=7))
    out = capsys.readouterr().out
    assert "[red]" in out
    assert "7" in out


def test_lines_of_standard_input(run: Path, call: Call) -> None:
    said = call(
        "predict", run, "--input", "-", stdin="dog [MASK] , dog eats bone .\ncat purrs , cat eats [MASK] . <mask>\n"
    )
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert [row[:3] for row in rows[::5]] == [["1", "4", "barks"], ["2", "21", "fish"]]


def test_files(run: Path, folder: Path, call: Call, tmp_path: Path) -> None:
    said = call("predict", run, "--input", folder / "gaps.csv", "--output", "-")
    assert said.code == 0, said.err
    rows = [*csv.DictReader(io.StringIO(said.out))]
    assert [*rows[0]] == ["nr", "text", "filled", "score"]
    assert [row["filled"] for row in rows] == ["barks bone", "fish"]
    assert len(rows[0]["score"].split()) == 2
    said = call("predict", run, "--input", folder / "gaps.csv", "--output", tmp_path / "out.jsonl")
    assert "2 predictions in" in said.err
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["filled"] for row in written] == ["barks bone", "fish"]
    said = call("predict", run, "--input", folder / "gaps.csv", "--output", tmp_path / "out.conll")
    assert (said.code, "no format has the suffix .conll" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dog barks"], "error: text 1: has no gap to fill; write [MASK] where a word is wanted.\n"),
        (
            ["dog [MASK]", "cat " * 40 + "[MASK] [MASK]"],
            "error: text 2: 2 of its gaps are beyond the 24 tokens that the model reads; shorten the text.\n",
        ),
        (["--question", "who", "--context", "it"], "so it answers no questions"),
    ],
)
def test_what_cannot_be_filled(run: Path, call: Call, arguments: list[str], message: str) -> None:
    said = call("predict", run, *arguments)
    assert (said.code, said.out) == (2, "")
    assert message in said.err


def test_perplexity_of_a_file(run: Path, folder: Path, call: Call, tmp_path: Path) -> None:
    said = call("evaluate", run, "--data", folder / "general.txt", "--json", tmp_path / "figures.json")
    assert said.code == 0, said.err
    assert said.out.startswith("general · ")
    for name in ("mlm_loss", "perplexity", "mlm_accuracy", "nsp_accuracy"):
        assert name in said.out
    assert "note: 20 documents, " in said.err
    figures = json.loads((tmp_path / "figures.json").read_text())["metrics"]["general"]
    assert 1 < figures["perplexity"] < 4
    every = call("evaluate", run, "--data", folder / "general.txt", "--all-checkpoints", "--json", "-")
    found = [line["metrics"]["general"] for line in json.loads(every.out)["checkpoints"]]
    assert len(found) == 4
    assert found[-1] == figures
    said = call("evaluate", run, "--data", folder / "rows.csv")
    assert said.code == 2
    assert "task.sentence_objective: no document of the corpus has two sentences to build a pair from" in said.err


def test_what_it_is_can_be_seen(run: Path, call: Call) -> None:
    said = call("inspect", run)
    assert said.code == 0, said.err
    assert "predicts   masked tokens of a text\n" in said.out
    assert "base       none: tiny from scratch\n" in said.out
    assert re.search(r"160 steps on \d+ sequences of ", " ".join(said.out.split()))
    assert "head.pooler" in said.out


def test_they_are_not_compared_row_by_row(run: Path, folder: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(run)
    said = call("compare", run, tmp_path / "other", "--data", folder / "general.txt")
    assert said.code == 2
    assert "compare: pre-trained models have no predictions to compare; use `bertwright evaluate` on each." in said.err


class TestChain:
    def words(self, folder: Path, run: Path) -> tuple[str, ...]:
        each = ("batch_size=16", "precision=fp32", "threads=1", "length=4 steps")
        return (
            *("continued_pretraining", f"data.train={folder / 'rows.csv'}", f"model.base={run}"),
            *(
                "tokens.max_length=24",
                "continued_pretraining.tokens.max_length=24",
                f"continued_pretraining.general={folder / 'general.txt'}",
            ),
            *(f"{where}.{setting}" for where in ("train", "continued_pretraining.train") for setting in each),
        )

    def test_it_tells_what_it_brings(self, folder: Path, run: Path, call: Call, tmp_path: Path) -> None:
        out = tmp_path / "chain"
        said = call("train", *self.words(folder, run), "--out", out)
        assert said.code == 0, said.err
        for name in ("further", "tuned", "without"):
            assert f"\n{out / name}\n" in said.err
            assert (out / name / "config.json").exists()
        assert f'next   bertwright predict {out / "tuned"} "a text"\n' in said.out
        last = said.out.splitlines()
        assert last[-1].startswith("general text: mlm_loss ")
        assert any(line.startswith("dev accuracy: ") and line.endswith(" without") for line in last)
        again = call("train", "--resume", "--out", out)
        assert (again.code, again.err) == (
            2,
            f"error: {out}: this run has already finished; nothing to resume.\n",
        )

    def test_stopped_it_says_how_to_go_on(
        self, folder: Path, run: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from bertwright.run import continued_pretraining as further

        trained = further.train

        def stopped(recipe: object, directory: Path, **rest: object) -> object:
            if directory.name == "tuned":
                raise KeyboardInterrupt
            return trained(recipe, directory, **rest)  # type: ignore[arg-type]

        monkeypatch.setattr(further, "train", stopped)
        out = tmp_path / "chain"
        said = call("train", *self.words(folder, run), "continued_pretraining.compare=false", "--out", out)
        assert said.code == 130
        assert f"stopped; continue with `bertwright train --resume --out {out}`." in said.err
        monkeypatch.undo()
        said = call("train", "--resume", "--out", out)
        assert said.code == 0, said.err
        assert "dev accuracy: " in said.out
        assert " without" not in said.out.splitlines()[-2]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["--tensorboard"],
                "--tensorboard supports a single run; remove it, or remove continued_pretraining.",
            ),
            (["seed=0,1"], "continued_pretraining: is a separate run before this one; pre-train once"),
            (
                ["task.kind=pretraining"],
                "continued_pretraining cannot be used with pre-training; set train.length to train longer.",
            ),
        ],
    )
    def test_refusals(
        self, folder: Path, run: Path, call: Call, tmp_path: Path, arguments: list[str], message: str
    ) -> None:
        said = call("train", *self.words(folder, run), *arguments, "--out", tmp_path / "chain")
        assert said.code == 2
        assert message in said.err
        assert not (tmp_path / "chain").exists()
