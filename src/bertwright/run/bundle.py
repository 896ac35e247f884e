"""Bundles: model directories that can predict, with safetensors, JSON and YAML files that transformers can read.

A bundle contains no code. A custom head, ``module:name``, is imported when the bundle is opened, if the user allows it.
``config.json`` is written last, so a directory without it is not a complete bundle.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from bertwright.attributions.explain import explain
from bertwright.attributions.explanation import Explanation
from bertwright.config.yaml_tree import load_yaml
from bertwright.corpus.corpus_split import CorpusSplit, open_corpus_split
from bertwright.data.example import Example
from bertwright.data.normalize import NormalizationSettings
from bertwright.data.reader import ColumnNames, Dataset, read_dataset
from bertwright.data.settings import DataSettings
from bertwright.engines.engine import EngineName, check_engine, open_engine
from bertwright.errors import BundleError, DataError, RecipeError
from bertwright.files.atomic import atomic_directory, atomic_file, expand_home, write_atomically
from bertwright.files.strict_json import to_json
from bertwright.nn.batch import Batch
from bertwright.nn.custom_heads import check_code_allowed
from bertwright.nn.ensemble import AnyModel, Ensemble
from bertwright.nn.head_outputs import Scores
from bertwright.nn.linear import release_packed_weights
from bertwright.nn.lora import adapter_parameters
from bertwright.nn.model import Model
from bertwright.nn.settings import ModelSettings
from bertwright.output.notebook import render_html
from bertwright.output.progress import RowProgress
from bertwright.recipe import Recipe, load_recipe
from bertwright.run.ensemble_members import (
    MEMBERS,
    EnsembleFile,
    check_members,
    load_ensemble_file,
    make_untuned_task,
)
from bertwright.run.model_card import model_card, read_front_matter
from bertwright.run.plots import pictures_of
from bertwright.run.report import FILE_NAME as REPORT
from bertwright.run.report import Report
from bertwright.tasks.explained_outputs import ExplanationRequest
from bertwright.tasks.hf_checkpoints import open_task, tokens_of
from bertwright.tasks.spec import EvaluationResult, Outputs, PredictedSpan, Prediction, Task
from bertwright.tokenization.encodings import Encodings
from bertwright.tokenization.settings import TokenSettings
from bertwright.training.compute import ComputeConfig, choose_compute
from bertwright.training.model_building import build_model, head_kind
from bertwright.training.process_state import preserve_random_state
from bertwright.training.scoring import compute_embeddings, compute_outputs, compute_scores, concatenate_outputs
from bertwright.weights.hf_config import (
    ENSEMBLE,
    build_hf_config,
    is_ensemble,
    is_unfinished,
    unfinished_run_message,
)
from bertwright.weights.loading import export_state, head_is_trained
from bertwright.weights.pretrained import Pretrained, open_pretrained

logger = logging.getLogger(__name__)

CONFIG, WEIGHTS, RECIPE = "config.json", "model.safetensors", "recipe.yaml"

RECIPE_SECTIONS = ("task", "data", "model", "tokens", "train", "seed")
"""The sections of every bundle's recipe, in this order; a recipe that lacks one of them is incomplete."""

ROWS = 1024
"""Number of rows that are encoded and scored at a time."""

Sources = str | os.PathLike[str] | Sequence[Any] | Any


@dataclass(frozen=True)
class Bundle:
    """A fine-tuned model with everything that prediction needs.

    Attributes:
        model: encoder and head.
        task: of the model.
        base: family, configuration and tokenizer.
        tokens: maximum length and truncation of texts.
        recipe: of the training run; None if the model was trained elsewhere.
        report: of the training run; None if the model was trained elsewhere.
        compute: device and precision of predictions.
        members: the models of an ensemble, whose predictions are averaged; empty for a single model.
        engine: what computes the scores.
    """

    model: AnyModel
    task: Task
    base: Pretrained
    tokens: TokenSettings
    recipe: Recipe | None = None
    report: Report | None = None
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    members: tuple[Bundle, ...] = ()
    engine: EngineName = "torch"

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str],
        device: str = "cpu",
        precision: str = "fp32",
        *,
        compute: ComputeConfig | None = None,
        head: nn.Module | None = None,
        allow_code: bool = False,
        engine: EngineName = "torch",
        on_note: Callable[[str], None] | None = None,
    ) -> Self:
        """Open a run directory or an ensemble, or a Hugging Face directory or Hub model that is fine-tuned.

        Args:
            name_or_path: the directory or name.
            device: of the model, such as ``cuda``; ``auto`` selects an accelerator if there is one.
            precision: of predictions. ``fp32`` gives the scores that transformers gives; ``bf16`` is faster where the
                hardware supports it; ``auto`` selects ``bf16`` there and ``fp32`` elsewhere.
            compute: replaces ``device`` and ``precision``.
            head: a module of the shape of the head that was passed to training from Python; it gets the weights.
            allow_code: whether a head that is code, ``module:name``, may be imported and called.
            engine: what computes the scores. ``onnx`` and ``onnx-int8`` run in ONNX Runtime on a CPU: the model is
                exported on first use and cached. Scores of ``onnx`` are those of ``torch`` up to rounding;
                ``onnx-int8`` is faster and less exact.
            on_note: called with messages for the user, such as one about an export.

        Raises:
            BundleError: the run has not finished, or the head is untrained; or the engine is unknown, or cannot run the
                model.
            MissingDependencyError: a package that the engine needs is missing.
            RecipeError: the head is ``module:name`` and is not allowed or cannot be imported, or was given from Python.
            WeightsError, TokenizerError, HubError: the directory is damaged, or not to be found.
        """
        compute = compute or choose_compute(device, precision, torch.get_num_threads())
        check_engine(engine, compute.device.type, compute.precision)
        name_or_path = expand_home(name_or_path)
        if is_unfinished(Path(name_or_path)):
            raise BundleError(unfinished_run_message(name_or_path))
        if is_ensemble(Path(name_or_path)):
            load = partial(cls.load, compute=compute, allow_code=allow_code, engine=engine, on_note=on_note)
            return cls._load_ensemble(Path(name_or_path), load, head)
        base = open_pretrained(name_or_path)
        recipe, report = load_recipe_and_report(base)
        task = open_task(base, None if recipe is None else recipe.task)
        tokens = tokens_of(base) if recipe is None else recipe.tokens
        settings = ModelSettings() if recipe is None else recipe.model.for_trained_model()
        check_code_allowed(None if head else settings.head, allow_code, f"{base.directory / RECIPE}: model.head")
        with preserve_random_state():  # torch initializes layers randomly before their weights are loaded
            model, loading = build_model(settings, task, base, head=head, allow_code=allow_code)
        if not head_is_trained(loading):
            raise BundleError(
                f"{name_or_path}: its head is untrained; "
                f"fine-tune the model first: `bertwright train --model {name_or_path} --data FILE --out DIR`."
            )
        model = release_packed_weights(model.to(compute.device).eval())
        model = open_engine(engine, model, task, compute.threads, os.fspath(name_or_path), on_note)
        return cls(model, task, base, tokens, recipe, report, compute, engine=engine)

    @classmethod
    def _load_ensemble(cls, directory: Path, load: Callable[..., Self], head: nn.Module | None) -> Self:
        contents = load_ensemble_file(directory)
        members = [load(directory / name, head=deepcopy(head)) for name in contents.members]
        return cls.average(members, contents.tuned, os.fspath(directory), load_report(directory))

    @classmethod
    def average(
        cls,
        members: Sequence[Bundle],
        tuned: Mapping[str, Any] | None = None,
        name: str = "ensemble",
        report: Report | None = None,
    ) -> Self:
        """An ensemble that averages the predictions of its members; :func:`~bertwright.make_ensemble` explains how.

        Args:
            members: models of the same task, labels and tokenizer.
            tuned: settings of the task that were tuned for the averaged predictions.
            name: of the ensemble, for messages.
            report: of the ensemble.

        Raises:
            BundleError: the models cannot be combined, or a tuned setting is unknown.
        """
        check_members(members, name)
        first = members[0]
        task = first.task if len(members) == 1 else make_untuned_task(members).without_scaling()
        if unknown := set(tuned or ()) - set(task.tuned_settings):
            raise BundleError(f"{name}: {', '.join(sorted(unknown))} cannot be tuned for {task.kind}; remove it.")
        try:
            task = task.replace(**(tuned or {}))
        except RecipeError as error:
            raise BundleError(f"{name}: tuned: {error.summary}") from None
        tasks = [member.task for member in members]

        def average(scores: Sequence[Tensor], batch: Batch) -> Tensor:
            return task.average_scores([t.scale_scores(s) for t, s in zip(tasks, scores, strict=True)], batch)

        return cls(
            Ensemble([member.single_model for member in members], average).eval(),
            task,
            replace(first.base, source=name),
            first.tokens,
            None if first.recipe is None else first.recipe.replace(task=task),
            report,
            first.compute,
            tuple(members),
            first.engine,
        )

    def _repr_html_(self) -> str:
        """The model and its report in a notebook."""
        size = sum(parameter.numel() for parameter in self.model.parameters())
        heading = f"{self.base.source}: {self.task.kind}, {size:,} parameters"
        return render_html([heading, "", *([] if self.report is None else self.report.renderables())])

    @property
    def single_model(self) -> Model:
        """The encoder and head.

        Raises:
            BundleError: it is an ensemble, which has several.
        """
        if isinstance(self.model, Model):
            return self.model
        raise BundleError(f"{self.base.source}: is an ensemble of several models; use one of its members.")

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the scores; empty for regression."""
        return self.task.label_names

    @property
    def takes_pairs(self) -> bool | None:
        """Whether the model was trained on pairs of texts; None if that is not known."""
        return self.task.takes_pairs(None if self.recipe is None else self.recipe.data)

    def encode(self, examples: Sequence[Example]) -> Encodings:
        """Tokenize examples as in training.

        Raises:
            DataError: there are no examples, or single texts for a model of pairs, or the reverse.
        """
        if not len(examples):
            raise DataError("prediction: there are no texts; give at least one.")
        self.check_pairs(examples)
        return self.task.encode(examples, self.base.tokenizer, self.tokens)

    def check_pairs(self, examples: Sequence[Example]) -> None:
        """Check that examples have one text, or two, as the model takes.

        Raises:
            DataError: an example has not.
        """
        for example in examples:
            if self.takes_pairs is not None and (example.text_pair is not None) != self.takes_pairs:
                expected, found = ("two texts", "one") if self.takes_pairs else ("one text", "two")
                raise DataError(
                    f"{example.where or example.id}: the model takes {expected} a row, but here is {found}."
                )

    def scores(self, encodings: Encodings) -> Scores:
        """The head's scores (logits), float32: (B, C) of sequences or (N, C) of tokens."""
        return compute_scores(self.model, encodings, compute=self.compute)

    def compute_outputs(
        self, rows: Sequence[Example] | CorpusSplit, on_progress: Callable[[int], None] | None = None
    ) -> tuple[Outputs, int]:
        """Compute the task's outputs of each row, or each sequence of a corpus, and count the truncated rows.

        Rows are encoded and scored in parts, so memory does not grow with their windows.

        Raises:
            DataError: there are no rows, or the model does not take such rows.
        """
        if isinstance(rows, CorpusSplit):
            data = self.task.encode_corpus(rows, self.base.tokenizer, self.tokens)
            return compute_outputs(self.model, self.task, data, (), compute=self.compute, on_progress=on_progress), 0
        parts, truncated = [], 0
        for start in range(0, max(len(rows), 1), ROWS):
            chunk = rows[start : start + ROWS]
            encodings = self.encode(chunk)
            truncated += len(np.unique(encodings.examples[encodings.dropped > 0]))
            parts.append(compute_outputs(self.model, self.task, encodings, chunk, compute=self.compute))
            if on_progress is not None:
                on_progress(start + len(chunk))
        return concatenate_outputs(parts), truncated

    def embed(self, rows: Sequence[Example]) -> NDArray[np.float32]:
        """Compute an embedding of each row, (B, D): the mean of the last layer's hidden vectors over its tokens.

        For a row with several sequences, such as windows or choices, it is the mean of their embeddings. An ensemble
        embeds rows with its first member.

        Raises:
            DataError: there are no rows, or the model does not take such rows.
        """
        model = self.members[0].single_model if self.members else self.single_model
        starts = range(0, max(len(rows), 1), ROWS)
        encodings = (self.encode(rows[start : start + ROWS]) for start in starts)
        return np.concatenate([compute_embeddings(model, each, compute=self.compute) for each in encodings])

    def check_distribution(self, remedy: str) -> None:
        """Check that predictions have an entropy and a margin.

        Args:
            remedy: what the user can do instead, for the message.

        Raises:
            BundleError: they do not, as those of regression.
        """
        if not self.task.predicts_distribution:
            raise BundleError(
                f"{self.base.source}: its task is {self.task.kind}, for which entropy and margin are not defined; "
                f"{remedy}."
            )

    def predict(self, texts: Sources, columns: ColumnNames | None = None, quiet: bool = False) -> list[Prediction]:
        """Predictions for texts, in their order; progress is shown when they take longer than a moment.

        Args:
            texts: a text, or what :func:`~bertwright.data.reader.read` takes: a list of texts or of pairs, a data
                frame, a ``datasets.Dataset``. Pass a path as a ``pathlib.Path``; a string is a text.
            columns: which columns hold the texts.
            quiet: show no progress.

        Raises:
            DataError: there are no texts, or not as many a row as the model takes.
        """
        rows = self.read([texts] if isinstance(texts, str) else texts, columns, labelled=False)
        with RowProgress(None, len(rows), "predicting", quiet) as bar:
            return self.task.decode(self.compute_outputs(rows, on_progress=bar.update)[0], rows)

    def predict_stream(self, rows: Iterable[Any], columns: ColumnNames | None = None) -> Iterator[Prediction]:
        """Predictions for the rows of an iterable, in their order; memory does not grow with the number of rows.

        Rows are read from the iterable, and predicted, :data:`ROWS` at a time.

        Args:
            rows: texts, tuples or dicts, such as a generator gives.
            columns: which keys of dicts hold the texts.

        Raises:
            DataError: a row is not what the model takes; the message counts rows from the beginning of its part.
        """
        rows, start = iter(rows), 0
        while part := list(islice(rows, ROWS)):
            examples = self.read(part, columns, labelled=False)
            predictions = self.task.decode(self.compute_outputs(examples)[0], examples)
            if examples.report.columns.id is None:  # numbered in each part
                predictions = [replace(each, id=str(number)) for number, each in enumerate(predictions, start)]
            start += len(part)
            yield from predictions

    def answer(self, question: str, context: str) -> PredictedSpan | None:
        """The span of a context that answers a question, with its position and score; None if there is no answer.

        The next best answers are the ``spans`` of :meth:`predict` for ``[(question, context)]``.

        Raises:
            BundleError: the model does not answer questions.
        """
        if not self.task.extracts_answers:
            raise BundleError(f"{self.base.source}: its task is {self.task.kind}, so it answers no questions.")
        found = self.predict([(question, context)])[0]
        return found.spans[0] if found.answer else None

    def explain(
        self,
        text: str | Example,
        text_pair: str | None = None,
        *,
        target: str | None = None,
        word: int | str | None = None,
        steps: int | None = None,
    ) -> Explanation:
        """Attribute a prediction to the tokens of its text by integrated gradients (Sundararajan et al. 2017).

        Args:
            text: the text, the first text of a pair or the question; or a complete row, such as one with choices.
            text_pair: the second text of a pair, or the context of a question.
            target: the label, tag, answer or choice to explain; None for the predicted one.
            word: for tagging, the word whose tag is explained, or its position; None for the first predicted span.
            steps: number of gradients; None for as many as an error below 0.1 % needs.

        Raises:
            DataError: the text is empty or not what the model takes, or there is no such target.
            MissingDependencyError: captum is not installed.
            RecipeError: the head has no gradient.
        """
        example = text if isinstance(text, Example) else Example("0", text, text_pair, where="text")
        self.check_pairs([example])
        request, inputs = ExplanationRequest(target, word, steps), (self.base.tokenizer, self.tokens)
        return explain(self.model, self.task, *inputs, example, request, self.normalization, self.compute)

    def evaluate(self, source: Sources, columns: ColumnNames | None = None, quiet: bool = False) -> EvaluationResult:
        """Evaluate the model on labeled rows; progress is shown if that takes longer than a moment.

        Args:
            source: a path, ``hub:…``, or rows in memory.
            columns: which columns hold what; None takes those it was trained on.
            quiet: show no progress.

        Raises:
            DataError: the data is invalid, or has labels that the model does not know.
        """
        split = self.read_split(source, columns)
        with RowProgress(None, len(split.examples) or None, "evaluating", quiet) as bar:
            outputs = self.compute_outputs(split, on_progress=bar.update)[0]
        return self.task.evaluate(outputs, split.examples, train=split.examples)

    def read_split(
        self,
        source: Sources,
        columns: ColumnNames | None = None,
        split: str | None = None,
        encoding: str = "utf-8",
    ) -> Dataset | CorpusSplit:
        """Read data to evaluate on: labeled rows, or a corpus for a pre-trained model; see :meth:`read`."""
        if not self.task.target_spec.is_corpus:
            return self.read(source, columns, split=split, encoding=encoding)
        data = DataSettings() if self.recipe is None else self.recipe.data
        if columns is None:
            is_path = isinstance(source, str | os.PathLike)
            columns = replace(data.columns, id=None) if is_path else ColumnNames(header=data.columns.header)
        return open_corpus_split(source, data.replace(encoding=encoding), columns, split)

    def read(
        self,
        source: Sources,
        columns: ColumnNames | None = None,
        labelled: bool = True,
        split: str | None = None,
        encoding: str = "utf-8",
    ) -> Dataset:
        """Read rows in the format and columns that the model was trained on, unless others are named."""
        data = None if self.recipe is None else self.recipe.data
        known = ColumnNames() if data is None else replace(data.columns, id=None)
        if columns is None:
            in_memory = not isinstance(source, str | os.PathLike)
            columns = known if labelled and not in_memory else ColumnNames(header=known.header)
        if not labelled:
            columns = replace(columns, label=())
        layout = data.format if data is not None and isinstance(source, str | os.PathLike) and labelled else None
        rows = read_dataset(
            source,
            columns,
            kind=self.task.target_spec,
            encoding=encoding,
            need_target=labelled,
            layout=layout if columns == known else None,
            split=split,
        )
        return self.normalize_texts(rows)

    @property
    def normalization(self) -> NormalizationSettings:
        """How texts are normalized, in training and in prediction."""
        return NormalizationSettings() if self.recipe is None else self.recipe.data.normalize

    def normalize_texts(self, rows: Dataset) -> Dataset:
        """Normalize the texts of rows as in training."""
        return self.normalization.apply(rows)

    def normalize_example(self, example: Example) -> Example:
        """Normalize the texts of an example as in training."""
        return self.normalization.normalize_example(example)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write the bundle to another directory atomically.

        Raises:
            OutputError: the directory cannot be written to.
        """
        with atomic_directory(directory) as partial:
            write_bundle(partial, self)
        return Path(expand_home(directory))


def write_bundle(directory: Path, bundle: Bundle) -> None:
    """Write the files of a bundle to a directory, each atomically, ``config.json`` last.

    Raises:
        OutputError: the directory cannot be written to.
    """
    if bundle.members:
        write_ensemble(directory, bundle)
        return
    base, model = bundle.base, bundle.single_model
    kind = head_kind(bundle.task, model.head)
    with atomic_file(directory / WEIGHTS) as partial:
        save_file(export_state(model, base.family, head=kind), partial, {"format": "pt"})
    base.tokenizer.save(directory, max_length=base.config.max_length)
    task = bundle.task
    names = task.output_names
    config = build_hf_config(
        base.family,
        base.config,
        head=None
        if any(True for _ in adapter_parameters(model.encoder))
        else kind,  # transformers would not apply them
        id2label=None if names is None else dict(enumerate(names)),
        problem_type=task.problem_type if kind else None,
        base=base.hf_config,
    ) | (dict(task.hf_settings) if kind else {})
    if bundle.recipe is not None:
        write_atomically(directory / RECIPE, bundle.recipe.to_yaml())
    if bundle.report is not None:
        bundle.report.save(directory)
        if bundle.recipe is not None:
            license_, languages = (None, []) if base.scratch else read_front_matter(base.directory)
            card = model_card(
                bundle.report,
                bundle.recipe.model_dump(mode="json"),
                name=bundle.report.name,
                base=base.source,
                task=bundle.task,
                pair=bool(bundle.takes_pairs),
                pictures=pictures_of(directory),
                license_=license_,
                language=languages[0] if len(languages) == 1 else languages,
            )
            write_atomically(directory / "README.md", card)
    write_atomically(directory / CONFIG, to_json(config, indent=2) + "\n")


def write_ensemble(directory: Path, bundle: Bundle) -> None:
    """Write the members of an ensemble, its report, and last ``ensemble.json``.

    Raises:
        OutputError: the directory cannot be written to.
    """
    names = [f"{MEMBERS}/{i}" for i in range(len(bundle.members))]
    for name, member in zip(names, bundle.members, strict=True):
        (directory / name).mkdir(parents=True)
        write_bundle(directory / name, member)
    if bundle.report is not None:
        bundle.report.save(directory)
    task, untuned = bundle.task, Bundle.average(bundle.members).task
    tuned = {key: value for key in task.tuned_settings if (value := getattr(task, key)) != getattr(untuned, key)}
    contents = EnsembleFile(members=tuple(names), tuned=tuned)
    write_atomically(directory / ENSEMBLE, to_json(contents.model_dump(), indent=2) + "\n")


def load_recipe_and_report(base: Pretrained) -> tuple[Recipe | None, Report | None]:
    """Load the recipe and the report next to a model; None for a file that does not exist.

    A damaged report is ignored with a warning, because prediction does not need it.

    Raises:
        BundleError: the recipe is incomplete, or has other labels than ``config.json``.
        RecipeError: the recipe is invalid.
    """
    path = base.directory / RECIPE
    if not path.exists():
        return None, None
    try:
        recipe = load_recipe(path, report_former_names=False)
    except RecipeError as error:
        raise RecipeError(error.summary) from None
    labels = getattr(recipe.task, "labels", base.labels)
    written = load_yaml(path).values
    if lacking := [name for name in RECIPE_SECTIONS if name not in written]:
        raise BundleError(f"{path}: is cut short ({', '.join(lacking)} missing); copy the bundle again.")
    if labels != base.labels:
        said = f"its labels are {_join_names(labels)}, but those of {CONFIG} are {_join_names(base.labels)}"
        raise BundleError(f"{path}: {said}; make them equal.")
    return recipe, load_report(base.directory)


def load_report(directory: Path) -> Report | None:
    """Load the report in a directory; None, with a warning if it is damaged, where there is none to use."""
    if not (directory / REPORT).exists():
        return None
    try:
        return Report.load(directory)
    except BundleError as error:
        logger.warning("%s", error)
        return None


def _join_names(labels: Sequence[str] | None) -> str:
    return ", ".join(labels or ("not named",))
