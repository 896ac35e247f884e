"""Every tensor on either side is accounted for, and what does not fit is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bertwright.errors import WeightsError
from bertwright.nn.encoder import Encoder, EncoderConfig
from bertwright.nn.heads import ClassificationHead
from bertwright.nn.model import Model
from bertwright.weights import checkpoint_files
from bertwright.weights.checkpoint_files import Checkpoint, from_state_dict, open_checkpoint
from bertwright.weights.families import FAMILIES, Family
from bertwright.weights.loading import LoadingReport, export_state, head_is_trained, initialize_weights, load_into

BERT = FAMILIES["bert"]
CONFIG = EncoderConfig(vocab_size=13, width=6, n_layers=2, n_heads=3, ffn_width=7, max_positions=9)


def _model(n_outputs: int = 2, seed: int = 0, head: nn.Module | None = None) -> Model:
    torch.manual_seed(seed)
    return Model(Encoder(CONFIG), head or ClassificationHead(CONFIG.width, n_outputs))


def _state(n_outputs: int = 2, seed: int = 1, family: Family = BERT) -> dict[str, Tensor]:
    """A fine-tuned checkpoint with other values than any model that is loaded into."""
    return export_state(_model(n_outputs, seed), family)


def _load(model: Model, state: dict[str, Tensor], **options: object) -> LoadingReport:
    return load_into(model, from_state_dict(state, "here"), BERT, **options)  # type: ignore[arg-type]


def _same(model: Model, state: dict[str, Tensor]) -> bool:
    exported = export_state(model, BERT)
    return all(torch.equal(exported[name], state[name]) for name in exported)


def test_everything_loaded() -> None:
    model, state = _model(), _state()
    assert not _same(model, state)
    report = _load(model, state)
    assert _same(model, state)
    assert report.counts == {"loaded": len(state), "renamed": 0, "randomly initialized": 0, "ignored": 0}
    assert report.summary() == "41 tensors loaded"
    assert head_is_trained(report)
    assert not report.unknown
    query = next(row for row in report.rows if row.source_name == "bert.encoder.layer.1.attention.self.key.bias")
    assert (query.name, query.shape) == ("encoder.layers.1.attention.qkv.bias", (6,))


def test_query_key_and_value_keep_their_order() -> None:
    model, state = _model(), _state()
    _load(model, state)
    key = state["bert.encoder.layer.0.attention.self.key.weight"]
    assert torch.equal(model.encoder.layers[0].attention.qkv.weight[6:12], key)  # type: ignore[union-attr, index]


def test_export_is_ready_to_save(tmp_path: Path) -> None:
    model = _model()
    for exported in (export_state(model, BERT), export_state(_model().bfloat16(), BERT)):
        assert {tensor.dtype for tensor in exported.values()} == {torch.float32}
        assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in exported.values())
    state = export_state(model, BERT)
    save_file(state, tmp_path / "model.safetensors")
    again = _model(seed=4)
    load_into(again, open_checkpoint(tmp_path), BERT)
    assert _same(again, state)


def test_a_pretrained_checkpoint_leaves_the_output_fresh() -> None:
    model = _model(n_outputs=3)
    state = _state()
    del state["classifier.weight"], state["classifier.bias"]
    state |= {
        "cls.predictions.bias": torch.zeros(13),
        "cls.predictions.transform.LayerNorm.gamma": torch.ones(6),
        "cls.predictions.decoder.weight": torch.zeros(13, 6),
        "cls.seq_relationship.weight": torch.zeros(2, 6),
        "bert.embeddings.position_ids": torch.arange(9).unsqueeze(0),
    }
    report = _load(model, state, generator=torch.Generator().manual_seed(7))
    assert report.counts == {"loaded": 39, "renamed": 0, "randomly initialized": 2, "ignored": 5}
    assert report.summary() == (
        "39 tensors loaded, 2 randomly initialized (head.output.weight, head.output.bias), 5 ignored "
        "(cls.predictions.*: masked-LM head, not used by this task; "
        "cls.seq_relationship.weight: next-sentence head, not used by this task; "
        "bert.embeddings.position_ids: position indices, not a weight)"
    )
    assert not head_is_trained(report)
    fresh = model.head.output
    expected = torch.empty(3, 6).normal_(0, 0.02, generator=torch.Generator().manual_seed(7))
    assert torch.equal(fresh.weight, expected)  # type: ignore[union-attr, arg-type]
    assert not fresh.bias.any()  # type: ignore[union-attr, operator]
    saved = json.loads(json.dumps(report.to_dict()))
    assert saved["counts"]["randomly initialized"] == 2
    assert saved["tensors"][-1]["source_name"] == "bert.embeddings.position_ids"


def test_fresh_weights_follow_the_global_seed_too() -> None:
    state = _state()
    del state["classifier.weight"]
    drawn = []
    for seed in (5, 5, 6):
        model = _model(seed=seed + 100)
        torch.manual_seed(seed)
        _load(model, state)
        drawn.append(model.head.output.weight.clone())  # type: ignore[union-attr, operator]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_missing_pooler_is_fresh_and_said() -> None:
    state = _state()
    del state["bert.pooler.dense.weight"], state["bert.pooler.dense.bias"]
    report = _load(_model(), state)
    assert "2 randomly initialized (head.dense.weight, head.dense.bias)" in report.summary()
    assert not head_is_trained(report), "a trained output layer on a random pooler is no trained head"


def test_a_head_of_another_size_is_left_out() -> None:
    report = _load(_model(n_outputs=2), _state(n_outputs=3))
    assert not head_is_trained(report)
    assert "classifier.weight, classifier.bias: a head with 3 outputs, but this task has 2" in report.summary()
    assert report.counts == {"loaded": 39, "renamed": 0, "randomly initialized": 2, "ignored": 2}


@pytest.mark.parametrize(
    ("spell", "reason"),
    [
        (lambda name: name.removeprefix("bert."), 'prefix "bert." added'),
        (lambda name: "module." + name, 'prefix "module." removed'),
        (
            lambda name: "0.auto_model." + name.removeprefix("bert."),
            'prefix "0.auto_model." removed, prefix "bert." added',
        ),
    ],
)
def test_prefixes(spell: object, reason: str) -> None:
    model, state = _model(), _state()
    report = _load(model, {spell(name): tensor for name, tensor in state.items()})  # type: ignore[operator]
    assert _same(model, state)
    assert report.counts["loaded"] + report.counts["renamed"] == len(state)
    assert reason in {row.reason for row in report.rows}
    assert re.search(rf"renamed: {re.escape(reason)}( \(\d+\)|$)", report.summary(), re.MULTILINE)


def test_the_prefix_where_none_is_due() -> None:
    state = _state()
    report = _load(_model(), {f"bert.{k}" if k.startswith("classifier") else k: v for k, v in state.items()})
    assert report.counts == {"loaded": 39, "renamed": 2, "randomly initialized": 0, "ignored": 0}
    assert report.summary().endswith('2 tensors renamed: prefix "bert." removed')


def test_gamma_and_beta_directly_under_a_layer_norm() -> None:
    model, state = _model(), _state()
    legacy = {}
    for name, tensor in state.items():
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        legacy[old] = tensor
    report = _load(model, legacy)
    assert _same(model, state)
    assert report.counts["renamed"] == 10
    assert "10 tensors renamed: gamma changed to weight (5); beta changed to bias (5)" in report.summary()


@pytest.mark.parametrize(
    "name",
    [
        "bert.gamma_layer.LayerNormX.gamma",
        "bert.encoder.layer.0.output.dense.beta",
        "bert.encoder.layer.0.output.LayerNorm.gamma.extra",
        "bert.encoder.layer.0.output.LayerNorm.gamma_scale",
        "beta",
    ],
)
def test_gamma_and_beta_elsewhere_are_not_renamed(name: str) -> None:
    """Names that merely contain the words are other parameters (transformers #29554, PR #35615)."""
    report = _load(_model(), _state() | {name: torch.ones(6)})
    (row,) = report.unknown
    assert (row.source_name, row.status, row.name) == (name, "ignored", None)


def test_unknown_tensors_stand_out() -> None:
    report = _load(_model(), _state() | {"bert.adapter.up": torch.ones(1), "odd": torch.ones(2)})
    assert report.summary() == "41 tensors loaded\n2 tensors not part of bert, ignored: bert.adapter.up, odd"
    assert report.counts["ignored"] == 2
    many = {f"x{i}": torch.ones(1) for i in range(5)}
    assert "5 tensors not part of bert, ignored: x0, x1, x2, …" in _load(_model(), _state() | many).summary()


def test_one_name_twice() -> None:
    state = _state()
    state["embeddings.LayerNorm.gamma"] = torch.ones(6)
    twice = r"here: bert.embeddings.LayerNorm.weight and embeddings.LayerNorm.gamma both map to bert.embeddings"
    with pytest.raises(WeightsError, match=twice):
        _load(_model(), state)


def test_missing_tensors_of_the_encoder() -> None:
    model, state = _model(), _state()
    before = {name: tensor.clone() for name, tensor in export_state(model, BERT).items()}
    kept = {name: tensor for name, tensor in state.items() if ".layer.1." not in name}
    with pytest.raises(
        WeightsError, match=r"16 tensors of the encoder missing \(bert.encoder.layer.1.\*\); check that"
    ):
        _load(model, kept)
    assert _same(model, before), "nothing is loaded by halves"
    with pytest.raises(WeightsError, match=r"it contains roberta.x; the names look like roberta or xlm-roberta"):
        _load(_model(), {"roberta.x": torch.ones(1)})
    with pytest.raises(WeightsError, match=r"it contains some.name; check model_type in config.json"):
        _load(_model(), {"some.name": torch.ones(1)})


def test_layers_of_a_deeper_encoder() -> None:
    report = _load(_model(), _state() | {"bert.encoder.layer.2.output.dense.bias": torch.ones(6)})
    assert "a layer of a deeper encoder; config.json has 2" in report.summary()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "bert.embeddings.word_embeddings.weight",
            (14, 6),
            r"has shape \(14, 6\), but .* needs \(13, 6\); .*tokenizer",
        ),
        ("bert.embeddings.position_embeddings.weight", (8, 6), "check max_position_embeddings"),
        ("bert.embeddings.token_type_embeddings.weight", (1, 6), "check type_vocab_size"),
        ("bert.pooler.dense.weight", (6, 5), "belong together"),
        ("classifier.weight", (2, 5), r"shape \(2, 5\), but head.output.weight needs \(2, 6\)"),
        ("classifier.weight", (3, 5), r"shape \(3, 5\)"),
        ("classifier.bias", (), r"shape \(\)"),
    ],
)
def test_wrong_shapes(name: str, shape: tuple[int, ...], message: str) -> None:
    model = _model()
    before = {name: tensor.clone() for name, tensor in export_state(model, BERT).items()}
    with pytest.raises(WeightsError, match=f"here: {name} .*{message}"):
        _load(model, _state() | {name: torch.zeros(shape)})
    assert _same(model, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_that_is_said(dtype: torch.dtype) -> None:
    model = _model()
    state = {name: tensor.to(dtype) for name, tensor in _state().items()}
    report = _load(model, state)
    assert _same(model, {name: tensor.float() for name, tensor in state.items()})
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert f"41 tensors converted from {str(dtype).removeprefix('torch.')} to float32" in report.summary()


def test_damaged_values() -> None:
    for bad in (torch.nan, torch.inf, -torch.inf):
        state = _state()
        state["bert.encoder.layer.0.output.dense.weight"][2, 3] = bad
        with pytest.raises(WeightsError, match=r"layer.0.output.dense.weight holds NaN or infinity"):
            _load(_model(), state)
    with pytest.raises(WeightsError, match=r"classifier.bias is of type torch.int64, not a floating-point weight"):
        _load(_model(), _state() | {"classifier.bias": torch.ones(2, dtype=torch.int64)})


def test_large_half_precision_values_are_not_taken_for_infinity() -> None:
    state = {name: torch.full_like(tensor, 6e4).half() for name, tensor in _state().items()}
    assert _load(_model(), state).counts["loaded"] == 41


def test_a_head_of_the_users_own() -> None:
    own = lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 2))  # noqa: E731
    model = _model(head=own())
    made = model.head[1].weight.clone()  # type: ignore[index, operator, union-attr]
    report = _load(model, _state(), head=None)
    assert torch.equal(model.head[1].weight, made)  # type: ignore[index, arg-type]
    assert report.counts == {"loaded": 37, "renamed": 0, "randomly initialized": 4, "ignored": 4}
    assert "bert.pooler.dense.weight, bert.pooler.dense.bias: pooler, not used by this head" in report.summary()
    assert "head of another task" in report.summary()
    assert {row.reason for row in report.rows if row.status == "randomly initialized"} == {
        "not in the checkpoint; set by its constructor"
    }
    assert not head_is_trained(report)
    again = _model(seed=9, head=own())
    report = _load(again, export_state(model, BERT, head=None), head=None)
    assert head_is_trained(report)
    assert torch.equal(again.head[1].weight, made)  # type: ignore[index, arg-type]


def test_tensors_are_read_one_by_one_and_only_if_needed() -> None:
    state = _state() | {"cls.predictions.decoder.weight": torch.zeros(13, 6)}
    inner = from_state_dict(state, "here")
    asked: list[str] = []

    def read(name: str) -> Tensor:
        asked.append(name)
        return state[name]

    load_into(_model(), Checkpoint("here", inner.tensors, read), BERT)
    assert sorted(asked) == sorted(set(state) - {"cls.predictions.decoder.weight"})


def test_initialise() -> None:
    torch.manual_seed(0)
    module = nn.ModuleDict({"dense": nn.Linear(50, 80), "norm": nn.LayerNorm(5), "table": nn.Embedding(90, 50)})
    module["norm"].weight.data.zero_()  # type: ignore[union-attr, operator]
    initialize_weights(module, 0.02)
    assert module["dense"].weight.std().item() == pytest.approx(0.02, rel=0.1)  # type: ignore[union-attr, operator]
    assert module["table"].weight.std().item() == pytest.approx(0.02, rel=0.1)  # type: ignore[union-attr, operator]
    assert not module["dense"].bias.any()  # type: ignore[union-attr, operator]
    assert (module["norm"].weight == 1).all()  # type: ignore[union-attr]


def test_a_file_is_mapped_again_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that were read are freed; the tensors that were read before stay valid."""
    tensors = {f"t{i}": torch.randn(3, 4) for i in range(5)}
    save_file(tensors, tmp_path / "model.safetensors")
    opened: list[str] = []
    real = checkpoint_files.safe_open
    monkeypatch.setattr(checkpoint_files, "safe_open", lambda path, **named: opened.append(path) or real(path, **named))
    monkeypatch.setattr(checkpoint_files, "_MAX_MAPPED", 3 * 4 * 4)
    checkpoint = open_checkpoint(tmp_path)
    loaded = {name: checkpoint.read(name) for name in tensors}
    assert len(opened) == 3  # two tensors are read from each mapping
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)
