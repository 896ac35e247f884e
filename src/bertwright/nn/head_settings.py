"""Settings of a declared head (``model.head``): pooling, and the layers up to the scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from bertwright.config.sections import InvalidSettingError, Section
from bertwright.errors import did_you_mean

UNSIZED_LAYERS = ("batch_norm", "layer_norm", "relu", "gelu", "tanh", "sigmoid", "silu")
"""Layers that are written as a word."""

SIZED_LAYERS = ("dropout", "dense")
"""Layers that are written as a word and a number."""


@dataclass(frozen=True, slots=True)
class HeadLayer:
    """One layer of a declared head: ``batch_norm``, ``{dropout: 0.15}``, ``{dense: 768}``.

    Attributes:
        kind: one of :data:`UNSIZED_LAYERS` or :data:`SIZED_LAYERS`.
        amount: dropout rate, or width of a dense layer; 0 for other layers.
    """

    kind: str
    amount: float = 0.0

    @classmethod
    def parse(cls, value: Any) -> HeadLayer:
        """Parse a layer from its YAML value.

        Raises:
            ValueError: the name is unknown, or the number is missing or out of range.
        """
        if isinstance(value, HeadLayer):
            return value
        kind: Any = value
        amount: Any = None
        if isinstance(value, Mapping) and len(value) == 1:
            ((kind, amount),) = value.items()
        if kind in UNSIZED_LAYERS and amount is None:
            return cls(str(kind))
        number = isinstance(amount, int | float) and not isinstance(amount, bool)
        if kind == "dropout":
            if number and 0 <= amount < 1:
                return cls("dropout", float(amount))
            raise ValueError(f"must be {{dropout: RATE}} with a rate from 0 to below 1; found {_to_json(value)}")
        if kind == "dense":
            if number and amount == int(amount) >= 1:
                return cls("dense", int(amount))
            raise ValueError(f"must be {{dense: WIDTH}} with an integer of at least 1; found {_to_json(value)}")
        if kind in UNSIZED_LAYERS:
            raise ValueError(f"must be the word {kind} alone; found {_to_json(value)}")
        hint = did_you_mean(str(kind), (*UNSIZED_LAYERS, *SIZED_LAYERS))
        raise ValueError(f"is an unknown layer: {_to_json(value)}; {hint}")

    def to_yaml(self) -> str | dict[str, float]:
        """The layer's YAML value."""
        return {self.kind: self.amount} if self.kind in SIZED_LAYERS else self.kind


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


HeadLayerSetting = Annotated[
    HeadLayer,
    PlainValidator(HeadLayer.parse),
    PlainSerializer(HeadLayer.to_yaml, return_type=Any),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(UNSIZED_LAYERS)},
                {
                    "type": "object",
                    "properties": {
                        "dropout": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                        "dense": {"type": "integer", "minimum": 1},
                    },
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": False,
                },
            ],
            "description": f"layers ({{dropout: RATE}}, {{dense: WIDTH}}, {', '.join(UNSIZED_LAYERS)})",
        }
    ),
]
"""A setting that holds a :class:`HeadLayer`."""


class HeadSettings(Section):
    """A declared head; a dense layer to the task's scores follows the declared layers."""

    pooling: Literal["first", "pooler", "mean", "max"] | None = Field(
        default=None,
        description="Which hidden vectors the head reads: first ([CLS]), pooler ([CLS] through BERT's pre-trained "
        "pooler), mean or max of all tokens. Null: first. Tagging and question answering read every token.",
    )
    from_layers: Literal["last", "weighted"] | Annotated[int, Field(ge=2)] = Field(
        default="last",
        description="Layers to read: last; an integer k for the mean of the last k layers; weighted for a learned "
        "weighted mean of all layers, including the embeddings (scalar mix, Peters et al. 2018).",
    )
    layers: tuple[HeadLayerSetting, ...] | None = Field(
        default=None,
        description="Layers before the output layer. Null: only the dropout of the family's standard head.",
    )
    output_l2: float = Field(
        default=0.0,
        ge=0,
        description="L2 regularization (kernel regularizer) of the output layer: its factor in the loss.",
    )
    crf: bool = Field(
        default=False,
        description="Tagging only: score whole tag sequences with a CRF (Lafferty et al. 2001), not single tags.",
    )

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        if self.pooling == "pooler" and self.from_layers != "last":
            text = "must be last with pooling: pooler, which was pre-trained on the last layer"
            raise InvalidSettingError("from_layers", text, related="pooling")
        return self
