"""Metrics of a server in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bertwright.errors import MissingDependencyError

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class ServingMetrics:
    """Counters and histograms in a separate registry, so that several applications can share a process.

    Args:
        queues: the number of waiting inputs of each model, by name.

    Raises:
        MissingDependencyError: prometheus-client is not installed.
    """

    def __init__(self, queues: Mapping[str, Callable[[], int]]) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
        except ImportError as error:
            raise MissingDependencyError(
                "serve: prometheus-client is not installed; run `pip install 'bertwright[serve]'`."
            ) from error
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "bertwright_requests", "Requests, by path and status.", ("path", "status"), registry=registry
        )
        self._seconds = Histogram(
            "bertwright_request_seconds", "Time to answer a request.", ("path",), buckets=SECONDS, registry=registry
        )
        self._inputs = Counter("bertwright_inputs", "Predicted inputs.", ("model",), registry=registry)
        self._batch_inputs, self._batch_tokens, self._batch_seconds = (
            Histogram(f"bertwright_batch_{name}", text, ("model",), buckets=buckets, registry=registry)
            for name, text, buckets in (
                ("inputs", "Inputs of a batch.", COUNTS),
                ("tokens", "Estimated tokens of a batch.", TOKENS),
                ("seconds", "Time to predict a batch.", SECONDS),
            )
        )
        waiting = Gauge("bertwright_queue_inputs", "Inputs that wait for prediction.", ("model",), registry=registry)
        for name, count in queues.items():
            waiting.labels(name).set_function(count)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_batch(self, model: str, n_inputs: int, n_tokens: int, seconds: float) -> None:
        """Count a predicted batch."""
        self._inputs.labels(model).inc(n_inputs)
        self._batch_inputs.labels(model).observe(n_inputs)
        self._batch_tokens.labels(model).observe(n_tokens)
        self._batch_seconds.labels(model).observe(seconds)

    def render(self) -> tuple[bytes, str]:
        """All metrics as text, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST
