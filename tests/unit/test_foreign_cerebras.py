"""Model Zoo files: the status of every key, the recipe, and the messages for unusual and invalid values."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from bertwright.cli.app import app
from bertwright.config.yaml_tree import parse_yaml
from bertwright.data.glue import TASKS
from bertwright.errors import RecipeError
from bertwright.importers.cerebras.learning_rates import map_learning_rates
from bertwright.importers.cerebras.recipe import read_params
from bertwright.importers.imported_recipe import ImportedRecipe, RecipeDraft, SourceSetting
from bertwright.recipe import load_recipe
from bertwright.tasks.classification import Classification
from bertwright.tasks.pretraining import Pretraining
from bertwright.training.schedule import make_segment_schedule
from bertwright.training.settings import TrainSettings

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_heads": 12, "filter_size": 3072}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_heads": 16, "filter_size": 4096}


def loader(processor: str, folder: str, **changes: Any) -> dict[str, Any]:
    return {
        "data_processor": processor,
        "data_dir": folder,
        "vocab_file": "vocab/uncased.txt",
        "max_sequence_length": 128,
        "batch_size": 32,
        "shuffle": True,
        "shuffle_seed": 1,
        "num_workers": 4,
        "do_lower": True,
        **changes,
    }


def flat(processor: str = "SST2DataProcessor", folder: str = "glue/SST-2", **changes: Any) -> dict[str, Any]:
    """A file of 1.9 for SST-2, with sections' keys changed: ``model={"num_labels": 3}``; None takes a key out."""
    values: dict[str, Any] = {
        "train_input": loader(processor, folder, batch_size=4096),
        "eval_input": loader(processor, folder, batch_size=12, shuffle=False, num_workers=1),
        "model": {
            "mixed_precision": True,
            "vocab_size": 30522,
            **BASE,
            "encoder_nonlinearity": "gelu",
            "pooler_nonlinearity": "tanh",
            "dropout_rate": 0.1,
            "attention_dropout_rate": 0.1,
            "max_position_embeddings": 512,
            "task_dropout": 0.1,
            "problem_type": "single_label_classification",
            "num_labels": 2,
            "compute_eval_metrics": False,
        },
        "optimizer": {
            "optimizer_type": "AdamW",
            "weight_decay_rate": 0.01,
            "epsilon": 1e-6,
            "max_gradient_norm": 1.0,
            "learning_rate": [
                {"scheduler": "Linear", "steps": 2000, "initial_learning_rate": 0.0, "end_learning_rate": 1e-5},
                {"scheduler": "Constant", "learning_rate": 1e-5},
            ],
            "loss_scaling_factor": "dynamic",
        },
        "runconfig": {
            "max_steps": 20000,
            "log_steps": 100,
            "checkpoint_steps": 5000,
            "eval_steps": 71,
            "seed": 7,
            "model_dir": "out",
            "save_initial_checkpoint": True,
            "use_cs_grad_accum": True,
        },
    }
    for section, inner in changes.items():
        values.setdefault(section, {}).update(inner)
        values[section] = {name: value for name, value in values[section].items() if value is not None}
    return values


def trainer() -> dict[str, Any]:
    """The same run as a file of 2.10."""
    old = flat()
    dev = {**old["eval_input"], "is_training": False}
    return {
        "trainer": {
            "init": {
                "backend": {"backend_type": "CSX"},
                "model_dir": "out",
                "seed": 7,
                "model": {"name": "bert/classifier", **old["model"], "fp16_type": "cbfloat16"},
                "optimizer": {"AdamW": {"weight_decay": 0.01, "eps": 1e-6}},
                "schedulers": [
                    {
                        "SequentialLR": {
                            "schedulers": [
                                {
                                    "LinearLR": {
                                        "total_iters": 2000,
                                        "initial_learning_rate": 0.0,
                                        "end_learning_rate": 1e-5,
                                    }
                                },
                                {"ConstantLR": {"learning_rate": 1e-5}},
                            ]
                        }
                    }
                ],
                "precision": {
                    "enabled": True,
                    "fp16_type": "cbfloat16",
                    "loss_scaling_factor": "dynamic",
                    "max_gradient_norm": 1.0,
                },
                "loop": {"max_steps": 20000, "eval_frequency": 5000, "eval_steps": 71},
                "checkpoint": {"steps": 5000, "save_initial_checkpoint": True},
                "logging": {"log_steps": 100},
            },
            "fit": {"train_dataloader": {**old["train_input"], "is_training": True}, "val_dataloader": dev},
            "validate": {"val_dataloader": dev},
            "validate_all": {"val_dataloaders": dev},
        }
    }


def pretraining(**changes: Any) -> dict[str, Any]:
    values = flat("BertCSVDynamicMaskDataProcessor", "owt/train")
    values["eval_input"]["data_dir"] = "owt/dev"
    for section in ("train_input", "eval_input"):
        values[section] |= {"masked_lm_prob": 0.2, "max_predictions_per_seq": 20, "whole_word_masking": True}
    for name in ("task_dropout", "problem_type", "num_labels"):
        del values["model"][name]
    values["model"] |= {"mlm_loss_weight": 0.058, "layer_norm_epsilon": 1e-5, **changes}
    return values


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    pairs = list(inner)
    for key, each in pairs:
        yield from leaves(each, (*path, str(key)))
    if not pairs:
        yield ".".join(path)


def write_params(values: dict[str, Any], folder: Path) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.dump(values, sort_keys=False), encoding="utf-8")
    return path


def check_import(values: dict[str, Any], folder: Path, model: str | None = None) -> ImportedRecipe:
    recipe_import = read_params(write_params(values, folder), model)
    status_of = [finding.key for finding in recipe_import.findings]
    assert len(set(status_of)) == len(status_of), "a key has two findings"
    for leaf in leaves(values):
        around = [key for key in status_of if leaf == key or leaf.startswith(f"{key.removesuffix('.*')}.")]
        assert around, f"{leaf} has no finding"
    text = recipe_import.to_yaml()
    assert parse_yaml(text).values == plain(recipe_import.values)
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    assert load_recipe(folder / "mine.yaml") == recipe_import.recipe
    assert max(map(len, text.splitlines())) <= 120
    return recipe_import


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def status_of(recipe_import: ImportedRecipe, key: str) -> tuple[str, str]:
    (finding,) = [finding for finding in recipe_import.findings if finding.key == key]
    return finding.status, finding.text


def test_sst2_of_1_9(tmp_path: Path) -> None:
    recipe_import = check_import(flat(), tmp_path)
    recipe = recipe_import.recipe
    assert isinstance(recipe.task, Classification)
    assert recipe.task.labels == TASKS["sst2"].label_names
    assert (recipe.data.path, recipe.data.format) == ("glue/SST-2", "sst2")
    assert recipe.model.base == "bert-base-uncased"
    assert recipe.model.output_bias == "zero"
    assert (recipe.model.dropout, recipe.model.attention_dropout, recipe.model.head) == (0.1, 0.1, None)
    assert recipe.tokens.max_length == 128
    train = recipe.train
    assert (train.batch_size, str(train.length)) == (4096, "20000 steps")
    assert (train.weight_decay, train.eps, train.max_grad_norm, train.warmup) == (0.01, 1e-6, 1.0, 0.0)
    assert (str(train.save_every), str(train.evaluate_every)) == ("5000 steps", "5000 steps")
    assert (train.precision, recipe.seed) == ("auto", 7)
    assert train.learning_rate == 1e-5
    assert [(s.kind, str(s.steps), s.start, s.end) for s in train.schedule if not isinstance(s, str)] == [
        ("linear", "2000 steps", 0.0, 1e-5),
        ("constant", "18000 steps", 1e-5, None),
    ]
    assert recipe_import.unsupported == ()
    assert "sections (1.9, 2.0)" in recipe_import.to_yaml().splitlines()[0]


def test_unusual_values_are_reported(tmp_path: Path) -> None:
    recipe_import = check_import(flat(), tmp_path)
    unusual = {finding.key: finding.text for finding in recipe_import.findings if finding.status == "unusual"}
    assert set(unusual) == {
        "train_input.batch_size",
        "runconfig.max_steps",
        "runconfig.eval_steps",
        "model.compute_eval_metrics",
        "(model.layer_norm_epsilon)",
        "(optimizer.correct_bias)",
    }
    assert "1,216 epochs of 67,349 rows" in unusual["runconfig.max_steps"]
    assert "large for fine-tuning" in unusual["train_input.batch_size"]
    assert "71 × 12 = 852 of 872 dev rows" in unusual["runconfig.eval_steps"]
    assert "Model Zoo uses 1e-5 by default; bertwright uses 1e-12" in unusual["(model.layer_norm_epsilon)"]
    head = recipe_import.to_yaml().partition("description:")[0]
    assert all(key in head for key in unusual)
    assert all(line.startswith("# ") for line in head.splitlines())


def test_reasons_of_keys_that_are_not_applicable(tmp_path: Path) -> None:
    recipe_import = check_import(flat(), tmp_path)
    assert status_of(recipe_import, "runconfig.use_cs_grad_accum") == ("not applicable", "configures Cerebras hardware")
    assert status_of(recipe_import, "train_input.num_workers")[0] == "not applicable"
    assert status_of(recipe_import, "optimizer.loss_scaling_factor")[1].startswith("loss scaling is for float16")
    assert all(finding.text for finding in recipe_import.findings)


def test_the_trainer_format_gives_the_same_recipe(tmp_path: Path) -> None:
    old, new = check_import(flat(), tmp_path), check_import(trainer(), tmp_path)
    assert new.recipe == old.recipe
    assert "trainer (2.10)" in new.origin
    assert new.unsupported == ()
    keys = {finding.key for finding in new.findings if finding.status == "unusual"}
    assert "(optimizer.correct_bias)" not in keys, "2.10 corrects the bias"
    assert "trainer.init.loop.max_steps" in keys
    assert status_of(new, "trainer.validate_all.val_dataloaders")[0] == "not applicable"
    assert status_of(new, "trainer.init.precision.fp16_type") == ("mapped", "the same as trainer.init.model.fp16_type")
    assert status_of(new, "trainer.init.backend.backend_type")[0] == "not applicable"


def test_aliases_are_read_as_in_the_published_files(tmp_path: Path) -> None:
    text = yaml.dump(trainer(), sort_keys=False)
    assert "&id" in text, "PyYAML writes the dev rows once and names them where they stand again"
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert read_params(tmp_path / "params.yaml").recipe.data.format == "sst2"


def test_mnli_large_with_spellings_of_2_0(tmp_path: Path) -> None:
    values = flat(
        "MNLIDataProcessor",
        "glue/MNLI",
        train_input={"max_sequence_length": 448, "batch_size": 512},
        eval_input={"max_sequence_length": 448, "batch_size": 12},
        model={**LARGE, "num_labels": 3, "compute_eval_metrics": True, "layer_norm_epsilon": 1e-12},
        optimizer={
            "weight_decay_rate": None,
            "epsilon": None,
            "weight_decay": 0.02,
            "eps": 1e-7,
            "correct_bias": True,
            "learning_rate": [
                {"scheduler": "Linear", "total_iters": 10000, "initial_learning_rate": 0, "end_learning_rate": 5e-6},
                {"scheduler": "Constant", "learning_rate": 5e-6},
            ],
        },
        runconfig={"max_steps": 2000, "eval_steps": 1636, "eval_frequency": 500},
    )
    recipe_import = check_import(values, tmp_path)
    assert recipe_import.recipe.model.base == "bert-large-uncased"
    assert (recipe_import.recipe.tokens.max_length, recipe_import.recipe.data.format) == (448, "mnli")
    assert (recipe_import.recipe.train.weight_decay, recipe_import.recipe.train.eps) == (0.02, 1e-7)
    assert str(recipe_import.recipe.train.evaluate_every) == "500 steps"
    assert "segment 1 two tokens too early" in status_of(recipe_import, "(train_input.data_processor)")[1]
    assert status_of(recipe_import, "runconfig.eval_steps")[1].startswith(
        "Model Zoo evaluates 1,636 × 12 = 19,632 of 19,647 dev rows"
    )
    assert status_of(recipe_import, "optimizer.correct_bias")[0] == "not applicable"
    assert status_of(recipe_import, "model.layer_norm_epsilon")[0] == "not applicable"
    assert status_of(recipe_import, "runconfig.max_steps") == ("mapped", "train.length = 2000 steps")
    assert "ignored, because the run ends before it" in status_of(recipe_import, "optimizer.learning_rate.1.*")[1]
    assert (
        "ends at step 10,000, but the run ends at step 2,000"
        in status_of(recipe_import, "optimizer.learning_rate.0.*")[1]
    )


def test_a_binary_f1_is_called_what_it_is(tmp_path: Path) -> None:
    recipe_import = check_import(flat(model={"compute_eval_metrics": "yes"}), tmp_path)
    assert status_of(recipe_import, "model.compute_eval_metrics")[0] == "unusual"
    assert "micro" in status_of(recipe_import, "model.compute_eval_metrics")[1]


def test_question_answering(tmp_path: Path) -> None:
    values = flat(
        "BertQADataProcessor",
        "squad_csv/train",
        train_input={"max_sequence_length": 384, "batch_size": 32},
        eval_input={"data_dir": "squad_csv/dev", "max_sequence_length": 512},
        predict_input=loader("BertQADataProcessor", "squad_csv/dev"),
        model={"problem_type": None, "num_labels": None, "compute_eval_metrics": None, "task_dropout": None},
        runconfig={"max_steps": 10000},
    )
    recipe_import = check_import(values, tmp_path)
    assert recipe_import.recipe.task.kind == "qa"
    assert (recipe_import.recipe.tokens.max_length, recipe_import.recipe.tokens.stride) == (384, 128)
    assert status_of(recipe_import, "train_input.data_dir")[0] == "unsupported"
    assert "data.train=train-v1.1.json" in status_of(recipe_import, "train_input.data_dir")[1]
    assert status_of(recipe_import, "eval_input.max_sequence_length")[0] == "unusual"
    assert status_of(recipe_import, "predict_input.data_dir")[0] == "not applicable"
    assert {finding.key for finding in recipe_import.unsupported} == {"train_input.data_dir", "eval_input.data_dir"}


def test_tagging_with_adam(tmp_path: Path) -> None:
    values = flat(
        "BertTokenClassifierDataProcessor",
        "ner/train",
        train_input={"do_lower": None, "label_vocab_file": "labels.json"},
        eval_input={"do_lower": None},
        model={
            "problem_type": None,
            "num_labels": None,
            "num_classes": 7,
            "task_dropout": None,
            "encoder_output_dropout_rate": 0.3,
            "include_padding_in_loss": True,
        },
        optimizer={"optimizer_type": "Adam", "weight_decay_rate": None, "max_gradient_norm": None, "beta2": 0.98},
    )
    recipe_import = check_import(values, tmp_path)
    recipe = recipe_import.recipe
    assert recipe.task.kind == "tagging"
    assert (recipe.train.weight_decay, recipe.train.max_grad_norm, recipe.train.beta2) == (0.0, None, 0.98)
    assert status_of(recipe_import, "optimizer.optimizer_type") == (
        "mapped",
        "AdamW, which equals Adam without weight decay",
    )
    assert status_of(recipe_import, "(optimizer.weight_decay)") == (
        "mapped",
        "train.weight_decay = 0.0, Model Zoo's default",
    )
    assert status_of(recipe_import, "(optimizer.max_gradient_norm)") == (
        "mapped",
        "train.max_grad_norm = null, Model Zoo's default",
    )
    head = recipe.model.head
    assert head is not None
    assert not isinstance(head, str)
    assert (head.pooling, [layer.amount for layer in head.layers or ()]) == (None, [0.3])
    values["optimizer"]["weight_decay_rate"] = 0.01
    assert status_of(check_import(values, tmp_path), "optimizer.optimizer_type")[0] == "unsupported"


def test_pretraining(tmp_path: Path) -> None:
    recipe_import = check_import(pretraining(), tmp_path)
    recipe = recipe_import.recipe
    assert isinstance(recipe.task, Pretraining)
    assert (recipe.task.sentence_objective, recipe.task.mlm_probability, recipe.task.masking) == ("nsp", 0.2, "words")
    assert recipe.task.dynamic_masking
    assert (recipe.model.preset, recipe.model.tokenizer, recipe.model.base) == ("base", "bert-base-uncased", None)
    assert status_of(recipe_import, "(model.disable_nsp)") == (
        "mapped",
        "task.sentence_objective = nsp, Model Zoo's default",
    )
    assert status_of(recipe_import, "model.mlm_loss_weight")[0] == "not applicable"
    assert status_of(recipe_import, "train_input.batch_size") == ("mapped", "train.batch_size = 4096")
    assert {finding.key for finding in recipe_import.unsupported} == {"train_input.data_dir", "eval_input.data_dir"}


def test_pretraining_of_other_kinds(tmp_path: Path) -> None:
    values = pretraining(disable_nsp=True, vocab_size=28996, mask_padding_in_positional_embed=True)
    values["train_input"] |= {"data_processor": "BertCSVDataProcessor", "whole_word_masking": False}
    recipe_import = check_import(values, tmp_path)
    assert isinstance(recipe_import.recipe.task, Pretraining)
    assert (
        recipe_import.recipe.task.sentence_objective,
        recipe_import.recipe.task.masking,
        recipe_import.recipe.task.dynamic_masking,
    ) == (
        "none",
        "tokens",
        False,
    )
    assert recipe_import.recipe.model.tokenizer == "bert-base-cased"
    assert status_of(recipe_import, "model.mask_padding_in_positional_embed")[0] == "unsupported"
    further = check_import(values, tmp_path, "models/mine").recipe.model
    assert (further.base, further.preset, further.tokenizer) == ("models/mine", None, None)
    recipe_import = check_import(pretraining(vocab_size=50000, hidden_size=100), tmp_path)
    assert (recipe_import.recipe.model.preset, recipe_import.recipe.model.tokenizer) == (None, None)
    assert status_of(recipe_import, "train_input.vocab_file")[0] == "unsupported"


def test_pretraining_with_a_trainer(tmp_path: Path) -> None:
    values, old = trainer(), pretraining()
    values["trainer"]["init"]["model"] = {"name": "bert", **old["model"]}
    values["trainer"]["fit"] = {"train_dataloader": old["train_input"], "val_dataloader": [old["eval_input"]] * 2}
    recipe_import = check_import(values, tmp_path)
    assert recipe_import.recipe.task == check_import(old, tmp_path).recipe.task
    assert status_of(recipe_import, "trainer.fit.val_dataloader.1")[0] == "not applicable"
    del values["trainer"]["fit"]["train_dataloader"]["data_processor"]
    for each in values["trainer"]["fit"]["val_dataloader"]:
        each.pop("data_processor", None)
    assert check_import(values, tmp_path).recipe.task.kind == "pretraining"


def test_keys_without_an_equivalent_are_unsupported(tmp_path: Path) -> None:
    values = flat(
        train_input={"shuffle": False, "drop_last": True},
        model={"embedding_dropout_rate": 0.2, "position_embedding_type": "rotary", "encoder_nonlinearity": "relu"},
        optimizer={"optimizer_type": "Lamb", "max_gradient_value": 0.5, "amsgrad": False},
        runconfig={"checkpoint_path": "old.mdl", "keep_checkpoint_max": 3, "disable_strict_checkpoint_loading": True},
    )
    recipe_import = check_import(values, tmp_path)
    assert {finding.key for finding in recipe_import.unsupported} == {
        "train_input.shuffle",
        "model.embedding_dropout_rate",
        "model.position_embedding_type",
        "model.encoder_nonlinearity",
        "optimizer.optimizer_type",
        "optimizer.max_gradient_value",
        "runconfig.checkpoint_path",
    }
    assert status_of(recipe_import, "train_input.drop_last")[0] == "unusual"
    assert status_of(recipe_import, "optimizer.amsgrad")[0] == "not applicable"
    assert (recipe_import.recipe.train.keep_checkpoints, recipe_import.recipe.model.strict) == (3, False)


def test_unknown_keys_are_named_with_a_hint(tmp_path: Path) -> None:
    values = flat(
        model={"hiden_size": 1}, runconfig={"zzz": 1}, csconfig={"a": 1, "b": 2}, train_input={"batchsize": 4}
    )
    recipe_import = check_import(values, tmp_path)
    assert status_of(recipe_import, "model.hiden_size") == ("unknown", 'did you mean "hidden_size"?')
    assert status_of(recipe_import, "train_input.batchsize") == ("unknown", 'did you mean "batch_size"?')
    assert status_of(recipe_import, "runconfig.zzz") == ("unknown", "bertwright does not know this key")
    assert status_of(recipe_import, "csconfig.b")[0] == "unknown"
    values = trainer()
    values["trainer"]["init"]["loop"]["max_stepps"] = 1
    values["trainer"]["init"]["callbacks"] = [{"EarlyStopping": {}}]
    values["trainer"]["fit"]["extra"] = 3
    values["other"] = 1
    recipe_import = check_import(values, tmp_path)
    assert status_of(recipe_import, "trainer.init.loop.max_stepps") == ("unknown", 'did you mean "max_steps"?')
    assert status_of(recipe_import, "trainer.fit.extra")[0] == status_of(recipe_import, "other")[0] == "unknown"


@pytest.mark.parametrize(
    ("sizes", "base"),
    [
        (LARGE, "bert-large-uncased"),
        ({"vocab_size": 28996}, "bert-base-cased"),
        (
            {"hidden_size": 128, "num_hidden_layers": 2, "num_heads": 2, "filter_size": 512},
            "google/bert_uncased_L-2_H-128_A-2",
        ),
        ({"hidden_size": 770}, None),
        ({"num_heads": 8}, None),
        ({"filter_size": 100}, None),
    ],
)
def test_the_model_by_its_size(tmp_path: Path, sizes: dict[str, int], base: str | None) -> None:
    recipe_import = check_import(flat(model=sizes), tmp_path)
    assert recipe_import.recipe.model.base == base
    assert ("model.hidden_size" in {finding.key for finding in recipe_import.unsupported}) == (base is None)
    named = check_import(flat(model=sizes), tmp_path, "models/mine")
    assert named.recipe.model.base == "models/mine"
    assert not {"model.hidden_size", "model.vocab_size"} & {finding.key for finding in named.unsupported}


def test_capitals_and_other_vocabularies(tmp_path: Path) -> None:
    lower = {"do_lower": None}
    recipe_import = check_import(flat(train_input=lower, eval_input=lower), tmp_path)
    assert status_of(recipe_import, "(train_input.do_lower)")[0] == "unusual"
    recipe_import = check_import(flat(model={"vocab_size": 50000, "max_position_embeddings": 1024}), tmp_path)
    assert (
        status_of(recipe_import, "model.vocab_size")[0]
        == status_of(recipe_import, "model.max_position_embeddings")[0]
        == "unsupported"
    )


def test_dropout_of_the_head_and_other_tasks(tmp_path: Path) -> None:
    recipe_import = check_import(flat(model={"task_dropout": 0.2, "num_labels": 5}), tmp_path)
    head = recipe_import.recipe.model.head
    assert head is not None
    assert not isinstance(head, str)
    assert (head.pooling, [layer.amount for layer in head.layers or ()]) == ("pooler", [0.2])
    assert status_of(recipe_import, "model.num_labels")[0] == "unusual"
    own = flat("MyProcessor", "rows/train", eval_input={"data_dir": "rows/dev"}, model={"problem_type": "regression"})
    recipe_import = check_import(own, tmp_path)
    assert recipe_import.recipe.task.kind == "regression"
    assert (recipe_import.recipe.data.train, recipe_import.recipe.data.dev) == ("rows/train", "rows/dev")
    assert status_of(recipe_import, "train_input.data_processor")[0] == "unsupported"
    own["model"]["problem_type"] = "multi_label_classification"
    assert check_import(own, tmp_path).recipe.task.kind == "multilabel"


def test_batches_lengths_and_precision(tmp_path: Path) -> None:
    values = flat(
        train_input={"batch_size": 8},
        optimizer={"grad_accum_steps": 4, "learning_rate": 3e-5, "betas": [0.8, 0.9]},
        model={"mixed_precision": False},
        runconfig={"max_steps": None, "num_epochs": 3, "checkpoint_steps": 0, "eval_steps": None},
    )
    recipe_import = check_import(values, tmp_path)
    train = recipe_import.recipe.train
    assert (train.batch_size, str(train.length), train.precision) == (32, "3 epochs", "fp32")
    assert (train.learning_rate, train.schedule, train.warmup) == (3e-5, "constant", 0.0)
    assert (train.beta1, train.beta2) == (0.8, 0.9)
    assert status_of(recipe_import, "train_input.batch_size")[0] == "mapped"


def test_a_schedule_that_ends_too_early(tmp_path: Path) -> None:
    stretch = {"scheduler": "Linear", "steps": 100, "initial_learning_rate": 1e-4, "end_learning_rate": 0.0}
    recipe_import = check_import(flat(optimizer={"learning_rate": stretch}, runconfig={"max_steps": 300}), tmp_path)
    status, text = status_of(recipe_import, "optimizer.learning_rate.*")
    assert status == "unusual"
    assert text.startswith("train.schedule[0]: linear, 100 steps, 0.0001 → 0.0")
    assert text.endswith("the last 200 of 300 steps have a learning rate of 0")


def test_other_schedulers(tmp_path: Path) -> None:
    listed = [
        {"scheduler": "PiecewiseConstant", "values": [1e-4, 1e-5], "boundaries": [50]},
        {"scheduler": "Exponential", "initial_learning_rate": 2e-5, "decay_steps": 10, "decay_rate": 0.9},
        {"scheduler": "Linear", "steps": 9, "initial_learning_rate": 0, "end_learning_rate": 1e-5, "step": 3},
    ]
    for each, pieces in zip(listed, (2, 1, 1), strict=True):
        recipe_import = check_import(flat(optimizer={"learning_rate": [each]}), tmp_path)
        schedule = recipe_import.recipe.train.schedule
        assert len(schedule) == pieces or schedule == "constant"
    assert status_of(recipe_import, "optimizer.learning_rate.0.step") == ("unknown", 'did you mean "steps"?')
    recipe_import = check_import(flat(optimizer={"learning_rate": listed[1]}), tmp_path)
    assert status_of(recipe_import, "optimizer.learning_rate.*")[0] == "unsupported"
    assert recipe_import.recipe.train.learning_rate == 2e-5
    assert (
        status_of(check_import(flat(optimizer={"learning_rate": None}), tmp_path), "(optimizer.learning_rate)")[0]
        == "unusual"
    )


RATES = st.sampled_from([0.0, 1e-5, 3e-5, 1e-4])
SCHEDULERS = st.lists(
    st.one_of(
        st.tuples(st.just("Linear"), st.integers(1, 40), RATES, RATES),
        st.tuples(st.just("CosineDecay"), st.integers(1, 40), RATES, RATES),
        st.tuples(st.just("Constant"), st.integers(1, 40), RATES, st.just(0.0)),
    ),
    min_size=1,
    max_size=4,
)


def model_zoo_rate(listed: list[tuple[str, int, float, float]], step: int, counts_from_start: bool) -> float:
    """Return the rate of a step in Model Zoo's SequentialLR and schedulers."""
    began = 0
    for number, (kind, steps, start, end) in enumerate(listed):
        if step < began + steps or number == len(listed) - 1:
            own = min(step if counts_from_start and kind == "Linear" else step - began, steps)
            if kind == "Constant":
                return start
            if kind == "Linear":
                return start + (end - start) * own / steps
            return end + (start - end) * 0.5 * (1 + math.cos(math.pi * own / steps))
        began += steps
    raise AssertionError


@given(SCHEDULERS, st.booleans())
def test_every_step_has_the_rate_of_model_zoo(
    listed: list[tuple[str, int, float, float]], counts_from_start: bool
) -> None:
    rates = [model_zoo_rate(listed, step, counts_from_start) for step in range(200)]
    assume(max(rates) > 0)
    schedulers: list[dict[str, Any]] = []
    for kind, steps, start, end in listed:
        both = {"initial_learning_rate": start, "end_learning_rate": end}
        constant = {"learning_rate": start}
        schedulers.append({"scheduler": kind, "steps": steps, **(constant if kind == "Constant" else both)})
    draft = RecipeDraft("params.yaml")
    map_learning_rates(
        draft, SourceSetting("rates", "optimizer", "learning_rate", schedulers, "params.yaml:1"), 200, counts_from_start
    )
    train = TrainSettings(**draft.values["train"])
    keys = [finding.key for finding in draft.findings]
    assert len(set(keys)) == len(keys)
    assert [rate(train, step) for step in range(200)] == pytest.approx(rates, abs=1e-12)


def rate(train: TrainSettings, step: int) -> float:
    if isinstance(train.schedule, str):
        assert train.schedule == "constant"
        return train.learning_rate
    parts = [
        (s.kind, s.steps.steps(1), s.start, s.start if s.end is None else s.end)  # type: ignore[union-attr]
        for s in train.schedule
    ]
    return make_segment_schedule(parts, train.learning_rate)(step) * train.learning_rate


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("train_input:\n  a: [1\nmodel: 2\n", r"params\.yaml:3: not valid YAML"),
        ("train_input:\n\tbatch_size: 2\n", r"params\.yaml:2: not valid YAML"),
        ("", r"params\.yaml: is empty"),
        ("- 1\n- 2\n", r"params\.yaml: expected sections"),
        ("task: {kind: qa}\ndata: {}\n", "it is already a recipe"),
        ("learning_rate: 3\nepochs: 2\n", r"found learning_rate, epochs; it is no Model Zoo file"),
        ("trainer: [1]\n", r"params\.yaml:1: lists several trainers"),
        ("trainer: 3\n", r"params\.yaml:1: trainer must be a mapping of keys"),
        ("train_input: 3\n", r"params\.yaml:1: train_input must be a mapping of keys"),
        ("model:\n  hidden_size: 3\n", r"params\.yaml:2: model\.hidden_size is 3, which is no known task"),
        ("a: &a [*a]\ntrain_input: *a\n", r"aliases \(\*name\) expand to more than 20,000 values"),
        (
            "train_input:\n  data_processor: BertSumCSVDataProcessor\n",
            r"params\.yaml:2: .*summarization is not supported",
        ),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=match) as error:
        read_params(path)
    assert "\n" not in str(error.value)


def test_a_bomb_of_aliases_does_not_go_off(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "params.yaml").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(RecipeError, match="expand to more than 20,000 values"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"train_input": {"batch_size": "many"}},
            r"params\.yaml:6: train_input\.batch_size must be a whole number; found",
        ),
        ({"train_input": {"batch_size": 1.5}}, r"must be a whole number; found 1\.5"),
        ({"model": {"dropout_rate": "a"}}, r"model\.dropout_rate must be a number; found a"),
        ({"model": {"dropout_rate": 1.5}}, r"params\.yaml:\d+: model\.dropout must be .*; found 1\.5"),
        ({"model": {"mixed_precision": 3}}, r"model\.mixed_precision must be true or false; found 3"),
        ({"train_input": {"data_dir": 3}, "eval_input": {"data_dir": 3}}, r"data_dir must be text; found 3"),
        (
            {"optimizer": {"learning_rate": [{"scheduler": "Linear", "steps": 2}]}},
            r"0\.initial_learning_rate is missing",
        ),
        ({"optimizer": {"learning_rate": [{"scheduler": "Linear"}]}}, r"is missing"),
        ({"optimizer": {"learning_rate": "fast"}}, r"optimizer\.learning_rate must be a number; found fast"),
        ({"optimizer": {"betas": 0.9}}, r"must be a list of two numbers"),
        (
            {"optimizer": {"learning_rate": {"scheduler": "Constant", "learning_rate": 1e-5, "steps": 0}}},
            r"steps must be at least 1; found 0",
        ),
        (
            {"optimizer": {"learning_rate": {"scheduler": "PiecewiseConstant", "values": 3, "boundaries": []}}},
            "must be a list of rates",
        ),
        (
            {"optimizer": {"learning_rate": {"scheduler": "PiecewiseConstant", "values": [1, 2], "boundaries": []}}},
            "must be a list of 1 steps",
        ),
    ],
)
def test_invalid_values_are_refused_with_their_line(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        read_params(write_params(flat(**changes), tmp_path))


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["recipe", "import", *map(str, words)], prog_name="bertwright")


def test_the_command(tmp_path: Path) -> None:
    params, mine = write_params(flat(), tmp_path), tmp_path / "mine.yaml"
    result = call(params, "--out", mine, "--model", "models/x")
    assert result.exit_code == 0, result.stderr
    assert "train_input.batch_size" in result.stdout
    assert "852 of 872" in " ".join(result.stdout.split())
    assert load_recipe(mine).model.base == "models/x"
    again = call(params, "--out", mine)
    assert (again.exit_code, "already exists" in again.stderr) == (2, True)
    piped = call(params)
    assert load_recipe(write_text(piped.stdout, tmp_path)).train.batch_size == 4096
    assert "use_cs_grad_accum" in piped.stderr


def write_text(text: str, folder: Path) -> Path:
    path = folder / "piped.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_command_warns_and_strictly_refuses(tmp_path: Path) -> None:
    params = write_params(flat(model={"hiden_size": 1}), tmp_path)
    result = call(params, "--out", tmp_path / "a.yaml")
    assert result.exit_code == 0
    assert "warning:" in result.stderr
    assert "bertwright has no equivalent of model.hiden_size" in result.stderr
    result = call(params, "--out", tmp_path / "b.yaml", "--strict")
    assert result.exit_code == 2
    assert "error:" in result.stderr
    assert not (tmp_path / "b.yaml").exists()
    assert call(write_params(flat(), tmp_path), "--strict").exit_code == 0
    (tmp_path / "bad.yaml").write_text("a: [", encoding="utf-8")
    result = call(tmp_path / "bad.yaml")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_reading_does_not_change_the_values(tmp_path: Path) -> None:
    values = flat()
    original = copy.deepcopy(values)
    check_import(values, tmp_path)
    assert values == original


@pytest.mark.parametrize(
    ("runconfig", "keep"),
    [
        ({"checkpoint_steps": 500}, "all"),
        ({"checkpoint_steps": 500, "keep_checkpoint_max": None}, "all"),
        ({"checkpoint_steps": 500, "keep_checkpoint_max": 0}, "all"),
        ({"checkpoint_steps": 500, "keep_checkpoint_max": 4}, 4),
        ({"checkpoint_steps": 0}, 0),
        ({"checkpoint_steps": None}, 0),
    ],
)
def test_the_number_of_checkpoints(tmp_path: Path, runconfig: dict[str, Any], keep: int | str) -> None:
    recipe_import = check_import(flat(runconfig=runconfig), tmp_path)
    assert recipe_import.recipe.train.keep_checkpoints == keep
    if keep == "all" and "keep_checkpoint_max" not in runconfig:
        assert status_of(recipe_import, "(runconfig.keep_checkpoint_max)") == (
            "mapped",
            "train.keep_checkpoints = all, Model Zoo's default",
        )
