"""Models of every task with a tiny encoder and random heads, and a way to send requests to an application."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bertwright.nn.settings import ModelSettings
from bertwright.recipe import load_recipe
from bertwright.run.bundle import Bundle
from bertwright.tasks.classification import Classification, MultiLabel
from bertwright.tasks.multiple_choice import MultipleChoice
from bertwright.tasks.pretraining import Pretraining
from bertwright.tasks.qa import QuestionAnswering
from bertwright.tasks.regression import Regression
from bertwright.tasks.spec import Task
from bertwright.tasks.tagging import Tagging
from bertwright.tokenization.settings import TokenSettings
from bertwright.training.model_building import build_model
from bertwright.weights.pretrained import open_pretrained

pytest.importorskip("fastapi", reason="the server needs it")
pytest.importorskip("httpx", reason="the tests of the server need a client")

TASKS: dict[str, Task] = {
    "classification": Classification(labels=("pos", "neg", "other")),
    "multilabel": MultiLabel(labels=("good", "long")),
    "regression": Regression(),
    "tagging": Tagging(labels=("O", "B-PER", "I-PER")),
    "qa": QuestionAnswering(null_answers=True),
    "choices": MultipleChoice(),
    "gaps": Pretraining(sentence_objective="none"),
}


@pytest.fixture(scope="session")
def bundles(tiny_bert: Path) -> dict[str, Bundle]:
    """A model for each task; that of regression takes pairs."""
    base = open_pretrained(tiny_bert)
    models = {}
    for name, task in TASKS.items():
        torch.manual_seed(0)
        model, _ = build_model(ModelSettings(), task, base)
        with torch.no_grad():
            for parameter in model.head.parameters():
                parameter.mul_(20)  # random heads give almost equal scores
        recipe = load_recipe(None, ["data.text=a", "data.text_pair=b"] if name == "regression" else [])
        models[name] = Bundle(model.eval(), task, base, TokenSettings(max_length=48), recipe)
    return models


@pytest.fixture
def make_client() -> Callable[..., Any]:
    """Make an application of models, and a client for it."""
    from serving_client import Client

    from bertwright.serving import app
    from bertwright.serving.settings import ServingSettings

    def make(models: Any, **settings: Any) -> Any:
        return Client(app(models, ServingSettings(**settings)))

    return make
