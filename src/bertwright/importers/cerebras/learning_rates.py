"""Conversion of Model Zoo's learning rates (a number, a scheduler or a list of them) to a schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from bertwright.config.yaml_tree import format_number
from bertwright.errors import RecipeError, did_you_mean
from bertwright.importers.imported_recipe import RecipeDraft, SourceSetting, Status

_STEPS = ("steps", "total_iters", "decay_steps")
"""The keys for the length of a phase in 1.9, in 2.x and in some schedulers of both."""

_LINEAR = {"initial_learning_rate", "end_learning_rate", *_STEPS, "scheduler"}
# Supported schedulers, without the suffix LR of 2.x, and their keys.
_SCHEDULER_KEYS: dict[str, set[str]] = {
    "linear": _LINEAR,
    "polynomial": _LINEAR | {"power", "cycle"},
    "cosinedecay": _LINEAR,
    "constant": {"learning_rate", *_STEPS, "scheduler"},
    "piecewiseconstant": {"values", "learning_rates", "boundaries", "milestones", "scheduler"},
}


@dataclass(frozen=True)
class SchedulePhase:
    """One phase: the rate changes from ``start`` to ``end`` in ``steps`` steps; None: until the end of the run.

    Unusual and unsupported schedulers have that status and a note.
    """

    path: str
    kind: Literal["linear", "cosine", "constant"]
    steps: int | None
    start: float
    end: float
    status: Status = "mapped"
    note: str = ""


def map_learning_rates(draft: RecipeDraft, entry: SourceSetting, total: int | None, counts_from_start: bool) -> None:
    """Set the learning rate, warm-up and schedule of a draft.

    Args:
        draft: receives the settings and findings.
        entry: the learning rate or the schedulers.
        total: steps of the run, if the file gives them.
        counts_from_start: whether schedulers count steps from the start of the run instead of from where they begin.
    """
    phases = list(_iterate_phases(draft, entry, entry.path, entry.value))
    if counts_from_start:
        phases = list(_count_from_run_start(phases))
    peak = max(max(phase.start, phase.end) for phase in phases)
    draft.set("train.learning_rate", peak, entry.path, entry.where)
    draft.set("train.warmup", 0, "the schedule contains the warm-up", entry.where)
    if len(phases) == 1 and phases[0].kind == "constant":
        draft.set("train.schedule", "constant", entry.path, entry.where)
        text = f"train.schedule = constant, train.learning_rate = {format_number(peak)}, train.warmup = 0"
        draft.report(phases[0].path, phases[0].status, "; ".join(filter(None, (text, phases[0].note))))
        return
    segments: list[dict[str, Any]] = []
    start_step = 0
    for number, phase in enumerate(phases):
        steps = phase.steps if phase.steps is not None else max(1, (total or 0) - start_step)
        if total is not None and start_step >= total:
            draft.report(phase.path, "unusual", f"ignored, because the run ends before it, after {total:,} steps")
            continue
        segment: dict[str, Any] = {"kind": phase.kind, "steps": f"{steps} steps", "start": phase.start}
        rates = f"at {format_number(phase.start)}"
        if phase.kind != "constant":
            segment["end"] = phase.end
            rates = f"{format_number(phase.start)} → {format_number(phase.end)}"
        text = f"train.schedule[{len(segments)}]: {phase.kind}, {steps:,} steps, {rates}"
        segments.append(segment)
        start_step += steps
        status, note = phase.status, phase.note
        if total is not None and start_step < total and number == len(phases) - 1 and phase.end == 0:
            idle = f"the last {total - start_step:,} of {total:,} steps have a learning rate of 0"
            status, note = "unusual" if status == "mapped" else status, "; ".join(filter(None, (note, idle)))
        elif total is not None and start_step > total and phase.kind != "constant":
            cut = f"ends at step {start_step:,}, but the run ends at step {total:,}"
            status, note = "unusual" if status == "mapped" else status, "; ".join(filter(None, (note, cut)))
        draft.report(phase.path, status, f"{text}; {note}" if note else text)
    draft.set("train.schedule", segments, entry.path, entry.where)


def _iterate_phases(draft: RecipeDraft, entry: SourceSetting, path: str, value: Any) -> Iterator[SchedulePhase]:
    if isinstance(value, list):
        for number, scheduler in enumerate(value):
            yield from _iterate_phases(draft, entry, f"{path}.{number}", scheduler)
        return
    if not isinstance(value, Mapping):
        rate = replace(entry, path=path, value=value).number()
        yield SchedulePhase(path, "constant", None, rate, rate)
        return
    if len(value) == 1 and "scheduler" not in value:  # LinearLR: {…}
        (name, inner), *_ = value.items()
        if name == "SequentialLR" and isinstance(inner, Mapping):
            yield from _iterate_phases(draft, entry, f"{path}.{name}.schedulers", inner.get("schedulers"))
            for key in inner.keys() - {"schedulers"}:
                draft.report(f"{path}.{name}.{key}", "unknown", "bertwright does not know this key of SequentialLR")
            return
        if isinstance(inner, Mapping):
            yield from _scheduler(draft, entry, f"{path}.{name}", name, inner)
            return
    name = _require(entry, path, value, "scheduler").text()
    yield from _scheduler(draft, entry, path, name, value)


def _scheduler(
    draft: RecipeDraft, entry: SourceSetting, path: str, name: str, values: Mapping[str, Any]
) -> Iterator[SchedulePhase]:
    kind = name.lower().removesuffix("lr")
    keys = _SCHEDULER_KEYS.get(kind)
    for key in values:
        if keys is not None and key not in keys:
            hint = did_you_mean(key, keys)
            text = f"bertwright does not know this key of {name}" if hint.startswith("known") else hint
            draft.report(f"{path}.{key}", "unknown", text)
    all_keys = f"{path}.*"
    if kind == "piecewiseconstant":
        yield from _pieces(entry, path, values)
    elif kind == "constant":
        rate = _require(entry, path, values, "learning_rate").number()
        yield SchedulePhase(all_keys, "constant", _length(entry, path, values, needed=False), rate, rate)
    elif keys is not None and values.get("power", 1) == 1 and not values.get("cycle"):
        start = _require(entry, path, values, "initial_learning_rate").number()
        end = _require(entry, path, values, "end_learning_rate").number()
        steps = _length(entry, path, values, needed=True)
        yield SchedulePhase(all_keys, "cosine" if kind == "cosinedecay" else "linear", steps, start, end)
    else:
        first = _require(entry, path, values, "initial_learning_rate", "learning_rate").number()
        note = f"bertwright has no equivalent of {name} and keeps its first rate"
        yield SchedulePhase(
            all_keys, "constant", _length(entry, path, values, needed=False), first, first, "unsupported", note
        )


def _pieces(entry: SourceSetting, path: str, values: Mapping[str, Any]) -> Iterator[SchedulePhase]:
    """Yield constant phases, each of which ends at a step."""
    rates = _require(entry, path, values, "learning_rates", "values")
    ends = _require(entry, path, values, "milestones", "boundaries")
    if not isinstance(rates.value, list) or not rates.value:
        raise rates.make_error("a list of rates")
    if not isinstance(ends.value, list) or len(ends.value) not in (len(rates.value), len(rates.value) - 1):
        raise ends.make_error(f"a list of {len(rates.value) - 1} steps")
    start_step = 0
    for number, value in enumerate(rates.value):
        rate = replace(rates, value=value).number()
        end = replace(ends, value=ends.value[number]).integer() if number < len(ends.value) else None
        piece = f"({path}.{rates.name}.{number})" if number else f"{path}.*"
        yield SchedulePhase(piece, "constant", None if end is None else end - start_step, rate, rate)
        start_step = end or start_step


def _count_from_run_start(phases: list[SchedulePhase]) -> Iterator[SchedulePhase]:
    """Yield phases whose schedulers count steps from the start of the run, although they begin later."""
    start_step = 0
    for number, phase in enumerate(phases):
        if not start_step or phase.kind == "constant" or phase.steps is None:
            yield phase
        elif phase.kind == "cosine":
            note = "Model Zoo counts from the start of the run; bertwright starts the cosine at its own start"
            yield replace(phase, status="unsupported", note=note)
        else:
            done = min(1.0, start_step / phase.steps)
            if done < 1:
                start = phase.start + (phase.end - phase.start) * done
                yield replace(phase, start=start, steps=phase.steps - start_step)
            if done == 1 or number < len(phases) - 1:
                path = phase.path if done == 1 else f"({phase.path.removesuffix('.*')}, after its end)"
                yield SchedulePhase(path, "constant", min(start_step, phase.steps), phase.end, phase.end)
        start_step += phase.steps or 0


def _length(entry: SourceSetting, path: str, values: Mapping[str, Any], needed: bool) -> int | None:
    if not needed and not any(name in values for name in _STEPS):
        return None
    steps = _require(entry, path, values, *_STEPS)
    if steps.integer() < 1:
        raise steps.make_error("at least 1")
    return steps.integer()


def _require(entry: SourceSetting, path: str, values: Mapping[str, Any], *names: str) -> SourceSetting:
    """Return the key of a scheduler that has one of these names.

    Raises:
        RecipeError: the key is missing.
    """
    for name in names:
        if name in values:
            return replace(entry, path=f"{path}.{name}", name=name, value=values[name])
    raise RecipeError(f"{entry.where}: {path}.{names[0]} is missing.")
