"""Heads of the user's own: declared in a recipe, or any module named by it."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from bertwright.errors import BertwrightError, RecipeError
from bertwright.nn.dropout import Dropout
from bertwright.nn.encoder import EncoderConfig
from bertwright.nn.head_settings import HeadLayer, HeadSettings
from bertwright.nn.heads import Head, real_tokens
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear
from bertwright.nn.pooling import POOLINGS
from bertwright.nn.settings import GIVEN

logger = logging.getLogger(__name__)

_PLAIN: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
}


class BatchNorm(nn.BatchNorm1d):
    """torch's batch normalisation over the rows of a micro-batch, which may be a single one.

    One row has no variance. In training it is then normalised by the running statistics, as in evaluation, and leaves
    them alone; torch's own refuses it, so the last batch of an epoch would decide whether a run survives.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) → (B, D)."""
        x = x.float()
        if not self.training or len(x) > 1:
            return super().forward(x)
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


class DeclaredHead(Head):
    """A head as a recipe declares it: pooling, layers, and a dense layer to the scores.

    Fresh dense layers start as Keras' do (uniform, Glorot and Bengio 2010; biases 0), which suits any width; BERT's
    pooler comes from the checkpoint.

    Args:
        settings: the declaration.
        config: of the encoder.
        n_outputs: scores a sequence or token.
        tokens: whether every token is scored, rather than every sequence.
        dropout: the rate where the declaration leaves its layers to the family.
        generator: for the fresh weights.

    Raises:
        RecipeError: more layers are to be averaged than there are.
    """

    def __init__(
        self,
        settings: HeadSettings,
        config: EncoderConfig,
        n_outputs: int,
        tokens: bool = False,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self._from = settings.from_layers
        if isinstance(self._from, int) and self._from > config.n_layers:
            raise RecipeError(
                f"model.head.from_layers: is {self._from}, but the encoder has {config.n_layers} layers; lower it."
            )
        self._pool = real_tokens if tokens else POOLINGS[settings.pooling or "first"]
        first = not tokens and settings.pooling in (None, "first", "pooler")
        self.reads = "all_layers" if self._from != "last" else "first_tokens" if first else "last_layer"
        self.output_l2 = settings.output_l2
        self.mix = nn.Parameter(torch.zeros(config.n_layers + 1)) if self._from == "weighted" else None
        self.pooler = Linear(config.width, config.width) if settings.pooling == "pooler" else None
        declared = (HeadLayer("dropout", dropout),) if settings.layers is None else settings.layers
        width, layers = config.width, []
        for layer in declared:
            layers.append(_module(layer, width))
            width = int(layer.amount) if layer.kind == "dense" else width
        self.layers = nn.Sequential(*layers)
        self.output = Linear(width, n_outputs)
        for module in (*layers, self.output):
            if isinstance(module, Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)

    @property
    def reading(self) -> str:
        """Pooling and layers, in words."""
        return f"{self._pool.__name__} of {self._from}"

    def features(self, hidden: Tensor, layout: Layout) -> Tensor:
        """Pooled vectors (B, D), or those of every token (N, D); of all layers (B or N, L + 1, D) to weigh them."""
        if self._from == "weighted":
            return torch.stack([self._pool(state, layout) for state in hidden], dim=1)
        return self._pool(hidden[-self._from :].mean(0) if isinstance(self._from, int) else hidden, layout)

    def scores(self, features: Tensor, layout: Layout) -> Tensor:
        """(B, D) → (B, n_outputs), or a row a token."""
        x = features
        if self.mix is not None:
            x = torch.einsum("bld,l->bd", x, self.mix.softmax(0).to(x.dtype))
        if self.pooler is not None:
            x = self.pooler(x).tanh()
        scores: Tensor = self.output(self.layers(x))
        return scores

    def penalty(self) -> Tensor | float:
        """``output_l2`` times the sum of squares of the output's weights, as Keras' ``kernel_regularizer``."""
        return self.output_l2 * self.output.weight.float().square().sum() if self.output_l2 else 0.0


def _module(layer: HeadLayer, width: int) -> nn.Module:
    if layer.kind == "dropout":
        return Dropout(layer.amount)
    if layer.kind == "dense":
        return Linear(width, int(layer.amount))
    if layer.kind in ("batch_norm", "layer_norm"):
        return (BatchNorm if layer.kind == "batch_norm" else nn.LayerNorm)(width)
    return _PLAIN[layer.kind]()


def check_code_allowed(head: object, allow_code: bool, where: str = "model.head") -> None:
    """Refuse a head that is Python code, ``module:name``, unless the user has allowed it to run.

    Installed modules are refused as well: ``os:system`` is one.

    Args:
        head: of a recipe's model.
        allow_code: whether the user has allowed it.
        where: the setting, or the file that holds it.

    Raises:
        RecipeError: it is code and not allowed; the message says what would run.
    """
    if allow_code or not isinstance(head, str) or head == GIVEN:
        return
    module_name, _, name = head.partition(":")
    raise RecipeError(
        f"{where}: the head {head} is Python code: bertwright would import {module_name} ({_origin(module_name)}) and "
        f"call {name}; if you trust that code, add --allow-code (in Python: allow_code=True)."
    )


def _origin(module_name: str) -> str:
    """Where Python would find a module, in words; nothing is imported."""
    top = module_name.partition(".")[0]
    try:
        spec = find_spec(top) or PathFinder.find_spec(top, [os.getcwd()])  # noqa: PTH109  # as sys.path holds it
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return "not found: neither installed nor in the working directory"
    locations = list(spec.submodule_search_locations or ())
    return locations[0] if locations else spec.origin or "built into Python"


def head_by_name(reference: str, config: EncoderConfig, n_outputs: int) -> nn.Module:
    """The head that ``module:name`` makes: a class of modules, or a function that returns one.

    This runs code, so call :func:`check_code_allowed` first. The module is imported from where Python finds modules,
    and last from the working directory, so that files there cannot take the place of installed modules.

    Args:
        reference: such as ``mine.heads:Wide``; it is called with the two below.
        config: of the encoder.
        n_outputs: scores a sequence or token.

    Raises:
        RecipeError: there is no such module or name, it raises an exception, or it makes no ``nn.Module``.
    """
    module_name, _, name = reference.partition(":")
    with _working_directory_last():
        try:
            module = import_module(module_name)
        except ImportError as error:
            raise RecipeError(
                f"model.head: the head {reference} needs the module {module_name}, which cannot be imported ({error}); "
                "install it, or go to the directory that holds it."
            ) from error
        except Exception as error:
            raise _head_error(f"importing {module_name}", error) from error
        if not hasattr(module, name):
            raise RecipeError(f"model.head: the module {module_name} has no {name}; name a class or function in it.")
        logger.info("model.head: %s is from %s", reference, getattr(module, "__file__", None) or module_name)
        try:
            head = getattr(module, name)(config, n_outputs)
        except Exception as error:
            raise _head_error(f"{reference}(config, n_outputs)", error) from error
    return _checked(head, reference)


@contextmanager
def _working_directory_last() -> Iterator[None]:
    """Let imports find modules in the working directory that they find nowhere else."""
    here = os.getcwd()  # noqa: PTH109  # sys.path holds text
    if here in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


@contextmanager
def report_head_errors(head: nn.Module, method: str) -> Iterator[None]:
    """Turn what a user's own head raises into a :class:`RecipeError`; heads of this package are left alone.

    Args:
        head: whose code runs.
        method: which of its methods, for the message.

    Raises:
        RecipeError: the head raised an exception, other than for lack of memory.
    """
    try:
        yield
    except (BertwrightError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if type(head).__module__.partition(".")[0] == "bertwright" or "alloc" in str(error):
            raise
        raise _head_error(f"{type(head).__name__}.{method}", error) from error


def _head_error(what: str, error: Exception) -> RecipeError:
    """The error of a user's own head, with the line of code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    text = str(error).strip().partition("\n")[0]
    return RecipeError(f"model.head: {what} raised {type(error).__name__}{at}: {text or 'no message'}; fix the head.")


def _checked(head: object, reference: str) -> nn.Module:
    if not isinstance(head, nn.Module):
        raise RecipeError(f"model.head: {reference} gave a {type(head).__name__}; it must give a torch.nn.Module.")
    return head


def check_head(head: nn.Module, config: EncoderConfig, n_outputs: int, tokens: bool) -> None:
    """Run a head of unknown make once, over two sequences of noise, and see that its scores have the right shape.

    Raises:
        RecipeError: they have not, it raises an exception, or two of its tensors are one, which no file of weights
            can hold.
    """
    state = _checked(head, "the caller").state_dict()
    for i, (name, tensor) in enumerate(state.items()):
        for other, earlier in list(state.items())[:i]:
            if tensor.numel() and tensor.data_ptr() == earlier.data_ptr():
                raise RecipeError(
                    f"model.head: {other} and {name} of {type(head).__name__} are one tensor; untie them."
                )
    layout = Layout.packed([2, 3])
    was_training = head.training
    head.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]), report_head_errors(head, "forward(hidden, layout)"):
        scores = head(torch.randn(_seen(head, config)), layout)
    head.train(was_training)
    expected = (5 if tokens else 2, n_outputs)
    if not isinstance(scores, Tensor) or tuple(scores.shape) != expected:
        found = f"of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"as a {type(scores).__name__}"
        raise RecipeError(
            f"model.head: {type(head).__name__} gives scores {found} for 2 texts of 5 tokens together; "
            f"they must have shape {expected}."
        )


def _seen(head: nn.Module, config: EncoderConfig) -> tuple[int, ...]:
    """The shape of the hidden vectors of five tokens that a head of this kind is given."""
    packed = (5, config.width)
    return (config.n_layers + 1, *packed) if isinstance(head, Head) and head.reads == "all_layers" else packed
