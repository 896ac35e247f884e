"""A dense layer that computes its weight gradient in the memory order of the weight.

torch's backward pass computes the transposed gradient, then transposes it and converts it from bf16 with a strided
copy. On a CPU that copy takes several times as long as the matrix product (docs/background/log.md, 2026-11-21). This
layer swaps the factors instead. Its parameters, names and results equal those of ``torch.nn.Linear``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from threading import RLock
from typing import Any, Self, TypeVar
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertwright.nn.packed_linear import (
    PackedLinear,
    can_pack,
    multiply,
    round_rows,
    trains_in_onednn,
)

M = TypeVar("M", bound=nn.Module)
"""A model."""

_LOCK = RLock()
"""Held while a weight is released or restored, because threads may predict with one model."""


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        # torch multiplies bf16 in oneDNN anyway
        in_onednn = dtype == torch.float32 and trains_in_onednn()
        ctx.info = (x.dtype, weight.dtype, in_onednn)
        n = x.shape[0]
        x, weight = _pad_rows(x, dtype, in_onednn), weight.to(dtype)
        ctx.save_for_backward(x, weight)
        if in_onednn:
            return _first(multiply(x, weight, bias), n)
        return _first(torch.addmm(bias.to(dtype), x, weight.t()), n)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        x_dtype, weight_dtype, in_onednn = ctx.info
        g = _pad_rows(grads[0], weight.dtype, in_onednn)
        need_x, need_weight, need_bias, _ = ctx.needs_input_grad
        d_x = d_weight = None
        if need_x:
            d_x = _first(multiply(g, weight.t()) if in_onednn else g @ weight, grads[0].shape[0]).to(x_dtype)
        if need_weight:
            d_weight = (multiply(g.t(), x.t()) if in_onednn else g.t() @ x).to(weight_dtype)
        d_bias = g.sum(0).to(weight_dtype) if need_bias else None
        return d_x, d_weight, d_bias, None


def _pad_rows(x: Tensor, dtype: torch.dtype, in_onednn: bool) -> Tensor:
    """Convert ``x`` to ``dtype``, and append zero rows up to :func:`round_rows` for a product in oneDNN."""
    n = x.shape[0]
    size = round_rows(n)
    if size == n or (dtype == torch.float32 and not in_onednn):
        return x.to(dtype)
    padded = x.new_empty(size, x.shape[1], dtype=dtype)
    padded[:n] = x
    padded[n:] = 0
    return padded


def _first(x: Tensor, n: int) -> Tensor:
    """The first n rows; returns ``x`` itself if it has n rows, because slicing costs as much as a small product."""
    return x if x.shape[0] == n else x[:n]


class Linear(nn.Linear):
    """``y = x W' + b`` for x (…, D), in the autocast precision inside an autocast region.

    Without gradients on a CPU, the layer keeps a copy of its weight in oneDNN's memory format. Changed parameters
    are packed again. Training mode and a call with gradients free the copy.

    If ``releases_weight`` is true, the layer releases its weight as soon as it is packed in float32, so that it is in
    memory once. Every access to the parameters restores it.
    """

    _packed: PackedLinear | None = None
    releases_weight: bool = False
    """Whether the layer keeps only the packed copy of its weight between predictions."""
    full_precision: bool = False
    """Whether the layer computes in float32 also inside an autocast region."""

    def forward(self, x: Tensor, gelu: str | None = None) -> Tensor:
        """(…, in_features) → (…, out_features).

        Args:
            x: the input.
            gelu: applies GELU to the output, with this approximation: ``none`` or ``tanh``. Without gradients, oneDNN
                does that before it writes the product to memory.
        """
        if self.full_precision and torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return Linear.forward(self, x.float(), gelu)
        if x.device.type != "cpu":
            y = F.linear(x, self.weight, self.bias)
        else:
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
            rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
            if torch.is_grad_enabled():
                if self._packed is not None:  # fused optimizers do not count their changes
                    self._drop_packed()
                y = _Dense.apply(rows, self.weight, self.bias, dtype)  # type: ignore[no-untyped-call]
            elif (packed := self._pack(dtype)) is not None:
                y, gelu = packed(rows.to(dtype), gelu), None
            else:
                y = F.linear(rows, self.weight, self.bias)
            y = y if x.ndim == 2 else y.view(*x.shape[:-1], -1)
        return y if gelu is None else F.gelu(y, approximate=gelu)

    def _pack(self, dtype: torch.dtype) -> PackedLinear | None:
        """The parameters in oneDNN's format; None if oneDNN does not run this product."""
        packed = self._packed
        if packed is not None and packed.sources is None and packed.weight.dtype == dtype:
            return packed  # the weight is released, so it cannot have changed
        if not can_pack(self.weight, dtype):
            return None
        if packed is None or not packed.fits(self.weight, self.bias, dtype):
            packed = self._packed = PackedLinear.pack(self.weight, self.bias, dtype)
        if self.releases_weight and dtype == self.weight.dtype == torch.float32:
            del packed  # it refers to the weight
            self._release_weight()
            packed = self._packed
        return packed

    def _release_weight(self) -> None:
        """Free the weight, of which there is a packed copy, unless other code refers to it or it has a gradient."""
        with _LOCK:
            packed = self._packed
            if packed is None or packed.sources is None or packed.sources[0].grad is not None:
                return
            sources, reference = packed.sources, ref(packed.sources[0])
            rest = {name: parameter for name, parameter in self._parameters.items() if name != "weight"}
            self._packed = replace(packed, sources=None)
            self.__dict__["_parameters"] = _ReleasedParameters(self, sources[0].requires_grad, rest)
            del packed, sources
            if (weight := reference()) is not None:  # such as an optimizer, which needs this very object
                self._restore_weight(weight)
                self.releases_weight = False

    def _restore_weight(self, weight: Tensor | None = None) -> None:
        """Undo :meth:`_release_weight`, with the released weight if it still exists."""
        with _LOCK:
            released, packed = self.__dict__["_parameters"], self._packed
            if not isinstance(released, _ReleasedParameters) or packed is None:
                return
            if weight is None:
                with torch.inference_mode(mode=False):  # inference tensors cannot train
                    weight = nn.Parameter(packed.unpack(), requires_grad=released.requires_grad)
            parameters = {"weight": weight, **dict(dict.items(released))}
            self.__dict__["_parameters"] = parameters
            self._packed = packed.with_sources(weight, parameters.get("bias"))

    def _drop_packed(self) -> None:
        self._restore_weight()
        self._packed = None

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; training mode also frees the packed copy of the weight."""
        if mode:
            self._drop_packed()
        return super().train(mode)

    def __getstate__(self) -> dict[str, object]:
        """The attributes to copy or pickle; oneDNN's tensors can be neither."""
        self._restore_weight()
        return {**self.__dict__, "_packed": None}


class _ReleasedParameters(dict[str, Any]):
    """The parameters of a layer that has released its weight; reading or changing one restores it.

    torch reads the parameters of a module in many places, and all of them use this dictionary.
    """

    def __init__(self, layer: Linear, requires_grad: bool, others: Mapping[str, Any]) -> None:
        super().__init__(others)
        self._layer = ref(layer)
        self.requires_grad = requires_grad

    def _restore(self) -> dict[str, Any]:
        layer = self._layer()
        if layer is None:
            raise ReferenceError("the layer of these parameters no longer exists")
        layer._restore_weight()
        parameters: dict[str, Any] = layer._parameters
        return parameters

    def __getitem__(self, name: str) -> Any:
        return self._restore()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._restore()[name] = value

    def __delitem__(self, name: str) -> None:
        del self._restore()[name]

    def __contains__(self, name: object) -> bool:
        return name == "weight" or super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._restore())

    def __len__(self) -> int:
        return super().__len__() + 1

    def keys(self) -> Any:
        """The names of all parameters."""
        return self._restore().keys()

    def values(self) -> Any:
        """All parameters."""
        return self._restore().values()

    def items(self) -> Any:
        """All parameters with their names."""
        return self._restore().items()

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter, or the default."""
        return self._restore().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a parameter."""
        return self._restore().pop(name, *default)

    def copy(self) -> dict[str, Any]:
        """All parameters with their names."""
        return self._restore().copy()


def release_packed_weights(model: M) -> M:
    """Let every dense layer of a model that only predicts release its weight when it is packed; return the model."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.releases_weight = True
    return model
