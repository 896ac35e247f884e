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
from bertwright.nn.linear import Linear
from bertwright.nn.lora import add_adapters
from bertwright.nn.model import Model
from bertwright.nn.scaled_linear import fold_output_scale, scale_output
from bertwright.run.bundle import Bundle
from bertwright.run.report import Report
from bertwright.training.compute import ComputeConfig
from bertwright.training.state import read_parameters, save_parameters

KEPT_CHECKPOINTS = "checkpoints"
"""The folder of the checkpoints in a run directory."""

_NAME = re.compile(r"step-(\d+)\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a finished run after one of its evaluations.

    Attributes:
        run: the run's directory.
        path: the file of the weights, under the parameter names of this package.
        step: number of training steps.
        epoch: number of epochs; nan if the report of the run has no such evaluation.
        best: whether the bundle has these weights.
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
        """Open the bundle of the run with these weights; values tuned at the end of the run, such as thresholds, stay.

        Args:
            device: of the model, such as ``cuda``; ``auto`` selects an accelerator if there is one.
            precision: of predictions, ``fp32``, ``bf16`` or ``auto``.
            compute: replaces ``device`` and ``precision``.
            head: a module like the one passed from Python for training; the weights are loaded into it.
            allow_code: whether a head that is code, ``module:name``, may be imported and called.

        Raises:
            BertwrightError: the run has not finished, or a file of it is damaged.
        """
        bundle = Bundle.load(self.run, device, precision, compute=compute, head=head, allow_code=allow_code)
        model = bundle.single_model
        lora = None if bundle.recipe is None else bundle.recipe.model.lora
        if lora is not None and lora.merge:  # restore the structure of training, with separate adapters
            add_adapters(model.encoder, lora)
            model.to(bundle.compute.device)
        if bundle.task.output_scale is not None and isinstance(getattr(model.head, "output", None), Linear):
            scale_output(model.head, 0.0, 1.0, trained=True)  # the file holds mean and scale
        read_parameters(self.path, model)
        fold_output_scale(model.head)
        model.eval()
        return bundle


def list_checkpoints(run: str | os.PathLike[str]) -> list[Checkpoint]:
    """List the checkpoints of a finished run (``train.keep_checkpoints``) in the order of their steps.

    >>> for checkpoint in list_checkpoints("runs/mine"):  # doctest: +SKIP
    ...     print(checkpoint.step, checkpoint.open().evaluate("dev.csv").metrics)

    Raises:
        BundleError: the run has no checkpoints, or has not finished.
    """
    directory = Path(expand_home(run))
    files = _checkpoint_files(directory)
    if not files:
        raise BundleError(
            f"{directory / KEPT_CHECKPOINTS}: contains no checkpoints; train with train.keep_checkpoints=all."
        )
    report = Report.load(directory)
    epochs = {evaluation.step: evaluation.epoch for evaluation in report.history}
    best = report.best.get("step")
    return [Checkpoint(directory, path, step, epochs.get(step) or math.nan, step == best) for step, path in files]


def save_checkpoint(directory: Path, model: Model, step: int, most: int | Literal["all"]) -> None:
    """Save the weights of a model as a checkpoint, and remove the oldest checkpoints beyond ``most``.

    Raises:
        OutputError: the file cannot be written, for example because the disk is full.
    """
    if most == 0:
        return
    # also frozen weights: the bundle, into which they are loaded, has adapters merged into its weights
    save_parameters(directory / KEPT_CHECKPOINTS / f"step-{step:06d}.safetensors", model, frozen=True)
    for _, path in [] if most == "all" else _checkpoint_files(directory)[:-most]:
        path.unlink(missing_ok=True)


def _checkpoint_files(directory: Path) -> list[tuple[int, Path]]:
    matches = ((_NAME.fullmatch(path.name), path) for path in (directory / KEPT_CHECKPOINTS).glob("*.safetensors"))
    return sorted((int(match[1]), path) for match, path in matches if match)
