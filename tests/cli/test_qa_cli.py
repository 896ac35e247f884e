"""Question answering on the command line: train, ask, predict files, evaluate with the official files."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from worlds import Call

from bertwright.cli import console
from bertwright.metrics import squad_scores
from bertwright.run.bundle import Bundle

WORDS = ["film", "plot", "great", "awful", "dull", "fun", "it", "very"]


def squad_file(path: Path, n: int, null: bool, seed: int = 0) -> Path:
    """SQuAD's own JSON: what the word behind "was" is; of version 2.0 every third text has none."""
    rng = random.Random(seed)
    paragraphs = []
    for i in range(n):
        before, after = " ".join(rng.choices(WORDS, k=rng.randint(1, 8))), " ".join(rng.choices(WORDS, k=3))
        answer = rng.choice(WORDS)
        has = not (null and i % 3 == 2)
        context = f"{before} was {answer} . {after}" if has else f"{before} . {after}"
        entry: dict[str, Any] = {"id": f"q{i}", "question": "what was it", "answers": []}
        if has:
            entry["answers"] = [{"text": answer, "answer_start": context.index(" was ") + 5}]
        if null:
            entry["is_impossible"] = not has
        paragraphs.append({"context": context, "qas": [entry]})
    whole = {"version": "2.0" if null else "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("squad")
    for version, null in (("1", False), ("2", True)):
        squad_file(made / f"train{version}.json", 90, null)
        squad_file(made / f"dev{version}.json", 24, null, seed=1)
    return made


def trained(folder: Path, version: str, base: Path, call: Call, *settings: str) -> Path:
    out = folder / f"run{version}"
    said = call(
        *("train", "squad" if version == "1" else "squad2", f"data.train={folder / f'train{version}.json'}"),
        *(f"data.dev={folder / f'dev{version}.json'}", f"model.base={base}", "tokens.max_length=32", "tokens.stride=8"),
        *("train.learning_rate=1e-2", "train.batch_size=16", "train.precision=fp32", "train.threads=1", *settings),
        *("--out", out),
    )
    assert said.code == 0, said.err
    (folder / f"said{version}.txt").write_text(said.err + said.out, encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def run1(folder: Path, tiny_bert: Path, call: Call) -> Path:
    return trained(folder, "1", tiny_bert, call, "train.length=6 epochs")


@pytest.fixture(scope="module")
def run2(folder: Path, tiny_bert: Path, call: Call) -> Path:
    return trained(folder, "2", tiny_bert, call, "train.length=6 epochs")


def test_a_run_says_what_it_reads_and_writes_the_official_files(run1: Path, run2: Path, folder: Path) -> None:
    said = (folder / "said1.txt").read_text(encoding="utf-8")
    assert "note: train: 90 questions make 90 windows of at most 32 tokens" in said
    assert re.search(r"data     train: 90 rows, [\d,]+ tokens, none truncated", said)
    assert "guessed" not in said, "SQuAD's own names are no guess"
    assert re.search(r"answer_f1 +\d+\.\d\d ", said)
    assert "--question" in said.splitlines()[-1]
    assert json.loads((run1 / "predictions.json").read_text(encoding="utf-8")).keys() == {f"q{i}" for i in range(24)}
    assert len(json.loads((run1 / "nbest_predictions.json").read_text(encoding="utf-8"))) == 24
    assert not (run1 / "null_odds.json").exists()
    odds = json.loads((run2 / "null_odds.json").read_text(encoding="utf-8"))
    bundle = Bundle.load(run2)
    threshold = bundle.task.null_score_diff_threshold  # type: ignore[attr-defined]
    assert isinstance(threshold, float)
    predictions = json.loads((run2 / "predictions.json").read_text(encoding="utf-8"))
    assert {name for name, odd in odds.items() if odd > threshold} == {n for n, text in predictions.items() if not text}
    assert re.search(
        r"task\.null_score_diff_threshold: -?\d+\.\d+, tuned on the dev rows instead of 0 \(answer_f1", said2(folder)
    )
    card = (run2 / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: question-answering" in card
    assert "AutoModelForQuestionAnswering" in card


def said2(folder: Path) -> str:
    return (folder / "said2.txt").read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_official_script(run2: Path, folder: Path, call: Call, tmp_path: Path) -> None:
    data = folder / "dev2.json"
    said = call("evaluate", run2, "--data", data, "--predictions", tmp_path / "made", "--json", tmp_path / "r.json")
    assert said.code == 0, said.err
    assert (
        f"24 predictions: predictions.json, nbest_predictions.json, null_odds.json in {tmp_path / 'made'}" in said.err
    )
    for name in ("predictions.json", "nbest_predictions.json", "null_odds.json"):
        assert (tmp_path / "made" / name).read_text() == (run2 / name).read_text(), "training wrote the same"
    asked = [p["qas"][0] for p in json.loads(data.read_text())["data"][0]["paragraphs"]]
    golds = [[answer["text"] for answer in one["answers"]] for one in asked]
    texts, odds = (json.loads((run2 / f"{n}.json").read_text()) for n in ("predictions", "null_odds"))
    expected = squad_scores(golds, [texts[q["id"]] for q in asked], [odds[q["id"]] for q in asked], float("inf"))
    metrics = json.loads((tmp_path / "r.json").read_text())["metrics"]["dev2"]
    for ours, theirs in (
        *(("answer_f1", "f1"), ("exact_match", "exact"), ("has_answer_f1", "HasAns_f1")),
        *(("has_answer_exact_match", "HasAns_exact"), ("no_answer_accuracy", "NoAns_f1")),
    ):
        assert metrics[ours] == pytest.approx(expected[theirs]), ours
    assert metrics["best_answer_f1"] == pytest.approx(metrics["answer_f1"]), "its threshold was tuned on these rows"


def test_a_question_is_answered(run1: Path, call: Call, tmp_path: Path) -> None:
    context = "the film\nwas dull . it is fun"
    (tmp_path / "x.txt").write_text(context, encoding="utf-8")
    said = call("predict", run1, "--question", "what was it", "--context-file", tmp_path / "x.txt")
    assert (said.code, said.err) == (0, "")
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert len(rows) == 5
    for text, score, start, end in rows:
        assert text == " ".join(context[int(start) : int(end)].split())
        assert 0 <= float(score) <= 1
    found = Bundle.load(run1).answer("what was it", context)
    assert found is not None
    assert rows[0][:1] == [" ".join(found.text.split())]
    assert call("predict", run1, "--question", "what was it", "--context", context).out == said.out
    assert call("predict", run1, "what was it", "--pair", context).out == said.out
    assert call("predict", run1, "--input", "-", stdin="what was it\tfun it was dull\n").code == 0
    single = call("predict", run1, "--question", "what was it", "--context", context, "--output", "-")
    (row,) = csv.DictReader(io.StringIO(single.out, newline=""))
    assert (row["answer"], row["start"], row["end"]) == (found.text, str(found.start), str(found.end))


def test_no_answer_is_said_so(run2: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.load(run2)
    task = bundle.task.replace(null_score_diff_threshold=-1e6)
    assert bundle.recipe is not None
    replace(bundle, task=task, recipe=bundle.recipe.replace(task=task)).save(tmp_path / "shy")
    run, context = tmp_path / "shy", "the film was fun . it"
    assert Bundle.load(run).answer("what was it", context) is None
    said = call("predict", run, "--question", "what was it", "--context", context)
    first = said.out.splitlines()[0].split("\t")
    assert first[0] == ""
    assert 0 < float(first[1]) <= 1
    assert first[2:] == ["", ""]
    written = io.StringIO()
    monkeypatch.setattr(console, "out", lambda: Console(file=written, force_terminal=True, color_system=None, width=60))
    assert call("predict", run, "--question", "what was it", "--context", context).code == 0
    assert "(no answer)" in written.getvalue()
    assert "score" in written.getvalue()


def test_files_are_predicted(run1: Path, run2: Path, folder: Path, call: Call, tmp_path: Path) -> None:
    said = call("predict", run1, "--input", folder / "dev1.json", "--output", tmp_path / "predictions.json")
    assert (said.code, said.err) == (0, f"24 predictions in {tmp_path / 'predictions.json'}\n")
    assert (tmp_path / "predictions.json").read_text() == (run1 / "predictions.json").read_text()
    said = call("predict", run2, "--input", folder / "dev2.json", "--output", tmp_path / "rows.jsonl")
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"q{i}" for i in range(24)]
    for row in rows:
        assert {"question", "context", "answers", "answer", "score", "start", "end", "null_odds"} <= row.keys()
        assert row["answer"] == ("" if row["start"] is None else row["context"][row["start"] : row["end"]])
    (tmp_path / "q.csv").write_text("nr,question,context\n7,what was it,it was fun .\n8,what was it,dull plot\n")
    said = call("predict", run1, "--input", tmp_path / "q.csv", "--output", tmp_path / "a.csv")
    assert said.code == 0, said.err
    table = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text(), newline="")))
    assert list(table[0]) == ["nr", "question", "context", "answer", "score", "start", "end"]
    assert [row["nr"] for row in table] == ["7", "8"]
    shown = call("predict", run1, "--input", tmp_path / "q.csv").out.splitlines()
    assert [line.split("\t")[4] for line in shown] == ["what was it"] * 2


def test_what_cannot_be_asked(run1: Path, folder: Path, call: Call, tmp_path: Path) -> None:
    for arguments, message in (
        (["--question", "q"], "the question has no context; add --context TEXT or --context-file FILE"),
        (["--context", "c"], "there is a context but no question; add --question"),
        (["--question", "q", "--context", "c", "--context-file", "f"], "the question has two contexts"),
        (["text", "--question", "q", "--context", "c"], "--question comes with a context, and without texts"),
        (["--question", "q", "--context-file", str(tmp_path / "none.txt")], "none.txt"),
        (["a text"], "the model answers questions; ask it with --question and --context"),
        (
            ["--input", str(folder / "dev1.json"), "--output", str(tmp_path / "a.conll")],
            "no format has the suffix .conll",
        ),
    ):
        said = call("predict", run1, *arguments)
        assert said.code == 2
        assert message in said.err


def test_other_tasks_answer_nothing(reviews: Path, tiny_bert: Path, call: Call, tmp_path: Path) -> None:
    run = tmp_path / "labels"
    said = call(
        *("train", "--model", tiny_bert, "--data", reviews, "--text", "review", "--label", "sentiment", "--out", run),
        *("tokens.max_length=16", "train.length=1 steps", "train.precision=fp32"),
    )
    assert said.code == 0, said.err
    said = call("predict", run, "--question", "q", "--context", "c")
    assert (said.code, said.err) == (2, f"error: {run}: its task is classification, so it answers no questions.\n")
    said = call("evaluate", run, "--data", reviews, "--predictions", tmp_path / "p")
    assert said.code == 2
    assert "its task is classification, which has no official files of predictions" in said.err
    said = call("predict", run, "--input", reviews, "--output", tmp_path / "p.json")
    assert "no format has the suffix .json" in said.err
    said = call("predict", run, "--input", reviews, "--output", "-", "--format", "json")
    assert "the format json is for answers to questions; choose csv, tsv, jsonl, parquet" in said.err
    with pytest.raises(Exception, match="its task is classification, so it answers no questions"):
        Bundle.load(run).answer("q", "c")


def test_inspect_and_check(run1: Path, folder: Path, tiny_bert: Path, call: Call) -> None:
    said = call("inspect", run1)
    assert "answers to questions, as spans of a text" in said.out
    said = call(
        *("check", "squad", f"data.train={folder / 'train1.json'}", f"data.dev={folder / 'dev1.json'}"),
        *(f"model.base={tiny_bert}", "tokens.max_length=32", "tokens.stride=8"),
    )
    assert said.code == 0, said.out + said.err
    assert "task     qa" in said.out


def test_uncertainty_and_selection_of_questions(folder: Path, run2: Path, tmp_path: Path, call: Call) -> None:
    context = "film was great . it"
    prediction = Bundle.load(run2).predict([("what was it", context)])[0]
    said = call("predict", run2, "--question", "what was it", "--context", context, "--uncertainty")
    cells = said.out.splitlines()[0].split("\t")
    assert cells[4:] == [f"{prediction.entropy:.4f}", f"{prediction.margin:.4f}"]
    output = tmp_path / "answers.jsonl"
    said = call("predict", run2, "--input", folder / "dev2.json", "--output", output, "--uncertainty")
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert all(0 <= row["entropy"] < 3.1 and 0 <= row["margin"] <= 1 for row in rows)
    said = call("predict", run2, "--input", folder / "dev2.json", "--output", tmp_path / "a.json", "--uncertainty")
    assert "the format json has no columns for --uncertainty" in said.err
    new = squad_file(tmp_path / "new.json", 12, null=False, seed=7)
    said = call("select", run2, 4, "--input", new, "--output", "-", "--format", "jsonl")
    assert said.code == 0, said.err
    assert len({json.loads(line)["context"] for line in said.out.splitlines()}) == 4
