"""``Model``: an encoder with a head, and which of their parameters train."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from bertwright.errors import RecipeError
from bertwright.nn.batch import Batch
from bertwright.nn.custom_heads import report_head_errors
from bertwright.nn.encoder import Encoder
from bertwright.nn.head_outputs import HeadOutput
from bertwright.nn.heads import Head, to_scores
from bertwright.nn.lora import adapter_parameters

FrozenPart = str | int
"""The frozen part: ``"nothing"``, ``"embeddings"``, ``"encoder"``, or k for the embeddings and the first k layers."""


def count_running_statistics(module: nn.Module, recurse: bool = True) -> int:
    """Count the running means and variances of BatchNorm, which follow the data but are not parameters.

    Keras counts them as non-trainable parameters; PyTorch stores them as buffers.
    """
    named = module.named_buffers(recurse=recurse)
    return sum(buffer.numel() for name, buffer in named if name.rpartition(".")[2].startswith("running_"))


class Model(nn.Module):
    """An encoder and one head.

    Frozen parts get no gradient and stay in evaluation mode, so they apply no dropout. BERT's pooler belongs to the
    head: it trains when the encoder is frozen. With LoRA, only the adapters of the encoder train; the layers around
    them keep their dropout.

    Attributes:
        pads: whether the model sorts the sequences of a batch by length and pads them; it takes large batches without
            attention rows then.
    """

    pads: bool = False

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        if isinstance(head, Head):
            head.attach(encoder)
        self._frozen: tuple[nn.Module, ...] = ()
        self._not_yet_trained: tuple[nn.Module, ...] = ()
        self._inactive: tuple[nn.Module, ...] = ()

    def forward(self, batch: Batch) -> Tensor:
        """Compute the head's scores for every sequence (B, C) or token (N, C); :meth:`decode` interprets them."""
        features = self.features(batch) if batch.features is None else batch.features
        method = "scores(features, layout)" if isinstance(self.head, Head) else "forward(hidden, layout)"
        with report_head_errors(self.head, method):
            scores: Tensor = (
                self.head.scores(features, batch.layout)
                if isinstance(self.head, Head)
                else self.head(features, batch.layout)
            )
        return scores

    def decode(self, scores: Tensor, batch: Batch) -> HeadOutput:
        """Convert the scores of a batch to what predictions are computed from: :meth:`Head.decode`."""
        if not isinstance(self.head, Head):
            return to_scores(scores)
        with report_head_errors(self.head, "decode(scores, targets, layout)"):
            return self.head.decode(scores, batch.targets, batch.layout)

    def independent_scores(self, scores: Tensor, batch: Batch) -> Tensor:
        """Convert scores to scores of single sequences or tokens: :meth:`Head.independent_scores`."""
        if not isinstance(self.head, Head):
            return scores
        with report_head_errors(self.head, "independent_scores(scores, targets, layout)"):
            return self.head.independent_scores(scores, batch.targets, batch.layout)

    def differentiable_scores(self, batch: Batch) -> Tensor:
        """Compute scores of single sequences or tokens that have a gradient: :meth:`Head.differentiable_scores`."""
        scores = self.forward(batch)
        if not isinstance(self.head, Head):
            return scores
        return self.head.differentiable_scores(scores, batch.targets, batch.layout)

    def features(self, batch: Batch) -> Tensor:
        """Compute the head's features: (B, …) or (N, …), depending on what the head reads."""
        head, encoder = self.head, self.encoder
        inputs = (batch.ids, batch.types, batch.layout)
        hidden: Tensor
        if not isinstance(head, Head):
            hidden = encoder(*inputs)
            return hidden
        layout = batch.layout
        if head.reads == "first_tokens":
            hidden, layout = encoder.first_tokens(*inputs), layout.first_tokens_only()
        elif head.reads == "selected_tokens":
            hidden = encoder.tokens(*inputs, head.select_tokens(batch))
        elif head.reads == "all_layers":
            hidden = torch.stack(encoder.hidden_states(*inputs))
        else:
            hidden = encoder(*inputs)
        with report_head_errors(head, "features(hidden, layout)"):
            return head.features(hidden, layout)

    def freeze(self, part: FrozenPart) -> Self:
        """Freeze a part of the encoder; everything else trains.

        Raises:
            RecipeError: ``part`` is an unknown word, or more layers than the encoder has.
        """
        n_layers = len(self.encoder.layers)
        if part == "nothing":
            frozen: tuple[nn.Module, ...] = ()
        elif part == "embeddings":
            frozen = (self.encoder.embeddings,)
        elif part == "encoder":
            frozen = (self.encoder,)
        elif isinstance(part, int) and 0 <= part <= n_layers:
            frozen = (self.encoder.embeddings, *list(self.encoder.layers)[:part])
        else:
            raise RecipeError(
                f'model.freeze: must be "nothing", "embeddings", "encoder" or a number of layers from 0 to {n_layers}, '
                f"but is {part!r}."
            )
        self._frozen = (*frozen, *(self.head.unused_modules if isinstance(self.head, Head) else ()))
        return self._apply_freezing()

    def train_top_layers(self, n: int) -> Self:
        """Train only the head and the n topmost layers that :meth:`freeze` did not freeze; all if n > L.

        Used for gradual unfreezing (Howard and Ruder 2018, section 3.3).
        """
        layers = list(self.encoder.layers)
        below = layers[: max(len(layers) - n, 0)]
        self._not_yet_trained = (self.encoder.embeddings, *below) if n <= len(layers) else ()
        return self._apply_freezing()

    def split_state_dict(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Split the state dict into tensors that training may change, now or later, and permanently frozen tensors."""
        adapter_weights = list(adapter_parameters(self.encoder))
        frozen = (*self._frozen, *((self.encoder,) if adapter_weights else ()))
        frozen_ids = {id(tensor) for module in frozen for tensor in module.state_dict(keep_vars=True).values()}
        frozen_ids -= {id(parameter) for parameter in adapter_weights}
        trained_tensors: dict[str, Tensor] = {}
        frozen_tensors: dict[str, Tensor] = {}
        for name, tensor in self.state_dict(keep_vars=True).items():
            (frozen_tensors if id(tensor) in frozen_ids else trained_tensors)[name] = tensor.detach()
        return trained_tensors, frozen_tensors

    def _apply_freezing(self) -> Self:
        adapter_weights = list(adapter_parameters(self.encoder))
        self._inactive = (
            *self._frozen,
            *self._not_yet_trained,
            *((self.encoder.embeddings,) if adapter_weights else ()),
        )
        self.requires_grad_(True)
        for module in (*self._inactive, *((self.encoder,) if adapter_weights else ())):
            module.requires_grad_(False)
        for parameter in adapter_weights:
            parameter.requires_grad_(True)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self._inactive:
            module.eval()
        return self
