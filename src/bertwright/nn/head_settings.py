"""What a recipe says about a head of its own: how vectors are pooled, and the layers up to the scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from bertwright.config.sections import MisfitError, Section
from bertwright.errors import did_you_mean

PLAIN_LAYERS = ("batch_norm", "layer_norm", "relu", "gelu", "tanh", "sigmoid", "silu")
"""Layers that are a word."""

SIZED_LAYERS = ("dropout", "dense")
"""Layers that are a word and a number."""


@dataclass(frozen=True, slots=True)
class HeadLayer:
    """One layer of a head: ``batch_norm``, ``{dropout: 0.15}``, ``{dense: 768}``.

    Attributes:
        kind: one of :data:`PLAIN_LAYERS` or :data:`SIZED_LAYERS`.
        amount: the rate of a dropout, the width of a dense layer; 0 for the others.
    """

    kind: str
    amount: float = 0.0

    @classmethod
    def parse(cls, value: Any) -> HeadLayer:
        """Read a layer as YAML holds it.

        Raises:
            ValueError: no layer of that name, or a number that it cannot have.
        """
        if isinstance(value, HeadLayer):
            return value
        kind: Any = value
        amount: Any = None
        if isinstance(value, Mapping) and len(value) == 1:
            ((kind, amount),) = value.items()
        if kind in PLAIN_LAYERS and amount is None:
            return cls(str(kind))
        number = isinstance(amount, int | float) and not isinstance(amount, bool)
        if kind == "dropout":
            if number and 0 <= amount < 1:
                return cls("dropout", float(amount))
            raise ValueError(f"must be {{dropout: RATE}} with a rate from 0 to below 1; found {_shown(value)}")
        if kind == "dense":
            if number and amount == int(amount) >= 1:
                return cls("dense", int(amount))
            raise ValueError(f"must be {{dense: WIDTH}} with a whole number of at least 1; found {_shown(value)}")
        if kind in PLAIN_LAYERS:
            raise ValueError(f"must be the word {kind} alone; found {_shown(value)}")
        hint = did_you_mean(str(kind), (*PLAIN_LAYERS, *SIZED_LAYERS))
        raise ValueError(f"is no layer that is known: {_shown(value)}; {hint}")

    def written(self) -> str | dict[str, float]:
        """As YAML holds it."""
        return {self.kind: self.amount} if self.kind in SIZED_LAYERS else self.kind


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


Layer = Annotated[
    HeadLayer,
    PlainValidator(HeadLayer.parse),
    PlainSerializer(HeadLayer.written, return_type=Any),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(PLAIN_LAYERS)},
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
            "description": f"layers ({{dropout: RATE}}, {{dense: WIDTH}}, {', '.join(PLAIN_LAYERS)})",
        }
    ),
]
"""A setting that holds a :class:`HeadLayer`."""


class HeadSettings(Section):
    """A head of layers; the last one, dense to the task's scores, follows by itself."""

    pooling: Literal["first", "pooler", "mean", "max"] | None = Field(
        default=None,
        description="What of a text's hidden vectors the head reads: the first token's, [CLS]; that through BERT's "
        "pre-trained pooler; the mean or the largest of all. Null: first. Tags and answers read every token's.",
    )
    from_layers: Literal["last", "weighted"] | Annotated[int, Field(ge=2)] = Field(
        default="last",
        description="Which layers' vectors: the last one's; k for the mean of the last k; weighted for a learnt mean "
        "of all, the embeddings included (Peters et al. 2018).",
    )
    layers: tuple[Layer, ...] | None = Field(
        default=None, description="The layers before the output; null: the dropout of the published head alone."
    )
    output_l2: float = Field(
        default=0.0, ge=0, description="Added to the loss: so much times the sum of squares of the output's weights."
    )
    crf: bool = Field(
        default=False, description="For tagging: score whole sequences of tags (Lafferty et al. 2001), not each tag."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.pooling == "pooler" and self.from_layers != "last":
            raise MisfitError("from_layers", "must be last, which the pooler was pre-trained on", beside="pooling")
        return self
