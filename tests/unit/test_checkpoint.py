"""Every kind of weights file opens without being read; every kind of damage has its sentence."""

from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bertwright.errors import WeightsError
from bertwright.weights.checkpoint_files import TensorInfo, from_state_dict, open_checkpoint


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {
        "a.weight": torch.randn(3, 5),
        "a.bias": torch.randn(3).to(torch.bfloat16),
        "b.half": torch.randn(2, 2).half(),
        "ids": torch.arange(7).unsqueeze(0),
    }


def _sharded(folder: Path, state: dict[str, Tensor], suffix: str) -> Path:
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    weight_map = {name: f"{stem}-0000{i % 2 + 1}-of-00002.{suffix}" for i, name in enumerate(state)}
    for shard in set(weight_map.values()):
        part = {name: tensor for name, tensor in state.items() if weight_map[name] == shard}
        save_file(part, folder / shard) if suffix == "safetensors" else torch.save(part, folder / shard)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


def _write(folder: Path, state: dict[str, Tensor], kind: str) -> None:
    if kind == "safetensors":
        save_file(state, folder / "model.safetensors")
    elif kind == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    elif kind == "old bin":
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    else:
        _sharded(folder, state, kind.removeprefix("sharded "))


@pytest.mark.parametrize("kind", ["safetensors", "bin", "old bin", "sharded safetensors", "sharded bin"])
def test_names_shapes_types_and_values(tmp_path: Path, state: dict[str, Tensor], kind: str) -> None:
    _write(tmp_path, state, kind)
    checkpoint = open_checkpoint(tmp_path)
    assert dict(checkpoint.tensors) == {name: TensorInfo(tuple(t.shape), t.dtype) for name, t in state.items()}
    assert checkpoint.source.startswith(str(tmp_path))
    for name, tensor in state.items():
        assert checkpoint.tensor(name).dtype == tensor.dtype
        assert torch.equal(checkpoint.tensor(name), tensor)


def test_safetensors_are_preferred_and_whole_files_before_shards(tmp_path: Path) -> None:
    _write(tmp_path, {"worst": torch.ones(1)}, "bin")
    _sharded(tmp_path, {"middle": torch.ones(1)}, "safetensors")
    assert set(open_checkpoint(tmp_path).tensors) == {"middle"}
    _write(tmp_path, {"best": torch.ones(1)}, "safetensors")
    assert set(open_checkpoint(tmp_path).tensors) == {"best"}


def test_a_state_dict_is_a_checkpoint(state: dict[str, Tensor]) -> None:
    checkpoint = from_state_dict(state, "memory")
    assert torch.equal(checkpoint.tensor("a.weight"), state["a.weight"])
    with pytest.raises(WeightsError, match=r"memory: has no tensor 'c'; it has a.weight, a.bias, b.half and 1 more"):
        checkpoint.tensor("c")


def test_only_the_asked_tensor_is_read(tmp_path: Path) -> None:
    """Opening a file whose data lie in a hole of the disk takes no memory and no time."""
    path = tmp_path / "model.safetensors"
    rows = 1 << 28
    header = json.dumps({"big": {"dtype": "F32", "shape": [rows], "data_offsets": [0, 4 * rows]}}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 4 * rows)
    assert open_checkpoint(tmp_path).tensors["big"].shape == (rows,)


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no weights; expected model.safetensors or .* or pytorch_model.bin"):
        open_checkpoint(tmp_path)
    with pytest.raises(WeightsError, match="nowhere: does not exist"):
        open_checkpoint(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(WeightsError, match="is a file; pass its directory"):
        open_checkpoint(tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("flax_model.msgpack", "Flax"),
        ("adapter_model.safetensors", "an adapter without its base model; merge it"),
    ],
)
def test_weights_of_another_kind_are_named(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WeightsError, match=f"only {name} \\({what}"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"])
def test_pointers_and_empty_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")
    with pytest.raises(WeightsError, match=f"{name}: is a Git LFS pointer.*git lfs pull"):
        open_checkpoint(tmp_path)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match=f"{name}: is empty; download it again"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("kind", ["safetensors", "bin", "old bin"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.99])
def test_truncated_files(tmp_path: Path, state: dict[str, Tensor], kind: str, keep: float) -> None:
    _write(tmp_path, state, kind)
    (path,) = tmp_path.iterdir()
    os.truncate(path, max(1, int(path.stat().st_size * keep)))
    with pytest.raises(WeightsError, match=rf"{path.name}: is damaged.*again"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_garbage(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(range(256)) * 9)
    with pytest.raises(WeightsError, match=f"{name}: is damaged"):
        open_checkpoint(tmp_path)


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_code_in_a_pickle_never_runs(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"a": torch.ones(1), "b": _Bomb()}
    path = tmp_path / "pytorch_model.bin"
    torch.save(content, path) if how == "torch" else path.write_bytes(pickle.dumps({"b": _Bomb()}, protocol=2))
    with pytest.raises(
        WeightsError, match=r"contains Python objects other than tensors, which bertwright does not load.*state_dict"
    ):
        open_checkpoint(tmp_path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not tensors by name"),
        ({}, "holds a dict, not tensors by name"),
        ({"epoch": 3}, "'epoch' is a int, not a tensor"),
        ({"state_dict": {"a": torch.ones(1)}}, "'state_dict' is a dict, not a tensor"),
    ],
)
def test_pickles_of_something_else(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=message):
        open_checkpoint(tmp_path)


def test_unknown_type(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4).to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="a is of type F8_E4M3; save the model in float32"):
        open_checkpoint(tmp_path)


def test_unreadable(tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, state, "safetensors")

    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)  # the super-user may read everything, so chmod would not do
    with pytest.raises(WeightsError, match=r"cannot be read \(Permission denied\); check its permissions"):
        open_checkpoint(tmp_path)


def test_missing_and_wrong_shards(tmp_path: Path, state: dict[str, Tensor]) -> None:
    index = _sharded(tmp_path, state, "safetensors")
    second = tmp_path / "model-00002-of-00002.safetensors"
    second.rename(tmp_path / "away")
    with pytest.raises(WeightsError, match=r"1 of 2 shards missing \(model-00002-of-00002.safetensors\)"):
        open_checkpoint(tmp_path)
    save_file({"a.bias": state["a.bias"], "extra": torch.ones(1)}, second)
    with pytest.raises(WeightsError, match=r"00002.safetensors: lacks ids, which model.safetensors.index.json lists"):
        open_checkpoint(tmp_path)
    save_file({"a.bias": state["a.bias"], "ids": state["ids"], "extra": torch.ones(1)}, second)
    assert set(open_checkpoint(tmp_path).tensors) == {*state, "extra"}, "a tensor the index forgot is not lost"
    for text in ("{", "[]", '{"weight_map": {"a": 5}}', '{"metadata": {}}'):
        index.write_text(text)
        with pytest.raises(WeightsError, match="is not an index of shards"):
            open_checkpoint(tmp_path)


def test_shards_stay_in_their_directory(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "secret.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../secret.safetensors"}}')
    with pytest.raises(WeightsError, match="1 of 1 shard missing"):
        open_checkpoint(folder)
