"""Which rows a run trains on, evaluates during training, and evaluates at the end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bertwright.corpus.corpus_split import CorpusSplit
from bertwright.data.settings import DataSettings
from bertwright.data.split_names import name_splits, parse_split_name
from bertwright.errors import DataError, RecipeError
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.splits import Splits, load_splits
from bertwright.tokenization.tokenizer import Tokenizer


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rows(n: int, first: int = 0) -> list[str]:
    return [f"row {i},{'ab'[i % 2]}" for i in range(first, first + n)]


def table(path: Path, n: int, first: int = 0) -> Path:
    return write(path, "text,label", *rows(n, first))


def load(kind: str = "classification", sources: dict[str, Any] | None = None, **settings: Any) -> Splits:
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    return load_splits(DataSettings(**settings), kind, sources)


def sizes(splits: Splits) -> dict[str, int]:
    return {name: len(part) for name, part in splits.all().items()}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        (" Training ", "train"),
        ("VAL", "dev"),
        ("valid", "dev"),
        ("validation_matched", "dev_matched"),
        ("test-seen", "test_seen"),
        ("train_r1", None),
        ("unsupervised", None),
        ("", None),
    ],
)
def test_names_of_splits(name: str, split: str | None) -> None:
    assert parse_split_name(name) == split


def test_splits_are_put_in_order_and_the_usual_spelling_wins() -> None:
    names = ["test", "validation_mismatched", "valid", "dev", "validation_matched", "extra", "train"]
    assert name_splits(names) == {
        "train": "train",
        "dev": "dev",
        "dev_mismatched": "validation_mismatched",
        "dev_matched": "validation_matched",
        "test": "test",
    }


class TestTestSplitsWithoutLabels:
    @pytest.mark.parametrize("whole", [True, False])
    def test_without_the_column(self, tmp_path: Path, whole: bool) -> None:
        train = table(tmp_path / "train.csv", 20)
        test = write(tmp_path / "test.csv", "id,text", "1,row x", "2,row y")
        splits = load(path=tmp_path) if whole else load(train=train, test=test)
        assert sizes(splits) == {"train": 16, "dev": 4}
        assert splits.notes[0] == (
            f"test: the 2 rows of {test} have no labels, so the test split is ignored; "
            "predict them with `bertwright predict`"
        )

    @pytest.mark.parametrize("cell", ["", "-1", "?"])
    def test_with_placeholders(self, tmp_path: Path, cell: str) -> None:
        table(tmp_path / "train.csv", 20)
        write(tmp_path / "test.csv", "text,label", f"row x,{cell}", f"row y,{cell}")
        assert sizes(load(path=tmp_path)) == {"train": 16, "dev": 4}

    def test_minus_one_is_a_label_where_train_has_it(self, tmp_path: Path) -> None:
        lines = [f"row {i},{(-1, 1)[i % 2]}" for i in range(20)]
        write(tmp_path / "train.csv", "text,label", *lines)
        write(tmp_path / "test.csv", "text,label", "row x,-1", "row y,-1")
        assert load(path=tmp_path).test["test"].targets == ["-1", "-1"]

    def test_regression(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv", "text,label", *(f"row {i},{i / 4}" for i in range(20)))
        write(tmp_path / "test.csv", "text,label", "row x,-1", "row y,-1.0")
        assert load("regression", path=tmp_path).test == {}

    def test_several_label_columns(self, tmp_path: Path) -> None:
        write(tmp_path / "train.csv", "text,good,long", *(f"row {i},{i % 2},{i % 3 % 2}" for i in range(20)))
        write(tmp_path / "test.csv", "text", "row x")
        assert load("multilabel", path=tmp_path).test == {}

    def test_tags_and_answers(self, tmp_path: Path) -> None:
        tagged = [json.dumps({"tokens": ["in", "Bonn"], "tags": ["O", "B-LOC"], "id": i}) for i in range(10)]
        write(tmp_path / "ner" / "train.jsonl", *tagged)
        write(tmp_path / "ner" / "test.jsonl", json.dumps({"tokens": ["in", "Rome"]}))
        assert load("tagging", path=tmp_path / "ner").test == {}
        asked = {"context": "Oslo is far.", "question": "What is far?"}
        answers = {"text": ["Oslo"], "answer_start": [0]}
        questions = [json.dumps({**asked, "context": f"Oslo {i}", "id": i, "answers": answers}) for i in range(10)]
        write(tmp_path / "qa" / "train.jsonl", *questions)
        write(tmp_path / "qa" / "test.jsonl", json.dumps(asked))
        assert load("qa", path=tmp_path / "qa").test == {}

    @pytest.mark.parametrize("cell", ["", "-1"])
    def test_a_partly_labelled_one_is_an_error(self, tmp_path: Path, cell: str) -> None:
        table(tmp_path / "train.csv", 20)
        write(tmp_path / "test.csv", "text,label", "row x,a", f"row y,{cell}", "row z,b")
        with pytest.raises(DataError, match=r"test\.csv:3: no label, as in 1 of the 3 rows of the test split; label"):
            load(path=tmp_path)

    def test_glue_files(self, tmp_path: Path) -> None:
        write(tmp_path / "SST-2" / "train.tsv", "sentence\tlabel", *(f"row {i}\t{i % 2}" for i in range(10)))
        test = write(tmp_path / "SST-2" / "test.tsv", "index\tsentence", "0\trow x")
        splits = load(train=tmp_path / "SST-2" / "train.tsv", test=test)
        assert splits.test == {}
        assert any(note.startswith("test: the 1 rows") for note in splits.notes)


class TestDataSets:
    @pytest.fixture
    def data(self) -> Any:
        import datasets

        features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["a", "b"]))

        def part(n: int, label: int | None = None) -> Any:
            labels = [i % 2 if label is None else label for i in range(n)]
            return datasets.Dataset.from_dict({"text": [f"row {n} {i}" for i in range(n)], "label": labels}, features)

        return datasets.DatasetDict(train=part(20), validation=part(6), test=part(3, -1), extra=part(2, -1))

    def test_saved(self, data: Any, tmp_path: Path) -> None:
        data.save_to_disk(tmp_path / "saved")
        for name in (str(tmp_path / "saved"), f"hub:{tmp_path / 'saved'}"):
            splits = load(path=name)
            assert sizes(splits) == {"train": 20, "dev": 6}
            assert splits.notes[0] == f"{name}: splits that are not used: extra"
            assert "test: the 3 rows of hub:" in splits.notes[1]
            splits = load(train=name)
            assert sizes(splits) == {"train": 20, "dev": 6}
            assert splits.notes == (
                f"no dev rows are named: those of {name} are used (dev)",
                f"{name}: its test split is not used; data.path={name} uses all splits",
            )
        assert sizes(load(train=f"hub:{tmp_path / 'saved'}:train")) == {"train": 16, "dev": 4}  # this split alone
        assert sizes(load(path=f"hub:{tmp_path / 'saved'}:train")) == {"train": 16, "dev": 4}

    def test_in_memory(self, data: Any) -> None:
        assert sizes(load(sources=data)) == {"train": 20, "dev": 6}
        assert sizes(load(sources={"train": data})) == {"train": 20, "dev": 6}
        assert sizes(load(sources={"train": data, "dev": data["train"]})) == {"train": 20, "dev": 20}
        assert sizes(load(sources={"train": data["train"], "validation": data})) == {"train": 20, "dev": 6}
        with pytest.raises(DataError, match="data: vaildation is no split; expected train, dev"):
            load(sources={"train": data["train"], "vaildation": data})

    def test_a_row_without_a_label_is_named_with_its_split(self, data: Any, tmp_path: Path) -> None:
        data["test"] = data["test"].map(lambda row, i: {"label": None if i == 1 else 0}, with_indices=True)
        data.save_to_disk(tmp_path / "saved")
        with pytest.raises(DataError, match=r"saved:test\[1\]: no label, as in 1 of the 3 rows of the test split"):
            load(path=tmp_path / "saved")
        data["validation"] = data["validation"].map(lambda row, i: {"label": None if i == 2 else 0}, with_indices=True)
        with pytest.raises(DataError, match=r"DatasetDict:validation\[2\]: "):
            load(sources={"train": data})

    def test_rows_that_are_declared_to_have_no_label_are_skipped(self, data: Any, tmp_path: Path) -> None:
        data["test"] = data["test"].map(lambda row, i: {"label": -1 if i == 1 else 0}, with_indices=True)
        data.save_to_disk(tmp_path / "saved")
        splits = load(path=tmp_path / "saved")
        assert sizes(splits)["test"] == 2
        assert splits.test["test"].report.skipped == {'no label ("-1")': 1}

    def test_no_train_split(self, data: Any, tmp_path: Path) -> None:
        data["train_r1"] = data.pop("train")
        data.save_to_disk(tmp_path / "saved")
        with pytest.raises(DataError, match=r"saved has no train split \(it has dev, test\); name the training rows"):
            load(path=f"hub:{tmp_path / 'saved'}")
        assert sizes(load(train=f"hub:{tmp_path / 'saved'}:train_r1", dev=tmp_path / "saved"))["dev"] == 6

    def test_a_damaged_list_of_splits(self, tmp_path: Path) -> None:
        write(tmp_path / "saved" / "dataset_dict.json", '{"splits": 3}')
        with pytest.raises(DataError, match=r"dataset_dict\.json: expected"):
            load(path=tmp_path / "saved")


def test_dev_rows_beside_the_training_rows_are_used(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", 20)
    table(tmp_path / "validation.csv", 4)
    assert sizes(load(train=tmp_path)) == {"train": 20, "dev": 4}
    assert sizes(load(train=tmp_path / "train.csv")) == {"train": 16, "dev": 4}


class TestClassFolders:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for part in ("learn", "judge"):
            for i in range(10):
                write(tmp_path / part / ("good", "bad")[i % 2] / f"{i}.txt", f"{part} {i}")
        return tmp_path

    def test_any_folder_may_be_dev_or_test(self, folder: Path) -> None:
        splits = load(train=folder / "learn", dev=folder / "judge", test=folder / "judge")
        assert sizes(splits) == {"train": 10, "dev": 10, "test": 10}
        assert Counter(splits.dev["dev"].targets) == {"good": 5, "bad": 5}

    def test_a_folder_with_splits_must_have_the_one_that_is_asked_for(self, folder: Path) -> None:
        table(folder / "files" / "train.csv", 4)
        with pytest.raises(DataError, match="files: has no split dev; name one of train"):
            load(train=folder / "learn", dev=folder / "files")


class TestSplitColumn:
    def data(self, tmp_path: Path, *values: str) -> Path:
        lines = [f"row {i},{'ab'[i % 2]},{value}" for i, value in enumerate(values)]
        return write(tmp_path / "all.csv", "text,label,part", *lines)

    def test_rows_go_where_the_column_says(self, tmp_path: Path) -> None:
        file = self.data(tmp_path, "train", "Validation", "train", "test", "TRAIN", "val", "train")
        splits = load(train=file, split_column="part")
        assert {name: [row.text for row in part] for name, part in splits.all().items()} == {
            "train": ["row 0", "row 2", "row 4", "row 6"],
            "dev": ["row 1", "row 5"],
            "test": ["row 3"],
        }
        assert splits.dev["dev"][0].where == f"{file}:3"
        assert sizes(load(train=file, split_column="part", limit=2)) == {"train": 2, "dev": 2, "test": 1}

    def test_test_rows_may_have_no_label(self, tmp_path: Path) -> None:
        lines = [f"row {i},{'ab'[i % 2]},train" for i in range(10)]
        file = write(tmp_path / "all.csv", "text,label,part", *lines, "row x,,test")
        assert sizes(load(train=file, split_column="part")) == {"train": 8, "dev": 2}

    def test_in_memory(self) -> None:
        data = [{"text": f"row {i}", "label": "ab"[i % 2], "part": "train" if i < 6 else "dev"} for i in range(9)]
        assert sizes(load(sources={"train": data}, split_column="part")) == {"train": 6, "dev": 3}

    def test_errors(self, tmp_path: Path) -> None:
        file = self.data(tmp_path, "train", "holdout")
        with pytest.raises(DataError, match=r'all\.csv:3: the split column "part" is holdout; expected train'):
            load(train=file, split_column="part")
        with pytest.raises(DataError, match=r'split_column names "prat", which is no column; did you mean "part"'):
            load(train=file, split_column="prat")
        file = self.data(tmp_path, "dev", "test")
        with pytest.raises(DataError, match='the split column "part" has no train rows'):
            load(train=file, split_column="part")
        for key in ("path", "dev", "test"):
            with pytest.raises(RecipeError, match=f"split_column cannot be combined with data.{key}"):
                DataSettings(train="a.csv", split_column="part", **{key: "b"})
        with pytest.raises(RecipeError, match="which another setting uses"):
            DataSettings(train="a.csv", split_column="part", label="part")
        with pytest.raises(RecipeError, match="split_column cannot be used with pre-training"):
            Recipe(task={"kind": "pretraining"}, data={"train": "a.csv", "split_column": "part"})


class TestLimit:
    def test_only_the_first_rows_are_read_and_cleaned(self, tmp_path: Path) -> None:
        table(tmp_path / "train.csv", 8)
        write(tmp_path / "train.csv", "text,label", *rows(8), "<b>row</b> x,")  # a row that would be refused
        splits = load(train=tmp_path / "train.csv", limit=6, normalize={"html": True})
        assert sizes(splits) == {"train": 4, "dev": 2}
        lines = splits.train.lines()
        assert lines[0].endswith("6 rows")
        assert any("only the first 6 rows are read (data.limit)" in line for line in lines)
        assert any("data.normalize changed 0 of 6 texts" in line for line in lines)

    def test_a_file_is_read_no_further(self, tmp_path: Path) -> None:
        file = write(tmp_path / "train.csv", "text,label", *rows(8), '"never closed')
        assert sum(sizes(load(train=file, limit=6)).values()) == 6
        with pytest.raises(DataError, match="never closed"):
            load(train=file, limit=9)

    def test_rows_that_are_skipped_do_not_count(self, tmp_path: Path) -> None:
        folder = tmp_path / "MNLI"
        lines = [f"{i}\tA\tB\t{'-' if i % 2 else 'neutral'}" for i in range(20)]
        write(folder / "train.tsv", "index\tsentence1\tsentence2\tgold_label", *lines)
        splits = load(path=folder, limit=4, fold="1/2", stratify=False)
        assert sum(sizes(splits).values()) == 4

    def test_more_than_there_is(self, tmp_path: Path) -> None:
        splits = load(train=table(tmp_path / "train.csv", 10), limit=50)
        assert sum(sizes(splits).values()) == 10
        assert not any("data.limit" in line for line in splits.train.lines())


class TestGlueDownload:
    @pytest.fixture
    def glue(self, tmp_path: Path) -> Path:
        for name in ("SST-2", "QNLI"):
            pair = name == "QNLI"
            header = "index\tquestion\tsentence\tlabel" if pair else "sentence\tlabel"
            labels = ("entailment", "not_entailment") if pair else ("0", "1")
            lines = [f"{i}\tA\tB\t{labels[i % 2]}" if pair else f"row {i}\t{labels[i % 2]}" for i in range(10)]
            write(tmp_path / name / "train.tsv", header, *lines)
            write(tmp_path / name / "dev.tsv", header, *lines[:4])
            write(tmp_path / name / "readme.txt", "about it")
        return tmp_path

    @pytest.mark.parametrize("layout", ["sst2", "qnli"])
    def test_the_task_is_found_in_it(self, glue: Path, layout: str) -> None:
        splits = load(path=glue, format=layout)
        assert sizes(splits) == {"train": 10, "dev": 4}
        assert splits.train.report.layout == layout

    def test_without_a_task(self, glue: Path) -> None:
        with pytest.raises(
            DataError, match=r"contains the GLUE tasks QNLI, SST-2; set data.path to one of them \(.*QN"
        ):
            load(path=glue)
        with pytest.raises(DataError, match="contains the GLUE tasks QNLI, SST-2"):
            load(train=glue)

    def test_a_task_that_is_not_there(self, glue: Path) -> None:
        with pytest.raises(DataError, match="has no train split"):
            load(path=glue, format="cola")


class TestCorpora:
    def load(self, **settings: Any) -> Splits:
        return load("pretraining", **settings)

    def n_documents(self, splits: Splits, tokenizer: Tokenizer) -> dict[str, int]:
        counts = {}
        for name, part in splits.all().items():
            assert isinstance(part, CorpusSplit)
            counts[name] = part.store(tokenizer).n_documents
        return counts

    @pytest.fixture
    def tokenizer(self, tiny_bert: Path) -> Tokenizer:
        return Tokenizer.load(tiny_bert)

    @pytest.mark.parametrize("key", ["path", "train"])
    def test_a_folder_of_any_files(self, tmp_path: Path, tokenizer: Tokenizer, key: str) -> None:
        for i in range(4):
            write(tmp_path / "below" / f"{i}.txt", *("the film is good.", "") * 15)
        splits = self.load(**{key: tmp_path})
        assert self.n_documents(splits, tokenizer) == {"train": 48, "dev": 12}

    @pytest.mark.parametrize("names", [("train.txt", "valid.txt"), ("wiki.train.tokens", "wiki.valid.tokens")])
    def test_files_named_after_splits(self, tmp_path: Path, tokenizer: Tokenizer, names: tuple[str, str]) -> None:
        write(tmp_path / names[0], *("the film is good.", "") * 12)
        write(tmp_path / names[1], *("the plot is bad.", "") * 3)
        for key in ("path", "train"):
            assert self.n_documents(self.load(**{key: tmp_path}), tokenizer) == {"train": 12, "dev": 3}

    def test_folders_named_after_splits(self, tmp_path: Path, tokenizer: Tokenizer) -> None:
        write(tmp_path / "train" / "a.txt", *("the film is good.", "") * 12)
        write(tmp_path / "dev" / "a.txt", *("the plot is bad.", "") * 3)
        assert self.n_documents(self.load(path=tmp_path), tokenizer) == {"train": 12, "dev": 3}

    def test_no_training_texts(self, tmp_path: Path, tokenizer: Tokenizer) -> None:
        write(tmp_path / "test.txt", *("the film is good.", "") * 30)
        write(tmp_path / "valid.txt", *("the film is good.", "") * 30)
        splits = self.load(path=tmp_path)
        assert splits.notes[0] == f"{tmp_path}: has no train split, so all its files are training texts"
        assert self.n_documents(splits, tokenizer) == {"train": 48, "dev": 12}


class TestDataOverARecipe:
    def recipe(self, tmp_path: Path, *lines: str) -> Path:
        return write(tmp_path / "mine.yaml", "data:", *(f"  {line}" for line in lines))

    def test_training_rows_replace_a_folder(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        file = self.recipe(tmp_path, "path: glue/SST-2", "format: sst2", "limit: 5", "dev: own.csv")
        data = load_recipe(file, ["data.train=new.csv"]).data
        assert (data.path, data.format, data.train, data.dev, data.limit) == (None, None, "new.csv", "own.csv", 5)
        expected = "data.train=new.csv replaces data.path=glue/SST-2 and data.format=sst2 of the recipe"
        assert caplog.messages == [f"{file}: {expected}"]

    def test_a_folder_replaces_files(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        file = self.recipe(tmp_path, "train: a.csv", "dev: b.csv", "text: t")
        data = load_recipe(file, ["data.path=folder"]).data
        assert (data.path, data.train, data.dev, data.text) == ("folder", None, None, "t")
        assert "data.path=folder replaces data.train=a.csv and data.dev=b.csv" in caplog.messages[0]

    @pytest.mark.parametrize("pairs", [["data.train=new.csv", "data.path=folder"], ["data.dev=new.csv"], ["seed=1"]])
    def test_what_is_named_together_stays(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, pairs: list[str]
    ) -> None:
        data = load_recipe(self.recipe(tmp_path, "path: folder"), pairs).data
        assert data.path == "folder"
        assert not caplog.messages

    def test_training_rows_beside_a_folder(self, tmp_path: Path) -> None:
        table(tmp_path / "folder" / "train.csv", 4)
        table(tmp_path / "folder" / "dev.csv", 4)
        splits = load(path=tmp_path / "folder", train=table(tmp_path / "more.csv", 9))
        assert sizes(splits) == {"train": 9, "dev": 4}
        assert splits.notes[0].startswith("data.train replaces the train split of data.path=")
