"""The sections train_input, eval_input and model of a Model Zoo file: task, data, encoder and lengths."""

from __future__ import annotations

from typing import Any

from bertwright.data.glue import TASKS
from bertwright.errors import RecipeError
from bertwright.importers.cerebras.known_keys import CLASSIFICATION, MODELS, PROBLEMS, PROCESSORS, SHAPES
from bertwright.importers.cerebras.parameters import INPUTS, ModelZooParams
from bertwright.importers.imported_recipe import SourceSetting, format_value

UNCASED, CASED = 30_522, 28_996
"""Sizes of the two English vocabularies of google-research/bert."""


def map_kind(params: ModelZooParams) -> None:
    """Set the task and the data format.

    Raises:
        RecipeError: the data processor and the model are unknown, or the task is summarization.
    """
    processor, other = params.take_both("data_processor")
    if processor is None:
        processor, other = other, None
    name, problem = params.take("model", "name"), params.take("model", "problem_type")
    processor_name = str(processor.value) if processor else ""
    if processor_name.startswith("BertSum") or (name is not None and "summarization" in str(name.value)):
        where = processor or name or params.entries[0]
        raise RecipeError(
            f"{where.where}: {where.path} is {where.value}: extractive summarization is not supported; to "
            "classify sentences, run `bertwright train --data FILE`."
        )
    task, params.layout = PROCESSORS.get(processor_name, (MODELS.get(str(name.value)) if name else None, None))
    heads = any((entry.section, entry.name) == ("model", "num_labels") for entry in params.entries)
    if (task is None or task.follows_problem_type) and (problem or heads):
        refined = (task for task in PROBLEMS if problem and task.problem_type == problem.value)
        task = next(refined, CLASSIFICATION)
    if task is None:
        where = processor or name or params.entries[0]
        raise RecipeError(
            f"{where.where}: {where.path} is {format_value(where.value)}, which is no known task; set data_processor "
            f"to one of {', '.join(PROCESSORS)}."
        )
    params.task = task
    settings = params.draft.set("task.kind", task.kind, processor.path if processor else "")
    settings += f", data.format = {params.layout}" if params.layout else ""
    if processor_name in PROCESSORS:
        params.report(processor, "mapped", settings)
    else:
        custom = "a custom processor; set data.text and data.label to the column names"
        params.report(processor, "unsupported", f"{settings}; {custom}")
    for entry in (other, name, problem):
        params.report(entry, "mapped", settings)
    if params.layout and TASKS[params.layout].text_pair and processor:
        difference = "Model Zoo starts segment 1 two tokens too early; bertwright uses the segments of BERT"
        params.draft.report(f"({processor.path})", "unusual", difference)


def map_task(params: ModelZooParams) -> None:
    """Map labels, metrics and the objectives of pre-training."""
    labels = TASKS[params.layout].label_names if params.layout else ()
    if labels and params.layout:
        params.draft.set("task.labels", list(labels), f"the labels of {TASKS[params.layout].directory}, in order")
    count = params.take("model", "num_labels", "num_classes")
    if count is not None and labels and count.integer() != len(labels):
        params.report(count, "unusual", f"the data has {len(labels)} labels ({', '.join(labels)}); the head uses these")
    else:
        params.report(count, "mapped", "task.labels: the labels of the data")
    computed = params.take("model", "compute_eval_metrics")
    if computed is not None and not computed.boolean():
        params.report(computed, "unusual", "Model Zoo computes only the loss; bertwright always computes task.metrics")
    elif params.task.averages_f1 and len(labels) in (0, 2):
        micro = "Model Zoo's F1 is a micro average, which equals accuracy; bertwright's f1 is that of the second label"
        params.report(computed, "unusual", micro)
    else:
        params.report(computed, "not applicable", "bertwright always computes task.metrics")
    if params.task.pretrains:
        _pretraining(params)


def _pretraining(params: ModelZooParams) -> None:
    draft, disable_nsp = params.draft, params.take("model", "disable_nsp")
    objective = "none" if disable_nsp is not None and disable_nsp.boolean() else "nsp"
    if disable_nsp is not None:
        draft.map(disable_nsp, "task.sentence_objective", objective)
    else:
        params.default("model", "disable_nsp", "task.sentence_objective", objective)
    params.map("train_input", ("masked_lm_prob",), "task.mlm_probability", SourceSetting.number, 0.15)
    whole_words = params.take("train_input", "mask_whole_word", "whole_word_masking")
    if whole_words is not None:
        draft.map(whole_words, "task.masking", "words" if whole_words.boolean() else "tokens")
    for entry in (params.take("eval_input", "masked_lm_prob"), params.take("eval_input", "mask_whole_word")):
        params.report(entry, "mapped", "the same as in training")
    params.report(params.take("eval_input", "whole_word_masking"), "mapped", "the same as in training")
    if any(entry.value == "BertCSVDataProcessor" for entry in params.entries):
        reason = "tokens are masked once, when the CSV files are written"
        params.default("train_input", "masking", "task.dynamic_masking", False, reason)


def map_data(params: ModelZooParams) -> None:
    """Map the data files, the order of rows and incomplete batches."""
    draft = params.draft
    train, dev = params.take_both("data_dir")
    if params.task.text_files:
        for entry in (train, dev):
            text = f"contains tokens, not text; set the text files instead: {params.task.text_files}"
            params.report(entry, "unsupported", text)
    elif train is not None and dev is not None and train.value != dev.value:
        draft.map(train, "data.train", train.text())
        draft.map(dev, "data.dev", dev.text())
    elif entry := train or dev:
        draft.map(entry, "data.path", entry.text())
        params.report(dev if train else None, "mapped", "data.path contains the dev rows too")
    if params.layout:
        draft.set("data.format", params.layout, "from data_processor")
    for section in INPUTS:
        order, last = params.take(section, "shuffle"), params.take(section, "drop_last")
        if section == "eval_input":
            params.report(order, "not applicable", "metrics do not depend on the order of dev rows")
        else:
            same = order is None or order.boolean()
            params.report(order, "not applicable" if same else "unsupported", "bertwright shuffles rows in every epoch")
        if last is not None and last.boolean():
            params.report(last, "unusual", "Model Zoo drops an incomplete last batch; bertwright uses every row")
        else:
            params.report(last, "not applicable", "bertwright uses every row")


def map_lengths(params: ModelZooParams) -> None:
    """Map the maximum length and the stride of windows."""
    train, dev = params.take_both("max_sequence_length")
    if entry := train or dev:
        params.draft.map(entry, "tokens.max_length", entry.integer())
        if train is not None and dev is not None:
            text = f"tokens.max_length = {entry.integer()} applies to evaluation too"
            params.report(dev, "mapped" if dev.value == entry.value else "unusual", text)
    if params.task.cuts_windows:
        reason = "Model Zoo's scripts split long texts with this stride"
        params.default("train_input", "doc_stride", "tokens.stride", 128, reason)


def map_model(params: ModelZooParams) -> None:
    """Map the encoder, its tokenizer, dropout and precision."""
    _base(params)
    _dropout(params)
    if not params.task.pretrains:
        params.draft.set("model.output_bias", "zero", "untrained output layers of Model Zoo start with zero biases")
    for name, usual in (("encoder_nonlinearity", "gelu"), ("pooler_nonlinearity", "tanh")):
        entry = params.take("model", name)
        same = entry is None or entry.value in (usual, None)
        params.report(
            entry,
            "not applicable" if same else "unsupported",
            f"bertwright uses {usual}, as the pre-trained model does",
        )
    norm = params.take("model", "layer_norm_epsilon")
    if norm is None or norm.number() != 1e-12:
        used = "1e-5 by default" if norm is None else format_value(norm.value)
        text = f"Model Zoo uses {used}; bertwright uses 1e-12, the value BERT was trained with, from config.json"
        params.report_or_default(norm, "model.layer_norm_epsilon", "unusual", text)
    else:
        params.report(norm, "not applicable", "the same as in the model's config.json")
    params.report(params.take("model", "initializer_range"), "not applicable", "the model's config.json sets it")
    mixed = params.take("model", "mixed_precision")
    if mixed is not None:
        note = "bf16 if the device supports it well" if mixed.boolean() else ""
        params.draft.map(mixed, "train.precision", "auto" if mixed.boolean() else "fp32", note)
    for name in ("fp16_type", "use_bfloat16"):
        params.report(params.take("model", name), "not applicable", "16-bit training always uses bf16: train.precision")


def _base(params: ModelZooParams) -> None:
    draft, named = params.draft, params.named_model
    names = ("num_hidden_layers", "hidden_size", "num_heads", "filter_size", "vocab_size")
    sizes = [params.take("model", name) for name in names]
    layers, width, heads, inner, words = (None if entry is None else entry.integer() for entry in sizes)
    lower, files = params.take_both("do_lower"), params.take_both("vocab_file")
    lowers = any(entry is not None and entry.boolean() for entry in lower)
    spelling = "cased" if words == CASED or (words is None and not lowers) else "uncased"
    usual_words = words in (None, UNCASED, CASED)
    size = SHAPES.get((layers or 0, width or 0))
    if heads not in (None, (width or 0) // 64) or inner not in (None, 4 * (width or 0)):
        size = None
    if params.task.pretrains and named is None:
        key, model, tokenizer = "model.preset", size, f"bert-base-{spelling}" if usual_words else None
        if tokenizer is not None:
            params.default("train_input", "tokenizer", "model.tokenizer", tokenizer, "the same vocabulary")
    else:
        key, model = "model.base", named or _find_published_model(size, layers, width, spelling)
        tokenizer = model
    setting = f"{key} = {model}"
    if model is None:
        setting = f"no published model has this size; set one with --model or {key}"
    else:
        draft.set(key, model, "from --model" if named else f"{layers} layers of width {width}")
        if named is None:
            params.draft.report(f"({key})", "mapped", f"{setting}, by its size; --model selects another")
    for entry in sizes[:-1]:
        params.report(entry, "mapped" if model else "unsupported", setting)
    if usual_words or named or model is None:
        params.report(sizes[-1], "mapped" if model else "unsupported", setting)
    else:
        params.report(
            sizes[-1],
            "unsupported",
            f"{model} has another vocabulary than one of {words:,} tokens; select a model with --model",
        )
    positions = params.take("model", "max_position_embeddings")
    if positions is not None and positions.integer() != 512 and named is None:
        params.report(positions, "unsupported", "the model has positions for 512 tokens")
    else:
        params.report(positions, "mapped" if model else "unsupported", setting)
    text = (
        f"the tokenizer of {tokenizer}" if tokenizer else "train a tokenizer: see `bertwright tokenizer train --help`"
    )
    for entry in (*lower, *files):
        params.report(entry, "mapped" if tokenizer else "unsupported", text)
    if words == UNCASED and not lowers and not params.task.keeps_case and named is None:
        text = "Model Zoo does not lower-case by default, but the vocabulary is uncased; bertwright lower-cases text"
        params.draft.report("(train_input.do_lower)", "unusual", text)


def _find_published_model(size: str | None, layers: int | None, width: int | None, spelling: str) -> str | None:
    """Return the Hub name of google-research/bert's model of a size; small models exist uncased only."""
    if size in ("base", "large"):
        return f"bert-{size}-{spelling}"
    if size is None or spelling == "cased" or width is None:
        return None
    return f"google/bert_uncased_L-{layers}_H-{width}_A-{width // 64}"


def _dropout(params: ModelZooParams) -> None:
    hidden, embeddings = params.take("model", "dropout_rate"), params.take("model", "embedding_dropout_rate")
    if hidden is not None:
        params.draft.map(hidden, "model.dropout", hidden.number())
    if embeddings is not None and hidden is not None and embeddings.value != hidden.value:
        params.report(
            embeddings,
            "unsupported",
            f"bertwright uses the dropout of the layers, {format_value(hidden.value)}, for embeddings too",
        )
    else:
        params.report(embeddings, "mapped", "model.dropout applies to embeddings too")
    attention = params.take("model", "attention_dropout_rate")
    if attention is not None:
        params.draft.map(attention, "model.attention_dropout", attention.number())
    head = params.take("model", "task_dropout", "encoder_output_dropout_rate")
    if head is None:
        return
    if not params.task.head_dropout:
        params.report(head, "not applicable", "the head has no dropout")
    elif head.number() == 0.1:
        params.report(head, "mapped", "0.1 is the dropout of the published head")
    else:
        declared: dict[str, Any] = {"layers": [{"dropout": head.number()}]}
        if params.task.head_pools:
            declared["pooling"] = "pooler"
        params.draft.map(head, "model.head", declared, "the published head with another dropout")
