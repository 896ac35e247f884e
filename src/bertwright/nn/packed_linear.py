"""Matrix products of dense layers in oneDNN, with weights in its own memory format.

On some processors torch's fp32 products, which run in MKL, reach half of the speed of oneDNN, and with few rows the
conversion of the weight in every call takes longer than the product (docs/background/log.md, 2026-11-29). torch has
only private operators for this, which no other module names. Without them, layers use torch's public functions.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

_CPU_INFO = Path("/proc/cpuinfo")
_DTYPES = (torch.float32, torch.bfloat16)
_ZEN_5 = 26
"""AMD's processor family from which torch's fp32 products, in MKL, reach half of the speed of oneDNN."""


def round_rows(n: int) -> int:
    """Round up a number of rows, by at most 7 or 3 %, to limit the number of shapes.

    oneDNN compiles and caches a kernel for every new shape, up to 1024 of them. One shape per batch would cost time in
    every step and hundreds of megabytes (docs/background/log.md, 2026-11-21). Rounding leaves 32 sizes per octave.
    """
    step = 1 << max(3, n.bit_length() - 6)
    return -(-n // step) * step


@lru_cache(maxsize=1)
def has_onednn() -> bool:
    """Whether this build of torch has oneDNN and the operators that this module calls."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


@dataclass(frozen=True)
class PackedLinear:
    """The weight and bias of a dense layer in the precision and memory format of its matrix product.

    Attributes:
        weight: (out_features, in_features), a tensor that only oneDNN can read.
        bias: (out_features,) in the same precision.
        sources: the weight and the bias that were packed; None if the layer has released its weight.
        versions: address and number of changes of each source, when it was packed.
    """

    weight: Tensor
    bias: Tensor | None
    sources: tuple[Tensor, Tensor | None] | None
    versions: tuple[int, ...]

    @classmethod
    def pack(cls, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Self:
        """Copy the parameters of a layer to ``dtype`` and oneDNN's memory format."""
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype), None)
        packed_bias = None if bias is None else bias.detach().to(dtype)
        return cls(packed, packed_bias, (weight, bias), _versions(weight, bias))

    def fits(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> bool:
        """Whether these parameters were packed in this precision, and have not changed as far as torch counts."""
        return (
            self.sources is not None
            and self.sources[0] is weight
            and self.sources[1] is bias
            and self.weight.dtype == dtype
            and self.versions == _versions(weight, bias)
        )

    def with_sources(self, weight: Tensor, bias: Tensor | None) -> Self:
        """The same copy, of these parameters, which have the values that were packed."""
        return replace(self, sources=(weight, bias), versions=_versions(weight, bias))

    def unpack(self) -> Tensor:
        """The weight in its ordinary memory format, with the values that were packed, bit for bit."""
        dense: Tensor = self.weight.to_dense()
        return dense

    def __call__(self, x: Tensor, gelu: str | None = None) -> Tensor:
        """(N, in_features) in the precision of the weight → (N, out_features), after GELU if it is named."""
        attribute = "none" if gelu is None else "gelu"
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, attribute, [], gelu or "")
        return y


def _versions(weight: Tensor, bias: Tensor | None) -> tuple[int, ...]:
    return tuple(number for t in (weight, bias) if t is not None for number in (t.data_ptr(), t._version))


def can_pack(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether the product with a weight runs in oneDNN: on this build and processor, in this precision."""
    if torch.compiler.is_compiling():  # exporters and compilers do not know the operators
        return False
    if dtype not in _DTYPES or weight.is_inference() or not has_onednn():  # inference tensors do not count changes
        return False
    return dtype != torch.float32 or predicts_in_onednn()


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, K) times (M, K) transposed, plus bias, in oneDNN, without a packed weight → (N, M)."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def predicts_in_onednn() -> bool:
    """Whether fp32 products without gradients run in oneDNN: on x86.

    The library is not chosen by measuring both, because a measurement on a busy machine would change the last digits of
    scores (docs/background/log.md, 2026-11-29).
    """
    return has_onednn() and platform.machine().lower() in ("x86_64", "amd64")


@lru_cache(maxsize=1)
def trains_in_onednn() -> bool:
    """Whether fp32 products of training run in oneDNN: on AMD's Zen 5 and later; elsewhere the gain is too small."""
    if not predicts_in_onednn():
        return False
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return False
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    family = facts.get("cpu family", "")
    return facts.get("vendor_id") == "AuthenticAMD" and family.isdecimal() and int(family) >= _ZEN_5
