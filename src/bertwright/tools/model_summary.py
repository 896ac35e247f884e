"""Model summaries: layers and parameters as in Keras' ``model.summary()``, tokenizer, labels and metrics."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from bertwright.errors import BundleError
from bertwright.files.atomic import expand_home
from bertwright.nn.custom_heads import check_code_allowed
from bertwright.nn.dropout import Dropout
from bertwright.nn.encoder import ACTIVATIONS
from bertwright.nn.head_settings import HeadSettings
from bertwright.nn.lora import adapter_parameters
from bertwright.nn.model import Model, count_running_statistics
from bertwright.nn.settings import HEAD_OBJECT, ModelSettings
from bertwright.output.notebook import render_html
from bertwright.output.plurals import pluralize
from bertwright.recipe import Recipe
from bertwright.run.bundle import RECIPE, load_recipe_and_report, load_report
from bertwright.run.ensemble_members import load_ensemble_file
from bertwright.run.report import Report, show
from bertwright.tasks.hf_checkpoints import open_task
from bertwright.tasks.spec import Task
from bertwright.training.model_building import build_model
from bertwright.weights.hf_config import is_ensemble, is_unfinished, unfinished_run_message
from bertwright.weights.loading import LoadingReport, head_is_trained
from bertwright.weights.pretrained import Pretrained, open_pretrained

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_LABELS_SHOWN = 12
"""Further labels are counted, not listed."""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One line of the table.

    Attributes:
        name: the module, as in parameter names.
        what: its description.
        output: the shape of its output; N tokens, B texts.
        parameters: the number of parameters, with running statistics.
        trainable: the number of trainable parameters.
        statistics: the number of running statistics of BatchNorm.
    """

    name: str
    what: str
    output: str
    parameters: int
    trainable: int
    statistics: int = 0


@dataclass(frozen=True)
class ModelSummary:
    """The description of a model.

    Attributes:
        source: the name that the user gave.
        title: family and size in a few words.
        layers: the layers in order, with dropout and activations, without those whose weights the checkpoint lacks.
        facts: further facts by name.
        trained: whether its head is trained, so that it can predict.
    """

    source: str
    title: str
    layers: tuple[LayerRow, ...]
    facts: tuple[tuple[str, str], ...]
    trained: bool

    @property
    def rows(self) -> tuple[LayerRow, ...]:
        """The layers with parameters."""
        return tuple(row for row in self.layers if row.parameters)

    @property
    def total(self) -> int:
        """The number of parameters and of running statistics of BatchNorm, as Keras counts."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        """The number of trainable parameters."""
        return sum(row.trainable for row in self.rows)

    def _repr_html_(self) -> str:
        """The tables and lines in a notebook."""
        return render_html(self.renderables())

    def renderables(self) -> list[RenderableType]:
        """Return title, table, totals and facts for a rich console of at most 80 columns."""
        from bertwright.output.terminal import make_table, plain_text

        table = make_table()
        for name in ("layer", "what", "output", "parameters", "trains"):
            table.add_column(name, justify="right" if name == "parameters" else "left", no_wrap=name != "what")
        for row in self.layers:
            all_trainable = row.trainable == row.parameters - row.statistics
            trains = "–" if not row.parameters else "yes" if all_trainable else "partly" if row.trainable else "no"
            table.add_row(row.name, row.what, row.output, f"{row.parameters:,}", trains)
        frozen = self.total - self.trainable
        sums = (("total", self.total), ("trainable", self.trainable), ("frozen", frozen))
        lines = [f"{name:<10} {n:>13,}" for name, n in sums]
        lines[0] += f"   ({4 * self.total / 1e6:,.1f} MB in fp32)"
        if statistics := sum(row.statistics for row in self.rows):
            lines.append(f"{statistics:,} of these are BatchNorm statistics, which PyTorch counts as buffers")
        facts = [plain_text(f"{name:<10} {text}") for name, text in self.facts]
        return [plain_text(self.source, "bold"), plain_text(self.title), "", table, "", *lines, "", *facts]

    def to_text(self, width: int = 80) -> str:
        """Return the summary as plain text."""
        from bertwright.output.terminal import render_plain

        return render_plain(self.renderables(), width)


def summarize(name_or_path: str | os.PathLike[str], allow_code: bool = False) -> ModelSummary:
    """Describe a run directory, an HF directory, a Hub model or, by its first member, an ensemble.

    Args:
        name_or_path: the directory or name.
        allow_code: whether a custom head ``module:name`` may be imported and called.

    Raises:
        BundleError: the run has not finished.
        RecipeError: a custom head is not allowed or cannot be imported.
        HubError, WeightsError, TokenizerError: the model is missing, damaged or of an unknown family.
    """
    directory = Path(expand_home(name_or_path))
    if is_unfinished(directory):
        raise BundleError(unfinished_run_message(name_or_path))
    if is_ensemble(directory):
        return _summarize_ensemble(directory, allow_code)
    base = open_pretrained(name_or_path)
    recipe, report = load_recipe_and_report(base)
    other = None
    try:
        task = open_task(base, None if recipe is None else recipe.task)
    except BundleError as error:  # a model of another kind; describe its encoder
        task, other = Recipe().task.replace(labels=("0", "1")), str(error)
    settings = ModelSettings() if recipe is None else recipe.model.for_trained_model()
    if settings.head == HEAD_OBJECT:  # the head cannot be built; describe the encoder
        settings = settings.replace(head=None)
    check_code_allowed(settings.head, allow_code, f"{base.directory / RECIPE}: model.head")
    model, loading = build_model(settings, task, base, allow_code=allow_code)
    if recipe is not None:
        model.freeze(recipe.model.freeze)
    has_own_head = recipe is not None and recipe.model.head == HEAD_OBJECT
    trained = other is None and (has_own_head or head_is_trained(loading))
    config = base.config
    title = f"{base.family.model_type}, {config.n_layers} layers, {config.n_heads} heads, width {config.width}"
    rows = tuple(_rows(model, _without_weights(loading), "N" if task.scores_tokens else "B"))
    return ModelSummary(
        os.fspath(name_or_path), title, rows, tuple(_facts(base, task, trained, recipe, report)), trained
    )


def _summarize_ensemble(directory: Path, allow_code: bool) -> ModelSummary:
    """Describe an ensemble: the layers of its first member, and its own metrics."""
    names = load_ensemble_file(directory).members
    first, report = summarize(directory / names[0], allow_code), load_report(directory) or Report()
    metrics = list(_metric_facts(report))
    own = [fact for fact in first.facts if fact[0] not in dict(metrics)]
    title = f"averages the predictions of {pluralize(len(names), 'model')}; of the first one: {first.title}"
    return replace(
        first, source=os.fspath(directory), title=title, facts=(("members", ", ".join(names)), *own, *metrics)
    )


def _without_weights(loading: LoadingReport) -> set[str]:
    """Return the modules of the head without weights in the checkpoint."""
    return {
        row.name.rpartition(".")[0]
        for row in loading.rows
        if row.status == "randomly initialized" and row.name is not None
    }


def _rows(model: Model, absent: set[str], scored: str) -> Iterator[LayerRow]:
    encoder, config = model.encoder, model.encoder.config
    size = config.embedding_width or config.width
    tables = {"word": "words", "position": "positions", "segment": "segments"}
    for name, module in encoder.embeddings.named_children():
        if isinstance(module, Dropout):
            yield LayerRow(f"embeddings.{name}", _what(module)[0], f"N × {size}", 0, 0)
            continue
        if isinstance(module, nn.Embedding):
            what = f"{module.num_embeddings:,} {tables.get(name, name)}"
        else:
            what = "LayerNorm" if isinstance(module, nn.LayerNorm) else f"dense {size} → {config.width}"
        width = config.width if name == "project" else size
        yield _row(f"embeddings.{name}", what, f"N × {width}", [module])
    inner = f"attention, FFN {config.ffn_width:,}" + (
        ", adapters" if any(True for _ in adapter_parameters(encoder)) else ""
    )
    for i, layer in enumerate(encoder.layers):
        yield _row(f"layers.{i}", inner, f"N × {config.width}", [layer])
    yield from _head_rows(model.head, absent, scored, config.width)
    for name, parameter in model.head.named_parameters(prefix="head", recurse=False):
        shape, n = " × ".join(map(str, parameter.shape)), parameter.numel()
        yield LayerRow(name, f"weights, {shape}", "", n, n * parameter.requires_grad)


def _head_rows(head: nn.Module, absent: set[str], scored: str, width: int) -> Iterator[LayerRow]:
    """Yield the modules of a head; those without parameters, such as dropout, only if no weights are missing."""
    for name, module in head.named_modules(prefix="head"):
        if name in absent or name == "head":
            continue
        what, n_out = _what(module)
        row = _row(name, what, f"{scored} × {n_out}" if n_out else "", [module], recurse=False)
        if row.parameters:
            width = n_out or width
            yield row
        elif not absent and not list(module.children()) and getattr(module, "p", 1.0) > 0:
            yield LayerRow(name, what, f"{scored} × {width}", 0, 0)
        if name == "head.dense":
            names = [key for key, function in ACTIVATIONS.items() if function is getattr(head, "activation", None)]
            yield from (LayerRow("head.activation", key, f"{scored} × {width}", 0, 0) for key in names)


def _what(module: nn.Module) -> tuple[str, int]:
    """Describe a layer of a head, and return its output width; 0 if unknown."""
    if isinstance(module, nn.Linear):
        return f"dense {module.in_features} → {module.out_features}", module.out_features
    if isinstance(module, nn.BatchNorm1d):
        return "BatchNorm", module.num_features
    if isinstance(module, nn.LayerNorm):
        return "LayerNorm", module.normalized_shape[-1]
    if isinstance(module, Dropout | nn.Dropout):
        return f"dropout {module.p:g}", 0
    return type(module).__name__, 0


def _row(name: str, what: str, output: str, modules: Sequence[nn.Module], recurse: bool = True) -> LayerRow:
    parameters = [parameter for module in modules for parameter in module.parameters(recurse)]
    trainable = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    statistics = sum(count_running_statistics(module, recurse) for module in modules)
    return LayerRow(name, what, output, sum(p.numel() for p in parameters) + statistics, trainable, statistics)


def _facts(
    base: Pretrained, task: Task, trained: bool, recipe: Recipe | None, report: Report | None
) -> Iterator[tuple[str, str]]:
    yield "tokenizer", _tokenizer(base)
    config = base.config
    rates = f"dropout {config.attention_dropout:g} on attention weights and {config.dropout:g} on outputs"
    yield "layers", f"each: attention, feed-forward network with {config.activation}; {rates}"
    for text in base.notes:
        yield "", text
    labels = task.label_names
    if not trained:
        yield "head", "untrained; fine-tune the model before predicting"
    elif not labels:
        yield "predicts", task.wording.outputs
    else:
        listed = ", ".join(labels) if len(labels) <= MAX_LABELS_SHOWN else ", ".join(labels[:MAX_LABELS_SHOWN]) + ", …"
        yield "predicts", f"{task.kind}, {pluralize(len(labels), 'label')}: {listed}"
    if recipe is not None and report is not None:
        train = report.data.get("train", {})
        yield "base", recipe.model.base or f"none: {recipe.model.preset} from scratch"
        what = "sequences" if "sequences" in train else "rows"
        yield "trained", f"{recipe.train.length} on {train.get(what, 0):,} {what} of {train.get('source', '?')}"
        yield from _model_facts(recipe.model, task.scores_tokens)
        yield from _metric_facts(report)


def _metric_facts(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the metrics of each split."""
    for split, metrics in report.metrics.items():
        shown = (f"{name} {_with_interval(report, split, name, value)}" for name, value in metrics.items())
        yield split, ", ".join(shown)


def _model_facts(settings: ModelSettings, tokens: bool) -> Iterator[tuple[str, str]]:
    """Yield the model settings."""
    yield "freeze", str(settings.freeze)
    if settings.reinit_layers:
        yield "reinit", f"the top {pluralize(settings.reinit_layers, 'layer')} randomly initialized"
    if (lora := settings.lora) is not None:
        fate = "merged into the weights" if lora.merge else "separate from the weights"
        yield "lora", f"rank {lora.rank}, alpha {lora.alpha:g}, on {', '.join(lora.target_modules)}; {fate}"
    if isinstance(settings.head, HeadSettings):
        crf = ", conditional random field" if settings.head.crf else ""
        pooled = "every token" if tokens else f"pooling {settings.head.pooling or 'first'}"
        yield "head", f"declared: {pooled}, from {_layers(settings.head)}{crf}"
    elif settings.head is not None:
        yield "head", "given from Python, not shown" if settings.head == HEAD_OBJECT else f"made by {settings.head}"


def _layers(head: HeadSettings) -> str:
    named = {"last": "the last layer", "weighted": "all layers, weighted"}
    return named.get(str(head.from_layers), f"the last {head.from_layers} layers")


def _tokenizer(base: Pretrained) -> str:
    backend = base.tokenizer.backend
    lower = getattr(backend.normalizer, "lowercase", None)
    parts = [type(backend.model).__name__, f"{base.tokenizer.vocab_size:,} tokens"]
    parts += [] if lower is None else ["lower case" if lower else "cased"]
    return ", ".join([*parts, f"at most {base.config.max_length} tokens a text"])


def _with_interval(report: Report, split: str, name: str, value: float) -> str:
    interval = report.intervals.get(split, {}).get(name)
    shown = show(name, value)
    return shown if interval is None else f"{shown} ({show(name, interval[0])} … {show(name, interval[1])})"
