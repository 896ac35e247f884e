"""Conversion of a recipe's training settings to steps, schedule and optimizer."""

from __future__ import annotations

from collections.abc import Sequence

from bertwright.config.duration import LEAST_EPOCHS, AutoLength, Duration, portion_steps
from bertwright.config.yaml_tree import format_number
from bertwright.data.example import Example
from bertwright.data.holdout import assign_strata
from bertwright.nn.model import Model
from bertwright.output.plurals import pluralize
from bertwright.recipe import Recipe
from bertwright.run.auto_settings import FEW_ROWS
from bertwright.tokenization.batching import steps_per_epoch
from bertwright.tokenization.sampling import EpochOrder, build_sampling_order, build_shuffle_order
from bertwright.tokenization.training_data import TrainingData
from bertwright.training.compute import ComputeConfig
from bertwright.training.loop import Plan
from bertwright.training.optimizer import Optimizer, layer_rates
from bertwright.training.schedule import Schedule, make_segment_schedule, make_warmup_schedule
from bertwright.training.settings import TrainSettings


def make_order(recipe: Recipe, examples: Sequence[Example], data: TrainingData) -> EpochOrder:
    """Return the sequences that each epoch trains on, in order.

    Args:
        recipe: ``train.sampling`` sets how often the sequences of each label occur.
        examples: the training examples; empty for a corpus.
        data: the same examples, tokenized.

    Raises:
        DataError: there is only one label to balance.
    """
    settings = recipe.train
    steps = settings.length.steps(steps_per_epoch(len(data), settings.examples_per_step))
    labels = [] if settings.sampling == "all" else assign_strata([example.target for example in examples])
    return data.epoch_order(settings.sampling, labels, recipe.seed, settings.examples_per_step, steps)


def make_row_order(recipe: Recipe, examples: Sequence[Example]) -> EpochOrder:
    """Return the order of :func:`make_order` if every example is one sequence; for a plan before tokenization.

    Raises:
        DataError: there is only one label to balance.
    """
    sampling = recipe.train.sampling
    if sampling == "all":
        return build_shuffle_order(len(examples), recipe.seed)
    return build_sampling_order(sampling, assign_strata([example.target for example in examples]), recipe.seed)


AUTO_PATIENCE = 6
"""Evaluations without improvement after which a long run on small data stops."""


def choose_auto_length(recipe: Recipe, order: EpochOrder, held_out: bool) -> tuple[Recipe, str]:
    """Replace ``auto`` of ``train.length``, ``train.patience`` and ``train.refit`` by values.

    Args:
        recipe: of the run.
        order: of its training examples.
        held_out: whether the validation rows were held out from the training rows.

    Returns:
        The recipe, and an explanation of its length; empty unless the length was ``auto``.
    """
    patience = None if recipe.train.patience == "auto" else recipe.train.patience
    refit = recipe.train.refit is True
    if not isinstance(recipe.train.length, AutoLength):
        return recipe.replace(train=recipe.train.replace(patience=patience, refit=refit)), ""
    per_epoch = steps_per_epoch(order.size, recipe.train.examples_per_step)
    length = recipe.train.length.choose(per_epoch)
    steps = pluralize(length.steps(per_epoch), "step")
    text = f"train.length: auto chose {length}" + (f" ({steps})" if length.unit == "epochs" else "")
    if length != Duration(LEAST_EPOCHS, "epochs"):
        text += (
            f", because {order.size:,} training examples give only {pluralize(per_epoch, 'step')} per epoch, and small "
            "data needs more updates (Mosbach et al. 2020)"
        )
        if recipe.train.patience == "auto":
            patience = AUTO_PATIENCE
            text += f"; training stops after {patience} evaluations without improvement"
        if recipe.train.refit == "auto" and held_out and order.size <= FEW_ROWS and allows_refit(recipe):
            refit = True
            text += "; afterwards, the model is trained again on all rows, including the validation rows (train.refit)"
    return recipe.replace(train=recipe.train.replace(length=length, patience=patience, refit=refit)), text


def allows_refit(recipe: Recipe) -> bool:
    """Whether a run may train again on all rows.

    It must not if a setting decides which rows are trained on, or if settings such as a temperature are tuned on the
    validation rows: they fit the model that was evaluated, and no row is left to tune them for another one.
    """
    chooses_rows = recipe.data.train_on_dev or recipe.data.train_rows is not None
    return not chooses_rows and not recipe.task.tunes_on_validation


def make_plan(recipe: Recipe, order: EpochOrder, compute: ComputeConfig) -> Plan:
    """Convert the ``train`` section of a recipe to numbers of steps."""
    settings = recipe.train
    per_epoch = steps_per_epoch(order.size, settings.examples_per_step)
    steps = settings.length.steps(per_epoch)
    return Plan(
        steps=steps,
        order=order,
        batch_size=settings.examples_per_step,
        max_tokens=settings.max_tokens,
        evaluate_every=settings.evaluate_every.steps(per_epoch),
        schedule=_schedule(settings, steps, per_epoch),
        unfreeze_every=0 if settings.gradual_unfreezing is None else settings.gradual_unfreezing.steps(per_epoch),
        seed=recipe.seed,
        compute=compute,
    )


LEAST_HEAD_RATE = 1e-4
"""With a lower learning rate, a head on a frozen encoder hardly changes from its random initialization."""


def plan_warnings(recipe: Recipe, plan: Plan) -> list[str]:
    """Warnings about the learning rate, the number of epochs, and schedules that are longer than the run."""
    settings = recipe.train
    steps, per_epoch = plan.steps, plan.per_epoch
    warnings = []
    forgetting_rate = recipe.task.forgetting_rate
    if forgetting_rate is not None and recipe.model.base and settings.peak_learning_rate >= forgetting_rate:
        rate = format_number(settings.peak_learning_rate)
        warnings.append(
            f"train.learning_rate: {rate} can cause catastrophic forgetting (Sun et al. 2019 report it at 4e-4); "
            "5e-5 or less is usual for continued pre-training"
        )
    head_rate = settings.head_learning_rate or settings.peak_learning_rate
    if recipe.model.freeze == "encoder" and recipe.model.lora is None and head_rate < LEAST_HEAD_RATE:
        warnings.append(
            f"train.learning_rate: {format_number(head_rate)} is low for a head on a frozen encoder; 1e-3 is usual"
        )
    if steps > recipe.task.most_epochs * per_epoch:
        warnings.append(
            f"train.length: {steps:,} steps are {steps / per_epoch:,.0f} epochs of the training data, so the model may "
            f"overfit; {recipe.task.usual_length}"
        )
    return warnings + _warn_of_long_schedule(settings, steps, per_epoch)


def _warn_of_long_schedule(settings: TrainSettings, steps: int, per_epoch: int) -> list[str]:
    if not isinstance(settings.schedule, str):
        n_scheduled = sum(portion_steps(s.steps, steps, per_epoch) for s in settings.schedule)
        if n_scheduled <= steps:
            return []
        return [
            f"train.schedule: the schedule has {n_scheduled:,} steps but the run only {steps:,}, so the last learning "
            "rates are not reached"
        ]
    warmup = portion_steps(settings.warmup, steps, per_epoch)
    if warmup <= steps:
        return []
    highest = format_number(settings.peak_learning_rate * steps / warmup)
    return [
        f"train.warmup: the warm-up has {warmup:,} steps but the run only {steps:,}, so the learning rate reaches only "
        f"{highest}"
    ]


def describe_unfreezing(plan: Plan, n_layers: int) -> list[tuple[str, bool]]:
    """A sentence on gradual unfreezing, and whether it is a warning; an empty list without gradual unfreezing."""
    every = plan.unfreeze_every
    if not every:
        return []
    text = f"train.gradual_unfreezing: one more layer is trained every {pluralize(every, 'step')}"
    n_unfrozen = (plan.steps - 1) // every
    if n_unfrozen > n_layers:
        return [(f"{text}; all layers are trained from step {every * (n_layers + 1) + 1:,} on", False)]
    top = f"only the top {n_unfrozen} of {pluralize(n_layers, 'layer')} are trained"
    limit = "the embeddings stay frozen" if n_unfrozen == n_layers else top
    return [(f"{text}, so {limit} in a run of {pluralize(plan.steps, 'step')}", True)]


def make_optimizer(model: Model, settings: TrainSettings) -> Optimizer:
    """AdamW with the settings of the recipe."""
    return Optimizer(
        model,
        settings.peak_learning_rate,
        settings.weight_decay,
        settings.max_grad_norm or 0.0,
        (settings.beta1, settings.beta2),
        settings.eps,
        layer_rates(
            len(model.encoder.layers),
            settings.layer_decay,
            (settings.head_learning_rate or settings.peak_learning_rate) / settings.peak_learning_rate,
        ),
    )


def _schedule(settings: TrainSettings, steps: int, per_epoch: int) -> Schedule:
    if isinstance(settings.schedule, str):
        return make_warmup_schedule(settings.schedule, steps, portion_steps(settings.warmup, steps, per_epoch))
    parts = [
        (s.kind, portion_steps(s.steps, steps, per_epoch), s.start, s.start if s.end is None else s.end)
        for s in settings.schedule
    ]
    return make_segment_schedule(parts, settings.peak_learning_rate)
