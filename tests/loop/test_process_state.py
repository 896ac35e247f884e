"""A training leaves its process as it was, and two at once are refused before anything is written."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bertwright.errors import TrainingError
from bertwright.recipe import Recipe
from bertwright.run.bundle import Bundle
from bertwright.run.continued_pretraining import continue_pretraining
from bertwright.run.train import train
from bertwright.training import compute as machine
from bertwright.training.loop import Step
from bertwright.training.process_state import reserve_process

Make = Callable[..., Recipe]


def digest(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def test_random_states_and_threads_are_the_callers(recipe: Make, tmp_path: Path) -> None:
    torch.manual_seed(123)
    np.random.seed(4)  # the global state is what must not change
    random.seed(5)
    threads = torch.get_num_threads()
    states = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()
    train(recipe("train.length=3 steps", f"train.threads={threads + 1}"), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert repr(np.random.get_state()) == states[1]
    assert random.getstate() == states[2]
    assert torch.get_num_threads() == threads


REPORT_STATE = """
import json, locale, logging, os, random, resource, signal, sys
from pathlib import Path
import numpy as np, torch
from bertwright.run.bundle import Bundle
from bertwright.run.train import train
from bertwright.recipe import load_recipe
from bertwright.tokenization.threads import pool

def state():
    mask = os.umask(0)
    os.umask(mask)
    return {
        "umask": mask,
        "signal handlers": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads(), pool.threads],
        "random states": [torch.get_rng_state().tolist(), str(np.random.get_state()), str(random.getstate())],
        "gradients": [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")],
        "environment": dict(os.environ),
        "directory and path": [os.getcwd(), sys.path],
        "limits": [resource.getrlimit(limit) for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)],
        "locale and log": [locale.setlocale(locale.LC_ALL), str(logging.root.handlers), logging.root.level],
        "hooks": [str(sys.excepthook), str(sys.displayhook)],
    }

def allocator_calls():
    # glibc cannot report its settings, so the calls that change them are counted
    import bertwright.training.compute as compute
    calls = []
    compute._set_thresholds = lambda *thresholds: calls.append(thresholds) or False
    return calls

action, run, data = sys.argv[1:]
calls = allocator_calls()
if action == "train":
    recipe = load_recipe(Path(run) / "recipe.yaml")
before = state()
if action == "train":
    train(recipe, Path(run).with_name("again"), quiet=True)
else:
    bundle = Bundle.load(run)
    bundle.predict(["good", "bad"] * 40, quiet=True)
    bundle.evaluate(Path(data), quiet=True)
after = state()
changed = [name for name in before if json.dumps(before[name]) != json.dumps(after[name])]
print(json.dumps({"changed": changed, "allocator": len(calls)}))
"""


@pytest.mark.parametrize("action", ["predict", "train"])
def test_library_calls_leave_the_process_as_it_was(action: str, recipe: Make, reviews: Path, tmp_path: Path) -> None:
    """Prediction and evaluation change nothing; training restores what it changes."""
    train(recipe("train.length=3 steps", "train.threads=1"), tmp_path / "run", quiet=True)
    done = subprocess.run(
        [sys.executable, "-c", REPORT_STATE, action, str(tmp_path / "run"), str(reviews)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "3"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"changed": [], "allocator": 0 if action == "predict" else 2}


def test_predicting_in_a_thread_of_a_server(recipe: Make, reviews: Path, tmp_path: Path) -> None:
    train(recipe("train.length=3 steps"), tmp_path / "run", quiet=True)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    threads, state, results = torch.get_num_threads(), torch.get_rng_state(), []

    def serve() -> None:
        bundle = Bundle.load(tmp_path / "run")
        results.append((bundle.predict(["good"], quiet=True)[0].label, bundle.evaluate(reviews, quiet=True).metrics))

    servers = [threading.Thread(target=serve) for _ in range(2)]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert len(results) == 2
    assert results[0] == results[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_failed_training_leaves_them_too(recipe: Make, tmp_path: Path) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()

    def fail(event: object) -> None:
        if isinstance(event, Step):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(recipe(f"train.threads={threads + 1}"), tmp_path / "run", listeners=[fail])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    train(recipe("train.length=1 step"), tmp_path / "next")


def test_trainings_in_threads_give_the_same_weights_or_are_refused(recipe: Make, tmp_path: Path) -> None:
    short = recipe("train.length=6 steps")
    train(short, tmp_path / "alone")
    started, release = threading.Event(), threading.Event()
    refused: list[str] = []

    def pause(event: object) -> None:
        if isinstance(event, Step) and event.step == 3:
            started.set()
            assert release.wait(60)

    def run_second(name: str) -> None:
        try:
            train(short, tmp_path / name)
        except TrainingError as error:
            refused.append(str(error))

    first = threading.Thread(target=train, args=(short, tmp_path / "first"), kwargs={"listeners": [pause]})
    first.start()
    assert started.wait(60)
    others = [threading.Thread(target=run_second, args=(name,)) for name in ("second", "third")]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join()
    release.set()
    first.join()
    assert digest(tmp_path / "first") == digest(tmp_path / "alone")
    assert len(refused) == 2
    assert refused[0].startswith("train: another thread of this process is training, and both would use torch's")
    assert refused[0].endswith("wait until it has finished, or start one process for each run.")
    assert not (tmp_path / "second").exists()
    train(short, tmp_path / "second")
    assert digest(tmp_path / "second") == digest(tmp_path / "alone")


def test_a_chain_is_refused_before_it_writes_anything(recipe: Make, tmp_path: Path) -> None:
    chain = Recipe.model_validate(recipe().model_dump() | {"continued_pretraining": {"train": {"length": "1 step"}}})
    refused: list[str] = []

    def run_chain_in_thread() -> None:
        try:
            continue_pretraining(chain, tmp_path / "chain", quiet=True)
        except TrainingError as error:
            refused.append(str(error))

    with reserve_process():
        thread = threading.Thread(target=run_chain_in_thread)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert not (tmp_path / "chain").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072"),
    ],
)
def test_a_users_allocator_settings_stay(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for variable in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: pytest.fail("the allocator was changed"))
    monkeypatch.setenv(name, value)
    assert machine.keep_freed_memory() is False
    with machine.reuse_freed_memory():
        pass
