"""The published data sets read to their last row."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from bertwright.data.data_checks import check_data
from bertwright.data.folders import detect_layout, list_splits
from bertwright.data.glue import TASKS
from bertwright.data.holdout import hold_out
from bertwright.data.reader import read_dataset

pytestmark = pytest.mark.real


@pytest.mark.parametrize("task", TASKS)
def test_glue_has_its_published_rows(real_data: Path, task: str) -> None:
    folder = real_data / "glue" / TASKS[task].directory
    if not folder.is_dir():
        pytest.skip(f"real data: {folder} is absent")
    assert detect_layout(folder) == task
    for name in list_splits(folder):
        labelled = not name.startswith("test")
        rows = read_dataset(folder, kind=TASKS[task].kind, split=name, need_target=labelled)
        assert len(rows) == TASKS[task].rows[name]
        assert rows.report.notes == ()
        assert rows.report.skipped == {}
        assert len({row.id for row in rows}) == len(rows)
        assert all(row.text.strip() for row in rows)
        if labelled and rows.labels:
            assert set(rows.targets) == set(rows.labels)


def test_sst2_labels_and_speed(real_data: Path) -> None:
    start = time.perf_counter()
    rows = read_dataset(real_data / "glue" / "SST-2", split="train", need_target=True)
    seconds = time.perf_counter() - start
    assert Counter(rows.targets) == {"negative": 29780, "positive": 37569}
    assert seconds < 1.5  # 0.2 on an idle machine
    train, held = hold_out(rows, 0.2)
    assert (len(train), len(held)) == (53879, 13470)
    assert Counter(held.targets) == {"negative": 5956, "positive": 7514}


@pytest.mark.parametrize(
    ("folder", "task", "counts"),
    [
        ("mnli_sample", "mnli", {"entailment": 160, "neutral": 160, "contradiction": 160}),
        ("qqp_sample", "qqp", {"not_duplicate": 160, "duplicate": 160}),
    ],
)
def test_samples(real_data: Path, folder: str, task: str, counts: dict[str, int]) -> None:
    rows = read_dataset(real_data / folder, need_target=True)
    assert rows.report.layout == task
    assert Counter(rows.targets) == counts
    assert rows.report.notes[0].endswith(
        f"rows; the published {TASKS[task].directory} train has {TASKS[task].rows['train']:,}"
    )


@pytest.mark.parametrize(("name", "n"), [("train", 24996), ("test", 24999)])
def test_imdb(real_data: Path, name: str, n: int) -> None:
    rows = read_dataset(real_data / "imdb" / f"imdb_{name}.csv", need_target=True)
    assert len(rows) == n
    assert rows.label_names() == ("negative", "positive")
    assert rows.report.inferred == ("label", "text")


@pytest.mark.parametrize(("name", "n"), [("train", 3976), ("dev", 995)])
def test_toxic(real_data: Path, name: str, n: int) -> None:
    rows = read_dataset(real_data / "toxic" / f"multilabel_{name}.csv", kind="multilabel", need_target=True)
    assert len(rows) == n
    assert rows.labels == ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")


def test_the_doctor_on_real_pairs(real_data: Path) -> None:
    folder = real_data / "glue" / "MRPC"
    found = check_data(read_dataset(folder, split="train"), read_dataset(folder, split="dev"))
    assert not found.errors
    # The majority class of MRPC's dev set, as every paper states it.
    assert found.baselines["majority"]["accuracy"] == pytest.approx(0.684, abs=0.001)
    assert found.baselines["tfidf"]["accuracy"] > 0.6
