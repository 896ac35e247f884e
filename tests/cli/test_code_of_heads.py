"""Heads that are code, ``module:name``: no command imports them, or a file lying about, unless the user allows it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import SMALL, Call

from bertwright import Bundle, SweepSettings, continue_pretraining, load_recipe, search, summarize
from bertwright.errors import RecipeError
from bertwright.nn.custom_heads import check_code_allowed
from bertwright.run.train import train

MODULE = """
from pathlib import Path

Path({marker!r}).write_text("ran")
import torch
from bertwright.nn.heads import first_tokens


class Wide(torch.nn.Module):
    def __init__(self, config, n_outputs):
        super().__init__()
        self.output = torch.nn.Linear(config.width, n_outputs)

    def forward(self, hidden, layout):
        return self.output(first_tokens(hidden, layout))
"""
STEPS = ("train.length=2 steps", *SMALL)
ALLOWED = "--allow-code"


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module that leaves a file when it is imported."""
    marker = tmp_path / "marker"
    (tmp_path / "heads_lying_about.py").write_text(MODULE.format(marker=str(marker)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    yield marker
    sys.modules.pop("heads_lying_about", None)


@pytest.fixture
def bundle(tiny_bert: Path, reviews: Path, tmp_path: Path, marker: Path, call: Call) -> Path:
    """A bundle whose head is that module's."""
    shared = ("--model", tiny_bert, "--data", reviews, "--out", "run", "model.head=heads_lying_about:Wide", *STEPS)
    refused = call("train", *shared)
    assert refused.code == 2
    assert "model.head: the head heads_lying_about:Wide is Python code" in refused.err
    assert not marker.exists()
    assert not Path("run").exists()
    trained = call("train", *shared, ALLOWED)
    assert trained.code == 0, trained.err
    assert marker.exists()
    marker.unlink()
    del sys.modules["heads_lying_about"]
    return tmp_path / "run"


def test_no_command_runs_the_code_of_a_bundle(
    bundle: Path, marker: Path, reviews: Path, call: Call, tmp_path: Path
) -> None:
    shutil.copytree("run", "copy")
    commands = (
        ("predict", "run", "a film"),
        ("evaluate", "run", "--data", reviews),
        ("inspect", "run"),
        ("compare", "run", "copy", "--data", reviews),
    )
    for command in commands:
        refused = call(*command)
        assert refused.code == 2, command
        text = re.sub(r"\s+", "", refused.err)
        assert "run/recipe.yaml:model.head:theheadheads_lying_about:WideisPythoncode" in text
        assert f"wouldimportheads_lying_about({tmp_path}/heads_lying_about.py)andcallWide" in text
        assert "add--allow-code(inPython:allow_code=True)" in text
        assert not marker.exists(), command
    converted = call("convert", "run", "converted")
    assert converted.code == 0, converted.err
    assert not marker.exists()
    for command in commands:
        allowed = call(*command, ALLOWED)
        assert allowed.code == 0, allowed.err
    assert marker.exists()
    with pytest.raises(RecipeError, match="--allow-code"):
        summarize(bundle)
    with pytest.raises(RecipeError, match="--allow-code"):
        Bundle.load(bundle)
    assert Bundle.load(bundle, allow_code=True).predict("a film")


def test_training_from_a_bundle_takes_no_code_of_it(bundle: Path, marker: Path, reviews: Path, call: Call) -> None:
    trained = call("train", "--model", bundle, "--data", reviews, "--out", "next", *STEPS)
    assert trained.code == 0, trained.err
    assert not marker.exists()


def test_a_module_in_the_bundle_is_not_imported_from_there(
    bundle: Path, marker: Path, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("heads_lying_about.py").rename(bundle / "heads_lying_about.py")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    refused = call("predict", bundle, "a film")
    assert refused.code == 2
    assert "not found: neither installed nor in the working directory" in re.sub(r"\s+", " ", refused.err)
    assert call("predict", bundle, "a film", ALLOWED).code == 2
    assert not marker.exists()


def test_every_kind_of_training_asks_first(tiny_bert: Path, reviews: Path, tmp_path: Path, marker: Path) -> None:
    pairs = [f"model.base={tiny_bert}", f"data.train={reviews}", "model.head=heads_lying_about:Wide"]
    recipe = load_recipe(None, pairs)
    with pytest.raises(RecipeError, match="--allow-code"):
        train(recipe, "run")
    with pytest.raises(RecipeError, match="--allow-code"):
        search(SweepSettings(recipe=recipe, vary=["seed=0,1"]), "sweep")
    varied = load_recipe(None, pairs[:2])
    with pytest.raises(RecipeError, match="--allow-code"):
        search(SweepSettings(recipe=varied, vary=["model.head=null,heads_lying_about:Wide"]), "sweep")
    further = load_recipe(None, [*pairs, "continued_pretraining.train.length=1 step"])
    with pytest.raises(RecipeError, match="--allow-code"):
        continue_pretraining(further, "chain")
    assert not marker.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heads_lying_about.py", "reviews.csv"]


@pytest.mark.parametrize(
    ("head", "origin"),
    [("os:system", r"os.py|frozen"), ("sys:exit", "built"), ("json.tool:main", "json"), ("absent.one:X", "not found")],
)
def test_installed_modules_are_code_too(head: str, origin: str) -> None:
    with pytest.raises(RecipeError, match=rf"would import {head.partition(':')[0]} \([^)]*({origin})"):
        check_code_allowed(head, allow_code=False)
    check_code_allowed(head, allow_code=True)
    check_code_allowed("given", allow_code=False)
    check_code_allowed(None, allow_code=False)


HOSTILE = "open({marker!r}, 'a').write(__name__ + ' ')\nraise RuntimeError('hostile')\n"
NAMES = ("yaml", "secrets", "torch", "numpy", "json", "typing", "bertwright", "pydantic", "sitecustomize")


@pytest.mark.parametrize("lured", [False, True], ids=["plain", "working directory on PYTHONPATH"])
def test_nothing_in_the_working_directory_replaces_a_library_of_a_sweep(
    tiny_bert: Path, reviews: Path, tmp_path: Path, lured: bool
) -> None:
    place, marker = tmp_path / "place", tmp_path / "marker"
    place.mkdir()
    names = [name for name in NAMES if not lured or name in ("yaml", "secrets", "numpy", "pydantic")]
    for name in names:
        (place / f"{name}.py").write_text(HOSTILE.format(marker=str(marker)), encoding="utf-8")
    start = (
        "import sys, os; sys.argv[0] = 'bertwright'; "
        "sys.path[:] = [p for p in sys.path if os.path.realpath(p or '.') != os.getcwd()]; "
        "from bertwright.cli import main; main()"
    )
    command = [sys.executable, "-P", "-c", start, "sweep", "--model", tiny_bert, "--data", reviews, "--out", "out"]
    command += ["seed=0,1", *STEPS]
    environment = dict(os.environ)
    if lured:
        environment["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(place)])
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not marker.exists(), marker.read_text()
    assert (place / "out" / "best" / "config.json").exists()


def test_python_m_leaves_the_working_directory_out(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for name in ("yaml", "secrets", "typer", "rich", "torch", "numpy"):
        (tmp_path / f"{name}.py").write_text(HOSTILE.format(marker=str(marker)), encoding="utf-8")
    command = [sys.executable, "-m", "bertwright", "recipe", "list"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not marker.exists()
    assert "sst2" in done.stdout


BROKEN = {
    "imports": "raise ValueError('no luck')",
    "signature": "import torch\n\nclass Wide(torch.nn.Module):\n    def __init__(self):\n        super().__init__()",
    "forward": MODULE.format(marker=os.devnull).replace("hidden, layout):", "hidden):"),
    "late": MODULE.format(marker=os.devnull).replace(
        "        return self", "        if self.training:\n            raise KeyError('later')\n        return self"
    ),
}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("imports", "importing broken_imports raised ValueError in .*broken_imports.py, line 1: no luck; fix the head"),
        ("signature", r"broken_signature:Wide\(config, n_outputs\) raised TypeError.*fix the head"),
        ("forward", r"Wide\.forward\(hidden, layout\) raised TypeError.*fix the head"),
        ("late", r"Wide\.forward\(hidden, layout\) raised KeyError in .*broken_late\.py, line \d+: 'later'; fix"),
    ],
)
def test_a_head_that_raises(
    kind: str, text: str, tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"broken_{kind}.py").write_text(BROKEN[kind], encoding="utf-8")
    head = f"model.head=broken_{kind}:Wide"
    shared = ("--model", tiny_bert, "--data", reviews, "--out", tmp_path / "run", *STEPS)
    refused = call("train", *shared, head, ALLOWED)
    sys.modules.pop(f"broken_{kind}", None)
    assert refused.code == 2, refused.err
    assert re.search(text, re.sub(r"\s+", " ", refused.err)), refused.err
