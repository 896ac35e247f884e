"""Results as HTML in notebooks: tables and highlighted texts, in which no text acts as HTML."""

from __future__ import annotations

from bertwright.attributions.explanation import ExplainedText, Explanation, WordAttribution
from bertwright.run.report import Report
from bertwright.tasks.spec import EvaluationResult, Prediction

LABEL = "<script>alert(1)</script>"


def test_a_report_is_a_table_of_escaped_text() -> None:
    row = {"precision": 0.5, "recall": 0.25, "f1": 0.333, "support": 4.0, "predicted": 2.0}
    report = Report(
        metrics={"dev": {"accuracy": 0.75}},
        intervals={"dev": {"accuracy": (0.5, 0.9)}},
        per_class={"dev": {LABEL: row}},
        notes=[f"note {LABEL}"],
    )
    html = report._repr_html_()
    assert html.startswith("<pre ")
    assert "0.7500" in html
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_an_evaluation_shows_intervals_and_baseline() -> None:
    result = EvaluationResult({"accuracy": 0.75}, {"accuracy": (0.5, 0.9)}, {"accuracy": 0.6}, {}, None, None, 1234)
    html = result._repr_html_()
    for text in ("1,234 examples", "accuracy", "0.7500", "0.5000 … 0.9000", "0.6000"):
        assert text in html


def test_an_explanation_highlights_words() -> None:
    text = f"good {LABEL}"
    words = (WordAttribution("good", 0, 0, 4, 0.5), WordAttribution(LABEL, 0, 5, len(text), -0.25))
    explanation = Explanation(
        (ExplainedText("text", text),), "pos", "log odds", 1.5, 0.5, "[MASK]", 0.0, 20, True, (), words, Prediction("0")
    )
    html = explanation._repr_html_()
    assert "log odds of &quot;pos&quot;: 1.5" in html
    assert '<span style="background:#0072B2c8" title="+1.00">good</span>' in html
    assert '<span style="background:#D55E0064" title="-0.50">&lt;script&gt;alert(1)&lt;/script&gt;</span>' in html
    assert "<script" not in html
