"""Settings of the model (``model``): the pre-trained encoder, what trains, and the head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from bertwright.config.sections import InvalidSettingError, Location, Section
from bertwright.nn.head_settings import HeadSettings

HEAD_OBJECT = "given"
"""The value of ``model.head`` in a saved recipe if the head was passed from Python as an object."""

_HEAD_PATTERN = rf"^({HEAD_OBJECT}|\w+(\.\w+)*:\w+)$"
HeadName = Annotated[
    str,
    Field(pattern=_HEAD_PATTERN),
    WithJsonSchema({"type": "string", "pattern": _HEAD_PATTERN, "description": '"module:name"'}),
]


class LoraSettings(Section):
    """LoRA adapters on attention, trained instead of the encoder (Hu et al. 2021, arXiv 2106.09685)."""

    former_names: ClassVar[Mapping[str, str]] = {"targets": "target_modules"}

    rank: int = Field(default=8, ge=1, description="Rank of the weight updates.")
    alpha: float = Field(default=16.0, gt=0, description="Scale of the updates: they are multiplied by alpha / rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout rate on the input of the adapters.")
    target_modules: Annotated[tuple[Literal["query", "key", "value", "output"], ...], Field(min_length=1)] = Field(
        default=("query", "value"), description="Attention projections that get adapters."
    )
    merge: bool = Field(
        default=True,
        description="Merge the adapters into the weights when saving, so that the model directory is an ordinary one; "
        "false saves the adapters separately.",
    )


class ModelSettings(Section):
    """The pre-trained encoder, which of its parameters train, and the head."""

    former_names: ClassVar[Mapping[str, str]] = {"reinit": "reinit_layers"}

    base: Location | None = Field(
        default=None, description="Pre-trained model to start from: a Hub name, a directory of weights or a bundle."
    )
    preset: Literal["tiny", "mini", "small", "medium", "base", "large"] | None = Field(
        default=None,
        description="Train from scratch instead of from model.base; names one of google-research/bert's model sizes.",
    )
    tokenizer: Location | None = Field(
        default=None, description="Directory or Hub name of the tokenizer, for an encoder trained from scratch."
    )
    revision: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Branch, tag or commit of a Hub model; null: the main branch."
    )
    load: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Load only these tensors from model.base; * matches anything, as in encoder.embeddings.* or "
        "bert.encoder.layer.0.*. Other tensors are randomly initialized. Null: load all tensors.",
    )
    strict: bool = Field(
        default=True,
        description="Refuse a checkpoint in which an encoder tensor is missing or has another shape. false: initialize "
        "it randomly and report the reason.",
    )
    freeze: Literal["nothing", "embeddings", "encoder"] | Annotated[int, Field(ge=1)] = Field(
        default="nothing",
        description="Which parameters to freeze; an integer k freezes the embeddings and the first k layers.",
    )
    reinit_layers: int = Field(
        default=0,
        ge=0,
        description="Number of top layers to initialize randomly instead of from the checkpoint, together with BERT's "
        "pooler (Zhang et al. 2020); makes training more stable on small data sets.",
    )
    init_seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**32,
        description="Random seed of the randomly initialized weights, such as the output layer; null: the seed of the "
        "run. With one value, runs of several seeds start from equal weights, which a soup of their weights needs.",
    )
    lora: LoraSettings | None = Field(
        default=None,
        description="Train LoRA adapters and the head, and freeze the rest of the encoder. Null: no adapters.",
    )
    head: HeadSettings | HeadName | None = Field(
        default=None,
        description="Custom head: a declared head, or module:name of a class or function that builds one from (config, "
        "n_outputs). Null: the standard head of the family.",
    )
    output_bias: Literal["prior", "zero"] = Field(
        default="prior",
        description="Initial bias of an untrained output layer: prior, the label frequencies of the training rows (log "
        "prior; logit for multilabel), so that training need not learn them first; zero, as in the BERT paper.",
    )
    dropout: float | None = Field(
        default=None, ge=0, lt=1, description="Dropout rate of hidden states; null: the pre-trained model's."
    )
    attention_dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Dropout rate of attention probabilities; null: the value of the pre-trained model.",
    )

    def for_trained_model(self) -> Self:
        """The settings that still apply after training and saving; loading settings return to their defaults."""
        lora = None if self.lora is None or self.lora.merge else self.lora
        return self.replace(reinit_layers=0, lora=lora, load=None, strict=True)

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.preset is not None and self.base is not None:
            raise InvalidSettingError(
                "preset", "cannot be combined with model.base; remove one of them", related="base"
            )
        if self.preset is not None and self.tokenizer is None:
            text = "needs a tokenizer; set model.tokenizer to its directory (`bertwright tokenizer train` makes one)"
            raise InvalidSettingError("preset", text)
        if self.tokenizer is not None and self.preset is None:
            text = "applies only with model.preset, because a pre-trained encoder has its own tokenizer; remove it"
            raise InvalidSettingError("tokenizer", text)
        return self

    @model_validator(mode="after")
    def _check_adapters(self) -> Self:
        if self.lora is not None and self.freeze != "nothing":
            text = "cannot be combined with model.lora, which freezes the whole encoder; remove it"
            raise InvalidSettingError("freeze", text, related="lora")
        if self.lora is not None and self.reinit_layers:
            text = "cannot be combined with model.lora, which would freeze the reinitialized layers; remove it"
            raise InvalidSettingError("reinit_layers", text, related="lora")
        return self
