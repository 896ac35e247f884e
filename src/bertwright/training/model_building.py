"""Putting a model together from what a recipe says of it: an encoder with its weights, and a head."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bertwright.errors import RecipeError
from bertwright.nn.batch import Batch
from bertwright.nn.crf import CrfHead
from bertwright.nn.custom_heads import (
    DeclaredHead,
    check_code_allowed,
    check_head,
    load_custom_head,
    report_head_errors,
)
from bertwright.nn.head_settings import HeadSettings
from bertwright.nn.heads import Head
from bertwright.nn.model import Model
from bertwright.nn.settings import HEAD_OBJECT, ModelSettings
from bertwright.tasks.spec import Loss, Task
from bertwright.weights.loading import LoadingReport, initialize_weights
from bertwright.weights.pretrained import Pretrained, mark_reinitialized
from bertwright.weights.selection import TensorSelection


def build_model(
    settings: ModelSettings,
    task: Task,
    base: Pretrained,
    generator: torch.Generator | None = None,
    reinitialize_output: bool = False,
    head: nn.Module | None = None,
    allow_code: bool = False,
) -> tuple[Model, LoadingReport]:
    """The model that the settings describe, with the weights of ``base``, on the CPU; nothing is frozen yet.

    Args:
        settings: the ``model`` section of a recipe.
        task: what the head is for.
        base: where the weights come from; a head that it lacks starts fresh.
        generator: for the weights that start fresh.
        reinitialize_output: start the output layer fresh although ``base`` has one: it was trained for something else.
        head: in place of the one that the settings describe.
        allow_code: whether a head that is code, ``module:name``, may be imported and called.

    Raises:
        WeightsError: a tensor is missing, has another shape or is damaged.
        RecipeError: the head cannot be made, is code that is not allowed, or does not give the scores that the task
            needs.
    """
    if head is None:
        check_code_allowed(settings.head, allow_code)
    unknown = head is not None or isinstance(settings.head, str)
    head = head or _head(settings, task, base, generator)
    if unknown:
        check_head(head, base.config, task.n_outputs, task.scores_tokens)
    kind = head_kind(task, head)
    selection = TensorSelection(settings.load, settings.strict)
    model, report = base.model(head, generator, reinitialize_output, kind, settings.lora, selection)
    _check_learns(settings, report)
    return model, _reinitialize_layers(model, report, settings, base, kind, generator)


def head_kind(task: Task, head: nn.Module) -> str | None:
    """Whose published head it is, as :attr:`~bertwright.tasks.spec.Task.head_kind`; None for one of the user's own."""
    return task.published_head if isinstance(head, Head) and head.is_standard else None


def make_loss_function(task: Task, head: nn.Module) -> Callable[[Tensor, Batch], Loss]:
    """What training minimises: the task's loss, or the head's own, and what the head adds to it.

    It may be called in an autocast region: a head that decodes over a vocabulary does so in its precision, all other
    losses are computed in float32.
    """

    def loss_of(scores: Tensor, batch: Batch) -> Loss:
        own = None
        if isinstance(head, Head):
            with report_head_errors(head, "loss(scores, targets, layout)"):
                own = head.loss(scores, batch.targets, batch.layout)
        if own is not None:
            loss = Loss(*own)
        else:
            with torch.autocast(scores.device.type, enabled=False):
                loss = task.loss(scores.float(), batch)
        penalty = head.penalty() if isinstance(head, Head) else 0.0
        added = isinstance(penalty, Tensor) or penalty
        return Loss(loss.total + penalty * loss.count, loss.count) if added else loss

    return loss_of


def _check_learns(settings: ModelSettings, report: LoadingReport) -> None:
    """Refuse weights that start fresh and would stay so.

    Raises:
        RecipeError: they are frozen.
    """
    freeze = settings.freeze if settings.lora is None else "encoder"
    layers = freeze if isinstance(freeze, int) else 0
    starts = ["encoder.embeddings.", *(f"encoder.layers.{i}." for i in range(layers))]
    frozen = () if freeze == "nothing" else ("encoder.",) if freeze == "encoder" else tuple(starts)
    for row in report.rows:
        name = row.name or ""
        if row.status == "randomly initialized" and name.startswith(frozen) and ".lora_" not in name:
            by = "model.lora" if settings.lora is not None else "model.freeze"
            raise RecipeError(f"{by}: freezes {name}, which is randomly initialized ({row.reason}); do not freeze it.")


def _reinitialize_layers(
    model: Model,
    report: LoadingReport,
    settings: ModelSettings,
    base: Pretrained,
    kind: str | None,
    generator: torch.Generator | None,
) -> LoadingReport:
    """Start the top layers anew, and the pooler that was pre-trained on them, as Zhang et al. 2020 (arXiv 2006.05987).

    Raises:
        RecipeError: there are not so many, or some of them are frozen and would never learn anything.
    """
    n, k, freeze = len(model.encoder.layers), settings.reinit_layers, settings.freeze
    frozen = freeze if isinstance(freeze, int) else n if freeze == "encoder" else 0
    if not k:
        return report
    if k > n - frozen:
        rest = f"{n} layers" + (f", {frozen} of them frozen" if frozen else "")
        raise RecipeError(f"model.reinit_layers: is {k}, but the encoder has {rest}; lower it.")
    pooler = (f"{base.family.pooler}.weight",)
    heads = [name for name, _ in model.named_modules() if base.family.hf_names(f"{name}.weight", kind) == pooler]
    for name in (*(f"encoder.layers.{i}" for i in range(n - k, n)), *heads):
        initialize_weights(model.get_submodule(name), base.config.initializer_range, generator)
        report = mark_reinitialized(report, f"{name}.", f"model.reinit_layers={k}")
    return report


def _head(settings: ModelSettings, task: Task, base: Pretrained, generator: torch.Generator | None) -> nn.Module:
    declared = settings.head
    if task.published_head not in base.family.heads:
        raise RecipeError(
            f"task.sentence_objective: {base.family.model_type} was published without a pooler, so it has no NSP or "
            "SOP head; set it to none."
        )
    style = base.style(task.published_head)
    if declared is None:
        return task.head(base.config, style)
    if declared == HEAD_OBJECT:
        raise RecipeError(f"{base.source}: its head was given from Python; pass the module again, as head=MODULE.")
    if isinstance(declared, str):
        with torch.random.fork_rng(devices=[]):
            if generator is not None:
                torch.manual_seed(generator.initial_seed())
            return load_custom_head(declared, base.config, task.n_outputs)
    _check(declared, task, base)
    kind = CrfHead if declared.crf else DeclaredHead
    return kind(declared, base.config, task.n_outputs, task.scores_tokens, style.dropout, generator)


def _check(declared: HeadSettings, task: Task, base: Pretrained) -> None:
    """Refuse what the task or the family has not.

    Raises:
        RecipeError: tokens are to be pooled, a pooler used that was never pre-trained, or chains scored of no tags.
    """
    if declared.crf and not task.allows_crf:
        raise RecipeError(f"model.head.crf: is for tagging, but the task is {task.kind}; leave it out.")
    for name in ("class_weights", "label_smoothing") if declared.crf else ():
        if getattr(task, name, None):
            raise RecipeError(f"task.{name}: has no place beside model.head.crf; leave one out.")
    if declared.pooling is not None and task.scores_tokens:
        raise RecipeError(
            f"model.head.pooling: is {declared.pooling}, but {task.kind} scores every token; leave pooling out."
        )
    if declared.pooling == "pooler" and not base.family.pooler:
        raise RecipeError(
            f"model.head.pooling: is pooler, but {base.family.model_type} was pre-trained without one; take first."
        )
