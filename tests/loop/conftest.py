"""Small runs that take about a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertwright.recipe import Recipe, load_recipe


@pytest.fixture
def recipe(tiny_bert: Path, reviews: Path) -> Callable[..., Recipe]:
    """A recipe on the tiny model and the short reviews, with key=value pairs laid over it."""

    def make(*pairs: str) -> Recipe:
        return load_recipe(
            None,
            [
                f"model.base={tiny_bert}",
                f"data.train={reviews}",
                "data.text=review",
                "data.label=sentiment",
                "tokens.max_length=32",
                "train.batch_size=16",
                "train.learning_rate=1e-2",
                "train.length=2 epochs",
                "train.precision=fp32",
                "train.threads=1",
                *pairs,
            ],
        )

    return make


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these runs; tests/unit/test_display.py and tests/cli have runs with pictures."""
    monkeypatch.setattr("bertwright.run.writing.draw_pictures", lambda directory, report: [])


class Listener:
    """Keeps the events of a run, and may interrupt it."""

    def __init__(self, stop_after: int | None = None, action: Callable[[], None] | None = None) -> None:
        self.events: list[Any] = []
        self.stop_after = stop_after
        self.action = action

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        if type(event).__name__ == "Step" and event.step == self.stop_after and self.action is not None:
            self.action()

    def of(self, name: str) -> list[Any]:
        """The events of one class."""
        return [event for event in self.events if type(event).__name__ == name]
