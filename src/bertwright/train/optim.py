"""AdamW as BERT wants it: bias correction, no decay on biases and LayerNorm, clipping by the global norm.

Bias correction is on: without it fine-tuning on small data fails at random (Mosbach et al. 2020, arXiv 2006.04884;
Zhang et al. 2020, arXiv 2006.05987). google-research/bert had it off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from bertwright.errors import TrainingError
from bertwright.nn.model import Model


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: to matrices, not to biases and LayerNorm, which have one axis."""
    return parameter.ndim > 1


class Optimizer:
    """Fused AdamW over a model's trainable parameters.

    The word embedding is most of a small model, and a step touches a few hundred of its rows. Its gradient is kept in
    one dense buffer of which only the touched rows are written, measured and zeroed again; the update itself is
    AdamW's over all rows, as momentum and decay require. Results are those of clip_grad_norm_ and torch.optim.AdamW.

    Args:
        model: its parameters with ``requires_grad`` are trained.
        learning_rate: the peak; each step is given a factor of it.
        weight_decay: of parameters for which :func:`decays` holds.
        clip: largest norm of the whole gradient; 0 for none.
        betas: decay of the two running means.
        eps: added to the root of the second mean.

    Raises:
        TrainingError: nothing is left to train.
    """

    def __init__(
        self,
        model: Model,
        learning_rate: float,
        weight_decay: float = 0.01,
        clip: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.learning_rate = learning_rate
        self.clip = clip
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not trained:
            raise TrainingError("model.freeze: every parameter is frozen, so there is nothing to train; freeze less.")
        self.names = list(trained)
        self._word = _word_embedding(model)
        self._others = [p for p in trained.values() if self._word is None or p is not self._word.weight]
        groups = [
            {"params": [p for n, p in trained.items() if decays(n, p) is decay], "weight_decay": decay * weight_decay}
            for decay in (True, False)
        ]
        self._adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=learning_rate, betas=betas, eps=eps, fused=True
        )
        self._by_name = trained
        self.zero()

    def zero(self) -> None:
        """Forget the gradients, all of them."""
        for parameter in self._others:
            parameter.grad = None
        if self._word is not None:
            self._word.sparse = True
            self._word.weight.grad = torch.zeros_like(self._word.weight)

    def step(self, factor: float, count: float | Tensor, ids: Iterable[Tensor]) -> float:
        """Update the parameters from gradients of the summed loss, and clear those.

        Args:
            factor: of the peak learning rate.
            count: what the loss's total is divided by, over all micro-batches of the step.
            ids: the token ids of the step's micro-batches: the rows of the word embedding with a gradient.

        Returns:
            The norm of the gradient before clipping.

        Raises:
            TrainingError: the gradient is not finite; nothing has been changed then.
        """
        touched = torch.cat([i.flatten() for i in ids]).unique() if self._word is not None else None
        grads = [p.grad for p in self._others if p.grad is not None]
        if self._word is not None and touched is not None:
            grads.append(_grad(self._word.weight).index_select(0, touched))
        # fp32 norms of fp32 gradients; torch.nn.utils.get_total_norm is what clip_grad_norm_ uses
        norm = float(torch.nn.utils.get_total_norm(grads)) / float(count)
        if not norm < float("inf"):
            raise TrainingError(
                "the gradient is not a finite number; lower train.learning_rate, or train with train.precision=fp32."
            )
        scale = float(count) * (max(1.0, (norm + 1e-6) / self.clip) if self.clip else 1.0)
        for group in self._adamw.param_groups:
            group["lr"] = self.learning_rate * factor
        # Dividing inside the fused kernel saves a pass over all gradients; torch's GradScaler hands it over this way.
        device = self._others[0].device if self._others else grads[0].device
        self._adamw.grad_scale = torch.tensor(scale, device=device)  # type: ignore[attr-defined]
        self._adamw.step()
        for parameter in self._others:
            parameter.grad = None
        if self._word is not None and touched is not None:
            _grad(self._word.weight).index_fill_(0, touched, 0.0)
        return norm

    def release(self) -> None:
        """Give the model back as it was: dense gradients, none of them set."""
        for parameter in self._by_name.values():
            parameter.grad = None
        if self._word is not None:
            self._word.sparse = False

    def state(self) -> dict[str, Tensor]:
        """The running means and step counts, by parameter name and kind."""
        return {
            f"{kind}.{name}": tensor
            for name, parameter in self._by_name.items()
            for kind, tensor in self._adamw.state.get(parameter, {}).items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that :meth:`state` gave.

        Raises:
            TrainingError: it is of other parameters.
        """
        for name, parameter in self._by_name.items():
            kinds = {kind: state.get(f"{kind}.{name}") for kind in ("step", "exp_avg", "exp_avg_sq")}
            found = {kind: tensor.clone() for kind, tensor in kinds.items() if tensor is not None}
            if len(found) != len(kinds) or found["exp_avg"].shape != parameter.shape:
                raise TrainingError(f"the saved training state does not fit: it has no usable entry for {name}.")
            self._adamw.state[parameter] = {kind: tensor.to(parameter.device) for kind, tensor in found.items()}


def _word_embedding(model: Model) -> nn.Embedding | None:
    word = model.encoder.embeddings.word
    return word if word.weight.requires_grad else None


def _grad(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise TrainingError("the word embedding has lost its gradient; call Optimizer.zero() before backward.")
    return parameter.grad
