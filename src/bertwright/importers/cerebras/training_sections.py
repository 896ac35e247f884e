"""The sections optimizer and runconfig of a Model Zoo file: optimization, length, evaluation and checkpoints."""

from __future__ import annotations

from bertwright.importers.cerebras.learning_rates import map_learning_rates
from bertwright.importers.cerebras.parameters import ModelZooParams
from bertwright.importers.imported_recipe import SourceSetting, format_value

LARGE_BATCH = 256
"""Larger batches for fine-tuning, in rows, are unusual: Devlin et al. 2018 used 16 and 32."""

MANY_EPOCHS = 10.0
"""More epochs of fine-tuning are unusual: Devlin et al. 2018 trained for 2 to 4."""


def map_optimizer(params: ModelZooParams) -> None:
    """Map the optimizer and its settings except the learning rate."""
    draft = params.draft
    named = params.take("optimizer", "optimizer_type")
    kind = str(named.value).lower() if named else "adamw"
    decay = params.take("optimizer", "weight_decay", "weight_decay_rate")
    decays = decay is not None and decay.number() > 0
    if kind == "adamw":
        params.report(named, "mapped", "AdamW")
    elif kind == "adam" and not decays:
        params.report(named, "mapped", "AdamW, which equals Adam without weight decay")
    elif kind == "adam":
        params.report(named, "unsupported", "AdamW replaces Adam: it decouples weight decay from the gradient")
    else:
        params.report(named, "unsupported", "AdamW replaces it; AdamW needs another learning rate")
    if decay is not None:
        draft.map(decay, "train.weight_decay", decay.number())
    else:
        params.default("optimizer", "weight_decay", "train.weight_decay", 0.0)
    params.map("optimizer", ("eps", "epsilon"), "train.eps", SourceSetting.number, 1e-6)
    betas = params.take("optimizer", "betas")
    if betas is not None and not (isinstance(betas.value, list) and len(betas.value) == 2):
        raise betas.make_error("a list of two numbers")
    for number, name in enumerate(("beta1", "beta2")):
        entry = params.take("optimizer", name)
        if entry is not None:
            draft.map(entry, f"train.{name}", entry.number())
        elif betas is not None:
            draft.set(f"train.{name}", betas.value[number], betas.path, betas.where)
    params.report(betas, "mapped", f"train.beta1, train.beta2 = {format_value(betas and betas.value)}")
    _bias(params)
    clip = params.take("optimizer", "max_gradient_norm")
    if clip is not None:
        draft.map(clip, "train.max_grad_norm", (clip.number() if clip.value is not None else 0.0) or None)
    else:
        params.default("optimizer", "max_gradient_norm", "train.max_grad_norm", None)


def _bias(params: ModelZooParams) -> None:
    """Report AdamW's bias correction, which is on by default in the trainer format and off in 1.9."""
    correct = params.take("optimizer", "correct_bias")
    if correct is None and params.has_trainer:
        return
    if correct is None or not correct.boolean():
        state = "off" if correct else "off by default in 1.9"
        text = f"bias correction is {state}, which makes the first updates too large; it is always on in bertwright"
        params.report_or_default(correct, "optimizer.correct_bias", "unusual", text)
    else:
        params.report(correct, "not applicable", "AdamW's bias correction is always on")


def map_run(params: ModelZooParams) -> None:
    """Map the batch size, training length, learning rate, evaluation and checkpoints."""
    draft = params.draft
    batch, accumulation = params.take("train_input", "batch_size"), params.take("optimizer", "grad_accum_steps")
    rows = 0
    if batch is not None:
        factor = accumulation.integer() if accumulation is not None and accumulation.value is not None else 1
        rows = batch.integer() * factor
        large = not params.task.pretrains and rows > LARGE_BATCH
        note = "large for fine-tuning; Devlin et al. 2018 used 16 and 32" if large else ""
        draft.map(batch, "train.batch_size", rows, note, "unusual" if large else "mapped")
    params.report(accumulation, "mapped", f"train.batch_size = {rows}; train.max_tokens splits it to fit memory")
    _rates(params, _length(params, rows))
    seed = params.take("runconfig", "seed")
    if seed is not None:
        draft.map(seed, "seed", seed.integer())
    _checkpoints(params)
    _evaluation(params)


def _length(params: ModelZooParams, batch: int) -> int | None:
    """Map the training length; return its steps, None if the file does not give them."""
    steps, epochs = params.take("runconfig", "max_steps", "num_steps"), params.take("runconfig", "num_epochs")
    if steps is None or steps.value is None:
        params.report(steps, "not applicable", "num_epochs sets the length")
        if epochs is not None and epochs.value is not None:
            params.draft.map(epochs, "train.length", f"{epochs.integer()} epochs")
        else:
            params.report(epochs, "not applicable", "train.length has its default")
        return None
    rows = params.rows("train")
    passes = steps.integer() * batch / rows if rows else 0.0
    unusual = passes > MANY_EPOCHS
    note = f"{passes:,.0f} epochs of {rows:,} rows; Devlin et al. 2018 trained for 2 to 4" if unusual else ""
    params.draft.map(steps, "train.length", f"{steps.integer()} steps", note, "unusual" if unusual else "mapped")
    params.report(
        epochs, "not applicable" if epochs and epochs.value is None else "unusual", f"{steps.path} sets the length"
    )
    return steps.integer()


def _rates(params: ModelZooParams, steps: int | None) -> None:
    schedulers = params.take("optimizer", "schedulers")
    rate = params.take("optimizer", "learning_rate", "lr")
    reset = params.take("optimizer", "disable_lr_steps_reset")
    counts_from_start = reset is not None and reset.boolean()
    if entry := schedulers or rate:
        map_learning_rates(params.draft, entry, steps, counts_from_start)
        params.report(rate if schedulers else None, "not applicable", "the schedulers set it")
    else:
        params.draft.report("(optimizer.learning_rate)", "unusual", "missing; train.learning_rate has its default")
    origin = "of the run" if counts_from_start else "of each scheduler"
    params.report(reset, "mapped", f"train.schedule: schedulers count steps from the start {origin}")


def _checkpoints(params: ModelZooParams) -> None:
    draft = params.draft
    saved, evaluated = params.take("runconfig", "checkpoint_steps"), params.take("runconfig", "eval_frequency")
    if saved is not None and saved.value:
        draft.map(saved, "train.save_every", f"{saved.integer()} steps")
    else:
        params.report(saved, "not applicable", "no checkpoints")
    chosen = evaluated if evaluated is not None and evaluated.value else saved
    if chosen is not None and chosen.value:
        text = draft.set("train.evaluate_every", f"{chosen.integer()} steps", chosen.path, chosen.where)
        params.report(evaluated, "mapped", text)
    else:
        params.report(evaluated, "not applicable", "off in Model Zoo; bertwright evaluates once per epoch")
    maximum = params.take("runconfig", "keep_checkpoint_max")
    if maximum is not None and maximum.value is not None:
        draft.map(maximum, "train.keep_checkpoints", maximum.integer() or "all")
    elif maximum is not None:
        draft.map(maximum, "train.keep_checkpoints", "all")
    elif saved is not None and saved.value:
        params.default("runconfig", "keep_checkpoint_max", "train.keep_checkpoints", "all")
    strict = params.take("runconfig", "disable_strict_checkpoint_loading")
    if strict is not None:
        draft.map(strict, "model.strict", not strict.boolean())
    start = params.take("runconfig", "checkpoint_path")
    if start is not None and start.value:
        text = "convert it with `bertwright convert` and pass the directory with --model"
        params.report(start, "mapped" if params.named_model else "unsupported", text)
    else:
        params.report(start, "not applicable", "model.base sets the initial weights")
    for name in ("is_pretrained_checkpoint", "load_checkpoint_states"):
        text = "model.base loads weights only; --resume restores the complete state"
        params.report(params.take("runconfig", name), "not applicable", text)


def _evaluation(params: ModelZooParams) -> None:
    steps, batch = params.take("runconfig", "eval_steps"), params.take("eval_input", "batch_size")
    params.report(batch, "not applicable", "metrics do not depend on it")
    if steps is None or not steps.value or batch is None:
        params.report(steps, "not applicable", "bertwright evaluates all dev rows")
        return
    dev, seen = params.rows("dev"), steps.integer() * batch.integer()
    product = f"{steps.integer():,} × {batch.integer():,} = {seen:,}"
    if seen < dev:
        text = f"Model Zoo evaluates {product} of {dev:,} dev rows (drop_last drops an incomplete batch)"
        params.report(steps, "unusual", f"{text}; bertwright evaluates all")
    else:
        params.report(steps, "not applicable", f"Model Zoo evaluates {product} dev rows; bertwright evaluates all")
