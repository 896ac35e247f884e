"""One model of a server: requests in, responses out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any

from bertwright.data.example import Example
from bertwright.engines.engine import depends_on_batch
from bertwright.run.bundle import ROWS, Bundle
from bertwright.serving.batching import Batcher
from bertwright.serving.explanations import ExplanationService, can_explain
from bertwright.serving.requests import make_request_type, make_response_type, parse_request
from bertwright.serving.settings import ServingSettings
from bertwright.tasks.spec import Prediction
from bertwright.training.compute import release_free_memory

CHARACTERS_PER_TOKEN = 4
"""Bytes of UTF-8 per token, about: 4 to 5 in English, and 3 for a Chinese character."""

SPECIAL_TOKENS = 3
"""Special tokens of a pair of texts."""


class ModelService:
    """A model that answers requests.

    Args:
        name: of the model.
        bundle: the model.
        settings: limits and batching.
        executor: the worker thread.
        on_batch: called with the name of the model, and the inputs, estimated tokens and seconds of each batch.
    """

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        settings: ServingSettings,
        executor: Callable[[], Executor],
        on_batch: Callable[[str, int, int, float], None],
    ) -> None:
        self.name = name
        self.bundle = bundle
        self.schema = bundle.task.service_schema(bundle.takes_pairs)
        self.request_type = make_request_type(self.schema)
        self.response_type = make_response_type(self.schema.prediction_type)
        self._settings = settings
        self._is_windowed = bundle.task.adapt_tokens(bundle.tokens).truncation == "windows"

        self.title = f"Predict with {name}"
        self.explanations = (
            ExplanationService(name, bundle, self.schema, settings, executor) if can_explain(self.schema) else None
        )
        self._n_unreleased = 0
        if depends_on_batch(bundle.engine):  # a prediction must not depend on the requests of other clients
            settings = replace(settings, max_batch_tokens=1, max_wait_ms=0.0)
        self._batcher: Batcher[Example] = Batcher(self._predict, executor, settings, partial(on_batch, name))

    @property
    def n_waiting(self) -> int:
        """The number of inputs in the queue."""
        return self._batcher.n_waiting

    async def answer(self, body: bytes, record: dict[str, Any]) -> bytes:
        """The response to a request, as JSON.

        Args:
            body: of the request.
            record: gets what the log shows of the request.

        Raises:
            RequestError: the body is not a request for this model, or the queue is full.
            DataError: the fields of an input cannot be combined, or the model does not take them.
        """
        request = parse_request(self.request_type, self.schema.input_type, body, self._settings.max_inputs)
        examples = [self.schema.to_example(values, str(i), f"inputs[{i}]") for i, values in enumerate(request.inputs)]
        top_k = getattr(request, "top_k", None)
        record["inputs"] = len(examples)

        def render(results: Sequence[tuple[Prediction, Example]]) -> bytes:
            predictions = [self.schema.to_response(*result, top_k) for result in results]
            response = self.response_type.model_construct(model=self.name, predictions=predictions)
            return response.model_dump_json().encode()

        group = all(example.text_pair is None for example in examples)  # pairs and single texts are encoded separately
        n_tokens = sum(map(self._estimate_tokens, examples))
        response: bytes = await self._batcher.run(examples, n_tokens, render, group)
        return response

    def warm_up(self) -> None:
        """Predict the examples of the task once, so that the first request finds everything loaded."""
        examples = [self.schema.input_type(**values) for values in self.schema.examples]
        self._predict([self.schema.to_example(values, str(i), "example") for i, values in enumerate(examples)])

    def describe(self) -> dict[str, Any]:
        """What a client needs to know to use the model, as JSON."""
        task = self.bundle.task
        return {
            "name": self.name,
            "task": task.kind,
            "description": f"This model {task.wording.summary.format(n=len(task.label_names))}.",
            "labels": list(task.label_names),
            "max_length": self.bundle.tokens.max_length,
            "input": self.schema.input_type.model_json_schema(),
            "form": [name for name in self.schema.input_type.model_fields if name not in self.schema.hidden_fields],
            "examples": list(self.schema.examples),
            "ranks": self.schema.ranks,
            "predict": f"models/{self.name}/predict",
            "explain": f"models/{self.name}/explain" if self.explanations else None,
        }

    def _predict(self, examples: Sequence[Example]) -> list[tuple[Prediction, Example]]:
        """Predictions with the normalized examples that they refer to."""
        normalized = [self.bundle.normalize_example(example) for example in examples]
        outputs, _ = self.bundle.compute_outputs(normalized)
        self._n_unreleased += len(examples)
        if self._n_unreleased >= ROWS:  # batches of varying lengths leave gaps, with which memory grows
            release_free_memory()
            self._n_unreleased = 0
        return list(zip(self.bundle.task.decode(outputs, normalized), normalized, strict=True))

    def _estimate_tokens(self, example: Example) -> int:
        """About how many tokens an example has; the tokenizer runs later, in the worker thread."""
        sizes = (
            len(f"{text}{pair or ''}".encode()) // CHARACTERS_PER_TOKEN + SPECIAL_TOKENS
            for text, pair in self.bundle.task.target_spec.sequence_texts(example)
        )
        return sum(sizes) if self._is_windowed else sum(min(size, self.bundle.tokens.max_length) for size in sizes)
