"""The engines that compute scores: torch, or ONNX Runtime on a graph that is exported on first use and cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Literal, get_args

import numpy as np
from torch import nn

from bertwright.cache.disk_cache import Cache
from bertwright.engines.onnx_graph import OPSET, check_packages, export_graph
from bertwright.engines.onnx_model import OnnxModel, OnnxSession
from bertwright.engines.quantization import quantize_graph
from bertwright.errors import BundleError, did_you_mean
from bertwright.nn.ensemble import AnyModel
from bertwright.nn.model import Model
from bertwright.tasks.spec import Task

EngineName = Literal["torch", "onnx", "onnx-int8"]
"""torch: this library's modules; onnx and onnx-int8: ONNX Runtime in fp32, or with weights in int8."""

GraphPrecision = Literal["fp32", "int8"]
"""The precision of the weights of a graph."""

GRAPH_FORMAT = 2
"""Version of the graphs; it increases when the same weights give another graph."""

_STATE = ("training", "_packed", "releases_weight")
"""Attributes of modules on which their results do not depend."""

_PLAIN = (str, int, float, bool, type(None), tuple)
_COLUMN = {"graph": np.uint8}


def check_engine(name: str, device: str, precision: str) -> None:
    """Check the name of an engine, and that it runs on this device in this precision.

    Raises:
        BundleError: the engine is unknown, or runs neither on the device nor in the precision.
        MissingDependencyError: a package that it needs is missing.
    """
    names = get_args(EngineName)
    if name not in names:
        raise BundleError(f'engine: unknown engine "{name}"; {did_you_mean(name, names)}.')
    if name == "torch":
        return
    if device != "cpu":
        raise BundleError(f"engine: {name} runs on the CPU, not on {device}; set the device cpu, or the engine torch.")
    if precision != "fp32":
        raise BundleError(f"engine: the precision {precision} needs the engine torch; remove one of them.")
    check_packages(f"engine {name}")


def depends_on_batch(name: EngineName) -> bool:
    """Whether scores depend on the other texts of a batch: all inputs of a product in int8 share one scale."""
    return name == "onnx-int8"


def open_engine(
    name: EngineName,
    model: Model,
    task: Task,
    threads: int,
    source: str,
    on_note: Callable[[str], None] | None = None,
) -> Model:
    """Return a model that computes its scores in an engine.

    The graph comes from the disk cache if the same model was exported before.

    Args:
        name: the engine.
        model: on the CPU, in evaluation mode.
        task: of the model.
        threads: CPU threads.
        source: of the model, for messages.
        on_note: called with messages for the user, such as one about an export.

    Raises:
        BundleError: the model cannot be exported.
    """
    if name == "torch":
        return model
    graph = make_graph(model, task, "fp32" if name == "onnx" else "int8", source, on_note)
    return OnnxModel(model, OnnxSession(graph, task, threads))


def make_graph(
    model: AnyModel,
    task: Task,
    precision: GraphPrecision,
    source: str,
    on_note: Callable[[str], None] | None = None,
) -> bytes:
    """Export a model to an ONNX graph; for a single model, the graph is loaded from the disk cache if it is there.

    Args:
        model: on the CPU, in evaluation mode.
        task: of the model.
        precision: of the weights.
        source: of the model, for messages.
        on_note: called with messages for the user, such as one about an export.

    Raises:
        BundleError: the model cannot be exported.
    """
    cache = Cache("graphs", on_note)
    key = hash_model(model, task, precision)
    if precision == "int8":
        return get_graph(cache, key, lambda: quantize_graph(make_graph(model, task, "fp32", source, on_note)))

    def export() -> bytes:
        if on_note is not None:
            on_note(f"{source}: is exported to ONNX once, which takes some seconds")
        return export_graph(model, task, source)

    return get_graph(cache, key, export)


def get_graph(cache: Cache, key: str | None, make: Callable[[], bytes]) -> bytes:
    """Return a graph from the cache, or make one and cache it; without a key it is not cached."""
    entry = None if key is None else cache.load(key, _COLUMN)
    if entry is not None:
        return entry[0]["graph"].tobytes()
    graph = make()
    if key is not None:
        cache.save(key, _COLUMN, {"graph": np.frombuffer(graph, np.uint8)}, n_bytes=len(graph))
        cache.evict({cache.path(key)})
    return graph


def hash_model(model: AnyModel, task: Task, precision: GraphPrecision) -> str | None:
    """Hash everything that a graph depends on.

    None for an ensemble, whose average depends on the tasks of its members, and for a head that is the user's code,
    which may change unnoticed.
    """
    modules = list(_describe_modules(model))
    own_code = any(not name.startswith(("bertwright.", "torch.")) for name, _ in modules)
    if own_code or not isinstance(model, Model):
        return None
    packages = [version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")]
    outputs = [task.graph_outputs, task.scores_tokens, task.scores_choices]
    settings = [GRAPH_FORMAT, OPSET, precision, packages, outputs, asdict(model.encoder.config), modules]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()


def _describe_modules(model: nn.Module) -> Iterator[tuple[str, list[Any]]]:
    """The class of every module of a model, with its settings: attributes with plain values, and functions by name."""
    for module in model.modules():
        settings = []
        for name, value in sorted(vars(module).items()):
            if isinstance(value, _PLAIN) and name not in _STATE and not _holds_modules(value):
                settings.append([name, repr(value)])
            elif callable(value) and not isinstance(value, nn.Module):
                settings.append([name, getattr(value, "__qualname__", type(value).__qualname__)])
        yield f"{type(module).__module__}.{type(module).__qualname__}", settings


def _holds_modules(value: object) -> bool:
    return isinstance(value, tuple) and any(isinstance(each, nn.Module) for each in value)
