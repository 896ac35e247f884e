"""Invalid requests, limits and monitoring."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from serving_client import Client

from bertwright.errors import BertwrightError
from bertwright.run.bundle import Bundle
from bertwright.serving.settings import ServingSettings

Make = Callable[..., Client]


@pytest.fixture
def client(bundles: dict[str, Bundle], make_client: Make) -> Client:
    return make_client(bundles)


@pytest.mark.parametrize(
    ("model", "body", "sentence"),
    [
        ("classification", {"inputs": []}, "inputs: has 0 items; send at least 1."),
        ("classification", {"inputs": [3]}, "inputs[0]: expected an object, found 3."),
        ("classification", {"inputs": ["a", {"txt": "b"}]}, 'inputs[1]: there is no field "txt"; did you mean "text"?'),
        ("classification", {"inputs": {"text": None}}, "inputs[0].text: expected a string, found null."),
        ("classification", {"inputs": "a", "top_k": 0}, "top_k: expected a whole number of at least 1, found 0."),
        ("classification", {"inputs": "a", "top_k": "1"}, "top_k: expected a whole number, found a string."),
        ("classification", {"inputs": "a", "top_k": True}, "top_k: expected a whole number, found true."),
        ("classification", {"input": "a"}, 'body: there is no field "input"; did you mean "inputs"?'),
        ("classification", {}, "body: the field inputs is missing; add it."),
        ("classification", [], "body: expected an object, found an array."),
        ("classification", b"", "body: is not valid JSON (EOF while parsing a value at line 1 column 0); send"),
        ("classification", b'{"inputs": "\xff"}', "body: is not valid JSON (invalid unicode code point at line 1"),
        ("classification", b'{"inputs": "\\ud800 a"}', "body: is not valid JSON ("),
        ("classification", b'{"inputs": ' + b"[" * 10000, "body: is not valid JSON (recursion limit exceeded"),
        ("classification", {"inputs": ["a"] * 129}, "inputs: has 129 inputs; send at most 128 in one request."),
        ("regression", {"inputs": "a"}, "inputs[0]: expected an object, found a string."),
        ("regression", {"inputs": {"text": "a"}}, "inputs[0]: the field text_pair is missing; add it."),
        ("regression", {"inputs": {}, "top_k": 1}, 'body: there is no field "top_k"; known: inputs.'),
        ("tagging", {"inputs": {}}, "inputs[0]: has neither text nor words; send one of them."),
        ("tagging", {"inputs": {"text": "a", "words": ["a"]}}, "inputs[0]: has both text and words; send one of"),
        ("tagging", {"inputs": {"words": [1]}}, "inputs[0].words[0]: expected a string, found 1."),
        ("qa", {"inputs": {"question": "a"}}, "inputs[0]: the field context is missing; add it."),
        ("choices", {"inputs": {"context": "a", "choices": ["b"]}}, "inputs[0].choices: has 1 item; send at least 2."),
        ("gaps", {"inputs": "no gap"}, "inputs[0]: has no gap to fill; write [MASK]"),
        (
            "choices",
            {"inputs": {"context": "a", "choices": ["good " * 60, "b"]}},
            "inputs[0]: choice 0 with the question has 60 tokens, which leaves no room for the context",
        ),
    ],
)
def test_invalid_input_is_answered_with_one_sentence(client: Client, model: str, body: Any, sentence: str) -> None:
    response = client.post(f"/models/{model}/predict", body)
    assert response.status_code == 422
    answer = response.json()
    assert answer.keys() == {"error", "request_id"}
    assert answer["error"].startswith(sentence)
    assert "\n" not in answer["error"]


@pytest.mark.parametrize("text", ["", " ", "a\x00b", "\x00", "\U0001f600" * 50, "a\u202eb", "good " * 5000, "\ufffe"])
@pytest.mark.parametrize("model", ["classification", "tagging"])
def test_unusual_texts_are_predicted(client: Client, model: str, text: str) -> None:
    prediction = client.predict(text, f"/models/{model}/predict")
    assert prediction.get("text", text) == text


def test_one_error_shape_for_paths_methods_types_and_sizes(client: Client) -> None:
    for response, status, sentence in (
        (client.get("/nothing"), 404, "GET /nothing: not found; GET /docs lists all paths."),
        (client.get("/predict"), 405, "GET /predict: method not allowed; GET /docs lists all paths."),
        (
            client.send(("POST", "/predict", {"inputs": "a"}), headers={"content-type": "text/plain"})[0],
            415,
            'the content type is "text/plain"; send JSON with the header Content-Type: application/json.',
        ),
        (client.post("/predict", {"inputs": "a" * 2_000_000}), 413, "the body has more than 1,048,576 bytes; send"),
    ):
        assert response.status_code == status
        assert response.json()["error"].startswith(sentence)
        assert response.json()["request_id"] == response.headers["x-request-id"]


def test_a_body_without_length_is_limited_too(bundles: dict[str, Bundle], make_client: Make) -> None:
    import httpx

    client = make_client(bundles["classification"], max_body_bytes=1000)

    async def send(n: int) -> int:
        async def parts() -> Any:
            yield b'{"inputs": "'
            for _ in range(n):
                yield b"good " * 20
            yield b'"}'

        transport = httpx.ASGITransport(client.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as session:
            headers = {"content-type": "application/json"}
            return (await session.post("/predict", content=parts(), headers=headers)).status_code

    assert asyncio.run(send(5)) == 200
    assert asyncio.run(send(10)) == 413


def test_request_ids_are_returned_and_invalid_ones_replaced(client: Client) -> None:
    assert client.send(("GET", "/health", b""), headers={"x-request-id": "a-1"})[0].headers["x-request-id"] == "a-1"
    for bad in ("a b", "x" * 200, b"\xe9"):
        answer = client.send(("GET", "/health", b""), headers={"x-request-id": bad})[0]
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def block_worker(client: Client) -> threading.Event:
    """Occupy the thread that predicts until the returned event is set."""
    release = threading.Event()
    client.application._worker().submit(release.wait, 20)
    return release


def test_a_full_queue_and_a_timeout_are_answered_with_503(bundles: dict[str, Bundle], make_client: Make) -> None:
    client = make_client(bundles["classification"], max_queue=4, max_inputs=4, timeout_seconds=0.3)
    release = block_worker(client)
    responses = client.send(*[("POST", "/predict", {"inputs": ["a", "b"]})] * 5)
    release.set()
    errors = sorted(response.json()["error"] for response in responses)
    assert {response.status_code for response in responses} == {503}
    assert {response.headers["retry-after"] for response in responses} == {"1"}
    # the first one is with the worker already, two wait, two are refused
    assert errors[:2] == ["the predictions took more than 0.3 s; send fewer or shorter texts, or try again later."] * 2
    assert errors[-2:] == ["the queue is full: 4 inputs are waiting; try again later."] * 2
    assert client.predict("good")["label"]
    assert client.application.services["model"].n_waiting == 0


def test_the_event_loop_stays_free_while_a_model_computes(bundles: dict[str, Bundle], make_client: Make) -> None:
    client = make_client(bundles["classification"])
    release = block_worker(client)
    timer = threading.Timer(0.5, release.set)
    timer.start()
    begin = time.monotonic()
    answers = client.send(("POST", "/predict", {"inputs": "good"}), ("GET", "/health", b""))
    assert time.monotonic() - begin >= 0.5
    assert [answer.status_code for answer in answers] == [200, 200]
    metrics = client.get("/metrics").text
    (seconds,) = re.findall(r'bertwright_request_seconds_sum\{path="/health"\} (\S+)', metrics)
    assert float(seconds) < 0.3


def test_an_invalid_input_fails_only_its_own_request(client: Client) -> None:
    release = block_worker(client)
    timer = threading.Timer(0.2, release.set)
    timer.start()
    texts = ["a [MASK]", "no gap", "the [MASK] film"]
    answers = client.send(*[("POST", "/models/gaps/predict", {"inputs": text}) for text in texts])
    assert [answer.status_code for answer in answers] == [200, 422, 200]


def test_pairs_and_single_texts_arrive_together(bundles: dict[str, Bundle], make_client: Make) -> None:
    from dataclasses import replace

    client = make_client(replace(bundles["classification"], recipe=None))  # takes one text or two
    release = block_worker(client)
    threading.Timer(0.2, release.set).start()
    inputs = ["good", {"text": "good", "text_pair": "bad"}] * 3
    answers = client.send(*[("POST", "/predict", {"inputs": each}) for each in inputs])
    assert [answer.status_code for answer in answers] == [200] * 6
    assert answers[0].json() == answers[2].json() != answers[1].json()


def test_the_log_has_a_line_for_each_request_and_no_texts(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    from bertwright.serving.logs import JsonFormatter

    with caplog.at_level(logging.INFO, "bertwright.serving"):
        client.predict(["a secret", "b"])
        client.post("/predict", {"inputs": 3})
    first, second = (json.loads(JsonFormatter().format(record)) for record in caplog.records)
    assert (first["status"], first["model"], first["inputs"], first["path"]) == (200, "classification", 2, "/predict")
    assert first["ms"] > 0
    assert second["status"] == 422
    assert "secret" not in caplog.text + str([vars(record) for record in caplog.records])


def test_an_unexpected_error_is_logged_with_its_traceback(
    bundles: dict[str, Bundle], make_client: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(bundles["classification"])
    for error, status, sentence in (
        (ValueError("x"), 500, "the server failed with ValueError; its log has the details."),
        (MemoryError(), 503, "out of memory; "),
    ):

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(Bundle, "compute_outputs", fail)
        response = client.post("/predict", {"inputs": "a"})
        assert response.status_code == status
        assert response.json()["error"].startswith(sentence)
    assert caplog.records[0].exc_info is not None


def test_ready_changes_when_the_server_drains(client: Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").status_code == 200
    assert "connection" not in client.get("/ready").headers
    client.application.is_draining = True
    assert client.get("/ready").status_code == 503
    assert client.predict("good", "/models/classification/predict")["label"]
    assert client.get("/health").headers["connection"] == "close"


def test_openapi_describes_every_path_and_resolves(client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert {"/predict", "/models/qa/predict", "/health", "/ready", "/metrics", "/models"} <= document["paths"].keys()
    schemas = document["components"]["schemas"]
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert set(references) <= schemas.keys()
    assert schemas["QuestionRequest"]["properties"]["top_k"]["default"] == 3
    text = schemas["TextRequest"]["properties"]["inputs"]["anyOf"]
    assert text[:2] == [{"type": "string"}, {"$ref": "#/components/schemas/TextInput"}]
    example = document["paths"]["/models/tagging/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert client.post("/models/tagging/predict", example["example"]).status_code == 200


def test_responses_have_the_documented_types(bundles: dict[str, Bundle], client: Client) -> None:
    for name, service in client.application.services.items():
        for example in service.schema.examples:
            response = client.post(f"/models/{name}/predict", {"inputs": example})
            assert response.status_code == 200, response.text
            service.response_type.model_validate_json(response.content, strict=True)


def test_names_limits_and_missing_models_are_checked(bundles: dict[str, Bundle], make_client: Make) -> None:
    with pytest.raises(BertwrightError, match='the model name "a b" cannot be part of a URL'):
        make_client({"a b": bundles["qa"]})
    with pytest.raises(BertwrightError, match="there is no model"):
        make_client({})
    with pytest.raises(BertwrightError, match="a request may have 5 inputs, but the queue takes 4"):
        ServingSettings(max_inputs=5, max_queue=4)


def test_embedding_has_no_side_effects(bundles: dict[str, Bundle], make_client: Make) -> None:
    import signal
    import sys

    before = signal.getsignal(signal.SIGTERM), sys.getswitchinterval(), logging.getLogger().handlers[:]
    threads = threading.active_count()
    from fastapi import FastAPI
    from prometheus_client import REGISTRY

    n_metrics = len(list(REGISTRY.collect()))
    first, second = make_client(bundles["classification"]), make_client(bundles["classification"])
    assert threading.active_count() == threads
    outer = FastAPI()
    outer.mount("/inner", first.application)
    assert Client(outer).predict("good", "/inner/predict") == second.predict("good")
    assert len(list(REGISTRY.collect())) == n_metrics
    assert (signal.getsignal(signal.SIGTERM), sys.getswitchinterval(), logging.getLogger().handlers[:]) == before
    assert not logging.getLogger("bertwright.serving").handlers
