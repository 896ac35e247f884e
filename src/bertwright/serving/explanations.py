"""Requests to explain a prediction, and their responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any

from pydantic import BaseModel, Field, create_model

from bertwright.attributions.explanation import Explanation
from bertwright.data.example import Example
from bertwright.run.bundle import Bundle
from bertwright.serving.batching import Batcher
from bertwright.serving.requests import make_inputs_request, parse_request
from bertwright.serving.settings import ServingSettings
from bertwright.tasks.schemas.spec import END, START, PredictionSchema, ServiceSchema


class ExplainedTextSchema(BaseModel):
    """A text of the input; offsets refer to it."""

    name: str
    text: str


class WordAttributionSchema(BaseModel):
    """A word, and how much it raises the score; negative if it lowers the score."""

    word: str
    text: int = Field(description="Index of its text in `texts`.")
    start: int = START
    end: int = END
    attribution: float


class ExplanationSchema(BaseModel):
    """Attributions by integrated gradients; those of all words sum up to `total`."""

    target: str = Field(description="The label, tag, answer or choice that is explained.")
    quantity: str = Field(description="The kind of score, such as log odds.")
    score: float = Field(description="The score of the target.")
    baseline_score: float = Field(description="The score if every token is replaced by the baseline token.")
    total: float = Field(description="The sum of the attributions: the difference of both scores, with a small error.")
    baseline: str = Field(description="The baseline token, such as [MASK].")
    is_accurate: bool = Field(description="Whether the error of the sum is below 0.5 %.")
    texts: list[ExplainedTextSchema]
    words: list[WordAttributionSchema]
    notes: list[str]


@cache
def _response_type(prediction_type: type[PredictionSchema]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "model": (str, Field(description="The name of the model.")),
        "prediction": (prediction_type, Field(description="The prediction for the input.")),
        "explanation": (ExplanationSchema, Field(description="The attributions of its words.")),
    }
    name = f"Explained{prediction_type.__name__}"
    return create_model(name, __doc__="A prediction and its explanation.", **fields)


class ExplanationService:
    """Explains predictions of a model, one at a time, in the worker thread.

    Args:
        name: of the model.
        bundle: the model.
        schema: of its task.
        settings: limits.
        executor: the worker thread.
    """

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        schema: ServiceSchema,
        settings: ServingSettings,
        executor: Callable[[], Executor],
    ) -> None:
        target = (str | None, Field(default=None, description="What to explain; null for the prediction."))
        self.name = name
        self.title = f"Explain predictions of {name}"
        self.request_type = make_inputs_request(schema, "ExplainRequest", {"target": target})
        self.response_type = _response_type(schema.prediction_type)
        self._bundle = bundle
        self._schema = schema
        self._batcher: Batcher[tuple[Example, str | None]] = Batcher(
            self._explain, executor, replace(settings, max_batch_tokens=1, max_wait_ms=0.0)
        )

    async def answer(self, body: bytes, record: dict[str, Any]) -> bytes:
        """The response to a request, as JSON.

        Args:
            body: of the request.
            record: gets what the log shows of the request.

        Raises:
            RequestError: the body is not a request for this model, or the queue is full.
            BertwrightError: the prediction cannot be explained.
        """
        request = parse_request(self.request_type, self._schema.input_type, body, max_inputs=1)
        example = self._schema.to_example(request.inputs[0], "0", "inputs[0]")
        record["inputs"] = 1
        response: bytes = await self._batcher.run([(example, request.target)], 1, self._render)
        return response

    def _explain(self, items: Sequence[tuple[Example, str | None]]) -> list[tuple[Explanation, Example]]:
        return [
            (self._bundle.explain(example, target=target), self._bundle.normalize_example(example))
            for example, target in items
        ]

    def _render(self, results: Sequence[tuple[Explanation, Example]]) -> bytes:
        explanation, example = results[0]
        prediction = self._schema.to_response(explanation.prediction, example, self._schema.default_top_k)
        response = self.response_type(
            model=self.name, prediction=prediction, explanation=ExplanationSchema(**explanation.to_dict())
        )
        return response.model_dump_json().encode()


def can_explain(schema: ServiceSchema) -> bool:
    """Whether predictions of a task can be explained, and captum is installed."""
    return schema.explains and find_spec("captum") is not None
