"""Conversion of models to transformers or google-research/bert, with every tensor accounted for.

The encoder, the pooler and the family's published heads are converted, in their stored precision.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import models, normalizers

from bertwright.errors import OutputError, TokenizerError, WeightsError, did_you_mean
from bertwright.files.atomic import atomic_directory
from bertwright.files.strict_json import to_json
from bertwright.nn.encoder import EncoderConfig
from bertwright.output.plurals import pluralize
from bertwright.run.bundle import RECIPE
from bertwright.tasks.spec import generic_label_names
from bertwright.tokenization.tokenizer import Tokenizer, check_vocabulary
from bertwright.weights.architectures import find_published_head, infer_architecture
from bertwright.weights.checkpoint_contents import OTHER_NAME, CheckpointContents, classify_tensors
from bertwright.weights.checkpoint_files import open_checkpoint, open_file
from bertwright.weights.families import Family
from bertwright.weights.hf_config import (
    build_hf_config,
    find_family,
    is_unfinished,
    parse_encoder_config,
    parse_labels,
    read_config,
    read_config_file,
    unfinished_run_message,
)
from bertwright.weights.hub import locate_model
from bertwright.weights.loading import LoadingReport, TensorRow
from bertwright.weights.name_table import NameTable, check_all_named, load_name_table, translate_names
from bertwright.weights.tensors import Checkpoint, join_names
from bertwright.weights.tf.checkpoint import (
    ACTIVATIONS,
    ARCHITECTURES,
    CONFIG_KEYS,
    NORM_EPS,
    read_completed_config,
    write_tensorflow,
)
from bertwright.weights.tf.checkpoint import CONFIG as TENSORFLOW_CONFIG

TARGET_FORMATS = ("hf", "tf")
"""Target formats: transformers and google-research/bert."""


@dataclass(frozen=True)
class ConversionReport:
    """The result of a conversion.

    Attributes:
        directory: the written directory.
        title: family and size in a few words.
        architecture: the transformers class that opens it.
        report: the status of every source tensor; ``name`` is its name in transformers.
        n_parameters: the number of kept parameters.
        notes: further notes for the user.
    """

    directory: Path
    title: str
    architecture: str
    report: LoadingReport
    n_parameters: int
    notes: tuple[str, ...]

    def moves(self) -> list[tuple[str, str, tuple[int, ...], int]]:
        """Return the renamed tensors: source name, transformers name, shape, number of layers; {n} is a layer."""
        moved = Counter((*_by_layer(row), row.shape) for row in self.report.rows if row.reason == OTHER_NAME)
        return [(*move, n) for move, n in moved.items()]


def _by_layer(row: TensorRow) -> tuple[str, str]:
    """Return the source and transformers names of a tensor, with {n} for the layer index."""
    source_name, name = row.source_name or "", row.name or ""
    if not (layer := re.search(r"(?<=\.layer\.)\d+", name)):
        return source_name, name
    number = rf"(?<!\d){layer[0]}(?!\d)"
    return re.sub(number, "{n}", source_name, count=1), re.sub(number, "{n}", name, count=1)


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    to: str = "hf",
    names: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
) -> ConversionReport:
    """Convert a model atomically.

    Args:
        source: a model directory, a Hub name, or a file of weights.
        destination: a new directory.
        to: one of :data:`TARGET_FORMATS`.
        names: a name table for a state dict with other names: shipped (``cerebras``) or a YAML file.
        config: the ``config.json``, unless it is next to the weights.
        tokenizer: the tokenizer directory, unless it is next to the weights.

    Raises:
        WeightsError: a tensor of the encoder is missing or damaged, or the target format does not support one.
        RecipeError: the name table is invalid.
        TokenizerError: the tokenizer is missing or does not fit.
        OutputError: the destination exists, or cannot be written.
    """
    target = Path(destination)
    _check_destination(target, to)
    path = Path(source)
    directory = path.parent if path.is_file() else _resolve_finished(source)
    checkpoint = open_file(path) if path.is_file() else open_checkpoint(directory)
    source_config, where = _config(directory, config, checkpoint)
    family = find_family(source_config, where)
    table = None if names is None else load_name_table(names)
    if table is not None:
        checkpoint = _translate(checkpoint, table, str(names), family, source_config)
    shape = parse_encoder_config(family, source_config, where)
    contents = classify_tensors(checkpoint, family, shape, source_config, table)
    architecture = infer_architecture(family, contents.sources, source_config.get("architectures") or ())
    hf_config = _hf_config(family, shape, source_config, where, architecture, contents)
    target_tokenizer = Tokenizer.load(locate_model(tokenizer) if tokenizer is not None else directory)
    notes = [*target_tokenizer.notes, *check_vocabulary(target_tokenizer, shape.vocab_size)]
    if (directory / RECIPE).is_file():
        notes.append(f"{RECIPE} and the other files of the run are not copied from {directory}")
    if to == "tf":
        tf_config, lost = _tensorflow_config(hf_config, target_tokenizer, contents.sources)
        notes += lost
    state = {name: checkpoint.tensor(source).contiguous() for name, source in sorted(contents.sources.items())}
    with atomic_directory(target) as partial:
        if to == "tf":
            _write_tensorflow_files(partial, tf_config, state, target_tokenizer)
        else:
            _write_hf_files(partial, hf_config, state, target_tokenizer, shape.max_length)
    return ConversionReport(
        target,
        f"{family.model_type}, {shape.n_layers} layers, {shape.n_heads} heads, width {shape.width}",
        architecture,
        LoadingReport(checkpoint.source, family.model_type, contents.rows),
        sum(tensor.numel() for tensor in state.values()),
        tuple(notes),
    )


def _resolve_finished(source: str | os.PathLike[str]) -> Path:
    """Return the directory of a model.

    Raises:
        WeightsError: it is an unfinished run.
    """
    if is_unfinished(Path(source)):
        raise WeightsError(unfinished_run_message(Path(source)))
    return locate_model(source)


def _check_destination(target: Path, to: str) -> None:
    """Refuse an unknown format, and a destination that would be overwritten."""
    if to not in TARGET_FORMATS:
        raise OutputError(f"--to: unknown format {to!r}; {did_you_mean(to, TARGET_FORMATS)}")
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise OutputError(f"{target}: already exists; choose a new directory.")


def _translate(
    checkpoint: Checkpoint, table: NameTable, name: str, family: Family, config: Mapping[str, Any]
) -> Checkpoint:
    """Return the checkpoint under transformers' names, with a name table that covers all its tensors."""
    heads = [head for title in config.get("architectures") or () if (head := find_published_head(family, title))]
    renamed = translate_names(checkpoint, table, frozenset(module for head in heads for module in head.names.values()))
    check_all_named(renamed, table, name)
    return renamed


def _write_tensorflow_files(
    directory: Path, config: Mapping[str, Any], state: Mapping[str, torch.Tensor], tokenizer: Tokenizer
) -> None:
    """Write Google's files: the checkpoint, ``bert_config.json`` and ``vocab.txt``."""
    write_tensorflow(directory, config, state)
    vocabulary = "".join(f"{word}\n" for word in _vocabulary_lines(tokenizer))
    (directory / "vocab.txt").write_text(vocabulary, encoding="utf-8")


def _write_hf_files(
    directory: Path, config: Mapping[str, Any], state: dict[str, torch.Tensor], tokenizer: Tokenizer, max_length: int
) -> None:
    """Write the files that transformers opens: weights, tokenizer and ``config.json``."""
    save_file(state, directory / "model.safetensors", {"format": "pt"})
    tokenizer.save(directory, max_length=max_length)
    (directory / "config.json").write_text(to_json(config, indent=2) + "\n", encoding="utf-8")


def _config(
    directory: Path, config_file: str | os.PathLike[str] | None, checkpoint: Checkpoint
) -> tuple[dict[str, Any], str]:
    """Return the ``config.json`` that the user names, or that of the directory, and its path."""
    if config_file is not None:
        return read_config_file(Path(config_file)), str(config_file)
    tf_config_file = directory / TENSORFLOW_CONFIG
    if not (directory / "config.json").is_file() and tf_config_file.is_file():
        return read_completed_config(tf_config_file, checkpoint), str(tf_config_file)
    if not (directory / "config.json").is_file():
        raise WeightsError(
            f"{directory}: has no config.json; write one with the sizes of the encoder and pass it as --config."
        )
    return read_config(directory), f"{directory}/config.json"


def _hf_config(
    family: Family,
    shape: EncoderConfig,
    source_config: Mapping[str, Any],
    where: str,
    architecture: str,
    contents: CheckpointContents,
) -> dict[str, Any]:
    """Return the ``config.json`` with which transformers opens the converted tensors."""
    head = find_published_head(family, architecture)
    labels: tuple[str, ...] = ()
    if head is not None and architecture.endswith(("ForSequenceClassification", "ForTokenClassification")):
        n = contents.shape(f"{head.names['head.output']}.weight")[0]
        labels = parse_labels(source_config, where) or generic_label_names(n)
        if len(labels) != n:
            raise WeightsError(
                f"{where}: id2label names {pluralize(len(labels), 'label')}, but the head in "
                f"{contents.checkpoint.source} has {pluralize(n, 'output')}; correct or remove id2label."
            )
    problem = source_config.get("problem_type") if architecture.endswith("ForSequenceClassification") else None
    hf_config = build_hf_config(
        family, shape, head=None, id2label=dict(enumerate(labels)) or None, problem_type=problem, base=source_config
    )
    return hf_config | {"architectures": [architecture]}


def _tensorflow_config(
    config: Mapping[str, Any], tokenizer: Tokenizer, names: Iterable[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the ``bert_config.json`` of a model, and notes about lost information.

    Raises:
        WeightsError: google-research/bert does not support the model.
    """
    (architecture,) = config["architectures"]
    table = load_name_table("tensorflow")
    unmapped = [name for name in names if table.file_name(name) is None]
    unsupported = ""
    if architecture not in ARCHITECTURES:
        unsupported = f"a {architecture}"
    elif config["hidden_act"] not in ACTIVATIONS:
        unsupported = f"the activation {config['hidden_act']}"
    elif unmapped:
        unsupported = f"the tensors {join_names(unmapped)}"
    if unsupported:
        raise WeightsError(f"--to tf: google-research/bert does not support {unsupported}; convert it to hf.")
    tf_config = {key: config[key] for key in CONFIG_KEYS}
    notes = []
    if config["layer_norm_eps"] != NORM_EPS:
        tf_config["layer_norm_eps"] = config["layer_norm_eps"]
        notes.append(
            f"layer_norm_eps is {config['layer_norm_eps']:g}, but google-research/bert always uses {NORM_EPS:g}; "
            "bertwright reads it from bert_config.json"
        )
    if labels := config.get("id2label"):
        notes.append(f"the format does not store label names ({', '.join(labels.values())})")
    normalizer = tokenizer.backend.normalizer
    if isinstance(normalizer, normalizers.BertNormalizer):
        tf_config["do_lower_case"] = normalizer.lowercase
    _vocabulary_lines(tokenizer)
    return tf_config, notes


def _vocabulary_lines(tokenizer: Tokenizer) -> list[str]:
    """Return the lines of ``vocab.txt``.

    The line number is the token id, so gaps get placeholders that no text contains.

    Raises:
        TokenizerError: the tokenizer is not that of BERT.
    """
    backend = tokenizer.backend
    if not isinstance(backend.model, models.WordPiece) or not isinstance(
        backend.normalizer, normalizers.BertNormalizer
    ):
        raise TokenizerError(
            "--to tf: the tokenizer is not a BERT tokenizer, which vocab.txt requires; convert it to hf."
        )
    by_id = {id_: word for word, id_ in backend.get_vocab(with_added_tokens=True).items()}
    return [by_id.get(id_, f"[no token {id_}]") for id_ in range(max(by_id) + 1)]
