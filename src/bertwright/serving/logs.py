"""Structured logs: one JSON object per line."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

from bertwright.files.strict_json import to_json


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, with the fields that it carries."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return to_json(entry)


def configure_logs(level: int) -> None:
    """Write the log of the server to standard output, and nothing to the handlers of its parents."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("bertwright.serving")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(level)
