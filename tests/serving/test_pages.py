"""The pages of a server in Chromium: every task, keyboard, narrow screens, hostile texts, no other origin."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bertwright.run.bundle import Bundle
from bertwright.serving import app

uvicorn = pytest.importorskip("uvicorn", reason="the server needs it")


@pytest.fixture(scope="module")
def address(bundles: dict[str, Bundle]) -> Iterator[str]:
    """The address of a server in another thread."""
    server = uvicorn.Server(uvicorn.Config(app(bundles), port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A narrow, dark page that records problems and requests."""
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")
    opened = context.new_page()
    problems, urls = list[str](), list[str]()
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: urls.append(request.url))
    opened.on("dialog", lambda dialog: problems.append(dialog.message))
    opened.goto(address)
    opened.get_by_role("button", name="Predict", exact=True).wait_for()
    yield opened
    assert [problem for problem in problems if "status of 422" not in problem] == []
    assert all(url.startswith((address, "data:")) for url in urls)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def choose(page: Any, model: str) -> None:
    page.get_by_label("Model").select_option(model)


def test_every_model_answers_its_example(page: Any, bundles: dict[str, Bundle]) -> None:
    for name, bundle in bundles.items():
        choose(page, name)
        page.get_by_role("group", name="Examples").get_by_role("button").first.click()
        page.get_by_text("Answered in").wait_for()
        example = bundle.task.service_schema(bundle.takes_pairs).examples[0]
        for value in example.values():
            lines = value if isinstance(value, list) else [value]
            shown = [area.input_value() for area in page.get_by_role("textbox").all()]
            assert "\n".join(lines) in shown
        assert page.locator("#result").inner_text().strip()
        assert f"models/{name}/predict" in page.locator("#command").text_content()


def test_the_page_works_with_the_keyboard(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.get_by_label("Text").focus()
    page.keyboard.type("a very good film")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Answered in").wait_for()
    bars = page.get_by_role("list", name="Probabilities").get_by_role("listitem").all_inner_texts()
    assert len(bars) == 3
    assert all(text.endswith("%") for text in bars)
    assert page.locator(".answer").inner_text() in bars[0]
    page.get_by_label("Text").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "predict"


def test_spans_have_the_offsets_of_the_server_and_texts_are_no_html(page: Any, bundles: dict[str, Bundle]) -> None:
    text = "\U0001f600 the <img src=x onerror=alert(1)> film \U0001f600 was good </script>"
    choose(page, "tagging")
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Predict", exact=True).click()
    page.get_by_text("Answered in").wait_for()
    (expected,) = bundles["tagging"].predict(text)
    assert expected.spans
    marks = page.locator("#result mark").all()
    assert [mark.evaluate("element => element.firstChild.textContent") for mark in marks] == [
        span.text for span in expected.spans
    ]
    assert page.locator("#result img").count() == 0


def test_an_explanation_highlights_words_and_lists_them(page: Any, bundles: dict[str, Bundle]) -> None:
    pytest.importorskip("captum", reason="explanations need it")
    choose(page, "qa")
    assert page.get_by_role("button", name="Predict and explain").is_visible()
    page.get_by_label("Question").fill("is it good")
    page.get_by_label("Context").fill("\U0001f600 the film was good . it was fun")
    page.get_by_role("button", name="Predict and explain").click()
    words = page.get_by_role("list", name="Most important words")
    words.wait_for()
    assert words.get_by_role("listitem").count() == 10
    marks = page.locator("#result .text mark.for, #result .text mark.against").all_inner_texts()
    assert [mark.strip() for mark in marks if mark.strip() in ("film", "fun")] == ["film", "fun"]
    choose(page, "gaps")
    assert not page.get_by_role("button", name="Predict and explain").is_visible()


def test_errors_are_announced(page: Any) -> None:
    choose(page, "gaps")
    page.get_by_label("Text with [MASK]").fill("no gap")
    page.get_by_role("button", name="Predict", exact=True).click()
    alert = page.get_by_role("alert")
    alert.filter(has_text="has no gap to fill").wait_for()
    assert page.get_by_role("status").inner_text() == "No prediction."
    page.get_by_label("Text with [MASK]").fill("a [MASK] film")
    page.get_by_role("button", name="Predict", exact=True).click()
    page.get_by_text("Answered in").wait_for()
    assert not alert.is_visible()


def test_the_documentation_lists_every_path(page: Any, address: str) -> None:
    page.goto(f"{address}docs")
    page.get_by_role("heading", name="/models/qa/predict").wait_for()
    headings = page.get_by_role("heading", level=2).all_inner_texts()
    assert {"POST/predict", "GET/metrics"} <= {heading.replace("\n", "").replace(" ", "") for heading in headings}
    page.get_by_text("Request", exact=True).first.click()
    assert page.get_by_role("table", name="TextRequest").first.is_visible()
