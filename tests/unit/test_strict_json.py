"""Every JSON text that bertwright writes is valid JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from bertwright.files.strict_json import to_finite, to_json


def strictly(text: str) -> Any:
    """Parse strict JSON (RFC 8259), which has no NaN and no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        [1.0, math.inf, {"a": (-math.inf, 2)}],
        {"array": np.array([1.5, np.nan], np.float32)},
        np.float32("inf"),
        np.float64("nan"),
        torch.tensor([0.5, math.nan]),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_what_json_lacks_becomes_null(value: Any, indent: int | None) -> None:
    assert "null" in to_json(value, indent)
    strictly(to_json(value, indent))


def test_finite_values_are_written_as_json_dumps_writes_them() -> None:
    value = {"text": "schön", "n": 3, "rate": 2e-5, "tags": ["a", None, True], "far": 1e300}
    assert to_json(value) == json.dumps(value, ensure_ascii=False)
    assert to_json(value, indent=2) == json.dumps(value, ensure_ascii=False, indent=2)
    assert to_json(value, ascii_only=True) == json.dumps(value)
    assert to_finite(value) == value


def test_half_a_surrogate_pair_can_be_written() -> None:
    text = to_json({"label": "ok \ud83d", "loss": math.nan})
    assert strictly(text.encode().decode()) == {"label": "ok \ud83d", "loss": None}


def test_other_objects_are_written_as_text() -> None:
    assert to_json({"path": 1 + 2j, "count": np.int64(4)}) == '{"path": "(1+2j)", "count": 4}'
