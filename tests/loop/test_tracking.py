"""Experiment trackers: what they record, resumed runs, searches, and that none stops or changes a run."""

from __future__ import annotations

import builtins
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertwright.errors import MissingDependencyError
from bertwright.recipe import Recipe
from bertwright.run.bundle import WEIGHTS, Bundle
from bertwright.run.continued_pretraining import continue_pretraining
from bertwright.run.directory import saved_recipe
from bertwright.run.event_log import read_events
from bertwright.run.tracking import listener
from bertwright.run.tracking.spec import TrackedResults, TrackedRun, flatten_recipe
from bertwright.run.train import train
from bertwright.sweep.search import search
from bertwright.sweep.settings import SweepSettings
from conftest import Listener

MakeRecipe = Callable[..., Recipe]

# MLflow's own use of SQLAlchemy
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


VARIABLES = (
    *("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT"),
    *("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow, which takes seconds to create."""
    mlflow = pytest.importorskip("mlflow")
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def local_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Databases and folders of the trackers in the folder of the test; no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb-home"))
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # also undoes what a package sets in the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def client(database: Path, tmp_path: Path) -> Any:
    import mlflow

    shutil.copy(database, tmp_path)
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")


def runs_of(client: Any, experiment: str = "bertwright") -> list[Any]:
    """The runs of an experiment, by name."""
    number = client.get_experiment_by_name(experiment).experiment_id
    return sorted(client.search_runs([number]), key=lambda run: run.info.run_name)


def steps_of(client: Any, run: Any, name: str) -> list[int]:
    return sorted(metric.step for metric in client.get_metric_history(run.info.run_id, name))


def artifacts_of(client: Any, run: Any, folder: str | None = None) -> set[str]:
    return {artifact.path for artifact in client.list_artifacts(run.info.run_id, folder)}


def test_mlflow_records_a_run(recipe: MakeRecipe, client: Any, tmp_path: Path) -> None:
    listening = Listener()
    bundle = train(recipe("train.track=[mlflow]"), "run", quiet=True, listeners=[listening])
    (run,) = runs_of(client)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params["train.batch_size"] == "16"
    assert run.data.params["task.labels"] == '["neg", "pos"]'
    assert run.data.params["train.max_grad_norm"] == "1.0"
    assert run.data.params.keys() == flatten_recipe(saved_recipe(tmp_path / "run")).keys()
    events = list(read_events(tmp_path / "run"))
    losses = {event["step"]: event["loss"] for event in events if event["event"] == "step"}
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert {metric.step: metric.value for metric in history} == losses
    assert len(history) == len(losses)
    evaluated = [event["step"] for event in events if event["event"] == "evaluated"]
    assert steps_of(client, run, "dev/accuracy") == steps_of(client, run, "dev/loss") == evaluated
    assert bundle.report is not None
    assert run.data.metrics["final/dev/accuracy"] == bundle.report.metrics["dev"]["accuracy"]
    assert {"per_label_dev.csv", "report.html", "bundle"} <= artifacts_of(client, run)
    stored = Path(run.info.artifact_uri)
    assert (stored / "per_label_dev.csv").read_text().startswith("label,precision,recall,f1,support,predicted\nneg,")
    loaded = Bundle.load(stored / "bundle")
    assert loaded.predict(["a good film"], quiet=True) == bundle.predict(["a good film"], quiet=True)
    notes = [note.text for note in listening.of("Note")]
    assert f"mlflow: recording as run {run.info.run_id} in sqlite:///{tmp_path}/mlflow.db" in notes


def test_a_resumed_run_continues_the_run_of_the_tracker(recipe: MakeRecipe, client: Any) -> None:
    settings = recipe("train.track=[mlflow]", "train.save_every=2 steps")

    def stop(event: Any) -> None:
        if type(event).__name__ == "Step" and event.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, "run", quiet=True, listeners=[stop])
    (run,) = runs_of(client)
    assert run.info.status == "KILLED"
    assert steps_of(client, run, "train/loss") == [1, 2, 3, 4]
    train(settings, "run", resume=True, quiet=True)
    (resumed,) = runs_of(client)
    assert resumed.info.run_id == run.info.run_id
    assert resumed.info.status == "FINISHED"
    last = max(steps_of(client, resumed, "train/loss"))
    assert steps_of(client, resumed, "train/loss") == list(range(1, last + 1))


def test_a_run_inside_of_a_run_of_the_user(recipe: MakeRecipe, client: Any) -> None:
    import mlflow

    mlflow.set_experiment("mine")
    with mlflow.start_run() as outer:
        train(recipe("train.track=[mlflow]", "train.length=1 step"), "run", quiet=True)
        active = mlflow.active_run()
        assert active is not None
        assert active.info.run_id == outer.info.run_id
    inner = next(run for run in runs_of(client, "mine") if run.info.run_name == "run")
    assert inner.data.tags["mlflow.parentRunId"] == outer.info.run_id


def records_of(file: Path) -> Iterator[Any]:
    """The records of a .wandb file: LevelDB's log format with protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, partial = file.read_bytes(), 7, b""
    while position < len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        partial += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a full record, or its last part
            yield Record.FromString(partial)
            partial = b""


def wait_for_end(file: Path) -> None:
    """Wait until W&B's process has written its last record; it may do so after the run is finished."""
    deadline = time.monotonic() + 60
    while not any(record.HasField("exit") for record in records_of(file)):
        assert time.monotonic() < deadline, "the record of the end is missing"
        time.sleep(0.1)


def history_of(file: Path) -> list[dict[str, Any]]:
    rows = [record.history.item for record in records_of(file) if record.HasField("history")]
    return [{item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in row} for row in rows]


def test_wandb_records_offline_without_a_key_and_without_questions(recipe: MakeRecipe, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    listening = Listener()
    train(recipe("train.track=[wandb]"), "run", quiet=True, listeners=[listening])
    assert not [note for note in listening.of("Note") if note.warning and note.text.startswith("wandb")]
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    wait_for_end(file)
    rows = history_of(file)
    events = list(read_events(tmp_path / "run"))
    losses = {event["step"]: event["loss"] for event in events if event["event"] == "step"}
    assert {row["step"]: row["train/loss"] for row in rows if "train/loss" in row} == losses
    assert any("dev/accuracy" in row for row in rows)
    media = {key: value for row in rows for key, value in row.items() if key.endswith("/_type")}
    assert media == {"per_label_dev/_type": "table-file", "report/_type": "html-file"}
    (start,) = (record.run for record in records_of(file) if record.HasField("run"))
    config = {item.key: json.loads(item.value_json) for item in start.config.update}
    assert config["train.batch_size"] == 16
    assert start.display_name == "run"
    artifacts = [record.artifact for record in records_of(file) if record.HasField("artifact")]
    artifacts += [
        record.request.log_artifact.artifact
        for record in records_of(file)
        if record.HasField("request") and record.request.HasField("log_artifact")
    ]
    contents = {entry.path for artifact in artifacts for entry in artifact.manifest.contents}
    assert {"model.safetensors", "config.json", "recipe.yaml"} <= contents
    note = next(note.text for note in listening.of("Note") if note.text.startswith("wandb: "))
    assert note.startswith("wandb: recording offline in ")
    assert f"upload it with `wandb sync {file.parent.relative_to(tmp_path)}`" in note
    identity = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]["run"]
    assert file.name == f"run-{identity}.wandb"


class BrokenTracker:
    """Fails in one method."""

    has_parent_runs = False

    def __init__(self, method: str) -> None:
        self.identity: dict[str, str] = {}
        self.method = method
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.method:
            raise ValueError("the disk\nis full")

    def start(self, run: TrackedRun) -> str:
        self._call("start")
        return "recording"

    def log(self, values: dict[str, float], step: int) -> None:
        self._call("log")

    def flush(self) -> None:
        self._call("flush")

    def finish(self, results: TrackedResults) -> None:
        self._call("finish")

    def close(self, outcome: str) -> None:
        self._call("close")


@pytest.mark.parametrize("method", ["start", "log", "flush", "finish", "close"])
def test_a_failing_tracker_warns_once_and_changes_nothing(
    method: str, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, listening = BrokenTracker(method), Listener()
    monkeypatch.setattr(listener, "make_tracker", lambda name, setting: tracker)
    train(recipe("train.track=[mlflow]"), "tracked", quiet=True, listeners=[listening])
    warnings = [note.text for note in listening.of("Note") if note.text.startswith("mlflow: recording failed")]
    assert warnings == ["mlflow: recording failed (the disk is full); the run continues without it"]
    assert tracker.calls[-1] == method, "nothing is called after the failure"
    train(recipe(), "plain", quiet=True)
    digests = {hashlib.sha256((tmp_path / run / WEIGHTS).read_bytes()).digest() for run in ("tracked", "plain")}
    assert len(digests) == 1


def test_an_unreachable_server_is_noticed_quickly(recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://jane:secret@127.0.0.1:9")
    listening = Listener()
    bundle = train(recipe("train.track=[mlflow]", "train.length=1 step"), "run", quiet=True, listeners=[listening])
    assert bundle.report is not None
    (warning,) = (note.text for note in listening.of("Note") if note.warning and "mlflow" in note.text)
    assert "recording failed (no connection to http://jane:***@127.0.0.1:9: " in warning
    assert "secret" not in warning


def test_a_server_that_goes_away_stops_the_recording_and_not_the_run(
    recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch, client: Any
) -> None:
    """The run goes on at once: MLflow alone would repeat each request for minutes."""
    from bertwright.run.tracking import mlflow_tracker

    def stop_server(event: Any) -> None:
        if type(event).__name__ == "Step" and event.step == 3:
            gone = ConnectionError("no connection to http://tracking")
            monkeypatch.setattr(mlflow_tracker, "_check_reachable", lambda uri: raise_error(gone))

    listening = Listener()
    train(recipe("train.track=[mlflow]"), "run", quiet=True, listeners=[stop_server, listening])
    warnings = [note.text for note in listening.of("Note") if note.warning and note.text.startswith("mlflow")]
    assert warnings == ["mlflow: recording failed (no connection to http://tracking); the run continues without it"]
    (run,) = runs_of(client)
    assert set(steps_of(client, run, "train/loss")) < {1, 2, 3}


def raise_error(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("name", ["mlflow", "wandb", "tensorboard"])
def test_a_missing_package_is_an_error_before_anything_is_written(
    name: str, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def import_(module: str, *rest: Any) -> Any:
        if module.split(".")[-1] == name or module == name:
            raise ImportError(module)
        return real(module, *rest)

    monkeypatch.setattr(builtins, "__import__", import_)
    message = f"train.track: {name} is not installed; run `pip install 'bertwright\\[{name}\\]'`."
    with pytest.raises(MissingDependencyError, match=message):
        train(recipe(f"train.track=[{name}]"), "run", quiet=True)
    with pytest.raises(MissingDependencyError, match=message):
        search(SweepSettings(recipe=recipe(f"train.track=[{name}]"), vary=("seed=0..1",)), "sweep", quiet=True)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "sweep").exists()


def test_tensorboard_has_tables_too(recipe: MakeRecipe, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(recipe("train.track=[tensorboard]"), "run", quiet=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {"train/loss", "dev/accuracy", "dev/loss", "final/dev/accuracy"} <= set(events.Tags()["scalars"])
    (table,) = events.Tensors("per_label_dev/text_summary")
    text = table.tensor_proto.string_val[0].decode()
    assert text.splitlines()[0] == "| label | precision | recall | f1 | support | predicted |"
    (settings,) = events.Tensors("recipe/text_summary")
    assert "| train.batch_size | 16 |" in settings.tensor_proto.string_val[0].decode()


def test_the_runs_of_a_search_are_grouped(recipe: MakeRecipe, client: Any, tmp_path: Path) -> None:
    settings = SweepSettings(recipe=recipe("train.track=[mlflow]", "train.length=1 epoch"), vary=("seed=0..1",))
    search(settings, "sweep", quiet=True, parallel=2)
    parent, *trials = runs_of(client)
    assert [run.info.run_name for run in (parent, *trials)] == ["sweep", "sweep/0000", "sweep/0001"]
    assert {run.info.status for run in (parent, *trials)} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    assert {run.data.params["seed"] for run in trials} == {"0", "1"}
    assert all("final/dev/accuracy" in run.data.metrics for run in trials)
    assert "bundle" not in artifacts_of(client, trials[0]), "only the best model is stored"
    assert {"leaderboard.csv", "bundle"} <= artifacts_of(client, parent)
    assert "bundle/model.safetensors" in artifacts_of(client, parent, "bundle")


def test_continued_pretraining_is_a_group(recipe: MakeRecipe, client: Any) -> None:
    stage = ("continued_pretraining.train.length=1 step", "continued_pretraining.tokens.max_length=32")
    continue_pretraining(recipe("train.track=[mlflow]", "train.length=1 step", *stage), "chain", quiet=True)
    assert [run.info.run_name for run in runs_of(client)] == ["chain", "chain/further", "chain/tuned", "chain/without"]


def test_parameters_are_flat() -> None:
    flat = flatten_recipe(Recipe())
    assert flat["train.beta2"] == 0.999
    assert flat["train.track"] == "[]"
    assert flat["data.train"] is None
    assert flat["train.length"] == "auto"
    assert all(isinstance(value, str | int | float | bool | None) for value in flat.values())
