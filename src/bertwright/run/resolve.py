"""Fixing what a recipe leaves open, from the data and the base model, so that nothing is guessed a second time."""

from __future__ import annotations

from bertwright.errors import RecipeError
from bertwright.metrics import check_metrics
from bertwright.recipe import Recipe
from bertwright.run.splits import Splits
from bertwright.tasks.spec import Task
from bertwright.weights.presets import create_from_preset
from bertwright.weights.pretrained import Pretrained, open_pretrained


def open_base_model(recipe: Recipe) -> Pretrained:
    """The encoder that the recipe names, with its dropout rates.

    Raises:
        RecipeError: none is named, or sequences are to be longer than it has positions for.
        HubError, WeightsError, TokenizerError: it is missing, damaged or unknown.
    """
    settings = recipe.model
    if settings.preset is not None and settings.tokenizer is not None:
        base = create_from_preset(settings.preset, settings.tokenizer)
    elif settings.base is None:
        raise RecipeError(
            "model.base: no encoder is named; say model.base=NAME with a Hub name such as bert-base-uncased, "
            "or a directory."
        )
    else:
        partial = settings.load is not None or not settings.strict
        base = open_pretrained(settings.base, settings.revision, partial)
    if recipe.tokens.max_length > base.config.max_length:
        raise RecipeError(
            f"tokens.max_length: is {recipe.tokens.max_length}, but {base.source} has positions for "
            f"{base.config.max_length} tokens; lower it."
        )
    if isinstance(settings.freeze, int) and settings.freeze > base.config.n_layers:
        raise RecipeError(
            f"model.freeze: is {settings.freeze}, but {base.source} has {base.config.n_layers} layers; lower it."
        )
    return base.with_dropout(settings.dropout, settings.attention_dropout)


def resolve_recipe(recipe: Recipe, splits: Splits, base: Pretrained) -> Recipe:
    """The recipe with labels, class weights, columns, layout and metrics as this run has them.

    Raises:
        DataError: the training data has too few labels.
        RecipeError: a metric that does not fit, or ``train.metric_for_best_model`` is not among those computed.
    """
    task = recipe.task
    declared = splits.train.labels
    known, found = set(base.labels or ()), set(splits.train.label_names())
    # a tagger knows tags too that no row may have, such as I-PER beside B-PER
    if found == known or (task.scores_tokens and found <= known):
        declared = base.labels  # its head goes on training, so its order of the labels is kept
    task = task.infer_from_data(splits.train, declared)
    if task.metrics is None and splits.metrics is not None:
        task = task.replace(metrics=splits.metrics)
    names = check_metrics(task.chosen_metrics, task.outcome_kind, len(labels_of(task) or ()) or None)
    task = task.replace(metrics=names)
    best_metric = recipe.train.metric_for_best_model or names[0]
    if best_metric not in names:
        raise RecipeError(
            f'train.metric_for_best_model: "{best_metric}" is not among the computed metrics ({", ".join(names)}); '
            "add it to task.metrics."
        )
    report = splits.train.report
    data = recipe.data.replace(format=report.layout)
    if report.layout is None and not task.scores_tokens:  # its formats have columns of their own each
        columns = report.columns
        data = data.replace(text=columns.text, text_pair=columns.text_pair, label=columns.label, id=columns.id)
        data = data.replace(choices=columns.choices, first_choice=columns.first_choice)
    tokens = task.adapt_tokens(recipe.tokens)
    return recipe.replace(
        task=task, data=data, tokens=tokens, train=recipe.train.replace(metric_for_best_model=best_metric)
    )


def labels_of(task: Task) -> tuple[str, ...] | None:
    """The task's labels in order; None for regression."""
    labels: tuple[str, ...] | None = getattr(task, "labels", None)
    return labels
