"""Fine-tune any BERT-family encoder: packed, exact, reported.

>>> from bertwright import Recipe, fine_tune  # doctest: +SKIP
>>> recipe = Recipe(model={"base": "bert-base-uncased"}, data={"train": "reviews.csv"})  # doctest: +SKIP
>>> bundle = fine_tune(recipe, "runs/mine")  # doctest: +SKIP
>>> bundle.predict(["I love this movie!"])  # doctest: +SKIP

Names are imported when they are first used: ``import bertwright`` alone imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bertwright.attributions.explanation import Explanation, TokenAttribution, WordAttribution
    from bertwright.corpus.documents import Corpus, open_corpus
    from bertwright.corpus.tokenizer_training import train_tokenizer
    from bertwright.data.data_checks import check_data
    from bertwright.data.example import Example
    from bertwright.data.reader import ColumnNames, Dataset, read_dataset
    from bertwright.errors import BertwrightError
    from bertwright.nn.batch import Batch
    from bertwright.nn.encoder import Encoder, EncoderConfig
    from bertwright.nn.layout import Layout
    from bertwright.nn.model import Model
    from bertwright.recipe import Recipe, load_recipe
    from bertwright.run.bundle import Bundle
    from bertwright.run.checkpoints import Checkpoint, list_checkpoints
    from bertwright.run.continued_pretraining import ContinuedPretrainingResult, continue_pretraining
    from bertwright.run.ensemble import make_ensemble
    from bertwright.run.events import CheckpointSaved, EvaluationFinished, Note, TrainingFinished, TrainingStarted
    from bertwright.run.report import Report
    from bertwright.run.train import train as fine_tune
    from bertwright.sweep.leaderboard import Leaderboard
    from bertwright.sweep.learning_curve import LearningCurve, measure_learning_curve
    from bertwright.sweep.search import search
    from bertwright.sweep.settings import SweepSettings
    from bertwright.tasks.classification import Classification, MultiLabel
    from bertwright.tasks.multiple_choice import MultipleChoice
    from bertwright.tasks.pretraining import Pretraining
    from bertwright.tasks.qa import QuestionAnswering
    from bertwright.tasks.regression import Regression
    from bertwright.tasks.spec import EvaluationResult, PredictedSpan, Prediction
    from bertwright.tasks.tagging import Tagging
    from bertwright.tokenization.batching import iterate_batches
    from bertwright.tokenization.settings import TokenSettings
    from bertwright.tokenization.tokenizer import Tokenizer
    from bertwright.tools.convert import convert as convert_model
    from bertwright.tools.model_summary import summarize
    from bertwright.tools.publishing import push_to_hub
    from bertwright.tools.row_selection import SelectedRow, Selection, select_rows
    from bertwright.training.loop import Step, fit
    from bertwright.weights.pretrained import Pretrained, open_pretrained

__all__ = [  # noqa: RUF022  # in the order in which they are met
    "Recipe",
    "load_recipe",
    "fine_tune",
    "search",
    "SweepSettings",
    "Leaderboard",
    "make_ensemble",
    "measure_learning_curve",
    "LearningCurve",
    "list_checkpoints",
    "Checkpoint",
    "Bundle",
    "Prediction",
    "PredictedSpan",
    "EvaluationResult",
    "Report",
    "Explanation",
    "TokenAttribution",
    "WordAttribution",
    "summarize",
    "push_to_hub",
    "select_rows",
    "Selection",
    "SelectedRow",
    "Classification",
    "MultiLabel",
    "Regression",
    "Tagging",
    "QuestionAnswering",
    "MultipleChoice",
    "Pretraining",
    "continue_pretraining",
    "ContinuedPretrainingResult",
    "open_corpus",
    "Corpus",
    "train_tokenizer",
    "convert_model",
    "read_dataset",
    "Dataset",
    "ColumnNames",
    "Example",
    "check_data",
    "open_pretrained",
    "Pretrained",
    "Tokenizer",
    "TokenSettings",
    "Encoder",
    "EncoderConfig",
    "Model",
    "Layout",
    "Batch",
    "iterate_batches",
    "fit",
    "Step",
    "EvaluationFinished",
    "CheckpointSaved",
    "Note",
    "TrainingStarted",
    "TrainingFinished",
    "BertwrightError",
    "__version__",
]

_HOMES = {
    "run.bundle": ("Bundle",),
    "attributions.explanation": ("Explanation", "TokenAttribution", "WordAttribution"),
    "errors": ("BertwrightError",),
    "run.ensemble": ("make_ensemble",),
    "run.events": ("EvaluationFinished", "TrainingFinished", "Note", "TrainingStarted", "CheckpointSaved"),
    "run.continued_pretraining": ("ContinuedPretrainingResult", "continue_pretraining"),
    "tools.model_summary": ("summarize",),
    "tools.publishing": ("push_to_hub",),
    "tools.row_selection": ("SelectedRow", "Selection", "select_rows"),
    "nn.batch": ("Batch",),
    "nn.encoder": ("Encoder", "EncoderConfig"),
    "nn.layout": ("Layout",),
    "nn.model": ("Model",),
    "recipe": ("Recipe", "load_recipe"),
    "run.report": ("Report",),
    "run.checkpoints": ("Checkpoint", "list_checkpoints"),
    "sweep.leaderboard": ("Leaderboard",),
    "sweep.learning_curve": ("LearningCurve", "measure_learning_curve"),
    "sweep.settings": ("SweepSettings",),
    "sweep.search": ("search",),
    "tasks.classification": ("Classification", "MultiLabel"),
    "tasks.pretraining": ("Pretraining",),
    "tasks.multiple_choice": ("MultipleChoice",),
    "tasks.qa": ("QuestionAnswering",),
    "tasks.regression": ("Regression",),
    "tasks.tagging": ("Tagging",),
    "tasks.spec": ("PredictedSpan", "EvaluationResult", "Prediction"),
    "tokenization.batching": ("iterate_batches",),
    "corpus.documents": ("Corpus", "open_corpus"),
    "data.data_checks": ("check_data",),
    "data.example": ("Example",),
    "data.reader": ("ColumnNames", "Dataset", "read_dataset"),
    "tokenization.settings": ("TokenSettings",),
    "tokenization.tokenizer": ("Tokenizer",),
    "corpus.tokenizer_training": ("train_tokenizer",),
    "training.loop": ("Step", "fit"),
    "weights.pretrained": ("Pretrained", "open_pretrained"),
}
_HOME_OF = {name: (module, name) for module, names in _HOMES.items() for name in names}
# the bare names "train" and "convert" would not name their object
_HOME_OF["fine_tune"] = ("run.train", "train")
_HOME_OF["convert_model"] = ("tools.convert", "convert")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("bertwright")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, inside = _HOME_OF[name]
    value = getattr(import_module(f"{__name__}.{module}"), inside)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
