"""Weights into a model and out of it, strictly: every tensor on either side is accounted for by name.

Left unsaid, a pooler that was not loaded or a head that nobody trained costs weeks (transformers #5421, #8887,
#2733): so each tensor of the checkpoint is loaded, renamed or left out with a reason, each of the model is loaded or
fresh, and the :class:`LoadingReport` says which.
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

Status = Literal["loaded", "renamed", "fresh", "left out"]

# What wrappers put before every name: DataParallel, torch.compile, a model inside another, sentence-transformers.
_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.|model\.|0\.auto_model\.)+")
# TensorFlow's names of a LayerNorm's parameters, in PyTorch files of 2018. Renamed directly under a LayerNorm only:
# other names may contain the words (transformers #29554, PR #35615).
_LEGACY = {"gamma": "weight", "beta": "bias"}
_LEGACY_NAME = re.compile(r"((?:^|\.)LayerNorm\.)(gamma|beta)$")

_MLM = "masked-LM head, not used by this task"
_TIED = ("*.decoder.weight", "*.decoder.bias", "vocab_projector.weight", "generator_lm_head.weight")
"""The masked-LM head's output layer, beside the part of it that is no copy."""
_LEFT_OUT = (
    ("*embeddings.position_ids", "a buffer that counts positions, not a weight"),
    ("*embeddings.token_type_ids", "a buffer of zeros, not a weight"),
    ("cls.predictions.*", _MLM),
    ("cls.seq_relationship.*", "next-sentence head, not used by this task"),
    ("lm_head.*", _MLM),
    ("vocab_*.*", _MLM),
    ("generator_predictions.*", _MLM),
    ("generator_lm_head.*", _MLM),
    ("discriminator_predictions.*", "replaced-token head, not used by this task"),
    ("qa_outputs.*", "question-answering head, not used by this task"),
    ("*pooler.dense.*", "pooler, not used by this head"),
    ("classifier.*", "a head that this task does not use"),
    ("head.*", "a head that this task does not use"),
    ("*.lora_[ab]", "an adapter (LoRA) that this model has not; save them merged to build on them"),
    ("pre_classifier.*", "a head that this task does not use"),
    ("*adam_[mv]", "state of an optimizer"),
    ("*global_step", "state of an optimizer"),
)
"""Names in a checkpoint, without wrappers, that are known and not needed, and why."""

INCOMPATIBLE_HEAD = "a head of another make"
NOT_IN_CHECKPOINT = "not in the checkpoint"

NOT_IN_FAMILY = "not part of {family}"
"""The reason given for a tensor that is left out without anything being known of it."""


@dataclass(frozen=True, slots=True)
class TensorRow:
    """What became of one tensor.

    Attributes:
        name: of the parameter in our model that it belongs to; None if it was left out.
        source_name: in the checkpoint; None if it was not there.
        shape: in the checkpoint, or of the fresh parameter.
        status: loaded under the name of the family's table; renamed, loaded under an older or wrapped spelling;
            fresh, in our model but not in the checkpoint; left out, in the checkpoint but not in our model.
        reason: why, if it was not simply loaded.
        dtype: the type it was converted from, where that is not float32.
    """

    name: str | None
    source_name: str | None
    shape: tuple[int, ...]
    status: Status
    reason: str = ""
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class LoadingReport:
    """Where every tensor of a checkpoint went and where every parameter of the model came from."""

    source: str
    family: str
    rows: tuple[TensorRow, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many tensors have each status; query, key and value count as the three that the checkpoint has."""
        found = Counter(row.status for row in self.rows)
        return {status: found[status] for status in ("loaded", "renamed", "fresh", "left out")}

    @property
    def unknown(self) -> tuple[TensorRow, ...]:
        """The tensors that were left out although nothing is known of them: look at these."""
        return tuple(row for row in self.rows if row.reason == NOT_IN_FAMILY.format(family=self.family))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        tensors = [{**asdict(row), "shape": list(row.shape)} for row in self.rows]
        return {"source": self.source, "family": self.family, "counts": self.counts, "tensors": tensors}

    def summary(self) -> str:
        """A few plain lines, the tensors that nothing is known of in a line of their own."""
        of = {status: [row for row in self.rows if row.status == status] for status in self.counts}
        loaded = of["loaded"] + of["renamed"]
        parts = [pluralize(len(loaded), "tensor") + " loaded"]
        if of["fresh"]:
            parts.append(f"{len(of['fresh'])} fresh ({'; '.join(_by_reason(of['fresh']))})")
        known = [row for row in of["left out"] if row not in self.unknown]
        if known:
            parts.append(f"{len(known)} left out ({'; '.join(_by_reason(known))})")
        lines = [", ".join(parts)]
        if of["renamed"]:
            lines.append(f"{pluralize(len(of['renamed']), 'tensor')} renamed: {'; '.join(_reasons(of['renamed']))}")
        for dtype, n in Counter(row.dtype for row in loaded if row.dtype).items():
            lines.append(f"{pluralize(n, 'tensor')} converted from {dtype} to float32")
        if self.unknown:
            names = _names(row.source_name for row in self.unknown)
            lines.append(f"{pluralize(len(self.unknown), 'tensor')} not part of {self.family}, left out: {names}")
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
    """Copy a checkpoint's tensors into a model, in place and in float32; whatever the head lacks starts fresh.

    Args:
        model: an encoder of the family and a head; on the CPU or wherever it will train.
        checkpoint: where the tensors are.
        family: whose names the checkpoint uses.
        head: the published head that the model has; None for a head of the user's own, which is loaded only from a
            checkpoint that has it under our names, and otherwise stays as its constructor made it.
        generator: for fresh tensors of a published head; None for torch's global one.
        selection: what is taken; the rest starts fresh, also of the encoder.

    Raises:
        WeightsError: a tensor of the encoder is missing, two have one name, or one has a wrong shape or damaged values.
    """
    goals = {
        part: (name, tensor)
        for name, whole in model.state_dict().items()
        for part, tensor in _parts(name, whole, family, head)
    }
    selection.check(dict.fromkeys(name for name, _ in goals.values()), (*goals, *checkpoint.tensors))
    sources, left_out, why = _match(checkpoint, family, goals, model.encoder.config.n_layers, selection)
    if head is None:
        left_out += _drop_other_head(checkpoint, goals, sources)
    pretrained = (part for part, (name, _) in goals.items() if name.startswith("encoder.") and part != name)
    wanted = [part for part in pretrained if selection.takes(part, goals[part][0])]
    missing = [part for part in wanted if part not in sources]
    if missing and (selection.strict or len(missing) == len(wanted)):
        raise WeightsError(_missing_text(checkpoint, family, missing, sources))

    rows = []
    for part, (source_name, spelling) in sources.items():
        name, goal = goals[part]
        tensor = _sound(checkpoint, source_name, goal.dtype)
        goal.copy_(tensor)
        dtype = "" if tensor.dtype == goal.dtype else str(tensor.dtype).removeprefix("torch.")
        status: Status = "renamed" if spelling else "loaded"
        rows.append(TensorRow(name, source_name, tuple(tensor.shape), status, spelling, dtype))
    for part, (name, goal) in goals.items():
        if part not in sources:
            reason = why.get(part, NOT_IN_CHECKPOINT if selection.takes(part, name) else NOT_SELECTED)
            if family.hf_names(name, head):
                _initialise(name, goal, model.encoder.config.initializer_range, generator)
            else:
                reason += "; as its constructor made it"
            rows.append(TensorRow(name, None, tuple(goal.shape), "fresh", reason))
    return LoadingReport(checkpoint.source, family.model_type, (*rows, *left_out))


def head_is_trained(report: LoadingReport) -> bool:
    """Whether the whole head came from the checkpoint; a model whose head did not must not predict before training."""
    return not any(row.status == "fresh" for row in report.rows)


def export_state(model: Model, family: Family, *, head: str | None = "classification") -> dict[str, Tensor]:
    """The model's tensors under the family's names: contiguous, on the CPU, in float32 but for counts.

    Like ``state_dict()`` it shares memory with the model where it can: save or clone it before training goes on.
    Those of a head of the user's own keep our names.
    """
    return {
        part: tensor.to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, whole in model.state_dict().items()
        for part, tensor in _parts(name, whole, family, head)
    }


def _parts(name: str, tensor: Tensor, family: Family, head: str | None) -> list[tuple[str, Tensor]]:
    """The family's name of a tensor of ours, or names of its parts, and views of them; ours where it has none."""
    names = family.hf_names(name, head)
    return [(name, tensor)] if not names else list(zip(names, tensor.chunk(len(names)), strict=True))


def initialize_weights(module: nn.Module, deviation: float, generator: torch.Generator | None = None) -> None:
    """Start a module afresh as BERT does: weights normal(0, deviation), biases 0, norms 1."""
    for name, parameter in module.named_parameters():
        _initialise(name, parameter.data, deviation, generator)


def _initialise(name: str, tensor: Tensor, deviation: float, generator: torch.Generator | None) -> None:
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
    """Each goal's name and spelling in the checkpoint, what is left out, and why goals that it has start fresh all the
    same; nothing is read or changed yet."""
    sources: dict[str, tuple[str, str]] = {}
    left_out, why = [], {}
    guesses = any(name == "head.bias" for name, _ in goals.values())  # words
    for source_name, info in checkpoint.tensors.items():
        part, spelling = canonical_name(source_name, family, goals)
        if part not in goals:
            reason = checkpoint.ignored.get(source_name) or _reason(part, family, n_layers)
            if guesses and any(fnmatchcase(part, pattern) for pattern in _TIED):
                reason = "the output layer over words, which is the word embedding again"
            left_out.append(TensorRow(None, source_name, info.shape, "left out", reason))
            continue
        name, goal = goals[part]
        expected = tuple(goal.shape)
        own_head = part == name and name.startswith("head.")
        rows_alone_differ = len(info.shape) == len(expected) and info.shape[1:] == expected[1:]
        if not selection.takes(part, name, source_name):
            why[part] = NOT_SELECTED
            left_out.append(TensorRow(None, source_name, info.shape, "left out", NOT_SELECTED))
        elif name.startswith("head.output.") and rows_alone_differ and info.shape != expected:
            reason = f"a head with {info.shape[0]} outputs, this task has {expected[0]}"
            left_out.append(TensorRow(None, source_name, info.shape, "left out", reason))
        elif info.shape != expected and own_head:
            left_out.append(TensorRow(None, source_name, info.shape, "left out", INCOMPATIBLE_HEAD))
        elif info.shape != expected and not selection.strict:
            why[part] = f"of shape {info.shape} in the checkpoint"
            left_out.append(TensorRow(None, source_name, info.shape, "left out", f"{name} has shape {expected}"))
        elif info.shape != expected:
            raise WeightsError(_shape_text(checkpoint, source_name, info.shape, name, expected))
        elif part in sources:
            both = f"{sources[part][0]} and {source_name}"
            raise WeightsError(f"{checkpoint.source}: {both} are both {part}; remove one of them.")
        else:
            sources[part] = (source_name, spelling)
    return sources, left_out, why


def _drop_other_head(
    checkpoint: Checkpoint, goals: Mapping[str, tuple[str, Tensor]], sources: dict[str, tuple[str, str]]
) -> list[TensorRow]:
    """Take none of a head of the user's own unless the checkpoint has it all: layers by chance of one name and shape
    mean something else. Its output layer may be of another size, for other labels."""
    own = [part for part, (name, _) in goals.items() if part == name and name.startswith("head.")]
    if all(part in sources for part in own if not part.startswith("head.output.")):
        return []
    dropped = [sources.pop(part)[0] for part in own if part in sources]
    return [TensorRow(None, name, checkpoint.tensors[name].shape, "left out", INCOMPATIBLE_HEAD) for name in dropped]


def canonical_name(name: str, family: Family, goals: Container[str]) -> tuple[str, str]:
    """The family's name for a tensor, and how the checkpoint's spelling differs from it; "" if it does not."""
    if name in goals:
        return name, ""
    spelling = []
    bare = _WRAPPERS.sub("", name)
    if bare != name:
        spelling.append(f"written with {name.removesuffix(bare)}")
    if legacy := _LEGACY_NAME.search(bare):
        spelling.append(f"{legacy[2]} is the {_LEGACY[legacy[2]]}")
        bare = bare[: legacy.start(2)] + _LEGACY[legacy[2]]
    prefix = f"{family.prefix}."
    if prefix + bare in goals:
        return prefix + bare, ", ".join([*spelling, f"written without {prefix}"])
    if bare.removeprefix(prefix) in goals and bare.startswith(prefix):
        return bare.removeprefix(prefix), ", ".join([*spelling, f"written with {prefix}"])
    return bare, ", ".join(spelling)


def _reason(name: str, family: Family, n_layers: int) -> str:
    layer = re.match(rf"(?:{family.prefix}\.)?\w+\.layer\.(\d+)\.", name)
    if layer and int(layer[1]) >= n_layers:
        return f"a layer of a deeper encoder, the config has {n_layers}"
    for pattern, reason in _LEFT_OUT:
        if fnmatchcase(name, pattern):
            return reason
    return NOT_IN_FAMILY.format(family=family.model_type)


def _sound(checkpoint: Checkpoint, name: str, dtype: torch.dtype) -> Tensor:
    tensor = checkpoint.tensor(name)
    if tensor.dtype == dtype and not dtype.is_floating_point:
        return tensor  # a count, such as BatchNorm's of batches
    if not tensor.is_floating_point():
        raise WeightsError(f"{checkpoint.source}: {name} is of type {tensor.dtype}, not a floating-point weight.")
    # A sum shows NaN and infinity in one pass, without a second tensor; in float32, as that of halves may overflow.
    if not tensor.sum(dtype=torch.float32).isfinite():
        raise WeightsError(f"{checkpoint.source}: {name} holds NaN or infinity; download or save it again.")
    return tensor


def _missing_text(checkpoint: Checkpoint, family: Family, missing: list[str], sources: Mapping[str, Any]) -> str:
    says = f"{checkpoint.source}: {pluralize(len(missing), 'tensor')} of the encoder missing ({_names(missing)})"
    if not sources:
        starts = {name.partition(".")[0] for name in checkpoint.tensors}
        others = [other.model_type for other in FAMILIES.values() if other.prefix in starts]
        hint = f"the names look like {' or '.join(others)}; " if others else ""
        return f"{says}; it holds {_names(checkpoint.tensors)}; {hint}check model_type in config.json."
    return f"{says}; check that the file is whole and belongs to its config.json."


def _shape_text(
    checkpoint: Checkpoint, source_name: str, shape: tuple[int, ...], name: str, expected: tuple[int, ...]
) -> str:
    hints = {
        "encoder.embeddings.word.weight": "vocab_size in config.json must be that of the weights and of the tokenizer",
        "encoder.embeddings.position.weight": "check max_position_embeddings in config.json",
        "encoder.embeddings.segment.weight": "check type_vocab_size in config.json",
    }
    hint = hints.get(name, "check that config.json and the weights belong together")
    return f"{checkpoint.source}: {source_name} has shape {shape}, but {name} needs {expected}; {hint}."


def _reasons(rows: list[TensorRow]) -> list[str]:
    return [f"{reason} ({n})" for reason, n in Counter(row.reason for row in rows).items()]


def _by_reason(rows: list[TensorRow]) -> list[str]:
    """The names of each reason, such as ``cls.predictions.*: masked-LM head, not used by this task``."""
    names: dict[str, list[str | None]] = {}
    for row in rows:
        names.setdefault(row.reason, []).append(row.name or row.source_name)
    return [_names(found) + ("" if why.startswith(NOT_IN_CHECKPOINT) else f": {why}") for why, found in names.items()]


def _names(names: Iterable[str | None]) -> str:
    """A few names, or what they have in common where they are many."""
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
