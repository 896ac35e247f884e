"""Keys, data processors and models of Cerebras Model Zoo's BERT files, and why some keys are not mapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_HARDWARE = "configures Cerebras hardware"
_LOADER = "bertwright encodes rows once and needs no loader processes"
_BATCHING = "bertwright does not pad sequences"
_LOSS_SCALE = "loss scaling is for float16, which bertwright does not use"
_TOKENIZER = "the tokenizer sets it"
_ATTENTION = "bertwright uses scaled dot-product attention, as in BERT"
_LOSS_WEIGHTS = "losses are means over the predicted tokens or sentences, so they need no weights"
_LOGGED = "bertwright logs every step to DIR/events.jsonl; --tensorboard writes scalars"

NOT_APPLICABLE: Final[Mapping[tuple[str, str], str]] = {
    **{("input", name): _LOADER for name in ("num_workers", "prefetch_factor", "persistent_workers", "shuffle_buffer")},
    **{("input", name): _BATCHING for name in ("labels_pad_id", "input_pad_id", "attn_mask_pad_id", "segment_pad_id")},
    ("input", "pad_first"): _BATCHING,
    ("input", "buckets"): "bertwright does not pad sequences, so it needs no buckets",
    ("input", "use_multiple_workers"): _LOADER,
    ("input", "shuffle_seed"): "the key seed sets all random numbers of a run",
    ("input", "repeat"): "train.length sets the training length",
    ("input", "is_training"): "the data splits set which rows are used for training",
    ("input", "mixed_precision"): "train.precision sets it",
    ("input", "vocab_size"): _TOKENIZER,
    ("input", "disable_nsp"): "the file's model.disable_nsp sets it",
    ("input", "gather_mlm_labels"): "bertwright decodes only masked tokens",
    ("input", "dynamic_mlm_scale"): "the loss is the mean over the masked tokens",
    ("input", "max_predictions_per_seq"): "task.mlm_probability sets the number of masked tokens, without a maximum",
    ("input", "oov_token"): _TOKENIZER,
    ("input", "mask_token"): _TOKENIZER,
    ("input", "document_separator_token"): _TOKENIZER,
    ("input", "exclude_from_masking"): "bertwright never masks special tokens",
    ("input", "micro_batch_size"): "train.max_tokens sets how a batch is split",
    ("input", "num_micro_batches"): "train.max_tokens sets how a batch is split",
    **{
        ("input", name): "applies to pre-training only"
        for name in ("masked_lm_prob", "mask_whole_word", "whole_word_masking")
    },
    ("model", "disable_nsp"): "applies to pre-training only",
    ("model", "is_mnli_dataset"): "data.format sets it",
    ("model", "to_float16"): "train.precision sets it",
    ("model", "attention_softmax_fp32"): "bertwright always computes the softmax in float32",
    ("model", "attention_kernel"): _HARDWARE,
    ("model", "allow_multireplica"): _HARDWARE,
    ("model", "mlm_loss_weight"): _LOSS_WEIGHTS,
    ("model", "loss_weight"): _LOSS_WEIGHTS,
    ("model", "include_padding_in_loss"): _BATCHING,
    ("model", "label_vocab_file"): "labels come from the data or task.labels",
    ("optimizer", "loss_scaling_factor"): _LOSS_SCALE,
    **{
        ("optimizer", name): _LOSS_SCALE
        for name in ("initial_loss_scale", "steps_per_increase", "min_loss_scale", "max_loss_scale")
    },
    ("optimizer", "log_summaries"): _LOGGED,
    ("optimizer", "ws_summary"): _LOGGED,
    ("optimizer", "log_loss_scale"): _LOGGED,
    ("optimizer", "log_grads"): _LOGGED,
    ("optimizer", "precision_opt_level"): _HARDWARE,
    ("runconfig", "log_steps"): _LOGGED,
    ("runconfig", "save_losses"): _LOGGED,
    ("runconfig", "enable_summaries"): _LOGGED,
    ("runconfig", "save_summary_steps"): _LOGGED,
    ("runconfig", "summary_dir"): _LOGGED,
    ("runconfig", "show_debug_metrics"): _LOGGED,
    ("runconfig", "logging"): _LOGGED,
    ("runconfig", "log_level"): _LOGGED,
    ("runconfig", "wsc_log_level"): _HARDWARE,
    ("runconfig", "log_input_summaries"): _LOGGED,
    ("runconfig", "log_initialization"): _LOGGED,
    ("runconfig", "check_loss_values"): "a loss that is not finite always stops the run",
    ("runconfig", "mode"): "the command sets it: train or evaluate",
    ("runconfig", "model_dir"): "`bertwright train --out DIR` sets it",
    ("runconfig", "save_initial_checkpoint"): "the initial weights are those of model.base",
    ("runconfig", "autoload_last_checkpoint"): "`bertwright train --resume --out DIR` resumes a run",
    ("runconfig", "checkpoint_name"): "checkpoints have names such as step-000500.safetensors",
    ("runconfig", "save_stream_size"): _HARDWARE,
    ("runconfig", "sync_batchnorm"): "BERT has no BatchNorm",
    ("runconfig", "enable_distributed"): "training runs in one process",
    ("runconfig", "steps_per_epoch"): "an epoch contains every row once",
    **{
        ("runconfig", name): _HARDWARE
        for name in (
            *("autogen_policy", "compile_dir", "compile_only", "validate_only", "credentials_path", "debug_args_path"),
            *("dist_addr", "dist_backend", "init_method", "main_process_id", "drop_data", "execution_strategy"),
            *("experimental_api", "job_labels", "job_time_sec", "job_priority", "mgmt_address", "mgmt_namespace"),
            *("mount_dirs", "multireplica", "num_act_servers", "num_csx", "num_replicas", "num_wgt_servers"),
            *("num_workers_per_csx", "python_paths", "service_dir", "target_device", "transfer_processes", "variant"),
            *("use_appliance_data", "use_cs_grad_accum", "use_cstorch_optimizer_step", "disable_version_check"),
            *("skip_train_recv_activations", "micro_batch_size", "max_wgt_servers", "max_act_per_csx"),
        )
    },
    ("init", "callbacks"): "settings replace them, such as train.patience and train.keep_checkpoints",
    ("init", "loggers"): _LOGGED,
    ("init", "device"): "train.device sets it",
    ("init", "backend"): _HARDWARE,
}
"""Keys that have no effect in bertwright, and the reason; ``input`` is train_input or eval_input."""

UNSUPPORTED: Final[Mapping[tuple[str, str], str]] = {
    ("optimizer", "max_gradient_value"): "bertwright clips gradients by norm only: train.max_grad_norm",
    ("optimizer", "amsgrad"): "bertwright's AdamW has no AMSGrad variant",
    ("optimizer", "momentum"): "bertwright's only optimizer is AdamW",
    ("optimizer", "use_nesterov"): "bertwright's only optimizer is AdamW",
    ("model", "position_embedding_type"): "position embeddings are learned, as in BERT",
    ("model", "attention_module"): _ATTENTION,
    ("model", "attention_type"): _ATTENTION,
    ("model", "extra_attention_params"): _ATTENTION,
    ("model", "share_embedding_weights"): "the masked-LM decoder shares the word embeddings",
    ("model", "use_projection_bias_in_attention"): "attention layers have biases, as in BERT",
    ("model", "use_ffn_bias_in_attention"): "attention layers have biases, as in BERT",
    ("model", "use_ffn_bias"): "feed-forward layers have biases, as in BERT",
    ("model", "use_ffn_bias_in_mlm"): "the masked-LM head has biases, as in BERT",
    ("model", "use_output_bias_in_mlm"): "the masked-LM head has biases, as in BERT",
    ("model", "label_smoothing"): "the masked-LM loss has no label smoothing",
    ("model", "num_segments"): "the model has two segments, as in BERT",
    ("model", "mlm_nonlinearity"): "the masked-LM head uses the encoder's activation",
    ("model", "mask_padding_in_positional_embed"): "positions start at 0, as in BERT; use a RoBERTa model otherwise",
    ("model", "enable_vts"): _BATCHING,
    **{
        ("model", name): "bertwright has no muP scaling"
        for name in (
            *("mup_base_hidden_size", "mup_base_filter_size", "embeddings_scale", "output_logits_alpha"),
            *("attention_logits_alpha", "scale_qk_dot_by_d", "scale_output_logits_by_d"),
        )
    },
    ("init", "sparsity"): "bertwright trains dense weights only",
}
"""Keys without an equivalent in bertwright, and what bertwright does instead."""

EQUIVALENT_VALUES: Final[Mapping[tuple[str, str], tuple[object, ...]]] = {
    ("optimizer", "max_gradient_value"): (0, 0.0, None),
    ("optimizer", "amsgrad"): (False,),
    ("optimizer", "momentum"): (0, 0.0),
    ("optimizer", "use_nesterov"): (False,),
    ("model", "position_embedding_type"): ("learned",),
    ("model", "attention_module"): ("aiayn_attention",),
    ("model", "attention_type"): ("scaled_dot_product",),
    ("model", "extra_attention_params"): ({}, None),
    ("model", "share_embedding_weights"): (True,),
    ("model", "use_projection_bias_in_attention"): (True,),
    ("model", "use_ffn_bias_in_attention"): (True,),
    ("model", "use_ffn_bias"): (True,),
    ("model", "use_ffn_bias_in_mlm"): (True,),
    ("model", "use_output_bias_in_mlm"): (True,),
    ("model", "label_smoothing"): (0, 0.0),
    ("model", "num_segments"): (2, None),
    ("model", "mlm_nonlinearity"): ("gelu", None),
    ("model", "mask_padding_in_positional_embed"): (False,),
    ("model", "enable_vts"): (False,),
    ("init", "sparsity"): (None, {}),
}
"""Values of unsupported keys that describe what bertwright does."""


@dataclass(frozen=True, slots=True)
class ModelZooTask:
    """A task of the Model Zoo.

    Attributes:
        kind: the value of ``task.kind``.
        text_files: settings that name text files, for tasks whose data files contain tokens; "" for other tasks.
        pretrains: whether the task is pre-training.
        cuts_windows: whether Model Zoo's scripts split long texts into windows.
        keeps_case: whether texts are not lower-cased.
        problem_type: the value of ``problem_type`` that selects this task; "" if there is none.
        follows_problem_type: whether ``problem_type`` may select another task.
        averages_f1: whether F1 is a micro average.
        head_dropout: whether the head has dropout.
        head_pools: whether the head uses the output of the pooler.
    """

    kind: str
    text_files: str = ""
    pretrains: bool = False
    cuts_windows: bool = False
    keeps_case: bool = False
    problem_type: str = ""
    follows_problem_type: bool = False
    averages_f1: bool = False
    head_dropout: bool = True
    head_pools: bool = True


CLASSIFICATION: Final = ModelZooTask("classification", follows_problem_type=True, averages_f1=True)
MULTILABEL: Final = ModelZooTask("multilabel", problem_type="multi_label_classification")
REGRESSION: Final = ModelZooTask("regression", problem_type="regression")
TAGGING: Final = ModelZooTask("tagging", "data.train=train.txt data.dev=dev.txt", keeps_case=True, head_pools=False)
QUESTION_ANSWERING: Final = ModelZooTask(
    "qa",
    "data.train=train-v1.1.json data.dev=dev-v1.1.json",
    cuts_windows=True,
    keeps_case=True,
    head_dropout=False,
)
PRETRAINING: Final = ModelZooTask(
    "pretraining", "data.train=corpus.txt data.dev=held_out.txt", pretrains=True, head_dropout=False
)

PROCESSORS: Final[Mapping[str, tuple[ModelZooTask, str | None]]] = {
    "SST2DataProcessor": (CLASSIFICATION, "sst2"),
    "MNLIDataProcessor": (CLASSIFICATION, "mnli"),
    "BertQADataProcessor": (QUESTION_ANSWERING, None),
    "BertTokenClassifierDataProcessor": (TAGGING, None),
    "BertCSVDataProcessor": (PRETRAINING, None),
    "BertCSVDynamicMaskDataProcessor": (PRETRAINING, None),
    "BertHDF5DataProcessor": (PRETRAINING, None),
}
"""Data processors: the task and the value of ``data.format``, if any."""

MODELS: Final[Mapping[str, ModelZooTask]] = {
    "bert": PRETRAINING,
    "bert/classifier": CLASSIFICATION,
    "bert/token_classifier": TAGGING,
    "bert/question_answering": QUESTION_ANSWERING,
    "bert/qa": QUESTION_ANSWERING,
}
"""Model names of the trainer form: the task."""

PROBLEMS: Final = (REGRESSION, MULTILABEL)
"""Tasks that ``problem_type`` selects instead of classification."""

SHAPES: Final[Mapping[tuple[int, int], str]] = {
    (2, 128): "tiny",
    (4, 256): "mini",
    (4, 512): "small",
    (8, 512): "medium",
    (12, 768): "base",
    (24, 1024): "large",
}
"""Sizes of google-research/bert by (layers, width); they have width / 64 heads and 4 × width feed-forward units."""
