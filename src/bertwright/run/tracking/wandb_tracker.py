"""Weights & Biases: parameters, metrics, tables, pictures, the report and the model of a run, online or offline."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from bertwright.run.tracking.spec import Outcome, TrackedResults, TrackedRun

PROJECT = "bertwright"
"""The project, unless WANDB_PROJECT names one."""

CONNECT_SECONDS = 30.0


class WandbTracker:
    """Records a separate run, also if the process has another active run.

    Without a key, and without WANDB_MODE, it records offline: W&B would otherwise ask for the key in the terminal.
    """

    has_parent_runs = False

    def __init__(self) -> None:
        import wandb

        self.identity: Mapping[str, str] = {}
        self._wandb: Any = wandb
        self._run: Any = None

    def start(self, run: TrackedRun) -> str:
        """Create a run, or continue the one that the identity names."""
        if self._run is not None:  # the run starts again with another random seed
            return f"recording again from step {run.step}"
        self.identity = {"run": run.identity.get("run") or uuid.uuid4().hex[:12]}
        mode = os.environ.get("WANDB_MODE") or ("online" if self._wandb.login(prompt=False) else "offline")
        directory = os.environ.get("WANDB_DIR") or str(run.directory)
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=run.name,
            group=None if run.group is None else run.group.resolve().name,
            id=self.identity["run"],
            resume="allow",
            config=dict(run.parameters),
            dir=directory,
            mode=mode,
            reinit="create_new",
            settings=self._wandb.Settings(console="off", silent=True, init_timeout=CONNECT_SECONDS),
        )
        # a run that is resumed, or starts again with another seed, goes back to an earlier step
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        if self._run.offline:
            folder = self._run.settings.sync_dir
            return f"recording offline in {folder}; upload it with `wandb sync {folder}`"
        return f"recording in {self._run.url}"

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record values at a training step."""
        self._run.log({**values, "step": step})

    def flush(self) -> None:
        """Nothing to do: W&B writes in the background."""

    def finish(self, results: TrackedResults) -> None:
        """Record tables, pictures, the report, and the model as an artifact."""
        media: dict[str, Any] = {path.stem: self._wandb.Image(str(path)) for path in results.pictures}
        if results.page is not None:
            media["report"] = self._wandb.Html(results.page.read_text(encoding="utf-8"), inject=False)
        for name, rows in results.tables.items():
            media[name] = self._wandb.Table(columns=[*rows[0]], data=[[*row.values()] for row in rows])
        if media:
            self._run.log({**media, "step": results.step})
        if results.bundle:
            artifact = self._wandb.Artifact(f"bundle-{self._run.id}", type="model")
            for path in results.bundle:
                artifact.add_file(str(path))
            self._run.log_artifact(artifact)

    def close(self, outcome: Outcome) -> None:
        """End the run; anything but success marks it as failed."""
        self._run.finish(exit_code=0 if outcome == "finished" else 1)
