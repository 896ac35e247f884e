"""What a checkpoint holds of a model: encoder, pooler and every published head, each tensor accounted for by name."""

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
_TIED = "the word embedding, or the bias beside it, once more"
OTHER_NAME = "called otherwise in the file"
"""How a tensor is told that a format or a table of names calls differently, and not only spells differently."""


@dataclass(frozen=True)
class CheckpointContents:
    """The tensors of a checkpoint that a family knows, and what became of each.

    Attributes:
        checkpoint: that holds them.
        kept: their names in the checkpoint by their names in the family, with its prefix.
        rows: every tensor of the checkpoint, for a :class:`~bertwright.weights.loading.LoadingReport`.
    """

    checkpoint: Checkpoint
    kept: Mapping[str, str]
    rows: tuple[TensorRow, ...]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor that is kept."""
        return self.checkpoint.tensors[self.kept[name]].shape


def classify_tensors(
    checkpoint: Checkpoint,
    family: Family,
    shape: EncoderConfig,
    config: Mapping[str, Any],
    table: NameTable | None = None,
) -> CheckpointContents:
    """Sort a checkpoint's tensors out; nothing is read but an output layer that may be the word embedding again.

    Args:
        checkpoint: under transformers' names, or such as :func:`~bertwright.weights.loading.canonical_name` mends.
        family: whose names they are.
        shape: of its encoder.
        config: its ``config.json``.
        table: by which it was translated, for messages.

    Raises:
        WeightsError: the encoder is not whole, two tensors have one name, or there is something that cannot be kept
            and must not be lost.
    """
    wanted = _encoder_shapes(family, shape)
    output = family.heads["masked_lm"].names["head"]
    decoder = {f"{output}.decoder.weight", f"{output}.weight"}
    goals = {*wanted, *decoder, f"{output}.decoder.bias"}
    goals |= {f"{module}{leaf}" for module in head_modules(family) for leaf in (".weight", ".bias")}
    named = {source: canonical_name(source, family, goals) for source in checkpoint.tensors}
    home = {name: source for source, (name, _) in named.items()}
    kept: dict[str, str] = {}
    rows = []
    for source, (name, spelling) in named.items():
        info, called = checkpoint.tensors[source], _called(checkpoint, source)
        reason = checkpoint.ignored.get(source) or _why_not(checkpoint, name, family, goals)
        if name in decoder and config.get("tie_word_embeddings", True):
            _check_tied(checkpoint, source, home.get(f"{family.prefix}.embeddings.word_embeddings.weight"))
            reason = _TIED
        elif name == f"{output}.decoder.bias":
            name, reason = f"{output}.bias", _TIED if f"{output}.bias" in home else reason
        if reason:
            rows.append(TensorRow(None, called, info.shape, "left out", reason))
            continue
        if name in kept:
            both = f"{_called(checkpoint, kept[name])} and {called}"
            raise WeightsError(f"{checkpoint.source}: {both} are both {name}; remove one of them.")
        kept[name] = source
        spelling = spelling or ("" if called == name else OTHER_NAME)
        rows.append(TensorRow(name, called, info.shape, "renamed" if spelling else "loaded", spelling))
    found = CheckpointContents(checkpoint, kept, tuple(rows))
    _check_encoder(found, wanted, table)
    return found


def _called(checkpoint: Checkpoint, name: str) -> str:
    return checkpoint.origins.get(name, name)


def _encoder_shapes(family: Family, shape: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """The family's names of an encoder's tensors, and their shapes."""
    with torch.device("meta"):
        encoder = Encoder(shape)
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in encoder.state_dict(prefix="encoder.").items():
        names = family.hf_names(name, None)
        found |= dict.fromkeys(names, (tensor.shape[0] // max(len(names), 1), *tensor.shape[1:]))
    return found


def _why_not(checkpoint: Checkpoint, name: str, family: Family, goals: set[str]) -> str:
    """Why a tensor is not kept; "" if it is."""
    if name in goals:
        return ""
    if fnmatchcase(name, "*.lora_[ab]"):
        raise WeightsError(
            f"{checkpoint.source}: holds adapters (LoRA) beside the weights, without which they are another model; "
            "train with model.lora.merge=true."
        )
    if any(fnmatchcase(name, pattern) for pattern in _BUFFERS):
        return "a buffer, not a weight"
    if name.startswith("head."):
        return "a head of one's own, for which transformers has no class"
    return NOT_IN_FAMILY.format(family=family.model_type)


def _check_tied(checkpoint: Checkpoint, decoder: str, words: str | None) -> None:
    """Refuse an output layer that is not the word embedding where the configuration says that it is."""
    if words is None or not torch.equal(checkpoint.tensor(decoder), checkpoint.tensor(words)):
        raise WeightsError(
            f"{checkpoint.source}: {_called(checkpoint, decoder)} is not the word embedding, but transformers would "
            "put that in its place; set tie_word_embeddings to false in config.json."
        )


def _check_encoder(found: CheckpointContents, wanted: Mapping[str, tuple[int, ...]], table: NameTable | None) -> None:
    """Refuse an encoder that lacks a tensor, or has one of another shape."""
    checkpoint = found.checkpoint
    if missing := [name for name in wanted if name not in found.kept]:
        raise WeightsError(
            f"{checkpoint.source}: {len(missing)} of the encoder's {len(wanted)} tensors are missing "
            f"({join_names(missing)}); {_hint(missing[0], checkpoint, table)}"
        )
    for name, shape in wanted.items():
        if found.shape(name) != shape:
            raise WeightsError(
                f"{checkpoint.source}: {_called(checkpoint, found.kept[name])} has shape {found.shape(name)}, but "
                f"{name} needs {shape}; check that config.json and the weights belong together."
            )


def _hint(missing: str, checkpoint: Checkpoint, table: NameTable | None) -> str:
    if table is None:
        return "check that the file is whole and belongs to its config.json."
    called = table.theirs(missing)
    if called is None:
        return f"the table of names has none for {missing}."
    return f"by the table of names it is {called}; {did_you_mean(called, checkpoint.origins.values())}"
