"""Checkpoints of google-research/bert: ``bert_config.json``, ``vocab.txt``, ``bert_model.ckpt.*``; in and out.

They are opened under transformers' names, so that everything else need not know of them.
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
"""Google's name for the file that describes the encoder."""

PREFIX = "bert_model.ckpt"
"""What the names of the files of a pre-trained checkpoint begin with."""

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
"""What Google's program reads of its configuration; the keys are transformers' as well."""

ARCHITECTURES = (
    "BertModel",
    "BertForPreTraining",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForQuestionAnswering",
)
"""The classes of transformers that Google's programs have as well."""

ACTIVATIONS = ("gelu", "relu", "tanh")
"""The activations that Google's program knows, beside none."""

NORM_EPS = 1e-12
"""The epsilon of every LayerNorm in Google's program, which has no setting for it."""


def find_prefix(directory: Path) -> Path | None:
    """What the names of a directory's TensorFlow checkpoint begin with; None if there is none.

    Of several, the one that TensorFlow's own file ``checkpoint`` names as the newest.

    Raises:
        WeightsError: there are several, and nothing says which.
    """
    found = sorted(path.name.removesuffix(INDEX) for path in directory.glob(f"*{INDEX}"))
    if len(found) <= 1:
        return directory / found[0] if found else None
    state = directory / "checkpoint"
    text = state.read_text(encoding="utf-8", errors="replace") if state.is_file() else ""
    newest = re.search(r'^model_checkpoint_path:\s*"(?:.*/)?([^"/]+)"', text, re.MULTILINE)
    if newest and newest[1] in found:
        return directory / newest[1]
    lacking = f'says "{newest[1]}"' if newest else "does not say" if text else "is not there"
    raise WeightsError(
        f"{directory}: holds {len(found)} TensorFlow checkpoints ({join_names(found)}), and the file `checkpoint`, "
        f"which names the newest, {lacking}; copy those of one, with {CONFIG} and vocab.txt, to a directory of its own."
    )


def open_tensorflow(prefix: Path) -> Checkpoint:
    """Open a TensorFlow checkpoint under transformers' names; kernels are transposed when they are read.

    Raises:
        WeightsError: a file is missing, cut short, damaged or of another kind.
    """
    return translate_names(open_bundle(prefix), load_name_table("tensorflow"))


def read_tensorflow_config(directory: Path) -> dict[str, Any]:
    """The ``bert_config.json`` of a directory as :func:`config_beside` its checkpoint.

    Raises:
        WeightsError: it cannot be read, or the checkpoint beside it cannot.
    """
    prefix = find_prefix(directory)
    if prefix is None:
        raise WeightsError(f"{directory}: holds {CONFIG} but no {PREFIX}{INDEX} or other TensorFlow checkpoint.")
    return config_beside(directory / CONFIG, open_tensorflow(prefix))


def config_beside(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """A ``bert_config.json`` as ``config.json`` would be: with the model type, and the head that the checkpoint has.

    How many labels there are is known, their names are not.

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
    """Write ``bert_config.json`` and a checkpoint; the vocabulary is the tokenizer's to write.

    Args:
        directory: where to.
        config: the ``config.json`` of a BERT.
        state: its tensors under transformers' names, all of which the table of names must know.
    """
    table = load_name_table("tensorflow")
    named = {}
    for name, tensor in state.items():
        theirs = str(table.theirs(name))
        named[theirs] = tensor.T if table.transposes(theirs, tensor.ndim) else tensor
    write_bundle(directory / PREFIX, named)
    written = to_json({key: config[key] for key in sorted(config)}, indent=2)
    (directory / CONFIG).write_text(written + "\n", encoding="utf-8")
