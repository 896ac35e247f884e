"""What is known of Cerebras Model Zoo's files for BERT: keys without a part here and why, data sets, models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_HARDWARE = "how their hardware is used"
_LOADER = "rows are encoded once, so there are no loader processes to set up"
_BATCHING = "there is no padding"
_LOSS_SCALE = "loss scaling is for float16, which is not used"
_LOGGED = "every step is in DIR/events.jsonl; --tensorboard writes scalars"

IRRELEVANT: Final[Mapping[tuple[str, str], str]] = {
    **{("input", name): _LOADER for name in ("num_workers", "prefetch_factor", "persistent_workers", "shuffle_buffer")},
    **{("input", name): _BATCHING for name in ("labels_pad_id", "input_pad_id", "attn_mask_pad_id", "segment_pad_id")},
    ("input", "pad_first"): _BATCHING,
    ("input", "buckets"): "there is no padding, so lengths need no sorting",
    ("input", "use_multiple_workers"): _LOADER,
    ("input", "shuffle_seed"): "one seed decides all of a run",
    ("input", "repeat"): "train.length sets the training length",
    ("input", "is_training"): "the split of the data sets which rows are for training",
    ("input", "mixed_precision"): "train.precision says it",
    ("input", "vocab_size"): "the tokenizer says it",
    ("input", "disable_nsp"): "model.disable_nsp says it",
    ("input", "gather_mlm_labels"): "only masked positions go through the decoder",
    ("input", "dynamic_mlm_scale"): "the loss is the mean over the masked words",
    ("input", "max_predictions_per_seq"): "the share of masked words decides alone, without a limit",
    ("input", "oov_token"): "the tokenizer says it",
    ("input", "mask_token"): "the tokenizer says it",
    ("input", "document_separator_token"): "the tokenizer says it",
    ("input", "exclude_from_masking"): "special tokens are never masked",
    ("input", "micro_batch_size"): "train.max_tokens decides how a batch is split",
    ("input", "num_micro_batches"): "train.max_tokens decides how a batch is split",
    **{("input", name): "for pre-training" for name in ("masked_lm_prob", "mask_whole_word", "whole_word_masking")},
    ("model", "disable_nsp"): "for pre-training",
    ("model", "is_mnli_dataset"): "data.format says it",
    ("model", "to_float16"): "train.precision says it",
    ("model", "attention_softmax_fp32"): "softmax is always computed in float32",
    ("model", "attention_kernel"): _HARDWARE,
    ("model", "allow_multireplica"): _HARDWARE,
    ("model", "mlm_loss_weight"): "losses are means over what is asked, so no weight evens them out",
    ("model", "loss_weight"): "losses are means over what is asked, so no weight evens them out",
    ("model", "include_padding_in_loss"): "there is no padding",
    ("model", "label_vocab_file"): "labels come from the data, or from task.labels",
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
    ("runconfig", "check_loss_values"): "a loss that is not finite always ends the run",
    ("runconfig", "mode"): "the command says it: train or evaluate",
    ("runconfig", "model_dir"): "`bertwright train --out DIR` says it",
    ("runconfig", "save_initial_checkpoint"): "the weights a run begins with are those of model.base",
    ("runconfig", "autoload_last_checkpoint"): "`bertwright train --resume --out DIR` says it",
    ("runconfig", "checkpoint_name"): "checkpoints are called step-000500.safetensors",
    ("runconfig", "save_stream_size"): _HARDWARE,
    ("runconfig", "sync_batchnorm"): "there is no BatchNorm in BERT",
    ("runconfig", "enable_distributed"): "one process trains",
    ("runconfig", "steps_per_epoch"): "an epoch is every row once",
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
    (
        "init",
        "callbacks",
    ): "early stopping, logging and saving are settings here: train.patience, train.keep_checkpoints",
    ("init", "loggers"): _LOGGED,
    ("init", "device"): "train.device says it",
    ("init", "backend"): _HARDWARE,
}
"""Keys that have no part in a run here, and why; the two inputs share theirs."""

NOT_HERE: Final[Mapping[tuple[str, str], str]] = {
    ("optimizer", "max_gradient_value"): "gradients are clipped by their norm alone: train.max_grad_norm",
    ("optimizer", "amsgrad"): "AdamW keeps no largest means of squares",
    ("optimizer", "momentum"): "AdamW is the optimizer",
    ("optimizer", "use_nesterov"): "AdamW is the optimizer",
    ("model", "position_embedding_type"): "positions are learned, as in BERT",
    ("model", "attention_module"): "attention is BERT's",
    ("model", "attention_type"): "attention is BERT's, scaled",
    ("model", "extra_attention_params"): "attention is BERT's",
    ("model", "share_embedding_weights"): "the decoder shares the word embedding",
    ("model", "use_projection_bias_in_attention"): "attention has biases, as BERT's has",
    ("model", "use_ffn_bias_in_attention"): "attention has biases, as BERT's has",
    ("model", "use_ffn_bias"): "layers have biases, as BERT's have",
    ("model", "use_ffn_bias_in_mlm"): "the masked-LM head has biases, as BERT's has",
    ("model", "use_output_bias_in_mlm"): "the masked-LM head has biases, as BERT's has",
    ("model", "label_smoothing"): "the masked-LM loss is not smoothed",
    ("model", "num_segments"): "there are two segments, as in BERT",
    ("model", "mlm_nonlinearity"): "the masked-LM head has the encoder's activation",
    (
        "model",
        "mask_padding_in_positional_embed",
    ): "positions start at 0, as in BERT; RoBERTa is another family",
    ("model", "enable_vts"): "there is no padding that variable lengths could save",
    **{
        ("model", name): "there is no muP scaling"
        for name in (
            *("mup_base_hidden_size", "mup_base_filter_size", "embeddings_scale", "output_logits_alpha"),
            *("attention_logits_alpha", "scale_qk_dot_by_d", "scale_output_logits_by_d"),
        )
    },
    ("init", "sparsity"): "weights are dense",
}
"""Keys that change a run there and have no setting here, and what is done instead."""

USUAL: Final[Mapping[tuple[str, str], tuple[object, ...]]] = {
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
"""Values of those keys that mean what is done here."""


@dataclass(frozen=True, slots=True)
class ModelZooTask:
    """A task of the Model Zoo.

    Attributes:
        kind: what ``task.kind`` calls it.
        text_files: settings that name texts, for tasks whose data files hold tokens; "" for the others.
        pretrains: whether it is pre-training.
        cuts_windows: whether its scripts cut long texts into windows.
        keeps_case: whether its texts keep their capitals.
        problem_type: the value of ``problem_type`` that means this task; "" if none does.
        follows_problem_type: whether ``problem_type`` may make another task of it.
        averages_f1: whether its F1 is a micro average.
        head_dropout: whether its head has dropout.
        head_pools: whether its head reads the pooler's output.
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
"""Data processors: the task, and the layout of their data set."""

MODELS: Final[Mapping[str, ModelZooTask]] = {
    "bert": PRETRAINING,
    "bert/classifier": CLASSIFICATION,
    "bert/token_classifier": TAGGING,
    "bert/question_answering": QUESTION_ANSWERING,
    "bert/qa": QUESTION_ANSWERING,
}
"""Model names of the trainer form: the task."""

PROBLEMS: Final = (REGRESSION, MULTILABEL)
"""Tasks that ``problem_type`` makes of classification."""

SHAPES: Final[Mapping[tuple[int, int], str]] = {
    (2, 128): "tiny",
    (4, 256): "mini",
    (4, 512): "small",
    (8, 512): "medium",
    (12, 768): "base",
    (24, 1024): "large",
}
"""(layers, width) of google-research/bert's sizes; width / 64 heads, four times the width inside."""
