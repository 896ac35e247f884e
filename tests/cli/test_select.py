"""``bertwright select`` and ``predict --uncertainty``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from worlds import Call, World

from bertwright.data.table_files import read_table
from bertwright.run.bundle import Bundle

FORMATS = ("csv", "tsv", "jsonl", "parquet")


def write_new(path: Path, n: int = 40, start: int = 0) -> Path:
    lines = [f"{start + i},{'the film is ' * (i % 3)}{'abcdefghij'[i % 10]} {start + i},é{i}" for i in range(n)]
    path.write_text("\n".join(["nr,review,note", *lines]) + "\n", encoding="utf-8")
    return path


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("format_", FORMATS)
def test_uncertainty_in_every_format(world: World, call: Call, tmp_path: Path, format_: str) -> None:
    output = tmp_path / f"scored.{format_}"
    reviews = world.folder / "reviews.csv"
    said = call("predict", world.labels, "--input", reviews, "--output", output, "--uncertainty")
    assert said.code == 0, said.err
    table = read_table(output)
    assert table.names[-4:] == ["probability_neg", "probability_pos", "entropy", "margin"]
    predictions = Bundle.load(world.labels).predict([row["review"] for row in rows_of(reviews.read_text("utf-8"))])
    for name in ("entropy", "margin"):
        values = [float(value) for value in table.column(name)]
        assert values == pytest.approx([getattr(prediction, name) for prediction in predictions], abs=1e-5)


def test_uncertainty_on_the_terminal_and_of_several_labels(
    world: World, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction = Bundle.load(world.labels).predict("a great film")[0]
    said = call("predict", world.labels, "a great film", "--uncertainty")
    cells = said.out.rstrip("\n").split("\t")
    assert cells[2:] == [f"{prediction.entropy:.4f}", f"{prediction.margin:.4f}", "a great film"]
    row = rows_of(
        call(*("predict", world.multi, "--input", world.folder / "multi.csv", "--output", "-"), "--uncertainty").out
    )[0]
    probabilities = [float(row[f"probability_{name}"]) for name in ("good", "long")]
    assert float(row["margin"]) == pytest.approx(min(abs(p - 0.5) for p in probabilities), abs=1e-5)
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = call("predict", world.labels, "a great film", "--uncertainty").out
    assert shown.index("probability") < shown.index("entropy") < shown.index("margin") < shown.index("text")
    assert f"{prediction.entropy:.4f}" in shown


def test_where_uncertainty_is_refused(world: World, call: Call, tmp_path: Path) -> None:
    said = call("predict", world.pairs, "good", "--pair", "fun", "--uncertainty")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        f"error: {world.pairs}: its task is regression, for which entropy and margin are not defined; "
        "remove --uncertainty.\n"
    )
    said = call(
        *("predict", world.labels, "--input", world.folder / "new.csv", "--submission", tmp_path, "--uncertainty")
    )
    assert said.err == "error: predict: --submission and --uncertainty cannot be combined; remove one.\n"


@pytest.mark.parametrize("strategy", ["diverse", "uncertainty", "random"])
@pytest.mark.parametrize("format_", FORMATS)
def test_rows_are_selected_from_files(world: World, call: Call, tmp_path: Path, strategy: str, format_: str) -> None:
    first, second = write_new(tmp_path / "a.csv"), write_new(tmp_path / "b.csv", start=100)
    output = tmp_path / f"picked.{format_}"
    arguments = ("select", world.labels, 12, "--input", first, "--input", second, "--strategy", strategy)
    said = call(*arguments, "--output", output)
    assert (said.code, said.out, said.err) == (0, "", f"12 of 80 rows in {output}\n")
    table = read_table(output)
    assert table.names == ["nr", "review", "note", "source", "entropy", "margin"]
    originals = {row["nr"]: row for path in (first, second) for row in rows_of(path.read_text("utf-8"))}
    numbers = [str(number) for number in table.column("nr")]
    assert len(set(numbers)) == 12
    for name in ("review", "note"):
        assert list(table.column(name)) == [originals[number][name] for number in numbers]
    places = [f"{first if int(n) < 100 else second}:{int(n) % 100 + 2}" for n in numbers]
    assert list(table.column("source")) == places
    predictions = Bundle.load(world.labels).predict([originals[number]["review"] for number in numbers])
    assert [float(value) for value in table.column("entropy")] == pytest.approx(
        [p.entropy for p in predictions], abs=1e-5
    )
    before = output.read_bytes()
    assert call(*arguments, "--output", output, "--overwrite").code == 0
    assert output.read_bytes() == before, "the same seed gives the same bytes"
    if strategy == "uncertainty":
        entropies = [float(value) for value in table.column("entropy")]
        assert entropies == sorted(entropies, reverse=True)


def test_labeled_rows_and_duplicates_are_reported(world: World, call: Call, tmp_path: Path) -> None:
    labeled = (world.folder / "reviews.csv").read_text("utf-8").splitlines()[1].split(",")[1]
    path = tmp_path / "new.csv"
    path.write_text(f"review\n{labeled}\nabc\nabc\nxyz\n", encoding="utf-8")
    said = call("select", world.labels, 2, "--input", path, "--output", "-")
    assert said.err == (
        "note: 1 row skipped: in the data of the run\nnote: 1 row skipped: duplicates of other candidates\n"
    )
    assert sorted(row["review"] for row in rows_of(said.out)) == ["abc", "xyz"]


def test_streams_and_rows_with_other_columns(world: World, call: Call, tmp_path: Path) -> None:
    content = write_new(tmp_path / "a.csv").read_bytes()
    said = call("select", world.labels, 3, "--input", "-", "--input-format", "csv", "--output", "-", stdin=content)
    assert said.code == 0, said.err
    assert [row["source"].partition(":")[0] for row in rows_of(said.out)] == ["standard input"] * 3
    said = call("select", world.labels, 2, "--input", "-", "--output", "-", "--format", "jsonl", stdin="abc\nxyz\n")
    assert sorted(json.loads(line)["text"] for line in said.out.splitlines()) == ["abc", "xyz"]
    for name, extra in (("p", {"entropy": "mine"}), ("q", {"more": [1]})):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"review": name * 3, **extra}) + "\n", encoding="utf-8")
    files = ("--input", tmp_path / "p.jsonl", "--input", tmp_path / "q.jsonl")
    said = call("select", world.labels, 2, *files, "--output", "-")
    rows = {row["review"]: row for row in map(json.loads, said.out.splitlines())}
    assert rows["ppp"]["entropy"] == "mine"
    assert isinstance(rows["ppp"]["entropy_predicted"], float)
    assert (rows["ppp"]["more"], rows["qqq"]["more"], rows["qqq"]["entropy"]) == (None, [1], None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{labels}", "99", "--input", "{new}", "--output", "{out}.csv"], "select: N is 99, but only 40 of 40 rows"),
        (["{pairs}", "1", "--input", "{new}", "--output", "{out}.csv"], "its task is regression, for which entropy"),
        (["{labels}", "1", "--input", "{f}/no.csv", "--output", "{out}.csv"], "no.csv: no such file"),
        (["{labels}", "1", "--input", "{new}", "--text", "x", "--output", "{out}.csv"], 'there is no column "x"'),
        (["{labels}", "1", "--input", "{new}", "--output", "{out}.xlsx"], "no format has the suffix .xlsx"),
        (["{labels}", "1", "--input", "{new}", "--output", "{new}"], "already exists; choose another file"),
        (["{labels}", "1", "--input", "{new}", "--input", "{bad}", "--output", "{out}.csv"], "bad.csv:3: expected"),
    ],
)
def test_mistakes_are_one_sentence(
    world: World, call: Call, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "bad.csv").write_text("nr,review,note\n1,good,x\n2\n", encoding="utf-8")
    places = {"labels": world.labels, "pairs": world.pairs, "f": tmp_path, "out": tmp_path / "out"}
    places |= {"new": write_new(tmp_path / "new.csv"), "bad": tmp_path / "bad.csv"}
    said = call("select", *(argument.format(**places) for argument in arguments))
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) == 1
    assert message in said.err
    assert not list(tmp_path.glob("*out*"))


def test_usage_errors(world: World, call: Call) -> None:
    for arguments in (["0", "--input", "x", "--output", "-"], ["1", "--output", "-"], ["1", "--input", "x"]):
        said = call("select", world.labels, *arguments)
        assert said.code == 2
        assert "Error" in said.err
