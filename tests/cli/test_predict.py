"""``bertwright predict``, ``evaluate`` and ``inspect``."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import Call, Said, World

from bertwright.cli import command, console, inputs
from bertwright.cli import predict as prediction
from bertwright.cli.prediction_files import join_columns, write
from bertwright.errors import DataError
from bertwright.output import progress
from bertwright.run.bundle import Bundle
from bertwright.tasks.formats.labels import LabelFormat


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_texts(world: World, call: Call) -> None:
    said = call("predict", world.labels, "a great film", "so\tbad")
    assert said.code == 0, said.err
    lines = [line.split("\t") for line in said.out.splitlines()]
    assert [(line[0], line[2]) for line in lines] == [("pos", "a great film"), ("neg", "so bad")]
    assert all(0.5 <= float(line[1]) <= 1 for line in lines)
    assert said.err == ""


def test_pairs_numbers_and_several_labels(world: World, call: Call) -> None:
    said = call("predict", world.pairs, "good", "bad", "--pair", "fun", "--pair", "dull")
    first, second = (line.split("\t") for line in said.out.splitlines())
    assert first[1:] == ["good", "fun"]
    assert second[1:] == ["bad", "dull"]
    assert float(first[0]) == pytest.approx(Bundle.load(world.pairs).predict([("good", "fun")])[0].value, abs=1e-4)
    labels, text = call("predict", world.multi, "a good film").out.rstrip("\n").split("\t")
    assert text == "a good film"
    assert labels == "–" or labels.startswith(("good 0.", "long 0."))


def test_standard_input(world: World, call: Call) -> None:
    said = call("predict", world.labels, "--input", "-", stdin="\ufeffa great film\r\nso bad\n\n")
    assert [line.partition("\t")[0] for line in said.out.splitlines()][:2] == ["pos", "neg"]
    assert len(said.out.splitlines()) == 3, "an empty line is a text like any other"
    said = call("predict", world.pairs, "--input", "-", stdin="good\tfun\n")
    assert said.out.endswith("\tgood\tfun\n")
    said = call("predict", world.labels, "--input", "-", "--output", "-", "--format", "jsonl", stdin="good\n")
    assert json.loads(said.out)["label"] == "pos"
    assert call("predict", world.labels, "--input", "-").err == (
        "error: standard input: is empty; write one text per line.\n"
    )
    assert (
        "standard input:2: byte 0 is not UTF-8"
        in call("predict", world.labels, "--input", "-", stdin=b"good\n\xff\n").err
    )
    assert "write them with a tab between" in call("predict", world.pairs, "--input", "-", stdin="good\n").err


def test_csv_keeps_columns_and_order(world: World, call: Call, tmp_path: Path) -> None:
    output = tmp_path / "made" / "scored.csv"
    said = call("predict", world.labels, "--input", world.folder / "new.csv", "--output", output)
    assert (said.code, said.out) == (0, "")
    assert said.err == f"3 predictions in {output}\n"
    rows = rows_of(output.read_bytes().decode())
    added = ["label_predicted", "probability", "probability_neg", "probability_pos"]
    assert list(rows[0]) == ["nr", "review", "label", "note", *added]
    assert [row["nr"] for row in rows] == ["1", "2", "3"]
    assert [row["note"] for row in rows] == ['a "q"', "", "é"]
    assert rows[2]["review"] == "fun\nfun"
    assert [row["label_predicted"] for row in rows] == ["pos", "neg", "pos"]
    expected = Bundle.load(world.labels).predict(["the film, was great"])[0].probabilities
    assert float(rows[0]["probability_pos"]) == pytest.approx(expected["pos"], abs=1e-5)
    assert float(rows[0]["probability"]) == max(float(rows[0]["probability_neg"]), float(rows[0]["probability_pos"]))


def test_an_output_that_exists_is_kept(world: World, call: Call, tmp_path: Path) -> None:
    output = tmp_path / "scored.jsonl"
    output.write_text("mine", encoding="utf-8")
    arguments = ("predict", world.labels, "--input", world.folder / "new.csv", "--output", output)
    said = call(*arguments)
    assert (said.code, said.err) == (2, f"error: {output}: already exists; choose another file, or add --overwrite.\n")
    assert output.read_text(encoding="utf-8") == "mine"
    assert call(*arguments, "--overwrite").code == 0
    assert [json.loads(line)["nr"] for line in output.read_text("utf-8").splitlines()] == ["1", "2", "3"]


def test_formats_agree(world: World, call: Call, tmp_path: Path) -> None:
    reviews = world.folder / "reviews.csv"
    for suffix in ("csv", "tsv", "jsonl", "parquet"):
        said = call("predict", world.labels, "--input", reviews, "--output", tmp_path / f"a.{suffix}")
        assert said.code == 0, said.err
    from bertwright.data.table_files import read_table

    tables = {suffix: read_table(tmp_path / f"a.{suffix}") for suffix in ("csv", "tsv", "jsonl", "parquet")}
    for name in ("review", "sentiment", "label", "probability_neg"):
        columns = [list(map(str, table.column(name))) for table in tables.values()]
        assert all(column == columns[0] for column in columns), name
    # and what was written can be predicted again, floats of one's own untouched
    said = call("predict", world.labels, "--input", tmp_path / "a.parquet", "--output", "-", "--format", "jsonl")
    again = [json.loads(line) for line in said.out.splitlines()]
    assert [row["probability"] for row in again] == list(tables["parquet"].column("probability"))
    assert again[0]["label_predicted"] == again[0]["label"]
    printed = call("predict", world.labels, "--input", tmp_path / "a.jsonl", "--output", "-")
    assert len(printed.out.splitlines()) == 96
    assert json.loads(printed.out.splitlines()[0])


def test_several_labels_and_numbers_in_files(world: World, call: Call) -> None:
    out = call("predict", world.multi, "--input", world.folder / "multi.csv", "--output", "-").out
    row = rows_of(out)[0]
    assert list(row) == ["text", "good", "long", "labels", "probability_good", "probability_long"]
    out = call("predict", world.multi, "--input", world.folder / "multi.csv", "--output", "-", "--format", "jsonl").out
    assert isinstance(json.loads(out.splitlines()[0])["labels"], list)
    out = call("predict", world.pairs, "--input", world.folder / "pairs.csv", "--output", "-").out
    assert list(rows_of(out)[0]) == ["a", "b", "score", "value"]


def test_columns_of_a_file(world: World, call: Call, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("who,comment\nann,a great film\n", encoding="utf-8")
    said = call("predict", world.labels, "--input", other)
    assert said.out.startswith("pos\t")
    assert said.err == "note: text: inferred to be comment (--text … overrides it)\n"
    assert call("predict", world.labels, "--input", other, "--text", "comment").err == ""
    wrong = call("predict", world.labels, "--input", other, "--text", "coment")
    assert wrong.err == f'error: {other}: there is no column "coment"; did you mean "comment"?\n'
    other.write_text("ann,a great film\nbob,a bad film\n", encoding="utf-8")
    assert "name the column with --text …" in call("predict", world.labels, "--input", other).err


def test_a_folder_of_texts(world: World, call: Call, tmp_path: Path) -> None:
    for name, text in (("neg/1.txt", "so bad"), ("pos/2.txt", "a great film")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, encoding="utf-8")
    rows = rows_of(call("predict", world.labels, "--input", tmp_path, "--output", "-").out)
    assert [(row["id"], row["text"], row["label"]) for row in rows] == [
        ("neg/1", "so bad", "neg"),
        ("pos/2", "a great film", "pos"),
    ]


def test_long_texts_are_counted(world: World, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "ROWS", 10)
    said = call("predict", world.labels, "good " * 60, "bad")
    assert said.err == "note: 1 of 2 texts are truncated to 48 tokens\n"
    said = call("predict", world.labels, "--input", world.folder / "reviews.csv")
    assert len(said.out.splitlines()) == 96


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{labels}"], "there is nothing to predict; add a text, or --input FILE"),
        (["{labels}", "a", "--input", "x.csv"], "texts and --input are both given; choose one."),
        (["{labels}", "a", "--pair", "b"], "the model takes one text a row; leave --pair out."),
        (["{pairs}", "a"], 'the model takes two texts a row; add --pair "the second text".'),
        (["{pairs}", "a", "b", "--pair", "c"], "2 texts, but 1 --pair; give one for each text."),
        (["{f}/nowhere", "a"], "nowhere: no such directory"),
        (["{base}", "a"], "its head is untrained; fine-tune the model first"),
        (["{f}/reviews.csv", "a"], "reviews.csv: is a file"),
        (["{labels}", "--input", "{f}/nowhere.csv"], "nowhere.csv: no such file"),
        (["{labels}", "--input", "{f}/new.csv", "--output", "{f}"], "is a directory; name the file to write in it."),
        (["{labels}", "--input", "{f}/new.csv", "--output", "{f}/a.xlsx"], "no format has the suffix .xlsx"),
        (
            ["{labels}", "--input", "{f}/new.csv", "--output", "{f}/a.tsv"],
            'row 3: "review" holds a tab or a line break',
        ),
        (["{labels}", "a", "--submission", "{f}"], "--submission takes --input, a GLUE test file or folder"),
        (["{labels}", "--input", "{f}/new.csv", "--submission", "{f}"], "is not a test file or folder of a GLUE task"),
        (
            ["{labels}", "--input", "{f}/pairs.csv", "--text", "a", "--text-pair", "b"],
            "takes one text a row, but here is two",
        ),
        (["{labels}", "a", "--device", "cuda:77"], "--device: there is no cuda:77 on this machine"),
    ],
)
def test_mistakes_are_one_sentence(world: World, call: Call, arguments: list[str], message: str) -> None:
    places = {"labels": world.labels, "pairs": world.pairs, "f": world.folder, "base": world.base}
    said = call("predict", *(argument.format(**places) for argument in arguments))
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) == 1
    assert message in said.err
    assert not list(world.folder.glob("a.*"))


def test_glue_files(world: World, call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "RTE"
    folder.mkdir()
    (folder / "test.tsv").write_text("index\tsentence1\tsentence2\n0\tgood\tfun\n1\tbad\tdull\n", encoding="utf-8")
    said = call("predict", world.labels, "--input", folder, "--submission", tmp_path / "out")
    assert "the model takes one text a row" in said.err
    said = call("predict", world.pairs, "--input", folder / "test.tsv")
    assert "RTE is a classification task, found regression" in said.err
    (folder / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n0\tgood\tfun\tentailment\n", encoding="utf-8")
    (folder / "test.tsv").unlink()
    assert "contains no test file" in call("predict", world.labels, "--input", folder, "--submission", tmp_path).err


def test_submission(world: World, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bertwright.data import glue

    folder = tmp_path / "STS-B"
    folder.mkdir()
    head = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2"
    rows = [f"{i}\tg\tf\ty\t{i}\ts\ts\tgood\tfun" for i in range(3)]
    (folder / "test.tsv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    said = call("predict", world.pairs, "--input", folder, "--submission", tmp_path / "out")
    assert said.code == 2
    assert "expected 1379 predictions" in said.err
    monkeypatch.setitem(glue.TASKS["stsb"].rows, "test", 3)  # type: ignore[arg-type]  # a dict, though said a Mapping
    said = call("predict", world.pairs, "--input", folder, "--submission", tmp_path / "out")
    assert said.code == 0, said.err
    assert (tmp_path / "out" / "STS-B.tsv").read_text("utf-8").splitlines()[0] == "index\tprediction"
    printed = rows_of(call("predict", world.pairs, "--input", folder / "test.tsv", "--output", "-").out)
    assert list(printed[0]) == [*head.split("\t"), "value"]
    dev = folder / "dev.tsv"
    dev.write_text(f"{head}\tscore\n{rows[0]}\t1.5\n", encoding="utf-8")
    assert (
        "GLUE accepts submissions only for test.tsv"
        in call("predict", world.pairs, "--input", dev, "--submission", tmp_path).err
    )
    evaluated = call("evaluate", world.pairs, "--data", folder)
    assert evaluated.out.startswith("dev · 1 examples") or "no column" in evaluated.err


def test_evaluate(world: World, call: Call, tmp_path: Path) -> None:
    said = call("evaluate", world.labels, "--data", world.folder / "reviews.csv")
    assert said.code == 0, said.err
    assert said.out.startswith("reviews · 96 examples\n")
    assert "95 % interval" in said.out
    assert "precision" in said.out
    assert "96 examples in " in said.out

    file = tmp_path / "figures.json"
    said = call("evaluate", world.labels, "--data", world.folder / "reviews.csv", "--json", file)
    assert said.out.endswith(f"metrics in {file}\n")
    figures = json.loads(file.read_text(encoding="utf-8"))
    expected = Bundle.load(world.labels).evaluate(world.folder / "reviews.csv")
    assert figures["metrics"]["reviews"] == expected.metrics
    printed = json.loads(call("evaluate", world.labels, "--data", world.folder / "reviews.csv", "--json", "-").out)
    assert printed["metrics"] == figures["metrics"]
    assert printed["labels"] == ["neg", "pos"]


def test_evaluate_other_columns_and_folders(world: World, call: Call, tmp_path: Path) -> None:
    (tmp_path / "dev.csv").write_text("review,verdict\na great film,pos\nbad,neg\n", encoding="utf-8")
    said = call("evaluate", world.labels, "--data", tmp_path, "--label", "verdict")
    assert said.out.startswith("dev · 2 examples"), said.err
    (tmp_path / "train.csv").write_text("review,verdict\ndull,neg\n", encoding="utf-8")
    assert call("evaluate", world.labels, "--data", tmp_path, "--label", "verdict").out.startswith("dev · 2 examples")
    (tmp_path / "dev.csv").rename(tmp_path / "test.csv")
    assert call("evaluate", world.labels, "--data", tmp_path, "--label", "verdict").out.startswith("test · 2 examples")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{f}/pairs.csv"], 'there is no column "review"'),
        (["--data", "{f}/reviews.csv", "--label", "nr"], 'the label "0" is not one of the 2 that the model knows'),
        (["--data", "{f}/new.csv"], 'there is no column "sentiment"'),
        (["--data", "{f}/reviews.csv", "--json", "{f}"], "is a directory; give --json a file name."),
        (["--data", "{f}"], "of unknown layout"),
    ],
)
def test_evaluate_mistakes(world: World, call: Call, arguments: list[str], message: str) -> None:
    said = call("evaluate", world.labels, *(argument.format(f=world.folder) for argument in arguments))
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert message in said.err


def test_half_a_bundle(world: World, call: Call, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(world.labels, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    for arguments in (("predict", broken, "a"), ("inspect", broken), ("evaluate", broken, "--data", "x.csv")):
        said = call(*arguments)
        assert said.code == 2
        assert "model.safetensors" in said.err
        assert len(said.err.splitlines()) == 1
    (broken / "config.json").write_text('{"model_type": ', encoding="utf-8")
    assert "config.json" in call("inspect", broken).err


def test_a_classifier_of_transformers_is_a_bundle(world: World, call: Call, tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig.from_pretrained(world.base, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((world.base / name).read_bytes())
    assert call("predict", tmp_path, "a good film").out.split("\t")[0] in ("no", "yes")
    assert "classification, 2 labels: no, yes" in call("inspect", tmp_path).out
    data = tmp_path / "rows.csv"
    data.write_text("text,label\ngood,yes\nbad,no\n", encoding="utf-8")
    said = call("evaluate", tmp_path, "--data", data)
    assert said.out.startswith("rows · 2 examples"), said.err


def test_inspect(world: World, call: Call) -> None:
    said = call("inspect", world.labels)
    assert said.code == 0, said.err
    assert max(map(len, said.out.splitlines()[3:])) <= 80
    assert "head.output" in said.out
    assert "untrained; fine-tune the model before predicting" in call("inspect", world.base).out


# How commands end -------------------------------------------------------------------------------------------------


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def predict(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(prediction, "predict", predict)


def test_a_bug_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(KeyError("x"), monkeypatch)
    said = call("predict", "b", "a")
    assert said.code == 1
    assert said.err.startswith("error: unexpected KeyError: 'x' in test_predict:")
    assert said.err.endswith("this is a bug: please report it with the output of --debug.\n")


@pytest.mark.parametrize("arguments", [("--debug", "predict", "b", "a"), ("predict", "b", "a", "--debug")])
def test_debug_shows_the_traceback(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from bertwright.cli.app import app

    raising(DataError("here: it is wrong."), monkeypatch)
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, DataError)


def test_debug_after_two_dashes_is_a_text(world: World, call: Call) -> None:
    assert call("predict", world.labels, "--", "--debug").out.endswith("\t--debug\n")


def test_other_ends(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(error: BaseException) -> Said:
        raising(error, monkeypatch)
        return call("predict", "b", "a")

    assert (ended(KeyboardInterrupt()).code, ended(KeyboardInterrupt()).err) == (130, "error: stopped.\n")
    assert (ended(BrokenPipeError()).code, ended(BrokenPipeError()).err) == (141, "")
    for error in (MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate")):
        said = ended(error)
        assert (said.code, said.err) == (2, f"error: {command.OUT_OF_MEMORY}\n")
    full = ended(OSError(28, "No space left on device"))
    assert (full.code, full.err) == (
        2,
        "error: no space is left on the device; free some space or write to another place.\n",
    )


# Columns as files -------------------------------------------------------------------------------------------------


def test_names_that_are_taken() -> None:
    joined = join_columns({"label": [1], "label_predicted": [2]}, {"label": [3], "value": [4]}, "jsonl")
    assert joined == {"label": [1], "label_predicted": [2], "label_predicted_predicted": [3], "value": [4]}


def test_odd_values_survive(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "text": ["a\rb", 'say "x", y', "ü\u2028", " 1 ", ""],
        "list": [["a", "b"], ["a,b"], [], [1, 2], None],
        "number": [0.1234567890123, float("nan"), 3, True, None],
    }
    write(columns, str(tmp_path / "a.csv"), "csv")
    from bertwright.data.table_files import read_table

    table = read_table(tmp_path / "a.csv")
    assert table.column("text") == columns["text"]
    assert table.column("list") == ["a,b", '["a,b"]', "", "[1, 2]", ""]
    assert table.column("number") == ["0.1234567890123", "nan", "3", "True", ""]
    write(columns, str(tmp_path / "a.jsonl"), "jsonl")
    table = read_table(tmp_path / "a.jsonl")
    assert table.column("text") == columns["text"]
    assert table.column("number") == [0.1234567890123, None, 3, True, None]
    with pytest.raises(DataError, match=r'the column "number": Parquet cannot hold its values .*write \.jsonl'):
        write({"number": [1, "x"]}, str(tmp_path / "a.parquet"), "parquet")
    assert not (tmp_path / "a.parquet").exists()


def test_parquet_on_standard_output(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    class Stream:
        buffer = io.BytesIO()

    monkeypatch.setattr(sys, "stdout", Stream)
    write({"a": [1, 2]}, "-", "parquet")
    assert pq.read_table(io.BytesIO(Stream.buffer.getvalue())).to_pydict() == {"a": [1, 2]}


def test_the_bar_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80)
    with console.RowProgress(terminal, 10, "predicting") as bar:
        bar.update(5)
    assert screen.getvalue() == ""
    monkeypatch.setattr(progress, "BAR_DELAY", -1.0)
    with console.RowProgress(terminal, 10, "predicting") as bar:
        bar.update(5)
    assert "predicting" in screen.getvalue()
    assert np.isfinite(len(screen.getvalue()))


def test_a_table_on_a_terminal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from bertwright.data.example import Example

    for bundle, text, head in (
        (world.labels, "good", "label"),
        (world.multi, "good", "labels"),
        (world.pairs, ("good", "fun"), "value"),
    ):
        screen = io.StringIO()
        monkeypatch.setattr(
            console,
            "out",
            lambda screen=screen: Console(file=screen, force_terminal=True, width=80, color_system=None),
        )
        example = Example("0", text) if isinstance(text, str) else Example("0", *text)
        console.show_predictions(LabelFormat().make_table(Bundle.load(bundle).predict([text]), [example]))
        lines = screen.getvalue().splitlines()
        assert lines[0].split()[0] == head
        assert "good" in lines[2]
