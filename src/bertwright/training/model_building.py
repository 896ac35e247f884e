"""Build a model from the ``model`` section of a recipe: an encoder with its weights, and a head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from bertwright.data.example import Example
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
from bertwright.nn.linear import Linear
from bertwright.nn.model import Model
from bertwright.nn.scaled_linear import get_output, scale_output
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
    """Build the model that the settings describe, with the weights of ``base``, on the CPU; nothing is frozen yet.

    Args:
        settings: the ``model`` section of a recipe.
        task: of the head.
        base: the source of the weights; a head that it lacks is randomly initialized.
        generator: for randomly initialized weights.
        reinitialize_output: initialize the output layer randomly although ``base`` has one, trained for other labels.
        head: replaces the head of the settings.
        allow_code: whether a head that is code, ``module:name``, may be imported and called.

    Raises:
        WeightsError: a tensor is missing, has another shape or is damaged.
        RecipeError: the head cannot be built, is code that is not allowed, or computes scores of the wrong shape.
    """
    if head is None:
        check_code_allowed(settings.head, allow_code)
    is_custom = head is not None or isinstance(settings.head, str)
    head = head or _build_head(settings, task, base, generator)
    if is_custom:
        check_head(head, base.config, task.n_outputs, task.scores_tokens)
    if task.full_precision_output and isinstance(output := getattr(head, "output", None), Linear):
        output.full_precision = True
    kind = head_kind(task, head)
    selection = TensorSelection(settings.load, settings.strict)
    model, report = base.model(head, generator, reinitialize_output, kind, settings.lora, selection)
    _check_trainable(settings, report)
    return model, _reinitialize_layers(model, report, settings, base, kind, generator)


def initialize_output(
    model: Model, report: LoadingReport, task: Task, examples: Sequence[Example], use_prior: bool
) -> LoadingReport:
    """Initialize the output layer from the training targets: standardized values, or a bias from label frequencies.

    Only a published or declared head has such a layer; others stay as they are.

    Args:
        model: built by :func:`build_model`.
        report: on its weights.
        task: with labels, or mean and standard deviation of the targets.
        examples: the training rows of one epoch.
        use_prior: whether an untrained bias gets the label frequencies.

    Returns:
        The report with the origin of the bias.
    """
    head = model.head
    if not isinstance(getattr(head, "output", None), Linear):
        return report
    names = ("head.output.weight", "head.output.bias")
    untrained = any(row.name in names and row.status == "randomly initialized" for row in report.rows)
    if task.output_scale is not None:
        scale_output(head, *task.output_scale, trained=not untrained)
    bias = task.initial_output_bias(examples) if untrained and use_prior else None
    if bias is None:
        return report
    with torch.no_grad():
        get_output(head).bias.copy_(torch.from_numpy(bias))
    rows = (
        replace(row, reason=f"{row.reason}; label frequencies") if row.name == "head.output.bias" else row
        for row in report.rows
    )
    return replace(report, rows=tuple(rows))


def head_kind(task: Task, head: nn.Module) -> str | None:
    """The kind of a published head, as :attr:`~bertwright.tasks.spec.Task.head_kind`; None for a custom head."""
    return task.published_head if isinstance(head, Head) and head.is_standard else None


def make_loss_function(task: Task, head: nn.Module) -> Callable[[Tensor, Batch], Loss]:
    """Return the function that training minimizes: the loss of the task or of the head, plus the head's penalty.

    It may be called in an autocast region. A head with its own loss computes it in that precision; the losses of tasks
    are computed in float32.
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


def _check_trainable(settings: ModelSettings, report: LoadingReport) -> None:
    """Check that no randomly initialized weight is frozen.

    Raises:
        RecipeError: one is.
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
    """Initialize the top layers and the pooler randomly, as Zhang et al. 2020 (arXiv 2006.05987).

    Raises:
        RecipeError: the encoder has fewer layers, or some of them are frozen.
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


def _build_head(settings: ModelSettings, task: Task, base: Pretrained, generator: torch.Generator | None) -> nn.Module:
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
        raise RecipeError(f"{base.source}: its head was passed from Python; pass the module again as head=MODULE.")
    if isinstance(declared, str):
        with torch.random.fork_rng(devices=[]):
            if generator is not None:
                torch.manual_seed(generator.initial_seed())
            return load_custom_head(declared, base.config, task.n_outputs)
    _check_head_settings(declared, task, base)
    kind = CrfHead if declared.crf else DeclaredHead
    return kind(declared, base.config, task.n_outputs, task.scores_tokens, style.dropout, generator)


def _check_head_settings(declared: HeadSettings, task: Task, base: Pretrained) -> None:
    """Check that a declared head fits the task and the family.

    Raises:
        RecipeError: it pools the tokens of a token task, uses a pooler that the family lacks, or has a CRF for another
            task than tagging.
    """
    if declared.crf and not task.allows_crf:
        raise RecipeError(f"model.head.crf: is for tagging, but the task is {task.kind}; remove it.")
    for name in ("class_weights", "label_smoothing") if declared.crf else ():
        if getattr(task, name, None):
            raise RecipeError(f"task.{name} and model.head.crf cannot be combined; remove one.")
    if declared.pooling is not None and task.scores_tokens:
        raise RecipeError(f"model.head.pooling: is {declared.pooling}, but {task.kind} scores every token; remove it.")
    if declared.pooling == "pooler" and not base.family.pooler:
        raise RecipeError(
            f"model.head.pooling: is pooler, but {base.family.model_type} was pre-trained without one; use first."
        )
