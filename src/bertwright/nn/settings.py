"""What a recipe says about the model."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from bertwright.config.sections import Location, MisfitError, Section
from bertwright.nn.head_settings import HeadSettings

GIVEN = "given"
"""What stands for a head in a recipe if it was given from Python as an object."""

_NAMED = rf"^({GIVEN}|\w+(\.\w+)*:\w+)$"
HeadName = Annotated[
    str,
    Field(pattern=_NAMED),
    WithJsonSchema({"type": "string", "pattern": _NAMED, "description": '"module:name"'}),
]


class LoraSettings(Section):
    """Adapters of low rank on attention in place of training the encoder (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = Field(default=8, ge=1, description="Rows of the adapters: what is added to a weight has this rank.")
    alpha: float = Field(default=16.0, gt=0, description="What is added counts alpha / rank times.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout of the adapters' input.")
    targets: Annotated[tuple[Literal["query", "key", "value", "output"], ...], Field(min_length=1)] = Field(
        default=("query", "value"), description="Which projections of attention have adapters."
    )
    merge: bool = Field(
        default=True,
        description="Add the adapters to the weights on saving, so that the bundle is an ordinary one; else they are "
        "saved beside them.",
    )


class ModelSettings(Section):
    """Which pre-trained encoder is taken, and which of it trains."""

    base: Location | None = Field(
        default=None, description="A Hub name, a directory of weights or a bundle to start from."
    )
    preset: Literal["tiny", "mini", "small", "medium", "base", "large"] | None = Field(
        default=None,
        description="Start from scratch, not from model.base, with an encoder of one of google-research/bert's sizes.",
    )
    tokenizer: Location | None = Field(
        default=None, description="The directory, or Hub name, of the tokenizer of an encoder from scratch."
    )
    revision: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Branch, tag or commit of a Hub name; null: its main branch."
    )
    load: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Take only these tensors from model.base, * for anything, such as encoder.embeddings.* or "
        "bert.encoder.layer.0.*; the rest starts fresh. Null: all that there are.",
    )
    strict: bool = Field(
        default=True,
        description="Refuse a checkpoint where a tensor of the encoder is missing or of another shape; false: it "
        "starts fresh, and the report says which and why.",
    )
    freeze: Literal["nothing", "embeddings", "encoder"] | Annotated[int, Field(ge=1)] = Field(
        default="nothing", description="What does not train; a number k freezes the embeddings and the first k layers."
    )
    reinit: int = Field(
        default=0,
        ge=0,
        description="How many layers, from the top, start anew instead of from the checkpoint, and BERT's pooler with "
        "them (Zhang et al. 2020): steadier on little data.",
    )
    lora: LoraSettings | None = Field(
        default=None, description="Train adapters and the head, nothing else of the encoder. Null: no adapters."
    )
    head: HeadSettings | HeadName | None = Field(
        default=None,
        description="A head of its own: declared, or module:name of a function or class that makes one from (config, "
        "n_outputs). Null: the family's published head.",
    )
    dropout: float | None = Field(default=None, ge=0, lt=1, description="Dropout of hidden states; null: as published.")
    attention_dropout: float | None = Field(
        default=None, ge=0, lt=1, description="Dropout of attention probabilities; null: as published."
    )

    def opened(self) -> Self:
        """What of it still says how the model is made once it has been trained and saved."""
        lora = None if self.lora is None or self.lora.merge else self.lora
        return self.replace(reinit=0, lora=lora, load=None, strict=True)

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.preset is not None and self.base is not None:
            raise MisfitError("preset", "has no place beside model.base; start from one of them", beside="base")
        if self.preset is not None and self.tokenizer is None:
            text = "needs a tokenizer; name the directory of one with model.tokenizer (`bertwright tokenizer train`)"
            raise MisfitError("preset", text)
        if self.tokenizer is not None and self.preset is None:
            raise MisfitError("tokenizer", "is for model.preset; an encoder that exists has its own, so leave it out")
        return self

    @model_validator(mode="after")
    def _adapters_fit(self) -> Self:
        if self.lora is not None and self.freeze != "nothing":
            text = "has no place beside model.lora, which freezes the whole encoder; leave it out"
            raise MisfitError("freeze", text, beside="lora")
        if self.lora is not None and self.reinit:
            text = "has no place beside model.lora, under which those layers would stay as they start; leave it out"
            raise MisfitError("reinit", text, beside="lora")
        return self
