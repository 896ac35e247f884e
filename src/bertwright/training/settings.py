"""The ``train`` section of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from bertwright.config.duration import AutoLength, Duration, Length, Portion, RunLength
from bertwright.config.sections import InvalidSettingError, Section
from bertwright.config.yaml_tree import format_number
from bertwright.errors import RecipeError
from bertwright.tokenization.sampling import Sampling

TrackerName = Literal["tensorboard", "mlflow", "wandb"]

_EPOCH = Duration(1, "epochs")


class Segment(Section):
    """One segment of a listed learning-rate schedule."""

    kind: Literal["linear", "cosine", "constant"] = Field(description="Shape of the learning rate from start to end.")
    steps: Portion = Field(description="Length of the segment; the last rate stays constant afterwards.")
    start: float = Field(ge=0, description="Learning rate at the first step of the segment.")
    end: float | None = Field(
        default=None, ge=0, description="Learning rate at the end of the segment; null for a constant segment."
    )

    @model_validator(mode="after")
    def _end_fits(self) -> Self:
        if self.kind == "constant" and self.end is not None:
            raise InvalidSettingError("end", "has no effect in a constant segment; remove it")
        if self.kind != "constant" and self.end is None:
            raise InvalidSettingError("end", f"is missing; set the learning rate at the end of the {self.kind} segment")
        return self


def highest_rate(segments: Sequence[Segment]) -> float:
    """The highest learning rate of a listed schedule."""
    return max(rate for segment in segments for rate in (segment.start, segment.end or 0.0))


class TrainSettings(Section):
    """Training settings; the defaults are those of Devlin et al. 2018 where they do not depend on data and model."""

    former_names: ClassVar[Mapping[str, str]] = {
        "clip": "max_grad_norm",
        "keep": "keep_checkpoints",
        "best_by": "metric_for_best_model",
        "unfreeze": "gradual_unfreezing",
        "reuse_features": "cache_features",
    }

    length: RunLength = Field(
        default=AutoLength(),
        description="Training length in epochs, steps or time (30 minutes); for a time, bertwright measures the "
        "speed and plans the number of steps. auto: 600 steps, but between 3 and 20 epochs.",
    )
    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        default="auto",
        description="Peak learning rate. auto: 2e-5 at BERT-base's width, more for narrower and less for wider "
        "encoders; 1e-3 for a head on a frozen encoder, 3e-4 for LoRA.",
    )
    head_learning_rate: float | None = Field(
        default=None, gt=0, description="Peak learning rate of the head; null: train.learning_rate."
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Layer-wise learning rate decay: factor from each layer to the layer below it; 1 disables it.",
    )
    gradual_unfreezing: Length | None = Field(
        default=None,
        description="Gradual unfreezing: train only the head first, then unfreeze one layer after each interval, from "
        "the top layer down to the embeddings; null: train all layers from the start.",
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="Examples per optimizer step, on any number of devices. auto: 16 for up to 2,000 training rows, "
        "else 32.",
    )
    # 64 texts of 128 tokens. BERT-base in 16 bits stores about 4 GB of activations for them: s·b·h·(34 + 5·a·s/h)
    # bytes per layer (Korthikanti et al. 2022, arXiv 2205.05198, equation 1).
    max_tokens: int = Field(
        default=8192,
        ge=3,
        description="Maximum tokens per forward pass; larger batches are split into micro-batches (gradient "
        "accumulation).",
    )
    weight_decay: float = Field(
        default=0.01, ge=0, description="Weight decay of AdamW; not applied to biases and LayerNorm."
    )
    schedule: Literal["linear", "cosine", "constant"] | Annotated[tuple[Segment, ...], Field(min_length=1)] = Field(
        default="linear", description="Learning rate schedule after warm-up, or a list of segments."
    )
    warmup: Portion = Field(
        default=0.1,
        description="Length of the linear learning rate warm-up, as a share of the steps or in steps or epochs.",
    )
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, description="Gradient clipping: maximum L2 norm of all gradients; null disables it."
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Decay rate of AdamW's running mean of the gradient.")
    beta2: float = Field(
        default=0.999, ge=0, lt=1, description="Decay rate of AdamW's running mean of the squared gradient."
    )
    # google-research/bert, optimization.py; torch's own default is 1e-8.
    eps: float = Field(default=1e-6, gt=0, description="Epsilon of AdamW, added to the denominator.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Precision of the forward and backward pass; auto: bf16 if the device supports it in hardware, "
        "else fp32.",
    )
    evaluate_every: Length = Field(
        default=_EPOCH, description="Interval between evaluations on the validation (dev) rows."
    )
    save_every: Length = Field(default=_EPOCH, description="Interval between checkpoints for --resume.")
    keep_checkpoints: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        default=0,
        description="Number of latest checkpoints to keep in DIR/checkpoints, one per evaluation, for evaluate "
        "--all-checkpoints; the bundle always has the best weights.",
    )
    keep_state: bool = Field(
        default=True,
        description="Keep the training state of a finished run with a constant or listed schedule, so that --resume "
        "with a new train.length can extend it; needs disk space of about four times the model.",
    )
    patience: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        default="auto",
        description="Early stopping patience: stop after N evaluations without improvement; null disables it. auto: 6 "
        "if train.length is auto and has more than 3 epochs, else null.",
    )
    restart_if_collapsed: bool = Field(
        default=False,
        description="If all predictions are equal at the end, train once more from the base weights with another "
        "random seed.",
    )
    refit: bool | Literal["auto"] = Field(
        default="auto",
        description="After the evaluation, train once more from the base weights on training and validation rows, and "
        "save these weights; the report describes the model before. auto: true for up to 2,000 training rows if no "
        "validation rows are named, none are needed to tune thresholds or a temperature, and train.length is auto.",
    )
    metric_for_best_model: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Metric that selects the best weights; null: the first metric of the task."
    )
    average: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Weight averaging: evaluate and save an exponential moving average of the weights over this share "
        "of the run; null: the weights of the last step.",
    )
    sampling: Sampling = Field(
        default="all",
        description="Sampling of training rows for class imbalance: all, each row once per epoch; balanced, equally "
        "many rows of each label; sqrt, by the square root of label frequencies; oversample, every label as often as "
        "the most frequent one.",
    )
    cache_features: bool = Field(
        default=True,
        description="Compute the features of a frozen encoder once, cache them on disk, and train the head on them.",
    )
    track: tuple[TrackerName, ...] = Field(
        default=(),
        description="Experiment trackers that record the run: tensorboard, mlflow or wandb (Weights & Biases).",
    )
    device: str = Field(default="auto", description="Device: auto, cpu, mps, cuda, or one device such as cuda:1.")
    threads: int | None = Field(
        default=None,
        ge=1,
        description="CPU threads; null: OMP_NUM_THREADS, or the cores that CPU affinity and container limits allow.",
    )

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate as a number.

        Raises:
            RecipeError: it is ``auto``, which depends on the model.
        """
        if isinstance(self.learning_rate, str):
            raise RecipeError("train.learning_rate: is auto, which only a run replaces by a number; set a number.")
        return self.learning_rate

    @property
    def examples_per_step(self) -> int:
        """The batch size as a number.

        Raises:
            RecipeError: it is ``auto``, which depends on the data.
        """
        if isinstance(self.batch_size, str):
            raise RecipeError("train.batch_size: is auto, which only a run replaces by a number; set a number.")
        return self.batch_size

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        kind, _, index = device.partition(":")
        if device in ("auto", "cpu", "mps", "cuda") or (kind == "cuda" and index.isascii() and index.isdigit()):
            return device
        raise ValueError(f'must be "auto", "cpu", "mps", "cuda" or one device such as "cuda:1"; found "{device}"')

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        # A listed schedule defines the learning rate completely; learning_rate and warmup must agree with it.
        if isinstance(self.schedule, str):
            return self
        highest = highest_rate(self.schedule)
        if self.learning_rate not in ("auto", highest):
            text = (
                f"is {format_number(self.peak_learning_rate)}, but the listed schedule reaches {format_number(highest)}"
            )
            raise InvalidSettingError("learning_rate", f"{text}; make them equal", related="schedule")
        if self.warmup != 0:
            text = (
                "cannot be combined with a listed schedule, whose first segment is the warm-up; set train.warmup to 0"
            )
            raise InvalidSettingError("warmup", text, related="schedule")
        return self
