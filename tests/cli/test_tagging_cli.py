"""Tagging from the command line: train, check, evaluate, predict texts and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from worlds import Call

from bertwright.cli.console import show_predictions
from bertwright.data.conll import append_column
from bertwright.data.example import Example
from bertwright.data.reader import read_dataset
from bertwright.errors import DataError
from bertwright.run.bundle import Bundle
from bertwright.tasks.formats.tags import TagFormat, _word_rows
from bertwright.tasks.spec import Prediction

CONLL = """-DOCSTART- X O

it X O
was X O
good X B-THING
film X I-THING
. X O

great X B-PER
is X O
it X O

"""
SPANS = [("good film", 7, 16, "THING"), ("great", 0, 5, "PER")]


@pytest.fixture(scope="module")
def tagger(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory, call: Call) -> Path:
    folder = tmp_path_factory.mktemp("tagger")
    (folder / "train.txt").write_text(CONLL * 40)
    (folder / "dev.txt").write_text(CONLL)
    settings = ("tokens.max_length=24", "train.batch_size=16", "train.learning_rate=1e-2", "train.threads=1")
    options = ("--model", tiny_bert, "--data", folder / "train.txt", "--dev", folder / "dev.txt", "--task", "tagging")
    said = call("train", *options, "--out", folder / "run", *settings, "train.precision=fp32", "train.length=3 epochs")
    assert said.code == 0, said.err
    assert "most frequent tag" in said.out
    assert "THING" in said.out
    return folder / "run"


@pytest.fixture
def test_file(tmp_path: Path) -> Path:
    path = tmp_path / "test.txt"
    path.write_text(CONLL)
    return path


def test_texts_give_spans_with_their_characters(tagger: Path, call: Call) -> None:
    said = call("predict", tagger, "it was good film.", "it is", "great!")
    rows = [line.split("\t") for line in said.out.splitlines()]
    assert [(*row[:4], row[5]) for row in rows] == [
        ("1", "7", "16", "THING", "good film"),
        ("3", "0", "5", "PER", "great"),
    ]
    assert all(0.5 < float(row[4]) <= 1 for row in rows)


def test_a_terminal_shows_the_text_and_its_spans(tagger: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = call("predict", tagger, "it was good film.", "it [is] it")
    assert "it was good film." in said.out
    assert "7–16  good film" in said.out
    assert "it [is] it" in said.out


def test_lines_of_standard_input(tagger: Path, call: Call) -> None:
    said = call("predict", tagger, "--input", "-", stdin="it is\ngreat it\n")
    assert said.out.startswith("2\t0\t5\tPER\t")
    said = call("predict", tagger, "--input", "-", "--output", "-", "--format", "jsonl", stdin="great it\n")
    row = json.loads(said.out)
    assert (row["text"], row["words"], row["tags"]) == ("great it", ["great", "it"], ["B-PER", "O"])
    assert row["spans"][0]["label"] == "PER"


@pytest.mark.parametrize("name", ["out.txt", "out.conll"])
def test_a_column_file_gets_one_more_column(
    tagger: Path, call: Call, test_file: Path, tmp_path: Path, name: str
) -> None:
    said = call("predict", tagger, "--input", test_file, "--output", tmp_path / name)
    assert said.code == 0, said.err
    expected = [f"{line} {line.split()[-1]}" if line else "" for line in CONLL.splitlines()]
    assert (tmp_path / name).read_text().splitlines() == expected
    assert call("predict", tagger, "--input", test_file, "--output", "-").out.splitlines() == expected


def test_the_file_may_be_read_again(tagger: Path, call: Call, test_file: Path, tmp_path: Path) -> None:
    call("predict", tagger, "--input", test_file, "--output", tmp_path / "out.conll")
    assert [row.target for row in read_dataset(tmp_path / "out.conll", kind="tagging")] == [
        row.target for row in read_dataset(test_file, kind="tagging")
    ]


def test_conll_u_keeps_its_lines(tagger: Path, call: Call, tmp_path: Path) -> None:
    def line(*cells: str) -> str:
        return "\t".join([*cells, *"________"[len(cells) - 2 :]])

    words = [line(str(i), word) for i, word in enumerate(["it", "was", "good", "film", "."], 1)]
    lines = ["# sent_id = 1", *words[:2], line("3-4", "goodfilm"), *words[2:], ""]
    (tmp_path / "a.conllu").write_text("\n".join(lines) + "\n")
    said = call("predict", tagger, "--input", tmp_path / "a.conllu", "--output", tmp_path / "b.conllu")
    assert said.code == 0, said.err
    written = (tmp_path / "b.conllu").read_text().splitlines()
    assert [row.split("\t")[-1] for row in written] == [
        "# sent_id = 1",
        *("O", "O", "_", "B-THING", "I-THING", "O", ""),
    ]
    assert [row.rpartition("\t")[0] or row for row in written] == lines


def test_json_lines_hold_words_tags_and_spans(tagger: Path, call: Call, test_file: Path, tmp_path: Path) -> None:
    said = call("predict", tagger, "--input", test_file, "--output", tmp_path / "out.jsonl")
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["tags"] for row in rows] == [["O", "O", "B-THING", "I-THING", "O"], ["B-PER", "O", "O"]]
    for row, (text, start, end, label) in zip(rows, SPANS, strict=True):
        found = row["spans"][0]
        assert (found["text"], found["start"], found["end"], found["label"]) == (text, start, end, label)
        assert row["text"][start:end] == text
        assert row["text"] == " ".join(row["words"])


def test_a_table_keeps_its_columns(tagger: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"nr": 7, "text": "it was great.", "tags": "old"}\n')
    said = call("predict", tagger, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert said.code == 0, said.err
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert (row["nr"], row["tags"], row["tags_predicted"]) == (7, "old", ["O", "O", "B-PER", "O"])
    said = call("predict", tagger, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.conll")
    assert (tmp_path / "out.conll").read_text() == "it O\nwas O\ngreat B-PER\n. O\n\n"


def test_plain_text_is_a_text_a_line(tagger: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("it was great .\nit was good film .\n")
    said = call("predict", tagger, "--input", tmp_path / "in.txt", "--output", "-", "--format", "conll")
    assert "great B-PER\n. O\n\nit O\nwas O\ngood B-THING\nfilm I-THING\n. O\n\n" in said.out
    assert "read as one text per line" in said.err


def test_evaluate_has_a_row_a_class(tagger: Path, call: Call, test_file: Path) -> None:
    said = call("evaluate", tagger, "--data", test_file)
    assert said.code == 0, said.err
    assert [line.split()[:4] for line in said.out.splitlines() if line.startswith(("PER", "THING"))] == [
        ["PER", "1.000", "1.000", "1.000"],
        ["THING", "1.000", "1.000", "1.000"],
    ]
    figures = json.loads(call("evaluate", tagger, "--data", test_file, "--json", "-").out)
    assert figures["metrics"]["test"]["span_f1"] == 1.0
    assert figures["per_class"]["test"]["PER"]["support"] == 1


def test_inspect_and_check(tagger: Path, call: Call, tiny_bert: Path, test_file: Path) -> None:
    said = call("inspect", tagger)
    assert "tagging, 5 labels: O, B-PER, I-PER, B-THING, I-THING" in said.out
    assert "N × 5" in said.out
    settings = ("conll2003", f"data.train={test_file}", f"data.dev={test_file}", f"model.base={tiny_bert}")
    said = call("check", *settings, "tokens.max_length=24", "train.threads=1")
    assert said.code == 0, said.out + said.err
    assert "tagging, 5 labels" in said.out
    assert "B-THING" in said.out
    assert "truncated" not in said.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{run}", "--input", "{file}", "--output", "{folder}/a.xlsx"], ".parquet, .conll, or add --format"),
        (["{run}", "--input", "{folder}/none.conll"], "none.conll"),
        (["{run}", "--input", "{folder}/bad.jsonl", "--output", "{folder}/a.conll"], "a word is empty or holds a tab"),
    ],
)
def test_mistakes(tagger: Path, call: Call, test_file: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "bad.jsonl").write_text('{"words": ["a\\tb"]}\n')
    said = call("predict", *(word.format(run=tagger, file=test_file, folder=tmp_path) for word in arguments))
    assert said.code == 2
    assert says in said.err


def test_a_classifier_writes_no_column_files(world: object, call: Call, tmp_path: Path) -> None:
    labels = world.labels  # type: ignore[attr-defined]
    said = call("predict", labels, "a film", "--output", tmp_path / "a.txt")
    assert "no format has the suffix .txt" in said.err
    said = call("predict", labels, "a film", "--output", tmp_path / "a.txt", "--format", "conll")
    assert "the format conll is for tagged words" in said.err


def test_plain_tags_are_shown_a_word_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    examples = [Example("0", "it is"), Example("1", "New York", words=((0, 8),))]
    predictions = [Prediction("0", tags=("PR", "VB")), Prediction("1", tags=("NN",))]
    show_predictions(TagFormat(plain=True).make_table(predictions, examples))
    assert capsys.readouterr().out == "it\tPR\nis\tVB\n\nNew York\tNN\n\n"


def test_a_column_of_another_length_is_refused(test_file: Path) -> None:
    with pytest.raises(DataError, match="has 8 words but got 1 value"):
        list(append_column(test_file, ["O"]))


@pytest.mark.parametrize("command", ["check", "train"])
def test_an_odd_tag_is_named(command: str, tiny_bert: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "train.txt").write_text(CONLL * 12 + CONLL.replace("B-PER", "B_PER"))
    (tmp_path / "dev.txt").write_text(CONLL)
    options = ("--model", tiny_bert, "--data", tmp_path / "train.txt", "--dev", tmp_path / "dev.txt")
    settings = ("tokens.max_length=24", "train.length=1 step", "train.threads=1", "train.precision=fp32")
    out = ("--out", tmp_path / "run") if command == "train" else ()
    said = call(command, *options, "--task", "tagging", *out, *settings)
    assert said.code == 0, said.err
    words = " ".join((said.out + said.err).split())
    assert 'does not fit the BIO and BIOES schemes: "B_PER" (1)' in words
    assert 'write "B_PER" as "B-PER"' in words


def test_uncertainty_of_texts(tagger: Path, test_file: Path, tmp_path: Path, call: Call) -> None:
    prediction = Bundle.load(tagger).predict("it was good film.")[0]
    cells = [f"{prediction.entropy:.4f}", f"{prediction.margin:.4f}"]
    assert prediction.entropy is not None
    assert 0 < prediction.entropy < 1.7
    rows = [
        line.split("\t")
        for line in call("predict", tagger, "it was good film.", "it is", "--uncertainty").out.splitlines()
    ]
    assert (rows[0][5:7], rows[0][7]) == (cells, "good film")
    assert rows[1][:5] == ["2", "", "", "", ""], "a text without spans has a line too"
    out = call("predict", tagger, "--input", test_file, "--output", "-", "--format", "jsonl", "--uncertainty").out
    assert [{"entropy", "margin"} <= json.loads(line).keys() for line in out.splitlines()] == [True, True]
    said = call("predict", tagger, "--input", test_file, "--output", tmp_path / "tagged.txt", "--uncertainty")
    assert (said.code, said.err) == (
        2,
        "error: predict: the format conll has no columns for --uncertainty; choose csv, tsv, jsonl, parquet.\n",
    )
    assert not (tmp_path / "tagged.txt").exists()


def test_uncertainty_on_a_terminal(tagger: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "  entropy 0." in call("predict", tagger, "it was good film.", "--uncertainty").out
    cells = [["0.2500", "0.5000"], []]
    assert list(_word_rows(["a b\tNN", "c\tVB", "", "d NN", ""], [cells[0], cells[1]])) == [
        ["a b", "NN", "0.2500", "0.5000"],
        ["c", "VB", "0.2500", "0.5000"],
        [""],
        ["d NN"],
        [""],
    ]
    assert next(_word_rows(["d NN", ""], cells)) == ["d", "NN", "0.2500", "0.5000"]


def test_sentences_are_selected(tagger: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "new.txt").write_text(CONLL + "film X O\nfun X O\n\ngreat X O\nplot X O\n", encoding="utf-8")
    said = call("select", tagger, 2, "--input", tmp_path / "new.txt", "--output", "-", "--format", "jsonl")
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert sorted(row["text"] for row in rows) == ["film fun", "great plot"]
    assert "note: 2 rows skipped: in the data of the run" in said.err
