"""Predictions of every task over HTTP are those of the model."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from serving_client import Client

from bertwright.run.bundle import Bundle

Make = Callable[..., Client]
TEXT = "the film was very good"


def test_a_label_with_its_best_alternatives(bundles: dict[str, Bundle], make_client: Make) -> None:
    client, bundle = make_client(bundles["classification"]), bundles["classification"]
    (expected,) = bundle.predict(TEXT)
    prediction = client.predict(TEXT)
    assert prediction["label"] == expected.label
    assert {each["label"]: each["probability"] for each in prediction["top"]} == pytest.approx(
        expected.probabilities, abs=1e-5
    )
    assert prediction["top"][0] == {"label": expected.label, "probability": prediction["probability"]}
    assert client.predict({"text": TEXT}, top_k=1) == prediction | {"top": prediction["top"][:1]}
    assert len(client.predict(TEXT, top_k=None)["top"]) == 3


def test_several_labels_and_numbers(bundles: dict[str, Bundle], make_client: Make) -> None:
    (expected,) = bundles["multilabel"].predict(TEXT)
    prediction = make_client(bundles["multilabel"]).predict(TEXT)
    assert tuple(prediction["labels"]) == expected.label
    assert {each["label"]: each["probability"] for each in prediction["top"]} == pytest.approx(
        expected.probabilities, abs=1e-5
    )
    (number,) = bundles["regression"].predict([(TEXT, "it is fun")])
    assert make_client(bundles["regression"]).predict({"text": TEXT, "text_pair": "it is fun"}) == {
        "value": pytest.approx(number.value, abs=1e-5)
    }


def test_tags_with_offsets_of_texts_and_of_words(bundles: dict[str, Bundle], make_client: Make) -> None:
    client, bundle = make_client(bundles["tagging"]), bundles["tagging"]
    (expected,) = bundle.predict([["the", "film", "is  fun", ""]])
    prediction = client.predict({"words": ["the", "film", "is  fun", ""]})
    assert prediction["text"] == "the film is  fun "
    assert tuple(word["tag"] for word in prediction["words"]) == expected.tags
    assert [(word["start"], word["end"], word["text"]) for word in prediction["words"]] == [
        (0, 3, "the"),
        (4, 8, "film"),
        (9, 16, "is  fun"),
        (17, 17, ""),
    ]
    prediction = client.predict("Great film, is it?")
    (expected,) = bundle.predict("Great film, is it?")
    assert prediction["spans"] == [
        {**span._asdict(), "score": pytest.approx(span.score, abs=1e-5)} for span in expected.spans
    ]
    assert [word["text"] for word in prediction["words"]] == ["Great", "film", ",", "is", "it", "?"]


def test_answers_with_offsets(bundles: dict[str, Bundle], make_client: Make) -> None:
    context = "the film is fun . the plot is very dull . " * 4
    (expected,) = bundles["qa"].predict([("is it good", context)])
    prediction = make_client(bundles["qa"]).predict({"question": "is it good", "context": context}, top_k=2)
    assert prediction["answer"] == expected.answer
    assert [(each["start"], each["end"]) for each in prediction["top"]] == [
        (span.start, span.end) for span in expected.spans[:2]
    ]
    assert prediction["text"] == context
    if expected.answer:
        assert context[prediction["start"] : prediction["end"]] == prediction["answer"]
    else:
        assert (prediction["start"], prediction["end"]) == (None, None)


def test_choices_and_gaps(bundles: dict[str, Bundle], make_client: Make) -> None:
    choices = ["it is fun", "it was dull", "very bad"]
    (expected,) = bundles["choices"].predict([(TEXT, choices)])
    prediction = make_client(bundles["choices"]).predict({"context": TEXT, "choices": choices})
    assert prediction["choice"] == expected.choice
    assert prediction["label"] == choices[prediction["choice"]]
    assert {str(each["choice"]): each["probability"] for each in prediction["top"]} == pytest.approx(
        expected.probabilities, abs=1e-5
    )
    (expected,) = bundles["gaps"].predict("a [MASK] film and [MASK] plot")
    prediction = make_client(bundles["gaps"]).predict("a [MASK] film and [MASK] plot", top_k=2)
    assert [(gap["start"], gap["end"]) for gap in prediction["gaps"]] == [(2, 8), (18, 24)]
    assert [each["label"] for each in prediction["gaps"][0]["top"]] == [span.text for span in expected.spans[:2]]


INPUTS: dict[str, Callable[[random.Random, str], Any]] = {
    "classification": lambda rng, text: text,
    "multilabel": lambda rng, text: {"text": text},
    "regression": lambda rng, text: {"text": text, "text_pair": text[::-1]},
    "tagging": lambda rng, text: {"words": text.split()} if rng.random() < 0.5 else text,
    "qa": lambda rng, text: {"question": "is it good", "context": text},
    "choices": lambda rng, text: {"context": text, "choices": ["good", "bad"], "question": None},
    "gaps": lambda rng, text: f"{text} [MASK]",
}


@pytest.mark.parametrize("name", INPUTS)
def test_batches_of_concurrent_requests_equal_single_predictions(
    bundles: dict[str, Bundle], make_client: Make, name: str
) -> None:
    rng = random.Random(0)
    words = ["the", "film", "good", "bad", "plot", "very", "dull", "."]
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 30))) for _ in range(40)]
    requests = [("POST", "/predict", {"inputs": INPUTS[name](rng, text)}) for text in texts]
    client = make_client(bundles[name])
    together = client.send(*requests)
    batches = client.get("/metrics").text
    assert 'bertwright_inputs_total{model="model"} 40.0' in batches
    n_batches = float(next(line for line in batches.splitlines() if "batch_inputs_count" in line).split()[1])
    assert n_batches < 20
    for request, response in zip(requests, together, strict=True):
        assert response.status_code == 200
        (alone,) = client.send(request)
        assert_close(response.json(), alone.json())


def assert_close(left: Any, right: Any) -> None:
    """Equal, and numbers within 1e-5."""
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_close(left[key], right[key])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for pair in zip(left, right, strict=True):
            assert_close(*pair)
    elif isinstance(left, float):
        assert left == pytest.approx(right, abs=1e-5)
    else:
        assert left == right


def test_requests_in_int8_do_not_affect_each_other(bundles: dict[str, Bundle], make_client: Make) -> None:
    from dataclasses import replace

    client = make_client(replace(bundles["classification"], engine="onnx-int8"))  # the engine decides about batches
    client.send(*[("POST", "/predict", {"inputs": ["good", "bad"]})] * 10)
    assert 'bertwright_batch_inputs_count{model="model"} 10.0' in client.get("/metrics").text


def test_several_models_by_name(bundles: dict[str, Bundle], make_client: Make) -> None:
    client = make_client({"sentiment": bundles["classification"], "tags": bundles["tagging"]})
    assert client.predict(TEXT, "/models/sentiment/predict") == client.predict(TEXT)
    assert "words" in client.predict(TEXT, "/models/tags/predict")
    assert client.post("/models/tags/predict", {"inputs": TEXT}).json()["model"] == "tags"
    assert [model["name"] for model in client.get("/models").json()["models"]] == ["sentiment", "tags"]


def test_a_list_of_inputs_keeps_its_order(bundles: dict[str, Bundle], make_client: Make) -> None:
    client = make_client(bundles["classification"])
    texts = ["good", "bad film", "the plot is very dull and the film is bad"]
    predictions = client.post("/predict", {"inputs": [texts[0], {"text": texts[1]}, texts[2]]}).json()["predictions"]
    for text, prediction in zip(texts, predictions, strict=True):
        assert_close(prediction, client.predict(text))


@pytest.mark.parametrize("name", ["classification", "regression", "tagging", "qa", "choices"])
def test_explanations_are_those_of_the_model(bundles: dict[str, Bundle], make_client: Make, name: str) -> None:
    pytest.importorskip("captum", reason="explanations need it")
    client, bundle = make_client(bundles[name]), bundles[name]
    inputs = INPUTS[name](random.Random(1), "the film was very good")
    response = client.post("/explain", {"inputs": inputs})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert_close(answer["prediction"], client.predict(inputs))
    service = client.application.services["model"]
    example = service.schema.to_example(service.schema.input_type(**as_fields(inputs)), "0", "")
    expected = bundle.explain(example).to_dict()
    assert answer["explanation"]["target"] == expected["target"]
    assert_close(answer["explanation"]["words"], expected["words"])
    total = sum(word["attribution"] for word in answer["explanation"]["words"])
    difference = answer["explanation"]["score"] - answer["explanation"]["baseline_score"]
    assert total == pytest.approx(difference, abs=0.05 * max(1.0, abs(difference)))


def as_fields(inputs: Any) -> dict[str, Any]:
    return {"text": inputs} if isinstance(inputs, str) else inputs


def test_another_label_is_explained_on_request(bundles: dict[str, Bundle], make_client: Make) -> None:
    pytest.importorskip("captum", reason="explanations need it")
    client = make_client(bundles["classification"])
    for label in ("pos", "neg", "other"):
        answer = client.post("/models/model/explain", {"inputs": TEXT, "target": label}).json()
        assert answer["explanation"]["target"] == label
    for body, sentence in (
        ({"inputs": TEXT, "target": "none"}, 'there is no label "none"'),
        ({"inputs": [TEXT, TEXT]}, "inputs: has 2 inputs; send at most 1 in one request."),
        ({"inputs": ""}, "has no tokens, so there is nothing to explain"),
    ):
        response = client.post("/explain", body)
        assert response.status_code == 422
        assert sentence in response.json()["error"]


def test_explanations_need_captum_and_a_fine_tuned_task(
    bundles: dict[str, Bundle], make_client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make_client(bundles["gaps"]).post("/explain", {"inputs": "a [MASK]"}).status_code == 404
    monkeypatch.setattr("bertwright.serving.explanations.find_spec", lambda name: None)
    client = make_client(bundles["classification"])
    assert client.post("/explain", {"inputs": TEXT}).status_code == 404
    assert client.get("/models").json()["models"][0]["explain"] is None
