"""Low-rank adapters on the attention projections (LoRA; Hu et al. 2021, arXiv 2106.09685).

The pre-trained weight W is frozen; training learns an update B A of low rank. Queries, keys and values share one
matrix here, so adapters apply to slices of its output.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertwright.nn.attention import Attention
from bertwright.nn.dropout import Dropout
from bertwright.nn.encoder import Encoder
from bertwright.nn.linear import Linear
from bertwright.nn.settings import LoraSettings

_QKV = ("query", "key", "value")


class LoraLinear(Linear):
    """A dense layer with a frozen weight and adapters on some slices of its output.

    Args:
        dense: the layer to adapt; its weight and bias are shared.
        slices: indices of the slices that have an adapter.
        n_slices: number of equal slices of the output; 3 for queries, keys and values.
        settings: rank, alpha and dropout.
        generator: random generator for A, which is normal with a standard deviation that preserves the variance of
            its input. B is initialized to 0, so the layer is unchanged before training.
    """

    slices: Tensor

    def __init__(
        self,
        dense: nn.Linear,
        slices: tuple[int, ...],
        n_slices: int,
        settings: LoraSettings,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dense.in_features, dense.out_features)
        self.weight, self.bias = dense.weight, dense.bias
        self.register_buffer("slices", torch.tensor(slices), persistent=False)
        self.n_slices = n_slices
        self.scale = settings.alpha / settings.rank
        self.dropout = Dropout(settings.dropout)
        width = dense.out_features // n_slices
        self.lora_a = nn.Parameter(torch.empty(len(slices), settings.rank, dense.in_features))
        self.lora_b = nn.Parameter(torch.zeros(len(slices), width, settings.rank))
        nn.init.normal_(self.lora_a, 0.0, dense.in_features**-0.5, generator=generator)

    def forward(self, x: Tensor, gelu: str | None = None) -> Tensor:
        """(N, D) → (N, out_features); arguments as in :meth:`Linear.forward`."""
        low = F.linear(self.dropout(x), self.lora_a.flatten(0, 1)).view(len(x), len(self.lora_a), -1)
        added = torch.einsum("nsr,sdr->nsd", low, self.lora_b) * self.scale
        y = super().forward(x)
        if self.n_slices == 1:
            y = y + added[:, 0]
        else:
            parts = y.view(len(x), self.n_slices, -1)
            y = parts.index_add(1, self.slices, added.to(y.dtype)).flatten(1)
        return y if gelu is None else F.gelu(y, approximate=gelu)

    def to_dense(self) -> Linear:
        """Add the adapters to the weight, in place, and return an ordinary dense layer with the same output."""
        dense = Linear(self.in_features, self.out_features)
        dense.weight, dense.bias = self.weight, self.bias
        with torch.no_grad():
            parts = dense.weight.view(self.n_slices, -1, self.in_features)
            for i, part in enumerate(self.slices.tolist()):
                parts[part] += self.scale * (self.lora_b[i] @ self.lora_a[i])
        return dense


def add_adapters(encoder: Encoder, settings: LoraSettings, generator: torch.Generator | None = None) -> None:
    """Add adapters to the attention of every layer, in place; the encoder's output does not change before training."""
    slices = tuple(i for i, name in enumerate(_QKV) if name in settings.target_modules)
    for attention in list(_attention_modules(encoder)):
        if slices:
            attention.qkv = LoraLinear(attention.qkv, slices, len(_QKV), settings, generator)
        if "output" in settings.target_modules:
            attention.output = LoraLinear(attention.output, (0,), 1, settings, generator)


def merge_adapters(encoder: Encoder) -> None:
    """Add the adapters to the weights they adapt, in place, and remove them from the encoder."""
    for attention in list(_attention_modules(encoder)):
        for name, module in list(attention.named_children()):
            if isinstance(module, LoraLinear):
                setattr(attention, name, module.to_dense())


def adapter_parameters(encoder: nn.Module) -> Iterator[nn.Parameter]:
    """Iterate over the parameters of all adapters."""
    for module in encoder.modules():
        if isinstance(module, LoraLinear):
            yield from (module.lora_a, module.lora_b)


def _attention_modules(encoder: Encoder) -> Iterator[Attention]:
    return (module for module in encoder.modules() if isinstance(module, Attention))
