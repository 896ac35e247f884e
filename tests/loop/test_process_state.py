"""A training leaves its process as it was, and two at once are refused before anything is written."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bertwright.errors import TrainingError
from bertwright.recipe import Recipe
from bertwright.run.continued_pretraining import train_further
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
    assert refused[0].startswith("train: another thread of this process is training, and both would draw from torch's")
    assert refused[0].endswith("wait until it has ended, or start a process for each run.")
    assert not (tmp_path / "second").exists()
    train(short, tmp_path / "second")
    assert digest(tmp_path / "second") == digest(tmp_path / "alone")


def test_a_chain_is_refused_before_it_writes_anything(recipe: Make, tmp_path: Path) -> None:
    chain = Recipe.model_validate(recipe().model_dump() | {"continued_pretraining": {"train": {"length": "1 step"}}})
    refused: list[str] = []

    def run_chain_in_thread() -> None:
        try:
            train_further(chain, tmp_path / "chain", quiet=True)
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
    assert machine.restore_allocator() is False
