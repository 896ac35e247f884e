"""Requests and responses in JSON: their types, derived from the task of a model, and sentences for invalid ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError, create_model

from bertwright.errors import did_you_mean
from bertwright.files.strict_json import to_json
from bertwright.output.plurals import pluralize
from bertwright.serving.errors import RequestError
from bertwright.tasks.schemas.spec import InputSchema, PredictionSchema, ServiceSchema


def make_request_type(schema: ServiceSchema) -> type[BaseModel]:
    """The type of a request to predict: ``inputs``, one or a list, and ``top_k`` if predictions are ranked."""
    if not schema.ranks:
        return make_inputs_request(schema, "UnrankedRequest", {})
    limit = "" if schema.default_top_k is None else f"by default {schema.default_top_k}; "
    description = f"Number of alternatives in `top`; {limit}null lists all."
    top_k = (int | None, Field(default=schema.default_top_k, ge=1, description=description))
    return make_inputs_request(schema, "Request", {"top_k": top_k})


_request_types: dict[tuple[type[InputSchema], str], type[BaseModel]] = {}
"""Types by input and suffix of their name: OpenAPI names types, so models of the same task share theirs."""


def make_inputs_request(schema: ServiceSchema, suffix: str, more: Mapping[str, Any]) -> type[BaseModel]:
    """The type of a request with ``inputs``, one or a list, and more fields.

    Args:
        schema: of the task.
        suffix: of the name of the type.
        more: fields by name, as pydantic's ``create_model`` takes them.
    """
    input_type, short_field = schema.input_type, schema.short_field
    key = input_type, suffix
    if key in _request_types:
        return _request_types[key]

    def to_list(value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    def to_fields(value: Any) -> Any:
        return {short_field: value} if short_field and isinstance(value, str) else value

    def describe(properties: dict[str, Any]) -> None:
        item = properties.pop("items")
        forms = [{"type": "string"}, item] if short_field else [item]
        several = {"type": "array", "items": {"anyOf": forms} if short_field else item, "minItems": 1}
        properties.pop("type"), properties.pop("minItems")
        properties["anyOf"] = [*forms, several]

    item: Any = Annotated[input_type, BeforeValidator(to_fields)]
    description = f"An input or a list of inputs{f'; a string sets {short_field}' if short_field else ''}."
    inputs = (
        Annotated[list[item], FailFast(), BeforeValidator(to_list)],
        Field(min_length=1, description=description, json_schema_extra=describe),
    )
    fields: dict[str, Any] = {"inputs": inputs, **more}
    name = input_type.__name__.removesuffix("Input") + suffix
    summary = f"{(input_type.__doc__ or '').rstrip('.')}, or several."
    config = ConfigDict(extra="forbid", strict=True)
    return _request_types.setdefault(key, create_model(name, __config__=config, __doc__=summary, **fields))


@cache
def make_response_type(prediction_type: type[PredictionSchema]) -> type[BaseModel]:
    """The type of a response: the name of the model, and a prediction for each input, in order."""
    fields: dict[str, Any] = {
        "model": (str, Field(description="The name of the model.")),
        "predictions": (list[prediction_type], Field(description="One for each input, in order.")),  # type: ignore[valid-type]
    }
    name = prediction_type.__name__.removesuffix("Prediction") + "Response"
    return create_model(name, __doc__="Predictions for the inputs of a request.", **fields)


def parse_request(request_type: type[BaseModel], input_type: type[InputSchema], body: bytes, max_inputs: int) -> Any:
    """Parse the body of a request.

    Args:
        request_type: of the model.
        input_type: of its inputs.
        body: JSON.
        max_inputs: the maximum number of inputs.

    Raises:
        RequestError: it is not JSON, or not of this type.
    """
    try:
        request: Any = request_type.model_validate_json(body)
    except ValidationError as error:
        raise RequestError(422, _explain(error, request_type, input_type)) from None
    if len(request.inputs) > max_inputs:
        raise RequestError(
            422, f"inputs: has {len(request.inputs):,} inputs; send at most {max_inputs:,} in one request."
        )
    return request


_EXPECTED = {
    "string_type": "a string",
    "list_type": "an array",
    "model_type": "an object",
    "int_type": "a whole number",
    "greater_than_equal": "a whole number of at least 1",
}
_JSON_TYPES: dict[type, str] = {str: "a string", list: "an array", dict: "an object", type(None): "null"}


def _explain(error: ValidationError, request_type: type[BaseModel], input_type: type[InputSchema]) -> str:
    """One sentence for the first problem of a request."""
    # a misspelled field is reported as an unknown one, not as a missing one
    detail = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    *parents, field = detail["loc"] or ("",)
    parent = _join_path(parents)
    where = _join_path(detail["loc"]) or "body"
    match detail["type"]:
        case "json_invalid":
            return f'body: is not valid JSON ({detail["ctx"]["error"]}); send an object such as {{"inputs": "a text"}}.'
        case "missing":
            return f"{parent or 'body'}: the field {field} is missing; add it."
        case "extra_forbidden":
            fields = (input_type if parents else request_type).model_fields
            hint = did_you_mean(str(field), fields)
            return f'{parent or "body"}: there is no field "{field}"; {hint}{"" if hint.endswith("?") else "."}'
        case "too_short":
            n, least = detail["ctx"]["actual_length"], detail["ctx"]["min_length"]
            return f"{where}: has {pluralize(n, 'item')}; send at least {least}."
    expected = _EXPECTED.get(detail["type"])
    problem = f"expected {expected}" if expected else detail["msg"][:1].lower() + detail["msg"][1:]
    value = detail["input"]
    return f"{where}: {problem}, found {_JSON_TYPES.get(type(value)) or to_json(value)}."


def _join_path(parts: Sequence[str | int]) -> str:
    """The place of a value, such as ``inputs[0].text``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
