"""TensorBoard scalars of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertwright.errors import MissingDependencyError
from bertwright.run.events import EvaluationFinished, TrainingFinished, TrainingStarted
from bertwright.training.loop import Step


class TensorBoardWriter:
    """Writes loss, learning rate, gradient norm and speed of every step, and the metrics of every evaluation.

    Raises:
        MissingDependencyError: tensorboard is not installed.
    """

    def __init__(self, directory: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                "--tensorboard: tensorboard is not installed; run `pip install 'bertwright[tensorboard]'`."
            ) from error
        self._open = SummaryWriter
        self._directory = directory
        self._writer: Any = None

    def __call__(self, event: Any) -> None:
        """Write one event; the directory is created when the run starts, because the run requires a new directory."""
        if isinstance(event, TrainingStarted):
            # a resumed run repeats the steps after its checkpoint
            self._writer = self._open(str(self._directory), purge_step=event.step + 1)
        elif isinstance(event, Step):
            rate = event.examples / max(event.seconds, 1e-9)
            values = {"loss": event.loss, "learning_rate": event.learning_rate, "gradient_norm": event.gradient_norm}
            for name, value in {**values, "examples_per_second": rate}.items():
                self._writer.add_scalar(f"train/{name}", value, event.step)
        elif isinstance(event, EvaluationFinished):
            for split, metrics in event.metrics.items():
                for name, value in metrics.items():
                    self._writer.add_scalar(f"{split}/{name}", value, event.step)
                if split in event.validation_loss:
                    self._writer.add_scalar(f"{split}/loss", event.validation_loss[split], event.step)
            self._writer.flush()
        elif isinstance(event, TrainingFinished):
            self._writer.close()
