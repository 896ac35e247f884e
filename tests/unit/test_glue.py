"""GLUE files: each task's columns and labels, what is skipped and counted, what is refused, what is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertwright.data import glue
from bertwright.data.folders import detect_layout, list_splits
from bertwright.data.glue import TASKS, read_glue, write_submission
from bertwright.data.reader import ColumnNames, read_dataset
from bertwright.errors import DataError
from bertwright.output.plurals import pluralize

MNLI_HEADER = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\t"
    "sentence1\tsentence2\tlabel1\tgold_label"
)
# A few lines of each task in its official form, and the first example they hold: text, pair, target, id.
FILES = {
    "cola": ("train", 'x1\t1\t\tHe "ran.\nx1\t0\t*\tRan he.\n', 'He "ran.', None, "acceptable", "0"),
    "sst2": ("dev", "sentence\tlabel\na fine film \t1\n", "a fine film ", None, "positive", "0"),
    "mrpc": (
        "train",
        '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n0\t7\t8\t" a\tb\r\n',
        '" a', "b", "not_equivalent", "0",
    ),
    "qqp": (
        "train",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n9\t1\t2\ta?\tb?\t1\n",
        "a?", "b?", "duplicate", "9",
    ),
    "stsb": (
        "dev",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tg\tf\t2012\t1\ts\ts\ta\tb\t3.25\n",
        "a", "b", 3.25, "0",
    ),
    "mnli": (
        "train",
        f"{MNLI_HEADER}\n5\tp\tq\tg\t_\t_\t_\t_\ta\tb\tneutral\tcontradiction\n",
        "a", "b", "contradiction", "5",
    ),
    "qnli": ("train", "index\tquestion\tsentence\tlabel\n3\ta\tb\tnot_entailment\n", "a", "b", "not_entailment", "3"),
    "rte": ("train", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n", "a", "b", "entailment", "0"),
    "wnli": ("train", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t0\n", "a", "b", "not_entailment", "0"),
    "ax": ("test", "index\tsentence1\tsentence2\n0\ta\tb\n", "a", "b", None, "0"),
}  # fmt: skip


def put(folder: Path, name: str, content: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode())
    return folder / name


@pytest.mark.parametrize("task", FILES)
def test_every_task(tmp_path: Path, task: str) -> None:
    split, content, text, pair, target, name = FILES[task]
    spec = TASKS[task]
    folder = tmp_path / spec.directory
    file = put(folder, spec.file(split), content)
    assert detect_layout(folder) == detect_layout(file) == task
    assert list_splits(folder) == (split,)
    rows = read_dataset(folder, kind=spec.kind, split=split)
    assert (rows[0].text, rows[0].text_pair, rows[0].target, rows[0].id) == (text, pair, target, name)
    assert rows[0].where == f"{file}:{1 if task == 'cola' else 2}"
    assert rows.labels == (spec.label_names or None)
    assert (rows.report.layout, rows.report.split) == (task, split)
    assert rows.report.notes == (
        f"{file}: has {pluralize(len(rows), 'row')}; the published {spec.directory} {split} has {spec.rows[split]:,}",
    )
    assert read_dataset(file, kind=spec.kind).examples == rows.examples
    assert read_dataset(file, ColumnNames(label=()), kind=spec.kind).targets == [None] * len(rows)
    assert read_glue(folder, spec.directory, split).report.fingerprint == rows.report.fingerprint


def test_labels_may_be_names_already(tmp_path: Path) -> None:
    file = put(tmp_path, "any.tsv", "sentence\tlabel\na\tpositive\nb\t0\n")
    rows = read_glue(file, "sst2")
    assert rows.targets == ["positive", "negative"]
    assert rows.report.split is None
    assert rows.report.notes == ()


def test_label_order_is_the_hubs() -> None:
    assert TASKS["mnli"].label_names == TASKS["ax"].label_names == ("entailment", "neutral", "contradiction")
    assert TASKS["rte"].label_names == TASKS["qnli"].label_names == ("entailment", "not_entailment")
    assert TASKS["wnli"].label_names == ("not_entailment", "entailment")
    assert TASKS["stsb"].kind == "regression"


def test_short_rows_of_qqp_are_skipped_and_counted(tmp_path: Path) -> None:
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    folder = tmp_path / "QQP"
    put(folder, "train.tsv", f"{header}1\t1\t2\ta\tb\t1\n2\t3\t4\tbroken\n\n3\t1\t2\tc\td\t0\n")
    rows = read_glue(folder, "qqp")
    assert [row.id for row in rows] == ["1", "3"]
    assert rows[1].where.endswith("train.tsv:5")
    assert rows.report.skipped == {"fewer columns than the header": 1, "blank line": 1}
    put(folder, "train.tsv", f"{header}1\t1\t2\ta\tb\t1\textra\n")
    with pytest.raises(
        DataError, match=r"train\.tsv:2: expected 6 columns, found 7; check whether the file is damaged"
    ):
        read_glue(folder, "qqp")


def test_mnli_splits_and_missing_gold_labels(tmp_path: Path) -> None:
    folder = tmp_path / "MNLI"
    row = "p\tq\tg\t_\t_\t_\t_\ta\tb\t-\t"
    for name in ("dev_matched.tsv", "dev_mismatched.tsv"):
        put(folder, name, f"{MNLI_HEADER}\n0\t{row}neutral\n1\t{row}-\n")
    put(folder, "test_matched.tsv", "index\tsentence1\tsentence2\n0\ta\tb\n")
    assert list_splits(folder) == ("dev_matched", "dev_mismatched", "test_matched")
    rows = read_dataset(folder, split="dev")
    assert rows.report.split == "dev_matched"
    assert rows.report.skipped == {"no gold label (-)": 1}
    assert read_dataset(folder, split="dev_mismatched").targets == ["neutral"]
    assert read_dataset(folder, split="test").targets == [None]
    with pytest.raises(DataError, match=r'MNLI has no split dev_match; did you mean "dev_matched"'):
        read_dataset(folder, split="dev_match")
    with pytest.raises(DataError, match=r"train\.tsv: no such file; known: dev_matched"):
        read_dataset(folder, split="train")


def test_ids_that_repeat_give_way_to_row_numbers(tmp_path: Path) -> None:
    file = put(tmp_path / "RTE", "train.tsv", "index\tsentence1\tsentence2\tlabel\n" + "7\ta\tb\tentailment\n" * 2)
    rows = read_glue(file, "rte")
    assert [row.id for row in rows] == ["0", "1"]
    assert rows.report.columns.id is None


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        (
            "sst2",
            "text\tlabel\na\t1\n",
            r"train\.tsv:1: is not the header of a SST-2 file: .*sentence, label, found text",
        ),
        ("sst2", "sentence\ta\n", r"expected the tab-separated columns sentence, label, found sentence, a"),
        ("cola", "x\tmaybe\t\tHe ran.\n", r"train\.tsv:1: is not the header of a CoLA file"),
        (
            "sst2",
            "sentence\tlabel\na\t1\nb\t2\n",
            r'train\.tsv:3: unknown label "2"; expected one of negative, positive, 0, 1',
        ),
        ("rte", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t-\n", r'train\.tsv:2: unknown label "-"'),
        ("sst2", "sentence\tlabel\n", r"train\.tsv: has a header but no rows"),
        ("sst2", "sentence\tlabel\na\t1\tx\n", r"train\.tsv:2: expected 2 columns, found 3"),
        ("stsb", "sentence1\tsentence2\tscore\na\tb\tnan\n", r'train\.tsv:2: the score "nan" is not a number'),
        ("stsb", "sentence1\tsentence2\tscore\na\tb\tx\n", r'train\.tsv:2: the score "x" is not a number'),
    ],
)
def test_wrong_files(tmp_path: Path, task: str, content: str, message: str) -> None:
    put(tmp_path, "train.tsv", content)
    with pytest.raises(DataError, match=message):
        read_glue(tmp_path, task)


def test_wrong_questions(tmp_path: Path) -> None:
    file = put(tmp_path / "SST-2", "test.tsv", "index\tsentence\n0\ta\n")
    with pytest.raises(
        DataError, match=r"test\.tsv: has no column label; the labels of GLUE's test sets are not public"
    ):
        read_dataset(file, need_target=True)
    with pytest.raises(DataError, match=r"SST-2 is a classification task, found regression; set task\.kind=classif"):
        read_dataset(file, kind="regression")
    with pytest.raises(DataError, match='unknown GLUE task "sst-3"; did you mean "sst2"'):
        read_glue(file, "sst-3")
    assert glue.find_glue_task("diagnostic") is TASKS["ax"]
    assert glue.find_glue_task("STS-B") is TASKS["stsb"]


def test_a_folder_by_another_name_is_told_by_its_contents(tmp_path: Path) -> None:
    for task in ("cola", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte"):
        split, content, *_ = FILES[task]
        put(tmp_path / f"my {task} files", f"{split}.tsv", content)
        assert detect_layout(tmp_path / f"my {task} files") == task


def test_what_anyone_may_have_is_no_benchmark(tmp_path: Path) -> None:
    """0 and 1 in a user's own file must not be called negative and positive, or not_entailment."""
    own = put(tmp_path / "mine", "train.tsv", "sentence\tlabel\nbuy now\t1\n")
    assert detect_layout(own) is None
    assert read_dataset(own).targets == ["1"]
    pairs = put(tmp_path / "pairs", "train.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n")
    assert detect_layout(pairs.parent) is None
    whole = "index\tsentence1\tsentence2\tlabel\n" + "".join(f"{i}\ta\tb\t{i % 2}\n" for i in range(635))
    put(tmp_path / "pairs", "train.tsv", whole)
    assert detect_layout(pairs.parent) == "wnli"
    assert detect_layout(put(tmp_path / "SST-2", "mine.tsv", "sentence\tlabel\na\t1\n")) is None
    assert detect_layout(put(tmp_path / "none", "train.tsv", "\n")) is None
    assert detect_layout(tmp_path / "nowhere") is None
    put(tmp_path / "SST-2", "dev.tsv", "text\tlabel\na\t1\n")
    assert read_dataset(tmp_path / "SST-2" / "dev.tsv", ColumnNames("text", label="label")).targets == ["1"]


class TestSubmission:
    @pytest.mark.parametrize(
        ("task", "split", "file", "prediction", "line"),
        [
            ("cola", "test", "CoLA.tsv", "acceptable", "1"),
            ("mrpc", "test", "MRPC.tsv", "not_equivalent", "0"),
            ("wnli", "test", "WNLI.tsv", "1", "1"),
            ("rte", "test", "RTE.tsv", "not_entailment", "not_entailment"),
            ("mnli", "test", "MNLI-m.tsv", "neutral", "neutral"),
            ("mnli", "test_mismatched", "MNLI-mm.tsv", "contradiction", "contradiction"),
            ("ax", "test", "AX.tsv", "entailment", "entailment"),
            ("stsb", "test", "STS-B.tsv", 5.7, "5.000"),
            ("stsb", "test", "STS-B.tsv", -0.1, "0.000"),
            ("stsb", "test", "STS-B.tsv", 2.34567, "2.346"),
        ],
    )
    def test_to_the_letter(
        self, tmp_path: Path, task: str, split: str, file: str, prediction: str | float, line: str
    ) -> None:
        spec = TASKS[task]
        n = spec.rows[spec.aliases.get(split, split)]
        path = write_submission(task, [prediction] * n, tmp_path, split)
        assert path == tmp_path / file
        assert path.read_bytes().decode() == "index\tprediction\n" + "".join(f"{i}\t{line}\n" for i in range(n))

    def test_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"WNLI: expected 146 predictions, one for each row of test\.tsv, found 2"):
            write_submission("wnli", ["entailment"] * 2, tmp_path)
        with pytest.raises(
            DataError, match="WNLI: prediction 0 is 'neutral'; expected one of not_entailment, entailment"
        ):
            write_submission("wnli", ["neutral"] * 146, tmp_path)
        with pytest.raises(DataError, match="STS-B: prediction 0 is nan; expected a number"):
            write_submission("stsb", [float("nan")] * 1379, tmp_path)
        with pytest.raises(DataError, match="MNLI: has no test split dev_matched"):
            write_submission("mnli", [], tmp_path, "dev")
        assert not list(tmp_path.iterdir())
