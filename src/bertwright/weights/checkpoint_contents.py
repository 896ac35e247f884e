"""Classification of a checkpoint's tensors for conversion: encoder, pooler, published heads, ignored tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from bertwright.errors import WeightsError, did_you_mean
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.weights.architectures import head_modules
from bertwright.weights.families import Family
from bertwright.weights.loading import NOT_IN_FAMILY, TensorRow, canonical_name
from bertwright.weights.name_table import NameTable
from bertwright.weights.tensors import Checkpoint, join_names

_BUFFERS = ("*embeddings.position_ids", "*embeddings.token_type_ids")
_TIED = "a copy of the word embedding or its bias"
OTHER_NAME = "different name in the file"
"""The reason reported for a tensor with another name in the file, as in another format or a name table."""


@dataclass(frozen=True)
class CheckpointContents:
    """The tensors of a checkpoint that a family knows, and the status of every tensor.

    Attributes:
        checkpoint: the checkpoint.
        sources: name in the family, with its prefix → name in the checkpoint.
        rows: every tensor of the checkpoint, for a :class:`~bertwright.weights.loading.LoadingReport`.
    """

    checkpoint: Checkpoint
    sources: Mapping[str, str]
    rows: tuple[TensorRow, ...]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, by its name in the family."""
        return self.checkpoint.tensors[self.sources[name]].shape


def classify_tensors(
    checkpoint: Checkpoint,
    family: Family,
    shape: EncoderConfig,
    config: Mapping[str, Any],
    table: NameTable | None = None,
) -> CheckpointContents:
    """Classify a checkpoint's tensors; only an output layer that may equal the word embedding is read.

    Args:
        checkpoint: under transformers' names, or spellings that :func:`~bertwright.weights.loading.canonical_name`
            knows.
        family: the family whose names it has.
        shape: the shape of its encoder.
        config: its ``config.json``.
        table: the name table that it was translated with, for messages.

    Raises:
        WeightsError: the encoder is incomplete, two tensors have one name, or a tensor is not supported.
    """
    required = _encoder_shapes(family, shape)
    output = family.heads["masked_lm"].names["head"]
    decoder = {f"{output}.decoder.weight", f"{output}.weight"}
    goals = {*required, *decoder, f"{output}.decoder.bias"}
    goals |= {f"{module}{leaf}" for module in head_modules(family) for leaf in (".weight", ".bias")}
    named = {source: canonical_name(source, family, goals) for source in checkpoint.tensors}
    source_of = {name: source for source, (name, _) in named.items()}
    sources: dict[str, str] = {}
    rows = []
    for source, (name, spelling) in named.items():
        info, file_name = checkpoint.tensors[source], _source_name(checkpoint, source)
        reason = checkpoint.ignored.get(source) or _why_not(checkpoint, name, family, goals)
        if name in decoder and config.get("tie_word_embeddings", True):
            _check_tied(checkpoint, source, source_of.get(f"{family.prefix}.embeddings.word_embeddings.weight"))
            reason = _TIED
        elif name == f"{output}.decoder.bias":
            name, reason = f"{output}.bias", _TIED if f"{output}.bias" in source_of else reason
        if reason:
            rows.append(TensorRow(None, file_name, info.shape, "ignored", reason))
            continue
        if name in sources:
            both = f"{_source_name(checkpoint, sources[name])} and {file_name}"
            raise WeightsError(f"{checkpoint.source}: {both} both map to {name}; remove one of them.")
        sources[name] = source
        spelling = spelling or ("" if file_name == name else OTHER_NAME)
        rows.append(TensorRow(name, file_name, info.shape, "renamed" if spelling else "loaded", spelling))
    contents = CheckpointContents(checkpoint, sources, tuple(rows))
    _check_encoder(contents, required, table)
    return contents


def _source_name(checkpoint: Checkpoint, name: str) -> str:
    return checkpoint.origins.get(name, name)


def _encoder_shapes(family: Family, shape: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the family's names of the encoder's tensors, and their shapes."""
    with torch.device("meta"):
        encoder = Encoder(shape)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in encoder.state_dict(prefix="encoder.").items():
        names = family.hf_names(name, None)
        shapes |= dict.fromkeys(names, (tensor.shape[0] // max(len(names), 1), *tensor.shape[1:]))
    return shapes


def _why_not(checkpoint: Checkpoint, name: str, family: Family, goals: set[str]) -> str:
    """Return why a tensor is ignored; "" if it is kept."""
    if name in goals:
        return ""
    if fnmatchcase(name, "*.lora_[ab]"):
        raise WeightsError(
            f"{checkpoint.source}: contains LoRA adapters that are not merged into the weights; "
            "train with model.lora.merge=true."
        )
    if any(fnmatchcase(name, pattern) for pattern in _BUFFERS):
        return "a buffer, not a weight"
    if name.startswith("head."):
        return "a custom head, for which transformers has no class"
    return NOT_IN_FAMILY.format(family=family.model_type)


def _check_tied(checkpoint: Checkpoint, decoder: str, words: str | None) -> None:
    """Refuse an output layer that differs from the word embedding although the configuration ties them."""
    if words is None or not torch.equal(checkpoint.tensor(decoder), checkpoint.tensor(words)):
        raise WeightsError(
            f"{checkpoint.source}: {_source_name(checkpoint, decoder)} differs from the word embedding, but "
            "transformers would tie them; set tie_word_embeddings to false in config.json."
        )


def _check_encoder(
    contents: CheckpointContents, required: Mapping[str, tuple[int, ...]], table: NameTable | None
) -> None:
    """Refuse an encoder that lacks a tensor or has one of another shape."""
    checkpoint = contents.checkpoint
    if missing := [name for name in required if name not in contents.sources]:
        raise WeightsError(
            f"{checkpoint.source}: {len(missing)} of the encoder's {len(required)} tensors missing "
            f"({join_names(missing)}); {_hint(missing[0], checkpoint, table)}"
        )
    for name, shape in required.items():
        if contents.shape(name) != shape:
            raise WeightsError(
                f"{checkpoint.source}: {_source_name(checkpoint, contents.sources[name])} has shape "
                f"{contents.shape(name)}, but {name} needs {shape}; check that config.json belongs to the weights."
            )


def _hint(missing: str, checkpoint: Checkpoint, table: NameTable | None) -> str:
    if table is None:
        return "check that the file is complete and belongs to its config.json."
    file_name = table.file_name(missing)
    if file_name is None:
        return f"the name table has no entry for {missing}."
    return f"the name table maps it to {file_name}; {did_you_mean(file_name, checkpoint.origins.values())}"
