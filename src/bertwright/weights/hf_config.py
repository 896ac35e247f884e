"""Reading and writing of ``config.json`` files."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from bertwright.config.json_files import ForeignFile, check_types, read_json_object
from bertwright.errors import WeightsError, did_you_mean
from bertwright.nn.encoder import EncoderConfig
from bertwright.weights.families import FAMILIES, Family
from bertwright.weights.tf.checkpoint import CONFIG as TENSORFLOW_CONFIG
from bertwright.weights.tf.checkpoint import read_tensorflow_config

ACTIVATION_NAMES = {
    "gelu_python": "gelu",
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "relu": "relu",
    "swish": "silu",
    "silu": "silu",
    "tanh": "tanh",
}
"""Activation names in ``config.json`` → in bertwright; the last of several spellings is the usual one."""

PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
"""The values of ``problem_type`` for sequence classifiers."""

# Keys that describe a particular file or release, or that are written again.
_NOT_INHERITED = (
    "_num_labels",
    "_name_or_path",
    "architectures",
    "auto_map",
    "dtype",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "quantization_config",
    "sentence_transformers",
    "torch_dtype",
    "transformers_version",
)

# Keys that change the computation of the encoder, their supported values, and the message for other values.
_ONLY = {
    "position_embedding_type": ((None, "absolute"), "only absolute position embeddings are supported"),
    "is_decoder": ((None, False), "only encoders are supported"),
    "is_encoder_decoder": ((None, False), "only encoders are supported"),
    "add_cross_attention": ((None, False), "only encoders are supported"),
    "pruned_heads": ((None, {}), "pruned attention heads are not supported"),
    "quantization_config": ((None, {}), "quantized weights cannot be trained; use the original model"),
}
_TYPES = {field.name: str(field.type) for field in fields(EncoderConfig)}

ENSEMBLE = "ensemble.json"
"""The file that lists the models of an ensemble."""

MAX_SIZE = 2**31 - 1
"""The largest size, in any dimension, that bertwright accepts in ``config.json``."""

MAX_LABELS = 1_000_000
"""The largest ``num_labels`` that bertwright accepts; every label gets a name and a row of the output layer."""

Rate = Annotated[float, Field(ge=0, le=1)]


class ConfigFile(ForeignFile):
    """The keys of ``config.json`` that bertwright uses, except encoder sizes, whose keys depend on the family."""

    model_type: str | None = None
    architectures: tuple[str, ...] | None = None
    id2label: dict[str, str | int | float] | None = None
    label2id: dict[str, Any] | None = None
    num_labels: Annotated[int, Field(ge=1, le=MAX_LABELS)] | None = None
    problem_type: str | None = None
    tie_word_embeddings: bool | None = None
    do_lower_case: bool | None = None
    classifier_dropout: Rate | None = None
    seq_classif_dropout: Rate | None = None
    qa_dropout: Rate | None = None


def read_config(directory: Path) -> dict[str, Any]:
    """Read the ``config.json`` of an HF directory, or the equivalent of a TensorFlow checkpoint.

    Raises:
        WeightsError: the file is missing, as in an unfinished run, is not a JSON object, or a value has a wrong type.
    """
    path = directory / "config.json"
    if not path.is_file() and (directory / TENSORFLOW_CONFIG).is_file():
        return read_tensorflow_config(directory)
    if not path.exists():
        if is_unfinished(directory):
            raise WeightsError(unfinished_run_message(directory))
        if is_ensemble(directory):
            raise WeightsError(f"{directory}: is an ensemble; name one of its members, listed in {ENSEMBLE}.")
        raise WeightsError(f"{directory}: has no config.json; pass a model directory.")
    return read_config_file(path)


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a ``config.json`` and check its types.

    Raises:
        WeightsError: the file cannot be read, is not a JSON object, or a value has a wrong type.
    """
    config = read_json_object(path, WeightsError)
    check_types(config, ConfigFile, str(path), WeightsError)
    return config


def is_unfinished(directory: Path) -> bool:
    """Whether a directory is a run without a model yet: a run writes its recipe first and config.json last."""
    return directory.is_dir() and not (directory / "config.json").exists() and (directory / "recipe.yaml").exists()


def is_ensemble(directory: Path) -> bool:
    """Whether a directory contains several models whose predictions are averaged."""
    return (directory / ENSEMBLE).exists()


def unfinished_run_message(directory: str | os.PathLike[str]) -> str:
    """Return the error message for opening a run that has not finished."""
    return (
        f"{directory}: this run has not finished; continue it with "
        f"`bertwright train --resume --out {shlex.quote(os.fspath(directory))}`."
    )


def find_family(config: Mapping[str, Any], where: str = "config.json") -> Family:
    """Return the family of a ``config.json``, by its ``model_type`` or, in files of 2019, its architecture.

    Raises:
        WeightsError: the family is unknown.
    """
    model_type = str(config.get("model_type") or "")
    if not model_type:
        for architecture in config.get("architectures") or ():
            for family in FAMILIES.values():
                if re.match(rf"{family.class_name}(Model|For[A-Z])", str(architecture)):
                    return family
        raise WeightsError(f"{where}: lacks model_type; add one ({did_you_mean('', FAMILIES)}).")
    if model_type not in FAMILIES:
        raise WeightsError(f"{where}: unknown model_type {model_type!r}; {_list_supported(model_type)}")
    return FAMILIES[model_type]


def _list_supported(model_type: str) -> str:
    """Return a hint: the family that a misspelled model_type means, or the list of supported families."""
    if get_close_matches(model_type.lower(), FAMILIES, n=1, cutoff=0.85):
        return did_you_mean(model_type, FAMILIES)
    return f"supported: {', '.join(sorted(FAMILIES))}"


def parse_encoder_config(family: Family, config: Mapping[str, Any], where: str = "config.json") -> EncoderConfig:
    """Return the encoder that a ``config.json`` describes.

    Raises:
        WeightsError: a size is missing or not a number, or the encoder has an unsupported feature.
    """
    for key, (allowed, what) in _ONLY.items():
        if config.get(key) not in allowed:
            raise WeightsError(f"{where}: {key} is {config[key]!r}, but {what}.")
    values = dict(family.fixed)
    for field, key in family.keys.items():
        value = config.get(key)
        value = family.defaults.get(key) if value is None else value
        if field == "activation":
            value = str(value)
            if value not in ACTIVATION_NAMES:
                hint = did_you_mean(value, ACTIVATION_NAMES)
                raise WeightsError(f"{where}: unknown {key} {value!r}; {hint}")
            value = ACTIVATION_NAMES[value]
        elif value is None:
            raise WeightsError(
                f"{where}: lacks {key}, which {family.model_type} needs; use the config.json of the model."
            )
        else:
            value = _number(value, _TYPES[field].startswith("int"), f"{where}: {key}")
        values[field] = value
    if family.position_after_pad:
        values["position_offset"] = values["pad_id"] + 1
    if values.get("embedding_width") == values["width"]:
        values["embedding_width"] = None
    if not values["n_heads"]:
        raise WeightsError(f"{where}: {family.keys['n_heads']} must be at least 1, but is 0.")
    try:
        return EncoderConfig(**values)
    except WeightsError as error:
        raise WeightsError(f"{where}: {error}") from error


def _number(value: Any, integer: bool, what: str) -> int | float:
    largest = MAX_SIZE if integer else 1.0  # rates, a standard deviation and an epsilon
    fits = isinstance(value, int if integer else int | float) and not isinstance(value, bool) and value >= 0
    if not fits:
        raise WeightsError(f"{what} must be {'an integer' if integer else 'a number'} of at least 0, but is {value!r}.")
    if value > largest:
        raise WeightsError(f"{what} must be at most {largest}, but is {value!r}; download or copy the file again.")
    return int(value) if integer else float(value)


def parse_labels(config: Mapping[str, Any], where: str = "config.json") -> tuple[str, ...] | None:
    """Return the label names of a fine-tuned model in the order of its outputs.

    None if there are none; transformers then uses LABEL_0, LABEL_1, … (two, unless num_labels is set).

    Raises:
        WeightsError: the ids are not 0, 1, 2, …
    """
    names = config.get("id2label")
    if not names:
        return None
    try:
        by_id = {int(number): str(name) for number, name in names.items()}
    except (AttributeError, ValueError) as error:
        raise WeightsError(f"{where}: id2label must map integers to names, but is {names!r}.") from error
    if sorted(by_id) != list(range(len(by_id))):
        raise WeightsError(f"{where}: id2label must number the labels from 0 without gaps, but has {sorted(by_id)}.")
    return tuple(by_id[number] for number in range(len(by_id)))


def build_hf_config(
    family: Family,
    config: EncoderConfig,
    *,
    head: str | None = "classification",
    id2label: Mapping[int, str] | None = None,
    problem_type: str | None = None,
    base: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the ``config.json`` with which transformers opens a model and computes the same scores.

    Args:
        family: the family whose classes open it.
        config: the shape of the encoder.
        head: the kind of its published head, a key of ``family.heads``; None for a custom head. No architecture is
            written then, because transformers has no class for it.
        id2label: output index → label; transformers takes the number of outputs from it. None: two outputs.
        problem_type: one of :data:`PROBLEM_TYPES`, for a sequence classifier.
        base: the ``config.json`` of the checkpoint that training started from; token ids, head dropout and so on are
            kept, but not its labels, file and precision.

    Raises:
        WeightsError: the problem type is unknown, or transformers has no name for the activation.
    """
    if problem_type is not None and problem_type not in PROBLEM_TYPES:
        raise WeightsError(f"problem_type: unknown value {problem_type!r}; {did_you_mean(problem_type, PROBLEM_TYPES)}")
    written = {key: value for key, value in (base or {}).items() if key not in _NOT_INHERITED}
    for field, key in family.keys.items():
        value = getattr(config, field)
        if field == "activation":
            spellings = {name: spelling for spelling, name in ACTIVATION_NAMES.items()}
            same = ACTIVATION_NAMES.get(written.get(key, "")) == value
            value = written[key] if same else spellings[value]
        elif field == "embedding_width":
            value = value or config.width
        elif field == "pad_id" and key in written and written[key] is None and not value:
            value = None  # a missing padding token is read as 0
        written[key] = value
    written["model_type"] = family.model_type
    if head is not None:
        written["architectures"] = [family.class_name + family.heads[head].architecture]
    if id2label is not None:
        written["id2label"] = {str(number): name for number, name in id2label.items()}
        written["label2id"] = {name: number for number, name in id2label.items()}
    return written if problem_type is None else written | {"problem_type": problem_type}
