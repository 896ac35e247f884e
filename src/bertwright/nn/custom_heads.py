"""Custom heads: declared in a recipe, or loaded from the user's Python code."""

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
from bertwright.nn.heads import POOLINGS, Head, real_tokens
from bertwright.nn.layout import Layout
from bertwright.nn.linear import Linear
from bertwright.nn.settings import HEAD_OBJECT

logger = logging.getLogger(__name__)

_ACTIVATION_LAYERS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
}


class BatchNorm(nn.BatchNorm1d):
    """torch's batch normalization over the rows of a micro-batch, which may be a single one.

    One row has no variance. In training it is normalized by the running statistics, as in evaluation, and does not
    change them. torch's own layer raises an error for one row, so a run could fail on the last batch of an epoch.
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
    """A head declared in a recipe: pooling, layers, and a dense output layer.

    Dense layers are initialized as in Keras (uniform, Glorot and Bengio 2010; biases 0), which suits any width. The
    weights of BERT's pooler come from the checkpoint.

    Args:
        settings: the declaration.
        config: the configuration of the encoder.
        n_outputs: C, scores per sequence or token.
        tokens: whether the head scores every token instead of every sequence.
        dropout: dropout rate before the output if the declaration has no layers.
        generator: random generator for the initial weights.

    Raises:
        RecipeError: ``from_layers`` exceeds the number of layers.
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
                f"model.head.from_layers: is {self._from}, but the encoder has only {config.n_layers} layers; lower it."
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
            layers.append(_build_layer(layer, width))
            width = int(layer.amount) if layer.kind == "dense" else width
        self.layers = nn.Sequential(*layers)
        self.output = Linear(width, n_outputs)
        for module in (*layers, self.output):
            if isinstance(module, Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)

    @property
    def feature_key(self) -> str:
        """The pooling function and the layers it reads."""
        return f"{self._pool.__name__} of {self._from}"

    def features(self, hidden: Tensor, layout: Layout) -> Tensor:
        """Pool to (B, D), or (N, D) for token heads; (B or N, L + 1, D) if the layers are weighted."""
        if self._from == "weighted":
            return torch.stack([self._pool(state, layout) for state in hidden], dim=1)
        return self._pool(hidden[-self._from :].mean(0) if isinstance(self._from, int) else hidden, layout)

    def scores(self, features: Tensor, layout: Layout) -> Tensor:
        """(B, D) → (B, C), or (N, D) → (N, C)."""
        x = features
        if self.mix is not None:
            x = torch.einsum("bld,l->bd", x, self.mix.softmax(0).to(x.dtype))
        if self.pooler is not None:
            x = self.pooler(x).tanh()
        scores: Tensor = self.output(self.layers(x))
        return scores

    def penalty(self) -> Tensor | float:
        """``output_l2`` times the sum of squares of the output weights, as Keras' ``kernel_regularizer``."""
        return self.output_l2 * self.output.weight.float().square().sum() if self.output_l2 else 0.0


def _build_layer(layer: HeadLayer, width: int) -> nn.Module:
    if layer.kind == "dropout":
        return Dropout(layer.amount)
    if layer.kind == "dense":
        return Linear(width, int(layer.amount))
    if layer.kind in ("batch_norm", "layer_norm"):
        return (BatchNorm if layer.kind == "batch_norm" else nn.LayerNorm)(width)
    return _ACTIVATION_LAYERS[layer.kind]()


def check_code_allowed(head: object, allow_code: bool, where: str = "model.head") -> None:
    """Refuse a head that is Python code, ``module:name``, unless the user allowed running it.

    Installed modules are refused as well, because ``os:system`` is one.

    Args:
        head: the head of a recipe.
        allow_code: whether the user allowed running code.
        where: the setting, or the file that contains it, for the message.

    Raises:
        RecipeError: the head is code and not allowed; the message names the code that would run.
    """
    if allow_code or not isinstance(head, str) or head == HEAD_OBJECT:
        return
    module_name, _, name = head.partition(":")
    raise RecipeError(
        f"{where}: the head {head} is Python code: bertwright would import {module_name} ({_origin(module_name)}) and "
        f"call {name}; if you trust that code, add --allow-code (in Python: allow_code=True)."
    )


def _origin(module_name: str) -> str:
    """Describe where Python would find a module, without importing it."""
    top = module_name.partition(".")[0]
    try:
        spec = find_spec(top) or PathFinder.find_spec(top, [os.getcwd()])  # noqa: PTH109  # sys.path holds strings
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return "not found: neither installed nor in the working directory"
    locations = list(spec.submodule_search_locations or ())
    return locations[0] if locations else spec.origin or "built into Python"


def load_custom_head(reference: str, config: EncoderConfig, n_outputs: int) -> nn.Module:
    """Import ``module:name`` and call it to build a head: a subclass of ``nn.Module``, or a function that returns one.

    This runs code, so call :func:`check_code_allowed` first. Python searches its usual directories for the module and
    the working directory last, so files in the working directory cannot shadow installed modules.

    Args:
        reference: such as ``mine.heads:Wide``; called with the next two arguments.
        config: the configuration of the encoder.
        n_outputs: C, scores per sequence or token.

    Raises:
        RecipeError: the module or name does not exist, raises an exception, or does not return an ``nn.Module``.
    """
    module_name, _, name = reference.partition(":")
    with _working_directory_last():
        try:
            module = import_module(module_name)
        except ImportError as error:
            raise RecipeError(
                f"model.head: the head {reference} needs the module {module_name}, which cannot be imported ({error}); "
                "install it, or run bertwright in the directory that contains it."
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
    return _require_module(head, reference)


@contextmanager
def _working_directory_last() -> Iterator[None]:
    """Make modules in the working directory importable, after all other directories."""
    directory = os.getcwd()  # noqa: PTH109  # sys.path holds text
    if directory in sys.path:
        yield
        return
    sys.path.append(directory)
    try:
        yield
    finally:
        sys.path.remove(directory)


@contextmanager
def report_head_errors(head: nn.Module, method: str) -> Iterator[None]:
    """Turn exceptions of a user's own head into a :class:`RecipeError`; errors of built-in heads pass unchanged.

    Args:
        head: the head whose code runs.
        method: the method that runs, for the message.

    Raises:
        RecipeError: the head raised an exception, except for lack of memory.
    """
    try:
        yield
    except (BertwrightError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if type(head).__module__.partition(".")[0] == "bertwright" or "alloc" in str(error):
            raise
        raise _head_error(f"{type(head).__name__}.{method}", error) from error


def _head_error(action: str, error: Exception) -> RecipeError:
    """Build the error for an exception in a user's own head, with the line of code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    location = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    text = str(error).strip().partition("\n")[0]
    return RecipeError(
        f"model.head: {action} raised {type(error).__name__}{location}: {text or 'no message'}; fix the head."
    )


def _require_module(head: object, reference: str) -> nn.Module:
    if not isinstance(head, nn.Module):
        raise RecipeError(f"model.head: {reference} returned a {type(head).__name__}; expected a torch.nn.Module.")
    return head


def check_head(head: nn.Module, config: EncoderConfig, n_outputs: int, tokens: bool) -> None:
    """Run a custom head once over two sequences of noise and check the shape of its scores.

    Raises:
        RecipeError: the shape is wrong, the head raises an exception, or two of its tensors share memory, which
            weight files cannot represent.
    """
    state = _require_module(head, "the caller").state_dict()
    for i, (name, tensor) in enumerate(state.items()):
        for other, earlier in list(state.items())[:i]:
            if tensor.numel() and tensor.data_ptr() == earlier.data_ptr():
                raise RecipeError(
                    f"model.head: {other} and {name} of {type(head).__name__} share one tensor; untie them."
                )
    layout = Layout.packed([2, 3])
    was_training = head.training
    head.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]), report_head_errors(head, "forward(hidden, layout)"):
        scores = head(torch.randn(_hidden_shape(head, config)), layout)
    head.train(was_training)
    expected = (5 if tokens else 2, n_outputs)
    if not isinstance(scores, Tensor) or tuple(scores.shape) != expected:
        actual = f"of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"as a {type(scores).__name__}"
        raise RecipeError(
            f"model.head: {type(head).__name__} returned scores {actual} for 2 texts of 5 tokens in total; "
            f"expected shape {expected}."
        )


def _hidden_shape(head: nn.Module, config: EncoderConfig) -> tuple[int, ...]:
    """The shape of the hidden vectors of five tokens that this head expects."""
    packed = (5, config.width)
    return (config.n_layers + 1, *packed) if isinstance(head, Head) and head.reads == "all_layers" else packed
