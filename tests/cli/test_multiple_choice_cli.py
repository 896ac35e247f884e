"""Multiple choice on the command line: check, train, predict, evaluate, compare, inspect and the model card."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from worlds import SMALL, Call

from bertwright.run.bundle import Bundle

transformers = pytest.importorskip("transformers")

WORDS = ["the", "film", "is", "a", "plot", "was", "very"]


def rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with two to four choices, of which the one with a good word is right."""
    rng, made = random.Random(seed), []
    for i in range(n):
        count = rng.randint(2, 4)
        right = rng.randrange(count)
        words = [rng.choice(("great", "fun") if k == right else ("awful", "dull")) for k in range(count)]
        choices = [f"it was {word} {WORDS[k]}" for k, word in enumerate(words)]
        context = " ".join([*rng.choices(WORDS, k=6), "abcdefgh"[i % 8] * (1 + i // 8 % 4)])
        made.append({"nr": i, "context": context, "question": "is it", "choices": choices, "label": choices[right]})
    return made


def write(path: Path, made: list[dict[str, Any]], label: bool = True) -> Path:
    kept = [row if label else {name: value for name, value in row.items() if name != "label"} for row in made]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("choices")
    write(made / "train.jsonl", rows(96))
    write(made / "dev.jsonl", rows(40, 1))
    write(made / "new.jsonl", rows(6, 2), label=False)
    return made


@pytest.fixture(scope="module")
def run(folder: Path, tiny_bert: Path, call: Call) -> Path:
    said = call(
        *("train", "--model", tiny_bert, "--data", folder / "train.jsonl", "--dev", folder / "dev.jsonl"),
        *("--task", "multiple_choice", *SMALL, "train.learning_rate=1e-2", "train.length=6 epochs"),
        *("--out", folder / "run"),
    )
    assert said.code == 0, said.err
    text = said.err + said.out
    assert re.search(r"data     train: 96 rows, 2\d\d choices, [\d,]+ tokens, none truncated", text)
    assert "text: inferred to be context" in text
    assert re.search(r"position 3 +\d", text)
    return folder / "run"


def test_check_shows_choices_and_baselines(folder: Path, tiny_bert: Path, call: Call) -> None:
    said = call(
        *("check", "--model", tiny_bert, "--data", folder / "train.jsonl", "--dev", folder / "dev.jsonl"),
        *("--task", "multiple_choice", "--show", "1", "tokens.max_length=18", "train.threads=1"),
    )
    assert said.code == 0, said.err
    first = rows(1)[0]
    assert f"choice   0: {first['choices'][0]}" in said.out
    assert f"label    {first['label']}" in said.out
    assert "tokens   choice 1, " in said.out
    assert "segment 1: is it it was" in said.out
    assert re.search(r"to beat  a random choice: accuracy 0\.3\d\d \(on dev\)", said.out)
    assert re.search(r"to beat  the longest choice: accuracy 0\.\d\d\d \(on dev\)", said.out)
    assert "no errors" in said.out or "no problems found" in said.out


def test_predictions_as_lines_and_files(run: Path, folder: Path, call: Call) -> None:
    expected = [row["label"] for row in rows(6, 2)]
    shown = call("predict", run, "--input", folder / "new.jsonl")
    assert [line.split("\t")[2] for line in shown.out.splitlines()] == expected
    lines = call("predict", run, "--input", folder / "new.jsonl", "--output", "-").out.splitlines()
    for line, row in zip(map(json.loads, lines), rows(6, 2), strict=True):
        assert {name: line[name] for name in ("nr", "context", "choices")} == {
            name: row[name] for name in ("nr", "context", "choices")
        }
        assert line["choices"][line["choice"]] == line["label"] == row["label"]
        assert line["probability"] == pytest.approx(max(line["probabilities"]))
        assert sum(line["probabilities"]) == pytest.approx(1, abs=1e-4)
    table = call("predict", run, "--input", folder / "new.jsonl", "--output", "-", "--format", "csv").out
    assert [row["label"] for row in csv.DictReader(io.StringIO(table))] == expected
    said = call("predict", run, "a text")
    assert (said.code, said.err) == (
        2,
        "error: text 1: has no choices; give rows with a context and choices, such as JSON Lines.\n",
    )
    bundle = Bundle.load(run)
    assert [p.label for p in bundle.predict([json.loads(line) for line in lines])] == expected


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_written_predictions_can_be_read_again(
    run: Path, folder: Path, call: Call, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"predicted.{suffix}"
    said = call("predict", run, "--input", folder / "new.jsonl", "--output", file)
    assert said.code == 0, said.err
    first = call("predict", run, "--input", folder / "new.jsonl").out
    again = call("predict", run, "--input", file)
    assert (again.code, again.out) == (0, first), again.err


def test_prediction_reads_the_columns_of_training(folder: Path, tiny_bert: Path, call: Call) -> None:
    lines = ["body,first,other,right", "the film,it was fun,it was bad,1", "a plot,it was dull,it was great,2"]
    (folder / "named.csv").write_text("\n".join([*lines, *lines[1:]]) + "\n", encoding="utf-8")
    columns = ("data.choices=[first, other]", "data.text=body", "data.label=right")
    said = call(
        *("train", f"data.train={folder / 'named.csv'}", f"data.dev={folder / 'named.csv'}", f"model.base={tiny_bert}"),
        *("--task", "multiple_choice", *SMALL, *columns, "train.length=1 epochs", "--out", folder / "named"),
    )
    assert said.code == 0, said.err
    assert "are positions counted from 1" in said.err + said.out
    said = call("predict", folder / "named", "--input", folder / "named.csv")
    assert (said.code, len(said.out.splitlines())) == (0, 4), said.err
    assert "inferred" not in said.err
    (folder / "one.csv").write_text("\n".join(lines[:2]) + "\n", encoding="utf-8")  # its label alone would be ambiguous
    said = call("evaluate", folder / "named", "--data", folder / "one.csv", "--json", "-")
    assert said.code == 0, said.err
    (table,) = json.loads(said.out)["per_class"].values()
    assert table["position 0"]["support"] == 1


def test_evaluation_comparison_and_summary(run: Path, folder: Path, call: Call) -> None:
    said = call("evaluate", run, "--data", folder / "dev.jsonl", "--json", "-")
    assert said.code == 0, said.err
    assert next(iter(json.loads(said.out)["metrics"].values()))["accuracy"] > 0.9
    other = folder / "other"
    Bundle.load(run).save(other)
    said = call("compare", run, other, "--data", folder / "dev.jsonl")
    assert said.code == 0, said.err
    assert "accuracy" in said.out
    said = call("inspect", run)
    assert re.search(r"head\.output +dense 24 → 1", said.out)


def test_the_model_card_and_its_script(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = (run / "README.md").read_text(encoding="utf-8")
    assert "selects one of several choices for a context" in card
    assert "most frequent position of the correct choice" in card
    assert "type: multiple-choice" in card
    script = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert script is not None
    monkeypatch.chdir(run.parent)
    exec(script[1], {})
    assert re.match(r"a question and its (first|second) choice tensor\(\[0\.", capsys.readouterr().out)


def test_a_label_that_is_no_choice_stops_the_run_with_its_line(folder: Path, tiny_bert: Path, call: Call) -> None:
    wrong = write(folder / "wrong.jsonl", [*rows(3), {**rows(1)[0], "label": "it was odd"}])
    said = call(
        "train", "--model", tiny_bert, "--data", wrong, "--task", "multiple_choice", *SMALL, "--out", folder / "none"
    )
    assert said.code == 2
    assert re.search(r'wrong\.jsonl:4: the label "it was odd" in "label" is none of the \d choices', said.err)
    assert not (folder / "none").exists()


def test_a_sweep_over_seeds(folder: Path, tiny_bert: Path, call: Call) -> None:
    said = call(
        *("sweep", "--model", tiny_bert, "--data", folder / "train.jsonl", "--dev", folder / "dev.jsonl"),
        *("--task", "multiple_choice", *SMALL, "train.length=1 epochs", "seed=0,1", "--out", folder / "sweep"),
    )
    assert said.code == 0, said.err
    assert "accuracy" in said.out + said.err


def test_uncertainty_and_selection_of_rows(folder: Path, run: Path, tmp_path: Path, call: Call) -> None:
    said = call("predict", run, "--input", folder / "new.jsonl", "--output", "-", "--uncertainty")
    made = [json.loads(line) for line in said.out.splitlines()]
    for row in made:
        first, second = sorted(row["probabilities"], reverse=True)[:2]
        assert row["margin"] == pytest.approx(first - second, abs=1e-5)
    shown = call("predict", run, "--input", folder / "new.jsonl", "--uncertainty").out.splitlines()[0].split("\t")
    assert shown[2:4] == [f"{made[0]['entropy']:.4f}", f"{made[0]['margin']:.4f}"]
    said = call("select", run, 3, "--input", folder / "new.jsonl", "--output", tmp_path / "picked.jsonl")
    assert said.code == 0, said.err
    picked = [json.loads(line) for line in (tmp_path / "picked.jsonl").read_text("utf-8").splitlines()]
    assert len({row["nr"] for row in picked}) == 3
    assert all(row["choices"] == made[row["nr"]]["choices"] for row in picked)
