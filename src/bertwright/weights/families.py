"""Encoder families: tensor names, configuration keys, defaults and published heads of each.

A new variant of BERT is one more entry in :data:`FAMILIES`. Names and keys are those of transformers' checkpoints and
``config.json`` files, the common format of the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

NameMap = Mapping[str, str | tuple[str, ...]]
"""Module name in bertwright → in transformers; several if bertwright concatenates them along axis 0; {n} is a layer."""


@dataclass(frozen=True, slots=True)
class HeadOutputs:
    """What the outputs of a head mean.

    Attributes:
        number: of the outputs; None for one per label.
        description: a sentence about this number.
        has_problem_type: whether ``config.json`` may name a problem type for it.
    """

    number: int | None = None
    description: str = ""
    has_problem_type: bool = False


TEXT_LABELS = HeadOutputs(has_problem_type=True)
TOKEN_LABELS = HeadOutputs()
START_AND_END = HeadOutputs(2, "question answering has 2 outputs, start and end")
CHOICE_SCORE = HeadOutputs(1, "multiple choice has 1 output, the score of a choice")


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """A head as a family published it.

    Attributes:
        architecture: what follows the family's name in transformers' class.
        names: our module name → theirs, both without ``.weight`` and ``.bias``; theirs with the prefix.
        dropout_keys: where ``config.json`` keeps the rate; the first that is set counts; none: no dropout.
        activation: between the two dense layers, where there are two.
        dropout_before: whether the first dense layer's input is dropped out too.
        outputs: what they mean; None for a head whose outputs are the vocabulary.
    """

    architecture: str
    names: Mapping[str, str]
    dropout_keys: tuple[str, ...]
    activation: str = ""
    dropout_before: bool = False
    outputs: HeadOutputs | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """Everything in which one family of encoders differs from another.

    Attributes:
        model_type: its name in ``config.json``.
        class_name: what transformers' class names begin with.
        prefix: what the names of the encoder's tensors begin with in a model that has a head.
        names: the encoder's modules, without prefix.
        keys: field of :class:`~bertwright.nn.encoder.EncoderConfig` → key in ``config.json``.
        defaults: values where ``config.json`` leaves an optional key out, as transformers has them, by key.
        fixed: fields that ``config.json`` does not speak of.
        heads: the published heads by the name of their task.
        pooler: the dense layer that was pre-trained on the first token together with the encoder; "" if there is none.
        position_after_pad: whether the first token's position is pad_id + 1 (RoBERTa), not 0.
    """

    model_type: str
    class_name: str
    prefix: str
    names: NameMap
    keys: Mapping[str, str]
    defaults: Mapping[str, Any]
    fixed: Mapping[str, Any]
    heads: Mapping[str, PublishedHead]
    pooler: str = ""
    position_after_pad: bool = False

    def hf_names(self, name: str, head: str | None = "classification") -> tuple[str, ...]:
        """Return the names in a checkpoint, with prefix, of a parameter; empty if the family has none.

        A custom head (None) shares only the pooler, ``head.pooler``, with the family.

        >>> FAMILIES["bert"].hf_names("encoder.layers.3.up.weight")
        ('bert.encoder.layer.3.intermediate.dense.weight',)
        """
        module, _, kind = name.rpartition(".")
        if kind not in ("weight", "bias"):
            return ()  # not in transformers, such as an adapter
        if module.startswith("encoder."):
            number = re.search(r"^encoder\.layers\.(\d+)\.", module)
            key = module.removeprefix("encoder.")
            key = key if number is None else re.sub(r"^layers\.\d+", "layers.{n}", key)
            names = self.names.get(key, ())
            parts = (names,) if isinstance(names, str) else names
            n = number[1] if number else ""
            return tuple(f"{self.prefix}.{part.format(n=n)}.{kind}" for part in parts)
        named = (self.pooler if module == "head.pooler" else "") if head is None else self.heads[head].names.get(module)
        return (f"{named}.{kind}",) if named else ()

    def head_dropout(self, config: Mapping[str, Any], head: str = "classification") -> float:
        """Return the dropout rate of the head in ``config.json``."""
        keys = self.heads[head].dropout_keys
        for key in keys:
            if (rate := config.get(key)) is not None:
                return float(rate)
        return float(self.defaults[keys[-1]]) if keys else 0.0


_LAYER = "encoder.layer.{n}"
_BERT_NAMES: NameMap = {
    "embeddings.word": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.segment": "embeddings.token_type_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
    "layers.{n}.attention.qkv": tuple(f"{_LAYER}.attention.self.{part}" for part in ("query", "key", "value")),
    "layers.{n}.attention.output": f"{_LAYER}.attention.output.dense",
    "layers.{n}.attention_norm": f"{_LAYER}.attention.output.LayerNorm",
    "layers.{n}.up": f"{_LAYER}.intermediate.dense",
    "layers.{n}.down": f"{_LAYER}.output.dense",
    "layers.{n}.output_norm": f"{_LAYER}.output.LayerNorm",
}
_BERT_KEYS = {
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "ffn_width": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "n_types": "type_vocab_size",
    "activation": "hidden_act",
    "norm_eps": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "pad_id": "pad_token_id",
    "initializer_range": "initializer_range",
}
_BERT_DEFAULTS = {
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "pad_token_id": 0,
    "initializer_range": 0.02,
}
_BERT_DROPOUT = ("classifier_dropout", "hidden_dropout_prob")
_TWO_LAYERS = {"head.dense": "classifier.dense", "head.output": "classifier.out_proj"}
_TOKEN_HEADS = {
    "tagging": PublishedHead(
        "ForTokenClassification", {"head.output": "classifier"}, _BERT_DROPOUT, outputs=TOKEN_LABELS
    ),
    "qa": PublishedHead("ForQuestionAnswering", {"head.output": "qa_outputs"}, (), outputs=START_AND_END),
}
_POOLED = {"head.dense": "bert.pooler.dense", "head.output": "classifier"}
_BERT_WORDS = {
    "head.dense": "cls.predictions.transform.dense",
    "head.norm": "cls.predictions.transform.LayerNorm",
    "head": "cls.predictions",
    "head.pooler": "bert.pooler.dense",
}


def _language(dense: str, norm: str, bias: str, activation: str = "") -> PublishedHead:
    """Build a masked-LM head from the names of its dense layer, its LayerNorm and the module with the output bias."""
    return PublishedHead("ForMaskedLM", {"head.dense": dense, "head.norm": norm, "head": bias}, (), activation)


def _choice(dense: str, activation: str, dropout_key: str) -> PublishedHead:
    """A head that gives every choice of a question one score: its first dense layer, and where its rate is."""
    names = {"head.dense": dense, "head.output": "classifier"}
    return PublishedHead("ForMultipleChoice", names, (dropout_key,), activation, outputs=CHOICE_SCORE)


def _classifier(
    names: Mapping[str, str], activation: str, before: bool = False, keys: tuple[str, ...] = _BERT_DROPOUT
) -> PublishedHead:
    return PublishedHead("ForSequenceClassification", names, keys, activation, before, outputs=TEXT_LABELS)


_BERT = Family(
    model_type="bert",
    class_name="Bert",
    prefix="bert",
    names=_BERT_NAMES,
    keys=_BERT_KEYS,
    defaults=_BERT_DEFAULTS,
    fixed={},
    heads={
        "classification": _classifier(_POOLED, "tanh"),
        "multiple_choice": PublishedHead("ForMultipleChoice", _POOLED, _BERT_DROPOUT, "tanh", outputs=CHOICE_SCORE),
        **_TOKEN_HEADS,
        "masked_lm": PublishedHead("ForMaskedLM", _BERT_WORDS, ()),
        "pretraining": PublishedHead("ForPreTraining", {**_BERT_WORDS, "head.next": "cls.seq_relationship"}, ()),
    },
    pooler="bert.pooler.dense",
)
_ROBERTA = replace(
    _BERT,
    pooler="",
    model_type="roberta",
    class_name="Roberta",
    prefix="roberta",
    defaults=_BERT_DEFAULTS | {"pad_token_id": 1},
    heads={
        "classification": _classifier(_TWO_LAYERS, "tanh", before=True),
        "multiple_choice": _choice("roberta.pooler.dense", "tanh", "hidden_dropout_prob"),
        **_TOKEN_HEADS,
        "masked_lm": _language("lm_head.dense", "lm_head.layer_norm", "lm_head", "gelu"),
    },
    position_after_pad=True,
)
_DISTILBERT = Family(
    model_type="distilbert",
    class_name="DistilBert",
    prefix="distilbert",
    names={
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "layers.{n}.attention.qkv": tuple(f"transformer.layer.{{n}}.attention.{part}_lin" for part in "qkv"),
        "layers.{n}.attention.output": "transformer.layer.{n}.attention.out_lin",
        "layers.{n}.attention_norm": "transformer.layer.{n}.sa_layer_norm",
        "layers.{n}.up": "transformer.layer.{n}.ffn.lin1",
        "layers.{n}.down": "transformer.layer.{n}.ffn.lin2",
        "layers.{n}.output_norm": "transformer.layer.{n}.output_layer_norm",
    },
    keys={
        "vocab_size": "vocab_size",
        "width": "dim",
        "n_layers": "n_layers",
        "n_heads": "n_heads",
        "ffn_width": "hidden_dim",
        "max_positions": "max_position_embeddings",
        "activation": "activation",
        "dropout": "dropout",
        "attention_dropout": "attention_dropout",
        "pad_id": "pad_token_id",
        "initializer_range": "initializer_range",
    },
    defaults={
        "activation": "gelu",
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "qa_dropout": 0.1,
        "pad_token_id": 0,
        "initializer_range": 0.02,
    },
    fixed={"n_types": 0, "norm_eps": 1e-12, "dropout_after_attention": False},
    heads={
        "classification": _classifier(
            {"head.dense": "pre_classifier", "head.output": "classifier"}, "relu", keys=("seq_classif_dropout",)
        ),
        "multiple_choice": _choice("pre_classifier", "relu", "seq_classif_dropout"),
        "tagging": PublishedHead(
            "ForTokenClassification", {"head.output": "classifier"}, ("dropout",), outputs=TOKEN_LABELS
        ),
        "qa": PublishedHead(
            "ForQuestionAnswering", {"head.output": "qa_outputs"}, ("qa_dropout",), outputs=START_AND_END
        ),
        "masked_lm": _language("vocab_transform", "vocab_layer_norm", "vocab_projector"),
    },
)
_ELECTRA = replace(
    _BERT,
    pooler="",
    model_type="electra",
    class_name="Electra",
    prefix="electra",
    names={**_BERT_NAMES, "embeddings.project": "embeddings_project"},
    keys=_BERT_KEYS | {"embedding_width": "embedding_size"},
    defaults=_BERT_DEFAULTS | {"summary_last_dropout": 0.1},
    heads={
        "classification": _classifier(_TWO_LAYERS, "gelu", before=True),
        "multiple_choice": _choice("sequence_summary.summary", "gelu", "summary_last_dropout"),
        **_TOKEN_HEADS,
        "masked_lm": _language(
            "generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head", "gelu"
        ),
    },
)

_DATA2VEC = replace(
    _ROBERTA,
    model_type="data2vec-text",
    class_name="Data2VecText",
    prefix="data2vec_text",
    heads={
        **_ROBERTA.heads,
        "multiple_choice": _choice("data2vec_text.pooler.dense", "tanh", "hidden_dropout_prob"),
    },
)

FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        _BERT,
        _ROBERTA,
        replace(_ROBERTA, model_type="xlm-roberta", class_name="XLMRoberta"),
        replace(_ROBERTA, model_type="camembert", class_name="Camembert"),
        _DATA2VEC,
        _DISTILBERT,
        _ELECTRA,
    )
}
"""The families by the ``model_type`` in ``config.json``."""
