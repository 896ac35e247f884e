"""Checkpoints of google-research/bert: reading and writing of ``bert_config.json`` and ``bert_model.ckpt.*``.

They are opened under transformers' names, so that other modules need no special case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bertwright.config.json_files import read_json_object
from bertwright.errors import WeightsError
from bertwright.files.strict_json import to_json
from bertwright.weights.architectures import infer_architecture
from bertwright.weights.families import FAMILIES
from bertwright.weights.name_table import load_name_table, translate_names
from bertwright.weights.tensors import Checkpoint, join_names
from bertwright.weights.tf.tensor_bundle import INDEX, open_bundle, write_bundle

CONFIG = "bert_config.json"
"""The configuration file of google-research/bert."""

PREFIX = "bert_model.ckpt"
"""The file name prefix of published checkpoints."""

CONFIG_KEYS = (
    "attention_probs_dropout_prob",
    "hidden_act",
    "hidden_dropout_prob",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
)
"""The configuration keys of google-research/bert, which transformers uses too."""

ARCHITECTURES = (
    "BertModel",
    "BertForPreTraining",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForQuestionAnswering",
)
"""The transformers classes with an equivalent in google-research/bert."""

ACTIVATIONS = ("gelu", "relu", "tanh")
"""The activations of google-research/bert."""

NORM_EPS = 1e-12
"""The fixed epsilon of every LayerNorm in google-research/bert."""


def find_prefix(directory: Path) -> Path | None:
    """Return the file name prefix of a directory's TensorFlow checkpoint; None if there is none.

    If there are several, it is the newest according to TensorFlow's file ``checkpoint``.

    Raises:
        WeightsError: there are several, and that file does not select one.
    """
    prefixes = sorted(path.name.removesuffix(INDEX) for path in directory.glob(f"*{INDEX}"))
    if len(prefixes) <= 1:
        return directory / prefixes[0] if prefixes else None
    state = directory / "checkpoint"
    text = state.read_text(encoding="utf-8", errors="replace") if state.is_file() else ""
    newest = re.search(r'^model_checkpoint_path:\s*"(?:.*/)?([^"/]+)"', text, re.MULTILINE)
    if newest and newest[1] in prefixes:
        return directory / newest[1]
    problem = f'names "{newest[1]}"' if newest else "names none" if text else "is missing"
    raise WeightsError(
        f"{directory}: contains {len(prefixes)} TensorFlow checkpoints ({join_names(prefixes)}), and the "
        f"file `checkpoint`, which should name one, {problem}; copy one, with {CONFIG} and vocab.txt, to a new one."
    )


def open_tensorflow(prefix: Path) -> Checkpoint:
    """Open a TensorFlow checkpoint under transformers' names; kernels are transposed when they are read.

    Raises:
        WeightsError: a file is missing, truncated, damaged or of another format.
    """
    return translate_names(open_bundle(prefix), load_name_table("tensorflow"))


def read_tensorflow_config(directory: Path) -> dict[str, Any]:
    """Read the ``bert_config.json`` of a directory and complete it from the checkpoint.

    Raises:
        WeightsError: it, or the checkpoint, cannot be read.
    """
    prefix = find_prefix(directory)
    if prefix is None:
        raise WeightsError(f"{directory}: contains {CONFIG} but no {PREFIX}{INDEX} or other TensorFlow checkpoint.")
    return read_completed_config(directory / CONFIG, open_tensorflow(prefix))


def read_completed_config(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Read a ``bert_config.json`` and add the model type, the architecture and the number of labels.

    The names of the labels are not known.

    Raises:
        WeightsError: it cannot be read.
    """
    config = read_json_object(path, WeightsError)
    family = FAMILIES["bert"]
    architecture = infer_architecture(family, checkpoint.tensors)
    output = checkpoint.tensors.get("classifier.weight")
    labels = {} if output is None else {"num_labels": output.shape[0]}
    return {**config, "model_type": family.model_type, "architectures": [architecture], **labels}


def write_tensorflow(directory: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write ``bert_config.json`` and a checkpoint; the tokenizer writes the vocabulary.

    Args:
        directory: the target directory.
        config: the ``config.json`` of a BERT.
        state: its tensors under transformers' names; the name table must know all of them.
    """
    table = load_name_table("tensorflow")
    named = {}
    for name, tensor in state.items():
        file_name = str(table.file_name(name))
        named[file_name] = tensor.T if table.transposes(file_name, tensor.ndim) else tensor
    write_bundle(directory / PREFIX, named)
    written = to_json({key: config[key] for key in sorted(config)}, indent=2)
    (directory / CONFIG).write_text(written + "\n", encoding="utf-8")
