"""The limits of a server and its dynamic batching."""

from __future__ import annotations

from dataclasses import dataclass

from bertwright.errors import BertwrightError


@dataclass(frozen=True)
class ServingSettings:
    """The limits of a server and its dynamic batching.

    Attributes:
        max_body_bytes: size of a request body; larger ones are answered with 413.
        max_inputs: inputs in one request; more are answered with 422.
        max_queue: inputs that wait for prediction, per model; requests beyond are answered with 503.
        timeout_seconds: time for the body of a request to arrive (408), and for its predictions (503).
        max_batch_tokens: estimated tokens of the inputs that are predicted together.
        max_wait_ms: time that a batch waits for more inputs while several clients send requests.
    """

    max_body_bytes: int = 1 << 20
    max_inputs: int = 128
    max_queue: int = 1024
    timeout_seconds: float = 30.0
    max_batch_tokens: int = 2048
    max_wait_ms: float = 5.0

    def __post_init__(self) -> None:
        """Check that every request that the other limits allow fits into the queue.

        Raises:
            BertwrightError: it does not.
        """
        if self.max_inputs > self.max_queue:
            raise BertwrightError(
                f"serve: a request may have {self.max_inputs:,} inputs, but the queue takes {self.max_queue:,}; raise "
                "the limit of the queue, or lower that of a request."
            )
