"""What a recipe says about training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from bertwright.config.duration import Duration, Length, Portion, RunLength
from bertwright.config.sections import MisfitError, Section
from bertwright.config.yaml_tree import number_text
from bertwright.tokenization.sampling import Sampling

_EPOCH = Duration(1, "epochs")


class Segment(Section):
    """One stretch of a listed learning-rate schedule."""

    kind: Literal["linear", "cosine", "constant"] = Field(description="How the rate goes from start to end.")
    steps: Portion = Field(description="How long the stretch is; after the last one its rate stays.")
    start: float = Field(ge=0, description="Learning rate at its first step.")
    end: float | None = Field(default=None, ge=0, description="Learning rate it arrives at; null for a constant one.")

    @model_validator(mode="after")
    def _end_fits(self) -> Self:
        if self.kind == "constant" and self.end is not None:
            raise MisfitError("end", "has no place in a constant stretch; leave it out")
        if self.kind != "constant" and self.end is None:
            raise MisfitError("end", f"is missing; a {self.kind} stretch needs the rate it arrives at")
        return self


class TrainSettings(Section):
    """How the model is trained; defaults are those of Devlin et al. 2018, with AdamW's bias correction."""

    former_names: ClassVar[Mapping[str, str]] = {
        "clip": "max_grad_norm",
        "keep": "keep_checkpoints",
        "best_by": "metric_for_best_model",
        "unfreeze": "gradual_unfreezing",
        "reuse_features": "cache_features",
    }

    length: RunLength = Field(
        default=Duration(3, "epochs"),
        description="How long to train; of a time, the steps are planned from the speed measured before.",
    )
    learning_rate: float = Field(default=2e-5, gt=0, description="Highest learning rate of the run.")
    head_learning_rate: float | None = Field(
        default=None, gt=0, description="Highest learning rate of the head; null: that of everything else."
    )
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="Each layer's learning rate as a share of that of the layer above it."
    )
    gradual_unfreezing: Length | None = Field(
        default=None,
        description="Begin with the head alone and add a layer from the top, at last the embeddings, every so often; "
        "null: all train at once.",
    )
    batch_size: int = Field(default=32, ge=1, description="Examples per optimiser step, on however many devices.")
    # 64 texts of 128 tokens. BERT-base in 16 bits keeps about 4 GB for their gradients: s·b·h·(34 + 5·a·s/h) bytes a
    # layer (Korthikanti et al. 2022, arXiv 2205.05198, equation 1).
    max_tokens: int = Field(default=8192, ge=3, description="Most tokens in memory at once; a larger batch is split.")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's weight decay; biases and LayerNorm have none.")
    schedule: Literal["linear", "cosine", "constant"] | Annotated[tuple[Segment, ...], Field(min_length=1)] = Field(
        default="linear", description="How the learning rate falls after warm-up, or a list of stretches."
    )
    warmup: Portion = Field(default=0.1, description="How long the learning rate rises from 0 at the start.")
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, description="Gradient clipping: maximum L2 norm of all gradients; null disables it."
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay of the mean gradient.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="AdamW's decay of the mean squared gradient.")
    # google-research/bert, optimization.py; torch's own default is 1e-8.
    eps: float = Field(default=1e-6, gt=0, description="AdamW's guard against division by zero.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="Arithmetic of the forward and backward pass; auto: what the device does well."
    )
    evaluate_every: Length = Field(default=_EPOCH, description="How often to evaluate on the dev rows.")
    save_every: Length = Field(default=_EPOCH, description="How often to save what a resumed run starts from.")
    keep_checkpoints: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        default=0,
        description="How many evaluations' weights stay in DIR/checkpoints, the latest ones, for evaluate "
        "--all-checkpoints; the best ones are the bundle's in any case.",
    )
    keep_state: bool = Field(
        default=True,
        description="Keep the state of a finished run whose schedule allows a longer one (constant or a list), so that "
        "--resume with a new train.length can extend it; takes about four times the size of the model.",
    )
    patience: int | None = Field(
        default=None, ge=1, description="Stop after so many evaluations without a better score; null: never early."
    )
    metric_for_best_model: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Metric that decides which weights are kept; null: the task's first."
    )
    sampling: Sampling = Field(
        default="all",
        description="How often rows come in an epoch: all once; balanced, as many of each label; sqrt, halfway to it; "
        "oversample, each label as often as the most frequent one.",
    )
    cache_features: bool = Field(
        default=True, description="Run a frozen encoder once and train the head from what it gave, stored on disk."
    )
    device: str = Field(default="auto", description="auto, cpu, mps, cuda, or one device such as cuda:1.")
    threads: int | None = Field(
        default=None,
        ge=1,
        description="CPU threads; null: OMP_NUM_THREADS, or the cores that CPU affinity and container limits allow.",
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        kind, _, index = device.partition(":")
        if device in ("auto", "cpu", "mps", "cuda") or (kind == "cuda" and index.isascii() and index.isdigit()):
            return device
        raise ValueError(f'must be "auto", "cpu", "mps", "cuda" or one device such as "cuda:1"; found "{device}"')

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        # Listed stretches say everything about the rate; two settings that could contradict them must agree instead.
        if isinstance(self.schedule, str):
            return self
        highest = max(rate for stretch in self.schedule for rate in (stretch.start, stretch.end or 0.0))
        if self.learning_rate != highest:
            text = f"is {number_text(self.learning_rate)}, but the listed schedule reaches {number_text(highest)}"
            raise MisfitError("learning_rate", f"{text}; make them equal", beside="schedule")
        if self.warmup != 0:
            text = "has no place beside a listed schedule, whose first stretch it is; set train.warmup to 0"
            raise MisfitError("warmup", text, beside="schedule")
        return self
