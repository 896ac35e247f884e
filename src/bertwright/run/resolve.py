"""Resolving a recipe: labels, columns, metrics and format are inferred once, from the data and the base model."""

from __future__ import annotations

from bertwright.data.dataset import Dataset
from bertwright.errors import RecipeError
from bertwright.metrics import check_metrics
from bertwright.recipe import Recipe
from bertwright.run.auto_settings import choose_auto_settings
from bertwright.run.splits import Splits
from bertwright.weights.presets import create_from_preset
from bertwright.weights.pretrained import Pretrained, open_pretrained


def open_base_model(recipe: Recipe) -> Pretrained:
    """Open the base model of the recipe, with the dropout rates of the recipe.

    Raises:
        RecipeError: the recipe names no base model, or tokens.max_length exceeds the number of its positions.
        HubError, WeightsError, TokenizerError: it is missing, damaged or unknown.
    """
    settings = recipe.model
    if settings.preset is not None and settings.tokenizer is not None:
        base = create_from_preset(settings.preset, settings.tokenizer)
    elif settings.base is None:
        raise RecipeError(
            "model.base: no encoder is named; set model.base to a Hub name such as bert-base-uncased, or to a "
            "directory."
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
    """Fill in the settings that depend on the data and the base model: labels, columns, format, metrics, rates.

    Raises:
        DataError: the training data has too few labels.
        RecipeError: a metric does not fit the task, or ``train.metric_for_best_model`` is not computed.
    """
    recipe = choose_auto_settings(recipe, len(splits.train.examples), base.config.width)
    task, rows = recipe.task, splits.available
    declared = rows.labels
    base_labels, train_labels = (
        set(base.labels or ()),
        set(rows.label_names() if isinstance(rows, Dataset) else ()),
    )
    # a tagger also has tags that no row may have, such as I-PER next to B-PER
    if train_labels == base_labels or (task.scores_tokens and train_labels <= base_labels):
        declared = base.labels  # the head of the base model is fine-tuned, so keep its order of the labels
    if isinstance(recipe.model.head, str):  # code, whose last layer is unknown
        task = task.without_output_scale()
    # a model has all labels, also those that no drawn row has; the scale of targets is that of the drawn rows
    examples = rows.examples if hasattr(task, "labels") else splits.train.examples
    task = task.infer_from_data(examples, declared)
    if task.metrics is None and splits.metrics is not None:
        task = task.replace(metrics=splits.metrics)
    names = check_metrics(task.chosen_metrics, task.outcome_kind, len(task.label_names) or None)
    task = task.replace(metrics=names)
    best_metric = recipe.train.metric_for_best_model or names[0]
    if best_metric not in names:
        raise RecipeError(
            f'train.metric_for_best_model: "{best_metric}" is not among the computed metrics ({", ".join(names)}); '
            "add it to task.metrics."
        )
    report = splits.train.report
    data = recipe.data.replace(format=report.layout)
    if report.layout is None and not task.scores_tokens:  # the formats of tagging have fixed columns
        columns = report.columns
        data = data.replace(text=columns.text, text_pair=columns.text_pair, label=columns.label, id=columns.id)
        data = data.replace(choices=columns.choices, first_choice=columns.first_choice)
    tokens = task.adapt_tokens(recipe.tokens)
    return recipe.replace(
        task=task, data=data, tokens=tokens, train=recipe.train.replace(metric_for_best_model=best_metric)
    )
