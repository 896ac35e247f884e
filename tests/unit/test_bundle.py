"""Bundles: what is refused, what is read as what, and labels that keep their meaning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertwright.data.reader import ColumnNames
from bertwright.errors import BundleError, DataError, HubError
from bertwright.output import progress
from bertwright.recipe import load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from bertwright.weights.pretrained import open_pretrained


@pytest.fixture(scope="module")
def run(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    rows = "".join(f"good film {i},pos\nbad film {i},neg\n" for i in range(10))
    (folder / "rows.csv").write_text("review,sentiment\n" + rows)
    pairs = [
        f"model.base={tiny_bert}",
        f"data.train={folder / 'rows.csv'}",
        "train.length=2 steps",
        "tokens.max_length=40",
    ]
    train(load_recipe(None, pairs), folder / "run")
    return folder / "run"


def test_an_untrained_head_does_not_predict(tiny_bert: Path) -> None:
    with pytest.raises(BundleError, match="its head is untrained; fine-tune the model first"):
        Bundle.load(tiny_bert)


def test_a_short_prediction_makes_no_console(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_console() -> None:
        raise AssertionError("a console takes a few percent of the time of a prediction")

    monkeypatch.setattr(progress, "stderr_console", make_console)
    assert len(Bundle.load(run).predict("a good film")) == 1


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="no such directory"):
        Bundle.load(tmp_path / "no" / "such" / "run")


def test_a_model_of_another_kind_is_refused(run: Path, tmp_path: Path) -> None:
    Bundle.load(run).save(tmp_path / "copy")
    (tmp_path / "copy" / "recipe.yaml").unlink()
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    config["architectures"] = ["BertForNextSentencePrediction"]
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match="is a BertForNextSentencePrediction, which is none of the tasks known here"):
        Bundle.load(tmp_path / "copy")


def test_labels_without_names_are_numbered(run: Path, tmp_path: Path) -> None:
    Bundle.load(run).save(tmp_path / "copy")
    (tmp_path / "copy" / "recipe.yaml").unlink()
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    del config["id2label"], config["label2id"], config["problem_type"]
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    bundle = Bundle.load(tmp_path / "copy")
    assert bundle.labels == ("LABEL_0", "LABEL_1")
    assert bundle.takes_pairs is None


def test_predictions_come_in_input_order(run: Path) -> None:
    bundle = Bundle.load(run)
    texts = [f"{'good ' * (i % 7 + 1)}film {i}" for i in range(50)]
    together = bundle.predict(texts)
    assert [p.id for p in together] == [str(i) for i in range(50)]
    for i in (0, 17, 49):
        alone = bundle.predict(texts[i])[0]
        assert alone.label == together[i].label
        assert alone.probabilities == pytest.approx(together[i].probabilities, abs=1e-5)


def test_evaluate_reads_the_columns_it_was_trained_on(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("note,sentiment,review\nx,pos,good film\ny,neg,bad film\n")
    bundle = Bundle.load(run)
    assert bundle.evaluate(path).n == 2
    path.write_text("note,class,body\nx,pos,good film\ny,neg,bad film\n")
    assert bundle.evaluate(path, ColumnNames("body", label="class")).n == 2
    with pytest.raises(DataError, match="review"):
        bundle.evaluate(path)
    path.write_text("review,sentiment\ngood film,positive\n")
    with pytest.raises(DataError, match=r'new\.csv:2: the label "positive" is not one of the 2'):
        bundle.evaluate(path)


def test_nothing_and_pairs_are_refused(run: Path) -> None:
    bundle = Bundle.load(run)
    with pytest.raises(DataError):
        bundle.predict([])
    with pytest.raises(DataError, match="the model takes one text a row, but here is two"):
        bundle.predict([("a", "b")])


def test_a_head_trained_for_other_labels_starts_fresh(run: Path, tmp_path: Path) -> None:
    """Same number of labels, other meaning: continuing with the old output layer would teach it against itself."""
    (tmp_path / "rows.csv").write_text("text,label\n" + "good,yes\nbad,no\n" * 8)
    pairs = [f"model.base={run}", f"data.train={tmp_path / 'rows.csv'}", "train.length=1 step", "tokens.max_length=40"]
    other = train(load_recipe(None, pairs), tmp_path / "other")
    assert other.report is not None
    assert other.labels == ("no", "yes")
    fresh = [row["name"] for row in other.report.loading["tensors"] if row["status"] == "randomly initialized"]
    assert sorted(fresh) == ["head.output.bias", "head.output.weight"]
    # the same labels in another order: the head is kept, and so is its order
    (tmp_path / "rows.csv").write_text("text,label\n" + "good,pos\nbad,neg\n" * 8)
    same = train(load_recipe(None, [*pairs, "task.labels=null"]), tmp_path / "same")
    assert same.report is not None
    assert same.report.loading["counts"]["randomly initialized"] == 0


def test_the_standard_head_of_every_family_and_its_notes(tiny_bert: Path) -> None:
    base = open_pretrained(tiny_bert)
    assert base.labels is None
    assert base.style("classification").activation == "tanh"
    other = base.with_dropout(0.3, None)
    assert (other.config.dropout, other.config.attention_dropout) == (0.3, 0.1)
    assert base.with_dropout(None, 0.2).config.attention_dropout == 0.2
