"""The checkpoints of a run: its weights at the last ``train.keep_checkpoints`` evaluations."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from bertwright.errors import BundleError
from bertwright.files.atomic import expand_home
from bertwright.nn.lora import add_adapters
from bertwright.nn.model import Model
from bertwright.run.bundle import Bundle
from bertwright.run.report import Report
from bertwright.training.compute import ComputeConfig
from bertwright.training.state import read_parameters, save_parameters

KEPT_CHECKPOINTS = "checkpoints"
"""The folder, in a run's directory, of the weights that are kept."""

_NAME = re.compile(r"step-(\d+)\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """The weights after some step of a finished run.

    Attributes:
        run: the run's directory.
        path: the file of the weights, under this package's own names.
        step: after which step they were evaluated and kept.
        epoch: how far through the data that was; nan where the run's report does not say.
        best: whether they are the bundle's.
    """

    run: Path
    path: Path
    step: int
    epoch: float
    best: bool

    def open(
        self,
        device: str = "cpu",
        precision: str = "fp32",
        *,
        compute: ComputeConfig | None = None,
        head: nn.Module | None = None,
        allow_code: bool = False,
    ) -> Bundle:
        """The run's bundle with these weights; what dev rows chose at the end of the run, such as thresholds, stays.

        Args:
            device: of the model, such as ``cuda``; ``auto`` selects an accelerator if there is one.
            precision: of predictions, ``fp32``, ``bf16`` or ``auto``.
            compute: replaces ``device`` and ``precision``.
            head: of the shape of the one that was given from Python for training; it takes the weights.
            allow_code: whether a head that is code, ``module:name``, may be imported and called.

        Raises:
            BertwrightError: the run has not finished, or a file of it is damaged.
        """
        bundle = Bundle.load(self.run, device, precision, compute=compute, head=head, allow_code=allow_code)
        lora = None if bundle.recipe is None else bundle.recipe.model.lora
        if lora is not None and lora.merge:  # as it was trained: the adapters lie beside the weights
            add_adapters(bundle.model.encoder, lora)
            bundle.model.to(bundle.compute.device)
        read_parameters(self.path, bundle.model)
        bundle.model.eval()
        return bundle


def evaluate_checkpoints(run: str | os.PathLike[str]) -> list[Checkpoint]:
    """The checkpoints that a finished run kept (``train.keep_checkpoints``), in their order.

    >>> for checkpoint in evaluate_checkpoints("runs/mine"):  # doctest: +SKIP
    ...     print(checkpoint.step, checkpoint.open().evaluate("dev.csv").metrics)

    Raises:
        BundleError: it kept none, or it is no finished run.
    """
    directory = Path(expand_home(run))
    found = _kept(directory)
    if not found:
        raise BundleError(
            f"{directory / KEPT_CHECKPOINTS}: no weights are kept; train with train.keep_checkpoints=all."
        )
    report = Report.load(directory)
    epochs = {evaluation.step: evaluation.epoch for evaluation in report.history}
    best = report.best.get("step")
    return [Checkpoint(directory, path, step, epochs.get(step) or math.nan, step == best) for step, path in found]


def save_checkpoint(directory: Path, model: Model, step: int, most: int | Literal["all"]) -> None:
    """Write a model's weights to a run's directory, and remove the earliest ones beyond so many.

    Raises:
        OutputError: no space, or the place cannot be written to.
    """
    if most == 0:
        return
    # whole: what reads them opens the bundle, where adapters have been added to the weights below them
    save_parameters(directory / KEPT_CHECKPOINTS / f"step-{step:06d}.safetensors", model, frozen=True)
    for _, path in [] if most == "all" else _kept(directory)[:-most]:
        path.unlink(missing_ok=True)


def _kept(directory: Path) -> list[tuple[int, Path]]:
    found = ((_NAME.fullmatch(path.name), path) for path in (directory / KEPT_CHECKPOINTS).glob("*.safetensors"))
    return sorted((int(match[1]), path) for match, path in found if match)
