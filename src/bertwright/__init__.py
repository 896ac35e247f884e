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
    from bertwright.bundle import Bundle
    from bertwright.convert import convert as convert_model
    from bertwright.errors import BertwrightError
    from bertwright.events import Evaluated, Finished, Note, Ready, Saved
    from bertwright.further import Effect, train_further
    from bertwright.inspect import summarise
    from bertwright.nn.batch import Batch
    from bertwright.nn.encoder import Encoder, EncoderConfig
    from bertwright.nn.layout import Layout
    from bertwright.nn.model import Model
    from bertwright.recipe import Recipe, load_recipe
    from bertwright.report import Report
    from bertwright.run import train as fine_tune
    from bertwright.snapshots import Snapshot, all_checkpoints
    from bertwright.sweep.leaderboard import Leaderboard
    from bertwright.sweep.search import search
    from bertwright.tasks.classification import Classification, MultiLabel
    from bertwright.tasks.pretraining import Pretraining
    from bertwright.tasks.qa import QuestionAnswering
    from bertwright.tasks.regression import Regression
    from bertwright.tasks.tagging import Tagging
    from bertwright.tasks.task import Found, Measured, Prediction
    from bertwright.text.batches import batches
    from bertwright.text.corpus import Corpus, open_corpus
    from bertwright.text.doctor import diagnose
    from bertwright.text.example import Example
    from bertwright.text.reader import Columns, Rows, read
    from bertwright.text.settings import TokenSettings
    from bertwright.text.tokenizer import Tokenizer
    from bertwright.text.tokenizer_training import train_tokenizer
    from bertwright.train.loop import Step, fit
    from bertwright.weights.pretrained import Pretrained, open_pretrained

__all__ = [  # noqa: RUF022  # in the order in which they are met
    "Recipe",
    "load_recipe",
    "fine_tune",
    "search",
    "Leaderboard",
    "all_checkpoints",
    "Snapshot",
    "Bundle",
    "Prediction",
    "Found",
    "Measured",
    "Report",
    "summarise",
    "Classification",
    "MultiLabel",
    "Regression",
    "Tagging",
    "QuestionAnswering",
    "Pretraining",
    "train_further",
    "Effect",
    "open_corpus",
    "Corpus",
    "train_tokenizer",
    "convert_model",
    "read",
    "Rows",
    "Columns",
    "Example",
    "diagnose",
    "open_pretrained",
    "Pretrained",
    "Tokenizer",
    "TokenSettings",
    "Encoder",
    "EncoderConfig",
    "Model",
    "Layout",
    "Batch",
    "batches",
    "fit",
    "Step",
    "Evaluated",
    "Saved",
    "Note",
    "Ready",
    "Finished",
    "BertwrightError",
    "__version__",
]

_HOMES = {
    "bundle": ("Bundle",),
    "errors": ("BertwrightError",),
    "events": ("Evaluated", "Finished", "Note", "Ready", "Saved"),
    "further": ("Effect", "train_further"),
    "inspect": ("summarise",),
    "nn.batch": ("Batch",),
    "nn.encoder": ("Encoder", "EncoderConfig"),
    "nn.layout": ("Layout",),
    "nn.model": ("Model",),
    "recipe": ("Recipe", "load_recipe"),
    "report": ("Report",),
    "snapshots": ("Snapshot", "all_checkpoints"),
    "sweep.leaderboard": ("Leaderboard",),
    "sweep.search": ("search",),
    "tasks.classification": ("Classification", "MultiLabel"),
    "tasks.pretraining": ("Pretraining",),
    "tasks.qa": ("QuestionAnswering",),
    "tasks.regression": ("Regression",),
    "tasks.tagging": ("Tagging",),
    "tasks.task": ("Found", "Measured", "Prediction"),
    "text.batches": ("batches",),
    "text.corpus": ("Corpus", "open_corpus"),
    "text.doctor": ("diagnose",),
    "text.example": ("Example",),
    "text.reader": ("Columns", "Rows", "read"),
    "text.settings": ("TokenSettings",),
    "text.tokenizer": ("Tokenizer",),
    "text.tokenizer_training": ("train_tokenizer",),
    "train.loop": ("Step", "fit"),
    "weights.pretrained": ("Pretrained", "open_pretrained"),
}
_HOME_OF = {name: (module, name) for module, names in _HOMES.items() for name in names}
# Not "train": that is the package of the loop, and one name cannot be both.
_HOME_OF["fine_tune"] = ("run", "train")
_HOME_OF["convert_model"] = ("convert", "convert")


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
