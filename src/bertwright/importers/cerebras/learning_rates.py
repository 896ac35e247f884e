"""Learning rates of Cerebras Model Zoo (a number, a scheduler or a list of them) as phases of a schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from bertwright.config.yaml_tree import format_number
from bertwright.errors import RecipeError, did_you_mean
from bertwright.importers.imported_recipe import RecipeDraft, SourceSetting, Status

_STEPS = ("steps", "total_iters", "decay_steps")
"""What 1.9, 2.x and some schedulers of both call the length of a stretch."""

_LINEAR = {"initial_learning_rate", "end_learning_rate", *_STEPS, "scheduler"}
# Schedulers that a recipe has, without the LR that 2.x ends their names in, and the keys they take.
_KNOWN: dict[str, set[str]] = {
    "linear": _LINEAR,
    "polynomial": _LINEAR | {"power", "cycle"},
    "cosinedecay": _LINEAR,
    "constant": {"learning_rate", *_STEPS, "scheduler"},
    "piecewiseconstant": {"values", "learning_rates", "boundaries", "milestones", "scheduler"},
}


@dataclass(frozen=True)
class SchedulePhase:
    """One scheduler: its rate changes from ``start`` to ``end`` in ``steps`` steps; None: until the end of the run.

    Schedulers that are unusual or have no equivalent have another status than mapped, and a note.
    """

    path: str
    kind: Literal["linear", "cosine", "constant"]
    steps: int | None
    start: float
    end: float
    status: Status = "mapped"
    note: str = ""


def map_learning_rates(draft: RecipeDraft, entry: SourceSetting, total: int | None, counted_on: bool) -> None:
    """Give a draft its learning rate, warm-up and schedule.

    Args:
        draft: gets settings and findings.
        entry: the learning rate or the schedulers.
        total: steps of the run, where they are known.
        counted_on: whether a scheduler counts steps from the beginning of the run, not from its own.
    """
    found = list(_stretches(draft, entry, entry.path, entry.value))
    if counted_on:
        found = list(_from_the_beginning(found))
    peak = max(max(each.start, each.end) for each in found)
    draft.set("train.learning_rate", peak, entry.path, entry.where)
    draft.set("train.warmup", 0, "the first stretch of the schedule", entry.where)
    if len(found) == 1 and found[0].kind == "constant":
        draft.set("train.schedule", "constant", entry.path, entry.where)
        told = f"train.schedule = constant, train.learning_rate = {format_number(peak)}, train.warmup = 0"
        draft.say(found[0].path, found[0].status, "; ".join(filter(None, (told, found[0].note))))
        return
    written: list[dict[str, Any]] = []
    began = 0
    for number, each in enumerate(found):
        steps = each.steps if each.steps is not None else max(1, (total or 0) - began)
        if total is not None and began >= total:
            draft.say(each.path, "odd", f"is never reached: the run ends after {total:,} steps; ignored")
            continue
        stretch: dict[str, Any] = {"kind": each.kind, "steps": f"{steps} steps", "start": each.start}
        rates = f"stays at {format_number(each.start)}"
        if each.kind != "constant":
            stretch["end"] = each.end
            rates = f"{format_number(each.start)} → {format_number(each.end)}"
        text = f"train.schedule[{len(written)}]: {each.kind}, {steps:,} steps, {rates}"
        written.append(stretch)
        began += steps
        status, note = each.status, each.note
        if total is not None and began < total and number == len(found) - 1 and each.end == 0:
            idle = f"{total - began:,} of {total:,} steps follow with a learning rate of 0"
            status, note = "odd" if status == "mapped" else status, "; ".join(filter(None, (note, idle)))
        elif total is not None and began > total and each.kind != "constant":
            cut = f"lasts to step {began:,}, but the run ends after {total:,}: its end is not reached"
            status, note = "odd" if status == "mapped" else status, "; ".join(filter(None, (note, cut)))
        draft.say(each.path, status, f"{text}; {note}" if note else text)
    draft.set("train.schedule", written, entry.path, entry.where)


def _stretches(draft: RecipeDraft, entry: SourceSetting, path: str, value: Any) -> Iterator[SchedulePhase]:
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from _stretches(draft, entry, f"{path}.{number}", each)
        return
    if not isinstance(value, Mapping):
        rate = replace(entry, path=path, value=value).number()
        yield SchedulePhase(path, "constant", None, rate, rate)
        return
    if len(value) == 1 and "scheduler" not in value:  # LinearLR: {…}
        (name, inner), *_ = value.items()
        if name == "SequentialLR" and isinstance(inner, Mapping):
            yield from _stretches(draft, entry, f"{path}.{name}.schedulers", inner.get("schedulers"))
            for key in inner.keys() - {"schedulers"}:
                draft.say(f"{path}.{name}.{key}", "unknown", "is no key of SequentialLR that is known")
            return
        if isinstance(inner, Mapping):
            yield from _scheduler(draft, entry, f"{path}.{name}", name, inner)
            return
    named = _of(entry, path, value, "scheduler")
    yield from _scheduler(draft, entry, path, named.text(), value)


def _scheduler(
    draft: RecipeDraft, entry: SourceSetting, path: str, name: str, values: Mapping[str, Any]
) -> Iterator[SchedulePhase]:
    kind = name.lower().removesuffix("lr")
    known = _KNOWN.get(kind)
    for key in values:
        if known is not None and key not in known:
            hint = did_you_mean(key, known)
            draft.say(f"{path}.{key}", "unknown", hint if not hint.startswith("known") else f"is no key of {name}")
    every = f"{path}.*"
    if kind == "piecewiseconstant":
        yield from _pieces(entry, path, values)
    elif kind == "constant":
        rate = _of(entry, path, values, "learning_rate").number()
        yield SchedulePhase(every, "constant", _length(entry, path, values, needed=False), rate, rate)
    elif known is not None and values.get("power", 1) == 1 and not values.get("cycle"):
        start = _of(entry, path, values, "initial_learning_rate").number()
        end = _of(entry, path, values, "end_learning_rate").number()
        steps = _length(entry, path, values, needed=True)
        yield SchedulePhase(every, "cosine" if kind == "cosinedecay" else "linear", steps, start, end)
    else:
        first = _of(entry, path, values, "initial_learning_rate", "learning_rate").number()
        note = f"{name} has no equivalent, so its first rate is kept"
        yield SchedulePhase(
            every, "constant", _length(entry, path, values, needed=False), first, first, "not here", note
        )


def _pieces(entry: SourceSetting, path: str, values: Mapping[str, Any]) -> Iterator[SchedulePhase]:
    """Constants, each up to a step."""
    rates = _of(entry, path, values, "learning_rates", "values")
    ends = _of(entry, path, values, "milestones", "boundaries")
    if not isinstance(rates.value, list) or not rates.value:
        raise rates.wrong("a list of rates")
    if not isinstance(ends.value, list) or len(ends.value) not in (len(rates.value), len(rates.value) - 1):
        raise ends.wrong(f"a list of {len(rates.value) - 1} steps")
    began = 0
    for number, value in enumerate(rates.value):
        rate = replace(rates, value=value).number()
        end = replace(ends, value=ends.value[number]).whole() if number < len(ends.value) else None
        piece = f"({path}.{rates.name}.{number})" if number else f"{path}.*"
        yield SchedulePhase(piece, "constant", None if end is None else end - began, rate, rate)
        began = end or began


def _from_the_beginning(found: list[SchedulePhase]) -> Iterator[SchedulePhase]:
    """The same rates where every scheduler counts from the run's first step, though it begins later."""
    began = 0
    for number, each in enumerate(found):
        if not began or each.kind == "constant" or each.steps is None:
            yield each
        elif each.kind == "cosine":
            note = "counts from the run's first step there, from its own here: no stretch begins within a cosine"
            yield replace(each, status="not here", note=note)
        else:
            done = min(1.0, began / each.steps)
            if done < 1:
                start = each.start + (each.end - each.start) * done
                yield replace(each, start=start, steps=each.steps - began)
            if done == 1 or number < len(found) - 1:
                path = each.path if done == 1 else f"({each.path.removesuffix('.*')}, at its end)"
                yield SchedulePhase(path, "constant", min(began, each.steps), each.end, each.end)
        began += each.steps or 0


def _length(entry: SourceSetting, path: str, values: Mapping[str, Any], needed: bool) -> int | None:
    if not needed and not any(name in values for name in _STEPS):
        return None
    found = _of(entry, path, values, *_STEPS)
    if found.whole() < 1:
        raise found.wrong("at least 1")
    return found.whole()


def _of(entry: SourceSetting, path: str, values: Mapping[str, Any], *names: str) -> SourceSetting:
    """One key of a scheduler, under whichever name it has.

    Raises:
        RecipeError: it is missing.
    """
    for name in names:
        if name in values:
            return replace(entry, path=f"{path}.{name}", name=name, value=values[name])
    raise RecipeError(f"{entry.where}: {path}.{names[0]} is missing.")
