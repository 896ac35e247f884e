"""Strict loading of weights into a model and export from it: every tensor is accounted for by name.

A pooler that was silently not loaded, or an untrained head, costs weeks (transformers #5421, #8887, #2733). Therefore
each tensor of the checkpoint is loaded, renamed or ignored with a reason, each tensor of the model is loaded or
randomly initialized, and the :class:`LoadingReport` lists which.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bertwright.errors import WeightsError
from bertwright.nn.model import Model
from bertwright.output.plurals import pluralize
from bertwright.weights.checkpoint_files import Checkpoint
from bertwright.weights.families import FAMILIES, Family
from bertwright.weights.selection import LOAD_ALL, NOT_SELECTED, TensorSelection

Status = Literal["loaded", "renamed", "randomly initialized", "ignored"]

# Prefixes of wrappers: DataParallel, torch.compile, a model inside another, sentence-transformers.
_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.|model\.|0\.auto_model\.)+")
# TensorFlow names of LayerNorm parameters, in PyTorch files of 2018. Only names directly under a LayerNorm are
# renamed, because other names may contain these words (transformers #29554, PR #35615).
_LEGACY = {"gamma": "weight", "beta": "bias"}
_LEGACY_NAME = re.compile(r"((?:^|\.)LayerNorm\.)(gamma|beta)$")

_MLM = "masked-LM head, not used by this task"
_TIED = ("*.decoder.weight", "*.decoder.bias", "vocab_projector.weight", "generator_lm_head.weight")
"""The output layer of the masked-LM head, except its bias."""
_IGNORED = (
    ("*embeddings.position_ids", "position indices, not a weight"),
    ("*embeddings.token_type_ids", "zeros, not a weight"),
    ("cls.predictions.*", _MLM),
    ("cls.seq_relationship.*", "next-sentence head, not used by this task"),
    ("lm_head.*", _MLM),
    ("vocab_*.*", _MLM),
    ("generator_predictions.*", _MLM),
    ("generator_lm_head.*", _MLM),
    ("discriminator_predictions.*", "replaced-token head, not used by this task"),
    ("qa_outputs.*", "question-answering head, not used by this task"),
    ("*pooler.dense.*", "pooler, not used by this head"),
    ("classifier.*", "head of another task"),
    ("head.*", "head of another task"),
    ("*.lora_[ab]", "a LoRA adapter that this model does not have; merge adapters before saving"),
    ("pre_classifier.*", "head of another task"),
    ("*adam_[mv]", "optimizer state"),
    ("*global_step", "optimizer state"),
)
"""Known tensors that are not loaded, without wrapper prefixes, and the reason."""

INCOMPATIBLE_HEAD = "a head with another architecture"
NOT_IN_CHECKPOINT = "not in the checkpoint"

NOT_IN_FAMILY = "not part of {family}"
"""The reason reported for an ignored tensor that bertwright does not know."""


@dataclass(frozen=True, slots=True)
class TensorRow:
    """The status of one tensor.

    Attributes:
        name: the parameter of the model; None if the tensor was ignored.
        source_name: the name in the checkpoint; None if it was not there.
        shape: the shape in the checkpoint, or of the randomly initialized parameter.
        status: loaded under the family's name; renamed: loaded under an older or wrapped name; randomly initialized: in
            the model but not in the checkpoint; ignored: in the checkpoint but not in the model.
        reason: the reason, unless it was simply loaded.
        dtype: the dtype it was converted from, if not float32.
    """

    name: str | None
    source_name: str | None
    shape: tuple[int, ...]
    status: Status
    reason: str = ""
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class LoadingReport:
    """The destination of every tensor of a checkpoint and the origin of every parameter of the model."""

    source: str
    family: str
    rows: tuple[TensorRow, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of tensors by status; query, key and value count as three tensors, as in the checkpoint."""
        counter = Counter(row.status for row in self.rows)
        return {status: counter[status] for status in ("loaded", "renamed", "randomly initialized", "ignored")}

    @property
    def unknown(self) -> tuple[TensorRow, ...]:
        """The ignored tensors that bertwright does not know; check these."""
        return tuple(row for row in self.rows if row.reason == NOT_IN_FAMILY.format(family=self.family))

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        tensors = [{**asdict(row), "shape": list(row.shape)} for row in self.rows]
        return {"source": self.source, "family": self.family, "counts": self.counts, "tensors": tensors}

    def summary(self) -> str:
        """Return a few lines of text; unknown tensors have their own line."""
        by_status = {status: [row for row in self.rows if row.status == status] for status in self.counts}
        loaded = by_status["loaded"] + by_status["renamed"]
        parts = [pluralize(len(loaded), "tensor") + " loaded"]
        if initialized := by_status["randomly initialized"]:
            parts.append(f"{len(initialized)} randomly initialized ({'; '.join(_by_reason(initialized))})")
        ignored = [row for row in by_status["ignored"] if row not in self.unknown]
        if ignored:
            parts.append(f"{len(ignored)} ignored ({'; '.join(_by_reason(ignored))})")
        lines = [", ".join(parts)]
        if by_status["renamed"]:
            renamed = by_status["renamed"]
            lines.append(f"{pluralize(len(renamed), 'tensor')} renamed: {'; '.join(_reasons(renamed))}")
        for dtype, n in Counter(row.dtype for row in loaded if row.dtype).items():
            lines.append(f"{pluralize(n, 'tensor')} converted from {dtype} to float32")
        if self.unknown:
            names = _names(row.source_name for row in self.unknown)
            lines.append(f"{pluralize(len(self.unknown), 'tensor')} not part of {self.family}, ignored: {names}")
        return "\n".join(lines)


def load_into(
    model: Model,
    checkpoint: Checkpoint,
    family: Family,
    *,
    head: str | None = "classification",
    generator: torch.Generator | None = None,
    selection: TensorSelection = LOAD_ALL,
) -> LoadingReport:
    """Copy a checkpoint's tensors into a model, in place and in float32; initialize missing parts of the head randomly.

    Args:
        model: an encoder of the family and a head, on any device.
        checkpoint: the tensors.
        family: the family whose names the checkpoint uses.
        head: the kind of the published head; None for a custom head, which is loaded only from a checkpoint with the
            same head, and otherwise keeps the values of its constructor.
        generator: random generator for a published head; None for torch's global one.
        selection: the tensors to load; the others are randomly initialized, also in the encoder.

    Raises:
        WeightsError: a tensor of the encoder is missing, two tensors have one name, or a tensor has a wrong shape, NaN
            or infinity.
    """
    goals = {
        part: (name, tensor)
        for name, stacked in model.state_dict().items()
        for part, tensor in _parts(name, stacked, family, head)
    }
    selection.check(dict.fromkeys(name for name, _ in goals.values()), (*goals, *checkpoint.tensors))
    sources, ignored, why = _match(checkpoint, family, goals, model.encoder.config.n_layers, selection)
    if head is None:
        ignored += _drop_other_head(checkpoint, goals, sources)
    pretrained = (part for part, (name, _) in goals.items() if name.startswith("encoder.") and part != name)
    required = [part for part in pretrained if selection.takes(part, goals[part][0])]
    missing = [part for part in required if part not in sources]
    if missing and (selection.strict or len(missing) == len(required)):
        raise WeightsError(_missing_text(checkpoint, family, missing, sources))

    rows = []
    for part, (source_name, spelling) in sources.items():
        name, goal = goals[part]
        tensor = _read_valid_tensor(checkpoint, source_name, goal.dtype)
        goal.copy_(tensor)
        dtype = "" if tensor.dtype == goal.dtype else str(tensor.dtype).removeprefix("torch.")
        status: Status = "renamed" if spelling else "loaded"
        rows.append(TensorRow(name, source_name, tuple(tensor.shape), status, spelling, dtype))
    for part, (name, goal) in goals.items():
        if part not in sources:
            reason = why.get(part, NOT_IN_CHECKPOINT if selection.takes(part, name) else NOT_SELECTED)
            if family.hf_names(name, head):
                _initialize(name, goal, model.encoder.config.initializer_range, generator)
            else:
                reason += "; set by its constructor"
            rows.append(TensorRow(name, None, tuple(goal.shape), "randomly initialized", reason))
    return LoadingReport(checkpoint.source, family.model_type, (*rows, *ignored))


def head_is_trained(report: LoadingReport) -> bool:
    """Whether the whole head came from the checkpoint; otherwise the model must not predict before training."""
    return not any(row.status == "randomly initialized" for row in report.rows)


def export_state(model: Model, family: Family, *, head: str | None = "classification") -> dict[str, Tensor]:
    """Return the model's tensors under the family's names: contiguous, on the CPU, in float32 except for counts.

    Like ``state_dict()`` it shares memory with the model where possible; save or clone it before training continues.
    Tensors of a custom head keep the names of bertwright.
    """
    return {
        part: tensor.to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, stacked in model.state_dict().items()
        for part, tensor in _parts(name, stacked, family, head)
    }


def _parts(name: str, tensor: Tensor, family: Family, head: str | None) -> list[tuple[str, Tensor]]:
    """Return the family's names for the parts of a tensor, with views of the parts; its own name if there are none."""
    names = family.hf_names(name, head)
    return [(name, tensor)] if not names else list(zip(names, tensor.chunk(len(names)), strict=True))


def initialize_weights(module: nn.Module, deviation: float, generator: torch.Generator | None = None) -> None:
    """Initialize a module as BERT does: weights from normal(0, deviation), biases 0, norms 1."""
    for name, parameter in module.named_parameters():
        _initialize(name, parameter.data, deviation, generator)


def _initialize(name: str, tensor: Tensor, deviation: float, generator: torch.Generator | None) -> None:
    if name.endswith("bias"):
        tensor.zero_()
    elif tensor.ndim == 1:  # the weight of a LayerNorm: everything else is a matrix
        tensor.fill_(1.0)
    else:
        tensor.normal_(0.0, deviation, generator=generator)


def _match(
    checkpoint: Checkpoint,
    family: Family,
    goals: Mapping[str, tuple[str, Tensor]],
    n_layers: int,
    selection: TensorSelection,
) -> tuple[dict[str, tuple[str, str]], list[TensorRow], dict[str, str]]:
    """Return the source and spelling of each goal, the ignored tensors, and why loadable goals are initialized.

    Nothing is read or changed yet.
    """
    sources: dict[str, tuple[str, str]] = {}
    ignored, why = [], {}
    predicts_tokens = any(name == "head.bias" for name, _ in goals.values())
    for source_name, info in checkpoint.tensors.items():
        part, spelling = canonical_name(source_name, family, goals)
        if part not in goals:
            reason = checkpoint.ignored.get(source_name) or _reason(part, family, n_layers)
            if predicts_tokens and any(fnmatchcase(part, pattern) for pattern in _TIED):
                reason = "output layer tied to the word embedding"
            ignored.append(TensorRow(None, source_name, info.shape, "ignored", reason))
            continue
        name, goal = goals[part]
        expected = tuple(goal.shape)
        own_head = part == name and name.startswith("head.")
        rows_alone_differ = len(info.shape) == len(expected) and info.shape[1:] == expected[1:]
        if not selection.takes(part, name, source_name):
            why[part] = NOT_SELECTED
            ignored.append(TensorRow(None, source_name, info.shape, "ignored", NOT_SELECTED))
        elif name.startswith("head.output.") and rows_alone_differ and info.shape != expected:
            reason = f"a head with {pluralize(info.shape[0], 'output')}, but this task has {expected[0]}"
            ignored.append(TensorRow(None, source_name, info.shape, "ignored", reason))
        elif info.shape != expected and own_head:
            ignored.append(TensorRow(None, source_name, info.shape, "ignored", INCOMPATIBLE_HEAD))
        elif info.shape != expected and not selection.strict:
            why[part] = f"shape {info.shape} in the checkpoint"
            ignored.append(TensorRow(None, source_name, info.shape, "ignored", f"{name} has shape {expected}"))
        elif info.shape != expected:
            raise WeightsError(_shape_text(checkpoint, source_name, info.shape, name, expected))
        elif part in sources:
            both = f"{sources[part][0]} and {source_name}"
            raise WeightsError(f"{checkpoint.source}: {both} both map to {part}; remove one of them.")
        else:
            sources[part] = (source_name, spelling)
    return sources, ignored, why


def _drop_other_head(
    checkpoint: Checkpoint, goals: Mapping[str, tuple[str, Tensor]], sources: dict[str, tuple[str, str]]
) -> list[TensorRow]:
    """Load a custom head only if the checkpoint has all of it; layers that match by chance would mean something else.

    The output layer may have another size, for other labels.
    """
    own = [part for part, (name, _) in goals.items() if part == name and name.startswith("head.")]
    if all(part in sources for part in own if not part.startswith("head.output.")):
        return []
    dropped = [sources.pop(part)[0] for part in own if part in sources]
    return [TensorRow(None, name, checkpoint.tensors[name].shape, "ignored", INCOMPATIBLE_HEAD) for name in dropped]


def canonical_name(name: str, family: Family, goals: Container[str]) -> tuple[str, str]:
    """Return the family's name for a tensor, and how it was changed from that in the checkpoint; "" if it was not."""
    if name in goals:
        return name, ""
    spelling = []
    bare = _WRAPPERS.sub("", name)
    if bare != name:
        spelling.append(f'prefix "{name.removesuffix(bare)}" removed')
    if legacy := _LEGACY_NAME.search(bare):
        spelling.append(f"{legacy[2]} changed to {_LEGACY[legacy[2]]}")
        bare = bare[: legacy.start(2)] + _LEGACY[legacy[2]]
    prefix = f"{family.prefix}."
    if prefix + bare in goals:
        return prefix + bare, ", ".join([*spelling, f'prefix "{prefix}" added'])
    if bare.removeprefix(prefix) in goals and bare.startswith(prefix):
        return bare.removeprefix(prefix), ", ".join([*spelling, f'prefix "{prefix}" removed'])
    return bare, ", ".join(spelling)


def _reason(name: str, family: Family, n_layers: int) -> str:
    layer = re.match(rf"(?:{family.prefix}\.)?\w+\.layer\.(\d+)\.", name)
    if layer and int(layer[1]) >= n_layers:
        return f"a layer of a deeper encoder; config.json has {pluralize(n_layers, 'layer')}"
    for pattern, reason in _IGNORED:
        if fnmatchcase(name, pattern):
            return reason
    return NOT_IN_FAMILY.format(family=family.model_type)


def _read_valid_tensor(checkpoint: Checkpoint, name: str, dtype: torch.dtype) -> Tensor:
    tensor = checkpoint.tensor(name)
    if tensor.dtype == dtype and not dtype.is_floating_point:
        return tensor  # a counter, such as num_batches_tracked of BatchNorm
    if not tensor.is_floating_point():
        raise WeightsError(f"{checkpoint.source}: {name} is of type {tensor.dtype}, not a floating-point weight.")
    # A sum reveals NaN and infinity in one pass without another tensor; in float32, because float16 may overflow.
    if not tensor.sum(dtype=torch.float32).isfinite():
        raise WeightsError(f"{checkpoint.source}: {name} holds NaN or infinity; download or save it again.")
    return tensor


def _missing_text(checkpoint: Checkpoint, family: Family, missing: list[str], sources: Mapping[str, Any]) -> str:
    text = f"{checkpoint.source}: {pluralize(len(missing), 'tensor')} of the encoder missing ({_names(missing)})"
    if not sources:
        starts = {name.partition(".")[0] for name in checkpoint.tensors}
        others = [other.model_type for other in FAMILIES.values() if other.prefix in starts]
        hint = f"the names look like {' or '.join(others)}; " if others else ""
        return f"{text}; it contains {_names(checkpoint.tensors)}; {hint}check model_type in config.json."
    return f"{text}; check that the file is complete and belongs to its config.json."


def _shape_text(
    checkpoint: Checkpoint, source_name: str, shape: tuple[int, ...], name: str, expected: tuple[int, ...]
) -> str:
    hints = {
        "encoder.embeddings.word.weight": "vocab_size in config.json must match the weights and the tokenizer",
        "encoder.embeddings.position.weight": "check max_position_embeddings in config.json",
        "encoder.embeddings.segment.weight": "check type_vocab_size in config.json",
    }
    hint = hints.get(name, "check that config.json and the weights belong together")
    return f"{checkpoint.source}: {source_name} has shape {shape}, but {name} needs {expected}; {hint}."


def _reasons(rows: list[TensorRow]) -> list[str]:
    """Return the reasons of rows, with the number of tensors for each if there are several."""
    counter = Counter(row.reason for row in rows)
    return [f"{reason} ({n})" if len(counter) > 1 else reason for reason, n in counter.items()]


def _by_reason(rows: list[TensorRow]) -> list[str]:
    """Group names by reason, such as ``cls.predictions.*: masked-LM head, not used by this task``."""
    groups: dict[str, list[str | None]] = {}
    for row in rows:
        groups.setdefault(row.reason, []).append(row.name or row.source_name)
    return [
        _names(names) + ("" if reason.startswith(NOT_IN_CHECKPOINT) else f": {reason}")
        for reason, names in groups.items()
    ]


def _names(names: Iterable[str | None]) -> str:
    """Return a few names, or their common prefix if there are many."""
    every = list(dict.fromkeys(map(str, names)))
    if len(every) <= 2:
        return ", ".join(every)
    first, last = min(every).split("."), max(every).split(".")
    common = 0
    while first[common : common + 1] == last[common : common + 1] != []:
        common += 1
    if common:
        return ".".join([*first[:common], "*"])
    groups: dict[str, list[str]] = {}
    for name in every:
        groups.setdefault(name.partition(".")[0], []).append(name)
    shown = [_names(group) for group in groups.values()]
    return ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "")
