"""``bertwright push``: the uploaded files and the error messages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from worlds import Call, World

from bertwright.run.bundle import Bundle
from bertwright.run.report import Report
from bertwright.tools.publishing import prepare_upload, push_to_hub
from fake_hub import FakeHub, connect, serve

NAME = "jane/tiny"

# huggingface_hub 2.4 uploads in a way that its HTTP library deprecates
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture(autouse=True)
def no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub on which jane has an account, and her token."""
    with serve(FakeHub({}, accounts={"jane"})) as fake:
        connect(monkeypatch, fake.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield fake


def test_the_model_comes_back_from_the_hub(world: World, call: Call, hub: FakeHub) -> None:
    said = call("push", world.labels, NAME, "--yes", "--private")
    assert said.code == 0, said.err
    assert said.out.endswith(f"pushed {hub.url}/{NAME}\n")
    assert "model.safetensors" in said.out
    assert hub.private == {NAME}
    assert "Bearer hf_secret" in hub.tokens
    remote, local = Bundle.load(NAME), Bundle.load(world.labels)
    texts = ["the film was good", "a dull plot"]
    assert remote.predict(texts, quiet=True) == local.predict(texts, quiet=True)
    assert remote.report is not None
    assert local.report is not None
    assert remote.report.metrics == local.report.metrics


def test_paths_of_this_machine_stay_here(world: World, hub: FakeHub, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(world.labels, run)
    (run / "report.html").write_text(f"<p>{world.folder}/reviews.csv</p><p>{tmp_path}/x</p>")
    tokenizer = json.loads((run / "tokenizer_config.json").read_text())
    (run / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"name_or_path": str(world.base)}))
    report = Report.load(run)
    report.model_copy(update={"notes": [f"{world.folder}/reviews.csv:3: a duplicate", "1/2 of 3"]}).save(run)
    assert str(world.folder) in (run / "recipe.yaml").read_text()
    assert push_to_hub(run, NAME) == f"{hub.url}/{NAME}"
    files = hub.models[NAME]
    for name, data in files.items():
        for path in (world.folder, world.base.parent, tmp_path, Path.home(), Path.cwd()):
            assert f"{path}/".encode() not in data or name.endswith((".safetensors", ".png")), name
    assert b"train: reviews.csv\n" in files["recipe.yaml"]
    assert b"base: tiny-bert\n" in files["recipe.yaml"]
    remote, local = Bundle.load(NAME).recipe, Bundle.load(run).recipe
    assert remote is not None
    assert local is not None
    assert remote.replace(data=local.data, model=local.model) == local, "only paths differ"
    assert json.loads(files["tokenizer_config.json"]) == tokenizer | {"name_or_path": "tiny-bert"}
    assert json.loads(files["report.json"])["notes"] == ["reviews.csv:3: a duplicate", "1/2 of 3"]
    assert files["report.html"] == b"<p>reviews.csv</p><p>x</p>"


def test_the_card_shows_the_name_on_the_hub(world: World) -> None:
    card = prepare_upload(world.labels, NAME).files["README.md"]
    assert isinstance(card, bytes)
    assert b'bertwright predict jane/tiny "a text"' in card
    assert b'from_pretrained("jane/tiny")' in card
    assert b"path of this directory" not in card


def test_checkpoints_logs_and_other_files_stay_here(world: World, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(world.labels, run)
    for name in ("checkpoint/state.safetensors", "checkpoints/step-1.safetensors", "wandb/a", "secret.txt", "notes.md"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("x")
    names = set(prepare_upload(run, NAME).files)
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "recipe.yaml", "report.json", "README.md"}
    assert names <= {path.name for path in world.labels.iterdir()} - {"events.jsonl"}


def test_nothing_is_sent_without_confirmation(world: World, call: Call, hub: FakeHub) -> None:
    said = call("push", world.labels, NAME)
    assert said.code == 2
    assert said.err == (
        "error: jane/tiny: uploading needs a confirmation; add --yes, or --dry-run to list the files only.\n"
    )
    dry = call("push", world.labels, NAME, "--dry-run")
    assert (dry.code, dry.err) == (0, "note: --dry-run: nothing was uploaded\n")
    assert dry.out == said.out
    assert not hub.asked


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130)])
def test_the_question(
    answer: str, code: int, world: World, call: Call, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertwright.cli.push.is_interactive", lambda: True)
    said = call("push", world.labels, NAME, stdin=answer)
    assert said.code == code
    assert f"to the new public repository {hub.url}/jane/tiny?" in said.err
    assert bool(hub.models) == (code == 0)


def test_a_public_report_page_with_rows_is_announced(world: World, call: Call, hub: FakeHub, tmp_path: Path) -> None:
    shutil.copytree(world.labels, tmp_path / "run")
    (tmp_path / "run/report.html").write_text("<p></p>")
    warning = "warning: report.html shows rows of your data, and the repository is public\n"
    assert warning in call("push", tmp_path / "run", NAME, "--yes").err
    assert warning not in call("push", tmp_path / "run", "jane/other", "--yes", "--private").err


def test_an_existing_repository(world: World, call: Call, hub: FakeHub) -> None:
    hub.models[NAME] = {"notes.md": b"x", "recipe.yaml": b"old"}
    said = call("push", world.labels, NAME, "--yes", "--private")
    assert (said.code, said.err) == (
        2,
        "error: jane/tiny: this repository exists and is public; remove --private to update it, or choose another "
        "name.\n",
    )
    assert hub.models[NAME]["recipe.yaml"] == b"old"
    assert call("push", world.labels, NAME, "--yes").code == 0
    assert hub.models[NAME]["notes.md"] == b"x"
    assert hub.models[NAME]["recipe.yaml"] != b"old"
    assert not any("repos/create" in line for line in hub.asked)


@pytest.mark.parametrize(
    "name", ["tiny", "", "jane/", "a/b/c", "jane/a b", "../x", "https://hub/jane/tiny", "jane/a--b"]
)
def test_invalid_names(name: str, world: World, call: Call) -> None:
    said = call("push", world.labels, name, "--yes")
    assert said.code == 2
    assert said.err.startswith(f"error: {name or 'repository'}: ")
    assert "use OWNER/NAME with at most 96 letters, digits, - _ and ., for example jane/sst2-minilm" in said.err
    assert said.err.count("\n") == 1


def test_directories_that_are_no_finished_run(world: World, call: Call, tmp_path: Path) -> None:
    def error(path: Path) -> str:
        said = call("push", path, NAME, "--yes")
        assert said.code == 2
        assert said.err.count("\n") == 1
        return said.err

    assert f"{tmp_path / 'x'}: no such directory; name the directory of a finished run." in error(tmp_path / "x")
    assert f"missing); name a run inside it, for example {world.labels.parent / 'multi'}." in error(world.folder)
    assert "(recipe.yaml, report.json missing); name the directory of a finished run." in error(world.base)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(world.labels, unfinished)
    (unfinished / "config.json").unlink()
    assert "this run has not finished; continue it with `bertwright train --resume" in error(unfinished)
    ensemble = tmp_path / "ensemble"
    Bundle.average([Bundle.load(world.labels), Bundle.load(world.labels)]).save(ensemble)
    assert "is an ensemble of several models" in error(ensemble)
    assert "model.safetensors" in prepare_upload(ensemble / "members" / "0", NAME).files


def test_what_the_hub_refuses(world: World, call: Call, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def error(name: str = NAME) -> str:
        said = call("push", world.labels, name, "--yes")
        assert said.code == 2
        assert said.err.count("error: ") == 1, said.err
        assert "hf_secret" not in said.err
        return said.err.splitlines()[-1]

    assert "the token may not write to john; use a token with write access, or a repository" in error("john/tiny")
    hub.refuse = {NAME: (401, "Invalid credentials in Authorization header")}
    assert f"{hub.url} does not accept the token; create another one at {hub.url}/settings/tokens" in error()
    hub.refuse = {"api/repos/create": (500, "maintenance")}
    assert f"{hub.url} answered 500 (maintenance); try again later" in error()
    hub.refuse = {f"{NAME}/commit": (403, "read-only token")}
    assert "the token may not write to jane" in error()
    hub.refuse = {f"{NAME}/preupload": (404, "RepoNotFound")}
    assert "has no such repository or account jane; check the name" in error()
    assert not hub.models[NAME]
    hub.refuse = {}
    connect(monkeypatch, "http://127.0.0.1:9")
    assert "no connection to http://127.0.0.1:9 (" in error()
    monkeypatch.delenv("HF_TOKEN")
    assert "uploading needs a token; create one with write access at http://127.0.0.1:9/settings/tokens" in error()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it." in error()
