"""MLflow: parameters, metrics, tables, pictures, report and model of a run, in a tracking server or a database."""

from __future__ import annotations

import csv
import io
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from bertwright.run.tracking.spec import Outcome, TrackedResults, TrackedRun

EXPERIMENT = "bertwright"
"""The experiment, unless MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME or an active run of the process names one."""

MOST_BUFFERED = 500
"""Metric values that are sent at once; the API allows 1,000."""

FLUSH_SECONDS = 5.0
"""Maximum seconds between two transfers of metrics, so that a chart follows the run."""

MOST_PARAMETERS = 100
"""Parameters that the API accepts at once."""

LONGEST_VALUE = 500
"""Characters of a parameter that every version of the tracking server stores."""

CONNECT_SECONDS = 5.0

_STATUS: Mapping[Outcome, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MlflowTracker:
    """Records with MLflow's client; the process's active run, if there is one, becomes the parent and stays active."""

    has_parent_runs = True

    def __init__(self) -> None:
        import mlflow
        from mlflow import entities

        self.identity: Mapping[str, str] = {}
        self._mlflow: Any = mlflow
        self._entities: Any = entities
        self._uri = ""
        self._client: Any = None
        self._run = ""
        self._buffer: list[Any] = []
        self._sent_at = 0.0
        self._recorded_until = 0

    def start(self, run: TrackedRun) -> str:
        """Create a run, or continue the one that the identity names.

        Raises:
            ConnectionError: the tracking server cannot be reached.
        """
        self._uri = uri = run.identity.get("uri") or run.group_identity.get("uri") or self._mlflow.get_tracking_uri()
        _check_reachable(uri)
        with _quiet_loggers():
            if self._client is None:
                self._client = self._mlflow.MlflowClient(tracking_uri=uri)
                self._run = self._continue(run) or self._create(run)
            else:  # the run starts again with another random seed
                self._recorded_until = 0
            self._log_parameters(run)
        self.identity = {"run": self._run} | ({} if urlsplit(uri).password else {"uri": uri})
        return f"recording as run {self._run} in {_without_password(uri)}"

    def _continue(self, run: TrackedRun) -> str:
        """Reopen the run of a resumed run; empty if there is none."""
        former = run.identity.get("run")
        if former is None:
            return ""
        try:
            history = self._client.get_metric_history(former, "train/loss")
        except self._mlflow.exceptions.MlflowException:  # it was deleted
            return ""
        self._client.update_run(former, status="RUNNING")
        self._recorded_until = max((metric.step for metric in history), default=0)
        return former

    def _create(self, run: TrackedRun) -> str:
        active = self._mlflow.active_run()
        parent = run.group_identity.get("run") or (None if active is None else active.info.run_id)
        tags = {"mlflow.source.name": "bertwright", "bertwright.directory": str(run.directory.resolve())}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        if run.group is not None:
            tags["bertwright.group"] = run.group.resolve().name
        created = self._client.create_run(self._choose_experiment(parent), tags=tags, run_name=run.name)
        return str(created.info.run_id)

    def _choose_experiment(self, parent: str | None) -> str:
        if parent is not None:
            return str(self._client.get_run(parent).info.experiment_id)
        if number := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return number
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        # otherwise the user interface shows the page of an LLM application
        return str(self._client.create_experiment(name, tags={"mlflow.experimentKind": "custom_model_development"}))

    def _log_parameters(self, run: TrackedRun) -> None:
        """Record the parameters that are new: MLflow does not let a resumed run change one."""
        recorded = self._client.get_run(self._run).data.params
        new = {key: _to_text(value) for key, value in run.parameters.items() if key not in recorded}
        parameters = [self._entities.Param(key, text) for key, text in new.items()]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(self._run, params=parameters[start : start + MOST_PARAMETERS])

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record values; those of steps that a resumed run repeats exist already."""
        if step <= self._recorded_until and not any(name.startswith("final/") for name in values):
            return
        now = time.time()
        make = self._entities.Metric
        self._buffer += [make(name, value, int(1000 * now), step) for name, value in values.items()]
        if len(self._buffer) >= MOST_BUFFERED or now - self._sent_at > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send buffered values.

        Raises:
            ConnectionError: the tracking server cannot be reached any more.
        """
        buffer, self._buffer = self._buffer, []
        self._sent_at = time.time()
        if buffer:
            _check_reachable(self._uri)
            self._client.log_batch(self._run, metrics=buffer)

    def finish(self, results: TrackedResults) -> None:
        """Record tables as CSV, which the user interface shows, and files as artifacts."""
        self.flush()
        for name, rows in results.tables.items():
            self._client.log_text(self._run, _to_csv(rows), f"{name}.csv")
        for path in (*results.pictures, *results.files, *([] if results.page is None else [results.page])):
            self._client.log_artifact(self._run, str(path))
        for path in results.bundle:
            self._client.log_artifact(self._run, str(path), "bundle")

    def close(self, outcome: Outcome) -> None:
        """End the run with a status."""
        self.flush()
        self._client.set_terminated(self._run, _STATUS[outcome])


def _check_reachable(uri: str) -> None:
    """Check that a tracking server answers; MLflow itself would repeat failing requests for minutes.

    Raises:
        ConnectionError: it does not answer.
    """
    if urlsplit(uri).scheme not in ("http", "https"):
        return
    try:
        urllib.request.urlopen(uri, timeout=CONNECT_SECONDS).close()
    except urllib.error.HTTPError:  # it answers, for example that it needs a password
        return
    except OSError as error:
        raise ConnectionError(f"no connection to {_without_password(uri)}: {error}") from error


def _without_password(uri: str) -> str:
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


def _to_text(value: str | int | float | bool | None) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _to_csv(rows: Any) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*rows[0]] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    """Hide the progress messages with which MLflow creates a database."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
