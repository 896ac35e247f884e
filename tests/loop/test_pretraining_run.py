"""Pre-training as runs: from scratch and further, stopped and gone on with, there and back to transformers."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bertwright.config.duration import Duration, TimeBudget
from bertwright.corpus.documents import open_corpus
from bertwright.corpus.sequences import MaskedCorpus
from bertwright.corpus.tokenizer_training import train_tokenizer
from bertwright.errors import BertwrightError, BundleError, DataError, OutputError, RecipeError
from bertwright.nn import IGNORE_INDEX
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.bundle import Bundle
from bertwright.run.continued_pretraining import (
    BASELINE_RUN,
    FINE_TUNING_RUN,
    PRETRAINING_RUN,
    RESULT_FILE,
    ContinuedPretrainingResult,
    build_stages,
    continue_pretraining,
    read_training_texts,
)
from bertwright.run.data_preparation import RunOptions, prepare_data
from bertwright.run.directory import saved_recipe
from bertwright.run.event_log import read_events
from bertwright.run.train import train
from bertwright.sweep.search import search, sweep
from bertwright.sweep.settings import SweepSettings
from bertwright.sweep.trial import Emit, Event, Job, run_job
from bertwright.tasks.pretraining import Pretraining
from bertwright.training.compute import ComputeConfig
from loop.conftest import Listener
from tiny import VOCABULARY, make_tiny_bert

transformers = pytest.importorskip("transformers")

Make = Callable[..., Recipe]

ANIMALS = {"dog": ("barks", "bone"), "cat": ("purrs", "fish"), "bird": ("sings", "seed"), "cow": ("moos", "grass")}


LONGER = (
    *("train.length=100 steps", "train.evaluate_every=20 steps", "train.learning_rate=2e-3"),
    *("model.dropout=0", "model.attention_dropout=0"),
)


def documents(n: int, seed: int = 0) -> list[str]:
    """Each of one animal all along, so that the other words tell a hidden one, and what belongs together."""
    rng = random.Random(seed)
    texts = []
    for _ in range(n):
        name, (does, eats) = rng.choice([*ANIMALS.items()])
        texts.append("\n".join(f"{name} {does} , {name} eats {eats} ." for _ in range(rng.randint(3, 6))))
    return texts


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, and a tokenizer made for it."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "corpus.txt").write_text("\n\n".join(documents(120)) + "\n")
    (folder / "general.txt").write_text("\n\n".join(documents(30, seed=1)) + "\n")
    train_tokenizer([open_corpus(folder / "corpus.txt")], vocab_size=120).save(folder / "tokenizer")
    return folder


@pytest.fixture(scope="module")
def make(world: Path) -> Make:
    def make(*pairs: str) -> Recipe:
        fixed = ["tokens.max_length=24", "train.batch_size=16", "train.precision=fp32", "train.threads=1"]
        model = [] if any(p.startswith("model.base=") for p in pairs) else ["model.preset=tiny"]
        model += [f"model.tokenizer={world / 'tokenizer'}"] if model else []
        length = ["train.length=12 steps", "train.evaluate_every=6 steps", "train.learning_rate=3e-3"]
        data = [f"data.train={world / 'corpus.txt'}", "data.sentences=lines", "data.dev_ratio=0.1"]
        return load_recipe("pretrain", [*data, *fixed, *length, *model, *pairs])

    return make


@pytest.fixture(scope="module")
def words(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on hidden words alone."""
    out = tmp_path_factory.mktemp("words") / "run"
    train(make(*LONGER), out)
    return out


@pytest.fixture(scope="module")
def pairs(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on what follows too."""
    out = tmp_path_factory.mktemp("pairs") / "run"
    train(make("task.sentence_objective=nsp", *LONGER), out)
    return out


def digest(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def losses(run: Path) -> list[float]:
    return [event["loss"] for event in read_events(run) if event["event"] == "step"]


def loading(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text())["loading"]
    return found


def status_of(run: Path, name: str) -> str:
    return next(str(row["status"]) for row in loading(run)["tensors"] if row["name"] == name)


class TestFromScratch:
    def test_hidden_words_are_learned(self, words: Path) -> None:
        report = json.loads((words / "report.json").read_text())
        figures = report["metrics"]["dev"]
        assert set(figures) == {"mlm_loss", "perplexity", "mlm_accuracy"}
        assert figures["perplexity"] == pytest.approx(np.exp(figures["mlm_loss"]))
        by_step = [entry["metrics"]["mlm_loss"] for entry in report["history"]]
        assert by_step[-1] < by_step[0] < np.log(120)
        assert figures["mlm_loss"] == min(by_step)
        assert report["best"]["metric"] == "mlm_loss"
        assert figures["mlm_loss"] < 2.15, "guessing by frequency costs 2.3"
        assert np.mean(losses(words)[-5:]) < np.mean(losses(words)[:5]) - 1
        low, high = report["intervals"]["dev"]["mlm_loss"]
        assert low < figures["mlm_loss"] < high
        facts = report["data"]["train"]
        assert facts["documents"] + report["data"]["dev"]["documents"] == 120
        assert facts["tokens"] > 0
        assert facts["unknown_tokens"] == 0
        assert {row["status"] for row in loading(words)["tensors"]} == {"randomly initialized"}
        assert "fill-mask" in (words / "README.md").read_text()

    def test_what_follows_is_learned_too(self, pairs: Path) -> None:
        figures = json.loads((pairs / "report.json").read_text())["metrics"]["dev"]
        assert set(figures) == {"mlm_loss", "perplexity", "mlm_accuracy", "nsp_accuracy"}
        assert np.mean(losses(pairs)[-5:]) < np.mean(losses(pairs)[:5]) - 1
        assert figures["mlm_accuracy"] > 0.9
        assert 0.5 < figures["nsp_accuracy"] <= 1
        lines = {name: f"{name} {does} , {name} eats {eats} ." for name, (does, eats) in ANIMALS.items()}
        both = [(lines[a], lines[b]) for a in lines for b in lines]
        said = Bundle.load(pairs).predict(both)
        assert {found.label for found in said} == {"follows", "random"}
        follows = np.array([found.probabilities["follows"] for found in said]).reshape(4, 4)
        assert np.diag(follows).mean() > follows.mean()

    def test_gaps_are_filled(self, pairs: Path) -> None:
        bundle = Bundle.load(pairs)
        assert bundle.task == saved_recipe(pairs).task
        for name, (does, eats) in ANIMALS.items():
            (said,) = bundle.predict(f"{name} [MASK] , {name} eats [MASK] .")
            assert [span.text for span in said.spans[::5]] == [does, eats]
            assert (said.spans[0].start, said.spans[0].end) == (len(name) + 1, len(name) + 7)
            scores = [span.score for span in said.spans[:5]]
            assert scores == sorted(scores, reverse=True)
            assert said.label is None
        with pytest.raises(DataError, match=r"2 of its gaps are beyond the 24 tokens"):
            bundle.predict("the cat " * 40 + "[MASK] [MASK]")

    def test_evaluating_gives_the_report_s_figures(self, pairs: Path, world: Path, tmp_path: Path) -> None:
        report = json.loads((pairs / "report.json").read_text())
        whole = (world / "corpus.txt").read_text().strip().split("\n\n")
        (tmp_path / "dev.txt").write_text("\n\n".join(whole[-report["data"]["dev"]["documents"] :]) + "\n")
        found = Bundle.load(pairs).evaluate(tmp_path / "dev.txt")
        assert found.metrics == pytest.approx(report["metrics"]["dev"], rel=1e-5)
        assert found.n == report["data"]["dev"]["sequences"]

    def test_the_same_seed_gives_the_same_bits(self, make: Make, tmp_path: Path) -> None:
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            train(make("train.length=3 steps", f"seed={seed}"), tmp_path / name)
        assert digest(tmp_path / "a") == digest(tmp_path / "b")
        assert digest(tmp_path / "a") != digest(tmp_path / "c")
        assert losses(tmp_path / "a") != losses(tmp_path / "c")

    @pytest.mark.parametrize("sentence_objective", ["nsp", "sop"])
    def test_the_seed_changes_training_pairs_and_no_evaluation_pairs(self, make: Make, sentence_objective: str) -> None:
        tables: dict[str, list[np.ndarray]] = {"train": [], "dev": []}
        for seed in (1, 1, 2):
            recipe = make(f"task.sentence_objective={sentence_objective}", f"seed={seed}")
            prepared = prepare_data(recipe, RunOptions(), ComputeConfig(), ())
            for split, encoded in prepared.tokenized.items():
                tables[split].append(np.array(encoded.unmasked.pairs.table))
        assert np.array_equal(*tables["train"][:2])
        assert not np.array_equal(*tables["train"][1:])
        assert np.array_equal(*tables["dev"][1:])

    @pytest.mark.parametrize("next_", ["none", "nsp"])
    def test_a_batch_may_be_split_for_memory(self, make: Make, tmp_path: Path, next_: str) -> None:
        base = (f"task.sentence_objective={next_}", "train.length=4 steps", "train.batch_size=8", "model.dropout=0")
        for name, most in (("whole", 8192), ("split", 48)):
            train(make(*base, "model.attention_dropout=0", f"train.max_tokens={most}"), tmp_path / name)
        assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "split"), rel=1e-4)
        whole, split = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "split"))
        for name, value in whole.items():
            torch.testing.assert_close(split[name], value, rtol=1e-3, atol=1e-4, msg=name)


class CrashError(Exception):
    pass


def crash() -> None:
    raise CrashError


class TestStops:
    PHASES = "task.phases=[{length: 12, share: 0.5}, {length: 24, share: 0.5}]"

    @pytest.mark.parametrize("setting", ["task.sentence_objective=none", "task.sentence_objective=nsp", PHASES])
    def test_crashed_and_resumed_is_never_stopped(self, make: Make, tmp_path: Path, setting: str) -> None:
        chosen = make(setting, "train.length=14 steps", "train.save_every=3 steps", "train.evaluate_every=7 steps")
        train(chosen, tmp_path / "whole")
        with pytest.raises(CrashError):
            train(chosen, tmp_path / "cut", listeners=[Listener(11, crash)])
        rest = Listener()
        train(saved_recipe(tmp_path / "cut"), tmp_path / "cut", resume=True, listeners=[rest])
        assert rest.of("Step")[0].step == 10  # from the state saved after step 9
        assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
        assert losses(tmp_path / "cut") == losses(tmp_path / "whole")

    def test_past_the_end_of_an_epoch(self, make: Make, tmp_path: Path) -> None:
        chosen = make("train.length=1.5 epochs", "train.batch_size=32", "train.evaluate_every=1 epoch")
        train(chosen, tmp_path / "whole")
        steps = len(losses(tmp_path / "whole"))
        stop = Listener(steps - 1, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train(chosen, tmp_path / "cut", listeners=[stop])
        train(saved_recipe(tmp_path / "cut"), tmp_path / "cut", resume=True)
        assert digest(tmp_path / "cut") == digest(tmp_path / "whole")

    def test_phases_change_the_length_on_the_way(self, make: Make, tmp_path: Path) -> None:
        heard = Listener()
        bundle = train(make(self.PHASES, "train.length=10 steps"), tmp_path / "run", listeners=[heard])
        tokens = [step.tokens for step in heard.of("Step")]
        assert set(tokens[:5]) == {16 * 12}
        assert min(tokens[5:]) > 16 * 18
        assert bundle.report is not None
        # what is measured has the length that the model ends with
        facts = bundle.report.data["dev"]
        assert facts["sequences"] == -(-(facts["tokens"] - 1) // 22)
        last = [event for event in heard.of("Working") if event.what == "evaluating dev"][-1]
        assert last.done == last.total == facts["sequences"]

    def test_a_run_may_last_a_time(self, make: Make, tmp_path: Path) -> None:
        chosen = make("train.length=0.02 minutes", "train.evaluate_every=5 steps")
        assert chosen.train.length == TimeBudget(0.02, "minutes")
        heard = Listener(2, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train(chosen, tmp_path / "run", listeners=[heard])
        (said,) = [note.text for note in heard.of("Note") if note.text.startswith("train.length")]
        planned = saved_recipe(tmp_path / "run").train.length
        assert isinstance(planned, Duration)
        assert said.startswith(f"train.length: 0.02 minutes allow {planned.amount:,.0f} steps (")
        assert "per evaluation every 5 steps" in said
        steps = heard.of("TrainingStarted")[0].steps
        assert steps == planned.amount
        # measured speed decides, so bounds are wide
        assert 2 < steps < 600
        train(chosen, tmp_path / "run", resume=True)  # as it was typed, or as it was planned
        assert len(losses(tmp_path / "run")) == steps

    def test_measuring_speed_changes_nothing(self, make: Make, tmp_path: Path) -> None:
        timed = train(make("train.length=0.005 minutes", self.PHASES), tmp_path / "timed")
        assert timed.recipe is not None
        train(make(f"train.length={timed.recipe.train.length}", self.PHASES), tmp_path / "counted")
        assert digest(tmp_path / "timed") == digest(tmp_path / "counted")


class TestTransformers:
    """Equal scores, there and back."""

    def theirs(self, run: Path, kind: str) -> Any:
        model, info = getattr(transformers, kind).from_pretrained(run, output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["mismatched_keys"]
        return model.eval()

    def rows(self, bundle: Bundle, world: Path, next_: str = "none") -> Any:
        corpus = bundle.task.encode_corpus(
            bundle.read_split(world / "general.txt"), bundle.base.tokenizer, bundle.tokens
        )
        assert isinstance(corpus, MaskedCorpus)
        (whole,) = [part for part, _ in corpus.iterate_parts(10_000)]
        return whole

    @pytest.mark.parametrize(("fixture", "kind"), [("words", "ForMaskedLM"), ("pairs", "ForPreTraining")])
    def test_figures_are_those_of_a_plain_computation(
        self, request: pytest.FixtureRequest, world: Path, fixture: str, kind: str
    ) -> None:
        run = request.getfixturevalue(fixture)
        bundle = Bundle.load(run)
        theirs = self.theirs(run, f"Bert{kind}")
        total, right, words, follows = 0.0, 0, 0, []
        for sequence in self.rows(bundle, world):
            labels = torch.from_numpy(np.array(sequence.target))
            with torch.no_grad():
                found = theirs(
                    input_ids=torch.from_numpy(sequence.ids.astype(np.int64))[None],
                    token_type_ids=torch.from_numpy(sequence.types.astype(np.int64))[None],
                )
            if fixture == "pairs":
                follows.append(int(found.seq_relationship_logits.argmax()) == int(labels[0]))
                labels[0] = IGNORE_INDEX
            scores = (found.logits if fixture == "words" else found.prediction_logits)[0]
            total += torch.nn.functional.cross_entropy(scores, labels, reduction="sum").item()
            asked = labels != IGNORE_INDEX
            right += int((scores.argmax(1)[asked] == labels[asked]).sum())
            words += int(asked.sum())
        measured = bundle.evaluate(world / "general.txt").metrics
        expected = {"mlm_loss": total / words, "perplexity": np.exp(total / words), "mlm_accuracy": right / words}
        expected |= {"nsp_accuracy": np.mean(follows)} if follows else {}
        assert measured == pytest.approx(expected, rel=1e-5)

    def test_the_encoder_alone_opens_too(self, pairs: Path, words: Path) -> None:
        for run in (pairs, words):
            theirs = transformers.BertModel.from_pretrained(run, add_pooling_layer=run is pairs).eval()
            bundle = Bundle.load(run)
            ids = torch.tensor([[2, 9, 10, 4, 3]])
            encodings = bundle.task.encode(bundle.read(["dog [MASK] ."], labelled=False), bundle.base.tokenizer)
            ids = torch.from_numpy(encodings.ids.astype(np.int64))[None]
            with torch.no_grad():
                found = theirs(ids)
            weight = load_file(run / "model.safetensors")["bert.encoder.layer.1.output.LayerNorm.weight"]
            assert torch.equal(theirs.encoder.layer[1].output.LayerNorm.weight, weight)
            assert torch.isfinite(found.last_hidden_state).all()

    @pytest.mark.parametrize("kind", ["ForMaskedLM", "ForPreTraining"])
    def test_their_checkpoints_open(self, tmp_path: Path, kind: str) -> None:
        torch.manual_seed(3)
        folder = make_tiny_bert(tmp_path / "theirs")
        config = transformers.BertConfig.from_pretrained(folder)
        theirs = getattr(transformers, f"Bert{kind}")(config).eval()
        theirs.save_pretrained(folder)
        bundle = Bundle.load(folder)
        assert bundle.task == Pretraining(sentence_objective="none" if kind == "ForMaskedLM" else "nsp")
        texts = ("it was a [MASK] film", "the [MASK] [MASK]")
        inputs = transformers.BertTokenizer.from_pretrained(folder)(*texts, return_tensors="pt")
        with torch.no_grad():
            found = theirs(**inputs)
        scores = (found.logits if kind == "ForMaskedLM" else found.prediction_logits)[0]
        shares = scores[inputs["input_ids"][0] == VOCABULARY.index("[MASK]")].softmax(1)
        best = shares.topk(5)
        (said,) = bundle.predict([texts])
        assert [span.text for span in said.spans] == [VOCABULARY[i] for row in best.indices.tolist() for i in row]
        assert [span.score for span in said.spans] == pytest.approx(best.values.flatten().tolist(), rel=1e-4)
        if kind == "ForPreTraining":
            share = found.seq_relationship_logits[0].softmax(0)[0].item()
            assert said.probabilities["follows"] == pytest.approx(share, rel=1e-4)

    def test_of_bytes_it_is_a_roberta(self, make: Make, world: Path, tmp_path: Path) -> None:
        train_tokenizer([open_corpus(world / "corpus.txt")], vocab_size=320, kind="bpe").save(tmp_path / "tokenizer")
        run = tmp_path / "run"
        chosen = make(f"model.tokenizer={tmp_path / 'tokenizer'}", "task.masking=words", "train.length=2 steps")
        bundle = train(chosen, run)
        theirs = self.theirs(run, "RobertaForMaskedLM")
        tokenizer = transformers.AutoTokenizer.from_pretrained(run)
        inputs = tokenizer("dog <mask> , dog eats bone .", return_tensors="pt")
        with torch.no_grad():
            scores = theirs(**inputs).logits[0]
        best = scores[inputs["input_ids"][0] == tokenizer.mask_token_id].softmax(1).topk(5)
        for text in ("dog [MASK] , dog eats bone .", "dog <mask> , dog eats bone ."):
            (said,) = bundle.predict(text)
            assert [span.score for span in said.spans] == pytest.approx(best.values[0].tolist(), rel=1e-4)
            words = [tokenizer.decode([i]).strip() for i in best.indices[0].tolist()]
            assert [span.text for span in said.spans] == [
                w or span.text for w, span in zip(words, said.spans, strict=True)
            ]
            assert said.spans[0].start == 4

    def test_a_bare_encoder_fills_no_gaps(self, tiny_bert: Path) -> None:
        with pytest.raises(BundleError, match="its head is untrained"):
            Bundle.load(tiny_bert)


class TestFurther:
    """From an encoder that exists."""

    def test_a_missing_head_is_made_and_the_pooler_kept(self, make: Make, tiny_bert: Path, tmp_path: Path) -> None:
        heard = Listener()
        run = tmp_path / "none"
        train(make(f"model.base={tiny_bert}", "train.length=2 steps"), run, listeners=[heard])
        former, now = load_file(tiny_bert / "model.safetensors"), load_file(run / "model.safetensors")
        for part in ("weight", "bias"):
            assert torch.equal(now[f"bert.pooler.dense.{part}"], former[f"pooler.dense.{part}"])
        word = "embeddings.word_embeddings.weight"
        assert not torch.equal(now[f"bert.{word}"], former[word])
        assert status_of(run, "head.dense.weight") == "randomly initialized"
        assert status_of(run, "head.pooler.weight") != "randomly initialized"
        assert "5 randomly initialized (head.*)" in heard.of("TrainingStarted")[0].loading.summary()
        assert transformers.BertForMaskedLM.from_pretrained(run) is not None

    def test_with_next_sentences_the_pooler_trains(self, make: Make, tiny_bert: Path, tmp_path: Path) -> None:
        run = tmp_path / "nsp"
        train(make(f"model.base={tiny_bert}", "train.length=2 steps", "task.sentence_objective=nsp"), run)
        former, now = load_file(tiny_bert / "model.safetensors"), load_file(run / "model.safetensors")
        assert not torch.equal(now["bert.pooler.dense.weight"], former["pooler.dense.weight"])
        assert status_of(run, "head.pooler.weight") != "randomly initialized"
        assert status_of(run, "head.next.weight") == "randomly initialized"

    def test_it_goes_on_with_its_own_head(self, make: Make, words: Path, tmp_path: Path) -> None:
        run = tmp_path / "more"
        bundle = train(make(f"model.base={words}", "train.length=1 step", "train.learning_rate=1e-9"), run)
        assert loading(run)["counts"]["randomly initialized"] == 0
        assert bundle.report is not None
        before = json.loads((words / "report.json").read_text())["metrics"]["dev"]
        assert bundle.report.metrics["dev"] == pytest.approx(before, rel=1e-4)
        again = make(
            f"model.base={words}", "train.length=1 step", "train.learning_rate=1e-9", "task.sentence_objective=nsp"
        )
        train(again, tmp_path / "nsp")
        fresh = {row["name"] for row in loading(tmp_path / "nsp")["tensors"] if row["status"] == "randomly initialized"}
        assert fresh == {f"head.{name}.{part}" for name in ("pooler", "next") for part in ("weight", "bias")}

    @pytest.mark.parametrize("fixture", ["words", "pairs"])
    def test_fine_tuning_starts_from_it(
        self, request: pytest.FixtureRequest, recipe: Make, tmp_path: Path, fixture: str
    ) -> None:
        base = request.getfixturevalue(fixture)
        run = tmp_path / "tuned"
        train(recipe(f"model.base={base}", "train.length=1 step", "tokens.max_length=24"), run)
        # words alone, from scratch, leave no pooler behind
        assert (status_of(run, "head.dense.weight") == "randomly initialized") == (fixture == "words")
        assert status_of(run, "encoder.embeddings.word.weight") != "randomly initialized"
        if fixture == "pairs":
            fresh = {row["name"] for row in loading(run)["tensors"] if row["status"] == "randomly initialized"}
            assert fresh == {"head.output.weight", "head.output.bias"}

    @pytest.mark.parametrize(("rate", "warned"), [("4e-4", True), ("1e-3", True), ("2e-4", False)])
    def test_rates_that_do_harm_are_warned_of(
        self, make: Make, tiny_bert: Path, tmp_path: Path, rate: str, warned: bool
    ) -> None:
        heard = Listener()
        chosen = make(f"model.base={tiny_bert}", "train.length=1 step", f"train.learning_rate={rate}")
        train(chosen, tmp_path / "run", listeners=[heard])
        said = [note.text for note in heard.of("Note") if note.warning and "forget" in note.text]
        assert bool(said) == warned
        assert all(text.startswith("train.learning_rate: ") and "Sun et al. 2019" in text for text in said)

    def test_from_scratch_no_rate_is_warned_of(self, make: Make, tmp_path: Path) -> None:
        heard = Listener()
        train(make("train.length=1 step"), tmp_path / "run", listeners=[heard])
        assert not [note for note in heard.of("Note") if note.warning]


def test_a_sweep_takes_the_lowest_loss(make: Make, tmp_path: Path) -> None:
    class Here:
        """Runs trials in this process."""

        def run(self, job: Job, tell: Emit) -> Event:
            return run_job(job, tell)

        def stop(self) -> None:
            """There is nothing to stop."""

    settings = SweepSettings(recipe=make("train.length=6 steps"), vary=("train.learning_rate=1e-6,3e-3",))
    board = sweep(settings, tmp_path / "sweep", runner=Here())
    best = Bundle.load(tmp_path / "sweep" / "best")
    assert best.recipe is not None
    assert best.recipe.train.learning_rate == 3e-3
    assert best.report is not None
    values = [result.value for row in board.rows for result in row.results]
    assert min(values) == best.report.metrics["dev"]["mlm_loss"] < max(values)


class TestRefusals:
    def test_one_document_holds_nothing_out(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"^list: has only one document; add documents or set"):
            train(make(), tmp_path / "run", data={"train": ["dog barks .\ndog eats bone ."]})
        assert not (tmp_path / "run").exists()

    def test_lengths_past_the_positions(self, make: Make, tiny_bert: Path, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match=r"tokens\.max_length: is 97, but .* has positions for 96 tokens"):
            train(make(f"model.base={tiny_bert}", "tokens.max_length=97"), tmp_path / "run")

    def test_a_changed_corpus_is_not_resumed(self, make: Make, world: Path, tmp_path: Path) -> None:
        corpus = tmp_path / "corpus.txt"
        corpus.write_text((world / "corpus.txt").read_text())
        chosen = make(f"data.train={corpus}")
        with pytest.raises(KeyboardInterrupt):
            train(chosen, tmp_path / "run", listeners=[Listener(2, lambda: signal.raise_signal(signal.SIGINT))])
        corpus.write_text(corpus.read_text().replace("barks", "purrs"))
        with pytest.raises(Exception, match="the training rows have changed since the run"):
            train(chosen, tmp_path / "run", resume=True)

    def test_what_a_sweep_cannot_do(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match=r"data\.fold cannot be used with pre-training"):
            search(SweepSettings(recipe=make(), vary=["seed=0,1"], folds=2), tmp_path / "a")
        with pytest.raises(RecipeError, match=r"^sweep: --refit cannot be used in pre-training"):
            search(SweepSettings(recipe=make(), vary=["seed=0,1"], refit=True), tmp_path / "b")
        assert not [*tmp_path.iterdir()]


@pytest.fixture(scope="module")
def chain(pairs: Path, world: Path) -> Make:
    rows = [(text.partition("\n")[0], "bird" if "bird" in text else "beast") for text in documents(60, seed=5)]
    lines = [f'"{text}",{label}' for text, label in rows]
    (world / "rows.csv").write_text("\n".join(["text,label", *lines]) + "\n")

    def make(*settings: str) -> Recipe:
        each = ("batch_size=16", "precision=fp32", "threads=1", "learning_rate=1e-3")
        return load_recipe(
            "continued_pretraining",
            [
                *(f"data.train={world / 'rows.csv'}", f"model.base={pairs}"),
                *("tokens.max_length=24", "continued_pretraining.tokens.max_length=24"),
                *(f"{where}.{setting}" for where in ("train", "continued_pretraining.train") for setting in each),
                *("train.length=6 steps", "continued_pretraining.train.length=4 steps"),
                *settings,
            ],
        )

    return make


class TestChain:
    """Continued pre-training and fine-tuning in one recipe."""

    def test_three_runs_and_their_comparison(self, chain: Make, pairs: Path, world: Path, tmp_path: Path) -> None:
        stages: list[str] = []
        heard = Listener()

        def listeners_for(stage: str) -> list[Listener]:
            stages.append(stage)
            return [heard]

        out = tmp_path / "chain"
        bundle, result = continue_pretraining(
            chain(f"continued_pretraining.general={world / 'general.txt'}"), out, listeners_for=listeners_for
        )
        assert stages == [PRETRAINING_RUN, FINE_TUNING_RUN, BASELINE_RUN]
        assert len(heard.of("TrainingFinished")) == 3
        assert bundle.recipe is not None
        assert bundle.recipe.model.base == str(out / PRETRAINING_RUN)
        assert [saved_recipe(out / name).model.base for name in (PRETRAINING_RUN, BASELINE_RUN)] == [str(pairs)] * 2
        assert isinstance(Bundle.load(out / PRETRAINING_RUN).task, Pretraining)
        reports = {name: json.loads((out / name / "report.json").read_text()) for name in stages}
        assert reports[PRETRAINING_RUN]["data"]["train"]["source"] == "list"
        documents = [reports[PRETRAINING_RUN]["data"][name]["documents"] for name in ("train", "dev")]
        assert sum(documents) == reports[FINE_TUNING_RUN]["data"]["train"]["rows"], "the dev rows are not for training"
        # the pooler that next sentences trained is passed on
        assert status_of(out / FINE_TUNING_RUN, "head.dense.weight") != "randomly initialized"
        written = json.loads((out / RESULT_FILE).read_text())
        assert written["tuned"] == {"dev": reports[FINE_TUNING_RUN]["metrics"]["dev"]}
        assert written["without"] == {"dev": reports[BASELINE_RUN]["metrics"]["dev"]}
        before, after = written["general"]
        task = Pretraining()
        theirs = Bundle.load(pairs)
        corpus = task.encode_corpus(theirs.read_split(world / "general.txt"), theirs.base.tokenizer, theirs.tokens)
        assert before == pytest.approx(_loss(theirs, corpus), rel=1e-4)
        assert after == result.general_loss[1] != before
        assert result.notes == ()
        assert not result.is_forgetting
        lines = result.lines()
        assert lines[0].startswith("dev accuracy: ")
        assert " with continued pre-training, " in lines[0]
        assert lines[0].endswith(" without")
        assert lines[-1] == f"general text: mlm_loss {before:.4f} before, {after:.4f} after"
        with pytest.raises(OutputError, match="this run has already finished; nothing to resume"):
            continue_pretraining(Recipe(), out, resume=True)
        with pytest.raises(OutputError, match="already exists and is not empty"):
            continue_pretraining(chain(), out)

    @pytest.mark.parametrize("stage", [PRETRAINING_RUN, FINE_TUNING_RUN])
    def test_stopped_and_resumed_is_never_stopped(self, chain: Make, tmp_path: Path, stage: str) -> None:
        chosen = chain("continued_pretraining.compare=false")
        continue_pretraining(chosen, tmp_path / "whole")

        def listeners_for(name: str) -> list[Listener]:
            return [Listener(3, lambda: signal.raise_signal(signal.SIGINT))] if name == stage else []

        cut = tmp_path / "cut"
        with pytest.raises(KeyboardInterrupt):
            continue_pretraining(chosen, cut, listeners_for=listeners_for)
        assert not (cut / RESULT_FILE).exists()
        with pytest.raises(OutputError, match=r"contains an interrupted run; add --resume to continue it, or choose"):
            continue_pretraining(chosen, cut)
        with pytest.raises(
            RecipeError,
            match=r"settings \(continued_pretraining.compare False → True; seed 42 → 1\); resume it",
        ):
            continue_pretraining(chain("seed=1"), cut, resume=True)
        ran: list[str] = []
        heard = Listener()

        def resumed(name: str) -> list[Listener]:
            ran.append(name)
            return [heard]

        continue_pretraining(Recipe(), cut, resume=True, listeners_for=resumed)
        assert ran == [PRETRAINING_RUN, FINE_TUNING_RUN]
        assert heard.of("Step")[0].step == 4
        assert len(heard.of("TrainingFinished")) == (2 if stage == PRETRAINING_RUN else 1)
        assert not (cut / BASELINE_RUN).exists()
        assert losses(cut / FINE_TUNING_RUN) == losses(tmp_path / "whole" / FINE_TUNING_RUN)
        assert digest(cut / FINE_TUNING_RUN) == digest(tmp_path / "whole" / FINE_TUNING_RUN)

    def test_forgetting_is_warned_of(self, chain: Make, world: Path, tmp_path: Path) -> None:
        rate = (
            "continued_pretraining.train.learning_rate=0.5",
            "continued_pretraining.train.warmup=0",
            "continued_pretraining.compare=false",
        )
        heard = Listener()
        chosen = chain(*rate, f"continued_pretraining.general={world / 'general.txt'}", "train.length=1 step")
        result = continue_pretraining(chosen, tmp_path / "chain", listeners_for=lambda name: [heard])[1]
        assert any("0.5 can cause catastrophic forgetting" in n.text for n in heard.of("Note"))
        before, after = result.general_loss
        assert result.is_forgetting
        assert result.lines()[-1] == (
            f"warning: catastrophic forgetting: the masked-LM loss on general text rose by {after - before:.3f} "
            "nats; lower continued_pretraining.train.learning_rate or shorten continued_pretraining.train.length"
        )
        assert result.metrics_without == {}

    def test_notes_on_forgetting_that_was_not_evaluated(
        self, chain: Make, tiny_bert: Path, world: Path, tmp_path: Path
    ) -> None:
        base = (f"model.base={tiny_bert}", "train.length=1 step", "continued_pretraining.train.length=1 step")
        short = (
            *base,
            "continued_pretraining.compare=false",
            f"continued_pretraining.corpus={world / 'corpus.txt'}",
            "continued_pretraining.sentences=lines",
        )
        result = continue_pretraining(chain(*short), tmp_path / "a")[1]
        assert result.notes == (
            "forgetting was not evaluated; set continued_pretraining.general to a file of general text",
        )
        result = continue_pretraining(
            chain(*short, f"continued_pretraining.general={world / 'general.txt'}"), tmp_path / "b"
        )[1]
        assert result.notes == ("forgetting was not evaluated: the base model has no masked-LM head",)
        assert not result.is_forgetting
        assert json.loads((tmp_path / "b" / RESULT_FILE).read_text())["general"] == [None, None]
        assert saved_recipe(tmp_path / "b" / PRETRAINING_RUN).data.train == str(world / "corpus.txt")
        assert load_file(tmp_path / "b" / PRETRAINING_RUN / "model.safetensors").keys() >= {"bert.pooler.dense.weight"}

    def test_the_stages_have_what_the_recipe_says(self, chain: Make, tmp_path: Path) -> None:
        chosen = chain("data.normalize.html=true", "model.strict=false", "model.load=['*']", "seed=7")
        stages = build_stages(chosen, tmp_path)
        assert [*stages] == [PRETRAINING_RUN, FINE_TUNING_RUN, BASELINE_RUN]
        first, tuned, without = stages.values()
        assert first.data.normalize == chosen.data.normalize
        assert (first.model.load, first.model.strict, first.seed) == (("*",), False, 7)
        assert (tuned.model.load, tuned.model.strict, tuned.model.base) == (None, True, str(tmp_path / PRETRAINING_RUN))
        assert without == chosen.replace(continued_pretraining=None)
        assert tuned == without.replace(model=tuned.model)
        scratch = chain("model.base=null", "model.preset=tiny", "model.tokenizer=x")
        assert [*build_stages(scratch, tmp_path)] == [PRETRAINING_RUN, FINE_TUNING_RUN], (
            "from nothing there is nothing to compare with"
        )
        assert build_stages(scratch, tmp_path)[FINE_TUNING_RUN].model.preset is None
        assert len(read_training_texts(chosen)) == 48

    def test_refusals(self, chain: Make, tmp_path: Path) -> None:
        message = r"^continued_pretraining: cannot be used in a single run; use .* or continue_pretraining, which also"
        with pytest.raises(RecipeError, match=message):
            train(chain(), tmp_path / "a")
        with pytest.raises(RecipeError, match=r"^continued_pretraining: the recipe has no such section"):
            continue_pretraining(chain("continued_pretraining=null"), tmp_path / "b")
        with pytest.raises(OutputError, match="no continued pre-training to resume; start without --resume"):
            continue_pretraining(chain(), tmp_path / "c", resume=True)
        with pytest.raises(
            RecipeError, match=r"^continued_pretraining: is a separate run before this one; pre-train once"
        ):
            search(SweepSettings(recipe=chain(), vary=["seed=0,1"]), tmp_path / "d")
        assert not [*tmp_path.iterdir()]

    def test_lines(self) -> None:
        result = ContinuedPretrainingResult(
            {"dev": {"accuracy": 0.9}, "test": {"accuracy": 0.8}}, {"dev": {"accuracy": 0.85}}
        )
        assert result.lines() == [
            "dev accuracy: 0.9000 with continued pre-training, 0.8500 without",
            "test accuracy: 0.8000 with continued pre-training",
        ]

    def test_a_refused_setting_leaves_nothing(self, chain: Make, tmp_path: Path) -> None:
        for pairs, message in (
            (("train.metric_for_best_model=acuracy",), "is not among the computed metrics"),
            (("data.dev=nowhere.csv",), "no such file"),
            (("continued_pretraining.corpus=nowhere.txt",), "nowhere"),
            (
                ("continued_pretraining.tokens.max_length=5000", "continued_pretraining.train.max_tokens=5000"),
                "has positions for",
            ),
        ):
            with pytest.raises(BertwrightError, match=message):
                continue_pretraining(chain(*pairs), tmp_path / "out")
            assert not (tmp_path / "out").exists()

    def test_a_kill_before_the_checkpoint_was_removed_leaves_none(self, chain: Make, tmp_path: Path) -> None:
        def stop(name: str) -> list[Listener]:
            return [Listener(2, lambda: signal.raise_signal(signal.SIGINT))] if name == FINE_TUNING_RUN else []

        with pytest.raises(KeyboardInterrupt):
            continue_pretraining(chain("continued_pretraining.compare=false"), tmp_path / "out", listeners_for=stop)
        (tmp_path / "out" / PRETRAINING_RUN / "checkpoint").mkdir()
        continue_pretraining(Recipe(), tmp_path / "out", resume=True)
        assert not list((tmp_path / "out").rglob("checkpoint"))

    def test_relative_paths_start_where_the_chain_was_started(
        self, chain: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        chosen = chain("continued_pretraining.compare=false")
        shutil.copy(str(chosen.data.train), "rows.csv")
        chosen = chosen.replace(data=chosen.data.replace(train="rows.csv"))
        for stage in (PRETRAINING_RUN, FINE_TUNING_RUN):

            def stop(name: str, stage: str = stage) -> list[Listener]:
                return [Listener(2, lambda: signal.raise_signal(signal.SIGINT))] if name == stage else []

            monkeypatch.chdir(tmp_path)
            with pytest.raises(KeyboardInterrupt):
                continue_pretraining(chosen, f"cut-{stage}", listeners_for=stop)
            (tmp_path / stage).mkdir()
            monkeypatch.chdir(tmp_path / stage)
            continue_pretraining(Recipe(), f"../cut-{stage}", resume=True)
            assert (tmp_path / f"cut-{stage}" / RESULT_FILE).exists()


def _loss(bundle: Bundle, corpus: Any) -> float:
    """The mean loss of hidden words by the whole table of scores."""
    total, n = 0.0, 0
    theirs = transformers.BertForMaskedLM.from_pretrained(bundle.base.directory).eval()
    for part, _ in corpus.iterate_parts(64):
        for sequence in part:
            labels = torch.from_numpy(np.array(sequence.target))
            with torch.no_grad():
                scores = theirs(torch.from_numpy(sequence.ids.astype(np.int64))[None]).logits[0]
            total += torch.nn.functional.cross_entropy(scores, labels, reduction="sum").item()
            n += int((labels != IGNORE_INDEX).sum())
    return total / n
