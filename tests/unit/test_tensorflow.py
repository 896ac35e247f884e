"""Original TensorFlow checkpoints, without TensorFlow: the format, every kind of damage, names, directories."""

from __future__ import annotations

import json
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bertwright.errors import WeightsError
from bertwright.nn.heads import ClassificationHead
from bertwright.run.bundle import Bundle
from bertwright.tasks.classification import Classification
from bertwright.tools.model_summary import summarize
from bertwright.weights.checkpoint_files import open_checkpoint
from bertwright.weights.hf_config import read_config
from bertwright.weights.masked_lm import open_masked_lm
from bertwright.weights.pretrained import open_pretrained
from bertwright.weights.tf import crc32c as module
from bertwright.weights.tf.checkpoint import find_prefix, read_tensorflow_config
from bertwright.weights.tf.crc32c import DEGREE, LOW, MIDDLE, POLYNOMIAL, crc32c, mask_crc
from bertwright.weights.tf.sstable import read_table, write_table
from bertwright.weights.tf.tensor_bundle import open_bundle, write_bundle
from tiny import TINY, VOCABULARY, make_tiny_bert

CONFIG = {key: value for key, value in TINY.items() if key != "initializer_range"} | {"type_vocab_size": 2}


# --- the checksum


def _bitwise(data: bytes) -> int:
    """CRC-32C from its definition, one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_checksums_of_rfc_3720() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0


def test_the_sparse_polynomial_is_a_multiple() -> None:
    def power(n: int) -> int:
        """x**n modulo P, bit i for x**i."""
        value = 1
        for _ in range(n):
            value <<= 1
            value ^= 0x11EDC6F41 if value >> 32 else 0
        return value

    assert power(DEGREE) == power(MIDDLE) ^ power(LOW) ^ power(0)


def test_long_messages_are_folded_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).integers(0, 256, 30_000, np.uint8).tobytes()
    for n in (DEGREE, DEGREE + 1, DEGREE + 4, DEGREE + 5, 2 * DEGREE, 30_000):
        assert crc32c(data[:n]) == _bitwise(data[:n]), n
    large = np.random.default_rng(1).integers(0, 256, 64 * DEGREE + 5_000, np.uint8)
    whole = crc32c(large)
    assert whole == _bitwise(large.tobytes())
    monkeypatch.setattr(module, "CHUNK", 10_007)
    assert crc32c(large) == whole


def test_the_mask() -> None:
    assert mask_crc(0) == 0xA282EAD8
    assert mask_crc(0x8000) == 0xA282EAD9


# --- tables and bundles


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.binary(max_size=20), st.binary(max_size=40), max_size=60))
def test_tables_there_and_back(entries: dict[bytes, bytes]) -> None:
    assert read_table(write_table(entries), "x") == entries


def test_a_large_table_has_several_blocks() -> None:
    entries = {f"layer_{i:05}/kernel".encode(): bytes([i % 251]) * 200 for i in range(3000)}
    entries[b"\xff\xff"] = b"last"
    table = write_table(entries)
    assert read_table(table, "x") == dict(sorted(entries.items()))
    index = _footer_handles(table)[1]
    assert struct.unpack("<I", table[sum(index) - 4 : sum(index)])[0] == 3, "one restart point for each block"


def test_keys_of_the_index_are_short() -> None:
    entries = {b"apple/1": bytes(300_000), b"cherry/2": b"x", b"cherry/3": b"y"}
    table = write_table(entries)
    assert read_table(table, "x") == entries
    offset, size = _footer_handles(table)[1]
    assert table[offset : offset + size].startswith(b"\x00\x01\x04b"), "above apple, below cherry"
    assert b"\x00\x01\x04d" in table[offset : offset + size], "above all"


def _footer_handles(table: bytes) -> list[tuple[int, int]]:
    numbers, at = [], len(table) - 48
    while len(numbers) < 4:
        value = shift = 0
        while table[at] > 127:
            value, shift, at = value | (table[at] & 127) << shift, shift + 7, at + 1
        numbers.append(value | table[at] << shift)
        at += 1
    return [(numbers[0], numbers[1]), (numbers[2], numbers[3])]


def _state() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return {
        "bert/dense/kernel": torch.randn(7, 3),
        "bert/dense/bias": torch.randn(3).half(),
        "bert/dense/gamma": torch.randn(9).to(torch.bfloat16),
        "double": torch.randn(2, 2, dtype=torch.float64),
        "global_step": torch.tensor(1234),
        "empty": torch.empty(0, 4),
    }


def test_bundles_there_and_back(tmp_path: Path) -> None:
    state = _state()
    write_bundle(tmp_path / "m.ckpt", {**state, "view": state["bert/dense/kernel"].T})
    found = open_bundle(tmp_path / "m.ckpt")
    assert found.source == str(tmp_path / "m.ckpt.index")
    assert set(found.tensors) == {*state, "view"}
    for name, tensor in state.items():
        assert found.tensors[name].shape == tuple(tensor.shape)
        assert found.tensor(name).dtype == found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensor(name), tensor)
    assert torch.equal(found.tensor("view"), state["bert/dense/kernel"].T)


def test_tensors_are_mapped_and_not_read(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m.ckpt", {"big": torch.arange(4_000_000.0), "small": torch.ones(1)})
    tracemalloc.start()
    tensor = open_bundle(tmp_path / "m.ckpt").tensor("small")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tensor.tolist() == [1.0]
    assert peak < 1_000_000


def _handmade(folder: Path, shards: int = 2, compression: int = 0, header: bytes = b"\x08\x02\x1a\x02\x08\x01") -> None:
    """A checkpoint put together from the description of the format, by nothing that the package has.

    Two blocks of three and two keys, restart points every second key, two data files.
    """

    def block(entries: bytes, *restarts: int) -> bytes:
        body = entries + b"".join(struct.pack("<I", at) for at in (*restarts, len(restarts))) + bytes([compression])
        crc = _bitwise(body)
        return body + struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    def crc(data: bytes) -> bytes:
        value = _bitwise(data)
        return struct.pack("<I", (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    a, b = struct.pack("<6f", 1, 2, 3, 4, 5, 6), struct.pack("<2f", -1, 0.5)
    step = struct.pack("<q", 300)
    # dtype 1 (float); shape {dim 2, dim 3}; size 24; crc32c — shard 0 and offset 0 are left out, as proto3 does
    kernel = b"\x08\x01\x12\x08\x12\x02\x08\x02\x12\x02\x08\x03\x28\x18\x35" + crc(a)
    # dtype 1; shape {dim 2}; shard 1; offset 8; size 8; crc32c
    bias = b"\x08\x01\x12\x04\x12\x02\x08\x02\x18\x01\x20\x08\x28\x08\x35" + crc(b)
    # dtype 9 (int64); shape {}; shard 1; size 8; crc32c
    counted = b"\x08\x09\x12\x00\x18\x01\x28\x08\x35" + crc(step)
    head = b"\x00\x00" + bytes([len(header)]) + header
    dense_bias = b"\x00\x0a" + bytes([len(bias)]) + b"dense/bias" + bias
    dense_kernel = b"\x06\x06" + bytes([len(kernel)]) + b"kernel" + kernel  # shares "dense/"
    # header and bias are restart points; the kernel continues the bias
    first = block(head + b"\x00\x0a" + dense_bias[2:] + dense_kernel, 0, len(head))
    global_step = b"\x00\x0b" + bytes([len(counted)]) + b"global_step" + counted
    other = b"\x00\x05" + bytes([len(bias)]) + b"other" + bias
    second = block(global_step + other, 0, len(global_step))
    meta = block(b"", 0)
    at, table = 0, b""
    handles = []
    for part in (first, second, meta):
        handles.append(_leb(at) + _leb(len(part) - 5))
        table, at = table + part, at + len(part)
    index = block(
        b"\x00\x01" + bytes([len(handles[0])]) + b"e" + handles[0]
        + b"\x00\x01" + bytes([len(handles[1])]) + b"p" + handles[1],
        0, 4 + len(handles[0]),
    )  # fmt: skip
    footer = handles[2] + _leb(at) + _leb(len(index) - 5)
    table += index + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.ckpt-300.index").write_bytes(table)
    (folder / f"model.ckpt-300.data-00000-of-0000{shards}").write_bytes(a)
    (folder / f"model.ckpt-300.data-00001-of-0000{shards}").write_bytes(step + b)


def _leb(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _leb(value >> 7)


def test_a_handmade_file_of_two_blocks_and_two_data_files(tmp_path: Path) -> None:
    _handmade(tmp_path)
    found = open_bundle(tmp_path / "model.ckpt-300")
    assert list(found.tensors) == ["dense/bias", "dense/kernel", "global_step", "other"]
    assert found.tensor("dense/kernel").tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found.tensor("dense/bias").tolist() == found.tensor("other").tolist() == [-1, 0.5]
    assert found.tensor("global_step").item() == 300


# --- damage


def test_every_changed_byte_of_an_index_is_noticed(tmp_path: Path) -> None:
    _handmade(tmp_path)
    path = tmp_path / "model.ckpt-300.index"
    whole = path.read_bytes()
    before = {name: open_bundle(tmp_path / "model.ckpt-300").tensor(name).tolist() for name in ("dense/bias", "other")}
    said: list[str] = []
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        try:
            found = open_bundle(tmp_path / "model.ckpt-300")
        except WeightsError as error:
            said.append(str(error))
            continue
        # what is between the handles and the magic number means nothing
        assert len(whole) - 44 < at < len(whole) - 8
        assert {name: found.tensor(name).tolist() for name in before} == before
    assert len(said) > len(whole) - 44
    assert all(line.startswith(str(path)) for line in said)


@pytest.mark.parametrize("keep", [0, 20, 47, 0.3, 0.9, -1])
def test_a_cut_index(tmp_path: Path, keep: float) -> None:
    _handmade(tmp_path)
    path = tmp_path / "model.ckpt-300.index"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(WeightsError, match=r"model\.ckpt-300\.index: is truncated or not the index of a TensorFlow"):
        open_bundle(tmp_path / "model.ckpt-300")


def test_a_damaged_block_says_where(tmp_path: Path) -> None:
    _handmade(tmp_path)
    path = tmp_path / "model.ckpt-300.index"
    whole = bytearray(path.read_bytes())
    whole[20] ^= 1
    path.write_bytes(whole)
    with pytest.raises(
        WeightsError, match=r"is damaged \(the checksum of the block at byte 0 is 0x\w{8}, not 0x\w{8}\)"
    ):
        open_bundle(tmp_path / "model.ckpt-300")


def test_a_changed_value_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m.ckpt", _state())
    path = tmp_path / "m.ckpt.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[open_offset(tmp_path, "bert/dense/kernel") + 5] ^= 4
    path.write_bytes(data)
    found = open_bundle(tmp_path / "m.ckpt")
    assert found.tensor("bert/dense/bias").shape == (3,)
    with pytest.raises(
        WeightsError,
        match=r"m\.ckpt\.data-00000-of-00001: bert/dense/kernel is damaged: its checksum is 0x\w{8}, but m\.ckpt",
    ):
        found.tensor("bert/dense/kernel")


def open_offset(folder: Path, name: str) -> int:
    """Where a tensor begins, told by its bytes."""
    state, data = _state(), (folder / "m.ckpt.data-00000-of-00001").read_bytes()
    return data.index(state[name].numpy().tobytes())


def test_a_cut_data_file(tmp_path: Path) -> None:
    _handmade(tmp_path)
    path = tmp_path / "model.ckpt-300.data-00000-of-00002"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        WeightsError, match=r"00000-of-00002: is truncated: it has 21 bytes, but dense/kernel ends at by"
    ):
        open_bundle(tmp_path / "model.ckpt-300")


def test_a_missing_data_file(tmp_path: Path) -> None:
    _handmade(tmp_path)
    (tmp_path / "model.ckpt-300.data-00001-of-00002").unlink()
    with pytest.raises(WeightsError, match=r"1 of 2 data files missing \(model.ckpt-300.data-00001-of-00002\)"):
        open_bundle(tmp_path / "model.ckpt-300")
    with pytest.raises(WeightsError, match=r"nothing.index: cannot be read \(No such file"):
        open_bundle(tmp_path / "nothing")


@pytest.mark.parametrize(("kind", "word"), [(1, "snappy"), (7, "kind 7")])
def test_compressed_blocks_are_refused(tmp_path: Path, kind: int, word: str) -> None:
    _handmade(tmp_path, compression=kind)
    with pytest.raises(WeightsError, match=rf"its blocks are compressed \({word}\), which TensorFlow's own"):
        open_bundle(tmp_path / "model.ckpt-300")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"\x08\x02\x10\x01", "has big-endian byte order"),
        (b"\x1a\x02\x08\x01", r"is damaged \(its header lacks the number of data files\)"),
        (b"\x08\x02\x1b", r"is damaged \(field 3 of a message is of unknown kind 3\)"),
        (b"\x08\x02\x1a\x09\x01", r"is damaged \(it ends too early\)"),
        (b"\x08" + b"\xff" * 11, r"is damaged \(a number of more than 64 bits\)"),
    ],
)
def test_headers_of_another_kind(tmp_path: Path, header: bytes, message: str) -> None:
    _handmade(tmp_path, header=header)
    with pytest.raises(WeightsError, match=message):
        open_bundle(tmp_path / "model.ckpt-300")


def _with_entry(folder: Path, name: str, value: bytes) -> Path:
    """A checkpoint with one tensor more, whose entry is given."""
    write_bundle(folder / "m.ckpt", _state())
    path = folder / "m.ckpt.index"
    path.write_bytes(write_table(read_table(path.read_bytes(), "x") | {name.encode(): value}))
    return folder / "m.ckpt"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("words", b"\x08\x07\x12\x00\x28\x08", "words has TensorFlow type 7, which is not a weight type"),
        ("part", b"\x08\x01\x12\x00\x28\x04\x3a\x00", "part is partitioned"),
        (
            "long",
            b"\x08\x01\x12\x04\x12\x02\x08\x05\x28\x04",
            r"is damaged \(long of shape \(5,\) takes 4 bytes of data f",
        ),
        (
            "far",
            b"\x08\x01\x12\x00\x18\x03\x28\x04",
            r"is damaged \(far of shape \(\) takes 4 bytes of data file 3, of 1",
        ),
        ("_CHECKPOINTABLE_OBJECT_GRAPH", b"", "is an object-based checkpoint of TensorFlow 2"),
    ],
)
def test_entries_that_cannot_be_read(tmp_path: Path, name: str, value: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        open_bundle(_with_entry(tmp_path, name, value))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (b"\x01\x01\x00a" + b"\0\0\0\0\x01\0\0\0", "a key continues one that is shorter"),
        (b"\x09\0\0\0", "a block of 4 bytes should have 9 restart points"),
        (b"\x00\x09\x00a" + b"\0\0\0\0\x01\0\0\0", "it ends too early"),
    ],
)
def test_blocks_that_make_no_sense(block: bytes, message: str) -> None:
    body = block + b"\0"
    table = body + struct.pack("<I", mask_crc(crc32c(body)))
    table += ((b"\0" + _leb(len(block))) * 2).ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")
    with pytest.raises(WeightsError, match=f"x: is damaged \\({message}"):
        read_table(table, "x")


# --- names and directories


def google(folder: Path, suffix: str = "ForPreTraining", name: str = "bert_model.ckpt", **config: object) -> Path:
    """A directory as google-research/bert has it, of a model with random weights; transformers' beside it.

    The names are spelled out here, and not taken from the table that is tested.
    """
    torch.manual_seed(11)
    theirs = getattr(transformers, f"Bert{suffix}")(transformers.BertConfig(**CONFIG, **config)).eval()
    for parameter in theirs.parameters():  # biases and norms start at 0 and 1, where mistakes do not show
        parameter.data.normal_(0, 0.3)
    state = {}
    for key, tensor in theirs.state_dict().items():
        if "position_ids" in key or "decoder" in key:
            continue
        words = key.replace("encoder.layer.", "encoder.layer_").split(".")
        module_, leaf = words[-2], words[-1]
        tensor = tensor.clone()
        if key == "cls.predictions.bias":
            words = ["cls", "predictions", "output_bias"]
        elif module_ in ("seq_relationship", "classifier", "qa_outputs"):
            above = {"seq_relationship": ["cls", "seq_relationship"], "qa_outputs": ["cls", "squad"]}.get(module_, [])
            words = [*above, f"output_{leaf}".replace("weight", "weights")]
        elif module_ == "LayerNorm":
            words[-1] = {"weight": "gamma", "bias": "beta"}[leaf]
        elif module_.endswith("_embeddings"):
            words.pop()
        elif leaf == "weight":
            words[-1], tensor = "kernel", tensor.T
        state["/".join(words)] = tensor
    slots = {f"{key}/{slot}": torch.zeros(1) for key in state for slot in ("adam_m", "adam_v")}
    folder.mkdir(parents=True, exist_ok=True)
    write_bundle(folder / name, state | (slots if name != "bert_model.ckpt" else {}) | {"global_step": torch.tensor(9)})
    (folder / "bert_config.json").write_text(json.dumps(CONFIG | {"directionality": "bidi"}))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    hf = folder.with_name(folder.name + "-hf")
    theirs.save_pretrained(hf)
    shutil.copy(folder / "vocab.txt", hf)
    return folder


def test_a_directory_opens_like_any_other(tmp_path: Path) -> None:
    folder = google(tmp_path / "uncased")
    hf = open_checkpoint(tmp_path / "uncased-hf")
    found = open_checkpoint(folder)
    for name in hf.tensors:
        assert found.tensors[name] == hf.tensors[name]
        assert torch.equal(found.tensor(name), hf.tensor(name)), name
    assert set(found.tensors) - set(hf.tensors) == {"global_step"}
    assert found.ignored == {"global_step": "optimizer state"}
    assert found.origins["bert.pooler.dense.weight"] == "bert/pooler/dense/kernel"
    config = read_config(folder)
    assert config["architectures"] == ["BertForPreTraining"]
    assert config["model_type"] == "bert"
    base = open_pretrained(folder)
    assert base.tokenizer.backend.normalizer.lowercase
    assert any(note.startswith("the tokenizer lower-cases texts") for note in base.notes)
    assert "2 layers" in summarize(folder).title


def test_whether_case_is_kept_is_told_by_the_vocabulary_or_the_config(tmp_path: Path) -> None:
    folder = google(tmp_path / "cased")
    config = json.loads((folder / "bert_config.json").read_text())
    (folder / "bert_config.json").write_text(json.dumps(config | {"do_lower_case": False}))
    tokenizer = open_pretrained(folder).tokenizer
    assert not tokenizer.backend.normalizer.lowercase
    assert any(note.endswith("check tokenizer_config.json") for note in tokenizer.notes)


def test_the_masked_lm_head_comes_along(tmp_path: Path) -> None:
    folder = google(tmp_path / "uncased")
    ours, theirs = open_masked_lm(folder), open_masked_lm(tmp_path / "uncased-hf")
    for (name, mine), (_, other) in zip(ours.head.state_dict().items(), theirs.head.state_dict().items(), strict=True):
        assert torch.equal(mine, other), name


@pytest.mark.parametrize("labels", [2, 3])
def test_a_fine_tuned_classifier_predicts(tmp_path: Path, labels: int) -> None:
    folder = google(tmp_path / "run", "ForSequenceClassification", "model.ckpt-1234", num_labels=labels)
    bundle = Bundle.load(folder)
    assert bundle.labels == tuple(f"LABEL_{i}" for i in range(labels))
    encodings = bundle.base.tokenizer.encode(["a great film", "not fun !"], max_length=20)
    theirs = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "run-hf").eval()
    with torch.no_grad():
        for row, (start, end) in enumerate(zip(encodings.bounds, encodings.bounds[1:], strict=False)):
            expected = theirs(torch.tensor(encodings.ids[start:end]).long()[None]).logits[0]
            torch.testing.assert_close(torch.tensor(bundle.scores(encodings)[row]), expected, rtol=1e-5, atol=1e-5)
    again = Bundle.load(bundle.save(tmp_path / "saved"))
    assert again.labels == bundle.labels


def test_slots_of_the_optimizer_are_left_out_by_name(tmp_path: Path) -> None:
    folder = google(tmp_path / "run", "ForSequenceClassification", "model.ckpt-7")
    base = open_pretrained(folder)
    task = Classification(labels=("0", "1"))
    _, report = base.model(task.head(base.config, base.style("classification")))
    left = [row for row in report.rows if row.status == "ignored"]
    assert {row.reason for row in left} == {"optimizer state"}
    assert len(left) == 2 * (len(report.rows) - len(left)) + 1
    assert not report.unknown


@pytest.mark.parametrize(
    "name",
    [
        "bert/pooler/dense/bias/adam_m",
        "output_bias/adam_v",
        "bert/pooler/dense/kernel/AdamWeightDecayOptimizer_1",
        "bert/pooler/dense/kernel/LAMB",
        "bert/pooler/dense/kernel/LAMBOptimizer/adam_m",
        "bert/pooler/dense/kernel/lamb_v",
        "bert/pooler/dense/kernel/Adam_1",
        "beta1_power",
        "global_step",
        "loss_scale",
        "good_steps",
    ],
)
def test_what_optimizers_leave(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "m.ckpt", {name: torch.ones(1)})
    assert open_checkpoint(tmp_path).ignored == {name: "optimizer state"}


def test_squad_checkpoints_answer_questions(tmp_path: Path) -> None:
    folder = google(tmp_path / "squad", "ForQuestionAnswering", "model.ckpt-99")
    assert read_config(folder)["architectures"] == ["BertForQuestionAnswering"]
    bundle = Bundle.load(folder)
    theirs = Bundle.load(tmp_path / "squad-hf")
    question = ("was the film fun", "it is a great plot. the film is dull.")
    assert bundle.predict([question])[0].spans == theirs.predict([question])[0].spans != ()


def test_of_several_checkpoints_the_newest_is_taken(tmp_path: Path) -> None:
    folder = google(tmp_path / "run", "ForSequenceClassification", "model.ckpt-1000")
    shutil.copy(folder / "model.ckpt-1000.index", folder / "model.ckpt-2000.index")
    with pytest.raises(
        WeightsError,
        match=r"contains 2 TensorFlow checkpoints \(model.ckpt-1000, model.ckpt-2000\).*`checkpoint`.*missing;",
    ):
        open_checkpoint(folder)
    state = folder / "checkpoint"
    state.write_text(
        'model_checkpoint_path: "/data/run/model.ckpt-1000"\nall_model_checkpoint_paths: "model.ckpt-2000"\n'
    )
    assert find_prefix(folder) == folder / "model.ckpt-1000"
    assert Bundle.load(folder).labels
    state.write_text('model_checkpoint_path: "model.ckpt-3000"\n')
    with pytest.raises(WeightsError, match=r'should name one, names "model.ckpt-3000"; copy'):
        open_checkpoint(folder)
    state.write_text("\n")
    with pytest.raises(WeightsError, match="names none; copy"):
        open_checkpoint(folder)


def test_pytorch_files_come_first(tmp_path: Path) -> None:
    folder = make_tiny_bert(tmp_path / "both")
    write_bundle(folder / "bert_model.ckpt", {"x": torch.ones(1)})
    (folder / "bert_config.json").write_text("{}")
    assert "x" not in open_checkpoint(folder).tensors
    assert read_config(folder)["hidden_size"] == 24


def test_a_config_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bert_config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"contains bert_config.json but no bert_model.ckpt.index"):
        read_config(tmp_path)
    write_bundle(tmp_path / "bert_model.ckpt", {"x": torch.ones(1)})
    with pytest.raises(WeightsError, match=r"bert_config.json: cannot be read \(Expecting property"):
        read_config(tmp_path)
    (tmp_path / "bert_config.json").write_text("[]")
    with pytest.raises(WeightsError, match=r"expected a JSON object, found a list"):
        read_tensorflow_config(tmp_path)


def test_a_pointer_for_an_index(tmp_path: Path) -> None:
    (tmp_path / "m.ckpt.index").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")
    with pytest.raises(WeightsError, match=r"m.ckpt.index: is a Git LFS pointer"):
        open_checkpoint(tmp_path)


def test_half_precision_is_converted_and_told(tmp_path: Path) -> None:
    folder = google(tmp_path / "uncased")
    whole = open_bundle(folder / "bert_model.ckpt")
    half = {name: whole.tensor(name).to(torch.bfloat16) for name in whole.tensors if name != "global_step"}
    write_bundle(folder / "bert_model.ckpt", half)
    base = open_pretrained(folder)
    model, report = base.model(ClassificationHead(base.config.width, 2))
    assert "converted from bfloat16 to float32" in report.summary()
    assert torch.equal(model.encoder.embeddings.word.weight, half["bert/embeddings/word_embeddings"].float())


@pytest.mark.real
def test_the_index_of_a_real_checkpoint(real_data: Path, tmp_path: Path) -> None:
    """chinese_L-12_H-768_A-12 as Google published it, without its 400 MB of values."""
    folder = real_data / "tf_checkpoint_index"
    path = folder / "bert_model.ckpt.index"
    table = read_table(path.read_bytes(), str(path))
    assert len(table) == 207
    assert write_table(table) == path.read_bytes(), "our writer gives TensorFlow's own bytes"
    with pytest.raises(WeightsError, match=r"1 of 1 data file missing \(bert_model.ckpt.data-00000-of-00001\)"):
        open_checkpoint(folder)

    shutil.copytree(folder, tmp_path / "copy")
    with (tmp_path / "copy" / "bert_model.ckpt.data-00000-of-00001").open("wb") as file:
        file.truncate(412_000_000)  # a hole in the file, of about the right size
    found = open_checkpoint(tmp_path / "copy")
    assert len(found.tensors) == 206
    assert found.ignored == {}
    assert found.tensors["bert.embeddings.word_embeddings.weight"].shape == (21128, 768)
    assert found.tensors["bert.encoder.layer.11.intermediate.dense.weight"].shape == (3072, 768)
    assert found.tensors["cls.predictions.bias"].shape == (21128,)
    assert found.tensors["cls.seq_relationship.weight"].shape == (2, 768)
    assert all("/" not in name for name in found.tensors)
    assert read_config(tmp_path / "copy")["architectures"] == ["BertForPreTraining"]
    assert open_pretrained(tmp_path / "copy").config.n_layers == 12
    with pytest.raises(WeightsError, match="bert/pooler/dense/bias is damaged: its checksum is"):
        found.tensor("bert.pooler.dense.bias")
