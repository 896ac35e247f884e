"""A pre-trained model on disk: configuration, tokenizer and weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.heads import HeadStyle
from bertwright.nn.lora import add_adapters
from bertwright.nn.model import Model
from bertwright.nn.settings import LoraSettings
from bertwright.tokenization.tokenizer import Tokenizer, check_vocabulary
from bertwright.weights.checkpoint_files import Checkpoint, from_state_dict, open_checkpoint
from bertwright.weights.families import Family
from bertwright.weights.hf_config import find_family, parse_encoder_config, parse_labels, read_config
from bertwright.weights.hub import locate_model
from bertwright.weights.loading import LoadingReport, TensorRow, initialize_weights, load_into
from bertwright.weights.selection import LOAD_ALL, LOAD_NOTHING, TensorSelection
from bertwright.weights.sizes import check_sizes


@dataclass(frozen=True)
class Pretrained:
    """A pre-trained encoder; open one with :func:`open_pretrained`.

    Attributes:
        source: the name that the user gave.
        directory: its directory.
        family: the family of its names and heads.
        hf_config: its ``config.json``.
        config: the shape of its encoder.
        tokenizer: its tokenizer.
        scratch: whether there are no weights yet; the directory is then that of the tokenizer.
    """

    source: str
    directory: Path
    family: Family
    hf_config: Mapping[str, Any]
    config: EncoderConfig
    tokenizer: Tokenizer
    scratch: bool = False

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The weights; empty for an encoder from scratch."""
        return from_state_dict({}, self.source) if self.scratch else open_checkpoint(self.directory)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The labels of its head in the order of its outputs, if it is fine-tuned and names them."""
        return parse_labels(self.hf_config, f"{self.directory}/config.json")

    def style(self, head_kind: str) -> HeadStyle:
        """Return the family's published head for a kind of task, with the dropout rate of this checkpoint."""
        head = self.family.heads[head_kind]
        rate = self.family.head_dropout(self.hf_config, head_kind)
        return HeadStyle(head.activation, rate, head.dropout_before, self.has_pooler)

    @cached_property
    def has_pooler(self) -> bool:
        """Whether the checkpoint has a pooler."""
        names = self.checkpoint.tensors
        return bool(self.family.pooler) and any(name.endswith("pooler.dense.weight") for name in names)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Decisions about the tokenizer that the user may want to know."""
        return (*self.tokenizer.notes, *check_vocabulary(self.tokenizer, self.config.vocab_size))

    def with_dropout(self, dropout: float | None, attention_dropout: float | None) -> Pretrained:
        """Return a copy with other dropout rates in the encoder; None keeps the published rate."""
        if dropout is None and attention_dropout is None:
            return self
        config = self.config
        if dropout is not None:
            config = replace(config, dropout=dropout)
        if attention_dropout is not None:
            config = replace(config, attention_dropout=attention_dropout)
        return replace(self, config=config)

    def model(
        self,
        head: nn.Module,
        generator: torch.Generator | None = None,
        reinitialize_output: bool = False,
        head_kind: str | None = "classification",
        lora: LoraSettings | None = None,
        selection: TensorSelection = LOAD_ALL,
    ) -> tuple[Model, LoadingReport]:
        """Build a model with these weights and a head, and report the status of every tensor.

        Args:
            head: the head; a published one is loaded from the checkpoint if it has that head.
            generator: random generator for randomly initialized weights.
            reinitialize_output: initialize the output layer randomly although the checkpoint has one for other labels.
            head_kind: the kind of the published head; None for a custom head.
            lora: adapters for the encoder, randomly initialized unless the checkpoint has them.
            selection: the tensors to load; the others are randomly initialized.

        Raises:
            WeightsError: a tensor is missing, has another shape or is damaged.
        """
        with _NoRandomValues():  # load_into sets every weight of the encoder
            encoder = Encoder(self.config)
        model = Model(encoder, head)
        if lora is not None:
            add_adapters(model.encoder, lora, generator)
        if self.scratch:
            selection = LOAD_NOTHING
        report = load_into(
            model, self.checkpoint, self.family, head=head_kind, generator=generator, selection=selection
        )
        if self.scratch:
            return model, replace(report, rows=tuple(replace(row, reason="from scratch") for row in report.rows))
        loaded = any((row.name or "").startswith("head.output.") and row.source_name for row in report.rows)
        if reinitialize_output and loaded and isinstance(output := getattr(head, "output", None), nn.Module):
            initialize_weights(output, self.config.initializer_range, generator)
            report = mark_reinitialized(report, "head.output.", "trained for other labels in the checkpoint")
        return model, report


class _NoRandomValues(TorchFunctionMode):
    """Leaves tensors undefined that modules would fill with random numbers, which takes 0.1 s for MiniLM."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func in _RANDOM_FUNCTIONS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


_RANDOM_FUNCTIONS = (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)


def mark_reinitialized(report: LoadingReport, prefix: str, reason: str) -> LoadingReport:
    """Return the report with the parameters of a prefix as randomly initialized, and their tensors as ignored."""
    rows: list[TensorRow] = []
    for row in report.rows:
        if row.name is not None and row.name.startswith(prefix) and row.source_name is not None:
            rows.append(replace(row, source_name=None, status="randomly initialized", reason=reason, dtype=""))
            row = replace(row, name=None, status="ignored", reason=reason)
        rows.append(row)
    return replace(report, rows=tuple(rows))


def open_pretrained(
    name_or_path: str | os.PathLike[str], revision: str | None = None, partial: bool = False
) -> Pretrained:
    """Open an encoder, local or on the Hub, and read everything except its weights.

    Args:
        name_or_path: a directory or a Hub name.
        revision: the revision on the Hub.
        partial: whether part of the encoder may be randomly initialized, so that it may be larger than its weights.

    Raises:
        HubError: the model cannot be found.
        WeightsError: its configuration is missing, damaged, of an unknown family, or has sizes that the weights lack.
        TokenizerError: its tokenizer is missing, damaged, or does not fit the embedding.
    """
    directory = locate_model(name_or_path, revision)
    hf_config = read_config(directory)
    where = f"{directory}/config.json"
    family = find_family(hf_config, where)
    pretrained = Pretrained(
        os.fspath(name_or_path),
        directory,
        family,
        hf_config,
        parse_encoder_config(family, hf_config, where),
        Tokenizer.load(directory),
    )
    check_sizes(pretrained.config, family, pretrained.checkpoint, where, partial)
    _ = pretrained.notes  # raises if the tokenizer does not fit
    return pretrained
