"""The sections train_input, eval_input and model of a Model Zoo file: task, data, encoder and lengths."""

from __future__ import annotations

from typing import Any

from bertwright.data.glue import TASKS
from bertwright.errors import RecipeError
from bertwright.importers.cerebras.known_keys import CLASSIFICATION, MODELS, PROBLEMS, PROCESSORS, SHAPES
from bertwright.importers.cerebras.parameters import INPUTS, ModelZooParams
from bertwright.importers.imported_recipe import SourceSetting, format_value

UNCASED, CASED = 30_522, 28_996
"""Words of google-research/bert's two English vocabularies."""


def map_kind(params: ModelZooParams) -> None:
    """Find the kind of task and the data set.

    Raises:
        RecipeError: the data processor and the model are unknown, or the task is summarization.
    """
    processor, other = params.take_both("data_processor")
    if processor is None:
        processor, other = other, None
    name, problem = params.take("model", "name"), params.take("model", "problem_type")
    found = str(processor.value) if processor else ""
    if found.startswith("BertSum") or (name is not None and "summarization" in str(name.value)):
        where = processor or name or params.entries[0]
        raise RecipeError(
            f"{where.where}: {where.path} is {where.value}: extractive summarization is not supported; the nearest is "
            "to classify sentences of your own: `bertwright train --data FILE`."
        )
    task, params.layout = PROCESSORS.get(found, (MODELS.get(str(name.value)) if name else None, None))
    heads = any((entry.section, entry.name) == ("model", "num_labels") for entry in params.entries)
    if (task is None or task.follows_problem_type) and (problem or heads):
        refined = (task for task in PROBLEMS if problem and task.problem_type == problem.value)
        task = next(refined, CLASSIFICATION)
    if task is None:
        where = processor or name or params.entries[0]
        raise RecipeError(
            f"{where.where}: {where.path} is {format_value(where.value)}, which names no task; data_processor may be "
            f"{', '.join(PROCESSORS)}."
        )
    params.task = task
    told = params.draft.set("task.kind", task.kind, processor.path if processor else "")
    told += f", data.format = {params.layout}" if params.layout else ""
    if found in PROCESSORS:
        params.say(processor, "mapped", told)
    else:
        own = "a custom processor: name the columns with data.text and data.label"
        params.say(processor, "not here", f"{told}; {own}")
    for entry in (other, name, problem):
        params.say(entry, "mapped", told)
    if params.layout and TASKS[params.layout].text_pair and processor:
        off = "segment 1 begins two tokens early there, against its README; here segments are as BERT's"
        params.draft.say(f"({processor.path})", "odd", off)


def map_task(params: ModelZooParams) -> None:
    """Labels, metrics and what pre-training asks."""
    labels = TASKS[params.layout].label_names if params.layout else ()
    if labels and params.layout:
        params.draft.set("task.labels", list(labels), f"the labels of {TASKS[params.layout].directory} in their order")
    count = params.take("model", "num_labels", "num_classes")
    if count is not None and labels and count.whole() != len(labels):
        params.say(count, "odd", f"the data has {len(labels)} labels ({', '.join(labels)}), and so has the head here")
    else:
        params.say(count, "mapped", "task.labels: as many as the data has")
    computed = params.take("model", "compute_eval_metrics")
    if computed is not None and not computed.flag():
        params.say(computed, "odd", "its evaluation computes the loss only; bertwright always computes task.metrics")
    elif params.task.averages_f1 and len(labels) in (0, 2):
        micro = 'its "F1" is averaged over decisions (micro), which is accuracy; here f1 is that of the second label'
        params.say(computed, "odd", micro)
    else:
        params.say(computed, "irrelevant here", "task.metrics are always computed")
    if params.task.pretrains:
        _pretraining(params)


def _pretraining(params: ModelZooParams) -> None:
    draft, off = params.draft, params.take("model", "disable_nsp")
    following = "none" if off is not None and off.flag() else "nsp"
    if off is not None:
        draft.map(off, "task.sentence_objective", following)
    else:
        params.default("model", "disable_nsp", "task.sentence_objective", following)
    params.map("train_input", ("masked_lm_prob",), "task.mlm_probability", SourceSetting.number, 0.15)
    whole = params.take("train_input", "mask_whole_word", "whole_word_masking")
    if whole is not None:
        draft.map(whole, "task.masking", "words" if whole.flag() else "tokens")
    for entry in (params.take("eval_input", "masked_lm_prob"), params.take("eval_input", "mask_whole_word")):
        params.say(entry, "mapped", "as in training")
    params.say(params.take("eval_input", "whole_word_masking"), "mapped", "as in training")
    if any(entry.value == "BertCSVDataProcessor" for entry in params.entries):
        why = "words are masked once, when the CSV files are made"
        params.default("train_input", "masking", "task.dynamic_masking", False, why)


def map_data(params: ModelZooParams) -> None:
    """The files of the rows, their order, and which of them are ignored."""
    draft = params.draft
    train, dev = params.take_both("data_dir")
    if params.task.text_files:
        for entry in (train, dev):
            text = f"holds tokens made by their scripts; name the text: {params.task.text_files}"
            params.say(entry, "not here", text)
    elif train is not None and dev is not None and train.value != dev.value:
        draft.map(train, "data.train", train.text())
        draft.map(dev, "data.dev", dev.text())
    elif entry := train or dev:
        draft.map(entry, "data.path", entry.text())
        params.say(dev if train else None, "mapped", "data.path holds the dev rows too")
    if params.layout:
        draft.set("data.format", params.layout, "the data processor's")
    for section in INPUTS:
        order, last = params.take(section, "shuffle"), params.take(section, "drop_last")
        if section == "eval_input":
            params.say(order, "irrelevant here", "metrics do not depend on the order of dev rows")
        else:
            same = order is None or order.flag()
            params.say(order, "irrelevant here" if same else "not here", "rows come in a new order every epoch")
        if last is not None and last.flag():
            params.say(last, "odd", "it drops rows that do not fill a batch; bertwright evaluates every row")
        else:
            params.say(last, "irrelevant here", "every row counts")


def map_lengths(params: ModelZooParams) -> None:
    """How long sequences may be."""
    train, dev = params.take_both("max_sequence_length")
    if entry := train or dev:
        params.draft.map(entry, "tokens.max_length", entry.whole())
        if train is not None and dev is not None:
            text = f"tokens.max_length = {entry.whole()}, at evaluation too"
            params.say(dev, "mapped" if dev.value == entry.value else "odd", text)
    if params.task.cuts_windows:
        why = "windows are cut when the CSV files are made"
        params.default("train_input", "doc_stride", "tokens.stride", 128, why)


def map_model(params: ModelZooParams) -> None:
    """Which encoder is started from, its tokenizer, its dropout and arithmetic."""
    _base(params)
    _dropout(params)
    for name, usual in (("encoder_nonlinearity", "gelu"), ("pooler_nonlinearity", "tanh")):
        entry = params.take("model", name)
        same = entry is None or entry.value in (usual, None)
        params.say(entry, "irrelevant here" if same else "not here", f"is {usual}, as the pre-trained model's")
    norm = params.take("model", "layer_norm_epsilon")
    if norm is None or norm.number() != 1e-12:
        given = "1e-5 there by default" if norm is None else f"{format_value(norm.value)} there"
        text = f"{given}; 1e-12 here, with which BERT was trained and which its config.json says"
        params.say_or(norm, "model.layer_norm_epsilon", "odd", text)
    else:
        params.say(norm, "irrelevant here", "as in the model's config.json")
    params.say(params.take("model", "initializer_range"), "irrelevant here", "the model's config.json says it")
    mixed = params.take("model", "mixed_precision")
    if mixed is not None:
        note = "bf16 where the device does it well" if mixed.flag() else ""
        params.draft.map(mixed, "train.precision", "auto" if mixed.flag() else "fp32", note)
    for name in ("fp16_type", "use_bfloat16"):
        params.say(params.take("model", name), "irrelevant here", "16 bits are always bf16: train.precision")


def _base(params: ModelZooParams) -> None:
    draft, named = params.draft, params.named_model
    names = ("num_hidden_layers", "hidden_size", "num_heads", "filter_size", "vocab_size")
    sizes = [params.take("model", name) for name in names]
    layers, width, heads, inner, words = (None if entry is None else entry.whole() for entry in sizes)
    lower, files = params.take_both("do_lower"), params.take_both("vocab_file")
    lowers = any(entry is not None and entry.flag() for entry in lower)
    spelling = "cased" if words == CASED or (words is None and not lowers) else "uncased"
    usual_words = words in (None, UNCASED, CASED)
    size = SHAPES.get((layers or 0, width or 0))
    if heads not in (None, (width or 0) // 64) or inner not in (None, 4 * (width or 0)):
        size = None
    if params.task.pretrains and named is None:
        key, model, tokenizer = "model.preset", size, f"bert-base-{spelling}" if usual_words else None
        if tokenizer is not None:
            params.default("train_input", "tokenizer", "model.tokenizer", tokenizer, "it has the same vocabulary")
    else:
        key, model = "model.base", named or _published(size, layers, width, spelling)
        tokenizer = model
    told = f"{key} = {model}"
    if model is None:
        told = f"no model of that shape is known: name one with --model or {key}"
    else:
        draft.set(key, model, "named with --model" if named else f"{layers} layers of width {width}")
        if named is None:
            params.draft.say(f"({key})", "mapped", f"{told}, by its size; --model names another")
    for entry in sizes[:-1]:
        params.say(entry, "mapped" if model else "not here", told)
    if usual_words or named or model is None:
        params.say(sizes[-1], "mapped" if model else "not here", told)
    else:
        params.say(sizes[-1], "not here", f"{words:,} words, which {model} has not: name a model with --model")
    positions = params.take("model", "max_position_embeddings")
    if positions is not None and positions.whole() != 512 and named is None:
        params.say(positions, "not here", "there are positions for 512 tokens")
    else:
        params.say(positions, "mapped" if model else "not here", told)
    made = f"the tokenizer of {tokenizer}" if tokenizer else "name a tokenizer: see `bertwright tokenizer train --help`"
    for entry in (*lower, *files):
        params.say(entry, "mapped" if tokenizer else "not here", made)
    if words == UNCASED and not lowers and not params.task.keeps_case and named is None:
        text = "capitals are kept there (false by default), which the vocabulary has not; text is lower-cased here"
        params.draft.say("(train_input.do_lower)", "odd", text)


def _published(size: str | None, layers: int | None, width: int | None, spelling: str) -> str | None:
    """The Hub's name of google-research/bert's model of a size; the small ones are uncased alone."""
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
        params.say(embeddings, "not here", f"embeddings have the rate of the layers, {format_value(hidden.value)}")
    else:
        params.say(embeddings, "mapped", "model.dropout, which is that of embeddings too")
    attention = params.take("model", "attention_dropout_rate")
    if attention is not None:
        params.draft.map(attention, "model.attention_dropout", attention.number())
    head = params.take("model", "task_dropout", "encoder_output_dropout_rate")
    if head is None:
        return
    if not params.task.head_dropout:
        params.say(head, "irrelevant here", "the head has none")
    elif head.number() == 0.1:
        params.say(head, "mapped", "0.1 is the published head's own rate")
    else:
        declared: dict[str, Any] = {"layers": [{"dropout": head.number()}]}
        if params.task.head_pools:
            declared["pooling"] = "pooler"
        params.draft.map(head, "model.head", declared, "the published head with another rate")
