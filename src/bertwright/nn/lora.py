"""Low-rank adapters on the attention projections (LoRA; Hu et al. 2021, arXiv 2106.09685).

The pre-trained weight W stays as it is, and what is learnt is added to it as B A, with A of a few rows and B of as
many columns. Queries, keys and values are one matrix here, so an adapter is added to slices of its output.
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
    """A dense layer whose weight is frozen, with adapters on some slices of its output.

    Args:
        dense: the layer to adapt, whose weight and bias it takes over.
        slices: which of the ``n_slices`` equal parts of the output have an adapter.
        n_slices: how many there are: 3 where queries, keys and values lie side by side.
        settings: rank, alpha and dropout.
        generator: for A, which starts normal, of the size that keeps the variance of its input; B starts at 0, so
            that the layer begins as it was.
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

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) → (N, out_features)."""
        low = F.linear(self.dropout(x), self.lora_a.flatten(0, 1)).view(len(x), len(self.lora_a), -1)
        added = torch.einsum("nsr,sdr->nsd", low, self.lora_b) * self.scale
        plain = super().forward(x)
        if self.n_slices == 1:
            return plain + added[:, 0]
        whole = plain.view(len(x), self.n_slices, -1).index_add(1, self.slices, added.to(plain.dtype))
        return whole.flatten(1)

    def merged(self) -> Linear:
        """An ordinary dense layer that computes the same."""
        dense = Linear(self.in_features, self.out_features)
        dense.weight, dense.bias = self.weight, self.bias
        with torch.no_grad():
            parts = dense.weight.view(self.n_slices, -1, self.in_features)
            for i, part in enumerate(self.slices.tolist()):
                parts[part] += self.scale * (self.lora_b[i] @ self.lora_a[i])
        return dense


def add_adapters(encoder: Encoder, settings: LoraSettings, generator: torch.Generator | None = None) -> None:
    """Put adapters on the attention of every layer, in place; they change nothing before they are trained."""
    slices = tuple(i for i, name in enumerate(_QKV) if name in settings.targets)
    for attention in list(_attentions(encoder)):
        if slices:
            attention.qkv = LoraLinear(attention.qkv, slices, len(_QKV), settings, generator)
        if "output" in settings.targets:
            attention.output = LoraLinear(attention.output, (0,), 1, settings, generator)


def merge_adapters(encoder: Encoder) -> None:
    """Add what the adapters learnt to the weights they stand on, in place; the encoder is then an ordinary one."""
    for attention in list(_attentions(encoder)):
        for name, module in list(attention.named_children()):
            if isinstance(module, LoraLinear):
                setattr(attention, name, module.merged())


def adapters(encoder: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of the adapters; none where there are none."""
    for module in encoder.modules():
        if isinstance(module, LoraLinear):
            yield from (module.lora_a, module.lora_b)


def _attentions(encoder: Encoder) -> Iterator[Attention]:
    return (module for module in encoder.modules() if isinstance(module, Attention))
