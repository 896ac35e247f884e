"""An encoder with a head on it, and which of their parameters train."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from bertwright.errors import RecipeError
from bertwright.nn.batch import Batch
from bertwright.nn.custom_heads import report_head_errors
from bertwright.nn.encoder import Encoder
from bertwright.nn.heads import Head
from bertwright.nn.lora import adapters

Freeze = str | int
"""``"nothing"``, ``"embeddings"``, ``"encoder"``, or k for the embeddings and the first k layers."""


def running_statistics(module: nn.Module, recurse: bool = True) -> int:
    """How many numbers follow the data beside the parameters: the means and variances of BatchNorm.

    Keras counts them among the parameters, as such that do not train; PyTorch has them as buffers.
    """
    return sum(buffer.numel() for buffer in module.buffers(recurse) if buffer.is_floating_point())


class Model(nn.Module):
    """An encoder and one head.

    A frozen part gets no gradient and stays in evaluation mode, so it adds no dropout noise either. The pooler of
    BERT belongs to the head: it goes on training when the encoder is frozen. With adapters (LoRA) they alone of the
    encoder train, and the layers around them keep their dropout.
    """

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        if isinstance(head, Head):
            head.attach(encoder)
        self._kept: tuple[nn.Module, ...] = ()
        self._waiting: tuple[nn.Module, ...] = ()
        self._still: tuple[nn.Module, ...] = ()

    def forward(self, batch: Batch) -> Tensor:
        """The head's scores for every sequence (B, C) or token (N, C) of the batch."""
        scores = self.loss_scores(batch)
        return scores if self.training else self.prediction_scores(scores, batch)

    def loss_scores(self, batch: Batch) -> Tensor:
        """The scores that the loss is computed from."""
        features = self.features(batch) if batch.features is None else batch.features
        method = "scores(features, layout)" if isinstance(self.head, Head) else "forward(hidden, layout)"
        with report_head_errors(self.head, method):
            scores: Tensor = (
                self.head.scores(features, batch.layout)
                if isinstance(self.head, Head)
                else self.head(features, batch.layout)
            )
        return scores

    def prediction_scores(self, scores: Tensor, batch: Batch) -> Tensor:
        """The scores to predict from, given those of :meth:`loss_scores`; a CRF or LM head makes others of them."""
        if not isinstance(self.head, Head):
            return scores
        with report_head_errors(self.head, "predicted(scores, targets, layout)"):
            return self.head.predicted(scores, batch.targets, batch.layout)

    def features(self, batch: Batch) -> Tensor:
        """What the encoder gives the head to work with: (B, …) or (N, …), as the head reads it."""
        head, encoder = self.head, self.encoder
        inputs = (batch.ids, batch.types, batch.layout)
        hidden: Tensor
        if not isinstance(head, Head):
            hidden = encoder(*inputs)
            return hidden
        layout = batch.layout
        if head.reads == "first_tokens":
            hidden, layout = encoder.first_tokens(*inputs), layout.firsts()
        elif head.reads == "asked_tokens":
            hidden = encoder.tokens(*inputs, head.asked(batch))
        elif head.reads == "all_layers":
            hidden = torch.stack(encoder.hidden_states(*inputs))
        else:
            hidden = encoder(*inputs)
        with report_head_errors(head, "features(hidden, layout)"):
            return head.features(hidden, layout)

    def freeze(self, what: Freeze) -> Self:
        """Choose what stays as it is; everything else trains.

        Raises:
            RecipeError: more layers than the encoder has, or an unknown word.
        """
        n_layers = len(self.encoder.layers)
        if what == "nothing":
            frozen: tuple[nn.Module, ...] = ()
        elif what == "embeddings":
            frozen = (self.encoder.embeddings,)
        elif what == "encoder":
            frozen = (self.encoder,)
        elif isinstance(what, int) and 0 <= what <= n_layers:
            frozen = (self.encoder.embeddings, *list(self.encoder.layers)[:what])
        else:
            raise RecipeError(
                f'model.freeze: must be "nothing", "embeddings", "encoder" or a number of layers from 0 to {n_layers}, '
                f"but is {what!r}."
            )
        self._kept = (*frozen, *(self.head.unused if isinstance(self.head, Head) else ()))
        return self._settled()

    def train_top(self, n: int) -> Self:
        """Train the head and the n topmost layers alone, of what :meth:`freeze` leaves; past the last, all of it.

        So layers can join one after the other (gradual unfreezing, Howard and Ruder 2018, section 3.3).
        """
        layers = list(self.encoder.layers)
        below = layers[: max(len(layers) - n, 0)]
        self._waiting = (self.encoder.embeddings, *below) if n <= len(layers) else ()
        return self._settled()

    def parts_of_state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The model's state in two, by name: what training may change, now or later, and what is frozen for good."""
        adapted = list(adapters(self.encoder))
        frozen = (*self._kept, *((self.encoder,) if adapted else ()))
        still = {id(tensor) for module in frozen for tensor in module.state_dict(keep_vars=True).values()}
        still -= {id(parameter) for parameter in adapted}
        learned: dict[str, Tensor] = {}
        kept: dict[str, Tensor] = {}
        for name, tensor in self.state_dict(keep_vars=True).items():
            (kept if id(tensor) in still else learned)[name] = tensor.detach()
        return learned, kept

    def _settled(self) -> Self:
        adapted = list(adapters(self.encoder))
        self._still = (*self._kept, *self._waiting, *((self.encoder.embeddings,) if adapted else ()))
        self.requires_grad_(True)
        for module in (*self._still, *((self.encoder,) if adapted else ())):
            module.requires_grad_(False)
        for parameter in adapted:
            parameter.requires_grad_(True)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch dropout on or off, except in frozen parts, where it stays off."""
        super().train(mode)
        for module in self._still:
            module.eval()
        return self
