"""Names become directories; what cannot be had is said at once, with the way out. No test leaves this machine."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from bertwright.errors import HubError
from bertwright.recipe import load_recipe
from bertwright.run.bundle import RECIPE, REPORT, Bundle
from bertwright.run.train import train
from bertwright.weights import hub
from bertwright.weights.hub import locate_model
from fake_hub import SHA, FakeHub, connect, serve

MODEL = {"config.json": b'{"model_type": "bert"}', "vocab.txt": b"[PAD]\n", "model.safetensors": b"weights"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no network, no token, an empty working directory."""
    folder = tmp_path / "cache"
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serve(FakeHub({"org/tiny": dict(MODEL)})) as fake:
        connect(monkeypatch, fake.url)
        yield fake


def _cached(cache: Path, name: str, files: dict[str, bytes], revision: str = "main") -> Path:
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / SHA
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / revision).write_text(SHA)
    for file, data in files.items():
        (snapshot / file).write_bytes(data)
    return snapshot


def test_a_directory_wins(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _cached(cache, "org/tiny", MODEL)
    Path("org/tiny").mkdir(parents=True)
    assert locate_model("org/tiny") == Path("org/tiny")
    assert locate_model(Path("org/tiny").resolve()) == Path.cwd() / "org/tiny"
    monkeypatch.setenv("HOME", str(Path.cwd()))
    assert locate_model("~/org") == Path.cwd() / "org"
    with pytest.raises(HubError, match="org/tiny: is a directory, which has no revision 'v1'"):
        locate_model("org/tiny", "v1")


def test_a_file_or_nothing_is_not_a_model() -> None:
    with pytest.raises(HubError, match="the name is empty"):
        locate_model("")
    Path("model.safetensors").write_bytes(b"x")
    with pytest.raises(HubError, match=r"model.safetensors: is a file; pass its directory"):
        locate_model("model.safetensors")


@pytest.mark.parametrize("name", ["./runs/sst3", "runs/x/sst3", "/nowhere/sst3", "~/sst3", "a b/c", "runs\\sst3"])
def test_paths_that_do_not_exist_never_ask_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("runs/sst2").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(Path.cwd()))
    with pytest.raises(HubError, match=r"no such directory; (in|.* holds no directories)"):
        locate_model(name)


def test_the_nearest_directory_is_proposed() -> None:
    Path("runs/sst2").mkdir(parents=True)
    with pytest.raises(HubError, match=r'./runs/sst3: no such directory; in runs: did you mean "sst2"'):
        locate_model("./runs/sst3")
    with pytest.raises(HubError, match=r'in \.: did you mean "runs"'):
        locate_model("./rums/sst2/deeper")
    with pytest.raises(HubError, match=r'does not contain it.* pass its path \(in .*runs: did you mean "sst2"\?\)'):
        locate_model("runs/sst22")
    with pytest.raises(HubError, match="runs/sst2 has no subdirectories"):
        locate_model("./runs/sst2/x")


def test_offline_and_not_cached(cache: Path) -> None:
    with pytest.raises(HubError) as error:
        locate_model("org/tiny", "v1")
    assert str(error.value) == (
        f"org/tiny: HF_HUB_OFFLINE is set, and the cache {cache} does not contain it; unset it, or run "
        "`hf download org/tiny --revision v1` on a machine with network, copy the directory and pass its path."
    )


def test_offline_and_cached(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    snapshot = _cached(cache, "org/tiny", MODEL)
    assert locate_model("org/tiny") == snapshot
    assert locate_model("org/tiny", SHA) == snapshot, "a commit needs no reference"
    assert not caplog.records, "whoever set HF_HUB_OFFLINE knows"
    with pytest.raises(HubError, match="--revision v2"):
        locate_model("org/tiny", "v2")


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("bert-base-uncased", "google-bert/bert-base-uncased"),
        ("google-bert/bert-base-uncased", "bert-base-uncased"),
        ("roberta-base", "FacebookAI/roberta-base"),
        ("distilbert-base-uncased", "distilbert/distilbert-base-uncased"),
        ("camembert-base", "almanach/camembert-base"),
        ("tiny", "tiny"),
    ],
)
def test_models_of_the_first_days_are_found_under_either_name(name: str, stored: str, cache: Path) -> None:
    snapshot = _cached(cache, stored, MODEL)
    assert locate_model(name) == snapshot


def test_an_organisation_of_its_own_is_never_mixed_up(cache: Path) -> None:
    _cached(cache, "someone/bert-base-uncased", MODEL)
    for name in ("bert-base-uncased", "google-bert/bert-base-uncased"):
        with pytest.raises(HubError, match="does not contain it"):
            locate_model(name)


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({"config.json": b"{}"}, "the weights"),
        ({"model.safetensors": b"x"}, "config.json"),
        (
            {
                "config.json": b"{}",
                "model.safetensors.index.json": b'{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}',
                "one.safetensors": b"x",
            },
            "two.safetensors",
        ),
        ({"config.json": b"{}", "model.safetensors.index.json": b"{"}, "model.safetensors.index.json"),
    ],
)
def test_a_cached_copy_that_is_not_whole(files: dict[str, bytes], missing: str, cache: Path) -> None:
    snapshot = _cached(cache, "org/tiny", files)
    with pytest.raises(HubError, match=rf"\({snapshot} lacks {missing}\); "):
        locate_model("org/tiny")


def test_download_brings_what_is_needed_and_only_that(fake: FakeHub, cache: Path) -> None:
    fake.models["org/tiny"] |= {
        "pytorch_model.bin": b"the same again",
        "tf_model.h5": b"x",
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{}",
        "sentencepiece.bpe.model": b"x",
        "README.md": b"x",
        "onnx/model.onnx": b"x",
        "checkpoint-5/config.json": b"x",
    }
    folder = locate_model("org/tiny")
    brought = {"config.json", "vocab.txt", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in folder.iterdir()} == brought | {"sentencepiece.bpe.model"}
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert folder.is_relative_to(cache)
    assert fake.tokens == {None}


def test_every_file_that_a_local_bundle_has_is_downloaded(fake: FakeHub, tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n" + "good film,pos\nbad plot,neg\n" * 8)
    pairs = [f"model.base={tiny_bert}", f"data.train={tmp_path / 'rows.csv'}", "train.length=1 step"]
    train(load_recipe(None, [*pairs, "tokens.max_length=17", "data.normalize.lowercase=true"]), tmp_path / "run")
    fake.models["org/run"] = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    local, remote = Bundle.load(tmp_path / "run"), Bundle.load("org/run")
    assert remote.tokens.max_length == 17
    assert (remote.recipe, remote.report, remote.tokens) == (local.recipe, local.report, local.tokens)
    assert {RECIPE, REPORT} == set(hub.BUNDLE_FILES)


def test_a_cached_snapshot_without_recipe_and_report_is_completed(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.models["org/tiny"] |= {"recipe.yaml": b"seed: 3", "report.json": b"{}", "README.md": b"x"}
    with monkeypatch.context() as patch:
        patch.setattr(hub, "BUNDLE_FILES", ())  # as earlier versions downloaded a bundle
        before = locate_model("org/tiny")
    assert not (before / "recipe.yaml").exists()
    fake.asked.clear()
    assert locate_model("org/tiny") == before
    assert fake.downloads() == {"recipe.yaml", "report.json"}
    assert (before / "recipe.yaml").read_bytes() == b"seed: 3"


def test_the_second_time_nothing_is_downloaded(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = locate_model("org/tiny")
    fake.asked.clear()
    assert locate_model("org/tiny") == first
    assert not fake.downloads()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fake.asked.clear()
    assert locate_model("org/tiny") == first
    assert not fake.asked


def test_older_and_sharded_formats(fake: FakeHub) -> None:
    fake.models["org/old"] = {"config.json": b"{}", "pytorch_model.bin": b"x", "rust_model.ot": b"x"}
    assert {path.name for path in locate_model("org/old").iterdir()} == {"config.json", "pytorch_model.bin"}
    shards = {f"model-0000{i}-of-00002.safetensors": b"x" for i in (1, 2)}
    fake.models["org/big"] = {
        "config.json": b"{}",
        "model.safetensors.index.json": json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}).encode(),
        "pytorch_model-00001-of-00001.bin": b"x",
        **shards,
    }
    found = {path.name for path in locate_model("org/big").iterdir()}
    assert found == {"config.json", "model.safetensors.index.json", *shards}


def test_a_name_that_moved_is_cached_once(fake: FakeHub, cache: Path) -> None:
    fake.models["google-bert/bert-tiny"] = dict(MODEL)
    fake.moved["bert-tiny"] = "google-bert/bert-tiny"
    folder = locate_model("bert-tiny")
    assert folder.parent.parent.name == "models--google-bert--bert-tiny"
    assert [path.name for path in cache.glob("models--*")] == ["models--google-bert--bert-tiny"]


def test_revisions(fake: FakeHub) -> None:
    assert locate_model("org/tiny", SHA).name == SHA
    with pytest.raises(HubError, match=r"org/tiny: has no revision 'v9', .*; see http://.*/org/tiny/branches"):
        locate_model("org/tiny", "v9")


def test_the_token_is_the_environments(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    locate_model("org/tiny")
    assert fake.tokens == {"Bearer hf_secret"}
    with pytest.raises(HubError, match="check the spelling, the current token may not read it") as error:
        locate_model("org/other")
    assert "hf_secret" not in str(error.value)


def test_what_the_hub_refuses(fake: FakeHub) -> None:
    with pytest.raises(HubError, match=r"org/tiny2: does not exist on http.*, or is private, .*set HF_TOKEN if it is"):
        locate_model("org/tiny2")
    fake.refuse["org/gated"] = (403, "GatedRepo")
    with pytest.raises(
        HubError, match=r"org/gated: is gated, .*; request access at http.*/org/gated, then set HF_TOKEN"
    ):
        locate_model("org/gated")
    fake.refuse["org/down"] = (500, "")
    with pytest.raises(HubError, match=r"org/down: cannot be downloaded: http.* answered 500, .*; try again later"):
        locate_model("org/down")
    fake.models["org/empty"] = {"README.md": b"x", "config.json": b"{}", "tf_model.h5": b"x"}
    with pytest.raises(HubError, match=r"org/empty: the Hub repository has no model.safetensors or pytorch_model.bin"):
        locate_model("org/empty")
    fake.models["org/bare"] = {"model.safetensors": b"x"}
    with pytest.raises(HubError, match=r"org/bare: the Hub repository has no config.json"):
        locate_model("org/bare")
    with pytest.raises(HubError, match="a--b: neither a directory nor a Hub name"):
        locate_model("a--b")


def test_a_cached_copy_serves_when_the_hub_does_not_and_that_is_said(
    fake: FakeHub, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = locate_model("org/tiny")
    fake.refuse["org/tiny"] = (503, "")
    with caplog.at_level(logging.WARNING, hub.__name__):
        assert locate_model("org/tiny") == folder
    assert "answered 503; using the copy in the cache" in caplog.text


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_no_connection(monkeypatch: pytest.MonkeyPatch, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    connect(monkeypatch, f"http://127.0.0.1:{_free_port()}")
    start = time.monotonic()
    with pytest.raises(
        HubError, match=r"org/tiny: cannot be downloaded: no connection to http.*; check the network, or run"
    ):
        locate_model("org/tiny")
    assert time.monotonic() - start < 2
    snapshot = _cached(cache, "org/tiny", MODEL)
    assert locate_model("org/tiny") == snapshot
    assert "using the copy in the cache" in caplog.text


def test_a_silent_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HUB_TIMEOUT_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        connect(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(HubError, match=r"no connection to http.*timed out"):
            locate_model("org/tiny")
        assert time.monotonic() - start < 2


def test_a_place_that_cannot_be_written(fake: FakeHub, cache: Path) -> None:
    cache.write_bytes(b"a file where the cache should be")
    with pytest.raises(HubError, match=r"org/tiny: cannot be stored \(.*cache.*\), .*set HF_HOME"):
        locate_model("org/tiny")


def test_as_a_user_has_it(fake: FakeHub, tmp_path: Path) -> None:
    """In a process of its own, with nothing but the usual variables."""
    code = "from bertwright.weights.hub import locate_model; print(locate_model('org/tiny'))"
    home = tmp_path / "home"
    env = os.environ | {"HF_ENDPOINT": fake.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    folder = Path(ran.stdout.strip())
    assert folder.is_relative_to(home)
    assert (folder / "config.json").read_bytes() == MODEL["config.json"]
