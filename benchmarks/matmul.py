"""The machine's rate of matrix products: the upper limit of the useful GFLOP/s of training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inputs


def rate(model: Path, tokens: int, kind: str, seconds: float = 1.5) -> float:
    """GFLOP/s of the matrix products of an encoder layer, forward and backward, without anything else.

    Args:
        model: the directory of the encoder.
        tokens: number of tokens in a batch.
        kind: "fp32" and "bf16" are those of torch.mm; "fp32-onednn" has weights in the layout of oneDNN.
        seconds: duration of the measurement; its first third is not counted.
    """
    import torch

    shape = json.loads((model / "config.json").read_text(encoding="utf-8"))
    width, middle = shape["hidden_size"], shape["intermediate_size"]
    dense = [(width, 3 * width), (width, width), (width, middle), (middle, width)]
    products = [(n, k, m) for i, o in dense for n, k, m in ((tokens, i, o), (tokens, o, i), (o, tokens, i))]
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    pairs = [(torch.randn(n, k).to(dtype), torch.randn(k, m).to(dtype)) for n, k, m in products]
    multiply: Callable[[Any, Any], Any] = torch.mm
    if kind == "fp32-onednn":
        operators = torch.ops.mkldnn
        pairs = [(a, operators._reorder_linear_weight(b.t().contiguous(), None)) for a, b in pairs]

        def multiply(a: Any, packed: Any) -> Any:
            return operators._linear_pointwise(a, packed, None, "none", [], "")

    measured: list[float] = []
    while sum(measured) < seconds or len(measured) < 3:
        began = time.perf_counter()
        for a, b in pairs:
            multiply(a, b)
        measured.append(time.perf_counter() - began)
    return 2e-9 * sum(n * k * m for n, k, m in products) / inputs.spread(measured[len(measured) // 3 :])["median"]


def rates(model: Path, tokens: int, seconds: float) -> dict[str, float]:
    """The rates of all kinds that this torch has; see :func:`rate`."""
    kinds = ["fp32", "bf16"]
    import torch

    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        kinds.insert(1, "fp32-onednn")
    return {kind: rate(model, tokens, kind, seconds) for kind in kinds}


def layer_parameters(model: Path) -> int:
    """Number of parameters of the encoder's layers, with which every token is multiplied."""
    shape = json.loads((model / "config.json").read_text(encoding="utf-8"))
    width, middle = shape["hidden_size"], shape["intermediate_size"]
    weights = 4 * width * width + 2 * width * middle
    biases = 4 * width + middle + width + 4 * width
    return int(shape["num_hidden_layers"] * (weights + biases))
